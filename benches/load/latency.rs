//! How long deliveries took.

use hdrhistogram::Histogram;

use crate::pairs::of;
use crate::results::{Figure, Latency, LatencyPoint, Measure};

/// Longer ones count as this, in ns.
const LONGEST_NS: u64 = 120_000_000_000;

/// Points of a curve for a plot.
const CURVE_POINTS: usize = 160;

/// Times that were taken. What comes with one read took equally long, so equal ones are noted together.
#[derive(Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    ns: u64,
    count: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("these bounds are good ones");
        Self { histogram, ns: 0, count: 0 }
    }
}

impl Latencies {
    /// One more.
    #[inline]
    pub(crate) fn note(&mut self, ns: u64) {
        if ns != self.ns {
            self.settle();
            self.ns = ns;
        }
        self.count += 1;
    }

    fn settle(&mut self) {
        if self.count > 0 {
            self.histogram.saturating_record_n(self.ns.max(1), self.count);
            self.count = 0;
        }
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.histogram.reset();
        self.count = 0;
    }

    /// Begins anew, and adds what was noted to `all`.
    pub(crate) fn pour_into(&mut self, all: &mut Self) {
        self.settle();
        all.settle();
        all.histogram.add(&self.histogram).expect("both have the same bounds");
        self.histogram.reset();
    }

    /// The usual percentiles.
    pub(crate) fn figures(&mut self) -> [Figure; 4] {
        self.settle();
        let us = |share| self.histogram.value_at_quantile(share) as f64 / 1e3;
        [
            of(Measure::LatencyP50, us(0.5)),
            of(Measure::LatencyP99, us(0.99)),
            of(Measure::LatencyP999, us(0.999)),
            of(Measure::LatencyMax, self.histogram.max() as f64 / 1e3),
        ]
    }

    /// The whole, with a curve for a plot; `None` if nothing was noted.
    pub(crate) fn result(&mut self) -> Option<Latency> {
        let [p50, p99, p999, max] = self.figures().map(|figure| figure.value);
        if self.histogram.is_empty() {
            return None;
        }
        // Even steps on an axis on which 90 %, 99 %, 99.9 % … are as far apart.
        let share = |point: usize| 1.0 - 10_f64.powf(-6.0 * point as f64 / (CURVE_POINTS - 1) as f64);
        let curve = (0..CURVE_POINTS)
            .map(share)
            .map(|share| LatencyPoint { share, us: self.histogram.value_at_quantile(share) as f64 / 1e3 })
            .collect();
        Some(Latency { count: self.histogram.len(), p50_us: p50, p99_us: p99, p999_us: p999, max_us: max, curve })
    }
}
