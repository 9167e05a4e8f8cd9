//! Code and manifests in one repository. A delivery's commit then stands on a branch of the source: it is known by what it
//! changes, the references and the state alone, never by what it says, so that no message gets anything past the checks.

use super::{Error, State, Target, render};
use crate::{
    git::{Change, ChangeKind, EntryKind, Repository},
    manifest::{self, Field, File, Images, Wanted},
    values::{ImageName, Oid, RemoteUrl},
};
use std::collections::BTreeSet;

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
        let path = str::from_utf8(&change.path).unwrap_or_default();
        let Some(target) = targets.iter().find(|target| target.environment.manifests.path.contains(path)) else {
            return Ok(false);
        };
        if brought(repository, target, parent, commit, change)?.is_none() {
            return Ok(false);
        }
    }
    Ok(!changes.is_empty())
}

/// The images of which a commit changes references in an environment's folder; `None` where it changes something else there.
/// What a merge has from one of its parents is no change of its own.
pub(super) fn brought_to(
    repository: &Repository,
    target: &Target<'_>,
    parents: &[Oid],
    commit: &Oid,
) -> Result<Option<BTreeSet<ImageName>>, Error> {
    let Some((first, others)) = parents.split_first() else { return Ok(None) };
    let mut changes = repository.changes(Some(first), commit)?;
    for parent in others {
        let beside = repository.changes(Some(parent), commit)?;
        changes.retain(|change| beside.contains(change));
    }
    let path = &target.environment.manifests.path;
    let rendered = path.join(render::FILE);
    let mut images = BTreeSet::new();
    for change in changes {
        let below = str::from_utf8(&change.path).unwrap_or_default();
        // What was rendered then says nothing about whether it is rendered now.
        if !path.contains(below) || below == rendered {
            continue;
        }
        let mut found = None;
        for parent in parents {
            if found.is_none() {
                found = brought(repository, target, parent, commit, &change)?;
            }
        }
        let Some(found) = found else { return Ok(None) };
        images.extend(found);
    }
    Ok(Some(images))
}

/// The images of which a changed file has other references, those of the state; `None` where it has another difference.
fn brought(
    repository: &Repository,
    target: &Target<'_>,
    parent: &Oid,
    commit: &Oid,
    change: &Change,
) -> Result<Option<BTreeSet<ImageName>>, Error> {
    let Ok(path) = str::from_utf8(&change.path) else { return Ok(None) };
    if !matches!(change.kind, ChangeKind::Written(EntryKind::File | EntryKind::Executable)) {
        return Ok(None);
    }
    let manifests = &target.environment.manifests;
    let state = State::path(&manifests.path);
    let Some(text) = repository.file(commit, &state)? else { return Ok(None) };
    let Ok(after) = State::parse(&state, &text) else { return Ok(None) };
    // What is rendered is data of the cluster's, which no check and no image sees.
    if path == state || manifests.render && path == manifests.path.join(render::FILE) {
        return Ok(Some(BTreeSet::new()));
    }
    let (Some(before), Some(now)) = (repository.file(parent, path)?, repository.file(commit, path)?) else {
        return Ok(None);
    };
    let ran = repository.file(parent, &state)?.map(|text| State::parse(&state, &text)).transpose();
    let Ok(ran) = ran.map(Option::unwrap_or_default) else { return Ok(None) };
    let wanted: Vec<Wanted> = after
        .references()
        .map(|(image, reference)| Wanted { image: image.clone(), reference: reference.clone() })
        .collect();
    let below = path.strip_prefix(manifests.path.as_str()).unwrap_or(path).trim_start_matches('/');
    let file = File { path, form: super::manifests::form(manifests, below), bytes: &before };
    let known = wanted.iter().map(|wanted| (wanted.image.clone(), wanted.reference.repository.clone())).collect();
    match manifest::patch(&file, &Images::of_state(&wanted, &known, ran.references())) {
        Ok(patched) if *patched.bytes == *now => {
            let changed = patched.fields.into_iter().filter(Field::is_changed);
            Ok(Some(changed.map(|field| field.image).collect()))
        }
        _ => Ok(None),
    }
}
