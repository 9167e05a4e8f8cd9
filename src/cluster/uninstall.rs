//! Taking an installation away. The workloads stay: they are the team's, not the sync's.

use super::{ENVIRONMENT_LABEL, Error, NAMESPACE_LABEL, objects::sync_name};
use crate::{
    sync::{self, Kinds},
    values::EnvironmentName,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams},
};

/// What was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The objects, as `Kind namespace/name`.
    pub objects: Vec<String>,
    /// Whether the sync's own namespace went too, because no environment needs it any more.
    pub namespace: bool,
}

/// What an installation is made of, the pod first: nothing acts while the rest goes.
const PARTS: &[(&str, &str)] = &[
    ("apps/v1", "Deployment"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("v1", "Secret"),
    ("v1", "ConfigMap"),
    ("v1", "ServiceAccount"),
];

/// Removes an environment's sync and all that its installation made. `namespace` is where the environment runs, in case
/// the cluster no longer tells.
///
/// # Errors
/// A cluster that does not let us.
pub async fn uninstall(
    client: &Client,
    kinds: &Kinds,
    environment: &EnvironmentName,
    namespace: &str,
) -> Result<Removed, Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), sync::NAMESPACE);
    let installed = deployments
        .get_opt(&sync_name(environment))
        .await
        .map_err(|error| Error::refused("looking for the sync", error))?;
    let labelled = installed.and_then(|deployment| deployment.labels().get(NAMESPACE_LABEL).cloned());
    let target = labelled.unwrap_or_else(|| namespace.to_owned());
    let mut objects = Vec::new();
    for (api_version, kind) in PARTS {
        let Some(served) = kinds.find(api_version, kind) else { continue };
        for place in [sync::NAMESPACE, target.as_str()] {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), place, &served.resource);
            let selector = format!("{ENVIRONMENT_LABEL}={environment},app.kubernetes.io/managed-by=gitops-hooks");
            let doing = format!("listing {}", served.resource.plural);
            let found = api
                .list_metadata(&ListParams::default().labels(&selector))
                .await
                .map_err(|error| Error::refused(&doing, error))?;
            for object in found.items {
                let name = object.name_any();
                match api.delete(&name, &DeleteParams::background()).await {
                    Ok(_) => objects.push(format!("{kind} {place}/{name}")),
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => return Err(Error::refused(&format!("deleting {kind} {name}"), error)),
                }
            }
        }
    }
    let namespace = if objects.is_empty() { false } else { remove_namespace(client, &deployments).await? };
    Ok(Removed { objects, namespace })
}

/// The namespace goes with the last environment, if it is the one that an installation made and nobody else keeps a Secret
/// there, such as one to pull images with.
async fn remove_namespace(client: &Client, deployments: &Api<Deployment>) -> Result<bool, Error> {
    let left = deployments
        .list_metadata(&ListParams::default().labels(ENVIRONMENT_LABEL))
        .await
        .map_err(|error| Error::refused("looking for other environments", error))?;
    if left.items.iter().any(|deployment| deployment.metadata.deletion_timestamp.is_none()) {
        return Ok(false);
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found =
        namespaces.get_opt(sync::NAMESPACE).await.map_err(|error| Error::refused("looking at the namespace", error))?;
    let ours = found.is_some_and(|namespace| {
        namespace.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == "gitops-hooks")
    });
    if !ours {
        return Ok(false);
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), sync::NAMESPACE);
    // Old clusters make tokens of accounts by themselves.
    let foreign = ListParams::default()
        .labels("app.kubernetes.io/managed-by!=gitops-hooks")
        .fields("type!=kubernetes.io/service-account-token");
    let left =
        secrets.list_metadata(&foreign).await.map_err(|error| Error::refused("looking for other Secrets", error))?;
    if left.items.is_empty() {
        namespaces
            .delete(sync::NAMESPACE, &DeleteParams::background())
            .await
            .map_err(|error| Error::refused("deleting the namespace", error))?;
    }
    Ok(left.items.is_empty())
}
