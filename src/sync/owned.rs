//! What the server holds in the fields that are ours, as it keeps account of them itself (`metadata.managedFields`). Seen
//! so, its answer to an apply and a later look at the same object are equal until somebody takes, changes or removes
//! one of those fields: defaults and status are no drift, and no manifest is needed to tell. The format is that of
//! `sigs.k8s.io/structured-merge-diff`.

use super::{
    FIELD_MANAGER,
    fingerprint::{Fingerprint, Hasher},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// Our fields of an object, in few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// All but the replicas.
    pub fields: Fingerprint,
    /// The replicas, where they are ours: an autoscaler may take these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
}

/// What the object holds in our fields; nothing where none is ours.
#[must_use]
pub fn answer(live: &Json) -> Option<Answer> {
    let fields = fields(live)?;
    let mut hasher = Hasher::default();
    walk(fields, live, &mut hasher, &mut String::new());
    let replicas = fields.get("f:spec").and_then(|spec| spec.get("f:replicas"));
    Some(Answer {
        fields: hasher.finish(),
        replicas: replicas.and_then(|_| live.pointer("/spec/replicas")).and_then(Json::as_i64),
    })
}

/// The set of our fields.
pub(super) fn fields(live: &Json) -> Option<&Map<String, Json>> {
    entries(live).find(|entry| is_ours(entry))?.get("fieldsV1")?.as_object()
}

/// Who owns what.
pub(super) fn entries(live: &Json) -> impl Iterator<Item = &Json> {
    live.pointer("/metadata/managedFields").and_then(Json::as_array).into_iter().flatten()
}

/// Whether an entry is of what we applied.
pub(super) fn is_ours(entry: &Json) -> bool {
    entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply"
}

/// Whether a program has set the replicas through `scale`, as autoscalers do. A person with `kubectl scale` is none: to leave
/// that would be to follow the repository no more, and to say nothing of it.
#[must_use]
pub fn is_scaled(live: &Json) -> bool {
    let is_a_program = |entry: &Json| {
        entry["manager"].as_str().is_some_and(|manager| manager != FIELD_MANAGER && !manager.starts_with("kubectl"))
    };
    entries(live).any(|entry| {
        entry["subresource"] == "scale" && is_a_program(entry) && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
    })
}

/// The path of the replicas, which have a place of their own in an [`Answer`].
const REPLICAS: &str = "/f:spec/f:replicas";

/// Takes in each of our leaves with its path. What only leads to one does not count: it comes and goes with its leaves.
fn walk(fields: &Map<String, Json>, live: &Json, hasher: &mut Hasher, path: &mut String) {
    let mut keys: Vec<&String> = fields.keys().filter(|key| *key != ".").collect();
    keys.sort_unstable();
    for key in keys {
        let length = path.len();
        path.push('/');
        path.push_str(key);
        let value = step(key, live);
        match (value, fields[key].as_object().filter(|below| !below.is_empty())) {
            _ if path == REPLICAS => {}
            (Some(value), Some(below)) => walk(below, value, hasher, path),
            (Some(value), None) => {
                hasher.text(path);
                hasher.value(value);
            }
            (None, _) => {
                hasher.text(path);
                hasher.text("absent");
            }
        }
        path.truncate(length);
    }
}

/// The part of a value that one element of a path means: a field, a list's item by its keys, a set's member, a place.
pub(super) fn step<'l>(element: &str, live: &'l Json) -> Option<&'l Json> {
    let (sort, rest) = element.split_once(':')?;
    match sort {
        "f" => live.get(rest),
        "k" => {
            let keys: Map<String, Json> = serde_json::from_str(rest).ok()?;
            live.as_array()?.iter().find(|item| keys.iter().all(|(key, value)| item.get(key) == Some(value)))
        }
        "v" => {
            let member: Json = serde_json::from_str(rest).ok()?;
            live.as_array()?.iter().find(|item| **item == member)
        }
        "i" => live.get(rest.parse::<usize>().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A Deployment with our fields; the sidecar and the strategy are not ours.
    fn live() -> Json {
        json!({
            "metadata": { "labels": { "app": "web" }, "finalizers": ["x/y"], "managedFields": [
                { "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {
                    "f:metadata": { "f:labels": { "f:app": {} }, "f:finalizers": { "v:\"x/y\"": {} } },
                    "f:spec": { "f:replicas": {}, "f:template": { "f:spec": { "f:containers": {
                        "k:{\"name\":\"web\"}": { ".": {}, "f:name": {}, "f:image": {}, "f:args": {} } } } } } } },
                { "manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {} },
            ] },
            "spec": { "replicas": 2, "strategy": {}, "template": { "spec": { "containers":
                [{ "name": "web", "image": "a:1", "args": ["x"], "terminationMessagePath": "/x" }] } } },
            "status": {},
        })
    }

    fn with(change: impl Fn(&mut Json)) -> Json {
        let mut live = live();
        change(&mut live);
        live
    }

    #[test]
    fn what_the_server_and_others_add_is_no_drift() {
        let theirs = with(|live| {
            live["status"] = json!({ "replicas": 2 });
            live["spec"]["strategy"] = json!({ "type": "RollingUpdate" });
            live["metadata"]["labels"]["other"] = "x".into();
            let containers = live.pointer_mut("/spec/template/spec/containers").unwrap().as_array_mut().unwrap();
            containers.insert(0, json!({ "name": "proxy", "image": "p" }));
        });
        assert_eq!(answer(&live()), answer(&theirs));
    }

    #[test]
    fn a_changed_or_lost_field_is_drift() {
        let image = "/spec/template/spec/containers/0/image";
        let changes: [&dyn Fn(&mut Json); 5] = [
            &|live| *live.pointer_mut(image).unwrap() = "a:2".into(),
            &|live| *live.pointer_mut("/spec/template/spec/containers").unwrap() = json!([]),
            &|live| *live.pointer_mut("/metadata/labels").unwrap() = json!({}),
            &|live| *live.pointer_mut("/metadata/finalizers").unwrap() = json!([]),
            // The value is the same, and another took the field: our entry has lost it.
            &|live| {
                let fields = live.pointer_mut("/metadata/managedFields/0/fieldsV1/f:metadata").unwrap();
                fields.as_object_mut().unwrap().remove("f:labels");
            },
        ];
        for (index, change) in changes.iter().enumerate() {
            assert_ne!(answer(&live()), answer(&with(change)), "change {index}");
        }
    }

    #[test]
    fn replicas_are_told_apart_from_the_rest() {
        let scaled = with(|live| live["spec"]["replicas"] = 7.into());
        let (before, after) = (answer(&live()).unwrap(), answer(&scaled).unwrap());
        assert_eq!(before.fields, after.fields);
        assert_eq!((before.replicas, after.replicas), (Some(2), Some(7)));
        assert!(!is_scaled(&scaled));
        let by_autoscaler = with(|live| {
            live["metadata"]["managedFields"].as_array_mut().unwrap().push(json!({ "manager": "hpa",
                "operation": "Update", "subresource": "scale", "fieldsV1": { "f:spec": { "f:replicas": {} } } }));
        });
        assert!(is_scaled(&by_autoscaler));
    }

    #[test]
    fn what_is_not_ours_has_no_answer() {
        assert_eq!(answer(&json!({ "metadata": {} })), None);
    }
}
