//! The log on a file that fails when told to.

use std::path::Path;

use super::replay::Replayed;
use super::*;
use crate::os::disk::{Disk, OpenMode};
use crate::os::sim::{Call, Fault, Random, SimDisk};

const ID: Identity = Identity { database: *b"0123456789abcdef", generation: 3, salt: 0x5a17 };
const FIRST: u64 = 1000;
const BEGIN: Position = Position { lsn: FIRST, offset: START };

/// The file of a log, on a disk of its own.
struct Tape {
    disk: SimDisk,
    file: Box<dyn File>,
}

impl Tape {
    fn of(bytes: &[u8]) -> Tape {
        let disk = SimDisk::new(1);
        disk.place(path(), bytes);
        let file = disk.open(path(), OpenMode::Write).unwrap();
        Tape { disk, file }
    }

    fn new() -> Tape {
        Tape::of(&[])
    }

    /// Opens the file again, for a log.
    fn again(&self) -> Box<dyn File> {
        self.disk.open(path(), OpenMode::Write).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        self.disk.contents(path()).unwrap()
    }

    /// From now on these calls fail.
    fn fail(&self, kinds: &'static [Call], errno: i32) {
        self.disk.fail(Fault { at: 0, errno, forever: true, kinds, short: false });
    }
}

fn payload(rng: &mut Random, longest: usize) -> Vec<u8> {
    let len = rng.below(longest + 1);
    rng.bytes(len)
}

fn path() -> &'static Path {
    Path::new("db-log")
}

fn log(tape: &Tape, ahead: u64) -> Log {
    Log::create(tape.again(), path().into(), ID, FIRST, ahead).unwrap()
}

/// Writes what is pending.
fn flush(log: &mut Log, sync: bool) -> DBResult<()> {
    let first = log.begin_flush();
    let outcome = first.run(sync);
    log.finish_flush(first, outcome)
}

fn add(log: &mut Log, payload: &[u8], sync: bool) -> DBResult<()> {
    log.append(&[payload])?;
    flush(log, sync)
}

type Read = DBResult<(Vec<Vec<u8>>, Replayed)>;

fn read(tape: &Tape, identity: &Identity, start: Position, floor: u64) -> Read {
    let mut all = Vec::new();
    let replayed = replay(&*tape.file, path(), identity, start, floor, |_, payload| {
        all.push(payload.to_vec());
        Ok(())
    })?;
    Ok((all, replayed))
}

fn contents(tape: &Tape) -> Vec<Vec<u8>> {
    read(tape, &ID, BEGIN, 0).unwrap().0
}

/// Five records, synced one by one except the last two.
fn small() -> (Vec<u8>, Vec<Vec<u8>>, u64) {
    let tape = Tape::new();
    let mut log = log(&tape, 0);
    let all: Vec<Vec<u8>> = [0, 3, 8, 21, 40].map(|len| vec![len as u8 | 1; len]).into();
    for (i, payload) in all.iter().enumerate() {
        add(&mut log, payload, i < 3).unwrap();
    }
    (tape.bytes(), all, log.durable())
}

#[test]
fn what_was_appended_is_replayed() {
    for ahead in [0, 1 << 16] {
        let tape = Tape::of(b"left over");
        let mut log = log(&tape, ahead);
        let big: Vec<u8> = (0..5_u32 << 20).map(|i| (i / 7) as u8).collect();
        log.append(&[]).unwrap();
        log.append(&[b"one", b"", b"and two"]).unwrap();
        log.append(&[&big]).unwrap();
        assert!(contents(&tape).is_empty());
        flush(&mut log, true).unwrap();
        add(&mut log, b"the last", false).unwrap();
        assert!(log.durable() < log.written() && log.written() == log.end());
        let (all, replayed) = read(&tape, &ID, BEGIN, log.end()).unwrap();
        assert!(all == [&b""[..], b"oneand two", &big, b"the last"]);
        let expected = Replayed { lsn: log.end(), dropped_bytes: 0 };
        assert_eq!(replayed, expected);
        assert_eq!(log.bytes(), tape.bytes().len() as u64);
        assert!(ahead == 0 || log.bytes() > log.end() + ahead);
    }
}

