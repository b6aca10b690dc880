use std::io;
use std::path::Path;
use std::time::Instant;

use super::*;

const A: &str = "/data/a";
const B: &str = "/data/b";

fn open(disk: &SimDisk, name: &str) -> Box<dyn File> {
    disk.open(Path::new(name), OpenMode::Create).unwrap()
}

/// The content after a crash right now.
fn after(disk: &SimDisk, name: &str, fate: Fate) -> Option<Vec<u8>> {
    disk.crash(disk.operations(), fate).contents(Path::new(name))
}

/// A disk with a durable file of so many bytes of `a`, and that file.
fn with_file(len: usize) -> (SimDisk, Box<dyn File>) {
    let disk = SimDisk::new(1);
    disk.place(Path::new(A), &vec![b'a'; len]);
    let file = open(&disk, A);
    (disk, file)
}

fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().unwrap().raw_os_error().unwrap()
}

#[test]
fn a_process_sees_what_it_wrote() {
    let (disk, file) = with_file(10);
    file.write(&[b'b'; 5000], 5000).unwrap();
    file.set_len(7000).unwrap();
    file.set_len(10_001).unwrap();
    file.write(b"z", 10_000).unwrap();
    let mut expected = vec![0; 10_001];
    expected[..10].fill(b'a');
    expected[5000..7000].fill(b'b');
    expected[10_000] = b'z';
    assert_eq!(disk.contents(Path::new(A)).unwrap(), expected);
    let mut two = [0; 2];
    assert_eq!(file.read_some(&mut two, 10_000).unwrap(), 1);
    assert_eq!(file.read_some(&mut two, 10_001).unwrap(), 0);
    assert_eq!(errno(file.write(b"z", u64::MAX)), libc::EFBIG);
    assert_eq!(after(&disk, A, Fate::KeepAll).unwrap(), expected);
}

#[test]
fn opening_renaming_and_removing_go_by_the_name() {
    let (disk, file) = with_file(1);
    let (a, b) = (Path::new(A), Path::new(B));
    assert_eq!(errno(disk.open(b, OpenMode::Write)), libc::ENOENT);
    assert_eq!(errno(disk.open(a, OpenMode::New)), libc::EEXIST);
    open(&disk, B);
    assert_eq!(errno(disk.rename_new(a, b)), libc::EEXIST);
    disk.remove(b).unwrap();
    disk.rename_new(a, b).unwrap();
    assert_eq!(disk.names(), [b]);
    assert!(file.is_at(b).unwrap() && !file.is_at(a).unwrap());
    disk.remove(b).unwrap();
    assert_eq!(file.len().unwrap(), 1, "it is open");
    assert_eq!(errno(disk.remove(b)), libc::ENOENT);
}

#[test]
fn a_lock_keeps_others_out_until_the_file_is_dropped() {
    let (disk, one) = with_file(1);
    let other = open(&disk, A);
    assert!(one.lock(true).unwrap() && other.lock(true).unwrap());
    assert!(!one.lock(false).unwrap());
    drop(other);
    assert!(one.lock(false).unwrap());
    assert!(!open(&disk, A).lock(true).unwrap());
    let image = disk.crash(disk.operations(), Fate::KeepAll);
    assert!(open(&image, A).lock(false).unwrap(), "the process is dead");
}

#[test]
fn what_was_not_synced_may_vanish() {
    let (disk, file) = with_file(3);
    file.write(b"bc", 2).unwrap();
    file.sync().unwrap();
    let synced = disk.operations();
    file.write(b"d", 0).unwrap();
    file.set_len(8).unwrap();
    assert_eq!(disk.pending(synced), 0);
    assert_eq!(disk.pending(disk.operations()), 2);
    assert_eq!(after(&disk, A, Fate::DropAll).unwrap(), b"aabc");
    assert_eq!(after(&disk, A, Fate::OnlyKept(0)).unwrap(), b"dabc");
    assert_eq!(after(&disk, A, Fate::OnlyDropped(0)).unwrap(), b"aabc\0\0\0\0");
    assert_eq!(after(&disk, A, Fate::Subset(0b01)).unwrap(), b"dabc");
    assert_eq!(after(&disk, A, Fate::Subset(0b11)).unwrap(), b"dabc\0\0\0\0");
    let before = disk.crash(synced - 1, Fate::DropAll);
    assert_eq!(before.contents(Path::new(A)).unwrap(), b"aaa", "the cut is before the sync");
}

