//! A row of the pipeline: one commit, and how far it has come. Joined from what the run log, the states and the clusters say,
//! without asking anybody.

use super::facts::Facts;
use crate::{
    check::log::{LoggedRun, LoggedStep, Sighting, State},
    deliver::{Entry, Kind, Past},
    git::Logged,
    pipeline::REGISTRY_HAS_IT,
    status::{self, Verdict},
    values::{EnvironmentName, Oid},
};
use jiff::Timestamp;
use std::collections::HashMap;

/// What a cell means, apart from its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Good,
    Bad,
    Moving,
    Waiting,
    /// It was so, and is no longer what counts.
    Past,
    Nothing,
}

/// One stage of a commit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub mark: Mark,
    pub word: String,
    pub note: String,
    pub seconds: Option<f64>,
    pub since: Option<Timestamp>,
}

/// A commit and its stages.
#[derive(Debug)]
pub(super) struct Row<'f> {
    pub commit: &'f Logged,
    pub is_pushed: bool,
    pub checks: Cell,
    pub image: Cell,
    pub places: Vec<(EnvironmentName, Cell)>,
}

impl Cell {
    pub fn new(mark: Mark, word: &str) -> Self {
        Self { mark, word: word.to_owned(), note: String::new(), seconds: None, since: None }
    }

    fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

/// Whether a run is of a hook, and so about steps.
pub(super) fn is_hook(run: &LoggedRun) -> bool {
    run.what != "publish" && run.what != "deliver"
}

/// What the facts say, sorted by what it is about, so that a thousand rows are soon joined.
pub(super) struct Joined<'f> {
    facts: &'f Facts,
    environments: Vec<EnvironmentName>,
    by_commit: HashMap<&'f Oid, Vec<&'f LoggedRun>>,
    by_tree: HashMap<&'f Oid, Vec<&'f LoggedRun>>,
    delivered: HashMap<(&'f EnvironmentName, &'f Oid), usize>,
    sighted: HashMap<(&'f EnvironmentName, &'f Oid), &'f Sighting>,
}

impl<'f> Joined<'f> {
    pub fn of(facts: &'f Facts) -> Self {
        let (mut by_commit, mut by_tree) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for run in &facts.near.told.runs {
            match (&run.commit, &run.tree) {
                (Some(commit), _) => by_commit.entry(commit).or_default().push(run),
                (None, Some(tree)) => by_tree.entry(tree).or_default().push(run),
                (None, None) => {}
            }
        }
        let mut delivered = HashMap::new();
        for (name, place) in facts.far.iter().flat_map(|far| &far.places) {
            // The newest first: the first of a source is its last.
            for (at, entry) in place.past.iter().flat_map(|past| past.entries.iter().enumerate()) {
                let moved = !entry.changed.is_empty() || entry.kind == Kind::Noted;
                for running in entry.state.iter().flat_map(|state| state.images.values()).filter(|_| moved) {
                    delivered.entry((name, &running.source)).or_insert(at);
                }
            }
        }
        let sightings = facts.near.told.sightings.iter();
        let sighted = sightings.map(|sighting| ((&sighting.environment, &sighting.commit), sighting)).collect();
        Self { facts, environments: facts.environments(), by_commit, by_tree, delivered, sighted }
    }

