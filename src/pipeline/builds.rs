//! What a delivery asks about images: they are found in the registry, or the checks of their commit are run and they are
//! built and published now, because nobody's push did.

use super::{
    Error, Pipeline, Whose, configuration,
    judge::{self, Call, Case, judge, request},
    look_over::look_over,
    push::{publish, published},
    wait,
};
use crate::{
    check::{Coverage, Snapshot},
    config::{self, Config},
    deliver::{Build, Builds, ResolveError, Target},
    image,
    ui::Outcome,
    values::{HookName, ImageName, ImageRef, Oid},
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Commits that are looked at one by one; what has more between has moved on far enough to say so.
const LOOKED_AT: usize = 50;

/// The images of the commits that one command delivers, each asked for once.
pub(super) struct Images<'p> {
    pipeline: &'p Pipeline<'p>,
    configs: &'p BTreeMap<Oid, Config>,
    /// Held while something is built, so that two environments do not build one image.
    known: Mutex<BTreeMap<(Oid, ImageName), ImageRef>>,
}

impl<'p> Images<'p> {
    pub(super) fn new(pipeline: &'p Pipeline<'p>, configs: &'p BTreeMap<Oid, Config>) -> Self {
        Self { pipeline, configs, known: Mutex::default() }
    }

    fn find(&self, target: &Target<'_>, commit: &Oid, build: Build) -> Result<Vec<(ImageName, ImageRef)>, Error> {
        let pipeline = self.pipeline;
        if target.is_on_its_branch(pipeline.repository) {
            self.stay_out(target, commit)?;
        }
        let config = self.configs.get(commit).ok_or_else(|| Error::NoConfig { commit: commit.to_string() })?;
        let images: Vec<(&ImageName, &config::Image)> =
            target.images.keys().filter_map(|name| config.images.get_key_value(name)).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_commit = |name: &ImageName| (commit.clone(), name.clone());
        let asked: Vec<_> = images.iter().copied().filter(|(name, _)| !known.contains_key(&of_commit(name))).collect();
        for ((name, _), found) in asked.iter().zip(published(pipeline, commit, &asked)?) {
            known.extend(found.map(|reference| (of_commit(name), reference)));
        }
        if build == Build::Missing && !images.iter().all(|(name, _)| known.contains_key(&of_commit(name))) {
            for (name, reference) in self.build(config, target.branch, &images, commit)? {
                known.insert(of_commit(&name), reference);
            }
        }
        let found = images.iter().filter_map(|(name, _)| Some(((*name).clone(), known.get(&of_commit(name))?.clone())));
        Ok(found.collect())
    }

    /// The same steps as a push runs, then the images that no step of theirs has built.
    fn build(
        &self,
        config: &Config,
        branch: &str,
        images: &[(&ImageName, &config::Image)],
        commit: &Oid,
    ) -> Result<Vec<(ImageName, ImageRef)>, Error> {
        let pipeline = self.pipeline;
        let snapshot = Snapshot::of_commit(pipeline.repository, commit.clone(), None)?;
        let intent = image::Intent::WillPublish;
        let (hook, call) = (HookName::PrePush, Call::default());
        let (branches, source, coverage) = (&[branch], commit, Coverage::Whole);
        let case = Case { config, hook, snapshot: &snapshot, branches, source, intent, coverage, call };
        let (mut built, _) = judge(pipeline, case)?.verdict()?;
        for (name, image) in images {
            if built.contains_key(*name) {
                continue;
            }
            let task = pipeline.progress.task(name.as_str());
            let request = request(pipeline.repository, commit, name, image);
            let prepared = wait(pipeline.interrupt, image::prepare(&request, intent, &task));
            task.end(&match &prepared {
                Ok(prepared) => Outcome::Done(judge::told(prepared)),
                Err(error) => Outcome::Failed(error.to_string()),
            });
            built.insert((*name).clone(), prepared?);
        }
        built.retain(|name, _| images.iter().any(|(wanted, _)| *wanted == name));
        let published = publish(pipeline, config, commit, None, &built)?;
        Ok(published.into_iter().map(|(name, done)| (name, done.reference)).collect())
    }

    /// Refuses manifests that an image is built from: each delivery would make another image, and that another delivery.
    pub(super) fn stay_out(&self, target: &Target<'_>, commit: &Oid) -> Result<(), Error> {
        let path = &target.environment.manifests.path;
        let config = self.configs.get(commit).ok_or_else(|| Error::NoConfig { commit: commit.to_string() })?;
        for (name, image) in target.images.keys().filter_map(|name| config.images.get_key_value(name)) {
            let request = request(self.pipeline.repository, commit, name, image);
            if wait(self.pipeline.interrupt, image::sees(&request, path))? {
                let (name, image, path) = (target.name.to_string(), name.to_string(), path.to_string());
                return Err(Error::InContext { name, image, path });
            }
        }
        Ok(())
    }

    /// The key of an image at a commit; `None` where the commit makes no such image, and so never delivered one.
    fn key(&self, image: &ImageName, commit: &Oid) -> Result<Option<image::Key>, Error> {
        let repository = self.pipeline.repository;
        let Ok(Some(config)) = configuration(repository, commit, Whose::Everybodys) else { return Ok(None) };
        let Some(described) = config.images.get(image) else { return Ok(None) };
        let request = request(repository, commit, image, described);
        match wait(self.pipeline.interrupt, image::key(&request)) {
            Ok(key) => Ok(Some(key)),
            Err(error @ Error::Check(_)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn has_differed(&self, image: &ImageName, from: &Oid, to: &Oid) -> Result<bool, Error> {
        let between = self.pipeline.repository.between(from, to, LOOKED_AT)?;
        if between.len() == LOOKED_AT {
            return Ok(true);
        }
        let newest = self.key(image, to)?;
        for commit in &between {
            let key = self.key(image, commit)?;
            if key.is_some() && key != newest {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Builds for Images<'_> {
    fn look_over(&self, target: &Target<'_>, git_dir: &Path, commit: &Oid) {
        look_over(self.pipeline, target, git_dir, commit);
    }

    fn references(
        &self,
        target: &Target<'_>,
        commit: &Oid,
        build: Build,
    ) -> Result<Vec<(ImageName, ImageRef)>, ResolveError> {
        self.find(target, commit, build).map_err(|error| Box::new(error) as ResolveError)
    }

    fn differed(&self, _: &Target<'_>, image: &ImageName, from: &Oid, to: &Oid) -> Result<bool, ResolveError> {
        self.has_differed(image, from, to).map_err(|error| Box::new(error) as ResolveError)
    }
}
