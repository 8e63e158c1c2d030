//! What the store on a disk can do by itself, without sockets: `cargo bench --bench store`.
//!
//! Prints how many lines a second it stores when there is no end of them, how long a line waits when they come at a pace, and,
//! of a file with many lines, how long it takes to open it and to read the last 50 lines of a room. `CHINWAG_BENCH_LINES` sets
//! how many lines that is (1 million), `CHINWAG_BENCH_FOLDER` where the file is made, `CHINWAG_BENCH_SYNC` an interval in ms.
#![allow(clippy::disallowed_methods, clippy::cast_sign_loss, reason = "it measures time")]

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chinwag::chat::{Completion, Draft, Name, Now, Part, Request, RoomKey, RoomName, Row, Ticket, UserId};
use chinwag::store::{Sqlite, SqliteOptions, SyncPolicy};

const ROOMS: u64 = 100;
const TEXT: &str =
    "A line of one hundred bytes, as people write them when they have something to say to each other. Done";

struct Bench {
    store: Sqlite,
    woken: mpsc::Receiver<()>,
    completions: Vec<Completion>,
    name: Name,
    tickets: u64,
    /// Time spent in the store's own calls, each turn's.
    turns: Vec<Duration>,
}

impl Bench {
    fn open(path: &PathBuf) -> Self {
        let (wake, woken) = mpsc::channel();
        let started = Instant::now();
        let clock = move || Now {
            mono_ms: 3_600_000 + started.elapsed().as_millis() as u64,
            wall_ms: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        };
        let mut options = SqliteOptions::at(path);
        if let Some(ms) = number("CHINWAG_BENCH_SYNC") {
            options.sync = SyncPolicy::Interval(ms);
        }
        options.retention.messages_max = 1 << 40;
        options.retention.bytes_max = 1 << 50;
        let opened = Sqlite::open(&options, clock, move || wake.send(()).unwrap_or(())).expect("it opens");
        let name = Name::parse("alice", 32).expect("a name");
        Self { store: opened.store, woken, completions: Vec::new(), name, tickets: 0, turns: Vec::new() }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn load(&mut self, room: u64) {
        let ticket = self.ticket();
        let name = RoomName::parse(&format!("room-{room}")).expect("a room's name");
        self.store.submit(Request::Load { ticket, room: RoomKey(room as u32), name, must_exist: false });
        self.wait();
    }

    fn say(&mut self, room: u64) {
        let ticket = self.ticket();
        let id = Some(format!("{}", ticket.0).into());
        let from = self.name.clone();
        let draft =
            Draft { time_ms: 1_800_000_000_000, user: UserId([7; 10]), from, id, to: None, message: TEXT.into() };
        self.store.submit(Request::Append { ticket, rows: [Row { room: RoomKey(room as u32), draft }].into() });
    }

    fn collect(&mut self) -> usize {
        let started = Instant::now();
        self.completions.clear();
        self.store.collect(&mut self.completions, || false);
        assert!(self.store.failure().is_none());
        assert!(!self.completions.iter().any(|one| matches!(one, Completion::Refused { .. })));
        self.turns.push(started.elapsed());
        self.completions.len()
    }

    fn wait(&mut self) {
        while self.collect() == 0 && !self.store.has_more() {
            self.woken.recv().expect("the store answers");
        }
    }

    /// As many as go, with some thousands on their way.
    fn fill(&mut self, lines: u64) {
        const ON_THEIR_WAY: u64 = 8_000;
        self.turns.clear();
        let started = Instant::now();
        let (mut said, mut stored) = (0, 0);
        while stored < lines {
            let turn = Instant::now();
            while said < lines && said - stored < ON_THEIR_WAY {
                self.say(said % ROOMS);
                said += 1;
            }
            let handed = turn.elapsed();
            let got = self.collect() as u64;
            *self.turns.last_mut().expect("it was just added") += handed;
            stored += got;
            if got == 0 && !self.store.has_more() {
                self.woken.recv().expect("the store answers");
                while self.woken.try_recv().is_ok() {}
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "stored {lines} lines: {:.0} a second; a turn's share: {}",
            lines as f64 / seconds,
            spread(&mut self.turns)
        );
    }

    /// So many a second, for some seconds.
    fn pace(&mut self, a_second: u64, seconds: u64) {
        self.turns.clear();
        let mut waits = Vec::new();
        let mut open = std::collections::HashMap::new();
        let started = Instant::now();
        let mut said = 0;
        while waits.len() < (a_second * seconds) as usize {
            let due = (started.elapsed().as_secs_f64() * a_second as f64) as u64;
            while said < due.min(a_second * seconds) {
                self.say(said % ROOMS);
                open.insert(self.tickets, Instant::now());
                said += 1;
            }
            self.collect();
            for completion in &self.completions {
                waits.push(open.remove(&completion.ticket().0).expect("it was said").elapsed());
            }
            if !self.store.has_more() {
                let _ = self.woken.recv_timeout(Duration::from_micros(300));
            }
            while self.woken.try_recv().is_ok() {}
        }
        println!(
            "{a_second} a second: acknowledged after {}; a turn's share: {}",
            spread(&mut waits),
            spread(&mut self.turns)
        );
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, at most {:.3} ms", at(0.5), at(0.99), at(0.999), at(1.0))
}

fn main() {
    let lines = number("CHINWAG_BENCH_LINES").unwrap_or(1_000_000);
    let folder = std::env::var_os("CHINWAG_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("chinwag-bench-{}", std::process::id()));
    fs::create_dir(&folder).expect("a folder");
    let path = folder.join("chinwag.db");

    let mut bench = Bench::open(&path);
    (0..ROOMS).for_each(|room| bench.load(room));
    bench.pace(2_000, 10);
    bench.pace(50_000, 5);
    bench.fill(lines);
    drop(bench);
    let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
    println!("{} MiB, {} bytes a line", bytes >> 20, bytes / lines.max(1));

    let started = Instant::now();
    let mut bench = Bench::open(&path);
    println!("opened after {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let mut waits = Vec::new();
    for room in 0..ROOMS {
        let started = Instant::now();
        bench.load(room);
        let ticket = bench.ticket();
        let part = Part { seqs: (0, u64::MAX), newest_first: true, lines_max: 50, bytes_max: 256 << 10 };
        bench.store.submit(Request::Fetch { ticket, room: RoomKey(room as u32), part });
        bench.wait();
        assert!(matches!(&bench.completions[..], [Completion::Fetched { lines, .. }] if lines.len() == 50));
        waits.push(started.elapsed());
    }
    println!("the last 50 of a room that is not loaded: {}", spread(&mut waits));
    drop(bench);
    fs::remove_dir_all(&folder).expect("it is ours");
}
