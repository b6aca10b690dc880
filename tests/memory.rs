//! Memory: how much a store takes, and that it comes back.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use minidb::{DB, InMemoryDB};

const N: u64 = 1_000_000;
const MIB: u64 = 1 << 20;

/// The n-th number of a fixed permutation of 0..N: N and the factor share no divisor.
fn shuffled(n: u64) -> u64 {
    n * 618_033_989 % N
}

fn key(n: u64) -> String {
    format!("{n:016}")
}

/// Bytes of memory of this process that are not from files, if the system tells.
fn anonymous() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Keeps the system from what it may do at any time where huge pages are wanted: put
/// memory back where some was given back, so that the rest can be a huge page again.
#[allow(unsafe_code)] // std does not tell the system
fn join_no_pages() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes no memory of this process; what it cannot do stays as it is.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0)
    };
}

/// Nothing else changes the memory of the process during a test.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn memory_comes_back_when_90_percent_are_deleted_in_random_order() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let db = InMemoryDB::new().unwrap();
    let before = anonymous();
    for n in 0..N {
        db.put(key(shuffled(n)).as_bytes(), &[n as u8; 100]).unwrap();
    }
    let (peak, peak_rss) = (db.memory_bytes().unwrap(), anonymous());
    let per_entry = peak / N;
    println!("{per_entry} bytes of memory for an entry of 116 bytes");
    assert!(per_entry <= 170);

    join_no_pages();
    for n in 0..N * 9 / 10 {
        let old = db.delete(key(shuffled(n)).as_bytes()).unwrap();
        assert_eq!(old, Some(vec![n as u8; 100]));
    }
    let left = db.memory_bytes().unwrap();
    println!("{} % of the peak is left", left * 100 / peak);
    assert!(left * 4 <= peak, "{left} of {peak} bytes are left");
    if let (Some(before), Some(peak), Some(now)) = (before, peak_rss, anonymous()) {
        let (peak, left) = (peak.saturating_sub(before), now.saturating_sub(before));
        println!("{} % as the system sees it", left * 100 / peak);
        assert!(left * 4 <= peak, "the system says that {left} of {peak} bytes are left");
    }
    assert_eq!(db.count().unwrap(), N / 10);
    db.check().unwrap();

    db.clear(None, None).unwrap();
    let empty = db.memory_bytes().unwrap();
    assert!(empty * 20 <= peak, "{empty} of {peak} bytes are left in an empty store");
}

/// What the store says that it holds is what the system sees, and comes back, if one value of
/// a hundred remains beside each place where the others were.
#[test]
fn values_of_every_size_give_their_memory_back() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    join_no_pages();
    for (key_len, len) in [(16, 100), (16, 1_000), (16, 1_100), (16, 3_000), (16, 4_500)]
        .into_iter()
        .chain([(16, 20_000), (16, 70_000), (16, 300_000), (900, 10), (2_000, 3_000)])
    {
        let db = InMemoryDB::new().unwrap();
        let before = anonymous();
        let count = (60_000_000 / (key_len + len)) as u64;
        let key = |n: u64| format!("{:0key_len$}", n * 7_919 % 10_000_019);
        let value = vec![b'v'; len];
        (0..count).for_each(|n| db.put_with(key(n).as_bytes(), &value, |_| Ok(())).unwrap());
        let check = |when: &str| {
            let said = db.memory_bytes().unwrap();
            let Some((before, now)) = before.zip(anonymous()) else { return said };
            let seen = now.saturating_sub(before);
            println!("{key_len} + {len}, {when}: {} KiB, {} seen", said >> 10, seen >> 10);
            let differ = seen.abs_diff(said);
            assert!(differ < seen / 10 + (3 << 20), "{said} bytes are said, {seen} seen");
            said.max(seen)
        };
        let peak = check("full");
        (0..count).filter(|n| n % 100 > 0).for_each(|n| {
            db.delete_with(key(n).as_bytes(), |_| Ok(())).unwrap();
        });
        let left = check("a hundredth");
        assert!(left * 4 <= peak, "{left} of {peak} bytes are left");
        db.check().unwrap();
        for n in (0..count).step_by(100) {
            assert_eq!(db.get_with(key(n).as_bytes(), |it| it == Some(&value[..])), Ok(true));
            db.put_with(key(n).as_bytes(), &value[len / 2..], |_| Ok(())).unwrap();
        }
        check("half of a hundredth");
    }
}

