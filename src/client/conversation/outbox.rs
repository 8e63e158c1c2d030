//! This client's own lines, until it is known what became of them.

use crate::chat::ids::Millis;
use crate::chat::names::ME;

use crate::client::talk::OwnLine;

use super::frame::Object;

/// How many lines wait at most, as the protocol has it.
pub(super) const LINES_MAX: usize = 100;

/// An own line.
#[derive(Debug)]
pub(super) struct Own {
    /// By which the server knows it again.
    pub(super) id: String,
    /// Its room; `@me` for a private line.
    pub(super) room: String,
    /// To whom, if it is private.
    pub(super) to: Option<String>,
    /// The user who has left by that name, once it is known that nobody has it.
    pub(super) user: Option<String>,
    /// The words.
    pub(super) message: String,
    /// When it was said.
    pub(super) since: Millis,
    /// Whether the person was told that it waits.
    pub(super) told: bool,
    /// On which connection it was sent last, by its number.
    pub(super) sent_on: Option<u64>,
    /// When that was.
    pub(super) sent_at: Millis,
    /// The Ping behind it, to a plain server.
    pub(super) ping: u64,
    /// Not to be sent before.
    pub(super) not_before: Millis,
    /// How often the server had no room for it.
    pub(super) refusals: u32,
}

impl Own {
    /// A line that was never sent.
    pub(super) fn new(id: String, room: Option<&str>, to: Option<String>, message: String, now: Millis) -> Self {
        let room = room.unwrap_or(ME).to_owned();
        let (user, told, sent_on, sent_at, ping, not_before, refusals) = (None, false, None, 0, 0, 0, 0);
        Self { id, room, to, user, message, since: now, told, sent_on, sent_at, ping, not_before, refusals }
    }

    /// As its person is told of it.
    pub(super) fn told(&self) -> OwnLine {
        OwnLine { to: self.to.clone(), message: self.message.clone() }
    }

    /// As it goes to a server of `chinwag.v1`.
    pub(super) fn spell(&self) -> String {
        let object = match &self.to {
            Some(to) => Object::new("private").with("to", self.user.as_ref().unwrap_or(to)),
            None => Object::new("chat").with("room", &self.room),
        };
        object.with("message", &self.message).with("id", &self.id).finish()
    }

    /// As it goes to a plain server.
    pub(super) fn spell_plain(&self) -> String {
        Object::new("chat").with("message", &self.message).finish()
    }
}

/// The lines, in the order in which they were said.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lines: Vec<Own>,
}

impl Outbox {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether a line more would be one too many.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= LINES_MAX
    }

    /// Adds a line. The caller looks first whether it [`is_full`](Self::is_full).
    pub(super) fn add(&mut self, line: Own) {
        debug_assert!(!self.is_full(), "a line too many");
        self.lines.push(line);
    }

    /// All of them.
    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &Own> {
        self.lines.iter()
    }

    /// All of them, to be changed.
    pub(super) fn lines_mut(&mut self) -> impl Iterator<Item = &mut Own> {
        self.lines.iter_mut()
    }

    /// One of them.
    pub(super) fn find(&mut self, id: &str) -> Option<&mut Own> {
        self.lines.iter_mut().find(|line| line.id == id)
    }

    /// Takes out one whose fate is known.
    pub(super) fn settle(&mut self, id: &str) -> Option<Own> {
        let place = self.lines.iter().position(|line| line.id == id)?;
        Some(self.lines.remove(place))
    }

    /// Takes out all of a kind.
    pub(super) fn settle_all(&mut self, which: impl FnMut(&mut Own) -> bool) -> Vec<Own> {
        self.lines.extract_if(.., which).collect()
    }
}
