//! The images of a delivery, and what of them shows in a text that cannot be parsed.

use super::{candidates::Candidates, mark};
use crate::values::{ImageName, ImageRef, Repository};
use std::collections::BTreeMap;

/// An image and the reference that its fields are to hold.
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
    /// What runs by the state, which may have another repository: of before a move, or after a rollback over one.
    running: BTreeMap<ImageName, ImageRef>,
    pub(super) candidates: Candidates,
}

impl<'i> Images<'i> {
    /// `known` are all images that the environment runs, `wanted` some of them.
    #[must_use]
    pub fn new(wanted: &'i [Wanted], known: &'i BTreeMap<ImageName, Repository>) -> Self {
        Self::of_state(wanted, known, std::iter::empty())
    }

    /// `running` is what a state says of them: a field that holds exactly that is theirs too, wherever it is from.
    #[must_use]
    pub fn of_state<'r>(
        wanted: &'i [Wanted],
        known: &'i BTreeMap<ImageName, Repository>,
        running: impl Iterator<Item = (&'r ImageName, &'r ImageRef)>,
    ) -> Self {
        let running = running.filter(|(image, _)| known.contains_key(*image));
        let running = running.map(|(image, reference)| (image.clone(), reference.clone())).collect();
        let candidates = Candidates::of(repositories(wanted, known, &running));
        Self { wanted, known, running, candidates }
    }

    /// The images that a field is of, by its repository; where that is nobody's, by what runs.
    pub(super) fn claims(&self, repository: &Repository, value: &str) -> Vec<&ImageName> {
        let known = self.known.iter().filter(|(_, known)| *known == repository);
        let claims: Vec<&ImageName> = known.map(|(image, _)| image).collect();
        match value.parse::<ImageRef>() {
            Ok(reference) if claims.is_empty() => {
                let running = self.running.iter().filter(|(_, running)| is_same(running, &reference));
                running.map(|(image, _)| image).collect()
            }
            _ => claims,
        }
    }

    pub(super) fn wanted(&self, image: &ImageName) -> Option<&'i Wanted> {
        self.wanted.iter().find(|wanted| wanted.image == *image)
    }

    /// Whether a text that is no reference names the repository of a wanted image.
    pub(super) fn named_in(&self, text: &str) -> bool {
        repositories(self.wanted, self.known, &self.running).any(|repository| names(text, repository).is_some())
    }

    /// Where a text that cannot be parsed seems to hold the reference of a wanted image, or a mark.
    pub(super) fn mention(&self, text: &str) -> Option<usize> {
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let mark = line.find(mark::PREFIX).filter(|at| line[..*at].trim_end().ends_with('#'));
            let name =
                || repositories(self.wanted, self.known, &self.running).find_map(|repository| refers(line, repository));
            if let Some(at) = mark.or_else(name) {
                return Some(start + at);
            }
            start += line.len();
        }
        None
    }
}

/// Where the wanted images are, were and are to be.
fn repositories<'r>(
    wanted: &'r [Wanted],
    known: &'r BTreeMap<ImageName, Repository>,
    running: &'r BTreeMap<ImageName, ImageRef>,
) -> impl Iterator<Item = &'r Repository> {
    wanted.iter().flat_map(|Wanted { image, reference }| {
        let running = running.get(image).map(|running| &running.repository);
        [Some(&reference.repository), known.get(image), running].into_iter().flatten()
    })
}

/// Whether a field runs a reference: the digest decides, and only without one the tag.
fn is_same(running: &ImageRef, field: &ImageRef) -> bool {
    running.repository == field.repository
        && match &field.digest {
            Some(digest) => running.digest.as_ref() == Some(digest),
            None => field.tag.is_some() && field.tag == running.tag,
        }
}

/// What every spelling of a repository has in it.
fn needle(repository: &Repository) -> &str {
    let path = repository.path();
    if repository.registry() == "docker.io" { path.strip_prefix("library/").unwrap_or(path) } else { path }
}

/// Where a line of a broken file seems to refer to a repository: under a key that says so, or in more than one word. A single
/// word may mean anything.
fn refers(line: &str, repository: &Repository) -> Option<usize> {
    let at = names(line, repository).filter(|_| !line.trim_start().starts_with('#'))?;
    let under_a_key = ["image", "newName", "repository"].iter().any(|word| line.contains(word));
    (under_a_key || needle(repository).contains('/') || line[..at].ends_with('/')).then_some(at)
}

/// Where a text names a repository's path as a whole, behind no other registry that is written out.
fn names(text: &str, repository: &Repository) -> Option<usize> {
    let needle = needle(repository);
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    text.match_indices(needle).map(|(at, _)| at).find(|at| {
        !text[..*at].ends_with(part)
            && !text[at + needle.len()..].starts_with(|c: char| part(c) || c == '/')
            && text[..*at].strip_suffix('/').is_none_or(|before| may_end_in(before, repository.registry()))
    })
}

/// Whether a text ends in a registry, or in what a template or a variable may make it.
fn may_end_in(text: &str, registry: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    let before = text.trim_end_matches(part);
    let written = &text[before.len()..];
    written.is_empty()
        || written.ends_with(registry)
        || registry == "docker.io" && written == "library"
        || before.ends_with(['$', '}', ')', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_in_its_registry_or_in_one_that_is_not_written_out() {
        let is_named = |text: &str, repository: &str| names(text, &repository.parse().unwrap()).is_some();
        let ours = "registry.example.com:5000/team/app";
        for text in [
            "registry.example.com:5000/team/app:${TAG}",
            "other.example.com/team/app or team/app",
            "oci://registry.example.com:5000/team/app",
            "{{ .Values.registry }}/team/app:1",
            "$REGISTRY/team/app",
            "${HOST}:5000/team/app",
        ] {
            assert!(is_named(text, ours), "{text}");
        }
        for text in
            ["other.example.com/team/app:${TAG}", "https://github.com/team/app", "registry.example.com/team/app"]
        {
            assert!(!is_named(text, ours), "{text}");
        }
        for text in ["nginx:$TAG", "library/nginx:$TAG", "docker.io/library/nginx:$TAG", "index.docker.io/nginx:$TAG"] {
            assert!(is_named(text, "nginx"), "{text}");
        }
        assert!(!is_named("registry.example.com/nginx:$TAG", "nginx"));
    }
}
