//! A transaction's view against `BTreeMap`, and what counts as read.

use std::collections::BTreeMap;

use super::super::in_memory_db::InMemoryDB;
use super::super::index::Sink;
use super::*;
use crate::DB;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn key(&mut self) -> Vec<u8> {
        format!("{:02}", self.below(40)).into_bytes()
    }

    fn bound(&mut self) -> Option<Vec<u8>> {
        (self.below(3) > 0).then(|| self.key())
    }
}

fn step(txn: &mut Transaction, model: &mut Model, rng: &mut Rng) {
    let (key, value) = (rng.key(), rng.below(1000).to_string().into_bytes());
    match rng.below(8) {
        0..3 => {
            txn.put(&key, &value).unwrap();
            model.insert(key, value);
        }
        3 => assert_eq!(txn.delete(&key).unwrap(), model.remove(&key).is_some()),
        4 => {
            let old = txn.put_with(&key, &value, |old| Ok(old.map(<[u8]>::to_vec))).unwrap();
            assert_eq!(old, model.insert(key, value));
        }
        5 => {
            let expected = model.get(&key).cloned().filter(|_| rng.below(4) > 0);
            let done = txn.cas(&key, expected.as_deref(), Some(&value)).unwrap();
            assert_eq!(done, model.get(&key) == expected.as_ref());
            if done {
                model.insert(key, value);
            }
        }
        6 if rng.below(5) == 0 => {
            let (from, to) = (rng.bound(), rng.bound());
            txn.clear(from.as_deref(), to.as_deref()).unwrap();
            model.retain(|key, _| {
                from.as_ref().is_some_and(|it| key < it) || to.as_ref().is_some_and(|it| key >= it)
            });
        }
        _ => assert_eq!(txn.get(&key).unwrap().as_ref(), model.get(&key)),
    }
}

fn assert_totals(txn: &mut Transaction, model: &Model) {
    let bytes: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
    let totals = (txn.count().unwrap(), txn.data_bytes().unwrap());
    assert_eq!(totals, (model.len() as u64, bytes as u64));
}

/// Takes so many entries.
struct Take(usize, Vec<(Vec<u8>, Vec<u8>)>);

impl Sink for Take {
    fn fits(&mut self, _: usize, _: usize) -> bool {
        self.1.len() < self.0
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.1.push((key.to_vec(), value.to_vec()));
    }
}

/// Walks a cursor at random beside the model's entries.
fn walk(cursor: &mut Cursor, entries: &[(Vec<u8>, Vec<u8>)], rng: &mut Rng) {
    // 0 is before the first, len + 1 after the last; a new cursor is both.
    let (mut at, end) = (None, entries.len() + 1);
    for _ in 0..40 {
        let found = match rng.below(9) {
            7 => {
                let mut sink = Take(rng.below(4) as usize, Vec::new());
                let (most, from) = (sink.0, at.unwrap_or(0).min(entries.len()));
                let rest = &entries[from..];
                assert_eq!(cursor.read(&mut sink).unwrap(), !rest.is_empty());
                assert_eq!(sink.1, rest[..most.min(rest.len())]);
                match sink.1.len() {
                    0 if rest.is_empty() => at = Some(end),
                    0 => {}
                    read => at = Some(from + read),
                }
                cursor.key().is_some()
            }
            0 => (at = Some(1.min(end)), cursor.first().unwrap()).1,
            1 => (at = Some(end - 1), cursor.last().unwrap()).1,
            2..5 => (at = Some((at.unwrap_or(0) + 1).min(end)), cursor.next().unwrap()).1,
            5..7 => (at = Some(at.unwrap_or(end).saturating_sub(1)), cursor.prev().unwrap()).1,
            _ => {
                let key = rng.key();
                at = Some(1 + entries.partition_point(|(it, _)| it < &key));
                cursor.seek(&key).unwrap()
            }
        };
        let expected = at.and_then(|at| entries.get(at.wrapping_sub(1)));
        assert_eq!(found, expected.is_some());
        assert_eq!(cursor.key(), expected.map(|(key, _)| &key[..]));
        assert_eq!(cursor.value(), expected.map(|(_, value)| &value[..]));
    }
}

