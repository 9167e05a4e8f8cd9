//! Taking an installation away. The workloads stay: they are the team's, not the sync's.

use super::{ENVIRONMENT_LABEL, Error};
use crate::{
    sync::{self, Kinds, Reach, Settings},
    values::EnvironmentName,
};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
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

/// The group of what grants rights.
const RBAC: &str = "rbac.authorization.k8s.io/";

/// What an installation is made of, the pod first: nothing acts while the rest goes.
const PARTS: &[(&str, &str)] = &[
    ("apps/v1", "Deployment"),
    ("batch/v1", "CronJob"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("v1", "Secret"),
    ("v1", "ConfigMap"),
    ("coordination.k8s.io/v1", "Lease"),
    ("v1", "ServiceAccount"),
];

/// Removes an environment's sync and all that its installations made, wherever that is.
///
/// # Errors
/// A cluster that does not let us.
pub async fn uninstall(client: &Client, kinds: &Kinds, environment: &EnvironmentName) -> Result<Removed, Error> {
    let guests = super::guests(client, environment).await?;
    if !guests.is_empty() {
        let names: Vec<&str> = guests.iter().map(|guest| guest.environment.as_str()).collect();
        let names = names.join(", ");
        return Err(Error::usage(
            format!("in the pod of {environment} runs {names} too"),
            format!("`gitops-hooks cluster uninstall` {names} first, or install it without --pod-of"),
        ));
    }
    if let Some(settings) = super::settings(client, environment).await?
        && let Some(host) = &settings.pod
        && let Some(host) = super::settings(client, host).await?
    {
        let mut guests = super::guests(client, &host.environment).await?;
        guests.retain(|guest| guest.environment != *environment);
        super::seat(client, &host, &guests).await?;
    }
    let mut objects = Vec::new();
    for (api_version, kind) in PARTS {
        objects.extend(remove(client, kinds, (api_version, kind), environment, |_| true).await?);
    }
    let namespace = if objects.is_empty() { false } else { remove_namespace(client).await? };
    Ok(Removed { objects, namespace })
}

/// Takes away what earlier installations made of the environment's sync and these settings do not need: rights in other
/// namespaces than the one that it is for now, or in the whole cluster, and the pod of the other form.
///
/// # Errors
/// A cluster that does not let us.
pub async fn remove_old(client: &Client, kinds: &Kinds, settings: &Settings) -> Result<(), Error> {
    let environment = &settings.environment;
    let is_needed = |place: &str| match settings.reach {
        Reach::Namespace => place == settings.namespace,
        // The binding is in no namespace.
        Reach::Cluster => place.is_empty(),
    };
    for part in PARTS.iter().filter(|(api_version, _)| api_version.starts_with(RBAC)) {
        remove(client, kinds, *part, environment, |place| place != sync::NAMESPACE && !is_needed(place)).await?;
    }
    let unneeded: &[&str] = match (&settings.pod, &settings.schedule) {
        (Some(_), _) => &["Deployment", "CronJob", "NetworkPolicy", "Secret", "ServiceAccount"],
        (None, Some(_)) => &["Deployment"],
        (None, None) => &["CronJob"],
    };
    for part in PARTS.iter().filter(|(_, kind)| unneeded.contains(kind)) {
        remove(client, kinds, *part, environment, |_| true).await?;
    }
    Ok(())
}

/// Deletes the parts of one kind in the namespaces that `within` takes, and names them.
async fn remove(
    client: &Client,
    kinds: &Kinds,
    (api_version, kind): (&str, &str),
    environment: &EnvironmentName,
    within: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Error> {
    let Some(served) = kinds.find(api_version, kind) else { return Ok(Vec::new()) };
    // Rights may be in any namespace that the environment once had; everything else is in the sync's own.
    let everywhere: Api<DynamicObject> = if api_version.starts_with(RBAC) {
        Api::all_with(client.clone(), &served.resource)
    } else {
        Api::namespaced_with(client.clone(), sync::NAMESPACE, &served.resource)
    };
    let selector = format!("{ENVIRONMENT_LABEL}={environment},app.kubernetes.io/managed-by=gitops-hooks");
    let doing = format!("listing {}", served.resource.plural);
    let found = everywhere
        .list_metadata(&ListParams::default().labels(&selector))
        .await
        .map_err(|error| Error::refused(&doing, error))?;
    let mut removed = Vec::new();
    for object in found.items {
        let (name, place) = (object.name_any(), object.namespace().unwrap_or_default());
        if !within(&place) {
            continue;
        }
        let api = served.api(client, Some(place.as_str()).filter(|place| !place.is_empty()));
        match api.delete(&name, &DeleteParams::background()).await {
            Ok(_) if place.is_empty() => removed.push(format!("{kind} {name}")),
            Ok(_) => removed.push(format!("{kind} {place}/{name}")),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(Error::refused(&format!("deleting {kind} {name}"), error)),
        }
    }
    Ok(removed)
}

/// The namespace goes with the last environment, if it is the one that an installation made and nobody else keeps a Secret
/// there, such as one to pull images with.
async fn remove_namespace(client: &Client) -> Result<bool, Error> {
    // An account is the first that an installation makes: one under way is seen too.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), sync::NAMESPACE);
    let left = accounts
        .list_metadata(&ListParams::default().labels(ENVIRONMENT_LABEL))
        .await
        .map_err(|error| Error::refused("looking for other environments", error))?;
    if left.items.iter().any(|account| account.metadata.deletion_timestamp.is_none()) {
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
