//! Runs a plan: what needs nothing side by side, a step after those that it needs, each shown as it ends. What passed in the
//! work tree counts once it is certain that the snapshot stood there all the time: else it runs again in a scratch tree.

use super::{
    Context, Error, Failures, Kind,
    groups::Groups,
    log,
    outcome::{Outcome, Report, Reported, verdict},
    passed::record,
    place::Place,
    plan::{Action, Decision, Input, Plan, Planned, RunReason, SkipReason},
    process::{self, End, Shell},
};
use crate::{
    ui::{self, Task},
    values::HookName,
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Work that is no command, by the step's place in the configuration's list. It gives a note for the step's line.
pub type Work =
    HashMap<usize, Box<dyn FnOnce(&Task) -> Result<String, Box<dyn miette::Diagnostic + Send + Sync>> + Send>>;

/// How many looks at a large tree the steps must have taken to be worth one more.
const LOOKS: u32 = 4;
/// This many commands may run at once on any machine.
const LEAST: usize = 2;
/// How often signals are looked for.
const TICK: Duration = Duration::from_millis(50);
/// How long work that was handed in may take to stop after a signal.
const WORK_GRACE: Duration = Duration::from_secs(10);

/// Runs a plan. That steps failed is no error here: [`verdict`](super::verdict) says it.
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
    let groups = Groups::default();
    let mut place = if commands { Some(beside_the_watch(&groups, || Place::find(context))?) } else { None };
    let started = Instant::now();
    let mut report = execute(plan, work, context, place.as_ref(), groups)?;
    // A second look at a large tree takes longer than quick steps, in which nobody gets much written; and few records are
    // ever asked for: what is done soon is rather run again. But what a push brings is delivered.
    let price = place.as_ref().map_or(Duration::ZERO, Place::price);
    if context.hook != HookName::PrePush && started.elapsed() < price * LOOKS {
        return Ok(report);
    }
    let mut changed = changed(place.as_ref(), context)?;
    if let (Some(why), Some(Place::WorkTree(..))) = (&changed, &place)
        && verdict(context.hook, &report.entries).is_ok()
    {
        context.progress.line(&format!("again in a scratch tree: {why} while the steps ran"));
        let scratch = Place::scratch(context)?;
        report = again(plan, report, context, &scratch)?;
        place = Some(scratch);
        changed = self::changed(place.as_ref(), context)?;
    }
    if let Some(why) = &changed {
        context.progress.line(&format!("not recorded: {why} while the steps ran"));
    } else if let Err(error) = record(plan, &mut report.entries, place.as_ref(), context) {
        // The result stands; only the next run is slower.
        context.progress.line(&format!("not recorded: {}", ui::clean(&explained(&error))));
    }
    Ok(report)
}

/// Why a place holds the snapshot no more, if so.
fn changed(place: Option<&Place>, context: &Context<'_>) -> Result<Option<String>, Error> {
    match place {
        Some(place) if context.judges() => place.changed(context),
        _ => Ok(None),
    }
}

/// Runs the commands of a plan once more, elsewhere. What was no command saw nothing of the work tree, and stays as it is.
fn again(plan: &Plan, before: Report, context: &Context<'_>, place: &Place) -> Result<Report, Error> {
    let ran =
        |entry: &Planned| matches!(entry.decision, Decision::Run(_)) && matches!(entry.action, Action::Command { .. });
    let mut commands = plan.clone();
    for entry in commands.entries.iter_mut().filter(|entry| !ran(entry)) {
        entry.decision = Decision::Skip(SkipReason::Ran);
    }
    let after = execute(&commands, Work::new(), context, Some(place), Groups::default())?;
    let both = plan.entries.iter().zip(before.entries.into_iter().zip(after.entries));
    Ok(Report { entries: both.map(|(entry, (before, after))| if ran(entry) { after } else { before }).collect() })
}

