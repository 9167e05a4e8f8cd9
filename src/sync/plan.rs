//! What is to be done and why, as plain data, made before anything is done. Pure: given what the repository wants, what
//! the inventory knows and what the cluster has, it says for every object one verdict with its reason.

use super::{
    NAMESPACE, Settings,
    cache::Seen,
    desired::Outline,
    inventory::{Applied, Inventory},
    kinds::{Kind, Kinds, Reach, Resource, Scope},
    object::{ObjectId, Problem},
};
use std::{collections::BTreeMap, sync::Arc};

/// The objects that the repository wants, by what they are called.
pub type Wanted = BTreeMap<ObjectId, Arc<Outline>>;

/// What is done with one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not there: applied, and another's object of that name in the meantime is a conflict.
    Create,
    /// It is ours and the manifest changed: applied.
    Change,
    /// It is ours and somebody changed it: put back, or only told where the manifest asks for that.
    Correct,
    /// It is ours by the server's account, and no pass has applied it yet: applied.
    Adopt,
    /// It is ours and as it should be: not touched.
    Unchanged,
    /// It is there and not ours: not touched until it is adopted.
    Refuse,
}

/// What manifests may ask for: their namespaces are filled in, and what may not be applied here is refused by name. A kind
/// that a definition beside it promises is as good as one that is served; `apply` waits for it.
#[must_use]
pub fn resolve<'o>(
    outlines: impl Iterator<Item = &'o Arc<Outline>> + Clone,
    settings: &Settings,
    kinds: &Kinds,
) -> (Wanted, Vec<Problem>) {
    let promised = match settings.reach {
        Reach::Namespace => Kinds::default(),
        Reach::Cluster => Kinds::promised(outlines.clone().filter_map(|outline| outline.defines.as_deref())),
    };
    let mut wanted = Wanted::new();
    let mut refused = Vec::new();
    let mut doubled = Vec::new();
    for outline in outlines {
        let mut refuse = |message: String| {
            refused.push(Problem { origin: outline.origin.clone(), object: Some(outline.id.clone()), message });
        };
        let (api_version, kind) = (&outline.api_version, &outline.id.kind);
        let Some(served) = kinds.find(api_version, kind).or_else(|| promised.find(api_version, kind)) else {
            refuse(unknown(outline, kinds));
            continue;
        };
        if let Some(message) = refusal(outline, settings, served) {
            refuse(message);
            continue;
        }
        let namespace = match served.scope {
            Scope::Namespaced => Some(outline.id.namespace.as_ref().unwrap_or(&settings.namespace).clone()),
            Scope::Cluster => None,
        };
        let object = ObjectId { namespace, ..outline.id.clone() };
        if let Some(earlier) = wanted.get(&object) {
            refuse(format!("stands in {} as well; keep one of them", earlier.origin));
            doubled.push(object);
            continue;
        }
        wanted.insert(object, Arc::clone(outline));
    }
    // Which of two is meant cannot be told, so neither is applied.
    for object in doubled {
        if let Some(first) = wanted.remove(&object) {
            let message = "stands here and in another place; keep one of them".to_owned();
            refused.push(Problem { origin: first.origin.clone(), object: Some(object), message });
        }
    }
    (wanted, refused)
}

/// What is to be said of a kind that is not served.
fn unknown(outline: &Outline, kinds: &Kinds) -> String {
    let kind = &outline.id.kind;
    match kinds.versions_of(kind).as_slice() {
        [] => format!("the cluster knows no kind {kind}; install its CustomResourceDefinition first"),
        versions => {
            format!("the cluster does not serve {kind} as {}, but as {}", outline.api_version, versions.join(", "))
        }
    }
}

