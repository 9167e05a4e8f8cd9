//! What the cluster has, as far as a pass must know: of each object its identity, our fields in few bytes, and how it is. The
//! watches feed it, and so do the answers to our own writes. No object is kept whole. Pure but for the lock.

use super::{
    health::{self, Health},
    kinds::Place,
    object::ObjectId,
    owned::{self, Answer},
    pods::{self, Trouble},
    report::Workload,
};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Instant,
};

/// An object that carries this annotation with the value `never` is released, not deleted.
pub const PRUNE: &str = "gitops-hooks.dev/prune";

/// What is kept of one object of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Which object it is.
    pub uid: String,
    /// Its version, as the server gave it.
    pub version: String,
    /// Whether our field manager has applied it.
    pub ours: bool,
    /// Who else wrote it; empty for what is ours, where it is asked for only when it matters.
    others: Box<str>,
    /// Our fields of it; none where they cannot be read in this version.
    pub answer: Option<Answer>,
    /// Whether its replicas belong to an autoscaler.
    pub scaled: bool,
    /// Whether it must never be deleted.
    pub keep: bool,
    /// What its deletion waits for, where it is being deleted.
    pub going: Option<Box<str>>,
    /// How it is.
    pub health: Health,
    /// What it runs, where it is a workload.
    pub workload: Option<Box<Workload>>,
    /// What its pods are known by, while it waits for them.
    pods: Option<Box<Json>>,
}

impl Seen {
    /// What is kept of an object as the server gives it, with its `apiVersion` and `kind`.
    #[must_use]
    pub fn of(live: &Json) -> Self {
        let text = |pointer: &str| live.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
        let entry = owned::entries(live).find(|entry| owned::is_ours(entry));
        let ours = entry.is_some();
        // Fields are named as the version that was applied names them.
        let legible = entry.is_some_and(|entry| entry["apiVersion"] == live["apiVersion"]);
        let health = health::rule(live);
        let waits = matches!(health, Health::Progressing(_));
        Self {
            uid: text("/metadata/uid").to_owned(),
            version: text("/metadata/resourceVersion").to_owned(),
            ours,
            others: if ours { Box::default() } else { managers(live).into() },
            answer: legible.then(|| owned::answer(live)).flatten(),
            scaled: owned::is_scaled(live),
            keep: live.pointer("/metadata/annotations").and_then(|all| all.get(PRUNE)) == Some(&"never".into()),
            going: live.pointer("/metadata/deletionTimestamp").map(|_| finalizers(live).into()),
            health,
            workload: workload(live).map(Box::new),
            pods: waits.then(|| pods::selects(live)).flatten().map(Box::new),
        }
    }

    /// Who wrote it, for people.
    #[must_use]
    pub fn managers(&self) -> &str {
        if self.others.is_empty() { "an unknown hand" } else { &self.others }
    }

    fn number(&self) -> Option<u64> {
        self.version.parse().ok()
    }

    /// Whether another look at the same object tells more than that time has passed.
    fn is_news_after(&self, earlier: &Self) -> bool {
        let same = Self { version: earlier.version.clone(), ..self.clone() };
        same != *earlier
    }
}

/// The finalizers of an object, for people.
fn finalizers(live: &Json) -> String {
    let all = live.pointer("/metadata/finalizers").and_then(Json::as_array).into_iter().flatten();
    all.filter_map(Json::as_str).collect::<Vec<_>>().join(", ")
}

/// Who else wrote an object, for people.
fn managers(live: &Json) -> String {
    let names: BTreeSet<&str> = owned::entries(live)
        .filter(|entry| entry["subresource"] != "status" && !owned::is_ours(entry))
        .filter_map(|entry| entry["manager"].as_str())
        .filter(|name| *name != "kube-controller-manager")
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// What a workload runs, for the report.
fn workload(live: &Json) -> Option<Workload> {
    let containers = live.pointer("/spec/template/spec/containers")?.as_array()?;
    let images = containers.iter().filter_map(|container| container["image"].as_str()).map(str::to_owned).collect();
    let number = |pointers: &[&str]| pointers.iter().find_map(|pointer| live.pointer(pointer)?.as_i64());
    Some(Workload {
        object: String::new(),
        images,
        ready: number(&["/status/readyReplicas", "/status/numberReady"]).unwrap_or(0),
        wanted: number(&["/spec/replicas", "/status/desiredNumberScheduled"]).unwrap_or(1),
    })
}

/// A pod that does not start, with what tells whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Ailing {
    /// Its labels and images, as [`pods::belongs`] reads them.
    shape: Json,
    /// What it says.
    pub trouble: Trouble,
}

/// What a listing is of: group, kind, namespace.
type Listed = (String, String, Option<String>);

fn listed(object: &ObjectId) -> Listed {
    (object.group.clone(), object.kind.clone(), object.namespace.clone())
}

fn listed_at(place: &Place) -> Listed {
    let resource = &place.kind.resource;
    (resource.group.clone(), resource.kind.clone(), place.namespace.clone())
}

