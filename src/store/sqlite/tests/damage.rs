//! A file that is not what was written: no wrong line is ever told.

use std::fs;

use super::support::{ALL, Clock, Driver, Folder};
use crate::chat::{Completion, ErrorCode, Part, Request, RoomKey, RoomName};
use crate::store::SqliteOptions;

/// So that every read goes to the file.
fn options(folder: &Folder) -> SqliteOptions {
    SqliteOptions { recent_messages_max: 0, ..SqliteOptions::at(folder.store()) }
}

fn written(lines: u64) -> (Folder, Vec<u8>) {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    for number in 1..=lines {
        driver.append(1, &format!("line {number:06}"));
    }
    drop(driver);
    let bytes = fs::read(folder.store()).expect("it is there");
    (folder, bytes)
}

#[test]
fn a_line_that_is_damaged_is_a_hole() {
    let (folder, mut bytes) = written(9);
    let damage = |bytes: &mut Vec<u8>, text: &[u8]| {
        let place = bytes.windows(text.len()).position(|window| window == text).expect("the line is there");
        bytes[place + text.len() - 1] ^= 1;
    };
    for text in [&b"line 000004"[..], b"line 000005", b"line 000009"] {
        damage(&mut bytes, text);
    }
    fs::write(folder.store(), bytes).expect("it is damaged");
    let mut driver = Driver::open(&options(&folder), &Clock::new()).expect("it opens");
    assert_eq!(driver.load(1, "a").newest, 9);
    assert_eq!(driver.seqs(1, ALL), (vec![1, 2, 3], 1), "what follows is no continuation");
    let from = |first| Part { seqs: (first, u64::MAX), ..ALL };
    assert_eq!(driver.seqs(1, from(4)), (vec![6, 7, 8], 1), "whoever comes to it goes on behind it");
    assert_eq!(driver.seqs(1, from(9)), (vec![], 10), "nothing is behind it");
    assert_eq!(driver.seqs(1, Part { newest_first: true, ..ALL }), (vec![6, 7, 8], 1), "backwards likewise");
    assert_eq!(driver.seqs(1, Part { newest_first: true, seqs: (0, 5), ..ALL }), (vec![1, 2, 3], 1));
}

#[test]
fn no_damage_anywhere_makes_a_wrong_line() {
    let (folder, bytes) = written(400);
    let (mut refused, mut unread, mut read) = (0, 0, 0);
    for step in 0..120 {
        let mut damaged = bytes.clone();
        let place = bytes.len() * step / 120 + step % 40;
        let end = (place + 24).min(bytes.len());
        damaged[place..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(folder.store(), damaged).expect("it is damaged");
        let Ok(mut driver) = Driver::open(&options(&folder), &Clock::new()) else {
            refused += 1;
            continue;
        };
        let name = RoomName::parse("a").expect("a room's name");
        let load = |ticket| Request::Load { ticket, room: RoomKey(1), name, must_exist: false };
        if !matches!(driver.ask_perhaps(load), Some(Completion::Loaded { .. })) {
            unread += 1;
            continue;
        }
        for first in (1..=400).step_by(40) {
            let part = Part { seqs: (first, first + 39), ..ALL };
            match driver.ask_perhaps(|ticket| Request::Fetch { ticket, room: RoomKey(1), part }) {
                Some(Completion::Fetched { lines, .. }) => {
                    read += lines.len();
                    for line in lines {
                        assert_eq!(*line.draft.message, format!("line {:06}", line.seq));
                        assert_eq!(*line.draft.from, *"alice");
                    }
                }
                Some(Completion::Refused { code, .. }) => {
                    assert_eq!(code, ErrorCode::Internal);
                    unread += 1;
                }
                None => break,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(refused > 0 && unread > 0 && read > 10_000, "{refused} refused, {unread} unread, {read} read");
}
