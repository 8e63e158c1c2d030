//! What a run measured, as plain data: the scenes write it, the report reads it, `--json` is it. It does not measure,
//! judge or draw.

use serde::{Deserialize, Serialize};

/// A whole run of the harness.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Where it ran.
    pub(crate) machine: Machine,
    /// How it was called: `cargo bench --bench load -- …`.
    pub(crate) command: String,
    /// What was measured, in the order in which it ran.
    pub(crate) scenes: Vec<SceneResult>,
    /// What did not run, and why, one sentence each: a peer that is not installed, for example.
    pub(crate) skipped: Vec<String>,
}

/// The machine of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's model, as the kernel names it.
    pub(crate) cpu: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// How many cores there are.
    pub(crate) cores: usize,
    /// The core that every subject is pinned to; `None` where there is only one.
    pub(crate) server_core: Option<usize>,
    /// The core that the harness is pinned to; `None` where there is only one.
    pub(crate) client_core: Option<usize>,
}

/// What kind of scene it is: how its figures are to be read and drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SceneKind {
    /// Few send, all receive.
    Fanout,
    /// Many small rooms, everyone talks.
    Rooms,
    /// Idle connections.
    Hold,
    /// Connects and goodbyes.
    Churn,
    /// All lose their connection and come back.
    Storm,
    /// Some read slowly, or never.
    Slow,
    /// Many join one room at once.
    Join,
    /// Lines are said that the store keeps.
    Store,
    /// A server starts on a large history.
    Start,
}

/// One scene with one set of parameters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SceneResult {
    /// What kind of scene it is.
    pub(crate) kind: SceneKind,
    /// A title for people, without the parameters' values that stand in `parameters`: `fanout, 16 in flight`.
    pub(crate) title: String,
    /// What it was run with, those that matter first. A fan-out has the numbers `receivers` and `in_flight` (absent in an
    /// open loop, which has `rate`), so a plot of CPU against depth is made of the scenes that differ in `in_flight` alone.
    pub(crate) parameters: Vec<Parameter>,
    /// Who was measured: the server first, then the floor if there is one, then the peers.
    pub(crate) subjects: Vec<SubjectResult>,
    /// The first subject against each other one.
    pub(crate) ratios: Vec<Ratio>,
}

/// One parameter of a scene.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Parameter {
    /// In words with underscores, its unit last: `message_bytes`.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: Value,
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Value {
    /// A number, in the unit that the parameter's name ends with.
    Number(f64),
    /// A word: `plain`, `v1`.
    Word(String),
}

/// One subject of a scene.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SubjectResult {
    /// `chinwag`, `floor`, or a peer's name. In the scene `slow`: `chinwag` and `without them`.
    pub(crate) name: String,
    /// What each round measured. Round `i` of each subject ran side by side with round `i` of the others.
    pub(crate) rounds: Vec<Round>,
    /// The latency of all rounds together; `None` where the scene has none.
    pub(crate) latency: Option<Latency>,
    /// Memory as connections were added; empty in all scenes but `hold`.
    pub(crate) memory: Vec<MemoryPoint>,
}

/// One round of one subject.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Round {
    /// How long it took, in seconds.
    pub(crate) wall_s: f64,
    /// CPU time of the subject's processes in it, by the kernel's accounting, in seconds.
    pub(crate) cpu_s: f64,
    /// Messages that arrived, counted once for each receiver.
    pub(crate) deliveries: u64,
    /// What the scene is about, in the order in which it is to be shown.
    pub(crate) figures: Vec<Figure>,
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Of what.
    pub(crate) measure: Measure,
    /// In the unit of the measure.
    pub(crate) value: f64,
}

/// What can be measured. Less is better, but where [`Measure::more_is_better`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// CPU time for each message at each receiver, in µs.
    CpuPerDelivery,
    /// Messages at receivers in a second of time.
    DeliveriesPerSecond,
    /// Messages at receivers in a second of CPU time.
    DeliveriesPerCpuSecond,
    /// CPU time for each message that is sent, in µs.
    CpuPerMessage,
    /// Half of the deliveries are quicker, in µs.
    LatencyP50,
    /// 99 of 100 deliveries are quicker, in µs.
    LatencyP99,
    /// 999 of 1,000 deliveries are quicker, in µs.
    LatencyP999,
    /// The slowest delivery, in µs.
    LatencyMax,
    /// User memory (anonymous resident pages) for each connection, in bytes.
    UserBytesPerConnection,
    /// User memory at the end of the round, in bytes.
    UserBytes,
    /// All resident memory at the end of the round, in bytes.
    ResidentBytes,
    /// Resident memory at its highest, above what it was before, in bytes.
    PeakBytes,
    /// CPU time for one Ping and its Pong, in µs.
    CpuPerHeartbeat,
    /// CPU time in a second for the heartbeats of all, each at the default interval, in ms.
    CpuPerSecond,
    /// CPU time for one connection from connect through close, in µs.
    CpuPerConnect,
    /// Connections, made and closed, in a second of time.
    ConnectsPerSecond,
    /// CPU time of the whole round, in ms.
    CpuTotal,
    /// Time until the last client has what it was to get, in ms.
    TimeUntilLevel,
    /// Messages that were stored, told and acknowledged, in a second of time.
    StoredPerSecond,
    /// Half of the turns that have to do with the store hand over to it and collect from it more quickly, in µs.
    StoreShareP50,
    /// The same, but of 999 of 1,000 turns, and only the time in which the loop's thread ran, in µs.
    StoreShareRunningP999,
    /// 999 of 1,000 turns that have to do with the store hand over to it and collect from it more quickly, in µs.
    StoreShareP999,
    /// The longest that a turn was busy with the store, in µs.
    StoreShareMax,
    /// From starting the program until it says that it listens, in ms.
    TimeUntilListening,
}

