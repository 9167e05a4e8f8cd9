//! What a registry keeps of an image over time, and which of it nobody needs any more. Which commits and digests count is
//! decided by who knows environments; here stands only the rule.

use super::{Error, Transport, registry::Registry};
use crate::{
    config,
    values::{Digest, Oid, Tag},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How many questions a registry is asked at a time.
const AT_ONCE: usize = 8;

/// An image's repository on its registry.
pub struct Shelf(Registry);

/// A manifest on the registry, with the tags that name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shelved {
    /// Its digest.
    pub digest: Digest,
    /// Every tag that names it.
    pub tags: Vec<Tag>,
}

/// What is to become of something on the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Nobody needs it.
    Remove,
    /// An environment runs it, or ran it not long ago.
    Named,
    /// A commit has it that some environment may still be given.
    Newer,
    /// It has a tag that is not of this program.
    Foreign,
    /// It has a key and no commit: somebody is publishing it, or broke off.
    Unfinished,
}

impl Shelf {
    /// The place that an image's configuration names.
    ///
    /// # Errors
    /// When the user's credentials cannot be read.
    pub async fn of(image: &config::Image) -> Result<Self, Error> {
        Ok(Self(Registry::open(&image.repository, Transport::of(image)).await?))
    }

    /// Every tag that is there.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub async fn tags(&self) -> Result<Vec<Tag>, Error> {
        self.0.tags().await
    }

    /// What tags name; those that are gone meanwhile are left out.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub async fn digests(&self, tags: impl IntoIterator<Item = Tag>) -> Result<BTreeMap<Tag, Digest>, Error> {
        let asked = tags.into_iter().map(async |tag| {
            let digest = self.0.digest(&tag).await?;
            Ok::<_, Error>(digest.map(|digest| (tag, digest)))
        });
        let found: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Removes an image with all of its tags, and what says where it came from.
    ///
    /// # Errors
    /// When the registry refuses it or cannot be asked.
    pub async fn remove(&self, digest: &Digest) -> Result<(), Error> {
        let mut with: Vec<Digest> = self.0.referrers(digest).await?.into_iter().map(|about| about.digest).collect();
        with.extend(self.0.referrers_list(digest).await?);
        // The image first: what is left of the rest by a removal that breaks off is a few hundred bytes.
        self.0.delete(digest).await?;
        for about in with {
            self.0.delete(&about).await?;
        }
        Ok(())
    }
}

/// What is to become of each manifest. `named` are the digests of environments' states, of now and not long ago; `is_past`
/// tells of a commit that every environment has left behind.
#[must_use]
pub fn judge(
    tags: &BTreeMap<Tag, Digest>,
    named: &BTreeSet<Digest>,
    is_past: impl Fn(&Oid) -> bool,
) -> Vec<(Shelved, Fate)> {
    let mut shelved: BTreeMap<&Digest, Vec<Tag>> = BTreeMap::new();
    for (tag, digest) in tags.iter().filter(|(tag, _)| !tag.is_of_referrers()) {
        shelved.entry(digest).or_default().push(tag.clone());
    }
    let fate = |digest: &Digest, tags: &[Tag]| {
        let commits: Vec<Oid> = tags.iter().filter_map(Tag::commit).collect();
        if named.contains(digest) {
            Fate::Named
        } else if tags.iter().any(|tag| tag.commit().is_none() && !tag.is_of_key()) {
            Fate::Foreign
        } else if commits.is_empty() {
            Fate::Unfinished
        } else if commits.iter().all(&is_past) {
            Fate::Remove
        } else {
            Fate::Newer
        }
    };
    shelved
        .into_iter()
        .map(|(digest, tags)| {
            let fate = fate(digest, &tags);
            (Shelved { digest: digest.clone(), tags }, fate)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: u8) -> Oid {
        char::from(digit).to_string().repeat(40).parse().unwrap()
    }

    #[test]
    fn only_what_every_environment_has_left_behind_goes() {
        let digest = |text: &str| Digest::of(text.as_bytes());
        let git = |digit| Tag::of_commit(&commit(digit));
        let key = |text: &str| Tag::of_key(&digest(text));
        let tags = BTreeMap::from([
            (git(b'1'), digest("old")),
            (key("old"), digest("old")),
            (git(b'2'), digest("shared")),
            (git(b'5'), digest("shared")),
            (git(b'3'), digest("rolled back to")),
            (git(b'6'), digest("next")),
            (key("race"), digest("race")),
            (git(b'4'), digest("kept by hand")),
            ("v1.0".parse().unwrap(), digest("kept by hand")),
            (Tag::of_referrers(&digest("old")), digest("list")),
        ]);
        let named = BTreeSet::from([digest("rolled back to")]);
        let fates = judge(&tags, &named, |oid| *oid < commit(b'5'));
        let of = |text: &str| fates.iter().find(|(shelved, _)| shelved.digest == digest(text)).map(|(_, fate)| *fate);
        assert_eq!(of("old"), Some(Fate::Remove));
        assert_eq!(of("shared"), Some(Fate::Newer), "a newer commit has the same image");
        assert_eq!(of("rolled back to"), Some(Fate::Named));
        assert_eq!(of("next"), Some(Fate::Newer));
        assert_eq!(of("race"), Some(Fate::Unfinished));
        assert_eq!(of("kept by hand"), Some(Fate::Foreign));
        assert_eq!(of("list"), None, "it goes with its subject");
    }
}
