//! What goes out: each connection that has something to write, writes; and the limits on what is left over.

use crate::chat::effects::CloseReason;
use crate::chat::ids::ConnId;

use super::Server;
use super::closing::After;
use super::connection::{End, Phase};
use super::outbox::Flushed;

/// A connection with more than this left over is not read: so its replies and Pongs are bounded.
pub(super) const BACKLOG_READ_BYTES_MAX: usize = 64 * 1024;

/// A reader who catches up gets its next page when less than this is left over.
pub(super) const DRAINED_BYTES: usize = 32 * 1024;

impl Server {
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            self.flush_one(id);
        }
        // Nobody else may have been put there meanwhile, but if so, is flushed next turn.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        self.turn.clear();
        if self.turn.kept_bytes() > self.config.limits.outboxes_bytes_max {
            self.close_slowest();
        }
    }

    fn flush_one(&mut self, id: ConnId) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.flags.in_dirty = false;
        let owed_before = connection.outbox.owed();
        let writable = &mut connection.flags.writable;
        let flushed = connection.outbox.flush(&mut connection.socket, writable, &mut self.turn, self.now.mono_ms);
        let owed = connection.outbox.owed();
        if owed_before > 0 && connection.outbox.stalled_since().is_none_or(|since_ms| since_ms == self.now.mono_ms) {
            // Progress in writing is a sign of life.
            connection.heard_ms = self.now.mono_ms;
        }
        match flushed {
            Flushed::Some if owed > self.config.limits.outbox_bytes_max => {
                self.close_slow(id);
                return;
            }
            // The stall's deadline may be nearer than what the timer is set to.
            Flushed::Some if owed_before == 0 => self.arm(id),
            Flushed::All | Flushed::Some => {}
            Flushed::Broken(error) => {
                log::debug!("{}: {error}", connection.peer);
                self.doom(id);
                return;
            }
        }
        let Some(connection) = self.connections.find(id) else { return };
        if connection.flags.watched && owed < DRAINED_BYTES {
            self.note_drained(id);
        }
        let closing = self.connections.find(id).is_some_and(|connection| matches!(connection.phase, Phase::Closing(_)));
        if closing {
            self.end_if_done(id);
        } else if owed_before > BACKLOG_READ_BYTES_MAX && owed <= BACKLOG_READ_BYTES_MAX {
            self.resume(id);
        }
    }

    /// Ends a reader who does not read what it is owed: the frame in progress is finished, the rest is dropped.
    pub(super) fn close_slow(&mut self, id: ConnId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.phase.is_open() {
            connection.outbox.cut(&mut self.turn);
            self.close(id, End::Close(CloseReason::SlowReader), After::Nothing);
        } else {
            self.reset(id);
        }
    }

    /// All together owe too much: those who owe most go, until it is enough.
    fn close_slowest(&mut self) {
        let mut owing: Vec<(usize, ConnId)> = self
            .connections
            .iter_mut()
            .map(|connection| (connection.outbox.owed(), connection.id))
            .filter(|&(owed, _)| owed > 0)
            .collect();
        owing.sort_unstable_by_key(|&(owed, _)| std::cmp::Reverse(owed));
        for (_, id) in owing {
            if self.turn.kept_bytes() <= self.config.limits.outboxes_bytes_max {
                return;
            }
            self.close_slow(id);
        }
    }
}
