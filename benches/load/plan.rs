//! Which scenes a run has, with all their parameters: the usual ones, all that docs/BENCHMARKS.md has a line for, small ones,
//! or those that were asked for.

use std::net::SocketAddr;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;
use crate::folder::Folder;
use crate::options::{Dialect, Options, Place, Rate, Scene};
use crate::peers::{self, Peer};
use crate::results::SceneResult;
use crate::scenes::churn::Churn;
use crate::scenes::fanout::{Fanout, Pace};
use crate::scenes::hold::Hold;
use crate::scenes::join::Join;
use crate::scenes::rooms::Rooms;
use crate::scenes::slow::Slow;
use crate::scenes::start::Start;
use crate::scenes::store::Stored;
use crate::scenes::storm::Storm;

/// So many on their way, 16 of each sender, keep a store busy; what may wait for a disk at most are 20,000.
const STORING: usize = 1_024;

/// So many messages a second are no load.
const PACE: f64 = 2_000.0;

/// What all scenes of a run have in common.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Where subjects run; `None`: anywhere.
    pub(crate) server_core: Option<usize>,
    /// Where the harness runs; `None`: anywhere.
    pub(crate) client_core: Option<usize>,
    /// How many rounds each subject has.
    pub(crate) pairs: usize,
    /// How many rounds a storm has, which has nothing to be compared with.
    pub(crate) storms: usize,
    /// How long a round is.
    pub(crate) round: Duration,
    /// Whether the floor is measured.
    pub(crate) floor: bool,
    /// Which peers are measured.
    pub(crate) peers: Vec<Peer>,
    /// The server that runs already, and its process.
    pub(crate) running: Option<(SocketAddr, u32)>,
    /// Further flags for the server.
    pub(crate) server_flags: Vec<String>,
    /// Where what is stored on a disk lies; `None` if nothing is.
    pub(crate) folder: Option<Folder>,
    /// Every server stores on it.
    pub(crate) all_on_disk: bool,
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
    /// What will not be run, and why.
    pub(crate) skipped: Vec<String>,
}

/// One scene with its parameters.
#[derive(Clone, Debug)]
pub(crate) enum Planned {
    /// See [`Fanout`].
    Fanout(Fanout),
    /// See [`Rooms`].
    Rooms(Rooms),
    /// See [`Hold`].
    Hold(Hold),
    /// See [`Churn`].
    Churn(Churn),
    /// See [`Storm`].
    Storm(Storm),
    /// See [`Slow`].
    Slow(Slow),
    /// See [`Join`].
    Join(Join),
    /// See [`Stored`].
    Stored(Stored),
    /// See [`Start`].
    Start(Start),
}

impl Planned {
    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        match self {
            Self::Fanout(scene) => scene.run(setting),
            Self::Rooms(scene) => scene.run(setting),
            Self::Hold(scene) => scene.run(setting),
            Self::Churn(scene) => scene.run(setting),
            Self::Storm(scene) => scene.run(setting),
            Self::Slow(scene) => scene.run(setting),
            Self::Join(scene) => scene.run(setting),
            Self::Stored(scene) => scene.run(setting),
            Self::Start(scene) => scene.run(setting),
        }
    }

    /// What it is called.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Fanout(scene) => scene.title(),
            Self::Rooms(scene) => scene.title(),
            Self::Hold(scene) => scene.title(),
            Self::Churn(scene) => scene.title(),
            Self::Storm(scene) => scene.title(),
            Self::Slow(scene) => scene.title(),
            Self::Join(scene) => scene.title(),
            Self::Stored(scene) => scene.title(),
            Self::Start(scene) => scene.title(),
        }
    }

    /// How many steps it is on the progress bar: one for each round of each subject.
    fn steps(&self, setting: &Setting) -> usize {
        let (floor, peers) = (usize::from(setting.floor), setting.peers.len());
        match self {
            Self::Fanout(_) | Self::Churn(_) | Self::Join(_) => setting.pairs * (1 + floor + peers),
            Self::Rooms(_) => setting.pairs * (1 + floor),
            Self::Slow(_) => setting.pairs * 2,
            Self::Storm(_) | Self::Stored(_) => setting.storms,
            Self::Start(_) => setting.storms * 2,
            Self::Hold(Hold { dialect: Dialect::Plain, .. }) => 1 + peers,
            Self::Hold(_) => 1,
        }
    }
}

