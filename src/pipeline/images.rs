//! Images by hand: built to be tried, explained, listed with where they run, and cleared away. What an environment runs comes
//! from its state, never from a cluster; a manifest repository that cannot be asked stops what would remove anything.

use super::{
    Error, Pipeline, Whose, configuration, confirmed,
    judge::{request, told},
    wait,
};
use crate::{
    config::{Config, Image},
    deliver as delivery,
    git::{Prompts, Repository},
    hook::Subject,
    image::{self, Explanation, Fate, Intent, Shelf, Shelved},
    ui::Outcome,
    values::{Digest, EnvironmentName, ImageName, ImageRef, Oid, Tag},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A commit with the images that its configuration names.
pub struct At {
    /// The commit.
    pub commit: Oid,
    config: Config,
}

impl At {
    /// The commit that a revision names.
    ///
    /// # Errors
    /// When there is no such commit, or it has no configuration that can be used.
    pub fn revision(repository: &Repository, revision: &str) -> Result<Self, Error> {
        let absent = || Error::NoCommit { revision: revision.to_owned() };
        let commit = repository.commit(revision).ok_or_else(absent)?;
        let config = configuration(repository, &commit, Whose::Everybodys)?;
        let config = config.ok_or_else(|| Error::NoConfig { commit: commit.to_string() })?;
        Ok(Self { commit, config })
    }

    /// The images of these names, all of them without a name.
    ///
    /// # Errors
    /// When a name is none of the configuration's.
    pub fn images(&self, names: &[ImageName]) -> Result<Vec<(&ImageName, &Image)>, Error> {
        if names.is_empty() {
            return Ok(self.config.images.iter().collect());
        }
        let known = || self.config.images.keys().map(ImageName::as_str).collect::<Vec<_>>().join(", ");
        let find = |name| {
            let found = self.config.images.get_key_value(name);
            found.ok_or_else(|| Error::NoImage { name: name.to_string(), known: known() })
        };
        names.iter().map(find).collect()
    }
}

/// What a key of an image at a commit holds.
///
/// # Errors
/// When the commit has no such image, or its files cannot be read.
pub fn explain(pipeline: &Pipeline<'_>, at: &At, name: &ImageName) -> Result<Explanation, Error> {
    let images = at.images(std::slice::from_ref(name))?;
    let (name, image) = images[0];
    let request = request(pipeline.repository, &at.commit, name, image);
    wait(pipeline.interrupt, image::explain(&request))
}

/// How an image is built by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// As before a push: what the registry has is not built again.
    Push,
    /// To be run by a person: it is in the engine afterwards.
    Load,
    /// To see whether it still can be built: with the bases of now and without the cache; it is in the engine afterwards.
    Refresh,
}

/// An image that was built by hand.
#[derive(Debug)]
pub struct ByHand {
    /// Its name in the configuration.
    pub name: ImageName,
    /// What became of it.
    pub prepared: image::Prepared,
    /// Its name in the engine, where it was to be run.
    pub loaded: Option<ImageRef>,
}

/// Builds images and tries them. Nothing is published.
///
/// # Errors
/// The first image that cannot be built or does not pass its trial.
pub fn build(pipeline: &Pipeline<'_>, at: &At, names: &[ImageName], by: By) -> Result<Vec<ByHand>, Error> {
    let images = at.images(names)?;
    if by == By::Push {
        confirmed(pipeline.repository, &at.config, Subject::Publication)?;
    }
    let intent = match by {
        By::Push => Intent::WillPublish,
        By::Load => Intent::ToRun,
        By::Refresh => Intent::Anew,
    };
    let mut built = Vec::new();
    for (name, image) in images {
        let task = pipeline.progress.task(name.as_str());
        let request = request(pipeline.repository, &at.commit, name, image);
        let built_now = wait(pipeline.interrupt, async {
            let prepared = image::prepare(&request, intent, &task).await?;
            let loaded = if by == By::Push { None } else { image::load(&request, &prepared).await? };
            Ok::<_, image::Error>((prepared, loaded))
        });
        match built_now {
            Ok((prepared, loaded)) => {
                task.end(&Outcome::Done(told(&prepared)));
                built.push(ByHand { name: name.clone(), prepared, loaded });
            }
            Err(error) => {
                task.end(&Outcome::Failed("it is not built".to_owned()));
                return Err(error);
            }
        }
    }
    Ok(built)
}

