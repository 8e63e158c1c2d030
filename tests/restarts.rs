//! What holds when the server is started again with a store on a disk (`docs/PROTOCOL.md` section 5.3): the core and the store,
//! without sockets.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]
#![allow(unreachable_pub, reason = "all of it is one test binary, which nobody else reaches")]

#[path = "sim/frames.rs"]
mod frames;
#[path = "restarts/server.rs"]
mod server;

use chinwag::chat::ErrorCode;
use chinwag::store::{Retention, SqliteOptions};
use serde_json::{Value, json};

use server::{Folder, Refusal, Server, joined, of, place};

/// A line with an `id` to `tea`.
fn line(message: &str) -> Value {
    json!({"type": "chat", "room": "tea", "message": message, "id": message})
}

fn note(message: &str) -> Value {
    json!({"type": "private", "to": "alice", "message": message, "id": message})
}

fn messages(told: &[Value]) -> Vec<&str> {
    let lines = told.iter().filter(|frame| frame["type"] == "chat" || frame["type"] == "private");
    lines.map(|line| line["message"].as_str().expect("a text")).collect()
}

/// > A store on a disk outlives it, whether it ended in order or not, and then:
///
/// > A room keeps its lines, its numbers and its `epoch`, so a position that was good stays good.
///
/// > A line that was acknowledged or told to anybody is there.
///
/// > A store on a disk keeps the key, and so every session is good over a restart of the server.
///
/// > whether the server runs or not.
#[test]
fn who_comes_back_after_a_start_goes_on_as_after_a_break() {
    for in_order in [true, false] {
        let folder = Folder::new();
        let mut first = Server::start(&folder);
        let (alice, told) = first.hello(&json!({"name": "alice", "rooms": [{"room": "tea"}, {"room": "quiet"}]}));
        let (welcome, tea, quiet) = (told[0].clone(), joined(&told, "tea").clone(), joined(&told, "quiet").clone());
        let me = joined(&told, "@me").clone();
        let one = first.ask(alice, &line("one"))[0].clone();
        let private = first.ask(alice, &note("note"))[0].clone();
        let two = first.ask(alice, &line("two"));
        assert_eq!(of(&two, "ack").len(), 1);
        let image = folder.image();
        drop(first);

        let mut second = Server::start(if in_order { &folder } else { &image });
        let rooms =
            [place(&me, &private), place(&tea, &one), json!({"room": "quiet", "epoch": quiet["epoch"], "seq": 0})];
        let (_, told) = second.hello(&json!({"session": welcome["session"], "name": "alice", "rooms": rooms}));
        assert_eq!((&told[0]["user"], &told[0]["session"]), (&welcome["user"], &welcome["session"]));
        assert_eq!((&told[0]["resumed"], &told[0]["name"]), (&json!(false), &json!("alice")));
        for (room, seq) in [(&me, 1), (&tea, 2), (&quiet, 0)] {
            let again = joined(&told, room["room"].as_str().expect("a room"));
            assert_eq!((&again["epoch"], &again["recovered"]), (&room["epoch"], &json!(true)), "{again}");
            assert_eq!(again["seq"], seq);
        }
        assert_eq!(messages(&told), ["two"], "none missing, none twice");
        assert_eq!(of(&told, "chat")[0], &two[0], "as it was sent");
    }
}

/// > When the server is started again, nobody is present any more, and nobody is told of a leave. For one grace after it,
/// > returns to the rooms that a `hello` names are not told as joins, of users who were there before.
#[test]
fn a_start_is_no_storm_of_leaves_and_joins() {
    let folder = Folder::new();
    let rooms = json!([{"room": "tea"}]);
    let mut first = Server::start(&folder);
    let (alice, told) = first.hello(&json!({"name": "alice", "rooms": rooms}));
    let (_, other) = first.hello(&json!({"name": "bob", "rooms": rooms}));
    assert_eq!(of(&first.take(alice), "user_join").len(), 1);
    drop(first);
    let mut second = Server::start(&folder);
    let (alice, again) = second.hello(&json!({"session": told[0]["session"], "name": "alice", "rooms": rooms}));
    assert_eq!((&again[0]["resumed"], &joined(&again, "tea")["online_count"]), (&json!(false), &json!(1)));
    second.hello(&json!({"session": other[0]["session"], "name": "bob", "rooms": rooms}));
    assert_eq!(second.take(alice), [] as [Value; 0], "bob was there before");
    second.hello(&json!({"name": "carol", "rooms": rooms}));
    assert_eq!(of(&second.take(alice), "user_join").len(), 1, "carol was not");
}

