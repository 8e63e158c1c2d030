//! Pipes, terminals and memory.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};

use crate::common::eventually;
use crate::store::{Folder, Store, command, counted, history, said};

/// The most memory that a process ever held, in bytes; `None` where that is not known.
fn most_memory(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1_024)
}

#[test]
fn it_ends_quietly_when_nobody_reads_on() {
    let folder = counted(20_000);
    for words in [&["export"][..], &["export", "--format", "text"]] {
        let mut child = command(words)
            .arg("--store")
            .arg(folder.store())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    assert_eq!(folder.files().into_keys().collect::<Vec<_>>(), counted(1).files().into_keys().collect::<Vec<_>>());
}

#[test]
fn a_full_disk_is_named() {
    let folder = counted(20_000);
    let full = File::options().write(true).open("/dev/full").expect("a device");
    let output = command(&["export", "--store"]).arg(folder.store()).stdout(full).output().expect("it starts");
    let errors = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(errors, "chinwag: cannot write: No space left on device\n");
}

/// Much is written and read in little memory.
#[test]
fn it_streams() {
    const LINES: u64 = 40_000;
    const MEMORY_MAX: u64 = 64 << 20;
    let folder = Folder::new();
    let text = "x".repeat(3_000);
    Store::open(&folder.store()).add("tea", (0..LINES).map(|_| said(&text)));
    let copy = Folder::new();
    let start = |words: &[&str], folder: &Folder| {
        let mut command = command(words);
        command.arg("--store").arg(folder.store()).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().expect("it starts")
    };
    let (mut export, mut import) = (start(&["export"], &folder), start(&["import", "-"], &copy));
    let mut lines = BufReader::new(export.stdout.take().expect("a pipe")).lines();
    let mut input = import.stdin.take().expect("a pipe");
    for _ in 0..LINES - 100 {
        writeln!(input, "{}", lines.next().expect("a line").expect("text")).expect("it is read");
    }
    let memory = [most_memory(&export), most_memory(&import)];
    for line in lines {
        writeln!(input, "{}", line.expect("text")).expect("it is read");
    }
    drop(input);
    assert!(export.wait().expect("it ends").success());
    let mut said = String::new();
    import.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(import.wait().expect("it ends").success());
    assert!(said.ends_with(&format!("imported (1 room, 0 streams, {LINES} messages)\n")), "{said}");
    for memory in memory.into_iter().flatten() {
        assert!(memory < MEMORY_MAX, "{memory} bytes");
    }
    history(&copy, &["verify"]).well();
}

/// Standard error is a terminal, standard output is not.
#[test]
fn progress_is_shown_at_a_terminal_only() {
    let folder = counted(5_000);
    let (mut pty, pts) = pty_process::blocking::open().expect("a terminal");
    let file = folder.file("out");
    let child = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_chinwag"))
        .args(["history", "export", "--store"])
        .arg(folder.store())
        .env("TERM", "xterm")
        .stdout(File::create(&file).expect("a file"))
        .spawn(pts);
    let mut child = child.expect("it starts");
    let mut shown = Vec::new();
    // A terminal that nobody uses any more is an error to read from.
    let _ = pty.read_to_end(&mut shown);
    eventually("it ends", || child.try_wait().expect("a child").is_some());
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(shown.contains("exporting") && shown.contains("KiB"), "{shown:?}");
    let written = fs::read_to_string(file).expect("it is written");
    assert_eq!(written, history(&folder, &["export"]).well(), "and nothing of it is in the output, or in a pipe");
}
