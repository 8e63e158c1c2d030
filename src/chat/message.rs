//! What a client may be told. [`wire`](crate::wire) spells it; nothing here knows JSON.

use std::borrow::Cow;
use std::sync::Arc;

use super::command::{Echo, ErrorCode};
use super::ids::{Millis, UserId};
use super::names::{Name, RoomName};
use super::users::Dialect;

/// What a user said, before the store gave it its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// When the server heard it: milliseconds since 1970.
    pub time_ms: Millis,
    /// Who said it.
    pub user: UserId,
    /// That user's name at the time.
    pub from: Name,
    /// The client's own number for it, at most 64 bytes.
    pub id: Option<Arc<str>>,
    /// The text.
    pub message: Arc<str>,
    /// Of a private message: the name of the one it went to.
    pub to: Option<Name>,
}

impl Draft {
    /// Bytes of the text as JSON spells it, at most: a control character becomes six, a quote or a backslash two.
    pub fn spelled_bytes(&self) -> usize {
        let spelled = |byte| match byte {
            0..0x20 => 6,
            b'"' | b'\\' => 2,
            _ => 1,
        };
        self.message.bytes().map(spelled).sum()
    }
}

/// A line of a room, or of a user's private stream: stored, and with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The room.
    pub room: RoomName,
    /// Its place in the room: dense, from 1, the same for every reader.
    pub seq: u64,
    /// What was said.
    pub draft: Draft,
}

/// One frame for clients, or (`Page`) several in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// `welcome`: the answer to a `hello`.
    Welcome(Box<Welcome>),
    /// `chat`, or `private` in a user's own stream: a stored line.
    Line(Arc<Line>),
    /// Stored lines one after the other, each a frame of its own: a reader catches up.
    Page(Vec<Arc<Line>>),
    /// A relayed binary message.
    Binary(Box<[u8]>),
    /// `private`, for want of a stream: the own copy of a plain sender.
    Private {
        /// Who said it.
        user: UserId,
        /// That user's name.
        from: Name,
        /// The name of the one it went to.
        to: Name,
        /// The text.
        message: Arc<str>,
        /// The client's own number for it.
        id: Option<Arc<str>>,
    },
    /// `ack`.
    Ack {
        /// The client's own number for the line.
        id: Arc<str>,
        /// The room, or the sender's stream; `None` for a private message of a sender who has none.
        room: Option<RoomName>,
        /// Its place, if it is stored.
        seq: Option<u64>,
        /// Whether it was a retry of a line that is there already.
        duplicate: bool,
        /// The request's `ref`.
        reference: Option<Box<str>>,
    },
    /// `joined`.
    Joined(Box<Joined>),
    /// `left`.
    Left {
        /// The room.
        room: RoomName,
        /// The request's `ref`.
        reference: Option<Box<str>>,
    },
    /// `user_join`: somebody came.
    UserJoin {
        /// The room.
        room: RoomName,
        /// Who.
        user: UserId,
        /// By which name.
        name: Name,
        /// How many are present now.
        online: u32,
    },
    /// `user_leave`: somebody went.
    UserLeave {
        /// The room.
        room: RoomName,
        /// Who.
        user: UserId,
        /// By which name.
        name: Name,
        /// How many are present now.
        online: u32,
    },
    /// `user_join` or `user_leave` of many in one, in a large room.
    Coming {
        /// The room.
        room: RoomName,
        /// How many came since the last of these.
        joined: u32,
        /// How many went.
        left: u32,
        /// How many are present now.
        online: u32,
    },
    /// `user_rename`, to the one who asked for it and to `chinwag.v1` members.
    Renamed {
        /// Who.
        user: UserId,
        /// The old name.
        from: Name,
        /// The new name.
        to: Name,
        /// The request's `ref`.
        reference: Option<Box<str>>,
    },
    /// `typing`, to `chinwag.v1` members.
    Typing {
        /// The room.
        room: RoomName,
        /// Who.
        user: UserId,
        /// By which name.
        name: Name,
    },
    /// `presence`.
    Presence {
        /// The room.
        room: RoomName,
        /// Who is there, 1,000 at most.
        users: Vec<(UserId, Name)>,
        /// How many are present.
        online: u32,
        /// The request's `ref`.
        reference: Option<Box<str>>,
    },
    /// `history`.
    History(Box<History>),
    /// `pong`.
    Pong {
        /// The `t` of the `ping`.
        t: Option<Echo>,
        /// The request's `ref`.
        reference: Option<Box<str>>,
    },
    /// `error`.
    Error(Box<ErrorReply>),
    /// `system`.
    System(Notice),
}

