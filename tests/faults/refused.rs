//! What the API server, or we ourselves, will not have: each is named, stops nothing else and deletes nothing.

use crate::{
    bed::{Bed, app, map, text, until},
    count,
};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::{ConfigMap, Namespace, ResourceQuota},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

#[test]
fn an_admission_policy_that_refuses_is_told_in_its_own_words() {
    let Some(bed) = Bed::new("admission") else { return };
    let name = bed.name.clone();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(bed.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(bed.client.clone());
    let policy = json!({ "metadata": { "name": name }, "spec": { "failurePolicy": "Fail",
        "matchConstraints": { "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"] }] },
        "validations": [{ "expression": "!object.metadata.name.startsWith('bad')",
            "message": "no bad names in this house" }] } });
    let binding = json!({ "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"],
        "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } } } });
    let made = PostParams::default();
    bed.runtime.block_on(policies.create(&made, &serde_json::from_value(policy).unwrap())).unwrap();
    bed.runtime.block_on(bindings.create(&made, &serde_json::from_value(binding).unwrap())).unwrap();
    // A policy rules some moments after it is made.
    until("the policy to rule", || {
        let object = serde_json::from_value(json!({ "metadata": { "name": "bad-try" } })).unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        bed.runtime.block_on(bed.api::<ConfigMap>().create(&dry, &object)).is_err().then_some(())
    });
    bed.commit(&[("a.yaml", &map("bad-a", "1")), ("b.yaml", &map("good", "1"))]);
    let said = text(&bed.sync().stderr);
    let gone = DeleteParams::default();
    bed.runtime.block_on(async {
        let _ = bindings.delete(&name, &gone).await;
        let _ = policies.delete(&name, &gone).await;
    });
    assert!(said.contains("staging/a.yaml:1: ConfigMap") && said.contains("no bad names in this house"), "{said}");
    assert_eq!(bed.maps(), ["good"]);
}

#[test]
fn a_full_quota_is_told_and_what_has_room_is_applied() {
    let Some(bed) = Bed::new("quota") else { return };
    let quota = json!({ "metadata": { "name": "small" }, "spec": { "hard": { "pods": "0", "services": "1" } } });
    let quota: ResourceQuota = serde_json::from_value(quota).unwrap();
    bed.runtime.block_on(bed.api::<ResourceQuota>().create(&PostParams::default(), &quota)).unwrap();
    until("the quota to be counted", || {
        bed.runtime.block_on(bed.api::<ResourceQuota>().get("small")).unwrap().status?.used
    });
    let second = "apiVersion: v1\nkind: Service\nmetadata: {name: second}\nspec: {ports: [{port: 1}]}\n";
    bed.commit(&[("app.yaml", &app(1)), ("m.yaml", &map("a", "1")), ("s.yaml", second)]);
    let said = text(&bed.sync().stderr);
    assert!(said.contains("exceeded quota: small"), "{said}");
    assert!(said.contains("Deployment") && said.contains("Service"), "{said}");
    assert_eq!(bed.value("a").unwrap(), "1");
}

#[test]
fn a_namespace_on_its_way_out_is_told_and_nothing_is_forced() {
    let Some(bed) = Bed::new("terminating") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.synced();
    let held = Patch::Merge(json!({ "metadata": { "finalizers": ["example.com/never"] } }));
    bed.runtime.block_on(bed.api::<ConfigMap>().patch("a", &PatchParams::default(), &held)).unwrap();
    let namespaces: Api<Namespace> = Api::all(bed.client.clone());
    bed.runtime.block_on(namespaces.delete(&bed.name, &DeleteParams::default())).unwrap();
    until("the deletion to reach the map", || {
        bed.runtime.block_on(bed.api::<ConfigMap>().get("a")).unwrap().metadata.deletion_timestamp
    });
    bed.set("patience: 2s");
    bed.commit(&[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "1"))]);
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("being terminated"), "{said}");
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    bed.runtime.block_on(bed.api::<ConfigMap>().patch("a", &PatchParams::default(), &free)).unwrap();
}

