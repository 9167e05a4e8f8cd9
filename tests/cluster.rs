//! The sync's own pod in a real cluster: `gitops-hooks cluster install` and `uninstall` with the release binary, an
//! environment and a namespace for each test. Without the test bed every test says so and passes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "cluster/bed.rs"]
mod bed;
mod context;
#[path = "context/documented.rs"]
mod documented;
#[path = "cluster/forms.rs"]
mod forms;
#[path = "cluster/steer.rs"]
mod steer;
#[path = "context/testbed.rs"]
mod testbed;

use bed::{Bed, turn, variable};
use gitops_hooks::sync;
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Secret, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use rustix::process::Signal;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: '{value}'}}\n")
}

fn value(map: &ConfigMap) -> &str {
    &map.data.as_ref().unwrap()["key"]
}

#[test]
fn a_pod_follows_a_repository_over_ssh_and_https_and_fetches_at_once_when_nudged() {
    let Some(bed) = Bed::new("follow", "REGISTRY", &[]) else { return };
    let name = &bed.name;
    let commit = bed.commit(&[("map.yaml", &map("settings", "1"))]);
    // An hour, so that only a nudge can bring the next commit.
    let said = bed.begin(name, &["--interval", "1h"]);
    assert!(said.contains("runs in gitops-hooks-system and says: healthy"), "{said}");
    bed.healthy(name, &commit);
    assert_eq!(value(&bed.map(name, "settings")), "1");

    let commit = bed.commit(&[("map.yaml", &map("settings", "2"))]);
    bed.nudge(name);
    bed.healthy(name, &commit);
    assert_eq!(value(&bed.map(name, "settings")), "2");

    // What is said is of the new pod, though the report of the one before still stands there.
    let host = variable("GIT_HTTPS").replace("10.88.0.1", "git.testbed");
    let password = bed.context.beside("password");
    fs::write(&password, variable("PASSWORD")).unwrap();
    let (user, ca) = (variable("USER"), variable("CA"));
    let login = ["--username", &user, "--password-file", password.to_str().unwrap(), "--ca", &ca];
    // Another address counts as another repository.
    let https = [&login[..], &["--interval", "1h", "--replace"]].concat();
    let said = bed.installed(name, &[&https[..], &["--url", &format!("{host}nothing-{name}.git")]].concat());
    assert!(said.contains("says: unreachable") && said.contains("git.testbed"), "{said}");

    let url = format!("{host}{name}.git");
    let said = bed.installed(name, &[&https[..], &["--url", &url]].concat());
    assert!(said.contains("says: healthy"), "{said}");
    assert_eq!(bed.report(name).unwrap().pod, bed.pod(name).metadata.name);
    let commit = bed.commit(&[("map.yaml", &map("settings", "3"))]);
    bed.nudge(name);
    bed.healthy(name, &commit);
    assert_eq!(value(&bed.map(name, "settings")), "3");

    // The deploy key is of no use any more, and is not kept.
    let held = bed.secret(&format!("sync-{name}")).unwrap().data.unwrap();
    assert_eq!(held.keys().collect::<Vec<_>>(), ["ca.crt", "password", "username"]);
}

#[test]
fn a_second_install_changes_nothing_but_what_is_different() {
    let Some(bed) = Bed::new("again", "REGISTRY", &[]) else { return };
    let name = &bed.name;
    let commit = bed.commit(&[("map.yaml", &map("settings", "1"))]);
    bed.begin(name, &[]);
    bed.healthy(name, &commit);
    let before = bed.versions(name);

    // The credentials are not named again, and stay.
    bed.installed(name, &[]);
    assert_eq!(bed.versions(name), before);

    bed.installed(name, &["--interval", "20s"]);
    bed.healthy(name, &commit);
    let after = bed.versions(name);
    let changed: Vec<_> = before.iter().filter(|(object, version)| after.get(*object) != Some(version)).collect();
    let changed: Vec<_> = changed.into_iter().map(|(object, _)| object.split('-').next().unwrap()).collect();
    // The settings and the report are two config maps.
    assert_eq!(changed, ["ConfigMap gitops", "ConfigMap gitops", "Deployment sync", "Pod sync"], "{after:#?}");

    // Neither is what signatures are asked for.
    bed.installed(name, &["--verify", &format!("{}.pub", variable("SSH_KEY"))]);
    let settings = || {
        let settings = bed.settings(name);
        (settings.verify.len(), settings.interval.to_string())
    };
    assert_eq!(settings(), (1, "20s".to_owned()));
    let said = bed.installed(name, &[]);
    assert!(said.contains("Kept from before: --verify; --reset drops it."), "{said}");
    assert_eq!(settings(), (1, "20s".to_owned()));
    bed.installed(name, &["--reset"]);
    assert_eq!(settings(), (0, "15s".to_owned()));
}

