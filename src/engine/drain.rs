//! Stopping: nobody new, nothing more is heard; what the store owes is delivered; all are told; goodbye.
//!
//! When the store fails, it owes nothing any more: all are told at once. What became of the lines that it has not answered nobody
//! knows, so nothing is said of them: they may be there after the next start, and whoever resumes then sees.

use std::mem;

use crate::chat::effects::CloseReason;
use crate::chat::ids::{ConnId, Millis};
use crate::chat::{Message, Notice};

use crate::wire::decoder::CloseWatch;
use crate::wire::frame;

use super::connection::{Closing, End, Phase};
use super::{Server, signals};

/// Clients that come back at the same moment are asked to spread over so much time each: some 25 µs of the server's CPU
/// for a connect, and as much again for everything else.
const SPREAD_MICROS_EACH: u64 = 50;

/// And over so much at least.
const SPREAD_MS_MIN: Millis = 1_000;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    /// It is not asked for.
    No,
    /// It was asked for; the store still owes answers, which are awaited until a time.
    Settling { until_ms: Millis, end_ms: Millis },
    /// Everybody was told; their goodbyes are awaited.
    Goodbye { end_ms: Millis },
}

impl Stopping {
    pub(super) fn is_on(self) -> bool {
        self != Self::No
    }

    pub(super) fn deadline(self) -> Option<Millis> {
        match self {
            Self::No => None,
            Self::Settling { until_ms, .. } => Some(until_ms),
            Self::Goodbye { end_ms } => Some(end_ms),
        }
    }
}

impl Server {
    /// Takes note of the signals that came. Returns the one that asks to exit at once: the second.
    pub(super) fn note_signals(&mut self) -> Option<i32> {
        let came: Vec<i32> = self.signals.pending().collect();
        for signal in came {
            if self.stopping.is_on() {
                log::warn!("{} again: exiting at once", signals::name(signal));
                return Some(signal);
            }
            log::info!("{}: stopping", signals::name(signal));
            let drain_ms = self.config.deadlines.drain_ms;
            let now_ms = self.now.mono_ms;
            self.stopping = Stopping::Settling { until_ms: now_ms + drain_ms / 2, end_ms: now_ms + drain_ms };
            self.listeners.close(self.poll.registry());
        }
        None
    }

    /// Once nothing is owed by the store any more, or half of the time is over, tells everybody; at once, asked or not, when the
    /// store has failed.
    pub(super) fn stop_if_asked(&mut self) {
        if let Some(failure) = self.store.failure()
            && !matches!(self.stopping, Stopping::Goodbye { .. })
        {
            log::error!("stopping, because the history cannot be kept any more: {failure}");
            if !self.stopping.is_on() {
                self.listeners.close(self.poll.registry());
            }
            self.stopping = Stopping::Goodbye { end_ms: self.now.mono_ms + self.config.deadlines.drain_ms };
            self.say_goodbye([CloseReason::Failed; 2]);
            return;
        }
        let Stopping::Settling { until_ms, end_ms } = self.stopping else { return };
        if self.chat.is_settled() || self.now.mono_ms >= until_ms {
            self.stopping = Stopping::Goodbye { end_ms };
            self.say_goodbye([CloseReason::Shutdown, CloseReason::Drain]);
        }
    }

    /// Whether the run is over.
    pub(super) fn is_drained(&self) -> bool {
        matches!(self.stopping, Stopping::Goodbye { end_ms }
            if self.connections.len() == 0 || end_ms <= self.now.mono_ms)
    }

    /// One encoding for all of a kind: why, when to come back, and the Close, with its reason for plain connections and for those of
    /// `chinwag.v1`. The core does not hear of it, so no leaves are told.
    fn say_goodbye(&mut self, reasons: [CloseReason; 2]) {
        let spread_ms = (self.connections.open as u64 * SPREAD_MICROS_EACH / 1_000).max(SPREAD_MS_MIN);
        let notice = Message::System(Notice::Shutdown {
            reconnect_in_ms: self.config.deadlines.reconnect_in_ms,
            reconnect_spread_ms: spread_ms,
        });
        let (encoder, wall_ms) = (&mut self.encoder, self.now.wall_ms);
        let [plain, v1] = reasons.map(|reason| {
            let span = self.turn.write_rooms(|out| {
                encoder.encode(out, &notice, wall_ms);
                frame::write_close(out, reason.code().unwrap_or_default(), reason.text());
            });
            (reason, span)
        });
        let mut unheard: Vec<ConnId> = Vec::new();
        let mut told: Vec<ConnId> = Vec::new();
        for connection in self.connections.iter_mut() {
            connection.flags.in_chat = false;
            match mem::replace(&mut connection.phase, Phase::Doomed) {
                Phase::Open { partial, rest } => {
                    let (reason, span) = if connection.flags.v1 { v1 } else { plain };
                    log::info!("{} goes: {}", connection.peer, End::Close(reason));
                    let mut watch = CloseWatch::after(partial);
                    let peer_done = watch.saw_close(rest.bytes());
                    connection.phase = Phase::Closing(Closing {
                        end: End::Close(reason),
                        since_ms: self.now.mono_ms,
                        watch: Some(Box::new(watch)),
                        said: true,
                        shut: false,
                        peer_done,
                    });
                    connection.outbox.give(span);
                    told.push(connection.id);
                }
                phase @ Phase::Head { .. } => {
                    connection.phase = phase;
                    unheard.push(connection.id);
                }
                phase => connection.phase = phase,
            }
        }
        self.departed.clear();
        for id in unheard {
            self.doom(id);
        }
        for id in told {
            self.mark_dirty(id);
            self.arm(id);
            self.enqueue(id);
        }
    }
}
