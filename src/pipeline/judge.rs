//! One snapshot against one hook's steps: commands and image builds side by side.

use super::{Error, Pipeline, confirmed, wait};
use crate::{
    check::{self, Snapshot},
    config::Config,
    hook::Subject,
    image,
    values::{HookName, ImageName, Oid},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// What a hook is called with.
#[derive(Clone, Copy, Default)]
pub(super) struct Call<'a> {
    /// The arguments of the hook.
    pub(super) arguments: &'a [OsString],
    /// The file of the commit message, where the hook has one.
    pub(super) message_file: Option<&'a Path>,
}

/// The images that a snapshot's steps have built, and nobody has seen yet.
pub(super) type Built = BTreeMap<ImageName, image::Prepared>;

/// Judges a snapshot. `commit` is what its images are built from and labelled with.
pub(super) fn judge(
    pipeline: &Pipeline<'_>,
    config: &Config,
    hook: HookName,
    snapshot: &Snapshot,
    commit: &Oid,
    intent: image::Intent,
    call: Call<'_>,
) -> Result<Built, Error> {
    let Some(steps) = config.hooks.get(&hook).filter(|steps| !steps.is_empty()) else { return Ok(Built::new()) };
    confirmed(pipeline.repository, config, Subject::Checks)?;
    let context = check::Context {
        repository: pipeline.repository,
        hook,
        snapshot,
        scratch: &config.scratch,
        arguments: call.arguments,
        message_file: call.message_file,
        progress: pipeline.progress,
        cache: pipeline.cache,
        cache_folder: None,
        interrupt: pipeline.interrupt,
    };
    let plan = check::plan(steps, &context)?;
    let built = Arc::new(Mutex::new(Built::new()));
    let failures: Arc<Mutex<Vec<Error>>> = Arc::default();
    let mut work = check::Work::new();
    for (index, step) in steps.iter().enumerate() {
        let Some(name) = &step.image else { continue };
        let Some(image) = config.images.get(&**name) else { continue };
        let (repository, interrupt) = (pipeline.repository.clone(), pipeline.interrupt.clone());
        let (name, image, commit) = ((**name).clone(), image.clone(), commit.clone());
        let (built, failures) = (Arc::clone(&built), Arc::clone(&failures));
        work.insert(
            index,
            Box::new(move |task| {
                let request = request(&repository, &commit, &name, &image);
                match wait(&interrupt, image::prepare(&request, intent, task)) {
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
    let verdict = check::run(&plan, work, &context)?.verdict();
    if let Err(check::Error::Failed { steps }) = &verdict {
        // Where nothing but images failed, the image's own error says whose fault it is and what to do next.
        let mut failures = std::mem::take(&mut *failures.lock().unwrap_or_else(PoisonError::into_inner));
        if failures.len() == steps.len()
            && let Some(first) = failures.drain(..).next()
        {
            return Err(first);
        }
    }
    verdict?;
    Ok(std::mem::take(&mut *built.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// An image's failure on its step's line; the error itself is told at the end.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{0}")]
struct NotBuilt(String);

/// What became of an image, for its step's line.
pub(super) fn told(prepared: &image::Prepared) -> String {
    match prepared {
        image::Prepared::AlreadyPublished { digest, .. } => format!("the registry has it, sha256:{}", digest.short()),
        image::Prepared::Built { key, .. } => format!("built, key {}", &key.as_str()[..12]),
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
