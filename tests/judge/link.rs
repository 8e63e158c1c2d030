//! The network: what is under way between one client and the server, in both directions, and how it breaks.

use std::collections::VecDeque;
use std::rc::Rc;

use chinwag::chat::{CloseReason, Command, ConnId, Message, Millis};
use slab::Slab;

/// What a client sends.
#[derive(Debug)]
pub enum Up {
    Command(Command<'static>),
    /// Close with 1000.
    Goodbye,
    /// The connection broke here.
    End,
}

/// What a server sends.
#[derive(Clone, Debug)]
pub enum Frame {
    Message(Rc<Message>),
    Close(CloseReason),
    /// The connection broke here.
    End,
}

/// When the server hears that a connection broke.
#[derive(Clone, Copy, Debug)]
pub enum Heard {
    AtOnce,
    /// So many turns later.
    Late(u64),
    /// Not at all: until another connection takes over, or nothing was heard for too long.
    Never,
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    pub conn: ConnId,
    /// Not read by the server yet.
    pub up: VecDeque<Up>,
    /// Not written by the server yet.
    pub outbox: VecDeque<Frame>,
    /// Written, and not read by the client yet.
    pub wire: VecDeque<Frame>,
    /// How much of that there can be.
    pub wire_max: usize,
    /// The client has it.
    pub attached: bool,
    /// The server hears it and hands it messages.
    pub open: bool,
    /// The turn in which the server hears that it broke, if it does.
    pub ends_at: Option<u64>,
    /// Since when nothing comes from it.
    pub silent_since: Option<Millis>,
    /// `Drained` is due when the outbox has room.
    pub watched: bool,
}

/// Frames in an outbox below which it has room again.
pub const DRAINED: usize = 4;

impl Link {
    /// Writes what fits.
    pub fn flush(&mut self) {
        while self.wire.len() < self.wire_max
            && let Some(frame) = self.outbox.pop_front()
        {
            self.wire.push_back(frame);
        }
    }

    /// The client loses it: of what it sent, the first `arrives` frames do arrive.
    pub fn lose(&mut self, arrives: usize, heard: Heard, turn: u64, mono_ms: Millis) {
        self.attached = false;
        self.wire.clear();
        self.up.truncate(arrives);
        match heard {
            Heard::AtOnce => self.ends_at = Some(turn),
            Heard::Late(turns) => self.ends_at = Some(turn + turns),
            Heard::Never => self.silent_since = Some(mono_ms),
        }
    }
}

/// All connections.
#[derive(Debug, Default)]
pub struct Links {
    pub all: Slab<Link>,
    /// The connection that has a slot of the server's.
    slots: Vec<Option<usize>>,
    accepted: u32,
}

impl Links {
    /// A new connection; gives its number.
    pub fn open(&mut self, wire_max: usize) -> usize {
        let free = self.slots.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let conn = ConnId { index: index as u32, generation: self.accepted };
        self.accepted += 1;
        let number = self.all.insert(Link {
            conn,
            up: VecDeque::new(),
            outbox: VecDeque::new(),
            wire: VecDeque::new(),
            wire_max,
            attached: true,
            open: true,
            ends_at: None,
            silent_since: None,
            watched: false,
        });
        self.slots[index] = Some(number);
        number
    }

    /// The connection of that id, if its slot has no other tenant.
    pub fn find(&mut self, conn: ConnId) -> Option<&mut Link> {
        let number = (*self.slots.get(conn.index as usize)?)?;
        self.all.get_mut(number).filter(|link| link.conn == conn)
    }

    /// The server is done with it: its slot is free.
    pub fn free_slot(&mut self, conn: ConnId) {
        if self.find(conn).is_some() {
            self.slots[conn.index as usize] = None;
        }
    }

    /// Forgets what neither side has any more.
    pub fn sweep(&mut self) {
        self.all.retain(|_, link| link.open || link.attached);
    }
}
