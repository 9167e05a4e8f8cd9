//! The run log of a clone: when each step began, how it ended, and what it said if it failed. A line of JSON for each event, so
//! that a process that is killed leaves all but the last word, and whoever reads sees what runs at the moment. It decides
//! nothing: where it cannot be written the work goes on. `record.rs` has what is proven; this has what happened.

use super::{
    outcome::Outcome,
    plan::{Decision, Plan, SkipReason},
};
use crate::{
    git::Repository,
    values::{EnvironmentName, Oid},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::Duration,
};

/// A log that has grown past this begins anew; the one before it is kept.
const MAX_BYTES: u64 = 8 << 20;
/// The most that is kept of what a failed step said: its beginning and its end.
const MAX_OUTPUT: usize = 48 << 10;

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not begun.
    Waiting,
    /// It began, and has not ended.
    Running,
    /// It did what it should.
    Passed,
    /// It failed.
    Failed,
    /// It had no need to run.
    Skipped,
    /// It was not run because another one failed or the run was ended.
    Withheld,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedStep {
    /// What people call it.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// Why it runs or does not; once it has ended, what it has to say about that.
    pub why: String,
    /// How long it ran.
    #[serde(default)]
    pub seconds: f64,
    /// When it began.
    #[serde(default)]
    pub began: Option<Timestamp>,
    /// What it printed, where it failed.
    #[serde(default)]
    pub output: String,
    /// The record that says that it had passed on these inputs before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// A run of steps: a hook's, the publication of images, a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedRun {
    /// The hook, or `publish` or `deliver`.
    pub what: String,
    /// The tree that was judged.
    pub tree: Option<Oid>,
    /// The commit, where it was one.
    pub commit: Option<Oid>,
    /// When it began.
    pub began: Timestamp,
    /// When it was over; `None` while it runs, and where its process was killed.
    pub ended: Option<Timestamp>,
    /// Its steps.
    pub steps: Vec<LoggedStep>,
}

/// What a cluster said about an environment, as somebody here saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The environment.
    pub environment: EnvironmentName,
    /// The manifest commit that it is about.
    pub commit: Oid,
    /// `healthy`, `unhealthy`, `failed` …
    pub phase: String,
    /// Since when, by the cluster's clock.
    pub since: Timestamp,
    /// What was wrong.
    #[serde(default)]
    pub why: String,
}

/// All that a log says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// The runs, the oldest first.
    pub runs: Vec<LoggedRun>,
    /// What clusters said, the oldest first.
    pub sightings: Vec<Sighting>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Begun { run: String, at: Timestamp, what: String, tree: Option<Oid>, commit: Option<Oid>, steps: Vec<LoggedStep> },
    Started { run: String, at: Timestamp, step: String },
    Ended { run: String, step: LoggedStep },
    Over { run: String, at: Timestamp },
    Seen(Sighting),
}

/// A run that writes as it goes. It is over when this goes away.
pub struct Run {
    file: Option<File>,
    id: String,
}

impl Run {
    /// Begins a run of these steps.
    #[must_use]
    pub fn begin(
        repository: &Repository,
        what: &str,
        tree: Option<&Oid>,
        commit: Option<&Oid>,
        steps: Vec<LoggedStep>,
    ) -> Self {
        let at = Timestamp::now();
        // The process comes first, so that a reader can tell a run that goes on from one that was killed.
        let run = Self { file: open(repository).ok(), id: format!("{}-{}", std::process::id(), at.as_nanosecond()) };
        let (what, tree, commit) = (what.to_owned(), tree.cloned(), commit.cloned());
        run.write(&Event::Begun { run: run.id.clone(), at, what, tree, commit, steps });
        run
    }

    /// A step begins now.
    pub fn started(&self, step: &str) {
        self.write(&Event::Started { run: self.id.clone(), at: Timestamp::now(), step: step.to_owned() });
    }

    /// A step has ended. What it printed is kept only where it failed.
    pub fn ended(&self, step: &str, outcome: &Outcome, note: &str, took: Duration, output: impl FnOnce() -> String) {
        let (state, why) = match outcome {
            Outcome::Passed => (State::Passed, note),
            Outcome::Failed(why) => (State::Failed, why.as_str()),
            Outcome::Skipped(why) => (State::Skipped, why.as_str()),
            Outcome::Withheld(why) => (State::Withheld, why.as_str()),
        };
        let output = if state == State::Failed { ends(&output()) } else { String::new() };
        let (name, why, seconds) = (step.to_owned(), why.to_owned(), took.as_secs_f64());
        let step = LoggedStep { name, state, why, seconds, began: None, output, record: None };
        self.write(&Event::Ended { run: self.id.clone(), step });
    }

