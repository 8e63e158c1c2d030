//! A server starts on a large history: how long until it listens, and how long until somebody who joins a room that nobody has
//! asked for since has its last lines. Twice: with the file in the system's cache, and with nothing of it there.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use crate::child::{self, Child};
use crate::crowd::{Crowd, Event, Patience, handshake};
use crate::failure::Failure;
use crate::kernel;
use crate::latency::Latencies;
use crate::pairs::of;
use crate::plan::Setting;
use crate::results::{Measure, Round, SceneKind, SceneResult, SubjectResult};
use crate::subject::Subject;

use super::{field, number, word};

/// Rooms, if there are enough lines for each to have a thousand.
const ROOMS_MAX: usize = 1_000;
const LINES_MIN: usize = 1_000;

/// Lines that somebody who joins asks for.
const LAST: u64 = 50;

/// What is kept from before.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// Lines in all.
    pub(crate) lines: usize,
    /// Bytes of a message.
    pub(crate) message_bytes: usize,
}

/// Somebody who joins one room after the other.
struct Visitor {
    crowd: Crowd,
    desk: Desk,
}

/// What the visitor was told.
#[derive(Default)]
struct Desk {
    welcomed: bool,
    left: bool,
    /// The newest line of the room that was joined.
    newest: Option<u64>,
    lines: u64,
}

impl Start {
    /// What it is called.
    pub(crate) fn title(&self) -> String {
        format!("start on {} messages", self.lines)
    }

    fn rooms(&self) -> usize {
        (self.lines / LINES_MIN).clamp(1, ROOMS_MAX)
    }

    /// Lines of each room.
    fn each(&self) -> usize {
        self.lines / self.rooms()
    }

    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        let folder = setting.folder.as_ref().ok_or_else(|| Failure::from("there is no folder".to_owned()))?;
        let path = folder.file("db");
        self.fill(&path).map_err(|failure| failure.at("filling the history"))?;
        let mut subjects = Vec::new();
        for (name, cached) in [("file in the cache", true), ("not in the cache", false)] {
            let mut rounds = Vec::new();
            let mut latencies = Latencies::default();
            // The first finds what the import has left.
            self.round(setting, &path, cached, &mut Latencies::default())?;
            for _ in 0..setting.storms {
                rounds.push(self.round(setting, &path, cached, &mut latencies)?);
                setting.progress.inc(1);
            }
            let latency = latencies.result();
            subjects.push(SubjectResult { name: name.to_owned(), rounds, latency, memory: Vec::new() });
        }
        Ok(SceneResult {
            kind: SceneKind::Start,
            title: self.title(),
            parameters: vec![
                number("messages", self.lines),
                number("rooms", self.rooms()),
                number("message_bytes", self.message_bytes),
                word("latency", &format!("until the last {LAST} of a room are there")),
                word("history", folder.system()),
            ],
            subjects,
            ratios: Vec::new(),
        })
    }

    /// Makes the history, by `chinwag history import`.
    fn fill(&self, path: &Path) -> Result<(), Failure> {
        let mut command = child::command(None, env!("CARGO_BIN_EXE_chinwag"));
        command.args(["history", "import", "-", "--store"]).arg(path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::start(&mut command)?;
        let mut input = child.input();
        let message = "x".repeat(self.message_bytes);
        let mut text = String::new();
        for room in 0..self.rooms() {
            for seq in 1..=self.each() {
                let _ = writeln!(
                    text,
                    r#"{{"room":"{}","seq":{seq},"time":"2026-01-01T12:00:00.000Z","user":"uaeaqcaibaeaqcaib","name":"alice","id":"{room:x}-{seq:x}","message":"{message}"}}"#,
                    room_name(room)
                );
            }
            input.write_all(text.as_bytes())?;
            text.clear();
        }
        drop(input);
        let said = child.lines().next(Duration::from_mins(2))?;
        if child.wait()? { Ok(()) } else { Err(Failure::from(said)) }
    }

    fn round(&self, setting: &Setting, path: &PathBuf, cached: bool, all: &mut Latencies) -> Result<Round, Failure> {
        let file = File::open(path)?;
        file.sync_all()?;
        if !cached {
            fadvise(&file, 0, None, Advice::DontNeed).map_err(std::io::Error::from)?;
        }
        let started = Instant::now();
        let mut subject = Subject::chinwag(setting.server_core, &[format!("--store={}", path.display())])?;
        let listening = started.elapsed();
        let mut latencies = Latencies::default();
        Visitor::connect(&subject)?.visit(self.rooms(), self.each() as u64, &mut latencies)?;
        let memory = kernel::memory(&subject.processes)?;
        let cpu_s = kernel::cpu_ns(&subject.processes)? as f64 / 1e9;
        subject.stop()?;
        let mut figures = vec![of(Measure::TimeUntilListening, listening.as_secs_f64() * 1e3)];
        figures.extend(latencies.figures());
        figures.push(of(Measure::UserBytes, memory.user_bytes as f64));
        latencies.pour_into(all);
        let deliveries = self.rooms() as u64 * LAST;
        Ok(Round { wall_s: started.elapsed().as_secs_f64(), cpu_s, deliveries, figures })
    }
}