/// How many commands run at once: more than there are processors, so that none is idle while a step begins or ends.
fn side_by_side() -> usize {
    thread::available_parallelism().map_or(LEAST, |processors| processors.get() + 1).max(LEAST)
}

/// Finds something out while the watch over the groups is started, which takes about as long.
fn beside_the_watch<T>(groups: &Groups, work: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        scope.spawn(|| groups.watch());
        work()
    })
}

/// Runs a plan in a place. Nothing is recorded.
pub(super) fn execute(
    plan: &Plan,
    work: Work,
    context: &Context<'_>,
    place: Option<&Place>,
    groups: Groups,
) -> Result<Report, Error> {
    // Images are built beside the commands, by what else there is in this process.
    let stand = if work.is_empty() { place.and_then(|place| Stand::at(place.folder())) } else { None };
    let entries = Runner::new(plan, work, context, place, &groups).run();
    drop((groups, stand));
    match context.interrupt.signal() {
        Some(signal) => Err(Error::Interrupted { signal }),
        None => Ok(Report { entries }),
    }
}

/// Where the process stands until this goes away. A command that begins where we stand needs no copy of this process to
/// change its folder in, which would cost more than a quick command.
struct Stand {
    before: PathBuf,
}

impl Stand {
    fn at(folder: &Path) -> Option<Self> {
        let before = std::env::current_dir().ok()?;
        std::env::set_current_dir(folder).ok()?;
        Some(Self { before })
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = std::env::set_current_dir(&self.before);
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
    log: Arc<log::Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Started {
    No,
    Command,
    Work,
}

/// What decides whether one more entry may run beside those that run at the moment.
struct Turns<'a> {
    running: Vec<&'a Planned>,
    /// The first priority that is not done with.
    priority: Option<u16>,
    commands: usize,
    limit: usize,
}

impl<'a> Turns<'a> {
    fn of(runner: &Runner<'a>, limit: usize) -> Self {
        let left = || runner.plan.entries.iter().enumerate().filter(|(at, _)| runner.ended[*at].is_none());
        let running: Vec<&Planned> =
            left().filter(|(at, _)| runner.started[*at] != Started::No).map(|(_, entry)| entry).collect();
        // Work that is handed in mostly waits for somebody else: it takes no command's turn.
        let commands = running.iter().filter(|entry| entry.action != Action::Work).count();
        Self { running, priority: left().map(|(_, entry)| entry.priority).min(), commands, limit }
    }

    fn allow(&self, entry: &Planned) -> bool {
        if self.priority.is_some_and(|first| first < entry.priority) {
            return false;
        }
        if self.running.iter().any(|other| other.needs_the_terminal())
            || entry.needs_the_terminal() && !self.running.is_empty()
        {
            return false;
        }
        let both = |other: &Planned| entry.writes.iter().any(|path| other.writes.binary_search(path).is_ok());
        !self.running.iter().any(|other| both(other)) && (entry.action == Action::Work || self.commands < self.limit)
    }
}

impl<'a> Runner<'a> {
    fn new(plan: &'a Plan, work: Work, context: &'a Context<'a>, place: Option<&'a Place>, groups: &'a Groups) -> Self {
        let count = plan.entries.len();
        let commit = match &context.snapshot.kind {
            Kind::Commit(commit) => Some(commit),
            Kind::Index => None,
        };
        let (what, tree) = (context.hook.as_str(), Some(&context.snapshot.tree));
        let log = Arc::new(log::Run::begin(context.repository, what, tree, commit, log::steps(plan)));
        let (ended, started) = (vec![None; count], vec![Started::No; count]);
        Self { plan, work, context, place, groups, ended, started, log }
    }

