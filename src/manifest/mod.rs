//! Changes image references in manifests, byte by byte: finds the fields, splices, and proves by parsing that nothing else
//! changed. Pure functions on bytes; what cannot be edited safely is refused by name and place, never guessed.

mod candidates;
mod images;
mod locate;
mod mark;
mod patching;
mod prove;
mod refusal;
mod splice;
mod values;

pub use images::{Images, Wanted};
pub use locate::Object;
pub use refusal::Refusal;

use crate::{
    values::ImageName,
    yaml::{self, Document, Place, Position},
};
use patching::Patching;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// A manifest larger than this is not parsed.
const MAX_BYTES: usize = 16 << 20;

/// Whether a file below an environment's folder is one of its manifests: YAML, JSON or a kustomization. `.gitops-hooks`, `.github`
/// and their like hold YAML that is not for the cluster.
#[must_use]
pub fn is_manifest(below: &str) -> bool {
    let name = below.rsplit('/').next().unwrap_or(below);
    let is_hidden = below.split('/').any(|part| part.starts_with('.'));
    !is_hidden && ([".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending)) || name == "Kustomization")
}

/// A file that may name images.
#[derive(Debug, Clone, Copy)]
pub struct File<'f> {
    /// Its path, for messages and for the names that kustomize gives a meaning.
    pub path: &'f str,
    /// What its keys mean.
    pub form: Form,
    /// What it holds.
    pub bytes: &'f [u8],
}

/// What the keys of a file mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Kubernetes objects, or a kustomization.
    Manifest,
    /// The values of a Helm chart.
    Values,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch<'f> {
    /// The file's new bytes; the old ones where nothing was to change.
    pub bytes: Cow<'f, [u8]>,
    /// Every field of a wanted image, changed or not, in the order of the file.
    pub fields: Vec<Field>,
}

impl Patch<'_> {
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

/// Every image field of a file that its form tells; what comments mark is not among them.
///
/// # Errors
/// A file that is no UTF-8 or no YAML.
pub fn references(file: &File<'_>) -> Result<Vec<Reference>, Refusal> {
    let text = str::from_utf8(file.bytes).map_err(|error| not_utf8(file, error.valid_up_to()))?;
    let readable = readable(file, text);
    let mut found = Vec::new();
    for document in &parse(file, &readable)? {
        for field in locate::locate(file, document) {
            let place = field.spot.place();
            let position = Position::of(text, place.start);
            found.push(Reference { place, position, object: (*field.object).clone(), value: field.spot.value(text) });
        }
    }
    Ok(found)
}

/// Makes every field of the wanted images hold its reference. A file that names none of the images comes back as it was,
/// whatever is in it.
///
/// # Errors
/// What cannot be edited safely; the file is then to be left alone.
pub fn patch<'f>(file: &File<'f>, images: &Images<'_>) -> Result<Patch<'f>, Refusal> {
    let untouched = || Patch { bytes: Cow::Borrowed(file.bytes), fields: Vec::new() };
    // Of values somebody said that they hold references; of a manifest nobody did.
    let is_values = file.form == Form::Values;
    if !is_values && !images.candidates.may_be_in(file.bytes) {
        return Ok(untouched());
    }
    let utf8 = str::from_utf8(file.bytes).map_err(|error| error.valid_up_to());
    // UTF-16 of plain letters is UTF-8 with zeros in it.
    let text = match utf8.and_then(|text| text.find('\0').map_or(Ok(text), Err)) {
        Ok(text) => text,
        Err(byte) => {
            // Without the zeros of UTF-16, a name shows in the bytes in whatever encoding.
            let bare: Vec<u8> = file.bytes.iter().copied().filter(|byte| *byte != 0).collect();
            let named = is_values || images.mention(&String::from_utf8_lossy(&bare)).is_some();
            return if named { Err(not_utf8(file, byte)) } else { Ok(untouched()) };
        }
    };
    if text.len() > MAX_BYTES {
        let refusal = Refusal::TooLarge { file: file.path.to_owned(), limit: MAX_BYTES };
        return if is_values || images.mention(text).is_some() { Err(refusal) } else { Ok(untouched()) };
    }
    let readable = readable(file, text);
    let documents = match parse(file, &readable) {
        Ok(documents) => documents,
        Err(refusal) => {
            let Some(byte) = images.mention(text) else {
                return if is_values { Err(refusal) } else { Ok(untouched()) };
            };
            let line = line_at(text, byte);
            if !line.contains("{{") {
                return Err(refusal);
            }
            let position = Position::of(text, byte);
            let value = line.trim().to_owned();
            return Err(Refusal::Template { file: file.path.to_owned(), position, value });
        }
    };
    Patching::new(file, text, images).run(&documents)
}

/// Where a template fills an image field of a file, of which nobody can say whose it is.
#[must_use]
pub fn template(file: &File<'_>) -> Option<Position> {
    let text = str::from_utf8(file.bytes).ok().filter(|text| text.contains("{{"))?;
    if let Ok(references) = references(file) {
        return references.iter().find(|field| field.value.contains("{{")).map(|field| field.position);
    }
    // A whole template is no YAML: its line tells.
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().trim_start_matches("- ").starts_with("image:") && line.contains("{{") {
            return Some(Position::of(text, start));
        }
        start += line.len();
    }
    None
}

fn not_utf8(file: &File<'_>, byte: usize) -> Refusal {
    Refusal::NotUtf8 { file: file.path.to_owned(), byte }
}

/// JSON may be indented with tabs and YAML may not. In sound JSON no tab stands inside a text, so that spaces, which are as
/// long, mean the same.
fn readable<'t>(file: &File<'_>, text: &'t str) -> Cow<'t, str> {
    if text.contains('\t') && is_json(file, text) { Cow::Owned(text.replace('\t', " ")) } else { Cow::Borrowed(text) }
}

fn is_json(file: &File<'_>, text: &str) -> bool {
    let named = file.path.strip_suffix(".json").is_some();
    named && serde_json::from_str::<IgnoredAny>(text.trim_start_matches('\u{feff}')).is_ok()
}

fn parse<'a>(file: &File<'_>, text: &'a str) -> Result<Vec<Document<'a>>, Refusal> {
    yaml::parse(text).map_err(|error| Refusal::NotYaml {
        file: file.path.to_owned(),
        position: error.position,
        message: error.message,
    })
}

fn line_at(text: &str, byte: usize) -> &str {
    let byte = byte.min(text.len());
    let start = text[..byte].rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_what_the_sync_reads() {
        for below in ["a.yaml", "deep/b.yml", "c.json", "Kustomization", "overlays/live/Kustomization"] {
            assert!(is_manifest(below), "{below}");
        }
        for below in [".gitops-hooks/state.yaml", "x/.github/ci.yml", ".hidden.yaml", "a.YAML", "kustomization", "yaml"]
        {
            assert!(!is_manifest(below), "{below}");
        }
    }
}
