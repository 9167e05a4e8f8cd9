//! One delivery as a tree: the manifests of an environment with their references replaced, and the state beside them. The
//! tree is compared with the one before; a difference beyond that is never committed.

use super::{Error, Running, State, Target, delivered, manifests, plan::Plan, render};
use crate::{
    git::Mirror,
    manifest::{Field, Wanted},
    values::{ImageName, Oid},
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

/// Patches every manifest under the environment's path, in memory. `base` is a commit or a tree, and `state` its state.
pub(super) fn patch(
    mirror: &Mirror,
    target: &Target<'_>,
    base: &Oid,
    state: &State,
    plan: &Plan,
) -> Result<Change, Error> {
    let wanted: Vec<Wanted> =
        plan.goals().map(|(image, goal)| Wanted { image: image.clone(), reference: goal.reference.clone() }).collect();
    manifests::patch(mirror, target, &delivered::folder(mirror, target, base)?, state, &wanted)
}

/// The state after a change. Every image of the plan is as new as its source, also those whose reference stays: what came
/// in between is older by now.
pub(super) fn state_after(target: &Target<'_>, plan: &Plan, change: &Change, state: &State) -> State {
    let mut after = state.clone();
    after.hold.clone_from(&plan.hold);
    if !plan.behind.is_empty() {
        after.branch = Some(target.branch.to_owned());
    }
    for (image, goal) in plan.goals() {
        let same = |known: &&Running| known.reference.digest == goal.reference.digest;
        let known = state.images.get(image).filter(|_| !change.images.contains(image)).filter(same);
        let reference = known.map_or_else(|| goal.reference.clone(), |known| known.reference.clone());
        after.images.insert(image.clone(), Running { source: goal.source.clone(), reference });
    }
    after
}

/// Writes the tree of a delivery and proves that it differs from the one before by the patched files and the state alone.
pub(super) fn write(
    mirror: &Mirror,
    target: &Target<'_>,
    base: &Oid,
    change: &Change,
    state: &State,
) -> Result<Oid, Error> {
    let mut files = change.files.clone();
    files.extend(render::rendered(mirror, target, base, change)?);
    files.push((State::path(&target.environment.manifests.path), state.render().into_bytes()));
    let tree = mirror.write(base, &files)?;
    let intended: BTreeSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let differing = mirror.difference(base, &tree)?;
    if !differing.iter().all(|path| intended.contains(path.as_str())) {
        return Err(Error::Unproven { paths: differing });
    }
    Ok(tree)
}
