//! Beside a server that writes.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use chinwag::store::{Retention, SqliteOptions, SyncPolicy};

use crate::store::{Folder, Store, command, counted, history, import, parsed, said};

/// What is exported is of each room what there was at one moment: all from the first line to some line.
#[test]
fn an_export_is_a_prefix_of_each_room() {
    let folder = Folder::new();
    // However much is written meanwhile, nothing of it goes.
    let retention = Retention { messages_max: u64::MAX, ..Retention::default() };
    let mut store = Store::open_with(&SqliteOptions { retention, ..SqliteOptions::at(folder.store()) });
    store.count("tea", 1..=3_000);
    store.count("logs", 1..=3_000);
    let done = AtomicBool::new(false);
    let (first, last) = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut next = 3_001;
            while !done.load(Ordering::Relaxed) {
                for room in ["tea", "logs"] {
                    store.count(room, next..=next + 99);
                }
                next += 100;
            }
            drop(store);
            next - 1
        });
        let mut counts = Vec::new();
        for _ in 0..5 {
            let export = history(&folder, &["export"]).well();
            for room in ["tea", "logs"] {
                let lines: Vec<_> = parsed(&export).into_iter().filter(|line| line["room"] == room).collect();
                for (line, seq) in lines.iter().zip(1_u64..) {
                    assert_eq!(
                        (line["seq"].as_u64(), line["message"].as_str()),
                        (Some(seq), Some(&*format!("line {seq:06}")))
                    );
                }
                counts.push(lines.len() as u64);
            }
            let whole = history(&folder, &["verify"]).well();
            assert!(whole.contains(": whole (2 rooms"), "{whole}");
            history(&folder, &["stats"]).well();
        }
        done.store(true, Ordering::Relaxed);
        assert!(counts[0] >= 3_000 && counts.windows(3).all(|of| of[0] <= of[2]), "{counts:?}");
        (counts[0], writing.join().expect("it is written"))
    });
    assert!(last > first, "nothing was written meanwhile");
    let whole = history(&folder, &["verify"]).well();
    assert!(whole.ends_with(&format!("whole (2 rooms, 0 streams, {} messages)\n", 2 * last)), "{last}: {whole}");
}

/// What retention takes meanwhile is no damage, wherever the reading is.
#[test]
fn lines_that_go_meanwhile_are_not_missing() {
    let folder = Folder::new();
    let retention = Retention { messages_max: 10, ..Retention::default() };
    // Many commits while something is read.
    let sync = SyncPolicy::Interval(1_000);
    let mut store = Store::open_with(&SqliteOptions { retention, sync, ..SqliteOptions::at(folder.store()) });
    let rooms: Vec<String> = (0..100).map(|number| format!("room-{number}")).collect();
    let rounds = AtomicU64::new(0);
    let mut ends = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while rounds.fetch_add(1, Ordering::Relaxed) < 300 {
                store.add_together(&said("hi"), &rooms);
            }
        });
        while rounds.load(Ordering::Relaxed) < 300 {
            ends.push(history(&folder, &["verify"]));
        }
    });
    assert!(ends.len() > 3, "{}", ends.len());
    for ended in ends {
        ended.well();
    }
    let first = parsed(&history(&folder, &["export"]).well())[0]["seq"].as_u64();
    assert!(first > Some(200), "little went: {first:?}");
}

#[test]
fn an_import_is_refused_while_the_store_is_in_use() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.store());
    store.count("logs", 1..=3);
    let export = history(&counted(3), &["export"]).well();
    import(&folder, &export).refused("another server uses the store");
    store.count("logs", 4..=4);
    drop(store);
    import(&folder, &export).well();
    assert_eq!(history(&folder, &["export"]).well().lines().count(), 7);
}

/// A log that could not be given back would grow for as long as somebody reads.
#[test]
fn the_log_is_taken_over_while_an_export_waits_for_its_reader() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.store());
    store.count("tea", 1..=20_000);
    let mut child =
        command(&["export", "--store"]).arg(folder.store()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.next().expect("a line").expect("it is text");
    // Now it waits, with a full pipe.
    store.count("logs", 1..=10_000);
    let other = rusqlite::Connection::open(folder.store()).expect("it opens");
    let (busy, pages, taken): (i64, i64, i64) = other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .expect("a checkpoint");
    assert_eq!((busy, pages, taken), (0, 0, 0), "somebody holds the log");
    assert_eq!(lines.count(), 19_999, "and it goes on");
    assert!(child.wait().expect("it ends").success());
}
