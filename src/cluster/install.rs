//! Applying an installation and waiting until its pod runs and reports.

use super::{Error, FIELD_MANAGER, objects::sync_name};
use crate::{
    sync::{self, Kinds, Note, Report, Settings},
    values::EnvironmentName,
};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::Value as Json;
use std::time::{Duration, Instant};

/// How long the pod may take to be pulled, to start and to report.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often the cluster is asked while something is waited for.
const POLL: Duration = Duration::from_millis(300);
/// How long a failing pod may go on failing: a Secret that is a moment late is no failure. Nor is what a report refused a
/// moment ago.
const DOUBT: Duration = Duration::from_secs(20);

/// Sees that the environment's namespace is there: whoever made it says who rules it.
///
/// # Errors
/// A namespace that is not there, and a cluster that does not answer.
pub async fn expect_namespace(client: &Client, namespace: &str) -> Result<(), Error> {
    if has_namespace(client, namespace).await? {
        return Ok(());
    }
    Err(sync::Error::NoNamespace { namespace: namespace.to_owned() }.into())
}

async fn has_namespace(client: &Client, namespace: &str) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = api.get_metadata_opt(namespace).await;
    found.map(|found| found.is_some()).map_err(|error| Error::refused("looking for the namespace", error))
}

/// The settings of the sync that is there; none where there is none, or one that an older program or nobody wrote.
///
/// # Errors
/// A cluster that does not answer.
pub async fn settings(client: &Client, environment: &EnvironmentName) -> Result<Option<Settings>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), sync::NAMESPACE);
    let name = sync::settings_name(environment);
    let found = api.get_opt(&name).await.map_err(|error| Error::refused("looking at the sync that is there", error))?;
    let text = found.and_then(|map| map.data?.remove("sync.yaml"));
    Ok(text.and_then(|text| Settings::parse(&name, &text).ok()))
}

/// The ports that API servers usually have.
pub const USUAL_PORTS: [u16; 2] = [443, 6443];

/// The ports at which this cluster's API server answers its pods: that of its Service, and those behind it, which network
/// policies see.
///
/// # Errors
/// A cluster that does not answer.
pub async fn api_ports(client: &Client) -> Result<Vec<u16>, Error> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let of_api = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    let slices = match api.list(&of_api).await {
        Ok(slices) => slices.items,
        // Whoever may not look gets the usual ones.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(USUAL_PORTS.to_vec()),
        Err(error) => return Err(Error::refused("looking for the API server's port", error)),
    };
    let behind = slices.into_iter().flat_map(|slice| slice.ports.unwrap_or_default());
    let mut ports: Vec<u16> = behind.filter_map(|port| u16::try_from(port.port?).ok()).collect();
    if ports.is_empty() {
        ports.extend(USUAL_PORTS);
    }
    ports.push(443);
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

/// Refuses to take an environment's sync away from another repository, folder or namespace, whose objects it would leave
/// to nobody.
///
/// # Errors
/// [`Error::Taken`], and a cluster that does not answer.
pub async fn expect_same(client: &Client, settings: &Settings) -> Result<(), Error> {
    let Some(there) = self::settings(client, &settings.environment).await? else { return Ok(()) };
    if there.applies() == settings.applies() {
        return Ok(());
    }
    let environment = settings.environment.to_string();
    Err(Error::Taken { environment, there: there.applies(), here: settings.applies() })
}

