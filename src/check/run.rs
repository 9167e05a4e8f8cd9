//! Runs a plan: what needs nothing side by side, a step after those that it needs, each shown as it ends. What passed is
//! recorded once it is certain that the snapshot was still there afterwards.

use super::{
    Context, Error, Failures, Kind,
    groups::Groups,
    place::Place,
    plan::{Action, Decision, Input, Plan, Planned, RunReason, SkipReason},
    process::{self, End, Shell},
    record::{Found, Key, KeyBuilder, Record, Records},
};
use crate::{
    config::Step,
    git::Repository,
    ui::{self, Task},
    values::{Globs, HookName, Oid},
};
use std::{
    collections::HashMap,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Work that is no command, by the step's place in the configuration's list. It gives a note for the step's line.
pub type Work =
    HashMap<usize, Box<dyn FnOnce(&Task) -> Result<String, Box<dyn miette::Diagnostic + Send + Sync>> + Send>>;

/// How often signals are looked for.
const TICK: Duration = Duration::from_millis(50);
/// How long work that was handed in may take to stop after a signal.
const WORK_GRACE: Duration = Duration::from_secs(10);

/// What became of a plan.
#[derive(Debug)]
pub struct Report {
    /// Each step, in the plan's order.
    pub entries: Vec<Reported>,
    /// Why nothing was recorded, if so.
    pub unrecorded: Option<String>,
}

/// What became of a step.
#[derive(Debug, Clone)]
pub struct Reported {
    /// Its place in the configuration's list for the hook.
    pub step: usize,
    /// What people call it.
    pub label: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it ran.
    pub duration: Duration,
    /// The record that says that it passed.
    pub record: Option<Key>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Passed,
    /// It failed, and why.
    Failed(String),
    /// It was not run, and had no need to.
    Skipped(String),
    /// It was not run because another step failed or the run was ended.
    Withheld(String),
}

/// Nothing where every step passed or had no need to run.
///
/// # Errors
/// [`Error::Failed`] with the steps that failed.
pub fn verdict(hook: HookName, entries: &[Reported]) -> Result<(), Error> {
    let failed = entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Failed(_)));
    let steps: Vec<String> = failed.map(|entry| entry.label.clone()).collect();
    if steps.is_empty() { Ok(()) } else { Err(Error::Failed { hook, steps }) }
}

/// Runs a plan. That steps failed is no error here: [`verdict`] says it.
///
/// # Errors
/// A signal, a scratch tree that cannot be made, work that is missing.
pub fn run(plan: &Plan, work: Work, context: &Context<'_>) -> Result<Report, Error> {
    let runs = |entry: &&Planned| matches!(entry.decision, Decision::Run(_));
    let commands = plan.entries.iter().filter(runs).any(|entry| matches!(entry.action, Action::Command { .. }));
    if let Some(entry) = plan.entries.iter().filter(runs).find(|entry| entry.action == Action::Work)
        && !work.contains_key(&entry.step)
    {
        return Err(Error::NoWork { step: entry.label.clone() });
    }
    let place = if commands { Some(Place::find(context)?) } else { None };
    let started = Instant::now();
    let mut report = execute(plan, work, context, place.as_ref())?;
    // A record costs a second look at the whole tree: what is done sooner is rather run again. But a push asks whether its
    // hook has passed.
    let price = place.as_ref().map_or(Duration::ZERO, Place::price);
    if context.hook != HookName::PrePush && started.elapsed() < price {
        return Ok(report);
    }
    let unrecorded = match &place {
        Some(place) if context.judges() => place.changed(context)?,
        _ => None,
    };
    if let Some(why) = &unrecorded {
        context.progress.line(&format!("not recorded: {why} while the steps ran"));
    } else if let Err(error) = record(plan, &mut report.entries, place.as_ref(), context) {
        // The result stands; only the next run is slower.
        context.progress.line(&format!("not recorded: {}", ui::clean(&explained(&error))));
    }
    report.unrecorded = unrecorded;
    Ok(report)
}

/// Runs a plan in a place. Nothing is recorded.
pub(super) fn execute(plan: &Plan, work: Work, context: &Context<'_>, place: Option<&Place>) -> Result<Report, Error> {
    let groups = Groups::default();
    let entries = Runner::new(plan, work, context, place, &groups).run();
    drop(groups);
    match context.interrupt.signal() {
        Some(signal) => Err(Error::Interrupted { signal }),
        None => Ok(Report { entries, unrecorded: None }),
    }
}

