//! What was typed behind `cargo bench --bench load --`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  cargo bench --bench load                                      the usual scenes, in two minutes
  cargo bench --bench load -- --full --html report.html         every scene, with a page to look at
  cargo bench --bench load -- --scene fanout --in-flight 16 --receivers 10000
  cargo bench --bench load -- --scene fanout --dialect v1 --ids --rooms 8 --senders 8
  cargo bench --bench load -- --scene fanout --rate 2000        an open loop: so many messages a second
  cargo bench --bench load -- --scene fanout --peers            beside what else there is
  cargo bench --bench load -- --store sqlite                    with a disk: what is stored, and a start on 10 million messages
  cargo bench --bench load -- --scene fanout --addr 127.0.0.1:8765 --pid 4711

How to read the figures: docs/BENCHMARKS.md.";

/// Measures the server, beside a floor that does the least that a relay can do. Exits with 1 when any receiver missed a line,
/// got one twice or out of order.
#[derive(Clone, Debug, Parser)]
#[command(name = "load", after_help = EXAMPLES, max_term_width = 120)]
pub(crate) struct Options {
    /// Which scenes to run; may be given several times [default: fanout, rooms, hold and storm; with --store sqlite store]
    #[arg(long, value_enum, value_name = "SCENE", conflicts_with_all = ["full", "smoke"])]
    pub(crate) scene: Vec<Scene>,
    /// Every scene, in all the variations that docs/BENCHMARKS.md has a line for
    #[arg(long)]
    pub(crate) full: bool,
    /// Every scene, small and short: only to see that nothing is lost, repeated or out of order
    #[arg(long, conflicts_with = "full")]
    pub(crate) smoke: bool,

    #[command(flatten, next_help_heading = "What is said")]
    pub(crate) talk: Talk,
    #[command(flatten, next_help_heading = "How many")]
    pub(crate) counts: Counts,
    #[command(flatten, next_help_heading = "What is kept")]
    pub(crate) history: History,
    #[command(flatten, next_help_heading = "Who is measured")]
    pub(crate) who: Who,
    #[command(flatten, next_help_heading = "Output")]
    pub(crate) output: Output,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// The scenes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scene {
    /// Few send, all receive: one room
    Fanout,
    /// Many small rooms, everyone talks
    Rooms,
    /// Idle connections: memory of each, CPU for heartbeats
    Hold,
    /// Connect and say goodbye: CPU for each
    Churn,
    /// All lose their connection at once and resume: time until level, peak memory
    Storm,
    /// Some read slowly and some never: what the others notice
    Slow,
    /// All join one room at once: CPU in all
    Join,
    /// Stored messages a second, time until acknowledged; with --store sqlite also a start on a large history
    Store,
}

/// Where a server keeps what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// In memory.
    Memory,
    /// On a disk.
    Sqlite,
}

/// What is kept, and where.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct History {
    /// Where the server keeps the history; with sqlite nothing is pinned, since a server of three threads needs more than a core,
    /// and the scene is store if none is asked for
    #[arg(long, value_enum, value_name = "memory|sqlite", default_value = "memory", hide_possible_values = true)]
    pub(crate) store: Place,
    /// Messages in the history on which the server is started (store)
    #[arg(long = "history", value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000_000))]
    pub(crate) lines: u32,
    /// Where files are made, and removed at the end; on a disk [default: in cargo's target folder]
    #[arg(long, value_name = "PATH")]
    pub(crate) folder: Option<PathBuf>,
}

/// How the server is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    /// Without a subprotocol
    Plain,
    /// `chinwag.v1`
    V1,
}

/// What is said.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Talk {
    /// Plain or chinwag.v1 clients
    #[arg(long, value_enum, default_value = "plain", hide_possible_values = true)]
    pub(crate) dialect: Dialect,
    /// Each line with an id, so that it is acknowledged
    #[arg(long)]
    pub(crate) ids: bool,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(32..=60_000))]
    pub(crate) message_bytes: u32,
    /// Messages that are on their way at a time (fanout, slow; several: one after the other) [default: 1,16,256]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) in_flight: Vec<u32>,
    /// Messages a second, however fast they arrive (fanout); half: half of what the server can do at 256 in flight
    #[arg(long, value_name = "N|half", value_parser = parse_rate, conflicts_with = "in_flight")]
    pub(crate) rate: Option<Rate>,
}

/// How fast an open loop goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// So many messages a second.
    Messages(f64),
    /// Half of what the slowest subject can do.
    Half,
}

/// How many of each.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Counts {
    /// Receivers (fanout, slow)
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    pub(crate) receivers: u32,
    /// How many of them send (fanout)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) senders: u32,
    /// Rooms: that all are in and lines take turns through (fanout) [default: 1]; or small ones (rooms) [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=9_500))]
    pub(crate) rooms: Option<u32>,
    /// Members of each room (rooms)
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) members: u32,
    /// Connections [default: 10000 (hold), 2000 (storm), 1000 (join), 64 at a time (churn)]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=19_000))]
    pub(crate) clients: Option<u32>,
    /// Lines that each misses (storm)
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) missed: u32,
    /// Receivers who read at a tenth of the rate, and stay (slow)
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) lagging: u32,
    /// Receivers who never read (slow)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) stuck: u32,
}

/// Who is measured, and how often.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Who {
    /// Alternating rounds of each; ratios are of those side by side [default: 7; storm 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) pairs: Option<u32>,
    /// How long a round is, in ms; whoever waits for its turn meanwhile must not fall silent
    #[arg(long, value_name = "MS", default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub(crate) round_ms: u32,
    /// Do without the floor
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// Measure what else there is, too, if it is installed: all, or these (fanout)
    #[arg(long, value_name = "NAME", num_args = 0.., value_delimiter = ',')]
    pub(crate) peers: Option<Vec<String>>,
    /// A server that runs already, on this machine, instead of an own one
    #[arg(long, value_name = "HOST:PORT", requires = "pid")]
    pub(crate) addr: Option<SocketAddr>,
    /// Its process
    #[arg(long, value_name = "PID", requires = "addr")]
    pub(crate) pid: Option<u32>,
    /// A further flag for the server, as one word: --server-flag=--ping-ms=5000
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) server_flag: Vec<String>,
}

/// What is written beside the tables.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Output {
    /// All figures, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// A page with tables and plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "half" {
        return Ok(Rate::Half);
    }
    let rate = text.parse().ok().filter(|rate| (1.0..=1e6).contains(rate)).map(Rate::Messages);
    rate.ok_or_else(|| "a number from 1 to 1000000 is wanted, or half".to_owned())
}
