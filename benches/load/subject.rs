//! Who is measured: the server, the floor, a peer, or any server that runs already. It starts them and tells where they are
//! and which processes they are; what they are asked is the scenes' business.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use crate::child::{self, Child};
use crate::failure::Failure;
use crate::floor::FLOOR;

/// How long a server may take until it says where it listens.
const START: Duration = Duration::from_secs(20);

/// What a subject promises, as far as the oracle must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// All readers of a room get its lines in one order.
    Common,
    /// Each talker's lines come in their order; which of two talkers' comes first may differ.
    EachTalker,
}

/// Somebody to be measured; a child of ours ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Subject {
    /// `chinwag`, `floor`, or the peer's name.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The processes whose CPU time and memory count.
    pub(crate) processes: Vec<u32>,
    /// The path to connect to; `None`: `/rooms/` and a room's name.
    pub(crate) path: Option<String>,
    /// Whether it speaks `chinwag.v1`.
    pub(crate) is_chinwag: bool,
    /// What it promises.
    pub(crate) order: Order,
    /// Kept so that it ends with the subject.
    children: Vec<Child>,
}

impl Subject {
    /// This package's server, on `core`: no rate, the memory store, its log down to warnings, and `flags`.
    pub(crate) fn chinwag(core: Option<usize>, flags: &[String]) -> Result<Self, Failure> {
        Self::launch(core, flags, "warn", Stdio::inherit())
    }

    /// The same; all that its log says goes into a file.
    pub(crate) fn chinwag_logging(core: Option<usize>, flags: &[String], log: File) -> Result<Self, Failure> {
        Self::launch(core, flags, "debug", log.into())
    }

    fn launch(core: Option<usize>, flags: &[String], level: &str, log: Stdio) -> Result<Self, Failure> {
        let mut command = child::command(core, env!("CARGO_BIN_EXE_chinwag"));
        command.args(["--listen", "127.0.0.1:0", "--rate", "0", "--log", level, "--lang", "en"]).args(flags);
        command.stderr(log);
        if !flags.iter().any(|flag| flag.starts_with("--store")) {
            command.args(["--store", "memory"]);
        }
        let (child, address) = start(&mut command).map_err(|failure| failure.at("chinwag"))?;
        Ok(Self::new("chinwag", address, child, true))
    }

    /// The floor, on `core`: see `floor`.
    pub(crate) fn floor(core: Option<usize>, frame_bytes: usize, welcome_bytes: usize) -> Result<Self, Failure> {
        let own = std::env::current_exe()?;
        let mut command = child::command(core, own);
        command.args([FLOOR, &frame_bytes.to_string(), &welcome_bytes.to_string()]);
        let (child, address) = start(&mut command).map_err(|failure| failure.at("the floor"))?;
        Ok(Self::new("floor", address, child, false))
    }

    fn new(name: &str, address: SocketAddr, child: Child, is_chinwag: bool) -> Self {
        Self {
            name: name.to_owned(),
            address,
            processes: vec![child.id()],
            path: None,
            is_chinwag,
            order: Order::Common,
            children: vec![child],
        }
    }

    /// A server of ours that runs already, on this machine.
    pub(crate) fn running(address: SocketAddr, process: u32) -> Self {
        Self {
            name: "chinwag".to_owned(),
            address,
            processes: vec![process],
            path: None,
            is_chinwag: true,
            order: Order::Common,
            children: Vec::new(),
        }
    }

    /// A peer that was started: who accepts at `address` now, and is asked for by `path`. All that it gets from anyone goes to
    /// everyone.
    pub(crate) fn peer(name: &str, address: SocketAddr, path: &str, order: Order, child: Child) -> Self {
        let mut subject = Self::new(name, address, child, false);
        subject.path = Some(path.to_owned());
        subject.order = order;
        subject
    }

    /// Asks it to end, if it is a child of ours, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        for mut child in self.children.drain(..) {
            if !child.stop()? {
                return Err(Failure::from(format!("{} did not end in order", self.name)));
            }
        }
        Ok(())
    }

    /// The path for a room.
    pub(crate) fn path(&self, room: &str) -> String {
        self.path.clone().unwrap_or_else(|| format!("/rooms/{room}"))
    }
}

/// Starts a server whose first line on standard output has `ws://` and its address at the end, or before a remark in brackets.
fn start(command: &mut std::process::Command) -> Result<(Child, SocketAddr), Failure> {
    let mut child = Child::start(command.stdout(Stdio::piped()))?;
    let line = child.lines().next(START)?;
    let address = line.rsplit_once("ws://").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    Ok((child, address.ok_or_else(|| Failure::from(format!("its first line names no address: {line:?}")))?))
}
