//! What is read is left as it was; and what cannot be read is named.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use crate::store::{Ended, Folder, Store, command, counted, ended, history};

const READERS: [&[&str]; 5] =
    [&["verify"], &["export"], &["export", "--format", "text"], &["stats"], &["export", "--room", "tea"]];

#[test]
fn a_store_that_is_closed_is_left_byte_for_byte() {
    let folder = counted(2_000);
    let before = folder.files();
    assert!(!before.contains_key("chinwag.db-wal"), "it was closed in order");
    for words in READERS {
        history(&folder, words).well();
        assert!(folder.files() == before, "{words:?}: {:?}", folder.files().keys());
    }
}

/// As a crash leaves it: lines are in the log only.
#[test]
fn a_log_is_read_and_left_where_it_is() {
    let original = Folder::new();
    let mut store = Store::open(&original.store());
    store.count("tea", 1..=2_000);
    let folder = original.image();
    drop(store);
    let mut before = folder.files();
    assert!(before["chinwag.db-wal"].len() > 100_000, "else this proves nothing");
    for words in READERS {
        let said = history(&folder, words).well();
        assert!(!words.contains(&"export") || said.lines().count() == 2_000, "{words:?}: {said}");
        let mut after = folder.files();
        // The index of the log. It says nothing to whoever opens the log next.
        assert!(after.remove("chinwag.db-shm").is_some());
        before.remove("chinwag.db-shm");
        assert!(after == before, "{words:?}: {:?}", after.keys());
    }
    let mut store = Store::open(&folder.store());
    assert_eq!(store.load("tea").newest, 2_000);
    store.count("tea", 2_001..=2_001);
    drop(store);
    assert_eq!(history(&folder, &["export"]).well().lines().count(), 2_001);
}

/// As somebody who may not write there. Who may do everything becomes somebody else for this.
fn without_rights(folder: &Folder, words: &[&str]) -> Ended {
    let mut plain = command(words);
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(plain.get_program())
            .args(plain.get_args());
        command
    } else {
        plain.stdin(std::process::Stdio::null());
        plain
    };
    ended(command.arg("--store").arg(folder.store()))
}

#[test]
fn a_folder_that_may_only_be_read_is_enough() {
    let folder = counted(2_000);
    fs::set_permissions(folder.store(), Permissions::from_mode(0o644)).expect("others may read it");
    let rights = |mode| fs::set_permissions(folder.path(), Permissions::from_mode(mode)).expect("they are set");
    rights(0o555);
    let before = folder.files();
    let all: Vec<Ended> = READERS.iter().map(|words| without_rights(&folder, words)).collect();
    assert!(folder.files() == before);
    // A log cannot be read without making its index.
    fs::write(folder.file("chinwag.db-wal"), "x".repeat(100)).unwrap_or_default();
    rights(0o755);
    for ended in all {
        ended.well();
    }
    let crashed = Folder::new();
    let mut store = Store::open(&crashed.store());
    store.count("tea", 1..=10);
    let image = crashed.image();
    drop(store);
    fs::set_permissions(image.path(), Permissions::from_mode(0o555)).expect("they are set");
    let refused = without_rights(&image, &["export"]);
    fs::set_permissions(image.path(), Permissions::from_mode(0o755)).expect("they are set");
    refused.refused("its log cannot be read in a folder that may not be written to");
}

#[test]
fn what_is_no_store_is_named_and_left() {
    for words in READERS {
        let folder = Folder::new();
        history(&folder, words).refused("cannot open the store");
        assert!(folder.files().is_empty(), "nothing is made");
        fs::write(folder.store(), "Dear diary").expect("a file");
        history(&folder, words).refused("is no store of chinwag");
        fs::write(folder.store(), "").expect("a file");
        history(&folder, words).refused("is no store of chinwag");
        fs::remove_file(folder.store()).expect("it is there");
        folder.tamper("CREATE TABLE t (x)");
        let before = folder.files();
        history(&folder, words).refused("is no store of chinwag");
        assert!(folder.files() == before);
    }
}

#[test]
fn what_is_damaged_where_it_begins_is_named_and_left() {
    let whole = counted(50);
    let bytes = fs::read(whole.store()).expect("it is there");
    let mut schema = bytes.clone();
    schema[100..140].fill(0xee);
    let mut later = bytes.clone();
    later[60..64].copy_from_slice(&[0, 0, 0, 2]);
    for (bytes, why) in [(schema, "is damaged"), (later, "later version"), (bytes[..4_096].to_vec(), "is damaged")] {
        let folder = Folder::new();
        fs::write(folder.store(), bytes).expect("a file");
        let before = folder.files();
        for words in READERS {
            history(&folder, words).refused(why);
            assert!(folder.files() == before, "{words:?}, {why}: {:?}", folder.files().keys());
        }
    }
}
