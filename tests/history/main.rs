//! `chinwag history` as its people meet it: the real binary, on stores that the real store has written.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

#[path = "../common/mod.rs"]
mod common;

mod store;

mod backup;
mod beside;
mod import;
mod output;
mod stats;
mod untouched;
mod verify;
