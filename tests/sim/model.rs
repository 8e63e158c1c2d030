//! What `docs/PROTOCOL.md` promises, as plain data: who is there, what was said, who is owed which answer.
//!
//! The model sees what the core sees, event by event, and what the core said to each, in the core's order. It knows no
//! core: a sentence of the protocol is behind each check. `heard` has what follows from a request, `stored` what follows
//! from the store, `told` judges what the core said; what one reader sees in the end is [`views`](crate::views)' part.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use chinwag::chat::command::{From, Span};
use chinwag::chat::names::RoomName;
use chinwag::chat::{
    CloseReason, ConnId, Draft, ErrorCode, Limits, Line, Message, Millis, Name, NameKey, RoomKey, Ticket, UserId,
};

use crate::coverage::Coverage;
use crate::hold;
use crate::turn::{Input, Step, Turn, brief};
pub use crate::verdict::Verdict;

/// A text that a request carried and its answer must carry.
pub type Reference = Option<Box<str>>;

/// Somebody who opened a connection and did not depart.
#[derive(Debug)]
pub struct User {
    pub id: UserId,
    /// `None` for a guest whose name nobody has seen yet.
    pub name: Option<Name>,
    /// In the order of joining.
    pub rooms: Vec<RoomName>,
    /// Had its welcome, and so is there.
    pub welcomed: bool,
    /// The connection ended; it waits for the store's answers.
    pub gone: bool,
    pub sent_binary: bool,
    /// What the store has not answered. A leave or rename waits for it. (The protocol asks only that it waits for the
    /// lines; a core that waits for reads too shows a user a moment longer, and nobody can tell.)
    pub outstanding: u32,
    pub waiting: Option<Waiting>,
    /// When `typing` was told last, by room.
    pub typed: HashMap<RoomName, Millis>,
    /// Private messages with an `id`.
    pub private_count: u64,
}

/// An answer that may take more than one step.
#[derive(Clone, Debug)]
pub enum Waiting {
    Welcome {
        room: RoomName,
        fault: Option<ErrorCode>,
        perhaps: bool,
    },
    /// `order` counts joins: who waits for a room goes in in this order.
    Join {
        room: RoomName,
        from: From<'static>,
        order: u64,
        reference: Reference,
    },
    /// A private message to an id that nobody here has: whether it has a stream is the store's to say.
    Post {
        stream: RoomName,
        id: Option<String>,
        reference: Reference,
    },
    Leave {
        room: RoomName,
        reference: Reference,
    },
    Rename {
        to: Name,
        reference: Reference,
    },
    /// The ids of the room's lines are read first: whether this is a retry is not known.
    Said {
        room: RoomName,
        typed: Option<String>,
        message: String,
        id: String,
        order: u64,
        reference: Reference,
    },
    History {
        room: RoomName,
        span: Span,
        limit: u32,
        told_then: u64,
        reference: Reference,
    },
}

/// A room, loaded or not.
#[derive(Debug, Default)]
pub struct Room {
    pub key: Option<RoomKey>,
    pub epoch: Option<Arc<str>>,
    /// All lines of this life that the store has answered: a `seq` is the place and one.
    pub lines: Vec<Arc<Line>>,
    /// Lines that were read before the store answered that it has them.
    pub ahead: BTreeMap<u64, Arc<Line>>,
    pub members: BTreeSet<ConnId>,
    /// Joins and leaves that were not told singly.
    pub tally: (u32, u32),
    pub tally_since: Millis,
    /// When a tally was told last.
    pub tally_told: Option<Millis>,
    /// Nothing below is kept, as far as the store has said.
    pub oldest: u64,
    /// An earlier epoch, under which places up to a `seq` are good.
    pub former: Option<(Arc<str>, u64)>,
    /// Some of its lines were lost from the end.
    pub is_cut: bool,
}

/// What the store was asked.
#[derive(Debug)]
pub enum Asked {
    Load(RoomName),
    /// The ids of a room's lines, up to a `seq`.
    Ids {
        room: RoomName,
        last: u64,
    },
    Line(Flight),
    Probe {
        conn: ConnId,
        room: RoomName,
    },
    Page {
        conn: ConnId,
        room: RoomName,
    },
    History {
        conn: ConnId,
        room: RoomName,
    },
}

/// A line that the store has not answered.
#[derive(Debug)]
pub struct Flight {
    pub conn: ConnId,
    pub room: RoomName,
    /// The room as the request gave it.
    pub typed: Option<String>,
    pub draft: Draft,
    /// The request's reference, then those of retries meanwhile.
    pub references: Vec<Reference>,
}

/// What became of an `id`.
#[derive(Clone, Debug)]
pub enum Said {
    InFlight(Ticket),
    Stored { seq: u64, epoch: Arc<str> },
    Private { count: u64 },
}

