//! Changes image references in manifests, byte by byte: finds the fields, splices, and proves by parsing that nothing else
//! changed. Pure functions on bytes; what cannot be edited safely is refused by name and place, never guessed.

mod locate;
mod prove;
mod refusal;
mod splice;

pub use locate::Object;
pub use refusal::Refusal;

use crate::{
    values::{ImageName, ImageRef, Repository},
    yaml::{self, Document, Node, Place, Position},
};
use locate::{Found, Shared, Spot};
use splice::Edit;
use std::collections::HashMap;

/// A manifest larger than this is not parsed.
const MAX_BYTES: usize = 16 << 20;

/// An image and the reference that its fields are to hold. Fields are matched by the reference's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name in the configuration, for messages.
    pub image: ImageName,
    /// What is to run.
    pub reference: ImageRef,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The file's new bytes; the old ones where nothing was to change.
    pub bytes: Vec<u8>,
    /// Every field of a wanted image, changed or not, in the order of the file.
    pub fields: Vec<Field>,
    /// Image fields that a template fills, of which nobody can say whose they are.
    pub templates: Vec<Position>,
}

impl Patch {
    /// Whether the file's bytes changed.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.fields.iter().any(Field::is_changed)
    }
}

/// A field that names a wanted image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The image.
    pub image: ImageName,
    /// The object that the field belongs to.
    pub object: Object,
    /// Where the reference stood.
    pub position: Position,
    /// The reference as it stood there.
    pub old: String,
    /// The reference as it stands there now.
    pub new: String,
}

impl Field {
    /// Whether the reference was changed; one that has the wanted digest already is left as it is.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.old != self.new
    }
}

/// An image field of a file, whosever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Its bytes: the scalar as written, or the whole entry of a kustomization.
    pub place: Place,
    /// Its line and column.
    pub position: Position,
    /// The object that it belongs to.
    pub object: Object,
    /// What it says: `repository:tag@digest`.
    pub value: String,
}

/// Every image field of a file.
///
/// # Errors
/// A file that is no UTF-8 or no YAML.
pub fn references(file: &str, bytes: &[u8]) -> Result<Vec<Reference>, Refusal> {
    let text =
        str::from_utf8(bytes).map_err(|error| Refusal::NotUtf8 { file: file.to_owned(), byte: error.valid_up_to() })?;
    let documents = parse(file, text)?;
    let mut found = Vec::new();
    for document in &documents {
        for Found { spot, object, .. } in locate::locate(file, document) {
            let place = spot.node().place.clone();
            let value = match spot {
                Spot::Container(node) => node.as_str().unwrap_or_else(|| &text[place.clone()]).trim().to_owned(),
                Spot::Kustomize(entry) => kustomize_value(entry),
            };
            let position = Position::of(text, place.start);
            found.push(Reference { place, position, object: (*object).clone(), value });
        }
    }
    Ok(found)
}

/// Makes every field of the wanted images hold its reference. `file` is its path, for messages and for the names that
/// kustomize gives a meaning. A file that names none of the images comes back as it was, whatever is in it.
///
/// # Errors
/// What cannot be edited safely; the file is then to be left alone.
pub fn patch(file: &str, bytes: &[u8], wanted: &[Wanted]) -> Result<Patch, Refusal> {
    let untouched = || Patch { bytes: bytes.to_owned(), fields: Vec::new(), templates: Vec::new() };
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            // Without the zeros of UTF-16, a name shows in the bytes in whatever encoding.
            let bare: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
            let named = mention(&String::from_utf8_lossy(&bare), wanted).is_some();
            let refusal = Refusal::NotUtf8 { file: file.to_owned(), byte: error.valid_up_to() };
            return if named { Err(refusal) } else { Ok(untouched()) };
        }
    };
    let names_one = wanted.iter().any(|wanted| text.contains(needle(&wanted.reference.repository)));
    if text.len() > MAX_BYTES {
        let refusal = Refusal::TooLarge { file: file.to_owned(), limit: MAX_BYTES };
        return if names_one { Err(refusal) } else { Ok(untouched()) };
    }
    if !names_one && !text.contains("{{") && !text.contains('\\') {
        return Ok(untouched());
    }
    let documents = match parse(file, text) {
        Ok(documents) => documents,
        Err(refusal) => {
            let Some(byte) = mention(text, wanted) else { return Ok(untouched()) };
            let line = line_at(text, byte);
            if !line.contains("{{") {
                return Err(refusal);
            }
            let position = Position::of(text, byte);
            return Err(Refusal::Template { file: file.to_owned(), position, value: line.trim().to_owned() });
        }
    };
    let mut patching = Patching { file, text, wanted, edits: Vec::new(), fields: Vec::new(), templates: Vec::new() };
    for document in &documents {
        patching.document(document)?;
    }
    patching.finish(&documents)
}

fn parse<'a>(file: &str, text: &'a str) -> Result<Vec<Document<'a>>, Refusal> {
    yaml::parse(text).map_err(|error| Refusal::NotYaml {
        file: file.to_owned(),
        position: error.position,
        message: error.message,
    })
}

