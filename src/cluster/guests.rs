//! Several environments of one repository in one pod: one of them is the host, whose pod, account and credentials the guests
//! use. Each keeps its own settings, inventory, report, turn and rights.

use super::{
    ENVIRONMENT_LABEL, Error,
    objects::{GUESTS, guests_mark, sources, sync_name},
};
use crate::{
    sync::{self, Settings},
    values::EnvironmentName,
};
use k8s_openapi::api::{apps::v1::Deployment, batch::v1::CronJob, core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value as Json, json};

/// The environments that run in the pod of this one, in the order of their names.
///
/// # Errors
/// A cluster that does not answer.
pub async fn guests(client: &Client, host: &EnvironmentName) -> Result<Vec<Settings>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), sync::NAMESPACE);
    let labelled = ListParams::default().labels(ENVIRONMENT_LABEL);
    let found = api.list(&labelled).await.map_err(|error| Error::refused("looking for environments", error))?;
    let settings = |map: ConfigMap| Settings::parse("settings", map.data?.get("sync.yaml")?).ok();
    let mut guests: Vec<Settings> =
        found.items.into_iter().filter_map(settings).filter(|it| it.pod.as_ref() == Some(host)).collect();
    guests.sort_by(|a, b| a.environment.cmp(&b.environment));
    Ok(guests)
}

/// The settings of the environment in whose pod another shall run.
///
/// # Errors
/// A host that is not installed, is a guest itself, or follows another repository; and a guest that has guests.
pub async fn host(client: &Client, host: &EnvironmentName, guest: &Settings) -> Result<Settings, Error> {
    let Some(found) = super::settings(client, host).await? else {
        return Err(Error::usage(format!("the cluster has no sync of {host}"), "install that one first"));
    };
    if let Some(other) = &found.pod {
        return Err(Error::usage(format!("{host} runs in the pod of {other}"), format!("name {other}")));
    }
    if found.url.shown() != guest.url.shown() {
        let message = format!("{host} follows {}, and this environment {}", found.url.shown(), guest.url.shown());
        return Err(Error::usage(message, "one pod follows one repository; install it without --pod-of"));
    }
    if *host == guest.environment || !guests(client, &guest.environment).await?.is_empty() {
        let message = format!("{} has a pod that others run in", guest.environment);
        return Err(Error::usage(message, "uninstall them first, or install it without --pod-of"));
    }
    Ok(found)
}

/// Lets the pod of an environment run these guests, anew where they are others than before.
///
/// # Errors
/// A cluster that refuses.
pub async fn seat(client: &Client, host: &Settings, guests: &[Settings]) -> Result<(), Error> {
    let name = sync_name(&host.environment);
    let template = json!({
        "metadata": { "annotations": { GUESTS: guests_mark(guests) } },
        "spec": { "volumes": [{ "name": "settings", "configMap": null, "projected": { "sources": sources(&host.environment, guests) } }] },
    });
    let parameters = PatchParams { field_manager: Some(super::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = |spec: Json| Patch::Strategic(json!({ "spec": spec }));
    let done = if host.schedule.is_some() {
        let api: Api<CronJob> = Api::namespaced(client.clone(), sync::NAMESPACE);
        let spec = json!({ "jobTemplate": { "spec": { "template": template } } });
        api.patch(&name, &parameters, &patch(spec)).await.map(drop)
    } else {
        let api: Api<Deployment> = Api::namespaced(client.clone(), sync::NAMESPACE);
        api.patch(&name, &parameters, &patch(json!({ "template": template }))).await.map(drop)
    };
    done.map_err(|error| Error::refused("changing which environments a pod runs", error))
}
