//! Figures for people: three digits that count, and the unit that a whole column shares.

use crate::results::Unit;

/// How the figures of one column are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    divisor: f64,
    /// What a figure is in, such as `µs` or `M/s`.
    pub(crate) unit: &'static str,
}

impl Scale {
    /// The scale for figures of which `largest` is the largest: it gets one to four digits before the point, if that can be.
    pub(crate) fn of(unit: Unit, largest: f64) -> Self {
        let steps: &[(f64, &'static str)] = match unit {
            Unit::Microseconds => &[(1e6, "s"), (1e3, "ms"), (1.0, "µs")],
            Unit::Milliseconds => &[(1e3, "s"), (1.0, "ms")],
            Unit::MillisecondsPerSecond => &[(1.0, "ms/s")],
            Unit::PerSecond => &[(1e6, "M/s"), (1e3, "k/s"), (1.0, "1/s")],
            Unit::PerCpuSecond => &[(1e6, "M/CPU s"), (1e3, "k/CPU s"), (1.0, "1/CPU s")],
            Unit::Bytes => &[(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1_024.0, "KiB"), (1.0, "B")],
        };
        // Up to 10,000 of the smaller unit: "1,536 B" says more than "1.5 KiB", and "4,200 µs" stands beside "830 µs".
        let fits = |&&(divisor, _): &&(f64, &str)| largest >= divisor * 10.0;
        let &(divisor, unit) = steps.iter().find(fits).unwrap_or(&steps[steps.len() - 1]);
        Self { divisor, unit }
    }

    /// The figure in the unit.
    pub(crate) fn measure(self, value: f64) -> f64 {
        value / self.divisor
    }

    /// The figure in the unit, written without it.
    pub(crate) fn show(self, value: f64) -> String {
        digits(self.measure(value))
    }
}

/// A number with three digits that count, and a comma for each thousand.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        size if size < 0.000_5 => format!("{value:.1e}"),
        size if size < 0.999_5 => format!("{value:.3}"),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => thousands(value.round()),
    }
}

/// A whole number with a comma for each thousand.
pub(crate) fn thousands(value: f64) -> String {
    let plain = format!("{value:.0}");
    let (sign, whole) = plain.strip_prefix('-').map_or(("", &*plain), |whole| ("-", whole));
    let mut shown = sign.to_owned();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A ratio: two digits behind the point while it is near 1, else two that count.
pub(crate) fn ratio(value: f64) -> String {
    match value {
        _ if !(0.0..9.995).contains(&value) => digits(value),
        0.095..9.995 => format!("{value:.2}"),
        0.009_5..0.095 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}
