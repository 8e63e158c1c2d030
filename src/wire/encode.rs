//! Messages to frames. Each is written once, whole, however many read it.
//!
//! A frame's fields come in a fixed order: `type` first, the rest as the examples and tables of `docs/PROTOCOL.md`
//! have them. Strings are escaped by `serde_json`. Nothing is allocated but what `out` grows by.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer as _};

use crate::chat::command::Echo;
use crate::chat::ids::{Millis, UserId};
use crate::chat::message::{ErrorReply, History, Joined, Line, Message, Notice, Recovery, Welcome};
use crate::chat::names::{ME, Name};

use super::frame::{self, Opcode};
use super::timestamp::Clockface;
use super::words::{Spoken, Words};

/// The language of the server's own notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// `en`.
    #[default]
    English,
    /// `zh`.
    Chinese,
}

/// Writes messages as frames.
#[derive(Clone, Debug)]
pub struct Encoder {
    lang: Lang,
    clockface: Clockface,
}

impl Encoder {
    /// An encoder whose notices are in `lang`.
    pub fn new(lang: Lang) -> Self {
        Self { lang, clockface: Clockface::default() }
    }

    /// Appends the message's frame to `out`: whole and unmasked, ready to be sent. A page is a frame for each line.
    ///
    /// `wall_ms` is the time of the turn, milliseconds since 1970. It is the frame's `timestamp`, but for lines, which
    /// keep the time at which they were heard.
    pub fn encode(&mut self, out: &mut Vec<u8>, message: &Message, wall_ms: Millis) {
        match message {
            Message::Binary(bytes) => frame::write_frame(out, Opcode::Binary, bytes),
            Message::Line(line) => self.encode_line(out, line),
            Message::Page(lines) => {
                for line in lines {
                    self.encode_line(out, line);
                }
            }
            _ => {
                let start = frame::begin_frame(out);
                let mut object = Object { out, lang: self.lang, clockface: &mut self.clockface };
                object.write(message, wall_ms);
                frame::end_frame(out, start, Opcode::Text);
            }
        }
    }

    fn encode_line(&mut self, out: &mut Vec<u8>, line: &Line) {
        let start = frame::begin_frame(out);
        Object { out, lang: self.lang, clockface: &mut self.clockface }.line(line);
        frame::end_frame(out, start, Opcode::Text);
    }
}

/// A JSON object that is being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    lang: Lang,
    clockface: &'a mut Clockface,
}