#[test]
fn commits_may_be_appended_while_a_flush_is_written() {
    let tape = Tape::new();
    let mut log = log(&tape, 0);
    log.append(&[b"1"]).unwrap();
    let first = log.begin_flush();
    log.append(&[b"2"]).unwrap();
    assert_eq!((log.written(), first.end()), (FIRST, FIRST + 40));
    log.append(&[b"3"]).unwrap();
    log.roll_back().unwrap();
    let outcome = first.run(true);
    log.finish_flush(first, outcome).unwrap();
    assert_eq!(log.durable(), FIRST + 40);
    flush(&mut log, false).unwrap();
    let sync = log.begin_sync();
    let outcome = sync.run();
    log.finish_sync(sync, outcome).unwrap();
    assert_eq!(log.durable(), log.end());
    assert_eq!(contents(&tape), [b"1", b"2"]);
}

/// The hashes are those of the reference implementation.
#[test]
fn the_format_is_what_it_was() {
    let tape = Tape::new();
    add(&mut log(&tape, 0), b"value", false).unwrap();
    let bytes = tape.bytes();
    assert_eq!(&bytes[..16], b"minidbL\n\x01\0\0\0\0\0\0\0");
    assert_eq!(&bytes[504..512], 0x6c47_659a_902d_e01a_u64.to_le_bytes());
    let record = b"\xe8\x03\0\0\0\0\0\0\xe8\x03\0\0\0\0\0\0\x05\0\0\0\0\0\0\x01value\0\0\0";
    assert_eq!(&bytes[4104..], record);
    assert_eq!(&bytes[4096..4104], 0x59ce_5c19_128e_c6af_u64.to_le_bytes());
}

#[test]
fn a_cut_log_is_a_prefix_or_refused() {
    let (bytes, all, durable) = small();
    for len in 0..bytes.len() {
        match read(&Tape::of(&bytes[..len]), &ID, BEGIN, durable) {
            Ok((some, replayed)) => {
                assert!(replayed.lsn >= durable, "at {len}");
                assert!(some.len() < all.len() && all.starts_with(&some), "at {len}");
            }
            Err(DBError::Corrupt(_)) => assert!(len < (durable - FIRST + START) as usize),
            Err(other) => panic!("at {len}: {other}"),
        }
    }
}

#[test]
fn a_changed_byte_is_found() {
    let (bytes, all, durable) = small();
    let proved = durable - FIRST + START; // by the records behind
    for at in (0..FILE_HEAD_BYTES).chain(START as usize..bytes.len()) {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            match read(&Tape::of(&bytes), &ID, BEGIN, FIRST) {
                Ok((some, _)) => {
                    assert!(at as u64 >= proved, "at {at}");
                    assert!(some.len() < all.len() && all.starts_with(&some), "at {at}");
                }
                Err(DBError::Corrupt(why)) => {
                    assert!((at as u64) < proved && why.contains("db-log, at "), "at {at}: {why}");
                }
                Err(other) => panic!("at {at}: {other}"),
            }
        }
    }
}

const FILE_HEAD_BYTES: usize = record::FILE_HEAD;

#[test]
fn a_torn_tail_is_dropped_whatever_follows() {
    let (bytes, all, _) = small();
    let tape = Tape::of(&bytes);
    let torn = bytes.len() - 72 - 56; // the fourth of five
    tape.file.write(&[0xee; 4], torn as u64 + 32).unwrap();
    let (some, replayed) = read(&tape, &ID, BEGIN, FIRST).unwrap();
    assert_eq!(some, all[..3]);
    assert_eq!(replayed.dropped_bytes, 72 + 56);
    // Unless it is known that it was durable.
    let floor = replayed.lsn + 1;
    assert!(matches!(read(&tape, &ID, BEGIN, floor), Err(DBError::Corrupt(_))));
}