    fn write(&self, event: &Event) {
        let Some(mut file) = self.file.as_ref() else { return };
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            // One write at the end of the file: lines of several processes never run into each other.
            let _ = file.write_all(&line);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.write(&Event::Over { run: self.id.clone(), at: Timestamp::now() });
    }
}

impl LoggedStep {
    /// A step that is to be run.
    #[must_use]
    pub fn waiting(name: &str, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Waiting,
            why: why.to_owned(),
            seconds: 0.0,
            began: None,
            output: String::new(),
            record: None,
        }
    }
}

impl LoggedRun {
    /// The worst of its steps, or what is still to come.
    #[must_use]
    pub fn state(&self) -> State {
        let any = |state| self.steps.iter().any(|step| step.state == state);
        let order = [State::Failed, State::Running, State::Waiting, State::Withheld, State::Passed];
        order.into_iter().find(|state| any(*state)).unwrap_or(State::Skipped)
    }

    /// How long its steps took together.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum()
    }
}

/// The steps of a plan, as a log has them before any of them has begun.
pub(super) fn steps(plan: &Plan) -> Vec<LoggedStep> {
    let logged = plan.entries.iter().filter_map(|entry| match &entry.decision {
        // It stands in the run of those that may change files.
        Decision::Skip(SkipReason::Ran) => None,
        Decision::Skip(reason) => {
            let record = match reason {
                SkipReason::Passed { record, .. } => Some(record.short().to_owned()),
                _ => None,
            };
            let step = LoggedStep::waiting(&entry.label, &reason.to_string());
            Some(LoggedStep { state: State::Skipped, record, ..step })
        }
        Decision::Run(reason) => Some(LoggedStep::waiting(&entry.label, &reason.to_string())),
    });
    logged.collect()
}

/// Notes what a cluster said, unless the log says it already.
pub fn sight(repository: &Repository, sighting: Sighting) {
    let Ok(line) = serde_json::to_string(&Event::Seen(sighting)) else { return };
    let path = path(repository);
    let is_known = |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(&line));
    if is_known(path.with_extension("1.jsonl")) || is_known(path) {
        return;
    }
    if let Ok(mut file) = open(repository) {
        // Only the next look is poorer.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// What the log of a clone says. Lines that cannot be read are passed over.
#[must_use]
pub fn told(repository: &Repository) -> Told {
    let path = path(repository);
    let read = |path: PathBuf| fs::read(path).unwrap_or_default();
    let mut bytes = read(path.with_extension("1.jsonl"));
    bytes.extend(read(path));
    fold(&String::from_utf8_lossy(&bytes), is_alive)
}

/// What tells whether the log says something new: its length and when it was written.
#[must_use]
pub fn stamp(repository: &Repository) -> Option<(u64, std::time::SystemTime)> {
    let metadata = fs::metadata(path(repository)).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

fn path(repository: &Repository) -> PathBuf {
    repository.state_dir().join("logs").join("runs.jsonl")
}

/// For its owner alone: what a step prints is meant for who runs it.
fn open(repository: &Repository) -> std::io::Result<File> {
    let path = path(repository);
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_BYTES) {
        fs::rename(&path, path.with_extension("1.jsonl"))?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options.open(&path).or_else(|_| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        options.open(&path)
    })
}

/// The beginning and the end of an output that is too long.
fn ends(output: &str) -> String {
    if output.len() <= MAX_OUTPUT {
        return output.to_owned();
    }
    let half = MAX_OUTPUT / 2;
    let (head, tail) = (&output.as_bytes()[..half], &output.as_bytes()[output.len() - half..]);
    format!("{}\n[...]\n{}", String::from_utf8_lossy(head), String::from_utf8_lossy(tail))
}

fn fold(text: &str, is_alive: impl Fn(&str) -> bool) -> Told {
    let mut told = Told::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    for event in text.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok()) {
        match event {
            Event::Begun { run, at, what, tree, commit, steps } => {
                places.insert(run, told.runs.len());
                told.runs.push(LoggedRun { what, tree, commit, began: at, ended: None, steps });
            }
            Event::Started { run, at, step } => {
                if let Some(run) = places.get(&run).and_then(|place| told.runs.get_mut(*place))
                    && let Some(step) = run.steps.iter_mut().find(|known| known.name == step)
                {
                    (step.state, step.began) = (State::Running, Some(at));
                }
            }
            Event::Ended { run, step } => {
                let Some(run) = places.get(&run).and_then(|place| told.runs.get_mut(*place)) else { continue };
                match run.steps.iter_mut().find(|known| known.name == step.name) {
                    Some(known) => {
                        let why = if step.why.is_empty() { std::mem::take(&mut known.why) } else { step.why.clone() };
                        *known = LoggedStep { began: known.began, why, ..step };
                    }
                    None => run.steps.push(step),
                }
            }
            Event::Over { run, at } => {
                if let Some(run) = places.get(&run).and_then(|place| told.runs.get_mut(*place)) {
                    run.ended = Some(at);
                    left(run);
                }
            }
            Event::Seen(sighting) => told.sightings.push(sighting),
        }
    }
    for (id, place) in &places {
        if let Some(run) = told.runs.get_mut(*place).filter(|run| run.ended.is_none())
            && !is_alive(id)
        {
            left(run);
        }
    }
    told
}

