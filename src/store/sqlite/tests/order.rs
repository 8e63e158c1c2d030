//! What is damaged so that SQLite does not see it: keys that do not ascend, lines that are counted and not there. Whoever goes on from
//! the last one that it saw must come to an end.

use std::fs;
use std::ops::RangeInclusive;

use rusqlite::Connection;

use super::super::held::Rooms;
use super::super::upkeep::Upkeep;
use super::support::{ALL, Clock, Driver, Folder};
use crate::chat::{Completion, ErrorCode, Part, Request, RoomKey};
use crate::store::{Retention, SqliteOptions};

/// Lines of the room that is damaged: some sixty pages.
const LINES: u64 = 3_000;

/// More than anything here takes.
const STEPS_MAX: usize = 2_000;

const PAGE_BYTES: usize = 4_096;

/// SQLite's leaves of tables, and of those without a row's number.
const TABLE: u8 = 0x0d;
const KEYED: u8 = 0x0a;

/// So that every read goes to the file.
fn options(folder: &Folder, retention: Retention) -> SqliteOptions {
    SqliteOptions { recent_messages_max: 0, retention, ..SqliteOptions::at(folder.store()) }
}

fn open(folder: &Folder, retention: Retention) -> Driver {
    Driver::open(&options(folder, retention), &Clock::new()).expect("it opens")
}

/// A store with a room that counts, and many small ones.
fn written() -> Folder {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    driver.append_all(1, 1..=LINES);
    for key in 2..300 {
        driver.load(key, &format!("room-{key}"));
        driver.append(key, "");
    }
    drop(driver);
    folder
}

/// Turns a page around: the one of this kind in the middle of those that have this text in them.
fn turn_around(folder: &Folder, kind: u8, text: &str) {
    turn_around_all(folder, kind, text, |pages| pages / 2..=pages / 2);
}

fn turn_around_all(folder: &Folder, kind: u8, text: &str, which: impl FnOnce(usize) -> RangeInclusive<usize>) {
    let mut bytes = fs::read(folder.store()).expect("it is there");
    let has = |page: &&mut [u8]| page[0] == kind && page.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    let mut pages: Vec<&mut [u8]> = bytes.chunks_mut(PAGE_BYTES).filter(has).collect();
    let which = which(pages.len());
    for page in &mut pages[which] {
        let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
        assert!(cells > 10, "{cells}");
        let places: Vec<u8> = page[8..8 + 2 * cells].rchunks(2).flatten().copied().collect();
        page[8..8 + 2 * cells].copy_from_slice(&places);
    }
    fs::write(folder.store(), bytes).expect("it is damaged");
}

fn change(folder: &Folder, sql: &str) {
    Connection::open(folder.store()).and_then(|other| other.execute_batch(sql)).expect("it is changed");
}

/// Reads the room on and on as somebody does who catches up, and back; gives how many lines that were.
fn read_through(driver: &mut Driver) -> (usize, usize) {
    let newest = driver.load(1, "a").newest;
    assert_eq!(newest, LINES);
    let (mut forth, mut back, mut next, mut before) = (0, 0, 1, newest);
    let mut ask = |part| match driver.ask(|ticket| Request::Fetch { ticket, room: RoomKey(1), part }) {
        Completion::Fetched { lines, oldest, .. } => {
            let seqs: Vec<u64> = lines.iter().map(|line| line.seq).collect();
            assert!(seqs.windows(2).all(|two| two[0] + 1 == two[1]), "{seqs:?}");
            assert!(seqs.iter().all(|seq| (part.seqs.0..=part.seqs.1).contains(seq)), "{seqs:?}");
            Some((lines.len(), seqs.first().copied(), seqs.last().copied(), oldest))
        }
        Completion::Refused { code: ErrorCode::Internal, .. } => None,
        other => panic!("{other:?}"),
    };
    while next <= newest {
        // What cannot be read is passed over page by page, for there may be more behind it.
        next = match ask(Part { seqs: (next, u64::MAX), lines_max: 40, ..ALL }) {
            Some((lines, first, last, oldest)) => {
                forth += lines;
                let reached = last.map_or(oldest.max(next), |last| last + 1);
                assert!(reached > next, "nobody who asks for {next} gets on: {first:?}, {oldest}");
                reached
            }
            None => next + 10,
        };
    }
    while before > 0 {
        before = match ask(Part { seqs: (1, before), newest_first: true, lines_max: 40, ..ALL }) {
            Some((lines, first, ..)) => {
                back += lines;
                first.map_or(0, |first| first - 1)
            }
            None => before.saturating_sub(10),
        };
    }
    (forth, back)
}

#[test]
fn who_reads_a_page_that_does_not_ascend_comes_to_its_end() {
    let folder = written();
    turn_around(&folder, KEYED, "alice");
    let (forth, back) = read_through(&mut open(&folder, Retention::default()));
    assert!(forth < LINES as usize && forth > 2_000 && back > 1_000, "{forth}, {back}");
}

