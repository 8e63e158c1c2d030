//! A store that has two names.

use std::fs;

use super::super::lock::Lock;
use super::last::{LINES, assert_unnoticed, crashed, import};
use super::support::{Clock, Driver, Folder};
use crate::store::{Archive, OpenError, SqliteOptions};

/// By another name the lock is another one; the file is the same.
#[test]
fn a_store_with_two_names_is_used_by_one_server() {
    let (folder, other) = (Folder::new(), Folder::new());
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    driver.append_all(1, 1..=LINES);
    fs::hard_link(folder.store(), other.store()).expect("another name");
    let mut lock = Lock::take(&other.store()).expect("another lock");
    assert!(matches!(lock.hold(&other.store()), Err(OpenError::InUse(_))));
    drop((lock, driver));
    // Closed in order, it can be used by each of its names, one after the other.
    for folder in [&other, &folder, &other] {
        let mut driver = Driver::at(folder);
        assert_eq!(driver.load(1, "a").newest, LINES);
    }
}

/// By another name the log is not found.
#[test]
fn a_store_that_crashed_is_opened_by_the_name_that_it_had_first() {
    let (folder, epoch, _) = crashed();
    let other = Folder::new();
    fs::hard_link(folder.store(), other.store()).expect("another name");
    let refused = |error: Option<OpenError>| {
        let error = error.expect("it is refused");
        assert!(matches!(error, OpenError::Elsewhere(_)), "{error}");
        assert_eq!(fs::read_dir(other.path()).expect("the folder").count(), 1, "something was left there");
    };
    refused(Driver::open(&SqliteOptions::at(other.store()), &Clock::new()).err());
    refused(Archive::open(&other.store()).err());
    refused(import(&other).err());
    assert_unnoticed(&folder, &epoch, LINES);
    assert_eq!(Driver::at(&other).load(1, "a").newest, LINES);
}
