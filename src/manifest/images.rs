//! The images of a delivery, and what of them shows in a text that cannot be parsed.

use super::{candidates::Candidates, mark};
use crate::values::{ImageName, ImageRef, Repository};
use std::collections::BTreeMap;

/// An image and the reference that its fields are to hold. Fields are matched by the reference's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name in the configuration, for messages and marks.
    pub image: ImageName,
    /// What is to run.
    pub reference: ImageRef,
}

impl Wanted {
    /// What replaces a reference that is written as `old`. It stays where it runs what is wanted: the digest decides, and
    /// only without one the tag. The repository stays spelled as the manifest spells it.
    pub(super) fn in_place_of(&self, reference: &ImageRef, old: &str) -> String {
        if reference.repository != self.reference.repository {
            return self.reference.to_string();
        }
        let same = match &self.reference.digest {
            Some(digest) => reference.digest.as_ref() == Some(digest),
            None => reference.digest.is_none() && reference.tag == self.reference.tag,
        };
        let repository = reference.repository.clone();
        if same { old.to_owned() } else { ImageRef { repository, ..self.reference.clone() }.to_string() }
    }
}

/// The images that an environment runs, and those of them that are to change.
#[derive(Debug)]
pub struct Images<'i> {
    pub(super) wanted: &'i [Wanted],
    /// All of the environment: a field that two of them claim is nobody's, and a mark names one of them.
    pub(super) known: &'i BTreeMap<ImageName, Repository>,
    pub(super) candidates: Candidates,
}

impl<'i> Images<'i> {
    /// `known` are all images that the environment runs, `wanted` some of them.
    #[must_use]
    pub fn new(wanted: &'i [Wanted], known: &'i BTreeMap<ImageName, Repository>) -> Self {
        Self { wanted, known, candidates: Candidates::of(wanted) }
    }

    pub(super) fn wanted(&self, image: &ImageName) -> Option<&'i Wanted> {
        self.wanted.iter().find(|wanted| wanted.image == *image)
    }

    /// Whether a text that is no reference names the repository of a wanted image.
    pub(super) fn named_in(&self, text: &str) -> bool {
        self.wanted.iter().any(|wanted| names(text, &wanted.reference.repository).is_some())
    }

    /// Where a text that cannot be parsed seems to hold the reference of a wanted image, or a mark.
    pub(super) fn mention(&self, text: &str) -> Option<usize> {
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let mark = line.find(mark::PREFIX).filter(|at| line[..*at].trim_end().ends_with('#'));
            let image = ["image", "newName", "repository"].iter().any(|word| line.contains(word));
            let name = || self.wanted.iter().find_map(|wanted| names(line, &wanted.reference.repository));
            if let Some(at) = mark.or_else(|| if image { name() } else { None }) {
                return Some(start + at);
            }
            start += line.len();
        }
        None
    }
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
