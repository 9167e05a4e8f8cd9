//! The sync as a process among others: whose turn it is, what it answers, and how it is steered.

use crate::bed::{Bed, Running, map, text, until, variable};
use gitops_hooks::sync;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Service},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

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

/// Asks the sync's own port.
fn asked(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: sync\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn its_port_tells_that_it_lives_what_it_did_and_that_an_unchanged_poll_writes_nothing() {
    let Some(bed) = Bed::new("metrics") else { return };
    bed.make_steerable();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
