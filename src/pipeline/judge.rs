//! One snapshot against one hook's steps: first those that may change it, then commands and image builds side by side.

use super::{Error, Pipeline, confirmed, wait};
use crate::{
    check::{self, Coverage, Decision, Kind, Outcome, Reported, SkipReason, Snapshot},
    config::{Config, Step},
    hook::Subject,
    image,
    ui::{self, Task},
    values::{HookName, ImageName, Oid, Span},
};
use gix::bstr::BString;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What a hook is called with.
#[derive(Clone, Copy, Default)]
pub struct Call<'a> {
    /// The arguments of the hook.
    pub arguments: &'a [OsString],
    /// The file of the commit message, where the hook has one.
    pub message_file: Option<&'a Path>,
    /// What git gave it on its standard input.
    pub input: &'a [u8],
}

/// What is judged, and as what.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) config: &'a Config,
    pub(super) hook: HookName,
    pub(super) snapshot: &'a Snapshot,
    /// The branches that it is for; none for the one that is checked out.
    pub(super) branches: &'a [&'a str],
    /// What images are built from and labelled with: a commit, or the tree of the index.
    pub(super) source: &'a Oid,
    pub(super) intent: image::Intent,
    /// Whether the snapshot's changed paths and the steps are all that a push would be judged by.
    pub(super) coverage: Coverage,
    pub(super) call: Call<'a>,
}

/// The images that a snapshot's steps have built, and nobody has seen yet.
pub(super) type Built = BTreeMap<ImageName, image::Prepared>;

/// What became of a snapshot.
pub(super) struct Judged {
    /// Each step, in the order of the plans.
    pub(super) steps: Vec<Reported>,
    /// The images.
    pub(super) built: Built,
    /// Whether every step that the configuration asks for was looked at.
    pub(super) coverage: Coverage,
    /// A path that was staged while the steps ran, so that they did not judge it.
    pub(super) overtaken: Option<BString>,
    /// Whether fixers have made the index what `HEAD` is.
    pub(super) undone: bool,
    /// What `run` needs to be told, to judge the same by hand; `None` where it cannot.
    by_hand: Option<String>,
    hook: HookName,
    failures: Vec<Error>,
}

impl Judged {
    fn nothing(hook: HookName) -> Self {
        Self {
            steps: Vec::new(),
            built: Built::new(),
            coverage: Coverage::Whole,
            overtaken: None,
            undone: false,
            by_hand: None,
            hook,
            failures: Vec::new(),
        }
    }

    /// What was built, where every step passed or had no need to run.
    pub(super) fn verdict(mut self) -> Result<(Built, Coverage), Error> {
        let mut verdict = check::verdict(self.hook, &self.steps);
        if let Err(check::Error::Failed { by_hand, .. }) = &mut verdict {
            *by_hand = self.by_hand;
        }
        if let Err(check::Error::Failed { steps, .. }) = &verdict
            // Where nothing but images failed, the image's own error says whose fault it is and what to do next.
            && self.failures.len() == steps.len()
            && let Some(first) = self.failures.drain(..).next()
        {
            return Err(first);
        }
        verdict?;
        Ok((self.built, self.coverage))
    }
}

