//! Names that come with `hello`, of users who are still present.

use crate::client::V1;
use crate::common::server::Server;

/// > (Who is still present keeps the name that it has.)
///
/// > | `name` | the name that one wishes | the name that one has; of somebody new, or who had left, a guest's |
///
/// A name that cannot be had is told after the `welcome`, to its sender only.
#[test]
fn who_is_present_keeps_the_name_where_another_cannot_be_had() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    for (name, code) in
        [(None, None), (Some("BOB"), Some("name_taken")), (Some(""), Some("name_invalid")), (Some("ALICE "), None)]
    {
        for half_open in [false, true] {
            if !half_open {
                alice.cut();
            }
            let fields = name.map_or_else(String::new, |name| format!(r#""name":"{name}""#));
            alice.return_with(&server, &fields);
            let expected = if code.is_none() && name.is_some() { "ALICE" } else { "alice" };
            assert_eq!((&alice.name[..], &alice.welcome["resumed"]), (expected, &true.into()), "{name:?}");
            if let Some(code) = code {
                alice.expect_error(code);
            }
            alice.joined("@me");
            alice.joined("tea");
            alice.quiet();
        }
    }
    // Written in capitals it is the same name, and a new one to look at: that was told once.
    assert_eq!(bob.typed("user_rename")["to"], "ALICE");
    bob.quiet();
}