#[test]
fn what_is_being_written_is_not_verified() {
    let tape = Tape::of(&[]);
    let mut log = log(&tape, 0);
    add(&mut log, b"before", true).unwrap();
    let end = log.written();
    let next = log.position(end).offset as usize;
    add(&mut log, b"being written", true).unwrap();
    add(&mut log, b"behind it", true).unwrap();
    let mut bytes = tape.bytes();
    bytes[next + HEAD] ^= 1;
    let torn = Tape::of(&bytes);
    assert!(matches!(read(&torn, &ID, BEGIN, 0), Err(DBError::Corrupt(_))));
    assert_eq!(verify(&*torn.file, path(), &ID, BEGIN, end), Ok(()));
    let more = verify(&*torn.file, path(), &ID, BEGIN, log.written());
    assert!(matches!(more, Err(DBError::Corrupt(_))));
}

#[test]
fn another_log_is_refused() {
    let (mut bytes, ..) = small();
    let tape = Tape::of(&bytes);
    let others = [
        Identity { database: [1; 16], ..ID },
        Identity { generation: 4, ..ID },
        Identity { salt: 0, ..ID },
    ];
    for other in others {
        assert!(matches!(read(&tape, &other, BEGIN, 0), Err(DBError::Corrupt(_))));
    }
    assert_eq!(identify(&*tape.file, path()).unwrap(), Some(ID));
    for other in [&[][..], &[0; 5000], b"minidbL\n", &bytes[..511]] {
        assert_eq!(identify(&*Tape::of(other).file, path()).unwrap(), None);
        assert!(matches!(read(&Tape::of(other), &ID, BEGIN, 0), Err(DBError::Corrupt(_))));
    }
    for (at, newer) in [(8, true), (0, false)] {
        bytes[at] = 2;
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes[..504]);
        bytes[504..512].copy_from_slice(&hash.to_le_bytes());
        match read(&Tape::of(&bytes), &ID, BEGIN, 0) {
            Err(DBError::Format(_)) => assert!(newer),
            other => assert!(!newer && matches!(other, Err(DBError::Corrupt(_)))),
        }
    }
}

/// No two things in use overlap.
fn check_places(log: &Log) {
    let mut places: Vec<Range<u64>> = Vec::new();
    for (i, extent) in log.extents.iter().enumerate() {
        let end = log.extents.get(i + 1).map_or(log.written, |next| next.lsn);
        let from = log.retired.max(extent.lsn) - extent.lsn;
        let to = end - extent.lsn + JUMP as u64;
        places.push(extent.offset + from..extent.offset + to);
    }
    places.sort_by_key(|place| place.start);
    assert!(places[0].start >= START);
    assert!(places.windows(2).all(|two| two[0].end <= two[1].start), "{places:?}");
}