#[test]
fn a_view_with_its_own_writes_is_as_the_model() {
    let mut rng = Rng(0x1234_5678_9abc_def1);
    for _ in 0..400 {
        let db = InMemoryDB::new().unwrap();
        let mut model = Model::new();
        for _ in 0..rng.below(40) {
            let key = rng.key();
            db.put(&key, b"old").unwrap();
            model.insert(key, b"old".to_vec());
        }
        let mut txn = db.begin().unwrap();
        for _ in 0..rng.below(60) {
            step(&mut txn, &mut model, &mut rng);
            if rng.below(10) == 0 {
                assert_totals(&mut txn, &model);
            }
            if rng.below(8) == 0 {
                let (from, to) = (rng.bound(), rng.bound());
                let mut cursor = txn.scan(from.as_deref(), to.as_deref()).unwrap();
                let within = |key: &Vec<u8>| {
                    from.as_ref().is_none_or(|it| key >= it)
                        && to.as_ref().is_none_or(|it| key < it)
                };
                let entries = model.iter().filter(|(key, _)| within(key));
                let entries: Vec<_> = entries.map(|(k, v)| (k.clone(), v.clone())).collect();
                // Writing meanwhile changes nothing for it.
                txn.put(b"05", b"later").unwrap();
                model.insert(b"05".to_vec(), b"later".to_vec());
                walk(&mut cursor, &entries, &mut rng);
            }
        }
        assert_totals(&mut txn, &model);
        let copy = txn.snapshot().unwrap();
        assert!(copy.iter().unwrap().map(Result::unwrap).eq(model.clone()));
        assert!(txn.commit().unwrap());
        assert!(db.iter().unwrap().map(Result::unwrap).eq(model));
        db.check().unwrap();
    }
}

/// Whether a transaction that does `read` first is in conflict with `write`.
fn conflicts(read: impl FnOnce(&mut Transaction), write: impl FnOnce(&InMemoryDB)) -> bool {
    let db = InMemoryDB::new().unwrap();
    for key in ["b", "d", "f", "h"] {
        db.put(key.as_bytes(), b"old").unwrap();
    }
    let mut txn = db.begin().unwrap();
    read(&mut txn);
    txn.put(b"result", b"").unwrap();
    write(&db);
    !txn.commit().unwrap()
}

fn put(key: &str) -> impl FnOnce(&InMemoryDB) {
    move |db| drop(db.put(key.as_bytes(), b"new").unwrap())
}

#[test]
fn what_counts_as_read() {
    let get =
        |key: &'static str| move |txn: &mut Transaction| drop(txn.get(key.as_bytes()).unwrap());
    assert!(conflicts(get("b"), put("b")));
    assert!(!conflicts(get("b"), put("c")));
    assert!(conflicts(get("none"), put("none")), "a key that is not there");
    assert!(conflicts(get("b"), |db| drop(db.put(b"b", b"old").unwrap())), "an equal value");
    assert!(conflicts(get("b"), |db| db.clear(None, None).unwrap()));
    assert!(!conflicts(get("b"), |db| db.clear(Some(b"c"), None).unwrap()));
    assert!(conflicts(get("b"), |db| db.write_all([(&b"b"[..], &b""[..])]).unwrap()));
    assert!(!conflicts(|_| {}, put("b")), "what reads nothing commits");
    assert!(
        !conflicts(
            |txn| {
                let _ = txn.delete(b"b").unwrap();
            },
            put("b")
        ),
        "a blind delete"
    );
    assert!(conflicts(
        |txn| {
            let _ = txn.delete_with(b"b", |_| Ok(())).unwrap();
        },
        put("b")
    ));
    assert!(conflicts(
        |txn| {
            txn.put_with(b"b", b"", |_| Ok(())).unwrap();
        },
        put("b")
    ));
    assert!(conflicts(
        |txn| {
            let _ = txn.cas(b"x", Some(b""), None).unwrap();
        },
        put("x")
    ));
    let own = |txn: &mut Transaction| {
        txn.put(b"b", b"mine").unwrap();
        assert_eq!(txn.get(b"b").unwrap().unwrap(), b"mine");
    };
    assert!(!conflicts(own, put("b")), "its own is not read by looking at it");
}

