//! Style and layering as a test, by reading the sources: what the compiler and clippy do not see.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file, by its path from the top.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The code without its tests, comments and blank lines; each line with its number.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.ends_with("_test.rs");
        let mut inside = is_test;
        let lines = self.text.lines().zip(1..).map(|(line, number)| (number, line));
        lines.filter(move |(_, line)| {
            inside |= *line == "#[cfg(test)]";
            let counts = !inside && !line.trim().is_empty() && !line.trim_start().starts_with("//");
            // An item for tests ends where a brace or a semicolon stands at its own depth.
            inside &= is_test || !(*line == "}" || line.starts_with("mod ") && line.ends_with(';'));
            counts
        })
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| top().join(folder)).collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(top()).expect("a path below the top").to_string_lossy().into_owned();
                sources.push(Source { text: read(&name), path: name });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect()
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// The names after `crate::` in a line, as they begin a path.
fn modules_named(line: &str) -> impl Iterator<Item = &str> {
    let word = |rest: &str| rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
    line.split("crate::").skip(1).flat_map(move |rest| {
        // `crate::{chat, wire::frame}` names two.
        let group = rest.strip_prefix('{').map(|group| group.split('}').next().unwrap_or(group));
        let first = group.is_none().then(|| &rest[..word(rest)]);
        first.into_iter().chain(
            group.into_iter().flat_map(|group| group.split(',').map(str::trim)).map(move |part| &part[..word(part)]),
        )
    })
}

/// Calls point down only: engine → chat, wire, http, store; http, store, client → wire and the types of chat; history →
/// store, client, wire; wire → types of chat; chat → nothing of ours.
#[test]
fn each_layer_uses_only_what_is_below_it() {
    let layers: [(&str, &[&str]); 8] = [
        ("src/chat/", &["chat"]),
        ("src/wire/", &["wire", "chat"]),
        ("src/http/", &["http", "wire", "chat"]),
        ("src/store/", &["store", "wire", "chat"]),
        ("src/client/", &["client", "wire", "chat"]),
        ("src/engine/", &["engine", "chat", "wire", "http", "store", "config"]),
        ("src/history/", &["history", "client", "store", "wire", "chat"]),
        ("src/logging", &["logging"]),
    ];
    let sources = sources(&["src"]);
    let mut found = Vec::new();
    for (folder, allowed) in layers {
        let mut files = 0;
        for source in sources.iter().filter(|source| source.is_in(folder)) {
            files += 1;
            for (number, line) in source.code() {
                let bad = modules_named(line).any(|module| !allowed.contains(&module)) || line.contains("chinwag::");
                let climbs = line.matches("super::").count() >= source.path.matches('/').count();
                if bad || climbs {
                    found.push(format!("{}:{number}: {}", source.path, line.trim()));
                }
            }
        }
        assert!(files > 0, "there is nothing in {folder}");
    }
    assert_none("against the layering", &found);
}

/// The core, the codec and the client's conversation have no I/O, clock, dice or threads: a simulation can drive them.
#[test]
fn chat_and_wire_and_the_conversation_are_pure() {
    let for_both = [
        "std::net",
        "mio",
        "Instant",
        "SystemTime",
        "std::thread",
        "std::fs",
        "std::process",
        "std::env",
        "getrandom",
        "fastrand",
        "socket2",
        "signal_hook",
        "simplelog",
        "RefCell",
        "thread_local",
        "static mut",
    ];
    let for_chat = ["std::io", "tungstenite", "httparse", "log::", "Mutex", "Atomic"];
    let mut found = Vec::new();
    for source in sources(&["src/chat", "src/wire", "src/client/conversation"]) {
        for (number, line) in source.code() {
            // The conversation is handed its dice.
            let line = if source.is_in("src/client") { &*line.replace("fastrand::Rng", "") } else { line };
            let more: &[&str] = if source.is_in("src/wire") { &[] } else { &for_chat };
            let words: Vec<&str> = line.split(|char: char| !char.is_ascii_alphanumeric() && char != '_').collect();
            let uses =
                |name: &&str| if name.contains([':', ' ']) { line.contains(*name) } else { words.contains(name) };
            found.extend(
                for_both
                    .iter()
                    .chain(more)
                    .filter(|name| uses(name))
                    .map(|name| format!("{}:{number}: {name}: {}", source.path, line.trim())),
            );
        }
    }
    assert_none("not pure", &found);
}

