//! Memory given back after a rush by the lists that turns use again.
//!
//! They keep the room that they have from turn to turn, so that a busy loop allocates nothing, and give back what they do not use
//! once a second. A last time when a second has gone by without a turn: a server that all have left has no more turns. The other
//! collections (users, rooms, connections) give back when something is taken out of them: see [`slack`].

use super::Server;
use crate::chat::Millis;
use crate::chat::slack;

/// How long lists keep what they do not use, in milliseconds.
const UNUSED_MS: Millis = 1_000;

/// When lists were looked at, and whether they may have grown since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tidiness {
    due_ms: Millis,
    grown: bool,
}

impl Tidiness {
    /// When lists must be looked at, though nothing else happens.
    pub(super) fn deadline(self) -> Option<Millis> {
        self.grown.then_some(self.due_ms)
    }
}

impl Server {
    /// The end of a turn.
    pub(super) fn tidy(&mut self) {
        if self.now.mono_ms < self.tidiness.due_ms {
            self.tidiness.grown = true;
            return;
        }
        self.tidiness = Tidiness { due_ms: self.now.mono_ms + UNUSED_MS, grown: false };
        slack::trim_queue(&mut self.ready);
        slack::trim_queue(&mut self.drained);
        slack::trim(&mut self.dirty);
        slack::trim(&mut self.held);
        slack::trim(&mut self.closing);
        slack::trim(&mut self.departed);
        slack::trim(&mut self.doomed);
        slack::trim(&mut self.expired);
        slack::trim(&mut self.completions);
        self.effects.tidy();
        self.scratch.tidy();
        self.turn.tidy();
        self.store.tidy();
    }
}
