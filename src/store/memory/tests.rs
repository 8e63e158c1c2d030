//! The memory store's promises, one by one. `model_test` has them all together.

use super::*;
use crate::chat::{Draft, Name, UserId};
use crate::store::ring::{line_bytes, size_class};

/// A store and the tickets that it was given.
struct Driver {
    memory: Memory,
    tickets: u64,
}

impl Driver {
    fn new(recent_messages_max: usize, recent_bytes_max: usize, rooms_max: usize) -> Self {
        Self { memory: Memory::new(MemoryLimits { recent_messages_max, recent_bytes_max, rooms_max }, 7), tickets: 0 }
    }

    fn ask(&mut self, request: impl FnOnce(Ticket) -> Request) -> Completion {
        self.tickets += 1;
        self.memory.submit(request(Ticket(self.tickets)));
        self.memory.check();
        let mut completions = Vec::new();
        self.memory.collect(&mut completions);
        let completion = completions.pop().expect("memory answers at once");
        assert!(completions.is_empty(), "one answer for one request");
        assert_eq!(completion.ticket(), Ticket(self.tickets));
        completion
    }

    /// Its epoch and newest `seq`, or why not.
    fn load(&mut self, key: u32, name: &str) -> Result<(Arc<str>, u64), ErrorCode> {
        self.load_named(key, RoomName::parse(name).expect("a room's name"), false)
    }

    fn load_named(&mut self, key: u32, name: RoomName, must_exist: bool) -> Result<(Arc<str>, u64), ErrorCode> {
        match self.ask(|ticket| Request::Load { ticket, room: RoomKey(key), name, must_exist }) {
            Completion::Loaded { epoch, newest, .. } => Ok((epoch, newest)),
            Completion::Refused { code, .. } => Err(code),
            other => panic!("{other:?}"),
        }
    }

    fn unload(&mut self, key: u32) {
        self.unload_at(key, 0);
    }

    fn unload_at(&mut self, key: u32, wall_ms: Millis) {
        self.memory.submit(Request::Unload { room: RoomKey(key), wall_ms });
        self.memory.check();
    }

    fn append(&mut self, key: u32, message: &str) -> u64 {
        let rows = [row(key, message)].into();
        match self.ask(|ticket| Request::Append { ticket, rows }) {
            Completion::Appended { lines, .. } => lines[0].seq,
            other => panic!("{other:?}"),
        }
    }

    fn fetch(&mut self, key: u32, part: Part) -> (Vec<u64>, u64) {
        match self.ask(|ticket| Request::Fetch { ticket, room: RoomKey(key), part }) {
            Completion::Fetched { lines, oldest, .. } => (lines.iter().map(|line| line.seq).collect(), oldest),
            other => panic!("{other:?}"),
        }
    }

    fn kept(&mut self, key: u32) -> (Vec<u64>, u64) {
        self.fetch(key, ALL)
    }
}

const ALL: Part = Part { seqs: (0, u64::MAX), newest_first: false, lines_max: u32::MAX, bytes_max: usize::MAX };

fn row(key: u32, message: &str) -> Row {
    let from = Name::parse("alice", 32).expect("a name");
    let draft = Draft { time_ms: 1, user: UserId([1; 10]), from, id: None, message: message.into(), to: None };
    Row { room: RoomKey(key), draft }
}

fn cost(message: &str) -> usize {
    let room = RoomName::lobby();
    line_bytes(&Line { room, seq: 1, draft: row(0, message).draft })
}

#[test]
fn a_room_keeps_its_newest_lines_and_its_count() {
    let mut driver = Driver::new(3, 1 << 20, 10);
    assert_eq!(driver.load(1, "a").expect("there is place").1, 0);
    assert_eq!(driver.kept(1), (vec![], 1));
    for seq in 1..=5 {
        assert_eq!(driver.append(1, "hi"), seq);
    }
    assert_eq!(driver.kept(1), (vec![3, 4, 5], 3));
}