    /// The rows of some of the commits.
    pub fn rows(&self, from: usize, count: usize) -> Vec<Row<'f>> {
        let commits = self.facts.near.commits.iter().skip(from).take(count);
        commits.map(|commit| self.row(commit)).collect()
    }

    pub fn row(&self, commit: &'f Logged) -> Row<'f> {
        let runs = self.runs(commit);
        let places = self.environments.iter().map(|name| (name.clone(), self.place(commit, name, &runs))).collect();
        Row {
            commit,
            is_pushed: !self.facts.near.unpushed.contains(&commit.id),
            checks: self.checks(commit, &runs),
            image: self.image(commit, &runs),
            places,
        }
    }

    /// The runs that were about a commit or its tree, the oldest first.
    pub fn runs(&self, commit: &Logged) -> Vec<&'f LoggedRun> {
        let mut runs: Vec<&LoggedRun> = self.by_tree.get(&commit.tree).into_iter().flatten().copied().collect();
        runs.extend(self.by_commit.get(&commit.id).into_iter().flatten().copied());
        runs.sort_by_key(|run| run.began);
        runs
    }

    /// The entries of histories that brought a commit somewhere, with their places.
    pub fn deliveries(&self, commit: &Oid) -> Vec<(EnvironmentName, &'f Past, usize)> {
        let found = self.environments.iter().filter_map(|name| {
            let at = *self.delivered.get(&(name, commit))?;
            Some((name.clone(), self.facts.past(name)?, at))
        });
        found.collect()
    }

    pub fn sighting(&self, name: &EnvironmentName, commit: &Oid) -> Option<&'f Sighting> {
        self.sighted.get(&(name, commit)).copied()
    }

    fn is_image(&self, step: &LoggedStep) -> bool {
        self.facts.config().is_some_and(|config| config.images.keys().any(|name| name.as_str() == step.name))
    }

    fn checks(&self, commit: &Logged, runs: &[&LoggedRun]) -> Cell {
        let mut newest: HashMap<&str, &LoggedRun> = HashMap::new();
        for run in runs.iter().filter(|run| is_hook(run)) {
            newest.insert(&run.what, run);
        }
        let steps: Vec<&LoggedStep> =
            newest.values().flat_map(|run| &run.steps).filter(|step| !self.is_image(step)).collect();
        if steps.is_empty() {
            let elsewhere = self.environments.iter().any(|name| self.delivered.contains_key(&(name, &commit.id)));
            return if elsewhere {
                Cell::new(Mark::Good, "passed").note("where it was published")
            } else {
                Cell::new(Mark::Nothing, "not run here")
            };
        }
        let count = |state| steps.iter().filter(|step| step.state == state).count();
        let named = |state| {
            let names = steps.iter().filter(|step| step.state == state).map(|step| step.name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let seconds: f64 = steps.iter().map(|step| step.seconds).sum();
        let cached = steps.iter().filter(|step| step.record.is_some()).count();
        let began = steps.iter().filter(|step| step.state == State::Running).filter_map(|step| step.began).min();
        let mut cell = if count(State::Failed) > 0 {
            Cell::new(Mark::Bad, "failed").note(named(State::Failed))
        } else if count(State::Running) + count(State::Waiting) > 0 {
            Cell::new(Mark::Moving, "running").note(named(State::Running))
        } else if count(State::Withheld) > 0 {
            Cell::new(Mark::Waiting, "ended early")
        } else if count(State::Passed) + cached == 0 {
            Cell::new(Mark::Past, "nothing to run")
        } else {
            let note = match (count(State::Passed), cached) {
                (ran, 0) => format!("{ran} ran"),
                (0, cached) => format!("{cached} known"),
                (ran, cached) => format!("{ran} ran, {cached} known"),
            };
            Cell::new(Mark::Good, "passed").note(note)
        };
        cell.since = began.filter(|_| cell.mark == Mark::Moving);
        cell.seconds = (seconds > 0.0 && cell.mark != Mark::Moving).then_some(seconds);
        cell
    }

    fn image(&self, commit: &Logged, runs: &[&LoggedRun]) -> Cell {
        let steps = |what: fn(&LoggedRun) -> bool| {
            let run = runs.iter().rev().find(|run| what(run) && run.steps.iter().any(|step| self.is_image(step)));
            run.into_iter().flat_map(|run| &run.steps).filter(|step| self.is_image(step)).collect::<Vec<_>>()
        };
        let (built, published) = (steps(is_hook), steps(|run| run.what == "publish"));
        let seconds: f64 = built.iter().chain(&published).map(|step| step.seconds).sum();
        let seconds = (seconds > 0.0).then_some(seconds);
        let running = built.iter().chain(&published).find(|step| step.state == State::Running);
        if let Some(step) = running {
            return Cell { since: step.began, ..Cell::new(Mark::Moving, "building").note(step.name.clone()) };
        }
        if let Some(failed) = built.iter().chain(&published).find(|step| step.state == State::Failed) {
            return Cell { seconds, ..Cell::new(Mark::Bad, "failed").note(failed.name.clone()) };
        }
        let reused = built.iter().any(|step| step.why.starts_with(REGISTRY_HAS_IT));
        if let Some((_, past, at)) = self.deliveries(&commit.id).first() {
            let running = past.entries[*at].state.iter().flat_map(|state| state.images.values());
            let digest = running
                .filter(|running| running.source == commit.id)
                .find_map(|running| running.reference.digest.as_ref());
            let word = if reused { "reused" } else { "published" };
            return Cell { seconds, ..Cell::new(Mark::Good, word).note(digest.map_or("", |digest| digest.short())) };
        }
        let all_passed =
            |steps: &[&LoggedStep]| !steps.is_empty() && steps.iter().all(|step| step.state == State::Passed);
        if all_passed(&published) {
            return Cell { seconds, ..Cell::new(Mark::Good, "published") };
        }
        if reused {
            return Cell { seconds, ..Cell::new(Mark::Good, "reused") };
        }
        if all_passed(&built) {
            return Cell { seconds, ..Cell::new(Mark::Past, "built").note("not published") };
        }
        Cell::new(Mark::Nothing, "–")
    }

    fn place(&self, commit: &Logged, name: &EnvironmentName, runs: &[&LoggedRun]) -> Cell {
        let trace = self.facts.trace(name);
        let delivery = runs
            .iter()
            .rev()
            .filter(|run| run.what == "deliver")
            .find_map(|run| run.steps.iter().find(|step| step.name == name.as_str()));
        if let Some(step) = delivery.filter(|step| step.state == State::Running) {
            return Cell { since: step.began, ..Cell::new(Mark::Moving, "delivering") };
        }
        if let Some((past, at)) = self.facts.past(name).zip(self.delivered.get(&(name, &commit.id))) {
            return self.delivered(name, past, *at, commit);
        }
        if let Some(step) = delivery.filter(|step| step.state == State::Failed) {
            return Cell::new(Mark::Bad, "waits").note(step.why.clone());
        }
        let is_newest = trace.and_then(|trace| trace.commit.as_ref()).is_some_and(|newest| newest.id == commit.id);
        let follows = self
            .facts
            .config()
            .and_then(|config| config.environments.get(name))
            .is_some_and(|environment| environment.branch.is_some());
        if let Some(trace) = trace.filter(|_| is_newest && follows) {
            let held =
                trace.delivery.as_ref().ok().and_then(Option::as_ref).and_then(|delivery| delivery.hold.as_ref());
            if let Some(hold) = held {
                return Cell::new(Mark::Waiting, "held").note(hold.clone());
            }
            if let Some(branch) = self.facts.place(name).and_then(|place| place.review.as_ref()) {
                return Cell::new(Mark::Waiting, "in review").note(branch.clone());
            }
            if let Some(waiting) = &trace.outbox {
                return match &waiting.stopped {
                    Some(why) => Cell::new(Mark::Waiting, "waits").note(why.clone()),
                    None => Cell { since: Some(waiting.since), ..Cell::new(Mark::Moving, "delivering") },
                };
            }
        }
        Cell::new(Mark::Nothing, "–")
    }

    /// A commit that was brought to an environment.
    fn delivered(&self, name: &EnvironmentName, past: &Past, at: usize, commit: &Logged) -> Cell {
        let entry = &past.entries[at];
        let sighting = self.sighting(name, &entry.commit);
        let seconds =
            sighting.filter(|sighting| sighting.phase == "healthy").and_then(|sighting| took(entry, sighting));
        let runs_now = past.state.images.values().any(|running| running.source == commit.id);
        if !runs_now {
            let became = status::became(past, at, None);
            return match (became.as_str(), sighting.map(|sighting| sighting.phase.as_str())) {
                ("rolled back", _) => Cell::new(Mark::Bad, "rolled back"),
                (_, Some("unhealthy" | "failed")) => Cell::new(Mark::Bad, "was not healthy"),
                _ => Cell { seconds, ..Cell::new(Mark::Past, "replaced") },
            };
        }
        let cell = match self.facts.trace(name).map(|trace| &trace.verdict) {
            Some(Verdict::Live) => Cell::new(Mark::Good, "healthy"),
            Some(Verdict::Moving(why)) => {
                Cell { since: Some(entry.time), ..Cell::new(Mark::Moving, "rolling out").note(why.clone()) }
            }
            Some(Verdict::Stuck(why)) => Cell::new(Mark::Bad, "not healthy").note(why.clone()),
            Some(Verdict::Unknown(why)) => Cell::new(Mark::Waiting, "delivered").note(why.clone()),
            None => Cell::new(Mark::Waiting, "delivered"),
        };
        Cell { seconds: seconds.filter(|_| cell.mark == Mark::Good), ..cell }
    }
}

/// How long it took from a delivery until it was healthy. Two clocks tell, so that it may be nothing.
fn took(entry: &Entry, sighting: &Sighting) -> Option<f64> {
    let seconds = sighting.since.duration_since(entry.time).as_secs_f64();
    (seconds >= 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::log::Told, page::facts::Near};
    use std::sync::Arc;

    fn facts(runs: Vec<LoggedRun>) -> Facts {
        let logged = Logged {
            id: "a".repeat(40).parse().unwrap(),
            tree: "b".repeat(40).parse().unwrap(),
            parent: None,
            author: "Ada".to_owned(),
            time: Timestamp::UNIX_EPOCH,
            subject: "One".to_owned(),
        };
        let told = Told { runs, sightings: Vec::new() };
        Facts { near: Arc::new(Near { commits: vec![logged], told, ..Near::default() }), ..Facts::default() }
    }

    fn run(what: &str, second: i64, states: &[State]) -> LoggedRun {
        let steps = states.iter().enumerate().map(|(at, state)| LoggedStep {
            state: *state,
            seconds: 1.0,
            ..LoggedStep::waiting(&format!("step {at}"), "new")
        });
        LoggedRun {
            what: what.to_owned(),
            tree: "b".repeat(40).parse().ok(),
            commit: None,
            began: Timestamp::from_second(second).unwrap(),
            ended: None,
            steps: steps.collect(),
        }
    }

    #[test]
    fn the_last_run_of_each_hook_counts() {
        let told = |runs| {
            let facts = facts(runs);
            let cell = Joined::of(&facts).rows(0, 1).remove(0).checks;
            (cell.mark, cell.word)
        };
        let word = |mark, word: &str| (mark, word.to_owned());
        assert_eq!(told(vec![]), word(Mark::Nothing, "not run here"));
        let (failed, passed) = (run("pre-commit", 1, &[State::Failed]), run("pre-commit", 2, &[State::Passed]));
        assert_eq!(told(vec![failed.clone(), passed.clone()]), word(Mark::Good, "passed"));
        assert_eq!(told(vec![passed.clone(), run("pre-push", 3, &[State::Failed])]), word(Mark::Bad, "failed"));
        let moving = run("pre-push", 3, &[State::Passed, State::Running]);
        assert_eq!(told(vec![passed, moving]), word(Mark::Moving, "running"));
    }
}