/// Appends, retires and replays at random, with some flushes that fail.
fn laps(seed: u64, longest: usize, rounds: usize) {
    println!("seed {seed}");
    let mut rng = Random::new(seed);
    let tape = Tape::new();
    let mut log = log(&tape, [0, 1 << 15][rng.below(2)]);
    let mut live: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
    let (mut start, mut next) = (BEGIN, None::<Position>);
    let (mut most, mut total, mut failures) = (0, 0, 0);
    for round in 0..rounds {
        let group = 1 + rng.below(4);
        let mut added = Vec::new();
        for _ in 0..group {
            let lsn = log.end();
            let payload = payload(&mut rng, longest);
            log.append(&[&payload]).unwrap();
            added.push((lsn, payload));
        }
        if rng.below(8) == 0 {
            let room = log.bytes() + rng.below(4 * longest) as u64;
            tape.disk.set_space(room);
        }
        let sync = rng.below(2) == 0;
        match flush(&mut log, sync) {
            Ok(()) => live.extend(added),
            Err(DBError::Full(_)) => failures += 1,
            Err(other) => panic!("{other}"),
        }
        tape.disk.set_space(u64::MAX);
        if !sync && log.latest.is_some() && rng.below(8) == 0 {
            log.roll_back().unwrap();
            live.pop_back();
        }
        most = most.max(log.live_bytes());
        total = log.end() - FIRST;
        // A checkpoint, of all or of what was there some time ago, takes time.
        if rng.below(10) == 0 && next.is_none() {
            if rng.below(2) == 0 {
                log.begin_lap();
            }
            let kept = [0, rng.below(live.len() + 1)][rng.below(2)];
            let lsn = live.iter().nth_back(kept.wrapping_sub(1)).map_or(log.end(), |(lsn, _)| *lsn);
            next = Some(log.position(lsn));
        }
        if rng.below(5) == 0 && next.is_some_and(|next| next.lsn <= log.written()) {
            start = next.take().unwrap();
            log.retire(start);
            live.retain(|(lsn, _)| *lsn >= start.lsn);
            while rng.below(2) == 0 && log.shrink(1 << 14) {}
        }
        check_places(&log);
        assert!(log.extents.len() <= 20, "round {round}");
        let (all, replayed) = read(&tape, &ID, start, log.durable()).unwrap();
        assert!(all.iter().eq(live.iter().map(|(_, payload)| payload)), "round {round}");
        assert_eq!(replayed.lsn, log.end(), "round {round}");
    }
    println!("{} of {total}, {most} at most live, {failures} failed", log.bytes());
    assert!(log.bytes() < most / 8 * 10 + (512 << 10) && total > 3 * log.bytes());
}

#[test]
fn space_is_used_again_and_nothing_old_comes_back() {
    for seed in 0..12 {
        laps(seed, 20_000, 400);
        laps(seed + 100, 6000, 400);
        laps(seed + 200, 200, 8000);
    }
}

#[test]
fn short_records_between_long_ones_make_few_jumps() {
    for count in 1..100 {
        let tape = Tape::new();
        let mut log = log(&tape, 0);
        log.make_room();
        add(&mut log, &[1; 7400], false).unwrap();
        let start = log.position(log.end());
        log.retire(start);
        let mut records = 0;
        let mut put = |log: &mut Log, len: usize| {
            records += 1;
            add(log, &vec![2; len], false).unwrap();
        };
        while log.position(log.end()).offset + 3000 < log.bytes() {
            put(&mut log, 2000);
        }
        // Each short one goes back to what is free, where the long one does not fit.
        let mut free = 7400;
        for _ in 0..count {
            put(&mut log, 10);
            free = (free - 88).max(4200);
            put(&mut log, free);
        }
        check_places(&log);
        assert!(log.extents.len() <= 50, "{} extents", log.extents.len());
        let (all, _) = read(&tape, &ID, start, log.end()).unwrap();
        assert_eq!(all.len(), records);
    }
}

#[test]
fn records_go_where_a_jump_fits_behind_them() {
    for spare in (0..80).step_by(8) {
        let tape = Tape::new();
        let mut log = log(&tape, 0);
        add(&mut log, &[1; 100_000], false).unwrap();
        let start = log.position(log.end());
        log.retire(start);
        let free = start.offset - START;
        // Once into what is free, and once behind what is there by then.
        for rest in [free / 2, free - free / 2 - spare] {
            add(&mut log, &vec![2; rest as usize / 8 * 8 - HEAD], false).unwrap();
            check_places(&log);
        }
        assert_eq!(read(&tape, &ID, start, log.end()).unwrap().0.len(), 2);
    }
}