/// A window of snapshots slides over random overwrites; then all are closed.
#[test]
fn the_holes_that_closed_snapshots_leave_are_given_back() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    join_no_pages();
    let db = InMemoryDB::new().unwrap();
    let count = 100_000;
    let put = |n: u64| db.put_with(key(n).as_bytes(), &[n as u8; 100], |_| Ok(())).unwrap();
    (0..count).for_each(put);
    let (needed, seen) = (db.memory_bytes().unwrap(), anonymous());
    let (mut snapshots, mut peak) = (VecDeque::new(), 0);
    for n in 0..400_000 {
        if n % 1_000 == 0 {
            snapshots.truncate(9);
            snapshots.push_front(db.snapshot().unwrap());
        }
        put(shuffled(n) % count);
        peak = peak.max(db.memory_bytes().unwrap());
    }
    snapshots.clear();
    let left = db.memory_bytes().unwrap();
    println!("{needed} bytes before, {peak} at the peak, {left} with all snapshots closed");
    assert!(peak > 2 * needed, "the test needs holes");
    let most = needed * 13 / 10 + (1 << 20);
    assert!(left <= most, "{left} bytes are held where {needed} are needed");
    if let (Some(before), Some(now)) = (seen, anonymous()) {
        let more = now.saturating_sub(before);
        assert!(more <= most - needed + (2 << 20), "{more} bytes more are seen");
    }
    db.check().unwrap();
}

/// Checks that a store holds at most 1.3 times what a new one takes for the same entries, put
/// in random order, and `more` bytes. `len_of` returns the length of the value of a number.
fn check_what_is_held(
    db: &InMemoryDB,
    before: Option<u64>,
    more: u64,
    len_of: &dyn Fn(u64) -> Option<usize>,
    what: &str,
) {
    let (said, seen, fresh) = (db.memory_bytes().unwrap(), anonymous(), InMemoryDB::new().unwrap());
    for n in (0..N).map(shuffled) {
        len_of(n).into_iter().for_each(|len| put(&fresh, n, len));
    }
    assert_eq!(db.data_bytes(), fresh.data_bytes());
    let needed = fresh.memory_bytes().unwrap();
    let (most, seen) = (needed * 13 / 10 + more, seen.map(|now| now - before.unwrap_or_default()));
    let times = said as f64 / needed as f64;
    println!("{what}: {} KiB are held, {times:.2} times what is needed", said >> 10);
    assert!(said <= most, "{said} bytes are held where {needed} are needed");
    assert!(seen.is_none_or(|seen| seen <= most + MIB), "{seen:?} bytes are seen, not {needed}");
    db.check().unwrap();
}

/// Sets a value of so many bytes.
fn put(db: &InMemoryDB, n: u64, len: usize) {
    static VALUE: [u8; 1 << 17] = [b'v'; 1 << 17];
    db.put_with(key(n).as_bytes(), &VALUE[..len], |_| Ok(())).unwrap();
}