/// What a run that is over has left without an end.
fn left(run: &mut LoggedRun) {
    for step in run.steps.iter_mut().filter(|step| matches!(step.state, State::Waiting | State::Running)) {
        (step.state, step.why) = (State::Withheld, "the run was ended before it was done".to_owned());
    }
}

/// Whether the process of a run is still there.
fn is_alive(run: &str) -> bool {
    let pid = run.split('-').next().and_then(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn repository(folder: &std::path::Path) -> Repository {
        crate::git::Git::at(folder).args(["init", "--quiet"]).run().unwrap();
        Repository::open(folder).unwrap()
    }

    #[test]
    fn a_run_is_told_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path());
        let states = || told(&repository).runs[0].steps.iter().map(|step| step.state).collect::<Vec<_>>();
        let steps = vec![LoggedStep::waiting("lint", "new"), LoggedStep::waiting("test", "new")];
        let run = Run::begin(&repository, "pre-push", None, None, steps);
        assert_eq!(states(), [State::Waiting, State::Waiting]);
        run.started("lint");
        assert_eq!(states(), [State::Running, State::Waiting]);
        run.ended("lint", &Outcome::Failed("exit code 1".to_owned()), "", Duration::from_secs(2), || "no\n".to_owned());
        assert_eq!(told(&repository).runs[0].state(), State::Failed);
        assert!(told(&repository).runs[0].ended.is_none());
        drop(run);
        let run = told(&repository).runs.remove(0);
        assert_eq!((run.steps[0].output.as_str(), run.steps[0].why.as_str()), ("no\n", "exit code 1"));
        assert_eq!(run.steps[1].state, State::Withheld);
        assert!(run.ended.is_some());
    }

    #[test]
    fn what_passed_keeps_its_output_to_itself() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path());
        let run = Run::begin(&repository, "pre-commit", None, None, vec![LoggedStep::waiting("test", "new")]);
        run.ended("test", &Outcome::Passed, "", Duration::ZERO, || "a token".to_owned());
        drop(run);
        assert_eq!(told(&repository).runs[0].steps[0].why, "new");
        assert!(!fs::read_to_string(path(&repository)).unwrap().contains("a token"));
        assert_eq!(fs::metadata(path(&repository)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_run_that_was_killed_does_not_run_for_ever() {
        let begun = r#"{"event":"begun","run":"1-2","at":"2026-01-01T00:00:00Z","what":"pre-push","tree":null,"commit":null,"steps":[{"name":"test","state":"waiting","why":"new"}]}"#;
        let started = r#"{"event":"started","run":"1-2","at":"2026-01-01T00:00:01Z","step":"test"}"#;
        let text = format!("{begun}\n{started}\n{{half a li");
        assert_eq!(fold(&text, |_| true).runs[0].state(), State::Running);
        assert_eq!(fold(&text, |_| false).runs[0].state(), State::Withheld);
    }

    #[test]
    fn a_sighting_is_noted_once() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path());
        let sighting = Sighting {
            environment: "staging".parse().unwrap(),
            commit: "a".repeat(40).parse().unwrap(),
            phase: "healthy".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            why: String::new(),
        };
        sight(&repository, sighting.clone());
        sight(&repository, sighting.clone());
        assert_eq!(told(&repository).sightings, [sighting]);
        assert!(told(&repository).runs.is_empty());
    }

    #[test]
    fn a_long_output_keeps_its_ends() {
        let long = format!("first {} last", "é".repeat(MAX_OUTPUT));
        let kept = ends(&long);
        assert!(kept.len() < MAX_OUTPUT + 20 && kept.starts_with("first") && kept.ends_with("last"));
    }
}
