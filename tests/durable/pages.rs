//! What README.md and docs/OPERATIONS.md say of the history is so; the rest of it is proved by the other tests here.

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use crate::client::V1;
use crate::common::eventually;
use crate::common::folder::Folder;
use crate::common::server::{Launch, Server};
use crate::restart::{come_back, history, say_lines};

/// The promise, as it was asked for.
const PROMISE: &str = "\
> An acknowledged message, and any message that another user has seen, is committed and synced: it survives `kill -9`, and power \
loss if the drive honours flushes. With `--sync interval=200` (ms) it survives `kill -9` always, and power loss costs at most the last \
200 ms and one sync, always from the end, and clients are told. When the disk is full, sending fails with `storage_full`, and nothing \
acknowledged is lost.";

fn page(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).expect("the page")
}

#[test]
fn the_promise_stands_on_both_pages() {
    for name in ["README.md", "docs/OPERATIONS.md"] {
        assert!(page(name).contains(PROMISE), "{name}");
    }
}

#[test]
fn every_flag_on_the_page_exists_with_its_default() {
    let (_, help, _) = Launch::bare(&["--help"]).run();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = page("docs/OPERATIONS.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .map(|line| line.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect())
        .collect();
    assert!(rows.len() >= 9, "{rows:?}");
    for row in rows {
        let flag = row[0].split_whitespace().next().expect("a flag");
        let default = row[1].split_whitespace().next().expect("a default");
        let (_, text) = help.split_once(&format!(" {flag} ")).unwrap_or_else(|| panic!("{flag} is not in --help"));
        let (_, said) = text.split_once("[default: ").expect("a default");
        assert_eq!(said.split(']').next(), Some(default), "{flag}");
    }
}

/// "After that all data is in `chinwag.db`; `-wal` and `-shm` are gone."
#[test]
fn who_stops_in_order_leaves_one_file_with_everything() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 20);
    alice.cut();
    assert!(folder.contents().contains_key("chinwag.db-wal"));
    server.stop();
    let mut names: Vec<String> = folder.contents().into_keys().collect();
    names.sort_unstable();
    assert_eq!(names, ["chinwag.db", "chinwag.db-ballast", "chinwag.db-lock"]);
    let elsewhere = Folder::new();
    std::fs::copy(folder.store(), elsewhere.store()).expect("a copy");
    let server = Server::durable(&elsewhere, &[]);
    come_back(&mut alice, &server);
    assert_eq!(history(&mut alice, "tea").len(), 20);
}

/// "A copy while the server is stopped is the file `chinwag.db` and, if it is there (after a kill), `chinwag.db-wal`"
#[test]
fn after_a_kill_the_file_and_its_log_are_everything() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 20);
    server.signal("KILL");
    server.ended();
    let elsewhere = Folder::new();
    for name in ["chinwag.db", "chinwag.db-wal"] {
        std::fs::copy(folder.path().join(name), elsewhere.path().join(name)).expect("a copy");
    }
    let server = Server::durable(&elsewhere, &[]);
    // Nothing there says that it is not an older copy.
    alice.may_follow = true;
    come_back(&mut alice, &server);
    assert_eq!(history(&mut alice, "tea").len(), 20);
}

/// "While it runs, copy with SQLite's own means, which know of the log"
#[test]
fn a_copy_by_sqlites_own_means_is_whole_while_the_server_runs() {
    let folder = Folder::new();
    let server = Server::durable(&folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 20);
    let elsewhere = Folder::new();
    {
        let source = Connection::open_with_flags(folder.store(), OpenFlags::SQLITE_OPEN_READ_WRITE).expect("the store");
        let mut copy = Connection::open(elsewhere.store()).expect("a file");
        let backup = Backup::new(&source, &mut copy).expect("a backup");
        backup.run_to_completion(100, std::time::Duration::ZERO, None).expect("all of it");
    }
    say_lines(&mut alice, "tea", 5);
    let other = Server::durable(&elsewhere, &[]);
    let mut bob = V1::come(&other, "bob", &["tea"]);
    assert_eq!(history(&mut bob, "tea").len(), 20);
    assert_eq!(history(&mut alice, "tea").len(), 25);
}

/// "A second signal ends it at once, without waiting for the disk", with 130 or 143.
#[test]
fn a_second_signal_has_an_exit_code_of_its_own() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let folder = Folder::new();
        let mut server = Server::durable(&folder, &["--drain", "60000", "--close-ms", "60000"]);
        let mut alice = V1::come(&server, "alice", &["tea"]);
        say_lines(&mut alice, "tea", 3);
        server.signal(signal);
        eventually("it says goodbye", || server.logged("stopping"));
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(code));
        server.restart(&[]);
        come_back(&mut alice, &server);
        assert_eq!(history(&mut alice, "tea").len(), 3);
    }
}
