//! An import that is killed, or finds no room: the real binary, and what a server finds then.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::json;

use crate::client::V1;
use crate::common::eventually;
use crate::common::folder::Folder;
use crate::common::server::{Launch, Server};
use crate::opening::used;
use crate::restart::say_lines;
use crate::trouble::Small;

/// Lines of an export: 20 MB, more than the import holds in memory before it begins to write.
const LINES: u64 = 20_000;

/// An export of so many lines of the room `logs`.
fn export(lines: u64) -> String {
    let (mut export, text) = (String::new(), "x".repeat(1_000));
    for seq in 1..=lines {
        let fields = r#""time":"2026-11-22T08:33:23.123Z","user":"uaaaaaaaaaaaaaaaa","name":"alice""#;
        writeln!(export, r#"{{"room":"logs","epoch":"abcd","seq":{seq},{fields},"message":"{seq} {text}"}}"#)
            .expect("a text takes all");
    }
    export
}

/// The import of what comes on standard input. `shell`: what it is started by, if not directly.
fn import(store: &Path, shell: Option<&str>) -> Command {
    let binary = env!("CARGO_BIN_EXE_chinwag");
    let mut command = Command::new(if shell.is_some() { "sh" } else { binary });
    if let Some(told) = shell {
        command.args(["-c", told, binary]);
    }
    command.args(["history", "import", "-", "--store"]).arg(store);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with this export: how it ended, and what it wrote to standard error.
#[track_caller]
fn run(mut command: Command, export: &str) -> (ExitStatus, String) {
    let mut child = command.spawn().expect("it can be started");
    // It takes no more after an error.
    let _ = child.stdin.take().expect("it was piped").write_all(export.as_bytes());
    let mut errors = String::new();
    child.stderr.take().expect("it was piped").read_to_string(&mut errors).expect("text");
    (child.wait().expect("it ends"), errors)
}

/// Kills an import in the middle: after it has written some of what it was given, and before it was given all.
#[track_caller]
fn kill_import(folder: &Folder, export: &str, writes_to: &str) {
    let mut child = import(&folder.store(), None).spawn().expect("it can be started");
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(&export.as_bytes()[..export.len() - 100]).expect("it takes that");
    let file = folder.path().join(writes_to);
    let has_written = || file.metadata().is_ok_and(|metadata| metadata.len() > 1 << 20);
    eventually("some of it is written", has_written);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    drop(input);
    assert!(has_written(), "it is left as it was");
}

/// Starts a server, which must have so many lines in these rooms, and stops it.
#[track_caller]
fn serves(folder: &Folder, tea: u64, logs: u64) {
    let mut server = Server::durable(folder, &["--rate", "0"]);
    assert_lines(&server, tea, logs);
    server.stop();
}

/// Holds that so many lines are in these rooms.
#[track_caller]
fn assert_lines(server: &Server, tea: u64, logs: u64) {
    let mut reader = V1::come(server, "reader", &["tea", "logs"]);
    for (room, lines) in [("tea", tea), ("logs", logs)] {
        reader.send(&json!({"type": "history", "room": room, "after": 0, "limit": 1}).to_string());
        let page = reader.typed("history");
        assert_eq!((&page["oldest"], &page["newest"]), (&json!(1), &json!(lines)), "{page}");
    }
}

/// docs/OPERATIONS.md: "All or nothing", "What an import that was killed has left, the next one takes away".
#[test]
fn an_import_that_is_killed_has_imported_nothing_and_can_be_done_again() {
    let export = export(LINES);
    for (existing, serve_first) in [(false, true), (false, false), (true, true), (true, false)] {
        let folder = if existing { used() } else { Folder::new() };
        let tea = if existing { 50 } else { 0 };
        kill_import(&folder, &export, if existing { "chinwag.db-wal" } else { "chinwag.db-import" });
        if serve_first {
            serves(&folder, tea, 0);
        }
        // All of it once: it takes its time.
        let lines = if existing && serve_first { LINES } else { 10 };
        let (status, errors) = run(import(&folder.store(), None), &self::export(lines));
        assert!(status.success() && errors.is_empty(), "{errors}");
        assert!(!folder.path().join("chinwag.db-import").exists());
        serves(&folder, tea, lines);
    }
}

/// docs/OPERATIONS.md: "If one line is wrong, or the disk is full, the line's number is told and nothing is imported; all files are as
/// they were".
#[test]
#[ignore = "needs a mount; .ci/run does it"]
fn on_a_full_disk_nothing_is_imported_and_nothing_is_left() {
    let export = export(LINES);
    let few = self::export(10);
    for existing in [false, true] {
        let Some(small) = Small::mount(16) else {
            println!("NOT TESTED: an import on a full disk, since no file system may be mounted here");
            return;
        };
        let start = || Launch::durable(small.folder(), &["--rate", "0"]).by_shell(small.entering()).start();
        if existing {
            let mut server = start();
            let mut alice = V1::come(&server, "alice", &["tea"]);
            say_lines(&mut alice, "tea", 50);
            alice.cut();
            server.stop();
        }
        let import = || import(&small.folder().store(), Some(&small.entering()));
        let before = small.contents();
        let (status, errors) = run(import(), &export);
        assert_eq!(status.code(), Some(1), "{errors}");
        assert!(errors.contains("line ") && errors.contains("disk is full; nothing was imported"), "{errors}");
        let after = small.contents();
        assert!(after == before, "{:?}, then {:?}", before.keys(), after.keys());
        // Not even the first byte finds room.
        small.fill();
        let (status, errors) = run(import(), &few);
        assert_eq!(status.code(), Some(1), "{errors}");
        assert!(errors.contains("no room") || errors.contains("full"), "{errors}");
        small.empty();
        let mut after = small.contents();
        // SQLite's log, in which nothing is, and its index.
        after.retain(|name, bytes| !(name.ends_with("-shm") || name.ends_with("-wal") && bytes.is_empty()));
        assert!(after == before, "{:?}, then {:?}", before.keys(), after.keys());
        let (status, errors) = run(import(), &few);
        assert!(status.success(), "{errors}");
        let mut server = start();
        assert_lines(&server, if existing { 50 } else { 0 }, 10);
        server.stop();
    }
}
