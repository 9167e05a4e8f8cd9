//! From "the upstream has this commit" to deliveries, a commit for each environment that follows its branch, and a line for
//! each that says what became of it. What begins them is `notice.rs`'s, or a person's word.

use super::{
    Error, Pipeline,
    builds::Images,
    runtime,
    wanted::{Found, Wanted},
};
use crate::{
    check::{self, log},
    cluster,
    deliver::{self as delivery, Act, Build, Delivery, Session, Switch, Wish},
    sync,
    ui::{Outcome, Task},
    values::EnvironmentName,
};
use miette::Diagnostic;
use std::{sync::mpsc, thread, time::Duration};

/// How long a nudge may take; it is only a courtesy.
const NUDGE: Duration = Duration::from_secs(3);

/// What became of one environment.
#[derive(Debug)]
pub struct Told {
    /// Which one.
    pub environment: EnvironmentName,
    /// What was done, or why it waits.
    pub result: Result<Delivery, Error>,
}

/// What would become of one environment.
#[derive(Debug)]
pub struct Shown {
    /// Which one.
    pub environment: EnvironmentName,
    /// What would change.
    pub result: Result<delivery::Rehearsal, Error>,
}

/// Delivers environments, all that follow a branch where none is named. One that fails does not stop the others.
///
/// # Errors
/// When there is no configuration to say what the environments are, or it has none of a name.
pub fn deliver(pipeline: &Pipeline<'_>, wanted: &[Wanted], switch: Switch) -> Result<Vec<Told>, Error> {
    let (found, failed) = Found::of(pipeline, wanted)?;
    let mut told = Vec::new();
    for (environment, error) in failed {
        waits(pipeline.progress.task(&format!("deliver {environment}")), &error);
        told.push(Told { environment, result: Err(error) });
    }
    let images = Images::new(pipeline, &found.configs);
    let wishes = found.wishes(pipeline, switch, Build::Missing);
    let session = Session::new(pipeline.repository, pipeline.prompts, wishes.iter().map(|wish| &wish.target));
    let logs: Vec<log::Run> = wishes.iter().map(|wish| begin_log(pipeline, wish)).collect();
    for ((wish, log), result) in wishes.iter().zip(logs).zip(delivery::deliver(&session, &wishes, &images)) {
        let (outcome, note) = match &result {
            Ok(delivery) => (check::Outcome::Passed, self::told(delivery)),
            Err(error) => (check::Outcome::Failed(format!("it waits: {error}")), String::new()),
        };
        log.ended(wish.target.name.as_str(), &outcome, &note, wish.task.elapsed(), || wish.task.kept());
        drop(log);
        let told_one = ended(wish, result);
        let is_pushed = matches!(told_one.result, Ok(Delivery::Delivered { .. } | Delivery::Noted { .. }));
        if is_pushed && wish.target.is_on_its_branch(pipeline.repository) {
            let branch = wish.target.branch;
            pipeline
                .progress
                .line(&format!("next: {branch} has the delivery on top now; `git pull --rebase` before the next push"));
        }
        told.push(told_one);
    }
    nudge(&told);
    session.tidy();
    Ok(told)
}

/// Tells the run log that a delivery has begun.
fn begin_log(pipeline: &Pipeline<'_>, wish: &Wish<'_>) -> log::Run {
    let tip = match &wish.act {
        Act::Follow { tip, .. } => Some(tip),
        _ => None,
    };
    let name = wish.target.name.as_str();
    let steps = vec![log::LoggedStep::waiting(name, "the upstream has a commit that it may not run yet")];
    let log = log::Run::begin(pipeline.repository, "deliver", None, tip, steps);
    log.started(name);
    log
}

/// What a delivery of environments would change, all that follow a branch where none is named. Nothing is built or pushed.
///
/// # Errors
/// When there is no configuration to say what the environments are, or it has none of a name.
pub fn rehearse(pipeline: &Pipeline<'_>, wanted: &[Wanted], switch: Switch) -> Result<Vec<Shown>, Error> {
    let (found, failed) = Found::of(pipeline, wanted)?;
    let failed = failed.into_iter().map(|(environment, error)| Shown { environment, result: Err(error) });
    let mut shown: Vec<Shown> = failed.collect();
    let images = Images::new(pipeline, &found.configs);
    let wishes = found.wishes(pipeline, switch, Build::Nothing);
    let session = Session::new(pipeline.repository, pipeline.prompts, wishes.iter().map(|wish| &wish.target));
    for wish in wishes {
        let result = delivery::rehearse(&session, &wish, &images).map_err(Error::from);
        shown.push(Shown { environment: wish.target.name.clone(), result });
    }
    Ok(shown)
}

