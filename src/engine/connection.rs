//! A connection, and the slab of all of them.

use std::net::SocketAddr;

use mio::net::TcpStream;

use crate::chat::effects::CloseReason;
use crate::chat::ids::{ConnId, Millis, Now};
use crate::chat::slack::Slots;
use crate::config::Rate;

use crate::wire::decoder::{CloseWatch, Partial};

use super::outbox::Outbox;

/// One connection, from `accept` to the end.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) id: ConnId,
    pub(super) phase: Phase,
    pub(super) outbox: Outbox,
    pub(super) rate: Bucket,
    /// When something was last heard, or last counted as heard because we did not read.
    pub(super) heard_ms: Millis,
    /// When the last Ping was sent.
    pub(super) pinged_ms: Millis,
    /// The tick of the timer entry that counts; others of this connection are void.
    pub(super) timer_tick: u64,
    pub(super) flags: Flags,
}

impl Connection {
    /// Something was heard, or we did not listen: silence counts from here. Not of a peer that has hung up: what it left
    /// behind may be read for as long as a silent peer may stay, and no longer.
    pub(super) fn note_heard(&mut self, now: Now) {
        if !self.flags.read_closed {
            self.heard_ms = now.mono_ms;
        }
    }
}

/// What is known of a connection between turns.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Flags {
    /// There may be something to read. Forgotten only when the kernel had no more.
    pub(super) readable: bool,
    /// The kernel may take something. Forgotten only when it took no more.
    pub(super) writable: bool,
    /// The peer sends no more: what is left to read ends with the stream's end.
    pub(super) read_closed: bool,
    /// It is on the list of those to be heard.
    pub(super) in_ready: bool,
    /// It is on the list of those to be flushed.
    pub(super) in_dirty: bool,
    /// The core holds it: nothing more may be heard for now.
    pub(super) held: bool,
    /// The core waits for its outbox to drain.
    pub(super) watched: bool,
    /// It is on the list of those whose outbox has drained.
    pub(super) in_drained: bool,
    /// The core knows of it and must hear of its end.
    pub(super) in_chat: bool,
    /// It speaks `chinwag.v1`.
    pub(super) v1: bool,
    /// It is, or was, a WebSocket: it counts as a connection until it is freed.
    pub(super) upgraded: bool,
}

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// The request's head is awaited.
    Head {
        /// What has come of it; empty as long as it comes at once.
        bytes: Vec<u8>,
    },
    /// It is a WebSocket.
    Open {
        /// A message that has come in part.
        partial: Option<Box<Partial>>,
        /// What was read and not heard yet, because the connection is held or has no tokens.
        rest: Rest,
    },
    /// It ends: what is owed is written, and what comes is thrown away.
    Closing(Closing),
    /// It is freed at the turn's end.
    Doomed,
}

/// Bytes that were read and not heard yet. They are not moved while they are heard little by little.
#[derive(Debug, Default)]
pub(super) struct Rest(Option<Box<Unheard>>);

/// Apart, since most connections have none.
#[derive(Debug)]
struct Unheard {
    bytes: Vec<u8>,
    heard: usize,
}

impl Rest {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Some(Box::new(Unheard { bytes: bytes.to_vec(), heard: 0 })))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |unheard| &unheard.bytes[unheard.heard..])
    }

    /// Leaves so many bytes, the last ones.
    pub(super) fn keep_last(&mut self, bytes: usize) {
        if let Some(unheard) = &mut self.0 {
            unheard.heard = unheard.bytes.len() - bytes;
        }
    }
}

/// How a connection ends.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) end: End,
    pub(super) since_ms: Millis,
    /// Looks for the peer's Close; `None` where none is awaited.
    pub(super) watch: Option<Box<CloseWatch>>,
    /// Our last frame is in the outbox: no other may follow.
    pub(super) said: bool,
    /// We told the peer's system that we send no more.
    pub(super) shut: bool,
    /// The peer's Close came, or its stream ended.
    pub(super) peer_done: bool,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a Close frame of ours.
    Close(CloseReason),
    /// With an HTTP answer that was no upgrade.
    Http(u16),
    /// The stream ended or broke, without a Close.
    Gone,
}

impl Phase {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Whether messages may still be given to it.
    pub(super) fn takes_messages(&self) -> bool {
        match self {
            Self::Open { .. } => true,
            Self::Closing(closing) => !closing.said,
            Self::Head { .. } | Self::Doomed => false,
        }
    }
}

/// The rate of a connection: a bucket of tokens that may be overdrawn by what was read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Thousandths of a token.
    level: i64,
    filled_ms: Millis,
}

/// Pings, Pongs and fragments of a message that cost as much as one request: none is told to anybody, and each costs
/// a tenth of a microsecond.
const SMALL_FRAMES_PER_TOKEN: i64 = 16;

/// Bytes that may be read for each token that is left.
const BYTES_PER_TOKEN: usize = 512;

impl Bucket {
    pub(super) fn full(rate: &Rate, now: Now) -> Self {
        Self { level: i64::from(rate.burst_tokens) * 1_000, filled_ms: now.mono_ms }
    }

