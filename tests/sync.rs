//! The sync against a real Kubernetes and a real git server, run as users run it: `gitops-hooks sync --once`, a repository, a
//! namespace for each test. Without the test bed every test says so and passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "sync/bed.rs"]
#[allow(dead_code, reason = "each test file uses a part of this")]
mod bed;
#[path = "sync/definitions.rs"]
mod definitions;
#[path = "sync/drift.rs"]
mod drift;
#[path = "sync/life.rs"]
mod life;
#[path = "sync/reach.rs"]
mod reach;
#[path = "sync/shared.rs"]
mod shared;
#[path = "sync/signatures.rs"]
mod signatures;
#[path = "context/testbed.rs"]
mod testbed;
#[path = "sync/workloads.rs"]
mod workloads;

use bed::{Bed, app, map, text, variable};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use serde_json::json;
use std::{fs, process::Command};

#[test]
fn two_documents_are_applied_changed_and_told_healthy_over_ssh_and_https() {
    let Some(bed) = Bed::new("story") else { return };
    let commit = bed.commit(&[("app.yaml", &app(1))]);
    bed.synced();
    let report = bed.report();
    assert_eq!((&report["phase"], &report["manifest_commit"]), (&json!("healthy"), &json!(commit)));
    assert_eq!(report["workloads"][0]["ready"], 1);

    bed.settings(&format!("{}{}.git", variable("GIT_HTTPS").unwrap(), bed.name));
    bed.commit(&[("app.yaml", &app(2))]);
    bed.synced();
    assert_eq!(bed.deployment("flask-app").unwrap().status.unwrap().available_replicas, Some(2));
}

#[test]
fn a_damaged_manifest_is_refused_by_field_and_changes_nothing() {
    let Some(bed) = Bed::new("damaged") else { return };
    bed.commit(&[("app.yaml", &app(1)), ("map.yaml", &map("settings", "1"))]);
    bed.synced();
    let before = bed.deployment("flask-app").unwrap().metadata.resource_version;
    bed.commit(&[("app.yaml", &app(1).replace("flask-app", "flask-app:16"))]);
    let output = bed.sync();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("staging/app.yaml:4: Deployment flask-app:16: metadata.name: \"flask-app:16\""), "{said}");
    assert!(
        said.contains(
            "staging/app.yaml:5: Deployment flask-app:16: metadata.labels.app: \"flask-app:16\" is no label value"
        ),
        "{said}"
    );
    assert!(said.contains("Service flask-app:16: metadata.name"), "{said}");
    // Neither the damaged objects came nor did anything go, though the map is no longer in the repository.
    assert_eq!(bed.deployment("flask-app").unwrap().metadata.resource_version, before);
    assert_eq!(bed.maps(), ["settings"]);
    assert_eq!(bed.report()["phase"], "failed");
}

#[test]
fn what_left_the_repository_is_pruned_and_an_empty_path_prunes_nothing() {
    let Some(bed) = Bed::new("prune") else { return };
    bed.commit(&[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "1"))]);
    bed.synced();
    assert_eq!(bed.maps(), ["a", "b"]);
    bed.commit(&[("moved/a.yaml", &map("a", "1"))]);
    bed.synced();
    assert_eq!(bed.maps(), ["a"]);
    bed.commit(&[]);
    bed.synced();
    assert_eq!(bed.maps(), ["a"]);
    let waiting = bed.report()["waiting"][0]["reason"].as_str().unwrap().to_owned();
    assert!(waiting.contains("holds no manifest any more"), "{waiting}");
    let approval = format!("ConfigMap {}/a\n", bed.name);
    bed.commit(&[(".gitops-hooks/approve-prune", &approval)]);
    bed.synced();
    assert!(bed.maps().is_empty());
}

