//! What a key holds, in words, and what is different between two of them. It reads the same list that the key is made of, so
//! that nothing can count without being told.

use super::key::{Key, Recipe};
use crate::values::Digest;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A key with all that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The key.
    pub key: Key,
    /// What it holds, in the order of the key.
    pub parts: Vec<Part>,
}

/// One thing that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `dockerfile`, `target`, `platform`, `arg`, `entry` (a path of the context).
    pub kind: String,
    /// Which of them: an argument's name, a path. Empty where there is only one.
    pub name: String,
    /// Its value; of a file, git's mode and the blob; of the Dockerfile, its digest.
    pub value: String,
}

impl Part {
    fn named(&self) -> ((&str, &str), &str) {
        ((&self.kind, &self.name), &self.value)
    }
}

/// A thing that two keys do not hold alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// As [`Part::kind`].
    pub kind: String,
    /// As [`Part::name`].
    pub name: String,
    /// Its value in the first key.
    pub before: Option<String>,
    /// Its value in the second key.
    pub after: Option<String>,
}

impl Explanation {
    pub(super) fn of(key: Key, recipe: &Recipe<'_>) -> Self {
        let mut parts = Vec::new();
        recipe.each(|fields| parts.push(part(fields)));
        Self { key, parts }
    }

    /// The paths of the context.
    #[must_use]
    pub fn files(&self) -> usize {
        self.parts.iter().filter(|part| part.kind == "entry").count()
    }

    /// What another key holds otherwise, in the order of kinds and names.
    #[must_use]
    pub fn differences(&self, after: &Self) -> Vec<Difference> {
        let old: BTreeMap<_, &str> = self.parts.iter().map(Part::named).collect();
        let new: BTreeMap<_, &str> = after.parts.iter().map(Part::named).collect();
        let names: BTreeSet<(&str, &str)> = old.keys().chain(new.keys()).copied().collect();
        let different = names.into_iter().filter(|name| old.get(name) != new.get(name));
        let value = |of: &BTreeMap<_, &str>, name: &(&str, &str)| of.get(name).map(|value| (*value).to_owned());
        different
            .map(|name| Difference {
                kind: name.0.to_owned(),
                name: name.1.to_owned(),
                before: value(&old, &name),
                after: value(&new, &name),
            })
            .collect()
    }
}

impl Difference {
    /// What people call it.
    #[must_use]
    pub fn subject(&self) -> String {
        match (self.kind.as_str(), self.name.as_str()) {
            ("entry", path) => path.to_owned(),
            ("dockerfile", _) => "the Dockerfile".to_owned(),
            (kind, "") => format!("the {kind}"),
            (kind, name) => format!("the {kind} {name}"),
        }
    }
}

fn part(fields: &[&[u8]]) -> Part {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let rest = |fields: &[&[u8]]| fields.iter().map(|field| text(field)).collect::<Vec<_>>().join(" ");
    match fields {
        [kind @ b"dockerfile", bytes] => {
            Part { kind: text(kind), name: String::new(), value: Digest::of(bytes).to_string() }
        }
        [kind @ b"entry", mode, path, oid] => Part { kind: text(kind), name: text(path), value: rest(&[mode, oid]) },
        [kind, value] => Part { kind: text(kind), name: String::new(), value: text(value) },
        [kind, name, values @ ..] => Part { kind: text(kind), name: text(name), value: rest(values) },
        _ => Part { kind: rest(fields), name: String::new(), value: String::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        git::EntryKind,
        image::{contents::Origin, context::File},
    };

    fn explained(dockerfile: &str, args: &[(&str, &str)], files: &[(&str, &str)]) -> Explanation {
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let file = |(path, digit): &(&str, &str)| File {
            path: (*path).into(),
            kind: EntryKind::File,
            oid: digit.repeat(40).parse().unwrap(),
            origin: Origin::Git(0),
        };
        let context: Vec<File> = files.iter().map(file).collect();
        let recipe = Recipe {
            dockerfile: dockerfile.as_bytes(),
            target: None,
            platform: "linux/amd64",
            args: &args,
            context: &context,
        };
        Explanation::of(Key::of(&recipe), &recipe)
    }

    #[test]
    fn what_differs_is_told_by_name_and_nothing_else() {
        let before = explained("FROM a\n", &[("A", "1"), ("B", "1")], &[("gone", "1"), ("same", "2"), ("src/x", "3")]);
        let after = explained("FROM b\n", &[("A", "2"), ("B", "1")], &[("same", "2"), ("src/x", "4"), ("new", "5")]);
        let told: Vec<(String, bool, bool)> = before
            .differences(&after)
            .iter()
            .map(|one| (one.subject(), one.before.is_some(), one.after.is_some()))
            .collect();
        let line = |subject: &str, before, after| (subject.to_owned(), before, after);
        assert_eq!(
            told,
            [
                line("the arg A", true, true),
                line("the Dockerfile", true, true),
                line("gone", true, false),
                line("new", false, true),
                line("src/x", true, true),
            ]
        );
        assert_eq!(before.differences(&before), []);
        assert_eq!(before.files(), 3);
    }

    #[test]
    fn equal_keys_have_no_difference_and_different_keys_have_one() {
        let base = explained("FROM a\n", &[("A", "1")], &[("a", "1")]);
        for other in [
            explained("FROM a\n", &[("A", "1")], &[("a", "1")]),
            explained("FROM a", &[("A", "1")], &[("a", "1")]),
            explained("FROM a\n", &[], &[("a", "1")]),
            explained("FROM a\n", &[("A", "1")], &[("a", "2")]),
        ] {
            assert_eq!(base.key == other.key, base.differences(&other).is_empty());
        }
    }
}
