//! A person with a `chinwag.v1` client that follows the rules: it knows where it is in each room, says so when it comes
//! back, and holds that no line is missing and none comes twice, whatever else a test looks at.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde_json::{Value, json};

use super::wire::Wire;
use crate::common::PATIENCE;
use crate::common::pattern::compare;
use crate::common::server::{Scene, Server};

/// Where somebody is in a room: the line read last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// The room's.
    pub(crate) epoch: String,
    /// Of that line.
    pub(crate) seq: u64,
    /// That line's, if it was shown.
    pub(crate) time: Option<String>,
    /// The room was entered without a position: the first line says where it begins (`last`).
    open: bool,
}

/// A person.
pub(crate) struct V1 {
    /// Its name in the failure's transcript.
    pub(crate) who: String,
    wire: Option<Wire>,
    scene: Scene,
    /// From the last `welcome`.
    pub(crate) session: String,
    /// Likewise.
    pub(crate) user: String,
    /// Likewise, or a later `user_rename`.
    pub(crate) name: String,
    /// All of the last `welcome`.
    pub(crate) welcome: Value,
    /// Where it is, by room.
    pub(crate) places: BTreeMap<String, Place>,
    /// The lines that it was shown, by room: the text of each, in order.
    pub(crate) view: BTreeMap<String, Vec<String>>,
    /// An older copy of the store was put back: a place may be good although the epoch is another one from now on.
    pub(crate) may_follow: bool,
    pings: u32,
}

impl V1 {
    /// Somebody new comes: connects, says `hello` with these fields (JSON without braces), and takes the `welcome`.
    #[track_caller]
    pub(crate) fn hello(server: &Server, who: &str, fields: &str) -> Self {
        let mut client = Self {
            who: who.to_owned(),
            wire: None,
            scene: server.scene.clone(),
            session: String::new(),
            user: String::new(),
            name: String::new(),
            welcome: Value::Null,
            places: BTreeMap::new(),
            view: BTreeMap::new(),
            may_follow: false,
            pings: 0,
        };
        client.greet(Wire::open(server, who), fields);
        client
    }

