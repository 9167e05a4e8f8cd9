//! Definitions and the objects of them, and what a sync may do with either: all of it where it reaches the whole cluster, else
//! only the kinds that were allowed.

use crate::bed::{Bed, map, text, until};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::json;

/// A definition of this test's own, gone with it.
struct Widgets<'b> {
    bed: &'b Bed,
    group: String,
}

impl<'b> Widgets<'b> {
    fn new(bed: &'b Bed) -> Self {
        Self { bed, group: format!("{}.example.com", bed.name) }
    }

    fn name(&self) -> String {
        format!("widgets.{}", self.group)
    }

    fn definition(&self) -> String {
        json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": self.name() }, "spec": { "group": self.group, "scope": "Namespaced",
                "names": { "kind": "Widget", "plural": "widgets", "singular": "widget" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                        "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                        "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } } } }] } })
        .to_string()
    }

    fn widget(&self, name: &str, size: u32) -> String {
        json!({ "apiVersion": format!("{}/v1", self.group), "kind": "Widget", "metadata": { "name": name },
            "spec": { "size": size } })
        .to_string()
    }

    fn api(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(&self.group, "v1", "Widget"));
        Api::namespaced_with(self.bed.client.clone(), &self.bed.name, &kind)
    }

    fn definitions(&self) -> Api<CustomResourceDefinition> {
        Api::all(self.bed.client.clone())
    }

    fn size(&self, name: &str) -> Option<u64> {
        let widget = self.bed.runtime.block_on(self.api().get_opt(name)).ok()??;
        widget.data["spec"]["size"].as_u64()
    }

    fn uid(&self, name: &str) -> Option<String> {
        self.bed.runtime.block_on(self.api().get_opt(name)).ok()??.metadata.uid
    }

    fn is_defined(&self) -> bool {
        self.bed.runtime.block_on(self.definitions().get_opt(&self.name())).unwrap().is_some()
    }

    /// Says how a widget is, as its controller would.
    fn says(&self, name: &str, ready: &str, message: &str) {
        let condition = json!({ "type": "Ready", "status": ready, "reason": "Test", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let patch = Patch::Merge(json!({ "status": { "conditions": [condition] } }));
        self.bed.runtime.block_on(self.api().patch_status(name, &PatchParams::default(), &patch)).unwrap();
    }
}

impl Drop for Widgets<'_> {
    fn drop(&mut self) {
        let _ = self.bed.runtime.block_on(self.definitions().delete(&self.name(), &DeleteParams::default()));
    }
}

#[test]
fn a_definition_and_its_object_come_in_one_commit_and_are_told_by_their_conditions() {
    let Some(bed) = Bed::new("define") else { return };
    bed.set("reach: cluster\ninterval: 1s");
    let widgets = Widgets::new(&bed);
    // The object's file comes first, so that only the order of kinds can bring it last.
    let (definition, widget) = (widgets.definition(), widgets.widget("one", 1));
    let commit = bed.commit(&[("a.json", &widget), ("z.json", &definition)]);
    let sync = bed.running();
    bed.says(&commit, "healthy");
    assert_eq!(widgets.size("one"), Some(1));

    widgets.says("one", "False", "no bolts left");
    let report = bed.says(&commit, "syncing");
    assert!(report["unhealthy"][0]["reason"].as_str().unwrap().contains("no bolts left"), "{report}");
    widgets.says("one", "True", "");
    bed.says(&commit, "healthy");

    // Taken away by somebody else, with all objects of it: both come back.
    let before = widgets.uid("one").unwrap();
    bed.runtime.block_on(widgets.definitions().delete(&widgets.name(), &DeleteParams::default())).unwrap();
    until("another widget in its place", || widgets.uid("one").filter(|uid| *uid != before));
    assert_eq!(widgets.size("one"), Some(1));
    bed.says(&commit, "healthy");
    drop(sync);
    bed.synced();
}

#[test]
fn a_definition_is_not_pruned_while_objects_of_it_are_left() {
    let Some(bed) = Bed::new("undefine") else { return };
    bed.set("reach: cluster\ninterval: 1s");
    let widgets = Widgets::new(&bed);
    bed.commit(&[
        ("crd.json", &widgets.definition()),
        ("one.json", &widgets.widget("one", 1)),
        ("a.yaml", &map("a", "1")),
    ]);
    bed.synced();
    let theirs: DynamicObject = serde_json::from_str(&widgets.widget("theirs", 1)).unwrap();
    bed.runtime.block_on(widgets.api().create(&PostParams::default(), &theirs)).unwrap();

    // Without approval a definition stays in any case.
    let commit = bed.commit(&[("a.yaml", &map("a", "1"))]);
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    until("our widget to go", || widgets.size("one").is_none().then_some(()));
    let report = bed.report();
    assert!(report["waiting"][0]["reason"].as_str().unwrap().contains("not pruned without approval"), "{report}");

    let approval = format!("CustomResourceDefinition {}\n", widgets.name());
    bed.commit(&[("a.yaml", &map("a", "1")), (".gitops-hooks/approve-prune", &approval)]);
    let theirs = format!("Widget {}/theirs", bed.name);
    until("the other's widget to be named", || {
        let report = bed.reported()?;
        report["waiting"][0]["reason"].as_str()?.contains(&theirs).then_some(())
    });
    assert_eq!(widgets.size("theirs"), Some(1));
    bed.runtime.block_on(widgets.api().delete("theirs", &DeleteParams::default())).unwrap();
    bed.commit(&[("a.yaml", &map("a", "2")), (".gitops-hooks/approve-prune", &approval)]);
    until("the definition to go", || (!widgets.is_defined()).then_some(()));
    assert_eq!(bed.maps(), ["a"]);
}

