//! The page: everything on it is in the one file, it asks the network for nothing, and it has no script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::results::{Measure, Ratio, Run, SceneResult};

use super::amount;
use super::plots::{self, Plot};
use super::summary::{self, Spread};

/// How it looks, on a light screen and a dark one, on paper and on a phone.
const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(crate) fn render(run: &Run) -> String {
    let names = plots::names(run);
    let depths = plots::depths(run, &names);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Chinwag under load" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Chinwag under load" }
                    (machine(run))
                }
                main {
                    (overview(run, &names))
                    @if !depths.is_empty() {
                        section { div.plots { @for plot in &depths { (figure(plot, &names)) } } }
                    }
                    @for scene in &run.scenes { (scene_section(scene, &names)) }
                    @if !run.skipped.is_empty() {
                        section {
                            h2 { "Not measured" }
                            ul { @for sentence in &run.skipped { li { (sentence) } } }
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn machine(run: &Run) -> Markup {
    let machine = &run.machine;
    html! {
        p { (machine.cpu) ", " (machine.cores) " cores, " (machine.kernel) "." }
        @if let (Some(server), Some(client)) = (machine.server_core, machine.client_core) {
            p { "Subjects are pinned to core " (server) ", the harness to core " (client) "." }
        } @else {
            p { "Nothing is pinned to a core." }
        }
        pre { code { (run.command) } }
        p.how {
            "Figures are medians of the rounds. A ratio is the median over the pairs of rounds that ran side by side, "
            "with the lowest and the highest pair. CPU time is the kernel's own account of the server's processes."
        }
    }
}

/// The first ratio of each scene, against everybody.
fn overview(run: &Run, names: &[String]) -> Markup {
    let first = |scene: &SceneResult| scene.ratios.first().map(|ratio| ratio.measure);
    let scenes: Vec<(&SceneResult, Measure)> =
        run.scenes.iter().filter_map(|scene| Some((scene, first(scene)?))).collect();
    let others: Vec<&String> = names
        .iter()
        .filter(|name| scenes.iter().any(|(scene, _)| scene.ratios.iter().any(|ratio| ratio.over == **name)))
        .collect();
    let find = |scene: &SceneResult, measure: Measure, name: &str| {
        scene.ratios.iter().find(|ratio| ratio.over == name && ratio.measure == measure).cloned()
    };
    html! {
        @if !others.is_empty() {
            section {
                h2 { "At a glance" }
                p { (names.first().map_or("", String::as_str)) " over each of the others; below 1 it takes less, unless more is better." }
                div.wide {
                    table {
                        thead { tr { th {} @for name in &others { th.number { (key(name, names)) } } } }
                        tbody {
                            @for (scene, measure) in &scenes {
                                tr {
                                    th {
                                        (scene.title)
                                        span.extremes {
                                            (measure.label())
                                            @if measure.more_is_better() { ", more is better" }
                                        }
                                    }
                                    @for name in &others { (ratio_cell(find(scene, *measure, name).as_ref())) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn scene_section(scene: &SceneResult, names: &[String]) -> Markup {
    let figures = summary::figures(scene);
    let ratios = summary::ratios(scene);
    let plots = [plots::latency(scene, names), plots::memory(scene, names), plots::pairs(scene, names)];
    let plots: Vec<Plot> = plots.into_iter().flatten().collect();
    html! {
        section {
            h2 { (scene.title) }
            p.parameters { (summary::parameters(scene)) "; " (summary::rounds(scene)) }
            div.wide {
                table {
                    thead {
                        tr {
                            th {}
                            @for (measure, scale) in &figures.columns {
                                th.number { (measure.label()) br; span.unit { (scale.unit) } }
                            }
                        }
                    }
                    tbody {
                        @for (name, cells) in &figures.rows {
                            tr {
                                th { (key(name, names)) }
                                @for (cell, (_, scale)) in cells.iter().zip(&figures.columns) {
                                    (spread_cell(*cell, |value| scale.show(value)))
                                }
                            }
                        }
                        @for (name, cells) in &ratios.rows {
                            tr.ratio {
                                th { (scene.subjects[0].name) " / " (name) }
                                @for (measure, _) in &figures.columns {
                                    @let place = ratios.columns.iter().position(|column| column == measure);
                                    (ratio_cell(place.and_then(|place| cells[place])))
                                }
                            }
                        }
                    }
                }
            }
            @if !plots.is_empty() { div.plots { @for plot in &plots { (figure(plot, names)) } } }
        }
    }
}

/// A subject's name beside its colour.
fn key(name: &str, names: &[String]) -> Markup {
    html! { span.key style=(format!("--colour: var(--line-{})", plots::colour(names, name))) { (name) } }
}

fn spread_cell(cell: Option<Spread>, show: impl Fn(f64) -> String) -> Markup {
    html! {
        td.number {
            @if let Some(spread) = cell {
                (show(spread.median))
                @if spread.lowest < spread.highest {
                    span.extremes { (show(spread.lowest)) " … " (show(spread.highest)) }
                }
            }
        }
    }
}

fn ratio_cell(ratio: Option<&Ratio>) -> Markup {
    html! {
        td.number {
            @if let Some(ratio) = ratio {
                b { (amount::ratio(ratio.median)) }
                @if ratio.lowest < ratio.highest { span.extremes { (amount::ratio(ratio.lowest)) " … " (amount::ratio(ratio.highest)) } }
            }
        }
    }
}

fn figure(plot: &Plot, names: &[String]) -> Markup {
    html! {
        figure {
            h3 { (plot.title) }
            (PreEscaped(&plot.svg))
            div.keys { @for name in &plot.names { (key(name, names)) } }
            figcaption { (plot.caption) }
        }
    }
}
