//! What people ask of a running sync, by annotations on the `ConfigMap` of its settings: to poll at once, or to change nothing
//! for a while.

use super::{
    Error, NAMESPACE, Settings,
    report::{self, NUDGE, SUSPEND},
};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{WatchEvent, WatchParams},
};
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle};

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// How often a poll was asked for.
    pub(super) nudges: u64,
    /// Why nothing shall be changed, where somebody says so.
    pub(super) suspended: Option<String>,
}

/// A task that ends with whoever started it.
pub(super) struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens for as long as the listener is held; `suspended` is what is known already.
pub(super) fn listen(
    client: Client,
    settings: &Settings,
    suspended: Option<String>,
) -> (watch::Receiver<Asked>, Listener) {
    let (sender, receiver) = watch::channel(Asked { nudges: 0, suspended });
    let task = tokio::spawn(hear(client, report::settings_name(&settings.environment), sender));
    (receiver, Listener(task))
}

/// Whether somebody has asked to change nothing, known before the first pass.
///
/// # Errors
/// A cluster that does not answer: not to know is no leave to write.
pub(super) async fn suspended(client: &Client, settings: &Settings) -> Result<Option<String>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let found = api.get_metadata_opt(&report::settings_name(&settings.environment)).await;
    let found = found.map_err(|source| Error::cluster("reading whether the sync is suspended", source))?;
    Ok(found.and_then(|map| map.metadata.annotations?.remove(SUSPEND)))
}

async fn hear(client: Client, name: String, asked: watch::Sender<Asked>) {
    let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(280);
    // What stands there already was asked of an earlier day.
    let mut last: Option<Option<String>> = None;
    loop {
        if let Ok(events) = api.watch_metadata(&parameters, "0").await {
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                let (WatchEvent::Added(map) | WatchEvent::Modified(map)) = event else { continue };
                let mut annotations = map.metadata.annotations.unwrap_or_default();
                let nudge = annotations.remove(NUDGE);
                let suspended = annotations.remove(SUSPEND);
                let is_new = last.as_ref().is_some_and(|last| *last != nudge);
                last = Some(nudge);
                asked.send_if_modified(|asked| {
                    let before = asked.clone();
                    asked.nudges += u64::from(is_new);
                    asked.suspended = suspended;
                    *asked != before
                });
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
