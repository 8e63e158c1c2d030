//! What the keyboard asks of the conversation, and what the conversation has to show: the words between the two threads
//! of the client. Plain values; nobody here reads, writes or spells anything.

use std::time::Duration;

/// What a person asks for: one typed line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Say this to the current room.
    Say(String),
    /// Say this to one user.
    Private {
        /// The user's name.
        to: String,
        /// The words.
        message: String,
    },
    /// Ask for another name.
    Name(String),
    /// Who is in the current room?
    Who,
    /// Join a room, and speak there from now on.
    Join(String),
    /// Leave a room; the current one if none is named.
    Leave(Option<String>),
    /// Speak in another one of the joined rooms; without one: say which they are.
    Room(Option<String>),
    /// Show the lines before the oldest one shown of the current room.
    History(u32),
    /// Say goodbye and end, once everything said is acknowledged.
    Quit,
}

/// A line that somebody said, to be shown once and for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The room; `None` for a private line.
    pub room: Option<String>,
    /// Who said it, by name. Not clean: it came from outside.
    pub from: String,
    /// By the user that stands behind the name, where the server tells; decides the colour.
    pub user: Option<String>,
    /// To whom, for a private line.
    pub to: Option<String>,
    /// The words. Not clean either.
    pub message: String,
    /// When, as the server spelled it (RFC 3339, UTC); empty if it did not.
    pub timestamp: String,
    /// Whether this client's user said it.
    pub own: bool,
    /// Whether it was asked for with `/history`, and is older than what was shown before.
    pub old: bool,
}

/// An own line that somebody is told of before it is shown for good, or because it never will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnLine {
    /// To whom, if it is private: as it was typed.
    pub to: Option<String>,
    /// The words.
    pub message: String,
}

/// What is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A line.
    Said(Said),
    /// What a server says that is not ours, and that means nothing to us: as it is. Not clean.
    Text(String),
    /// A frame as it came, for `--json`. Only then; and nothing else is shown then but `Ended`.
    Frame(String),
    /// What the server says about others: joined, left, renamed, typing. In the server's words; not clean.
    Notice {
        /// The room, if it is one room's.
        room: Option<String>,
        /// The words.
        message: String,
        /// When, as in [`Said`].
        timestamp: String,
    },
    /// The names in a room, for `/who` and for completion.
    Present {
        /// The room.
        room: String,
        /// The names, in the server's order. Not clean.
        names: Vec<String>,
        /// How many are online; may be more than there are names.
        online: u64,
    },
    /// What the server refuses. Its words; not clean.
    Refused {
        /// The code, as the protocol has it.
        code: String,
        /// The words.
        message: String,
        /// The own line that it is about, if any.
        about: Option<OwnLine>,
    },
    /// What this client says itself, in the person's language.
    Own(OwnWord),
    /// How many own lines are not acknowledged, whenever that changes, and where typed lines go.
    State {
        /// Own lines that were not acknowledged yet.
        waiting: usize,
        /// The room that is spoken to; `None` before there is one.
        room: Option<String>,
        /// All joined rooms.
        rooms: Vec<String>,
        /// The own name; empty before the server told it.
        name: String,
        /// Whether the server can be reached now.
        connected: bool,
    },
    /// The end. Nothing comes after it.
    Ended {
        /// Whether all is well: exit code 0, else 1.
        success: bool,
        /// Why, unless the person asked for it.
        why: Option<OwnWord>,
    },
}

/// What the client itself has to say. The screen has the words for it, in English and in Chinese.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnWord {
    /// The connection stands; with what it speaks.
    Connected {
        /// The address, as given.
        url: String,
        /// The own name.
        name: String,
        /// The joined rooms.
        rooms: Vec<String>,
        /// Whether it is `chinwag.v1`; else the server only knows plain messages.
        lasting: bool,
    },
    /// The connection broke; it is tried again after this time.
    Reconnecting {
        /// Why, in English: a close code and reason, or the system's error. Not clean.
        why: String,
        /// How long until the next attempt.
        wait: Duration,
    },
    /// It is back: this many lines came meanwhile.
    Back {
        /// Lines that were missed, and follow or came already.
        missed: u64,
    },
    /// An own line waits for more than a second to be acknowledged.
    Waiting {
        /// Which.
        line: OwnLine,
    },
    /// Lines may be missing in a room: the server cannot prove that there are none.
    MayMiss {
        /// The room; `@me` for private lines.
        room: String,
        /// The protocol's reason: `epoch`, `trimmed` or `ahead`.
        reason: String,
    },
    /// A private line is to somebody who has left: it is kept for that user.
    Departed {
        /// By which name.
        name: String,
    },
    /// An own line of which nobody can tell whether it arrived.
    PerhapsSent {
        /// Which.
        line: OwnLine,
    },
    /// An own line that was not sent, and will not be: 100 wait already, its room is left, or the end came first.
    NotSent {
        /// Which.
        line: OwnLine,
    },
    /// An own line that was not sent: the server takes none that long.
    TooLong {
        /// Which.
        line: OwnLine,
        /// How long it would be on its way, in bytes.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// It needs the server, which cannot be reached now.
    NotConnected,
    /// There are no lines before those that were shown.
    NoOlder {
        /// The room.
        room: String,
    },
    /// Another client of this person is there already: this one is somebody else, a guest.
    SecondClient,
    /// Who one is cannot be kept in the state folder: after the end one comes back as somebody else.
    NotKept {
        /// Why, in English: the file and the system's error.
        why: String,
    },
    /// The current room, and all of them.
    Rooms {
        /// The room that is spoken to.
        current: Option<String>,
        /// All joined rooms.
        all: Vec<String>,
    },
    /// There is no such thing with a server that knows plain messages only.
    NeedsV1,
    /// One is not in that room.
    NotIn {
        /// The room that was named.
        room: String,
    },
    /// The address is not one.
    BadUrl {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers, or not with a WebSocket.
    CannotConnect {
        /// As given.
        url: String,
        /// Why. Not clean.
        why: String,
    },
    /// Nobody listens at the address.
    NobodyThere {
        /// As given.
        url: String,
        /// The system's word for it.
        why: String,
    },
    /// The server closed for good.
    Closed {
        /// The close code.
        code: u16,
        /// The reason that came with it. Not clean.
        reason: String,
    },
    /// Lines of those that were piped in did not arrive, or perhaps not; which ones was told.
    NotAll {
        /// How many.
        lines: usize,
    },
    /// The connection broke, and `--once` was given, or lines were left over.
    Lost {
        /// Why. Not clean.
        why: String,
        /// Own lines that were never acknowledged.
        unsent: usize,
    },
}
