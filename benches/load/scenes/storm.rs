//! All lose their connection at once, miss lines, and come back with their positions: how long until all are level, and what
//! it costs meanwhile. They speak `chinwag.v1`; nobody else knows how to resume.

use std::time::Duration;

use crate::crowd::{Crowd, Event, Patience, handshake};
use crate::failure::Failure;
use crate::kernel;
use crate::oracle::{Heard, Oracle};
use crate::pairs::of;
use crate::plan::Setting;
use crate::results::{Measure, Round, SceneKind, SceneResult, SubjectResult};
use crate::subject::Subject;

use super::{field, number, server};

/// Lines that the speaker has on their way at a time.
const IN_FLIGHT: u64 = 64;

/// So many at most knock at a time: a listener's backlog is limited.
const KNOCKING_MAX: usize = 500;

/// How long to wait for events where nothing else is due.
const IDLE: Duration = Duration::from_millis(100);

/// Everybody is in one room, and one more, the speaker, keeps its connection.
#[derive(Clone, Debug)]
pub(crate) struct Storm {
    /// How many are cut.
    pub(crate) clients: usize,
    /// Lines that each misses.
    pub(crate) missed: usize,
    /// Bytes of a message.
    pub(crate) message_bytes: usize,
}

/// The last client is the speaker.
struct Storming {
    crowd: Crowd,
    desk: Desk,
    message: Vec<u8>,
}

/// What is known of all.
#[derive(Default)]
struct Desk {
    oracle: Oracle,
    seated: bool,
    sessions: Vec<String>,
    joined: usize,
    /// Of the room.
    epoch: String,
    /// The `seq` and time of the last line that the speaker got: when all are level, everybody's last.
    position: (String, String),
    said: u64,
    deliveries: u64,
    /// How many came back to where they were.
    recovered: usize,
}

impl Storm {
    /// What it is called.
    pub(crate) fn title(&self) -> String {
        format!("storm of {}, {} missed lines each", self.clients, self.missed)
    }

    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        let subject = server(setting, &[])?;
        let mut storming = self.gather(&subject)?;
        let mut rounds = Vec::new();
        for _ in 0..setting.storms {
            rounds.push(self.round(&subject, &mut storming)?);
            setting.progress.inc(1);
        }
        let judged = storming.desk.oracle.finish();
        judged.map_err(|violation| Failure::Violation(violation.to_string()))?;
        let name = subject.name.clone();
        Ok(SceneResult {
            kind: SceneKind::Storm,
            title: self.title(),
            parameters: vec![
                number("clients", self.clients),
                number("missed", self.missed),
                number("message_bytes", self.message_bytes),
            ],
            subjects: vec![SubjectResult { name, rounds, latency: None, memory: Vec::new() }],
            ratios: Vec::new(),
        })
    }

    fn gather(&self, subject: &Subject) -> Result<Storming, Failure> {
        let mut crowd = Crowd::new(subject.address)?;
        let mut desk = Desk { sessions: vec![String::new(); self.clients + 1], ..Desk::default() };
        let request = handshake("/", Some("chinwag.v1"));
        crowd.connect_all(
            self.clients + 1,
            |_| request.clone(),
            |crowd, client, event| {
                if matches!(event, Event::Opened) {
                    crowd.send(client, br#"{"type":"hello","rooms":[{"room":"bench-0"}]}"#)?;
                }
                desk.hear(client, event)
            },
        )?;
        let mut storming = Storming { crowd, desk, message: vec![b'x'; self.message_bytes] };
        storming.until("all are in the room", |desk| desk.joined > self.clients)?;
        let oracle = &mut storming.desk.oracle;
        let stream = oracle.add_stream();
        oracle.add_talker(stream);
        for _ in 0..=self.clients {
            oracle.add_reader(&[stream], true);
        }
        storming.desk.seated = true;
        // One line, so that everybody has a position.
        storming.say(1)?;
        let all = self.clients as u64 + 1;
        storming.until("all have the first line", |desk| desk.deliveries == all)?;
        Ok(storming)
    }

    fn round(&self, subject: &Subject, storming: &mut Storming) -> Result<Round, Failure> {
        let process = subject.processes[0];
        let idle = kernel::memory(&subject.processes)?;
        kernel::reset_peak(process)?;
        let position = storming.desk.position.clone();
        (0..self.clients).for_each(|client| storming.crowd.cut(client));
        let deliveries = storming.desk.deliveries;
        storming.say(self.missed)?;
        let cpu = kernel::cpu_ns(&subject.processes)?;
        let begin = storming.crowd.now();
        storming.desk.recovered = 0;
        storming.come_back(self.clients, &position)?;
        let due = deliveries + (self.missed * (self.clients + 1)) as u64;
        storming.until("all are level", |desk| desk.deliveries == due)?;
        let wall_s = (storming.crowd.now() - begin) as f64 / 1e9;
        std::thread::sleep(Duration::from_millis(1));
        let cpu_s = (kernel::cpu_ns(&subject.processes)? - cpu) as f64 / 1e9;
        let memory = kernel::memory(&subject.processes)?;
        if storming.desk.recovered != self.clients {
            let words = format!("{} of {} recovered", storming.desk.recovered, self.clients);
            return Err(Failure::Violation(words));
        }
        let delivered = (self.missed * self.clients) as u64;
        let figures = vec![
            of(Measure::TimeUntilLevel, wall_s * 1e3),
            of(Measure::PeakBytes, kernel::peak_bytes(process)?.saturating_sub(idle.resident_bytes) as f64),
            of(Measure::CpuTotal, cpu_s * 1e3),
            of(Measure::CpuPerDelivery, cpu_s * 1e6 / delivered as f64),
            of(Measure::DeliveriesPerSecond, delivered as f64 / wall_s),
            of(Measure::UserBytes, memory.user_bytes as f64),
        ];
        Ok(Round { wall_s, cpu_s, deliveries: delivered, figures })
    }
}

