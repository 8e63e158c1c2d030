//! The end of the store is lost between a crash and the next start, in the same run of the system; and what only looks so.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;

use super::super::last::{self, Last};
use super::support::{Clock, Driver, Folder, draft};
use crate::chat::{Line, RoomName};
use crate::store::{Archive, Given, OpenError, Restore, Retention, SqliteOptions, SyncPolicy};

/// How many lines are said before the copies are made, and in all.
const EARLY: u64 = 5;
pub(super) const LINES: u64 = 9;

fn beside(folder: &Folder, more: &str) -> PathBuf {
    folder.path().join(format!("chinwag.db{more}"))
}

/// A store whose log has many lines, as a crash leaves it; the epoch of its room; and an older copy, as a crash would have left
/// it.
pub(super) fn crashed() -> (Folder, Arc<str>, Folder) {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    let epoch = driver.load(1, "a").epoch;
    driver.append_all(1, 1..=2);
    drop(driver);
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    (3..=EARLY).for_each(|number| assert_eq!(driver.append(1, &number.to_string()), number));
    let copy = folder.image();
    (EARLY + 1..=LINES).for_each(|number| assert_eq!(driver.append(1, &number.to_string()), number));
    (folder.image(), epoch, copy)
}

/// Holds that lines are gone and that this is told: places are good up to the newest that is there.
#[track_caller]
fn assert_noticed(folder: &Folder, epoch: &Arc<str>, newest: u64) {
    let mut driver = Driver::at(folder);
    let loaded = driver.load(1, "a");
    assert_eq!((loaded.newest, loaded.former), (newest, Some((Arc::clone(epoch), newest))));
    assert_ne!(loaded.epoch, *epoch);
    driver.assert_counts(1, 1..=newest);
    // Once is enough, whether lines come or not.
    let quiet = folder.image();
    driver.append(1, "and it goes on");
    for folder in [quiet, folder.image()] {
        assert_eq!(Driver::at(&folder).load(1, "a").epoch, loaded.epoch);
    }
}

/// Holds that all is there, and that nobody is told anything.
#[track_caller]
pub(super) fn assert_unnoticed(folder: &Folder, epoch: &Arc<str>, newest: u64) {
    let mut driver = Driver::at(folder);
    let loaded = driver.load(1, "a");
    assert_eq!((&loaded.epoch, loaded.newest, loaded.former), (epoch, newest, None));
}

#[test]
fn a_log_that_is_gone_or_damaged_is_noticed() {
    let log_is = |damage: &dyn Fn(PathBuf), newest| {
        let (folder, epoch, _) = crashed();
        damage(beside(&folder, "-wal"));
        assert_noticed(&folder, &epoch, newest);
    };
    let cut = |path: PathBuf, bytes: u64| {
        let file = OpenOptions::new().write(true).open(path).expect("the log");
        file.set_len(bytes).expect("it is cut");
    };
    log_is(&|path| fs::remove_file(path).expect("it was there"), 2);
    log_is(&|path| cut(path, 0), 2);
    log_is(&|path| cut(path.clone(), fs::metadata(path).expect("the log").len() - 1), LINES - 1);
    let garble = |path, at| {
        let file = OpenOptions::new().write(true).open(path).expect("the log");
        file.write_all_at(&[0xee; 8], at).expect("it is damaged");
    };
    // Its salts; and what says that it is one.
    log_is(&|path| garble(path, 16), 2);
    log_is(&|path| garble(path, 0), 2);
}

#[test]
fn an_older_copy_from_the_same_run_is_noticed() {
    for with_log in [true, false] {
        let (folder, epoch, copy) = crashed();
        let _ = fs::remove_file(beside(&folder, "-shm"));
        fs::copy(copy.store(), folder.store()).expect("it is put back");
        if with_log {
            fs::copy(beside(&copy, "-wal"), beside(&folder, "-wal")).expect("it is put back");
        } else {
            fs::remove_file(beside(&folder, "-wal")).expect("it was there");
        }
        assert_noticed(&folder, &epoch, if with_log { EARLY } else { 2 });
    }
}

/// docs/OPERATIONS.md: "copy with SQLite's own means, which know of the log".
#[test]
fn a_copy_by_sqlite_s_own_means_is_noticed_if_it_is_older() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    let epoch = driver.load(1, "a").epoch;
    driver.append_all(1, 1..=EARLY);
    let copy = || {
        let copy = Folder::new();
        let file = Connection::open(folder.store()).expect("it opens");
        file.backup("main", copy.store(), None).expect("it is copied");
        copy
    };
    let put_back = |copy: &Folder| {
        let image = folder.image();
        fs::remove_file(beside(&image, "-wal")).expect("it was there");
        fs::copy(copy.store(), image.store()).expect("it is put back");
        image
    };
    let early = copy();
    driver.append_all(1, EARLY + 1..=LINES);
    assert_noticed(&put_back(&early), &epoch, EARLY);
    assert_unnoticed(&put_back(&copy()), &epoch, LINES);
}

