//! Drift in words: which of our fields were changed, and by whom, as the server's own account of managers says; and what
//! is a fight rather than a slip. Pure.

use super::{
    object::ObjectId,
    owned::{entries, fields, is_ours},
};
use serde_json::{Map, Value as Json};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Fields that are named of one object.
const NAMED: usize = 5;
/// So many times something is put back within the window; the next time it is a fight.
const ROUNDS: usize = 5;
/// The window.
const WINDOW: Duration = Duration::from_secs(600);

/// What was changed about an object since we applied it, as a phrase: `spec.replicas by kubectl-edit`.
#[must_use]
pub fn describe(manifest: &Json, live: &Json) -> String {
    let none = Map::new();
    let ours = fields(live).unwrap_or(&none);
    let others: Vec<(&str, &Json)> = entries(live)
        .filter(|entry| !is_ours(entry) && entry["subresource"] != "status")
        .filter_map(|entry| Some((entry["manager"].as_str()?, entry.get("fieldsV1")?)))
        .collect();
    let mut lost = Vec::new();
    find(manifest, ours, &others, "", &mut lost);
    let managers: BTreeSet<&str> = lost.iter().flat_map(|(_, managers)| managers.iter().copied()).collect();
    let named: Vec<&str> = lost.iter().take(NAMED).map(|(path, _)| path.as_str()).collect();
    let more = if lost.len() > NAMED { format!(" and {} more", lost.len() - NAMED) } else { String::new() };
    let who = if managers.is_empty() {
        latest(live).map_or_else(String::new, |manager| format!(", last written by {manager}"))
    } else {
        format!(" by {}", managers.into_iter().collect::<Vec<_>>().join(", "))
    };
    if named.is_empty() { format!("its fields{who}") } else { format!("{}{more}{who}", named.join(", ")) }
}

/// Whoever wrote last: of a field that was removed nobody is the owner.
fn latest(live: &Json) -> Option<&str> {
    entries(live)
        .filter(|entry| !is_ours(entry) && entry["subresource"] != "status")
        .max_by_key(|entry| entry["time"].as_str().unwrap_or_default())?["manager"]
        .as_str()
}

