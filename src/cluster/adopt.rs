//! What stands in the cluster already and is named in the repository too: made by hand, with `kubectl apply`, by another tool.
//! It is listed, and where the user asks for it its managed fields become ours, so that the sync may change and prune it.

use super::Error;
use crate::{
    config::Manifests,
    git::{Prompts, Repository},
    sync::{self, Desired, Kinds, ObjectId, Settings},
    values::EnvironmentName,
};
use kube::{
    Client,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value as Json, json};

/// An object that is there and not ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Existing {
    /// What it is called.
    pub object: ObjectId,
    api_version: String,
    live: Json,
}

/// What stands in the cluster of what the repository names.
#[derive(Debug)]
pub struct Standing {
    /// What no sync has ever applied, in order.
    pub foreign: Vec<Existing>,
    /// What the sync of another environment owns, as `Kind namespace/name` with that environment, in order.
    pub claimed: Vec<(String, EnvironmentName)>,
}

/// The objects that the repository names, that stand in the cluster, and that are not this sync's. The laptop's own git
/// fetches, so that the user's credentials count.
///
/// # Errors
/// A repository or a cluster that does not answer, and a commit without the path.
pub async fn existing(
    client: &Client,
    kinds: &Kinds,
    repository: &Repository,
    manifests: &Manifests,
    settings: &Settings,
) -> Result<Standing, Error> {
    let (bare, checkout) = super::fetched(repository, manifests, &settings.verify, Prompts::Allowed)?;
    let desired = Desired::read(&bare, &checkout, &Desired::default())?;
    let (wanted, _) = sync::resolve(desired.outlines(), settings, kinds);
    let objects = wanted.iter().map(|(object, outline)| (outline.api_version.as_str(), object));
    let places = sync::places(objects, kinds, |_| true);
    let claims = sync::claims(client, settings, |object| wanted.contains_key(object)).await?;
    let mut foreign: Vec<Existing> = sync::list(client, &places, |object| wanted.contains_key(object))
        .await?
        .into_iter()
        .filter(|(object, live)| !sync::Seen::of(live).ours && !claims.contains_key(object))
        .filter_map(|(object, live)| {
            let api_version = wanted.get(&object)?.api_version.clone();
            Some(Existing { object, api_version, live })
        })
        .collect();
    foreign.sort_by(|a, b| a.object.cmp(&b.object));
    let mut claimed: Vec<_> = claims.into_iter().map(|(object, other)| (object.to_string(), other)).collect();
    claimed.sort();
    Ok(Standing { foreign, claimed })
}

/// Makes the managed fields of an object ours. The object itself does not change.
///
/// # Errors
/// A cluster that refuses, and an object that changed meanwhile.
pub async fn adopt(client: &Client, kinds: &Kinds, existing: &Existing) -> Result<(), Error> {
    let doing = format!("adopting {}", existing.object);
    let Some(kind) = kinds.find(&existing.api_version, &existing.object.kind) else { return Ok(()) };
    let api = kind.api(client, existing.object.namespace.as_deref());
    let patch = json!({ "metadata": {
        "managedFields": moved(&existing.live, &existing.api_version),
        // Whoever changed it meanwhile is asked again.
        "resourceVersion": existing.live["metadata"]["resourceVersion"],
    } });
    let parameters = PatchParams { field_manager: Some(super::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&existing.object.name, &parameters, &Patch::Merge(&patch))
        .await
        .map(drop)
        .map_err(|error| Error::refused(&doing, error))
}

/// The managed fields after the move: what people and their tools own becomes ours, what controllers own through `status`
/// or `scale` stays theirs (the method of client-go's `csaupgrade`). Finalizers and owners are nobody's to apply: pruned
/// with a manifest that does not name them, they would leave behind what a controller has yet to put away.
fn moved(live: &Json, api_version: &str) -> Json {
    let entries = live.pointer("/metadata/managedFields").and_then(Json::as_array).cloned().unwrap_or_default();
    let (theirs, stay): (Vec<Json>, Vec<Json>) = entries.into_iter().partition(is_movable);
    let mut fields = Json::Object(Map::new());
    for entry in &theirs {
        unite(&mut fields, &entry["fieldsV1"]);
    }
    if let Some(metadata) = fields.get_mut("f:metadata").and_then(Json::as_object_mut) {
        metadata.remove("f:finalizers");
        metadata.remove("f:ownerReferences");
    }
    let ours = json!({
        "manager": sync::FIELD_MANAGER,
        "operation": "Apply",
        "apiVersion": theirs.first().map_or_else(|| api_version.into(), |entry| entry["apiVersion"].clone()),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    });
    stay.into_iter().chain([ours]).collect()
}

/// Only what people's tools for manifests own: of any other manager nobody knows whether it is a controller.
fn is_movable(entry: &Json) -> bool {
    const TOOLS: &[&str] =
        &["helm", "before-first-apply", "argocd-controller", "kustomize-controller", "helm-controller"];
    let manager = entry["manager"].as_str().unwrap_or_default();
    // `kubectl rollout restart` owns an annotation of the pod template; taking it would restart the pods once more.
    let kubectl = (manager == "kubectl" || manager.starts_with("kubectl-")) && manager != "kubectl-rollout";
    entry["subresource"].as_str().unwrap_or_default().is_empty() && (kubectl || TOOLS.contains(&manager))
}

/// The union of two sets of fields, which are trees of keys.
fn unite(into: &mut Json, from: &Json) {
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else { return };
    for (key, value) in from {
        match into.get_mut(key) {
            Some(there) => unite(there, value),
            None => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_own_becomes_ours_and_controllers_keep_theirs() {
        let live = json!({ "metadata": { "managedFields": [
            { "manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "apps/v1",
              "fieldsV1": { "f:spec": { "f:replicas": {} } } },
            { "manager": "kubectl-edit", "operation": "Update", "apiVersion": "apps/v1",
              "fieldsV1": { "f:spec": { "f:paused": {} }, "f:metadata": { "f:finalizers": {} } } },
            { "manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {} },
            { "manager": "hpa", "operation": "Update", "subresource": "scale", "fieldsV1": {} },
            { "manager": "cloud-controller-manager", "operation": "Update",
              "fieldsV1": { "f:metadata": { "f:finalizers": {} } } },
        ] } });
        let moved = moved(&live, "apps/v1");
        let moved = moved.as_array().unwrap();
        assert_eq!(moved.len(), 4);
        assert_eq!(moved[3]["manager"], sync::FIELD_MANAGER);
        assert_eq!(moved[3]["fieldsV1"], json!({ "f:spec": { "f:replicas": {}, "f:paused": {} }, "f:metadata": {} }));
        assert!(sync::Seen::of(&json!({ "metadata": { "managedFields": moved } })).ours);
    }
}
