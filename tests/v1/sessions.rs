//! Who somebody is: `user` is for good, and a session proves it.

use crate::client::V1;
use crate::common::server::Server;
use crate::wire::Wire;

/// > | `session` | from an earlier `welcome`: who one is (section 15) | somebody new |
///
/// > | `session` | a secret to keep, and to show in the next `hello` (section 15.1) |
///
/// > | `resumed` | whether the user was still present (boolean) |
///
/// > It is a secret: who has it is that user.
///
/// > A valid one always brings back the same `user`: within the grace, after the grace, a goodbye, or whatever else ended the
/// > connection. `resumed:true` says that the user was still present
///
/// > The `welcome` repeats the one that was shown
///
/// > It is a string without meaning to anybody but the server, of at most 128 characters of `A`–`Z`, `a`–`z`, `0`–`9`, `-`
/// > and `_`.
#[test]
fn a_session_always_brings_back_the_same_user() {
    let server = Server::start(&["--grace-ms", "200", "--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    let (user, session) = (alice.user.clone(), alice.session.clone());
    assert!(user.len() == 17 && user.starts_with('u'), "{user}");
    assert!(session.len() <= 128 && session.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    for round in 0..8 {
        let resumed = match round % 4 {
            // Half-open, and cut.
            0 => true,
            1 => {
                alice.cut();
                true
            }
            // After the grace, and after a goodbye.
            2 => {
                alice.cut();
                assert_eq!(bob.typed("user_leave")["user"], user[..]);
                false
            }
            _ => {
                alice.goodbye();
                assert_eq!(bob.typed("user_leave")["user"], user[..]);
                false
            }
        };
        // `return_with` holds that the user is the same.
        alice.return_with(&server, r#""name":"alice","rooms":[{"room":"tea"}]"#);
        assert_eq!((&alice.welcome["resumed"], &alice.session[..]), (&resumed.into(), &session[..]), "round {round}");
        alice.joined("@me");
        alice.joined("tea");
        if !resumed {
            assert_eq!(bob.typed("user_join")["user"], user[..]);
        }
        alice.say("tea", "it is me");
        assert_eq!(alice.typed("chat")["user"], user[..]);
        assert_eq!(bob.typed("chat")["user"], user[..]);
    }
}

/// > in its rooms and under its name; else it comes in anew, and has to say its name again.
///
/// > after the grace, a goodbye
///
/// Of who has gone, only who it was is known: it is in no room, and its name is anybody's.
#[test]
fn who_has_gone_comes_back_without_rooms_and_name() {
    let server = Server::start(&[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    alice.goodbye();
    alice.return_with(&server, "");
    assert!(alice.name.starts_with("guest-"), "{}", alice.welcome);
    assert_eq!(alice.welcome["resumed"], false);
    alice.joined("@me");
    alice.joined("lobby");
    alice.quiet();
}

/// > A `session` that is not valid is no error: one is welcomed as somebody new, with another `user`.
///
/// > The session proves it: the user, the time it was made, and an HMAC-SHA-256 under a key
///
/// A session that is none makes somebody new, without a word; it does not tell whether it was close.
#[test]
fn a_forged_session_proves_nobody() {
    let server = Server::start(&["--rate", "0"]);
    let elsewhere = Server::start(&[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let foreign = V1::hello(&elsewhere, "carol", "").session;
    let good = alice.session.clone();
    let mut forged: Vec<String> = (0..good.len())
        .map(|place| {
            let mut bytes = good.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).expect("ASCII")
        })
        .collect();
    forged.extend([
        foreign,
        String::new(),
        "x".into(),
        good[..good.len() - 1].into(),
        format!("{good}A"),
        good.repeat(2),
    ]);
    forged.extend(["ü".into(), alice.user.clone(), "A".repeat(good.len()), "x".repeat(60_000)]);
    for session in forged {
        let mut mallory = Wire::open(&server, "mallory");
        mallory.send(&format!(r#"{{"type":"hello","session":"{session}","rooms":[]}}"#));
        let welcome = mallory.json();
        assert_eq!((&welcome["type"], &welcome["resumed"]), (&"welcome".into(), &false.into()), "{session}: {welcome}");
        assert_ne!(welcome["user"], alice.user[..], "{session}: {welcome}");
        assert_ne!(welcome["session"], session[..], "{welcome}");
        assert_eq!(mallory.json()["room"], "@me");
        mallory.say_close(Some(1000));
        assert_eq!(mallory.closed(), 1000);
    }
    alice.quiet();
    alice.resume(&server);
}

/// > (Memory store: it is made at start; so after a restart none is valid, and everybody is somebody new.)
///
/// > A room has an `epoch`, made anew whenever the store cannot prove continuity: one in memory at each start of the
/// > server
///
/// > A store in memory is gone with the server: each room begins anew, under another epoch.
///
/// > an HMAC-SHA-256 under a key that lives in the store
///
/// So a server that forgets its rooms forgets who proved what, and says `epoch` of every room.
#[test]
fn with_the_memory_store_a_restart_makes_everybody_new() {
    let first = Server::start(&[]);
    let mut alice = V1::come(&first, "alice", &["tea"]);
    alice.say("tea", "hello");
    alice.expect_chat("alice", "hello");
    drop(first);
    let second = Server::start(&[]);
    let wire = Wire::open(&second, "alice");
    let (user, session) = (alice.user.clone(), alice.session.clone());
    let fields = format!(r#""session":"{session}","name":"alice","rooms":{}"#, alice.positions());
    alice.greet(wire, &fields);
    assert_eq!((&alice.welcome["resumed"], &alice.name[..]), (&false.into(), "alice"));
    assert_ne!((&alice.user, &alice.session), (&user, &session));
    for room in ["@me", "tea"] {
        let joined = alice.joined(room);
        assert_eq!(
            (&joined["recovered"], &joined["reason"], &joined["seq"]),
            (&false.into(), &"epoch".into(), &0.into())
        );
    }
    alice.quiet();
}

/// > `user` is `u` and 80 random bits
#[test]
fn users_and_sessions_do_not_repeat() {
    let server = Server::start(&["--rate", "0"]);
    let people: Vec<V1> = (0..200).map(|_| V1::hello(&server, "guest", "")).collect();
    for of in
        [|person: &V1| person.user.clone(), |person: &V1| person.session.clone(), |person: &V1| person.name.clone()]
    {
        let mut all: Vec<String> = people.iter().map(of).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 200);
    }
}

/// > It is compared in constant time, stands in no frame but `welcome`, and is not logged.
///
/// (How it is compared is seen in the code only.) The log is as talkative as it gets.
#[test]
fn a_session_is_told_to_nobody() {
    let mut server = Server::start(&["--rate", "0", "--log", "debug"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let session = alice.session.clone();
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut paul = server.join("paul", "tea", 3);
    // Shown again, at the wrong time, cut in the middle, and where it means nothing.
    alice.return_with(&server, r#""name":"bob","rooms":[{"room":"tea"}]"#);
    assert_eq!(alice.session, session);
    for text in [
        format!(r#"{{"type":"hello","session":"{session}","rooms":7,"ref":"r"}}"#),
        format!(r#"{{"type":"hello","session":"{session}"#),
        format!(r#"{{"type":"who","session":"{session}"}}"#),
        session.clone(),
        r#"{"type":"chat","message":"hi","id":"i"}"#.to_owned(),
        r#"{"type":"history"}"#.to_owned(),
    ] {
        alice.send(&text);
    }
    for text in [format!(r#"{{"type":"hello","session":"{session}"}}"#), r#"{"type":"ping"}"#.to_owned()] {
        paul.send(&text);
        alice.send(&text);
        bob.send(&text);
    }
    let mut frames = Vec::new();
    until_pong(&mut frames, || alice.text());
    until_pong(&mut frames, || bob.text());
    until_pong(&mut frames, || paul.text());
    assert!(frames.len() > 15, "{frames:#?}");
    assert!(frames.iter().all(|frame| !frame.contains(&session)), "{frames:#?}");
    server.signal("TERM");
    server.ended();
    assert!(!server.log().is_empty() && !server.logged(&session), "{}", server.log());
}

fn until_pong(frames: &mut Vec<String>, mut next: impl FnMut() -> String) {
    loop {
        frames.push(next());
        if frames.last().is_some_and(|frame| frame.starts_with(r#"{"type":"pong""#)) {
            return;
        }
    }
}
