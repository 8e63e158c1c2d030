//! What was typed becomes what is meant: every limit and deadline of the server, with its unit, default and reason.
//!
//! [`Command::from_args`] reads a command line. [`Config`] is the server's: plain data that anybody may build; each value's
//! limits are checked with the flags, and the rules between values by [`Config::check`].

mod connect;
mod flags;
mod history;
mod listen;
mod storage;

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use log::LevelFilter;

use crate::chat::ids::Millis;
use crate::client;
use crate::history::Task;
use crate::store::{Retention, SyncPolicy};
use crate::wire::encode::Lang;

/// In a room of more members than this, single joins, leaves, renames and typing are not told; one frame a second says
/// how many came and went. N joiners tell N² frames: at 200 that is 40,000, a few milliseconds of work, and
/// at 15,000 it would be 225 million. People cannot follow 200 names either. A promise of the protocol, so no flag.
pub const MEMBERS_TOLD_MAX: usize = 200;

/// What a frame adds to the text that it carries, at most: keys, a room of 64 characters, two names of 256
/// characters of four bytes, an `id` of 64 bytes escaped, a timestamp, numbers and the frame's header.
pub const ENVELOPE_BYTES: usize = 4096;

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run the server.
    Serve(Config),
    /// Run the terminal client.
    Connect(client::Options),
    /// Look after what is kept.
    History(Task),
    /// Print this, and that is all: what a shell or `man` reads.
    Print(Vec<u8>),
}

impl Command {
    /// Reads a command line; the first of `args` is the program's name.
    ///
    /// # Errors
    /// What is wrong, naming the flag. Asking for help or the version is such an "error" too; `exit_code` tells: 2
    /// for a mistake, 0 for these.
    pub fn from_args<I>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator,
        I::Item: Into<OsString> + Clone,
    {
        flags::parse(args)
    }
}

/// All that can be set, as the server uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to accept. Default: `127.0.0.1:8765` and, where there is IPv6, `[::1]:8765`: a chat server that was
    /// started to be tried must not be reachable from the network, and `localhost` means either of the two.
    pub listen: Vec<Listen>,
    /// How much is logged. Default info: each connection's coming, going and reason.
    pub log_level: LevelFilter,
    /// The language of the server's own notices. Default: the locale's, else English.
    pub lang: Lang,
    /// What one client and all together may take.
    pub limits: Limits,
    /// How fast a connection may ask.
    pub rate: Rate,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// Where the history is kept. Default: in `chinwag.db` in the working directory.
    pub history: History,
    /// What is kept in memory.
    pub memory: Memory,
}

/// An address to accept at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address. Port 0: the system chooses.
    pub address: SocketAddr,
    /// The server starts without it on a machine that does not have it (no IPv6).
    pub optional: bool,
}

impl Listen {
    /// Whether to go on although the address could not be bound: it is optional, and the machine lacks it. An address
    /// in use is never skipped: who connects there would talk to another program.
    pub fn may_be_skipped(&self, error: &io::Error) -> bool {
        self.optional && error.kind() != io::ErrorKind::AddrInUse
    }
}

/// Limits on size and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; 0: as many as descriptors allow (see [`connections_allowed`](Self::connections_allowed)).
    /// Default 0: the limit of open files is the machine's own word on it.
    pub connections_max: usize,
    /// Bytes of an incoming WebSocket message, all fragments together. Default 64 KiB: some twenty pages of
    /// text, and little enough to hold for thousands of senders at once.
    pub message_bytes_max: usize,
    /// Bytes of a request's head. Default 8 KiB, as in nginx and Apache: room for a browser's cookies.
    pub head_bytes_max: usize,
    /// Headers of a request. Default 100, as in Apache.
    pub headers_max: usize,
    /// Characters of a name. Default 32: fits in a line beside what is said.
    pub name_chars_max: usize,
    /// Rooms that a user may be in. Default 64: more than a person follows; each costs the server memory and its
    /// going costs a notice in each.
    pub rooms_per_connection_max: usize,
    /// Bytes that may wait for one reader; past it, it is closed with 4002. Default 4 MiB: seconds of a bad network
    /// at a busy room's pace, and what 90 people say at once (each 5 lines of 9 kB), for the kernel takes 512 KiB only. Readers
    /// who are owed the same share it. At least [`line_bytes_max`](Self::line_bytes_max).
    pub outbox_bytes_max: usize,
    /// Bytes that may wait for all readers together; past it, those with most are closed. Default 256 MiB: fits in a
    /// small machine, and lets 64 readers be at their own limit.
    pub outboxes_bytes_max: usize,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        connections_max: 0,
        message_bytes_max: 65_536,
        head_bytes_max: 8_192,
        headers_max: 100,
        name_chars_max: 32,
        rooms_per_connection_max: 64,
        outbox_bytes_max: 4 << 20,
        outboxes_bytes_max: 256 << 20,
    };

    /// Descriptors that are kept for other things than connections: the standard three, listeners, epoll, wakers,
    /// signals, and a dozen for the store and its log.
    const DESCRIPTORS_KEPT: u64 = 32;

    /// And for telling those who come that the server is full: so many, or an eighth of all if that is less.
    const REFUSALS_KEPT: u64 = 64;

    /// How many connections to hold when the process may have `descriptors` open: as many as were asked for, or all
    /// that fit, but at least one; 16 million at most.
    pub fn connections_allowed(&self, descriptors: u64) -> usize {
        let kept = Self::DESCRIPTORS_KEPT + Self::REFUSALS_KEPT.min(descriptors / 8);
        let fit = descriptors.saturating_sub(kept).clamp(1, 1 << 24) as usize;
        if self.connections_max == 0 { fit } else { self.connections_max.min(fit) }
    }

    /// Bytes of the largest frame that carries one incoming message: JSON makes at most six bytes (`\u0001`) of one.
    pub fn line_bytes_max(&self) -> usize {
        self.message_bytes_max.saturating_mul(6).saturating_add(ENVELOPE_BYTES)
    }
}

