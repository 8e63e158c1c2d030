//! Tables for a terminal: no wider than a usual one, names on the left, figures aligned on the right.

use std::fmt::Write as _;

use crate::results::{Run, SceneResult};

use super::amount;
use super::summary;

/// Columns beyond this width go into a further block below.
const WIDTH: usize = 118;

/// Between two columns.
const GAP: usize = 3;

/// Rows of cells; the head's come first, and the first column is the names.
type Rows = Vec<Vec<String>>;

/// The whole run.
pub(crate) fn render(run: &Run) -> String {
    let machine = &run.machine;
    let mut out = format!("{}, {} cores, {}\n", machine.cpu, machine.cores, machine.kernel);
    if let (Some(server), Some(client)) = (machine.server_core, machine.client_core) {
        let _ = writeln!(out, "Subjects are pinned to core {server}, the harness to core {client}.");
    }
    if machine.server_core.is_none() {
        out.push_str("Nothing is pinned to a core.\n");
    }
    out.push_str("Figures are medians of the rounds; ratios are medians of the pairs [lowest … highest].\n");
    for scene in &run.scenes {
        scene_tables(&mut out, scene);
    }
    for sentence in &run.skipped {
        let _ = write!(out, "\n{sentence}");
    }
    if !run.skipped.is_empty() {
        out.push('\n');
    }
    out
}

fn scene_tables(out: &mut String, scene: &SceneResult) {
    let _ = writeln!(out, "\n{}\n{}; {}", scene.title, summary::parameters(scene), summary::rounds(scene));
    let figures = summary::figures(scene);
    let (mut labels, mut units) = (vec![String::new()], vec![String::new()]);
    labels.extend(figures.columns.iter().map(|(measure, _)| measure.label().to_owned()));
    units.extend(figures.columns.iter().map(|(_, scale)| scale.unit.to_owned()));
    let mut rows = vec![labels, units];
    for (name, cells) in &figures.rows {
        let shown = cells
            .iter()
            .zip(&figures.columns)
            .map(|(cell, (_, scale))| cell.map_or_else(|| "–".to_owned(), |cell| scale.show(cell.median)));
        rows.push(std::iter::once(name.clone()).chain(shown).collect());
    }
    print(out, &rows);
    let ratios = summary::ratios(scene);
    if ratios.rows.is_empty() {
        return;
    }
    let first = scene.subjects.first().map_or("", |subject| &subject.name);
    let mut head = vec![format!("{first} over")];
    head.extend(ratios.columns.iter().map(|measure| measure.label().to_owned()));
    let mut rows = vec![head];
    for (name, cells) in &ratios.rows {
        let shown = cells.iter().map(|cell| {
            cell.map_or_else(
                || "–".to_owned(),
                |it| {
                    let [median, lowest, highest] = [it.median, it.lowest, it.highest].map(amount::ratio);
                    format!("{median} [{lowest} … {highest}]")
                },
            )
        });
        rows.push(std::iter::once((*name).to_owned()).chain(shown).collect());
    }
    out.push('\n');
    print(out, &rows);
}

/// Appends a table, in several blocks if it is too wide for one.
fn print(out: &mut String, rows: &Rows) {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut begin = 1;
    while begin < widths.len() {
        let mut end = begin;
        let mut width = 2 + widths[0];
        while end < widths.len() && (end == begin || width + GAP + widths[end] <= WIDTH) {
            width += GAP + widths[end];
            end += 1;
        }
        for row in rows {
            let mut line = format!("  {:1$}", row[0], widths[0]);
            for column in begin..end {
                let _ = write!(line, "{:1$}", "", GAP);
                let _ = write!(line, "{:>1$}", row[column], widths[column]);
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
        begin = end;
    }
}
