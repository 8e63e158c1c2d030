//! The network: what is under way between one client and the server, in both directions, and how it breaks.

use std::collections::VecDeque;

use chinwag::chat::ConnId;

/// What a client sends.
#[derive(Debug)]
pub enum Up {
    Text(String),
    Goodbye,
}

/// What a server sends.
#[derive(Debug)]
pub enum Down {
    Text(String),
    Close(u16, &'static str),
    End,
}

/// A connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is another fact")]
pub struct Link {
    pub conn: ConnId,
    /// Not read by the server yet.
    pub up: VecDeque<Up>,
    /// Not written by the server yet.
    pub outbox: VecDeque<String>,
    /// Not read by the client yet.
    pub down: VecDeque<Down>,
    /// The client has it.
    pub attached: bool,
    /// The server has it.
    pub open: bool,
    /// Nothing passes any more, and nobody was told.
    pub dead: bool,
    /// When the server hears that it broke.
    pub ends_at: Option<u64>,
    /// The core waits for room in the outbox.
    pub watched: bool,
}

/// How much is under way to a client at most, and below how much an outbox has room again.
pub const WIRE_MAX: usize = 12;
pub const DRAINED: usize = 4;

impl Link {
    pub fn new(conn: ConnId) -> Self {
        Self {
            conn,
            up: VecDeque::new(),
            outbox: VecDeque::new(),
            down: VecDeque::new(),
            attached: true,
            open: true,
            dead: false,
            ends_at: None,
            watched: false,
        }
    }

    /// Writes what fits.
    pub fn flush(&mut self) {
        while self.down.len() < WIRE_MAX && !self.dead {
            let Some(text) = self.outbox.pop_front() else { return };
            self.down.push_back(Down::Text(text));
        }
    }

    /// The client has dropped it, or it breaks: of what it sent, the first `arrives` do arrive.
    pub fn drop_by_client(&mut self, arrives: usize, ends_at: u64) {
        self.attached = false;
        self.down.clear();
        self.up.truncate(arrives);
        self.ends_at.get_or_insert(ends_at);
    }
}
