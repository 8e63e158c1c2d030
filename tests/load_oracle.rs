//! The load harness' oracle finds what must not happen: a hole, a repetition, a swap. It is judged here, because a benchmark
//! has no tests of its own.
#![allow(dead_code, reason = "the harness uses more of it than this")]

#[path = "../benches/load/oracle.rs"]
mod oracle;

use oracle::{Heard, MARK_BYTES, Oracle, Violation};

/// Two rooms, two talkers in the first and one in the second; two readers of both, the second of whom lags.
struct Scene {
    oracle: Oracle,
    said: [u64; 2],
}

/// The frames of some lines in the order in which they were said.
type Frames = Vec<String>;

impl Scene {
    fn new() -> Self {
        let mut oracle = Oracle::default();
        let rooms = [oracle.add_stream(), oracle.add_stream()];
        for room in [rooms[0], rooms[0], rooms[1]] {
            oracle.add_talker(room);
        }
        oracle.add_reader(&rooms, true);
        oracle.add_reader(&rooms, true);
        Self { oracle, said: [0; 2] }
    }

    /// A line as the server would tell it.
    fn say(&mut self, talker: usize) -> String {
        let mut message = vec![b'x'; MARK_BYTES + 3];
        self.oracle.say(talker, 7, &mut message);
        let seq = &mut self.said[talker / 2];
        *seq += 1;
        format!(r#"{{"type":"chat","message":"{}","seq":{seq},"user":"u"}}"#, String::from_utf8_lossy(&message))
    }

    fn say_all(&mut self, talkers: &[usize]) -> Frames {
        talkers.iter().map(|&talker| self.say(talker)).collect()
    }

    fn hear(&mut self, reader: usize, frame: &str) -> Result<Heard, Violation> {
        self.oracle.hear(reader, frame.as_bytes())
    }

    /// Hears frames until one is found to be wrong.
    fn hear_all<'a>(&mut self, reader: usize, frames: impl IntoIterator<Item = &'a String>) -> Result<(), Violation> {
        frames.into_iter().try_for_each(|frame| self.hear(reader, frame).map(drop))
    }
}