#[test]
fn a_log_that_begins_anew_is_no_loss_and_an_older_one_is() {
    for sync in [SyncPolicy::Full, SyncPolicy::Interval(200)] {
        let folder = Folder::new();
        let clock = Clock::new();
        let mut driver =
            Driver::open(&SqliteOptions { sync, ..SqliteOptions::at(folder.store()) }, &clock).expect("it opens");
        let epoch = driver.load(1, "a").epoch;
        driver.append_all(1, 1..=EARLY);
        let before = folder.image();
        // It was idle for so long.
        clock.advance(1_000);
        assert_eq!(driver.append(1, &(EARLY + 1).to_string()), EARLY + 1);
        driver.append_all(1, EARLY + 2..=LINES);
        let after = folder.image();
        let bytes = |folder: &Folder| fs::metadata(beside(folder, "-wal")).expect("a log").len();
        assert_eq!(bytes(&before).max(bytes(&after)), bytes(&after), "the log is used again");
        assert_unnoticed(&after.image(), &epoch, LINES);
        fs::copy(beside(&before, "-wal"), beside(&after, "-wal")).expect("it is put back");
        fs::copy(before.store(), after.store()).expect("it is put back");
        assert_noticed(&after, &epoch, EARLY);
    }
}

/// Nobody has seen a line that was not noted any more.
#[test]
fn a_crash_between_a_commit_and_its_note_is_no_loss() {
    let (folder, epoch, early) = crashed();
    fs::copy(beside(&early, "-lock"), beside(&folder, "-lock")).expect("it is put back");
    assert_unnoticed(&folder, &epoch, LINES);
}

#[test]
fn a_start_that_breaks_off_changes_nothing() {
    let started = |folder: &Folder| {
        let lock = fs::read(beside(folder, "-lock")).expect("the lock");
        let driver = Driver::at(folder);
        let image = folder.image();
        drop(driver);
        (image, lock)
    };
    let (folder, epoch, _) = crashed();
    // Killed before that could be noted, and after it.
    let (image, lock) = started(&folder.image());
    assert_unnoticed(&image.image(), &epoch, LINES);
    fs::write(beside(&image, "-lock"), &lock).expect("it is put back");
    assert_unnoticed(&image, &epoch, LINES);
    // The same where the end was gone.
    fs::remove_file(beside(&folder, "-wal")).expect("it was there");
    let (image, lock) = started(&folder);
    let once = Driver::at(&image.image()).load(1, "a");
    assert_eq!(once.former, Some((epoch, 2)));
    fs::write(beside(&image, "-lock"), &lock).expect("it is put back");
    let again = Driver::at(&image).load(1, "a");
    assert_eq!((again.newest, again.former.map(|(_, top)| top)), (2, Some(2)));
}

#[test]
fn a_store_that_was_closed_has_no_log_and_needs_no_lock() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    let epoch = driver.load(1, "a").epoch;
    driver.append_all(1, 1..=LINES);
    drop(driver);
    assert!(!beside(&folder, "-wal").exists());
    assert_unnoticed(&folder, &epoch, LINES);
    fs::remove_file(beside(&folder, "-lock")).expect("it was there");
    assert_unnoticed(&folder, &epoch, LINES);
}

#[test]
fn a_store_that_was_not_closed_is_in_doubt_without_its_lock() {
    for text in [None, Some(""), Some("garbage\n\n"), Some("\u{0}")] {
        let (folder, epoch, _) = crashed();
        let lock = beside(&folder, "-lock");
        match text {
            None => fs::remove_file(lock).expect("it was there"),
            Some(text) => fs::write(lock, text).expect("it is overwritten"),
        }
        assert_noticed(&folder, &epoch, LINES);
    }
}

/// As if the system had gone down since: of the lock, which was never synced, any older state may be left.
#[test]
fn an_old_lock_after_another_boot_says_nothing_wrong() {
    let (folder, epoch, early) = crashed();
    let file = Connection::open(folder.store()).expect("it opens");
    file.execute("UPDATE meta SET value = 'another' WHERE name = 'boot'", []).expect("there is one");
    drop(file);
    fs::copy(beside(&early, "-lock"), beside(&folder, "-lock")).expect("it is put back");
    assert_noticed(&folder, &epoch, LINES);
}

