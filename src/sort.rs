//! Sorting with little machine code.
//!
//! Std's sort takes some 4 KB for each type of items and each order. It stays where many
//! items are sorted often; lists that are short, or sorted while a file is opened or
//! salvaged, take the heap sort here (Williams, 1964).

use std::cmp::Ordering;

/// Sorts items in place, in a time that is proportional to n log n for any input.
pub(crate) fn heap_sort<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let sink = |heap: &mut [T], mut parent: usize| {
        loop {
            let left = 2 * parent + 1;
            let Some(first) = heap.get(left) else { return };
            let right_is_greater =
                heap.get(left + 1).is_some_and(|right| compare(first, right) == Ordering::Less);
            let child = left + usize::from(right_is_greater);
            if compare(&heap[parent], &heap[child]) != Ordering::Less {
                return;
            }
            heap.swap(parent, child);
            parent = child;
        }
    };
    (0..items.len() / 2).rev().for_each(|parent| sink(items, parent));
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sink(&mut items[..end], 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::sim::Random;

    #[test]
    fn items_come_in_their_order() {
        let mut random = Random::new(7);
        println!("seed 7");
        for len in 0..200usize {
            let mut items: Vec<u64> = (0..len).map(|_| random.below(50)).collect();
            let mut expected = items.clone();
            heap_sort(&mut items, u64::cmp);
            expected.sort();
            assert_eq!(items, expected);
        }
    }
}