impl Plan {
    /// What was asked for.
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (peers, skipped) = wanted_peers(options)?;
        let pairs = options.who.pairs.map(|pairs| pairs as usize);
        let all_on_disk = options.history.store == Place::Sqlite;
        let pinned = cores > 1 && !all_on_disk;
        let stores = all_on_disk || options.smoke || options.scene.contains(&Scene::Store);
        let setting = Setting {
            server_core: pinned.then_some(0),
            client_core: pinned.then_some(1),
            pairs: pairs.unwrap_or(if options.smoke { 1 } else { 7 }),
            storms: pairs.unwrap_or(if options.smoke { 1 } else { 3 }),
            round: Duration::from_millis(if options.smoke { 50 } else { u64::from(options.who.round_ms) }),
            floor: !options.who.no_floor,
            peers,
            running: options.who.addr.zip(options.who.pid),
            server_flags: options.who.server_flag.clone(),
            folder: stores.then(|| Folder::new(options.history.folder.as_deref())).transpose()?,
            all_on_disk,
            progress: ProgressBar::no_length(),
        };
        let scenes = match options {
            Options { smoke: true, .. } => small(options),
            Options { full: true, .. } => full(options),
            Options { scene, .. } if scene.is_empty() && all_on_disk => of(Scene::Store, options),
            Options { scene, .. } if scene.is_empty() => usual(options),
            Options { scene, .. } => scene.iter().flat_map(|&scene| of(scene, options)).collect(),
        };
        let steps: usize = scenes.iter().map(|scene| scene.steps(&setting)).sum();
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)");
        setting.progress.set_style(style.expect("the template is a good one"));
        setting.progress.set_length(steps as u64);
        Ok(Self { setting, scenes, skipped })
    }
}

/// The peers that are installed, of those that were asked for, and a sentence for each that is not.
fn wanted_peers(options: &Options) -> Result<(Vec<Peer>, Vec<String>), Failure> {
    let Some(names) = &options.who.peers else { return Ok((Vec::new(), Vec::new())) };
    let (mut found, mut missing) = peers::find_all();
    if !names.is_empty() {
        found.retain(|peer| names.iter().any(|name| name == peer.name()));
        missing.retain(|sentence| names.iter().any(|name| sentence.starts_with(name.as_str())));
        for name in names {
            let known =
                found.iter().any(|peer| name == peer.name()) || missing.iter().any(|words| words.starts_with(name));
            if !known {
                return Err(Failure::from(format!("--peers: there is no peer {name}")));
            }
        }
    }
    Ok((found, missing))
}

/// Without options: what says most, in two minutes.
fn usual(options: &Options) -> Vec<Planned> {
    [Scene::Fanout, Scene::Rooms, Scene::Hold, Scene::Storm].iter().flat_map(|&scene| of(scene, options)).collect()
}

/// All that docs/BENCHMARKS.md has a line for.
fn full(options: &Options) -> Vec<Planned> {
    let mut scenes = of(Scene::Fanout, options);
    let with = |pace, change: &dyn Fn(&mut Fanout)| {
        let mut scene = fanout(options, pace);
        change(&mut scene);
        Planned::Fanout(scene)
    };
    for window in [1, 16, 256] {
        scenes.push(with(Pace::InFlight(window), &|scene| {
            scene.dialect = Dialect::V1;
            scene.ids = true;
            (scene.rooms, scene.senders) = (8, 8);
        }));
    }
    scenes.push(with(Pace::InFlight(16), &|scene| scene.receivers = 9_900));
    scenes.push(with(Pace::InFlight(16), &|scene| scene.message_bytes = 10_000));
    scenes.push(with(Pace::Half, &|_| ()));
    for scene in [Scene::Rooms, Scene::Hold, Scene::Churn, Scene::Slow, Scene::Storm, Scene::Join] {
        scenes.extend(of(scene, options));
    }
    if options.history.store == Place::Sqlite {
        scenes.extend(of(Scene::Store, options));
    }
    scenes
}

