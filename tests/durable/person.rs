//! Somebody who talks without a pause, and whose client follows the client rules over every kill of the server: resumes first,
//! sends again what the replay did not show, reads by number. It holds that no line is missing and none comes twice.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderValue, header};
use tungstenite::{Message, WebSocket};

use crate::common::{PATIENCE, eventually};

/// Lines that one has under way at most.
const WINDOW: usize = 8;

/// Lines in a page of history at most.
const PAGE: u64 = 200;

/// What all have in common.
pub(crate) struct Stage {
    life: Mutex<Life>,
    begun: Condvar,
    /// An acknowledgement came.
    pub(crate) acks: Sender<()>,
    /// Users' ids, by person.
    users: Mutex<Vec<Option<String>>>,
    /// Those who have all their lines acknowledged, in the last life.
    finished: AtomicUsize,
}

/// A life of the server.
#[derive(Clone, Copy)]
struct Life {
    number: u32,
    address: SocketAddr,
    /// Nothing new is said in it, and it is not ended before everybody has all.
    last: bool,
}

impl Stage {
    pub(crate) fn new(people: usize, acks: Sender<()>) -> Self {
        let life = Life { number: 0, address: SocketAddr::from(([127, 0, 0, 1], 0)), last: false };
        Self {
            life: Mutex::new(life),
            begun: Condvar::new(),
            acks,
            users: Mutex::new(vec![None; people]),
            finished: AtomicUsize::new(0),
        }
    }

    /// A server runs there. Nobody connects before: to a port that nobody listens at, one may connect oneself.
    pub(crate) fn begin_life(&self, address: SocketAddr, last: bool) {
        let mut life = self.life.lock().expect("nobody panics with it");
        *life = Life { number: life.number + 1, address, last };
        self.begun.notify_all();
    }

    fn await_life_after(&self, number: u32) -> Life {
        let life = self.life.lock().expect("nobody panics with it");
        let (life, timeout) =
            self.begun.wait_timeout_while(life, PATIENCE * 3, |life| life.number <= number).expect("as above");
        assert!(!timeout.timed_out(), "the server does not come back");
        *life
    }
}

/// A line of one's own that is not acknowledged.
struct Own {
    id: String,
    frame: String,
    /// On this connection.
    sent: bool,
}

/// Where one is in a room.
#[derive(Default)]
struct Place {
    epoch: String,
    seq: u64,
    time: Option<String>,
    /// The replay goes up to this.
    reaches: u64,
    joined: bool,
}

/// The person.
pub(crate) struct Person {
    number: usize,
    session: Option<String>,
    places: BTreeMap<String, Place>,
    own: VecDeque<Own>,
    said: u64,
    dice: fastrand::Rng,
    /// What was shown, in order, by room: `seq`, text, `id`.
    pub(crate) view: BTreeMap<String, Vec<(u64, String, String)>>,
    /// What was acknowledged: `id`, room, `seq`.
    pub(crate) acknowledged: Vec<(String, String, u64)>,
    /// Who got the private ones, by `id`.
    pub(crate) private_to: BTreeMap<String, usize>,
    /// The own stream, as the server has it at the end.
    pub(crate) stream: Vec<(u64, String, String)>,
}

/// The connection ended, as it does when the server is killed.
struct Lost;

type Socket = WebSocket<TcpStream>;

/// A line as it is compared.
pub(crate) fn line_of(frame: &Value) -> (u64, String, String) {
    let text = |field: &str| frame[field].as_str().unwrap_or_default().to_owned();
    (frame["seq"].as_u64().expect("a line has a seq"), text("message"), text("id"))
}

impl Person {
    pub(crate) fn new(number: usize, rooms: &[String], seed: u64) -> Self {
        let rooms = rooms.iter().cloned().chain(["@me".to_owned()]);
        Self {
            number,
            session: None,
            places: rooms.map(|room| (room, Place::default())).collect(),
            own: VecDeque::new(),
            said: 0,
            dice: fastrand::Rng::with_seed(seed.wrapping_mul(1_000).wrapping_add(number as u64)),
            view: BTreeMap::new(),
            acknowledged: Vec::new(),
            private_to: BTreeMap::new(),
            stream: Vec::new(),
        }
    }

    /// Talks through all lives of the server.
    pub(crate) fn live(mut self, stage: &Stage) -> Self {
        let mut number = 0;
        loop {
            let life = stage.await_life_after(number);
            number = life.number;
            if self.talk(stage, life).is_ok() {
                return self;
            }
            assert!(!life.last, "person {}: the connection broke, and nobody has killed the server", self.number);
        }
    }