    /// Comes under this name into these rooms, without positions, and takes everything until it is in the last.
    #[track_caller]
    pub(crate) fn come(server: &Server, name: &str, rooms: &[&str]) -> Self {
        let entries: Vec<Value> = rooms.iter().map(|room| json!({"room": room})).collect();
        let mut client = Self::hello(server, name, &format!(r#""name":"{name}","rooms":{}"#, json!(entries)));
        assert_eq!((&client.name[..], &client.welcome["resumed"]), (name, &false.into()), "{}", client.welcome);
        client.joined("@me");
        for room in rooms {
            client.joined(room);
        }
        client
    }

    /// Says `hello` over a connection, which is the person's from now on, and takes the `welcome`. Gives the earlier
    /// connection, if it was not cut.
    #[track_caller]
    pub(crate) fn greet(&mut self, mut wire: Wire, fields: &str) -> Option<Wire> {
        let comma = if fields.is_empty() { "" } else { "," };
        wire.send(&format!(r#"{{"type":"hello"{comma}{fields}}}"#));
        self.go_on_over(wire)
    }

    /// Goes on over another connection, on which `hello` was said already, and takes the `welcome`.
    #[track_caller]
    pub(crate) fn go_on_over(&mut self, wire: Wire) -> Option<Wire> {
        let earlier = self.wire.replace(wire);
        self.take_welcome();
        earlier
    }

    /// The next frame has to be a `welcome`.
    #[track_caller]
    fn take_welcome(&mut self) {
        let welcome = self.json();
        assert_eq!(welcome["type"], "welcome", "{}: {welcome}", self.who);
        let text = |field: &str| welcome[field].as_str().unwrap_or_else(|| panic!("no {field}: {welcome}")).to_owned();
        (self.session, self.user, self.name) = (text("session"), text("user"), text("name"));
        self.welcome = welcome;
    }

    /// Comes back on another connection with its session and these further fields.
    #[track_caller]
    pub(crate) fn return_with(&mut self, server: &Server, fields: &str) -> Option<Wire> {
        let comma = if fields.is_empty() { "" } else { "," };
        let (user, wire) = (self.user.clone(), Wire::open(server, &self.who));
        let earlier = self.greet(wire, &format!(r#""session":"{}"{comma}{fields}"#, self.session));
        assert_eq!(self.user, user, "{}: a session brings back the same user", self.who);
        earlier
    }

    /// Comes back with session and positions, and reads until it is in all its rooms, each of which has to be recovered.
    /// Gives the earlier connection, if it was not cut.
    #[track_caller]
    pub(crate) fn resume(&mut self, server: &Server) -> Option<Wire> {
        let earlier = self.return_with(server, &format!(r#""rooms":{}"#, self.positions()));
        assert_eq!(self.welcome["resumed"], true, "{}: {}", self.who, self.welcome);
        for _ in 0..self.places.len() {
            let joined = self.until("joined", |frame| frame["type"] == "joined");
            assert_eq!(joined["recovered"], true, "{}: {joined}", self.who);
        }
        earlier
    }

    /// The same over a socket that takes little before it is read; the earlier connection is left.
    #[track_caller]
    pub(crate) fn return_slowly(&mut self, server: &Server) {
        let wire = Wire::open_slow(server, &self.who);
        self.greet(wire, &format!(r#""session":"{}","rooms":{}"#, self.session, self.positions()));
    }

    /// Its positions, as `hello` wants them.
    pub(crate) fn positions(&self) -> Value {
        self.places.iter().map(|(room, place)| place.entry(room)).collect()
    }

    /// Its position in one room, as `join` wants it (JSON without braces).
    #[track_caller]
    pub(crate) fn position(&self, room: &str) -> String {
        let entry = self.places[room].entry(room).to_string();
        entry[1..entry.len() - 1].to_owned()
    }

    /// Loses the connection: it is reset.
    #[track_caller]
    pub(crate) fn cut(&mut self) {
        self.wire.take().expect("a connection to cut").reset();
    }

    /// The connection.
    #[track_caller]
    pub(crate) fn wire(&mut self) -> &mut Wire {
        self.wire.as_mut().expect("it is connected")
    }

    /// Sends a text frame, with the noted values put in.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.wire().send(text);
    }

    /// Says a line.
    #[track_caller]
    pub(crate) fn say(&mut self, room: &str, message: &str) {
        self.send(&json!({"type": "chat", "room": room, "message": message}).to_string());
    }

    /// The next frame, which has to be text.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        let text = self.wire().text();
        let frame = serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON: {error}: {text}"));
        self.note(&frame);
        text
    }

    /// The next frame, which has to be a JSON object.
    #[track_caller]
    pub(crate) fn json(&mut self) -> Value {
        let frame = self.wire().json();
        self.note(&frame);
        frame
    }

    /// The next frame, which has to be as the pattern says, byte by byte.
    #[track_caller]
    pub(crate) fn expect(&mut self, pattern: &str) {
        let text = self.text();
        let mut bindings = self.scene.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(difference) = compare(pattern, &text, &mut bindings) {
            drop(bindings);
            panic!("{} got\n  {text}\nwhere this was expected:\n  {pattern}\n{difference}", self.who);
        }
    }

    /// The next frame, which has to be of this type.
    #[track_caller]
    pub(crate) fn typed(&mut self, kind: &str) -> Value {
        let frame = self.json();
        assert_eq!(frame["type"], kind, "{}: {frame}", self.who);
        frame
    }

    /// The next frame, which has to be a `joined` of this room.
    #[track_caller]
    pub(crate) fn joined(&mut self, room: &str) -> Value {
        let frame = self.typed("joined");
        assert_eq!(frame["room"], room, "{}: {frame}", self.who);
        frame
    }

    /// The next frame, which has to be a `chat` from `from` with this text; gives its `seq`.
    #[track_caller]
    pub(crate) fn expect_chat(&mut self, from: &str, message: &str) -> u64 {
        let frame = self.typed("chat");
        assert_eq!((&frame["from"], &frame["message"]), (&from.into(), &message.into()), "{}: {frame}", self.who);
        frame["seq"].as_u64().expect("every chat has a seq")
    }

    /// The next frame, which has to be an `ack`: its `id`, `seq` and whether it says `duplicate`.
    #[track_caller]
    pub(crate) fn ack(&mut self) -> (String, u64, bool) {
        let frame = self.typed("ack");
        let id = frame["id"].as_str().expect("an ack has an id").to_owned();
        (id, frame["seq"].as_u64().expect("an ack has a seq"), frame["duplicate"] == true)
    }

    /// The next frame, which has to be an `error` with this code; gives all of it.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: &str) -> Value {
        let frame = self.typed("error");
        assert_eq!(frame["code"], code, "{}: {frame}", self.who);
        assert!(frame["message"].as_str().is_some_and(|words| !words.is_empty()), "no words for people: {frame}");
        assert_eq!(frame["retry"], code == "overloaded", "{frame}");
        frame
    }

    /// Reads until a frame is as wished, and gives that.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let start = std::time::Instant::now();
        while start.elapsed() < PATIENCE {
            let frame = self.json();
            if wished(&frame) {
                return frame;
            }
        }
        panic!("{} waited for {what}", self.who);
    }

    /// Makes sure that nothing else is there for this client: the next frame is the answer to a ping that is sent now.
    #[track_caller]
    pub(crate) fn quiet(&mut self) {
        self.pings += 1;
        let number = self.pings;
        self.send(&format!(r#"{{"type":"ping","t":"quiet {number}"}}"#));
        self.expect(&format!(r#"{{"type":"pong","timestamp":"<T>","t":"quiet {number}"}}"#));
    }

    /// Says goodbye with 1000, which has to be answered, and is gone.
    #[track_caller]
    pub(crate) fn goodbye(&mut self) {
        let mut wire = self.wire.take().expect("it is connected");
        wire.say_close(Some(1000));
        assert_eq!(wire.closed(), 1000);
    }

    /// The same for one to whom more may come before the answer.
    #[track_caller]
    pub(crate) fn goodbye_at_last(&mut self) {
        let mut wire = self.wire.take().expect("it is connected");
        wire.say_close(Some(1000));
        assert_eq!(wire.rest().1, Some(1000));
    }

    /// Takes notice of a frame as the client's rules have it.
    #[track_caller]
    fn note(&mut self, frame: &Value) {
        let kind = frame["type"].as_str().unwrap_or_default();
        let room = frame["room"].as_str().unwrap_or_default();
        match kind {
            "joined" => self.note_joined(room, frame),
            "chat" | "private" if frame.get("seq").is_some() => {
                let who = &self.who;
                let seq = frame["seq"].as_u64().expect("a seq is a number");
                let place =
                    self.places.get_mut(room).unwrap_or_else(|| panic!("{who}: a line of a room not joined: {frame}"));
                let fits = if place.open { (1..=place.seq + 1).contains(&seq) } else { seq == place.seq + 1 };
                assert!(fits, "{who}: a hole or a repeat: after {} came {frame}", place.seq);
                (place.seq, place.open) = (seq, false);
                place.time = Some(frame["timestamp"].as_str().expect("a line has a time").to_owned());
                let text = frame["message"].as_str().expect("a line has a text").to_owned();
                self.view.entry(room.to_owned()).or_default().push(text);
            }
            "left" => {
                self.places.remove(room);
            }
            "user_rename" if frame["user"] == self.user[..] => {
                frame["to"].as_str().expect("a name").clone_into(&mut self.name);
            }
            _ => {}
        }
    }

    #[track_caller]
    fn note_joined(&mut self, room: &str, frame: &Value) {
        let who = &self.who;
        let epoch = frame["epoch"].as_str().expect("joined has an epoch").to_owned();
        let newest = frame["seq"].as_u64().expect("joined has a seq");
        let place = self.places.get(room);
        let entered = match (frame["recovered"] == true, frame["reason"].as_str()) {
            (true, None) => {
                let place = place.unwrap_or_else(|| panic!("{who}: recovered what was not said: {frame}"));
                let goes_on = place.epoch == epoch || self.may_follow;
                assert!(goes_on && place.seq <= newest, "{who}: {place:?} is recovered by {frame}");
                Place { open: false, epoch, ..place.clone() }
            }
            (false, Some("trimmed")) => {
                let place = place.unwrap_or_else(|| panic!("{who}: lines are lost, of which room? {frame}"));
                assert_eq!(frame["gap"]["from"], place.seq + 1, "{who}: the gap begins behind the last line");
                let to = frame["gap"]["to"].as_u64().expect("a gap has an end");
                assert!((place.seq + 1..=newest).contains(&to), "{who}: a gap of nothing, or too far: {frame}");
                Place { epoch, seq: to, time: None, open: false }
            }
            (false, reason) => {
                assert!(matches!(reason, None | Some("epoch" | "ahead")), "{who}: {frame}");
                assert_eq!(frame.get("gap"), None, "{who}: {frame}");
                Place { epoch, seq: newest, time: None, open: reason.is_none() }
            }
            (true, Some(reason)) => panic!("{who}: recovered, but {reason}: {frame}"),
        };
        self.places.insert(room.to_owned(), entered);
    }
}

impl Place {
    fn entry(&self, room: &str) -> Value {
        let mut entry = json!({"room": room, "epoch": self.epoch, "seq": self.seq});
        if let Some(time) = &self.time {
            entry["time"] = time[..].into();
        }
        entry
    }
}

/// Runs `sending` while the server stands still: what is sent comes to it in one turn, in the order of sending.
#[track_caller]
pub(crate) fn while_stopped(server: &Server, sending: impl FnOnce()) {
    // The server is this thread's child, and the only one that lives.
    let children = std::fs::read_to_string("/proc/thread-self/children").expect("Linux lists a thread's children");
    let ids: Vec<&str> = children.split_whitespace().collect();
    let [id] = ids[..] else { panic!("which of {ids:?} is the server?") };
    let stat = format!("/proc/{id}/stat");
    server.signal("STOP");
    crate::common::eventually("the server stands still", || {
        let stat = std::fs::read_to_string(&stat).expect("the server lives");
        stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
    });
    sending();
    server.signal("CONT");
}
