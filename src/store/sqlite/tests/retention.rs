//! What goes, and what stays.

use std::sync::Arc;

use rusqlite::Connection;

use super::super::Answer;
use super::super::count::Count;
use super::super::held::{Held, Rooms, Written};
use super::super::row;
use super::super::upkeep::Upkeep;
use super::support::{ALL, Clock, Driver, Folder};
use crate::chat::{Completion, ErrorCode, Request, RoomKey, RoomName, Ticket};
use crate::store::{Retention, SqliteOptions};

const DAY_MS: u64 = 24 * 3_600_000;

fn open(folder: &Folder, clock: &Clock, retention: Retention) -> Driver {
    Driver::open(&SqliteOptions { retention, ..SqliteOptions::at(folder.store()) }, clock).expect("it opens")
}

/// What the rows of rooms count, and what they should: with the rooms' names.
fn counts(folder: &Folder) -> [Vec<(String, i64)>; 2] {
    let file = Connection::open(folder.store()).expect("it opens");
    let list = |bytes: &str| -> Vec<(String, i64)> {
        let mut rooms = file.prepare(&format!("SELECT name, {bytes} FROM room ORDER BY name")).expect("it is right");
        let rooms = rooms.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it is read");
        rooms.map(|room| room.expect("a room")).collect()
    };
    let sum = format!("(SELECT ifnull(sum({}), 0) FROM message WHERE room = room.id)", row::COST);
    [list("bytes"), list(&sum)]
}

#[track_caller]
fn assert_all_is_counted(folder: &Folder) {
    let [counted, there] = counts(folder);
    assert_eq!(counted, there);
    assert!(there.iter().any(|(_, bytes)| *bytes > 0), "there is nothing to be counted");
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

/// The reader has found a room, and its lines; the writer does not know yet that it is loaded, and takes some of them out.
#[test]
fn what_goes_while_a_room_is_loaded_is_not_told_of_from_memory() {
    let folder = Folder::new();
    let clock = Clock::new();
    let retention = Retention { days_max: 2, ..Retention::default() };
    let mut driver = open(&folder, &clock, retention);
    driver.load(1, "a");
    driver.append_all(1, 1..=10);
    clock.advance(DAY_MS);
    driver.append_all(1, 11..=20);
    drop(driver);
    let mut driver = open(&folder, &clock, retention);
    driver.load(9, "another");
    driver.append(9, "the writer runs when this is stored");
    let (load, fetch) = (Ticket(u64::MAX), Ticket(u64::MAX - 1));
    let (room, name) = (RoomKey(1), RoomName::parse("a").expect("a room's name"));
    for request in [
        Request::Load { ticket: load, room, name, must_exist: false },
        Request::Fetch { ticket: fetch, room, part: ALL },
    ] {
        driver.submit(request);
        let answer = loop {
            match driver.store.answers.recv().expect("the reader answers") {
                answer @ (Answer::Found { .. } | Answer::Fetched { .. }) => break answer,
                other => driver.store.take(other),
            }
        };
        driver.store.take(answer);
    }
    clock.advance(DAY_MS + 1);
    let file = Connection::open(folder.store()).expect("it opens");
    let first = || file.query_row("SELECT min(seq) FROM message WHERE room = 1", [], |row| row.get::<_, i64>(0));
    let (writer, _) = driver.store.threads.writer.as_ref().expect("it runs");
    for round in 1.. {
        if first().expect("a number") > 1 {
            break;
        }
        // A walk that was not over yet has seen an earlier time: there must be another. There is a day until more goes.
        if round % 1_000 == 0 {
            clock.advance(60_000);
        }
        // There is something to wake up for, and nothing to do.
        writer.send(Vec::new()).expect("it runs");
        std::thread::yield_now();
    }
    let mut answers = Vec::new();
    driver.store.collect(&mut answers, || false);
    assert_eq!(answers.iter().map(Completion::ticket).collect::<Vec<_>>(), [load, fetch]);
    driver.append(1, "21");
    driver.assert_counts(1, 11..=21);
}

/// However much is to go at once.
#[test]
fn no_room_is_emptied_while_others_are_as_large() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    for key in 1..=20 {
        driver.load(key, &format!("room-{key}"));
        driver.append_all(key, 1..=1_000);
    }
    drop(driver);
    let file = Connection::open(folder.store()).expect("it opens");
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number").cast_unsigned();
    let bytes_max = number("PRAGMA page_count") * 4_096 - (400 << 10);
    let mut upkeep = Upkeep::new(Retention { bytes_max, ..Retention::default() });
    upkeep.relieve(&file, &mut Rooms::default(), 10_000).expect("nothing is wrong");
    let least = number(
        "SELECT min(lines) FROM (SELECT (SELECT count(*) FROM message WHERE room = room.id) AS lines FROM room)",
    );
    assert!((500..900).contains(&least), "{least}");
    let left = number("SELECT count(*) FROM message");
    assert!((10_000..16_000).contains(&left), "{left}: as much goes as must");
}