    fn fill(&mut self, rate: &Rate, now: Now) {
        // A token a second is a thousandth a millisecond. 49 days fill any bucket, and overflow nothing.
        let elapsed_ms = u32::try_from(now.mono_ms - self.filled_ms).unwrap_or(u32::MAX);
        let gained = i64::from(elapsed_ms).saturating_mul(i64::from(rate.tokens_per_second));
        self.level = self.level.saturating_add(gained).min(i64::from(rate.burst_tokens) * 1_000);
        self.filled_ms = now.mono_ms;
    }

    /// How many bytes may be read now, at most `bytes_max`; 0 while the bucket is overdrawn.
    pub(super) fn bytes(&mut self, rate: &Rate, now: Now, bytes_max: usize) -> usize {
        if rate.tokens_per_second == 0 {
            return bytes_max;
        }
        self.fill(rate, now);
        match usize::try_from(self.level) {
            Ok(level) => ((level / 1_000).max(1) * BYTES_PER_TOKEN).min(bytes_max),
            Err(_) => 0,
        }
    }

    /// Tokens that are left for requests; one more may be heard than they pay for.
    pub(super) fn tokens(&self, rate: &Rate) -> u32 {
        if rate.tokens_per_second == 0 {
            u32::MAX
        } else {
            u32::try_from(self.level.max(0) / 1_000).unwrap_or(u32::MAX)
        }
    }

    /// Takes for requests that cost `tokens`, and for so many small frames.
    pub(super) fn take(&mut self, rate: &Rate, tokens: u32, small_frames: u32) {
        if rate.tokens_per_second > 0 {
            let small = i64::from(small_frames) * 1_000 / SMALL_FRAMES_PER_TOKEN;
            self.level = self.level.saturating_sub(i64::from(tokens) * 1_000 + small);
        }
    }

    /// When it is not overdrawn any more; `None` if it is not now.
    pub(super) fn ready_ms(&self, rate: &Rate) -> Option<Millis> {
        let missing = u64::try_from(-self.level).ok().filter(|&missing| missing > 0)?;
        Some(self.filled_ms + missing.div_ceil(u64::from(rate.tokens_per_second.max(1))))
    }
}

/// All connections. A slot's tenants are told apart by their generation.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Slots<Connection>,
    generation: u32,
    /// Those that are upgraded, until they are freed.
    pub(super) open: usize,
}

impl Connections {
    /// The id of the next connection; it is given with [`insert`](Self::insert).
    pub(super) fn next_id(&self) -> ConnId {
        ConnId { index: self.slots.vacant_key() as u32, generation: self.generation }
    }

    /// # Panics
    /// If `connection` does not have the [`next_id`](Self::next_id).
    pub(super) fn insert(&mut self, connection: Connection) {
        assert_eq!(connection.id, self.next_id());
        self.generation = self.generation.wrapping_add(1);
        self.slots.insert(connection);
    }

    /// The connection, if it is still this one.
    pub(super) fn find(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(id.index as usize).filter(|connection| connection.id == id)
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        self.find(id)?;
        let connection = self.slots.remove(id.index as usize);
        self.open -= usize::from(connection.flags.upgraded);
        Some(connection)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.slots.iter_mut().map(|(_, connection)| connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { tokens_per_second: 50, burst_tokens: 100 };

    fn at(mono_ms: Millis) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    #[test]
    fn a_bucket_lets_512_bytes_through_for_each_token() {
        let mut bucket = Bucket::full(&RATE, at(1_000));
        assert_eq!(bucket.bytes(&RATE, at(1_000), 65_536), 51_200);
        bucket.take(&RATE, 98, 16);
        assert_eq!(bucket.bytes(&RATE, at(1_000), 65_536), 512);
        bucket.take(&RATE, 1, 0);
        assert_eq!(bucket.bytes(&RATE, at(1_000), 65_536), 512, "an empty bucket is not overdrawn");
        bucket.take(&RATE, 1, 0);
        assert_eq!(bucket.bytes(&RATE, at(1_000), 65_536), 0);
        assert_eq!(bucket.ready_ms(&RATE), Some(1_020));
        assert_eq!(bucket.bytes(&RATE, at(1_020), 65_536), 512);
        assert_eq!(bucket.ready_ms(&RATE), None);
    }

    #[test]
    fn a_bucket_refills_to_its_burst_and_no_further() {
        let mut bucket = Bucket::full(&RATE, at(0));
        bucket.take(&RATE, 9_000, 0);
        assert_eq!(bucket.ready_ms(&RATE), Some(178_000));
        assert_eq!(bucket.bytes(&RATE, at(10_000_000), 65_536), 51_200);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let rate = Rate { tokens_per_second: 0, burst_tokens: 0 };
        let mut bucket = Bucket::full(&rate, at(0));
        bucket.take(&rate, u32::MAX, 0);
        assert_eq!((bucket.bytes(&rate, at(0), 65_536), bucket.ready_ms(&rate)), (65_536, None));
    }
}
