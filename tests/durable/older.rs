//! The end is lost, since the log is gone or an older copy was put back: whoever has read further is told, and everybody else goes
//! on.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use crate::client::V1;
use crate::common::eventually;
use crate::common::folder::Folder;
use crate::common::server::Server;
use crate::restart::{come_back, history, read_to, say_lines};

#[test]
fn an_older_copy_that_is_put_back_is_told_to_those_who_have_read_further() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &["--rate", "0", "--drain", "200"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut carol = V1::come(&server, "carol", &["tea"]);
    alice.typed("user_join");
    say_lines(&mut alice, "tea", 10);
    read_to(&mut carol, "tea", 10);
    // She has read nothing that will be gone.
    carol.cut();
    server.stop();
    let copy = fs::read(folder.store()).expect("the file");
    server.restart(&[]);
    come_back(&mut alice, &server);
    say_lines(&mut alice, "tea", 5);
    server.stop();
    // As docs/OPERATIONS.md says: the copy, and nothing beside it but the lock.
    fs::write(folder.store(), copy).expect("it is put back");
    for beside in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{beside}", folder.store().display()));
    }
    server.restart(&[]);
    eventually("the log says so", || server.logged("an older copy"));
    (alice.may_follow, carol.may_follow) = (true, true);
    let positions = alice.positions();
    alice.return_with(&server, &format!(r#""name":"alice","rooms":{positions}"#));
    let joined = alice.until("joined tea", |frame| frame["room"] == "tea");
    assert_eq!((&joined["recovered"], &joined["reason"]), (&false.into(), &"ahead".into()), "{joined}");
    assert_eq!(joined["seq"], 10);
    come_back(&mut carol, &server);
    alice.say("tea", "another 11");
    assert_eq!(alice.expect_chat("alice", "another 11"), 11);
    carol.expect_chat("alice", "another 11");
    assert_eq!(history(&mut carol, "tea").len(), 11);
}

/// Kills the server, does this to the store and its log, and holds what a reader without a time is told: so many lines are left.
#[track_caller]
fn is_told_after(left: u64, damage: impl FnOnce(&Path, PathBuf)) {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 10);
    let copy = folder.path().join("copy.db");
    let file = rusqlite::Connection::open(folder.store()).expect("it opens");
    // As docs/OPERATIONS.md says: "copy with SQLite's own means, which know of the log".
    file.backup("main", &copy, None).expect("it is copied");
    drop(file);
    // He comes when all is said: no line that he has read says when he was here. That he is known is written before.
    let mut bob = V1::come(&server, "bob", &["coffee"]);
    say_lines(&mut alice, "tea", 10);
    bob.send(r#"{"type":"join","room":"tea"}"#);
    bob.joined("tea");
    assert_eq!((bob.places["tea"].seq, &bob.places["tea"].time), (20, &None));
    alice.typed("user_join");
    server.signal("KILL");
    server.ended();
    damage(&folder.store(), folder.path().join("chinwag.db-wal"));
    server.restart(&[]);
    eventually("the log says so", || server.logged("(seq 20 of "));
    (alice.may_follow, bob.may_follow) = (true, true);
    let mut carol = V1::come(&server, "carol", &["tea"]);
    assert_eq!(carol.places["tea"].seq, left);
    // What they would miss if nobody noticed.
    say_lines(&mut carol, "tea", 30);
    for who in [&mut bob, &mut alice] {
        let positions = who.positions();
        who.return_with(&server, &format!(r#""rooms":{positions}"#));
        let joined = who.until("joined tea", |frame| frame["room"] == "tea");
        assert_eq!((&joined["recovered"], &joined["reason"]), (&false.into(), &"ahead".into()), "{joined}");
    }
    assert_eq!(history(&mut bob, "tea").len() as u64, left + 30);
}

/// docs/OPERATIONS.md: "it sees by the same that a log is gone or damaged after a crash"
#[test]
fn a_log_that_is_gone_or_cut_after_a_kill_is_told_to_those_who_have_read_further() {
    let cut = |log: PathBuf| {
        let file = OpenOptions::new().write(true).open(log).expect("the log");
        file.set_len(file.metadata().expect("its length").len() - 1).expect("it is cut");
    };
    is_told_after(0, |_, log| fs::remove_file(log).expect("it was there"));
    is_told_after(19, |_, log| cut(log));
}

#[test]
fn a_copy_that_was_made_beside_the_server_is_told_of_when_it_is_put_back_after_a_kill() {
    let put_back = |store: &Path, log: PathBuf| {
        fs::remove_file(log).expect("it was there");
        fs::rename(store.with_file_name("copy.db"), store).expect("it is put back");
    };
    is_told_after(10, put_back);
}