/// The clock of the second start is a day behind that of the first.
#[test]
fn a_clock_that_goes_back_takes_nothing() {
    let folder = Folder::new();
    let (later, earlier) = (Clock::new(), Clock::new());
    later.advance(DAY_MS);
    let retention = Retention { days_max: 1, ..Retention::default() };
    let mut driver = open(&folder, &later, retention);
    let before = driver.load(1, "a");
    driver.load(2, "@uaaaaaaaaaaaaaaaa");
    driver.append_all(1, 1..=5);
    driver.append_all(2, 1..=5);
    drop(driver);
    let mut driver = open(&folder, &earlier, retention);
    driver.load(9, "another");
    driver.append(9, "the first walk is over when this is stored");
    let after = driver.load(1, "a");
    assert_eq!((after.epoch, after.former, after.newest), (before.epoch, before.former, 5));
    driver.try_load(2, "@uaaaaaaaaaaaaaaaa", true).expect("its owner is known");
    driver.append_all(1, 6..=9);
    driver.assert_counts(1, 1..=9);
    driver.assert_counts(2, 1..=5);
}

/// Rows of rooms count 64 KiB at a time, which so many rooms never come to.
#[test]
fn the_file_is_no_larger_than_it_may_be_while_all_rooms_stay_loaded() {
    let folder = Folder::new();
    let retention = Retention { bytes_max: 1 << 20, ..Retention::default() };
    let mut driver = open(&folder, &Clock::new(), retention);
    let file = Connection::open(folder.store()).expect("it opens");
    let used = || {
        let number = |sql| file.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number").cast_unsigned();
        (number("PRAGMA page_count") - number("PRAGMA freelist_count")) * 4_096
    };
    for key in 1..=100 {
        driver.load(key, &format!("room-{key}"));
    }
    for round in 0..20 {
        for key in 1..=100 {
            driver.append_all(key, round * 40 + 1..=round * 40 + 40);
        }
        // A commit takes out as much as comes and a little more, but whole pages only.
        assert!(used() <= retention.bytes_max + (64 << 10), "{}", used());
    }
    // The rest goes when there is nothing else to do.
    let (writer, _) = driver.store.threads.writer.as_ref().expect("it runs");
    while used() > retention.bytes_max {
        writer.send(Vec::new()).expect("it runs");
        std::thread::yield_now();
    }
    let sql = "SELECT count(*) FROM message GROUP BY room HAVING max(seq) = 800 AND min(seq) = 801 - count(*)";
    let mut left = file.prepare(sql).expect("it is right");
    let left = left.query_map([], |row| row.get(0)).expect("it is read");
    let left: Vec<u64> = left.map(|lines: Result<i64, _>| lines.expect("a number").cast_unsigned()).collect();
    assert_eq!(left.len(), 100, "the newest of each room are there");
    let (least, most) = (left.iter().min().expect("rooms"), left.iter().max().expect("rooms"));
    assert!(*least >= 20 && *most <= 3 * least, "all lose alike: {left:?}");
    assert!(left.iter().sum::<u64>() > 6_000, "no more goes than must: {left:?}");
}

/// A room that is loaded.
fn held(name: &str, epoch: Arc<str>, written: Written) -> Held {
    let name = RoomName::parse(name).expect("a room's name");
    Held { load: 1, name, epoch, former: None, oldest: 1, seen_s: 0, written, changed: None }
}

/// A store as a crash leaves it: of six rooms no row counts anything.
fn crashed() -> Folder {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    for key in 1..=6 {
        driver.load(key, &format!("room-{key}"));
        driver.append_all(key, 1..=600);
    }
    let image = folder.image();
    let [counted, there] = counts(&image);
    assert!(counted.iter().all(|(_, bytes)| *bytes == 0) && there.iter().all(|(_, bytes)| *bytes > 40_000));
    image
}

