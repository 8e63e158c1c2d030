//! One plot: lines over two axes, drawn by plotters as SVG that stands in the page itself.
//!
//! Colours are the page's to choose, for a light and a dark screen: what is drawn here has colours that nobody is to see
//! ([`INK`] and so on), and each is replaced by the name of a colour in the page's style. It knows nothing of scenes.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::{
    ChartBuilder, Circle, IntoDrawingArea as _, LineSeries, PathElement, RGBColor, SVGBackend, ShapeStyle, TextStyle,
};
use plotters::style::{Color as _, IntoFont as _};

/// The plot in its own units; on a phone it is shown at two thirds, so its letters are large.
const SIZE: (u32, u32) = (480, 330);

const INK: RGBColor = RGBColor(1, 0, 0);
const RULE: RGBColor = RGBColor(2, 0, 0);

/// Colours of lines in the page's style: `--line-0` and so on.
pub(crate) const COLOURS: usize = 8;

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// Evenly, from 0.
    Even,
    /// Each factor takes the same room.
    Log,
    /// For shares from 0 to 1: each further nine takes the same room, so that the slowest of a thousand can be seen.
    Nines,
}

/// An axis.
pub(crate) struct Axis {
    /// What it shows, with the unit.
    pub(crate) title: String,
    /// How values lie along it.
    pub(crate) spacing: Spacing,
    /// How a value is written.
    pub(crate) write: fn(f64) -> String,
    /// Where marks are; none: at round numbers.
    pub(crate) marks: Vec<f64>,
}

/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The number of its colour, below [`COLOURS`].
    pub(crate) colour: usize,
    /// How wide it is, in the plot's units.
    pub(crate) width: u32,
    /// Its points, from left to right.
    pub(crate) points: Vec<(f64, f64)>,
    /// At some points: the lowest and the highest that was measured. The points themselves get a dot.
    pub(crate) ranges: Vec<(f64, f64, f64)>,
}

/// Draws lines as an `<svg>` element; `None` if they have no points.
pub(crate) fn draw(x: &Axis, y: &Axis, lines: &[Line]) -> Option<String> {
    let xs = lines.iter().flat_map(|line| &line.points).map(|point| point.0);
    let ranges = lines.iter().flat_map(|line| &line.ranges).flat_map(|&(_, lowest, highest)| [lowest, highest]);
    let ys = lines.iter().flat_map(|line| &line.points).map(|point| point.1).chain(ranges);
    let (x_scale, y_scale) = (Scale::new(x, xs)?, Scale::new(y, ys)?);
    let mut svg = String::new();
    paint(&mut svg, (x, x_scale), (y, y_scale), lines).expect("writing to a string does not fail");
    Some(coloured(&svg))
}

type Outcome<T> = Result<T, plotters::drawing::DrawingAreaErrorKind<std::io::Error>>;

fn paint(svg: &mut String, (x, x_scale): (&Axis, Scale), (y, y_scale): (&Axis, Scale), lines: &[Line]) -> Outcome<()> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let place = |point: &(f64, f64)| (x.spacing.place(point.0), y.spacing.place(point.1));
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_right(20)
        .x_label_area_size(46)
        .y_label_area_size(90)
        .build_cartesian_2d(x_scale, y_scale)?;
    let letters = |size: u32| TextStyle::from(("sans-serif", size).into_font()).color(&INK);
    chart
        .configure_mesh()
        .axis_style(RULE)
        .bold_line_style(RULE)
        .light_line_style(plotters::style::TRANSPARENT)
        .x_desc(&*x.title)
        .y_desc(&*y.title)
        .axis_desc_style(letters(14))
        .label_style(letters(13))
        .x_label_formatter(&|&at| (x.write)(x.spacing.value(at)))
        .y_label_formatter(&|&at| (y.write)(y.spacing.value(at)))
        .draw()?;
    // The first is the one that it is about: nothing may lie over it.
    for line in lines.iter().rev() {
        let colour = RGBColor(3, 0, (line.colour % COLOURS) as u8);
        chart.draw_series(LineSeries::new(line.points.iter().map(place), colour.stroke_width(line.width)))?;
        let dot = |range: &(f64, f64, f64)| {
            let point = line.points.iter().find(|point| point.0.total_cmp(&range.0).is_eq());
            Circle::new(
                place(point.unwrap_or(&(range.0, range.1))),
                line.width / 2 + 3,
                ShapeStyle::from(colour).filled(),
            )
        };
        chart.draw_series(line.ranges.iter().map(dot))?;
        let bar = |&(at, lowest, highest): &(f64, f64, f64)| {
            PathElement::new([place(&(at, lowest)), place(&(at, highest))], colour.stroke_width(1))
        };
        chart.draw_series(line.ranges.iter().map(bar))?;
    }
    area.present()
}

