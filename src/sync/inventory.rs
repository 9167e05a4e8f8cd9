//! The list of objects that the sync owns, and what it last said about each. It is written before the first object of a
//! pass, so that a sync that dies in the middle never leaves an object that nobody will prune. Pure set algebra here; kept
//! in `ConfigMap`s beside the sync, in shards, so that one changed object does not rewrite the list of ten thousand.

use super::{fingerprint::Fingerprint, object::ObjectId, owned::Answer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most shards; `cluster install` makes as many `ConfigMap`s.
pub const MAX_SHARDS: u8 = 8;
/// Objects in one shard before there are more: with about 200 bytes each far from what a `ConfigMap` can hold.
const PER_SHARD: usize = 500;

/// What was last applied to an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The API version to speak to it with.
    pub api_version: String,
    /// The fingerprint of the manifest; none until it was applied.
    pub manifest: Option<Fingerprint>,
    /// Which object it is: one that was deleted and made again by another has the same name and is not ours.
    pub uid: String,
    /// The server's answer in our fields: what is right there until the next apply.
    pub answer: Option<Answer>,
}

/// Every object that the sync owns.
#[derive(Debug, Default)]
pub struct Inventory {
    objects: BTreeMap<ObjectId, Applied>,
    shards: u8,
    /// The shards that say something else than what is kept.
    dirty: BTreeSet<u8>,
    /// How many objects there were before more were announced than are settled.
    before: Option<usize>,
}

/// An entry as it is kept: API version, kind, namespace, name, uid, manifest, answer.
#[derive(Serialize, Deserialize)]
struct Entry(String, String, Option<String>, String, String, Option<Fingerprint>, Option<Answer>);

/// An entry as it was kept before there were shards.
#[derive(Deserialize)]
struct OldEntry {
    #[serde(flatten)]
    object: ObjectId,
    api_version: String,
    #[serde(default)]
    uid: String,
}

impl Inventory {
    /// What is known of an object.
    #[must_use]
    pub fn get(&self, object: &ObjectId) -> Option<&Applied> {
        self.objects.get(object)
    }

    /// Every object, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Applied)> {
        self.objects.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether another list says the same of the same objects.
    #[must_use]
    pub fn has_the_objects_of(&self, other: &Self) -> bool {
        self.objects == other.objects
    }

    /// How many objects were owned before what came and has yet to take the place of others: what a deletion is measured by.
    #[must_use]
    pub fn before(&self) -> usize {
        self.before.unwrap_or(self.objects.len())
    }

    /// The same as it is kept; none where nothing has come since all was settled.
    #[must_use]
    pub const fn unsettled(&self) -> Option<usize> {
        self.before
    }

    /// Notes that nothing is left to be pruned: what is owned now is what the next deletion is measured by.
    pub fn settle(&mut self) {
        if self.before.take().is_some() {
            self.dirty.insert(0);
        }
    }

