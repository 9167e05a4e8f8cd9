//! What is to be done and why, as plain data, made before anything is done. Pure: given what the repository wants, what
//! the inventory knows and what the cluster has, it says for every object one verdict with its reason.

use super::{
    FIELD_MANAGER, fingerprint,
    inventory::Inventory,
    kinds::{Kinds, Scope},
    object::{Manifest, ObjectId, Problem},
};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};

/// The objects of the cluster that matter here, each as the API server gave it.
pub type Observed = HashMap<ObjectId, Json>;

/// The objects that the repository wants, by what they are called.
pub type Wanted = BTreeMap<ObjectId, Manifest>;

/// What is done with one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not there: applied, and another's object of that name in the meantime is a conflict.
    Create,
    /// It is ours and the manifest changed: applied.
    Change,
    /// It is ours and somebody changed it: put back.
    Correct,
    /// It is ours and as it should be: not touched.
    Unchanged,
    /// It is there and not ours: not touched until it is adopted.
    Refuse,
}

/// A verdict and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The object.
    pub object: ObjectId,
    /// What is done.
    pub verdict: Verdict,
    /// Why, as a phrase.
    pub reason: String,
}

/// What manifests may ask for: their namespaces are filled in, and what may not be applied here is refused by name.
#[must_use]
pub fn resolve(manifests: Vec<Manifest>, namespace: &str, kinds: &Kinds) -> (Wanted, Vec<Problem>) {
    let mut wanted = Wanted::new();
    let mut refused = Vec::new();
    let mut doubled = Vec::new();
    for mut manifest in manifests {
        let mut refuse = |manifest: &Manifest, message: String| {
            refused.push(Problem { origin: manifest.origin.clone(), object: Some(manifest.id.clone()), message });
        };
        let kind = &manifest.id.kind;
        let Some(served) = kinds.find(&manifest.api_version, kind) else {
            let message = match kinds.versions_of(kind).as_slice() {
                [] => format!("the cluster knows no kind {kind}; install its CustomResourceDefinition first"),
                versions => format!(
                    "the cluster does not serve {kind} as {}, but as {}",
                    manifest.api_version,
                    versions.join(", ")
                ),
            };
            refuse(&manifest, message);
            continue;
        };
        if served.scope == Scope::Cluster {
            refuse(
                &manifest,
                format!("a {kind} belongs to the whole cluster, and this sync to the namespace {namespace} alone"),
            );
            continue;
        }
        if !served.is_writable() {
            refuse(&manifest, format!("{kind} is not among the kinds that the sync's Role lists; apply it by hand"));
            continue;
        }
        match manifest.id.namespace.as_deref() {
            Some(written) if written != namespace => {
                refuse(
                    &manifest,
                    format!("metadata.namespace: this environment is the namespace {namespace}, not {written}"),
                );
                continue;
            }
            _ => {}
        }
        manifest.id.namespace = Some(namespace.to_owned());
        prepare(&mut manifest.value, namespace);
        if let Some(earlier) = wanted.get(&manifest.id) {
            let message = format!("stands in {} as well; keep one of them", earlier.origin);
            refuse(&manifest, message);
            doubled.push(manifest.id);
            continue;
        }
        wanted.insert(manifest.id.clone(), manifest);
    }
    // Which of two is meant cannot be told, so neither is applied.
    for object in doubled {
        if let Some(first) = wanted.remove(&object) {
            let message = "stands here and in another place; keep one of them".to_owned();
            refused.push(Problem { origin: first.origin, object: Some(object), message });
        }
    }
    (wanted, refused)
}

/// What the server keeps for itself is not ours to send, however it came into the file (`kubectl get -o yaml`).
fn prepare(value: &mut Json, namespace: &str) {
    if let Some(object) = value.as_object_mut() {
        object.shift_remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Json::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"] {
            metadata.shift_remove(field);
        }
        metadata.insert("namespace".to_owned(), namespace.into());
    }
}

/// The verdict on every wanted object.
#[must_use]
pub fn plan(wanted: &Wanted, owned: &Inventory, observed: &Observed) -> Vec<Decision> {
    let decide = |(object, manifest): (&ObjectId, &Manifest)| {
        let (verdict, reason) = verdict(manifest, owned, observed.get(object));
        Decision { object: object.clone(), verdict, reason }
    };
    wanted.iter().map(decide).collect()
}

