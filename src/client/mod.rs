//! The terminal client: `chinwag connect`.
//!
//! Two threads. One waits for the keyboard, or for whatever is piped in, and hands on what is asked for ([`keys`]). The other
//! one has the socket, and everything else: it sleeps until the server, the keyboard, a signal or a deadline wakes it, and goes
//! through the same steps each time, as the server's loop does.
//!
//! - [`talk`]: the words between the two threads, and to the screen.
//! - [`url`]: what was typed as an address.
//! - `identity`: who one was the last time, and by which name, kept in a file.
//! - [`conversation`]: THE RULES: what is sent, shown and awaited. No socket, clock, dice or screen: it is told of
//!   everything and answers with what is to be done.
//! - `connection`: one connection, from the name of a host to messages; `handshake` spells its beginning.
//! - [`keys`], `clock`, `turns`: the loop around them.
//! - [`screen`] shows, [`keyboard`] reads; `lines`, `words`, `paint` and `clean` make text of what is shown, `editor`,
//!   `typed` and `complete` make sense of what is typed, and `desk` is what the two threads share at a terminal.
//!
//! Called by `main`, which brings the screen and the keyboard along. What is said looks the same in an export: `history` makes its lines
//! by `lines`, too.

mod clean;
mod clock;
mod complete;
mod connection;
pub mod conversation;
mod desk;
mod editor;
mod handshake;
mod identity;
pub mod keyboard;
pub mod keys;
mod lines;
mod paint;
pub mod screen;
pub mod talk;
mod turns;
mod typed;
pub mod url;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use crate::wire::encode::Lang;

use conversation::{Conversation, Settings};
use identity::{Identity, Unkept};
use keys::Intents;
pub(crate) use lines::Lines;
use talk::{OwnWord, Shown};
use turns::Turns;
use url::Address;

/// The room of who names none.
const DEFAULT_ROOM: &str = "lobby";

/// What was asked for on the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address, as typed: `ws://127.0.0.1:8765`.
    pub url: String,
    /// The wished name. By default the address's `?name=`, else that of the last time, else a guest's.
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
pub fn run(options: &Options, mut show: impl FnMut(Shown), read: impl FnOnce(Intents) + Send + 'static) -> ExitCode {
    let url = options.url.clone();
    let mut fail = |why| {
        show(Shown::Ended { success: false, why: Some(why) });
        ExitCode::FAILURE
    };
    let mut address = match Address::parse(&url) {
        Ok(address) => address,
        Err(why) => return fail(OwnWord::BadUrl { url, why }),
    };
    let mut seed = [0; 8];
    if let Err(error) = getrandom::fill(&mut seed) {
        return fail(OwnWord::CannotConnect { url, why: error.to_string() });
    }
    let identity = take_identity(options, &address, &mut show);
    let settings = settings(options, &mut address, identity.as_ref());
    let conversation = Conversation::new(settings, fastrand::Rng::with_seed(u64::from_ne_bytes(seed)));
    let begun = Turns::new(address, options.mode, conversation, identity, &mut show);
    let outcome = begun.and_then(|(turns, intents)| {
        thread::Builder::new().name("keyboard".to_owned()).spawn(move || read(intents))?;
        turns.run()
    });
    outcome.unwrap_or_else(|error| {
        let why = OwnWord::CannotConnect { url, why: connection::words(&error) };
        show(Shown::Ended { success: false, why: Some(why) });
        ExitCode::FAILURE
    })
}

/// Who one was the last time, unless one comes as a guest, by choice or because it cannot be otherwise.
fn take_identity(options: &Options, address: &Address, show: &mut impl FnMut(Shown)) -> Option<Identity> {
    if options.guest {
        return None;
    }
    let Some(folder) = options.state_folder.clone().or_else(identity::state_folder) else {
        show(Shown::Own(OwnWord::NotKept { why: "there is no home folder".to_owned() }));
        return None;
    };
    match Identity::take(&folder, address) {
        Ok(identity) => Some(identity),
        Err(Unkept::Taken) => {
            show(Shown::Own(OwnWord::SecondClient));
            None
        }
        Err(Unkept::Failed(why)) => {
            show(Shown::Own(OwnWord::NotKept { why }));
            None
        }
    }
}

/// What was asked for on the command line and in the address, together. The command line counts more.
fn settings(options: &Options, address: &mut Address, identity: Option<&Identity>) -> Settings {
    let rooms_matter = !options.rooms.is_empty();
    let rooms = match &address.room {
        _ if rooms_matter => options.rooms.clone(),
        Some(room) => vec![room.clone()],
        None => vec![DEFAULT_ROOM.to_owned()],
    };
    let name = options.name.clone().or_else(|| address.name.clone());
    let name = name.or_else(|| identity.and_then(|identity| identity.name.clone()));
    if let Some(name) = &name {
        // A server that knows plain messages only may read it there.
        address.ask_for_name(name);
    }
    Settings {
        url: options.url.clone(),
        name,
        rooms,
        rooms_matter,
        mode: options.mode,
        once: options.once,
        session: identity.and_then(|identity| identity.session.clone()),
    }
}