impl Storming {
    fn turn(&mut self) -> Result<(), Failure> {
        let desk = &mut self.desk;
        self.crowd.turn(Some(IDLE), &mut |_, client, event| desk.hear(client, event))
    }

    fn until(&mut self, what: &'static str, done: impl Fn(&Desk) -> bool) -> Result<(), Failure> {
        let patience = Patience::new(what);
        while !done(&self.desk) {
            self.turn()?;
            patience.check()?;
        }
        Ok(())
    }

    /// The speaker says so many lines, and has got them all when this returns.
    fn say(&mut self, count: usize) -> Result<(), Failure> {
        let speaker = self.crowd.len() - 1;
        let end = self.desk.said + count as u64;
        let patience = Patience::new("the speaker hears itself");
        loop {
            let heard = self.desk.oracle.place(speaker);
            while self.desk.said < end.min(heard + IN_FLIGHT) {
                self.desk.oracle.say(0, 0, &mut self.message);
                let text = format!(r#"{{"type":"chat","message":"{}"}}"#, String::from_utf8_lossy(&self.message));
                self.crowd.queue_text(speaker, text.as_bytes());
                self.desk.said += 1;
            }
            self.crowd.flush(speaker)?;
            if heard == end {
                return Ok(());
            }
            self.turn()?;
            patience.check()?;
        }
    }

    /// All but the speaker come back, each as itself and from `position`.
    fn come_back(&mut self, clients: usize, position: &(String, String)) -> Result<(), Failure> {
        let request = handshake("/", Some("chinwag.v1"));
        let open = self.crowd.open();
        let patience = Patience::new("all connect again");
        let mut asked = 0;
        while self.crowd.open() < open + clients {
            while asked < clients && asked + open < self.crowd.open() + KNOCKING_MAX {
                self.crowd.reconnect(asked, &request)?;
                asked += 1;
            }
            let desk = &mut self.desk;
            self.crowd.turn(Some(IDLE), &mut |crowd, client, event| {
                if matches!(event, Event::Opened) {
                    let (session, epoch, (seq, time)) = (&desk.sessions[client], &desk.epoch, position);
                    let hello = format!(
                        r#"{{"type":"hello","session":"{session}","rooms":[{{"room":"bench-0","epoch":"{epoch}","seq":{seq},"time":"{time}"}}]}}"#
                    );
                    crowd.send(client, hello.as_bytes())?;
                }
                desk.hear(client, event)
            })?;
            patience.check()?;
        }
        Ok(())
    }
}

impl Desk {
    fn hear(&mut self, client: usize, event: Event<'_>) -> Result<(), Failure> {
        let text = match event {
            Event::Message(text) => text,
            Event::Opened | Event::Ping => return Ok(()),
            Event::Over(code) => return Err(Failure::Violation(format!("client {client} was sent away: {code:?}"))),
        };
        if self.seated {
            let judged = self.oracle.hear(client, text);
            if let Heard::Line { .. } = judged.map_err(|violation| Failure::Violation(violation.to_string()))? {
                self.deliveries += 1;
                if client + 1 == self.sessions.len() {
                    let text = String::from_utf8_lossy(text);
                    self.position = (field(&text, "\"seq\":"), field(&text, "\"timestamp\":\""));
                }
                return Ok(());
            }
        }
        if text.starts_with(br#"{"type":"welcome""#) {
            self.sessions[client] = field(&String::from_utf8_lossy(text), "\"session\":\"");
        } else if text.starts_with(br#"{"type":"joined","room":"bench-0""#) {
            let text = String::from_utf8_lossy(text);
            self.joined += 1;
            self.epoch = field(&text, "\"epoch\":\"");
            self.recovered += usize::from(text.contains("\"recovered\":true"));
        } else if text.starts_with(br#"{"type":"error""#) {
            return Err(Failure::from(format!("client {client} got {}", String::from_utf8_lossy(text))));
        }
        Ok(())
    }
}
