//! History on a disk, by the real binary: what a restart keeps, what a kill keeps, what is refused, and what a bad disk does.
//!
//! What needs root, strace or minutes is ignored in `cargo test`; `.ci/run` runs it.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

#[path = "../common/mod.rs"]
mod common;

#[path = "../v1/client.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod client;
#[path = "../v1/wire.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod wire;

mod beside;
mod disk;
mod gone;
mod import;
mod kill;
mod older;
mod opening;
mod pages;
mod person;
mod restart;
mod trouble;