#[test]
fn a_name_vanishes_unless_the_folder_is_synced() {
    let (a, b) = (Path::new(A), Path::new(B));
    let disk = SimDisk::new(1);
    let file = open(&disk, A);
    file.write(b"content", 0).unwrap();
    file.sync().unwrap();
    assert!(disk.crash(disk.operations(), Fate::DropAll).names().is_empty());
    disk.sync_folder(Path::new("/elsewhere/x")).unwrap();
    assert!(disk.crash(disk.operations(), Fate::DropAll).names().is_empty());
    disk.sync_folder(a).unwrap();
    assert_eq!(after(&disk, A, Fate::DropAll).unwrap(), b"content");
    disk.rename_new(a, b).unwrap();
    assert_eq!(after(&disk, A, Fate::DropAll).unwrap(), b"content");
    assert_eq!(after(&disk, B, Fate::KeepAll).unwrap(), b"content");
    disk.sync_folder(b).unwrap();
    drop(file);
    disk.remove(b).unwrap();
    assert_eq!(after(&disk, B, Fate::DropAll).unwrap(), b"content");
    open(&disk, B);
    assert_eq!(after(&disk, B, Fate::KeepAll).unwrap(), b"");
    assert_eq!(after(&disk, B, Fate::OnlyDropped(0)).unwrap(), b"", "another file of that name");
    disk.sync_folder(b).unwrap();
    assert_eq!(after(&disk, B, Fate::DropAll).unwrap(), b"");
}