#[test]
fn a_finalizer_that_never_ends_is_named_and_keeps_nothing_else_from_being_done() {
    let Some(bed) = Bed::new("finalizer") else { return };
    bed.set("interval: 1s");
    let held = map("held", "1").replace("{name: held}", "{name: held, finalizers: [example.com/never]}");
    bed.commit(&[("a.yaml", &map("a", "1")), ("held.yaml", &held)]);
    bed.synced();
    let commit = bed.commit(&[("a.yaml", &map("a", "2"))]);
    let _sync = bed.running();
    let report = until("the report to name it", || {
        bed.reported().filter(|report| report["waiting"][0]["reason"].to_string().contains("example.com/never"))
    });
    assert_eq!(report["phase"], "healthy", "{report}");
    assert_eq!(report["manifest_commit"], commit.as_str());
    let commit = bed.commit(&[("a.yaml", &map("a", "3"))]);
    bed.says(&commit, "healthy");
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    bed.runtime.block_on(bed.api::<ConfigMap>().patch("held", &PatchParams::default(), &free)).unwrap();
    until("nothing to wait", || {
        bed.reported().filter(|report| report["waiting"].as_array().is_some_and(Vec::is_empty)).map(drop)
    });
}

#[test]
fn what_is_too_large_hostile_or_aims_at_the_sync_itself_is_refused_by_name() {
    let Some(bed) = Bed::new("hostile") else { return };
    let large = map("large", &"x".repeat(3 << 20));
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (level, before) in "bcdefghi".chars().zip("abcdefgh".chars()) {
        bomb.extend([format!("{level}: &{level} [{}]\n", vec![format!("*{before}"); 10].join(", "))]);
    }
    bomb.push_str("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\n");
    let pod = |extra: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: thief, namespace: gitops-hooks-system}}\nspec:\n  {extra}\n  containers: [{{name: c, image: x}}]\n"
        )
    };
    let mounts = pod("volumes: [{name: key, secret: {secretName: sync-staging}}]");
    let account = pod("serviceAccountName: sync-staging").replace("name: thief,", "name: impostor,");
    let unknown = map("unknown", "1").replace("\ndata:", "\ndatum:");
    bed.commit(&[
        ("large.yaml", &large),
        ("bomb.yaml", &bomb),
        ("mounts.yaml", &mounts),
        ("account.yaml", &account),
        ("unknown.yaml", &unknown),
        ("good.yaml", &map("good", "1")),
    ]);
    let staging = bed.work().join("staging");
    std::os::unix::fs::symlink("/var/run/secrets/kubernetes.io/serviceaccount/token", staging.join("link.yaml"))
        .unwrap();
    crate::bed::git(&bed.work(), &["add", "-A"]);
    crate::bed::git(&bed.work(), &["commit", "-q", "-m", "a link"]);
    crate::bed::git(&bed.work(), &["push", "-q", bed.bare.to_str().unwrap(), "main"]);
    let output = bed.sync();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "staging/large.yaml:1: ConfigMap",
        "staging/bomb.yaml:",
        "too large once aliases are expanded",
        "staging/mounts.yaml:1: Pod gitops-hooks-system/thief: metadata.namespace",
        "staging/account.yaml:1: Pod gitops-hooks-system/impostor: metadata.namespace",
        "datum",
        "staging/link.yaml:1: a symbolic link, which is not followed",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(said.len() < 20_000, "the words of a refusal are bounded: {}", said.len());
    assert_eq!(bed.maps(), ["good"]);
}

#[test]
fn very_many_objects_in_one_commit_are_applied_and_one_change_writes_little() {
    let Some(bed) = Bed::new("many") else { return };
    bed.set("patience: 10m");
    let number = count(600, 10_000);
    let file = |changed: &str| -> String {
        let value = |n| if n == 7 { changed } else { "1" };
        let documents: Vec<String> = (0..number).map(|n| map(&format!("m{n}"), value(n))).collect();
        documents.join("---\n")
    };
    bed.commit(&[("all.yaml", &file("1"))]);
    bed.synced();
    assert_eq!(bed.maps().len(), number);
    let before = bed.versions();
    bed.commit(&[("all.yaml", &file("2"))]);
    bed.synced();
    let after = bed.versions();
    let changed = after.iter().filter(|version| !before.contains(version)).count();
    // The object, its Event, its shard of the inventory and the report.
    assert_eq!(changed, 4, "{:?}", after.iter().filter(|version| !before.contains(version)).collect::<Vec<_>>());
    assert_eq!(bed.value("m7").unwrap(), "2");
}