#[test]
fn a_count_depends_on_the_number_and_on_the_keys_written_before_it() {
    type Totals = fn(&mut Transaction);
    let count: Totals = |txn| _ = txn.count().unwrap();
    let bytes: Totals = |txn| _ = txn.data_bytes().unwrap();
    let delete =
        |key: &'static str| move |db: &InMemoryDB| drop(db.delete(key.as_bytes()).unwrap());
    for totals in [count, bytes] {
        assert!(conflicts(totals, put("anything")) && conflicts(totals, delete("b")));
        assert!(conflicts(totals, |db| db.clear(Some(b"b"), Some(b"c")).unwrap()));
        assert!(!conflicts(totals, |db| db.clear(Some(b"c"), Some(b"d")).unwrap()));
        assert!(!conflicts(totals, put("b")), "another value of the same length");
        assert!(!conflicts(totals, |db| (put("x")(db), delete("x")(db)).1));
        assert!(!conflicts(totals, |db| (put("x")(db), delete("d")(db)).1));
        let after_its_own = move |txn: &mut Transaction| {
            txn.put(b"b", b"mine").unwrap();
            txn.clear(Some(b"d"), Some(b"f")).unwrap();
            totals(txn);
            txn.put(b"h", b"mine").unwrap();
        };
        assert!(conflicts(after_its_own, put("b")) && conflicts(after_its_own, put("d")));
        assert!(conflicts(after_its_own, |db| (put("e")(db), delete("f")(db)).1));
        let clear = |from: &'static [u8], to: &'static [u8]| {
            move |db: &InMemoryDB| db.clear(Some(from), Some(to)).unwrap()
        };
        assert!(conflicts(after_its_own, clear(b"b", b"b\0")));
        assert!(conflicts(after_its_own, clear(b"a", b"b\0")));
        assert!(conflicts(after_its_own, clear(b"e", b"e\0")));
        assert!(conflicts(after_its_own, clear(b"c", b"e")));
        assert!(!conflicts(after_its_own, put("f")) && !conflicts(after_its_own, put("h")));
        assert!(!conflicts(after_its_own, clear(b"b\0", b"d")), "an empty gap");
        assert!(!conflicts(after_its_own, clear(b"f\0", b"h")));
    }
    let longer = |db: &InMemoryDB| drop(db.put(b"b", b"a longer value").unwrap());
    assert!(!conflicts(count, longer) && conflicts(bytes, longer));
    let anew = |txn: &mut Transaction| {
        count(txn);
        assert!(txn.commit().unwrap());
    };
    assert!(!conflicts(anew, put("x")), "what it read before it began anew");
}

#[test]
fn a_count_that_others_keep_may_be_committed_in_their_order() {
    let db = InMemoryDB::new().unwrap();
    let seats = |txn: &mut Transaction, name: &[u8]| {
        let free = txn.count().unwrap() < 3;
        if free {
            txn.put(name, b"").unwrap();
        }
        free
    };
    db.put(b"first", b"").unwrap();
    let (mut one, mut other) = (db.begin().unwrap(), db.begin().unwrap());
    assert!(seats(&mut one, b"one") && seats(&mut other, b"other"));
    db.put(b"first", b"renamed").unwrap();
    assert!(one.commit().unwrap(), "there are as many as it has seen");
    assert!(!other.commit().unwrap(), "there is one more");
    assert!(seats(&mut other, b"other") && other.commit().unwrap());
    assert!(one.commit().unwrap() && !seats(&mut one, b"fourth"));
    assert_eq!(db.count().unwrap(), 3);
}

#[test]
fn what_a_cursor_walked_over_counts_as_read() {
    let walked = |txn: &mut Transaction| {
        let mut cursor = txn.scan(Some(b"c"), Some(b"z")).unwrap();
        assert!(cursor.next().unwrap() && cursor.next().unwrap());
        assert_eq!(cursor.key(), Some(&b"f"[..]));
    };
    for (key, read) in
        [("b", false), ("c", true), ("d", true), ("e", true), ("f", true), ("g", false)]
    {
        assert_eq!(conflicts(walked, put(key)), read, "{key}");
    }
    let to_the_end = |txn: &mut Transaction| {
        let mut cursor = txn.scan(None, Some(b"p")).unwrap();
        assert!(cursor.seek(b"g").unwrap() && !cursor.next().unwrap());
    };
    for (key, read) in [("f", false), ("g", true), ("o", true), ("p", false), ("z", false)] {
        assert_eq!(conflicts(to_the_end, put(key)), read, "{key}");
    }
    let outside = |txn: &mut Transaction| {
        assert!(!txn.scan(Some(b"g"), Some(b"c")).unwrap().next().unwrap());
        assert!(!txn.scan(Some(b"g"), Some(b"c")).unwrap().prev().unwrap());
        let mut cursor = txn.scan(Some(b"c"), Some(b"e")).unwrap();
        assert!(!cursor.seek(b"g").unwrap() && cursor.prev().unwrap());
    };
    for (key, read) in [("b", false), ("c", false), ("d", true), ("dd", true), ("e", false)] {
        assert_eq!(conflicts(outside, put(key)), read, "{key}");
    }
    assert!(!conflicts(outside, put("f")) && !conflicts(outside, put("g")));
    let backward = |txn: &mut Transaction| {
        let mut cursor = txn.scan(None, None).unwrap();
        assert!(cursor.prev().unwrap() && cursor.prev().unwrap());
        assert_eq!(cursor.key(), Some(&b"f"[..]));
    };
    for (key, read) in [("e", false), ("f", true), ("g", true), ("z", true)] {
        assert_eq!(conflicts(backward, put(key)), read, "{key}");
    }
    let over_its_own = |txn: &mut Transaction| {
        txn.put(b"d", b"mine").unwrap();
        let mut cursor = txn.scan(None, None).unwrap();
        while cursor.next().unwrap() {}
        txn.put(b"f", b"mine").unwrap();
    };
    assert!(!conflicts(over_its_own, put("d")));
    assert!(conflicts(over_its_own, put("f")), "it was read before it was written");
    let within_its_own = |txn: &mut Transaction| {
        txn.put(b"d", b"mine").unwrap();
        txn.clear(Some(b"d\0"), Some(b"e")).unwrap();
        txn.put(b"da", b"mine").unwrap();
        let mut cursor = txn.scan(Some(b"d"), Some(b"e\0")).unwrap();
        while cursor.next().unwrap() {}
        txn.put(b"e", b"mine").unwrap();
    };
    let clear = |from: &'static [u8], to: &'static [u8]| {
        move |db: &InMemoryDB| db.clear(Some(from), Some(to)).unwrap()
    };
    assert!(!conflicts(within_its_own, clear(b"a", b"e")));
    assert!(!conflicts(within_its_own, clear(b"d\0", b"d\0\0")));
    assert!(conflicts(within_its_own, clear(b"a", b"e\0")), "read before it was written");
    assert!(!conflicts(within_its_own, clear(b"e\0", b"z")));
}