/// > One that was not may be there or not: send it again with its `id`. What the store has is answered with `duplicate`, what
/// > it has not is stored.
///
/// > among the newest 10,000 of its room, across a restart as far as it is kept
#[test]
fn a_retry_is_harmless_over_a_start() {
    let folder = Folder::new();
    let mut first = Server::start(&folder);
    let (alice, told) = first.hello(&json!({"name": "alice", "rooms": [{"room": "tea"}]}));
    // More than the store tells of in one answer.
    for number in 1..=2_500 {
        first.send(alice, &line(&number.to_string()));
    }
    first.send(alice, &note("psst"));
    first.settle();
    assert_eq!(of(&first.take(alice), "ack").len(), 2_501);
    let hello = json!({"session": told[0]["session"], "name": "alice", "rooms": [{"room": "tea"}]});
    let image = folder.image();
    drop(first);
    let mut second = Server::start(&image);
    let (alice, _) = second.hello(&hello);
    for number in [1, 1_000, 1_001, 2_500] {
        let told = second.ask(alice, &line(&number.to_string()));
        assert_eq!((told.len(), &told[0]["type"]), (1, &json!("ack")), "{told:?}");
        assert_eq!((&told[0]["seq"], &told[0]["duplicate"]), (&json!(number), &json!(true)));
    }
    let told = second.ask(alice, &note("psst"));
    assert_eq!((told.len(), &told[0]["seq"], &told[0]["duplicate"]), (1, &json!(1), &json!(true)), "{told:?}");
    let told = second.ask(alice, &line("never said"));
    assert_eq!((&told[0]["seq"], &told[1]["type"], told[1].get("duplicate")), (&json!(2_501), &json!("ack"), None));
    // Another's `id` is another one.
    let (bob, _) = second.hello(&json!({"name": "bob", "rooms": [{"room": "tea"}]}));
    assert_eq!(of(&second.ask(bob, &line("7")), "chat")[0]["seq"], 2_502);
}

/// > The first line with an `id` in a room may wait until the server has looked up which ids it knows there, and with it
/// > whatever else comes on that connection.
///
/// Nobody else waits for it.
#[test]
fn the_first_line_with_an_id_waits_until_the_ids_are_known() {
    let folder = Folder::new();
    let mut first = Server::start(&folder);
    let (alice, _) = first.hello(&json!({"name": "alice", "rooms": [{"room": "tea"}]}));
    first.ask(alice, &line("one"));
    drop(first);
    let mut second = Server::start(&folder);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| {
        let (conn, _) = second.hello(&json!({"name": name, "rooms": [{"room": "tea"}]}));
        conn
    });
    second.take(alice);
    second.send(alice, &line("a"));
    second.send(bob, &line("b"));
    assert!(second.chat.is_held(alice) && second.chat.is_held(bob));
    second.send(carol, &json!({"type": "chat", "message": "c"}));
    assert!(!second.chat.is_held(carol), "it has no id");
    second.settle();
    let told = second.take(alice);
    assert_eq!(messages(&told), ["c", "a", "b"]);
    assert_eq!(of(&told, "ack").len(), 1);
    second.send(alice, &line("d"));
    assert!(!second.chat.is_held(alice), "they are known");
    second.settle();
}

