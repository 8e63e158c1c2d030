//! Connect, be welcomed, say goodbye: what one connection costs from its first packet to its last.

use std::time::Duration;

use crate::crowd::{Crowd, Event, Patience, Phase, handshake};
use crate::failure::Failure;
use crate::kernel;
use crate::options::Dialect;
use crate::pairs::{alternate, of, ratios};
use crate::plan::Setting;
use crate::results::{Measure, Round, SceneKind, SceneResult, SubjectResult};
use crate::subject::Subject;

use super::{dialect, number, server, titled};

/// So many come and go side by side, each in a room of its own.
#[derive(Clone, Debug)]
pub(crate) struct Churn {
    /// How many at a time.
    pub(crate) at_a_time: usize,
    /// How they talk.
    pub(crate) dialect: Dialect,
}

/// A subject and those who come and go.
struct Visitors {
    subject: Subject,
    crowd: Crowd,
    desk: Desk,
}

/// What is known of them.
#[derive(Default)]
struct Desk {
    v1: bool,
    /// Without a welcome, goodbye is said at once.
    welcomes: bool,
    /// How long the frame is that welcomes, in bytes.
    welcome_bytes: usize,
    /// Whose connection is over, in order, since it was last looked at.
    over: Vec<usize>,
}

impl Churn {
    /// What it is called.
    pub(crate) fn title(&self) -> String {
        titled("churn", self.dialect, false)
    }

    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        let mut all = vec![self.visitors(server(setting, &[])?)?];
        self.round(&mut all[0], setting.round)?;
        if setting.floor {
            let floor = Subject::floor(setting.server_core, 0, all[0].desk.welcome_bytes)?;
            all.push(self.visitors(floor)?);
        }
        for peer in &setting.peers {
            all.push(self.visitors(peer.start(setting.server_core)?)?);
        }
        for visitors in &mut all[1..] {
            self.round(visitors, setting.round)?;
        }
        let rounds = alternate(&mut all, setting.pairs, |visitors| {
            setting.progress.inc(1);
            self.round(visitors, setting.round)
        })?;
        let named = all.iter().zip(rounds);
        let subjects: Vec<_> = named
            .map(|(visitors, rounds)| {
                let name = visitors.subject.name.clone();
                SubjectResult { name, rounds, latency: None, memory: Vec::new() }
            })
            .collect();
        let ratios = ratios(&subjects, &[Measure::CpuPerConnect, Measure::ConnectsPerSecond]);
        Ok(SceneResult {
            kind: SceneKind::Churn,
            title: self.title(),
            parameters: vec![number("at_a_time", self.at_a_time), dialect(self.dialect, false)],
            subjects,
            ratios,
        })
    }

    fn visitors(&self, subject: Subject) -> Result<Visitors, Failure> {
        let crowd = Crowd::new(subject.address)?;
        let v1 = subject.is_chinwag && self.dialect == Dialect::V1;
        let welcomes = subject.is_chinwag || subject.name == "floor";
        Ok(Visitors { subject, crowd, desk: Desk { v1, welcomes, ..Desk::default() } })
    }

    fn round(&self, visitors: &mut Visitors, length: Duration) -> Result<Round, Failure> {
        let name = visitors.subject.name.clone();
        self.come_and_go(visitors, length).map_err(|failure| failure.at(&name))
    }

    fn come_and_go(&self, visitors: &mut Visitors, length: Duration) -> Result<Round, Failure> {
        let Visitors { subject, crowd, desk } = visitors;
        let cpu = kernel::cpu_ns(&subject.processes)?;
        let begin = crowd.now();
        let end = begin + length.as_nanos() as u64;
        let protocol = desk.v1.then_some("chinwag.v1");
        let requests: Vec<Vec<u8>> =
            (0..self.at_a_time).map(|client| handshake(&subject.path(&format!("bench-{client}")), protocol)).collect();
        for (client, request) in requests.iter().enumerate() {
            if client < crowd.len() {
                crowd.reconnect(client, request)?;
            } else {
                crowd.connect(request)?;
            }
        }
        let (mut here, mut gone) = (self.at_a_time, 0_u64);
        let patience = Patience::new("they come and go");
        while here > 0 {
            crowd
                .turn(Some(Duration::from_millis(100)), &mut |crowd, client, event| desk.hear(crowd, client, event))?;
            patience.check()?;
            let again = crowd.now() < end;
            for client in desk.over.drain(..) {
                gone += 1;
                if again {
                    crowd.reconnect(client, &requests[client])?;
                } else {
                    here -= 1;
                }
            }
        }
        let wall_s = (crowd.now() - begin) as f64 / 1e9;
        // The server frees them after they have noticed.
        std::thread::sleep(Duration::from_millis(1));
        let cpu_s = (kernel::cpu_ns(&subject.processes)? - cpu) as f64 / 1e9;
        let figures = vec![
            of(Measure::CpuPerConnect, cpu_s * 1e6 / gone as f64),
            of(Measure::ConnectsPerSecond, gone as f64 / wall_s),
            of(Measure::UserBytes, kernel::memory(&subject.processes)?.user_bytes as f64),
        ];
        Ok(Round { wall_s, cpu_s, deliveries: 0, figures })
    }
}

impl Desk {
    fn hear(&mut self, crowd: &mut Crowd, client: usize, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Opened if self.v1 => crowd.send(client, br#"{"type":"hello","rooms":[]}"#),
            Event::Opened if self.welcomes => Ok(()),
            Event::Opened => crowd.leave(client),
            Event::Message(text) if self.welcomes && crowd.phase(client) == Phase::Open => {
                if self.welcome_bytes == 0 {
                    self.welcome_bytes = text.len() + if text.len() < 126 { 2 } else { 4 };
                }
                crowd.leave(client)
            }
            Event::Message(_) | Event::Ping => Ok(()),
            Event::Over(None) => {
                self.over.push(client);
                Ok(())
            }
            Event::Over(Some(code)) => Err(Failure::Violation(format!("a visitor was sent away with {code}"))),
        }
    }
}
