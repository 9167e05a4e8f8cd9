//! The key: a hash of all that a commit says about an image. Two laptops at one commit find the same key, and a commit that
//! changes nothing of an image keeps it. Where the image is pushed to and how it is tried are no part of it.

use super::context::File;
use crate::values::{Digest, Tag};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt};

/// The key of an image: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Digest);

/// All that a key stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe<'a> {
    pub dockerfile: &'a [u8],
    pub target: Option<&'a str>,
    pub platform: &'a str,
    pub args: &'a BTreeMap<String, String>,
    /// What the build may see, with paths from the context's root, in any order.
    pub context: &'a [File],
}

impl Recipe<'_> {
    /// Hands out each thing that the key holds, as its kind and its fields, in the order of the key.
    pub(super) fn each(&self, mut take: impl FnMut(&[&[u8]])) {
        take(&[b"dockerfile", self.dockerfile]);
        if let Some(target) = self.target {
            take(&[b"target", target.as_bytes()]);
        }
        take(&[b"platform", self.platform.as_bytes()]);
        for (name, value) in self.args {
            take(&[b"arg", name.as_bytes(), value.as_bytes()]);
        }
        let mut entries: Vec<&File> = self.context.iter().collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        for entry in entries {
            take(&[b"entry", entry.kind.mode().as_bytes(), &entry.path, entry.oid.as_str().as_bytes()]);
        }
    }
}

/// The first field of what is hashed. A change of the form below changes it, so that no old key is taken for a new one.
const VERSION: &str = "gitops-hooks-key 1";

impl Key {
    /// The key of a recipe: the SHA-256 of these fields, each as `<its length in decimal>:<its bytes>\n`:
    ///
    /// ```text
    /// gitops-hooks-key 1
    /// dockerfile             and then the Dockerfile's bytes as a field
    /// target                 and then the stage; both only where one is configured
    /// platform               and then os/architecture
    /// arg                    then the name, then the value, for each argument in the order of names (bytes)
    /// entry                  then git's mode, then the path, then the object id, for each path in the order of paths (bytes)
    /// ```
    pub(super) fn of(recipe: &Recipe<'_>) -> Self {
        let mut hasher = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(bytes.len().to_string());
            hasher.update(b":");
            hasher.update(bytes);
            hasher.update(b"\n");
        };
        field(VERSION.as_bytes());
        recipe.each(|fields| fields.iter().for_each(|bytes| field(bytes)));
        Self(Digest::finish(hasher))
    }

    /// The key's digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.hex()
    }

    /// The tag that finds what was built under this key.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag::of_key(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{git::EntryKind, image::contents::Origin};

    fn entry(path: &str, kind: EntryKind, digit: &str) -> File {
        File { path: path.into(), kind, oid: digit.repeat(40).parse().unwrap(), origin: Origin::Git(0) }
    }

    fn key(context: &[File], args: &[(&str, &str)], target: Option<&str>) -> Key {
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let recipe =
            Recipe { dockerfile: b"FROM scratch\nCOPY . .\n", target, platform: "linux/amd64", args: &args, context };
        Key::of(&recipe)
    }

    #[test]
    fn the_form_is_what_the_documentation_says() {
        let preimage = "18:gitops-hooks-key 1\n10:dockerfile\n22:FROM scratch\nCOPY . .\n\n6:target\n3:web\n\
             8:platform\n11:linux/amd64\n3:arg\n1:A\n1:1\n\
             5:entry\n6:100644\n1:a\n40:1111111111111111111111111111111111111111\n\
             5:entry\n6:100755\n3:b/c\n40:2222222222222222222222222222222222222222\n";
        let context = [entry("b/c", EntryKind::Executable, "2"), entry("a", EntryKind::File, "1")];
        let key = key(&context, &[("A", "1")], Some("web"));
        assert_eq!(key.as_str(), Digest::of(preimage.as_bytes()).hex());
        assert_eq!(key.as_str(), "5e96b2d6c2c3377655cd6af165ffb85a22230878ef29473b57efc1b00efd3234");
    }

    #[test]
    fn every_part_counts_and_no_part_can_pose_as_another() {
        let file = entry("a", EntryKind::File, "1");
        let base = key(std::slice::from_ref(&file), &[], None);
        for other in [
            key(&[entry("a", EntryKind::Executable, "1")], &[], None),
            key(&[entry("a", EntryKind::File, "2")], &[], None),
            key(&[entry("b", EntryKind::File, "1")], &[], None),
            key(std::slice::from_ref(&file), &[("A", "")], None),
            key(std::slice::from_ref(&file), &[], Some("")),
            key(&[], &[], None),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(key(&[], &[("A", "1\n3:arg")], None), key(&[], &[("A", "1"), ("arg", "")], None));
    }
}
