//! What each text is read as.

use super::*;

fn ask(text: &str) -> Ask<'_> {
    let command = parse_plain(text);
    assert_eq!(command.reference, None, "{text}");
    command.ask
}

/// The code and the words of the fault that a text is.
fn fault(text: &str) -> (ErrorCode, String) {
    match parse_plain(text).ask {
        Ask::Wrong { fault, .. } => (fault.code, fault.message.into_owned()),
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn text_that_is_no_json_object_is_a_line() {
    for text in [
        "hi",
        "",
        " ",
        "42",
        "\"x\"",
        "[1]",
        "null",
        "true",
        "{bro",
        "{}x",
        "{\"type\":\"ping\"} x",
        "{'a':1}",
        "{\"type\":\"chat\",}",
        "\u{feff}{}",
        "\u{a0}{}",
        "{\"a\":\"\n\"}",
        "{\"type\":\"chat\"",
        "{\"a\":\"\\x\"}",
    ] {
        assert_eq!(ask(text), Ask::Chat { room: None, message: text.into(), id: None }, "{text}");
    }
}

#[test]
fn every_command_is_read() {
    let position = From::Position { epoch: "e".into(), seq: 7, time_ms: Some(1_795_336_403_123) };
    for (text, expected) in [
        (
            r#"{"type":"chat","room":"r","message":"hi","id":"1"}"#,
            Ask::Chat { room: Some("r".into()), message: "hi".into(), id: Some("1".into()) },
        ),
        (r#" {"type":"chat"} "#, Ask::Chat { room: None, message: "".into(), id: None }),
        (
            r#"{"type":"private","to":"bob","message":"hi","id":"1"}"#,
            Ask::Private { to: "bob".into(), message: "hi".into(), id: Some("1".into()) },
        ),
        (r#"{"type":"private","to":"bob"}"#, Ask::Private { to: "bob".into(), message: "".into(), id: None }),
        (r#"{"type":"join","room":"r"}"#, Ask::Join { room: "r".into(), from: From::Live }),
        (r#"{"type":"join","room":"r","epoch":"e"}"#, Ask::Join { room: "r".into(), from: From::Live }),
        (r#"{"type":"join","room":"r","last":0}"#, Ask::Join { room: "r".into(), from: From::Last(0) }),
        (
            r#"{"type":"join","room":"r","last":9007199254740991}"#,
            Ask::Join { room: "r".into(), from: From::Last(u32::MAX) },
        ),
        (
            r#"{"type":"join","room":"r","last":5,"epoch":"e","seq":7,"time":"2026-11-22T08:33:23.123Z"}"#,
            Ask::Join { room: "r".into(), from: position },
        ),
        (r#"{"type":"leave","room":"r"}"#, Ask::Leave { room: "r".into() }),
        (r#"{"type":"name","name":"alice"}"#, Ask::Rename { name: "alice".into() }),
        (r#"{"type":"who"}"#, Ask::Who { room: None }),
        (r#"{"type":"history"}"#, Ask::History { room: None, span: Span::Newest, limit: 50 }),
        (
            r#"{"type":"history","room":"r","before":9,"limit":200}"#,
            Ask::History { room: Some("r".into()), span: Span::Before(9), limit: 200 },
        ),
        (r#"{"type":"history","after":0,"limit":1}"#, Ask::History { room: None, span: Span::After(0), limit: 1 }),
        (r#"{"type":"typing","room":"r"}"#, Ask::Typing { room: Some("r".into()) }),
        (r#"{"type":"ping"}"#, Ask::Ping { t: None }),
        (r#"{"type":"ping","t":"x"}"#, Ask::Ping { t: Some(Echo::Text("x".into())) }),
    ] {
        assert_eq!(ask(text), expected, "{text}");
    }
}

#[test]
fn the_t_of_a_ping_is_any_number() {
    for (number, expected) in
        [("0", "0"), ("-3", "-3"), ("1.5", "1.5"), ("18446744073709551615", "18446744073709551615")]
    {
        match ask(&format!(r#"{{"type":"ping","t":{number}}}"#)) {
            Ask::Ping { t: Some(Echo::Number(number)) } => assert_eq!(number.to_string(), expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn strings_are_borrowed_unless_they_have_escapes() {
    let Ask::Chat { message: Cow::Borrowed("hi"), .. } = ask(r#"{"type":"chat","message":"hi"}"#) else {
        panic!("copied");
    };
    let Ask::Chat { message, .. } = ask(r#"{"\u0074ype":"chat","message":"a\n\ud83d\ude00"}"#) else { panic!() };
    assert_eq!(message, "a\n😀");
}

#[test]
fn null_is_absent_and_the_last_of_a_field_wins() {
    assert_eq!(
        ask(r#"{"type":"chat","room":null,"message":null,"id":null,"ref":null}"#),
        Ask::Chat { room: None, message: "".into(), id: None }
    );
    assert_eq!(ask(r#"{"type":3,"type":"ping","t":[],"t":null}"#), Ask::Ping { t: None });
}

#[test]
fn fields_that_a_command_does_not_have_are_ignored_whatever_they_are() {
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    for text in [
        r#"{"type":"ping","id":5,"room":[],"message":{"a":1},"to":true,"seq":-1,"x":"\ud800"}"#.to_owned(),
        format!(r#"{{"type":"ping","x":{deep},"room":[{deep}]}}"#),
    ] {
        assert_eq!(ask(&text), Ask::Ping { t: None });
    }
}

#[test]
fn the_reference_comes_back_with_whatever_is_asked() {
    for text in [r#"{"type":"ping","ref":"r1"}"#, r#"{"ref":"r1"}"#, r#"{"type":"join","ref":"r1"}"#] {
        assert_eq!(parse_plain(text).reference.as_deref(), Some("r1"), "{text}");
    }
    // One that is none does not hide that the type is unknown.
    assert_eq!(fault(r#"{"type":"x","ref":5}"#).0, ErrorCode::UnknownType);
}

#[test]
fn a_hello_is_read() {
    let text = r#"{"type":"hello","name":"al","session":"s","rooms":[{"room":"a"},{"room":"@me","epoch":"e","seq":3},{"room":"b","last":2}]}"#;
    let entry = |room: &'static str, from| Entry { room: room.into(), from };
    let position = From::Position { epoch: "e".into(), seq: 3, time_ms: None };
    let rooms = Some(vec![entry("a", From::Live), entry("@me", position), entry("b", From::Last(2))]);
    let hello = Hello { name: Some("al".into()), session: Some("s".into()), rooms };
    assert_eq!(parse_v1(text), Command { ask: Ask::Hello(hello), reference: None });
    for (text, rooms) in [("{}", None), (r#"{"rooms":null}"#, None), (r#"{"rooms":[]}"#, Some(Vec::new()))] {
        let text = text.replace('{', r#"{"type":"hello","#).replace(",}", "}");
        let hello = Hello { rooms, ..Hello::default() };
        assert_eq!(parse_v1(&text).ask, Ask::Hello(hello), "{text}");
    }
}

#[test]
fn rooms_that_are_no_list_of_objects_are_refused() {
    let many = format!("[{}]", vec!["{\"room\":\"a\"}"; ENTRIES_MAX + 1].join(","));
    for rooms in ["5", "\"a\"", "{}", "[5]", "[[]]", "[null]", "[{}]", r#"[{"room":"a","seq":1}]"#, &many] {
        let text = format!(r#"{{"type":"hello","rooms":{rooms}}}"#);
        match parse_v1(&text).ask {
            Ask::Wrong { fault, .. } => assert_eq!(fault.code, ErrorCode::BadRequest, "{rooms}"),
            other => panic!("{rooms} is {other:?}"),
        }
    }
}

#[test]
fn what_is_no_object_is_answered_on_v1() {
    for text in ["hi", "", "[1]", "{\"type\":\"hello\",\"session\":\"secr"] {
        let Ask::Wrong { fault, .. } = parse_v1(text).ask else { panic!("{text}") };
        assert_eq!(fault.code, ErrorCode::BadJson, "{text}");
    }
}

#[test]
fn a_wrong_request_is_told_with_its_room_and_id() {
    let wrong = parse_plain(r#"{"type":"chat","message":5,"room":"a","id":"7","ref":"r"}"#);
    assert_eq!(wrong.reference.as_deref(), Some("r"));
    let Ask::Wrong { room, id, .. } = wrong.ask else { panic!("{wrong:?}") };
    assert_eq!((room.as_deref(), id.as_deref()), (Some("a"), Some("7")));
}

#[test]
fn an_unknown_or_missing_type_is_told() {
    for text in ["{}", r#"{"type":""}"#, r#"{"type":null}"#, r#"{"type":1}"#, r#"{"type":"Chat"}"#] {
        assert_eq!(fault(text).0, ErrorCode::UnknownType, "{text}");
    }
}

#[test]
fn a_known_field_of_a_wrong_type_is_told_by_its_name() {
    for (rest, field) in [
        (r#""type":"chat","message":1"#, "message"),
        (r#""type":"chat","room":1"#, "room"),
        (r#""type":"chat","id":1"#, "id"),
        (r#""type":"chat","ref":{}"#, "ref"),
        (r#""type":"private","message":"x""#, "to"),
        (r#""type":"private","to":5"#, "to"),
        (r#""type":"join""#, "room"),
        (r#""type":"leave","room":null"#, "room"),
        (r#""type":"name","name":["x"]"#, "name"),
        (r#""type":"name""#, "name"),
        (r#""type":"join","room":"r","seq":1"#, "epoch"),
        (r#""type":"join","room":"r","epoch":"e","seq":-1"#, "seq"),
        (r#""type":"join","room":"r","epoch":"e","seq":1.0"#, "seq"),
        (r#""type":"join","room":"r","epoch":"e","seq":9007199254740992"#, "seq"),
        (r#""type":"join","room":"r","epoch":"e","seq":"1""#, "seq"),
        (r#""type":"join","room":"r","epoch":1"#, "epoch"),
        (r#""type":"join","room":"r","last":true"#, "last"),
        (r#""type":"join","room":"r","time":"noon""#, "time"),
        (r#""type":"join","room":"r","time":5"#, "time"),
        (r#""type":"history","before":1,"after":2"#, "before"),
        (r#""type":"history","after":"2""#, "after"),
        (r#""type":"history","limit":0"#, "limit"),
        (r#""type":"history","limit":201"#, "limit"),
        (r#""type":"history","limit":"5""#, "limit"),
        (r#""type":"typing","room":false"#, "room"),
        (r#""type":"ping","t":[1]"#, "t"),
    ] {
        let (code, message) = fault(&format!("{{{rest}}}"));
        assert_eq!(code, ErrorCode::BadRequest, "{rest}");
        assert!(message.starts_with(&format!("`{field}` should be ")), "{rest}: {message}");
    }
}

#[test]
fn tags_have_at_most_64_bytes() {
    for (kind, field) in [("chat", "id"), ("private\",\"to\":\"x", "id"), ("ping", "t"), ("who", "ref")] {
        let request = |bytes: usize| format!(r#"{{"type":"{kind}","{field}":"{}"}}"#, "x".repeat(bytes));
        let (code, message) = fault(&request(65));
        assert_eq!(code, ErrorCode::TooLarge, "{kind}");
        assert!(message.contains(&format!("`{field}`")), "{message}");
        assert!(!matches!(parse_plain(&request(64)).ask, Ask::Wrong { .. }), "{kind}");
    }
}

#[test]
fn an_object_that_cannot_be_held_is_a_bad_request_and_no_line() {
    for text in [
        r#"{"type":"chat","message":"\ud800"}"#,
        r#"{"type":"chat","message":"\udc00\ud800"}"#,
        r#"{"type":"ping","t":1e999}"#,
        r#"{"\ud800":1}"#,
    ] {
        assert_eq!(fault(text).0, ErrorCode::BadRequest, "{text}");
    }
}

#[test]
fn the_names_of_the_fields_are_in_order() {
    for (field, name) in
        [(Field::Type, "type"), (Field::Ref, "ref"), (Field::T, "t"), (Field::Last, "last"), (Field::Limit, "limit")]
    {
        assert_eq!(field.name(), name);
    }
}
