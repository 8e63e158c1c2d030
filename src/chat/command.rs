//! What a client may ask for, and what can be wrong with it. Spelled on the wire as `docs/PROTOCOL.md` says.

use std::borrow::Cow;

/// A text of the client's that it may attach to a request and gets back in the answer: `ref`, at most 64 bytes.
pub type Reference<'a> = Option<Cow<'a, str>>;

/// One request of a client. Names and rooms are as they were typed; [`Chat`](super::Chat) decides what they are worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Command<'a> {
    /// What is asked.
    pub ask: Ask<'a>,
    /// Returned in the answer or the error.
    pub reference: Reference<'a>,
}

/// The request itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask<'a> {
    /// `hello`: who a `chinwag.v1` client is, and where it wants to be.
    Hello(Hello<'a>),
    /// `chat`: a message to a room (by default the first the user is in).
    Chat {
        /// The room's name.
        room: Option<Cow<'a, str>>,
        /// The text, as it came.
        message: Cow<'a, str>,
        /// Makes a retry harmless and asks for an acknowledgement; at most 64 bytes.
        id: Option<Cow<'a, str>>,
    },
    /// `private`: a message to one user.
    Private {
        /// A user's id or name.
        to: Cow<'a, str>,
        /// The text, as it came.
        message: Cow<'a, str>,
        /// As in `Chat`.
        id: Option<Cow<'a, str>>,
    },
    /// `join`.
    Join {
        /// The room's name.
        room: Cow<'a, str>,
        /// Where to begin.
        from: From<'a>,
    },
    /// `leave`.
    Leave {
        /// The room's name.
        room: Cow<'a, str>,
    },
    /// `name`: a rename.
    Rename {
        /// The wished name.
        name: Cow<'a, str>,
    },
    /// `who`: who is in a room.
    Who {
        /// The room's name.
        room: Option<Cow<'a, str>>,
    },
    /// `history`.
    History {
        /// The room's name.
        room: Option<Cow<'a, str>>,
        /// Which part.
        span: Span,
        /// At most so many lines (1 to 200, default 50).
        limit: u32,
    },
    /// `typing`.
    Typing {
        /// The room's name.
        room: Option<Cow<'a, str>>,
    },
    /// `ping`.
    Ping {
        /// Returned in the `pong`.
        t: Option<Echo>,
    },
    /// A binary message, relayed as it is.
    Binary(&'a [u8]),
    /// Something that is wrong in itself; it is answered with an `error` and goes to nobody else.
    Wrong {
        /// What is wrong.
        fault: Fault,
        /// Its `room`, as far as it can be told.
        room: Option<Cow<'a, str>>,
        /// Its `id`, as far as it can be told.
        id: Option<Cow<'a, str>>,
    },
}

/// What a `chinwag.v1` client says first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hello<'a> {
    /// The wished name.
    pub name: Option<Cow<'a, str>>,
    /// The secret from an earlier `welcome`.
    pub session: Option<Cow<'a, str>>,
    /// The rooms to be in from now on, each with where to begin; `None`: those it is in, or `lobby`.
    pub rooms: Option<Vec<Entry<'a>>>,
}

/// A room of a [`Hello`].
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// Its name, or `@me`: the stream of the user's private messages.
    pub room: Cow<'a, str>,
    /// Where to begin.
    pub from: From<'a>,
}

/// Where a reader who joins a room begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum From<'a> {
    /// With what comes next.
    #[default]
    Live,
    /// With the newest lines, at most so many.
    Last(u32),
    /// After a position that the reader has.
    Position {
        /// The room's epoch when the position was noted.
        epoch: Cow<'a, str>,
        /// The last `seq` that the reader has (0: none yet).
        seq: u64,
        /// The timestamp of that line in milliseconds since 1970, if the reader knows it.
        time_ms: Option<u64>,
    },
}

/// A part of a room's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The newest lines.
    Newest,
    /// The lines just below a `seq`.
    Before(u64),
    /// The lines just above a `seq`.
    After(u64),
}

/// A value of the client's that it gets back as it was.
#[derive(Clone, Debug, PartialEq)]
pub enum Echo {
    /// A JSON number.
    Number(serde_json::Number),
    /// A JSON string of at most 64 bytes.
    Text(Box<str>),
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For programs: never changes.
    pub code: ErrorCode,
    /// For people: which field, and what it should be.
    pub message: Cow<'static, str>,
}

impl Fault {
    /// A fault with a fixed text.
    pub const fn new(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }
}

/// The `code` of an `error` frame. Codes never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The text is no JSON object.
    BadJson,
    /// The request has a field of a wrong type, or lacks one.
    BadRequest,
    /// A `type` that the server does not know, or none.
    UnknownType,
    /// A field is longer than its limit.
    TooLarge,
    /// Somebody else has that name.
    NameTaken,
    /// No name: empty, too long, or with characters that cannot be seen.
    NameInvalid,
    /// No room name.
    RoomInvalid,
    /// The user is not in that room.
    NotJoined,
    /// The user is in as many rooms as one may be.
    RoomLimit,
    /// Nobody by that name or id.
    NoSuchUser,
    /// The asked part of the history is not kept any more.
    HistoryGone,
    /// The server has no room for that now; try again.
    Overloaded,
    /// The disk is full. What was acknowledged is kept, and reading goes on.
    StorageFull,
    /// What the server keeps cannot be read; try again.
    Internal,
}

impl ErrorCode {
    /// As spelled on the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::BadRequest => "bad_request",
            Self::UnknownType => "unknown_type",
            Self::TooLarge => "too_large",
            Self::NameTaken => "name_taken",
            Self::NameInvalid => "name_invalid",
            Self::RoomInvalid => "room_invalid",
            Self::NotJoined => "not_joined",
            Self::RoomLimit => "room_limit",
            Self::NoSuchUser => "no_such_user",
            Self::HistoryGone => "history_gone",
            Self::Overloaded => "overloaded",
            Self::StorageFull => "storage_full",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later.
    pub const fn retry(self) -> bool {
        matches!(self, Self::Overloaded | Self::StorageFull | Self::Internal)
    }
}
