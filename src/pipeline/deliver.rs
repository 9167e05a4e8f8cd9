//! From "the upstream has this commit" to a delivery: its images are found in the registry, or its checks are run and its
//! images built and published now, because nobody's push did.

use super::{
    Error, Pipeline, Whose, background, configuration, confirmed,
    judge::{self, Call, Case, judge, request},
    push::publish,
    runtime, wait,
};
use crate::{
    check::Snapshot,
    cluster,
    config::Config,
    deliver as delivery,
    git::Ancestry,
    hook::{From, Movement, Subject},
    image, sync,
    ui::Outcome,
    values::{EnvironmentName, HookName, ImageName, ImageRef, Oid},
};
use std::{fmt, str::FromStr, sync::mpsc, thread, time::Duration};

/// How long a nudge may take; it is only a courtesy.
const NUDGE: Duration = Duration::from_secs(3);

/// What became of one environment.
#[derive(Debug)]
pub struct Told {
    /// Which one.
    pub environment: EnvironmentName,
    /// What was done, or why it waits.
    pub result: Result<delivery::Delivery, Error>,
}

/// An environment, and the commit that it should run where that is fixed already.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which environment.
    pub environment: EnvironmentName,
    /// The commit; without one, what the upstream of its branch has.
    pub commit: Option<Oid>,
}

impl FromStr for Wanted {
    type Err = crate::values::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || crate::values::Invalid::new("the name of an environment", text);
        let (name, commit) = text.split_once('=').map_or((text, None), |(name, commit)| (name, Some(commit)));
        let commit = commit.map(str::parse).transpose()?;
        Ok(Self { environment: name.parse().map_err(|_| invalid())?, commit })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.commit {
            Some(commit) => write!(f, "{}={commit}", self.environment),
            None => write!(f, "{}", self.environment),
        }
    }
}

/// post-merge: what the user has merged of the upstreams is delivered in the background, checks first where no push ran
/// them. What was only fetched is not: nothing of it may be executed.
///
/// # Errors
/// When the outbox cannot be written, or the background process not be started.
pub fn pulled(pipeline: &Pipeline<'_>) -> Result<(), Error> {
    let repository = pipeline.repository;
    let Some(head) = repository.commit("HEAD") else { return Ok(()) };
    let Some(config) = configuration(repository, &head, Whose::Everybodys)? else { return Ok(()) };
    let mut behind = Vec::new();
    for (name, environment) in &config.environments {
        let Some(tip) = tip(pipeline, &environment.branch) else { continue };
        if matches!(repository.ancestry(&tip, &head)?, Ancestry::Same | Ancestry::Behind) {
            delivery::note(repository, name, delivery::Reason::Merge)?;
            behind.push(Wanted { environment: name.clone(), commit: Some(tip) });
        }
    }
    if behind.is_empty() { Ok(()) } else { background::deliver(repository, &behind, background::PATIENCE) }
}

/// reference-transaction: what a push of ours noted is confirmed and delivered; a fetch is only noted. When git packs its
/// references nothing has moved.
///
/// # Errors
/// When the outbox cannot be written, or the background process not be started.
pub fn moved(pipeline: &Pipeline<'_>, movements: &[Movement]) -> Result<(), Error> {
    let repository = pipeline.repository;
    let mut confirmed = Vec::new();
    for movement in movements.iter().filter(|movement| movement.reference.starts_with("refs/remotes/")) {
        let Some(commit) = repository.commit(movement.to.as_str()) else { continue };
        // Any branch of anybody's may be among them, with whatever it calls a configuration.
        let Ok(Some(config)) = configuration(repository, &commit, Whose::Everybodys) else { continue };
        for (name, environment) in &config.environments {
            let upstream = repository.upstream(&environment.branch);
            if upstream.is_none_or(|upstream| upstream.tracking != movement.reference) {
                continue;
            }
            let noted = delivery::waiting(repository)?;
            let pushed = delivery::Reason::Push(commit.clone());
            if noted.iter().any(|note| note.environment == *name && note.reason == pushed) {
                confirmed.push(Wanted { environment: name.clone(), commit: Some(commit.clone()) });
            } else if movement.from == From::Told {
                delivery::note(repository, name, delivery::Reason::Fetch)?;
            }
        }
    }
    if confirmed.is_empty() { Ok(()) } else { background::deliver(repository, &confirmed, background::PATIENCE) }
}

/// Delivers environments, all of them where none is named. One that fails does not stop the others.
///
/// # Errors
/// When there is no configuration to say what the environments are.
pub fn deliver(pipeline: &Pipeline<'_>, wanted: &[Wanted], switch: delivery::Switch) -> Result<Vec<Told>, Error> {
    let all: Vec<Wanted>;
    let wanted = if wanted.is_empty() {
        let config = checked_out(pipeline)?;
        all = config.environments.keys().map(|name| Wanted { environment: name.clone(), commit: None }).collect();
        &all
    } else {
        wanted
    };
    let mut told = Vec::new();
    for wanted in wanted {
        let result = deliver_one(pipeline, wanted, switch);
        // Of a name that is a mistake nothing is delivered, and the others are not begun either.
        if let Err(error @ Error::NoEnvironment { .. }) = result {
            return Err(error);
        }
        told.push(Told { environment: wanted.environment.clone(), result });
    }
    let delivered = told.iter().filter(|told| matches!(told.result, Ok(delivery::Delivery::Delivered { .. })));
    nudge(delivered.map(|told| told.environment.clone()).collect());
    Ok(told)
}

