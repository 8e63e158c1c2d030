//! What the kernel tells of a process and of the machine: `/proc`, nothing else.

use std::fs;

use crate::failure::Failure;
use crate::results::Machine;

/// CPU time that processes took so far, in ns: all threads, in user and kernel mode, as the scheduler counted it.
///
/// A process that sleeps is counted exactly; one that runs, up to the scheduler's last look at it. What threads took
/// that have ended is not in it.
pub(crate) fn cpu_ns(processes: &[u32]) -> Result<u64, Failure> {
    let mut sum = 0;
    for process in processes {
        let folder = format!("/proc/{process}/task");
        let gone = |error| Failure::from(format!("process {process} is gone: {error}"));
        for task in fs::read_dir(folder).map_err(gone)? {
            let path = task.map_err(gone)?.path().join("schedstat");
            // A thread that ended since is not counted.
            let Ok(text) = fs::read_to_string(path) else { continue };
            let first = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            sum += first.ok_or_else(|| Failure::from(format!("schedstat reads {text:?}")))?;
        }
    }
    Ok(sum)
}

/// Memory of processes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Anonymous resident pages: what the program itself has asked for.
    pub(crate) user_bytes: u64,
    /// All resident pages.
    pub(crate) resident_bytes: u64,
}

/// Memory that processes hold now.
pub(crate) fn memory(processes: &[u32]) -> Result<Memory, Failure> {
    let mut sum = Memory::default();
    for process in processes {
        let text = read(&format!("/proc/{process}/smaps_rollup"))?;
        sum.user_bytes += kib(&text, "Anonymous:")? * 1024;
        sum.resident_bytes += kib(&text, "Rss:")? * 1024;
    }
    Ok(sum)
}

/// Forgets how much memory a process has held at most: from now on [`peak_bytes`] counts anew.
pub(crate) fn reset_peak(process: u32) -> Result<(), Failure> {
    let path = format!("/proc/{process}/clear_refs");
    fs::write(&path, "5").map_err(|error| Failure::from(format!("{path}: {error}")))
}

/// The most resident memory that a process has held since [`reset_peak`], in bytes.
pub(crate) fn peak_bytes(process: u32) -> Result<u64, Failure> {
    Ok(kib(&read(&format!("/proc/{process}/status"))?, "VmHWM:")? * 1024)
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::from(format!("{path}: {error}")))
}

/// The number behind `key` at a line's begin.
fn kib(text: &str, key: &str) -> Result<u64, Failure> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok());
    number.ok_or_else(|| Failure::from(format!("the kernel does not tell {key}")))
}

/// The machine, with the cores that the subjects and the harness are pinned to.
pub(crate) fn machine(server_core: Option<usize>, client_core: Option<usize>) -> Machine {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let system = rustix::system::uname();
    Machine {
        cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
        kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        server_core,
        client_core,
    }
}
