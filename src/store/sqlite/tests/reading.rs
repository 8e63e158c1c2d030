//! What is read, from memory and from the file; and what is refused at once.

use super::support::{ALL, Clock, Driver, Folder, draft, row};
use crate::chat::{Completion, Draft, ErrorCode, Part, Request, RoomKey, Row, Ticket};
use crate::store::SqliteOptions;
use crate::store::sqlite::COLLECTED_AT_ONCE;

#[test]
fn a_fetch_keeps_to_its_part_wherever_the_lines_are() {
    for (recent_messages_max, again) in [(0, false), (4, false), (1_000, false), (4, true), (1_000, true)] {
        let folder = Folder::new();
        let options = SqliteOptions { recent_messages_max, ..SqliteOptions::at(folder.store()) };
        let mut driver = Driver::open(&options, &Clock::new()).expect("it opens");
        driver.load(1, "a");
        (1..=12).for_each(|seq| assert_eq!(driver.append(1, "four"), seq));
        if again {
            drop(driver);
            driver = Driver::open(&options, &Clock::new()).expect("it opens");
            driver.load(1, "a");
        }
        let mut fetch = |seqs, newest_first, lines_max, bytes_max| {
            let (lines, oldest) = driver.seqs(1, Part { seqs, newest_first, lines_max, bytes_max });
            assert_eq!(oldest, 1);
            lines
        };
        let all = usize::MAX;
        // Twice: after the first time some of it is in memory.
        for _ in 0..2 {
            assert_eq!(fetch((11, u64::MAX), false, 50, all), [11, 12]);
            assert_eq!(fetch((5, 12), true, 50, 11), [11, 12]);
            assert_eq!(fetch((5, 12), true, 50, 0), [12], "at least one");
            assert_eq!(fetch((9, 12), true, 4, all), [9, 10, 11, 12]);
            assert_eq!(fetch((5, 12), true, 5, all), [8, 9, 10, 11, 12]);
            assert_eq!(fetch((5, 7), false, 50, all), [5, 6, 7]);
            assert_eq!(fetch((5, 7), false, 2, all), [5, 6]);
            assert_eq!(fetch((5, 7), true, 2, all), [6, 7]);
            assert_eq!(fetch((0, 4), true, 50, all), [1, 2, 3, 4]);
            assert_eq!(fetch((0, 4), false, 1, all), [1]);
            assert_eq!(fetch((5, 12), false, 50, 8), [5, 6]);
            assert_eq!(fetch((5, 12), false, 0, all), [5], "at least one");
            for nothing in [(0, 0), (13, 20), (7, 5), (u64::MAX, u64::MAX)] {
                assert_eq!(fetch(nothing, false, 50, all), [0; 0], "{nothing:?}");
                assert_eq!(fetch(nothing, true, 50, all), [0; 0], "{nothing:?}");
            }
            assert_eq!(fetch((0, u64::MAX), false, 50, all).len(), 12);
        }
    }
}

#[test]
fn what_there_is_no_time_for_is_left_for_the_next_turn() {
    const LINES: u64 = 1_000;
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    for number in 1..=LINES {
        let rows = [row(1, "hi", &driver.clock)].into();
        driver.submit(Request::Append { ticket: Ticket(number), rows });
    }
    let mut tickets = Vec::new();
    while tickets.len() < LINES as usize {
        let mut completions = Vec::new();
        let mut asked = 0;
        driver.store.collect(&mut completions, || {
            asked += 1;
            asked > 1
        });
        assert!(completions.len() <= COLLECTED_AT_ONCE, "{}", completions.len());
        tickets.extend(completions.iter().map(|completion| match completion {
            Completion::Appended { ticket, .. } => ticket.0,
            other => panic!("{other:?}"),
        }));
        if completions.is_empty() && !driver.store.has_more() {
            driver.wait();
        }
    }
    assert_eq!(tickets, (1..=LINES).collect::<Vec<_>>());
}

