//! What a connection costs when there are up to a million: memory, and the time of one operation.
//!
//! Each figure is of a process of its own, which this program starts of itself one after the other: what an earlier one
//! left in the allocator would be counted as free. Memory is what the kernel gave (anonymous resident pages), so the
//! allocator's own part is in it. Linux only; elsewhere the memory is left out.

#![allow(clippy::disallowed_methods, reason = "a bench has no turn whose time it could use")]

use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::fan_out::Audience;
use crate::rules::House;
use crate::timers::Clockwork;

/// The argument by which this program tells itself what to measure.
pub(crate) const MEASURE: &str = "--measure";

const CONNECTIONS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// The time of an operation is the median of so many runs.
const RUNS: usize = 9;

/// What is measured: how the child is told, for whom a row is, and what one operation is.
const SUBJECTS: [(&str, &str, &str); 4] = [
    ("wheel", "timer wheel", "a deadline passes, the next is filed"),
    ("rooms", "core, rooms of 10", "a line comes and goes to its room"),
    ("room", "core, one room of all", "a line goes to one reader"),
    ("fan-out", "connections and fan-out", "a line goes to one reader"),
];

/// Measures everything, in a process each, and prints it as a table.
pub(crate) fn print_table() {
    let sizes: Vec<String> = CONNECTIONS.iter().map(|&connections| spaced(connections)).collect();
    println!("\n{:24}  {:38}  {}", "", "with so many connections", columns(&sizes));
    for (subject, name, operation) in SUBJECTS {
        let figures: Vec<(String, String)> =
            CONNECTIONS.iter().map(|&connections| ask_child(subject, connections)).collect();
        let (bytes, times): (Vec<String>, Vec<String>) = figures.into_iter().unzip();
        println!("{name:24}  {:38}  {}", "memory of each connection, B", columns(&bytes));
        println!("{:24}  {:38}  {}", "", format!("{operation}, ns"), columns(&times));
    }
}

/// Measures one subject and prints the bytes of each connection and the nanoseconds of one operation.
pub(crate) fn measure(subject: &str, connections: &str) {
    let connections: usize = connections.parse().expect("this program gives itself a number");
    let mut random = fastrand::Rng::with_seed(11);
    let before = anonymous_bytes();
    let (after, nanoseconds) = match subject {
        "wheel" => {
            let mut clockwork = Clockwork::new(connections);
            (anonymous_bytes(), median_ns(|| clockwork.turn(connections.clamp(10_000, 200_000))))
        }
        "rooms" => {
            let mut house = House::new(connections, connections / 10);
            let lines = 20_000;
            let say = || {
                for _ in 0..lines {
                    house.say(random.usize(..connections));
                }
                lines
            };
            (anonymous_bytes(), median_ns(say))
        }
        "room" => {
            let mut house = House::new(connections, 1);
            let lines = (1_000_000 / connections).max(3);
            let say = || (0..lines).map(|_| house.say(random.usize(..connections))).sum();
            (anonymous_bytes(), median_ns(say))
        }
        "fan-out" => {
            let mut audience = Audience::new(connections);
            let lines = (1_000_000 / connections).max(3);
            let hear = || {
                for _ in 0..lines {
                    audience.hear(1);
                }
                lines * connections
            };
            (anonymous_bytes(), median_ns(hear))
        }
        _ => panic!("this program does not tell itself to measure {subject}"),
    };
    match before.zip(after) {
        Some((before, after)) => println!("{:.0} {nanoseconds:.1}", (after - before) / connections as f64),
        None => println!("– {nanoseconds:.1}"),
    }
}

/// The time of one operation of those that `run` says it did; the first run is not counted.
fn median_ns(mut run: impl FnMut() -> usize) -> f64 {
    let mut times: Vec<f64> = (0..=RUNS)
        .map(|_| {
            let start = Instant::now();
            let operations = run();
            start.elapsed().as_nanos() as f64 / operations as f64
        })
        .skip(1)
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// This process' anonymous resident pages; `None` where the kernel does not say.
fn anonymous_bytes() -> Option<f64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1_024.0)
}

/// Has a process of its own measure, and reads the two figures that it prints.
fn ask_child(subject: &str, connections: usize) -> (String, String) {
    let program = std::env::current_exe().expect("this program runs from a file");
    let output = Command::new(program).args([MEASURE, subject, &connections.to_string()]).output();
    let output = output.expect("this program can start itself");
    assert!(output.status.success(), "{subject}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let (bytes, time) = text.trim().split_once(' ').expect("this program prints two figures");
    (bytes.into(), time.into())
}

/// A number with a space for each thousand.
fn spaced(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{} {:03}", spaced(number / 1_000), number % 1_000),
    }
}

fn columns(cells: &[String]) -> String {
    cells.iter().fold(String::new(), |line, cell| line + &format!("{cell:>11}"))
}
