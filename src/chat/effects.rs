//! What goes into the core and what comes out of it.
//!
//! The core never acts: it says what should be done, in order, and the engine does it once a turn.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::command::{Command, ErrorCode};
use super::ids::{ConnId, Millis, RoomKey, Ticket, UserId};
use super::message::{Draft, Line, Message};
use super::names::RoomName;
use super::slack;
use super::users::Dialect;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A plain connection was upgraded.
    Opened {
        /// Which.
        conn: ConnId,
        /// The room that its path names.
        room: RoomName,
        /// The name that it asked for (`?name=`), as it was typed.
        name: Option<&'a str>,
        /// Random bits: they become the user's id and a guest's name.
        secret: [u8; 16],
    },
    /// A `chinwag.v1` connection was upgraded; its `hello` must come.
    Connected {
        /// Which.
        conn: ConnId,
        /// Random bits: they become the user's id and a guest's name, if it is somebody new.
        secret: [u8; 16],
    },
    /// A client asked for something.
    Heard {
        /// On which connection.
        conn: ConnId,
        /// What.
        command: Command<'a>,
    },
    /// A connection ended, however it ended. Nothing is delivered to it any more.
    Closed {
        /// Which.
        conn: ConnId,
        /// The peer said goodbye with 1000, or was told one of our final codes (45xx): it does not mean to come back.
        for_good: bool,
    },
    /// An outbox that was asked for by [`Effects::watches`] has room again.
    Drained {
        /// Whose.
        conn: ConnId,
    },
    /// The store answered.
    Completed(Completion),
    /// A deadline of the core's may have passed.
    Tick,
}

/// What the core wants of the store. All but `Unload` are answered by a [`Completion`] with the same ticket.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Make a room ready: from now on it is called `room`.
    Load {
        /// The request.
        ticket: Ticket,
        /// The core's number for it.
        room: RoomKey,
        /// Its name.
        name: RoomName,
        /// Only if it is kept; else the answer is [`ErrorCode::NoSuchUser`]. For the stream of a user who is away.
        must_exist: bool,
    },
    /// The room's number is free again. Comes after all its requests were answered.
    Unload {
        /// Which.
        room: RoomKey,
        /// The time, milliseconds since 1970: a user's stream is kept for 30 days from here.
        wall_ms: Millis,
    },
    /// Store lines, all or none.
    Append {
        /// The request.
        ticket: Ticket,
        /// Each line with the room it goes to.
        rows: SmallVec<[Row; 1]>,
    },
    /// Read lines.
    Fetch {
        /// The request.
        ticket: Ticket,
        /// Of which room.
        room: RoomKey,
        /// Which.
        part: Part,
    },
    /// Read who gave lines which `id`, so that their retries are found: a store that outlives the process knows of lines
    /// that the core has not seen.
    Recall {
        /// The request.
        ticket: Ticket,
        /// Of which room.
        room: RoomKey,
        /// Of the lines with a `seq` in this range.
        seqs: (u64, u64),
    },
}

/// A line to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// In which room.
    pub room: RoomKey,
    /// What.
    pub draft: Draft,
}