/// What all watches have seen.
#[derive(Debug, Default)]
pub struct Cache {
    objects: HashMap<ObjectId, Seen>,
    /// Since when a workload is healthy without a break; a pass alone would miss a break between two of them.
    steady: HashMap<ObjectId, Instant>,
    /// By namespace and name.
    ailing: BTreeMap<(String, String), Ailing>,
    /// What a listing under way has named so far, by group, kind and namespace.
    listing: HashMap<Listed, HashSet<ObjectId>>,
    news: bool,
}

impl Cache {
    /// What is known of an object.
    #[must_use]
    pub fn get(&self, object: &ObjectId) -> Option<&Seen> {
        self.objects.get(object)
    }

    /// Whether there is anything that a pass has not seen.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.news
    }

    /// The same; asking forgets it.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// A listing of a kind begins.
    pub fn begin(&mut self, place: &Place) {
        self.listing.insert(listed_at(place), HashSet::new());
    }

    /// A listing of a kind is whole: what it did not name is gone.
    pub fn complete(&mut self, place: &Place) {
        let Some(listed) = self.listing.remove(&listed_at(place)) else { return };
        let before = self.objects.len();
        self.objects.retain(|object, _| !place.holds(object) || listed.contains(object));
        self.forget_absent();
        self.news |= before != self.objects.len();
    }

    /// Takes an object as a watch, or the answer to a write, shows it. An older look than the last changes nothing: a
    /// watch may still be telling what our own write has overtaken.
    pub fn put(&mut self, object: &ObjectId, live: &Json) {
        if !self.listing.is_empty()
            && let Some(listed) = self.listing.get_mut(&listed(object))
        {
            listed.insert(object.clone());
        }
        let mut seen = Seen::of(live);
        if let Some(known) = self.objects.get(object) {
            if known.uid == seen.uid && known.number() > seen.number() {
                return;
            }
            if known.version == seen.version {
                seen.answer = seen.answer.or(known.answer);
            }
            self.news |= seen.is_news_after(known);
        } else {
            self.news = true;
        }
        if seen.workload.is_some() || object.kind == "Pod" {
            let is_same = self.objects.get(object).is_some_and(|known| known.uid == seen.uid);
            if seen.health != Health::Healthy || !is_same {
                self.steady.remove(object);
            }
            if seen.health == Health::Healthy {
                self.steady.entry(object.clone()).or_insert_with(Instant::now);
            }
        }
        self.objects.insert(object.clone(), seen);
    }

    /// Since when a workload is healthy without a break; of anything else nothing is known.
    #[must_use]
    pub fn steady_since(&self, object: &ObjectId) -> Option<Instant> {
        self.steady.get(object).copied()
    }

    /// Takes a pod that is looked at only for what it says about its workload.
    pub fn put_pod(&mut self, namespace: &str, name: &str, live: &Json) {
        let key = (namespace.to_owned(), name.to_owned());
        let ailing = pods::trouble(live).map(|trouble| Ailing { shape: pods::shape(live), trouble });
        let changed = match ailing {
            Some(ailing) => self.ailing.insert(key, ailing.clone()) != Some(ailing),
            None => self.ailing.remove(&key).is_some(),
        };
        self.news |= changed;
    }

    /// Takes note that a namespace has no other pods than these.
    pub fn retain_pods(&mut self, namespace: &str, names: &HashSet<String>) {
        let before = self.ailing.len();
        self.ailing.retain(|(place, name), _| place != namespace || names.contains(name));
        self.news |= before != self.ailing.len();
    }

    /// Takes note that a pod is gone.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        self.news |= self.ailing.remove(&(namespace.to_owned(), name.to_owned())).is_some();
    }

    /// Takes note that an object is gone, unless a newer one has its name.
    pub fn remove(&mut self, object: &ObjectId, uid: &str) {
        if let Some(listed) = self.listing.get_mut(&listed(object)) {
            listed.remove(object);
        }
        if self.objects.get(object).is_some_and(|known| known.uid == uid) {
            self.objects.remove(object);
            self.steady.remove(object);
            self.news = true;
        }
    }

    /// Forgets all objects of places that are followed no more.
    pub fn keep_only(&mut self, follows: impl Fn(&ObjectId) -> bool) {
        self.objects.retain(|object, _| follows(object));
        self.forget_absent();
    }

    fn forget_absent(&mut self) {
        let Self { objects, steady, .. } = self;
        steady.retain(|object, _| objects.contains_key(object));
    }

    /// How an object is, with the reason of its pods where it waits for them.
    #[must_use]
    pub fn health(&self, object: &ObjectId, seen: &Seen) -> (Health, Option<&Ailing>) {
        let beside = self.ailing.iter().filter(|((namespace, _), _)| object.namespace.as_ref() == Some(namespace));
        if let Some(selects) = &seen.pods
            && let Some(ailing) = beside.map(|(_, ailing)| ailing).find(|it| pods::belongs(selects, &it.shape))
        {
            return (ailing.trouble.health(), Some(ailing));
        }
        (seen.health.clone(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::kinds::{Kinds, Scope};
    use serde_json::json;

    fn id(name: &str) -> ObjectId {
        ObjectId { group: String::new(), kind: "ConfigMap".into(), namespace: Some("shop".into()), name: name.into() }
    }

    fn live(uid: &str, version: u32, value: &str) -> Json {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": value }, "metadata": { "uid": uid,
            "resourceVersion": version.to_string(), "managedFields": [{ "manager": "gitops-hooks",
                "operation": "Apply", "apiVersion": "v1", "fieldsV1": { "f:data": { "f:a": {} } } }] } })
    }

    fn maps(namespace: &str) -> Place {
        let mut kinds = Kinds::default();
        kinds.add("", "v1", "ConfigMap", "configmaps", Scope::Namespaced);
        Place { kind: kinds.find("v1", "ConfigMap").unwrap().clone(), namespace: Some(namespace.to_owned()) }
    }

    #[test]
    fn an_older_look_changes_nothing() {
        let mut cache = Cache::default();
        cache.put(&id("a"), &live("u", 5, "new"));
        let answer = cache.get(&id("a")).unwrap().answer;
        assert!(cache.take_news());
        cache.put(&id("a"), &live("u", 4, "old"));
        assert_eq!(cache.get(&id("a")).unwrap().answer, answer);
        assert!(!cache.take_news());
        cache.put(&id("a"), &live("u", 6, "new"));
        assert!(!cache.take_news(), "a version alone is no news");
        cache.put(&id("a"), &live("u", 7, "other"));
        assert!(cache.take_news());
    }

    #[test]
    fn a_whole_listing_says_what_is_gone() {
        let mut cache = Cache::default();
        cache.put(&id("a"), &live("u", 5, "x"));
        cache.put(&id("b"), &live("v", 5, "x"));
        let elsewhere = ObjectId { namespace: Some("other".into()), ..id("a") };
        cache.put(&elsewhere, &live("x", 5, "x"));
        cache.begin(&maps("shop"));
        cache.put(&id("a"), &live("u", 5, "x"));
        // Made by ourselves while the listing was under way.
        cache.put(&id("c"), &live("w", 9, "x"));
        cache.complete(&maps("shop"));
        assert!(cache.get(&elsewhere).is_some(), "of another namespace it says nothing");
        assert!(cache.get(&id("a")).is_some() && cache.get(&id("c")).is_some());
        assert!(cache.get(&id("b")).is_none());
    }

    #[test]
    fn a_late_word_of_a_deletion_does_not_take_the_next_object() {
        let mut cache = Cache::default();
        cache.put(&id("a"), &live("second", 8, "x"));
        cache.remove(&id("a"), "first");
        assert!(cache.get(&id("a")).is_some());
        cache.remove(&id("a"), "second");
        assert!(cache.get(&id("a")).is_none());
    }

    #[test]
    fn a_workload_is_steady_only_while_it_is_healthy_without_a_break() {
        let workload = |version: u32, ready: u32| {
            json!({ "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "uid": "u", "resourceVersion": version.to_string(), "generation": 1 },
                "spec": { "replicas": 1, "template": { "spec": { "containers": [{ "name": "web", "image": "web:2" }] } } },
                "status": { "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": ready,
                    "availableReplicas": ready } })
        };
        let mut cache = Cache::default();
        cache.put(&id("a"), &workload(1, 1));
        let first = cache.steady_since(&id("a")).unwrap();
        cache.put(&id("a"), &workload(2, 1));
        assert_eq!(cache.steady_since(&id("a")), Some(first));
        cache.put(&id("a"), &workload(3, 0));
        assert_eq!(cache.steady_since(&id("a")), None);
        cache.put(&id("a"), &workload(4, 1));
        assert!(cache.steady_since(&id("a")).unwrap() > first);
        cache.remove(&id("a"), "u");
        assert_eq!(cache.steady_since(&id("a")), None);
    }

    #[test]
    fn a_workload_that_waits_says_what_its_pods_say() {
        let workload = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "generation": 1 },
            "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "web" } },
                "template": { "spec": { "containers": [{ "name": "web", "image": "web:2" }] } } },
            "status": { "observedGeneration": 1 } });
        let pod = |image: &str| {
            json!({ "metadata": { "name": "web-1", "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": image }] },
                "status": { "containerStatuses": [{ "name": "web",
                    "state": { "waiting": { "reason": "ErrImagePull", "message": "no such image" } } }] } })
        };
        let mut cache = Cache::default();
        cache.put_pod("shop", "web-1", &pod("web:1"));
        cache.put_pod("other", "web-1", &pod("web:2"));
        let seen = Seen::of(&workload);
        assert!(
            matches!(cache.health(&id("web"), &seen).0, Health::Progressing(_)),
            "of an earlier template, or elsewhere"
        );
        cache.put_pod("shop", "web-1", &pod("web:2"));
        assert!(
            matches!(cache.health(&id("web"), &seen).0, Health::Failed(reason) if reason.contains("no such image"))
        );
    }
}
