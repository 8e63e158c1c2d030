//! Child processes: pinned to a core, and gone when the harness is, however it ends. It does not know what they are.
//!
//! A child is started through the harness' own program ([`exec`]): that asks the kernel to kill it when its parent dies,
//! pins itself to the core, and becomes the program that was meant. So every thread of it is pinned, and neither Ctrl-C nor
//! a failed assertion leaves anything behind. Called by `subject` and `peers`.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::failure::Failure;

/// The first argument of the harness as a starter: then come the parent's process id, the core (`-` for any), and the
/// command.
pub(crate) const EXEC: &str = "__exec";

/// A program that will be started on `core` (`None`: on any) and end with the harness. Its standard input is empty.
///
/// # Panics
/// If the path of the harness' own program is not known, which the kernel tells.
pub(crate) fn command(core: Option<usize>, program: impl AsRef<OsStr>) -> Command {
    let own = std::env::current_exe().expect("the kernel knows what it runs");
    let mut command = Command::new(own);
    command.arg(EXEC).arg(process::id().to_string()).arg(core.map_or("-".to_owned(), |core| core.to_string()));
    command.arg(program).stdin(Stdio::null());
    command
}

/// Becomes the program in `args`, which [`command`] has put together. Comes back only with an error.
pub(crate) fn exec(mut args: impl Iterator<Item = OsString>) -> Failure {
    let mut word = || args.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
    let (parent, core) = (word(), word());
    let Some(program) = args.next() else { return Failure::from("a program to become is missing".to_owned()) };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Failure::from(io::Error::from(error));
    }
    if getppid().is_none_or(|id| id.as_raw_nonzero().to_string() != parent) {
        return Failure::from("the parent is gone already".to_owned());
    }
    if let Ok(core) = core.parse()
        && let Err(error) = pin(core)
    {
        return Failure::from(error);
    }
    Failure::from(Command::new(program).args(args).exec())
}

/// Pins the calling thread, and those that it will start, to a core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Whether the harness has a core that no subject runs on.
static HAS_OWN_CORE: AtomicBool = AtomicBool::new(false);

/// Pins the harness to a core that is its own.
pub(crate) fn take_own_core(core: usize) -> io::Result<()> {
    pin(core)?;
    HAS_OWN_CORE.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether the harness has such a core.
pub(crate) fn has_own_core() -> bool {
    HAS_OWN_CORE.load(Ordering::Relaxed)
}

/// A running child; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Child(process::Child);

impl Child {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, and waits until it has; whether it did so in order.
    pub(crate) fn stop(&mut self) -> io::Result<bool> {
        if let Some(id) = Pid::from_raw(self.id().cast_signed()) {
            kill_process(id, Signal::TERM)?;
        }
        self.wait()
    }

    /// Waits until it has ended; whether it did so in order.
    pub(crate) fn wait(&mut self) -> io::Result<bool> {
        self.0.wait().map(|status| status.success())
    }

    /// Its standard input, which must have been piped and not been taken before.
    ///
    /// # Panics
    /// If that is not so.
    pub(crate) fn input(&mut self) -> process::ChildStdin {
        self.0.stdin.take().expect("it was piped")
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// The lines of its standard output, which must have been piped and not been taken before. They are read until the end
    /// in any case, so a child never waits for its reader.
    pub(crate) fn lines(&mut self) -> Lines {
        let (sender, receiver) = channel();
        if let Some(output) = self.0.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    // Nobody may listen any more.
                    let _ = sender.send(line);
                }
            });
        }
        Lines(receiver)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be gone already, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a child says on its standard output.
#[derive(Debug)]
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    /// The next line, within `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Result<String, Failure> {
        self.0.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => Failure::from("it says nothing on its standard output".to_owned()),
            RecvTimeoutError::Disconnected => Failure::from("it ended before it was ready".to_owned()),
        })
    }
}