/// Every scene and kind of client, with few and short.
fn small(options: &Options) -> Vec<Planned> {
    let mut options = options.clone();
    options.counts.receivers = 50;
    options.counts.rooms = Some(10);
    options.counts.senders = 5;
    options.counts.clients = Some(60);
    options.counts.missed = 100;
    options.counts.lagging = 5;
    options.talk.in_flight = vec![1, 64];
    let mut scenes = Vec::new();
    for (dialect, ids) in [(Dialect::Plain, false), (Dialect::V1, true)] {
        (options.talk.dialect, options.talk.ids) = (dialect, ids);
        for scene in [Scene::Fanout, Scene::Rooms, Scene::Churn, Scene::Join] {
            scenes.extend(of(scene, &options));
        }
    }
    // Servers in memory, and one on a disk.
    options.history.store = Place::Sqlite;
    options.history.lines = 10_000;
    for scene in [Scene::Hold, Scene::Slow, Scene::Storm, Scene::Store] {
        scenes.extend(of(scene, &options));
    }
    scenes
}

/// The scenes of one kind, as the options have them.
fn of(scene: Scene, options: &Options) -> Vec<Planned> {
    let Options { talk, counts, .. } = options;
    let (dialect, message_bytes) = (talk.dialect, talk.message_bytes as usize);
    let clients = |usual: usize| counts.clients.map_or(usual, |clients| clients as usize);
    match scene {
        Scene::Fanout => paces(options).into_iter().map(|pace| Planned::Fanout(fanout(options, pace))).collect(),
        Scene::Rooms => {
            let count = counts.rooms.map_or(1_000, |rooms| rooms as usize);
            let members = counts.members as usize;
            let rooms =
                |unhurried| Planned::Rooms(Rooms { count, members, dialect, ids: talk.ids, message_bytes, unhurried });
            [false, true].map(rooms).into()
        }
        Scene::Hold => {
            let usual = if options.full { 15_000 } else { 10_000 };
            [Dialect::Plain, Dialect::V1]
                .map(|dialect| Planned::Hold(Hold { connections: clients(usual), dialect }))
                .into()
        }
        Scene::Churn => vec![Planned::Churn(Churn { at_a_time: clients(64), dialect })],
        Scene::Storm => {
            vec![Planned::Storm(Storm { clients: clients(2_000), missed: counts.missed as usize, message_bytes })]
        }
        Scene::Slow => {
            let slow = |lagging: u32, stuck: u32, message_bytes: usize| {
                let in_flight = talk.in_flight.first().map_or(16, |&count| count as usize);
                let (receivers, lagging, stuck) = (counts.receivers as usize, lagging as usize, stuck as usize);
                Planned::Slow(Slow { receivers, lagging, stuck, in_flight, message_bytes })
            };
            if counts.stuck > 0 {
                vec![slow(counts.lagging, counts.stuck, message_bytes)]
            } else {
                // Long ones, so that the limit on what waits for a reader is reached, which the kernel's buffers hide.
                vec![slow(counts.lagging, 0, message_bytes), slow(0, counts.lagging, (20 * message_bytes).min(60_000))]
            }
        }
        Scene::Join => vec![Planned::Join(Join { clients: clients(1_000), dialect })],
        Scene::Store => stored(options),
    }
}

/// As many as go, then at a pace, each with a server of its own; then, on a disk, what a large history costs.
fn stored(options: &Options) -> Vec<Planned> {
    let message_bytes = options.talk.message_bytes as usize;
    let on_disk = options.history.store == Place::Sqlite;
    let paces = if options.talk.rate.is_none() && options.talk.in_flight.is_empty() {
        vec![Pace::InFlight(STORING), Pace::Rate(PACE)]
    } else {
        paces(options)
    };
    let mut scenes: Vec<Planned> =
        paces.into_iter().map(|pace| Planned::Stored(Stored { pace, message_bytes, on_disk })).collect();
    if on_disk {
        scenes.push(Planned::Start(Start { lines: options.history.lines as usize, message_bytes }));
    }
    scenes
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
    let Options { talk, counts, .. } = options;
    Fanout {
        receivers: counts.receivers as usize,
        senders: counts.senders.min(counts.receivers) as usize,
        rooms: counts.rooms.map_or(1, |rooms| rooms as usize),
        dialect: talk.dialect,
        ids: talk.ids,
        message_bytes: talk.message_bytes as usize,
        pace,
    }
}
