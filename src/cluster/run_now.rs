//! A look at the repository now, where a `CronJob` begins the sync: a Job of its making, as `kubectl create job --from` does.

use super::{Error, objects::sync_name};
use crate::{sync, values::EnvironmentName};
use k8s_openapi::{
    api::batch::v1::{CronJob, Job},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, ResourceExt, api::PostParams};

/// Begins a run, and gives the name of its Job.
///
/// # Errors
/// A cluster that refuses, and an environment whose sync no `CronJob` begins.
pub async fn run_now(client: &Client, environment: &EnvironmentName) -> Result<String, Error> {
    let doing = "beginning a run of the sync";
    let refused = |error| Error::refused(doing, error);
    let crons: Api<CronJob> = Api::namespaced(client.clone(), sync::NAMESPACE);
    let cron = crons.get(&sync_name(environment)).await.map_err(refused)?;
    let owner = OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "CronJob".to_owned(),
        name: cron.name_any(),
        uid: cron.uid().unwrap_or_default(),
        ..OwnerReference::default()
    };
    let template = cron.spec.job_template;
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.generate_name = Some(format!("{}-", sync_name(environment)));
    metadata.owner_references = Some(vec![owner]);
    let job = Job { metadata, spec: template.spec, ..Job::default() };
    let jobs: Api<Job> = Api::namespaced(client.clone(), sync::NAMESPACE);
    Ok(jobs.create(&PostParams::default(), &job).await.map_err(refused)?.name_any())
}
