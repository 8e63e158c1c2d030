//! Rooms, positions, gaps, and frames of all kinds.

use super::*;

#[test]
fn a_jump_is_filled_by_history_before_anything_else_is_shown() {
    let mut driver = Driver::with(|settings| settings.mode = Mode::Plain);
    driver.begin(JOINED);
    driver.hear(&line(1, "one"));
    let actions = driver.hear(&line(4, "four"));
    let ask = r#"{"type":"history","room":"tea","after":1,"limit":200,"ref":"gap"}"#;
    assert_eq!(actions, [Action::Send(ask.into())]);
    assert!(driver.hear(&line(5, "five")).is_empty(), "asked once");
    let history = |messages: &[String], oldest: u64, epoch: &str| {
        let messages = messages.join(",");
        format!(
            r#"{{"type":"history","room":"tea","epoch":"{epoch}","messages":[{messages}],"oldest":{oldest},"newest":5,"more":false,"ref":"gap"}}"#
        )
    };
    let part = [line(2, "two"), line(3, "three")];
    let actions = driver.hear(&history(&part, 1, "e1"));
    assert_eq!((shown(&actions), sent(&actions).len()), (vec!["two", "three"], 1));
    let rest = [line(4, "four"), line(5, "five")];
    assert_eq!(shown(&driver.hear(&history(&rest, 1, "e1"))), ["four", "five"]);
    // What is not kept any more is told by resuming.
    driver.hear(&line(9, "nine"));
    assert!(matches!(driver.hear(&history(&[line(9, "nine")], 9, "e1"))[..], [Action::GiveUp, ..]));
}

