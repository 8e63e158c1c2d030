//! The scenes, one file each. Each starts its subjects, lets them take turns, and says what was measured.

pub(crate) mod fanout;
pub(crate) mod rooms;

use crate::audience::{Audience, Seating};
use crate::failure::Failure;
use crate::options::Dialect;
use crate::plan::Setting;
use crate::results::{Measure, Parameter, SubjectResult, Value};
use crate::subject::Subject;

/// The server: an own one, or the one that runs already.
pub(crate) fn server(setting: &Setting, flags: &[&str]) -> Result<Subject, Failure> {
    if let Some((address, process)) = setting.running {
        return Ok(Subject::running(address, process));
    }
    let flags = flags.iter().map(|&flag| flag.to_owned()).chain(setting.server_flags.iter().cloned());
    Subject::chinwag(setting.server_core, &flags.collect::<Vec<_>>())
}

/// The server's audience, and that of the floor whose frames are as long as the server's.
fn audiences(setting: &Setting, seating: &Seating) -> Result<Vec<Audience>, Failure> {
    let mut first = Audience::gather(server(setting, &[])?, seating.clone())?;
    // One line, to see how long its frame is.
    first.measured(|audience| {
        audience.say(0, audience.crowd.now());
        audience.until_level()
    })?;
    let frame_bytes = first.desk.frame_bytes;
    let mut all = vec![first];
    if setting.floor {
        let floor = Subject::floor(setting.server_core, frame_bytes, 0)?;
        all.push(Audience::gather(floor, seating.clone())?);
    }
    Ok(all)
}

/// What audiences have measured.
fn results(audiences: &mut [Audience], rounds: Vec<Vec<crate::results::Round>>) -> Vec<SubjectResult> {
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
