//! Few send, all receive: what a broadcast costs, and how long it takes.

use crate::audience::{Audience, Layout, Seats};
use crate::failure::Failure;
use crate::options::Dialect;
use crate::pairs::{figure, ratios};
use crate::plan::Setting;
use crate::results::{Measure, Parameter, Round, SceneKind, SceneResult, Value};

use super::{RATIOS, audiences, dialect, number, results, take_turns, titled};

/// So many on their way keep a server busy: what it can do.
const SATURATING: usize = 256;

/// What need not stand in the title.
const USUAL_RECEIVERS: usize = 1_000;
const USUAL_BYTES: usize = 100;

/// How lines follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many are on their way at a time.
    InFlight(usize),
    /// So many a second.
    Rate(f64),
    /// Half as many a second as the slowest subject can do.
    Half,
}

/// Everybody is in one room, or in the same few.
#[derive(Clone, Debug)]
pub(crate) struct Fanout {
    /// How many receive.
    pub(crate) receivers: usize,
    /// How many of them send.
    pub(crate) senders: usize,
    /// In how many rooms all are; lines take turns through them.
    pub(crate) rooms: usize,
    /// How the clients talk.
    pub(crate) dialect: Dialect,
    /// Lines have ids.
    pub(crate) ids: bool,
    /// Bytes of a message.
    pub(crate) message_bytes: usize,
    /// How lines follow each other.
    pub(crate) pace: Pace,
}

impl Fanout {
    /// What it is called.
    pub(crate) fn title(&self) -> String {
        let mut title = match self.pace {
            Pace::InFlight(window) => format!("fanout, {window} in flight"),
            Pace::Rate(rate) => format!("fanout, {rate} messages a second"),
            Pace::Half => "fanout, at half of the saturating rate".to_owned(),
        };
        if self.receivers != USUAL_RECEIVERS {
            title = format!("{title}, {} receivers", self.receivers);
        }
        if self.message_bytes != USUAL_BYTES {
            title = format!("{title}, {} bytes", self.message_bytes);
        }
        if self.rooms > 1 {
            title = format!("{title}, {} rooms", self.rooms);
        }
        titled(&title, self.dialect, self.ids)
    }

    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        // At half of what the slowest peer can do nobody would have anything to do.
        let peers = if self.pace == Pace::Half { &[] } else { &setting.peers[..] };
        let mut audiences = audiences(setting, &self.layout(), peers)?;
        let rate = self.rate(setting, &mut audiences)?;
        let rounds = take_turns(setting, &mut audiences, |audience, length| match self.pace {
            Pace::InFlight(window) => audience.closed_loop(window, length),
            Pace::Rate(_) | Pace::Half => audience.open_loop(rate, length),
        })?;
        audiences.iter().try_for_each(Audience::finish)?;
        let subjects = results(&mut audiences, rounds);
        let ratios = ratios(&subjects, &RATIOS);
        Ok(SceneResult {
            kind: SceneKind::Fanout,
            title: self.title(),
            parameters: self.parameters(rate),
            subjects,
            ratios,
        })
    }

    fn layout(&self) -> Layout {
        Layout {
            receivers: self.receivers,
            talkers: self.senders,
            rooms: self.rooms,
            seats: Seats::All,
            dialect: self.dialect,
            ids: self.ids,
            message_bytes: self.message_bytes,
            laggards: 0,
        }
    }

    /// Messages a second in an open loop; else 0.
    fn rate(&self, setting: &Setting, audiences: &mut [Audience]) -> Result<f64, Failure> {
        match self.pace {
            Pace::InFlight(_) => return Ok(0.0),
            Pace::Rate(rate) => return Ok(rate),
            Pace::Half => {}
        }
        let mut lowest = f64::INFINITY;
        for audience in audiences {
            // The first is for buffers to grow.
            audience.closed_loop(SATURATING, setting.round)?;
            let round: Round = audience.closed_loop(SATURATING, setting.round)?;
            let deliveries = figure(&round, Measure::DeliveriesPerSecond).unwrap_or_default();
            lowest = lowest.min(deliveries / self.receivers as f64);
        }
        Ok(lowest / 2.0)
    }

    fn parameters(&self, rate: f64) -> Vec<Parameter> {
        let pace = match self.pace {
            Pace::InFlight(window) => number("in_flight", window),
            Pace::Rate(_) | Pace::Half => Parameter { name: "rate".to_owned(), value: Value::Number(rate.round()) },
        };
        vec![
            pace,
            number("receivers", self.receivers),
            number("senders", self.senders),
            number("rooms", self.rooms),
            number("message_bytes", self.message_bytes),
            dialect(self.dialect, self.ids),
        ]
    }
}
