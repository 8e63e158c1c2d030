//! The own name, over breaks and restarts of the client, and the names of those who have left.

use super::*;

/// The next `hello` asks for it, on this connection's successor and in the next client.
#[test]
fn the_name_that_one_has_is_kept() {
    let mut driver = Driver::with(|settings| settings.name = None);
    assert!(!driver.greet().contains("name"));
    let welcome = WELCOME.replace(r#""name":"al""#, r#""name":"guest-7f3a""#);
    assert_eq!(kept(&driver.hear(&welcome)), [("s1", "guest-7f3a")]);
    driver.ask(Intent::Name("bo".into()));
    let renamed = r#"{"type":"user_rename","user":"u1","from":"guest-7f3a","to":"bo","message":"m","ref":"name"}"#;
    assert_eq!(kept(&driver.hear(renamed)), [("s1", "bo")]);
    driver.ask(Intent::Name("al".into()));
    let taken = r#"{"type":"error","code":"name_taken","message":"m","retry":false,"ref":"name"}"#;
    assert_eq!(kept(&driver.hear(taken)), []);
    driver.cut();
    let (hello, actions) = driver.return_as(&welcome, JOINED);
    assert!(hello.contains(r#""name":"bo""#), "{hello}");
    // Somebody else has it now; perhaps not next time.
    assert_eq!(kept(&actions), []);
    assert_eq!(kept(&driver.hear(r#"{"type":"error","code":"name_taken","message":"m","retry":false}"#)), []);
    let invalid = r#"{"type":"error","code":"name_invalid","message":"m","retry":false}"#;
    assert_eq!(kept(&driver.hear(invalid)), [("s1", "guest-7f3a")], "that one nobody gets");
}

/// docs/PROTOCOL.md, section 17: after the grace a private message reaches who has left by `user` only.
#[test]
fn a_private_line_finds_who_has_left_by_that_name() {
    let mut driver = Driver::with(|_| {});
    driver.begin(JOINED);
    let whisper = |driver: &mut Driver, to: &str| {
        let actions = driver.ask(Intent::Private { to: to.into(), message: "psst".into() });
        let private = sent(&actions)[0].to_owned();
        assert!(private.starts_with(&format!(r#"{{"type":"private","to":"{to}","#)), "{private}");
        let nobody =
            format!(r#"{{"type":"error","code":"no_such_user","message":"m","retry":false,"id":"{}"}}"#, id(&private));
        (private, nobody)
    };
    let is_refused = |actions: &[Action]| matches!(actions, [Action::Show(Shown::Refused { about: Some(_), .. })]);
    let leave = |user: &str| {
        format!(
            r#"{{"type":"user_leave","message":"m","online_count":1,"timestamp":"t","room":"tea","user":"{user}","name":"Bob"}}"#
        )
    };
    let (_, nobody) = whisper(&mut driver, "bob");
    assert!(is_refused(&driver.hear(&nobody)), "nobody was seen to leave");
    driver.hear(&leave("u2"));
    let (private, nobody) = whisper(&mut driver, "bob");
    let actions = driver.hear(&nobody);
    assert_eq!(words(&actions), [&OwnWord::Departed { name: "bob".into() }]);
    let to_user = private.replace(r#""bob""#, r#""u2""#);
    assert_eq!(sent(&actions), [&*to_user], "under the same id");
    driver.cut();
    let (_, actions) = driver.return_as(WELCOME, JOINED);
    assert_eq!(sent(&actions).last(), Some(&&*to_user));
    let line = format!(
        r#"{{"type":"private","room":"@me","seq":1,"from":"al","user":"u1","to":"u2","message":"psst","id":"{}","timestamp":"t"}}"#,
        id(&private)
    );
    let actions = driver.hear(&line);
    assert!(
        matches!(&actions[..], [Action::Show(Shown::Said(said))] if said.to.as_deref() == Some("Bob")),
        "{actions:?}"
    );
    let (_, nobody) = whisper(&mut driver, "bob");
    driver.hear(&nobody);
    assert!(is_refused(&driver.hear(&nobody)), "not even by the user");
    driver.hear(&leave("u3"));
    let (_, nobody) = whisper(&mut driver, "bob");
    assert!(is_refused(&driver.hear(&nobody)), "which of the two?");
}