#[test]
fn what_takes_the_place_of_others_does_not_let_all_of_them_go_at_once() {
    let Some(bed) = Bed::new("replaced") else { return };
    let maps =
        |names: std::ops::Range<u32>| names.map(|n| map(&format!("m{n}"), "1")).collect::<Vec<_>>().join("---\n");
    bed.commit(&[("all.yaml", &maps(0..10))]);
    bed.synced();
    bed.commit(&[("all.yaml", &maps(10..34))]);
    // The second time it is another process, which finds all of them in the inventory.
    for _ in 0..2 {
        bed.synced();
        assert_eq!(bed.maps().len(), 34);
        let waiting = bed.report()["waiting"][0]["reason"].as_str().unwrap().to_owned();
        assert!(waiting.starts_with("10 of 10 objects are too many"), "{waiting}");
    }
    // Once none of the old ones is left to go, all that there is counts.
    bed.commit(&[("all.yaml", &maps(0..34))]);
    bed.synced();
    bed.commit(&[("all.yaml", &maps(10..34))]);
    bed.synced();
    assert_eq!(bed.maps().len(), 24);
}

#[test]
fn what_cannot_be_looked_into_prunes_nothing() {
    let Some(bed) = Bed::new("link") else { return };
    bed.commit(&[("a.yaml", &map("a", "1")), ("deep/b.yaml", &map("b", "1"))]);
    bed.synced();
    // The folder became a link to where its files are now.
    fs::create_dir_all(bed.work().join("shared")).unwrap();
    fs::write(bed.work().join("shared/b.yaml"), map("b", "1")).unwrap();
    bed.commit_linked(&[("a.yaml", &map("a", "1"))], "deep", "../shared");
    let output = bed.sync();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("staging/deep:1: a symbolic link"), "{}", text(&output.stderr));
    assert_eq!(bed.maps(), ["a", "b"]);
}

#[test]
fn an_inventory_from_before_there_were_shards_still_says_what_is_owned() {
    let Some(bed) = Bed::new("old") else { return };
    bed.commit(&[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "1"))]);
    bed.synced();
    // As the first released program kept it.
    let entry = |name: &str| json!({ "kind": "ConfigMap", "namespace": bed.name, "name": name, "api_version": "v1" });
    let origin = json!({ "url": format!("{}{}.git", variable("GIT_SSH").unwrap(), bed.name), "path": "staging",
        "namespace": bed.name });
    let old = json!({ "origin": origin, "objects": json!([entry("a"), entry("b")]).to_string() }).to_string();
    let api: Api<ConfigMap> = Api::namespaced(bed.client.clone(), "gitops-hooks-system");
    let patch = kube::api::Patch::Merge(json!({ "data": { "inventory.json": old } }));
    let inventory = format!("gitops-hooks-inventory-{}", bed.name);
    bed.runtime.block_on(api.patch(&inventory, &kube::api::PatchParams::default(), &patch)).unwrap();
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.synced();
    assert_eq!(bed.maps(), ["a"]);
    let kept = bed.runtime.block_on(api.get(&inventory)).unwrap().data.unwrap().remove("inventory.json").unwrap();
    assert!(kept.lines().next().unwrap().contains("\"shards\":1") && !kept.contains("\"objects\""), "{kept}");
}

#[test]
fn an_unchanged_pass_writes_nothing_and_drift_is_put_back() {
    let Some(bed) = Bed::new("idle") else { return };
    bed.commit(&[("app.yaml", &app(1)), ("map.yaml", &map("settings", "1"))]);
    bed.synced();
    let before = bed.versions();
    bed.synced();
    assert_eq!(bed.versions(), before);
    let api: Api<ConfigMap> = Api::namespaced(bed.client.clone(), &bed.name);
    let patch = kube::api::Patch::Merge(json!({ "data": { "key": "2" } }));
    bed.runtime.block_on(api.patch("settings", &kube::api::PatchParams::default(), &patch)).unwrap();
    let said = text(&bed.synced().stdout);
    assert!(said.contains("\"Corrected\""), "{said}");
    assert_eq!(bed.runtime.block_on(api.get("settings")).unwrap().data.unwrap()["key"], "1");
}

#[test]
fn an_object_that_is_no_more_than_its_name_is_left_in_peace_and_pruned() {
    let Some(bed) = Bed::new("bare") else { return };
    bed.set("interval: 1h");
    let bare = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: bare}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: bare}\n";
    let commit = bed.commit(&[("a.yaml", &map("a", "1")), ("bare.yaml", bare)]);
    let sync = bed.running();
    bed.says(&commit, "healthy");
    let before = bed.versions();
    // Each change is heard, and makes a pass.
    bed.meddle("a", "2");
    bed::until("the pass", || (bed.value("a")? == "1").then_some(()));
    drop(sync);
    bed.synced();
    let events = bed.events();
    assert!(events.iter().all(|event| !event.contains("its fields")), "{events:?}");
    let bare_of = |versions: Vec<String>| -> Vec<String> {
        versions.into_iter().filter(|version| version.contains("\"bare\"")).collect()
    };
    assert_eq!(bare_of(bed.versions()), bare_of(before));
    assert!(!bed.log().contains("bare\",\"decision\":\"Corrected"), "{}", bed.log());
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.synced();
    assert_eq!(bed.maps(), ["a"]);
}

