//! `chinwag.v1` over real sockets: each test proves the sentences of `docs/PROTOCOL.md` that it quotes. Those in
//! `recovery`, `takeover`, `grace`, `retries` and `holes` are the heart: what other systems get wrong, and whose bug it is.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

#[path = "../common/mod.rs"]
mod common;

mod client;
mod wire;

mod days;
mod hello;
mod memory;
mod mixed;
mod names;
mod order;
mod positions;
mod presence;
mod private;
mod rooms;
mod sessions;

mod grace;
mod holes;
mod recovery;
mod retries;
mod takeover;