/// The configuration of what is checked out.
fn checked_out(pipeline: &Pipeline<'_>) -> Result<Config, Error> {
    let head = pipeline.repository.commit("HEAD");
    let config =
        head.as_ref().map(|head| configuration(pipeline.repository, head, Whose::Everybodys)).transpose()?.flatten();
    config.ok_or_else(|| Error::NoConfig { commit: head.map_or_else(|| "HEAD".to_owned(), |head| head.to_string()) })
}

/// What the upstream of a branch has, as far as this clone knows.
fn tip(pipeline: &Pipeline<'_>, branch: &str) -> Option<Oid> {
    let upstream = pipeline.repository.upstream(branch)?;
    pipeline.repository.reference(&upstream.tracking)
}

/// What an environment should run by now, as far as this clone knows.
fn newest(pipeline: &Pipeline<'_>, name: &EnvironmentName) -> Result<Oid, Error> {
    let config = checked_out(pipeline)?;
    let environment = config.environments.get(name).ok_or_else(|| Error::NoEnvironment { name: name.to_string() })?;
    let branch = (*environment.branch).clone();
    tip(pipeline, &branch).ok_or(Error::NoUpstream { branch })
}

fn deliver_one(
    pipeline: &Pipeline<'_>,
    wanted: &Wanted,
    switch: delivery::Switch,
) -> Result<delivery::Delivery, Error> {
    let name = &wanted.environment;
    let tip = wanted.commit.clone().map_or_else(|| newest(pipeline, name), Ok)?;
    // The configuration of what is delivered, not of what happens to be checked out.
    let config = configuration(pipeline.repository, &tip, Whose::Everybodys)?
        .ok_or_else(|| Error::NoConfig { commit: tip.to_string() })?;
    let environment = config.environments.get(name).ok_or_else(|| Error::NoEnvironment { name: name.to_string() })?;
    confirmed(pipeline.repository, &config, Subject::Publication)?;

    let images: Vec<(ImageName, crate::config::Image)> = environment
        .images
        .iter()
        .filter_map(|image| config.images.get_key_value(&**image))
        .map(|(name, image)| (name.clone(), image.clone()))
        .collect();
    let target = delivery::Target::of(&config, name, pipeline.prompts, switch)
        .ok_or_else(|| Error::NoEnvironment { name: name.to_string() })?;
    let task = pipeline.progress.task(&format!("deliver {name}"));
    let mut references = |commit: &Oid| {
        references(pipeline, &config, &environment.branch, &images, commit)
            .map_err(|error| Box::new(error) as Box<dyn miette::Diagnostic + Send + Sync>)
    };
    let result = delivery::deliver(pipeline.repository, &target, &tip, &mut references, &task);
    task.end(&match &result {
        Ok(delivery) => Outcome::Done(told(delivery)),
        Err(error) => Outcome::Failed(error.to_string()),
    });
    Ok(result?)
}

/// Tells the syncs that there is something to fetch, where this machine has a cluster to tell; else their poll finds it.
fn nudge(names: Vec<EnvironmentName>) {
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
fn told(delivery: &delivery::Delivery) -> String {
    match delivery {
        delivery::Delivery::Delivered { manifest_commit, source, images, .. } => {
            let images: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
            format!("{} of {} is delivered by {}", images.join(", "), source.short(), manifest_commit.short())
        }
        delivery::Delivery::Unchanged => "it runs this already".to_owned(),
        delivery::Delivery::Superseded { by } => format!("it runs {}, which is newer", by.short()),
        delivery::Delivery::Held { images } => {
            let images: Vec<String> = images.iter().map(|(name, why)| format!("{name} is held: {why}")).collect();
            images.join(", ")
        }
    }
}

/// The references of a commit's images: those that a push published, else made now by the same steps that a push runs.
fn references(
    pipeline: &Pipeline<'_>,
    config: &Config,
    branch: &str,
    images: &[(ImageName, crate::config::Image)],
    commit: &Oid,
) -> Result<Vec<(ImageName, ImageRef)>, Error> {
    let mut found = Vec::new();
    for (name, image) in images {
        let request = request(pipeline.repository, commit, name, image);
        match wait(pipeline.interrupt, image::published(&request))? {
            Some(reference) => found.push((name.clone(), reference)),
            None => break,
        }
    }
    if found.len() == images.len() {
        return Ok(found);
    }
    let snapshot = Snapshot::of_commit(pipeline.repository, commit.clone(), None)?;
    let intent = image::Intent::WillPublish;
    let (hook, call) = (HookName::PrePush, Call::default());
    let case = Case { config, hook, snapshot: &snapshot, branch: Some(branch), source: commit, intent, call };
    let (mut built, _) = judge(pipeline, case)?.verdict()?;
    for (name, image) in images {
        if built.contains_key(name) {
            continue;
        }
        let task = pipeline.progress.task(name.as_str());
        let request = request(pipeline.repository, commit, name, image);
        let prepared = wait(pipeline.interrupt, image::prepare(&request, intent, &task));
        task.end(&match &prepared {
            Ok(prepared) => Outcome::Done(judge::told(prepared)),
            Err(error) => Outcome::Failed(error.to_string()),
        });
        built.insert(name.clone(), prepared?);
    }
    built.retain(|name, _| images.iter().any(|(wanted, _)| wanted == name));
    let published = publish(pipeline, config, commit, None, built)?;
    Ok(published.into_iter().map(|(name, done)| (name, done.reference)).collect())
}
