//! The list of objects that the sync owns, and what it last said about each. It is written before the first object of a
//! pass, so that a sync that dies in the middle never leaves an object that nobody will prune. Pure set algebra here; kept
//! in a `ConfigMap` beside the sync.

use super::object::ObjectId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was last applied to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The API version to speak to it with.
    pub api_version: String,
    /// The fingerprint of the manifest; empty until it was applied.
    #[serde(default)]
    pub manifest: String,
    /// Which object it is: one that was deleted and made again by another has the same name and is not ours.
    #[serde(default)]
    pub uid: String,
    /// The fingerprint of the server's answer in the manifest's fields: what is right there until the next apply.
    #[serde(default)]
    pub answer: String,
}

/// Every object that the sync owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// By object.
    pub objects: BTreeMap<ObjectId, Applied>,
}

/// An entry as it is kept.
#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    object: ObjectId,
    #[serde(flatten)]
    applied: Applied,
}

impl Inventory {
    /// Whether the object is ours.
    #[must_use]
    pub fn owns(&self, object: &ObjectId) -> bool {
        self.objects.contains_key(object)
    }

    /// Adds what is about to be applied, keeping what is known of what was there.
    pub fn announce<'o>(&mut self, about: impl IntoIterator<Item = (&'o ObjectId, &'o str)>) {
        for (object, api_version) in about {
            let applied = self.objects.entry(object.clone()).or_insert_with(|| Applied {
                api_version: String::new(),
                manifest: String::new(),
                uid: String::new(),
                answer: String::new(),
            });
            api_version.clone_into(&mut applied.api_version);
        }
    }

    /// The owned objects that are not among `wanted`, in order.
    #[must_use]
    pub fn surplus(&self, wanted: &std::collections::BTreeSet<ObjectId>) -> Vec<ObjectId> {
        self.objects.keys().filter(|object| !wanted.contains(object)).cloned().collect()
    }

    /// Its text in the `ConfigMap`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let entries = self
            .objects
            .iter()
            .map(|(object, applied)| Entry { object: object.clone(), applied: applied.clone() })
            .collect::<Vec<_>>();
        serde_json::to_string(&entries).unwrap_or_default()
    }

    /// Reads its text.
    ///
    /// # Errors
    /// Text that is no inventory.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        let entries: Vec<Entry> = serde_json::from_str(text)?;
        Ok(Self { objects: entries.into_iter().map(|entry| (entry.object, entry.applied)).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn id(name: &str) -> ObjectId {
        ObjectId { group: String::new(), kind: "ConfigMap".into(), namespace: Some("shop".into()), name: name.into() }
    }

    #[test]
    fn announcing_keeps_what_is_known() {
        let mut inventory = Inventory::default();
        inventory.announce([(&id("a"), "v1")]);
        inventory.objects.get_mut(&id("a")).unwrap().manifest = "x".into();
        inventory.announce([(&id("a"), "v1"), (&id("b"), "v1")]);
        assert_eq!(inventory.objects[&id("a")].manifest, "x");
        assert_eq!(inventory.surplus(&BTreeSet::from([id("a")])), [id("b")]);
    }

    #[test]
    fn its_text_round_trips() {
        let mut inventory = Inventory::default();
        inventory.announce([(&id("a"), "v1"), (&id("b"), "v1")]);
        assert_eq!(Inventory::from_text(&inventory.to_text()).unwrap(), inventory);
        assert!(Inventory::from_text("{}").is_err());
    }
}