/// Ends the line of a wish.
pub(super) fn ended(wish: &Wish<'_>, result: Result<Delivery, delivery::Error>) -> Told {
    let task: Task = wish.task.clone();
    let result = result.map_err(Error::from);
    match &result {
        Ok(delivery @ Delivery::Held { .. }) => {
            let name = &wish.target.name;
            let hold = told(delivery);
            task.end(&Outcome::Skipped(format!("{hold}; `gitops-hooks release {name}` lets newer commits in")));
        }
        Ok(Delivery::Unchanged) if matches!(wish.act, Act::Release(_)) => {
            task.end(&Outcome::Done("it was not held".to_owned()));
        }
        Ok(delivery) => task.end(&Outcome::Done(told(delivery))),
        Err(error) if matches!(wish.act, Act::Follow { .. }) => waits(task, error),
        Err(error) => task.fail(&in_full(error), next(error).as_deref()),
    }
    Told { environment: wish.target.name.clone(), result }
}

/// Ends the line of a delivery that waits, with all that there is to say of it: nobody says it again.
fn waits(task: Task, error: &Error) {
    task.fail(&format!("it waits: {}", in_full(error)), next(error).as_deref());
}

fn next(error: &Error) -> Option<String> {
    error.help().map(|help| help.to_string())
}

/// An error with its causes.
fn in_full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.extend([": ", &error.to_string()]);
        cause = error.source();
    }
    text
}

/// Tells the syncs that there is something to fetch, where this machine has a cluster to tell; else their poll finds it.
pub(super) fn nudge(told: &[Told]) {
    let is_pushed = |told: &&Told| matches!(told.result, Ok(Delivery::Delivered { .. } | Delivery::Noted { .. }));
    let names: Vec<EnvironmentName> = told.iter().filter(is_pushed).map(|told| told.environment.clone()).collect();
    if names.is_empty() {
        return;
    }
    // In a thread that is left to itself: what a kubeconfig runs to log in may wait for ever.
    let (done, told) = mpsc::channel();
    thread::spawn(move || {
        let Ok(runtime) = runtime() else { return };
        runtime.block_on(async {
            let Ok(client) = cluster::connect(None).await else { return };
            for name in &names {
                // A cluster without this environment's sync is somebody else's.
                let _ = sync::nudge(&client, name).await;
            }
        });
        let _ = done.send(());
    });
    let _ = told.recv_timeout(NUDGE);
}

/// What became of a delivery, on one line.
#[must_use]
pub fn told(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Delivered { manifest_commit, source, images, .. } => {
            let images: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
            format!("{} of {} is delivered by {}", images.join(", "), source.short(), manifest_commit.short())
        }
        Delivery::Noted { manifest_commit, source: Some(source) } => {
            format!("it runs this already; {} notes that for {}", manifest_commit.short(), source.short())
        }
        Delivery::Noted { manifest_commit, source: None } => {
            format!("everybody sees it from {} on", manifest_commit.short())
        }
        Delivery::Proposed { branch, commit, page, refused } => {
            let why = refused.as_ref().map(|said| format!("the server refuses a direct push ({}); ", brief(said)));
            let where_to = page.as_ref().map(|page| format!(": {page}"));
            let waits = if commit.is_some() { "waits" } else { "still waits" };
            format!("{}{waits} for review on {branch}{}", why.unwrap_or_default(), where_to.unwrap_or_default())
        }
        Delivery::Unchanged => "it runs this already".to_owned(),
        Delivery::Superseded { by } => format!("it runs {}, which is newer", by.short()),
        Delivery::Held { hold } => hold.to_string(),
    }
}

/// A server's words as a part of a line.
fn brief(said: &str) -> String {
    said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
