//! `stats` counts.

use crate::store::{Folder, NOW_MS, Store, history, said, said_by, stream};

fn filled() -> Folder {
    let folder = Folder::new();
    let mut store = Store::open(&folder.store());
    store.count("tea", 1..=1_000);
    store.add("large", (0..3).map(|_| said(&"x".repeat(700_000))));
    let mut late = said("late");
    late.time_ms = NOW_MS + 3_600_000;
    store.add("logs", [late]);
    for room in 0..12 {
        store.count(&format!("small-{room:02}"), 1..=2);
    }
    let mut private = said_by("alice", 1, "psst");
    private.to = Some(private.from.clone());
    store.add_together(&private, &[stream(1), stream(2)]);
    drop(store);
    folder.tamper("DELETE FROM message WHERE room = (SELECT id FROM room WHERE name = 'tea') AND seq <= 100");
    folder
}

#[test]
fn programs_get_numbers() {
    let folder = filled();
    let stats = history(&folder, &["stats", "--format", "json"]).well();
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["file_bytes"], folder.files()["chinwag.db"].len());
    assert_eq!(stats["log_bytes"], 0);
    let rooms = &stats["rooms"];
    assert_eq!((rooms["count"].as_u64(), rooms["messages"].as_u64()), (Some(15), Some(900 + 3 + 1 + 24)));
    assert_eq!(rooms["oldest"], "2026-11-22T08:30:00.007Z");
    assert_eq!(rooms["newest"], "2026-11-22T09:30:00.000Z");
    assert_eq!((stats["streams"]["count"].as_u64(), stats["streams"]["messages"].as_u64()), (Some(2), Some(2)));
    let largest = stats["largest"].as_array().expect("a list");
    assert_eq!(largest.len(), 10);
    assert_eq!((&largest[0]["room"], &largest[1]["room"]), (&"large".into(), &"tea".into()));
    assert_eq!(largest[1]["messages"], 900);
    assert_eq!(largest[1]["bytes"], 900 * (64 + "alice".len() + "line 000000".len()));
    assert!(largest[0]["bytes"].as_u64().is_some_and(|bytes| (2_100_000..2_101_000).contains(&bytes)), "{largest:?}");
}

#[test]
fn people_get_a_table() {
    let folder = filled();
    let table = history(&folder, &["stats"]).well();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with(&format!("{}: ", folder.store().display())), "{table}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let time = "2026-11-22T08:30:00.007Z";
    assert_eq!(words(lines[2])[..3], ["15", "rooms", "928"], "{table}");
    assert_eq!(words(lines[3])[..3], ["2", "streams", "2"], "{table}");
    assert_eq!(words(lines[6]), ["large", "3", "2.00", "MiB", time, time], "{table}");
    assert_eq!(words(lines[7]), ["tea", "900", "70.31", "KiB", time, time], "{table}");
    assert_eq!(lines.len(), 16, "{table}");
    let columns: Vec<_> =
        [1, 2, 3, 5, 6, 7].iter().map(|&at| lines[at].rfind("2026-11-22").or(lines[at].find("newest"))).collect();
    assert!(columns[..3].windows(2).all(|pair| pair[0] == pair[1]), "{table}");
}

#[test]
fn of_an_empty_store_too() {
    let folder = Folder::new();
    drop(Store::open(&folder.store()));
    let table = history(&folder, &["stats"]).well();
    assert!(table.contains("0 rooms") && !table.contains("largest"), "{table}");
}
