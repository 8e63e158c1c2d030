//! A file that is not what was written: no wrong line is ever told.

use std::fs;

use super::support::{ALL, Clock, Driver, Folder};
use crate::chat::{Completion, ErrorCode, Part, Request, RoomKey, RoomName};
use crate::store::SqliteOptions;

const LINES: u64 = 400;

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

/// Half of its lines are in the log.
fn with_log(lines: u64) -> (Folder, Vec<u8>) {
    let (folder, _) = written(lines / 2);
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    for number in lines / 2 + 1..=lines {
        driver.append(1, &format!("line {number:06}"));
    }
    let folder = folder.image();
    let bytes = fs::read(folder.store()).expect("it is there");
    (folder, bytes)
}

/// How often a store with a file like this is refused, how often something of it cannot be read, and how many lines are read.
#[derive(Debug, Default)]
struct Told {
    refused: usize,
    unread: usize,
    lines: usize,
}

impl Told {
    /// Puts another file into the place of the store's, and reads everything. Holds that each line is one that was said, at its place.
    fn look(&mut self, folder: &Folder, bytes: &[u8]) {
        let folder = folder.image();
        fs::write(folder.store(), bytes).expect("it is damaged");
        let mut driver = match Driver::open(&options(&folder), &Clock::new()) {
            Ok(driver) => driver,
            Err(error) => {
                assert!(error.to_string().contains("chinwag.db"), "{error}");
                assert!(fs::read(folder.store()).expect("it is there") == bytes, "it is not as it was after {error}");
                self.refused += 1;
                return;
            }
        };
        let name = RoomName::parse("a").expect("a room's name");
        let load = |ticket| Request::Load { ticket, room: RoomKey(1), name, must_exist: false };
        if !matches!(driver.ask_perhaps(load), Some(Completion::Loaded { .. })) {
            self.unread += 1;
            return;
        }
        for first in (1..=LINES).step_by(40) {
            let part = Part { seqs: (first, first + 39), ..ALL };
            match driver.ask_perhaps(|ticket| Request::Fetch { ticket, room: RoomKey(1), part }) {
                Some(Completion::Fetched { lines, .. }) => {
                    self.lines += lines.len();
                    assert!(lines.is_sorted_by(|one, next| one.seq < next.seq));
                    for line in lines {
                        assert!((first..first + 40).contains(&line.seq));
                        assert_eq!(*line.draft.message, format!("line {:06}", line.seq));
                        assert_eq!(*line.draft.from, *"alice");
                    }
                }
                Some(Completion::Refused { code, .. }) => {
                    assert_eq!(code, ErrorCode::Internal);
                    self.unread += 1;
                }
                None => break,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn no_damage_anywhere_makes_a_wrong_line() {
    for (folder, bytes) in [written(LINES), with_log(LINES)] {
        let mut told = Told::default();
        for step in 0..120 {
            let mut damaged = bytes.clone();
            let place = bytes.len() * step / 120 + step % 40;
            let end = (place + 24).min(bytes.len());
            damaged[place..end].iter_mut().for_each(|byte| *byte ^= 0x55);
            told.look(&folder, &damaged);
        }
        assert!(told.refused > 0 && told.unread > 0 && told.lines > 10_000, "{told:?}");
    }
}

/// At any byte, and at the end of any page.
#[test]
fn no_cut_anywhere_makes_a_wrong_line() {
    for (folder, bytes) in [written(LINES), with_log(LINES)] {
        let mut told = Told::default();
        for step in 0..40 {
            told.look(&folder, &bytes[..bytes.len() * step / 40]);
        }
        for page in 0..bytes.len() / 4_096 {
            told.look(&folder, &bytes[..page * 4_096]);
        }
        assert!(told.refused > 0, "{told:?}");
        told.look(&folder, &bytes);
        assert!(told.lines as u64 >= LINES, "{told:?}");
    }
}