#[test]
fn one_bad_object_stops_no_other_and_a_foreign_one_is_left_alone() {
    let Some(bed) = Bed::new("refuse") else { return };
    let api: Api<ConfigMap> = Api::namespaced(bed.client.clone(), &bed.name);
    let theirs = serde_json::from_value(json!({ "metadata": { "name": "theirs" }, "data": { "key": "0" } })).unwrap();
    bed.runtime.block_on(api.create(&PostParams::default(), &theirs)).unwrap();
    let unknown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: unknown}\ndatum: {a: b}\n";
    let elsewhere = map("elsewhere", "1").replace("name: elsewhere", "name: elsewhere, namespace: kube-system");
    bed.commit(&[
        ("a.yaml", &map("theirs", "1")),
        ("b.yaml", unknown),
        ("c.yaml", &elsewhere),
        ("d.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"),
        ("e.yaml", &map("good", "1")),
    ]);
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["it is there already, made by", "datum", "not kube-system", "Secret is not among the kinds"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(bed.maps(), ["good", "theirs"]);
    assert_eq!(bed.runtime.block_on(api.get("theirs")).unwrap().data.unwrap()["key"], "0");
}

#[test]
fn a_missing_image_is_told_in_the_pods_own_words() {
    let Some(bed) = Bed::new("image") else { return };
    let missing = format!("{}/nowhere:1", variable("REGISTRY").unwrap());
    bed.commit(&[("app.yaml", &app(1).replace(&variable("BASE_BUSYBOX").unwrap(), &missing))]);
    let output = bed.sync();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("container flask-app of pod flask-app-"), "{said}");
    assert_eq!(bed.report()["phase"], "unhealthy");
}

#[test]
fn a_repository_that_is_gone_leaves_the_cluster_alone() {
    let Some(bed) = Bed::new("gone") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.synced();
    bed.settings("ssh://git@10.88.0.1:1/nothing.git");
    let output = bed.sync();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("cannot be reached"), "{}", text(&output.stderr));
    assert_eq!(bed.maps(), ["a"]);
    assert_eq!(bed.report()["phase"], "unreachable");
}

#[test]
fn a_changed_host_key_is_one_clear_message() {
    let Some(bed) = Bed::new("hostkey") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    let other = bed.folder.path().join("other");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other).status().unwrap();
    assert!(made.success());
    let public = fs::read_to_string(other.with_extension("pub")).unwrap();
    fs::write(bed.credential("known_hosts"), format!("[10.88.0.1]:2222 {public}")).unwrap();
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("the host key of") && said.contains("changed") && said.contains("SHA256:"), "{said}");
    assert!(bed.maps().is_empty());
}

#[test]
fn a_wrong_password_and_an_unknown_authority_are_told_apart() {
    let Some(bed) = Bed::new("https") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.settings(&format!("{}{}.git", variable("GIT_HTTPS").unwrap(), bed.name));
    fs::write(bed.credential("password"), "wrong").unwrap();
    let said = text(&bed.sync().stderr);
    assert!(said.contains("refuses the sync's credentials"), "{said}");
    fs::remove_file(bed.credential("ca.crt")).unwrap();
    let said = text(&bed.sync().stderr);
    assert!(said.contains("is not trusted"), "{said}");
}

#[test]
fn a_missing_namespace_or_path_is_named_with_the_way_out() {
    let Some(bed) = Bed::new("missing") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    let file = bed.folder.path().join("sync.yaml");
    let settings = fs::read_to_string(&file).unwrap();
    fs::write(&file, settings.replace(&format!("namespace: {}", bed.name), "namespace: not-there")).unwrap();
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("kubectl create namespace not-there"), "{said}");
    fs::write(&file, settings.replace("path: staging", "path: production")).unwrap();
    let output = bed.sync();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("has no folder production"));
}
