//! The conversation, step by step. What it does under breaks of all kinds is for `tests/conversation.rs`.

mod names;
mod plain;
mod rooms;

use crate::client::talk::OwnLine;

use super::frame::Frame;
use super::*;

const WELCOME: &str = r#"{"type":"welcome","session":"s1","user":"u1","name":"al","resumed":false,"heartbeat_ms":25000,"limits":{"message_bytes":200}}"#;

/// A conversation with whoever drives it.
struct Driver {
    conversation: Conversation,
    now: Millis,
}

impl Driver {
    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            url: "there".into(),
            name: Some("al".into()),
            rooms: vec!["tea".into()],
            rooms_matter: false,
            mode: Mode::Terminal,
            once: false,
            session: None,
        };
        change(&mut settings);
        Self { conversation: Conversation::new(settings, fastrand::Rng::with_seed(7)), now: 1_000 }
    }

    fn tell(&mut self, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.conversation.handle(self.now, event, &mut actions);
        // How it stands is told after each step; tests that want to know ask.
        actions.retain(|action| !matches!(action, Action::Show(Shown::State { .. })));
        actions
    }

    fn after(&mut self, passed: Millis) -> Vec<Action> {
        self.now += passed;
        self.tell(Event::Tick)
    }

    fn hear(&mut self, text: &str) -> Vec<Action> {
        self.tell(Event::Text(text))
    }

    fn ask(&mut self, intent: Intent) -> Vec<Action> {
        self.tell(Event::Intent(intent))
    }

    fn say(&mut self, line: &str) -> Vec<Action> {
        self.ask(Intent::Say(line.into()))
    }

    fn cut(&mut self) -> Vec<Action> {
        self.tell(Event::Broken { why: "cut" })
    }

    /// Connects; returns what `hello` said.
    fn greet(&mut self) -> String {
        assert_eq!(self.tell(Event::Tick), [Action::Connect { offer: true }]);
        let [Action::Send(hello)] = &*self.tell(Event::Opened { lasting: true }) else { panic!("no hello") };
        hello.clone()
    }

    /// Connects, and joins `tea` where `joined` says.
    fn begin(&mut self, joined: &str) {
        self.greet();
        self.hear(WELCOME);
        self.hear(r#"{"type":"joined","room":"@me","epoch":"em","seq":0,"recovered":false}"#);
        self.hear(joined);
    }

    /// Comes back after a break, as soon as it wants to; returns what `hello` said.
    fn return_as(&mut self, welcome: &str, joined: &str) -> (String, Vec<Action>) {
        self.now = self.conversation.next_deadline().expect("a wait").max(self.now);
        let hello = self.greet();
        let mut actions = self.hear(welcome);
        actions.extend(self.hear(r#"{"type":"joined","room":"@me","epoch":"em","seq":0,"recovered":true}"#));
        actions.extend(self.hear(joined));
        (hello, actions)
    }

    fn plain(change: impl FnOnce(&mut Settings)) -> Self {
        let mut driver = Self::with(change);
        driver.tell(Event::Tick);
        driver.tell(Event::Opened { lasting: false });
        driver
    }
}

const JOINED: &str = r#"{"type":"joined","room":"tea","epoch":"e1","seq":0,"recovered":false}"#;

fn line(seq: u64, message: &str) -> String {
    format!(
        r#"{{"type":"chat","from":"bob","message":"{message}","timestamp":"t{seq}","room":"tea","seq":{seq},"user":"u2"}}"#
    )
}

/// An own line to the room, in words about it.
fn own(message: &str) -> OwnLine {
    OwnLine { to: None, message: message.into() }
}

/// The words of the lines that are shown.
fn shown(actions: &[Action]) -> Vec<&str> {
    let lines = actions.iter().filter_map(|action| match action {
        Action::Show(Shown::Said(said)) => Some(&*said.message),
        _ => None,
    });
    lines.collect()
}

fn words(actions: &[Action]) -> Vec<&OwnWord> {
    let words = actions.iter().filter_map(|action| match action {
        Action::Show(Shown::Own(word)) => Some(word),
        _ => None,
    });
    words.collect()
}

fn sent(actions: &[Action]) -> Vec<&str> {
    let texts = actions.iter().filter_map(|action| match action {
        Action::Send(text) => Some(&**text),
        _ => None,
    });
    texts.collect()
}

fn ended(actions: &[Action]) -> Option<(bool, Option<OwnWord>)> {
    match actions.last() {
        Some(Action::Show(Shown::Ended { success, why })) => Some((*success, why.clone())),
        _ => None,
    }
}

/// The sessions and names that are to be kept.
fn kept(actions: &[Action]) -> Vec<(&str, &str)> {
    let kept = actions.iter().filter_map(|action| match action {
        Action::Remember { session, name } => Some((&**session, &**name)),
        _ => None,
    });
    kept.collect()
}

/// The `id` in a command.
fn id(text: &str) -> String {
    Frame::parse(text).and_then(|frame| frame.text("id")).expect("an id")
}

#[test]
fn it_begins_with_hello_and_goes_on_where_it_was() {
    let mut driver = Driver::with(|_| {});
    let hello = driver.greet();
    assert_eq!(hello, r#"{"type":"hello","name":"al","rooms":[{"room":"@me","last":20},{"room":"tea","last":20}]}"#);
    let actions = driver.hear(WELCOME);
    assert_eq!(kept(&actions), [("s1", "al")]);
    driver.hear(r#"{"type":"joined","room":"@me","epoch":"em","seq":0,"recovered":false}"#);
    driver.hear(r#"{"type":"joined","room":"tea","epoch":"e1","seq":60,"recovered":false}"#);
    // Of the last 20 only two are kept.
    assert_eq!(shown(&driver.hear(&line(59, "one"))), ["one"]);
    assert_eq!(shown(&driver.hear(&line(60, "two"))), ["two"]);
    assert!(shown(&driver.hear(&line(60, "two"))).is_empty(), "twice");
    driver.cut();
    let joined = r#"{"type":"joined","room":"tea","epoch":"e1","seq":61,"recovered":true}"#;
    let (hello, actions) = driver.return_as(WELCOME, joined);
    let expected = r#""session":"s1","rooms":[{"room":"@me","epoch":"em","seq":0},{"room":"tea","epoch":"e1","seq":60,"time":"t60"}]}"#;
    assert!(hello.ends_with(expected), "{hello}");
    assert_eq!(kept(&actions), [], "it is kept already");
    assert_eq!(words(&actions), [&OwnWord::Back { missed: 1 }]);
    assert_eq!(shown(&driver.hear(&line(61, "three"))), ["three"]);
}

#[test]
fn a_first_attempt_that_fails_is_the_end() {
    let mut driver = Driver::with(|_| {});
    driver.tell(Event::Tick);
    let why = OwnWord::CannotConnect { url: "there".into(), why: "refused".into() };
    assert_eq!(ended(&driver.tell(Event::Broken { why: "refused" })), Some((false, Some(why))));
    assert!(driver.conversation.is_over() && !driver.conversation.has_succeeded());
    assert_eq!(driver.conversation.next_deadline(), None);
    assert!(driver.tell(Event::Tick).is_empty(), "nothing comes after the end");
}

#[test]
fn it_comes_back_slowly_and_says_so_once() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    assert!(matches!(words(&driver.cut())[..], [OwnWord::Reconnecting { .. }]));
    let mut longest = 0;
    for failure in 1..12 {
        let limit = (500 << (failure - 1)).min(20_000);
        let wait = driver.conversation.next_deadline().unwrap() - driver.now;
        assert!(wait <= limit, "{wait} ms after {failure} failures");
        longest = longest.max(wait);
        assert_eq!(driver.after(wait), [Action::Connect { offer: true }]);
        assert_eq!(driver.cut(), [Action::GiveUp], "one word is enough");
    }
    assert!(longest > 5_000, "the waits do not grow: {longest}");
    // A connection that was of use: a line came.
    driver.return_as(WELCOME, JOINED);
    driver.hear(&line(1, "one"));
    driver.cut();
    assert!(driver.conversation.next_deadline().unwrap() <= driver.now + 500);
}

#[test]
fn the_server_may_say_when_to_come_back() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    let bye =
        r#"{"type":"system","message":"bye","code":"shutdown","reconnect_in_ms":3000,"reconnect_spread_ms":1000}"#;
    driver.hear(bye);
    driver.tell(Event::Closed { code: Some(4001), reason: "" });
    let wait = driver.conversation.next_deadline().unwrap() - driver.now;
    assert!((3_000..=4_000).contains(&wait), "{wait}");
    driver.return_as(WELCOME, JOINED);
    driver
        .hear(r#"{"type":"system","message":"never","reconnect_in_ms":9007199254740991,"reconnect_spread_ms":1e300}"#);
    driver.cut();
    assert!(driver.conversation.next_deadline().unwrap() <= driver.now + RECONNECT_MAX_MS);
}

#[test]
fn final_codes_end_it_and_others_do_not() {
    for code in [1000, 1002, 1007, 1009, 4500, 4504, 4999] {
        let mut driver = Driver::with(|_| {});
        driver.begin(JOINED);
        let why = OwnWord::Closed { code, reason: "so".into() };
        let actions = driver.tell(Event::Closed { code: Some(code), reason: "so" });
        assert_eq!(ended(&actions), Some((false, Some(why))), "{code}");
    }
    for code in [None, Some(1001), Some(1011), Some(1013), Some(4001), Some(4002), Some(4003), Some(3000)] {
        let mut driver = Driver::with(|_| {});
        driver.begin(JOINED);
        assert_eq!(ended(&driver.tell(Event::Closed { code, reason: "" })), None, "{code:?}");
        assert!(!driver.conversation.is_over());
        let mut driver = Driver::with(|settings| settings.once = true);
        driver.begin(JOINED);
        driver.say("lost");
        let actions = driver.tell(Event::Closed { code, reason: "" });
        assert!(matches!(ended(&actions), Some((false, Some(OwnWord::Lost { unsent: 1, .. })))), "{actions:?}");
        assert_eq!(words(&actions), [&OwnWord::PerhapsSent { line: own("lost") }]);
    }
}

#[test]
fn silence_is_answered_with_a_ping_and_only_its_silence_with_a_break() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    assert!(driver.after(24_999).is_empty());
    assert_eq!(driver.after(1), [Action::Send(r#"{"type":"ping"}"#.into())]);
    assert!(driver.after(9_999).is_empty());
    driver.tell(Event::Sound);
    assert!(driver.after(24_999).is_empty(), "anything counts");
    // A program that was stopped for an hour judges nothing but the answer to a ping that it sent.
    assert_eq!(sent(&driver.after(3_600_000)), [r#"{"type":"ping"}"#]);
    driver.hear(r#"{"type":"pong"}"#);
    assert_eq!(sent(&driver.after(25_000)), [r#"{"type":"ping"}"#]);
    assert!(matches!(driver.after(10_000)[..], [Action::GiveUp, ..]));
}

#[test]
fn a_line_is_kept_until_it_is_acknowledged_and_sent_again_under_its_id() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    let actions = driver.say("one");
    let first = sent(&actions)[0].to_owned();
    assert!(first.starts_with(r#"{"type":"chat","room":"tea","message":"one","id":""#), "{first}");
    driver.cut();
    assert!(sent(&driver.say("two")).is_empty());
    let joined = r#"{"type":"joined","room":"tea","epoch":"e1","seq":1,"recovered":true}"#;
    let (_, actions) = driver.return_as(WELCOME, joined);
    assert!(sent(&actions).is_empty(), "first the replay");
    let actions = driver.hear(&line(1, "meanwhile"));
    assert_eq!(sent(&actions)[0], first);
    assert_ne!(id(sent(&actions)[1]), id(&first));
    driver.hear(&format!(r#"{{"type":"ack","id":"{}","room":"tea","seq":2}}"#, id(&first)));
    driver.cut();
    let joined = r#"{"type":"joined","room":"tea","epoch":"e1","seq":3,"recovered":true}"#;
    driver.return_as(WELCOME, joined);
    // The replay shows it: it is not sent again.
    let second = id(sent(&actions)[1]);
    let own = |seq, id: &str| {
        format!(r#"{{"type":"chat","from":"al","message":"x","room":"tea","seq":{seq},"user":"u1","id":"{id}"}}"#)
    };
    driver.hear(&own(2, &id(&first)));
    let actions = driver.hear(&own(3, &second));
    assert!(matches!(&actions[..], [Action::Show(Shown::Said(said))] if said.own), "{actions:?}");
    assert_eq!(driver.conversation.outbox.len(), 0);
}

#[test]
fn what_cannot_be_known_is_left_to_the_person() {
    for (welcome, joined) in [
        (WELCOME, r#"{"type":"joined","room":"tea","epoch":"e1","seq":0,"recovered":false,"reason":"ahead"}"#),
        (&WELCOME.replace("u1", "u9"), r#"{"type":"joined","room":"tea","epoch":"e1","seq":0,"recovered":true}"#),
    ] {
        let mut driver = Driver::with(|_| {});
        driver.begin(JOINED);
        driver.say("sent");
        driver.cut();
        driver.say("typed");
        let (_, actions) = driver.return_as(welcome, joined);
        assert!(words(&actions).contains(&&OwnWord::PerhapsSent { line: own("sent") }), "{actions:?}");
        let again = sent(&actions);
        assert!(again.len() == 1 && again[0].contains("typed"), "{again:?}");
    }
}

#[test]
fn a_hundred_lines_wait_and_no_more() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    driver.cut();
    for number in 0..100 {
        assert!(driver.conversation.takes_lines());
        assert!(words(&driver.say(&number.to_string())).is_empty());
    }
    assert!(!driver.conversation.takes_lines(), "what is piped in waits");
    assert_eq!(words(&driver.say("more")), [&OwnWord::NotSent { line: own("more") }]);
    assert_eq!(words(&driver.after(1_000)).len(), 100, "each is said to wait");
    assert!(words(&driver.after(1)).is_empty(), "once");
}

#[test]
fn a_line_that_the_server_would_close_for_is_not_sent() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    let long = "x".repeat(200);
    let actions = driver.say(&long);
    assert!(matches!(words(&actions)[..], [OwnWord::TooLong { bytes_max: 200, .. }]), "{actions:?}");
    assert!(sent(&actions).is_empty());
}

#[test]
fn a_line_that_is_refused_for_now_is_sent_again_later() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    let first = sent(&driver.say("one"))[0].to_owned();
    let refusal = |code: &str, retry: bool| {
        format!(r#"{{"type":"error","code":"{code}","message":"no","retry":{retry},"id":"{}"}}"#, id(&first))
    };
    assert!(sent(&driver.hear(&refusal("overloaded", true))).is_empty());
    assert_eq!(sent(&driver.after(1_000)), [&*first]);
    let actions = driver.hear(&refusal("forbidden", false));
    let about = Some(own("one"));
    let refused = Shown::Refused { code: "forbidden".into(), message: "no".into(), about };
    assert_eq!(actions, [Action::Show(refused)]);
    assert!(sent(&driver.after(60_000)).iter().all(|text| !text.contains("one")));
}

#[test]
fn goodbye_waits_for_acknowledgements_but_not_for_ever() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    let ack = format!(r#"{{"type":"ack","id":"{}"}}"#, id(sent(&driver.say("one"))[0]));
    assert!(driver.ask(Intent::Quit).is_empty());
    assert_eq!(words(&driver.say("late")), [&OwnWord::NotSent { line: own("late") }]);
    assert_eq!(driver.hear(&ack), [Action::Goodbye]);
    assert_eq!(shown(&driver.hear(&line(1, "before its Close"))), ["before its Close"]);
    let actions = driver.tell(Event::Closed { code: Some(1000), reason: "" });
    assert_eq!(ended(&actions), Some((true, None)));

    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    driver.say("one");
    driver.ask(Intent::Quit);
    assert_eq!(ended(&driver.after(4_999)), None);
    let actions = driver.after(1);
    assert!(matches!(ended(&actions), Some((false, Some(OwnWord::Lost { unsent: 1, .. })))), "{actions:?}");
    assert_eq!(words(&actions), [&OwnWord::PerhapsSent { line: own("one") }]);

    // With nothing to wait for there is nothing to wait for.
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    driver.cut();
    assert_eq!(ended(&driver.ask(Intent::Quit)), Some((true, None)));
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    driver.ask(Intent::Quit);
    assert_eq!(ended(&driver.after(5_000)), Some((true, None)), "an answer to goodbye is not awaited for ever");
}

#[test]
fn the_end_of_the_input_waits_as_long_as_something_is_acknowledged() {
    let mut driver = Driver::with(|settings| settings.mode = Mode::Plain);
    driver.say("one");
    driver.say("two");
    driver.tell(Event::EndOfInput);
    driver.begin(JOINED);
    let ids: Vec<String> = driver.conversation.outbox.lines().map(|line| line.id.clone()).collect();
    for _ in 0..3 {
        driver.hear(r#"{"type":"pong"}"#);
        assert_eq!(ended(&driver.after(19_000)), None);
    }
    driver.hear(&format!(r#"{{"type":"ack","id":"{}"}}"#, ids[0]));
    for _ in 0..5 {
        driver.hear(r#"{"type":"pong"}"#);
        assert_eq!(ended(&driver.after(11_000)), None);
    }
    driver.hear(r#"{"type":"pong"}"#);
    let actions = driver.after(5_000);
    assert!(matches!(ended(&actions), Some((false, Some(OwnWord::Lost { unsent: 1, .. })))), "{actions:?}");

    // A line that was refused is a failure of a pipe, though all is known of it.
    let mut driver = Driver::with(|settings| settings.mode = Mode::Plain);
    driver.begin(JOINED);
    let first = id(sent(&driver.say("one"))[0]);
    driver.tell(Event::EndOfInput);
    let actions =
        driver.hear(&format!(r#"{{"type":"error","code":"forbidden","message":"no","retry":false,"id":"{first}"}}"#));
    assert_eq!(actions.last(), Some(&Action::Goodbye));
    let actions = driver.tell(Event::Closed { code: Some(1000), reason: "" });
    assert_eq!(ended(&actions), Some((false, Some(OwnWord::NotAll { lines: 1 }))));
}