/// Which lines to read. Always at least one, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Only lines with a `seq` in this range.
    pub seqs: (u64, u64),
    /// From the range's end downwards, rather than from its start upwards. The answer is in ascending order either way.
    pub newest_first: bool,
    /// At most so many lines.
    pub lines_max: u32,
    /// Stop before the text of the messages, as JSON spells it, passes so many bytes.
    pub bytes_max: usize,
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Completion {
    /// A room is ready.
    Loaded {
        /// The request.
        ticket: Ticket,
        /// Which.
        room: RoomKey,
        /// The room's epoch.
        epoch: Arc<str>,
        /// Its newest `seq`; 0 when there is none.
        newest: u64,
        /// Another epoch in which places up to a `seq` are good, and mean the same lines; those above it are not. There is one
        /// after lines may have been lost from the end, which somebody has seen perhaps.
        former: Option<(Arc<str>, u64)>,
    },
    /// The lines are stored, in the order of the request's rows. A room's lines are answered in the order of their
    /// `seq`.
    Appended {
        /// The request.
        ticket: Ticket,
        /// The lines, with their places.
        lines: SmallVec<[Arc<Line>; 1]>,
    },
    /// The lines that were asked for.
    Fetched {
        /// The request.
        ticket: Ticket,
        /// In ascending order, without holes. May reach further than what was answered to appends so far.
        lines: Vec<Arc<Line>>,
        /// The oldest `seq` that is kept; the newest and one more when none is.
        oldest: u64,
    },
    /// The lines with an `id` among those that were asked for.
    Recalled {
        /// The request.
        ticket: Ticket,
        /// Each line's user, `id` and `seq`, in ascending order of `seq`.
        ids: Vec<(UserId, Box<str>, u64)>,
        /// The answer covers the lines up to this `seq`. Below the end of the range there may be more to ask for.
        through: u64,
    },
    /// It cannot be done.
    Refused {
        /// The request.
        ticket: Ticket,
        /// Why.
        code: ErrorCode,
    },
}

impl Completion {
    /// The request that is answered.
    pub const fn ticket(&self) -> Ticket {
        match *self {
            Self::Loaded { ticket, .. }
            | Self::Appended { ticket, .. }
            | Self::Fetched { ticket, .. }
            | Self::Recalled { ticket, .. }
            | Self::Refused { ticket, .. } => ticket,
        }
    }
}

/// A message and who gets it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What.
    pub message: Message,
    /// To whom: a range of [`Effects::readers`]. Two deliveries to the same readers in the same turn share the range.
    pub to: Range<u32>,
    /// How it may be moved.
    pub class: Class,
}

/// How a message may be moved among the others of its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// To the readers of a room. Deliveries that share a range may be moved together to the place of their first.
    Room,
    /// To the readers of a room; dropped for a reader who lags.
    Ephemeral,
    /// To one reader, in its place.
    Reply,
    /// To one reader, after everything else of the turn.
    Ack,
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer said goodbye; its own code is returned, if it gave one.
    Goodbye(Option<u16>),
    /// 1001: the server goes away.
    Shutdown,
    /// 1002: not WebSocket as in RFC 6455.
    Protocol,
    /// 1007: text that is not UTF-8.
    NotUtf8,
    /// 1009: a message over the limit.
    TooLarge,
    /// 1011: the server cannot do what it promises any more.
    Failed,
    /// 1013: the server has no room now.
    Overloaded,
    /// 4002: does not read what it is sent.
    SlowReader,
    /// 4001: the server goes away, to a client that knows how to resume.
    Drain,
    /// 4003: nothing was heard, or no `hello`.
    Silent,
    /// 4500: another connection of the same user took over.
    Replaced,
}

impl CloseReason {
    /// The code in the Close frame (RFC 6455 section 7.4; 4000 and above are ours), if it has one.
    pub const fn code(self) -> Option<u16> {
        Some(match self {
            Self::Goodbye(code) => return code,
            Self::Shutdown => 1001,
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::Failed => 1011,
            Self::Overloaded => 1013,
            Self::SlowReader => 4002,
            Self::Drain => 4001,
            Self::Silent => 4003,
            Self::Replaced => 4500,
        })
    }

    /// The words in the Close frame, at most 123 bytes.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Goodbye(_) => "",
            Self::Shutdown => "server going away",
            Self::Protocol => "protocol error",
            Self::NotUtf8 => "text is not UTF-8",
            Self::TooLarge => "message too large",
            Self::Failed => "the server failed, come back and resume",
            Self::Overloaded => "overloaded, try again later",
            Self::SlowReader => "slow reader",
            Self::Drain => "server going away, come back and resume",
            Self::Silent => "nothing heard",
            Self::Replaced => "replaced by another connection",
        }
    }
}

