//! Which plots a run has: CPU against depth, latency, memory against connections.

use crate::results::{Latency, Measure, MemoryPoint, Ratio, Run, SceneKind, SceneResult, SubjectResult, Unit, Value};

use super::amount::{self, Scale};
use super::plot::{Axis, COLOURS, Line, Spacing, draw};
use super::summary::{self, Spread};

/// A plot with its words.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// What it shows.
    pub(crate) title: String,
    /// With what it was measured, and how to read it.
    pub(crate) caption: String,
    /// The drawing, an `<svg>` element.
    pub(crate) svg: String,
    /// Who is in it.
    pub(crate) names: Vec<String>,
}

/// Everybody who was measured in a run, the server first. The place in this list is the colour in all plots.
pub(crate) fn names(run: &Run) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for subject in run.scenes.iter().flat_map(|scene| &scene.subjects) {
        if !names.contains(&subject.name) {
            names.push(subject.name.clone());
        }
    }
    names
}

/// The number of a subject's colour.
pub(crate) fn colour(names: &[String], name: &str) -> usize {
    names.iter().position(|other| other == name).unwrap_or(0) % COLOURS
}

/// How wide a line is: the floor's is a band, so that it can be seen behind who stands on it.
fn width(name: &str) -> u32 {
    if name == "floor" { 6 } else { 2 }
}