/// How fast a connection may ask: a bucket of tokens. What a request costs is the protocol's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back in a second; 0: no limit. Default 50: nobody types that fast, and a program that does is
    /// slowed down, not refused.
    pub tokens_per_second: u32,
    /// Tokens that a connection may save up. Default 100: a page that opens asks much at once.
    pub burst_tokens: u32,
}

impl Rate {
    /// The defaults.
    pub const DEFAULT: Self = Self { tokens_per_second: 50, burst_tokens: 100 };
}

/// How long things may take. A deadline acts within a tick (16 ms) after it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From accepting to the end of the request's head, else 408. Default 10 s: a slow network needs one or two, and a
    /// peer that sends a byte now and then must not hold a slot.
    pub head_ms: Millis,
    /// From the upgrade to the `hello` of a `chinwag.v1` client, else 4003. Default 10 s, as for the head.
    pub hello_ms: Millis,
    /// How long a `chinwag.v1` user who lost the connection stays present: name kept, nobody told. Default 30 s: a tunnel,
    /// a change of network, a page's reload.
    pub grace_ms: Millis,
    /// Nothing heard for this long: the server sends a Ping. Default 30 s: under the minute after which many proxies
    /// and address translators forget a connection.
    pub ping_ms: Millis,
    /// Nothing heard for this long, the Ping included: closed with 4003. Default 60 s: a Ping has 30 s to come back.
    pub silence_ms: Millis,
    /// A reader that takes nothing of what waits for it for this long is closed with 4002. Default 30 s: a sleeping
    /// laptop or a tunnel, not a reader.
    pub write_stall_ms: Millis,
    /// From the server's Close to the end of the connection, else reset. Default 5 s: a few round trips of a bad
    /// network.
    pub close_ms: Millis,
    /// From a stop signal to the exit at the latest: half for what the store still owes, the rest for goodbyes. Default
    /// 5 s: service managers kill after 10 (Docker) or 90 (systemd).
    pub drain_ms: Millis,
    /// How long clients are asked to wait before they come back after a restart. Default 0.5 s: about what a
    /// restart takes.
    pub reconnect_in_ms: Millis,
}

impl Deadlines {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        head_ms: 10_000,
        hello_ms: 10_000,
        grace_ms: 30_000,
        ping_ms: 30_000,
        silence_ms: 60_000,
        write_stall_ms: 30_000,
        close_ms: 5_000,
        drain_ms: 5_000,
        reconnect_in_ms: 500,
    };
}

/// Where the history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// Nowhere but in memory: it is gone when the server stops.
    Memory,
    /// In a file.
    Disk(Disk),
}

/// A history that outlives the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file; others lie beside it, under its name and something more. Its folder must be there.
    pub path: PathBuf,
    /// When a line counts as stored. Default full: when it would survive a loss of power.
    pub sync: SyncPolicy,
    /// How much is kept, `u64::MAX` for all. Defaults: see [`Retention`].
    pub retention: Retention,
}

impl Disk {
    /// The file that is used when none is given.
    pub const FILE: &str = "chinwag.db";