/// Each entry is overwritten in an order of its own, with values that first grow and then
/// shrink again: all with one length, or each with one of many.
#[test]
fn values_whose_sizes_drift_take_what_is_needed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    join_no_pages();
    let sizes = [20, 40, 80, 160, 300, 600, 300, 160, 80, 40, 20];
    let long_sizes = [1_025, 2_000, 3_000, 4_097, 9_000, 32_000, 65_536, 9_000, 3_000, 1_025, 300];
    for (count, sizes, varies) in [
        (100_000, sizes, false),
        (100_000, sizes, true),
        (2_000, long_sizes, false),
        (2_000, long_sizes, true),
    ] {
        let (before, db) = (anonymous(), InMemoryDB::new().unwrap());
        for (round, size) in sizes.into_iter().enumerate() {
            let len = |n: u64| match n * 7_919 % 1_000 {
                part if varies => size / 2 + size * part as usize / 1_000,
                _ => size,
            };
            let numbers = (0..N).map(|n| shuffled(n * (round as u64 * 10 + 1) % N));
            numbers.filter(|n| *n < count).for_each(|n| put(&db, n, len(n)));
            let what = format!("{count} values of {size} bytes ({varies})");
            let len_of = |n| (n < count).then(|| len(n));
            // Pages and two spaces for blobs keep some memory each, and numbers of blobs stay.
            let more = if count < 100_000 { 3 * MIB } else { MIB };
            check_what_is_held(&db, before, more, &len_of, &what);
        }
    }
}

/// Half of the entries, three quarters and nine tenths are deleted in random order, without
/// snapshots and beside some; then others are put.
#[test]
fn what_is_left_of_random_deletions_takes_what_is_needed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    join_no_pages();
    for (count, len) in [(200_000, 20), (200_000, 100), (30_000, 600), (20_000, 3_000)] {
        for (tenths, snapshots) in [(5, 0), (9, 0), (5, 5), (9, 5)] {
            let (before, db) = (anonymous(), InMemoryDB::new().unwrap());
            let numbers = |times: u64| (0..N).map(move |n| shuffled(n * times % N));
            numbers(1).filter(|n| *n < count).for_each(|n| put(&db, n, len));
            let is_left = |n: u64| n * 7_919 % 10 >= tenths;
            let (mut held, gone) = (VecDeque::new(), numbers(3).filter(|n| !is_left(*n)));
            for (at, n) in gone.filter(|n| *n < count).enumerate() {
                if snapshots > 0 && (at as u64).is_multiple_of(count / 50) {
                    held.truncate(snapshots - 1);
                    held.push_front(db.snapshot().unwrap());
                }
                db.delete_with(key(n).as_bytes(), |_| Ok(())).unwrap();
            }
            drop(held);
            let more = if len > 1_024 { 3 * MIB } else { MIB };
            let what = format!("{tenths} of 10 x {len} bytes gone, {snapshots} snapshots");
            let len_of = |n| (n < count && is_left(n)).then_some(len);
            check_what_is_held(&db, before, more, &len_of, &what);
            let others = |n: u64| n >= count && n - count < count * tenths / 10;
            numbers(7).filter(|n| others(*n)).for_each(|n| put(&db, n, len));
            let len_of = |n| (n < count && is_left(n) || others(n)).then_some(len);
            check_what_is_held(&db, before, more, &len_of, "others put");
        }
    }
}

/// The store records what is committed beside an open transaction, in at most 16 MiB.
#[test]
fn small_commits_beside_an_open_transaction_take_what_the_store_says() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let db = InMemoryDB::new().unwrap();
    db.put(b"read", b"").unwrap();
    let mut txn = db.begin().unwrap();
    txn.get(b"read").unwrap();
    txn.put(b"result", b"").unwrap();
    let (before, said_before) = (anonymous(), db.memory_bytes().unwrap());
    for n in 0..2 * N {
        db.put_with(&[n as u8], b"", |_| Ok(())).unwrap();
    }
    let said = db.memory_bytes().unwrap() - said_before;
    println!("{} KiB as the store says", said / 1024);
    assert!(said > 15 * MIB && said < 17 * MIB, "{said} bytes");
    if let (Some(before), Some(now)) = (before, anonymous()) {
        let taken = now.saturating_sub(before);
        println!("{} KiB as the system sees it", taken / 1024);
        assert!(taken < said + 2 * MIB, "{taken} bytes are taken, the store says {said}");
    }
    assert!(!txn.commit().unwrap(), "more was committed than is recorded");
    drop(txn);
    let left = db.memory_bytes().unwrap();
    assert!(left < said_before + MIB, "{left} bytes are left");
}
