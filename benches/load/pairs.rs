//! Subjects take turns, and each round is compared with those beside it: what the machine does meanwhile meets all alike.

use crate::failure::Failure;
use crate::results::{Figure, Measure, Ratio, Round, SubjectResult};

/// Runs `count` rounds of each subject, in turns: A B, A B, … Each comes after the other's, so what a switch costs, cold caches
/// and connections that were idle, costs both alike. Returns the rounds of each.
pub(crate) fn alternate<S>(
    subjects: &mut [S],
    count: usize,
    mut run: impl FnMut(&mut S) -> Result<Round, Failure>,
) -> Result<Vec<Vec<Round>>, Failure> {
    let mut rounds: Vec<Vec<Round>> = subjects.iter().map(|_| Vec::with_capacity(count)).collect();
    for _ in 0..count {
        for (subject, rounds) in subjects.iter_mut().zip(&mut rounds) {
            rounds.push(run(subject)?);
        }
    }
    Ok(rounds)
}

/// The first subject against each other, for those of `measures` that both have.
pub(crate) fn ratios(subjects: &[SubjectResult], measures: &[Measure]) -> Vec<Ratio> {
    let Some((first, others)) = subjects.split_first() else { return Vec::new() };
    let against = |other: &SubjectResult, measure: Measure| {
        let pairs: Option<Vec<f64>> = first
            .rounds
            .iter()
            .zip(&other.rounds)
            .map(|(one, other)| Some(figure(one, measure)? / figure(other, measure)?))
            .collect();
        let pairs = pairs.filter(|pairs| !pairs.is_empty() && pairs.iter().all(|ratio| ratio.is_finite()))?;
        let mut sorted = pairs.clone();
        sorted.sort_by(f64::total_cmp);
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        let (lowest, highest) = (sorted[0], sorted[sorted.len() - 1]);
        Some(Ratio { measure, over: other.name.clone(), median, lowest, highest, pairs })
    };
    others.iter().flat_map(|other| measures.iter().filter_map(move |&measure| against(other, measure))).collect()
}

/// A figure of a round, if it has it.
pub(crate) fn figure(round: &Round, measure: Measure) -> Option<f64> {
    round.figures.iter().find(|figure| figure.measure == measure).map(|figure| figure.value)
}

/// Short for a figure.
pub(crate) fn of(measure: Measure, value: f64) -> Figure {
    Figure { measure, value }
}
