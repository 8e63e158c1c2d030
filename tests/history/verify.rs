//! `verify` finds what is not as it was written, and says where.

use std::fs;

use crate::store::{Folder, Store, counted, history, parsed, said_by, stream};

/// Changes the last byte of each of these texts in the store's file.
fn flip(folder: &Folder, texts: &[&str]) {
    let mut bytes = fs::read(folder.store()).expect("it is there");
    for text in texts {
        let place = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("it is in the file");
        bytes[place + text.len() - 1] ^= 1;
    }
    fs::write(folder.store(), bytes).expect("it is damaged");
}

/// Holds that these places are found, and no others.
#[track_caller]
fn finds(folder: &Folder, places: &[&str], summary: &str) {
    let ended = history(folder, &["verify"]);
    assert_eq!((ended.code, &*ended.errors), (Some(1), ""), "{ended:?}");
    let lines: Vec<&str> = ended.output.lines().collect();
    let (last, found) = lines.split_last().expect("a summary");
    assert_eq!(found, places);
    assert_eq!(*last, format!("{}: {summary}", folder.store().display()));
}

#[test]
fn a_store_that_is_whole_is_called_so() {
    let folder = Folder::new();
    let summary = |what: &str| format!("{}: {what}\n", folder.store().display());
    let mut store = Store::open(&folder.store());
    assert_eq!(history(&folder, &["verify"]).well(), summary("whole (0 rooms, 0 streams, 0 messages)"));
    store.count("tea", 1..=3_000);
    store.count("logs", 1..=1);
    let mut private = said_by("bob", 2, "psst");
    private.to = Some(private.from.clone());
    store.add_together(&private, &[stream(1), stream(2)]);
    drop(store);
    assert_eq!(history(&folder, &["verify"]).well(), summary("whole (2 rooms, 2 streams, 3003 messages)"));
}

#[test]
fn a_line_with_a_wrong_bit_is_found() {
    let folder = counted(2_000);
    flip(&folder, &["line 000007", "line 001999", "line 001500"]);
    let places = [7, 1_500, 1_999].map(|seq| format!("room tea, seq {seq}: not what was written (its CRC differs)"));
    finds(&folder, &places.each_ref().map(|place| &**place), "3 places are damaged (1 room, 0 streams, 2000 messages)");
}

#[test]
fn a_line_that_is_missing_is_found() {
    let folder = counted(2_500);
    // At the oldest end it is what retention does.
    folder.tamper("DELETE FROM message WHERE seq <= 100");
    history(&folder, &["verify"]).well();
    folder.tamper("DELETE FROM message WHERE seq = 102 OR seq BETWEEN 1100 AND 2200 OR seq >= 2499");
    folder.tamper("UPDATE room SET top = 2500");
    let places =
        ["room tea, seq 102: missing", "room tea, seq 1100 to 2200: missing", "room tea, seq 2499 to 2500: missing"];
    finds(&folder, &places, "3 places are damaged (1 room, 0 streams, 1296 messages)");
}

#[test]
fn a_room_whose_lines_all_went_is_whole() {
    let folder = counted(10);
    folder.tamper("UPDATE room SET top = 10; DELETE FROM message");
    history(&folder, &["verify"]).well();
}

#[test]
fn so_many_places_are_told_and_the_rest_is_counted() {
    let folder = counted(300);
    folder.tamper("UPDATE message SET crc = crc + 1");
    let ended = history(&folder, &["verify"]);
    assert_eq!(ended.code, Some(1));
    let lines: Vec<&str> = ended.output.lines().collect();
    assert_eq!(lines.len(), 102, "{}", ended.output);
    assert_eq!(lines[99], "room tea, seq 100: not what was written (its CRC differs)");
    assert_eq!(lines[100], "and 200 more");
    assert!(lines[101].ends_with("300 places are damaged (1 room, 0 streams, 300 messages)"), "{}", lines[101]);
}

#[test]
fn lines_without_a_room_and_a_room_without_a_name_are_found() {
    let folder = counted(3);
    folder.tamper(
        "INSERT INTO message SELECT 77, seq, time, user, sender, recipient, id, crc, body FROM message; \
         INSERT INTO room SELECT 9, 'a b', epoch, generation, NULL, NULL, 0, 0, 0, NULL FROM room",
    );
    let places = ["room number 9: \"a b\" is no name", "room number 77: there are messages of it, but not the room"];
    finds(&folder, &places, "2 places are damaged (1 room, 0 streams, 3 messages)");
}

