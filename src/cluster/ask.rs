//! Whether a cluster answers, without asking a person anything and without waiting for long.

use super::{Error, answers, infer};
use kube::{
    Client,
    config::{ExecInteractiveMode, Kubeconfig},
};
use std::time::Duration;

/// The cluster of the kubeconfig's current context, with the name of that context where a kubeconfig says it.
///
/// # Errors
/// [`Error::NoCluster`], when there is no configuration or nobody answers within `limit`.
pub async fn ask(limit: Duration) -> Result<(Client, Option<String>), Error> {
    crate::tls::choose_provider();
    let none = |reason: String| Error::NoCluster { context: String::new(), reason };
    let mut config = infer().await.map_err(none)?;
    if let Some(exec) = &mut config.auth_info.exec {
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
    }
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| {
        none(match error {
            // Its words hold the program's whole environment.
            kube::Error::Auth(_) => "the credentials of the kubeconfig cannot be had without a person".to_owned(),
            error => error.to_string(),
        })
    })?;
    answers(&client, &server, limit).await.map_err(none)?;
    Ok((client, Kubeconfig::read().ok().and_then(|file| file.current_context)))
}
