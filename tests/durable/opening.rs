//! What cannot be used is refused before anybody is let in: exit code 1, a sentence, and the file as it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::beside::chinwag_history;
use crate::client::V1;
use crate::common::eventually;
use crate::common::folder::Folder;
use crate::common::server::{Launch, Server};
use crate::restart::{come_back, history, say_lines};

/// What is there but for the lock, which says nothing of lines, and the log's index, which is made anew.
fn lines_of(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let mut all = folder.contents();
    all.retain(|name, _| !name.ends_with("-lock") && !name.ends_with("-shm") && !name.ends_with("-ballast"));
    all
}

#[track_caller]
fn refused(folder: &Folder, words: &str) {
    let before = lines_of(folder);
    let (status, out, errors) = Launch::durable(folder, &[]).run();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("chinwag: ") || errors.contains("\nchinwag: "), "{errors}");
    assert!(errors.contains(words), "no {words:?} in {errors}");
    assert!(out.is_empty(), "it listens: {out}");
    assert!(lines_of(folder) == before, "the file has changed");
}

/// A folder with a store in which 50 lines were said.
pub(crate) fn used() -> Folder {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 50);
    alice.cut();
    server.stop();
    folder
}

#[test]
fn what_is_no_store_is_refused() {
    for content in [&b"dear diary"[..], b"SQLite format 3\0 and then something else", &[0; 8192]] {
        let folder = Folder::new();
        fs::write(folder.store(), content).expect("a file");
        refused(&folder, "no store of chinwag");
    }
}

#[test]
fn a_damaged_store_is_refused() {
    let sound = used();
    let bytes = fs::read(sound.store()).expect("the file");
    let mut damaged = bytes.clone();
    // The first page holds the schema, behind the header.
    damaged[100..4096].fill(0xa5);
    fs::write(sound.store(), &damaged).expect("it is damaged");
    refused(&sound, "damaged");
    fs::write(sound.store(), &bytes[..bytes.len() / 2 / 4096 * 4096]).expect("it is cut");
    refused(&sound, "damaged");
}

#[test]
fn a_store_of_a_later_version_is_refused() {
    let folder = used();
    let mut bytes = fs::read(folder.store()).expect("the file");
    bytes[60..64].copy_from_slice(&9_i32.to_be_bytes());
    fs::write(folder.store(), bytes).expect("it is changed");
    refused(&folder, "later version");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    fs::write(folder.path().join("file"), "").expect("a file");
    for (store, words) in [
        (folder.path().join("none/chinwag.db"), "No such file"),
        (folder.path().join("file/chinwag.db"), "Not a directory"),
        (folder.path().to_owned(), "directory"),
    ] {
        let store = store.to_str().expect("letters");
        let (status, out, errors) = Launch::new(&["--store", store]).run();
        assert_eq!((status.code(), &out[..]), (Some(1), ""), "{errors}");
        assert!(errors.contains(store) && errors.contains(words), "{errors}");
        assert!(!errors.contains("os error"), "{errors}");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).expect("it is ours");
    // Root may write it all the same, but nobody may write here.
    let is_root = fs::write(folder.path().join("probe"), "").is_ok();
    let store = if is_root { "/sys/chinwag.db".to_owned() } else { folder.store().display().to_string() };
    let (status, _, errors) = Launch::new(&["--store", &store]).run();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains(&format!("cannot open the store {store}: ")), "{errors}");
}

/// The second server says who has it, and the first notices nothing.
#[test]
fn a_store_in_use_is_refused() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 3);
    let (status, out, errors) = Launch::durable(&folder, &[]).run();
    assert_eq!((status.code(), &out[..]), (Some(1), ""), "{errors}");
    let why = "chinwag: another server uses the store ";
    let told = errors.lines().find(|line| line.starts_with(why)).unwrap_or_else(|| panic!("{errors}"));
    assert!(told.ends_with("chinwag.db: stop that one first, or name another file with --store"), "{told}");
    say_lines(&mut alice, "tea", 3);
    server.kill_and_restart(&[]);
    come_back(&mut alice, &server);
    alice.quiet();
}