struct Patching<'p> {
    file: &'p str,
    text: &'p str,
    wanted: &'p [Wanted],
    edits: Vec<Edit>,
    fields: Vec<Field>,
    templates: Vec<Position>,
}

impl<'p> Patching<'p> {
    fn document(&mut self, document: &Document<'_>) -> Result<(), Refusal> {
        for field in locate::locate(self.file, document) {
            let known = self.fields.len();
            match field.spot {
                Spot::Container(node) => self.container(&field, node)?,
                Spot::Kustomize(entry) => self.kustomize(&field, entry)?,
            }
            // Only on the way to a field of ours: other people's mistakes are theirs.
            if self.fields.len() > known
                && let Some(key) = document.root.as_ref().and_then(|root| duplicate(root, field.spot))
            {
                let position = Position::of(self.text, key.place.start);
                let key = key.as_str().unwrap_or_default().to_owned();
                return Err(Refusal::DuplicateKey { file: self.file.to_owned(), position, key });
            }
        }
        Ok(())
    }

    fn container(&mut self, field: &Found<'_, '_>, node: &Node<'_>) -> Result<(), Refusal> {
        let (file, position) = (self.file.to_owned(), Position::of(self.text, node.place.start));
        let written = self.text.get(node.place.clone()).unwrap_or_default();
        let old = node.as_str().unwrap_or(written).trim();
        let Ok(reference) = old.parse::<ImageRef>() else {
            let ours = self.wanted.iter().any(|wanted| names(old, &wanted.reference.repository).is_some());
            let value = old.to_owned();
            return match (ours, old.contains("{{")) {
                (true, true) => Err(Refusal::Template { file, position, value }),
                (true, false) => Err(Refusal::NoReference { file, position, value }),
                (false, true) => {
                    self.templates.push(position);
                    Ok(())
                }
                (false, false) => Ok(()),
            };
        };
        let Some(wanted) = self.claim(&reference.repository, old, position)? else { return Ok(()) };
        let new =
            if has(wanted, &reference) { old.to_owned() } else { spelled(&reference.repository, &wanted.reference) };
        let changed = new != old;
        self.add(field, wanted, position, old, &new)?;
        if changed {
            let edit = splice::set(self.text, node, old, &new);
            self.edits.push(edit.ok_or_else(|| Refusal::Unproven { file, position, value: old.to_owned() })?);
        }
        Ok(())
    }

    fn kustomize(&mut self, field: &Found<'_, '_>, entry: &Node<'_>) -> Result<(), Refusal> {
        let (file, position) = (self.file.to_owned(), Position::of(self.text, entry.place.start));
        let scalar = |key: &str| entry.get(key).filter(|node| !node.is_null());
        let Some(name) = scalar("newName").or_else(|| scalar("name")).and_then(Node::as_str) else { return Ok(()) };
        let Ok(repository) = name.parse::<Repository>() else { return Ok(()) };
        let old = kustomize_value(entry);
        let Some(wanted) = self.claim(&repository, &old, position)? else { return Ok(()) };
        let (tag, digest) = (scalar("newTag"), scalar("digest"));
        let text_of = |node: &Node<'_>| node.as_str().unwrap_or_default().to_owned();
        let unproven = || Refusal::Unproven { file: file.clone(), position, value: old.clone() };
        let (Some(new_tag), Some(new_digest)) = (&wanted.reference.tag, &wanted.reference.digest) else {
            return Err(unproven());
        };
        if digest.and_then(Node::as_str) == Some(new_digest.as_str()) {
            return self.add(field, wanted, position, &old, &old);
        }
        let mut edits = Vec::new();
        match (tag, digest) {
            (None, None) => return Err(Refusal::NoVersion { file, position, image: wanted.image.clone() }),
            (None, Some(digest)) => edits.push(splice::set(self.text, digest, &text_of(digest), new_digest.as_str())),
            (Some(tag), digest) => {
                edits.push(splice::set(self.text, tag, &text_of(tag), new_tag.as_str()));
                if let Some(digest) = digest.or_else(|| entry.get("digest")) {
                    edits.push(splice::set(self.text, digest, &text_of(digest), new_digest.as_str()));
                } else {
                    let key = entry.entries().iter().find(|entry| entry.key.as_str() == Some("newTag"));
                    let key = &key.ok_or_else(unproven)?.key;
                    edits.push(splice::insert(self.text, entry, key, "digest", new_digest.as_str()));
                }
            }
        }
        let edits: Option<Vec<Edit>> = edits.into_iter().collect();
        // A tag that was right already needs no edit: only the digest is new.
        let edits = edits.ok_or_else(unproven)?.into_iter().filter(|edit| self.text[edit.place.clone()] != edit.with);
        self.edits.extend(edits);
        let shown = tag.map(|_| new_tag.clone());
        let new = ImageRef { repository, tag: shown, digest: Some(new_digest.clone()) }.to_string();
        self.add(field, wanted, position, &old, &new)
    }