/// Everything that a run knows while it runs.
struct Runner<'a> {
    plan: &'a Plan,
    work: Work,
    context: &'a Context<'a>,
    place: Option<&'a Place>,
    groups: &'a Groups,
    /// The outcome of each entry of the plan, once it has one.
    ended: Vec<Option<Reported>>,
    started: Vec<Started>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Started {
    No,
    Command,
    Work,
}

impl<'a> Runner<'a> {
    fn new(plan: &'a Plan, work: Work, context: &'a Context<'a>, place: Option<&'a Place>, groups: &'a Groups) -> Self {
        let count = plan.entries.len();
        Self { plan, work, context, place, groups, ended: vec![None; count], started: vec![Started::No; count] }
    }

    fn run(mut self) -> Vec<Reported> {
        let limit = thread::available_parallelism().map_or(2, usize::from).max(2);
        let (sender, receiver) = mpsc::channel::<(usize, Reported)>();
        thread::scope(|scope| {
            let mut interrupted: Option<Instant> = None;
            loop {
                if self.context.interrupt.signal().is_some() {
                    interrupted.get_or_insert_with(Instant::now);
                }
                while let Some(at) = self.ready(limit, interrupted) {
                    self.start(at, scope, &sender);
                }
                let running =
                    |kind| (0..self.ended.len()).any(|at| self.started[at] == kind && self.ended[at].is_none());
                let patience = interrupted.is_none_or(|since| since.elapsed() < WORK_GRACE);
                let waits = running(Started::Command) || running(Started::Work) && patience;
                if !waits {
                    break;
                }
                if let Ok((at, reported)) = receiver.recv_timeout(TICK) {
                    self.ended[at] = Some(reported);
                }
            }
        });
        let entries = self.plan.entries.iter().zip(self.ended);
        entries
            .map(|(entry, ended)| {
                ended.unwrap_or_else(|| reported(entry, Outcome::Withheld("the run was ended".to_owned())))
            })
            .collect()
    }

    /// The next entry to start. Those that will not run are ended on the way.
    fn ready(&mut self, limit: usize, interrupted: Option<Instant>) -> Option<usize> {
        for at in 0..self.plan.entries.len() {
            if self.ended[at].is_some() || self.started[at] != Started::No {
                continue;
            }
            let entry = &self.plan.entries[at];
            if let Decision::Skip(reason) = &entry.decision {
                self.end(at, Outcome::Skipped(reason.to_string()));
                continue;
            }
            let needs: Vec<Option<&Reported>> = entry
                .needs
                .iter()
                .filter_map(|need| self.plan.entries.iter().position(|other| other.step == *need))
                .map(|need| self.ended[need].as_ref())
                .collect();
            let unmet = needs.iter().flatten().find(|need| need.outcome.is_unmet()).map(|need| need.label.clone());
            if let Some(need) = unmet {
                self.end(at, Outcome::Withheld(format!("it needs {need}, which did not pass")));
            } else if interrupted.is_some() {
                self.end(at, Outcome::Withheld("the run was ended".to_owned()));
            } else if self.context.failures == Failures::StopAtFirst && self.any_failed() {
                self.end(at, Outcome::Withheld("another step failed".to_owned()));
            } else if needs.iter().all(Option::is_some) && self.may_start(at, limit) {
                return Some(at);
            }
        }
        None
    }

    fn any_failed(&self) -> bool {
        self.ended.iter().flatten().any(|ended| matches!(ended.outcome, Outcome::Failed(_)))
    }

    /// Whether an entry may run beside those that run at the moment.
    fn may_start(&self, at: usize, limit: usize) -> bool {
        let entry = &self.plan.entries[at];
        let others = || self.plan.entries.iter().enumerate().filter(|(other, _)| self.ended[*other].is_none());
        if others().any(|(_, other)| other.priority < entry.priority) {
            return false;
        }
        let running = || others().filter(|(other, _)| self.started[*other] != Started::No).map(|(_, other)| other);
        if running().any(Planned::needs_the_terminal) || entry.needs_the_terminal() && running().next().is_some() {
            return false;
        }
        if running().any(|other| entry.writes.iter().any(|path| other.writes.binary_search(path).is_ok())) {
            return false;
        }
        // Work that is handed in mostly waits for somebody else: it takes no command's turn.
        let commands = running().filter(|other| other.action != Action::Work).count();
        entry.action == Action::Work || commands < limit
    }

