//! How things go over time, computed from histories and the run log: no I/O, and no drawing.

use super::{facts::Facts, row::is_hook};
use crate::{
    check::log::{Sighting, State},
    deliver::{Entry, Kind},
    pipeline::REGISTRY_HAS_IT,
    status,
    values::{EnvironmentName, Oid},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// The most points of one line.
const POINTS: usize = 60;
/// The days and weeks that are told.
pub(super) const DAYS: usize = 14;
pub(super) const WEEKS: usize = 12;
/// So many times must a step have run on each side of a change for it to be one.
const SIDE: usize = 3;

/// One measured time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub at: Timestamp,
    pub seconds: f64,
    pub commit: Option<Oid>,
}

/// The times of one step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub name: String,
    pub points: Vec<Point>,
    pub median: f64,
    /// Where it became slower, if it did.
    pub slower: Option<Slower>,
}

/// That a step takes longer since a point of its line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slower {
    pub point: usize,
    pub before: f64,
    pub after: f64,
}

/// What happened in one day or week.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bar {
    pub label: String,
    pub good: usize,
    pub rest: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Trend {
    pub steps: Vec<Line>,
    /// Steps that had passed before, and those that ran.
    pub cache: Vec<Bar>,
    /// From a commit to its being healthy.
    pub lead: Vec<Point>,
    /// Deliveries that stayed, and those that were taken back or were not healthy.
    pub deliveries: Vec<Bar>,
    /// From a delivery that failed to the next that was healthy.
    pub restore: Vec<Point>,
}

impl Trend {
    pub fn of(facts: &Facts, now: Timestamp) -> Self {
        let (deliveries, lead, restore) = deliveries(facts, now);
        Self { steps: steps(facts), cache: cache(facts, now), lead, deliveries, restore }
    }
}

fn steps(facts: &Facts) -> Vec<Line> {
    let mut lines: BTreeMap<&str, Vec<Point>> = BTreeMap::new();
    for run in &facts.near.told.runs {
        // What a commit is called that was judged before it was made is known by its tree.
        let commit = run.commit.clone().or_else(|| {
            let tree = run.tree.as_ref()?;
            facts.near.commits.iter().find(|commit| commit.tree == *tree).map(|commit| commit.id.clone())
        });
        for step in run.steps.iter().filter(|step| step.state == State::Passed && step.seconds > 0.0) {
            if run.what == "deliver" || step.why.starts_with(REGISTRY_HAS_IT) {
                continue;
            }
            let name = if is_hook(run) { step.name.as_str() } else { "publish" };
            let point = Point { at: run.began, seconds: step.seconds, commit: commit.clone() };
            lines.entry(name).or_default().push(point);
        }
    }
    let line = |(name, mut points): (&str, Vec<Point>)| {
        points.drain(..points.len().saturating_sub(POINTS));
        let seconds: Vec<f64> = points.iter().map(|point| point.seconds).collect();
        Line { name: name.to_owned(), median: median(&seconds), slower: slower(&seconds), points }
    };
    let mut lines: Vec<Line> = lines.into_iter().map(line).collect();
    lines.sort_by(|a, b| b.median.total_cmp(&a.median));
    lines
}

/// Where the times part best into two groups of their own, if the later one is worth a word: more than half again, and more
/// than a fifth of a second.
fn slower(seconds: &[f64]) -> Option<Slower> {
    let last = seconds.len().checked_sub(SIDE)?;
    let spread = |seconds: &[f64]| {
        let middle = median(seconds);
        seconds.iter().map(|one| (one - middle).abs()).sum::<f64>()
    };
    let cost = |at: usize| spread(&seconds[..at]) + spread(&seconds[at..]);
    let point = (SIDE..=last).min_by(|a, b| cost(*a).total_cmp(&cost(*b)))?;
    let (before, after) = (median(&seconds[..point]), median(&seconds[point..]));
    (after > before * 1.5 && after > before + 0.2).then_some(Slower { point, before, after })
}

pub(super) fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

fn cache(facts: &Facts, now: Timestamp) -> Vec<Bar> {
    let mut bars = spans(now, DAYS, 1);
    for run in facts.near.told.runs.iter().filter(|run| is_hook(run)) {
        let Some(bar) = span(now, run.began, DAYS, 1).and_then(|at| bars.get_mut(at)) else { continue };
        for step in &run.steps {
            if step.record.is_some() || step.why.starts_with(REGISTRY_HAS_IT) {
                bar.good += 1;
            } else if matches!(step.state, State::Passed | State::Failed) {
                bar.rest += 1;
            }
        }
    }
    bars
}