    /// The one wanted image at a repository.
    fn claim(&self, repository: &Repository, value: &str, position: Position) -> Result<Option<&'p Wanted>, Refusal> {
        let mut claims = self.wanted.iter().filter(|wanted| wanted.reference.repository == *repository);
        match (claims.next(), claims.next()) {
            (Some(first), Some(second)) => Err(Refusal::TwoImages {
                file: self.file.to_owned(),
                position,
                first: first.image.clone(),
                second: second.image.clone(),
                value: value.to_owned(),
            }),
            (claim, _) => Ok(claim),
        }
    }

    fn add(
        &mut self,
        field: &Found<'_, '_>,
        wanted: &Wanted,
        position: Position,
        old: &str,
        new: &str,
    ) -> Result<(), Refusal> {
        let object = (*field.object).clone();
        if field.shared == Shared::Yes && old != new {
            let (image, object) = (wanted.image.clone(), object.to_string());
            return Err(Refusal::Alias { file: self.file.to_owned(), position, image, object });
        }
        let (old, new) = (old.to_owned(), new.to_owned());
        self.fields.push(Field { image: wanted.image.clone(), object, position, old, new });
        Ok(())
    }

    fn finish(self, before: &[Document<'_>]) -> Result<Patch, Refusal> {
        let Self { file, text, edits, fields, templates, .. } = self;
        let unproven = |byte: usize| Refusal::Unproven {
            file: file.to_owned(),
            position: Position::of(text, byte),
            value: line_at(text, byte).trim().to_owned(),
        };
        let first = edits.first().map_or(0, |edit| edit.place.start);
        let after = splice::splice(text, &edits).ok_or_else(|| unproven(first))?;
        if !edits.is_empty() {
            let parsed = yaml::parse(&after).map_err(|_| unproven(first))?;
            prove::prove(before, &parsed, &edits).map_err(unproven)?;
        }
        Ok(Patch { bytes: after.into_bytes(), fields, templates })
    }
}

/// Whether a field runs what is wanted already: the digest decides, and only without one the tag.
fn has(wanted: &Wanted, reference: &ImageRef) -> bool {
    match &wanted.reference.digest {
        Some(digest) => reference.digest.as_ref() == Some(digest),
        None => reference.digest.is_none() && reference.tag == wanted.reference.tag,
    }
}

/// The reference with the repository spelled as the manifest spells it.
fn spelled(repository: &Repository, reference: &ImageRef) -> String {
    ImageRef { repository: repository.clone(), ..reference.clone() }.to_string()
}

fn kustomize_value(entry: &Node<'_>) -> String {
    let scalar = |key: &str| entry.get(key).filter(|node| !node.is_null()).and_then(Node::as_str);
    let mut value = scalar("newName").or_else(|| scalar("name")).unwrap_or_default().to_owned();
    for (sign, key) in [(":", "newTag"), ("@", "digest")] {
        value.extend(scalar(key).map(|text| format!("{sign}{text}")));
    }
    value
}

/// A key that stands a second time in its mapping, and either of the two leads to the field.
fn duplicate<'t, 'a>(root: &'t Node<'a>, spot: Spot<'t, 'a>) -> Option<&'t Node<'a>> {
    let field = spot.node();
    let leads = |node: &Node<'_>| node.place.start <= field.place.start && field.place.start < node.place.end;
    let inside = |node: &Node<'_>| field.place.start <= node.place.start && node.place.end <= field.place.end;
    let mut waiting = vec![root];
    while let Some(node) = waiting.pop() {
        let mut keys: HashMap<&str, bool> = HashMap::new();
        for entry in node.entries() {
            let matters = leads(&entry.value) || matches!(spot, Spot::Kustomize(_)) && inside(&entry.value);
            let Some(key) = entry.key.as_str() else { continue };
            match keys.insert(key, matters) {
                Some(before) if before || matters => return Some(&entry.key),
                _ => {}
            }
        }
        waiting.extend(node.entries().iter().map(|entry| &entry.value).chain(node.items()));
    }
    None
}

/// What every spelling of a repository has in it.
fn needle(repository: &Repository) -> &str {
    let path = repository.path();
    if repository.registry() == "docker.io" { path.strip_prefix("library/").unwrap_or(path) } else { path }
}

/// Where a text names a repository's path as a whole, behind whatever registry.
fn names(text: &str, repository: &Repository) -> Option<usize> {
    let needle = needle(repository);
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    text.match_indices(needle).map(|(at, _)| at).find(|at| {
        !text[..*at].ends_with(part) && !text[at + needle.len()..].starts_with(|c: char| part(c) || c == '/')
    })
}

/// Where a text that cannot be parsed seems to hold the reference of a wanted image.
fn mention(text: &str, wanted: &[Wanted]) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.contains("image") || line.contains("newName") {
            let hit = wanted.iter().find_map(|wanted| names(line, &wanted.reference.repository));
            if let Some(at) = hit {
                return Some(start + at);
            }
        }
        start += line.len();
    }
    None
}

fn line_at(text: &str, byte: usize) -> &str {
    let byte = byte.min(text.len());
    let start = text[..byte].rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].lines().next().unwrap_or_default()
}