/// > (and kept, if the server was started again since)
///
/// > A store on a disk keeps more of them, the newest 100,000 of a room and 4 GiB in all
#[test]
fn what_is_not_kept_is_not_known_after_a_start() {
    let usually = Retention { messages_max: 100_000, days_max: 0, bytes_max: 4 << 30 };
    assert_eq!(Retention::default(), usually);
    let folder = Folder::new();
    let options = SqliteOptions { retention: Retention { messages_max: 4, ..usually }, ..folder.options() };
    let mut first = Server::start_with(&options);
    let (alice, told) = first.hello(&json!({"name": "alice", "rooms": [{"room": "tea"}]}));
    for number in 1..=10 {
        first.ask(alice, &line(&number.to_string()));
    }
    assert_eq!(first.ask(alice, &line("1"))[0]["duplicate"], true, "it has seen it");
    drop(first);
    let mut second = Server::start_with(&options);
    let (alice, _) = second.hello(&json!({"session": told[0]["session"], "name": "alice", "rooms": [{"room": "tea"}]}));
    assert_eq!(second.ask(alice, &line("10"))[0]["duplicate"], true);
    assert_eq!(second.ask(alice, &line("1"))[0]["seq"], 11);
}

/// > Only two things can take lines from the end: a loss of power before a sync (if not every line is synced before it is
/// > acknowledged), and files of the store that are lost, damaged or replaced by an older copy.
///
/// > Then each room has a new `epoch`, and the one before it is good up to the last line that is left: a position up to there
/// > recovers as if nothing had been (its `joined` says the new epoch), and one behind it gets `ahead`.
///
/// > So whoever has read a line that is lost is told.
///
/// > A line that was acknowledged, but not read yet by its sender, may be lost without a word.
///
/// > After the end of the log was lost (section 5.3), the epoch before is as good as the room's up to the last line that is
/// > left, and the `joined` says the room's: take it from there, whatever `recovered` says.
///
/// > one on a disk when lines may be lost from its end (section 5.3)
#[test]
fn when_the_end_is_lost_who_has_read_it_is_told_and_nobody_else() {
    let (folder, older) = (Folder::new(), Folder::new());
    let mut first = Server::start(&folder);
    let (alice, told) = first.hello(&json!({"name": "alice", "rooms": [{"room": "tea"}]}));
    let (welcome, tea) = (told[0].clone(), joined(&told, "tea").clone());
    let one = first.ask(alice, &line("one"))[0].clone();
    let two = first.ask(alice, &line("two"))[0].clone();
    drop(first);
    older.put_back(&folder);
    let mut second = Server::start(&folder);
    let rooms = json!([place(&tea, &two)]);
    let (alice, told) = second.hello(&json!({"session": welcome["session"], "name": "alice", "rooms": rooms}));
    assert_eq!(joined(&told, "tea")["epoch"], tea["epoch"]);
    let three = second.ask(alice, &line("three"))[0].clone();
    drop(second);
    folder.put_back(&older);

    let mut third = Server::start(&folder);
    let come = |third: &mut Server, place: Value, expected: &Value| {
        let (conn, told) = third.hello(&json!({"session": welcome["session"], "name": "alice", "rooms": [place]}));
        let joined = joined(&told, "tea").clone();
        assert_eq!(
            (&joined["recovered"], joined.get("reason")),
            (&json!(expected.is_null()), expected.as_str().map(|_| expected))
        );
        assert_ne!(joined["epoch"], tea["epoch"]);
        (conn, joined, told)
    };
    let (_, now, told) = come(&mut third, place(&tea, &one), &Value::Null);
    assert_eq!((messages(&told), &now["seq"]), (vec!["two"], &json!(2)));
    come(&mut third, place(&tea, &two), &Value::Null);
    let (_, _, told) = come(&mut third, place(&tea, &three), &json!("ahead"));
    assert!(messages(&told).is_empty());
    // Also when the room has come as far again, and also without the `time` by which the lines differ.
    let (alice, ..) = come(&mut third, place(&now, &two), &Value::Null);
    let other = third.ask(alice, &line("another"))[0].clone();
    assert_eq!(other["seq"], three["seq"]);
    come(&mut third, json!({"room": "tea", "epoch": tea["epoch"], "seq": 3}), &json!("ahead"));
    // What is lost is not known: sent again, it is stored.
    let (alice, ..) = come(&mut third, place(&now, &other), &Value::Null);
    assert_eq!(third.ask(alice, &line("three"))[0]["seq"], 4);
    assert_eq!(third.ask(alice, &line("two"))[0]["duplicate"], true);
}

