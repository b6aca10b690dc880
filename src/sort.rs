//! Sorting with little machine code.
//!
//! Std's sort takes some 4 KB for each type of items and each order. It stays where many
//! items are sorted often. Lists that are short, or sorted while a file is opened or
//! salvaged, take the heap sort here (Williams, 1964); lists that grow are merged.

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

/// Merges sorted items into a sorted list that has room for them.
pub(crate) fn merge<T: Default>(
    list: &mut Vec<T>,
    mut new: Vec<T>,
    compare: impl Fn(&T, &T) -> Ordering,
) {
    let (mut old, mut rest) = (list.len(), new.len());
    list.resize_with(old + rest, T::default);
    // From the greatest on, so that the room at the end is used first.
    for at in (0..list.len()).rev() {
        if rest == 0 {
            return;
        }
        if old > 0 && compare(&list[old - 1], &new[rest - 1]) == Ordering::Greater {
            old -= 1;
            list.swap(old, at);
        } else {
            rest -= 1;
            std::mem::swap(&mut list[at], &mut new[rest]);
        }
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

    #[test]
    fn sorted_lists_are_merged() {
        let mut random = Random::new(8);
        println!("seed 8");
        for len in 0..100usize {
            let mut sorted = |len| {
                let mut items: Vec<u64> = (0..len).map(|_| random.below(90)).collect();
                items.sort();
                items
            };
            let (mut list, new) = (sorted(len), sorted(len * 7 % 31));
            let mut expected = [&list[..], &new].concat();
            merge(&mut list, new, u64::cmp);
            expected.sort();
            assert_eq!(list, expected);
        }
    }
}