/// Judges a snapshot.
pub(super) fn judge(pipeline: &Pipeline<'_>, case: Case<'_>) -> Result<Judged, Error> {
    let Some(steps) = case.config.hooks.get(&case.hook).filter(|steps| !steps.is_empty()) else {
        return Ok(Judged::nothing(case.hook));
    };
    confirmed(pipeline.repository, case.config, Subject::Checks)?;
    for unknown in pipeline.choice.unknown(case.config) {
        pipeline.progress.line(&unknown);
    }
    let started = Instant::now();
    let context = context(pipeline, case);
    let mut plan = plan(pipeline, steps, &context)?;
    let mut judged = Judged { by_hand: by_hand(pipeline, case), ..Judged::nothing(case.hook) };
    if let Some(fixers) = plan.fixers() {
        let fixed = check::fix(&fixers, &context)?;
        judged.steps = fixed.report.entries;
        if check::verdict(case.hook, &judged.steps).is_err() {
            return Ok(judged);
        }
        if let Some(tree) = fixed.tree {
            let snapshot = case.snapshot.fixed(pipeline.repository)?;
            let head = pipeline.repository.commit("HEAD").map(|head| pipeline.repository.tree_of(&head)).transpose()?;
            judged.undone = head.as_ref() == Some(&snapshot.tree);
            let context = check::Context { snapshot: &snapshot, ..context };
            plan = self::plan(pipeline, steps, &context)?;
            plan.fixed();
            run(&plan, Case { source: &snapshot.tree, ..case }, steps, &context, &mut judged)?;
            if judged.overtaken.is_none() {
                // What was staged while the fixers ran, they did not see.
                let more = pipeline.repository.changes(Some(&tree), &snapshot.tree)?;
                judged.overtaken = more.into_iter().next().map(|change| change.path);
            }
            summarize(pipeline, &judged, started.elapsed());
            return Ok(judged);
        }
        plan.fixed();
    }
    run(&plan, case, steps, &context, &mut judged)?;
    summarize(pipeline, &judged, started.elapsed());
    Ok(judged)
}

/// What `run` needs to be told, to judge a case by hand.
fn by_hand(pipeline: &Pipeline<'_>, case: Case<'_>) -> Option<String> {
    match &case.snapshot.kind {
        Kind::Commit(commit) if pipeline.repository.commit("HEAD").as_ref() != Some(commit) => {
            // By a branch that gets it, where there is one: conditions may ask for its name.
            let is_its = |branch: &&&str| {
                let plain = branch.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
                plain && pipeline.repository.reference(&format!("refs/heads/{branch}")).as_ref() == Some(commit)
            };
            let branch = case.branches.iter().find(is_its);
            Some(format!(" --to {}", branch.map_or_else(|| commit.short(), |branch| *branch)))
        }
        Kind::Commit(_) => Some(String::new()),
        // `git commit FILE` and `-a` judge what no index holds afterwards.
        Kind::Index => (!pipeline.repository.has_index_of_its_own()).then(String::new),
    }
}

/// What the check room is told of a case.
pub(super) fn context<'a>(pipeline: &Pipeline<'a>, case: Case<'a>) -> check::Context<'a> {
    check::Context {
        repository: pipeline.repository,
        hook: case.hook,
        snapshot: case.snapshot,
        branches: case.branches,
        scratch: &case.config.scratch,
        arguments: case.call.arguments,
        message_file: case.call.message_file,
        input: case.call.input,
        progress: pipeline.progress,
        cache: pipeline.cache,
        places: pipeline.places,
        failures: pipeline.failures,
        coverage: case.coverage,
        cache_folder: None,
        interrupt: pipeline.interrupt,
    }
}

/// The plan for a hook's steps, without those that a person left out.
pub(super) fn plan(
    pipeline: &Pipeline<'_>,
    steps: &[Step],
    context: &check::Context<'_>,
) -> Result<check::Plan, Error> {
    pipeline.choice.fits(steps)?;
    let mut plan = check::plan(steps, context)?;
    for (at, step) in steps.iter().enumerate() {
        if let Some(why) = pipeline.choice.leaves_out(step) {
            plan.leave_out(at, why);
        }
    }
    Ok(plan)
}