/// Why a manifest may not be applied here, where it may not.
fn refusal(outline: &Outline, settings: &Settings, served: &Kind) -> Option<String> {
    let (kind, namespace) = (&outline.id.kind, &settings.namespace);
    let written = outline.id.namespace.as_deref();
    if settings.reach == Reach::Cluster {
        let is_own = written == Some(NAMESPACE) || (kind == "Namespace" && outline.id.name == NAMESPACE);
        return is_own.then(|| format!("{NAMESPACE} holds the sync's own key, which no manifest may reach"));
    }
    if served.scope == Scope::Cluster {
        return Some(format!(
            "a {kind} belongs to the whole cluster, and this sync to the namespace {namespace} alone; `gitops-hooks cluster install` has --cluster-wide"
        ));
    }
    if !settings.may_write(served) {
        return Some(format!(
            "{kind} is not among the kinds that the sync's Role lists; apply it by hand, or install with --allow {}",
            Resource { group: served.resource.group.clone(), plural: served.resource.plural.clone() }
        ));
    }
    let written = written.filter(|written| *written != namespace.as_str())?;
    Some(format!("metadata.namespace: this environment is the namespace {namespace}, not {written}"))
}

/// The verdict on every wanted object.
pub fn plan<'a>(
    wanted: &'a Wanted,
    owned: &'a Inventory,
    seen: impl Fn(&ObjectId) -> Option<&'a Seen> + 'a,
) -> impl Iterator<Item = (&'a ObjectId, Verdict, String)> {
    wanted.iter().map(move |(object, outline)| {
        let (verdict, reason) = verdict(outline, owned.get(object), seen(object));
        (object, verdict, reason)
    })
}

fn verdict(outline: &Outline, applied: Option<&Applied>, seen: Option<&Seen>) -> (Verdict, String) {
    let Some(seen) = seen else {
        let reason = if applied.is_some_and(|applied| applied.manifest.is_some()) { "it is gone" } else { "it is new" };
        return (Verdict::Create, reason.to_owned());
    };
    let Some(applied) = applied.filter(|applied| owns(applied, seen)) else {
        return if seen.ours {
            (Verdict::Adopt, "it was adopted".to_owned())
        } else {
            let hint = "`gitops-hooks cluster install ENVIRONMENT --adopt` takes it over";
            (Verdict::Refuse, format!("it is there already, made by {}; {hint}", seen.managers()))
        };
    };
    if applied.manifest != Some(outline.fingerprint) {
        (Verdict::Change, "its manifest changed".to_owned())
    } else if has_drifted(applied, seen) {
        (Verdict::Correct, "it was changed".to_owned())
    } else {
        (Verdict::Unchanged, String::new())
    }
}

/// Whether an object of the cluster is the one that the inventory has. Our managed fields alone do not tell: who overwrites
/// the only field that we have takes our entry away with it.
#[must_use]
pub fn owns(applied: &Applied, seen: &Seen) -> bool {
    seen.ours || (!applied.uid.is_empty() && seen.uid == applied.uid)
}