    /// Below so many bytes the file's own bookkeeping would be a good part of it.
    const KEPT_BYTES_MIN: u64 = 1 << 20;
}

impl Default for Disk {
    fn default() -> Self {
        Self { path: Self::FILE.into(), sync: SyncPolicy::Full, retention: Retention::default() }
    }
}

/// What is kept in memory: the newest lines of all rooms that somebody is in; without a file, all there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Lines of a room; the oldest go first. Default 1,000: an evening's talk.
    pub recent_messages_max: usize,
    /// Bytes of lines in all rooms; the room that holds most loses its oldest. Default 64 MiB: fits in a small
    /// machine, some 300,000 short lines. At least [`Limits::line_bytes_max`], so that the newest line can be kept.
    pub recent_bytes_max: usize,
    /// Rooms that exist at a time; with a file, that somebody is in. Default 100,000: anybody may make one by its name, and
    /// an empty one costs some hundred bytes.
    pub rooms_max: usize,
}

impl Memory {
    /// The defaults.
    pub const DEFAULT: Self = Self { recent_messages_max: 1_000, recent_bytes_max: 64 << 20, rooms_max: 100_000 };
}

impl Config {
    /// The port that is used when none is given.
    pub const PORT: u16 = 8765;

    /// The rules between values; the limits of each single one are the flags'.
    ///
    /// # Errors
    /// A sentence that names the flags.
    pub fn check(&self) -> Result<(), String> {
        let Self { limits, deadlines, rate, memory, history, .. } = self;
        let line = limits.line_bytes_max();
        let line_rule = format!(
            "the longest line of {} bytes (--message-bytes) can take {line} as JSON (6 for 1, and {ENVELOPE_BYTES})",
            limits.message_bytes_max
        );
        if deadlines.ping_ms >= deadlines.silence_ms {
            Err(format!(
                "--ping-ms {} must be below --silence-ms {}: a Ping needs time to be answered",
                deadlines.ping_ms, deadlines.silence_ms
            ))
        } else if limits.outbox_bytes_max < line {
            Err(format!("--outbox-bytes {} is too small: {line_rule}", limits.outbox_bytes_max))
        } else if limits.outboxes_bytes_max < limits.outbox_bytes_max {
            Err(format!(
                "--outboxes-bytes {} must not be below --outbox-bytes {}: it is for all readers together",
                limits.outboxes_bytes_max, limits.outbox_bytes_max
            ))
        } else if memory.recent_bytes_max < line {
            Err(format!("--recent-bytes {} is too small: {line_rule}", memory.recent_bytes_max))
        } else if let History::Disk(Disk { retention, .. }) = history
            && retention.bytes_max < Disk::KEPT_BYTES_MIN.max(line as u64)
        {
            let least = Disk::KEPT_BYTES_MIN.max(line as u64);
            Err(format!("--keep-bytes {} is too small: it must be {least} at least, or 0", retention.bytes_max))
        } else if rate.tokens_per_second > 0 && rate.burst_tokens == 0 {
            Err("--burst 0 would let nobody speak; to lift the limit, use --rate 0".into())
        } else {
            Ok(())
        }
    }
}

/// The defaults; English.
impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![
                Listen { address: (Ipv4Addr::LOCALHOST, Self::PORT).into(), optional: false },
                Listen { address: (Ipv6Addr::LOCALHOST, Self::PORT).into(), optional: true },
            ],
            log_level: LevelFilter::Info,
            lang: Lang::English,
            limits: Limits::DEFAULT,
            rate: Rate::DEFAULT,
            deadlines: Deadlines::DEFAULT,
            history: History::Disk(Disk::default()),
            memory: Memory::DEFAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_the_rules() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn connections_are_what_was_asked_for_or_what_fits() {
        let limits = |connections_max| Limits { connections_max, ..Limits::DEFAULT };
        assert_eq!(limits(0).connections_allowed(20_000), 19_904);
        assert_eq!(limits(100).connections_allowed(20_000), 100);
        assert_eq!(limits(30_000).connections_allowed(20_000), 19_904);
        assert_eq!(limits(0).connections_allowed(3), 1);
        assert_eq!(limits(0).connections_allowed(u64::MAX), 1 << 24);
    }

    #[test]
    fn only_an_address_that_the_machine_lacks_is_skipped() {
        let [required, optional] = Config::default().listen[..] else { panic!("two addresses") };
        let lacks = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let in_use = io::Error::from(io::ErrorKind::AddrInUse);
        assert!(optional.may_be_skipped(&lacks));
        assert!(!optional.may_be_skipped(&in_use));
        assert!(!required.may_be_skipped(&lacks));
    }
}
