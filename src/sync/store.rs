//! What the sync keeps in the cluster: its inventory and its report, each one `ConfigMap` in its own namespace. `cluster
//! install` makes them empty, so that the pod needs no right to make any.

use super::{Error, FIELD_MANAGER, NAMESPACE, inventory::Inventory};
use crate::values::EnvironmentName;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
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

/// The inventory of an environment, empty where there is none yet.
pub(super) async fn inventory(client: &Client, environment: &EnvironmentName) -> Result<Inventory, Error> {
    let name = inventory_name(environment);
    let Some(text) = read(client, &name, INVENTORY).await? else { return Ok(Inventory::default()) };
    Inventory::from_text(&text).map_err(|error| Error::Stored { name, reason: error.to_string() })
}

/// Keeps the inventory.
pub(super) async fn keep(client: &Client, environment: &EnvironmentName, inventory: &Inventory) -> Result<(), Error> {
    write(client, &inventory_name(environment), INVENTORY, inventory.to_text()).await
}
