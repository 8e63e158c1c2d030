//! Binary frames.

use crate::common::client::Came;
use crate::common::server::Server;

/// > A binary frame is relayed unchanged, as binary, to those others in the sender's first room who have sent a binary
/// > frame themselves; a text-only client is never bothered. It has no `seq`, is not stored
#[test]
fn binary_goes_to_those_who_sent_binary() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    let mut texter = server.join("texter", "tea", 3);
    let mut elsewhere = server.join("elsewhere", "cake", 1);
    assert_eq!(alice.json()["name"], "bob");
    assert_eq!(alice.json()["name"], "texter");
    assert_eq!(bob.json()["name"], "texter");
    alice.send_binary(b"nobody gets this");
    alice.quiet();
    elsewhere.send_binary(b"another room");
    elsewhere.quiet();
    bob.send_binary(b"from bob");
    assert_eq!(alice.next(), Came::Binary(b"from bob".to_vec()));
    let every_byte: Vec<u8> = (0..=255).cycle().take(65_536).collect();
    for bytes in [&b""[..], b"{\"type\":\"ping\"}", b"\xff\xfe\x00", &every_byte] {
        alice.send_binary(bytes);
        assert_eq!(bob.next(), Came::Binary(bytes.to_vec()));
    }
    alice.send("text");
    for client in [&mut alice, &mut bob, &mut texter] {
        assert_eq!(client.expect_chat("alice", "text"), 1, "binary has no seq");
        client.quiet();
    }
    elsewhere.quiet();
}

/// > in the sender's first room
#[test]
fn binary_of_a_user_in_no_room_goes_to_nobody() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["name"], "bob");
    bob.send_binary(b"x");
    bob.quiet();
    alice.send(r#"{"type":"join","room":"cake"}"#);
    assert_eq!(alice.json()["type"], "joined");
    alice.send(r#"{"type":"leave","room":"tea"}"#);
    assert_eq!(alice.json()["type"], "left");
    assert_eq!(bob.json()["type"], "user_leave");
    alice.send_binary(b"for cake");
    alice.quiet();
    bob.quiet();
    alice.send(r#"{"type":"leave","room":"cake"}"#);
    assert_eq!(alice.json()["type"], "left");
    alice.send_binary(b"for nobody");
    alice.until("a pong", |frame| frame["type"] == "error" || frame["type"] == "pong");
}
