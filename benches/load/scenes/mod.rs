//! The scenes, one file each. Each starts its subjects, lets them take turns, and says what was measured.

pub(crate) mod churn;
pub(crate) mod fanout;
pub(crate) mod hold;
pub(crate) mod join;
pub(crate) mod rooms;
pub(crate) mod slow;
pub(crate) mod start;
pub(crate) mod store;
pub(crate) mod storm;

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use crate::audience::{Audience, Layout};
use crate::failure::Failure;
use crate::options::Dialect;
use crate::pairs::alternate;
use crate::peers::Peer;
use crate::plan::Setting;
use crate::results::{Measure, Parameter, Round, SubjectResult, Value};
use crate::subject::Subject;

/// Files that are no clients' sockets: pipes, polls, standard streams.
const FILES_OF_OURS: usize = 64;

/// The server: an own one, or the one that runs already.
pub(crate) fn server(setting: &Setting, flags: &[&str]) -> Result<Subject, Failure> {
    if let Some((address, process)) = setting.running {
        return Ok(Subject::running(address, process));
    }
    let mut flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
    flags.extend(setting.server_flags.iter().cloned());
    if let Some(folder) = setting.folder.as_ref().filter(|_| setting.all_on_disk) {
        flags.push(format!("--store={}", folder.file("db").display()));
    }
    Subject::chinwag(setting.server_core, &flags)
}

/// The same on a disk or in memory, and, if it is an own one, the file with all that its log says.
fn logging_server(setting: &Setting, on_disk: bool) -> Result<(Subject, Option<PathBuf>), Failure> {
    let Some(folder) = setting.folder.as_ref().filter(|_| setting.running.is_none()) else {
        return Ok((server(setting, &[])?, None));
    };
    let mut flags = setting.server_flags.clone();
    if on_disk {
        flags.push(format!("--store={}", folder.file("db").display()));
    }
    let log = folder.file("log");
    Ok((Subject::chinwag_logging(setting.server_core, &flags, File::create(&log)?)?, Some(log)))
}

/// The server's audience, that of the floor whose frames are as long as the server's, and those of as many `peers`
/// as this process may have sockets for.
fn audiences(setting: &Setting, layout: &Layout, peers: &[Peer]) -> Result<Vec<Audience>, Failure> {
    // All sockets of all audiences are this process'.
    let subjects = 1 + usize::from(setting.floor);
    let files = rlimit::Resource::NOFILE.get_soft()? as usize;
    let spare = (files.saturating_sub(FILES_OF_OURS) / layout.receivers).checked_sub(subjects);
    let spare = spare.ok_or_else(|| {
        Failure::from(format!("{subjects} times {} clients are more than {files} open files", layout.receivers))
    })?;
    let mut first = Audience::gather(server(setting, &[])?, layout.clone())?;
    // One line, to see how long its frame is.
    first.measured(|audience| {
        audience.say(0, audience.crowd.now());
        audience.until_level()
    })?;
    let frame_bytes = first.desk.frame_bytes;
    let mut all = vec![first];
    if setting.floor {
        let floor = Subject::floor(setting.server_core, frame_bytes, 0)?;
        all.push(Audience::gather(floor, layout.clone())?);
    }
    for peer in peers.iter().take(spare) {
        all.push(Audience::gather(peer.start(setting.server_core)?, layout.clone())?);
    }
    Ok(all)
}

/// Lets all take turns. What comes first after a switch is not counted: TCP acknowledges each segment at once for a while after a
/// connection was idle (some 16 of them), and a steady stream is what is to be measured.
fn take_turns(
    setting: &Setting,
    audiences: &mut [Audience],
    mut round: impl FnMut(&mut Audience, Duration) -> Result<Round, Failure>,
) -> Result<Vec<Vec<Round>>, Failure> {
    // The very first rounds also fill buffers.
    for audience in &mut *audiences {
        round(audience, setting.round)?;
    }
    alternate(audiences, setting.pairs, |audience| {
        setting.progress.inc(1);
        round(audience, setting.round / 2)?;
        let counted = round(audience, setting.round)?;
        audience.keep_latencies();
        Ok(counted)
    })
}

/// What audiences have measured.
fn results(audiences: &mut [Audience], rounds: Vec<Vec<Round>>) -> Vec<SubjectResult> {
    let subjects = audiences.iter_mut().zip(rounds);
    subjects
        .map(|(audience, rounds)| SubjectResult {
            name: audience.subject.name.clone(),
            rounds,
            latency: audience.latencies.result(),
            memory: Vec::new(),
        })
        .collect()
}

/// What ratios are made of where lines are delivered.
const RATIOS: [Measure; 4] =
    [Measure::CpuPerDelivery, Measure::DeliveriesPerSecond, Measure::LatencyP50, Measure::LatencyP99];

/// A parameter that is a number.
fn number(name: &str, value: usize) -> Parameter {
    Parameter { name: name.to_owned(), value: Value::Number(value as f64) }
}

/// A parameter that is a word.
fn word(name: &str, value: &str) -> Parameter {
    Parameter { name: name.to_owned(), value: Value::Word(value.to_owned()) }
}

/// How clients talk.
fn dialect(dialect: Dialect, ids: bool) -> Parameter {
    let with_ids = if ids { ", with ids" } else { "" };
    let name = match dialect {
        Dialect::Plain => "plain",
        Dialect::V1 => "chinwag.v1",
    };
    word("clients", &format!("{name}{with_ids}"))
}

/// A title that says how clients talk, where it is not the usual way.
fn titled(title: &str, dialect: Dialect, ids: bool) -> String {
    let v1 = if dialect == Dialect::V1 { ", v1" } else { "" };
    let with_ids = if ids { " with ids" } else { "" };
    format!("{title}{v1}{with_ids}")
}

/// What stands behind `key`, until a quote, a comma or a bracket.
fn field(text: &str, key: &str) -> String {
    let rest = text.split_once(key).map_or("", |(_, rest)| rest);
    rest.split(['"', ',', '}']).next().unwrap_or_default().to_owned()
}