#[test]
fn a_gap_and_a_new_life_are_told() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    driver.hear(&line(1, "one"));
    driver.cut();
    let trimmed = r#"{"type":"joined","room":"tea","epoch":"e1","seq":9,"recovered":false,"reason":"trimmed","gap":{"from":2,"to":7}}"#;
    let (_, actions) = driver.return_as(WELCOME, trimmed);
    let may_miss = |reason: &str| OwnWord::MayMiss { room: "tea".into(), reason: reason.into() };
    assert_eq!(words(&actions), [&may_miss("trimmed"), &OwnWord::Back { missed: 2 }]);
    assert_eq!(shown(&driver.hear(&line(8, "eight"))), ["eight"]);
    driver.cut();
    let other = r#"{"type":"joined","room":"tea","epoch":"e2","seq":3,"recovered":false,"reason":"epoch"}"#;
    let (_, actions) = driver.return_as(WELCOME, other);
    assert_eq!(words(&actions)[0], &may_miss("epoch"));
    assert_eq!(sent(&actions), [r#"{"type":"history","room":"tea","after":0,"limit":200,"ref":"gap"}"#]);
    // The first of them bears a time at which the old life was still read.
    let messages =
        [line(1, "old").replace("t1", "t7"), line(2, "x").replace("t2", "t8"), line(3, "new").replace("t3", "t9")];
    let history = format!(
        r#"{{"type":"history","room":"tea","epoch":"e2","messages":[{}],"oldest":1,"newest":3,"ref":"gap"}}"#,
        messages.join(",")
    );
    assert_eq!(shown(&driver.hear(&history)), ["new"]);
    assert_eq!(shown(&driver.hear(&line(4, "next"))), ["next"]);
}

/// The server has lost lines, but none that was read here.
#[test]
fn a_new_epoch_under_which_nothing_is_lost_is_no_news() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    driver.hear(&line(1, "one"));
    driver.cut();
    let joined = r#"{"type":"joined","room":"tea","epoch":"e2","seq":2,"recovered":true}"#;
    let (_, actions) = driver.return_as(WELCOME, joined);
    assert_eq!(words(&actions), [&OwnWord::Back { missed: 1 }]);
    assert_eq!(shown(&driver.hear(&line(2, "two"))), ["two"]);
    driver.cut();
    let trimmed = r#"{"type":"joined","room":"tea","epoch":"e3","seq":9,"recovered":false,"reason":"trimmed","gap":{"from":3,"to":7}}"#;
    let (hello, actions) = driver.return_as(WELCOME, trimmed);
    assert!(hello.contains(r#"{"room":"tea","epoch":"e2","seq":2,"time":"t2"}"#), "{hello}");
    let may_miss = OwnWord::MayMiss { room: "tea".into(), reason: "trimmed".into() };
    assert_eq!(words(&actions), [&may_miss, &OwnWord::Back { missed: 2 }]);
    assert_eq!(shown(&driver.hear(&line(8, "eight"))), ["eight"]);
}

/// The server has lost lines that were read here: those before them are there still, and were shown.
#[test]
fn a_log_that_lost_its_end_is_not_shown_again() {
    let mut driver = Driver::with(|_| {});
    driver.begin(r#"{"type":"joined","room":"tea","epoch":"e1","seq":7,"recovered":false}"#);
    (3..=9).for_each(|seq| drop(driver.hear(&line(seq, "shown"))));
    driver.cut();
    let cut = r#"{"type":"joined","room":"tea","epoch":"e2","seq":8,"recovered":false,"reason":"ahead"}"#;
    let (_, actions) = driver.return_as(WELCOME, cut);
    assert_eq!(words(&actions)[0], &OwnWord::MayMiss { room: "tea".into(), reason: "ahead".into() });
    let lines: Vec<_> = (1..=8).map(|seq| line(seq, "shown")).collect();
    let history = format!(
        r#"{{"type":"history","room":"tea","epoch":"e2","messages":[{}],"oldest":1,"newest":8,"ref":"gap"}}"#,
        lines.join(",")
    );
    assert!(shown(&driver.hear(&history)).is_empty(), "again");
    assert_eq!(shown(&driver.hear(&line(9, "new").replace("t9", "t91"))), ["new"]);
    assert!(sent(&driver.ask(Intent::History(2)))[0].contains(r#""before":3,"limit":2"#));
}

#[test]
fn older_lines_are_shown_once() {
    let mut driver = Driver::with(|_| {});
    driver.begin(r#"{"type":"joined","room":"tea","epoch":"e1","seq":60,"recovered":false}"#);
    driver.hear(&line(41, "first"));
    let actions = driver.ask(Intent::History(2));
    assert_eq!(sent(&actions), [r#"{"type":"history","room":"tea","before":41,"limit":2,"ref":"older"}"#]);
    let history = format!(
        r#"{{"type":"history","room":"tea","epoch":"e1","messages":[{},{}],"ref":"older"}}"#,
        line(39, "a"),
        line(40, "b")
    );
    assert_eq!(shown(&driver.hear(&history)), ["a", "b"]);
    assert_eq!(words(&driver.hear(&history)), [&OwnWord::NoOlder { room: "tea".into() }]);
    assert!(sent(&driver.ask(Intent::History(999)))[0].contains(r#""before":39,"limit":200"#));
}

#[test]
fn rooms_and_names_outlive_a_connection() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    assert_eq!(
        sent(&driver.ask(Intent::Join("jam".into()))),
        [r#"{"type":"join","room":"jam","last":20,"ref":"join"}"#]
    );
    driver.hear(r#"{"type":"joined","room":"jam","epoch":"e3","seq":0,"recovered":false,"ref":"join"}"#);
    assert!(sent(&driver.say("jam!"))[0].contains(r#""room":"jam""#), "one speaks where one came last");
    driver.ask(Intent::Leave(Some("tea".into())));
    driver.hear(r#"{"type":"left","room":"tea","ref":"leave"}"#);
    driver.ask(Intent::Name("alice".into()));
    driver.hear(r#"{"type":"user_rename","user":"u1","from":"al","to":"Alice","message":"","ref":"name"}"#);
    driver.cut();
    driver.now = driver.conversation.next_deadline().unwrap();
    let hello = driver.greet();
    assert!(hello.contains(r#""name":"Alice""#) && hello.contains("jam") && !hello.contains("tea"), "{hello}");
    // What is asked for now, `hello` does not know of: it is asked for when it is answered.
    driver.ask(Intent::Join("cake".into()));
    driver.ask(Intent::Leave(Some("jam".into())));
    let actions = driver.hear(WELCOME);
    let asked = sent(&actions);
    assert!(
        asked[0].contains("\"join\",\"room\":\"cake\"") && asked[1].contains("\"leave\",\"room\":\"jam\""),
        "{asked:?}"
    );
    // A name that is refused is not wished any more.
    driver.ask(Intent::Name("bob".into()));
    driver.hear(r#"{"type":"error","code":"name_taken","message":"taken","retry":false,"ref":"name"}"#);
    driver.cut();
    driver.now = driver.conversation.next_deadline().unwrap();
    assert!(driver.greet().contains(r#""name":"al""#));
}

#[test]
fn where_frames_are_printed_each_line_is_printed_once_and_no_secret() {
    let mut driver = Driver::with(|settings| settings.mode = Mode::Json);
    driver.greet();
    let printed = |actions: &[Action]| -> Vec<String> {
        actions
            .iter()
            .filter_map(|action| match action {
                Action::Show(Shown::Frame(text)) => Some(text.clone()),
                Action::Show(other) => panic!("{other:?}"),
                _ => None,
            })
            .collect()
    };
    assert_eq!(printed(&driver.hear(WELCOME)), [WELCOME.replace(r#""session":"s1","#, "")]);
    assert_eq!(printed(&driver.hear(JOINED)), [JOINED]);
    assert_eq!(printed(&driver.hear(&line(1, "one"))), [line(1, "one")]);
    assert!(printed(&driver.hear(&line(1, "one"))).is_empty());
    assert!(printed(&driver.hear(&line(3, "three"))).is_empty());
    let history = format!(
        r#"{{"type":"history","room":"tea","epoch":"e1","messages":[{},{}],"oldest":1,"ref":"gap"}}"#,
        line(2, "two"),
        line(3, "three")
    );
    assert_eq!(printed(&driver.hear(&history)), [line(2, "two"), line(3, "three")]);
    assert!(printed(&driver.hear(r#"{"type":"pong"}"#)).is_empty());
    let unknown = r#"{"type":"from the future","x":[1]}"#;
    assert_eq!(printed(&driver.hear(unknown)), [unknown]);
    assert!(printed(&driver.cut()).is_empty());
}

#[test]
fn nonsense_is_survived() {
    let whole = [
        WELCOME.to_owned(),
        JOINED.to_owned(),
        r#"{"type":"joined","room":"tea","epoch":"e1","seq":9,"recovered":false,"reason":"trimmed","gap":{"from":2,"to":7}}"#.to_owned(),
        line(1, "one"),
        r#"{"type":"private","room":"@me","seq":1,"from":"bob","user":"u2","to":"al","message":"psst","timestamp":"t"}"#.to_owned(),
        r#"{"type":"ack","id":"x","room":"tea","seq":1}"#.to_owned(),
        r#"{"type":"history","room":"tea","epoch":"e1","messages":[{"type":"chat","room":"tea","seq":1}],"oldest":1,"newest":5,"ref":"gap"}"#.to_owned(),
        r#"{"type":"history","room":"tea","epoch":"e1","messages":[{"type":"chat","room":"tea","seq":1}],"oldest":1,"newest":5,"ref":"older"}"#.to_owned(),
        r#"{"type":"error","code":"overloaded","message":"no","retry":true,"room":"tea","ref":"join","id":"x"}"#.to_owned(),
        r#"{"type":"presence","room":"tea","users":[{"user":"u1","name":"al"}],"online_count":1}"#.to_owned(),
        r#"{"type":"user_rename","user":"u1","from":"al","to":"bob","message":"m"}"#.to_owned(),
        r#"{"type":"system","message":"m","code":"shutdown","reconnect_in_ms":5,"reconnect_spread_ms":5}"#.to_owned(),
        r#"{"type":"left","room":"tea","ref":"leave"}"#.to_owned(),
    ];
    let values = [
        "null",
        "true",
        "-1",
        "1.5",
        "9007199254740991",
        "1e999",
        "\"\"",
        "\"x\"",
        "[]",
        "[[1]]",
        "{}",
        "\"@me\"",
        "\"\\ud800\"",
    ];
    let mut dice = fastrand::Rng::with_seed(11);
    for round in 0..3_000 {
        let lasting = dice.bool();
        let mode = [Mode::Terminal, Mode::Plain, Mode::Json][dice.usize(0..3)];
        let mut driver = if lasting { Driver::with(|settings| settings.mode = mode) } else { Driver::plain(|_| {}) };
        if lasting && dice.bool() {
            driver.begin(JOINED);
        } else if lasting {
            driver.greet();
        }
        for _ in 0..8 {
            let frame = &whole[dice.usize(0..whole.len())];
            // One value is replaced by another, or the frame is cut.
            let fields: Vec<usize> = frame.match_indices(':').map(|(place, _)| place + 1).collect();
            let place = fields[dice.usize(0..fields.len())];
            let end = frame[place..].find([',', '}']).map_or(frame.len(), |length| place + length);
            let spoiled = match dice.u8(0..4) {
                0 => frame[..place].to_owned(),
                1 => frame.clone(),
                _ => format!("{}{}{}", &frame[..place], values[dice.usize(0..values.len())], &frame[end..]),
            };
            driver.hear(&spoiled);
            match dice.u8(0..12) {
                0 => drop(driver.say("x")),
                1 => drop(driver.ask(Intent::History(5))),
                2 => drop(driver.ask(Intent::Leave(None))),
                3 => drop(driver.ask(Intent::Join("tea".into()))),
                4 => drop(driver.after(dice.u64(0..30_000))),
                5 => drop(driver.tell(Event::Pong(dice.u64(0..9)))),
                _ => {}
            }
        }
        let spins = (0..4).all(|_| {
            driver.tell(Event::Tick);
            driver.conversation.next_deadline().is_some_and(|at| at <= driver.now)
        });
        assert!(!spins, "round {round}: it spins: {:#?}", driver.conversation);
    }
}

#[test]
fn of_the_last_lines_none_is_missed_that_was_never_there() {
    let mut driver = Driver::with(|_| {});
    driver.begin(r#"{"type":"joined","room":"tea","epoch":"e1","seq":60,"recovered":false}"#);
    driver.cut();
    // Before one of them came, some of them were trimmed. Only what was said since would be missing.
    let trimmed = |to: u64| {
        format!(
            r#"{{"type":"joined","room":"tea","epoch":"e1","seq":70,"recovered":false,"reason":"trimmed","gap":{{"from":41,"to":{to}}}}}"#
        )
    };
    let (hello, actions) = driver.return_as(WELCOME, &trimmed(58));
    assert!(hello.contains(r#""room":"tea","epoch":"e1","seq":40"#), "{hello}");
    assert_eq!(words(&actions), [&OwnWord::Back { missed: 12 }]);
    let actions = driver.hear(&line(59, "first"));
    assert_eq!((shown(&actions), sent(&actions).len()), (vec!["first"], 0));
    let mut driver = Driver::with(|_| {});
    driver.begin(r#"{"type":"joined","room":"tea","epoch":"e1","seq":60,"recovered":false}"#);
    driver.cut();
    let (_, actions) = driver.return_as(WELCOME, &trimmed(61));
    assert!(matches!(words(&actions)[..], [OwnWord::MayMiss { .. }, OwnWord::Back { missed: 9 }]), "{actions:?}");
    // A line that was said on this connection is in no doubt, whatever is trimmed meanwhile.
    let mut driver = Driver::with(|_| {});
    driver.begin(r#"{"type":"joined","room":"tea","epoch":"e1","seq":60,"recovered":false}"#);
    assert_eq!(sent(&driver.say("hi")).len(), 1);
    assert!(words(&driver.hear(&trimmed(58))).is_empty());
    assert_eq!(driver.conversation.outbox.len(), 1);
}

#[test]
fn answers_to_an_earlier_join_are_not_taken_for_the_later_one() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    driver.ask(Intent::Join("jam".into()));
    driver.ask(Intent::Leave(None));
    driver.ask(Intent::Join("jam".into()));
    let joined = |seq: u64| {
        format!(r#"{{"type":"joined","room":"jam","epoch":"e3","seq":{seq},"recovered":false,"ref":"join"}}"#)
    };
    let jam = |seq: u64| line(seq, "x").replace("tea", "jam");
    driver.hear(&joined(3));
    assert!(shown(&driver.hear(&jam(3))).is_empty(), "of the first stay, which is over");
    driver.hear(r#"{"type":"left","room":"jam","ref":"leave"}"#);
    driver.hear(&joined(9));
    assert_eq!(shown(&driver.hear(&jam(9))).len(), 1);
    // One that was never let in has left, too.
    driver.ask(Intent::Join("cake".into()));
    driver.ask(Intent::Leave(None));
    driver.hear(r#"{"type":"error","code":"room_limit","message":"no","retry":false,"room":"cake","ref":"join"}"#);
    driver.hear(r#"{"type":"error","code":"not_joined","message":"no","retry":false,"room":"cake","ref":"leave"}"#);
    assert!(driver.conversation.seat("cake").is_none());
}