#[test]
fn an_open_transaction_costs_bounded_memory() {
    let db = InMemoryDB::new().unwrap();
    db.put(b"read", b"").unwrap();
    let mut forgotten = db.begin().unwrap();
    forgotten.get(b"read").unwrap();
    forgotten.put(b"result", b"").unwrap();
    for n in 0..400_000u32 {
        db.put(&[&n.to_be_bytes()[..], &[7; 100]].concat(), b"").unwrap();
        db.delete(&[&n.to_be_bytes()[..], &[7; 100]].concat()).unwrap();
    }
    let bytes = db.store().history().bytes();
    assert!(bytes > 1 << 20 && bytes <= super::super::history::BYTES_MAX, "{bytes}");
    assert!(!forgotten.commit().unwrap(), "more was committed than is noted");
    drop(forgotten);
    assert_eq!(db.store().history().bytes(), 0);
}

#[test]
fn a_failed_commit_keeps_its_writes() {
    let db = InMemoryDB::new().unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(b"a", b"1").unwrap();
    let refuse = |_: Option<&[u8]>| Err::<(), _>(crate::DBError::OutOfMemory);
    assert!(txn.put_with(b"b", b"", refuse).is_err());
    assert!(txn.write_all([(&b"c"[..], &b""[..])]).is_ok());
    assert_eq!(txn.count().unwrap(), 2);
    assert!(txn.commit().unwrap());
    assert_eq!(db.count().unwrap(), 2);
}

/// Keys that begin alike or not, short and long, in no order, some often.
fn any_key(rng: &mut Rng) -> Vec<u8> {
    let mut key = match rng.below(4) {
        0 => Vec::new(),
        1 => b"users/by-name/".to_vec(),
        2 => vec![7; 700],
        _ => b"users/by-number/".to_vec(),
    };
    key.extend(&(rng.below(4_000) as u32).to_be_bytes()[rng.below(4) as usize..]);
    key
}

#[test]
fn a_large_transaction_does_what_its_writes_do_one_by_one() {
    let mut rng = Rng(0x0dd_ba11);
    let (db, mut model) = (InMemoryDB::new().unwrap(), Model::new());
    for round in 0..6 {
        let mut txn = db.begin().unwrap();
        let before = db.snapshot().unwrap();
        let was = model.clone();
        for n in 0..12_000 {
            let key = any_key(&mut rng);
            if rng.below(4) == 0 {
                txn.delete(&key).unwrap();
                model.remove(&key);
            } else {
                let len = if rng.below(50) == 0 { 5_000 } else { rng.below(3) as usize * 40 };
                let value = vec![n as u8; len];
                txn.put(&key, &value).unwrap();
                model.insert(key, value);
            }
        }
        if round == 4 {
            txn.clear(Some(b"users/by-name/"), Some(b"users/by-name0")).unwrap();
            model.retain(|key, _| !key.starts_with(b"users/by-name/"));
        }
        assert!(txn.commit().unwrap());
        db.check().unwrap();
        assert!(db.iter().unwrap().map(Result::unwrap).eq(model.clone()));
        assert!(before.iter().unwrap().map(Result::unwrap).eq(was));
        let bytes: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(
            (db.count().unwrap(), db.data_bytes().unwrap()),
            (model.len() as u64, bytes as u64)
        );
    }
}

