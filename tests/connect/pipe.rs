//! A client whose input and output are pipes.

use std::io::{Read, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::common::eventually;
use crate::home::Home;
use crate::watched::Watched;

/// A running client; it is killed when it is dropped.
pub(crate) struct Pipe {
    child: Child,
    input: Option<ChildStdin>,
    output: Stream,
    errors: Stream,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal killed it.
    pub(crate) code: Option<i32>,
    /// All of standard output.
    pub(crate) output: String,
    /// All of standard error.
    pub(crate) errors: String,
}

struct Stream {
    text: Arc<Watched<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Pipe {
    /// Starts one with these arguments, after `connect`.
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut child = command(home, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built client can be started");
        let input = child.stdin.take();
        let output = Stream::of(child.stdout.take().expect("it was piped"));
        let errors = Stream::of(child.stderr.take().expect("it was piped"));
        Self { child, input, output, errors }
    }

    /// Runs one to its end with this input.
    #[track_caller]
    pub(crate) fn run(home: &Home, arguments: &[&str], input: &str) -> Ended {
        let mut pipe = Self::start(home, arguments);
        // One that fails at once reads nothing.
        let _ = pipe.input.as_mut().expect("it was not ended").write_all(input.as_bytes());
        pipe.ended()
    }

    /// Pipes a line in.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it was not ended");
        input.write_all(format!("{line}\n").as_bytes()).expect("the client reads");
    }

    /// Pipes bytes in.
    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().expect("it was not ended").write_all(bytes).expect("the client reads");
    }

    /// Waits until standard output has this.
    #[track_caller]
    pub(crate) fn expect(&self, part: &str) {
        let found = self.output.text.wait(|text| text.contains(part).then_some(()));
        assert!(found.is_some(), "{part:?} is not in {:?}; {:?}", self.output.now(), self.errors.now());
    }

    /// Whether standard output has this, so far.
    pub(crate) fn shows(&self, part: &str) -> bool {
        self.output.text.look(|text| text.contains(part))
    }

    /// Waits until standard error has this.
    #[track_caller]
    pub(crate) fn expect_error(&self, part: &str) {
        let found = self.errors.text.wait(|text| text.contains(part).then_some(()));
        assert!(found.is_some(), "{part:?} is not in {:?}; {:?}", self.errors.now(), self.output.now());
    }

    /// Ends the input, and waits until the client has ended.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Ended {
        drop(self.input.take());
        self.ends()
    }

    /// Waits until the client has ended, though its input has not.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> Ended {
        let mut ended = None;
        let start = std::time::Instant::now();
        while ended.is_none() && start.elapsed() < 3 * crate::common::PATIENCE {
            ended = self.child.try_wait().expect("a child can be waited for");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let Some(status) = ended else {
            panic!("it does not end; it wrote {:?} and {:?}", self.output.now(), self.errors.now());
        };
        Ended { code: status.code(), output: self.output.all(), errors: self.errors.all() }
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} failed");
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        resident_bytes(self.child.id())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The client, not yet started.
pub(crate) fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command.env_clear().envs(home.environment()).current_dir(home.folder()).arg("connect").args(arguments);
    command
}

/// Memory that a process holds, in bytes. Known on Linux; else 0.
pub(crate) fn resident_bytes(process: u32) -> u64 {
    if cfg!(not(target_os = "linux")) {
        return 0;
    }
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).expect("the client runs");
    let pages = statm.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("resident pages");
    pages * 4096
}

/// Waits until a process that was started has ended, and gives its exit code.
#[track_caller]
pub(crate) fn code_of(child: &mut Child) -> Option<i32> {
    let mut ended = None;
    eventually("the client ends", || {
        ended = child.try_wait().expect("a child can be waited for");
        ended.is_some()
    });
    ended.and_then(|status| status.code())
}

impl Stream {
    fn of(mut source: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Watched::new(String::new()));
        let shared = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; 64 * 1024];
            let mut rest = Vec::new();
            while let Ok(length @ 1..) = source.read(&mut bytes) {
                rest.extend_from_slice(&bytes[..length]);
                let whole = match std::str::from_utf8(&rest) {
                    Ok(text) => text.len(),
                    Err(error) => error.valid_up_to(),
                };
                let text: Vec<u8> = rest.drain(..whole).collect();
                shared.change(|all| all.push_str(std::str::from_utf8(&text).expect("it was looked at")));
            }
            assert!(rest.is_empty(), "what it wrote is no text: {}", rest.escape_ascii());
        });
        Self { text, reader: Some(reader) }
    }

    fn now(&self) -> String {
        self.text.look(|text| text.chars().rev().take(4_000).collect::<Vec<_>>().into_iter().rev().collect())
    }

    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("what it wrote is text");
        }
        self.text.look(String::clone)
    }
}