    /// Adds what is about to be applied, keeping what is known of what was there.
    pub fn announce<'o>(&mut self, about: impl IntoIterator<Item = (&'o ObjectId, &'o str)>) {
        let before = self.objects.len();
        for (object, api_version) in about {
            let known = self.objects.get(object).is_some_and(|applied| applied.api_version == api_version);
            if !known {
                let applied = self.objects.entry(object.clone()).or_default();
                api_version.clone_into(&mut applied.api_version);
                self.touch(object);
            }
        }
        if self.objects.len() > before && self.before.is_none() {
            self.before = Some(before);
            self.dirty.insert(0);
        }
        self.grow();
    }

    /// Notes what was applied.
    pub fn note(&mut self, object: &ObjectId, applied: Applied) {
        if self.objects.get(object) != Some(&applied) {
            self.objects.insert(object.clone(), applied);
            self.touch(object);
        }
    }

    /// Releases an object.
    pub fn remove(&mut self, object: &ObjectId) {
        if self.objects.remove(object).is_some() {
            self.touch(object);
        }
    }

    /// The owned objects that are not wanted, in order.
    #[must_use]
    pub fn surplus(&self, is_wanted: impl Fn(&ObjectId) -> bool) -> Vec<ObjectId> {
        self.objects.keys().filter(|object| !is_wanted(object)).cloned().collect()
    }

    fn touch(&mut self, object: &ObjectId) {
        let shard = shard_of(object, self.shards());
        self.dirty.insert(shard);
    }

    /// More shards for more objects, never fewer: a shrunk list would leave its last shards to be misread.
    fn grow(&mut self) {
        let needed = self.objects.len().div_ceil(PER_SHARD).next_power_of_two();
        let needed = u8::try_from(needed).unwrap_or(MAX_SHARDS).min(MAX_SHARDS);
        if needed > self.shards() {
            self.shards = needed;
            self.dirty = (0..needed).collect();
        }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u8 {
        self.shards.max(1)
    }

    /// The shards that must be written, the first of all last: it says how many there are.
    #[must_use]
    pub fn unwritten(&self) -> Vec<u8> {
        self.dirty.iter().rev().copied().collect()
    }

    /// Notes that all shards are written.
    pub fn written(&mut self) {
        self.dirty.clear();
    }

    /// The text of one shard.
    #[must_use]
    pub fn shard(&self, shard: u8) -> String {
        let entry = |(object, applied): (&ObjectId, &Applied)| {
            Entry(
                applied.api_version.clone(),
                object.kind.clone(),
                object.namespace.clone(),
                object.name.clone(),
                applied.uid.clone(),
                applied.manifest,
                applied.answer,
            )
        };
        let within = self.objects.iter().filter(|(object, _)| shard_of(object, self.shards()) == shard);
        serde_json::to_string(&within.map(entry).collect::<Vec<_>>()).unwrap_or_default()
    }

    /// An inventory of which nothing is known yet but how many shards hold it, and what is [unsettled](Self::unsettled).
    #[must_use]
    pub fn of_shards(shards: u8, before: Option<usize>) -> Self {
        Self { shards, before, ..Self::default() }
    }

    /// Reads the list of a program from before there were shards. What was applied is not known from it, so all of it is
    /// applied once more; what is owned is.
    ///
    /// # Errors
    /// Text that is no such list.
    pub fn of_old(text: &str) -> Result<Self, serde_json::Error> {
        let mut inventory = Self::default();
        for OldEntry { object, api_version, uid } in serde_json::from_str::<Vec<OldEntry>>(text)? {
            inventory.objects.insert(object, Applied { api_version, uid, ..Applied::default() });
        }
        inventory.grow();
        inventory.dirty = (0..inventory.shards()).collect();
        Ok(inventory)
    }

    /// Adds a shard's text.
    ///
    /// # Errors
    /// Text that is no shard.
    pub fn take_shard(&mut self, text: &str) -> Result<(), serde_json::Error> {
        for Entry(api_version, kind, namespace, name, uid, manifest, answer) in
            serde_json::from_str::<Vec<Entry>>(text)?
        {
            let group = api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
            let object = ObjectId { group, kind, namespace, name };
            self.objects.insert(object, Applied { api_version, manifest, uid, answer });
        }
        Ok(())
    }
}

