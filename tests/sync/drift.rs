//! What others change: put back, told, or left alone.

use crate::bed::{Bed, asked, free_port, map, text, until};
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// A config map with an annotation of ours.
fn asking(name: &str, value: &str, annotation: &str) -> String {
    map(name, value).replace(
        &format!("metadata: {{name: {name}}}"),
        &format!("metadata: {{name: {name}, annotations: {{{annotation}}}}}"),
    )
}

#[test]
fn a_changed_field_is_put_back_at_once_and_named_with_whoever_changed_it() {
    let Some(bed) = Bed::new("drift") else { return };
    // An hour: only the watch can tell.
    bed.set("interval: 1h");
    let commit = bed.commit(&[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "1"))]);
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    bed.meddle("a", "2");
    until("the value to be put back", || (bed.value("a")? == "1").then_some(()));
    let told = until("the event", || bed.events().into_iter().find(|event| event.starts_with("Corrected")));
    assert!(told.ends_with("changed: data.key by kubectl-edit"), "{told}");
    // Deleted by somebody, it is made again.
    let api = bed.api::<k8s_openapi::api::core::v1::ConfigMap>();
    bed.runtime.block_on(api.delete("b", &kube::api::DeleteParams::default())).unwrap();
    until("the map to be made again", || bed.value("b"));
    // What is not ours stays as it is.
    let patch = Patch::Merge(json!({ "data": { "other": "x" } }));
    bed.runtime.block_on(api.patch("a", &PatchParams::default(), &patch)).unwrap();
    bed.meddle("a", "3");
    until("the value to be put back again", || (bed.value("a")? == "1").then_some(()));
    assert_eq!(bed.runtime.block_on(api.get("a")).unwrap().data.unwrap()["other"], "x");
}

#[test]
fn drift_that_shall_only_be_told_is_told_and_left() {
    let Some(bed) = Bed::new("report") else { return };
    let told = asking("a", "1", "gitops-hooks.dev/drift: report");
    bed.commit(&[("a.yaml", &told)]);
    bed.synced();
    bed.meddle("a", "2");
    bed.synced();
    assert_eq!(bed.value("a").unwrap(), "2");
    let note = bed.report()["drifted"][0].clone();
    assert_eq!(note["reason"], "changed: data.key by kubectl-edit");
    // A commit that changes it is applied all the same.
    bed.commit(&[("a.yaml", &told.replace("'1'", "'3'"))]);
    bed.synced();
    assert_eq!(bed.value("a").unwrap(), "3");
}

#[test]
fn a_fight_is_noticed_and_ended_until_a_commit_changes_the_object() {
    let Some(bed) = Bed::new("fight") else { return };
    let port = free_port();
    bed.set(&format!("interval: 2s\nport: {port}"));
    let commit = bed.commit(&[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "1"))]);
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    let report = until("the fight to be noticed", || {
        bed.meddle("a", "theirs");
        let report = bed.reported()?;
        (report["phase"] == "failed").then_some(report)
    });
    let said = report["refused"][0]["reason"].as_str().unwrap();
    assert!(said.contains("data.key by kubectl-edit") && said.contains("was put back 5 times"), "{said}");
    // Counted once for each change that is left, however many passes see it.
    let counted = || -> u64 {
        let page = asked(port, "/metrics").unwrap();
        let line = page.lines().find(|line| line.starts_with("gitops_hooks_drift") && line.contains("\"fight\""));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    let before = counted();
    assert!(before > 0);
    for _ in 0..2 {
        bed.meddle("b", "theirs");
        until("the other value to be put back", || (bed.value("b")? == "1").then_some(()));
    }
    let changed = bed.commit(&[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "2"))]);
    bed.says(&changed, "failed");
    assert_eq!(counted(), before);
    bed.meddle("a", "others");
    until("one more to be counted", || (counted() == before + 1).then_some(()));
    let commit = bed.commit(&[("a.yaml", &map("a", "2"))]);
    bed.says(&commit, "healthy");
    assert_eq!(bed.value("a").unwrap(), "2");
}

#[test]
fn what_must_never_be_pruned_is_released() {
    let Some(bed) = Bed::new("keep") else { return };
    let kept = asking("kept", "1", "gitops-hooks.dev/prune: never");
    bed.commit(&[("a.yaml", &map("a", "1")), ("kept.yaml", &kept)]);
    bed.synced();
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    let said = text(&bed.synced().stdout);
    assert!(said.contains("\"Released\""), "{said}");
    assert_eq!(bed.maps(), ["a", "kept"]);
    assert!(bed.report()["waiting"].as_array().unwrap().is_empty());
}