    /// Through one of them, until it ends; or, in the last one, until all is there.
    fn talk(&mut self, stage: &Stage, life: Life) -> Result<(), Lost> {
        let mut socket = connect(life.address, "/", Some("chinwag.v1"))?;
        for line in &mut self.own {
            line.sent = false;
        }
        let rooms: Vec<Value> = self.places.iter_mut().map(|(room, place)| place.entry(room)).collect();
        let mut hello = json!({"type": "hello", "name": format!("p{}", self.number), "rooms": rooms});
        if let Some(session) = &self.session {
            hello["session"] = session[..].into();
        }
        send(&mut socket, &hello.to_string())?;
        loop {
            let frame = read(&mut socket)?;
            self.hear(&frame, stage);
            if !self.places.values().all(|place| place.joined && place.seq >= place.reaches) {
                continue;
            }
            self.send_due(&mut socket, stage, life.last)?;
            if life.last && self.own.is_empty() {
                return self.finish(&mut socket, stage);
            }
        }
    }

    /// All own lines are acknowledged. When everybody's are, all of them are on their way before the answer to a ping.
    fn finish(&mut self, socket: &mut Socket, stage: &Stage) -> Result<(), Lost> {
        stage.finished.fetch_add(1, Ordering::AcqRel);
        let people = stage.users.lock().expect("nobody panics with it").len();
        eventually("everybody has said everything", || stage.finished.load(Ordering::Acquire) == people);
        send(socket, r#"{"type":"ping","t":"all"}"#)?;
        loop {
            let frame = read(socket)?;
            if frame["type"] == "pong" {
                break;
            }
            self.hear(&frame, stage);
        }
        self.stream = history(socket, "@me")?;
        Ok(())
    }

    fn hear(&mut self, frame: &Value, stage: &Stage) {
        let who = self.number;
        let room = frame["room"].as_str().unwrap_or_default();
        match frame["type"].as_str().unwrap_or_default() {
            "welcome" => {
                let user = frame["user"].as_str().expect("a user").to_owned();
                let known = &mut stage.users.lock().expect("nobody panics with it")[who];
                assert!(known.is_none() || *known == Some(user.clone()), "person {who} is somebody else: {frame}");
                *known = Some(user);
                self.session = Some(frame["session"].as_str().expect("a session").to_owned());
            }
            "joined" => {
                let place = self.places.get_mut(room).expect("a room of ours");
                let (epoch, newest) =
                    (frame["epoch"].as_str().expect("an epoch"), frame["seq"].as_u64().expect("a seq"));
                if place.epoch.is_empty() {
                    (place.epoch, place.seq) = (epoch.to_owned(), newest);
                } else {
                    assert_eq!(frame["recovered"], true, "person {who} at {}: {frame}", place.seq);
                    assert_eq!(place.epoch, epoch, "person {who}: {frame}");
                }
                (place.reaches, place.joined) = (newest, true);
            }
            "chat" | "private" => {
                let place = self.places.get_mut(room).expect("a room of ours");
                let line = line_of(frame);
                assert_eq!(line.0, place.seq + 1, "person {who}: a hole or a repeat in {room}: {frame}");
                place.seq = line.0;
                place.time = Some(frame["timestamp"].as_str().expect("a time").to_owned());
                // One's own, in the replay: it has arrived.
                self.own.retain(|own| own.id != line.2);
                self.view.entry(room.to_owned()).or_default().push(line);
            }
            "ack" => {
                let id = frame["id"].as_str().expect("an id").to_owned();
                self.own.retain(|own| own.id != id);
                self.acknowledged.push((id, room.to_owned(), frame["seq"].as_u64().expect("a seq")));
                // The director may have seen enough.
                let _ = stage.acks.send(());
            }
            "error" => {
                // Who came a moment before a kill may be unknown after it, if nothing was said to it.
                assert!(frame["code"] == "no_such_user", "person {who}: {frame}");
                self.own.retain(|own| frame["id"] != own.id[..]);
            }
            "user_leave" => {
                let name = frame["name"].as_str().unwrap_or_default();
                assert_eq!(name, "watcher", "person {who}: nobody else leaves, whatever happens: {frame}");
            }
            _ => {}
        }
    }

    /// Sends what is in doubt again, and then something new.
    fn send_due(&mut self, socket: &mut Socket, stage: &Stage, last: bool) -> Result<(), Lost> {
        while !last && self.own.len() < WINDOW {
            self.think_of_something(stage);
        }
        for own in self.own.iter_mut().filter(|own| !own.sent) {
            own.sent = true;
            send(socket, &own.frame)?;
        }
        Ok(())
    }

    fn think_of_something(&mut self, stage: &Stage) {
        self.said += 1;
        let id = format!("p{}-{}", self.number, self.said);
        let text = format!("{id} {}", "x".repeat(self.dice.usize(0..300)));
        let users = stage.users.lock().expect("nobody panics with it");
        let to = self.dice.usize(0..users.len());
        let frame = match users[to].as_deref() {
            Some(user) if to != self.number && self.dice.u8(0..8) == 0 => {
                self.private_to.insert(id.clone(), to);
                json!({"type": "private", "to": user, "message": text, "id": id})
            }
            _ => {
                let rooms: Vec<&String> = self.places.keys().filter(|room| *room != "@me").collect();
                let room = rooms[self.dice.usize(0..rooms.len())];
                json!({"type": "chat", "room": room, "message": text, "id": id})
            }
        };
        self.own.push_back(Own { id, frame: frame.to_string(), sent: false });
    }

    /// How many lines this person has thought of.
    pub(crate) fn said(&self) -> u64 {
        self.said
    }
}

impl Place {
    fn entry(&mut self, room: &str) -> Value {
        self.joined = false;
        let mut entry = json!({"room": room});
        if !self.epoch.is_empty() {
            (entry["epoch"], entry["seq"]) = (self.epoch[..].into(), self.seq.into());
        }
        if let Some(time) = &self.time {
            entry["time"] = time[..].into();
        }
        entry
    }
}

fn connect(address: SocketAddr, path: &str, subprotocol: Option<&'static str>) -> Result<Socket, Lost> {
    let stream = TcpStream::connect(address).map_err(|_| Lost)?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
    let mut request = format!("ws://{address}{path}").into_client_request().expect("a good address");
    if let Some(subprotocol) = subprotocol {
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    tungstenite::client(request, stream).map(|(socket, _)| socket).map_err(|_| Lost)
}

fn send(socket: &mut Socket, text: &str) -> Result<(), Lost> {
    socket.send(Message::text(text)).map_err(|_| Lost)
}

/// The next frame with a text.
fn read(socket: &mut Socket) -> Result<Value, Lost> {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return Ok(serde_json::from_str(text.as_str()).expect("JSON")),
            // Its disk has failed.
            Ok(Message::Close(Some(frame))) if u16::from(frame.code) == 1011 => return Err(Lost),
            Ok(Message::Close(frame)) => panic!("the server closes: {frame:?}"),
            Ok(_) => {}
            // These tests were stopped for a while (signal(7)).
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came within {PATIENCE:?}");
            }
            Err(_) => return Err(Lost),
        }
    }
}