/// Damage of one page takes the lines in it, and no more: those before it and behind it are looked at, and exported.
#[test]
fn a_page_that_cannot_be_read_is_found_and_what_is_around_it_is_looked_at() {
    let folder = counted(3_000);
    let mut bytes = fs::read(folder.store()).expect("it is there");
    let text = b"line 002500";
    let place = bytes.windows(text.len()).position(|window| window == text).expect("it is in the file");
    let page = place / 4_096 * 4_096;
    bytes[page..page + 64].fill(0xee);
    fs::write(folder.store(), bytes).expect("it is damaged");
    let ended = history(&folder, &["verify"]);
    assert_eq!((ended.code, &*ended.errors), (Some(1), ""), "{ended:?}");
    assert!(ended.output.contains("the file: Tree "), "SQLite's own check: {}", ended.output);
    let places: Vec<_> = ended.output.lines().filter_map(|line| line.strip_prefix("room tea, seq ")).collect();
    let [place] = places[..] else { panic!("{}", ended.output) };
    let (seqs, why) = place.split_once(": ").expect("a place and a reason");
    let (from, to) = seqs.split_once(" to ").expect("two places");
    let [from, to] = [from, to].map(|seq| seq.parse::<usize>().expect("a number"));
    assert!(why.starts_with("cannot be read (") && (from..=to).contains(&2_500) && to - from < 100, "{place}");
    let kept = 3_000 - (to - from + 1);
    assert!(ended.output.contains(&format!("{kept} messages")), "{}", ended.output);
    let export = history(&folder, &["export"]);
    assert_eq!((export.code, export.output.lines().count()), (Some(1), kept), "{}", export.errors);
    assert!(export.output.contains("line 000001") && export.output.contains("line 003000"));
    assert!(export.errors.contains("chinwag: room tea, seq 2"), "{}", export.errors);
}

/// Wherever the damage is: what is exported was said, and what is called whole is.
#[test]
fn no_damage_anywhere_makes_a_wrong_line() {
    const LINES: u64 = 300;
    let folder = counted(LINES);
    let bytes = fs::read(folder.store()).expect("it is there");
    let (mut whole, mut damaged, mut refused) = (0, 0, 0);
    for step in 0..60 {
        let mut changed = bytes.clone();
        let place = bytes.len() * step / 60 + step % 40;
        let end = (place + 12).min(bytes.len());
        changed[place..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(folder.store(), &changed).expect("it is damaged");
        let (verified, exported) = (history(&folder, &["verify"]), history(&folder, &["export"]));
        for line in parsed(&exported.output) {
            let seq = line["seq"].as_u64().expect("a number");
            assert_eq!(
                (line["message"].as_str(), &line["room"]),
                (Some(&*format!("line {seq:06}")), &"tea".into()),
                "{place}"
            );
        }
        let count = exported.output.lines().count() as u64;
        match (verified.code, verified.output.is_empty()) {
            (Some(0), _) => {
                assert_eq!((count, exported.code), (LINES, Some(0)), "{place}: {exported:?}");
                whole += 1;
            }
            (Some(1), false) => damaged += 1,
            (Some(1), true) => refused += 1,
            _ => panic!("{place}: {verified:?}"),
        }
        assert!(fs::read(folder.store()).is_ok_and(|now| now == changed), "{place}: it was changed");
    }
    assert!(whole > 0 && damaged > 10 && refused > 0, "else this proves little: {whole}, {damaged}, {refused}");
}

/// Whatever of what SQLite itself keeps is wrong: here an index has lost an entry, which no line shows.
#[test]
fn what_sqlite_finds_is_told() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.store());
    store.count("tea", 1..=3);
    store.count("logs", 1..=3);
    drop(store);
    folder.tamper(
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX room_class ON room (top)' \
         WHERE name = 'room_class'",
    );
    let ended = history(&folder, &["verify"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.output.contains("the file: ") && ended.output.contains("room_class"), "{}", ended.output);
}
