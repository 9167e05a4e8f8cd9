//! What the sync keeps in the cluster: its inventory and its report, each one `ConfigMap` in its own namespace. `cluster
//! install` makes them empty, so that the pod needs no right to make any.

use super::{Error, FIELD_MANAGER, NAMESPACE, Settings, inventory::Inventory};
use crate::values::EnvironmentName;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

const INVENTORY: &str = "inventory.json";

/// The name of the `ConfigMap` that holds an environment's inventory.
#[must_use]
pub fn inventory_name(environment: &EnvironmentName) -> String {
    format!("gitops-hooks-inventory-{environment}")
}

/// The text under a key; `None` where it is not there.
pub(super) async fn read(client: &Client, name: &str, key: &str) -> Result<Option<String>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let found = api.get_opt(name).await.map_err(|source| Error::cluster(&format!("reading {name}"), source))?;
    Ok(found.and_then(|map| map.data?.remove(key)))
}

/// Writes the text under a key.
pub(super) async fn write(client: &Client, name: &str, key: &str, text: String) -> Result<(), Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { key: text } });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch(name, &parameters, &Patch::Apply(&map)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(Error::NotInstalled),
        Err(source) => Err(Error::cluster(&format!("writing {name}"), source)),
    }
}

/// What an inventory was made from: of another repository, folder or namespace nothing is ever pruned.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    url: String,
    path: String,
    namespace: String,
}

impl Origin {
    fn of(settings: &Settings) -> Self {
        let (path, namespace) = (settings.path.as_str().to_owned(), settings.namespace.clone());
        Self { url: settings.url.shown(), path, namespace }
    }
}

/// An inventory as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    origin: Origin,
    objects: String,
}

/// The inventory of an environment, empty where there is none yet, or one of something else.
pub(super) async fn inventory(client: &Client, settings: &Settings) -> Result<Inventory, Error> {
    let name = inventory_name(&settings.environment);
    let Some(text) = read(client, &name, INVENTORY).await? else { return Ok(Inventory::default()) };
    let unreadable = |error: serde_json::Error| Error::Stored { name: name.clone(), reason: error.to_string() };
    let kept: Kept = serde_json::from_str(&text).map_err(unreadable)?;
    if kept.origin != Origin::of(settings) {
        return Ok(Inventory::default());
    }
    Inventory::from_text(&kept.objects).map_err(unreadable)
}

/// Keeps the inventory.
pub(super) async fn keep(client: &Client, settings: &Settings, inventory: &Inventory) -> Result<(), Error> {
    let name = inventory_name(&settings.environment);
    let kept = Kept { origin: Origin::of(settings), objects: inventory.to_text() };
    let text = serde_json::to_string(&kept)
        .map_err(|error| Error::Stored { name: name.clone(), reason: error.to_string() })?;
    write(client, &name, INVENTORY, text).await
}