fn deliveries(facts: &Facts, now: Timestamp) -> (Vec<Bar>, Vec<Point>, Vec<Point>) {
    let (mut bars, mut lead, mut restore) = (spans(now, WEEKS, 7), Vec::new(), Vec::new());
    for name in facts.environments() {
        let Some(past) = facts.past(&name) else { continue };
        // The oldest first; since when it is broken, if it is.
        let mut broken: Option<Timestamp> = None;
        for (at, entry) in past.entries.iter().enumerate().rev() {
            if entry.changed.is_empty() || entry.kind == Kind::ByHand {
                continue;
            }
            let sightings = sightings(facts, &name, &entry.commit);
            let healthy = sightings.iter().filter(|one| one.phase == "healthy").map(|one| one.since).min();
            let failed = status::became(past, at, None) == "rolled back"
                || sightings.iter().any(|one| one.phase == "unhealthy" || one.phase == "failed");
            if let Some(bar) = span(now, entry.time, WEEKS, 7).and_then(|at| bars.get_mut(at)) {
                if failed { bar.rest += 1 } else { bar.good += 1 }
            }
            if let (Some(healthy), Some(since)) =
                (healthy.filter(|healthy| broken.is_some_and(|since| *healthy > since)), broken)
            {
                restore.push(Point { at: healthy, seconds: healthy.duration_since(since).as_secs_f64(), commit: None });
                broken = None;
            }
            if failed {
                broken.get_or_insert(entry.time);
            }
            lead.extend(healthy.and_then(|healthy| led(facts, entry, healthy)));
        }
    }
    lead.sort_by_key(|point| point.at);
    lead.drain(..lead.len().saturating_sub(POINTS));
    restore.sort_by_key(|point| point.at);
    (bars, lead, restore)
}

fn sightings<'f>(facts: &'f Facts, name: &EnvironmentName, commit: &Oid) -> Vec<&'f Sighting> {
    let all = facts.near.told.sightings.iter();
    all.filter(|one| one.environment == *name && one.commit == *commit).collect()
}

/// How long it took from the source commit until it was healthy.
fn led(facts: &Facts, entry: &Entry, healthy: Timestamp) -> Option<Point> {
    if entry.kind != Kind::Delivered {
        return None;
    }
    let running = entry.changed.iter().find_map(|image| entry.state.as_ref()?.images.get(image))?;
    let commit = facts.near.commits.iter().find(|commit| commit.id == running.source)?;
    let seconds = healthy.duration_since(commit.time).as_secs_f64();
    (seconds > 0.0).then(|| Point { at: entry.time, seconds, commit: Some(commit.id.clone()) })
}

fn spans(now: Timestamp, count: usize, days: i64) -> Vec<Bar> {
    let label = |at: usize| {
        let back = i64::try_from(count - 1 - at).unwrap_or_default() * days * 24;
        let then = now.checked_sub(SignedDuration::from_hours(back)).unwrap_or(now);
        then.strftime("%b %-d").to_string()
    };
    (0..count).map(|at| Bar { label: label(at), ..Bar::default() }).collect()
}

/// Which of the last spans a moment is in; the last is the one that ends now.
fn span(now: Timestamp, at: Timestamp, count: usize, days: i64) -> Option<usize> {
    let hours = now.duration_since(at).as_hours().max(0);
    let back = usize::try_from(hours / (24 * days)).ok()?;
    (count - 1).checked_sub(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_became_slower_is_told_with_the_place() {
        let told = slower(&[1.0, 1.1, 0.9, 1.0, 3.0, 3.1, 2.9, 3.0]).unwrap();
        assert_eq!((told.point, told.before, told.after), (4, 1.0, 3.0));
        let noisy = [4.0, 4.4, 3.9, 4.1, 4.6, 4.0, 9.0, 9.9, 8.4, 9.3, 8.8, 9.1, 9.9, 9.2, 9.4, 8.9];
        assert_eq!(slower(&noisy).unwrap().point, 6);
        assert_eq!(slower(&[1.0, 1.1, 0.9, 1.0, 1.2, 1.1]), None);
        assert_eq!(slower(&[1.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0]), None, "one time is no change");
        assert_eq!(slower(&[1.0, 9.0]), None);
        assert_eq!(slower(&[3.0, 3.0, 3.0, 1.0, 1.0, 1.0]), None, "quicker is not slower");
    }

    #[test]
    fn the_middle_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_moment_falls_into_its_day() {
        let now = Timestamp::from_second(100 * 86_400).unwrap();
        let ago = |hours: i64| now.checked_sub(SignedDuration::from_hours(hours)).unwrap();
        assert_eq!(span(now, now, 14, 1), Some(13));
        assert_eq!(span(now, ago(25), 14, 1), Some(12));
        assert_eq!(span(now, ago(24 * 15), 14, 1), None);
        // Another machine's clock may be ahead.
        assert_eq!(span(now, ago(-2), 14, 1), Some(13));
        assert_eq!(spans(now, 3, 7).len(), 3);
    }
}
