//! The terminal client: `chinwag connect`.
//!
//! Two threads. One waits for the keyboard, or for whatever is piped in, and hands on what is asked for ([`keys`]). The other
//! one has the socket, and everything else: it sleeps until the server, the keyboard, a signal or a deadline wakes it, and goes
//! through the same steps each time, as the server's loop does.
//!
//! - [`talk`]: the words between the two threads, and to the screen.
//! - [`url`]: what was typed as an address.
//! - [`identity`]: who one was the last time, kept in a file.
//! - [`conversation`]: THE RULES: what is sent, shown and awaited. No socket, clock, dice or screen: it is told of
//!   everything and answers with what is to be done.
//! - [`connection`]: one connection, from the name of a host to messages; [`handshake`] spells its beginning.
//! - [`keys`], [`clock`], `turns`: the loop around them.
//!
//! Called by `main`, which brings the screen and the keyboard along.

pub mod keys;
pub mod talk;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::wire::encode::Lang;

use keys::Intents;
use talk::Shown;

/// What was asked for on the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address, as typed: `ws://127.0.0.1:8765`.
    pub url: String,
    /// The wished name. By default the address's `?name=`, else a guest's.
    pub name: Option<String>,
    /// The rooms to be in; the first one is spoken to. By default the address's `/rooms/NAME`, else `lobby`.
    pub rooms: Vec<String>,
    /// What reads the input and the output.
    pub mode: Mode,
    /// Whether the first break is the end.
    pub once: bool,
    /// Whether one comes as somebody new, and leaves no trace in the state folder.
    pub guest: bool,
    /// The language of the client's own words.
    pub lang: Lang,
    /// Where sessions are kept, instead of `$XDG_STATE_HOME/chinwag` or `~/.local/state/chinwag`.
    pub state_folder: Option<PathBuf>,
}

/// What reads the input and the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A person at a terminal: rooms begin with their last lines, and who types too much is told.
    Terminal,
    /// A program or a file: rooms begin with the next line, and what is piped in waits until it can be sent.
    Plain,
    /// The same, and the output is frames.
    Json,
}

/// Talks to the server until the end, and returns how it was: 0 if all is well, else 1.
///
/// `show` is called on this thread, whenever there is something; the last thing is [`Shown::Ended`]. `read` is called on
/// a thread of its own, which is not waited for at the end: it reads the input and hands on what is asked for. When it
/// returns (or drops its [`Intents`]), that is the end of the input: what was said is acknowledged, and then the client
/// says goodbye.
pub fn run(
    options: &Options,
    show: impl FnMut(Shown),
    read: impl FnOnce(Intents) + Send + 'static,
) -> ExitCode {
    let _ = (options, show, read);
    ExitCode::FAILURE
}