/// A full disk has the log taken over and cut to nothing.
#[test]
fn a_log_that_was_emptied_on_a_full_disk_is_no_loss() {
    let folder = Folder::new();
    let options = SqliteOptions { file_pages_max: Some(60), ..SqliteOptions::at(folder.store()) };
    let mut driver = Driver::open(&options, &Clock::new()).expect("it opens");
    let epoch = driver.load(1, "a").epoch;
    let text = "x".repeat(1_000);
    let newest = (1..1_000).find(|_| driver.try_append(1, &text).is_err()).expect("it is full") - 1;
    let folder = folder.image();
    assert_eq!(fs::metadata(beside(&folder, "-wal")).expect("a log").len(), 0);
    assert_unnoticed(&folder, &epoch, newest);
}

#[test]
fn whoever_looks_in_between_changes_nothing() {
    let look = |folder: &Folder| {
        let archive = Archive::open(&folder.store()).expect("it opens");
        assert_eq!(archive.rooms(0).expect("it is read").len(), 1);
        archive.end().expect("nothing changes");
    };
    let (folder, epoch, _) = crashed();
    look(&folder);
    assert_unnoticed(&folder.image(), &epoch, LINES);
    // Another program may take the log over, and away.
    let other = Connection::open(folder.store()).expect("it opens");
    other.query_row("SELECT count(*) FROM room", [], |_| Ok(())).expect("it is read");
    drop(other);
    assert!(!beside(&folder, "-wal").exists());
    assert_unnoticed(&folder, &epoch, LINES);
    let (folder, epoch, _) = crashed();
    fs::remove_file(beside(&folder, "-wal")).expect("it was there");
    look(&folder);
    assert_noticed(&folder, &epoch, 2);
}

pub(super) fn import(folder: &Folder) -> Result<(), OpenError> {
    import_lines(folder, 3)
}

fn import_lines(folder: &Folder, lines: u64) -> Result<(), OpenError> {
    let mut restore = Restore::begin(&folder.store())?;
    let room = RoomName::parse("b").expect("a room's name");
    let given = |seq| Given { line: Line { room: room.clone(), seq, draft: draft("from elsewhere", 1) }, epoch: None };
    (1..=lines).for_each(|seq| restore.add(given(seq)).expect("it is taken"));
    restore.finish().map(drop)
}

#[test]
fn an_import_in_between_changes_nothing() {
    let (folder, epoch, _) = crashed();
    import(&folder).expect("it is imported");
    assert_unnoticed(&folder, &epoch, LINES);
    let (folder, epoch, _) = crashed();
    fs::remove_file(beside(&folder, "-wal")).expect("it was there");
    import(&folder).expect("it is imported");
    assert_noticed(&folder, &epoch, 2);
}

/// The last line goes by its age, and then its room.
#[test]
fn what_retention_took_since_is_no_loss() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let folder = Folder::new();
    let clock = Clock::new();
    let retention = Retention { days_max: 1, ..Retention::default() };
    let open = |folder: &Folder| {
        Driver::open(&SqliteOptions { retention, ..SqliteOptions::at(folder.store()) }, &clock).expect("it opens")
    };
    let mut driver = open(&folder);
    let other = driver.load(2, "other").epoch;
    driver.load(1, "a");
    driver.append_all(1, 1..=LINES);
    driver.unload(1);
    clock.advance(2 * DAY_MS);
    drop(driver);
    let rooms = |folder: &Folder| -> (i64, i64) {
        let file = Connection::open(folder.store()).expect("it opens");
        let sql = "SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM room)";
        file.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("it is read")
    };
    let mut images = Vec::new();
    for left in [(0, 1), (0, 0)] {
        let driver = open(&folder);
        // What is due is done by itself: a walk at the start, and then every 15 minutes.
        let is_done = (0..100_000).any(|_| {
            std::thread::yield_now();
            rooms(&folder) == left
        });
        assert!(is_done, "{:?} are left", rooms(&folder));
        images.push(folder.image());
        drop(driver);
    }
    // Another room may have its number since, and lines in its places.
    let again = images[1].image();
    import_lines(&again, LINES).expect("it is imported");
    assert_eq!(rooms(&again), (LINES.cast_signed(), 1));
    let loaded = Driver::at(&again).load(1, "b");
    assert_eq!((loaded.newest, loaded.former), (LINES, None));
    for image in images {
        let mut driver = Driver::at(&image);
        let loaded = driver.load(2, "other");
        assert!(loaded.former.is_none() && (loaded.epoch == other || rooms(&image).1 == 0), "{loaded:?}");
    }
}

#[test]
fn what_is_noted_is_read_as_it_was_written() {
    assert_eq!(Last::parse(last::text(None).trim_end()), None);
    for text in ["", "1 2 3", "1 2 3 x", "x 2 3 4", "1 -2 3 4"] {
        assert_eq!(Last::parse(text), None, "{text}");
    }
    let last = Last::parse("7 18446744073709551615 4294967295 3").expect("it is one");
    let text = last::text(Some(last));
    assert_eq!(Last::parse(text.trim_end()), Some(last));
    assert_eq!(text.len(), last::text(None).len());
}
