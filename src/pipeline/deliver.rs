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
    hook::Subject,
    image, sync,
    ui::Outcome,
    values::{EnvironmentName, HookName, ImageName, ImageRef, Oid},
};

/// How long a nudge may take; it is only a courtesy.
const NUDGE: std::time::Duration = std::time::Duration::from_secs(3);

/// What became of one environment.
#[derive(Debug)]
pub struct Told {
    /// Which one.
    pub environment: EnvironmentName,
    /// What was done, or why it waits.
    pub result: Result<delivery::Delivery, Error>,
}

/// post-merge: what the upstreams have now is delivered in the background, checks first where no push ran them.
///
/// # Errors
/// When the outbox cannot be written, or the background process not be started.
pub fn pulled(pipeline: &Pipeline<'_>) -> Result<(), Error> {
    let Some(head) = pipeline.repository.commit("HEAD") else { return Ok(()) };
    let Some(config) = configuration(pipeline.repository, &head, Whose::Everybodys)? else { return Ok(()) };
    let mut behind = Vec::new();
    for (name, environment) in &config.environments {
        if tip(pipeline, &environment.branch).is_some() {
            delivery::note(pipeline.repository, name, delivery::Reason::Merge)?;
            behind.push(name.clone());
        }
    }
    if behind.is_empty() { Ok(()) } else { background::deliver(pipeline.repository, &behind, background::PATIENCE) }
}

/// reference-transaction: what a push of ours noted is confirmed and delivered; any other movement is only noted.
///
/// # Errors
/// When the outbox cannot be written, or the background process not be started.
pub fn moved(pipeline: &Pipeline<'_>, references: &[(Oid, String)]) -> Result<(), Error> {
    let mut confirmed = Vec::new();
    for (new, reference) in references.iter().filter(|(_, reference)| reference.starts_with("refs/remotes/")) {
        let Some(commit) = pipeline.repository.commit(new.as_str()) else { continue };
        let Some(config) = configuration(pipeline.repository, &commit, Whose::Everybodys)? else { continue };
        for (name, environment) in &config.environments {
            let upstream = pipeline.repository.upstream(&environment.branch);
            if upstream.is_none_or(|upstream| upstream.tracking != *reference) {
                continue;
            }
            let noted = delivery::waiting(pipeline.repository)?;
            let pushed = delivery::Reason::Push(commit.clone());
            if noted.iter().any(|note| note.environment == *name && note.reason == pushed) {
                confirmed.push(name.clone());
            } else {
                delivery::note(pipeline.repository, name, delivery::Reason::Fetch)?;
            }
        }
    }
    if confirmed.is_empty() {
        Ok(())
    } else {
        background::deliver(pipeline.repository, &confirmed, background::PATIENCE)
    }
}

/// Delivers environments, all of them where none is named. One that fails does not stop the others.
///
/// # Errors
/// When there is no configuration to say what the environments are.
pub fn deliver(pipeline: &Pipeline<'_>, names: &[EnvironmentName]) -> Result<Vec<Told>, Error> {
    let head = pipeline.repository.commit("HEAD");
    let config =
        head.as_ref().map(|head| configuration(pipeline.repository, head, Whose::Everybodys)).transpose()?.flatten();
    let Some(config) = config else {
        return Err(Error::NoConfig { commit: head.map_or_else(|| "HEAD".to_owned(), |head| head.to_string()) });
    };
    for name in names {
        if !config.environments.contains_key(name) {
            return Err(Error::NoEnvironment { name: name.to_string() });
        }
    }
    let wanted = config.environments.keys().filter(|name| names.is_empty() || names.contains(name));
    Ok(wanted.map(|name| Told { environment: name.clone(), result: deliver_one(pipeline, &config, name) }).collect())
}

/// What the upstream of a branch has, as far as this clone knows.
fn tip(pipeline: &Pipeline<'_>, branch: &str) -> Option<Oid> {
    let upstream = pipeline.repository.upstream(branch)?;
    pipeline.repository.reference(&upstream.tracking)
}

fn deliver_one(pipeline: &Pipeline<'_>, config: &Config, name: &EnvironmentName) -> Result<delivery::Delivery, Error> {
    let branch = config.environments.get(name).map(|environment| (*environment.branch).clone());
    let branch = branch.ok_or_else(|| Error::NoEnvironment { name: name.to_string() })?;
    let Some(tip) = tip(pipeline, &branch) else { return Err(Error::NoUpstream { branch }) };
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
    let target = delivery::Target::of(&config, name, pipeline.prompts)
        .ok_or_else(|| Error::NoEnvironment { name: name.to_string() })?;
    let task = pipeline.progress.task(&format!("deliver {name}"));
    let mut references = |commit: &Oid| {
        references(pipeline, &config, &images, commit)
            .map_err(|error| Box::new(error) as Box<dyn miette::Diagnostic + Send + Sync>)
    };
    let result = delivery::deliver(pipeline.repository, &target, &tip, &mut references, &task);
    task.end(&match &result {
        Ok(delivery) => Outcome::Done(told(delivery)),
        Err(error) => Outcome::Failed(error.to_string()),
    });
    if let Ok(delivery::Delivery::Delivered { .. }) = &result {
        nudge(name);
    }
    Ok(result?)
}

/// Tells the sync that there is something to fetch, where this machine has a cluster to tell; else its poll finds it.
fn nudge(name: &EnvironmentName) {
    let Ok(runtime) = runtime() else { return };
    let nudge = async {
        let Ok(client) = cluster::connect(None).await else { return };
        // A cluster without this environment's sync is somebody else's.
        let _ = sync::nudge(&client, name).await;
    };
    let _ = runtime.block_on(async { tokio::time::timeout(NUDGE, nudge).await });
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
    let case = Case { config, hook, snapshot: &snapshot, source: commit, intent, call };
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
    let published = publish(pipeline, config, commit, built)?;
    Ok(published.into_iter().map(|(name, done)| (name, done.reference)).collect())
}
