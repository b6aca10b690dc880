//! The Rust API in one minute: `cargo run --example hello`.

use std::thread;

use minidb::{DB, DBResult, InMemoryDB};

fn main() -> DBResult<()> {
    let db = InMemoryDB::new()?;
    previous_values(&db)?;
    order(&db)?;
    snapshot(&db)?;
    threads(&db)
}

fn text(value: Option<Vec<u8>>) -> String {
    value.map_or("None".into(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Every write hands back what was there before.
fn previous_values(db: &InMemoryDB) -> DBResult<()> {
    println!("get user-1: {}", text(db.get(b"user-1")?));
    println!("put user-1: {}", text(db.put(b"user-1", b"John")?));
    println!("put user-1: {}", text(db.put(b"user-1", b"Jane")?));
    println!("get user-1: {}", text(db.get(b"user-1")?));
    println!("delete user-1: {}", text(db.delete(b"user-1")?));
    println!("delete user-1: {}", text(db.delete(b"user-1")?));
    Ok(())
}

/// Keys are ordered, whatever the order of writing.
fn order(db: &InMemoryDB) -> DBResult<()> {
    for (key, value) in [("pear", "green"), ("plum", "blue"), ("apple", "red")] {
        db.put(key.as_bytes(), value.as_bytes())?;
    }
    for entry in db.iter()? {
        let (key, value) = entry?;
        println!("{} is {}", key.escape_ascii(), value.escape_ascii());
    }
    let mut cursor = db.scan_prefix(b"p")?;
    while cursor.next()? {
        let key = cursor.key().unwrap_or_default();
        println!("begins with p: {}", key.escape_ascii());
    }
    Ok(())
}

/// A snapshot shows what was there when it was made, and copies nothing.
fn snapshot(db: &InMemoryDB) -> DBResult<()> {
    let before = db.snapshot()?;
    db.put(b"apple", b"golden")?;
    db.delete(b"plum")?;
    println!("before: {} fruits, apple {}", before.count()?, text(before.get(b"apple")?));
    println!("now: {} fruits, apple {}", db.count()?, text(db.get(b"apple")?));
    Ok(())
}

/// Any number of threads may use a database: here they share out jobs.
fn threads(db: &InMemoryDB) -> DBResult<()> {
    let done = thread::scope(|scope| {
        let workers = ["Ann", "Bob", "Cy", "Di"].map(|name| scope.spawn(move || work(db, name)));
        workers.into_iter().map(|it| it.join().expect("no worker panics")).sum::<DBResult<u32>>()
    })?;
    println!("4 threads did {done} jobs of 100");
    Ok(())
}

/// Does each job that nobody did before; returns how many those were.
fn work(db: &InMemoryDB, name: &str) -> DBResult<u32> {
    let mut done = 0;
    for job in 1..=100 {
        let key = format!("job-{job:03}");
        if db.cas(key.as_bytes(), None, Some(name.as_bytes()))? {
            done += 1;
        }
    }
    Ok(done)
}