#[test]
fn a_fetch_keeps_to_its_part() {
    let mut driver = Driver::new(10, 1 << 20, 10);
    driver.load(1, "a").expect("there is place");
    for _ in 0..12 {
        driver.append(1, "four");
    }
    let mut fetch = |seqs, newest_first, lines_max, bytes_max| {
        let (lines, oldest) = driver.fetch(1, Part { seqs, newest_first, lines_max, bytes_max });
        assert_eq!(oldest, 3);
        lines
    };
    let all = usize::MAX;
    assert_eq!(fetch((5, 7), false, 50, all), [5, 6, 7]);
    assert_eq!(fetch((5, 7), false, 2, all), [5, 6]);
    assert_eq!(fetch((5, 7), true, 2, all), [6, 7]);
    assert_eq!(fetch((0, 4), true, 50, all), [3, 4]);
    assert_eq!(fetch((0, 4), false, 1, all), [3]);
    assert_eq!(fetch((11, u64::MAX), false, 50, all), [11, 12]);
    assert_eq!(fetch((5, 12), false, 50, 8), [5, 6]);
    assert_eq!(fetch((5, 12), true, 50, 11), [11, 12]);
    assert_eq!(fetch((5, 12), true, 50, 0), [12], "at least one");
    assert_eq!(fetch((5, 12), false, 0, all), [5], "at least one");
    for nothing in [(0, 2), (13, 20), (7, 5), (0, 0), (u64::MAX, u64::MAX)] {
        assert_eq!(fetch(nothing, false, 50, all), [0; 0], "{nothing:?}");
        assert_eq!(fetch(nothing, true, 50, all), [0; 0], "{nothing:?}");
    }
}

#[test]
fn the_rows_of_an_append_get_their_places_in_order() {
    let mut driver = Driver::new(10, 1 << 20, 10);
    driver.load(1, "a").expect("there is place");
    driver.load(2, "b").expect("there is place");
    driver.append(2, "first");
    let rows = [row(1, "x"), row(2, "y"), row(1, "z")].into_iter().collect();
    let Completion::Appended { lines, .. } = driver.ask(|ticket| Request::Append { ticket, rows }) else {
        panic!("memory refuses no line");
    };
    let places: Vec<_> = lines.iter().map(|line| (&*line.room, line.seq, &*line.draft.message)).collect();
    assert_eq!(places, [("a", 1, "x"), ("b", 2, "y"), ("a", 2, "z")]);
}

#[test]
fn a_room_without_lines_is_forgotten_when_it_is_unloaded() {
    let mut driver = Driver::new(10, cost("hi") * 4, 10);
    let (first, _) = driver.load(1, "a").expect("there is place");
    assert_eq!(first.len(), 12);
    driver.unload(1);
    let (second, _) = driver.load(1, "a").expect("there is place");
    assert_ne!(first, second, "nothing was said: a new life");
    driver.append(1, "hi");
    driver.unload(1);
    assert_eq!(driver.load(2, "a").expect("it is kept"), (second.clone(), 1), "under another number");

    // A line that is too long for all: its room's count goes on while it is loaded.
    driver.load(3, "b").expect("there is place");
    assert_eq!(driver.append(3, &"x".repeat(cost("hi") * 4)), 1);
    assert_eq!(driver.kept(3), (vec![], 2));
    assert_eq!(driver.append(3, "hi"), 2);
    assert_eq!((driver.kept(2), driver.kept(3)), ((vec![1], 1), (vec![2], 2)));

    // Trimmed to nothing while it is not loaded.
    driver.append(2, &"x".repeat(cost("hi") * 3 - cost("")));
    assert_eq!(driver.kept(2), (vec![2], 2));
    driver.unload(2);
    driver.append(3, "hi");
    assert_eq!(driver.memory.rooms.len(), 1);
    let (third, newest) = driver.load(2, "a").expect("there is place");
    assert_eq!((third != second, newest), (true, 0), "a new life");
}

#[test]
fn the_room_unloaded_longest_makes_place() {
    let mut driver = Driver::new(10, 1 << 20, 3);
    let mut epochs = Vec::new();
    for (key, name) in [(1, "a"), (2, "b"), (3, "c")] {
        epochs.push(driver.load(key, name).expect("there is place").0);
        driver.append(key, "hi");
    }
    assert_eq!(driver.load(4, "d"), Err(ErrorCode::Overloaded), "all are loaded");
    driver.unload(2);
    driver.unload(1);
    assert_eq!(driver.load(5, "b").expect("it is kept"), (epochs[1].clone(), 1));
    driver.unload(5);
    assert_eq!(driver.load(4, "d").expect("a goes").1, 0);
    assert_eq!(driver.load(2, "b").expect("it is kept"), (epochs[1].clone(), 1));
    assert_eq!(driver.load(1, "a"), Err(ErrorCode::Overloaded));
}

