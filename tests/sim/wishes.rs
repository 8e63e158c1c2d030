//! What virtual clients ask for: mostly sensible things, often in collision with each other, sometimes nonsense.

use std::borrow::Cow;
use std::collections::HashMap;

use chinwag::chat::command::{Echo, From, Hello, Reference, Span};
use chinwag::chat::{Ask, Command, ConnId, ErrorCode, Fault};

use crate::model::Model;
use crate::plan::Plan;

/// A line with an `id`, to be tried again.
#[derive(Clone, Debug)]
struct Said {
    room: Option<String>,
    /// To whom, if it was private.
    to: Option<String>,
    id: String,
}

/// Makes requests up.
#[derive(Debug)]
pub struct Wishes {
    dice: fastrand::Rng,
    rooms: Vec<String>,
    /// The rooms that whoever asks now is in.
    own_rooms: Vec<String>,
    long_lines: bool,
    count: u64,
    /// The last lines with an `id` of each connection.
    said: HashMap<ConnId, Vec<Said>>,
}

/// Names that collide by RFC 8266 in several ways, and some that are none.
const NAMES: &[&str] = &[
    "alice",
    "Alice",
    "ALICE ",
    "bob",
    "b\u{43e}b",
    "Carol  Ann",
    "carol ann",
    "\u{2163}",
    "iv",
    "张伟",
    "❤️",
    "❤",
    "dave",
    "erin",
    "guest-aaaa",
    "guest-aaab",
    "",
    " ",
    "a\nb",
    "x\u{202e}y",
    "a name that is far longer than anybody needs",
];

const BLOBS: &[&[u8]] = &[b"", b"\0", b"\xff\xfe a few bytes", &[7; 300]];

impl Wishes {
    pub fn new(plan: &Plan) -> Self {
        let rooms = (0..plan.rooms).map(|room| if room == 0 { "lobby".into() } else { format!("Room-{room}.x") });
        Self {
            dice: fastrand::Rng::with_seed(plan.seed ^ 0x31b),
            rooms: rooms.collect(),
            own_rooms: Vec::new(),
            long_lines: plan.long_lines,
            count: 0,
            said: HashMap::new(),
        }
    }

    /// A room that a path may name. The first is the most popular.
    pub fn room(&mut self) -> String {
        let place = self.dice.usize(0..self.rooms.len()).min(self.dice.usize(0..self.rooms.len()));
        self.rooms[place].clone()
    }

    pub fn name(&mut self) -> String {
        match self.dice.u8(0..5) {
            0 => format!("user {}", self.dice.u32(0..500)),
            _ => NAMES[self.dice.usize(0..NAMES.len())].into(),
        }
    }

    pub fn forget(&mut self, conn: ConnId) {
        self.said.remove(&conn);
    }

