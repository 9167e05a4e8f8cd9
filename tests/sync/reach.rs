//! A sync whose rights become fewer than they were.

use crate::bed::{Bed, map, text};
use gitops_hooks::sync::{self, Act, NAMESPACE, Settings};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use std::{fs, path::PathBuf, process::Output};

/// Gives somebody of a bed's name these rights on everything in the bed's namespace and the sync's.
fn grant(bed: &Bed, verb: &str) {
    let made = PostParams::default();
    let role = json!({ "metadata": { "name": bed.name },
        "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": verb.split(' ').collect::<Vec<_>>() }] });
    let binding = json!({ "metadata": { "name": bed.name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": bed.name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": bed.name }] });
    for namespace in [&bed.name, NAMESPACE] {
        let roles: Api<Role> = Api::namespaced(bed.client.clone(), namespace);
        let bindings: Api<RoleBinding> = Api::namespaced(bed.client.clone(), namespace);
        bed.runtime.block_on(async {
            roles.create(&made, &serde_json::from_value(role.clone()).unwrap()).await.unwrap();
            bindings.create(&made, &serde_json::from_value(binding.clone()).unwrap()).await.unwrap();
        });
    }
}

/// Takes back what was given in the sync's namespace; the other goes with the bed.
fn revoke(bed: &Bed) {
    let roles: Api<Role> = Api::namespaced(bed.client.clone(), NAMESPACE);
    let bindings: Api<RoleBinding> = Api::namespaced(bed.client.clone(), NAMESPACE);
    bed.runtime.block_on(async {
        let _ = roles.delete(&bed.name, &DeleteParams::default()).await;
        let _ = bindings.delete(&bed.name, &DeleteParams::default()).await;
    });
}

/// A kubeconfig for somebody of that name.
fn impersonating(name: &str) -> Kubeconfig {
    let mut kubeconfig = Kubeconfig::read().unwrap();
    for named in &mut kubeconfig.auth_infos {
        named.auth_info.as_mut().unwrap().impersonate = Some(name.to_owned());
    }
    kubeconfig
}

/// A namespace besides that of a bed, and somebody who has every right in the bed's own and the sync's, and none elsewhere.
struct Wider<'b> {
    bed: &'b Bed,
    namespace: String,
}

impl<'b> Wider<'b> {
    fn of(bed: &'b Bed) -> Self {
        let wider = Self { bed, namespace: format!("{}-wide", bed.name) };
        let api: Api<Namespace> = Api::all(bed.client.clone());
        let object = serde_json::from_value(json!({ "metadata": { "name": wider.namespace } })).unwrap();
        bed.runtime.block_on(api.create(&PostParams::default(), &object)).unwrap();
        grant(bed, "*");
        wider
    }

    /// A kubeconfig for that somebody.
    fn kubeconfig(&self) -> PathBuf {
        let kubeconfig = impersonating(&self.bed.name);
        let file = self.bed.folder.path().join("kubeconfig");
        fs::write(&file, serde_yaml::to_string(&kubeconfig).unwrap()).unwrap();
        file
    }

    fn synced_with_less(&self) -> Output {
        let output = self.bed.command().arg("--once").env("KUBECONFIG", self.kubeconfig()).output().unwrap();
        assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
        output
    }

    fn map(&self, name: &str) -> Option<ConfigMap> {
        let api: Api<ConfigMap> = Api::namespaced(self.bed.client.clone(), &self.namespace);
        self.bed.runtime.block_on(api.get_opt(name)).unwrap()
    }
}

impl Drop for Wider<'_> {
    fn drop(&mut self) {
        let namespaces: Api<Namespace> = Api::all(self.bed.client.clone());
        let gone = DeleteParams::background();
        let _ = self.bed.runtime.block_on(namespaces.delete(&self.namespace, &gone));
        revoke(self.bed);
    }
}

#[test]
fn what_it_may_no_longer_look_at_is_let_go_and_the_rest_goes_on() {
    let Some(bed) = Bed::new("less") else { return };
    let wider = Wider::of(&bed);
    bed.set("reach: cluster");
    let far = map("far", "1").replace("name: far", &format!("name: far, namespace: {}", wider.namespace));
    bed.commit(&[("a.yaml", &map("a", "1")), ("far.yaml", &far)]);
    bed.synced();
    bed.set("reach: namespace");
    bed.commit(&[("a.yaml", &map("a", "2"))]);
    let said = text(&wider.synced_with_less().stdout);
    assert!(said.contains("\"decision\":\"Released\",\"reason\":\"its rights no longer reach so far"), "{said}");
    assert_eq!(bed.value("a").unwrap(), "2");
    assert!(wider.map("far").is_some());
    // It is said once, and is over.
    assert!(!text(&wider.synced_with_less().stdout).contains("Released"));
}

#[test]
fn whoever_may_only_look_is_not_told_that_everything_would_be_refused() {
    let Some(bed) = Bed::new("look") else { return };
    let commit = bed.commit(&[("a.yaml", &map("a", "1"))]);
    let settings = fs::read_to_string(bed.folder.path().join("sync.yaml")).unwrap();
    let settings = Settings::parse("sync.yaml", &settings).unwrap();
    let repository = git2::Repository::open(bed.work()).unwrap();
    let checkout = sync::read_commit(&repository, &commit.parse().unwrap(), &settings.path).unwrap();
    grant(&bed, "get list");
    let foreseen = bed.runtime.block_on(async {
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(impersonating(&bed.name), &options).await.unwrap();
        sync::rehearse(&Client::try_from(config).unwrap(), &settings, &repository, &checkout).await
    });
    revoke(&bed);
    let acts = foreseen.unwrap().acts;
    assert_eq!(acts.iter().map(|foreseen| foreseen.act).collect::<Vec<_>>(), [Act::Create], "{acts:?}");
}