/// docs/OPERATIONS.md: "make all these files with mode 0600, whatever the umask".
#[test]
fn only_their_owner_may_read_the_files() {
    let folder = Folder::new();
    let server = Launch::durable(&folder, &[]).by_shell("umask 000; exec \"$0\" \"$@\"".to_owned()).start();
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 3);
    let ballast = folder.path().join("chinwag.db-ballast");
    eventually("the ballast is there", || ballast.exists());
    let names = ["chinwag.db", "chinwag.db-ballast", "chinwag.db-lock", "chinwag.db-shm", "chinwag.db-wal"];
    assert!(folder.contents().into_keys().eq(names), "{:?}", folder.contents().keys());
    for name in names {
        let mode = fs::metadata(folder.path().join(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}: {mode:o}");
    }
}

/// docs/OPERATIONS.md: "keeps the mode that you have given it; SQLite gives `-wal` and `-shm` the same".
#[test]
fn a_mode_that_was_given_is_kept() {
    let folder = used();
    fs::set_permissions(folder.store(), fs::Permissions::from_mode(0o640)).expect("it is ours");
    let server = Server::durable(&folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 1);
    for name in ["chinwag.db", "chinwag.db-shm", "chinwag.db-wal"] {
        let mode = fs::metadata(folder.path().join(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{name}: {mode:o}");
    }
}

/// docs/OPERATIONS.md: "A symbolic link stands for the file that it leads to".
#[test]
fn a_link_stands_for_the_file_that_it_leads_to() {
    let (folder, links) = (used(), Folder::new());
    symlink(folder.store(), links.store()).expect("a link");
    let mut server = Server::durable(&links, &["--sync", "interval=200"]);
    let (status, _, errors) = Launch::durable(&folder, &[]).run();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains("another server uses the store"), "{errors}");
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 3);
    server.kill_and_restart(&[]);
    come_back(&mut alice, &server);
    assert!(links.contents().into_keys().eq(["chinwag.db"]), "{:?}", links.contents().keys());
    drop(server);
    fs::remove_dir_all(folder.path()).expect("the folder goes");
    let (status, _, errors) = Launch::durable(&links, &[]).run();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains("leads to nothing"), "{errors}");
    assert!(fs::symlink_metadata(links.store()).expect("it is there").is_symlink());
}

/// docs/OPERATIONS.md: "A file that has two names (hard links) is one store: one server uses it, by one of them at a time."
#[test]
fn a_store_with_two_names_is_used_by_one_server() {
    let (folder, other) = (used(), Folder::new());
    fs::hard_link(folder.store(), other.store()).expect("another name");
    let mut server = Server::durable(&folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 3);
    let refused = |words: &str| {
        let (status, out, errors) = Launch::durable(&other, &[]).run();
        assert_eq!((status.code(), &out[..]), (Some(1), ""), "{errors}");
        assert!(errors.contains(words), "{errors}");
        assert!(other.contents().into_keys().eq(["chinwag.db"]), "{:?}", other.contents().keys());
    };
    refused("another server uses the store");
    let (code, said, errors) = chinwag_history(&folder, &["verify"]);
    assert!(code == Some(0) && said.contains("53 messages"), "{said} {errors}");
    say_lines(&mut alice, "tea", 3);
    server.signal("KILL");
    server.ended();
    // The log has lines that this name does not have.
    refused("start the server with that name once");
    server.restart(&[]);
    come_back(&mut alice, &server);
    alice.cut();
    server.stop();
    let server = Server::durable(&other, &[]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    assert_eq!(history(&mut bob, "tea").len(), 56);
}

/// A file that is named like the word is a file.
#[test]
fn a_file_may_be_called_memory() {
    let folder = Folder::new();
    let server = Launch::new(&["--store", "./memory"]).within(&folder).start();
    assert!(server.said.ends_with("(history in ./memory, synced)"), "{}", server.said);
    assert!(folder.path().join("memory").exists());
    let forgets = Launch::new(&["--store", "memory"]).within(&folder).start();
    assert!(forgets.said.ends_with("(history in memory)"), "{}", forgets.said);
}