    /// Ends an entry that was not run.
    fn end(&mut self, at: usize, outcome: Outcome) {
        let entry = &self.plan.entries[at];
        let reason = match &outcome {
            Outcome::Skipped(reason) | Outcome::Withheld(reason) | Outcome::Failed(reason) => reason.clone(),
            Outcome::Passed => String::new(),
        };
        // What ran before the others has had its line.
        if !matches!(entry.decision, Decision::Skip(SkipReason::Ran)) {
            self.context.progress.task(&entry.label).end(&ui::Outcome::Skipped(reason));
        }
        self.ended[at] = Some(reported(entry, outcome));
    }

    fn start<'scope>(
        &mut self,
        at: usize,
        scope: &'scope thread::Scope<'scope, 'a>,
        sender: &mpsc::Sender<(usize, Reported)>,
    ) where
        'a: 'scope,
    {
        let (entry, context, sender) = (&self.plan.entries[at], self.context, sender.clone());
        if let Decision::Run(RunReason::UnreadableRecord(why)) = &entry.decision {
            context.progress.line(&format!("{}: its record cannot be read: {}", entry.label, ui::clean(why)));
        }
        match (&entry.action, self.place, self.work.remove(&entry.step)) {
            (Action::Command { scripts, env, shell, root, input, .. }, Some(place), _) => {
                self.started[at] = Started::Command;
                // A repository may not cross threads: a command's thread gets only what it needs.
                let (progress, interrupt, groups) = (context.progress, context.interrupt, self.groups);
                let folder = root.below(place.folder());
                let stdin = if *input == Input::Hook { context.input } else { b"" };
                scope.spawn(move || {
                    let task = match input {
                        Input::Terminal => progress.task_beside_a_person(&entry.label),
                        Input::Nothing | Input::Hook => progress.task(&entry.label),
                    };
                    let deadline = Instant::now() + entry.timeout;
                    let ends = scripts.iter().map(|script| {
                        let shell = Shell { program: shell, script, folder: &folder, env, stdin, deadline, groups };
                        match input {
                            Input::Terminal => process::attended(shell, interrupt),
                            Input::Nothing | Input::Hook => process::run(shell, interrupt, &|bytes| task.output(bytes)),
                        }
                    });
                    let outcome = first_failure(ends, entry.timeout);
                    let mut ended = reported(entry, outcome);
                    ended.duration = task.elapsed();
                    if let (Outcome::Failed(_), Some(text)) = (&ended.outcome, &entry.fail_text) {
                        task.output(format!("{text}\n").as_bytes());
                    }
                    task.end(&shown(&ended.outcome, String::new()));
                    // The receiver is gone only when the run has been ended.
                    let _ = sender.send((at, ended));
                });
            }
            (Action::Work, _, Some(work)) => {
                self.started[at] = Started::Work;
                let task = context.progress.task(&entry.label);
                let mut ended = reported(entry, Outcome::Passed);
                // Not of the scope: work that does not stop at a signal is left to the end of the process.
                thread::spawn(move || {
                    // Work that panics must not leave the run waiting.
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&task)));
                    let note = match result {
                        Ok(Ok(note)) => note,
                        Ok(Err(error)) => {
                            ended.outcome = Outcome::Failed(explained(error.as_ref()));
                            String::new()
                        }
                        Err(_) => {
                            ended.outcome = Outcome::Failed("it ended unexpectedly".to_owned());
                            String::new()
                        }
                    };
                    ended.duration = task.elapsed();
                    task.end(&shown(&ended.outcome, note));
                    let _ = sender.send((at, ended));
                });
            }
            // `run` has seen to it that every entry that runs has what it needs.
            _ => self.end(at, Outcome::Failed("there is nothing to run".to_owned())),
        }
    }
}

impl Outcome {
    fn is_unmet(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Withheld(_))
    }
}

fn reported(entry: &Planned, outcome: Outcome) -> Reported {
    let record = match &entry.decision {
        Decision::Skip(SkipReason::Passed { record, .. }) => Some(record.clone()),
        _ => None,
    };
    Reported { step: entry.step, label: entry.label.clone(), outcome, duration: Duration::ZERO, record }
}

fn shown(outcome: &Outcome, note: String) -> ui::Outcome {
    match outcome {
        Outcome::Passed => ui::Outcome::Done(note),
        Outcome::Failed(why) => ui::Outcome::Failed(why.clone()),
        Outcome::Skipped(why) | Outcome::Withheld(why) => ui::Outcome::Skipped(why.clone()),
    }
}