/// One folder knows the sockets, the poll and the clock; of the client, the files around its conversation.
#[test]
fn only_the_engine_and_the_clients_loop_know_sockets_and_the_clock() {
    let clients = ["src/client/connection.rs", "src/client/turns.rs", "src/client/keys.rs", "src/client/clock.rs"];
    let mut found = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !source.is_in("src/engine")) {
        for (number, line) in source.code().filter(|_| !clients.contains(&&*source.path)) {
            if ["mio::", "Instant::now", "SystemTime::now", "TcpStream", "TcpListener", "socket2::"]
                .iter()
                .any(|n| line.contains(n))
            {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    let loops = sources(&["src/engine", "src/client"]);
    for source in loops.iter().filter(|source| !source.path.ends_with("/clock.rs")) {
        let asks = |line: &str| line.contains("Instant::now") || line.contains("SystemTime::now");
        found.extend(
            source.code().filter(|(_, line)| asks(line)).map(|(number, _)| format!("{}:{number}", source.path)),
        );
    }
    assert_none("outside the engine (or, for the time, outside its clock)", &found);
}

/// A source file fits in 400 lines of code (its tests, comments and blank lines not counted), and any file in 600.
#[test]
fn files_are_small() {
    let mut found = Vec::new();
    let sources = sources(&["src", "tests", "benches"]);
    assert!(sources.len() > 20, "the sources were not found");
    for source in &sources {
        let (code, all) = (source.code().count(), source.text.lines().count());
        if (code > 400 && !source.is_in("tests")) || all > 600 {
            found.push(format!("{}: {code} lines of code, {all} in all", source.path));
        }
    }
    assert_none("too long", &found);
}

/// No function is longer than 70 lines: clippy counts, if it is told to.
#[test]
fn the_lints_are_on() {
    let (cargo, clippy) = (read("Cargo.toml"), read(".clippy.toml"));
    for line in [
        "unsafe_code = \"forbid\"",
        "missing_docs = ",
        "unreachable_pub = ",
        "too_many_lines = ",
        "disallowed_methods = ",
        "unwrap_used = ",
    ] {
        assert!(cargo.contains(line), "Cargo.toml: {line}");
    }
    for line in ["too-many-lines-threshold = 70", "std::time::Instant::now", "std::time::SystemTime::now"] {
        assert!(clippy.contains(line), ".clippy.toml: {line}");
    }
    let exempt =
        ["allow(clippy::too_many_lines", "expect(clippy::too_many_lines", "allow(unsafe_code", "allow(missing_docs"];
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        found.extend(
            exempt
                .iter()
                .filter(|words| source.text.contains(**words))
                .map(|words| format!("{}: {words}", source.path)),
        );
    }
    assert_none("lints are switched off", &found);
}

/// Nothing is at the top but what a Rust programmer expects there.
#[test]
fn the_top_level_is_small() {
    let expected = ["Cargo.toml", "Cargo.lock", "README.md", "src", "tests", "benches", "docs", "target"];
    let mut found = Vec::new();
    for path in entries(top()) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        // A history: of who has started the server here.
        let is_history = name.starts_with("chinwag.db");
        if !name.starts_with('.') && !name.starts_with("LICENSE") && !is_history && !expected.contains(&&*name) {
            found.push(name);
        }
    }
    assert_none("unexpected at the top", &found);
}

/// What is there is finished, and every file says what it is for.
#[test]
fn nothing_is_left_undone() {
    // Spelled in two parts, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("unimplemented", "!"),
        concat!("to", "do!"),
        concat!("db", "g!("),
    ];
    let mut found = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        for (line, number) in source.text.lines().zip(1..) {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
        if !source.text.starts_with("//!") {
            found.push(format!("{}: does not begin with what it is for", source.path));
        }
    }
    assert_none("left undone", &found);
}
