//! What goes, and what stays.

use rusqlite::Connection;

use super::support::{ALL, Clock, Driver, Folder};
use crate::chat::ErrorCode;
use crate::store::{Retention, SqliteOptions};

const DAY_MS: u64 = 24 * 3_600_000;

fn open(folder: &Folder, clock: &Clock, retention: Retention) -> Driver {
    Driver::open(&SqliteOptions { retention, ..SqliteOptions::at(folder.store()) }, clock).expect("it opens")
}

fn oldest(driver: &mut Driver, key: u32) -> u64 {
    driver.fetch(key, ALL).1
}

/// Lets the store do what is due, by giving it something to do while time passes, until that is so.
fn until(driver: &mut Driver, what: &str, mut is_so: impl FnMut(&mut Driver) -> bool) {
    driver.load(99, "something-to-do");
    for _ in 0..2_000 {
        if is_so(driver) {
            driver.unload(99);
            return;
        }
        driver.clock.advance(5_000);
        driver.append(99, "");
    }
    panic!("it never came to this: {what}");
}

#[test]
fn a_room_keeps_its_newest_lines() {
    let folder = Folder::new();
    let retention = Retention { messages_max: 640, ..Retention::default() };
    let mut driver = open(&folder, &Clock::new(), retention);
    driver.load(1, "a");
    driver.append_all(1, 1..=5_000);
    let oldest = oldest(&mut driver, 1);
    // A 64th more at most.
    assert!((4_351..=4_361).contains(&oldest), "{oldest}");
    driver.assert_counts(1, oldest..=5_000);
    drop(driver);
    // Fewer from now on: it goes step by step.
    let mut driver = open(&folder, &Clock::new(), Retention { messages_max: 10, ..retention });
    assert_eq!(driver.load(1, "a").newest, 5_000);
    until(&mut driver, "ten are left", |driver| self::oldest(driver, 1) == 4_991);
    driver.assert_counts(1, 4_991..=5_000);
}

#[test]
fn lines_go_after_their_days_and_the_room_with_the_last_one() {
    let folder = Folder::new();
    let clock = Clock::new();
    let mut driver = open(&folder, &clock, Retention { days_max: 3, ..Retention::default() });
    let (here, gone) = (driver.load(1, "here"), driver.load(2, "gone"));
    driver.append_all(1, 1..=700);
    driver.append_all(2, 1..=700);
    driver.unload(2);
    clock.advance(2 * DAY_MS);
    driver.append_all(1, 701..=702);
    clock.advance(DAY_MS + 1);
    until(&mut driver, "two days are left", |driver| oldest(driver, 1) == 701);
    driver.assert_counts(1, 701..=702);
    clock.advance(2 * DAY_MS);
    until(&mut driver, "nothing is left", |driver| oldest(driver, 1) == 703);
    driver.unload(1);
    assert_eq!(driver.load(1, "here").newest, 702, "while somebody was there it went on");
    assert_eq!(driver.load(1 + 1, "gone").newest, 0);
    driver.unload(2);
    let another = driver.load(2, "gone").epoch;
    assert_ne!(another, gone.epoch, "it begins anew");
    assert_ne!(another, here.epoch);
}

#[test]
fn a_stream_goes_thirty_days_after_its_owner() {
    let folder = Folder::new();
    let clock = Clock::new();
    let mut driver = open(&folder, &clock, Retention::default());
    let (here, empty, written) = ("@uaaaaaaaaaaaaaaaa", "@ubbbbbbbbbbbbbbbb", "@ucccccccccccccccc");
    driver.load(1, here);
    driver.load(2, empty);
    driver.load(3, written);
    driver.append_all(3, 1..=1_200);
    driver.unload(2);
    driver.unload(3);
    // What was handed over before is done when this is answered.
    driver.load(4, "another");
    driver.append(4, "");
    clock.advance(32 * DAY_MS);
    let rooms = |folder: &Folder| -> Vec<String> {
        let file = Connection::open(folder.store()).expect("it opens");
        let mut names = file.prepare("SELECT name FROM room WHERE name LIKE '@%' ORDER BY name").expect("it is right");
        let names = names.query_map([], |row| row.get(0)).expect("it is read");
        names.map(|name| name.expect("a name")).collect()
    };
    until(&mut driver, "the two are gone", |_| rooms(&folder) == [here]);
    for gone in [empty, written] {
        assert_eq!(driver.try_load(7, gone, true), Err(ErrorCode::NoSuchUser));
    }
    // Nobody says that this one goes, but that he was here was written down meanwhile.
    drop(driver);
    clock.advance(20 * DAY_MS);
    let mut driver = open(&folder, &clock, Retention::default());
    driver.try_load(1, here, true).expect("his days count from when he was seen");
}

#[test]
fn the_largest_room_makes_place() {
    let folder = Folder::new();
    let retention = Retention { bytes_max: 400 << 10, ..Retention::default() };
    let mut driver = open(&folder, &Clock::new(), retention);
    driver.load(1, "large");
    driver.load(2, "small");
    driver.append_all(2, 1..=100);
    driver.append_all(1, 1..=20_000);
    until(&mut driver, "it fits", |driver| {
        let file = Connection::open(folder.store()).expect("it opens");
        let number = |sql| file.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number").cast_unsigned();
        let used = (number("PRAGMA page_count") - number("PRAGMA freelist_count")) * 4_096;
        used <= retention.bytes_max && oldest(driver, 1) > 10_000
    });
    driver.assert_counts(2, 1..=100);
    let oldest = oldest(&mut driver, 1);
    assert!(oldest < 19_500, "{oldest}: no more goes than must");
    driver.assert_counts(1, oldest..=20_000);
}
