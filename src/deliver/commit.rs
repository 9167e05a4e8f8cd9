//! One delivery as a tree: the manifests of an environment with their references replaced, and the state beside them. The
//! tree is compared with the one before; a difference beyond that is never committed.

use super::{Error, Running, State, Target, delivered, manifests, render};
use crate::{
    git::Mirror,
    manifest::{Field, Wanted},
    values::{ImageName, ImageRef, Oid},
};
use std::collections::BTreeSet;

/// What a delivery changes.
pub(super) struct Change {
    /// The new bytes of changed files, by path from the root.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// The changed fields with their files.
    pub(super) fields: Vec<(String, Field)>,
    /// Images of which a field changed.
    pub(super) images: BTreeSet<ImageName>,
    /// What every field was to hold.
    pub(super) wanted: Vec<Wanted>,
}

/// Patches every manifest under the environment's path, in memory, and makes sure that what is to be rendered can be.
pub(super) fn patch(mirror: &Mirror, target: &Target<'_>, tip: &Oid, wanted: &[Wanted]) -> Result<Change, Error> {
    let folder = delivered::folder(mirror, target, tip)?;
    let change = manifests::patch(mirror, target, &folder, wanted)?;
    render::is_possible(mirror, target, tip)?;
    Ok(change)
}

/// Writes the tree of a delivery and proves that it differs from the one before by the patched files and the state alone.
pub(super) fn write(
    mirror: &Mirror,
    target: &Target<'_>,
    tip: &Oid,
    source: &Oid,
    change: &Change,
    state: &State,
    references: &[(ImageName, ImageRef)],
) -> Result<Oid, Error> {
    let mut state = state.clone();
    state.branch = Some(target.environment.branch.to_string());
    for (image, reference) in references {
        let running = Running { source: source.clone(), reference: reference.clone(), hold: None };
        state.images.insert(image.clone(), running);
    }
    let mut files = change.files.clone();
    files.extend(render::rendered(mirror, target, tip, change)?);
    files.push((State::path(&target.environment.manifests.path), state.render().into_bytes()));
    let tree = mirror.write(tip, &files)?;
    let intended: BTreeSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let differing = mirror.difference(tip, &tree)?;
    if differing.iter().map(String::as_str).collect::<BTreeSet<_>>() != intended {
        return Err(Error::Unproven { paths: differing });
    }
    Ok(tree)
}