fn stream(number: u8) -> RoomName {
    RoomName::stream(UserId([number; 10]))
}

#[test]
fn a_stream_is_kept_for_thirty_days_though_it_is_empty() {
    let mut driver = Driver::new(10, 1 << 20, 100);
    assert_eq!(driver.load_named(1, stream(1), true), Err(ErrorCode::NoSuchUser), "nobody was ever here");
    let (first, _) = driver.load_named(1, stream(1), false).expect("there is place");
    driver.unload_at(1, 1_000);
    driver.load(2, "a").expect("there is place");
    driver.unload_at(2, 1_000 + STREAM_KEPT_MS - 1);
    assert_eq!(driver.load_named(1, stream(1), true).expect("it is kept").0, first);
    // Seen again: the time counts from here, by the day.
    let (noon, day) = (36 * 3_600_000, 24 * 3_600_000);
    driver.unload_at(1, noon);
    driver.load(2, "a").expect("there is place");
    driver.unload_at(2, noon + STREAM_KEPT_MS);
    assert_eq!(driver.load_named(1, stream(1), true).expect("it is kept").0, first);
    driver.unload_at(1, noon);
    driver.load(2, "a").expect("there is place");
    driver.unload_at(2, 2 * day + STREAM_KEPT_MS);
    assert_eq!(driver.load_named(1, stream(1), true), Err(ErrorCode::NoSuchUser));
}

#[test]
fn an_empty_stream_makes_place_before_any_room() {
    let mut driver = Driver::new(10, 1 << 20, 3);
    for (key, name) in [(1, RoomName::lobby()), (2, stream(1)), (3, stream(2))] {
        driver.load_named(key, name, false).expect("there is place");
    }
    driver.append(1, "hi");
    driver.append(2, "hi");
    (1..=3).for_each(|key| driver.unload(key));
    driver.load(4, "new").expect("an empty stream goes");
    assert_eq!(driver.load_named(3, stream(2), true), Err(ErrorCode::NoSuchUser), "though it was idle the shortest");
    driver.load_named(2, stream(1), true).expect("one with a line stays");
    driver.load(5, "newer").expect("now the room goes that was idle longest");
    assert_eq!(driver.load_named(1, RoomName::lobby(), false), Err(ErrorCode::Overloaded), "all are loaded");
}

#[test]
fn the_room_that_holds_most_loses_its_oldest_line() {
    let mut dice = fastrand::Rng::with_seed(1);
    let mut driver = Driver::new(1_000, 40_000, 20);
    for key in 0..10 {
        driver.load(key, &format!("room{key}")).expect("there is place");
    }
    let sizes = |driver: &Driver| -> Vec<usize> {
        (0..10).map(|key| driver.memory.rooms[driver.memory.by_key[&RoomKey(key)]].ring.bytes()).collect()
    };
    let mut drops = 0;
    for _ in 0..3_000 {
        let mut before = sizes(&driver);
        let key = dice.u32(0..10).min(dice.u32(0..10));
        driver.append(key, "lines of one length, so that one goes for one that comes");
        before[key as usize] += cost("lines of one length, so that one goes for one that comes");
        let largest = *before.iter().max().expect("ten rooms");
        for (before, after) in before.iter().zip(sizes(&driver)).filter(|(before, after)| after < before) {
            drops += 1;
            assert!(before * 9 / 8 >= largest, "{before} of {largest} bytes became {after}");
        }
    }
    assert!(drops > 1_000, "the limit was reached");
}

#[test]
fn a_ring_gives_its_slots_back() {
    let mut driver = Driver::new(1_000, 400 * cost(""), 1_000);
    for key in 0..50 {
        driver.load(key, &format!("room{key}")).expect("there is place");
        for _ in 0..300 {
            driver.append(key, "");
        }
    }
    let slots: usize = driver.memory.rooms.iter().map(|(_, room)| room.ring.slots()).sum();
    assert!(slots < 4 * 400 + 50 * 8, "{slots} slots for 400 lines");
}

#[test]
fn size_classes_ascend_and_are_an_eighth_wide() {
    let mut last = 0;
    for bytes in (1..5_000).chain((5_000..5_000_000).step_by(977)).chain([usize::MAX]) {
        let class = size_class(bytes);
        assert!(class >= last);
        last = class;
        if bytes < 5_000_000 {
            assert!(size_class(bytes + bytes.div_ceil(8)) > class, "{bytes}");
        }
    }
    assert_eq!(size_class(0), 0);
}