/// A published image, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The commit.
    pub commit: Oid,
    /// The first line of its message; `None` where this clone does not have it.
    pub subject: Option<String>,
    /// Its key, as far as this clone can tell.
    pub key: Option<String>,
    /// What its tag names.
    pub digest: Digest,
    /// The environments that run it now.
    pub runs_in: Vec<EnvironmentName>,
}

/// What was published of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The image.
    pub image: ImageName,
    /// Where it is.
    pub repository: String,
    /// The newest first.
    pub published: Vec<Listed>,
    /// How many more there are.
    pub left_out: usize,
    /// Environments whose state could not be read, with the reason.
    pub unknown: BTreeMap<EnvironmentName, String>,
}

/// Lists what was published of images, the newest commits first.
///
/// # Errors
/// When the registry cannot be asked.
pub fn list(pipeline: &Pipeline<'_>, at: &At, names: &[ImageName], limit: usize) -> Result<Vec<Listing>, Error> {
    confirmed(pipeline.repository, &at.config, Subject::Publication)?;
    at.images(names)?.into_iter().map(|(name, image)| list_one(pipeline, at, name, image, limit)).collect()
}

fn list_one(pipeline: &Pipeline<'_>, at: &At, name: &ImageName, image: &Image, limit: usize) -> Result<Listing, Error> {
    let repository = pipeline.repository;
    let (mut running, mut unknown) = (Vec::new(), BTreeMap::new());
    for (environment, states) in histories(pipeline, at, name, 1) {
        match states {
            Ok(states) => running.extend(named(&states, name).map(|running| (environment.clone(), running.clone()))),
            Err(error) => {
                unknown.insert(environment, error.to_string());
            }
        }
    }
    let commits = wait(pipeline.interrupt, async {
        let tags = Shelf::of(image).await?.tags().await?;
        Ok::<Vec<Oid>, image::Error>(tags.iter().filter_map(Tag::commit).collect())
    })?;
    let known = repository.newest_first(&commits)?;
    let elsewhere = commits.iter().filter(|oid| !repository.has_commit(oid)).map(|oid| (oid.clone(), None));
    let mut all: Vec<(Oid, Option<String>)> =
        known.into_iter().map(|(oid, subject)| (oid, Some(subject))).chain(elsewhere).collect();
    let left_out = all.len().saturating_sub(limit);
    all.truncate(limit);
    let digests = wait(pipeline.interrupt, async {
        Shelf::of(image).await?.digests(all.iter().map(|(oid, _)| Tag::of_commit(oid))).await
    })?;
    let row = |(commit, subject): (Oid, Option<String>)| {
        let digest = digests.get(&Tag::of_commit(&commit))?.clone();
        let ran = running.iter().filter(|(_, running)| running.digest.as_ref() == Some(&digest));
        let runs_in = ran.map(|(environment, _)| environment.clone()).collect();
        let key = subject.as_ref().and_then(|_| key_at(pipeline, &commit, name));
        Some(Listed { commit, subject, key, digest, runs_in })
    };
    let published = all.into_iter().filter_map(row).collect();
    Ok(Listing { image: name.clone(), repository: image.repository.to_string(), published, left_out, unknown })
}

/// The key that an image has at a commit; `None` where its configuration or files cannot be read.
fn key_at(pipeline: &Pipeline<'_>, commit: &Oid, name: &ImageName) -> Option<String> {
    let config = configuration(pipeline.repository, commit, Whose::Everybodys).ok()??;
    let image = config.images.get(name)?;
    let request = request(pipeline.repository, commit, name, image);
    Some(wait(pipeline.interrupt, image::key(&request)).ok()?.to_string())
}

/// The references of an image in states.
fn named<'s>(states: &'s [delivery::State], name: &'s ImageName) -> impl Iterator<Item = &'s ImageRef> {
    states.iter().filter_map(|state| state.images.get(name)).map(|running| &running.reference)
}

