//! What a cluster has of an environment, where it is the one that the laptop's configuration means: names are the cluster's,
//! and somebody else may have taken one.

use super::Error;
use crate::{
    config::Environment,
    sync::{self, Report, Settings},
    values::EnvironmentName,
};
use kube::Client;

/// The settings of a sync that is installed without an option.
#[must_use]
pub fn usual_settings(name: &EnvironmentName, environment: &Environment) -> Settings {
    let manifests = &environment.manifests;
    let (namespace, url) = (environment.namespace.as_str(), (*manifests.url).clone());
    Settings { path: (*manifests.path).clone(), ..Settings::in_pod(name.clone(), namespace, url, &manifests.branch) }
}

/// The settings of the sync that is there; none where there is none.
///
/// # Errors
/// [`Error::Taken`], and a cluster that does not answer.
pub async fn our_settings(
    client: &Client,
    name: &EnvironmentName,
    environment: &Environment,
) -> Result<Option<Settings>, Error> {
    let there = super::settings(client, name).await?;
    let is_ours = |there: &Settings| is_meant(environment, &there.namespace, there.path.as_str());
    match there {
        Some(there) if !is_ours(&there) => Err(taken(name, environment, there.applies())),
        there => Ok(there),
    }
}

/// What the sync that is there says; none where none has said anything.
///
/// # Errors
/// [`Error::Taken`], and a cluster that does not answer.
pub async fn our_report(
    client: &Client,
    name: &EnvironmentName,
    environment: &Environment,
) -> Result<Option<Report>, Error> {
    let ours = environment.manifests.path.as_str();
    match sync::read(client, name).await? {
        // An older program does not say which folder it is.
        Some(report) if !is_meant(environment, &report.namespace, report.path().unwrap_or(ours)) => {
            Err(taken(name, environment, report.applies()))
        }
        report => Ok(report),
    }
}

/// The address may differ: a pod may reach the repository by another.
fn is_meant(environment: &Environment, namespace: &str, path: &str) -> bool {
    environment.namespace.as_str() == namespace && environment.manifests.path.as_str() == path
}

fn taken(name: &EnvironmentName, environment: &Environment, there: String) -> Error {
    let here = usual_settings(name, environment).applies();
    Error::Taken { environment: name.to_string(), there, here }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_ours_by_its_folder_and_its_namespace() {
        let yaml = "images: {web: {repository: r.example.com/web}}\nenvironments:\n  staging: {branch: main, namespace: shop, manifests: {url: 'https://example.com/m.git', path: live}, images: [web]}\n";
        let config = crate::config::parse("c.yaml", yaml).unwrap();
        let (name, environment) = config.environments.first_key_value().unwrap();
        assert!(is_meant(environment, "shop", "live"));
        assert!(!is_meant(environment, "other", "live") && !is_meant(environment, "shop", "other"));
        let said = taken(name, environment, "x of y into the namespace z".to_owned()).to_string();
        assert!(said.contains("sync called staging already, which applies x of y into the namespace z"), "{said}");
        assert!(said.ends_with("apply live of https://example.com/m.git into the namespace shop"), "{said}");
    }
}