#[test]
fn an_earlier_generation_is_never_replayed() {
    let (bytes, ..) = small();
    let tape = Tape::new();
    let next = Identity { generation: 4, salt: 0xbeef, ..ID };
    Log::create(tape.again(), path().into(), next, FIRST, 0).unwrap();
    tape.file.write(&bytes[START as usize..], START).unwrap();
    let (all, replayed) = read(&tape, &next, BEGIN, 0).unwrap();
    assert!(all.is_empty() && replayed.lsn == FIRST);
    assert!(
        !has_records(&*tape.file, path(), &next).unwrap()
            && has_records(&*tape.file, path(), &ID).unwrap()
    );
}

#[test]
fn a_full_disk_undoes_the_flush() {
    for room in (0..200).step_by(8) {
        let tape = Tape::new();
        let mut log = log(&tape, if room % 16 == 0 { 4096 } else { 0 });
        tape.disk.set_space(START + 40 + room);
        add(&mut log, b"before", true).unwrap();
        let end = log.end();
        for payload in [b"first one", b"secondone", b"third one"] {
            log.append(&[payload]).unwrap();
        }
        let fits = room >= 3 * 48;
        assert_eq!(flush(&mut log, true).is_ok(), fits, "room {room}");
        if !fits {
            assert_eq!(contents(&tape), [b"before"]);
            assert!(log.failed().is_none() && log.end() == end);
        }
        tape.disk.set_space(u64::MAX);
        // As long as the first of those that failed.
        add(&mut log, b"and after", false).unwrap();
        assert_eq!(contents(&tape).len(), if fits { 5 } else { 2 });
        assert_eq!(contents(&tape).last().unwrap(), b"and after");
    }
}

#[test]
fn a_failed_sync_lasts() {
    let tape = Tape::new();
    let mut log = log(&tape, 0);
    add(&mut log, b"before", true).unwrap();
    log.append(&[b"lost"]).unwrap();
    let first = log.begin_flush();
    log.append(&[b"lost too"]).unwrap();
    tape.fail(&[Call::Sync], libc::ENOSPC);
    let outcome = first.run(true);
    let error = log.finish_flush(first, outcome).unwrap_err();
    assert!(matches!(error, DBError::Io(_)));
    tape.disk.heal();
    assert_eq!(log.failed(), Some(error.clone()));
    assert_eq!(log.append(&[b"more"]), Err(error.clone()));
    assert_eq!(flush(&mut log, true), Err(error.clone()));
    let sync = log.begin_sync();
    assert_eq!(log.finish_sync(sync, Ok(())), Err(error));
    assert_eq!((log.end(), log.durable()), (FIRST + 40, FIRST + 40));
    assert_eq!(contents(&tape), [b"before"]);
}

#[test]
fn a_failed_write_lasts_unless_it_can_be_undone() {
    for full in [false, true] {
        let tape = Tape::new();
        let mut log = log(&tape, 0);
        if full {
            tape.fail(&[Call::Sync], libc::ENOSPC);
        } else {
            tape.fail(&[Call::WriteSome], libc::EIO);
        }
        tape.disk.set_space(START + 8);
        assert!(matches!(add(&mut log, b"lost", false), Err(DBError::Io(_))));
        assert!(matches!(log.failed(), Some(DBError::Io(_))));
    }
}

#[test]
fn an_append_that_is_rolled_back_is_gone() {
    let tape = Tape::new();
    let mut log = log(&tape, 0);
    add(&mut log, b"1", false).unwrap();
    add(&mut log, b"wrong", false).unwrap();
    log.roll_back().unwrap();
    assert_eq!(contents(&tape), [b"1"]);
    log.append(&[b"2"]).unwrap();
    log.append(&[b"wrong"]).unwrap();
    log.roll_back().unwrap();
    flush(&mut log, false).unwrap();
    assert_eq!(contents(&tape), [b"1", b"2"]);
    assert_eq!(log.end(), log.written());

    add(&mut log, b"stays", false).unwrap();
    tape.fail(&[Call::WriteSome], libc::EIO);
    assert!(matches!(log.roll_back(), Err(DBError::Io(_))));
    assert!(log.failed().is_some());
}