impl Measure {
    /// What it is called in a table's head, without the unit.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::CpuPerDelivery => "CPU per delivery",
            Self::DeliveriesPerSecond => "deliveries",
            Self::DeliveriesPerCpuSecond => "deliveries by CPU time",
            Self::CpuPerMessage => "CPU per message",
            Self::LatencyP50 => "latency p50",
            Self::LatencyP99 => "p99",
            Self::LatencyP999 => "p99.9",
            Self::LatencyMax => "max",
            Self::UserBytesPerConnection => "user memory per connection",
            Self::UserBytes => "user memory",
            Self::ResidentBytes => "resident memory",
            Self::PeakBytes => "peak memory above idle",
            Self::CpuPerHeartbeat => "CPU per heartbeat",
            Self::CpuPerSecond => "CPU for heartbeats",
            Self::CpuPerConnect => "CPU per connect",
            Self::ConnectsPerSecond => "connects",
            Self::CpuTotal => "CPU in all",
            Self::TimeUntilLevel => "time until level",
            Self::StoredPerSecond => "stored messages",
            Self::StoreShareP50 => "store's share of a turn p50",
            Self::StoreShareP999 => "of it p99.9",
            Self::StoreShareMax => "of it max",
            Self::StoreShareRunningP999 => "p99.9 of what it ran",
            Self::TimeUntilListening => "time until it listens",
        }
    }

    /// Its unit.
    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::CpuPerDelivery
            | Self::CpuPerMessage
            | Self::CpuPerHeartbeat
            | Self::CpuPerConnect
            | Self::LatencyP50
            | Self::LatencyP99
            | Self::LatencyP999
            | Self::LatencyMax
            | Self::StoreShareP50
            | Self::StoreShareRunningP999
            | Self::StoreShareP999
            | Self::StoreShareMax => Unit::Microseconds,
            Self::CpuTotal | Self::TimeUntilLevel | Self::TimeUntilListening => Unit::Milliseconds,
            Self::CpuPerSecond => Unit::MillisecondsPerSecond,
            Self::DeliveriesPerSecond | Self::ConnectsPerSecond | Self::StoredPerSecond => Unit::PerSecond,
            Self::DeliveriesPerCpuSecond => Unit::PerCpuSecond,
            Self::UserBytesPerConnection | Self::UserBytes | Self::ResidentBytes | Self::PeakBytes => Unit::Bytes,
        }
    }

    /// Whether more of it is better.
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self.unit(), Unit::PerSecond | Unit::PerCpuSecond)
    }
}

/// The unit of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// µs.
    Microseconds,
    /// ms.
    Milliseconds,
    /// ms/s.
    MillisecondsPerSecond,
    /// 1/s.
    PerSecond,
    /// 1/s of CPU time.
    PerCpuSecond,
    /// Bytes.
    Bytes,
}

/// How the time from sending (in an open loop: from when it was meant to be sent) to receiving is distributed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// How many deliveries were timed.
    pub(crate) count: u64,
    /// Half of the deliveries are quicker, in µs.
    pub(crate) p50_us: f64,
    /// 99 of 100 are quicker, in µs.
    pub(crate) p99_us: f64,
    /// 999 of 1,000 are quicker, in µs.
    pub(crate) p999_us: f64,
    /// The slowest, in µs.
    pub(crate) max_us: f64,
    /// The whole distribution, thinned for a plot, in rising order: this share of the deliveries took no longer.
    pub(crate) curve: Vec<LatencyPoint>,
}

/// One point of a latency distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LatencyPoint {
    /// A share of the deliveries, from 0 to 1.
    pub(crate) share: f64,
    /// How long at most it took, in µs.
    pub(crate) us: f64,
}

/// Memory of a subject with so many connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemoryPoint {
    /// How many were open.
    pub(crate) connections: usize,
    /// Anonymous resident pages, in bytes.
    pub(crate) user_bytes: u64,
    /// All resident pages, in bytes.
    pub(crate) resident_bytes: u64,
}

/// The first subject's figure divided by another's, pair by pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ratio {
    /// Of what.
    pub(crate) measure: Measure,
    /// The name of the subject that was divided by.
    pub(crate) over: String,
    /// The median of the pairs.
    pub(crate) median: f64,
    /// The lowest of the pairs.
    pub(crate) lowest: f64,
    /// The highest of the pairs.
    pub(crate) highest: f64,
    /// Of each pair, in the order in which they ran.
    pub(crate) pairs: Vec<f64>,
}
