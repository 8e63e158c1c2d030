//! What each step of a line's way costs by itself, without sockets: `cargo bench --bench micro`.
//!
//! `cargo bench --bench micro -- NAME` runs those whose name contains `NAME`; `-- scale` prints only the table of what up to
//! a million connections cost ([`scale`]), which is more than a machine with a usual limit of descriptors can open.
//! The steps themselves are in [`spelling`] (bytes to values and back), [`rules`] (the core), [`timers`] and [`fan_out`].
//!
//! The engine's parts are nobody's business but its own, so they are no part of the library's face; they are compiled
//! into this program from the same files. `cargo test` leaves it alone: a million connections are for those who ask.

mod fan_out;
mod rules;
mod scale;
mod spelling;
mod timers;

#[path = "../../src/engine/connection.rs"]
#[allow(dead_code, reason = "only what is measured is used")]
mod connection;
#[path = "../../src/engine/outbox.rs"]
#[allow(dead_code, reason = "only what is measured is used")]
mod outbox;
#[path = "../../src/engine/turn_buffer.rs"]
#[allow(dead_code, unused_imports, reason = "only what is measured is used")]
mod turn_buffer;
#[path = "../../src/engine/wheel.rs"]
#[allow(dead_code, reason = "only what is measured is used")]
mod wheel;

// What the engine's files call `crate::…`.
use chinwag::{chat, config, wire};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [scale::MEASURE, subject, connections] = &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return scale::measure(subject, connections);
    }
    // Cargo adds `--bench` to what was typed.
    let typed: Vec<&String> = arguments.iter().filter(|&argument| argument != "--bench").collect();
    let only_scale = typed == ["scale"];
    if !only_scale {
        divan::main();
    }
    if only_scale || typed.is_empty() {
        scale::print_table();
    }
}
