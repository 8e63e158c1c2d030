//! The client's clock: the one place where it asks what time it is. The loop reads it once a turn and passes it on.

use std::time::Instant;

use crate::chat::ids::Millis;

/// Counts from the moment it was started.
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts at 0.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Milliseconds since the start.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn now(&self) -> Millis {
        // 64 bits of milliseconds are 584 million years.
        self.started.elapsed().as_millis() as Millis
    }
}
