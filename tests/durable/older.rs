//! An older copy of the file is put back: whoever has read further is told, and everybody else goes on.

use crate::client::V1;
use crate::common::eventually;
use crate::common::folder::Folder;
use crate::common::server::Server;
use crate::restart::{come_back, history, read_to, say_lines};

#[test]
fn an_older_copy_that_is_put_back_is_told_to_those_who_have_read_further() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &["--rate", "0", "--drain", "200"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut carol = V1::come(&server, "carol", &["tea"]);
    alice.typed("user_join");
    say_lines(&mut alice, "tea", 10);
    read_to(&mut carol, "tea", 10);
    // She has read nothing that will be gone.
    carol.cut();
    server.stop();
    let copy = std::fs::read(folder.store()).expect("the file");
    server.restart(&[]);
    come_back(&mut alice, &server);
    say_lines(&mut alice, "tea", 5);
    server.stop();
    // As docs/OPERATIONS.md says: the copy, and nothing beside it but the lock.
    std::fs::write(folder.store(), copy).expect("it is put back");
    for beside in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{beside}", folder.store().display()));
    }
    server.restart(&[]);
    eventually("the log says so", || server.logged("an older copy"));
    (alice.may_follow, carol.may_follow) = (true, true);
    let positions = alice.positions();
    alice.return_with(&server, &format!(r#""name":"alice","rooms":{positions}"#));
    let joined = alice.until("joined tea", |frame| frame["room"] == "tea");
    assert_eq!((&joined["recovered"], &joined["reason"]), (&false.into(), &"ahead".into()), "{joined}");
    assert_eq!(joined["seq"], 10);
    come_back(&mut carol, &server);
    alice.say("tea", "another 11");
    assert_eq!(alice.expect_chat("alice", "another 11"), 11);
    carol.expect_chat("alice", "another 11");
    assert_eq!(history(&mut carol, "tea").len(), 11);
}