/// Waits until a namespace of ours that is on its way out is gone, and tells `waiting` before: nothing can be made in it.
///
/// # Errors
/// A namespace that does not go, and a cluster that does not answer.
pub async fn settle(client: &Client, waiting: impl FnOnce()) -> Result<(), Error> {
    let doing = format!("deleting the namespace {}", sync::NAMESPACE);
    let api: Api<Namespace> = Api::all(client.clone());
    let started = Instant::now();
    let mut waiting = Some(waiting);
    loop {
        let found = api.get_metadata_opt(sync::NAMESPACE).await.map_err(|error| Error::refused(&doing, error))?;
        if found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            let reason = format!("it is not gone after {} seconds", PATIENCE.as_secs());
            return Err(Error::Refused { doing, reason });
        }
        if let Some(waiting) = waiting.take() {
            waiting();
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Applies the objects one after the other; each may need the one before.
///
/// # Errors
/// The first object that the cluster refuses, by name.
pub async fn apply(client: &Client, kinds: &Kinds, objects: &[Json]) -> Result<(), Error> {
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
        let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let shown = format!("applying {kind} {name}");
        let served = kinds.find(api_version, kind).ok_or_else(|| Error::Refused {
            doing: shown.clone(),
            reason: format!("it serves no {api_version} {kind}"),
        })?;
        if kind == "Namespace" && has_namespace(client, name).await? {
            // Whoever made it says what it is labelled with, and when it goes.
            continue;
        }
        let api: Api<DynamicObject> = match text("/metadata/namespace") {
            "" => Api::all_with(client.clone(), &served.resource),
            namespace => Api::namespaced_with(client.clone(), namespace, &served.resource),
        };
        let parameters = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
        api.patch(name, &parameters, &Patch::Apply(object)).await.map_err(|error| Error::refused(&shown, error))?;
    }
    Ok(())
}

/// Waits until the pod runs and has reported, not one that it takes the place of; `said` is told what it waits for. Where the
/// clock begins it, the run that was begun now is waited for. A report that still refuses what is in `outdated` is of the time
/// before that was mended: the sync is asked to look again, and gets [`DOUBT`] to say something else.
///
/// # Errors
/// [`Error::NotRunning`] with the pod's own words.
pub async fn wait(
    client: &Client,
    kinds: &Kinds,
    settings: &Settings,
    outdated: &[Note],
    said: impl Fn(&str),
) -> Result<Report, Error> {
    let environment = &settings.environment;
    let workload = match settings.schedule {
        None => Workload::Deployment(sync_name(settings.host())),
        Some(_) => Workload::Job(super::run_now(client, settings.host()).await?),
    };
    if !outdated.is_empty() {
        sync::nudge(client, environment).await?;
    }
    let started = Instant::now();
    let is_outdated =
        |report: &Report| started.elapsed() < DOUBT && report.refused.iter().any(|refusal| outdated.contains(refusal));
    let mut doubtful: Option<Instant> = None;
    loop {
        let (health, pods) = health(client, kinds, settings.host(), &workload).await?;
        // The report of the pod before stays until the new one has something to say. A run may report and fail: what it says
        // of the environment is no failure of the installation.
        if (health == sync::Health::Healthy || matches!(workload, Workload::Job(_)))
            && let Some(report) = sync::read(client, environment).await?
            && report.pod.as_ref().is_some_and(|pod| pods.contains(pod))
            && !is_outdated(&report)
        {
            return Ok(report);
        }
        let reason = match health {
            sync::Health::Healthy => {
                doubtful = None;
                "its report".to_owned()
            }
            sync::Health::Progressing(reason) => {
                doubtful = None;
                reason
            }
            sync::Health::Failed(reason) => {
                let since = *doubtful.get_or_insert_with(Instant::now);
                if since.elapsed() > DOUBT {
                    return Err(Error::NotRunning { environment: settings.host().to_string(), reason });
                }
                reason
            }
        };
        said(&reason);
        if started.elapsed() > PATIENCE {
            let reason = format!("after {} seconds: {reason}", PATIENCE.as_secs());
            return Err(Error::NotRunning { environment: settings.host().to_string(), reason });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What keeps the pod running.
enum Workload {
    Deployment(String),
    Job(String),
}

/// How the workload is, by the rules of `kubectl rollout status`, and its pods that stay.
async fn health(
    client: &Client,
    kinds: &Kinds,
    host: &EnvironmentName,
    workload: &Workload,
) -> Result<(sync::Health, Vec<String>), Error> {
    let (api_version, kind, name) = match workload {
        Workload::Deployment(name) => ("apps/v1", "Deployment", name),
        Workload::Job(name) => ("batch/v1", "Job", name),
    };
    let (Some(served), Some(pod)) = (kinds.find(api_version, kind), kinds.find("v1", "Pod")) else {
        return Ok((sync::Health::Progressing(format!("the cluster to serve {kind}s")), Vec::new()));
    };
    let doing = "looking at the sync";
    let api = served.api(client, Some(sync::NAMESPACE));
    let live = api.get(name).await.map_err(|error| Error::refused(doing, error))?;
    let api = pod.api(client, Some(sync::NAMESPACE));
    let selector = match workload {
        Workload::Deployment(_) => format!("{}={host}", super::ENVIRONMENT_LABEL),
        Workload::Job(name) => format!("batch.kubernetes.io/job-name={name}"),
    };
    let pods =
        api.list(&ListParams::default().labels(&selector)).await.map_err(|error| Error::refused(doing, error))?;
    let staying = pods.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let names = staying.filter_map(|pod| pod.metadata.name.clone()).collect();
    let pods: Vec<Json> = pods.items.into_iter().map(|pod| serde_json::to_value(pod).unwrap_or_default()).collect();
    let mut live = serde_json::to_value(live).unwrap_or_default();
    (live["apiVersion"], live["kind"]) = (api_version.into(), kind.into());
    Ok((sync::assess(&live, &pods.iter().collect::<Vec<_>>()), names))
}