#[test]
fn what_stands_there_is_asked_for_and_adopt_moves_its_managed_fields() {
    let Some(bed) = Bed::new("adopt", "REGISTRY", &[]) else { return };
    let name = &bed.name;
    let api = bed.api::<ConfigMap>(name);
    let theirs = serde_json::from_value(json!({ "metadata": { "name": "theirs" }, "data": { "key": "0" } })).unwrap();
    let by = PostParams { field_manager: Some("kubectl-create".to_owned()), ..PostParams::default() };
    bed.runtime.block_on(api.create(&by, &theirs)).unwrap();
    let managers = || -> Vec<String> {
        let fields = bed.map(name, "theirs").metadata.managed_fields.unwrap();
        fields.into_iter().filter_map(|entry| entry.manager).collect()
    };
    let commit = bed.commit(&[("a.yaml", &map("theirs", "1")), ("b.yaml", &map("ours", "1"))]);

    // Nobody can be asked: the answer is no.
    let said = bed.begin(name, &["--interval", "2s"]);
    for part in [format!("ConfigMap {name}/theirs"), "leaves them alone until --adopt".into(), "says: failed".into()] {
        assert!(said.contains(&part), "{part} in {said}");
    }
    assert_eq!(managers(), ["kubectl-create"]);

    // At a terminal a person is asked.
    let said = {
        let _turn = turn();
        let command = format!("{} cluster install {name} --interval 2s", bed.release.display());
        let mut script = bed.context.command("script");
        script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        answered(&mut script, "n\n")
    };
    assert!(said.contains("Shall the sync take them over? [y/N]"), "{said}");
    assert_eq!(managers(), ["kubectl-create"]);
    assert_eq!(value(&bed.map(name, "theirs")), "0");

    // The pod's last word is that it leaves the object alone, and it takes its time for another.
    bed.signal(name, Signal::STOP);
    let said = std::thread::scope(|scope| {
        let installed = scope.spawn(|| bed.installed(name, &["--interval", "2s", "--adopt"]));
        std::thread::sleep(Duration::from_secs(4));
        bed.signal(name, Signal::CONT);
        installed.join().unwrap()
    });
    assert!(said.contains("1 objects are taken over"), "{said}");
    assert!(!said.contains("says: failed") && !said.contains("--adopt takes it over"), "{said}");
    bed.healthy(name, &commit);
    assert_eq!(managers(), ["gitops-hooks"]);
    assert_eq!(value(&bed.map(name, "theirs")), "1");
}

/// What a command says that gets this for an answer.
fn answered(command: &mut Command, answer: &str) -> String {
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_image_behind_a_password_is_pulled_with_the_users_own_credentials() {
    let Some(bed) = Bed::new("private", "REGISTRY_AUTH", &[]) else { return };
    let (name, ours, theirs) = (&bed.name, format!("image-pull-{}", bed.name), format!("team-{}", bed.name));
    let commit = bed.commit(&[("map.yaml", &map("settings", "1"))]);
    let login = bed.log_in();
    let auth: serde_json::Value = serde_json::from_str(&login).unwrap();
    let auth = auth["auths"][variable("REGISTRY_AUTH")]["auth"].as_str().unwrap();
    let key = Bed::key();
    let key: Vec<&str> = key.iter().map(String::as_str).collect();

    let printed = bed.installed(name, &[&key[..], &["--dry-run"]].concat());
    for part in [&*format!("name: {ours}"), "# Its data is left out: .dockerconfigjson", "imagePullSecrets:"] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let said = bed.begin(name, &[]);
    bed.healthy(name, &commit);
    let secret = bed.secret(&ours).unwrap();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    for told in [&printed, &said] {
        assert!(!told.contains(&variable("PASSWORD")) && !told.contains(auth) && !told.contains("PRIVATE KEY"));
    }
    let pulled_with = || bed.pod(name).spec.unwrap().image_pull_secrets.unwrap().remove(0).name;
    assert_eq!(pulled_with(), ours);

    // On a machine that never logged in, what is there is used again.
    let image = bed.pod(name).spec.unwrap().containers.remove(0).image.unwrap();
    bed.log_out();
    let before = bed.versions(name);
    bed.installed(name, &["--image", &image]);
    assert_eq!(bed.versions(name), before);

    // One of somebody else's making, in the place of ours.
    let done = bed.install(name, &["--image", &image, "--image-pull-secret", "none-such"]);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("has no image pull secret none-such"), "{}", done.stderr);
    let secret = Secret {
        metadata: ObjectMeta { name: Some(theirs.clone()), ..ObjectMeta::default() },
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        data: Some(BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(login.into_bytes()))])),
        ..Secret::default()
    };
    bed.runtime.block_on(bed.api::<Secret>(sync::NAMESPACE).create(&PostParams::default(), &secret)).unwrap();
    bed.installed(name, &["--image", &image, "--image-pull-secret", &theirs]);
    assert_eq!(pulled_with(), theirs);
    assert_eq!(bed.secret(&ours), None);
    let said = bed.run(&["upgrade", name, "--image", &image]);
    assert_eq!((said.code, pulled_with()), (Some(0), theirs.clone()), "{}", said.stderr);

    // It is not ours to take away.
    bed.uninstalled(name);
    assert!(bed.secret(&theirs).is_some());
    let deleted = bed.api::<Secret>(sync::NAMESPACE);
    bed.runtime.block_on(deleted.delete(&theirs, &DeleteParams::default())).unwrap();
}

