//! Two environments in one namespace: what one of them owns, the other leaves alone.

use crate::bed::{Bed, map, text};
use assert_cmd::cargo::CommandCargoExt;
use gitops_hooks::sync::NAMESPACE;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, Output},
};

/// Another environment of a bed's repository in the same namespace, with the folder `other`.
struct Neighbour<'b> {
    bed: &'b Bed,
    name: String,
}

impl<'b> Neighbour<'b> {
    fn of(bed: &'b Bed) -> Self {
        let name = format!("{}-b", bed.name);
        let own = fs::read_to_string(bed.folder.path().join("sync.yaml")).unwrap();
        let text = own
            .replace(&format!("environment: {}", bed.name), &format!("environment: {name}"))
            .replace("path: staging", "path: other")
            .replace("/data\n", "/data/other\n");
        let neighbour = Self { bed, name };
        fs::create_dir(neighbour.folder()).unwrap();
        fs::write(neighbour.folder().join("other.yaml"), text).unwrap();
        fs::copy(bed.folder.path().join("sync.yaml"), neighbour.folder().join("sync.yaml")).unwrap();
        neighbour
    }

    /// A folder with the settings of both, as a pod of both has it.
    fn folder(&self) -> PathBuf {
        self.bed.folder.path().join("both")
    }

    fn sync(&self) -> Output {
        self.run("both/other.yaml")
    }

    fn run(&self, settings: &str) -> Output {
        let file = self.bed.folder.path().join(settings);
        let mut command = Command::cargo_bin("gitops-hooks").unwrap();
        command.args(["sync", "--once", "--config"]).arg(file).env("POD_NAME", &self.name).output().unwrap()
    }

    /// Commits these as all that the bed's own environment has and all that this one has.
    fn commit(&self, own: &[(&str, &str)], other: &[(&str, &str)]) {
        let folder = self.bed.work().join("other");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("README.md"), "what runs\n").unwrap();
        for (path, text) in other {
            fs::write(folder.join(path), text).unwrap();
        }
        self.bed.commit(own);
    }

    /// The names of what an environment's inventory has.
    fn owned(&self, environment: &str) -> BTreeSet<String> {
        let api: Api<ConfigMap> = Api::namespaced(self.bed.client.clone(), NAMESPACE);
        let found = self.bed.runtime.block_on(api.get_opt(&format!("gitops-hooks-inventory-{environment}"))).unwrap();
        let Some(text) = found.and_then(|map| map.data?.remove("inventory.json")) else { return BTreeSet::new() };
        let objects: Vec<Vec<serde_json::Value>> = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
        objects.into_iter().map(|object| object[3].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Neighbour<'_> {
    fn drop(&mut self) {
        let maps: Api<ConfigMap> = Api::namespaced(self.bed.client.clone(), NAMESPACE);
        let leases: Api<Lease> = Api::namespaced(self.bed.client.clone(), NAMESPACE);
        self.bed.runtime.block_on(async {
            for kind in ["report", "inventory"] {
                let _ = maps.delete(&format!("gitops-hooks-{kind}-{}", self.name), &DeleteParams::default()).await;
            }
            let _ = leases.delete(&format!("gitops-hooks-{}", self.name), &DeleteParams::default()).await;
        });
    }
}

/// What it said of the objects that it left alone; it must not have ended well.
fn refused(output: &Output) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn an_object_of_another_environments_sync_is_neither_taken_over_nor_pruned() {
    let Some(bed) = Bed::new("shared") else { return };
    let other = Neighbour::of(&bed);
    other.commit(&[("a.yaml", &map("a", "1"))], &[("a.yaml", &map("a", "2")), ("b.yaml", &map("b", "2"))]);
    bed.synced();
    let said = refused(&other.sync());
    assert!(said.contains(&format!("ConfigMap {0}/a: the sync of {0} owns it", bed.name)), "{said}");
    assert_eq!((bed.value("a").unwrap(), bed.value("b").unwrap()), ("1".into(), "2".into()), "the rest is applied");
    let before = bed.versions();
    bed.synced();
    assert_eq!(bed.versions(), before, "the owner has nothing to put back");

    other.commit(&[("a.yaml", &map("a", "1"))], &[("b.yaml", &map("b", "2"))]);
    assert!(other.sync().status.success());
    assert_eq!(bed.maps(), ["a", "b"]);
}

#[test]
fn a_manifest_that_moves_to_another_environment_is_pruned_by_the_one_and_made_by_the_other() {
    let Some(bed) = Bed::new("move") else { return };
    let other = Neighbour::of(&bed);
    other.commit(&[("a.yaml", &map("a", "1")), ("kept.yaml", &map("kept", "1"))], &[("b.yaml", &map("b", "2"))]);
    bed.synced();
    assert!(other.sync().status.success());
    other.commit(&[("kept.yaml", &map("kept", "1"))], &[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "2"))]);
    refused(&other.sync());
    bed.synced();
    assert_eq!(bed.maps(), ["b", "kept"]);
    assert!(other.sync().status.success());
    assert_eq!(bed.maps(), ["a", "b", "kept"]);
    bed.synced();
    assert_eq!(bed.maps(), ["a", "b", "kept"]);
}