fn verdict(manifest: &Manifest, owned: &Inventory, live: Option<&Json>) -> (Verdict, String) {
    let applied = owned.objects.get(&manifest.id);
    let Some(live) = live else {
        let reason =
            if applied.is_some_and(|applied| !applied.manifest.is_empty()) { "it is gone" } else { "it is new" };
        return (Verdict::Create, reason.to_owned());
    };
    let Some(applied) = applied.filter(|_| owns(owned, &manifest.id, live)) else {
        return if is_ours(live) {
            (Verdict::Change, "it was adopted".to_owned())
        } else {
            let who = managers(live);
            let hint = "`gitops-hooks cluster install ENVIRONMENT --adopt` takes it over";
            (Verdict::Refuse, format!("it is there already, made by {who}; {hint}"))
        };
    };
    let sent = without_foreign(&manifest.value, live);
    if applied.manifest != fingerprint::of(&sent) {
        (Verdict::Change, "its manifest changed".to_owned())
    } else if applied.answer != fingerprint::through(&sent, live) {
        (Verdict::Correct, format!("it was changed by {}", managers(live)))
    } else {
        (Verdict::Unchanged, "it is as it should be".to_owned())
    }
}

/// Whether an object of the cluster is the one that the inventory has. Our managed fields alone do not tell: who overwrites
/// the only field that we have takes our entry away with it.
#[must_use]
pub fn owns(owned: &Inventory, object: &ObjectId, live: &Json) -> bool {
    owned.objects.get(object).is_some_and(|applied| {
        is_ours(live) || (!applied.uid.is_empty() && live["metadata"]["uid"] == applied.uid.as_str())
    })
}

/// Whether our field manager has applied it.
#[must_use]
pub fn is_ours(live: &Json) -> bool {
    entries(live).any(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply")
}

fn entries(live: &Json) -> impl Iterator<Item = &Json> {
    live.pointer("/metadata/managedFields").and_then(Json::as_array).into_iter().flatten()
}

/// Who else wrote an object, for people.
fn managers(live: &Json) -> String {
    let mut names: Vec<&str> = entries(live)
        .filter(|entry| entry["subresource"] != "status")
        .filter_map(|entry| entry["manager"].as_str())
        .filter(|name| *name != FIELD_MANAGER && *name != "kube-controller-manager")
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "an unknown hand".to_owned() } else { names.join(", ") }
}

