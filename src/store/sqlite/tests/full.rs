//! A disk that is full: lines are refused, and nothing else happens.

use std::fs;

use rusqlite::Connection;

use super::support::{ALL, Clock, Driver, Folder};
use crate::chat::{ErrorCode, Part};
use crate::store::{OpenError, SqliteOptions};

/// Says lines until one is refused; gives how many were stored.
fn fill(driver: &mut Driver, newest: u64) -> u64 {
    let text = "x".repeat(1_000);
    for count in 0..10_000 {
        match driver.try_append(1, &text) {
            Ok(seq) => assert_eq!(seq, newest + count + 1),
            Err(code) => {
                assert_eq!(code, ErrorCode::StorageFull);
                return count;
            }
        }
    }
    panic!("it is never full")
}

fn small(folder: &Folder) -> SqliteOptions {
    SqliteOptions { file_pages_max: Some(60), recent_messages_max: 0, ..SqliteOptions::at(folder.store()) }
}

#[test]
fn lines_are_refused_and_reading_goes_on() {
    let folder = Folder::new();
    let mut driver = Driver::open(&small(&folder), &Clock::new()).expect("it opens");
    driver.load(1, "a");
    let stored = fill(&mut driver, 0);
    assert!(stored > 30, "{stored}");
    assert_eq!(driver.seqs(1, ALL).0.len() as u64, stored);
    assert_eq!(driver.try_append(1, "more"), Err(ErrorCode::StorageFull));
    drop(driver);
    let mut driver = Driver::at(&folder);
    assert_eq!(driver.load(1, "a").newest, stored, "nothing that was acknowledged is lost");
    assert_eq!(driver.append(1, "more"), stored + 1, "and no place is used up by what was refused");
}

#[test]
fn it_goes_on_by_itself_when_there_is_room_again() {
    let folder = Folder::new();
    let clock = Clock::new();
    let mut driver = Driver::open(&small(&folder), &clock).expect("it opens");
    driver.load(1, "a");
    let stored = fill(&mut driver, 0);
    let ballast = folder.path().join("chinwag.db-ballast");
    assert!(!ballast.exists(), "its room is there for whoever tidies up");
    let other = Connection::open(folder.store()).expect("it opens");
    let gone = other.execute("DELETE FROM message WHERE seq <= 20", []).expect("there is room to delete");
    assert_eq!(gone, 20);
    drop(other);
    assert_eq!(driver.try_append(1, "too soon"), Err(ErrorCode::StorageFull));
    clock.advance(1_000);
    assert_eq!(driver.append(1, "more"), stored + 1);
    assert!(ballast.exists());
}

/// Needs a small disk: `mount -t tmpfs -o size=16m none /mnt && TMPDIR=/mnt cargo test --lib a_small_disk -- --ignored`.
#[test]
#[ignore = "needs a small disk"]
fn a_small_disk_is_filled_opened_again_and_emptied() {
    let folder = Folder::new();
    let filler = folder.path().join("filler");
    fs::write(&filler, vec![7; 3 << 20]).expect("there is room");
    let clock = Clock::new();
    let open = || {
        let options = SqliteOptions { recent_messages_max: 0, ..SqliteOptions::at(folder.store()) };
        Driver::open(&options, &clock).expect("it opens")
    };
    let mut driver = open();
    driver.load(1, "a");
    let stored = fill(&mut driver, 0);
    assert!(stored > 1_000, "{stored}");
    for _ in 0..3 {
        clock.advance(1_000);
        assert_eq!(driver.try_append(1, &"x".repeat(60_000)), Err(ErrorCode::StorageFull));
        assert_eq!(driver.seqs(1, Part { seqs: (1, 100), ..ALL }).0.len(), 100);
    }
    drop(driver);
    // It opens again, full as it is; not always when somebody else has taken the last room.
    let more = folder.path().join("more");
    let _ = fs::write(&more, vec![7; 16 << 20]);
    let options = SqliteOptions::at(folder.store());
    match Driver::open(&options, &clock) {
        Ok(mut driver) => assert_eq!(driver.load(1, "a").newest, stored),
        Err(error) => assert!(matches!(error, OpenError::Full(_)), "{error}"),
    }
    fs::remove_file(&more).expect("it was there");
    let mut driver = open();
    let newest = driver.load(1, "a").newest;
    assert_eq!(newest, stored, "nothing is lost");
    let stored = newest + fill(&mut driver, newest);
    fs::remove_file(filler).expect("it was there");
    clock.advance(1_000);
    assert_eq!(driver.append(1, "there is room again"), stored + 1);
    driver.load(2, "b");
    driver.append(2, "also here");
}