/// Runs a plan: its commands, and the builds of its images.
fn run(
    plan: &check::Plan,
    case: Case<'_>,
    steps: &[Step],
    context: &check::Context<'_>,
    judged: &mut Judged,
) -> Result<(), Error> {
    let built = Arc::new(Mutex::new(Built::new()));
    let failures: Arc<Mutex<Vec<Error>>> = Arc::default();
    let mut work = check::Work::new();
    for (index, step) in steps.iter().enumerate() {
        let Some(name) = &step.image else { continue };
        let Some(image) = case.config.images.get(&**name) else { continue };
        let (repository, interrupt) = (context.repository.clone(), context.interrupt.clone());
        let (name, image, source, intent) = ((**name).clone(), image.clone(), case.source.clone(), case.intent);
        let (built, failures) = (Arc::clone(&built), Arc::clone(&failures));
        let limit = step.timeout.is_written().then(|| *step.timeout);
        work.insert(
            index,
            Box::new(move |task| {
                let request = request(&repository, &source, &name, &image);
                match wait(&interrupt, prepared(&request, intent, task, limit)) {
                    Ok(prepared) => {
                        let note = told(&prepared);
                        built.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), prepared);
                        Ok(note)
                    }
                    Err(error) => {
                        let line = Box::new(NotBuilt(error.to_string()));
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                        Err(line as _)
                    }
                }
            }),
        );
    }
    let report = check::run(plan, work, context)?;
    let ran_before = |entry: &Reported| judged.steps.iter().any(|step| step.step == entry.step);
    let new: Vec<Reported> = report.entries.into_iter().filter(|entry| !ran_before(entry)).collect();
    judged.steps.extend(new);
    if plan.entries.iter().any(|entry| matches!(entry.decision, Decision::Skip(SkipReason::LeftOut(_)))) {
        judged.coverage = Coverage::Part;
    }
    judged.overtaken = context.snapshot.overtaken(context.repository)?;
    judged.built = std::mem::take(&mut *built.lock().unwrap_or_else(PoisonError::into_inner));
    judged.failures = std::mem::take(&mut *failures.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}

/// Prepares an image, in no more than the time that its step gives it: given up, a build ends as at a signal.
async fn prepared(
    request: &image::Request<'_>,
    intent: image::Intent,
    task: &Task,
    limit: Option<Span>,
) -> Result<image::Prepared, Error> {
    let work = image::prepare(request, intent, task);
    let Some(limit) = limit else { return Ok(work.await?) };
    let done = tokio::time::timeout(limit.duration(), work).await;
    done.map_err(|_| Error::TooLong { image: request.name.to_string(), limit: ui::seconds(limit.duration()) })?
        .map_err(Error::from)
}

/// What became of more steps than one sees at a glance.
fn summarize(pipeline: &Pipeline<'_>, judged: &Judged, took: Duration) {
    let count = |wanted: fn(&Outcome) -> bool| judged.steps.iter().filter(|step| wanted(&step.outcome)).count();
    let parts = [
        (count(|outcome| *outcome == Outcome::Passed), "passed"),
        (count(|outcome| matches!(outcome, Outcome::Skipped(_))), "skipped"),
        (count(|outcome| matches!(outcome, Outcome::Failed(_))), "failed"),
        (count(|outcome| matches!(outcome, Outcome::Withheld(_))), "not run"),
    ];
    if judged.steps.len() > 3 {
        let told: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        pipeline.progress.line(&format!("{}: {} in {}", judged.hook, told.join(", "), ui::seconds(took)));
    }
}

/// An image's failure on its step's line; the error itself is told at the end.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{0}")]
struct NotBuilt(String);

/// How the line of an image begins that was not built again.
pub const REGISTRY_HAS_IT: &str = "the registry has it";

/// What became of an image, for its step's line.
pub(super) fn told(prepared: &image::Prepared) -> String {
    match prepared {
        image::Prepared::AlreadyPublished { digest, .. } => format!("{REGISTRY_HAS_IT}, sha256:{}", digest.short()),
        image::Prepared::Built { key, note, .. } => {
            let note = if note.is_empty() { String::new() } else { format!(", {note}") };
            format!("built{note}, key {}", &key.as_str()[..12])
        }
    }
}

/// What the image room is asked for.
pub(super) fn request<'a>(
    repository: &'a crate::git::Repository,
    commit: &Oid,
    name: &'a ImageName,
    image: &'a crate::config::Image,
) -> image::Request<'a> {
    let source = repository.upstream("HEAD").and_then(|upstream| repository.remote_url(&upstream.remote));
    image::Request { repository, commit: commit.clone(), name, image, source: source.map(|url| url.to_string()) }
}