#[test]
fn an_object_that_must_not_be_pruned_is_handed_over_as_it_is() {
    let Some(bed) = Bed::new("hand-over") else { return };
    let other = Neighbour::of(&bed);
    let uid = || bed.runtime.block_on(bed.api::<ConfigMap>().get("a")).unwrap().metadata.uid;
    let kept = map("a", "1").replace("name: a", "name: a, annotations: {gitops-hooks.dev/prune: never}");
    other.commit(&[("a.yaml", &kept), ("c.yaml", &map("c", "1"))], &[]);
    bed.synced();
    let before = uid();
    other.commit(&[("c.yaml", &map("c", "1"))], &[("a.yaml", &map("a", "2"))]);
    refused(&other.sync());
    bed.synced();
    assert!(other.sync().status.success());
    assert_eq!((uid(), bed.value("a").unwrap()), (before, "2".to_owned()));
}

#[test]
fn two_environments_that_begin_at_the_same_time_never_own_one_object() {
    let Some(bed) = Bed::new("at-once") else { return };
    let other = Neighbour::of(&bed);
    let maps = |value: &str| (0..20).map(|n| map(&format!("m{n}"), value)).collect::<Vec<_>>().join("---\n");
    other.commit(&[("all.yaml", &maps("1"))], &[("all.yaml", &maps("2"))]);
    refused(&other.run("both"));
    let both = (other.owned(&bed.name), other.owned(&other.name));
    assert!(both.0.is_disjoint(&both.1), "{both:?}");
}

#[test]
fn what_an_older_program_let_two_environments_own_is_deleted_by_neither() {
    let Some(bed) = Bed::new("both-own") else { return };
    let other = Neighbour::of(&bed);
    bed.commit(&[("a.yaml", &map("a", "1")), ("c.yaml", &map("c", "1"))]);
    bed.synced();
    let api: Api<ConfigMap> = Api::namespaced(bed.client.clone(), NAMESPACE);
    let head = json!({ "origin": { "url": "u", "path": "other", "namespace": bed.name }, "shards": 1 });
    let objects = json!([["v1", "ConfigMap", bed.name, "a", "", null, null]]);
    let name = format!("gitops-hooks-inventory-{}", other.name);
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
        "data": { "inventory.json": format!("{head}\n{objects}") } });
    bed.runtime.block_on(api.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&object))).unwrap();
    bed.commit(&[("c.yaml", &map("c", "1"))]);
    let said = text(&bed.synced().stdout);
    assert!(said.contains("\"Released\"") && said.contains(&format!("the sync of {} owns it", other.name)), "{said}");
    assert_eq!(bed.maps(), ["a", "c"]);
    assert_eq!(other.owned(&bed.name), BTreeSet::from(["c".to_owned()]));
}