/// > | `storage_full` | the disk is full: the line is not stored; reading goes on, and what was acknowledged is kept; `retry` is
/// > true |
#[test]
fn a_full_disk_refuses_lines_and_nothing_else() {
    let folder = Folder::new();
    let options = SqliteOptions { file_pages_max: Some(60), ..folder.options() };
    let mut first = Server::start_with(&options);
    let (alice, told) = first.hello(&json!({"name": "alice", "rooms": [{"room": "tea"}]}));
    let mut acknowledged = 0;
    let error = loop {
        let message = format!("{acknowledged}{}", "x".repeat(3_000));
        let command = json!({"type": "chat", "message": message, "id": acknowledged.to_string(), "ref": "r"});
        let told = first.ask(alice, &command);
        if let [error] = &of(&told, "error")[..] {
            assert_eq!(told.len(), 1, "{told:?}");
            break (*error).clone();
        }
        assert_eq!(of(&told, "ack").len(), 1);
        acknowledged += 1;
        assert!(acknowledged < 1_000, "it is never full");
    };
    assert_eq!((&error["code"], &error["retry"]), (&json!("storage_full"), &json!(true)));
    let id = json!(acknowledged.to_string());
    assert_eq!((&error["id"], &error["room"], &error["ref"]), (&id, &json!("tea"), &json!("r")));
    let last =
        |told: &[Value]| told[0]["messages"].as_array().and_then(|lines| lines.last()).expect("a line")["seq"].clone();
    let history = json!({"type": "history", "limit": 2});
    assert_eq!(last(&first.ask(alice, &history)), acknowledged);
    drop(first);
    // With more room, the same is stored: once.
    let mut second = Server::start(&folder);
    let (alice, _) = second.hello(&json!({"session": told[0]["session"], "name": "alice", "rooms": [{"room": "tea"}]}));
    assert_eq!(last(&second.ask(alice, &history)), acknowledged);
    let again = json!({"type": "chat", "message": "x", "id": id});
    assert_eq!(second.ask(alice, &again)[0]["seq"], acknowledged + 1);
    assert_eq!(second.ask(alice, &again)[0]["duplicate"], true);
}

/// > | `internal` | the server cannot read what it keeps: for a `join` or `history`, or to tell whether a line with an `id` is
/// > a retry; `retry` is true |
#[test]
fn what_cannot_be_read_is_said_and_no_line_is_stored_twice_for_it() {
    let folder = Folder::new();
    let mut first = Server::start(&folder);
    let (alice, told) = first.hello(&json!({"name": "alice", "rooms": [{"room": "tea"}]}));
    first.ask(alice, &line("one"));
    first.ask(alice, &note("psst"));
    drop(first);
    let mut second = Server::start(&folder);
    let (alice, _) = second.hello(&json!({"session": told[0]["session"], "name": "alice", "rooms": [{"room": "tea"}]}));
    for command in
        [line("one"), note("psst"), json!({"type": "history", "room": "tea"}), json!({"type": "join", "room": "cake"})]
    {
        second.refuses = Some(Refusal { which: |_| true, code: ErrorCode::Internal });
        let told = second.ask(alice, &command);
        let [error] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&error["code"], &error["retry"]), (&json!("internal"), &json!(true)));
        let room = if command["type"] == "private" { None } else { command.get("room") };
        assert_eq!((error.get("id"), error.get("room")), (command.get("id"), room), "{error}");
        // It was a passing trouble.
        let told = second.ask(alice, &command);
        assert!(of(&told, "error").is_empty(), "{told:?}");
        assert_eq!(told[0].get("duplicate"), command.get("id").map(|_| &json!(true)));
    }
}
