//! A sync whose rights become fewer than they were.

use crate::bed::{Bed, map, text};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
    config::Kubeconfig,
};
use serde_json::json;
use std::{fs, path::PathBuf, process::Output};

const SYSTEM: &str = "gitops-hooks-system";

/// A namespace besides that of a bed, and somebody who has every right in the bed's own and the sync's, and none elsewhere.
struct Wider<'b> {
    bed: &'b Bed,
    namespace: String,
}

impl<'b> Wider<'b> {
    fn of(bed: &'b Bed) -> Self {
        let wider = Self { bed, namespace: format!("{}-wide", bed.name) };
        let made = PostParams::default();
        bed.runtime.block_on(async {
            let api: Api<Namespace> = Api::all(bed.client.clone());
            let object = serde_json::from_value(json!({ "metadata": { "name": wider.namespace } })).unwrap();
            api.create(&made, &object).await.unwrap();
            for namespace in [&bed.name, SYSTEM] {
                let every = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
                let role = json!({ "metadata": { "name": bed.name }, "rules": every });
                let roles: Api<Role> = Api::namespaced(bed.client.clone(), namespace);
                roles.create(&made, &serde_json::from_value(role).unwrap()).await.unwrap();
                let binding = json!({ "metadata": { "name": bed.name },
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": bed.name },
                    "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": bed.name }] });
                let bindings: Api<RoleBinding> = Api::namespaced(bed.client.clone(), namespace);
                bindings.create(&made, &serde_json::from_value(binding).unwrap()).await.unwrap();
            }
        });
        wider
    }

    /// A kubeconfig for that somebody.
    fn kubeconfig(&self) -> PathBuf {
        let mut kubeconfig = Kubeconfig::read().unwrap();
        for named in &mut kubeconfig.auth_infos {
            named.auth_info.as_mut().unwrap().impersonate = Some(self.bed.name.clone());
        }
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
        let roles: Api<Role> = Api::namespaced(self.bed.client.clone(), SYSTEM);
        let bindings: Api<RoleBinding> = Api::namespaced(self.bed.client.clone(), SYSTEM);
        self.bed.runtime.block_on(async {
            let _ = namespaces.delete(&self.namespace, &DeleteParams::background()).await;
            let _ = roles.delete(&self.bed.name, &DeleteParams::default()).await;
            let _ = bindings.delete(&self.bed.name, &DeleteParams::default()).await;
        });
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