/// Runs the scripts of a step one after the other; the first that fails is the last.
fn first_failure(ends: impl Iterator<Item = std::io::Result<End>>, limit: Duration) -> Outcome {
    let mut failures = ends.map(|end| match end {
        Ok(end) => end.failure(limit),
        Err(error) => Some(format!("it could not be run: {error}")),
    });
    failures.find_map(|failure| failure).map_or(Outcome::Passed, Outcome::Failed)
}

impl End {
    /// Why it did not pass, if so.
    pub(super) fn failure(self, limit: Duration) -> Option<String> {
        match self {
            Self::Exited(0) => None,
            Self::Exited(code) => Some(format!("exit code {code}")),
            Self::Signalled(signal) => Some(format!("killed by signal {signal}")),
            Self::TimedOut => Some(format!("stopped after its time limit of {}", ui::seconds(limit))),
            Self::Interrupted => Some("interrupted".to_owned()),
        }
    }
}

/// Records each command that passed and, where all did, the hook as a whole.
pub(super) fn record(
    plan: &Plan,
    entries: &mut [Reported],
    place: Option<&Place>,
    context: &Context<'_>,
) -> Result<(), Error> {
    if !context.judges() {
        return Ok(());
    }
    let records = Records::of(context.repository);
    let new = |step: Option<String>, command: Option<String>, duration: Duration| Record {
        hook: context.hook.to_string(),
        step,
        command,
        tree: context.snapshot.tree.clone(),
        commit: match &context.snapshot.kind {
            Kind::Commit(commit) => Some(commit.clone()),
            Kind::Index => None,
        },
        place: place.map(|place| place.name().to_owned()),
        passed_at: jiff::Timestamp::now(),
        seconds: duration.as_secs_f64(),
    };
    let mut kept = Vec::new();
    for (planned, ended) in plan.entries.iter().zip(entries.iter_mut()) {
        if let (Outcome::Passed, Some(key), Action::Command { written, .. }) =
            (&ended.outcome, &planned.key, &planned.action)
        {
            kept.push((key.clone(), new(Some(planned.label.clone()), Some(written.clone()), ended.duration)));
            ended.record = Some(key.clone());
        }
    }
    let proven = plan.entries.iter().zip(entries.iter()).all(|(planned, ended)| {
        let left_out = matches!(planned.decision, Decision::Skip(SkipReason::LeftOut(_)));
        planned.action == Action::Work || (!left_out && !ended.outcome.is_unmet())
    });
    if proven && matches!(records.find(&plan.whole), Found::Nothing | Found::Unreadable(_)) {
        kept.push((plan.whole.clone(), new(None, None, entries.iter().map(|entry| entry.duration).sum())));
    }
    records.keep(&kept)
}

/// Whether the records say that every command of a hook passed, or had no need to run, on this commit's tree with these
/// steps as they are written.
///
/// # Errors
/// A commit that cannot be read.
pub fn passed(repository: &Repository, hook: HookName, steps: &[Step], commit: &Oid) -> Result<bool, Error> {
    let key = whole(hook, steps, &repository.tree_of(commit)?);
    Ok(matches!(Records::of(repository).find(&key), Found::Record(_)))
}

/// What a hook's passing as a whole is called: its commands as they are written, and the tree.
pub(super) fn whole(hook: HookName, steps: &[Step], tree: &Oid) -> Key {
    let mut key = KeyBuilder::new("hook");
    key.field("hook", hook.as_str().as_bytes());
    key.field("tree", tree.as_str().as_bytes());
    for step in steps {
        let Some(run) = &step.run else { continue };
        key.field("run", run.as_bytes());
        for (name, value) in &step.env {
            key.field("env", name.as_bytes());
            key.field("value", value.as_bytes());
        }
        for (name, globs) in [("files", &step.files), ("inputs", &step.inputs)] {
            for pattern in globs.iter().flat_map(Globs::written) {
                key.field(name, pattern.as_bytes());
            }
        }
    }
    key.finish()
}

/// An error, its causes and what to do next, for a step's line.
fn explained(error: &(dyn miette::Diagnostic + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.extend([": ", &cause.to_string()]);
        source = cause.source();
    }
    if let Some(help) = error.help() {
        text.extend(["; next: ", &help.to_string()]);
    }
    text
}
