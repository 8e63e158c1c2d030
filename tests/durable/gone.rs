//! The store's files go, or become others, while the server runs.

use std::fs;

use crate::client::V1;
use crate::common::folder::Folder;
use crate::common::server::{Launch, Server};
use crate::restart::{come_back, history, say_lines};

/// Has alice say a line after something was done to the files; holds that it is not acknowledged, and that the server ends.
#[track_caller]
fn ends_after(folder: &Folder, damage: impl FnOnce()) -> (Server, V1) {
    let mut server = Server::durable(folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 5);
    let mut plain = server.connect("plain", "/rooms/coffee");
    plain.json();
    damage();
    alice.send(r#"{"type":"chat","room":"tea","id":"lost","message":"into nothing"}"#);
    let (frames, code) = alice.wire().rest();
    assert!(frames.iter().all(|frame| frame["type"] == "system"), "{frames:?}");
    assert_eq!(code, Some(1011));
    plain.until("the notice", |frame| frame["code"] == "shutdown");
    assert_eq!(plain.closed().0, 1011);
    assert_eq!(server.ended().code(), Some(74));
    (server, alice)
}

/// docs/OPERATIONS.md: "none of it is acknowledged"
///
/// > | 1011 | the server's disk failed, and it ends | come back later |
///
/// > | 1011 | failed: the server's disk failed, and it ends (section 13) | reconnect and resume |
#[test]
fn a_line_is_not_acknowledged_when_the_file_is_gone() {
    let folder = Folder::new();
    let (server, _) = ends_after(&folder, || fs::remove_file(folder.store()).expect("it was there"));
    assert!(server.logged("chinwag.db was deleted"), "{}", server.log());
    let (status, _, errors) = Launch::durable(&folder, &[]).run();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains("the store that it belongs to is gone"), "{errors}");
}

#[test]
fn a_line_is_not_acknowledged_when_the_log_is_gone() {
    let folder = Folder::new();
    let (server, _) =
        ends_after(&folder, || fs::remove_file(folder.path().join("chinwag.db-wal")).expect("it was there"));
    assert!(server.logged("chinwag.db-wal was deleted"), "{}", server.log());
}

#[test]
fn a_line_is_not_acknowledged_when_another_file_is_there() {
    let folder = Folder::new();
    let kept = folder.path().join("kept");
    let (mut server, mut alice) = ends_after(&folder, || {
        fs::rename(folder.store(), &kept).expect("it was there");
        fs::write(folder.store(), "").expect("a file");
    });
    assert!(server.logged("chinwag.db is another file than it was"), "{}", server.log());
    // Put back, it goes on.
    fs::rename(kept, folder.store()).expect("it was there");
    server.restart(&[]);
    come_back(&mut alice, &server);
    assert!(history(&mut alice, "tea").len() >= 5);
}
