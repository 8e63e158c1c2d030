//! The real binary as a child process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::client::Client;
use super::folder::Folder;
use super::pattern::Bindings;
use super::raw::Raw;
use super::{PATIENCE, eventually};

/// How a server is to be started.
#[derive(Default)]
pub(crate) struct Launch {
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    /// What a shell is told to start it by, if anything.
    shell: Option<String>,
    folder: Option<PathBuf>,
    leave_stderr: bool,
}

impl Launch {
    /// With these flags. What they do not say: one free port of 127.0.0.1, English, a log of `info`, and history in memory.
    pub(crate) fn new(flags: &[&str]) -> Self {
        let mut all: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let usual = [("--listen", "127.0.0.1:0"), ("--lang", "en"), ("--log", "info"), ("--store", "memory")];
        for (flag, value) in usual {
            if !flags.contains(&flag) {
                all.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        Self { flags: all, ..Self::default() }
    }

    /// The same with its history in a folder.
    pub(crate) fn durable(folder: &Folder, flags: &[&str]) -> Self {
        let store = folder.store();
        let store = store.to_str().expect("temporary folders have names of letters");
        Self::new(&[&["--store", store], flags].concat())
    }

    /// In this working directory.
    pub(crate) fn within(mut self, folder: &Folder) -> Self {
        self.folder = Some(folder.path().to_owned());
        self
    }

    /// Exactly these flags, nothing added.
    pub(crate) fn bare(flags: &[&str]) -> Self {
        Self { flags: flags.iter().map(|&flag| flag.to_owned()).collect(), ..Self::default() }
    }

    /// Without `--lang`, and with a locale.
    pub(crate) fn locale(mut self, locale: &str) -> Self {
        let at = self.flags.iter().position(|flag| flag == "--lang").expect("a flag to take away");
        self.flags.drain(at..at + 2);
        self.environment =
            ["LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE"].map(|name| (name.into(), locale.into())).into();
        self
    }

    /// With so few file descriptors (`ulimit -n`).
    pub(crate) fn descriptors(self, most: u32) -> Self {
        self.by_shell(format!("ulimit -n {most}; exec \"$0\" \"$@\""))
    }

    /// By this command of a shell's, to which the server is `"$0"` and its flags `"$@"`.
    pub(crate) fn by_shell(mut self, command: String) -> Self {
        self.shell = Some(command);
        self
    }

    /// With a pipe for standard error that nobody ever reads.
    pub(crate) fn leave_stderr(mut self) -> Self {
        self.leave_stderr = true;
        self
    }

    /// The command, not yet started.
    pub(crate) fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_chinwag");
        let mut command = match &self.shell {
            None => Command::new(binary),
            Some(told) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", told, binary]);
                shell
            }
        };
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.args(&self.flags).envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it accepts.
    pub(crate) fn start(self) -> Server {
        self.start_in(None)
    }

    /// The same, in the scene of an earlier one.
    fn start_in(self, scene: Option<Scene>) -> Server {
        let mut command = self.command();
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the built server can be started");
        let scene = scene.unwrap_or_else(|| Scene {
            flags: self.flags,
            talk: Arc::default(),
            bindings: Arc::default(),
            log: Arc::default(),
        });
        let lines = read_lines(child.stdout.take().expect("it was piped"));
        let (log_is_open, log_ended) = std::sync::mpsc::channel::<()>();
        if !self.leave_stderr {
            let mut stderr = BufReader::new(child.stderr.take().expect("it was piped"));
            let log = Arc::clone(&scene.log);
            std::thread::spawn(move || {
                let _open = log_is_open;
                let mut line = String::new();
                while stderr.read_line(&mut line).is_ok_and(|length| length > 0) {
                    lock(&log).push_str(&std::mem::take(&mut line));
                }
            });
        }
        let (address, said) = (SocketAddr::from(([127, 0, 0, 1], 0)), String::new());
        let mut server = Server { child, lines, log_ended, address, said, shell: self.shell, scene };
        server.said = server.next_line();
        server.address = address_in(&server.said);
        server
    }

    /// Runs it to its end, which has to come by itself: status, standard output, standard error.
    pub(crate) fn run(&self) -> (ExitStatus, String, String) {
        let mut child =
            self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let mut ended = None;
        let stdout = read_lines(child.stdout.take().expect("it was piped"));
        let mut stderr = child.stderr.take().expect("it was piped");
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text).unwrap_or_default()
        });
        let start = std::time::Instant::now();
        while ended.is_none() && start.elapsed() < PATIENCE {
            ended = child.try_wait().expect("a child can be waited for");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let _ = child.kill();
        let _ = child.wait();
        let errors = errors.join().expect("reading does not panic");
        let status = ended.unwrap_or_else(|| panic!("{:?} did not end by itself: {errors}", self.flags));
        (status, stdout.iter().collect::<Vec<_>>().join("\n"), errors)
    }
}

/// What the server and all its clients write down for whoever has to replay a failure.
#[derive(Clone)]
pub(crate) struct Scene {
    flags: Vec<String>,
    talk: Arc<Mutex<Vec<String>>>,
    /// The values of numbered places in patterns.
    pub(crate) bindings: Arc<Mutex<Bindings>>,
    log: Arc<Mutex<String>>,
}

impl Scene {
    /// Writes down what was said. Long lines are cut.
    pub(crate) fn note(&self, line: &str) {
        let short: String = line.chars().take(160).collect();
        lock(&self.talk).push(if short.len() < line.len() {
            format!("{short}… ({} bytes)", line.len())
        } else {
            short
        });
    }
}