#[test]
fn what_is_right_passes_in_whatever_order_readers_and_rooms_come() {
    let mut scene = Scene::new();
    let frames = scene.say_all(&[0, 1, 2, 1, 0, 2]);
    assert_eq!(scene.hear(0, &frames[0]), Ok(Heard::Line { time: 7, talker: 0, complete: false }));
    assert_eq!(scene.hear(0, r#"{"type":"pong"}"#), Ok(Heard::Other));
    assert_eq!(
        scene.hear(1, &frames[2]),
        Ok(Heard::Line { time: 7, talker: 2, complete: false }),
        "another room first"
    );
    assert_eq!(scene.hear_all(1, [&frames[0], &frames[1], &frames[5]]), Ok(()));
    assert!(matches!(scene.oracle.finish(), Err(Violation::Missing(_))), "two are missing to both");
    assert_eq!(scene.hear_all(0, &frames[1..]), Ok(()));
    assert_eq!(scene.hear(1, &frames[3]), Ok(Heard::Line { time: 7, talker: 1, complete: true }));
    assert_eq!(scene.hear(1, &frames[4]), Ok(Heard::Line { time: 7, talker: 0, complete: true }));
    assert_eq!(scene.oracle.finish(), Ok(()));
}

#[test]
fn a_hole_is_found_whether_others_got_the_line_or_not() {
    let mut scene = Scene::new();
    let frames = scene.say_all(&[0, 0, 0]);
    assert_eq!(scene.hear_all(0, &frames), Ok(()));
    assert!(matches!(scene.hear_all(1, [&frames[0], &frames[2]]), Err(Violation::Skipped(_))));

    let mut scene = Scene::new();
    let frames = scene.say_all(&[0, 0, 0]);
    assert!(matches!(scene.hear_all(0, [&frames[0], &frames[2]]), Err(Violation::Skipped(_))), "nobody got it");

    let mut scene = Scene::new();
    let frames: Frames = scene.say_all(&[0, 0, 0]).iter().map(|frame| frame.replace("seq", "sequel")).collect();
    assert!(matches!(scene.hear_all(0, [&frames[0], &frames[2]]), Err(Violation::Skipped(_))), "and there is no seq");

    let mut scene = Scene::new();
    let frames = scene.say_all(&[0, 1, 0]);
    let hole = scene.hear_all(0, [&frames[0], &frames[2]]);
    assert!(matches!(hole, Err(Violation::Skipped(_))), "it was another's line: only seq tells");
}

#[test]
fn a_repetition_is_found_whether_others_got_the_line_or_not() {
    for others in [false, true] {
        let mut scene = Scene::new();
        let frames = scene.say_all(&[0, 0]);
        if others {
            assert_eq!(scene.hear_all(1, &frames), Ok(()));
        }
        let repetition = scene.hear_all(0, [&frames[0], &frames[0]]);
        assert!(matches!(repetition, Err(Violation::Repeated(_))), "others: {others}, {repetition:?}");
    }
}

#[test]
fn a_swap_is_found_within_a_room() {
    for swapped in [[0, 1], [0, 0]] {
        let mut scene = Scene::new();
        let frames = scene.say_all(&swapped);
        assert_eq!(scene.hear_all(0, &frames), Ok(()));
        assert!(matches!(scene.hear(1, &frames[1]), Err(Violation::Skipped(_))), "talkers {swapped:?}");
    }
    let mut scene = Scene::new();
    let frames = scene.say_all(&[0, 1]);
    assert_eq!(scene.hear_all(0, [&frames[0]]), Ok(()));
    assert!(matches!(scene.hear(1, &frames[1]), Err(Violation::Skipped(_))), "nobody got the second one so far");
}

#[test]
fn what_is_altered_foreign_or_never_said_is_found() {
    let mut scene = Scene::new();
    let frames = scene.say_all(&[0, 0]);
    assert_eq!(scene.hear(0, &frames[0]), Ok(Heard::Line { time: 7, talker: 0, complete: false }));
    let altered = frames[0].replace("xxx", "xyx");
    assert!(matches!(scene.hear(1, &altered), Err(Violation::Wrong(_))));
    let never_said = frames[0].replace("~0000000000000000", "~0000000000000009");
    assert!(matches!(scene.hear(1, &never_said), Err(Violation::Wrong(_))));
    let nobody = frames[0].replace("~0000000000000000", "~0000000900000000");
    assert!(matches!(scene.hear(1, &nobody), Err(Violation::Wrong(_))));
}

#[test]
fn who_is_gone_is_not_waited_for() {
    let mut scene = Scene::new();
    let frames = scene.say_all(&[0, 0, 2]);
    assert_eq!(scene.hear_all(1, [&frames[0]]), Ok(()));
    assert_eq!(scene.hear_all(0, &frames), Ok(()));
    assert!(matches!(scene.oracle.finish(), Err(Violation::Missing(_))));
    scene.oracle.remove_reader(1);
    assert_eq!(scene.oracle.finish(), Ok(()));
    let next = scene.say(0);
    assert_eq!(scene.hear(0, &next), Ok(Heard::Line { time: 7, talker: 0, complete: true }));
}

fn acknowledgement(message: &str, seq: u64) -> String {
    let id: String = message.chars().skip_while(|&c| c != '~').skip(1).take(MARK_BYTES - 1).collect();
    format!(r#"{{"type":"ack","id":"{id}","room":"tea","seq":{seq},"timestamp":"t"}}"#)
}

/// The first talker, the reader 0, waits for acknowledgements and has said three lines. Both readers have them.
fn scene_with_acknowledgements() -> (Scene, [String; 3]) {
    let mut scene = Scene::new();
    scene.oracle.expect_acknowledgements(0, 0);
    let frames = scene.say_all(&[0, 0, 0]);
    for reader in 0..2 {
        assert_eq!(scene.hear_all(reader, &frames), Ok(()));
    }
    let acknowledgements = [1, 2, 3].map(|seq| acknowledgement(&frames[seq as usize - 1], seq));
    (scene, acknowledgements)
}

#[test]
fn every_line_is_to_be_acknowledged_once_and_in_order() {
    let (mut scene, acks) = scene_with_acknowledgements();
    let mut hear = |ack: &String| scene.oracle.hear_acknowledgement(0, ack.as_bytes());
    assert_eq!(hear(&acks[0]), Ok(7));
    assert!(matches!(hear(&acks[0]), Err(Violation::Repeated(_))));
    assert!(matches!(hear(&acks[2]), Err(Violation::Skipped(_))));
    assert_eq!(hear(&acks[1]), Ok(7));
    assert!(matches!(scene.oracle.finish(), Err(Violation::Missing(_))), "one is missing");
    assert_eq!(scene.oracle.hear_acknowledgement(0, acks[2].as_bytes()), Ok(7));
    assert_eq!(scene.oracle.finish(), Ok(()));
}

#[test]
fn an_acknowledgement_is_for_who_said_the_line_and_names_its_place_and_comes_after_it() {
    let (mut scene, acks) = scene_with_acknowledgements();
    assert!(matches!(scene.oracle.hear_acknowledgement(1, acks[0].as_bytes()), Err(Violation::Wrong(_))));
    let elsewhere = acks[0].replace("\"seq\":1", "\"seq\":2");
    assert!(matches!(scene.oracle.hear_acknowledgement(0, elsewhere.as_bytes()), Err(Violation::Wrong(_))));

    let mut scene = Scene::new();
    scene.oracle.expect_acknowledgements(0, 0);
    let frame = scene.say(0);
    let early = scene.oracle.hear_acknowledgement(0, acknowledgement(&frame, 1).as_bytes());
    assert!(matches!(early, Err(Violation::Wrong(_))), "{early:?}");
}
