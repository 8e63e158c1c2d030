//! A log that is cut or damaged: what comes back is the truth up to some line.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;

use super::support::{Driver, Folder, Loaded};

const LINES: u64 = 60;

/// A file in which the first lines are, and a log with the others, each in a commit of its own.
fn image() -> Folder {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    driver.append_all(1, 1..=20);
    drop(driver);
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    (21..=LINES).for_each(|number| assert_eq!(driver.append(1, &number.to_string()), number));
    folder.image()
}

fn log(folder: &Folder) -> std::path::PathBuf {
    folder.path().join("chinwag.db-wal")
}

/// How many lines there are. Each is the one that was said; and if some are gone, that is noticed.
fn lines_there(folder: &Folder) -> u64 {
    let mut driver = Driver::at(folder);
    let Loaded { newest, former, .. } = driver.load(1, "a");
    assert_eq!(former.map(|(_, top)| top), (newest < LINES).then_some(newest));
    driver.assert_counts(1, 1..=newest);
    driver.append(1, "and it goes on");
    newest
}

#[test]
fn a_log_that_is_cut_brings_back_what_is_before_the_cut() {
    let original = image();
    let bytes = fs::metadata(log(&original)).expect("there is a log").len();
    let mut last = 0;
    for step in 0..=40 {
        let folder = original.image();
        let cut = OpenOptions::new().write(true).open(log(&folder)).expect("the log");
        cut.set_len(bytes * step / 40).expect("it is cut");
        let there = lines_there(&folder);
        assert!((last.max(20)..=LINES).contains(&there), "{there} after {last}");
        last = there;
    }
    assert_eq!(last, LINES, "all of it is there when nothing is cut");
}

#[test]
fn a_log_that_is_damaged_brings_back_what_is_before_the_damage() {
    let original = image();
    let bytes = fs::metadata(log(&original)).expect("there is a log").len();
    let mut losses = 0;
    for step in 0..40 {
        let folder = original.image();
        let file = OpenOptions::new().read(true).write(true).open(log(&folder)).expect("the log");
        let (at, mut byte) = (bytes * step / 40 + 17, [0]);
        file.read_exact_at(&mut byte, at).expect("a byte");
        file.write_all_at(&[byte[0] ^ 0x10], at).expect("it is damaged");
        let there = lines_there(&folder);
        assert!((20..=LINES).contains(&there), "{there}");
        losses += u32::from(there < LINES);
    }
    assert!(losses >= 38, "{losses}");
}