/// A running server; it is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    /// Says nothing, and ends when all of standard error was read.
    log_ended: Receiver<()>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its first line on standard output.
    pub(crate) said: String,
    shell: Option<String>,
    /// What was said with it.
    pub(crate) scene: Scene,
}

impl Server {
    /// With these flags, and what [`Launch::new`] adds.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Launch::new(flags).start()
    }

    /// A client by ordinary means. `who` names it in the failure's transcript only.
    #[track_caller]
    pub(crate) fn connect(&self, who: &str, path: &str) -> Client {
        Client::connect(self.address, self.scene.clone(), who, path)
    }

    /// The same, over `chinwag.v1`. Says no `hello`.
    #[track_caller]
    pub(crate) fn connect_v1(&self, who: &str, path: &str) -> Client {
        Client::connect_with(self.address, self.scene.clone(), who, path, Some("chinwag.v1"))
    }

    /// With its history in a folder, and these flags.
    pub(crate) fn durable(folder: &Folder, flags: &[&str]) -> Self {
        Launch::durable(folder, flags).start()
    }

    /// Stops it, and waits until it has ended in order.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let status = self.ended();
        assert!(status.success(), "{status}");
    }

    /// Ends it without a word, and starts it again with the same flags and those added.
    pub(crate) fn kill_and_restart(&mut self, flags: &[&str]) {
        self.signal("KILL");
        self.ended();
        self.restart(flags);
    }

    /// Starts it again after it has ended, with the same flags and those added; at another address, if it was any free one: the
    /// kernel may have given the port to somebody else meanwhile.
    pub(crate) fn restart(&mut self, flags: &[&str]) {
        let mut all = self.scene.flags.clone();
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        let again =
            Launch { flags: all, shell: self.shell.clone(), ..Launch::default() }.start_in(Some(self.scene.clone()));
        // The one that has ended.
        drop(std::mem::replace(self, again));
    }

    /// Like [`connect`](Self::connect), with a name, and with the welcome taken: `online` are there, itself too.
    #[track_caller]
    pub(crate) fn join(&self, name: &str, room: &str, online: u32) -> Client {
        let mut client = self.connect(name, &format!("/rooms/{room}?name={name}"));
        client.expect(&format!(
            r#"{{"type":"system","message":"Welcome to the chat room! {online} online","timestamp":"<T>"}}"#
        ));
        client
    }

    /// A bare TCP connection.
    #[track_caller]
    pub(crate) fn raw(&self) -> Raw {
        Raw::connect(self.address, self.scene.clone())
    }

    /// Whether standard error has this, so far.
    pub(crate) fn logged(&self, part: &str) -> bool {
        lock(&self.scene.log).contains(part)
    }

    /// The next line on standard output, which has to come.
    #[track_caller]
    pub(crate) fn next_line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("no (further) line on standard output; standard error:\n{}", lock(&self.scene.log))
        })
    }

    /// The address in the next line on standard output.
    #[track_caller]
    pub(crate) fn next_address(&self) -> SocketAddr {
        address_in(&self.next_line())
    }

    /// What the server logged so far.
    pub(crate) fn log(&self) -> String {
        lock(&self.scene.log).clone()
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        self.scene.note(&format!("server gets SIG{name}"));
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} failed");
    }

    /// Waits until it has ended by itself, and all that it logged was read.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server ends", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        let _ = self.log_ended.recv_timeout(PATIENCE);
        status.expect("it was awaited")
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Processor time that it took so far, in milliseconds (a tick of `/proc` is 10 ms). Known on Linux; else 0.
    pub(crate) fn cpu_ms(&self) -> u64 {
        if cfg!(not(target_os = "linux")) {
            return 0;
        }
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the server runs");
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks = |field: usize| fields.split_whitespace().nth(field - 3).and_then(|text| text.parse::<u64>().ok());
        10 * (ticks(14).expect("utime") + ticks(15).expect("stime"))
    }

    /// Memory that it holds, in bytes. Known on Linux; else 0.
    pub(crate) fn resident_bytes(&self) -> u64 {
        if cfg!(not(target_os = "linux")) {
            return 0;
        }
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("the server runs");
        let pages = statm.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("resident pages");
        pages * 4096
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- to replay: chinwag {}", self.scene.flags.join(" "));
            let talk = lock(&self.scene.talk);
            eprintln!("--- what was said (the last {} lines of {}):", talk.len().min(200), talk.len());
            talk.iter().skip(talk.len().saturating_sub(200)).for_each(|line| eprintln!("{line}"));
            eprintln!(
                "--- the server's log{}:",
                ended.ok().flatten().map_or(String::new(), |s| format!(" (ended: {s})"))
            );
            let log = lock(&self.scene.log);
            let lines: Vec<&str> = log.lines().collect();
            lines.iter().skip(lines.len().saturating_sub(200)).for_each(|line| eprintln!("{line}"));
            eprintln!("---");
        }
    }
}

/// The address in a line that says where a server listens.
#[track_caller]
fn address_in(line: &str) -> SocketAddr {
    let rest = line.strip_prefix("chinwag ").and_then(|rest| rest.split_once(" listening on ws://"));
    let address = rest.and_then(|(_, rest)| rest.strip_suffix(')')?.split_once(" (history in "));
    let parsed = address.and_then(|(address, _)| address.parse().ok());
    parsed.unwrap_or_else(|| panic!("standard output names no address: {line:?}"))
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