#[test]
fn commits_are_noted_while_another_transaction_is_open() {
    let db = InMemoryDB::new().unwrap();
    let mut only = db.begin().unwrap();
    for _ in 0..3 {
        only.put_with(b"a", b"1", |_| Ok(())).unwrap();
        assert!(only.commit().unwrap());
        assert_eq!(db.store().history().bytes(), 0, "nobody will ask");
    }
    db.put(b"z", b"").unwrap();
    let (mut a, mut b) = (db.begin().unwrap(), db.begin().unwrap());
    assert!(a.get(b"a").unwrap().is_some() && b.get(b"b").unwrap().is_none());
    a.put(b"x", b"").unwrap();
    b.put(b"y", b"").unwrap();
    only.put(b"a", b"2").unwrap();
    assert!(only.commit().unwrap());
    assert!(!a.commit().unwrap() && b.commit().unwrap());
}

#[test]
fn a_long_walk_by_short_reads_is_one_span() {
    const ENTRIES: u32 = 1_000_000;
    let db = InMemoryDB::new().unwrap();
    let keys: Vec<_> = (0..ENTRIES).map(u32::to_be_bytes).collect();
    db.write_all(keys.iter().map(|key| (&key[..], &b""[..]))).unwrap();
    let (from, to) = (1_000u32.to_be_bytes(), (ENTRIES - 1_000).to_be_bytes());
    let walks_then = |key: u32| {
        let mut txn = db.begin().unwrap();
        txn.put(&5_000u32.to_be_bytes(), b"mine").unwrap();
        let mut cursor = txn.scan(Some(&from), Some(&to)).unwrap();
        let (mut count, mut reads) = (0, 0);
        loop {
            let mut sink = Take(200, Vec::new());
            if !cursor.read(&mut sink).unwrap() {
                break;
            }
            (count, reads) = (count + sink.1.len(), reads + 1);
        }
        assert!(count == ENTRIES as usize - 2_000 && reads > 4_000);
        db.put(&key.to_be_bytes(), b"other").unwrap();
        txn.commit().unwrap()
    };
    assert!(walks_then(999) && walks_then(ENTRIES - 1_000), "outside of what was walked");
    assert!(walks_then(5_000), "its own");
    assert!(!walks_then(1_000) && !walks_then(500_000) && !walks_then(ENTRIES - 1_001));
}

#[test]
fn too_many_walks_of_one_cursor_count_as_one_over_all_of_them() {
    let looks_then = |key: u32, order: fn(u32) -> u32| {
        let db = InMemoryDB::new().unwrap();
        (0..10_000u32).for_each(|n| drop(db.put(&(2 * n).to_be_bytes(), b"").unwrap()));
        let mut txn = db.begin().unwrap();
        txn.put(b"x", b"").unwrap();
        let mut cursor = txn.scan(None, None).unwrap();
        for n in 0..2_000 {
            assert!(cursor.seek(&(8 * order(n) + 1_000).to_be_bytes()).unwrap());
        }
        db.put(&key.to_be_bytes(), b"").unwrap();
        txn.commit().unwrap()
    };
    for order in [|n| n, |n| 1_999 - n, |n| n * 7 % 2_000] {
        assert!(looks_then(999, order) && looks_then(8 * 1_999 + 1_001, order));
        assert!(!looks_then(1_000, order) && !looks_then(8 * 1_999 + 1_000, order));
        assert!((0..2_000).step_by(97).all(|n| !looks_then(8 * n + 1_000, order)));
    }
}

#[test]
fn the_first_to_begin_before_hidden_commits_conflicts_with_them_only() {
    for (read, committed) in [("other", true), ("hidden", false), ("later", false)] {
        let db = InMemoryDB::new().unwrap();
        db.store().history().record_always().unwrap();
        db.put(b"other", b"1").unwrap();
        db.store().begin_unpublished().unwrap();
        db.put(b"hidden", b"1").unwrap();
        let mut txn = db.begin().unwrap();
        assert_eq!(txn.get(read.as_bytes()).unwrap().is_some(), read == "other");
        txn.put(b"result", b"").unwrap();
        db.put(b"later", b"1").unwrap();
        db.store().publish(None).unwrap();
        assert_eq!(txn.commit().unwrap(), committed, "{read}");
        drop(txn);
        db.store().publish(None).unwrap();
        assert_eq!(db.store().history().bytes(), 0);
    }
}
