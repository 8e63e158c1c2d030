//! Which scenes a run has, with all their parameters: the usual ones, all that docs/BENCHMARKS.md has a line for, small ones,
//! or those that were asked for.

use std::net::SocketAddr;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;
use crate::options::{Dialect, Options, Rate, Scene};
use crate::results::SceneResult;
use crate::scenes::fanout::{Fanout, Pace};
use crate::scenes::rooms::Rooms;

/// What all scenes of a run have in common.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Where subjects run; `None`: anywhere.
    pub(crate) server_core: Option<usize>,
    /// Where the harness runs; `None`: anywhere.
    pub(crate) client_core: Option<usize>,
    /// How many rounds each subject has.
    pub(crate) pairs: usize,
    /// How long a round is.
    pub(crate) round: Duration,
    /// Whether the floor is measured.
    pub(crate) floor: bool,
    /// Which peers are measured.
    pub(crate) peers: Vec<String>,
    /// The server that runs already, and its process.
    pub(crate) running: Option<(SocketAddr, u32)>,
    /// Further flags for the server.
    pub(crate) server_flags: Vec<String>,
    /// Shows how far it is.
    pub(crate) progress: ProgressBar,
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What all have in common.
    pub(crate) setting: Setting,
    /// One after the other.
    pub(crate) scenes: Vec<Planned>,
}

/// One scene with its parameters.
#[derive(Debug)]
pub(crate) enum Planned {
    /// See [`Fanout`].
    Fanout(Fanout),
    /// See [`Rooms`].
    Rooms(Rooms),
}

impl Planned {
    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        match self {
            Self::Fanout(scene) => scene.run(setting),
            Self::Rooms(scene) => scene.run(setting),
        }
    }
}

impl Plan {
    /// What was asked for.
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let setting = Setting {
            server_core: (cores > 1).then_some(0),
            client_core: (cores > 1).then_some(1),
            pairs: options.who.pairs.unwrap_or(if options.smoke { 1 } else { 7 }) as usize,
            round: Duration::from_millis(if options.smoke { 50 } else { u64::from(options.who.round_ms) }),
            floor: !options.who.no_floor,
            peers: options.who.peers.clone().unwrap_or_default(),
            running: options.who.addr.zip(options.who.pid),
            server_flags: options.who.server_flag.clone(),
            progress: ProgressBar::hidden(),
        };
        let scenes = if options.scene.is_empty() {
            [Scene::Fanout, Scene::Rooms].iter().flat_map(|&scene| of(scene, options)).collect()
        } else {
            options.scene.iter().flat_map(|&scene| of(scene, options)).collect()
        };
        Ok(Self { setting, scenes })
    }
}

/// The scenes of one kind, as the options have them.
fn of(scene: Scene, options: &Options) -> Vec<Planned> {
    match scene {
        Scene::Fanout => paces(options).into_iter().map(|pace| Planned::Fanout(fanout(options, pace))).collect(),
        Scene::Rooms => vec![Planned::Rooms(Rooms {
            rooms: options.counts.rooms.unwrap_or(1_000) as usize,
            members: options.counts.members as usize,
            dialect: options.talk.dialect,
            ids: options.talk.ids,
            message_bytes: options.talk.message_bytes as usize,
        })],
        _ => Vec::new(),
    }
}

fn paces(options: &Options) -> Vec<Pace> {
    match options.talk.rate {
        Some(Rate::Messages(rate)) => vec![Pace::Rate(rate)],
        Some(Rate::Half) => vec![Pace::Half],
        None if options.talk.in_flight.is_empty() => [1, 16, 256].map(Pace::InFlight).to_vec(),
        None => options.talk.in_flight.iter().map(|&count| Pace::InFlight(count as usize)).collect(),
    }
}

fn fanout(options: &Options, pace: Pace) -> Fanout {
    Fanout {
        receivers: options.counts.receivers as usize,
        senders: options.counts.senders.min(options.counts.receivers) as usize,
        rooms: options.counts.rooms.unwrap_or(1) as usize,
        dialect: options.talk.dialect,
        ids: options.talk.ids,
        message_bytes: options.talk.message_bytes as usize,
        pace,
    }
}
