//! The plain contract over real sockets: each test proves the sentences of `docs/PROTOCOL.md` that it quotes.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

#[path = "../common/mod.rs"]
mod common;

mod binary;
mod crowd;
mod errors;
mod history;
mod lines;
mod names;
mod positions;
mod private;
mod rooms;