/// The last states of each environment that runs an image, or why they cannot be read.
fn histories(
    pipeline: &Pipeline<'_>,
    at: &At,
    name: &ImageName,
    deliveries: usize,
) -> Vec<(EnvironmentName, Result<Vec<delivery::State>, delivery::Error>)> {
    let runs = at.config.environments.iter().filter(|(_, environment)| environment.images.iter().any(|n| **n == *name));
    let targets: Vec<_> =
        runs.filter_map(|(name, _)| delivery::Target::of(&at.config, name, delivery::Switch::Refused)).collect();
    let session = delivery::Session::new(pipeline.repository, Prompts::Allowed, &targets);
    let states = |target: &delivery::Target<'_>| {
        let past = delivery::history(&session, target, deliveries)?;
        Ok(past.entries.into_iter().filter_map(|entry| entry.state).collect())
    };
    targets.iter().map(|target| (target.name.clone(), states(target))).collect()
}

/// What a clean-up of an image's repository would do, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clearing {
    /// The image.
    pub image: ImageName,
    /// Where it is.
    pub repository: String,
    /// Everything that is there, and what is to become of it.
    pub fates: Vec<Fated>,
}

/// One manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fated {
    /// What it is.
    #[serde(flatten)]
    pub shelved: Shelved,
    /// What is to become of it.
    pub fate: Fate,
}

impl Clearing {
    /// What goes.
    pub fn removed(&self) -> impl Iterator<Item = &Shelved> {
        self.fates.iter().filter(|fated| fated.fate == Fate::Remove).map(|fated| &fated.shelved)
    }
}

/// Decides what of an image nobody needs: what neither runs nor was among the last deliveries, as many as `keep` says. Nothing
/// is removed.
///
/// # Errors
/// When an environment's state or the registry cannot be read, or no environment says what runs.
pub fn plan_prune(pipeline: &Pipeline<'_>, at: &At, names: &[ImageName], keep: usize) -> Result<Vec<Clearing>, Error> {
    confirmed(pipeline.repository, &at.config, Subject::Publication)?;
    at.images(names)?.into_iter().map(|(name, image)| plan_one(pipeline, at, name, image, keep)).collect()
}

fn plan_one(pipeline: &Pipeline<'_>, at: &At, name: &ImageName, image: &Image, keep: usize) -> Result<Clearing, Error> {
    if pipeline.repository.is_shallow() {
        return Err(Error::Shallow);
    }
    let (mut digests, mut past): (BTreeSet<Digest>, Option<BTreeSet<Oid>>) = (BTreeSet::new(), None);
    for (_, states) in histories(pipeline, at, name, keep.max(1)) {
        let states = states?;
        digests.extend(named(&states, name).filter_map(|reference| reference.digest.clone()));
        let now = states.first().and_then(|state| state.images.get(name));
        let before = match now {
            Some(running) => pipeline.repository.ancestors(&running.source)?,
            // An environment that was given nothing yet has left nothing behind.
            None => BTreeSet::new(),
        };
        past = Some(past.map_or(before.clone(), |past| past.intersection(&before).cloned().collect()));
    }
    let past = past.ok_or_else(|| Error::RunsNowhere { image: name.to_string() })?;
    let tags = wait(pipeline.interrupt, async {
        let shelf = Shelf::of(image).await?;
        shelf.digests(shelf.tags().await?).await
    })?;
    let fates = image::judge(&tags, &digests, |commit| past.contains(commit));
    let fates = fates.into_iter().map(|(shelved, fate)| Fated { shelved, fate }).collect();
    Ok(Clearing { image: name.clone(), repository: image.repository.to_string(), fates })
}

/// Does what was planned, one image after the other.
///
/// # Errors
/// The first removal that the registry refuses. What went before it is gone.
pub fn prune(pipeline: &Pipeline<'_>, at: &At, clearings: &[Clearing]) -> Result<(), Error> {
    for clearing in clearings {
        let Some(image) = at.config.images.get(&clearing.image) else { continue };
        let count = clearing.removed().count();
        let task = pipeline.progress.task(&format!("remove {}", clearing.image));
        let done = wait(pipeline.interrupt, async {
            let shelf = Shelf::of(image).await?;
            for (at, shelved) in clearing.removed().enumerate() {
                task.message(&format!("{} of {count}", at + 1));
                shelf.remove(&shelved.digest).await?;
            }
            Ok::<_, image::Error>(())
        });
        task.end(&match &done {
            Ok(()) => Outcome::Done(format!("{count} gone from {}", clearing.repository)),
            Err(_) => Outcome::Failed("not all is removed".to_owned()),
        });
        done?;
    }
    Ok(())
}