/// All lines of a room, as the server has them.
fn history(socket: &mut Socket, room: &str) -> Result<Vec<(u64, String, String)>, Lost> {
    let mut lines: Vec<(u64, String, String)> = Vec::new();
    loop {
        let after = lines.last().map_or(0, |line| line.0);
        send(socket, &json!({"type": "history", "room": room, "after": after, "limit": PAGE}).to_string())?;
        let page = loop {
            let frame = read(socket)?;
            if frame["type"] == "history" {
                break frame;
            }
        };
        lines.extend(page["messages"].as_array().expect("messages").iter().map(line_of));
        if page["more"] == false {
            return Ok(lines);
        }
    }
}

/// All lines of a room, told to somebody new.
pub(crate) fn all_lines(address: SocketAddr, room: &str) -> Vec<(u64, String, String)> {
    let told = || {
        let mut socket = connect(address, &format!("/rooms/{room}?name=auditor"), None)?;
        read(&mut socket)?;
        history(&mut socket, room)
    };
    told().unwrap_or_else(|_: Lost| panic!("the server did not tell the history of {room}"))
}

/// Looks on from a room without a subprotocol, through all lives, and gives what it was shown.
pub(crate) fn look_on(stage: &Stage, room: &str) -> Vec<(u64, String, String)> {
    let (mut number, mut seen) = (0, Vec::new());
    loop {
        let life = stage.await_life_after(number);
        number = life.number;
        if let Ok(mut socket) = connect(life.address, &format!("/rooms/{room}?name=watcher"), None) {
            while let Ok(Message::Text(text)) = socket.read() {
                let frame: Value = serde_json::from_str(text.as_str()).expect("JSON");
                if frame["type"] == "chat" {
                    seen.push(line_of(&frame));
                }
            }
        }
        if life.last {
            return seen;
        }
    }
}