/// An answer that must come in this very step.
#[derive(Clone, Debug)]
pub enum Due {
    Exactly(Vec<ConnId>, Message),
    Error {
        conn: ConnId,
        code: ErrorCode,
        room: Option<String>,
        or_room: Option<RoomName>,
        reference: Reference,
        id: Option<String>,
    },
    Presence {
        conn: ConnId,
        room: RoomName,
        reference: Reference,
    },
    /// The sender's copy of a private message.
    Copy {
        conn: ConnId,
        target: ConnId,
        message: Arc<str>,
        id: Option<Arc<str>>,
    },
    /// A private message, to its target.
    Private {
        from: ConnId,
        target: ConnId,
        message: Arc<str>,
    },
    Typing {
        of: ConnId,
        readers: Vec<ConnId>,
    },
}

/// Somebody came to a room or went.
#[derive(Debug)]
pub struct Move {
    pub room: RoomName,
    pub conn: ConnId,
    pub came: bool,
    /// Members before and after, whichever is more, and whichever is less.
    pub most: usize,
    pub least: usize,
    /// Whether there was anybody else to be told.
    pub others: bool,
    pub told: bool,
}

/// What is known of the step that is being judged.
#[derive(Debug, Default)]
pub struct Current {
    pub due: Vec<Due>,
    /// Lines that may be told now, in this order.
    pub lines: VecDeque<Arc<Line>>,
    pub moves: Vec<Move>,
    pub closes: Vec<(ConnId, CloseReason)>,
    /// What the store read, and the oldest line that it kept then.
    pub fetched: Option<(Asked, Vec<Arc<Line>>, u64)>,
    /// A room whose ids were told, or why they could not be.
    pub recalled: Option<(RoomName, Option<ErrorCode>)>,
    /// A rename: the old name, the new one, and who must hear of it.
    pub renamed: Option<(Name, Name, Vec<ConnId>)>,
    /// A rename as the others heard of it: the old name, the new one, and who did.
    pub rename_told: Option<(Name, Name, Vec<ConnId>)>,
    /// Whose retry may be taken for one or for a new private message: it is so old.
    pub either: Option<ConnId>,
    /// Whose positions are read now that the room is loaded.
    pub probed: Vec<ConnId>,
    /// Whose requests the store answered, or who went.
    pub settling: Option<ConnId>,
}

#[derive(Debug)]
pub struct Model {
    pub limits: Limits,
    pub users: BTreeMap<ConnId, User>,
    pub ids: HashMap<UserId, ConnId>,
    pub names: HashMap<NameKey, ConnId>,
    pub rooms: BTreeMap<RoomName, Room>,
    pub keys: HashMap<RoomKey, RoomName>,
    pub asked: HashMap<Ticket, Asked>,
    pub said: HashMap<(UserId, Option<RoomName>, String), Said>,
    /// Lines with an `id`, private ones too: past `dedup_max` some may be forgotten.
    pub ids_stored: usize,
    pub joins: u64,
    pub current: Current,
    pub coverage: Coverage,
    /// A line of each life that ended: room, epoch, `seq`, time.
    pub past: Vec<(RoomName, Arc<str>, u64, u64)>,
}

