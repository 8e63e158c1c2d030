//! What is said is kept: how many lines a second a server stores, and how long it takes until one is acknowledged. All speak
//! `chinwag.v1` with ids, and each line has few readers, so that what counts is to store it, and not to tell it to many.

use std::time::Duration;

use crate::audience::{Audience, Layout, Seats};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::options::Dialect;
use crate::pairs::of;
use crate::plan::Setting;
use crate::results::{Figure, Measure, Parameter, Round, SceneKind, SceneResult, Value};

use super::fanout::Pace;
use super::{dialect, logging_server, number, results, word};

/// A round has to outlast what a store does now and then, so it is so many times as long as others.
const ROUNDS_LONG: u32 = 10;

/// As the store's requirements have it.
const SENDERS: usize = 64;
const ROOMS: usize = 100;

/// In each room there are two, who both talk: each line has two readers, its sender and another.
const MEMBERS: usize = 2;

/// What a server's log says of its turns.
const TURNS: &str = " turns had to do with the store, ";

/// Everybody talks, in all of their rooms.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// How lines follow each other.
    pub(crate) pace: Pace,
    /// Bytes of a message.
    pub(crate) message_bytes: usize,
    /// On a disk, or in memory.
    pub(crate) on_disk: bool,
}

impl Stored {
    /// What it is called.
    pub(crate) fn title(&self) -> String {
        let place = if self.on_disk { "on a disk" } else { "in memory" };
        match self.pace {
            Pace::InFlight(window) => format!("store {place}, {window} in flight"),
            Pace::Rate(rate) => format!("store {place}, {rate} messages a second"),
            Pace::Half => format!("store {place}, at half of the saturating rate"),
        }
    }

    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        let (subject, log) = logging_server(setting, self.on_disk)?;
        let mut audience = Audience::gather(subject, self.layout())?;
        audience.desk.times_acks = true;
        let length = setting.round * ROUNDS_LONG;
        self.round(&mut audience, length / 4)?;
        let mut rounds = Vec::new();
        for _ in 0..setting.storms {
            rounds.push(self.round(&mut audience, length)?);
            audience.keep_latencies();
            setting.progress.inc(1);
        }
        audience.finish()?;
        let mut subjects = results(std::slice::from_mut(&mut audience), vec![rounds]);
        audience.subject.stop()?;
        if let Some(log) = log
            && let Some(last) = subjects[0].rounds.last_mut()
        {
            let text = std::fs::read_to_string(&log)?;
            let figures = shares(&text).ok_or_else(|| {
                Failure::from(format!("it did not say how long its turns were with the store: {text:?}"))
            })?;
            last.figures.extend(figures);
        }
        let parameters = self.parameters(setting);
        Ok(SceneResult { kind: SceneKind::Store, title: self.title(), parameters, subjects, ratios: Vec::new() })
    }

    fn round(&self, audience: &mut Audience, length: Duration) -> Result<Round, Failure> {
        match self.pace {
            Pace::InFlight(window) => audience.closed_loop(window, length),
            Pace::Rate(rate) => audience.open_loop(rate, length),
            Pace::Half => Err(Failure::from("nobody knows what half of it is".to_owned())),
        }
    }

    fn layout(&self) -> Layout {
        Layout {
            receivers: SENDERS,
            talkers: MEMBERS,
            rooms: ROOMS,
            seats: Seats::Spread(MEMBERS),
            dialect: Dialect::V1,
            ids: true,
            message_bytes: self.message_bytes,
            laggards: 0,
        }
    }

    fn parameters(&self, setting: &Setting) -> Vec<Parameter> {
        let pace = match self.pace {
            Pace::InFlight(window) => number("in_flight", window),
            Pace::Rate(rate) => Parameter { name: "rate".to_owned(), value: Value::Number(rate.round()) },
            Pace::Half => word("rate", "half"),
        };
        let folder = setting.folder.as_ref().filter(|_| self.on_disk);
        vec![
            pace,
            number("senders", SENDERS),
            number("rooms", ROOMS),
            number("readers_of_each_line", MEMBERS),
            number("message_bytes", self.message_bytes),
            dialect(Dialect::V1, true),
            word("latency", "until acknowledged"),
            word("history", folder.map_or("memory", Folder::system)),
        ]
    }
}

/// What the server's log says at its end of how long turns had to do with the store.
fn shares(log: &str) -> Option<[Figure; 4]> {
    let (_, words) = log.lines().rev().find_map(|line| line.split_once(TURNS))?;
    let (elapsed, running) = words.split_once(';')?;
    let us = |words: &str, key: &str| words.split_once(key)?.1.split(' ').next()?.parse().ok();
    Some([
        of(Measure::StoreShareP50, us(elapsed, "p50 ")?),
        of(Measure::StoreShareP999, us(elapsed, "p99.9 ")?),
        of(Measure::StoreShareMax, us(elapsed, "at most ")?),
        of(Measure::StoreShareRunningP999, us(running, "p99.9 ")?),
    ])
}
