//! What the sync keeps in the cluster: its inventory and its report, in `ConfigMap`s in its own namespace. `cluster install`
//! makes them empty, so that the pod needs no right to make any.

use super::{
    Error, FIELD_MANAGER, NAMESPACE, Settings,
    inventory::{Inventory, MAX_SHARDS},
};
use crate::values::EnvironmentName;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The key of a shard's text.
pub(super) const INVENTORY: &str = "inventory.json";

/// The names of the `ConfigMap`s that hold an environment's inventory.
#[must_use]
pub fn inventory_names(environment: &EnvironmentName) -> Vec<String> {
    (0..MAX_SHARDS).map(|shard| shard_name(environment, shard)).collect()
}

const PREFIX: &str = "gitops-hooks-inventory-";

/// No environment's name has a dot, so that no two can have one shard.
fn shard_name(environment: &EnvironmentName, shard: u8) -> String {
    match shard {
        0 => format!("{PREFIX}{environment}"),
        _ => format!("{PREFIX}{environment}.{shard}"),
    }
}

/// The environment whose inventory a `ConfigMap` of this name has a shard of.
pub(super) fn environment_of(name: &str) -> Option<EnvironmentName> {
    name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
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
    // Only its metadata comes back: the text may be long.
    match api.patch_metadata(name, &parameters, &Patch::Apply(&map)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(Error::NotInstalled),
        Err(source) => Err(Error::cluster(&format!("writing {name}"), source)),
    }
}

/// What an inventory, or a report, was made from: of another repository, folder or namespace nothing is ever pruned, and
/// nothing is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) url: String,
    pub(super) path: String,
    namespace: String,
}

impl Origin {
    /// That of these settings.
    pub(super) fn of(settings: &Settings) -> Self {
        let (path, namespace) = (settings.path.as_str().to_owned(), settings.namespace.clone());
        Self { url: settings.url.shown(), path, namespace }
    }
}

/// The head of a shard as it is kept; its objects are the lines below. The first shard says how many there are.
#[derive(Serialize, Deserialize)]
struct Head {
    origin: Origin,
    #[serde(default)]
    shards: u8,
    /// How many objects were owned before others came, in the first shard and until that is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<usize>,
    /// All of it, where a program from before there were shards wrote it.
    #[serde(default, skip_serializing)]
    objects: Option<String>,
}

/// A shard's head and its objects, where it is there and of what these settings follow.
async fn read_shard(client: &Client, settings: &Settings, shard: u8) -> Result<Option<(Head, String)>, Error> {
    let name = shard_name(&settings.environment, shard);
    let Some(text) = read(client, &name, INVENTORY).await? else { return Ok(None) };
    let (head, objects) = text.split_once('\n').unwrap_or((&text, ""));
    let head: Head = serde_json::from_str(head).map_err(|error| unreadable(&name, &error))?;
    Ok((head.origin == Origin::of(settings)).then(|| (head, objects.to_owned())))
}

fn unreadable(name: &str, error: &serde_json::Error) -> Error {
    Error::Stored { name: name.to_owned(), reason: error.to_string() }
}

/// The inventory of an environment, empty where there is none yet, or one of something else.
pub(super) async fn inventory(client: &Client, settings: &Settings) -> Result<Inventory, Error> {
    let Some(first) = read_shard(client, settings, 0).await? else { return Ok(Inventory::default()) };
    if let Some(old) = &first.0.objects {
        let name = shard_name(&settings.environment, 0);
        return Inventory::of_old(old).map_err(|error| unreadable(&name, &error));
    }
    let mut inventory = Inventory::of_shards(first.0.shards.clamp(1, MAX_SHARDS), first.0.before);
    let others = (1..inventory.shards()).map(|shard| read_shard(client, settings, shard));
    let others = futures_util::future::try_join_all(others).await?;
    for (shard, kept) in (0..).zip([Some(first)].into_iter().chain(others)) {
        if let Some((_, objects)) = kept {
            let name = shard_name(&settings.environment, shard);
            inventory.take_shard(&objects).map_err(|error| unreadable(&name, &error))?;
        }
    }
    Ok(inventory)
}

/// What a shard's text says: what it was made from, and its objects.
///
/// # Errors
/// Text that is no shard; `name` is that of its `ConfigMap`.
pub(super) fn parse(name: &str, text: &str) -> Result<(Origin, Inventory), Error> {
    let (head, objects) = text.split_once('\n').unwrap_or((text, ""));
    let head: Head = serde_json::from_str(head).map_err(|error| unreadable(name, &error))?;
    let read = if let Some(old) = &head.objects {
        Inventory::of_old(old)
    } else {
        let mut inventory = Inventory::default();
        inventory.take_shard(objects).map(|()| inventory)
    };
    Ok((head.origin, read.map_err(|error| unreadable(name, &error))?))
}

/// A shard's text.
///
/// # Errors
/// A head that is no JSON, which cannot be.
pub(super) fn text(settings: &Settings, inventory: &Inventory, shard: u8) -> Result<String, Error> {
    let before = inventory.unsettled().filter(|_| shard == 0);
    let head = Head { origin: Origin::of(settings), shards: inventory.shards(), before, objects: None };
    let head =
        serde_json::to_string(&head).map_err(|error| unreadable(&shard_name(&settings.environment, shard), &error))?;
    Ok(format!("{head}\n{}", inventory.shard(shard)))
}

/// Keeps what changed of the inventory, and gives the number of writes.
pub(super) async fn keep(client: &Client, settings: &Settings, inventory: &mut Inventory) -> Result<usize, Error> {
    let unwritten = inventory.unwritten();
    for shard in &unwritten {
        let name = shard_name(&settings.environment, *shard);
        write(client, &name, INVENTORY, text(settings, inventory, *shard)?).await?;
    }
    inventory.written();
    Ok(unwritten.len())
}
