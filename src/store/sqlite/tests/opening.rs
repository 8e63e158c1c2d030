//! What is refused before anything is done to it.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rusqlite::Connection;

use super::super::lock::Lock;
use super::support::{Clock, Driver, Folder};
use crate::store::{OpenError, SqliteOptions};

fn open(folder: &Folder) -> Result<Driver, OpenError> {
    Driver::open(&SqliteOptions::at(folder.store()), &Clock::new())
}

/// Opens what lies in the folder; holds that it is refused, and that all files are as they were and no others.
#[track_caller]
fn refused(folder: &Folder) -> OpenError {
    let files = || {
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| !path.to_string_lossy().ends_with("-shm"))
            .map(|path| (path.clone(), fs::read(path).ok()))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let Err(error) = open(folder) else { panic!("it opens") };
    assert!(files() == before, "something was changed after {error}");
    assert!(error.to_string().contains("chinwag.db"), "{error}");
    error
}

#[test]
fn what_is_not_ours_is_left_as_it_is() {
    let folder = Folder::new();
    fs::write(folder.store(), "Dear diary").expect("a file");
    assert!(matches!(refused(&folder), OpenError::Foreign(_)));
    fs::remove_file(folder.store()).expect("it was there");
    Connection::open(folder.store()).and_then(|other| other.execute_batch("CREATE TABLE t (x)")).expect("a database");
    assert!(matches!(refused(&folder), OpenError::Foreign(_)));
    fs::remove_file(folder.store()).expect("it was there");
    fs::create_dir(folder.store()).expect("a folder");
    assert!(matches!(refused(&folder), OpenError::System(..)));
}

#[test]
fn what_a_later_version_made_is_left_as_it_is() {
    let folder = Folder::new();
    drop(open(&folder));
    let other = Connection::open(folder.store()).expect("it opens");
    other.pragma_update(None, "user_version", 2).expect("it is set");
    drop(other);
    assert!(matches!(refused(&folder), OpenError::Newer(_, 2)));
}

#[test]
fn what_is_damaged_where_it_must_not_be_is_left_as_it_is() {
    let folder = Folder::new();
    let mut driver = open(&folder).expect("it opens");
    driver.load(1, "a");
    driver.append_all(1, 1..=50);
    drop(driver);
    let whole = fs::read(folder.store()).expect("it is there");
    let mut schema = whole.clone();
    schema[100..140].fill(0xee);
    let mut version = whole.clone();
    version[60..64].fill(0);
    let tables = whole.iter().zip(&whole[4..]).position(|(one, _)| *one == 0x0d).map_or(whole.clone(), |_| {
        let text = b"CREATE TABLE message";
        let mut tables = whole.clone();
        let place = whole.windows(text.len()).position(|window| window == text).expect("its schema is there");
        tables[place..place + 12].copy_from_slice(b"CREATE TABXE");
        tables
    });
    for damaged in [schema, version, tables, whole[..whole.len() / 2].to_vec(), whole[..4_096].to_vec()] {
        fs::write(folder.store(), damaged).expect("it is damaged");
        let error = refused(&folder);
        assert!(matches!(error, OpenError::Damaged(..)), "{error}");
    }
    fs::write(folder.store(), whole).expect("it is whole again");
    open(&folder).expect("it opens");
}

#[test]
fn what_another_server_uses_is_left_to_it() {
    let folder = Folder::new();
    let mut first = open(&folder).expect("it opens");
    let Err(error) = open(&folder) else { panic!("it opens twice") };
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    first.load(1, "a");
    first.append_all(1, 1..=3);
    drop(first);
    assert_eq!(open(&folder).expect("it is free").load(1, "a").newest, 3);
}

/// A lock that says nothing is taken away by whoever had it, while others wait for it.
#[test]
fn one_at_a_time_has_the_lock_though_it_goes_each_time() {
    let folder = Folder::new();
    let (inside, taken) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while taken.load(Ordering::SeqCst) < 2_000 {
                    let Ok(lock) = Lock::take(&folder.store()) else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two have it");
                    taken.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

#[test]
fn a_log_without_its_file_is_not_thrown_away() {
    let folder = Folder::new();
    fs::write(folder.path().join("chinwag.db-wal"), "lines").expect("a log");
    assert!(matches!(refused(&folder), OpenError::Orphan(_)));
}

#[test]
fn a_file_that_is_empty_or_half_made_is_begun_anew() {
    let folder = Folder::new();
    fs::write(folder.store(), "").expect("an empty file");
    fs::write(folder.path().join("chinwag.db-new"), "half of it").expect("a file");
    open(&folder).expect("it opens").load(1, "a");
    assert!(!folder.path().join("chinwag.db-new").exists());
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let folder = Folder::new();
    let options = SqliteOptions::at(folder.path().join("nowhere").join("chinwag.db"));
    let Err(error) = Driver::open(&options, &Clock::new()) else { panic!("it opens") };
    assert!(matches!(error, OpenError::System(..)), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
}
