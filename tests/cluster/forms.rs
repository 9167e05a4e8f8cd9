//! The other forms of an installation: begun by the clock, in the pod of another environment, with the whole cluster in reach.

use crate::{bed::Bed, map, value};
use gitops_hooks::sync;
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::CronJob,
    core::v1::{ConfigMap, Pod},
};
use kube::api::DeleteParams;

#[test]
fn begun_by_the_clock_it_looks_once_and_ends_and_may_be_begun_by_hand() {
    let Some(bed) = Bed::new("cron", "REGISTRY", &[]) else { return };
    let name = &bed.name;
    let commit = bed.commit(&[("map.yaml", &map("settings", "1"))]);
    // Not before next year, so that only the installation itself and a person begin it.
    let said = bed.begin(name, &["--cron", "0 0 1 1 *"]);
    assert!(said.contains("runs at \"0 0 1 1 *\"") && said.contains("says: healthy"), "{said}");
    bed.healthy(name, &commit);
    assert_eq!(value(&bed.map(name, "settings")), "1");
    assert_eq!((bed.own::<CronJob>(name).len(), bed.own::<Deployment>(name).len()), (1, 0));

    let commit = bed.commit(&[("map.yaml", &map("settings", "2"))]);
    assert_eq!(bed.run(&["reconcile", name]).code, Some(0));
    bed.healthy(name, &commit);
    assert_eq!(value(&bed.map(name, "settings")), "2");
    let done = bed.run(&["upgrade", name]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert_eq!(bed.own::<CronJob>(name).len(), 1, "it stays what it is");

    // What is not well is said, and the installation stands.
    bed.commit(&[("map.yaml", &map("settings:2", "2"))]);
    let said = bed.installed(name, &["--cron", "0 0 1 1 *"]);
    assert!(said.contains("says: failed"), "{said}");

    let commit = bed.commit(&[("map.yaml", &map("settings", "3"))]);
    let said = bed.installed(name, &[]);
    assert!(said.contains("Kept from before: --cron \"0 0 1 1 *\""), "{said}");
    assert_eq!((bed.own::<CronJob>(name).len(), bed.own::<Deployment>(name).len()), (1, 0));
    bed.installed(name, &["--interval", "15s"]);
    bed.healthy(name, &commit);
    assert_eq!((bed.own::<CronJob>(name).len(), bed.own::<Deployment>(name).len()), (0, 1));
}

#[test]
fn several_environments_of_a_repository_run_in_one_pod_and_each_goes_alone() {
    let Some(bed) = Bed::new("host", "REGISTRY", &["guest"]) else { return };
    let (host, guest) = (&bed.name, &bed.environments[1]);
    let commit = bed.commit(&[("map.yaml", &map("settings", "1"))]);
    bed.begin(host, &["--interval", "1h"]);
    bed.healthy(host, &commit);
    assert!(!bed.may("patch", "apps", "deployments", guest));
    let said = bed.installed(guest, &["--pod-of", host, "--interval", "1h"]);
    assert!(said.contains("says: healthy"), "{said}");
    bed.healthy(guest, &commit);
    assert_eq!(bed.own::<Pod>(guest).len(), 0);
    assert_eq!(bed.report(guest).unwrap().pod, bed.pod(host).metadata.name);
    assert!(bed.may("patch", "apps", "deployments", guest));
    assert_eq!((value(&bed.map(host, "settings")), value(&bed.map(guest, "settings"))), ("1", "1"));

    // Each is nudged and suspended by its own name.
    assert_eq!(bed.run(&["suspend", guest]).code, Some(0));
    let second = bed.commit(&[("map.yaml", &map("settings", "2"))]);
    bed.nudge(host);
    bed.healthy(host, &second);
    assert_eq!((value(&bed.map(host, "settings")), value(&bed.map(guest, "settings"))), ("2", "1"));
    assert_eq!(bed.run(&["resume", guest]).code, Some(0));
    bed.nudge(guest);
    bed.healthy(guest, &second);

    // Installed again, the host keeps its guest.
    bed.installed(host, &["--interval", "2h"]);
    let third = bed.commit(&[("map.yaml", &map("settings", "3"))]);
    bed.nudge(guest);
    bed.healthy(guest, &third);

    for refused in [&["uninstall", host][..], &["upgrade", guest], &["install", host, "--pod-of", guest]] {
        let done = bed.run(refused);
        assert_eq!(done.code, Some(2), "{refused:?} {}{}", done.stdout, done.stderr);
    }
    bed.uninstalled(guest);
    assert!(bed.own::<ConfigMap>(guest).is_empty());
    assert!(!bed.may("patch", "apps", "deployments", guest));
    assert_eq!(value(&bed.map(guest, "settings")), "3", "what it applied stays");
    let fourth = bed.commit(&[("map.yaml", &map("settings", "4"))]);
    crate::bed::until("the host to go on", || {
        bed.nudge(host);
        let report = bed.report(host)?;
        report.manifest_commit.is_some_and(|oid| oid.as_str() == fourth).then_some(())
    });
    assert_eq!(value(&bed.map(guest, "settings")), "3");
}

#[test]
fn the_whole_cluster_is_in_reach_only_where_that_was_asked_for_and_said() {
    let Some(bed) = Bed::new("reach", "REGISTRY", &[]) else { return };
    let name = &bed.name;
    let rbac = "rbac.authorization.k8s.io";
    let (commit, allowed) = (bed.commit(&[("map.yaml", &map("settings", "1"))]), ["--allow", "secrets"]);
    bed.begin(name, &allowed);
    bed.healthy(name, &commit);
    assert!(bed.may("patch", "", "secrets", name) && !bed.may("get", "", "secrets", sync::NAMESPACE));
    let said = bed.installed(name, &["--cluster-wide"]);
    assert!(said.contains("Whoever can push to main of") && said.contains("rules it"), "{said}");
    assert!(bed.may("escalate", rbac, "clusterroles", "") && bed.may("get", "", "secrets", "kube-system"));
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: NAME}\nrules: []\n";
    let role = role.replace("NAME", name);
    let commit = bed.commit(&[("map.yaml", &map("settings", "2")), ("role.yaml", &role)]);
    bed.nudge(name);
    bed.healthy(name, &commit);
    let far = map(name, "1").replace("metadata: {", "metadata: {namespace: default, ");
    let commit = bed.commit(&[("map.yaml", &map("settings", "3")), ("far.yaml", &far)]);
    bed.nudge(name);
    bed.healthy(name, &commit);

    // What is not said again stays; asked for no more, it is taken back.
    let said = bed.installed(name, &[]);
    assert!(said.contains("Kept from before: --cluster-wide; --reset drops it."), "{said}");
    assert!(bed.may("escalate", rbac, "clusterroles", ""));
    bed.installed(name, &["--reset"]);
    assert!(bed.may("patch", "apps", "deployments", name) && !bed.may("patch", "apps", "deployments", "kube-system"));
    assert!(!bed.may("get", "", "secrets", name) && !bed.may("escalate", rbac, "clusterroles", ""));

    // What it may not even look at any more stays, and is in nobody's way.
    let commit = bed.commit(&[("map.yaml", &map("settings", "4"))]);
    bed.nudge(name);
    bed.healthy(name, &commit);
    assert_eq!((value(&bed.map(name, "settings")), value(&bed.map("default", name))), ("4", "1"));
    let deleted = bed.api::<ConfigMap>("default");
    bed.runtime.block_on(deleted.delete(name, &DeleteParams::default())).unwrap();
}

#[test]
fn an_environment_that_would_take_anothers_objects_over_is_not_installed() {
    let Some(bed) = Bed::new("claimed", "REGISTRY", &["second"]) else { return };
    let (first, second) = (&bed.name, &bed.environments[1]);
    let commit = bed.commit(&[("map.yaml", &map("settings", "1"))]);
    bed.begin(first, &[]);
    bed.healthy(first, &commit);
    let config = bed.context.read(".gitops-hooks.yaml");
    let shared = config.replace(&format!("\"namespace\":\"{second}\""), &format!("\"namespace\":\"{first}\""));
    assert_ne!(shared, config);
    bed.context.write(".gitops-hooks.yaml", &shared);
    let done = bed.install(second, &["--pod-of", first]);
    assert_eq!(done.code, Some(2), "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains(&format!("the sync of {first} owns ConfigMap {first}/settings")), "{}", done.stderr);
    assert!(bed.own::<ConfigMap>(second).is_empty());
}
