//! The load harness' report (`benches/load/report`): the same figures on the terminal and on the page, and a page that needs
//! nothing but itself.

#[path = "../benches/load/report/mod.rs"]
mod report;
#[path = "../benches/load/results.rs"]
#[allow(dead_code, reason = "the harness fills it, this test only some of it")]
mod results;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use results::{
    Figure, Latency, LatencyPoint, Machine, Measure, MemoryPoint, Parameter, Ratio, Round, Run, SceneKind, SceneResult,
    SubjectResult, Value,
};

/// A subject with three rounds around a CPU time for each delivery.
fn subject(name: &str, cpu_us: f64) -> SubjectResult {
    let round = |factor: f64| Round {
        wall_s: 0.4,
        cpu_s: 0.3,
        deliveries: 1_000,
        figures: vec![
            Figure { measure: Measure::CpuPerDelivery, value: cpu_us * factor },
            Figure { measure: Measure::LatencyP50, value: 1_234.0 * factor },
        ],
    };
    let curve = (0..100).map(|place| LatencyPoint { share: f64::from(place) / 100.0, us: 900.0 + f64::from(place) });
    SubjectResult {
        name: name.to_owned(),
        rounds: [1.25, 1.0, 0.5].map(round).to_vec(),
        latency: Some(Latency { count: 3_000, curve: curve.collect(), ..Latency::default() }),
        memory: [0, 1_000]
            .map(|connections| MemoryPoint { connections, user_bytes: 1_000 + connections as u64, resident_bytes: 0 })
            .to_vec(),
    }
}

fn scene(in_flight: f64) -> SceneResult {
    SceneResult {
        kind: SceneKind::Fanout,
        title: format!("fanout, {in_flight} in flight"),
        parameters: vec![
            Parameter { name: "in_flight".to_owned(), value: Value::Number(in_flight) },
            Parameter { name: "message_bytes".to_owned(), value: Value::Number(10_000.0) },
            Parameter { name: "clients".to_owned(), value: Value::Word("plain".to_owned()) },
        ],
        subjects: vec![subject("chinwag", 0.4), subject("floor", 0.32)],
        ratios: vec![Ratio {
            measure: Measure::CpuPerDelivery,
            over: "floor".to_owned(),
            median: 1.25,
            lowest: 1.2,
            highest: 1.31,
            pairs: vec![1.2, 1.25, 1.31],
        }],
    }
}

fn run() -> Run {
    Run {
        machine: Machine { cpu: "A <quick> one & only".to_owned(), cores: 2, ..Machine::default() },
        command: "cargo bench --bench load -- --peers".to_owned(),
        scenes: vec![scene(1.0), scene(16.0)],
        skipped: vec!["bun was skipped: there is no bun.".to_owned()],
    }
}

/// Writes with `write` to a file of its own and reads it back.
fn written(name: &str, write: impl Fn(&Path) -> std::io::Result<()>) -> String {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{}-{number}-{name}", std::process::id()));
    write(&path).expect("it can be written");
    let text = fs::read_to_string(&path).expect("it was written");
    fs::remove_file(&path).expect("it was there");
    text
}

fn page(run: &Run) -> String {
    written("report.html", |path| report::write_html(run, path))
}

#[test]
fn tables_have_medians_units_and_ratios_with_their_extremes() {
    let text = report::text(&run());
    let has = |words: &str| assert!(text.contains(words), "{words:?} is missing in\n{text}");
    has("in flight 16, message bytes 10,000, clients plain; 3 rounds each");
    has("CPU per delivery   latency p50");
    has("  chinwag              0.400         1,234\n");
    has("  floor                0.320         1,234\n");
    has("  floor          1.25 [1.20 … 1.31]\n");
    has("bun was skipped: there is no bun.");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "too wide:\n{text}");
}

#[test]
fn many_columns_are_broken_into_blocks_that_fit() {
    let mut run = run();
    let all = [
        Measure::CpuPerDelivery,
        Measure::DeliveriesPerSecond,
        Measure::DeliveriesPerCpuSecond,
        Measure::CpuPerMessage,
        Measure::UserBytesPerConnection,
        Measure::ResidentBytes,
        Measure::PeakBytes,
        Measure::TimeUntilLevel,
    ];
    run.scenes[0].subjects[0].rounds[0].figures = all.map(|measure| Figure { measure, value: 1e5 }).to_vec();
    let text = report::text(&run);
    assert!(all.iter().all(|measure| text.contains(measure.label())), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "too wide:\n{text}");
}

#[test]
fn json_is_the_run_itself() {
    let text = written("report.json", |path| report::write_json(&run(), path));
    let back: Run = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_value(&back).unwrap(), serde_json::to_value(run()).unwrap());
}

#[test]
fn the_page_needs_nothing_but_itself() {
    // SVG's name is an address, too, but nobody goes there.
    let page = page(&run()).replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "//", "src=", "href=", "@import", "url(", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn the_page_has_all_figures_and_plots_and_what_stands_in_names_is_text() {
    let page = page(&run());
    for words in ["A &lt;quick&gt; one &amp; only", "0.400", "1.25", "1.20 … 1.31", "bun was skipped", "10,000"] {
        assert!(page.contains(words), "{words}");
    }
    for (title, count) in [("CPU against depth", 1), ("Latency against depth", 1), ("<h3>Latency</h3>", 2)] {
        assert_eq!(page.matches(title).count(), count, "{title}");
    }
    assert_eq!(page.matches("Memory against connections").count(), 2);
    assert_eq!(page.matches("<svg").count(), 8);
    // Every colour is the style's, so that it can be another one in the dark.
    let drawn = page.split("<svg").skip(1).map(|rest| rest.split("</svg>").next().unwrap());
    for svg in drawn {
        assert!(svg.contains("var(--line-0)") || svg.contains("var(--line-1)"), "{svg}");
        assert!(!svg.contains("\"#"), "{svg}");
    }
}

#[test]
fn odd_runs_are_shown_as_far_as_they_go() {
    let mut run = run();
    run.scenes[0].subjects.clear();
    run.scenes[0].ratios.clear();
    run.scenes[1].subjects[0].rounds.iter_mut().for_each(|round| round.figures[0].value = 0.0);
    run.scenes[1].subjects[1].rounds.clear();
    run.scenes[1].subjects[1].latency = Some(Latency::default());
    for run in [run, Run::default()] {
        assert!(report::text(&run).contains("Figures are medians"));
        assert!(page(&run).contains("Chinwag under load"));
    }
}
