//! The terminal client as its people meet it: the real `chinwag connect`, at a pseudo-terminal or in a pipe, against the
//! real server, a network that breaks (`relay`), or a server that follows a script (`script`).
//!
//! What is on a terminal's screen is known by an emulator, `vt100`. Every client has a home and a state folder of its
//! own, and a locale that the test says.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

#[path = "../common/mod.rs"]
mod common;

mod home;
mod pipe;
mod relay;
mod script;
mod terminal;
mod watched;

mod commands;
mod ends;
mod hostile;
mod identity;
mod network;
mod piped;
mod typing;
