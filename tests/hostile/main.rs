//! Bad input and bad peers: always a proper answer or a close code, never a panic, never silence, never another
//! client's loss. Each test proves the sentences of `docs/PROTOCOL.md` that it quotes.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

#[path = "../common/mod.rs"]
mod common;

mod frames;
mod handshake;
mod heads;
mod peers;
mod rate;
mod slow;
