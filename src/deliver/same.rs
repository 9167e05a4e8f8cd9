//! Code and manifests in one repository. A delivery's commit then stands on a branch of the source: it is known by what it
//! changes, the references and the state alone, never by what it says, so that no message gets anything past the checks.

use super::{Error, State, Target, render};
use crate::{
    git::{ChangeKind, EntryKind, Repository},
    manifest::{self, File, Images, Wanted},
    values::{Oid, RemoteUrl},
};

/// More deliveries than this on top of each other are looked at no further.
const DEEP: usize = 1000;

impl Target<'_> {
    /// Whether this environment's manifests are on the very branch that it follows.
    #[must_use]
    pub fn is_on_its_branch(&self, repository: &Repository) -> bool {
        let Some(upstream) = repository.upstream(self.branch) else { return false };
        let Some(url) = repository.remote_url(&upstream.remote) else { return false };
        let manifests = &self.environment.manifests;
        upstream.branch.strip_prefix("refs/heads/") == Some(manifests.branch.as_str()) && is_same(&url, &manifests.url)
    }
}

fn is_same(one: &RemoteUrl, other: &RemoteUrl) -> bool {
    one.reveal() == other.reveal() || one.on_host().is_some_and(|host| Some(host) == other.on_host())
}

/// The commit that people made: the first that is no delivery of one of these environments, from `tip` back.
///
/// # Errors
/// When a commit cannot be read.
pub fn source_of(repository: &Repository, targets: &[Target<'_>], tip: &Oid) -> Result<Oid, Error> {
    let here: Vec<&Target<'_>> = targets.iter().filter(|target| target.is_on_its_branch(repository)).collect();
    let mut at = tip.clone();
    for _ in 0..DEEP {
        match repository.commit(&format!("{at}^1")) {
            Some(parent) if !here.is_empty() && is_delivery(repository, &here, &parent, &at)? => at = parent,
            _ => break,
        }
    }
    Ok(at)
}

/// Whether a commit changes nothing but references of these environments, to what their state says, and that state.
fn is_delivery(repository: &Repository, targets: &[&Target<'_>], parent: &Oid, commit: &Oid) -> Result<bool, Error> {
    let changes = repository.changes(Some(parent), commit)?;
    for change in &changes {
        let Ok(path) = str::from_utf8(&change.path) else { return Ok(false) };
        if !matches!(change.kind, ChangeKind::Written(EntryKind::File | EntryKind::Executable)) {
            return Ok(false);
        }
        let Some(target) = targets.iter().find(|target| target.environment.manifests.path.contains(path)) else {
            return Ok(false);
        };
        let manifests = &target.environment.manifests;
        let state = State::path(&manifests.path);
        let Some(text) = repository.file(commit, &state)? else { return Ok(false) };
        let Ok(after) = State::parse(&state, &text) else { return Ok(false) };
        // What is rendered is data of the cluster's, which no check and no image sees.
        if path == state || manifests.render && path == manifests.path.join(render::FILE) {
            continue;
        }
        let (Some(before), Some(now)) = (repository.file(parent, path)?, repository.file(commit, path)?) else {
            return Ok(false);
        };
        let ran = repository.file(parent, &state)?.map(|text| State::parse(&state, &text)).transpose();
        let Ok(ran) = ran.map(Option::unwrap_or_default) else { return Ok(false) };
        let wanted: Vec<Wanted> = after
            .references()
            .map(|(image, reference)| Wanted { image: image.clone(), reference: reference.clone() })
            .collect();
        let below = path.strip_prefix(manifests.path.as_str()).unwrap_or(path).trim_start_matches('/');
        let file = File { path, form: super::manifests::form(manifests, below), bytes: &before };
        let known = wanted.iter().map(|wanted| (wanted.image.clone(), wanted.reference.repository.clone())).collect();
        match manifest::patch(&file, &Images::of_state(&wanted, &known, ran.references())) {
            Ok(patched) if *patched.bytes == *now => {}
            _ => return Ok(false),
        }
    }
    Ok(!changes.is_empty())
}