#[test]
fn an_account_may_little_and_one_environment_goes_without_the_other() {
    let Some(bed) = Bed::new("apart", "REGISTRY_AUTH", &["other"]) else { return };
    let (name, other) = (&bed.name, &bed.environments[1]);
    bed.log_in();
    let commit = bed.commit(&[("map.yaml", &map("settings", "1"))]);
    for environment in &bed.environments {
        bed.begin(environment, &["--interval", "1h"]);
        bed.healthy(environment, &commit);
    }

    let rbac = "rbac.authorization.k8s.io";
    assert!(bed.may("patch", "apps", "deployments", name) && bed.may("create", "", "events", name));
    assert!(bed.may("get", "", "pods/log", name) && !bed.may("get", "", "pods/log", sync::NAMESPACE));
    assert!(!bed.may("update", "coordination.k8s.io", "leases", name));
    for namespace in [name.as_str(), other, sync::NAMESPACE, "kube-system", ""] {
        for verb in ["get", "list", "watch", "create", "patch"] {
            assert!(!bed.may(verb, "", "secrets", namespace), "{verb} secrets in {namespace:?}");
        }
        for resource in ["roles", "rolebindings", "clusterroles", "clusterrolebindings"] {
            for verb in ["create", "update", "patch", "delete", "bind", "escalate"] {
                assert!(!bed.may(verb, rbac, resource, namespace), "{verb} {resource} in {namespace:?}");
            }
        }
        assert!(!bed.may("create", "", "serviceaccounts/token", namespace), "tokens in {namespace:?}");
        assert!(!bed.may("create", "", "pods/exec", namespace), "exec in {namespace:?}");
        assert!(namespace == name || !bed.may("patch", "apps", "deployments", namespace), "{namespace:?}");
    }

    let pod = bed.pod(other).metadata.uid;
    bed.uninstalled(name);
    for (kind, left) in [
        ("Secret", bed.own::<Secret>(name).len()),
        ("ConfigMap", bed.own::<ConfigMap>(name).len()),
        ("Deployment", bed.own::<Deployment>(name).len()),
        ("ServiceAccount", bed.own::<ServiceAccount>(name).len()),
        ("Role", bed.own::<Role>(name).len()),
        ("RoleBinding", bed.own::<RoleBinding>(name).len()),
    ] {
        assert_eq!(left, 0, "{kind}");
    }
    assert!(bed.runtime.block_on(bed.api::<Role>(name).list(&ListParams::default())).unwrap().items.is_empty());
    assert!(!bed.may("patch", "apps", "deployments", name));
    // What it applied stays.
    assert_eq!(value(&bed.map(name, "settings")), "1");

    let commit = bed.commit(&[("map.yaml", &map("settings", "2"))]);
    bed.nudge(other);
    bed.healthy(other, &commit);
    assert_eq!(bed.pod(other).metadata.uid, pod);
    assert_eq!((value(&bed.map(other, "settings")), value(&bed.map(name, "settings"))), ("2", "1"));
}