#[test]
fn lines_in_memory_are_read_though_the_disk_is_gone() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    driver.append_all(1, 1..=50);
    let part = Part { newest_first: true, lines_max: 50, ..ALL };
    driver.submit(Request::Fetch { ticket: Ticket(1_000), room: RoomKey(1), part });
    let mut completions = Vec::new();
    driver.store.collect(&mut completions, || false);
    assert!(
        matches!(&completions[..], [Completion::Fetched { lines, .. }] if lines.len() == 50),
        "it is there at once"
    );
}

#[test]
fn ids_are_recalled_page_by_page() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    driver.load(2, "b");
    for number in 1..=2_500_u64 {
        let id = (number % 2 == 0).then(|| number.to_string().into());
        let rows = [Row { room: RoomKey(1), draft: Draft { id, ..draft("", 0) } }].into();
        driver.submit(Request::Append { ticket: Ticket(number), rows });
    }
    let (mut stored, mut completions) = (0, Vec::new());
    while stored < 2_500 {
        driver.collect(&mut completions);
        stored += completions.drain(..).len();
    }
    let mut recall = |room, first, last| match driver.ask(|ticket| Request::Recall {
        ticket,
        room: RoomKey(room),
        seqs: (first, last),
    }) {
        Completion::Recalled { ids, through, .. } => (ids, through),
        other => panic!("{other:?}"),
    };
    let (mut next, mut found, mut pages) = (101, Vec::new(), 0);
    while next <= 2_400 {
        let (ids, through) = recall(1, next, 2_400);
        found.extend(ids);
        next = through + 1;
        pages += 1;
    }
    assert_eq!(pages, 3);
    let expected: Vec<_> = (102..=2_400_u64).step_by(2).map(|seq| (seq.to_string(), seq)).collect();
    assert!(found.iter().map(|(_, id, seq)| (id.to_string(), *seq)).eq(expected));
    assert_eq!(recall(2, 1, 50), (vec![], 50), "a room without lines");
}

#[test]
fn what_waits_for_the_disk_is_bounded() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    // Nothing is taken back meanwhile, however fast the disk is.
    for number in 0..20_001 {
        driver.submit(Request::Append { ticket: Ticket(number), rows: [row(1, "", &driver.clock)].into() });
    }
    let (mut stored, mut refused, mut completions) = (0, Vec::new(), Vec::new());
    while stored + refused.len() < 20_001 {
        driver.collect(&mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Appended { lines, .. } => {
                    stored += 1;
                    assert_eq!(lines[0].seq, stored as u64);
                }
                Completion::Refused { ticket, code } => {
                    assert_eq!(code, ErrorCode::Overloaded);
                    refused.push(ticket);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(refused, [Ticket(20_000)], "the last one, at once");
    assert_eq!(driver.append(1, "again"), 20_001, "then it goes on");
}

#[test]
fn what_one_has_read_after_a_start_the_next_reads_from_memory() {
    let folder = Folder::new();
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    driver.append_all(1, 1..=300);
    drop(driver);
    let mut driver = Driver::at(&folder);
    driver.load(1, "a");
    let is_there_at_once = |driver: &mut Driver, part| {
        driver.submit(Request::Fetch { ticket: Ticket(1_000), room: RoomKey(1), part });
        let mut completions = Vec::new();
        // Before anything is taken from the reader, so what is there was in memory.
        completions.append(&mut driver.store.completions);
        let at_once = !completions.is_empty();
        if !at_once {
            driver.collect(&mut completions);
        }
        let [Completion::Fetched { lines, .. }] = &completions[..] else { panic!("{completions:?}") };
        assert!(lines.iter().all(|line| *line.draft.message == line.seq.to_string()));
        at_once
    };
    let last = |lines_max| Part { newest_first: true, lines_max, ..ALL };
    let from = |first| Part { seqs: (first, u64::MAX), ..ALL };
    assert!(!is_there_at_once(&mut driver, last(50)));
    assert!(is_there_at_once(&mut driver, last(50)));
    assert!(is_there_at_once(&mut driver, from(251)));
    assert!(!is_there_at_once(&mut driver, from(200)), "it reaches further back");
    assert!(is_there_at_once(&mut driver, from(200)));
    assert!(!is_there_at_once(&mut driver, Part { seqs: (1, 100), ..ALL }));
    assert!(!is_there_at_once(&mut driver, Part { seqs: (1, 100), ..ALL }), "what does not join on is not held");
}
