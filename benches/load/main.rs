//! The load harness: `cargo bench --bench load`. It starts the server, and beside it the floor, each pinned to one core,
//! pins itself to another, and measures both in turns; see docs/BENCHMARKS.md for the method. It judges what every receiver
//! gets, too, and a run in which a line was lost, repeated or out of order fails, whatever its speed.
//!
//! ```text
//! options   what was typed          plan      which scenes that makes
//! scenes    one file each           pairs     subjects take turns; ratios
//! subject   who is measured         child     processes, pinned, gone when we are
//! audience  one subject with all its listeners and talkers; desk: what they get
//! crowd     thousands of clients    oracle    the judge of what they get
//! folder    where files are made
//! floor     the least that a relay can do
//! results   what was measured       report    tables, JSON, a page
//! ```
#![allow(clippy::disallowed_methods, reason = "benches may read the clock")]

mod audience;
mod child;
mod crowd;
mod desk;
mod failure;
mod floor;
mod folder;
mod frame;
mod kernel;
mod latency;
mod options;
mod oracle;
mod pairs;
mod peers;
mod plan;
mod report;
mod results;
mod scenes;
mod subject;

use std::process::ExitCode;

use clap::Parser as _;

use failure::Failure;
use options::Options;
use plan::Plan;
use results::Run;

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some(child::EXEC) => Err(child::exec(std::env::args_os().skip(2))),
        Some(floor::FLOOR) => floor::run(std::env::args_os().skip(2)),
        // `cargo bench` says `--bench`; without a word it is `cargo test --benches`, which is to measure nothing.
        None => {
            println!("nothing is measured: cargo bench --bench load does");
            Ok(())
        }
        Some(_) => measure(&Options::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Failure> {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let plan = Plan::new(options)?;
    let setting = &plan.setting;
    let mut run = Run {
        machine: kernel::machine(setting.server_core, setting.client_core),
        command: command_line(),
        skipped: plan.skipped,
        ..Run::default()
    };
    if let Some(core) = setting.client_core {
        child::take_own_core(core)?;
    }
    for scene in &plan.scenes {
        setting.progress.set_message(scene.title());
        let result = scene.run(setting).map_err(|failure| failure.at(&scene.title()))?;
        run.scenes.push(result);
    }
    setting.progress.finish_and_clear();
    print!("{}", report::text(&run));
    if let Some(path) = &options.output.json {
        report::write_json(&run, path).map_err(|error| Failure::from(error).at(&path.to_string_lossy()))?;
    }
    if let Some(path) = &options.output.html {
        report::write_html(&run, path).map_err(|error| Failure::from(error).at(&path.to_string_lossy()))?;
    }
    Ok(())
}

/// How it was called, for whoever wants the same again.
fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    format!("cargo bench --bench load -- {}", words.join(" ")).trim_end_matches([' ', '-']).to_owned()
}