#[test]
fn a_torn_write_damages_only_sectors_that_it_touches() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..1000 {
        let (disk, file) = with_file(2000);
        file.write(&[b'b'; 2500], 700).unwrap(); // sectors 1 to 6; 0 to 3 are durable
        let image = after(&disk, A, Fate::TornLast(seed)).unwrap();
        assert!(image[..700].iter().all(|it| *it == b'a'), "seed {seed}");
        assert!((2000..=3200).contains(&image.len()), "seed {seed}");
        let durable = [&image[700..1024], &image[1024..1536], &image[1536..2000]];
        for sector in durable {
            assert!(sector.iter().all(|it| *it == sector[0]), "seed {seed}: half a sector");
            assert!(b"ab".contains(&sector[0]), "seed {seed}: neither old nor new");
        }
        if let Some(sector) = image.get(2048..2560) {
            seen.insert(match sector[0] {
                _ if sector.iter().any(|it| *it != sector[0]) => "garbage",
                0 => "zeros",
                _ => "new",
            });
        } else {
            seen.insert("nothing");
        }
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_cut_gives_the_same_image_from_wherever_it_is_reached() {
    for seed in 0..100 {
        let build = || {
            let (disk, file) = with_file(3000);
            let mut random = Random::new(seed);
            for _ in 0..30 {
                let at = random.below(5000);
                match random.below(8) {
                    0 => file.sync().unwrap(),
                    1 => file.set_len(at).unwrap(),
                    2 => disk.place(Path::new(B), b"again"),
                    _ => file.write(&vec![b'b'; at as usize / 3], at).unwrap(),
                }
            }
            disk
        };
        let image = |disk: &SimDisk, cut| {
            let image = disk.crash(cut, Fate::Random(seed));
            (image.contents(Path::new(A)), image.contents(Path::new(B)), image.random().unwrap())
        };
        let (up, down) = (build(), build());
        let mut upwards: Vec<_> = (0..=up.operations()).map(|cut| image(&up, cut)).collect();
        for cut in (0..=down.operations()).rev() {
            assert_eq!(upwards.pop().unwrap(), image(&down, cut), "seed {seed}, cut {cut}");
        }
    }
}

#[test]
fn a_crash_of_what_a_crash_left_is_possible() {
    let (disk, file) = with_file(4);
    file.write(b"bb", 0).unwrap();
    let image = disk.crash(disk.operations(), Fate::KeepAll);
    assert_eq!((image.operations(), image.pending(0)), (0, 0), "what was found stays");
    open(&image, A).write(b"cc", 2).unwrap();
    assert_eq!(after(&image, A, Fate::DropAll).unwrap(), b"bbaa");
    assert_eq!(after(&image, A, Fate::KeepAll).unwrap(), b"bbcc");
    assert_eq!(disk.contents(Path::new(A)).unwrap(), b"bbaa", "the first disk is another one");
}

#[test]
fn marks_are_found_by_the_cut() {
    let (disk, file) = with_file(1);
    let start = disk.operations();
    disk.mark(7);
    file.sync().unwrap();
    disk.mark(8);
    let marks: Vec<_> = (0..4).map(|n| disk.marks_before(start + n)).collect();
    assert_eq!(marks, [vec![], vec![7], vec![7], vec![7, 8]]);
}

#[test]
fn a_failed_sync_makes_nothing_durable() {
    for loses in [false, true] {
        let (disk, file) = with_file(4);
        disk.lose_after_failed_sync(loses);
        file.write(b"bb", 0).unwrap();
        disk.fail(Fault { kinds: &[Call::Sync], ..FAULT });
        assert_eq!(errno(file.sync()), libc::EIO);
        assert_eq!(after(&disk, A, Fate::DropAll).unwrap(), b"aaaa");
        file.write(b"c", 1).unwrap();
        file.sync().unwrap();
        assert_eq!(after(&disk, A, Fate::DropAll).unwrap(), if loses { b"acaa" } else { b"bcaa" });
        assert_eq!(after(&disk, A, Fate::KeepAll).unwrap(), b"bcaa", "in the order of the writes");
        assert_eq!(disk.contents(Path::new(A)).unwrap(), b"bcaa");
        file.write(b"bb", 0).unwrap();
        file.sync().unwrap();
        assert_eq!(after(&disk, A, Fate::DropAll).unwrap(), b"bbaa", "it was written again");
    }
}

const FAULT: Fault =
    Fault { at: 0, errno: libc::EIO, forever: false, kinds: Call::ALL, short: false };

#[test]
fn a_fault_comes_when_it_is_due() {
    let (disk, file) = with_file(10);
    let calls = disk.calls();
    disk.fail(Fault { at: 1, kinds: &[Call::Len, Call::IsAt], ..FAULT });
    assert!(file.len().is_ok() && file.is_ordinary().is_ok());
    assert_eq!(errno(file.is_at(Path::new(A))), libc::EIO);
    assert!(file.len().is_ok(), "once");
    assert_eq!(disk.calls(), calls + 4);
    disk.fail(Fault { at: 1, forever: true, ..FAULT });
    assert!(file.len().is_ok());
    assert_eq!(errno(file.len()), libc::EIO);
    assert_eq!(errno(disk.open(Path::new(A), OpenMode::Read)), libc::EIO);
    disk.heal();
    assert!(file.len().is_ok());
}

#[test]
fn a_call_may_stop_half_way() {
    let (disk, file) = with_file(10);
    disk.fail(Fault { errno: 0, forever: true, short: true, ..FAULT });
    assert_eq!(file.write_some(b"bbbb", 0).unwrap(), 2);
    assert_eq!(file.read_some(&mut [0; 5], 0).unwrap(), 3);
    file.write(b"ccccc", 5).unwrap();
    assert_eq!(disk.contents(Path::new(A)).unwrap(), b"bbaaaccccc");
    disk.heal();
    disk.fail(Fault { errno: libc::ENOSPC, short: true, ..FAULT });
    assert_eq!(errno(file.write(b"dddd", 8)), libc::ENOSPC);
    assert_eq!(disk.contents(Path::new(A)).unwrap(), b"bbaaacccdd");
    disk.fail(FAULT);
    assert_eq!(errno(file.write(b"e", 0)), libc::EIO);
    assert_eq!(disk.contents(Path::new(A)).unwrap(), b"bbaaacccdd");
}

#[test]
fn space_runs_out() {
    let (disk, file) = with_file(10);
    disk.set_space(16);
    open(&disk, B).write(b"1", 0).unwrap();
    file.write(b"bbbbb", 0).unwrap();
    assert_eq!(errno(file.write(b"0123456789", 8)), libc::ENOSPC);
    assert_eq!(disk.contents(Path::new(A)).unwrap(), b"bbbbbaaa0123456");
    assert_eq!(errno(file.set_len(16)), libc::ENOSPC);
    disk.remove(Path::new(B)).unwrap();
    file.set_len(16).unwrap();
}

#[test]
fn numbers_follow_from_the_seed() {
    let first = |seed| SimDisk::new(seed).random().unwrap();
    assert_eq!(first(1), first(1));
    assert_ne!(first(1), first(2));
    let disk = SimDisk::new(1);
    assert_ne!(disk.random().unwrap(), disk.random().unwrap());
}

/// A log of the usual kind, cut everywhere: the images have to be cheap.
#[test]
fn images_are_cheap() {
    let (disk, file) = with_file(100_000);
    for n in 0..1000 {
        file.write(&[n as u8; 300], 100_000 + n * 300).unwrap();
        if n % 4 == 0 {
            file.sync().unwrap();
        }
    }
    let start = Instant::now();
    let mut images = 0;
    for cut in 0..=disk.operations() {
        for seed in 0..8 {
            let image = disk.crash(cut, Fate::Random(seed));
            assert!(open(&image, A).len().unwrap() >= 100_000 || cut < 4);
            images += 1;
        }
    }
    println!("{images} images in {:?}", start.elapsed());
}
