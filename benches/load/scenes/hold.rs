//! Idle connections: what each costs in memory, and what their heartbeats cost in CPU time.

use std::time::Duration;

use crate::crowd::{Crowd, Event, Patience, handshake};
use crate::failure::Failure;
use crate::kernel;
use crate::options::Dialect;
use crate::pairs::{of, ratios};
use crate::plan::Setting;
use crate::results::{Measure, MemoryPoint, Round, SceneKind, SceneResult, SubjectResult};
use crate::subject::Subject;

use super::{dialect, number, server, titled};

/// The interval of Pings while it is measured; by default it is [`DEFAULT_PING_S`], which nobody wants to wait for.
const PING: Duration = Duration::from_millis(1_500);

/// The server's default interval of Pings, in seconds.
const DEFAULT_PING_S: f64 = 30.0;

/// In so many steps memory is looked at.
const STEPS: usize = 10;

/// Everybody is in one room, and nobody says anything.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    /// How many connections.
    pub(crate) connections: usize,
    /// How they talk.
    pub(crate) dialect: Dialect,
}

impl Hold {
    /// What it is called.
    pub(crate) fn title(&self) -> String {
        titled(&format!("hold {} idle", self.connections), self.dialect, false)
    }

    /// Runs it. Each subject has one round: memory does not vary from one to the next.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        let interval = PING.as_millis().to_string();
        let mut subjects = vec![self.measure(&server(setting, &["--ping-ms", &interval])?)?];
        setting.progress.inc(1);
        if self.dialect == Dialect::Plain {
            for peer in &setting.peers {
                subjects.push(self.measure(&peer.start(setting.server_core)?)?);
                setting.progress.inc(1);
            }
        }
        let ratios = ratios(&subjects, &[Measure::UserBytesPerConnection]);
        Ok(SceneResult {
            kind: SceneKind::Hold,
            title: self.title(),
            parameters: vec![number("connections", self.connections), dialect(self.dialect, false)],
            subjects,
            ratios,
        })
    }

    fn measure(&self, subject: &Subject) -> Result<SubjectResult, Failure> {
        self.fill(subject).map_err(|failure| failure.at(&subject.name))
    }

    fn fill(&self, subject: &Subject) -> Result<SubjectResult, Failure> {
        let mut crowd = Crowd::new(subject.address)?;
        crowd.may_sleep();
        let v1 = subject.is_chinwag && self.dialect == Dialect::V1;
        let request = handshake(&subject.path("bench-0"), v1.then_some("chinwag.v1"));
        let mut memory = vec![point(subject, 0)?];
        let mut welcomed = 0;
        for step in 1..=STEPS {
            let wanted = self.connections * step / STEPS;
            let more = wanted - crowd.len();
            crowd.connect_all(
                more,
                |_| request.clone(),
                |crowd, client, event| {
                    if v1 && matches!(event, Event::Opened) {
                        crowd.send(client, br#"{"type":"hello","rooms":[{"room":"bench-0"}]}"#)?;
                    }
                    hear(&mut welcomed, event)
                },
            )?;
            let patience = Patience::new("all are welcomed");
            while subject.is_chinwag && welcomed < wanted {
                crowd.turn(Some(PING), &mut |_, _, event| hear(&mut welcomed, event))?;
                patience.check()?;
            }
            memory.push(point(subject, wanted)?);
        }
        // What follows a rush, notices and what was held for it, is over when this is.
        rest(&mut crowd, PING)?;
        let last = point(subject, self.connections)?;
        *memory.last_mut().expect("there was a first") = last;
        let cpu = kernel::cpu_ns(&subject.processes)?;
        let pings = rest(&mut crowd, 2 * PING)?;
        let cpu_s = (kernel::cpu_ns(&subject.processes)? - cpu) as f64 / 1e9;
        let each = (last.user_bytes.saturating_sub(memory[0].user_bytes)) as f64 / self.connections as f64;
        let mut figures = vec![
            of(Measure::UserBytesPerConnection, each),
            of(Measure::UserBytes, last.user_bytes as f64),
            of(Measure::ResidentBytes, last.resident_bytes as f64),
        ];
        if pings > 0 {
            let each = cpu_s / pings as f64;
            figures.push(of(Measure::CpuPerHeartbeat, each * 1e6));
            figures.push(of(Measure::CpuPerSecond, each * 1e3 * self.connections as f64 / DEFAULT_PING_S));
        }
        let wall_s = (2 * PING).as_secs_f64();
        let rounds = vec![Round { wall_s, cpu_s, deliveries: 0, figures }];
        Ok(SubjectResult { name: subject.name.clone(), rounds, latency: None, memory })
    }
}

/// Takes notice of welcomes; nobody may be sent away.
fn hear(welcomed: &mut usize, event: Event<'_>) -> Result<(), Failure> {
    match event {
        Event::Message(text) if text.starts_with(br#"{"type":"system""#) => *welcomed += 1,
        Event::Message(text) if text.starts_with(br#"{"type":"welcome""#) => *welcomed += 1,
        Event::Over(code) => return Err(Failure::Violation(format!("an idle connection ended with {code:?}"))),
        Event::Opened | Event::Message(_) | Event::Ping => {}
    }
    Ok(())
}

/// Answers Pings for so long; returns how many there were.
fn rest(crowd: &mut Crowd, length: Duration) -> Result<usize, Failure> {
    let end = crowd.now() + length.as_nanos() as u64;
    let mut pings = 0;
    loop {
        let left = Duration::from_nanos(end.saturating_sub(crowd.now()));
        if left.is_zero() {
            return Ok(pings);
        }
        crowd.turn(Some(left), &mut |_, _, event| {
            pings += usize::from(matches!(event, Event::Ping));
            hear(&mut 0, event)
        })?;
    }
}

fn point(subject: &Subject, connections: usize) -> Result<MemoryPoint, Failure> {
    let memory = kernel::memory(&subject.processes)?;
    Ok(MemoryPoint { connections, user_bytes: memory.user_bytes, resident_bytes: memory.resident_bytes })
}