impl Message {
    /// The frame by which a reader of that dialect is told of it unasked. What has a type of its own on `chinwag.v1`, a plain client is
    /// told in words (docs/PROTOCOL.md, section 19); all else is the same for both. Nothing else decides what a member gets.
    pub(super) fn unasked(self, dialect: Dialect) -> Self {
        match (dialect, self) {
            (Dialect::Plain, Self::Renamed { from, to, .. }) => Self::System(Notice::Renamed { from, to }),
            (Dialect::Plain, Self::Typing { name, .. }) => Self::System(Notice::Typing { name }),
            (Dialect::Plain, Self::Private { from, message, .. }) => Self::System(Notice::Private { from, message }),
            (_, message) => message,
        }
    }
}

/// The answer to a `hello`.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome {
    /// Proves who the user is, next time.
    pub session: Box<str>,
    /// Who the user is.
    pub user: UserId,
    /// By which name.
    pub name: Name,
    /// Whether the user was still present.
    pub resumed: bool,
    /// After how much silence a client should ping, in milliseconds.
    pub heartbeat_ms: Millis,
    /// The longest WebSocket message from a client.
    pub message_bytes_max: usize,
    /// The longest name.
    pub name_chars_max: usize,
    /// Rooms that a user may be in.
    pub rooms_max: usize,
    /// The `hello`'s `ref`.
    pub reference: Option<Box<str>>,
}

/// The answer to a `join`.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The room.
    pub room: RoomName,
    /// The room's epoch.
    pub epoch: Arc<str>,
    /// The newest `seq` now.
    pub seq: u64,
    /// How many are present.
    pub online: u32,
    /// How the join went on from where the reader was.
    pub recovery: Recovery,
    /// The request's `ref`.
    pub reference: Option<Box<str>>,
}

/// How a join went on from where the reader was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// No position was given.
    Fresh,
    /// Exactly the missed lines follow.
    Recovered,
    /// The position is of another life of the room.
    Epoch,
    /// The position is ahead of the room, or is not the line that it was.
    Ahead,
    /// Some of the missed lines are not kept any more; the rest follows.
    Trimmed {
        /// The first that is lost.
        from: u64,
        /// The last that is lost.
        to: u64,
    },
}

/// The answer to a `history`.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The room.
    pub room: RoomName,
    /// The room's epoch.
    pub epoch: Arc<str>,
    /// In order of `seq`.
    pub lines: Vec<Arc<Line>>,
    /// The oldest `seq` that is kept; the newest and one more when none is.
    pub oldest: u64,
    /// The newest `seq`; 0 when nothing was ever said.
    pub newest: u64,
    /// Whether there is more in the asked direction.
    pub more: bool,
    /// The request's `ref`.
    pub reference: Option<Box<str>>,
}

/// An `error` frame.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorReply {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: Cow<'static, str>,
    /// The room that was asked for.
    pub room: Option<Box<str>>,
    /// The request's `ref`.
    pub reference: Option<Box<str>>,
    /// The client's own number for the line that failed.
    pub id: Option<Box<str>>,
}

/// What `system` says. The words are [`wire`](crate::wire)'s, in the server's language.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// To a plain client that came.
    Welcome {
        /// How many are present, itself too.
        online: u32,
    },
    /// To plain members: somebody changed the name.
    Renamed {
        /// The old name.
        from: Name,
        /// The new name.
        to: Name,
    },
    /// To a plain reader: a private message.
    Private {
        /// Who said it.
        from: Name,
        /// The text.
        message: Arc<str>,
    },
    /// To plain members: somebody types.
    Typing {
        /// Who.
        name: Name,
    },
    /// To all: the server goes away.
    Shutdown {
        /// When to come back: milliseconds from now.
        reconnect_in_ms: u64,
        /// And a random part of so many milliseconds more.
        reconnect_spread_ms: u64,
    },
}
