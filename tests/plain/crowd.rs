//! Large rooms: who came and went is told in sums.

use serde_json::Value;

use crate::common::client::Client;
use crate::common::server::Server;

/// What a watcher makes of the presence frames: it has to know how many are there.
struct Watcher {
    client: Client,
    /// The first count, and all joins and leaves that were told since.
    told: u64,
    /// The latest count.
    online: u64,
    /// Whether each frame has to lead from the count before it to its own. (While a room shrinks below the size at
    /// which single ones are told, a sum may come after the single ones that followed it.)
    strict: bool,
    sums: Vec<Value>,
}

impl Watcher {
    fn new(client: Client) -> Self {
        Self { client, told: 1, online: 1, strict: true, sums: Vec::new() }
    }

    /// Reads until so many are online, by the frames' counts and by all that was told.
    #[track_caller]
    fn until_online(&mut self, online: u64) {
        while (self.online, self.told) != (online, online) {
            let frame = self.client.json();
            self.take(&frame);
        }
    }

    #[track_caller]
    fn take(&mut self, frame: &Value) {
        let number = |field: &str| frame[field].as_u64().unwrap_or_else(|| panic!("no {field}: {frame}"));
        let joins = frame["type"] == "user_join";
        assert!(joins || frame["type"] == "user_leave", "{frame}");
        self.online = number("online_count");
        let (joined, left) = if frame.get("user").is_some() {
            assert!(self.online <= 200, "a single one is told in a room of more than 200: {frame}");
            (u64::from(joins), u64::from(!joins))
        } else {
            let (joined, left) = (number("joined"), number("left"));
            assert_eq!(frame["message"], format!("{joined} joined, {left} left"));
            assert_eq!(joins, joined >= left, "user_join if the count rose or stayed: {frame}");
            assert!(frame.get("name").is_none(), "{frame}");
            self.sums.push(frame.clone());
            (joined, left)
        };
        self.told = self.told + joined - left;
        assert!(!self.strict || self.told == self.online, "{} were told, but: {frame}", self.told);
    }

    /// The milliseconds within the day of each frame with sums.
    fn times(&self) -> Vec<u64> {
        let time = |frame: &Value| {
            let text = frame["timestamp"].as_str().expect("a timestamp").to_owned();
            let number = |from: usize, to: usize| text[from..to].parse::<u64>().expect("digits");
            ((number(11, 13) * 60 + number(14, 16)) * 60 + number(17, 19)) * 1000 + number(20, 23)
        };
        self.sums.iter().map(time).collect()
    }
}

/// > In a room of more than 200, single joins, leaves, renames and typing are not told. Instead, at most once a second,
/// > there is one frame for all who came and went since the last: `user_join` if the count rose or stayed, `user_leave`
/// > if it fell, without `user` and `name`, but with `joined` and `left`:
#[test]
fn in_a_large_room_presence_comes_in_sums() {
    let server = Server::start(&["--rate", "0"]);
    let client = server.join("watcher", "hall", 1);
    let mut watcher = Watcher::new(client);
    let mut crowd: Vec<Client> = (2..=211).map(|number| server.join(&format!("c{number}"), "hall", number)).collect();
    watcher.until_online(211);
    let first = watcher.sums.first().expect("sums").to_string();
    assert!(!first.contains("c2"), "{first}");

    // Renames and typing are told to nobody; lines to everybody.
    let last = crowd.last_mut().expect("a crowd");
    last.send(r#"{"type":"name","name":"renamed"}"#);
    last.until("the rename", |frame| frame["type"] == "user_rename");
    last.send(r#"{"type":"typing"}"#);
    last.send("hello, hall");
    last.until("its line", |frame| frame["type"] == "chat");
    watcher.client.expect_chat("renamed", "hello, hall");

    // Some go, some come: the sums hold.
    crowd.drain(..5).for_each(drop);
    watcher.until_online(206);
    crowd.extend((0..3).map(|number| server.connect("late", &format!("/rooms/hall?name=late{number}"))));
    watcher.until_online(209);
    let times = watcher.times();
    assert!(
        times.windows(2).all(|pair| pair[1] + 86_400_000 * u64::from(pair[1] < pair[0]) >= pair[0] + 950),
        "{times:?}"
    );

    // The room grows small again: single ones are told again, and nobody is forgotten.
    watcher.strict = false;
    crowd.drain(..20).for_each(drop);
    watcher.until_online(189);
    watcher.strict = true;
    drop(server.connect("single", "/rooms/hall?name=single"));
    watcher.client.expect(r#"{"type":"user_join","message":"single joined","online_count":190,"timestamp":"<T>","room":"hall","user":"<U9>","name":"single"}"#);
    watcher.client.expect(r#"{"type":"user_leave","message":"single left","online_count":189,"timestamp":"<T>","room":"hall","user":"<U9>","name":"single"}"#);
    drop(crowd);
    watcher.until_online(1);
    watcher.client.quiet();
}

/// > the others in the room | `user_join` |
#[test]
fn in_a_room_of_200_everybody_is_told_of() {
    let server = Server::start(&[]);
    let client = server.join("watcher", "hall", 1);
    let mut watcher = Watcher::new(client);
    let _crowd: Vec<Client> = (2..=200).map(|number| server.join(&format!("c{number}"), "hall", number)).collect();
    watcher.until_online(200);
    assert!(watcher.sums.is_empty(), "{:?}", watcher.sums);
}
