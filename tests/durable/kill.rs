//! `kill -9`, or an error of a sync, again and again, while everybody talks.
//!
//! README.md: "An acknowledged message, and any message that another user has seen, is committed and synced: it survives `kill -9`".
//!
//! After the last life: every line that was acknowledged is there, once, where the acknowledgement said; every line that anybody
//! was shown is there; and what each was shown, over all lives, is what the store has.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::thread;

use crate::common::PATIENCE;
use crate::common::folder::Folder;
use crate::common::server::Server;
use crate::disk::SYNCS;
use crate::person::{Person, Stage, all_lines, look_on};
use crate::trouble::Trouble;

/// Those who talk.
const PEOPLE: usize = 12;

/// Acknowledgements in one life at most before it ends.
const ACKS_MAX: usize = 1_500;

/// Where they talk: everybody in two of them.
const ROOMS: [&str; 3] = ["tea", "coffee", "cocoa"];

#[test]
fn nothing_is_lost_when_the_server_is_killed() {
    end_again_and_again(kill, "full", 3);
}

#[test]
fn nothing_is_lost_when_the_server_is_killed_and_synced_now_and_then() {
    end_again_and_again(kill, "interval=200", 3);
}

/// docs/OPERATIONS.md: "What was acknowledged is there."
#[test]
#[ignore = "needs strace; .ci/run does it"]
fn nothing_is_lost_when_a_sync_fails() {
    end_again_and_again(fail, "full", 3);
    end_again_and_again(fail, "interval=50", 3);
}

fn kill(server: &mut Server) {
    server.kill_and_restart(&[]);
}

/// Ends a life by an error of a sync. The next one is in the same run of the system, on the same file.
fn fail(server: &mut Server) {
    let Some(trouble) = Trouble::with(server, SYNCS, "error=EIO") else { return kill(server) };
    assert_eq!(server.ended().code(), Some(74), "{}", server.log());
    drop(trouble);
    server.restart(&[]);
}

#[test]
#[ignore = "takes a minute; .ci/run does it"]
fn nothing_is_lost_in_50_kills() {
    end_again_and_again(kill, "full", 25);
    end_again_and_again(kill, "interval=200", 25);
}

fn end_again_and_again(end: fn(&mut Server), sync: &str, rounds: u32) {
    let seed = std::env::var("CHINWAG_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("CHINWAG_KILL_SEED={seed} does this again, as far as threads allow");
    let mut dice = fastrand::Rng::with_seed(seed);
    let folder = Folder::new();
    let flags = ["--rate", "0", "--sync", sync, "--log", "warn", "--grace-ms", "86400000"];
    let mut server = Server::durable(&folder, &flags);
    let (sender, acks) = channel();
    let stage = Stage::new(PEOPLE, sender);
    let (people, watched) = thread::scope(|scope| {
        let people: Vec<_> = (0..PEOPLE)
            .map(|number| {
                let rooms = [0, 1].map(|more| ROOMS[(number + more) % ROOMS.len()].to_owned());
                let person = Person::new(number, &rooms, seed);
                scope.spawn(|| person.live(&stage))
            })
            .collect();
        let watcher = scope.spawn(|| look_on(&stage, ROOMS[0]));
        for round in 0..rounds {
            stage.begin_life(server.address, false);
            // Some lives end while people still come back; the first is for them to get to know each other.
            let few = round > 0 && dice.u8(0..3) == 0;
            let wanted = dice.usize(if few { 0..5 } else { 50..ACKS_MAX });
            for _ in 0..wanted {
                acks.recv_timeout(PATIENCE).expect("lines are acknowledged");
            }
            end(&mut server);
            while acks.try_recv().is_ok() {}
        }
        stage.begin_life(server.address, true);
        let people: Vec<Person> = people.into_iter().map(|person| person.join().expect("a person")).collect();
        server.kill_and_restart(&[]);
        (people, watcher.join().expect("the watcher"))
    });
    let store: BTreeMap<&str, _> = ROOMS.iter().map(|room| (*room, all_lines(server.address, room))).collect();
    judge(&people, &watched, &store);
}

type Lines = Vec<(u64, String, String)>;

fn judge(people: &[Person], seen: &Lines, store: &BTreeMap<&str, Lines>) {
    let mut lines_in_all = 0;
    for (room, lines) in store {
        let hole = lines.iter().zip(1..).find(|(line, seq)| line.0 != *seq);
        assert_eq!(hole, None, "{room} has a hole");
        let mut ids: Vec<&str> = lines.iter().map(|line| &line.2[..]).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|two| two[0] != two[1]), "{room} has a line twice");
        lines_in_all += lines.len();
    }
    for person in people {
        for (room, view) in &person.view {
            let kept = if room == "@me" { &person.stream } else { &store[&room[..]] };
            let first = view.first().map_or(1, |line| line.0);
            assert!(view[..] == kept[first as usize - 1..], "{room}: what was shown is not what is kept");
        }
        for (id, room, seq) in &person.acknowledged {
            let kept = if room == "@me" { &person.stream } else { &store[&room[..]] };
            let line = kept.get(*seq as usize - 1);
            assert!(line.is_some_and(|line| line.2 == *id), "{id} was acknowledged at {seq} of {room}: {line:?}");
            if let Some(&to) = person.private_to.get(id) {
                let copies = people[to].stream.iter().filter(|line| line.2 == *id).count();
                assert_eq!(copies, 1, "{id} in the stream of person {to}");
            }
        }
    }
    for line in seen {
        assert_eq!(store[ROOMS[0]].get(line.0 as usize - 1), Some(line), "the watcher saw something else");
    }
    let said: u64 = people.iter().map(Person::said).sum();
    let acknowledged: usize = people.iter().map(|person| person.acknowledged.len()).sum();
    println!("{said} lines thought of, {acknowledged} acknowledgements, {lines_in_all} lines kept in rooms");
    assert!(acknowledged > 50 && !seen.is_empty(), "nearly nothing was said");
}