/// The shard that an object is kept in: FNV-1a, which is the same in every version of the program.
fn shard_of(object: &ObjectId, shards: u8) -> u8 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in [&object.group, &object.kind, &object.name].into_iter().flat_map(|text| text.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The low bits of FNV differ least.
    u8::try_from((hash >> 32) % u64::from(shards)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(name: &str) -> ObjectId {
        ObjectId { group: String::new(), kind: "ConfigMap".into(), namespace: Some("shop".into()), name: name.into() }
    }

    fn of(names: impl IntoIterator<Item = String>) -> Inventory {
        let ids: Vec<ObjectId> = names.into_iter().map(|name| id(&name)).collect();
        let mut inventory = Inventory::default();
        inventory.announce(ids.iter().map(|id| (id, "v1")));
        inventory
    }

    fn kept(inventory: &Inventory) -> Inventory {
        let mut read = Inventory::of_shards(inventory.shards(), inventory.unsettled());
        for shard in 0..inventory.shards() {
            read.take_shard(&inventory.shard(shard)).unwrap();
        }
        read
    }

    #[test]
    fn announcing_keeps_what_is_known() {
        let mut inventory = of(["a".to_owned()]);
        let print = Fingerprint::of(&"x".into());
        inventory.note(&id("a"), Applied { api_version: "v1".into(), manifest: Some(print), ..Applied::default() });
        inventory.announce([(&id("a"), "v1"), (&id("b"), "v1")]);
        assert_eq!(inventory.get(&id("a")).unwrap().manifest, Some(print));
        assert_eq!(inventory.surplus(|object| *object == id("a")), [id("b")]);
    }

    #[test]
    fn what_was_owned_before_is_known_until_all_is_settled() {
        let mut inventory = of((0..10).map(|n| format!("old{n}")));
        assert_eq!(inventory.before(), 0);
        inventory.settle();
        assert_eq!(inventory.before(), 10);
        let new: Vec<ObjectId> = (0..24).map(|n| id(&format!("new{n}"))).collect();
        inventory.announce(new[..12].iter().map(|id| (id, "v1")));
        inventory.announce(new.iter().map(|id| (id, "v1")));
        assert_eq!((inventory.len(), inventory.before(), kept(&inventory).before()), (34, 10, 10));
        inventory.written();
        inventory.settle();
        assert_eq!((inventory.before(), inventory.unwritten()), (34, vec![0]));
        inventory.written();
        inventory.settle();
        inventory.announce([(&new[0], "v1")]);
        assert!(inventory.unwritten().is_empty(), "nothing came");
    }

    #[test]
    fn one_change_among_many_rewrites_one_shard() {
        let mut inventory = of((0..5000).map(|n| format!("c{n}")));
        assert_eq!(inventory.shards(), MAX_SHARDS);
        assert_eq!(inventory.unwritten().last(), Some(&0), "the one that says how many there are");
        inventory.written();
        inventory.note(&id("c1"), Applied { api_version: "v1".into(), uid: "u".into(), ..Applied::default() });
        assert_eq!(inventory.unwritten().len(), 1);
        inventory.note(&id("c1"), Applied { api_version: "v1".into(), uid: "u".into(), ..Applied::default() });
        assert_eq!(inventory.unwritten().len(), 1, "what is known is not news");
    }

    #[test]
    fn the_largest_inventory_fits_its_shards() {
        let inventory = of((0..20_000).map(|n| format!("a-name-of-quite-some-length-as-people-give-them-{n}")));
        let sizes: Vec<usize> = (0..inventory.shards()).map(|shard| inventory.shard(shard).len()).collect();
        // Fingerprints and a uid are about 130 bytes more.
        assert!(sizes.iter().all(|size| size + 2800 * 130 < 1_000_000), "{sizes:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn its_shards_hold_all_of_it(names in proptest::collection::btree_set("[a-z]{1,8}", 0..1200)) {
            let inventory = of(names);
            prop_assert_eq!(&kept(&inventory).objects, &inventory.objects);
        }
    }

    #[test]
    fn a_list_from_before_there_were_shards_says_what_is_owned() {
        let old = r#"[{"group":"apps","kind":"Deployment","namespace":"shop","name":"web","api_version":"apps/v1",
            "manifest":"aa","uid":"u","answer":"bb"},{"kind":"ConfigMap","namespace":"shop","name":"a","api_version":"v1"}]"#;
        let inventory = Inventory::of_old(old).unwrap();
        assert_eq!(inventory.len(), 2);
        assert_eq!(inventory.get(&id("a")).unwrap().manifest, None);
        assert_eq!(inventory.unwritten(), [0], "it is kept in the new form");
        assert!(Inventory::of_old("{}").is_err());
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        assert!(Inventory::default().take_shard("{}").is_err());
    }
}