/// Puts the page's colours in place of those that were drawn with.
fn coloured(svg: &str) -> String {
    let mut svg = svg.replace("#010000", "var(--ink)").replace("#020000", "var(--rule)");
    for number in 0..COLOURS {
        svg = svg.replace(&format!("#03000{number}"), &format!("var(--line-{number})"));
    }
    // Its size is the page's to choose, too.
    let sized = format!("width=\"{}\" height=\"{}\" ", SIZE.0, SIZE.1);
    svg.replacen(&sized, "", 1)
}

impl Spacing {
    /// Where a value is along the axis.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Even => value,
            Self::Log => value.max(1e-9).log10(),
            Self::Nines => -(1.0 - value).max(1e-9).log10(),
        }
    }

    /// The value at a place.
    fn value(self, place: f64) -> f64 {
        match self {
            Self::Even => place,
            Self::Log => 10_f64.powf(place),
            Self::Nines => 1.0 - 10_f64.powf(-place),
        }
    }
}

/// An axis as plotters wants it, in places instead of values.
#[derive(Clone)]
struct Scale {
    begin: f64,
    end: f64,
    marks: Vec<f64>,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>) -> Option<Self> {
        let places: Vec<f64> = values.map(|value| axis.spacing.place(value)).collect();
        let (begin, end) = (places.iter().copied().reduce(f64::min)?, places.iter().copied().reduce(f64::max)?);
        let marks: Vec<f64> = axis.marks.iter().map(|&mark| axis.spacing.place(mark)).collect();
        let mut scale = match axis.spacing {
            Spacing::Even => even(end),
            Spacing::Log => logarithmic(begin, end),
            Spacing::Nines => Self { begin: 0.0, end, marks: Vec::new() },
        };
        if !marks.is_empty() {
            scale.marks = marks.into_iter().filter(|mark| (scale.begin..=scale.end).contains(mark)).collect();
        }
        Some(scale)
    }
}

/// From 0 to a round number, with some five marks.
fn even(end: f64) -> Scale {
    let end = if end > 0.0 { end } else { 1.0 };
    let power = 10_f64.powf((end / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| end / step <= 6.0);
    let step = step.unwrap_or(power * 10.0);
    let mut marks = vec![0.0];
    while marks[marks.len() - 1] < end {
        marks.push(marks.len() as f64 * step);
    }
    Scale { begin: 0.0, end: marks[marks.len() - 1], marks }
}

/// Between two numbers of the form 1, 2 or 5 times a power of ten, with a mark at each, or at the powers alone.
fn logarithmic(begin: f64, end: f64) -> Scale {
    let steps = [1.0_f64, 2.0, 5.0].map(f64::log10);
    let all: Vec<f64> = (begin.floor() as i32 - 1..=end.ceil() as i32 + 1)
        .flat_map(|power| steps.map(|step| f64::from(power) + step))
        .collect();
    // A little room, so that no line lies on the edge.
    let first = all.iter().rposition(|&mark| mark <= begin - 0.02).unwrap_or(0);
    let last = all.iter().position(|&mark| mark >= end + 0.02).unwrap_or(all.len() - 1);
    let is_power = |mark: &&f64| (**mark - mark.round()).abs() < 1e-6;
    let marks = match &all[first..=last] {
        few if few.len() <= 10 => few.to_vec(),
        many => many.iter().filter(is_power).copied().collect(),
    };
    Scale { begin: all[first], end: all[last], marks }
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.begin) / (self.end - self.begin).max(f64::MIN_POSITIVE);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.begin..self.end
    }
}
