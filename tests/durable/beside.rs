//! `chinwag history` beside the server whose store it looks at, while many talk.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use crate::common::eventually;
use crate::common::folder::Folder;
use crate::common::server::Server;

const ROOMS: [&str; 2] = ["tea", "coffee"];

/// Lines that each says before it looks whether they came.
const AT_ONCE: u64 = 100;

/// Exit code, standard output, standard error.
pub(crate) type Ended = (Option<i32>, String, String);

pub(crate) fn chinwag_history(folder: &Folder, words: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command.arg("history").args(words).arg("--store").arg(folder.store()).stdin(Stdio::null());
    let output = command.output().expect("it can be started");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// docs/OPERATIONS.md: `verify`, `export` and `stats` may run beside a server, `import` is "refused: `another server uses the store`".
#[test]
fn the_history_is_looked_at_while_many_talk() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &["--rate", "0", "--log", "warn"]);
    let (done, seen) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    let mut looked: Vec<([u64; 2], [Ended; 3])> = Vec::new();
    let mut import = None;
    thread::scope(|scope| {
        for number in 0..4 {
            let (room, name) = (number % 2, format!("talker-{number}"));
            let mut talker = server.connect(&name, &format!("/rooms/{}?name={name}", ROOMS[room]));
            let (done, seen) = (&done, &seen[room]);
            scope.spawn(move || {
                for round in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let text = |line| format!("{name} {round} {line}");
                    talker.send_all((1..=AT_ONCE).map(text));
                    let last = talker.until("its last line", |frame| frame["message"] == *text(AT_ONCE));
                    seen.fetch_max(last["seq"].as_u64().expect("a seq"), Ordering::Relaxed);
                }
            });
        }
        let now = || [0, 1].map(|room: usize| seen[room].load(Ordering::Relaxed));
        eventually("they talk", || now().iter().all(|&seq| seq > 500));
        for _ in 0..4 {
            looked.push((now(), [&["verify"], &["export"], &["stats"]].map(|words| chinwag_history(&folder, words))));
        }
        import = Some(chinwag_history(&folder, &["import", "/dev/null"]));
        done.store(true, Ordering::Relaxed);
    });
    for (seen, [verified, exported, counted]) in &looked {
        for (code, output, errors) in [verified, exported, counted] {
            assert!(*code == Some(0) && errors.is_empty(), "{code:?} {errors} {output:.1000}");
        }
        assert!(verified.1.contains(": whole (2 rooms"), "{}", verified.1);
        let lines: Vec<Value> = exported.1.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for (room, seen) in ROOMS.iter().zip(seen) {
            let seqs: Vec<u64> =
                lines.iter().filter(|line| line["room"] == *room).filter_map(|line| line["seq"].as_u64()).collect();
            assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{room} has a hole");
            assert!(seqs.len() as u64 >= *seen, "{room}: {seen} were seen, {} are there", seqs.len());
        }
    }
    assert!(looked[0].0[0] < looked[3].0[0], "nobody has talked meanwhile");
    let (code, output, errors) = import.expect("it was tried");
    assert!(errors.contains("another server uses the store"), "{errors}");
    assert_eq!((code, &*output), (Some(1), ""));
    server.stop();
}
