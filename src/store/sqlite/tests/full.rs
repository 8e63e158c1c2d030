//! A disk that is full: lines are refused, and nothing else happens.

use rusqlite::Connection;

use super::support::{ALL, Clock, Driver, Folder};
use crate::chat::ErrorCode;
use crate::store::SqliteOptions;

/// Says lines until one is refused; gives how many were stored.
fn fill(driver: &mut Driver) -> u64 {
    let text = "x".repeat(1_000);
    for count in 0..10_000 {
        match driver.try_append(1, &text) {
            Ok(seq) => assert_eq!(seq, count + 1),
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
    let stored = fill(&mut driver);
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
    let stored = fill(&mut driver);
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