/// Whether our fields are no longer what the server answered. Replicas that an autoscaler took are its own; of an object
/// that was read in another version than it was applied in nothing can be said. A manifest that says no more than a name has
/// no field to drift, and the server keeps no entry of ours.
fn has_drifted(applied: &Applied, seen: &Seen) -> bool {
    match (applied.answer, seen.answer) {
        (None, None) => false,
        (Some(_), None) => !seen.ours,
        (None, Some(_)) => true,
        (Some(then), Some(now)) => then.fields != now.fields || (then.replicas != now.replicas && !seen.scaled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{
        FIELD_MANAGER,
        inventory::Applied,
        object::{Manifest, Origin},
    };
    use serde_json::{Value as Json, json};

    fn kinds() -> Kinds {
        let mut kinds = Kinds::default();
        kinds.add("apps", "v1", "Deployment", "deployments", Scope::Namespaced);
        kinds.add("", "v1", "ConfigMap", "configmaps", Scope::Namespaced);
        kinds.add("", "v1", "Secret", "secrets", Scope::Namespaced);
        kinds.add("", "v1", "Namespace", "namespaces", Scope::Cluster);
        kinds
    }

    fn outline(api_version: &str, kind: &str, namespace: Option<&str>, line: usize) -> Arc<Outline> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
        let id = ObjectId { group, kind: kind.into(), namespace: namespace.map(str::to_owned), name: "web".into() };
        let value = json!({ "apiVersion": api_version, "kind": kind,
            "metadata": { "name": "web" }, "spec": { "replicas": 2 } });
        let origin = Origin { file: "a.yaml".into(), document: 1, line };
        Arc::new(Outline::of(&Manifest { id, api_version: api_version.into(), origin, value }))
    }

    fn live(manager: &str, replicas: u32) -> Json {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "replicas": replicas, "paused": false },
            "metadata": { "name": "web", "namespace": "shop", "uid": format!("made by {manager}"),
                "managedFields": [{ "manager": manager, "operation": "Apply", "apiVersion": "apps/v1",
                    "fieldsV1": { "f:spec": { "f:replicas": {} } } }] } })
    }

    fn settings(more: &str) -> Settings {
        let text = "environment: staging\nnamespace: shop\nurl: https://git.example.com/m.git\nbranch: main\n";
        Settings::parse("s", &format!("{text}{more}")).unwrap()
    }

    fn wanted() -> Wanted {
        resolve([outline("apps/v1", "Deployment", None, 1)].iter(), &settings(""), &kinds()).0
    }

    fn owned(wanted: &Wanted, answer: &Json) -> Inventory {
        let mut inventory = Inventory::default();
        for (id, outline) in wanted {
            let seen = Seen::of(answer);
            let applied = Applied {
                api_version: outline.api_version.clone(),
                manifest: Some(outline.fingerprint),
                uid: seen.uid,
                answer: seen.answer,
            };
            inventory.note(id, applied);
        }
        inventory
    }

    fn one(wanted: &Wanted, owned: &Inventory, live: Option<Json>) -> (Verdict, String) {
        let seen = live.map(|live| Seen::of(&live));
        let (_, verdict, reason) = plan(wanted, owned, |_| seen.as_ref()).next().unwrap();
        (verdict, reason)
    }

    #[test]
    fn what_may_not_be_applied_here_is_refused_by_name() {
        let asked = [
            outline("apps/v1", "Deployment", Some("other"), 1),
            outline("v1", "Secret", None, 2),
            outline("v1", "Namespace", None, 3),
            outline("example.com/v1", "Widget", None, 4),
            outline("apps/v1beta1", "Deployment", None, 5),
            outline("v1", "ConfigMap", Some("shop"), 6),
        ];
        let (wanted, refused) = resolve(asked.iter(), &settings(""), &kinds());
        assert_eq!(wanted.len(), 1);
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("this environment is the namespace shop, not other"), "{told:?}");
        assert!(told[1].contains("Secret is not among the kinds"));
        assert!(told[2].contains("belongs to the whole cluster"));
        assert!(told[3].contains("knows no kind Widget"));
        assert!(told[4].contains("does not serve Deployment as apps/v1beta1, but as apps/v1"));
    }

    #[test]
    fn one_that_reaches_the_whole_cluster_leaves_only_the_syncs_own_namespace_alone() {
        let definition = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "widgets.example.com" }, "spec": { "group": "example.com", "scope": "Cluster",
                "names": { "kind": "Widget", "plural": "widgets" }, "versions": [{ "name": "v1", "served": true }] } });
        let id = ObjectId {
            group: "apiextensions.k8s.io".into(),
            kind: "CustomResourceDefinition".into(),
            namespace: None,
            name: "widgets.example.com".into(),
        };
        let origin = Origin { file: "crd.yaml".into(), document: 1, line: 1 };
        let manifest = Manifest { id, api_version: "apiextensions.k8s.io/v1".into(), origin, value: definition };
        let mut kinds = kinds();
        kinds.add(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            Scope::Cluster,
        );
        let asked = [
            outline("apps/v1", "Deployment", Some("other"), 1),
            outline("v1", "Namespace", None, 2),
            outline("v1", "Secret", None, 3),
            outline("v1", "ConfigMap", Some(NAMESPACE), 4),
            outline("example.com/v1", "Widget", None, 5),
            outline("example.com/v2", "Widget", None, 6),
            Arc::new(Outline::of(&manifest)),
        ];
        let (wanted, refused) = resolve(asked.iter(), &settings("reach: cluster\n"), &kinds);
        let names: Vec<String> = wanted.keys().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "Namespace web",
                "Secret shop/web",
                "CustomResourceDefinition widgets.example.com",
                "Deployment other/web",
                "Widget web",
            ]
        );
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("holds the sync's own key"), "{told:?}");
        assert!(told[1].contains("knows no kind Widget"), "{told:?}");
        // A definition of somebody else's beside it is no promise to one that may not apply it.
        let (wanted, _) = resolve(asked.iter(), &settings(""), &kinds);
        assert!(wanted.is_empty());
        let (wanted, _) = resolve(asked.iter(), &settings("allowed: [secrets]\n"), &kinds);
        assert_eq!(wanted.len(), 1);
    }

    #[test]
    fn an_object_written_twice_is_applied_from_neither_place() {
        let asked = [outline("v1", "ConfigMap", None, 1), outline("v1", "ConfigMap", Some("shop"), 9)];
        let (wanted, refused) = resolve(asked.iter(), &settings(""), &kinds());
        assert!(wanted.is_empty());
        assert!(refused[0].message.contains("a.yaml:1"));
        assert_eq!(refused.len(), 2);
    }

    #[test]
    fn each_state_has_its_verdict() {
        let wanted = wanted();
        let known = owned(&wanted, &live(FIELD_MANAGER, 2));
        let nothing = Inventory::default();
        assert_eq!(one(&wanted, &nothing, None).0, Verdict::Create);
        assert_eq!(one(&wanted, &known, None).1, "it is gone");
        assert_eq!(one(&wanted, &known, Some(live(FIELD_MANAGER, 2))).0, Verdict::Unchanged);
        assert_eq!(one(&wanted, &known, Some(live(FIELD_MANAGER, 5))).0, Verdict::Correct);
        assert_eq!(one(&wanted, &nothing, Some(live(FIELD_MANAGER, 2))).0, Verdict::Adopt);
        let (verdict, reason) = one(&wanted, &nothing, Some(live("kubectl-client-side-apply", 2)));
        assert_eq!(verdict, Verdict::Refuse);
        assert!(reason.contains("made by kubectl-client-side-apply"));
        let mut overwritten = live("kubectl-edit", 5);
        overwritten["metadata"]["uid"] = format!("made by {FIELD_MANAGER}").into();
        assert_eq!(one(&wanted, &known, Some(overwritten)).0, Verdict::Correct, "every field of ours was taken");
        // Deleted and made again by somebody else: no longer ours, whatever the inventory says.
        assert_eq!(one(&wanted, &known, Some(live("kubectl", 2))).0, Verdict::Refuse);
    }

    #[test]
    fn what_has_no_field_of_ours_is_known_by_its_uid_and_never_drifts() {
        let wanted = wanted();
        let mut bare = live(FIELD_MANAGER, 2);
        bare["metadata"].as_object_mut().unwrap().remove("managedFields");
        let known = owned(&wanted, &bare);
        assert_eq!(one(&wanted, &known, Some(bare.clone())).0, Verdict::Unchanged);
        bare["metadata"]["uid"] = "another".into();
        assert_eq!(one(&wanted, &known, Some(bare)).0, Verdict::Refuse);
    }

    #[test]
    fn an_autoscaler_keeps_its_replicas() {
        let wanted = wanted();
        let known = owned(&wanted, &live(FIELD_MANAGER, 2));
        let mut scaled = live(FIELD_MANAGER, 7);
        scaled["metadata"]["managedFields"][0]["fieldsV1"] = json!({});
        let entry = json!({ "manager": "hpa", "operation": "Update", "subresource": "scale",
            "fieldsV1": { "f:spec": { "f:replicas": {} } } });
        let by_hand = scaled.clone();
        scaled["metadata"]["managedFields"].as_array_mut().unwrap().push(entry);
        // Taken through the object itself it is drift, through `scale` it is not.
        assert_eq!(one(&wanted, &known, Some(by_hand)).0, Verdict::Correct);
        let mut then = live(FIELD_MANAGER, 2);
        then["metadata"]["managedFields"][0]["fieldsV1"] = json!({ "f:spec": { "f:replicas": {} } });
        assert_eq!(one(&wanted, &owned(&wanted, &then), Some(scaled)).0, Verdict::Unchanged);
    }
}