/// What should be done: filled by [`Chat::handle`](super::Chat::handle), emptied by the engine.
#[derive(Debug, Default)]
pub struct Effects {
    /// For the store, in this order.
    pub requests: Vec<Request>,
    /// For clients, in this order but for what their [`Class`] allows.
    pub deliveries: Vec<Delivery>,
    /// The readers that the deliveries' ranges mean.
    pub readers: Vec<ConnId>,
    /// Connections to be closed once the turn's deliveries are handed over.
    pub closes: Vec<(ConnId, CloseReason)>,
    /// Connections whose outbox is awaited: [`Event::Drained`] is due when it is nearly empty, at once if it is so now.
    pub watches: Vec<ConnId>,
    /// What the last events cost whom they came from, in rate tokens; the engine takes it after each.
    pub cost_tokens: u32,
    turn: u64,
}

impl Effects {
    /// Hands over a message to one reader.
    pub fn reply(&mut self, conn: ConnId, message: Message) {
        self.deliver_one(conn, message, Class::Reply);
    }

    /// Hands over an acknowledgement to one reader.
    pub fn acknowledge(&mut self, conn: ConnId, message: Message) {
        self.deliver_one(conn, message, Class::Ack);
    }

    fn deliver_one(&mut self, conn: ConnId, message: Message, class: Class) {
        let start = self.readers.len() as u32;
        self.readers.push(conn);
        self.deliveries.push(Delivery { message, to: start..start + 1, class });
    }

    /// Notes readers, for deliveries to share.
    pub fn note_readers(&mut self, readers: impl IntoIterator<Item = ConnId>) -> Range<u32> {
        let start = self.readers.len() as u32;
        self.readers.extend(readers);
        start..self.readers.len() as u32
    }

    /// Hands over a message to readers that were noted. Nothing is handed over to nobody.
    pub fn deliver(&mut self, to: Range<u32>, message: Message, class: Class) {
        if !to.is_empty() {
            self.deliveries.push(Delivery { message, to, class });
        }
    }

    /// Tells readers of something that they have not asked for, each in the frame that its dialect has for it.
    pub(super) fn tell(
        &mut self,
        readers: &(impl Iterator<Item = (Dialect, ConnId)> + Clone),
        message: &Message,
        class: Class,
    ) {
        for dialect in [Dialect::Plain, Dialect::V1] {
            let its = readers.clone().filter(|reader| reader.0 == dialect);
            let to = self.note_readers(its.map(|(_, conn)| conn));
            if !to.is_empty() {
                self.deliver(to, message.clone().unasked(dialect), class);
            }
        }
    }

    /// Counts the turns: a range of [`readers`](Self::readers) is good in the turn in which it was noted.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Forgets the turn's deliveries and closes: they were done. Ranges of the turn are void from here.
    pub fn clear(&mut self) {
        self.turn += 1;
        self.deliveries.clear();
        self.readers.clear();
        self.closes.clear();
        self.watches.clear();
    }

    /// Gives back what a rush of turns left: not to be done in each.
    pub fn tidy(&mut self) {
        slack::trim(&mut self.requests);
        slack::trim(&mut self.deliveries);
        slack::trim(&mut self.readers);
    }

    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.deliveries.is_empty() && self.closes.is_empty() && self.watches.is_empty()
    }

    /// Takes what the last events cost.
    pub fn take_cost(&mut self) -> u32 {
        std::mem::take(&mut self.cost_tokens)
    }
}

/// Random bits to a user's id, and all of them to choose a guest's name by.
pub(super) fn split_secret(secret: [u8; 16]) -> (UserId, u128) {
    let mut id = [0; 10];
    id.copy_from_slice(&secret[..10]);
    // The name's first letters come from bits that the id does not have.
    (UserId(id), u128::from_le_bytes(secret).rotate_right(80))
}