impl Visitor {
    fn connect(subject: &Subject) -> Result<Self, Failure> {
        let mut visitor = Self { crowd: Crowd::new(subject.address)?, desk: Desk::default() };
        let request = handshake("/", Some("chinwag.v1"));
        let desk = &mut visitor.desk;
        visitor.crowd.connect_all(
            1,
            |_| request.clone(),
            |crowd, client, event| {
                if matches!(event, Event::Opened) {
                    crowd.send(client, br#"{"type":"hello","rooms":[]}"#)?;
                }
                desk.hear(event)
            },
        )?;
        visitor.until("a welcome", |desk| desk.welcomed)?;
        Ok(visitor)
    }

    /// Joins each room for its last lines, and leaves it.
    fn visit(&mut self, rooms: usize, each: u64, latencies: &mut Latencies) -> Result<(), Failure> {
        for room in 0..rooms {
            // One after the other would be what a disk likes best. So many rooms apart they all have their turn, if that has no
            // divisor in common with their number.
            let room = room_name(if rooms.is_multiple_of(STRIDE) { room } else { room * STRIDE % rooms });
            self.desk = Desk { welcomed: true, ..Desk::default() };
            let asked = self.crowd.now();
            self.crowd.send(0, format!(r#"{{"type":"join","room":"{room}","last":{LAST}}}"#).as_bytes())?;
            let due = LAST.min(each);
            self.until("the last lines of a room", |desk| desk.newest.is_some() && desk.lines == due)?;
            latencies.note(self.crowd.read_at().saturating_sub(asked));
            if self.desk.newest != Some(each) {
                return Err(Failure::Violation(format!("{room} ends at {:?}, and not at {each}", self.desk.newest)));
            }
            self.crowd.send(0, format!(r#"{{"type":"leave","room":"{room}"}}"#).as_bytes())?;
            self.until("a leave is answered", |desk| desk.left)?;
        }
        Ok(())
    }

    fn until(&mut self, what: &'static str, done: impl Fn(&Desk) -> bool) -> Result<(), Failure> {
        let patience = Patience::new(what);
        while !done(&self.desk) {
            let desk = &mut self.desk;
            self.crowd.turn(Some(Duration::from_millis(100)), &mut |_, _, event| desk.hear(event))?;
            patience.check()?;
        }
        Ok(())
    }
}

/// A prime.
const STRIDE: usize = 383;

impl Desk {
    fn hear(&mut self, event: Event<'_>) -> Result<(), Failure> {
        let text = match event {
            Event::Message(text) => String::from_utf8_lossy(text),
            Event::Opened | Event::Ping => return Ok(()),
            Event::Over(code) => return Err(Failure::Violation(format!("the visitor was sent away: {code:?}"))),
        };
        let seq = || field(&text, "\"seq\":").parse::<u64>().unwrap_or_default();
        if text.starts_with(r#"{"type":"welcome""#) {
            self.welcomed = true;
        } else if text.starts_with(r#"{"type":"left""#) {
            self.left = true;
        } else if text.starts_with(r#"{"type":"joined","room":"past-"#) {
            self.newest = Some(seq());
        } else if text.starts_with(r#"{"type":"chat""#) {
            self.lines += 1;
            let newest = self.newest.unwrap_or_default();
            if seq() + LAST.min(newest) != newest + self.lines {
                return Err(Failure::Violation(format!(
                    "line {} of the last {LAST} before {newest} is {text}",
                    self.lines
                )));
            }
        } else if text.starts_with(r#"{"type":"error""#) {
            return Err(Failure::from(format!("the visitor got {text}")));
        }
        Ok(())
    }
}

fn room_name(room: usize) -> String {
    format!("past-{room}")
}