/// The manifest without what others own through `scale`: an autoscaler's replicas stay its own.
#[must_use]
pub fn without_foreign(manifest: &Json, live: &Json) -> Json {
    let mut sent = manifest.clone();
    let scaled = entries(live).any(|entry| {
        entry["subresource"] == "scale"
            && entry["manager"] != FIELD_MANAGER
            && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
    });
    if scaled && let Some(spec) = sent.get_mut("spec").and_then(Json::as_object_mut) {
        spec.shift_remove("replicas");
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{inventory::Applied, object::Origin};
    use serde_json::json;

    fn kinds() -> Kinds {
        let mut kinds = Kinds::default();
        kinds.add("apps", "v1", "Deployment", "deployments", Scope::Namespaced);
        kinds.add("", "v1", "ConfigMap", "configmaps", Scope::Namespaced);
        kinds.add("", "v1", "Secret", "secrets", Scope::Namespaced);
        kinds.add("", "v1", "Namespace", "namespaces", Scope::Cluster);
        kinds
    }

    fn manifest(api_version: &str, kind: &str, namespace: Option<&str>, line: usize) -> Manifest {
        let group = api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
        let id = ObjectId { group, kind: kind.into(), namespace: namespace.map(str::to_owned), name: "web".into() };
        let value = json!({ "apiVersion": api_version, "kind": kind,
            "metadata": { "name": "web", "uid": "x" }, "spec": { "replicas": 2 }, "status": {} });
        let origin = Origin { file: "a.yaml".into(), document: 1, line };
        Manifest { id, api_version: api_version.into(), origin, value }
    }

    fn live(manager: &str, replicas: u32) -> Json {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "replicas": replicas, "paused": false },
            "metadata": { "name": "web", "namespace": "shop",
                "managedFields": [{ "manager": manager, "operation": "Apply" }] } })
    }

    fn wanted() -> Wanted {
        resolve(vec![manifest("apps/v1", "Deployment", None, 1)], "shop", &kinds()).0
    }

    fn owned(wanted: &Wanted, answer: &Json) -> Inventory {
        let objects = wanted.iter().map(|(id, manifest)| {
            let applied = Applied {
                api_version: manifest.api_version.clone(),
                manifest: fingerprint::of(&manifest.value),
                uid: "1".to_owned(),
                answer: fingerprint::through(&manifest.value, answer),
            };
            (id.clone(), applied)
        });
        Inventory { objects: objects.collect() }
    }

    fn one(wanted: &Wanted, owned: &Inventory, live: Option<Json>) -> Decision {
        let observed = live.into_iter().map(|live| (wanted.keys().next().unwrap().clone(), live)).collect();
        plan(wanted, owned, &observed).remove(0)
    }

    #[test]
    fn what_may_not_be_applied_here_is_refused_by_name() {
        let asked = vec![
            manifest("apps/v1", "Deployment", Some("other"), 1),
            manifest("v1", "Secret", None, 2),
            manifest("v1", "Namespace", None, 3),
            manifest("example.com/v1", "Widget", None, 4),
            manifest("apps/v1beta1", "Deployment", None, 5),
            manifest("v1", "ConfigMap", Some("shop"), 6),
        ];
        let (wanted, refused) = resolve(asked, "shop", &kinds());
        assert_eq!(wanted.len(), 1);
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("this environment is the namespace shop, not other"), "{told:?}");
        assert!(told[1].contains("Secret is not among the kinds"));
        assert!(told[2].contains("belongs to the whole cluster"));
        assert!(told[3].contains("knows no kind Widget"));
        assert!(told[4].contains("does not serve Deployment as apps/v1beta1, but as apps/v1"));
    }

    #[test]
    fn an_object_written_twice_is_applied_from_neither_place() {
        let asked = vec![manifest("v1", "ConfigMap", None, 1), manifest("v1", "ConfigMap", Some("shop"), 9)];
        let (wanted, refused) = resolve(asked, "shop", &kinds());
        assert!(wanted.is_empty());
        assert!(refused[0].message.contains("a.yaml:1"));
        assert_eq!(refused.len(), 2);
    }

    #[test]
    fn what_the_server_keeps_for_itself_is_not_sent() {
        let wanted = wanted();
        let value = &wanted.values().next().unwrap().value;
        assert_eq!(value["metadata"], json!({ "name": "web", "namespace": "shop" }));
        assert!(value.get("status").is_none());
    }

    #[test]
    fn each_state_has_its_verdict() {
        let wanted = wanted();
        let known = owned(&wanted, &live(FIELD_MANAGER, 2));
        let nothing = Inventory::default();
        assert_eq!(one(&wanted, &nothing, None).verdict, Verdict::Create);
        assert_eq!(one(&wanted, &known, None).reason, "it is gone");
        assert_eq!(one(&wanted, &known, Some(live(FIELD_MANAGER, 2))).verdict, Verdict::Unchanged);
        assert_eq!(one(&wanted, &known, Some(live(FIELD_MANAGER, 5))).verdict, Verdict::Correct);
        assert_eq!(one(&wanted, &nothing, Some(live(FIELD_MANAGER, 2))).verdict, Verdict::Change);
        let refused = one(&wanted, &nothing, Some(live("kubectl-client-side-apply", 2)));
        assert_eq!(refused.verdict, Verdict::Refuse);
        assert!(refused.reason.contains("made by kubectl-client-side-apply"));
        let mut overwritten = live("kubectl-edit", 5);
        overwritten["metadata"]["uid"] = "1".into();
        assert_eq!(one(&wanted, &known, Some(overwritten)).verdict, Verdict::Correct, "every field of ours was taken");
        // Deleted and made again by somebody else: no longer ours, whatever the inventory says.
        assert_eq!(one(&wanted, &known, Some(live("kubectl", 2))).verdict, Verdict::Refuse);
    }

    #[test]
    fn an_autoscaler_keeps_its_replicas() {
        let mut scaled = live(FIELD_MANAGER, 7);
        let entry = json!({ "manager": "hpa", "operation": "Update", "subresource": "scale",
            "fieldsV1": { "f:spec": { "f:replicas": {} } } });
        scaled["metadata"]["managedFields"].as_array_mut().unwrap().push(entry);
        let wanted = wanted();
        let value = &wanted.values().next().unwrap().value;
        assert_eq!(without_foreign(value, &scaled)["spec"], json!({}));
    }
}
