//! All join one room at once, by connecting: what it costs until everybody is in and has heard of everybody.

use std::cell::Cell;
use std::time::Duration;

use crate::crowd::{Crowd, Event, Patience, handshake};
use crate::failure::Failure;
use crate::kernel;
use crate::options::Dialect;
use crate::pairs::{alternate, of, ratios};
use crate::plan::Setting;
use crate::results::{Measure, Round, SceneKind, SceneResult, SubjectResult};
use crate::subject::Subject;

use super::{dialect, number, server, titled};

/// Each round has a room of its own.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    /// How many.
    pub(crate) clients: usize,
    /// How they talk.
    pub(crate) dialect: Dialect,
}

/// A subject, and how many rounds it had.
struct Host {
    subject: Subject,
    rounds: usize,
}

impl Join {
    /// What it is called.
    pub(crate) fn title(&self) -> String {
        titled(&format!("{} join one room at once", self.clients), self.dialect, false)
    }

    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        let mut hosts = vec![Host { subject: server(setting, &[])?, rounds: 0 }];
        if setting.floor {
            hosts.push(Host { subject: Subject::floor(setting.server_core, 0, 100)?, rounds: 0 });
        }
        for peer in &setting.peers {
            hosts.push(Host { subject: peer.start(setting.server_core)?, rounds: 0 });
        }
        let rounds = alternate(&mut hosts, setting.pairs, |host| {
            setting.progress.inc(1);
            host.rounds += 1;
            let name = host.subject.name.clone();
            self.round(&host.subject, host.rounds).map_err(|failure| failure.at(&name))
        })?;
        let named = hosts.iter().zip(rounds);
        let subjects: Vec<_> = named
            .map(|(host, rounds)| {
                let name = host.subject.name.clone();
                SubjectResult { name, rounds, latency: None, memory: Vec::new() }
            })
            .collect();
        let ratios = ratios(&subjects, &[Measure::CpuTotal]);
        Ok(SceneResult {
            kind: SceneKind::Join,
            title: self.title(),
            parameters: vec![number("clients", self.clients), dialect(self.dialect, false)],
            subjects,
            ratios,
        })
    }

    fn round(&self, subject: &Subject, number: usize) -> Result<Round, Failure> {
        let mut crowd = Crowd::new(subject.address)?;
        let v1 = subject.is_chinwag && self.dialect == Dialect::V1;
        let room = format!("bench-{number}");
        let request = handshake(&subject.path(&room), v1.then_some("chinwag.v1"));
        let hello = format!(r#"{{"type":"hello","rooms":[{{"room":"{room}"}}]}}"#);
        let all_there = format!(r#""online_count":{},"#, self.clients);
        let (welcomed, notices) = (Cell::new(0), Cell::new(0));
        let mut hear = |crowd: &mut Crowd, client: usize, event: Event<'_>| -> Result<(), Failure> {
            match event {
                Event::Opened if v1 => crowd.send(client, hello.as_bytes())?,
                Event::Message(text) if text.starts_with(br#"{"type":"system""#) => welcomed.set(welcomed.get() + 1),
                Event::Message(text) if text.starts_with(br#"{"type":"welcome""#) => welcomed.set(welcomed.get() + 1),
                Event::Message(text) if text.starts_with(br#"{"type":"user_join""#) => {
                    let there = text.windows(all_there.len()).any(|window| window == all_there.as_bytes());
                    notices.set(notices.get() + usize::from(there && client == 0));
                }
                Event::Over(code) => return Err(Failure::Violation(format!("somebody was sent away: {code:?}"))),
                _ => {}
            }
            Ok(())
        };
        let cpu = kernel::cpu_ns(&subject.processes)?;
        let begin = crowd.now();
        crowd.connect_all(self.clients, |_| request.clone(), &mut hear)?;
        let patience = Patience::new("all are in");
        // Of many who come, the room is told up to a second later; the floor and the peers tell nobody.
        while subject.is_chinwag && (welcomed.get() < self.clients || (notices.get() == 0 && self.clients > 1)) {
            crowd.turn(Some(Duration::from_millis(10)), &mut hear)?;
            patience.check()?;
        }
        let wall_s = (crowd.now() - begin) as f64 / 1e9;
        std::thread::sleep(Duration::from_millis(1));
        let cpu_s = (kernel::cpu_ns(&subject.processes)? - cpu) as f64 / 1e9;
        leave(&mut crowd)?;
        let figures = vec![
            of(Measure::CpuTotal, cpu_s * 1e3),
            of(Measure::TimeUntilLevel, wall_s * 1e3),
            of(Measure::UserBytes, kernel::memory(&subject.processes)?.user_bytes as f64),
        ];
        Ok(Round { wall_s, cpu_s, deliveries: 0, figures })
    }
}

/// All say goodbye, and are gone when this returns.
fn leave(crowd: &mut Crowd) -> Result<(), Failure> {
    let mut here = crowd.open();
    for client in 0..crowd.len() {
        crowd.leave(client)?;
    }
    let patience = Patience::new("all leave");
    while here > 0 {
        crowd.turn(Some(Duration::from_millis(100)), &mut |_, _, event| {
            here -= usize::from(matches!(event, Event::Over(_)));
            Ok(())
        })?;
        patience.check()?;
    }
    Ok(())
}