#[test]
fn what_a_crash_left_uncounted_is_counted_once_however_the_room_goes_on() {
    let folder = crashed();
    let clock = Clock::new();
    let mut driver = open(&folder, &clock, Retention::default());
    // The first walk may come before the first line or after it.
    driver.load(1, "room-1");
    driver.append(1, "one more");
    driver.load(2, "room-2");
    driver.append_all(2, 601..=2_000);
    driver.load(3, "room-3");
    driver.unload(2);
    driver.load(2, "room-2");
    driver.append(2, "and one more");
    clock.advance(3_600_000);
    until(&mut driver, "the others are counted", |_| {
        let [counted, there] = counts(&folder);
        (3..6).all(|room| counted[room] == there[room])
    });
    drop(driver);
    assert_all_is_counted(&folder);
}

/// The first line may come before the walk does.
#[test]
fn what_a_crash_left_uncounted_is_counted_with_the_first_line() {
    let folder = crashed();
    let file = Connection::open(folder.store()).expect("it opens");
    let epoch: String = file.query_row("SELECT epoch FROM room WHERE id = 1", [], |row| row.get(0)).expect("a room");
    let written = Written { top: 600, id: Some(1), epoch: None, checked: false, uncounted: 0 };
    let mut room = held("room-1", epoch.into(), written);
    assert_eq!(room.ensure(&file, 0, 0), Ok(1));
    let [counted, there] = counts(&folder);
    assert_eq!(counted[0], there[0]);
}

#[test]
fn what_a_crash_left_uncounted_makes_place() {
    let folder = crashed();
    let retention = Retention { bytes_max: 100 << 10, ..Retention::default() };
    let mut driver = open(&folder, &Clock::new(), retention);
    let file = Connection::open(folder.store()).expect("it opens");
    let number = |sql| file.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number").cast_unsigned();
    until(&mut driver, "it fits", |_| {
        (number("PRAGMA page_count") - number("PRAGMA freelist_count")) * 4_096 <= retention.bytes_max
    });
    drop(driver);
    assert_all_is_counted(&folder);
    let left = number("SELECT min(lines) FROM (SELECT count(*) AS lines FROM message GROUP BY room HAVING room < 7)");
    assert!(left > 50, "{left}: all lose alike");
}

/// Lines go that no row has counted, of rooms that are loaded and of others; then there is a crash.
#[test]
fn what_goes_before_it_is_counted_is_not_counted_later() {
    let folder = crashed();
    let retention = Retention { messages_max: 100, ..Retention::default() };
    let mut driver = open(&folder, &Clock::new(), retention);
    driver.load(1, "room-1");
    driver.append(1, "one more");
    driver.load(7, "room-7");
    driver.append_all(7, 1..=400);
    let lines = |folder: &Folder| -> i64 {
        let file = Connection::open(folder.store()).expect("it opens");
        file.query_row("SELECT count(*) FROM message WHERE room < 8", [], |row| row.get(0)).expect("a number")
    };
    until(&mut driver, "so many are left", |_| lines(&folder) <= 702);
    let image = folder.image();
    drop(driver);
    assert_all_is_counted(&folder);
    drop(open(&image, &Clock::new(), Retention::default()));
    let mut driver = open(&image, &Clock::new(), Retention::default());
    until(&mut driver, "all is counted", |_| {
        let [counted, there] = counts(&image);
        counted[..7] == there[..7]
    });
}

#[test]
fn what_a_transaction_counts_that_fails_is_counted_by_the_next_and_only_once() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    let epoch = driver.load(1, "a").epoch;
    driver.append_all(1, 1..=10);
    drop(driver);
    let file = Connection::open(folder.store()).expect("it opens");
    let bytes = || file.query_row("SELECT bytes FROM room", [], |row| row.get::<_, i64>(0)).expect("a number");
    let before = bytes();
    let written = Written { top: 10, id: Some(1), epoch: None, checked: true, uncounted: 5_000 };
    let (mut rooms, mut count) = (Rooms::default(), Count::default());
    rooms.hold(0, held("a", epoch, written));
    let transaction = file.unchecked_transaction().expect("it begins");
    assert!(count.go_on(&file, &mut rooms, 10, 0).expect("nothing is wrong"));
    transaction.rollback().expect("it ends");
    rooms.end(false);
    assert_eq!(bytes(), before);
    for _ in 0..2 {
        count.go_on(&file, &mut rooms, 10, 0).expect("nothing is wrong");
        rooms.end(true);
        assert_eq!(bytes(), before + 5_000);
    }
    assert!(!count.go_on(&file, &mut rooms, 10, 0).expect("nothing is wrong"), "there is no more");
}
