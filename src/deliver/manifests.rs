//! The files of an environment that may name images: which they are, and all of them patched.

use super::{Error, State, Target, commit::Change};
use crate::{
    config,
    git::{EntryKind, ManifestFiles, Mirror, TreeEntry},
    manifest::{self, Field, File, Form, Images, Wanted},
    values::{ImageName, Oid},
};
use std::collections::BTreeSet;

/// A manifest larger than this is not even read.
const MAX_BYTES: usize = 64 << 20;

/// Patches every manifest in the environment's folder, a tree, in memory. Each blob is read once. `state` says what runs there.
pub(super) fn patch(
    mirror: &Mirror,
    target: &Target<'_>,
    folder: &Oid,
    state: &State,
    wanted: &[Wanted],
) -> Result<Change, Error> {
    let mut change = Change { files: Vec::new(), fields: Vec::new(), images: BTreeSet::new(), wanted: wanted.to_vec() };
    if wanted.is_empty() {
        return Ok(change);
    }
    let manifests = &target.environment.manifests;
    let entries = mirror.repository().entries(folder)?;
    let files = files(manifests, &entries);
    if let Some(values) = manifests.values.iter().find(|values| !files.iter().any(|file| file.below == values.as_str()))
    {
        let file = manifests.path.join(values.as_str());
        let is_link = |entry: &TreeEntry| entry.kind == EntryKind::Link && entry.path == values.as_str();
        return Err(if entries.iter().any(is_link) {
            manifest::Refusal::LinkedValues { file }.into()
        } else {
            manifest::Refusal::NoValues { file }.into()
        });
    }
    let images = Images::of_state(wanted, &target.images, state.references());
    let mut found: BTreeSet<ImageName> = BTreeSet::new();
    let mut template = None;
    let contents = ManifestFiles::open(mirror.repository().git_dir())?;
    for file in &files {
        if contents.size(file.blob)? > MAX_BYTES {
            return Err(manifest::Refusal::TooLarge { file: file.path.clone(), limit: MAX_BYTES }.into());
        }
        let bytes = contents.read(file.blob)?;
        let patched = match manifest::patch(&file.of(&bytes), &images) {
            Ok(patched) => patched,
            // Of a chart's templates the references may stand in its values.
            Err(manifest::Refusal::Template { position, .. }) if file.is_template => {
                template.get_or_insert((file.path.clone(), position));
                continue;
            }
            Err(refusal) => return Err(refusal.into()),
        };
        found.extend(patched.fields.iter().map(|field| field.image.clone()));
        if !patched.is_changed() {
            continue;
        }
        change.files.push((file.path.clone(), patched.bytes.into_owned()));
        for field in patched.fields.into_iter().filter(Field::is_changed) {
            change.images.insert(field.image.clone());
            change.fields.push((file.path.clone(), field));
        }
    }
    let Some(missing) = wanted.iter().find(|wanted| !found.contains(&wanted.image)) else { return Ok(change) };
    for file in &files {
        if template.is_none() {
            let bytes = contents.read(file.blob)?;
            template = manifest::template(&file.of(&bytes)).map(|position| (file.path.clone(), position));
        }
    }
    Err(Error::Nowhere {
        environment: target.name.clone(),
        image: missing.image.clone(),
        repository: target.images.get(&missing.image).unwrap_or(&missing.reference.repository).to_string(),
        place: format!("{} of {}", *manifests.path, manifests.url.shown()),
        hint: match template {
            Some((path, position)) => format!("; the image at {path}:{position} is filled by a template"),
            None => String::new(),
        },
    })
}

/// A file below the environment's path that may name images.
struct Manifest<'e> {
    /// Its path from there, and from the root.
    below: &'e str,
    path: String,
    form: Form,
    blob: &'e Oid,
    /// Whether it is the template of a chart.
    is_template: bool,
}

impl Manifest<'_> {
    fn of<'f>(&'f self, bytes: &'f [u8]) -> File<'f> {
        File { path: &self.path, form: self.form, bytes }
    }
}

fn files<'e>(manifests: &config::Manifests, entries: &'e [TreeEntry]) -> Vec<Manifest<'e>> {
    let regular = entries.iter().filter(|entry| matches!(entry.kind, EntryKind::File | EntryKind::Executable));
    // A path that is no UTF-8 is nothing that anybody applies.
    let named: Vec<(&str, &Oid)> =
        regular.filter_map(|entry| Some((str::from_utf8(&entry.path).ok()?, &entry.oid))).collect();
    let charts: Vec<String> = named
        .iter()
        .filter_map(|(below, _)| below.strip_suffix("Chart.yaml"))
        .filter(|folder| folder.is_empty() || folder.ends_with('/'))
        .map(|folder| format!("{folder}templates/"))
        .collect();
    let manifest = |(below, blob): (&'e str, &'e Oid)| {
        let form = form(manifests, below);
        let is_template = charts.iter().any(|templates| below.starts_with(templates));
        Manifest { below, path: manifests.path.join(below), form, blob, is_template }
    };
    named
        .into_iter()
        .filter(|(below, _)| manifest::is_manifest(below) || form(manifests, below) == Form::Values)
        .map(manifest)
        .collect()
}

/// What the keys of a file mean, by its path below the environment's.
pub(super) fn form(manifests: &config::Manifests, below: &str) -> Form {
    let is_values = manifests.values.iter().any(|values| values.as_str() == below);
    if is_values { Form::Values } else { Form::Manifest }
}
