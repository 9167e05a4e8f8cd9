//! Writes: server-side apply in the order of kinds, independent objects side by side, and deletes. One bad object stops
//! no other; what the server says is told with its fields. What passes by itself (a busy server, a lost
//! connection) is tried again.

use super::{
    FIELD_MANAGER,
    kinds::Kinds,
    object::{ObjectId, rank},
    observe::to_json,
};
use futures_util::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
};
use serde_json::Value as Json;
use std::{collections::BTreeMap, time::Duration};

/// Writes at the same time.
const PARALLEL: usize = 8;
/// Tries of one write.
const TRIES: u32 = 4;
/// Causes that are told of one object.
const CAUSES: usize = 5;

/// Whether fields that another manager owns are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Force {
    /// They are: the object is ours.
    Take,
    /// They are not: an object that appeared meanwhile is a conflict.
    Leave,
}

/// One object to be applied.
pub(super) struct Order {
    pub(super) object: ObjectId,
    pub(super) api_version: String,
    pub(super) value: Json,
    pub(super) force: Force,
}

/// Applies all orders; the server's answer or the reason for each, in no order.
pub(super) async fn apply(client: &Client, kinds: &Kinds, orders: Vec<Order>) -> Vec<(ObjectId, Result<Json, String>)> {
    let mut ranks: BTreeMap<usize, Vec<Order>> = BTreeMap::new();
    for order in orders {
        ranks.entry(rank(&order.object.kind)).or_default().push(order);
    }
    let mut done = Vec::new();
    for orders in ranks.into_values() {
        let writes = orders.into_iter().map(|order| async move {
            let result = apply_one(client, kinds, &order).await;
            (order.object, result)
        });
        done.extend(stream::iter(writes).buffer_unordered(PARALLEL).collect::<Vec<_>>().await);
    }
    done
}

async fn apply_one(client: &Client, kinds: &Kinds, order: &Order) -> Result<Json, String> {
    let unknown = || format!("the cluster does not serve {} {}", order.api_version, order.object.kind);
    let kind = kinds.find(&order.api_version, &order.object.kind).ok_or_else(unknown)?;
    let namespace = order.object.namespace.as_deref().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource);
    let mut parameters = PatchParams::apply(FIELD_MANAGER).validation_strict();
    if order.force == Force::Take {
        parameters = parameters.force();
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match api.patch(&order.object.name, &parameters, &Patch::Apply(&order.value)).await {
            Ok(object) => return Ok(to_json(object, kind)),
            Err(error) if tries < TRIES && passes(&error) => pause(tries).await,
            Err(error) => return Err(reason(&error)),
        }
    }
}

/// Deletes an object that is still the one that was seen; what is gone already is as good.
pub(super) async fn delete(client: &Client, kinds: &Kinds, api_version: &str, live: &Json) -> Result<(), String> {
    let text = |pointer: &str| live.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
    let unknown = || format!("the cluster no longer serves {api_version} {}", text("/kind"));
    let kind = kinds.find(api_version, text("/kind")).ok_or_else(unknown)?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), text("/metadata/namespace"), &kind.resource);
    let mut parameters = DeleteParams::background();
    parameters.preconditions =
        Some(Preconditions { uid: Some(text("/metadata/uid").to_owned()), resource_version: None });
    let mut tries = 0;
    loop {
        tries += 1;
        match api.delete(text("/metadata/name"), &parameters).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) if tries < TRIES && passes(&error) => pause(tries).await,
            Err(error) => return Err(reason(&error)),
        }
    }
}

/// Whether the same request may succeed in a moment. The client itself repeats 429, 503 and 504.
fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            matches!(status.code, 429 | 500 | 502..=504) || (status.code == 409 && !is_field_conflict(status))
        }
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

fn is_field_conflict(status: &kube::core::Status) -> bool {
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "FieldManagerConflict")
}

async fn pause(tries: u32) {
    tokio::time::sleep(Duration::from_millis(200 << tries.min(5))).await;
}

/// What the server has against it, field by field where it says.
pub(super) fn reason(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else { return super::chain(error) };
    let causes: &[_] = status.details.as_ref().map_or(&[], |details| &details.causes);
    if is_field_conflict(status) {
        let fields: Vec<_> = causes.iter().take(CAUSES).map(|cause| cause.field.as_str()).collect();
        let who = causes.first().map_or("", |cause| cause.message.as_str());
        return format!("{who} owns {}; it was made meanwhile by another", fields.join(", "));
    }
    let told: Vec<String> =
        causes
            .iter()
            .take(CAUSES)
            .filter(|cause| !cause.message.is_empty())
            .map(|cause| {
                if cause.field.is_empty() {
                    cause.message.clone()
                } else {
                    format!("{}: {}", cause.field, cause.message)
                }
            })
            .collect();
    if told.is_empty() { status.message.clone() } else { told.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(status: Json) -> kube::Error {
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    #[test]
    fn what_the_server_says_is_told_by_field() {
        let error = refused(json!({ "code": 422, "message": "Deployment is invalid: many words", "details":
            { "causes": [{ "field": "spec.replicas", "message": "must be greater than 0" }] } }));
        assert_eq!(reason(&error), "spec.replicas: must be greater than 0");
        assert!(!passes(&error));
        let unknown = refused(json!({ "code": 400, "message": "strict decoding error: unknown field \"spec.x\"" }));
        assert_eq!(reason(&unknown), "strict decoding error: unknown field \"spec.x\"");
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        assert!(passes(&refused(json!({ "code": 500 }))));
        assert!(passes(&refused(json!({ "code": 409, "reason": "Conflict" }))));
        let owned = refused(json!({ "code": 409, "details": { "causes":
            [{ "reason": "FieldManagerConflict", "field": ".spec.replicas", "message": "conflict with \"kubectl\"" }] } }));
        assert!(!passes(&owned));
        assert!(reason(&owned).contains(".spec.replicas"));
    }
}