    fn run(mut self) -> Vec<Reported> {
        // Asking costs more than a quick step.
        let limit = if self.plan.entries.len() <= LEAST { LEAST } else { side_by_side() };
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

    /// The next entry to start. Those that will not run are ended first.
    fn ready(&mut self, limit: usize, interrupted: Option<Instant>) -> Option<usize> {
        // What ends may be what another one needs.
        while self.end_what_will_not_run(interrupted) {}
        let turns = Turns::of(self, limit);
        (0..self.plan.entries.len()).find(|at| {
            let entry = &self.plan.entries[*at];
            self.is_waiting(*at) && self.needs(entry).all(|need| need.is_some()) && turns.allow(entry)
        })
    }

    fn is_waiting(&self, at: usize) -> bool {
        self.ended[at].is_none() && self.started[at] == Started::No
    }

    /// The entries that one needs, as far as they have ended.
    fn needs(&self, entry: &'a Planned) -> impl Iterator<Item = Option<&Reported>> {
        let places =
            entry.needs.iter().filter_map(|need| self.plan.entries.iter().position(|other| other.step == *need));
        places.map(|need| self.ended[need].as_ref())
    }

    /// Whether one was found.
    fn end_what_will_not_run(&mut self, interrupted: Option<Instant>) -> bool {
        let mut found = false;
        for at in 0..self.plan.entries.len() {
            if !self.is_waiting(at) {
                continue;
            }
            let entry = &self.plan.entries[at];
            let unmet = || self.needs(entry).flatten().find(|need| need.outcome.is_unmet());
            let outcome = if let Decision::Skip(reason) = &entry.decision {
                Outcome::Skipped(reason.to_string())
            } else if let Some(need) = unmet() {
                Outcome::Withheld(format!("it needs {}, which did not pass", need.label))
            } else if interrupted.is_some() {
                Outcome::Withheld("the run was ended".to_owned())
            } else if self.context.failures == Failures::StopAtFirst && self.any_failed() {
                Outcome::Withheld("another step failed".to_owned())
            } else {
                continue;
            };
            self.end(at, outcome);
            found = true;
        }
        found
    }

    fn any_failed(&self) -> bool {
        self.ended.iter().flatten().any(|ended| matches!(ended.outcome, Outcome::Failed(_)))
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
        if !matches!(outcome, Outcome::Skipped(_)) {
            self.log.ended(&entry.label, &outcome, "", Duration::ZERO, String::new);
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
                let log = Arc::clone(&self.log);
                let folder = root.below(place.folder());
                let stdin = if *input == Input::Hook { context.input } else { b"" };
                scope.spawn(move || {
                    let task = match input {
                        Input::Terminal => progress.task_beside_a_person(&entry.label),
                        Input::Nothing | Input::Hook => progress.task(&entry.label),
                    };
                    log.started(&entry.label);
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
                    say_what_to_do(&task, &ended.outcome, entry.fail_text.as_deref());
                    log.ended(&entry.label, &ended.outcome, "", ended.duration, || task.kept());
                    task.end(&shown(&ended.outcome, String::new()));
                    // The receiver is gone only when the run has been ended.
                    let _ = sender.send((at, ended));
                });
            }
            (Action::Work, _, Some(work)) => {
                self.started[at] = Started::Work;
                let task = context.progress.task(&entry.label);
                let mut ended = reported(entry, Outcome::Passed);
                let (log, fail_text) = (Arc::clone(&self.log), entry.fail_text.clone());
                // Not of the scope: work that does not stop at a signal is left to the end of the process.
                thread::spawn(move || {
                    log.started(&ended.label);
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
                    say_what_to_do(&task, &ended.outcome, fail_text.as_deref());
                    log.ended(&ended.label, &ended.outcome, &note, ended.duration, || task.kept());
                    task.end(&shown(&ended.outcome, note));
                    let _ = sender.send((at, ended));
                });
            }
            // `run` has seen to it that every entry that runs has what it needs.
            _ => self.end(at, Outcome::Failed("there is nothing to run".to_owned())),
        }
    }
}

/// Shows what the step's author has to say about its failure.
fn say_what_to_do(task: &Task, outcome: &Outcome, text: Option<&str>) {
    if let (Outcome::Failed(_), Some(text)) = (outcome, text) {
        task.output(format!("{text}\n").as_bytes());
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