/// CPU and latency against depth: one plot of each for all fan-outs that differ in the number in flight alone.
pub(crate) fn depths(run: &Run, names: &[String]) -> Vec<Plot> {
    let mut groups: Vec<(String, Vec<(f64, &SceneResult)>)> = Vec::new();
    for scene in run.scenes.iter().filter(|scene| scene.kind == SceneKind::Fanout) {
        let Some(depth) = depth(scene) else { continue };
        let mut others = scene.clone();
        others.parameters.retain(|parameter| parameter.name != "in_flight");
        let words = summary::parameters(&others);
        match groups.iter_mut().find(|(known, _)| *known == words) {
            Some((_, scenes)) => scenes.push((depth, scene)),
            None => groups.push((words, vec![(depth, scene)])),
        }
    }
    groups.retain(|(_, scenes)| scenes.len() > 1);
    for (_, scenes) in &mut groups {
        scenes.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let measures = [Measure::CpuPerDelivery, Measure::LatencyP50];
    let plots = groups.iter().flat_map(|group| measures.map(|measure| (group, measure)));
    plots.filter_map(|((words, scenes), measure)| depth_plot(measure, words, scenes, names)).collect()
}

fn depth_plot(measure: Measure, words: &str, scenes: &[(f64, &SceneResult)], names: &[String]) -> Option<Plot> {
    let mut shown = Vec::new();
    let mut lines = Vec::new();
    for name in names {
        let spreads: Vec<(f64, Spread)> = scenes
            .iter()
            .filter_map(|&(depth, scene)| {
                let subject = scene.subjects.iter().find(|subject| subject.name == *name)?;
                Some((depth, summary::spread(subject, measure)?))
            })
            .collect();
        if spreads.is_empty() {
            continue;
        }
        lines.push(Line {
            colour: colour(names, name),
            width: width(name),
            points: spreads.iter().map(|(depth, spread)| (*depth, spread.median)).collect(),
            ranges: spreads.iter().map(|(depth, spread)| (*depth, spread.lowest, spread.highest)).collect(),
        });
        shown.push(name.clone());
    }
    let x = Axis {
        title: "messages in flight".to_owned(),
        spacing: Spacing::Log,
        write: short,
        marks: scenes.iter().map(|scene| scene.0).collect(),
    };
    let y = Axis { title: measure.label().to_owned(), spacing: Spacing::Log, write: time, marks: Vec::new() };
    let caption = format!("With {words}. Lower is better; dots are medians of the rounds, bars their extremes.");
    let title = match measure {
        Measure::CpuPerDelivery => "CPU against depth",
        _ => "Latency against depth",
    };
    Some(Plot { title: title.to_owned(), caption, svg: draw(&x, &y, &lines)?, names: shown })
}

fn depth(scene: &SceneResult) -> Option<f64> {
    match scene.parameters.iter().find(|parameter| parameter.name == "in_flight")?.value {
        Value::Number(number) => Some(number),
        Value::Word(_) => None,
    }
}

/// How the latency of a scene is distributed; `None` if it has none.
pub(crate) fn latency(scene: &SceneResult, names: &[String]) -> Option<Plot> {
    let timed: Vec<(&SubjectResult, &Latency)> = scene
        .subjects
        .iter()
        .filter_map(|subject| Some((subject, subject.latency.as_ref()?)))
        .filter(|(_, latency)| !latency.curve.is_empty())
        .collect();
    // What is beyond has fewer than ten deliveries and is chance; the slowest is in the table.
    let fewest = timed.iter().map(|(_, latency)| latency.count).min()?;
    let last_share = (1.0 - 10.0 / fewest.max(20) as f64).min(0.999_99);
    let line = |(subject, latency): &(&SubjectResult, &Latency)| {
        let points = latency.curve.iter().filter(|point| point.share <= last_share);
        Line {
            colour: colour(names, &subject.name),
            width: width(&subject.name),
            points: points.map(|point| (point.share, point.us.max(0.1))).collect(),
            ranges: Vec::new(),
        }
    };
    let lines: Vec<Line> = timed.iter().map(line).collect();
    let x = Axis {
        title: "share of the deliveries".to_owned(),
        spacing: Spacing::Nines,
        write: percent,
        marks: vec![0.5, 0.9, 0.99, 0.999, 0.999_9, 0.999_99],
    };
    let y = Axis { title: "took at most".to_owned(), spacing: Spacing::Log, write: time, marks: Vec::new() };
    Some(Plot {
        title: "Latency".to_owned(),
        caption: "Of all rounds together. Lower is better. Each mark to the right leaves out a tenth of what the one before it \
                  did: so the few slowest can be seen."
            .to_owned(),
        svg: draw(&x, &y, &lines)?,
        names: timed.iter().map(|(subject, _)| subject.name.clone()).collect(),
    })
}

/// A scene's first ratio, pair by pair: whether a median is worth something; `None` if there are no pairs.
pub(crate) fn pairs(scene: &SceneResult, names: &[String]) -> Option<Plot> {
    let measure = scene.ratios.first()?.measure;
    let first = &scene.subjects.first()?.name;
    let of_measure = |ratio: &&Ratio| ratio.measure == measure && ratio.pairs.len() > 1;
    let ratios: Vec<&Ratio> = scene.ratios.iter().filter(of_measure).collect();
    let line = |ratio: &&Ratio| {
        let points: Vec<(f64, f64)> = (1_u32..).map(f64::from).zip(ratio.pairs.iter().copied()).collect();
        let ranges = points.iter().map(|&(pair, value)| (pair, value, value)).collect();
        Line { colour: colour(names, &ratio.over), width: 2, points, ranges }
    };
    let lines: Vec<Line> = ratios.iter().map(line).collect();
    let pairs = lines.iter().map(|line| line.points.len()).max()?;
    let x = Axis {
        title: "pair".to_owned(),
        spacing: Spacing::Even,
        write: short,
        marks: (1..=pairs).map(|pair| pair as f64).collect(),
    };
    let y = Axis { title: format!("{first} over"), spacing: Spacing::Log, write: short, marks: Vec::new() };
    Some(Plot {
        title: format!("{}, pair by pair", measure.label()),
        caption: "The rounds that ran side by side, in the order in which they ran.".to_owned(),
        svg: draw(&x, &y, &lines)?,
        names: ratios.iter().map(|ratio| ratio.over.clone()).collect(),
    })
}

/// Memory against connections; `None` if the scene did not count it.
pub(crate) fn memory(scene: &SceneResult, names: &[String]) -> Option<Plot> {
    let counted: Vec<&SubjectResult> = scene.subjects.iter().filter(|subject| !subject.memory.is_empty()).collect();
    let largest = counted.iter().flat_map(|subject| &subject.memory).map(|point| point.user_bytes).max()?;
    let scale = Scale::of(Unit::Bytes, largest as f64);
    let point = |point: &MemoryPoint| (point.connections as f64, scale.measure(point.user_bytes as f64));
    let line = |subject: &&SubjectResult| Line {
        colour: colour(names, &subject.name),
        width: width(&subject.name),
        points: subject.memory.iter().map(point).collect(),
        ranges: Vec::new(),
    };
    let lines: Vec<Line> = counted.iter().map(line).collect();
    let x =
        Axis { title: "connections".to_owned(), spacing: Spacing::Even, write: amount::thousands, marks: Vec::new() };
    let title = format!("user memory, {}", scale.unit);
    let y = Axis { title, spacing: Spacing::Even, write: short, marks: Vec::new() };
    Some(Plot {
        title: "Memory against connections".to_owned(),
        caption: "Anonymous resident pages, as the kernel counts them. Lower is better.".to_owned(),
        svg: draw(&x, &y, &lines)?,
        names: counted.iter().map(|subject| subject.name.clone()).collect(),
    })
}

/// A number without the zeros that a mark does not need: `0.5`, `20`.
fn short(value: f64) -> String {
    let shown = amount::digits(value);
    if shown.contains('.') && !shown.contains('e') {
        shown.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        shown
    }
}

/// A time with its unit: `50 µs`, `2 ms`.
fn time(us: f64) -> String {
    match us {
        _ if us < 999.5 => format!("{} µs", short(us)),
        _ if us < 999_500.0 => format!("{} ms", short(us / 1e3)),
        _ => format!("{} s", short(us / 1e6)),
    }
}

/// A share: `99.9 %`.
fn percent(share: f64) -> String {
    let shown = format!("{:.3}", share * 100.0);
    format!("{} %", shown.trim_end_matches('0').trim_end_matches('.'))
}