impl Object<'_> {
    fn write(&mut self, message: &Message, wall_ms: Millis) {
        match message {
            Message::Line(_) | Message::Page(_) | Message::Binary(_) => unreachable!("written by the encoder"),
            Message::Private { user, from, to, message, id } => {
                self.open("private").field("room", ME).field("from", &**from).user("user", *user);
                self.field("to", &**to).field("message", &**message).text("id", id.as_deref()).time(wall_ms);
            }
            Message::Ack { id, room, seq, duplicate, reference } => {
                self.open("ack").field("id", &**id).field("room", room.as_ref().map_or(ME, |room| room.shown()));
                if let Some(seq) = seq {
                    self.field("seq", seq);
                }
                if *duplicate {
                    self.field("duplicate", &true);
                }
                self.reference(reference.as_deref()).time(wall_ms);
            }
            Message::Welcome(welcome) => self.welcome(welcome).time(wall_ms),
            Message::Joined(joined) => self.joined(joined).time(wall_ms),
            Message::Left { room, reference } => {
                self.open("left").field("room", &**room).reference(reference.as_deref()).time(wall_ms);
            }
            Message::UserJoin { room, user, name, online } => {
                self.presence_change("user_join", Words::Joined { name }, *online, wall_ms);
                self.field("room", &**room).user("user", *user).field("name", &**name);
            }
            Message::UserLeave { room, user, name, online } => {
                self.presence_change("user_leave", Words::Left { name }, *online, wall_ms);
                self.field("room", &**room).user("user", *user).field("name", &**name);
            }
            Message::Coming { room, joined, left, online } => {
                let kind = if joined >= left { "user_join" } else { "user_leave" };
                self.presence_change(kind, Words::Coming { joined: *joined, left: *left }, *online, wall_ms);
                self.field("room", &**room).field("joined", joined).field("left", left);
            }
            Message::Renamed { user, from, to, reference } => {
                self.open("user_rename").user("user", *user).field("from", &**from).field("to", &**to);
                self.words(Words::Renamed { from, to }).reference(reference.as_deref()).time(wall_ms);
            }
            Message::Typing { room, user, name } => {
                self.open("typing").field("room", &**room).user("user", *user).field("name", &**name).time(wall_ms);
            }
            Message::Presence { room, users, online, reference } => {
                self.open("presence").field("room", &**room).users(users).field("online_count", online);
                if (users.len() as u64) < u64::from(*online) {
                    self.field("more", &true);
                }
                self.reference(reference.as_deref()).time(wall_ms);
            }
            Message::History(history) => self.history(history).time(wall_ms),
            Message::Pong { t, reference } => {
                self.open("pong").time(wall_ms);
                match t {
                    Some(Echo::Number(number)) => self.field("t", number),
                    Some(Echo::Text(text)) => self.field("t", &**text),
                    None => self,
                }
                .reference(reference.as_deref());
            }
            Message::Error(error) => self.error(error).time(wall_ms),
            Message::System(notice) => {
                self.open("system").words(Words::Notice(notice)).time(wall_ms);
                if let Notice::Shutdown { reconnect_in_ms, reconnect_spread_ms } = notice {
                    self.field("code", "shutdown");
                    self.field("reconnect_in_ms", reconnect_in_ms).field("reconnect_spread_ms", reconnect_spread_ms);
                }
            }
        }
        self.close();
    }

    /// A `welcome`.
    fn welcome(&mut self, welcome: &Welcome) -> &mut Self {
        self.open("welcome").field("session", &*welcome.session).user("user", welcome.user);
        self.field("name", &*welcome.name).field("resumed", &welcome.resumed);
        self.field("heartbeat_ms", &welcome.heartbeat_ms);
        self.key("limits").raw("{\"message_bytes\":").value(&welcome.message_bytes_max);
        self.field("name_chars", &welcome.name_chars_max).field("rooms", &welcome.rooms_max).close();
        self.field("server", concat!("chinwag/", env!("CARGO_PKG_VERSION"))).reference(welcome.reference.as_deref())
    }

    /// A stored line's object, the same in a frame of its own and in a history.
    fn line(&mut self, line: &Line) {
        let draft = &line.draft;
        if let Some(to) = &draft.to {
            self.open("private").field("room", ME).field("seq", &line.seq).field("from", &*draft.from);
            self.user("user", draft.user).field("to", &**to).field("message", &*draft.message);
            self.text("id", draft.id.as_deref()).time(draft.time_ms);
            return self.close();
        }
        self.open("chat").field("from", &*draft.from).field("message", &*draft.message).time(draft.time_ms);
        self.field("room", &*line.room).field("seq", &line.seq).user("user", draft.user);
        self.text("id", draft.id.as_deref()).close();
    }

    fn presence_change(&mut self, kind: &str, words: Words<'_>, online: u32, wall_ms: Millis) {
        self.open(kind).words(words).field("online_count", &online).time(wall_ms);
    }

    fn joined(&mut self, joined: &Joined) -> &mut Self {
        self.open("joined").field("room", joined.room.shown()).field("epoch", &*joined.epoch).field("seq", &joined.seq);
        self.field("online_count", &joined.online).field("recovered", &(joined.recovery == Recovery::Recovered));
        match joined.recovery {
            Recovery::Fresh | Recovery::Recovered => {}
            Recovery::Epoch => {
                self.field("reason", "epoch");
            }
            Recovery::Ahead => {
                self.field("reason", "ahead");
            }
            Recovery::Trimmed { from, to } => {
                self.key("gap").raw("{\"from\":").value(&from).raw(",\"to\":").value(&to).raw("}");
                self.field("reason", "trimmed");
            }
        }
        self.reference(joined.reference.as_deref())
    }

    fn history(&mut self, history: &History) -> &mut Self {
        self.open("history").field("room", history.room.shown()).field("epoch", &*history.epoch).key("messages");
        self.list(&history.lines, |object, line: &Arc<Line>| object.line(line));
        self.field("oldest", &history.oldest).field("newest", &history.newest).field("more", &history.more);
        self.reference(history.reference.as_deref())
    }

    fn users(&mut self, users: &[(UserId, Name)]) -> &mut Self {
        self.key("users").list(users, |object, (user, name)| {
            object.raw("{\"user\":").value(user.text().as_str()).field("name", &**name).close();
        })
    }

    fn error(&mut self, error: &ErrorReply) -> &mut Self {
        self.open("error").field("code", error.code.text()).field("message", &*error.message);
        self.field("retry", &error.code.retry()).text("room", error.room.as_deref());
        self.reference(error.reference.as_deref()).text("id", error.id.as_deref())
    }

    fn open(&mut self, kind: &str) -> &mut Self {
        self.raw("{\"type\":").value(kind)
    }

    fn close(&mut self) {
        self.raw("}");
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> &mut Self {
        self.key(key).value(value)
    }

    fn text(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }

    fn reference(&mut self, reference: Option<&str>) -> &mut Self {
        self.text("ref", reference)
    }

    fn user(&mut self, key: &str, user: UserId) -> &mut Self {
        self.field(key, user.text().as_str())
    }

    fn words(&mut self, words: Words<'_>) -> &mut Self {
        let spoken = Spoken { lang: self.lang, words };
        self.key("message").display(&spoken)
    }

    fn time(&mut self, wall_ms: Millis) {
        self.raw(",\"timestamp\":\"");
        self.out.extend_from_slice(self.clockface.show(wall_ms));
        self.raw("\"");
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) -> &mut Self {
        self.raw("[");
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.raw(",");
            }
            write(self, item);
        }
        self.raw("]")
    }

    /// Keys are ours, and none needs escaping.
    fn key(&mut self, key: &str) -> &mut Self {
        self.raw(",\"").raw(key).raw("\":")
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        serde_json::to_writer(&mut *self.out, value).expect("a vector takes all that is written");
        self
    }

    fn display(&mut self, value: &impl fmt::Display) -> &mut Self {
        serde_json::Serializer::new(&mut *self.out).collect_str(value).expect("a vector takes all that is written");
        self
    }

    fn raw(&mut self, text: &str) -> &mut Self {
        self.out.extend_from_slice(text.as_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::command::ErrorCode;
    use crate::chat::message::Draft;
    use crate::chat::names::RoomName;
    use crate::wire::frame::whole_frames_end;

    const USER: UserId = UserId([0; 10]);
    const WALL_MS: Millis = 1_795_336_403_123;

    /// The payloads of the frames that a message becomes, each checked for its header.
    fn frames(lang: Lang, message: &Message) -> Vec<String> {
        let mut out = b"\x89\x00".to_vec();
        Encoder::new(lang).encode(&mut out, message, WALL_MS);
        let mut payloads = Vec::new();
        let mut start = 2;
        while start < out.len() {
            let end = whole_frames_end(&out, start + 1);
            let header_bytes = match end - start {
                0..=127 => 2,
                128..=65_539 => 4,
                _ => 10,
            };
            payloads.push(String::from_utf8(out[start + header_bytes..end].to_vec()).unwrap());
            let mut again = Vec::new();
            frame::write_frame(&mut again, Opcode::Text, payloads.last().unwrap().as_bytes());
            assert_eq!(again, out[start..end]);
            start = end;
        }
        payloads
    }

    /// The JSON of a message's one frame, with `T` for the turn's time.
    fn json(message: &Message) -> String {
        json_in(Lang::English, message)
    }

    fn json_in(lang: Lang, message: &Message) -> String {
        let payloads = frames(lang, message);
        assert_eq!(payloads.len(), 1, "{message:?}");
        serde_json::from_str::<serde_json::Value>(&payloads[0]).expect("JSON");
        payloads[0].replace("2026-11-22T08:33:23.123Z", "T").replace("uaaaaaaaaaaaaaaaa", "U")
    }

    fn room() -> RoomName {
        RoomName::lobby()
    }

    fn name(typed: &str) -> Name {
        Name::parse(typed, 32).expect("a good name")
    }

    fn line(seq: u64, message: &str, id: Option<&str>) -> Arc<Line> {
        let draft = Draft {
            time_ms: 1000 * seq,
            user: USER,
            from: name("alice"),
            id: id.map(Into::into),
            message: message.into(),
            to: None,
        };
        Arc::new(Line { room: room(), seq, draft })
    }

    #[test]
    fn a_line_has_the_time_at_which_it_was_heard() {
        assert_eq!(
            json(&Message::Line(line(7, "hi \"there\"\n\u{1}张\u{2028}", Some("a\\b")))),
            "{\"type\":\"chat\",\"from\":\"alice\",\"message\":\"hi \\\"there\\\"\\n\\u0001张\u{2028}\",\
             \"timestamp\":\"1970-01-01T00:00:07.000Z\",\"room\":\"lobby\",\"seq\":7,\"user\":\"U\",\"id\":\"a\\\\b\"}"
        );
        assert_eq!(
            json(&Message::Line(line(1, "", None))),
            r#"{"type":"chat","from":"alice","message":"","timestamp":"1970-01-01T00:00:01.000Z","room":"lobby","seq":1,"user":"U"}"#
        );
    }

    #[test]
    fn a_page_is_a_frame_for_each_line_and_a_history_has_the_same_in_one() {
        let lines: Vec<Arc<Line>> =
            [0, 1, 100, 70_000].map(|size| line(size + 1, &"x".repeat(size as usize), None)).into();
        let page = frames(Lang::English, &Message::Page(lines.clone()));
        let single: Vec<String> =
            lines.iter().flat_map(|line| frames(Lang::English, &Message::Line(line.clone()))).collect();
        assert_eq!(page.len(), 4);
        assert_eq!(page, single);

        let history =
            History { room: room(), epoch: "ep".into(), lines, oldest: 1, newest: 9, more: true, reference: None };
        assert_eq!(
            json(&Message::History(Box::new(history.clone()))),
            format!(
                r#"{{"type":"history","room":"lobby","epoch":"ep","messages":[{}],"oldest":1,"newest":9,"more":true,"timestamp":"T"}}"#,
                page.join(",").replace("uaaaaaaaaaaaaaaaa", "U")
            )
        );
        let nothing = History { lines: Vec::new(), oldest: 10, more: false, reference: Some("r".into()), ..history };
        assert_eq!(
            json(&Message::History(Box::new(nothing))),
            r#"{"type":"history","room":"lobby","epoch":"ep","messages":[],"oldest":10,"newest":9,"more":false,"ref":"r","timestamp":"T"}"#
        );
        assert!(frames(Lang::English, &Message::Page(Vec::new())).is_empty());
    }

    #[test]
    fn presence_is_told_in_the_order_of_the_contract() {
        let (room, name) = (room(), name("bob"));
        assert_eq!(
            json(&Message::UserJoin { room: room.clone(), user: USER, name: name.clone(), online: 3 }),
            r#"{"type":"user_join","message":"bob joined","online_count":3,"timestamp":"T","room":"lobby","user":"U","name":"bob"}"#
        );
        assert_eq!(
            json(&Message::UserLeave { room: room.clone(), user: USER, name: name.clone(), online: 2 }),
            r#"{"type":"user_leave","message":"bob left","online_count":2,"timestamp":"T","room":"lobby","user":"U","name":"bob"}"#
        );
        for (joined, left, kind) in [(37, 5, "user_join"), (5, 5, "user_join"), (4, 5, "user_leave")] {
            assert_eq!(
                json(&Message::Coming { room: room.clone(), joined, left, online: 300 }),
                format!(
                    r#"{{"type":"{kind}","message":"{joined} joined, {left} left","online_count":300,"timestamp":"T","room":"lobby","joined":{joined},"left":{left}}}"#
                )
            );
        }
        let users = vec![(USER, name.clone()), (USER, name)];
        assert_eq!(
            json(&Message::Presence { room: room.clone(), users: users.clone(), online: 2, reference: None }),
            r#"{"type":"presence","room":"lobby","users":[{"user":"U","name":"bob"},{"user":"U","name":"bob"}],"online_count":2,"timestamp":"T"}"#
        );
        assert_eq!(
            json(&Message::Presence { room, users: users[..1].to_vec(), online: 2, reference: Some("r".into()) }),
            r#"{"type":"presence","room":"lobby","users":[{"user":"U","name":"bob"}],"online_count":2,"more":true,"ref":"r","timestamp":"T"}"#
        );
    }

    #[test]
    fn answers_have_their_fields_then_the_reference_and_the_time_last() {
        let reference = || Some("r".into());
        for (message, expected) in [
            (
                Message::Ack { id: "1".into(), room: Some(room()), seq: Some(4), duplicate: false, reference: None },
                r#"{"type":"ack","id":"1","room":"lobby","seq":4,"timestamp":"T"}"#,
            ),
            (
                Message::Ack { id: "1".into(), room: None, seq: None, duplicate: true, reference: reference() },
                r#"{"type":"ack","id":"1","room":"@me","duplicate":true,"ref":"r","timestamp":"T"}"#,
            ),
            (
                Message::Left { room: room(), reference: reference() },
                r#"{"type":"left","room":"lobby","ref":"r","timestamp":"T"}"#,
            ),
            (
                Message::Private {
                    user: USER,
                    from: name("a"),
                    to: name("b"),
                    message: "m".into(),
                    id: Some("1".into()),
                },
                r#"{"type":"private","room":"@me","from":"a","user":"U","to":"b","message":"m","id":"1","timestamp":"T"}"#,
            ),
            (
                Message::Renamed { user: USER, from: name("a"), to: name("b"), reference: reference() },
                r#"{"type":"user_rename","user":"U","from":"a","to":"b","message":"a is now known as b","ref":"r","timestamp":"T"}"#,
            ),
            (Message::Pong { t: None, reference: None }, r#"{"type":"pong","timestamp":"T"}"#),
            (
                Message::Pong { t: Some(Echo::Number(5.into())), reference: reference() },
                r#"{"type":"pong","timestamp":"T","t":5,"ref":"r"}"#,
            ),
            (
                Message::Pong { t: Some(Echo::Text("\"".into())), reference: None },
                r#"{"type":"pong","timestamp":"T","t":"\""}"#,
            ),
            (
                Message::Error(Box::new(ErrorReply {
                    code: ErrorCode::NotJoined,
                    message: "why".into(),
                    room: Some("x".into()),
                    reference: reference(),
                    id: Some("1".into()),
                })),
                r#"{"type":"error","code":"not_joined","message":"why","retry":false,"room":"x","ref":"r","id":"1","timestamp":"T"}"#,
            ),
            (
                Message::Error(Box::new(ErrorReply {
                    code: ErrorCode::Overloaded,
                    message: "why".into(),
                    room: None,
                    reference: None,
                    id: None,
                })),
                r#"{"type":"error","code":"overloaded","message":"why","retry":true,"timestamp":"T"}"#,
            ),
        ] {
            assert_eq!(json(&message), expected);
        }
    }

    #[test]
    fn joined_says_how_it_went_on() {
        for (recovery, rest) in [
            (Recovery::Fresh, r#""recovered":false"#),
            (Recovery::Recovered, r#""recovered":true"#),
            (Recovery::Epoch, r#""recovered":false,"reason":"epoch""#),
            (Recovery::Ahead, r#""recovered":false,"reason":"ahead""#),
            (Recovery::Trimmed { from: 3, to: 8 }, r#""recovered":false,"gap":{"from":3,"to":8},"reason":"trimmed""#),
        ] {
            let joined =
                Joined { room: room(), epoch: "ep".into(), seq: 9, online: 2, recovery, reference: Some("r".into()) };
            assert_eq!(
                json(&Message::Joined(Box::new(joined))),
                format!(
                    r#"{{"type":"joined","room":"lobby","epoch":"ep","seq":9,"online_count":2,{rest},"ref":"r","timestamp":"T"}}"#
                )
            );
        }
    }

    #[test]
    fn notices_are_in_the_servers_language() {
        let (alice, bob) = (name("alice"), name("bob"));
        let private = Notice::Private { from: alice.clone(), message: "\"hi\"".into() };
        for (notice, english, chinese) in [
            (Notice::Welcome { online: 3 }, "Welcome to the chat room! 3 online", "欢迎加入聊天室！当前在线 3 人"),
            (
                Notice::Renamed { from: alice.clone(), to: bob.clone() },
                "alice is now known as bob",
                "用户 alice 改名为 bob",
            ),
            (private, r#"alice (private): \"hi\""#, r#"alice（私信）：\"hi\""#),
            (Notice::Typing { name: alice.clone() }, "alice is typing…", "alice 正在输入…"),
        ] {
            for (lang, words) in [(Lang::English, english), (Lang::Chinese, chinese)] {
                assert_eq!(
                    json_in(lang, &Message::System(notice.clone())),
                    format!(r#"{{"type":"system","message":"{words}","timestamp":"T"}}"#)
                );
            }
        }
        for (message, words) in [
            (Message::UserJoin { room: room(), user: USER, name: bob.clone(), online: 1 }, "用户 bob 加入了聊天室"),
            (Message::UserLeave { room: room(), user: USER, name: bob, online: 1 }, "用户 bob 离开了聊天室"),
            (Message::Coming { room: room(), joined: 37, left: 5, online: 1 }, "37 人加入，5 人离开"),
        ] {
            let text = json_in(Lang::Chinese, &message);
            assert!(text.contains(&format!("\"message\":\"{words}\",")), "{text}");
        }
    }

    #[test]
    fn a_shutdown_says_when_to_come_back() {
        let notice = Notice::Shutdown { reconnect_in_ms: 500, reconnect_spread_ms: 2000 };
        for (lang, words) in [
            (Lang::English, "The server is going away. Please reconnect in a moment."),
            (Lang::Chinese, "服务器即将关闭，请稍后重新连接。"),
        ] {
            assert_eq!(
                json_in(lang, &Message::System(notice.clone())),
                format!(
                    r#"{{"type":"system","message":"{words}","timestamp":"T","code":"shutdown","reconnect_in_ms":500,"reconnect_spread_ms":2000}}"#
                )
            );
        }
    }

    #[test]
    fn binary_goes_as_it_is() {
        let mut out = Vec::new();
        Encoder::new(Lang::English).encode(&mut out, &Message::Binary([0, 255, 7].into()), WALL_MS);
        assert_eq!(out, [0x82, 3, 0, 255, 7]);
    }
}
