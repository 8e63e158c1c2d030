//! What a store knows when it is opened again.

use std::fs;

use rusqlite::Connection;

use super::support::{ALL, Clock, Driver, Folder, draft};
use crate::chat::{Completion, Draft, ErrorCode, Name, Request, RoomKey, Row, UserId};
use crate::store::{SqliteOptions, SyncPolicy};

const STREAM: &str = "@uaaaaaaaaaaaaaaaa";

/// As if the system had gone down since.
fn another_boot(folder: &Folder) {
    let connection = Connection::open(folder.store()).expect("it opens");
    connection.execute("UPDATE meta SET value = 'another' WHERE name = 'boot'", []).expect("there is one");
}

#[test]
fn every_field_of_a_line_comes_back() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    let name = |text| Name::parse(text, 32).expect("a name");
    let full = Draft {
        time_ms: (1 << 53) + 1,
        user: UserId([0xff; 10]),
        from: name("Zoë 🦀"),
        id: Some("id\u{0}'\"".into()),
        to: Some(name("bob")),
        message: "\u{0}two\nlines\u{0}'; DROP TABLE message; --".into(),
    };
    let empty = Draft { time_ms: 0, id: Some("".into()), ..draft("", 0) };
    for said in [&full, &empty] {
        let rows = [Row { room: RoomKey(1), draft: said.clone() }].into();
        let answer = driver.ask(|ticket| Request::Append { ticket, rows });
        assert!(matches!(answer, Completion::Appended { .. }), "{answer:?}");
    }
    drop(driver);
    let mut driver = Driver::at(&folder);
    assert_eq!(driver.load(1, "a").newest, 2);
    let (lines, _) = driver.fetch(1, ALL);
    assert_eq!((&lines[0].draft, &lines[1].draft), (&full, &empty));
}

#[test]
fn the_key_the_epochs_and_the_counts_are_kept_however_it_ended() {
    for sync in [SyncPolicy::Full, SyncPolicy::Interval(200)] {
        let folder = Folder::new();
        let options = |folder: &Folder| SqliteOptions { sync, ..SqliteOptions::at(folder.store()) };
        let mut driver = Driver::open(&options(&folder), &Clock::new()).expect("it opens");
        let (lines, empty) = (driver.load(1, "lines"), driver.load(2, "empty"));
        assert_ne!(lines.epoch, empty.epoch);
        driver.append_all(1, 1..=300);
        let (key, crashed) = (driver.key, folder.image());
        drop(driver);
        for folder in [folder, crashed] {
            let mut driver = Driver::open(&options(&folder), &Clock::new()).expect("it opens");
            assert_eq!(driver.key, key);
            let again = driver.load(1, "lines");
            assert_eq!((&again.epoch, again.newest, &again.former), (&lines.epoch, 300, &None));
            assert_eq!(driver.load(2, "empty"), empty);
            driver.assert_counts(1, 1..=300);
            driver.append_all(1, 301..=301);
        }
    }
}

#[test]
fn a_stream_is_there_for_others_from_its_first_load_on() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    assert_eq!(driver.try_load(1, STREAM, true), Err(ErrorCode::NoSuchUser));
    let stream = driver.load(1, STREAM);
    driver.unload(1);
    assert_eq!(driver.try_load(1, STREAM, true), Ok(stream.clone()), "though it may not be in the file yet");
    drop(driver);
    let mut driver = Driver::at(&folder);
    assert_eq!(driver.try_load(1, STREAM, true), Ok(stream));
    assert_eq!(driver.try_load(2, "@ubbbbbbbbbbbbbbbb", true), Err(ErrorCode::NoSuchUser));
}

#[test]
fn after_the_power_failed_places_are_good_up_to_what_is_there() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    let (lines, empty) = (driver.load(1, "lines"), driver.load(2, "empty"));
    driver.append_all(1, 1..=5);
    let folder = folder.image();
    another_boot(&folder);

    let mut driver = Driver::at(&folder);
    let (next, next_empty) = (driver.load(1, "lines"), driver.load(2, "empty"));
    assert_ne!(next.epoch, lines.epoch);
    assert_eq!((next.newest, next.former.clone()), (5, Some((lines.epoch.clone(), 5))));
    assert_ne!(next_empty.epoch, empty.epoch);
    assert_eq!(next_empty.former, Some((empty.epoch.clone(), 0)));
    driver.append_all(1, 6..=7);
    drop(driver);

    // In the same generation both stay as they are, whether lines came or not.
    let mut driver = Driver::at(&folder);
    let last = driver.load(1, "lines");
    assert_eq!((&last.epoch, last.newest, &last.former), (&next.epoch, 7, &next.former));
    assert_eq!(driver.load(2, "empty"), next_empty);
    driver.assert_counts(1, 1..=7);
}

#[test]
fn an_older_copy_that_is_put_back_is_noticed() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    let first = driver.load(1, "a");
    driver.append_all(1, 1..=2);
    drop(driver);
    let copy = fs::read(folder.store()).expect("it is there");
    let mut driver = Driver::at(&folder);
    assert_eq!(driver.load(1, "a").former, None);
    driver.append_all(1, 3..=9);
    drop(driver);
    fs::write(folder.store(), copy).expect("it is put back");
    let mut driver = Driver::at(&folder);
    let again = driver.load(1, "a");
    assert_ne!(again.epoch, first.epoch);
    assert_eq!((again.newest, again.former), (2, Some((first.epoch, 2))));
}

#[test]
fn a_file_that_is_lost_begins_anew() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    let first = driver.load(1, "a");
    let key = driver.key;
    drop(driver);
    fs::remove_file(folder.store()).expect("it was there");
    let mut driver = Driver::at(&folder);
    assert_ne!(driver.key, key);
    assert_ne!(driver.load(1, "a").epoch, first.epoch);
}
