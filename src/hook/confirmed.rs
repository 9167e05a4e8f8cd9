//! What the user confirmed at `install`, kept in the clone's git configuration: where credentials may go (manifest
//! repositories, registries) and the command that prepares scratch trees. A branch that changes one of these is asked
//! about before it is obeyed.

use super::Error;
use crate::{
    config::{Config, Image, Manifests},
    git::Repository,
};

const KEY: &str = "gitops-hooks.confirmed";

/// What is about to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Commands that run on a snapshot.
    Checks,
    /// Registries and manifest repositories too.
    Publication,
}

/// Each thing to confirm as a line that a person can read.
#[must_use]
pub fn confirmed(config: &Config, subject: Subject) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if let Some(setup) = &config.scratch.setup {
        lines.push(format!("scratch setup runs: {}", setup.run));
    }
    if subject == Subject::Publication {
        lines.extend(config.images.values().map(registry_line));
        lines.extend(config.environments.values().map(|environment| manifests_line(&environment.manifests)));
    }
    lines.sort();
    lines.dedup();
    lines
}

/// The line that lets credentials go to an image's registry.
#[must_use]
pub fn registry_line(image: &Image) -> String {
    let plain = if image.plain_http { " without TLS" } else { "" };
    format!("images are pushed to: {}{plain}", image.repository.registry())
}

/// The line that lets credentials go to a manifest repository.
#[must_use]
pub fn manifests_line(manifests: &Manifests) -> String {
    format!("deliveries are pushed to: {}", *manifests.url)
}

/// The lines of a configuration that were never confirmed in this clone.
#[must_use]
pub fn unconfirmed(repository: &Repository, config: &Config, subject: Subject) -> Vec<String> {
    let known = repository.local_values(KEY);
    confirmed(config, subject).into_iter().filter(|line| !known.contains(line)).collect()
}

/// Keeps all of a configuration's lines as confirmed, in place of what was confirmed before.
///
/// # Errors
/// When the clone's configuration cannot be written.
pub fn confirm(repository: &Repository, config: &Config) -> Result<(), Error> {
    if !repository.local_values(KEY).is_empty() {
        repository.git().args(["config", "--local", "--unset-all", KEY]).run()?;
    }
    for line in confirmed(config, Subject::Publication) {
        repository.git().args(["config", "--local", "--add", KEY, &line]).run()?;
    }
    Ok(())
}