    /// What `conn` asks next.
    pub fn command(&mut self, conn: ConnId, model: &Model) -> Command<'static> {
        // Mostly a room that it is in, or it would be answered `not_joined` most of the time.
        let rooms = model.users.get(&conn).into_iter().flat_map(|user| &user.rooms);
        self.own_rooms = rooms.map(ToString::to_string).collect();
        let ask = match self.dice.u8(0..100) {
            0..=39 => self.chat(conn),
            40..=49 => self.again(conn),
            50..=55 => self.private(conn, model),
            56..=66 => self.join(model),
            67..=71 => Ask::Leave { room: self.own_room().into() },
            72..=76 => Ask::Rename { name: self.name().into() },
            77..=80 => Ask::Who { room: self.perhaps_room() },
            81..=87 => self.history(model),
            88..=91 => Ask::Typing { room: self.perhaps_room() },
            92..=94 => Ask::Ping { t: self.echo() },
            95..=97 => Ask::Binary(BLOBS[self.dice.usize(0..BLOBS.len())]),
            98 => Ask::Hello(Hello::default()),
            _ => self.wrong(),
        };
        Command { ask, reference: self.reference() }
    }

    fn reference(&mut self) -> Reference<'static> {
        self.count += 1;
        self.dice.bool().then(|| Cow::Owned(format!("ref {}", self.count)))
    }

    /// A room, or now and then something that is none.
    fn some_room(&mut self) -> String {
        match self.dice.u8(0..30) {
            0 => "@me".into(),
            1 => "no room".into(),
            2 => "nobody-goes-there".into(),
            _ => self.room(),
        }
    }

    /// A room that it is in, or now and then another.
    fn own_room(&mut self) -> String {
        if self.own_rooms.is_empty() || self.dice.u8(0..8) == 0 {
            return self.some_room();
        }
        self.own_rooms[self.dice.usize(0..self.own_rooms.len())].clone()
    }

    fn perhaps_room(&mut self) -> Option<Cow<'static, str>> {
        let named = self.own_rooms.is_empty() || self.dice.bool();
        named.then(|| self.own_room().into())
    }

    fn join(&mut self, model: &Model) -> Ask<'static> {
        let room = self.some_room();
        let from = self.start(&room, model);
        Ask::Join { room: room.into(), from }
    }

    fn message(&mut self) -> String {
        self.count += 1;
        match self.dice.u8(0..40) {
            0 => String::new(),
            1 => "\u{0}\u{7f} \u{1f973} \"quoted\" \\".into(),
            2..=9 if self.long_lines => "x".repeat(self.dice.usize(10_000..65_536)),
            _ => format!("line {}", self.count),
        }
    }

    fn chat(&mut self, conn: ConnId) -> Ask<'static> {
        let room = self.perhaps_room();
        let id = self.dice.bool().then(|| self.new_id(conn, room.as_deref(), None));
        Ask::Chat { room, message: self.message().into(), id: id.map(Cow::Owned) }
    }

    /// An `id` that is the client's own number: other clients use the same.
    fn new_id(&mut self, conn: ConnId, room: Option<&str>, to: Option<&str>) -> String {
        let said = self.said.entry(conn).or_default();
        let id = match said.last() {
            Some(last) => format!("{}", last.id.parse::<u64>().expect("ids are numbers") + 1),
            None => "1".into(),
        };
        said.push(Said { room: room.map(Into::into), to: to.map(Into::into), id: id.clone() });
        id
    }

    /// The same line again: the last, some recent one, or one of long ago.
    fn again(&mut self, conn: ConnId) -> Ask<'static> {
        let Some(said) = self.said.get(&conn) else { return self.chat(conn) };
        let back = [0, 0, 1, 3, 10, 1_000][self.dice.usize(0..6)];
        let said = said[said.len().saturating_sub(1 + back)].clone();
        let message = self.message();
        let (message, id) = (message.into(), Some(said.id.into()));
        match said.to {
            None => Ask::Chat { room: said.room.map(Cow::Owned), message, id },
            Some(to) => Ask::Private { to: to.into(), message, id },
        }
    }

    fn private(&mut self, conn: ConnId, model: &Model) -> Ask<'static> {
        let users = model.users_seen();
        let to = match self.dice.u8(0..10) {
            0..=4 if !users.is_empty() => users[self.dice.usize(0..users.len())].0.to_string(),
            5..=7 if !users.is_empty() => match &users[self.dice.usize(0..users.len())].1 {
                Some(name) => name.to_uppercase(),
                None => self.name(),
            },
            8 => "uaaaaaaaaaaaaaaaa".into(),
            _ => self.name(),
        };
        let id = self.dice.bool().then(|| self.new_id(conn, None, Some(&to)));
        Ask::Private { to: to.into(), message: self.message().into(), id: id.map(Cow::Owned) }
    }

    fn start(&mut self, room: &str, model: &Model) -> From<'static> {
        match self.dice.u8(0..10) {
            0..=2 => From::Live,
            3..=4 => From::Last([0, 1, 3, 50, u32::MAX][self.dice.usize(0..5)]),
            _ => {
                let Some(known) = model.a_line(room, &mut self.dice) else {
                    return From::Position { epoch: "somethingelse".into(), seq: 0, time_ms: None };
                };
                let (epoch, seq, time_ms) = known;
                let (seq, time_ms) = match self.dice.u8(0..12) {
                    0 => (u64::MAX, None),
                    1 => (seq + 5, Some(time_ms)),
                    2 => (seq, Some(time_ms + 1)),
                    3 => (0, None),
                    4 => (0, Some(time_ms)),
                    5..=7 => (seq, None),
                    _ => (seq, Some(time_ms)),
                };
                From::Position { epoch: epoch.to_string().into(), seq, time_ms }
            }
        }
    }

    fn history(&mut self, model: &Model) -> Ask<'static> {
        let room = self.perhaps_room();
        let seq = match self.dice.u8(0..8) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            _ => {
                let place = room.clone().map_or_else(|| self.room(), Cow::into_owned);
                model.a_line(&place, &mut self.dice).map_or(3, |(_, seq, _)| seq + self.dice.u64(0..2))
            }
        };
        let span = match self.dice.u8(0..3) {
            0 => Span::Newest,
            1 => Span::Before(seq),
            _ => Span::After(seq),
        };
        Ask::History { room, span, limit: [1, 2, 10, 50, 200][self.dice.usize(0..5)] }
    }

    fn echo(&mut self) -> Option<Echo> {
        match self.dice.u8(0..3) {
            0 => None,
            1 => Some(Echo::Number(self.count.into())),
            _ => Some(Echo::Text(format!("t{}", self.count).into())),
        }
    }

    fn wrong(&mut self) -> Ask<'static> {
        let fault = match self.dice.u8(0..3) {
            0 => Fault::new(ErrorCode::BadRequest, "message must be a string"),
            1 => Fault::new(ErrorCode::UnknownType, "no such type"),
            _ => Fault::new(ErrorCode::TooLarge, "id is longer than 64 bytes"),
        };
        self.count += 1;
        let id = self.dice.bool().then(|| format!("{}", self.count).into());
        Ask::Wrong { fault, room: self.perhaps_room(), id }
    }
}
