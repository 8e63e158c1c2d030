//! The rounds of a scene drawn together: a table of medians, and one of ratios. The terminal and the page show the same.

use crate::results::{Measure, Parameter, Ratio, SceneResult, SubjectResult, Value};

use super::amount::{self, Scale};

/// The median of some rounds, and their extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Half of the rounds had less.
    pub(crate) median: f64,
    /// The lowest.
    pub(crate) lowest: f64,
    /// The highest.
    pub(crate) highest: f64,
}

/// What a scene measured, a row for each subject.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// A column for each measure that any subject has.
    pub(crate) columns: Vec<(Measure, Scale)>,
    /// Each subject's name, and a cell for each column.
    pub(crate) rows: Vec<(String, Vec<Option<Spread>>)>,
}

/// The first subject against the others, a row for each of them.
#[derive(Clone, Debug)]
pub(crate) struct Ratios<'a> {
    /// A column for each measure.
    pub(crate) columns: Vec<Measure>,
    /// The other's name, and a cell for each column.
    pub(crate) rows: Vec<(&'a str, Vec<Option<&'a Ratio>>)>,
}

/// Draws a scene's rounds together.
pub(crate) fn figures(scene: &SceneResult) -> Figures {
    let mut measures: Vec<Measure> = Vec::new();
    for subject in &scene.subjects {
        for figure in subject.rounds.iter().flat_map(|round| &round.figures) {
            if !measures.contains(&figure.measure) {
                measures.push(figure.measure);
            }
        }
    }
    let rows: Vec<(String, Vec<Option<Spread>>)> = scene
        .subjects
        .iter()
        .map(|subject| (subject.name.clone(), measures.iter().map(|&measure| spread(subject, measure)).collect()))
        .collect();
    let scale = |(place, &measure): (usize, &Measure)| {
        let medians = rows.iter().filter_map(|(_, cells)| cells[place]).map(|cell| cell.median);
        (measure, Scale::of(measure.unit(), medians.fold(0.0, f64::max)))
    };
    Figures { columns: measures.iter().enumerate().map(scale).collect(), rows }
}

/// One measure of a subject over its rounds; `None` if it has it in none.
pub(crate) fn spread(subject: &SubjectResult, measure: Measure) -> Option<Spread> {
    let figures = subject.rounds.iter().flat_map(|round| &round.figures);
    let mut values: Vec<f64> = figures.filter(|figure| figure.measure == measure).map(|figure| figure.value).collect();
    values.sort_by(f64::total_cmp);
    let (&lowest, &highest) = (values.first()?, values.last()?);
    let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
    Some(Spread { median, lowest, highest })
}

/// Puts a scene's ratios in rows and columns, in the order in which they are.
pub(crate) fn ratios(scene: &SceneResult) -> Ratios<'_> {
    let (mut columns, mut names): (Vec<Measure>, Vec<&str>) = (Vec::new(), Vec::new());
    for ratio in &scene.ratios {
        if !columns.contains(&ratio.measure) {
            columns.push(ratio.measure);
        }
        if !names.contains(&&*ratio.over) {
            names.push(&ratio.over);
        }
    }
    let find =
        |name: &str, measure: Measure| scene.ratios.iter().find(|ratio| ratio.over == name && ratio.measure == measure);
    let cells = |name: &str| columns.iter().map(|&measure| find(name, measure)).collect();
    Ratios { rows: names.into_iter().map(|name| (name, cells(name))).collect(), columns }
}

/// The parameters of a scene in one line: `receivers 1,000, message_bytes 100, clients plain`.
pub(crate) fn parameters(scene: &SceneResult) -> String {
    let shown: Vec<String> = scene.parameters.iter().map(parameter).collect();
    shown.join(", ")
}

fn parameter(parameter: &Parameter) -> String {
    let value = match &parameter.value {
        Value::Number(number) if number.fract() == 0.0 => amount::thousands(*number),
        Value::Number(number) => amount::digits(*number),
        Value::Word(word) => word.clone(),
    };
    format!("{} {value}", parameter.name.replace('_', " "))
}

/// How often each subject was measured: `7 rounds each`.
pub(crate) fn rounds(scene: &SceneResult) -> String {
    match scene.subjects.iter().map(|subject| subject.rounds.len()).max().unwrap_or(0) {
        1 => "1 round each".to_owned(),
        rounds => format!("{rounds} rounds each"),
    }
}