/// The fields of the manifest that are ours no more, each with those who have it now.
fn find<'l>(
    manifest: &Json,
    ours: &Map<String, Json>,
    others: &[(&'l str, &Json)],
    path: &str,
    lost: &mut Vec<(String, BTreeSet<&'l str>)>,
) {
    let parts: Vec<(String, String, &Json)> = match manifest {
        Json::Object(map) => map
            .iter()
            .filter(|(key, value)| !value.is_null() && !is_identity(path, key))
            .map(|(key, value)| {
                let shown = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                (format!("f:{key}"), shown, value)
            })
            .collect(),
        Json::Array(items) => items.iter().filter_map(|item| element(item, ours, others, path)).collect(),
        _ => return,
    };
    for (element, shown, value) in parts {
        let theirs: Vec<(&str, &Json)> =
            others.iter().filter_map(|(manager, set)| Some((*manager, set.get(&element)?))).collect();
        match ours.get(&element).and_then(Json::as_object) {
            // Its name has no owner, so that nobody may own a part of it.
            None if element == "f:metadata" => find(value, &Map::new(), &theirs, &shown, lost),
            None if is_leaf(value) || theirs.is_empty() => {
                lost.push((shown, theirs.into_iter().map(|(manager, _)| manager).collect()));
            }
            None => find(value, &Map::new(), &theirs, &shown, lost),
            // An atomic value, or one without parts: all of it is ours.
            Some(below) if below.is_empty() => {}
            Some(below) => find(value, below, &theirs, &shown, lost),
        }
    }
}

fn is_leaf(value: &Json) -> bool {
    match value {
        Json::Object(map) => map.is_empty(),
        Json::Array(items) => items.is_empty(),
        _ => true,
    }
}

/// What says which object it is has no owner.
fn is_identity(path: &str, key: &str) -> bool {
    match path {
        "" => matches!(key, "apiVersion" | "kind"),
        "metadata" => matches!(key, "name" | "namespace"),
        _ => false,
    }
}

/// The element that stands for a list's item in the sets that know it, with the item as people would point at it.
fn element<'i>(
    item: &'i Json,
    ours: &Map<String, Json>,
    others: &[(&str, &Json)],
    path: &str,
) -> Option<(String, String, &'i Json)> {
    let known = ours.keys().chain(others.iter().filter_map(|(_, set)| set.as_object()).flat_map(Map::keys));
    for key in known {
        if key.starts_with("k:") && fits(key, item) {
            let name = item.get("name").and_then(Json::as_str).map_or_else(|| key[2..].to_owned(), str::to_owned);
            return Some((key.clone(), format!("{path}[{name}]"), item));
        }
        if key.strip_prefix("v:").is_some_and(|member| serde_json::from_str::<Json>(member).is_ok_and(|it| it == *item))
        {
            return Some((key.clone(), format!("{path}[{item}]"), item));
        }
    }
    // No set knows it: it was removed as a whole.
    let name = item.get("name").and_then(Json::as_str)?;
    Some((format!("k:{{\"name\":\"{name}\"}}"), format!("{path}[{name}]"), item))
}

/// Whether an item is the one that a key means; keys that the server fills in by default may be missing in a manifest.
fn fits(key: &str, item: &Json) -> bool {
    let Ok(keys) = serde_json::from_str::<Map<String, Json>>(&key[2..]) else { return false };
    let mut known = keys.iter().filter_map(|(key, value)| Some((item.get(key)?, value))).peekable();
    known.peek().is_some() && known.all(|(there, value)| there == value)
}

/// Who is put back how often.
#[derive(Debug, Default)]
pub struct Fights(HashMap<ObjectId, VecDeque<Instant>>);

impl Fights {
    /// Whether putting it back once more would be a fight.
    #[must_use]
    pub fn is_one(&self, object: &ObjectId, now: Instant) -> bool {
        let recent =
            |times: &VecDeque<Instant>| times.iter().filter(|time| now.duration_since(**time) < WINDOW).count();
        self.0.get(object).is_some_and(|times| recent(times) >= ROUNDS)
    }

    /// Notes that it was put back.
    pub fn note(&mut self, object: &ObjectId, now: Instant) {
        let times = self.0.entry(object.clone()).or_default();
        times.push_back(now);
        if times.len() > ROUNDS {
            times.pop_front();
        }
    }

    /// Forgets an object that changed in the repository.
    pub fn forget(&mut self, object: &ObjectId) {
        self.0.remove(object);
    }

    /// What is said of a fight.
    #[must_use]
    pub fn says(what: &str) -> String {
        format!(
            "{what}; it was put back {ROUNDS} times within {0} minutes, and is left alone until a commit changes it or the first of these is {0} minutes ago: leave the field out of the manifest, or stop the other one",
            WINDOW.as_secs() / 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::FIELD_MANAGER;
    use serde_json::json;

    fn live(ours: &Json, theirs: &Json) -> Json {
        json!({ "metadata": { "managedFields": [
            { "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": ours },
            { "manager": "kubectl-edit", "operation": "Update", "time": "2026-01-02T00:00:00Z", "fieldsV1": theirs },
            { "manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
              "time": "2026-01-03T00:00:00Z", "fieldsV1": { "f:status": {} } },
        ] } })
    }

    #[test]
    fn the_field_and_who_changed_it_are_named() {
        let manifest = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": { "replicas": 2, "template": { "spec": { "containers": [{ "name": "web", "image": "a:1" }] } } } });
        let ours = json!({ "f:spec": { "f:replicas": {}, "f:template": { "f:spec": { "f:containers": {
            "k:{\"name\":\"web\"}": { ".": {}, "f:name": {} } } } } } });
        let theirs = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
            "k:{\"name\":\"web\"}": { "f:image": {} } } } } } });
        let said = describe(&manifest, &live(&ours, &theirs));
        assert_eq!(said, "spec.template.spec.containers[web].image by kubectl-edit");
    }

    #[test]
    fn a_removed_field_is_named_with_whoever_wrote_last() {
        let manifest = json!({ "kind": "ConfigMap", "data": { "a": "1", "b": "2" } });
        let said = describe(&manifest, &live(&json!({ "f:data": { "f:b": {} } }), &json!({})));
        assert_eq!(said, "data.a, last written by kubectl-edit");
    }

    #[test]
    fn many_put_backs_are_a_fight_until_it_is_forgotten_or_the_first_is_long_ago() {
        let object =
            ObjectId { group: String::new(), kind: "ConfigMap".into(), namespace: None, name: "contested".into() };
        let mut fights = Fights::default();
        let start = Instant::now();
        for _ in 0..ROUNDS {
            assert!(!fights.is_one(&object, start));
            fights.note(&object, start);
        }
        assert!(fights.is_one(&object, start));
        assert!(!fights.is_one(&object, start + WINDOW));
        fights.forget(&object);
        assert!(!fights.is_one(&object, start));
    }
}
