//! One delivery as a tree: the manifests of an environment with their references replaced, and the state beside them. The
//! tree is compared with the one before; a difference beyond that is never committed.

use super::{Error, Running, State, Target, delivered, plan::Plan};
use crate::{
    git::{EntryKind, Mirror},
    manifest::{self, Field, Wanted},
    values::{ImageName, Oid},
};
use std::collections::BTreeSet;

/// A manifest larger than this is not even read.
const MAX_BYTES: u64 = 64 << 20;

/// What a delivery changes.
pub(super) struct Change {
    /// The new bytes of changed files, by path from the root.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// The changed fields with their files.
    pub(super) fields: Vec<(String, Field)>,
    /// Images of which a field changed.
    pub(super) images: BTreeSet<ImageName>,
}

/// Patches every manifest under the environment's path, in memory. `base` is a commit or a tree.
pub(super) fn patch(mirror: &Mirror, target: &Target<'_>, base: &Oid, plan: &Plan) -> Result<Change, Error> {
    let mut change = Change { files: Vec::new(), fields: Vec::new(), images: BTreeSet::new() };
    let wanted: Vec<Wanted> =
        plan.goals().map(|(image, goal)| Wanted { image: image.clone(), reference: goal.reference.clone() }).collect();
    let tree = delivered::folder(mirror, target, base)?;
    if wanted.is_empty() {
        return Ok(change);
    }
    let manifests = &target.environment.manifests;
    let mut found: BTreeSet<ImageName> = BTreeSet::new();
    let mut templates = Vec::new();
    for entry in mirror.repository().entries(&tree)? {
        // A path that is no UTF-8 is nothing that anybody applies.
        let Ok(below) = str::from_utf8(&entry.path) else { continue };
        if !matches!(entry.kind, EntryKind::File | EntryKind::Executable) || !is_manifest(below) {
            continue;
        }
        let path = manifests.path.join(below);
        if mirror.size(&entry.oid)? > MAX_BYTES {
            let limit = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
            return Err(manifest::Refusal::TooLarge { file: path, limit }.into());
        }
        let before = mirror.repository().blob(&entry.oid)?;
        let patched = manifest::patch(&path, &before, &wanted)?;
        templates.extend(patched.templates.iter().map(|position| format!("{path}:{position}")));
        found.extend(patched.fields.iter().map(|field| field.image.clone()));
        let is_changed = patched.is_changed();
        for field in patched.fields.into_iter().filter(Field::is_changed) {
            change.images.insert(field.image.clone());
            change.fields.push((path.clone(), field));
        }
        if is_changed {
            change.files.push((path, patched.bytes));
        }
    }
    match wanted.iter().find(|wanted| !found.contains(&wanted.image)) {
        None => Ok(change),
        Some(missing) => Err(Error::Nowhere {
            environment: target.name.clone(),
            image: missing.image.clone(),
            repository: missing.reference.repository.to_string(),
            place: format!("{} of {}", manifests.path, manifests.url.shown()),
            hint: match templates.first() {
                Some(first) => format!("; the image at {first} is filled by a template"),
                None => String::new(),
            },
        }),
    }
}

fn is_manifest(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let ours = path == super::STATE_FILE || path.ends_with(&format!("/{}", super::STATE_FILE));
    !ours && (name == "Kustomization" || matches!(extension.as_deref(), Some("yaml" | "yml" | "json")))
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
    files.push((State::path(&target.environment.manifests.path), state.render().into_bytes()));
    let tree = mirror.write(base, &files)?;
    let intended: BTreeSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let differing = mirror.difference(base, &tree)?;
    if !differing.iter().all(|path| intended.contains(path.as_str())) {
        return Err(Error::Unproven { paths: differing });
    }
    Ok(tree)
}
