//! The Secrets in the sync's own namespace: what an earlier installation left there, and the image pull secrets. Their
//! contents are read only to be kept, and never shown.

use super::{
    Credentials, Error,
    objects::{pull_secret_name, sync_name},
};
use crate::{sync, values::EnvironmentName};
use k8s_openapi::api::{apps::v1::Deployment, batch::v1::CronJob, core::v1::Secret};
use kube::{Api, Client, api::DeleteParams};

/// The types of Secret that a kubelet pulls images with.
const PULL_TYPES: &[&str] = &["kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"];

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), sync::NAMESPACE)
}

/// What an earlier installation shows to the repository; empty where there was none.
///
/// # Errors
/// A cluster that does not answer.
pub async fn held_credentials(client: &Client, environment: &EnvironmentName) -> Result<Credentials, Error> {
    let found = secrets(client).get_opt(&sync_name(environment)).await;
    let found = found.map_err(|error| Error::refused("looking for the credentials", error))?;
    let data = found.and_then(|secret| secret.data).unwrap_or_default();
    Ok(Credentials::held(data.into_iter().map(|(name, bytes)| (name, bytes.0)).collect()))
}

/// Whether an earlier installation made an image pull secret.
///
/// # Errors
/// A cluster that does not answer.
pub async fn has_pull_secret(client: &Client, environment: &EnvironmentName) -> Result<bool, Error> {
    let found = secrets(client).get_metadata_opt(&pull_secret_name(environment)).await;
    found.map(|found| found.is_some()).map_err(|error| Error::refused("looking for the image pull secret", error))
}

/// The image pull secret that the user named for the pod that is there; none where it has ours, or needs none.
///
/// # Errors
/// A cluster that does not answer.
pub async fn named_pull_secret(client: &Client, environment: &EnvironmentName) -> Result<Option<String>, Error> {
    let failed = |error| Error::refused("looking at the sync that is there", error);
    let name = sync_name(environment);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), sync::NAMESPACE);
    let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), sync::NAMESPACE);
    let template = match deployments.get_opt(&name).await.map_err(failed)? {
        Some(found) => Some(found.spec.template),
        None => cron_jobs
            .get_opt(&name)
            .await
            .map_err(failed)?
            .and_then(|found| Some(found.spec.job_template.spec?.template)),
    };
    let secrets = template.and_then(|template| template.spec?.image_pull_secrets).unwrap_or_default();
    let ours = pull_secret_name(environment);
    Ok(secrets.into_iter().map(|secret| secret.name).find(|name| *name != ours))
}

/// Sees that an image pull secret of that name is there: a pod that names one that is not only says that it cannot pull.
///
/// # Errors
/// [`Error::NoPullSecret`], and a cluster that does not answer.
pub async fn expect_pull_secret(client: &Client, name: &str) -> Result<(), Error> {
    let found = secrets(client).get_opt(name).await;
    let found = found.map_err(|error| Error::refused("looking for the image pull secret", error))?;
    let found = match found.map(|secret| secret.type_.unwrap_or_default()) {
        Some(kind) if PULL_TYPES.contains(&kind.as_str()) => return Ok(()),
        Some(kind) => format!(", but a Secret of the type {kind}"),
        None => String::new(),
    };
    Err(Error::NoPullSecret { name: name.to_owned(), found })
}

/// Takes away the image pull secret that an earlier installation made and this one does not need.
///
/// # Errors
/// A cluster that does not let us.
pub async fn remove_pull_secret(client: &Client, environment: &EnvironmentName) -> Result<(), Error> {
    match secrets(client).delete(&pull_secret_name(environment), &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::refused("deleting the image pull secret", error)),
    }
}
