//! What is due when nothing happens: heads that do not come, Pings, silence, stalled readers, and rates that refill.
//!
//! Each connection has one entry in the wheel that counts. It is lazy towards later: what is heard only notes when; the
//! entry looks again when it falls due. For something earlier a second entry is made, and the first is void.

use crate::chat::effects::CloseReason;
use crate::chat::ids::{ConnId, Millis};
use crate::config::Deadlines;
use crate::http;
use crate::wire::frame;

use super::closing::After;
use super::connection::{Connection, End, Phase};
use super::flush::BACKLOG_READ_BYTES_MAX;
use super::{Server, earlier};

/// Timer entries looked at in one turn; those behind them are first in the next.
const EXPIRIES_MAX: usize = 4096;

impl Server {
    /// Looks at the connections whose entry fell due.
    pub(super) fn expire(&mut self) {
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.advance(self.now.mono_ms, &mut expired, EXPIRIES_MAX);
        for (tick, id) in expired.drain(..) {
            let Some(connection) = self.connections.find(id) else { continue };
            if connection.timer_tick == tick {
                connection.timer_tick = u64::MAX;
                self.look(id);
                self.arm(id);
            }
        }
        self.expired = expired;
    }

    /// Makes sure that the connection is looked at when its next deadline is due.
    pub(super) fn arm(&mut self, id: ConnId) {
        let Some(connection) = self.connections.find(id) else { return };
        let rate = &self.config.rate;
        let refill = connection.rate.ready_ms(rate).filter(|_| connection.phase.is_open());
        let Some(due_ms) = next_due(connection, &self.config.deadlines).map(|due_ms| earlier(due_ms, refill)) else {
            return;
        };
        if self.wheel.tick_of(due_ms) < connection.timer_tick {
            connection.timer_tick = self.wheel.insert(due_ms, id);
        }
    }

    fn look(&mut self, id: ConnId) {
        let now_ms = self.now.mono_ms;
        let deadlines = &self.config.deadlines;
        let Some(connection) = self.connections.find(id) else { return };
        match &connection.phase {
            Phase::Head { .. } if connection.heard_ms + deadlines.head_ms <= now_ms => {
                self.respond(id, 408, &http::respond(408, &[], "The request did not come in time.", false));
            }
            Phase::Closing(closing) if closing.since_ms + deadlines.close_ms <= now_ms => self.reset(id),
            Phase::Head { .. } | Phase::Closing(_) | Phase::Doomed => {}
            Phase::Open { .. } => self.look_at_open(id),
        }
    }

    fn look_at_open(&mut self, id: ConnId) {
        let now_ms = self.now.mono_ms;
        let deadlines = &self.config.deadlines;
        let Some(connection) = self.connections.find(id) else { return };
        if connection.outbox.stalled_since().is_some_and(|since_ms| since_ms + deadlines.write_stall_ms <= now_ms) {
            self.close_slow(id);
            return;
        }
        let was_overdrawn = connection.rate.ready_ms(&self.config.rate).is_some();
        let overdrawn = connection.rate.bytes(&self.config.rate, self.now, 1) == 0;
        if was_overdrawn && !overdrawn {
            self.resume(id);
            return;
        }
        if connection.flags.held || overdrawn || connection.outbox.owed() > BACKLOG_READ_BYTES_MAX {
            // We do not read it, so it is not silent.
            connection.note_heard(self.now);
            if connection.heard_ms == now_ms {
                return;
            }
        }
        if connection.heard_ms + deadlines.silence_ms <= now_ms {
            self.close(id, End::Close(CloseReason::Silent), After::Nothing);
        } else if connection.pinged_ms <= connection.heard_ms && ping_due(connection, deadlines) <= now_ms {
            connection.pinged_ms = now_ms;
            self.give_reply(id, frame::write_ping);
        }
    }
}

/// When the connection must be looked at; `None` when nothing is awaited.
fn next_due(connection: &Connection, deadlines: &Deadlines) -> Option<Millis> {
    Some(match &connection.phase {
        Phase::Doomed => return None,
        Phase::Head { .. } => connection.heard_ms + deadlines.head_ms,
        Phase::Closing(closing) => closing.since_ms + deadlines.close_ms,
        Phase::Open { .. } => {
            let silent_ms = connection.heard_ms + deadlines.silence_ms;
            let ping_ms = (connection.pinged_ms <= connection.heard_ms).then(|| ping_due(connection, deadlines));
            let stalled_ms = connection.outbox.stalled_since().map(|since_ms| since_ms + deadlines.write_stall_ms);
            earlier(earlier(silent_ms, ping_ms), stalled_ms)
        }
    })
}

/// When a Ping is due: up to a sixth later than `--ping-ms` after something was heard, by the connection's number, so
/// that the Pings of many who came together do not fall together.
fn ping_due(connection: &Connection, deadlines: &Deadlines) -> Millis {
    // Knuth's multiplicative hash (The Art of Computer Programming, volume 3, section 6.4).
    let spread = u64::from(connection.id.generation.wrapping_mul(2_654_435_761) >> 16);
    // Half of the time until silence is left for the answer in any case.
    let spread_max_ms = (deadlines.ping_ms / 6).min((deadlines.silence_ms - deadlines.ping_ms) / 2);
    connection.heard_ms + deadlines.ping_ms + ((spread_max_ms * spread) >> 16)
}
