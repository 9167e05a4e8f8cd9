//! The sync as a process among others: whose turn it is, what it answers, and how it is steered.

use crate::bed::{Bed, Running, asked, free_port, map, text, until, variable};
use gitops_hooks::sync;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Service},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::{net::TcpListener, process::Command, time::Duration};

#[test]
fn a_pod_writes_nothing_while_another_has_the_turn_and_goes_on_when_that_ends() {
    let Some(bed) = Bed::new("turn") else { return };
    let api: Api<Lease> = Api::namespaced(bed.client.clone(), "gitops-hooks-system");
    let now = k8s_openapi::jiff::Timestamp::now();
    let lease = json!({ "metadata": { "name": format!("gitops-hooks-{}", bed.name) },
        "spec": { "holderIdentity": "another-pod", "leaseDurationSeconds": 15, "renewTime": format!("{now:.6}") } });
    bed.runtime.block_on(api.create(&PostParams::default(), &serde_json::from_value(lease).unwrap())).unwrap();
    let commit = bed.commit(&[("a.yaml", &map("a", "1"))]);
    let _sync = bed.running();
    let report = until("the report", || bed.reported().filter(|report| report["manifest_commit"] == commit));
    assert_eq!(report["message"], "the pod another-pod acts for this environment");
    assert!(bed.maps().is_empty());
    bed.says(&commit, "healthy");
    assert_eq!(bed.value("a").unwrap(), "1");
    let lease = bed.runtime.block_on(api.get(&format!("gitops-hooks-{}", bed.name))).unwrap().spec.unwrap();
    assert_eq!((lease.holder_identity, lease.lease_transitions), (Some(bed.name.clone()), Some(1)));
}

/// Gives the turn to another pod.
fn give_away(bed: &Bed) {
    let api: Api<Lease> = Api::namespaced(bed.client.clone(), "gitops-hooks-system");
    let now = k8s_openapi::jiff::Timestamp::now();
    let spec = json!({ "spec": { "holderIdentity": "another-pod", "leaseDurationSeconds": 15,
        "renewTime": format!("{now:.6}") } });
    bed.runtime.block_on(api.patch(&lease(bed), &PatchParams::default(), &Patch::Merge(&spec))).unwrap();
}

fn lease(bed: &Bed) -> String {
    format!("gitops-hooks-{}", bed.name)
}

/// What the inventory's first shard says.
fn shard(bed: &Bed) -> String {
    let api: Api<ConfigMap> = Api::namespaced(bed.client.clone(), "gitops-hooks-system");
    let map = bed.runtime.block_on(api.get(&format!("gitops-hooks-inventory-{}", bed.name))).unwrap();
    map.data.unwrap().remove("inventory.json").unwrap()
}

/// Writes the inventory's first shard as another pod would.
fn keep(bed: &Bed, text: &str) {
    let api: Api<ConfigMap> = Api::namespaced(bed.client.clone(), "gitops-hooks-system");
    let name = format!("gitops-hooks-inventory-{}", bed.name);
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
        "data": { "inventory.json": text } });
    let parameters = PatchParams::apply("gitops-hooks").force();
    bed.runtime.block_on(api.patch(&name, &parameters, &Patch::Apply(&map))).unwrap();
}

