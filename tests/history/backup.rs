//! What `export` writes, `import` puts back: the same bytes.

use std::fs;

use chinwag::chat::Name;

use crate::store::{Folder, NOW_MS, Store, counted, history, import, import_piped, parsed, said, said_by, stream};

/// A store with something of everything.
fn varied() -> Folder {
    let folder = Folder::new();
    let mut store = Store::open(&folder.store());
    store.count("tea", 1..=2_345);
    for (name, message) in [
        ("алиса", "привет\nи ещё"),
        ("李小龍", "你好 \u{0}\u{1b}[31m \"quoted\" \\ \u{7f}"),
        ("فاطمة", "سلام \u{202e} 👩‍👩‍👧 e\u{301}"),
        ("👩‍🚀", ""),
    ] {
        let mut draft = said_by(name, 7, message);
        (draft.id, draft.time_ms) = (Some(format!("{name} 1").into()), NOW_MS + 60_123);
        store.add("logs.2026_x-y", [draft]);
    }
    store.add("large", (0..3).map(|number: u8| said(&char::from(b'a' + number).to_string().repeat(900_000))));
    let mut private = said_by("alice", 1, "psst");
    (private.to, private.id) = (Name::parse("bob", 32), Some("p1".into()));
    store.add_together(&private, &[stream(1), stream(2)]);
    drop(store);
    // As retention leaves it.
    folder.tamper("DELETE FROM message WHERE room = (SELECT id FROM room WHERE name = 'tea') AND seq <= 345");
    folder
}

#[test]
fn an_export_of_an_import_is_the_same() {
    let folder = varied();
    let export = history(&folder, &["export"]).well();
    assert_eq!(export.lines().count(), 2_000 + 4 + 3 + 2);
    let copy = Folder::new();
    let said = import(&copy, &export).well();
    let (path, amounts) = (copy.store().display().to_string(), "(3 rooms, 2 streams, 2009 messages)");
    assert_eq!(said, format!("{path}: imported {amounts}\n"));
    assert!(history(&copy, &["export"]).well() == export, "another export");
    assert_eq!(history(&copy, &["verify"]).well(), format!("{path}: whole {amounts}\n"));
    // And again, by a pipe, after a server has had it.
    let mut store = Store::open(&copy.store());
    assert_eq!(store.load("tea").newest, 2_345);
    drop(store);
    let file = copy.file("export.jsonl");
    fs::write(&file, history(&copy, &["export", "--format", "json"]).well()).expect("a file");
    let third = Folder::new();
    import_piped(&third, &file).well();
    assert!(history(&third, &["export"]).well() == export, "another export");
    assert_eq!(copy.files().keys().filter(|name| name.contains("import")).count(), 0, "{:?}", copy.files().keys());
}

#[test]
fn a_line_has_everything() {
    let folder = varied();
    let export = history(&folder, &["export", "--room", "logs.2026_x-y"]).well();
    let lines = parsed(&export);
    assert_eq!(lines.len(), 4);
    let line = &lines[1];
    let epoch = Store::open(&folder.store()).load("logs.2026_x-y").epoch;
    let expected = serde_json::json!({
        "room": "logs.2026_x-y", "epoch": &*epoch, "seq": 2, "time": "2026-11-22T08:31:00.123Z",
        "user": "ua4dqobyha4dqobyh", "name": "李小龍", "id": "李小龍 1",
        "message": "你好 \u{0}\u{1b}[31m \"quoted\" \\ \u{7f}",
    });
    assert_eq!(*line, expected);
}

/// Private messages are in a whole export, and in that of a stream; not in that of a room.
#[test]
fn private_messages_are_in_a_whole_export() {
    let folder = varied();
    let export = history(&folder, &["export"]).well();
    let private: Vec<_> = parsed(&export).into_iter().filter(|line| line["message"] == "psst").collect();
    let rooms: Vec<_> = private.iter().map(|line| line["room"].as_str().expect("a room").to_owned()).collect();
    assert_eq!(rooms, [stream(1), stream(2)]);
    assert!(private.iter().all(|line| line["to"] == "bob" && line["name"] == "alice" && line["id"] == "p1"));
    assert_eq!(parsed(&history(&folder, &["export", "--room", &stream(2)]).well()), private[1..]);
    let tea = history(&folder, &["export", "--room", "tea"]).well();
    assert!(parsed(&tea).iter().all(|line| line["room"] == "tea") && tea.lines().count() == 2_000);
}

#[test]
fn text_is_as_connect_shows_it() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.store());
    store.add("tea", [said("hi\n08:30 bob: I quit\u{1b}[2J")]);
    let mut private = said_by("bob", 2, "psst");
    private.to = Name::parse("alice", 32);
    store.add(&stream(2), [private]);
    drop(store);
    let first = "alice: hi\n    08:30 bob: I quit\u{241b}[2J\n";
    let all = history(&folder, &["export", "--format", "text"]).well();
    let second = "2026-11-22 08:30:00 (private) bob \u{2192} alice: psst\n";
    assert_eq!(all, format!("2026-11-22 08:30:00 [tea] {first}{second}"));
    let tea = history(&folder, &["export", "--format", "text", "--room", "tea"]).well();
    assert_eq!(tea, format!("2026-11-22 08:30:00 {first}"));
}

#[test]
fn what_is_damaged_is_left_out_and_told() {
    let folder = counted(9);
    folder.tamper("UPDATE message SET body = 'forged' WHERE seq = 4");
    let ended = history(&folder, &["export"]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.errors,
        "chinwag: room tea, seq 4: not what was written (its CRC differs)\nchinwag: 1 damaged place left out\n"
    );
    let seqs: Vec<_> = parsed(&ended.output).iter().map(|line| line["seq"].as_u64()).collect();
    assert_eq!(seqs, [1, 2, 3, 5, 6, 7, 8, 9].map(Some));
    // What is left can be put in, and is whole then.
    let copy = Folder::new();
    let imported = import(&copy, &ended.output);
    assert_eq!(imported.code, Some(0));
    assert_eq!(imported.errors, "chinwag: 1 message missing between others; what follows has moved up\n");
    history(&copy, &["verify"]).well();
    let export = parsed(&history(&copy, &["export"]).well());
    assert_eq!(
        export.iter().map(|line| line["seq"].as_u64()).collect::<Vec<_>>(),
        (1..=8).map(Some).collect::<Vec<_>>()
    );
    // Up to the gap both epochs mean the same, and no further.
    let exported = parsed(&ended.output)[0]["epoch"].as_str().expect("an epoch").to_owned();
    let loaded = Store::open(&copy.store()).load("tea");
    assert_eq!((loaded.former, loaded.newest), (Some((exported.into(), 3)), 8));
}

#[test]
fn a_room_that_is_not_there_is_named() {
    history(&counted(1), &["export", "--room", "coffee"]).refused("there is no room coffee");
}