#[test]
fn ids_of_a_page_that_does_not_ascend_are_not_told() {
    let folder = written();
    turn_around(&folder, KEYED, "alice");
    let mut driver = open(&folder, Retention::default());
    driver.load(1, "a");
    let (mut first, mut refused) = (1, 0);
    while first <= LINES {
        let recall = |ticket| Request::Recall { ticket, room: RoomKey(1), seqs: (first, LINES) };
        first = match driver.ask(recall) {
            Completion::Recalled { through, .. } => {
                assert!(through >= first, "{first}, {through}");
                through + 1
            }
            Completion::Refused { code: ErrorCode::Internal, .. } => {
                refused += 1;
                first + 10
            }
            other => panic!("{other:?}"),
        };
    }
    assert!(refused > 0);
}

#[test]
fn lines_that_are_missing_are_a_hole() {
    let folder = written();
    change(&folder, "DELETE FROM message WHERE room = 1 AND (seq BETWEEN 1000 AND 1999 OR seq > 2500)");
    change(&folder, "UPDATE room SET top = 3000 WHERE id = 1");
    let mut driver = open(&folder, Retention::default());
    assert_eq!(read_through(&mut driver), (1_500, 1_500));
    let from = |first| Part { seqs: (first, u64::MAX), ..ALL };
    assert_eq!(driver.seqs(1, from(990)), ((990..1000).collect(), 1), "what follows is no continuation");
    assert_eq!(driver.seqs(1, from(2_501)), (vec![], 3_001), "nothing is behind it");
}

/// Takes steps until there is nothing more to do, or something damaged in the way.
fn keep_up(folder: &Folder, retention: Retention) -> rusqlite::Result<()> {
    let connection = Connection::open(folder.store()).expect("it opens");
    let mut upkeep = Upkeep::new(retention);
    for _ in 0..STEPS_MAX {
        let transaction = connection.unchecked_transaction()?;
        upkeep.step(&transaction, &mut Rooms::default(), 1, 1)?;
        transaction.commit()?;
        if upkeep.due_ms() > 1 {
            return Ok(());
        }
    }
    panic!("it never comes to an end");
}

#[test]
fn a_walk_over_rooms_that_do_not_ascend_ends() {
    let folder = written();
    keep_up(&folder, Retention::default()).expect("nothing is wrong yet");
    turn_around(&folder, TABLE, "room-");
    keep_up(&folder, Retention::default()).expect_err("a page is turned around");
}

#[test]
fn what_retention_cannot_take_out_is_not_tried_for_ever() {
    let folder = written();
    turn_around(&folder, KEYED, "alice");
    for retention in [
        Retention { messages_max: 10, ..Retention::default() },
        Retention { bytes_max: 1 << 10, ..Retention::default() },
    ] {
        keep_up(&folder, retention).expect_err("a page is turned around");
    }
}

#[test]
fn bytes_that_are_counted_and_not_there_are_not_looked_for_for_ever() {
    let folder = written();
    change(&folder, "DELETE FROM message");
    // Not rooms, which are forgotten, but streams.
    change(&folder, "UPDATE room SET seen = 1000");
    keep_up(&folder, Retention { bytes_max: 1 << 10, ..Retention::default() }).expect("there is nothing to take");
}

/// The damaged room is the first that is looked at, and the largest.
#[test]
fn what_cannot_be_taken_out_of_one_room_is_taken_out_of_others() {
    for retention in [
        Retention { messages_max: 10, ..Retention::default() },
        Retention { bytes_max: 1 << 10, ..Retention::default() },
    ] {
        let folder = written();
        let mut driver = open(&folder, Retention::default());
        driver.load(2, "room-2");
        driver.append_all(2, 2..=2_000);
        drop(driver);
        turn_around_all(&folder, KEYED, "alice", |_| 0..=5);
        let clock = Clock::new();
        let mut driver = Driver::open(&options(&folder, retention), &clock).expect("it opens");
        driver.load(3, "room-3");
        let file = Connection::open(folder.store()).expect("it opens");
        let lines = |room: i64| -> i64 {
            let sql = "SELECT count(*) FROM message WHERE room = ?1";
            file.query_row(sql, [room], |row| row.get(0)).expect("a number")
        };
        let hour_s = 3_600;
        let there = (1..hour_s).find(|_| {
            clock.advance(1_000);
            driver.append(3, "there is something to do");
            lines(2) < 1_000
        });
        assert!(there.is_some(), "{retention:?}: {} lines are left", lines(2));
        drop(driver);
        assert!(lines(1) > 2_000, "what is damaged is not taken out");
    }
}

/// The oldest lines are in the way when the first ones are to go, and everybody can speak.
#[test]
fn lines_are_stored_beside_what_cannot_be_taken_out() {
    let folder = written();
    turn_around_all(&folder, KEYED, "alice", |pages| 0..=pages / 2);
    let mut driver = open(&folder, Retention { messages_max: LINES, ..Retention::default() });
    driver.load(1, "a");
    driver.load(2, "room-2");
    for number in 1..=200 {
        assert_eq!(driver.append(1, "more"), LINES + number);
        assert_eq!(driver.append(2, "more"), 1 + number);
    }
    drop(driver);
    assert_eq!(open(&folder, Retention::default()).load(1, "a").newest, LINES + 200);
}
