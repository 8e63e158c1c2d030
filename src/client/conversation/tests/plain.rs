//! With servers that know plain messages only, or pretend to know more.

use super::*;

const PING_EVERY: Millis = 100;

#[test]
fn a_server_that_stumbles_over_the_offer_is_asked_without() {
    let mut driver = Driver::with(|_| {});
    driver.tell(Event::Tick);
    let refused = Event::Refused { why: "400", perhaps_the_offer: true };
    assert_eq!(driver.tell(refused), [Action::GiveUp, Action::Connect { offer: false }]);
    let again = Event::Refused { why: "400 again", perhaps_the_offer: true };
    assert!(
        matches!(ended(&driver.tell(again)), Some((false, Some(OwnWord::CannotConnect { why, .. }))) if why == "400 again")
    );

    // Some agree to whatever is offered.
    for text in [
        r#"{"type":"system","message":"Welcome"}"#,
        "hi",
        r#"{"type":"error","message":"what?"}"#,
        r#"{"type":"chat","message":"{\"type\":\"hello\"}"}"#,
    ] {
        let mut driver = Driver::with(|_| {});
        driver.greet();
        assert_eq!(driver.hear(text), [Action::GiveUp, Action::Connect { offer: false }], "{text}");
        let actions = driver.tell(Event::Opened { lasting: false });
        assert!(matches!(words(&actions)[..], [OwnWord::Connected { lasting: false, .. }]));
        driver.cut();
        driver.now = driver.conversation.next_deadline().unwrap();
        assert_eq!(driver.tell(Event::Tick), [Action::Connect { offer: false }], "it is known to be plain");
    }
    let mut driver = Driver::with(|_| {});
    driver.greet();
    assert_eq!(driver.after(10_000), [Action::GiveUp, Action::Connect { offer: false }], "silence");
    // One that has said `welcome` once is never taken for another.
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    driver.cut();
    driver.now = driver.conversation.next_deadline().unwrap();
    driver.greet();
    assert!(driver.hear(r#"{"type":"system","message":"Welcome"}"#).is_empty());
    assert!(matches!(driver.after(10_000)[..], [Action::GiveUp]));
}

#[test]
fn a_plain_line_has_arrived_when_it_comes_back_or_a_ping_behind_it_is_answered() {
    let mut driver = Driver::plain(|_| {});
    let actions = driver.say("one");
    assert_eq!(actions, [Action::Send(r#"{"type":"chat","message":"one"}"#.into()), Action::Ping(1)]);
    assert_eq!(sent(&driver.say("two")).len(), 1);
    assert_eq!(driver.conversation.outbox.len(), 2);
    let actions = driver.hear(r#"{"type":"chat","from":"me","message":"two"}"#);
    assert!(matches!(&actions[..], [Action::Show(Shown::Said(said))] if said.own && said.from == "me"), "{actions:?}");
    assert_eq!(driver.conversation.outbox.len(), 1);
    // One Ping at a time, and not too many: some servers take them for an attack.
    driver.say("three");
    assert_eq!(driver.after(PING_EVERY), []);
    assert_eq!(driver.tell(Event::Pong(1)), [Action::Ping(2)]);
    assert_eq!(driver.conversation.outbox.len(), 1);
    driver.say("four");
    assert_eq!(driver.tell(Event::Pong(2)), []);
    assert_eq!(driver.after(PING_EVERY), [Action::Ping(3)]);
    driver.tell(Event::Pong(3));
    assert_eq!(driver.conversation.outbox.len(), 0);
    let actions = driver.hear(r#"{"type":"chat","from":"me","message":"three"}"#);
    assert!(matches!(&actions[..], [Action::Show(Shown::Said(said))] if said.own), "its echo comes later");
    let actions = driver.hear(r#"{"type":"chat","from":"bob","message":"three"}"#);
    assert!(matches!(&actions[..], [Action::Show(Shown::Said(said))] if !said.own), "somebody else's");
}

#[test]
fn what_a_plain_server_may_not_have_got_is_never_sent_again() {
    let mut driver = Driver::plain(|_| {});
    driver.say("one");
    let actions = driver.cut();
    assert_eq!(words(&actions)[0], &OwnWord::PerhapsSent { line: own("one") });
    driver.say("two");
    driver.now = driver.conversation.next_deadline().unwrap();
    driver.tell(Event::Tick);
    let actions = driver.tell(Event::Opened { lasting: false });
    assert_eq!(sent(&actions), [r#"{"type":"chat","message":"two"}"#]);
    assert_eq!(words(&driver.ask(Intent::Who)), [&OwnWord::NeedsV1]);
}

#[test]
fn a_plain_server_that_answers_no_pings_is_not_judged_by_them() {
    let mut driver = Driver::plain(|settings| settings.mode = Mode::Plain);
    assert_eq!(driver.after(25_000), [Action::Ping(1)]);
    assert_eq!(driver.after(10_000), []);
    assert_eq!(driver.after(25_000), [Action::Ping(2)]);
    // Of one that answers, silence tells.
    driver.tell(Event::Pong(2));
    assert_eq!(driver.after(25_000), [Action::Ping(3)]);
    assert!(matches!(driver.after(10_000)[..], [Action::GiveUp, ..]));

    // Its answer to goodbye proves that it has read all lines.
    for (code, success) in [(Some(1000), true), (None, true), (Some(1001), false)] {
        let mut driver = Driver::plain(|settings| settings.mode = Mode::Plain);
        driver.say("one");
        driver.tell(Event::EndOfInput);
        assert_eq!(driver.after(1_000).last(), Some(&Action::Goodbye));
        let actions = driver.tell(Event::Closed { code, reason: "" });
        assert_eq!(ended(&actions).map(|(success, _)| success), Some(success), "{code:?}");
    }
}

#[test]
fn what_a_foreign_server_says_is_shown_as_it_is() {
    let mut driver = Driver::plain(|_| {});
    let show = |shown| [Action::Show(shown)];
    assert_eq!(driver.hear("hi there"), show(Shown::Text("hi there".into())));
    assert_eq!(driver.hear("[1]"), show(Shown::Text("[1]".into())));
    assert_eq!(driver.hear(r#"{"x":1}"#), show(Shown::Text(r#"{"x":1}"#.into())));
    assert_eq!(driver.hear(r#"{"type":"chat","message":"echo"}"#), show(Shown::Text("echo".into())));
    assert_eq!(driver.hear(r#"{"type":"pong"}"#), []);
    let actions = driver.hear(r#"{"type":"user_join","message":"bob joined","timestamp":"t"}"#);
    let (room, message, timestamp) = (None, "bob joined".into(), "t".into());
    assert_eq!(actions, show(Shown::Notice { room, message, timestamp }));
}