#[test]
fn salvage_finds_what_is_behind_the_damage() {
    let (mut bytes, all, durable) = small();
    bytes[START as usize + 32 + 40] ^= 1; // the third
    let tape = Tape::of(&bytes);
    assert!(read(&tape, &ID, BEGIN, durable).is_err());
    let mut found = Vec::new();
    let count = salvage(&*tape.file, path(), &ID, |lsns, payload| {
        found.push((lsns.start, payload.to_vec()));
        Ok(())
    });
    assert_eq!(count.unwrap(), 4);
    assert!(found.is_sorted());
    let expected = [&all[0], &all[1], &all[3], &all[4]];
    assert!(found.iter().map(|(_, payload)| payload).eq(expected));
}

#[test]
fn a_record_is_found_wherever_it_stands() {
    // Its third word could be the last of a header.
    let mut record = record::encode_head(Kind::Commit, 1 << 56, 0);
    record::finalize(&mut record, 1 << 56, ID.salt);
    let window = START + (256 << 10);
    for at in (START..START + 96).chain(window - 96..window + 96).step_by(8) {
        let tape = Tape::of(&[1; 600 << 10]);
        tape.file.write(&record, at).unwrap();
        assert!(has_records(&*tape.file, path(), &ID).unwrap(), "at {at}");
        tape.file.set_len(at + 32).unwrap();
        assert!(has_records(&*tape.file, path(), &ID).unwrap(), "at {at}");
        tape.file.set_len(at + 31).unwrap();
        assert!(!has_records(&*tape.file, path(), &ID).unwrap(), "at {at}");
    }
}

#[test]
fn a_log_may_end_before_the_start_unless_more_was_durable() {
    let (bytes, ..) = small();
    let start = Position { lsn: FIRST + 800, offset: START + 800 };
    let (all, replayed) = read(&Tape::of(&bytes), &ID, start, start.lsn).unwrap();
    assert!(all.is_empty() && replayed.lsn == start.lsn);
    let more = start.lsn + 8;
    assert!(matches!(read(&Tape::of(&bytes), &ID, start, more), Err(DBError::Corrupt(_))));
}

#[test]
fn a_jump_in_a_circle_ends() {
    let tape = Tape::new();
    log(&tape, 0);
    for (at, to) in [(START, START + 40), (START + 40, START)] {
        tape.file.write(&record::encode_jump(FIRST, to, FIRST, ID.salt), at).unwrap();
    }
    assert!(matches!(read(&tape, &ID, BEGIN, 0), Err(DBError::Corrupt(_))));
}

/// Every word begins a record that could be, and is as long as all that follows.
#[test]
fn a_hostile_file_is_read_in_good_time() {
    let tape = Tape::new();
    log(&tape, 0);
    let size = 8_u64 << 20;
    let mut bytes = tape.bytes();
    for at in (START..START + size).step_by(32) {
        let mut head = record::encode_head(Kind::Commit, FIRST + at, START + size - at - 32);
        head[16..24].copy_from_slice(&(FIRST + 1).to_le_bytes());
        bytes.extend_from_slice(&head);
    }
    let tape = Tape::of(&bytes);
    assert!(matches!(read(&tape, &ID, BEGIN, 0), Err(DBError::Corrupt(_))));
    assert!(has_records(&*tape.file, path(), &ID).unwrap());
    assert_eq!(salvage(&*tape.file, path(), &ID, |_, _| Ok(())), Ok(0));
    // A length that goes past the end is none.
    let head = record::encode_head(Kind::Commit, FIRST, (1 << 56) - 1);
    tape.file.write(&head, START).unwrap();
    tape.file.set_len(START + 64).unwrap();
    assert_eq!(read(&tape, &ID, BEGIN, 0).unwrap().0.len(), 0);
}