fn signal(sync: &Running, signal: &str) {
    assert!(Command::new("kill").args([signal, &sync.0.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_pod_that_loses_the_turn_leaves_the_inventory_to_the_other() {
    let Some(bed) = Bed::new("lost-turn") else { return };
    bed.set("interval: 1h");
    let count = 400;
    let maps = (0..count).map(|n| map(&format!("m{n}"), "1")).collect::<Vec<_>>().join("---\n");
    let commit = bed.commit(&[("all.yaml", &maps)]);
    let sync = bed.running();
    until("the first objects", || (!bed.maps().is_empty()).then_some(()));
    signal(&sync, "-STOP");
    // What is under way comes to its end.
    std::thread::sleep(Duration::from_secs(1));
    assert!(bed.maps().len() < count, "it was stopped in the middle");
    give_away(&bed);
    // The other's words: the same, and a mark that a reader skips.
    let theirs = format!("{}\n\n", shard(&bed));
    keep(&bed, &theirs);
    // A turn that is younger is not looked at.
    std::thread::sleep(Duration::from_secs(6));
    give_away(&bed);
    signal(&sync, "-CONT");
    until("the other's turn to be told", || {
        let report = bed.reported()?;
        (report["message"] == "the pod another-pod acts for this environment").then_some(())
    });
    assert_eq!(shard(&bed), theirs);
    bed.says(&commit, "healthy");
    assert_eq!(bed.maps().len(), count);
}

#[test]
fn what_another_pod_owns_by_now_is_known_before_anything_is_done() {
    let Some(bed) = Bed::new("after-turn") else { return };
    let api: Api<Lease> = Api::namespaced(bed.client.clone(), "gitops-hooks-system");
    let made = serde_json::from_value(json!({ "metadata": { "name": lease(&bed) } })).unwrap();
    bed.runtime.block_on(api.create(&PostParams::default(), &made)).unwrap();
    give_away(&bed);
    let commit = bed.commit(&[("a.yaml", &map("a", "1"))]);
    let _sync = bed.running();
    until("the other's turn to be told", || bed.reported().filter(|report| report["manifest_commit"] == commit));
    // A Service, of which the sync that waits has never heard.
    let services: Api<Service> = bed.api();
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "left" },
        "spec": { "ports": [{ "port": 80 }] } });
    let parameters = PatchParams::apply("gitops-hooks");
    bed.runtime.block_on(services.patch("left", &parameters, &Patch::Apply(&service))).unwrap();
    let origin = json!({ "url": format!("{}{}.git", variable("GIT_SSH").unwrap(), bed.name), "path": "staging",
        "namespace": bed.name });
    let head = json!({ "origin": origin, "shards": 1 });
    let objects = json!([["v1", "Service", bed.name, "left", "", null, null]]);
    keep(&bed, &format!("{head}\n{objects}"));
    bed.says(&commit, "healthy");
    until("it to be pruned", || bed.runtime.block_on(services.get_opt("left")).unwrap().is_none().then_some(()));
}

#[test]
fn a_sync_that_finds_nothing_to_do_takes_no_turn() {
    let Some(bed) = Bed::new("no-turn") else { return };
    bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.synced();
    let api: Api<Lease> = Api::namespaced(bed.client.clone(), "gitops-hooks-system");
    let lease = || bed.runtime.block_on(api.get(&format!("gitops-hooks-{}", bed.name))).unwrap();
    let before = lease();
    // Given back at the end, so that nobody waits.
    assert_eq!(before.spec.as_ref().unwrap().holder_identity, None);
    bed.synced();
    assert_eq!(lease().metadata.resource_version, before.metadata.resource_version);
}

#[test]
fn suspended_it_reads_and_reports_and_changes_nothing() {
    let Some(bed) = Bed::new("suspend") else { return };
    bed.make_steerable();
    bed.set("interval: 1s");
    let commit = bed.commit(&[("a.yaml", &map("a", "1"))]);
    let sync = bed.running();
    bed.says(&commit, "healthy");
    let name = bed.name.parse().unwrap();
    bed.runtime.block_on(sync::suspend(&bed.client, &name, Some("the migration runs"))).unwrap();
    bed.says(&commit, "suspended");
    bed.meddle("a", "2");
    let commit = bed.commit(&[("a.yaml", &map("a", "3")), ("b.yaml", &map("b", "1"))]);
    let report = bed.says(&commit, "suspended");
    assert_eq!(report["message"], "suspended: the migration runs");
    assert_eq!((bed.value("a").unwrap().as_str(), bed.value("b")), ("2", None));
    // A new process knows it before it does anything, and so does one that runs but once.
    drop(sync);
    bed.synced();
    let _sync = bed.running();
    let commit = bed.commit(&[("a.yaml", &map("a", "4")), ("b.yaml", &map("b", "1"))]);
    bed.says(&commit, "suspended");
    assert_eq!((bed.value("a").unwrap().as_str(), bed.value("b")), ("2", None));
    bed.runtime.block_on(sync::suspend(&bed.client, &name, None)).unwrap();
    bed.says(&commit, "healthy");
    assert_eq!(bed.value("a").unwrap(), "4");
}

#[test]
fn why_a_pass_fails_is_told_in_place_of_the_report_before() {
    let Some(bed) = Bed::new("pass-fails") else { return };
    bed.make_steerable();
    bed.set("interval: 1h");
    let commit = bed.commit(&[("a.yaml", &map("a", "1"))]);
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    // Without it nothing can be made again, and an hour will pass until it is fetched.
    std::fs::remove_dir_all(bed.folder.path().join("data/repository.git")).unwrap();
    bed.runtime.block_on(bed.api::<ConfigMap>().delete("a", &DeleteParams::default())).unwrap();
    let report = bed.says(&commit, "failed");
    assert!(report["message"].as_str().unwrap().contains("the copy of the manifest repository"), "{report}");
    bed.runtime.block_on(sync::nudge(&bed.client, &bed.name.parse().unwrap())).unwrap();
    bed.says(&commit, "healthy");
    assert_eq!(bed.value("a").unwrap(), "1");
}

#[test]
fn a_suspension_stops_a_pass_under_way_and_a_run_of_one_pass_too() {
    const MANY: usize = 3000;
    let Some(bed) = Bed::new("interrupt") else { return };
    bed.make_steerable();
    bed.set("interval: 1s");
    let name = bed.name.parse().unwrap();
    let suspend = |why: Option<&str>| bed.runtime.block_on(sync::suspend(&bed.client, &name, why)).unwrap();
    let documents: Vec<String> = (0..MANY).map(|n| map(&format!("m{n:04}"), "1")).collect();
    let commit = bed.commit(&[("all.yaml", &documents.join("---\n"))]);
    let more_than = |count: usize| until("more maps", || Some(bed.maps().len()).filter(|there| *there > count));
    let stays = |why: &str| {
        let said = format!("suspended: {why}");
        until("the end of the pass", || bed.reported().filter(|report| report["message"] == said));
        let there = bed.maps().len();
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(bed.maps().len(), there);
        assert!(there < MANY, "{there}");
        there
    };
    let mut command = bed.command();
    command.arg("--once");
    let mut once = Running::begin(command, &bed.folder.path().join("log"));
    more_than(0);
    suspend(Some("it breaks everything"));
    assert!(once.0.wait().unwrap().success(), "{}", bed.log());
    let there = stays("it breaks everything");

    let _sync = bed.running();
    suspend(None);
    let there = more_than(there);
    suspend(Some("it still does"));
    assert!(stays("it still does") >= there);
    suspend(None);
    bed.says(&commit, "healthy");
    assert_eq!(bed.maps().len(), MANY);
}

#[test]
fn what_was_refused_is_not_tried_while_the_sync_is_suspended_and_keeps_nobody_busy() {
    let Some(bed) = Bed::new("idle") else { return };
    bed.make_steerable();
    let port = free_port();
    bed.set(&format!("interval: 1h\nport: {port}"));
    let commit = bed.commit(&[("a.yaml", &map("a", "1").replace("\ndata:", "\ndatum:"))]);
    let _sync = bed.running();
    bed.says(&commit, "failed");
    bed.runtime.block_on(sync::suspend(&bed.client, &bed.name.parse().unwrap(), Some("a break"))).unwrap();
    bed.says(&commit, "suspended");
    // Longer than the first tries are apart.
    std::thread::sleep(Duration::from_secs(5));
    let passes = || -> u64 {
        let page = asked(port, "/metrics").unwrap();
        let line = page.lines().find(|line| line.starts_with("gitops_hooks_pass_seconds_count")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let before = passes();
    std::thread::sleep(Duration::from_secs(4));
    assert!(passes() - before <= 4, "{before} to {}", passes());
}

#[test]
fn a_new_pod_does_not_sign_what_another_saw_before_it_has_looked_itself() {
    let Some(bed) = Bed::new("sign") else { return };
    let commit = bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.synced();
    // A host that takes the call and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    bed.settings(&format!("http://{}/a.git", silent.local_addr().unwrap()));
    bed.set(&format!("interval: 1s\nport: {port}"));
    let begin = || {
        let mut command = bed.command();
        command.env("POD_NAME", "the-new-one");
        Running::begin(command, &bed.folder.path().join("log"))
    };
    let sync = begin();
    until("a pass", || asked(port, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")));
    let report = bed.report();
    assert_eq!((&report["pod"], &report["manifest_commit"]), (&json!(bed.name), &json!(commit)));
    drop(sync);
    // A dead one is told, in its own name, and the other repository's commit is not.
    drop(silent);
    let _sync = begin();
    let report = until("its own report", || bed.reported().filter(|report| report["pod"] == "the-new-one"));
    assert_eq!(report["phase"], "unreachable", "{report}");
    assert_eq!(report["manifest_commit"], json!(null));
}

#[test]
fn its_port_tells_that_it_lives_what_it_did_and_that_an_unchanged_poll_writes_nothing() {
    let Some(bed) = Bed::new("metrics") else { return };
    bed.make_steerable();
    let port = free_port();
    bed.set(&format!("interval: 1h\nport: {port}"));
    let commit = bed.commit(&[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "1"))]);
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    let metrics = || asked(port, "/metrics").unwrap();
    let number = |text: &str, name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with("gitops_hooks_") && line.contains(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    };
    let before = metrics();
    assert_eq!(number(&before, "what=\"apply\""), 2, "{before}");
    assert_eq!(number(&before, "phase=\"healthy\""), 1);
    assert!(before.contains(&format!("commit=\"{commit}\"")));
    for path in ["/healthz", "/readyz"] {
        assert!(asked(port, path).unwrap().starts_with("HTTP/1.1 200"), "{path}");
    }
    let writes = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("gitops_hooks_writes")).map(str::to_owned).collect()
    };
    bed.runtime.block_on(sync::nudge(&bed.client, &bed.name.parse().unwrap())).unwrap();
    let after = until("the poll", || Some(metrics()).filter(|text| number(text, "result=\"unchanged\"") == 1));
    assert_eq!(writes(&after), writes(&before));
    assert!(text(&bed.command().arg("--once").output().unwrap().stderr).is_empty());
}