#[test]
fn one_namespace_takes_only_the_resources_that_were_allowed() {
    let Some(bed) = Bed::new("allowed") else { return };
    let widgets = Widgets::new(&bed);
    let definition: CustomResourceDefinition = serde_json::from_str(&widgets.definition()).unwrap();
    bed.runtime.block_on(widgets.definitions().create(&PostParams::default(), &definition)).unwrap();
    until("the definition to be served", || bed.runtime.block_on(widgets.api().get_opt("none")).ok().map(drop));
    bed.commit(&[("one.json", &widgets.widget("one", 1)), ("crd.json", &widgets.definition())]);
    let said = text(&bed.sync().stderr);
    assert!(said.contains(&format!("install with --allow {}", widgets.name())), "{said}");
    assert!(said.contains("belongs to the whole cluster") && said.contains("--cluster-wide"), "{said}");
    assert_eq!(widgets.size("one"), None);
    bed.set(&format!("allowed: ['{}']", widgets.name()));
    bed.commit(&[("one.json", &widgets.widget("one", 2))]);
    bed.synced();
    assert_eq!(widgets.size("one"), Some(2));
}

#[test]
fn one_that_reaches_the_cluster_makes_namespaces_and_fills_them_and_leaves_its_own_alone() {
    let Some(bed) = Bed::new("wide") else { return };
    bed.set("reach: cluster");
    let other = format!("{}-other", bed.name);
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n");
    let there = map("there", "1").replace("{name: there}", &format!("{{name: there, namespace: {other}}}"));
    let thief = map("thief", "1").replace("{name: thief}", "{name: thief, namespace: gitops-hooks-system}");
    bed.commit(&[("a.yaml", &there), ("b.yaml", &namespace), ("c.yaml", &map("here", "1")), ("d.yaml", &thief)]);
    let said = text(&bed.sync().stderr);
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(bed.client.clone(), &other);
    let value = || bed.runtime.block_on(maps.get("there")).unwrap().data.unwrap()["key"].clone();
    let first = value();
    bed.commit(&[("a.yaml", &there.replace("'1'", "'2'")), ("b.yaml", &namespace)]);
    bed.synced();
    let second = value();
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(bed.client.clone());
    let _ = bed.runtime.block_on(namespaces.delete(&other, &DeleteParams::background()));
    assert!(
        said.contains("staging/d.yaml:1: ConfigMap gitops-hooks-system/thief: gitops-hooks-system holds"),
        "{said}"
    );
    assert_eq!((first.as_str(), second.as_str()), ("1", "2"));
    assert!(bed.maps().is_empty(), "what left the repository is pruned in every namespace");
}

#[test]
fn a_kind_whose_converter_is_away_is_told_by_object_and_keeps_neither_its_mending_nor_the_rest_waiting() {
    let Some(bed) = Bed::new("converter") else { return };
    bed.set("reach: cluster\ninterval: 1s");
    let widgets = Widgets::new(&bed);
    let mut definition: CustomResourceDefinition = serde_json::from_str(&widgets.definition()).unwrap();
    bed.runtime.block_on(widgets.definitions().create(&PostParams::default(), &definition)).unwrap();
    until("the definition to be served", || bed.runtime.block_on(widgets.api().get_opt("none")).ok().map(drop));
    let theirs: DynamicObject = serde_json::from_str(&widgets.widget("theirs", 1)).unwrap();
    bed.runtime.block_on(widgets.api().create(&PostParams::default(), &theirs)).unwrap();
    let mut newer = definition.spec.versions[0].clone();
    (newer.name, newer.storage) = ("v2".to_owned(), false);
    definition.spec.versions.push(newer);
    let service = json!({ "name": "converter", "namespace": bed.name, "path": "/", "port": 443 });
    let webhook = json!({ "conversionReviewVersions": ["v1"], "clientConfig": { "service": service } });
    let patch = Patch::Merge(json!({ "spec": { "versions": definition.spec.versions,
        "conversion": { "strategy": "Webhook", "webhook": webhook } } }));
    bed.runtime.block_on(widgets.definitions().patch(&widgets.name(), &PatchParams::default(), &patch)).unwrap();

    let widget = widgets.widget("one", 1).replace("/v1\"", "/v2\"");
    bed.commit(&[("a.yaml", &map("gone", "1"))]);
    bed.set("patience: 5s");
    bed.synced();
    // What would bring the converter back is in the same commit, and so is the end of something else.
    let commit = bed.commit(&[("one.json", &widget), ("a.yaml", &map("mending", "1"))]);
    let sync = bed.running();
    let report = bed.says(&commit, "failed");
    let note = &report["refused"][0];
    assert!(note["object"].as_str().unwrap().ends_with("/one"), "{report}");
    assert!(note["reason"].as_str().unwrap().contains("cannot be listed"), "{report}");
    assert!(report["waiting"][0]["object"].as_str().unwrap().ends_with("/gone"), "{report}");
    until("the mending to be applied", || bed.value("mending"));
    assert_eq!(bed.value("gone").unwrap(), "1");
    drop(sync);
    let said = text(&bed.sync().stderr);
    assert!(said.contains("cannot be listed"), "{said}");

    // The converter is back: here there is simply nothing to convert any more.
    bed.runtime.block_on(widgets.api().delete("theirs", &DeleteParams::default())).unwrap();
    let plain = Patch::Merge(json!({ "spec": { "conversion": { "strategy": "None", "webhook": null } } }));
    bed.runtime.block_on(widgets.definitions().patch(&widgets.name(), &PatchParams::default(), &plain)).unwrap();
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    assert_eq!(widgets.size("one"), Some(1));
    until("the prune", || bed.value("gone").is_none().then_some(()));
}