impl Model {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            users: BTreeMap::new(),
            ids: HashMap::new(),
            names: HashMap::new(),
            rooms: BTreeMap::new(),
            keys: HashMap::new(),
            asked: HashMap::new(),
            said: HashMap::new(),
            ids_stored: 0,
            joins: 0,
            current: Current::default(),
            coverage: Coverage::default(),
            past: Vec::new(),
        }
    }

    /// Judges a turn; notes in its deliveries where readers begin.
    pub fn judge(&mut self, turn: &mut Turn) -> Verdict {
        let mut told = turn.told.iter_mut().peekable();
        for (place, step) in turn.steps.iter().enumerate() {
            self.current = Current::default();
            self.input(step).map_err(|what| format!("{what}\n  on {}", brief(&step.input)))?;
            while let Some(told) = told.next_if(|told| told.step == place) {
                self.told(step, told)
                    .map_err(|what| format!("{what}\n  told {}\n  on {}", brief(told), brief(&step.input)))?;
            }
            self.settle(step).map_err(|what| format!("{what}\n  after {}", brief(&step.input)))?;
        }
        Ok(())
    }

    fn input(&mut self, step: &Step) -> Verdict {
        match &step.input {
            Input::Opened { conn, room, name, secret } => self.opened(*conn, room, name.as_deref(), *secret),
            Input::Heard { conn, command } => self.heard(step, *conn, command)?,
            Input::Closed { conn, .. } => match self.users.get_mut(conn) {
                Some(user) => {
                    user.gone = true;
                    user.waiting = None;
                    self.current.settling = Some(*conn);
                }
                None => self.coverage.note("an event for somebody who is gone"),
            },
            Input::Completed(completion) => {
                self.completed(completion)?;
                if let Some((room, refusal)) = self.current.recalled.take() {
                    self.recalled(step, &room, refusal)?;
                }
            }
            Input::Drained { .. } | Input::Tick => {}
        }
        self.requested(step)
    }

    /// Adds somebody to a room.
    pub fn enter(&mut self, name: &RoomName, conn: ConnId) {
        let others = self.others(name, conn);
        let room = self.rooms.get_mut(name).expect("a room that somebody enters was loaded");
        room.members.insert(conn);
        let most = room.members.len();
        self.user(conn).rooms.push(name.clone());
        let others = !others.is_empty();
        let (room, least) = (name.clone(), most - 1);
        self.current.moves.push(Move { room, conn, came: true, most, least, others, told: false });
    }

    /// Takes somebody out of a room.
    pub fn exit(&mut self, name: &RoomName, conn: ConnId) {
        let others = !self.others(name, conn).is_empty();
        let room = self.rooms.get_mut(name).expect("a room that somebody leaves was loaded");
        room.members.remove(&conn);
        let least = room.members.len();
        self.user(conn).rooms.retain(|room| room != name);
        let (room, most) = (name.clone(), least + 1);
        self.current.moves.push(Move { room, conn, came: false, most, least, others, told: false });
    }

    /// The members with a connection, but `except`.
    pub fn others(&self, room: &RoomName, except: ConnId) -> Vec<ConnId> {
        let members = self.rooms.get(room).into_iter().flat_map(|room| &room.members);
        members.copied().filter(|conn| *conn != except && !self.users[conn].gone).collect()
    }

    pub fn user(&mut self, conn: ConnId) -> &mut User {
        self.users.get_mut(&conn).expect("the model knows who it asks for")
    }

    pub fn is_member(&self, room: &RoomName, conn: ConnId) -> bool {
        self.rooms.get(room).is_some_and(|room| room.members.contains(&conn))
    }

    /// How many lines of a room were answered: its newest `seq`.
    pub fn newest(&self, room: &RoomName) -> u64 {
        self.rooms.get(room).map_or(0, |room| room.lines.len() as u64)
    }

    /// A line, if it was answered or read.
    pub fn line(&self, room: &RoomName, seq: u64) -> Option<&Arc<Line>> {
        let room = self.rooms.get(room)?;
        let told = (seq as usize).checked_sub(1).and_then(|place| room.lines.get(place));
        told.or_else(|| room.ahead.get(&seq))
    }

    /// Takes note of somebody's name: it is the one that is known, or a guest's that nobody else has.
    pub fn see_name(&mut self, conn: ConnId, name: &Name) -> Verdict {
        let user = self.users.get_mut(&conn).ok_or_else(|| format!("{name} is not there"))?;
        if let Some(known) = &user.name {
            hold!(known == name, "{conn:?} is {known} and was called {name}");
            return Ok(());
        }
        let tail = name.strip_prefix("guest-").ok_or_else(|| format!("{conn:?} was called {name}, unasked"))?;
        let good = tail.len() >= 4 && tail.bytes().all(|byte| byte.is_ascii_alphanumeric());
        hold!(good, "{name} is no guest's name");
        self.coverage.note(if tail.len() > 4 { "a guest's longer name" } else { "a guest's name" });
        user.name = Some(name.clone());
        let other = self.names.insert(name.key(), conn);
        hold!(other.is_none(), "{name} is the name of both {conn:?} and {other:?}");
        Ok(())
    }

    /// When the next tally is due at the latest.
    pub fn tally_due(&self) -> Option<Millis> {
        let counting = self.rooms.values().filter(|room| room.tally != (0, 0));
        counting.map(|room| room.tally_since + 1_000).min()
    }

    /// A line to point at, of this life of the room or an earlier one: epoch, `seq`, time.
    pub fn a_line(&self, room: &str, dice: &mut fastrand::Rng) -> Option<(Arc<str>, u64, u64)> {
        let name = RoomName::parse(room)?;
        let past: Vec<_> = self.past.iter().filter(|(room, ..)| *room == name).collect();
        if !past.is_empty() && dice.u8(0..4) == 0 {
            let (_, epoch, seq, time_ms) = past[dice.usize(0..past.len())];
            return Some((epoch.clone(), *seq, *time_ms));
        }
        let room = self.rooms.get(&name)?;
        let epoch = room.epoch.clone()?;
        // Mostly a recent one.
        let back = dice.usize(0..room.lines.len().max(1)).min(dice.usize(0..20));
        let line = room.lines.len().checked_sub(1 + back).map(|place| &room.lines[place])?;
        Some((epoch, line.seq, line.draft.time_ms))
    }

    /// Everybody, with the name if it was seen.
    pub fn users_seen(&self) -> Vec<(UserId, Option<Name>)> {
        self.users.values().map(|user| (user.id, user.name.clone())).collect()
    }

    /// What must not be left when nothing is under way.
    pub fn judge_rest(&self) -> Verdict {
        hold!(self.asked.is_empty(), "the store was not waited for: {:?}", self.asked);
        for (conn, user) in &self.users {
            hold!(user.waiting.is_none(), "{conn:?} still waits: {:?}", user.waiting);
            hold!(user.outstanding == 0 && !user.gone, "{conn:?} did not depart");
        }
        Ok(())
    }
}
