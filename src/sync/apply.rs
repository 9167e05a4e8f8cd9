//! Writes: server-side apply in the order of kinds, independent objects side by side, and deletes. One bad object stops
//! no other; what the server says is told with its fields. What passes by itself (a busy server, a lost
//! connection) is tried again.

use super::{
    Error, FIELD_MANAGER,
    desired::{Desired, Outline, placed},
    kinds::Kinds,
    object::{ObjectId, rank},
    watch::to_json,
};
use futures_util::{Stream, StreamExt, future::ready, stream};
use git2::Repository;
use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Writes at the same time.
const PARALLEL: usize = 16;
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

/// Whose the replicas are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replicas {
    /// The manifest's.
    Ours,
    /// An autoscaler's: they are not sent.
    Scaled,
}

/// One object to be applied.
pub(super) struct Order {
    pub(super) object: ObjectId,
    pub(super) outline: Arc<Outline>,
    pub(super) force: Force,
    pub(super) replicas: Replicas,
}

/// Why a write was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    /// Whether the server says, of every cause, that the field cannot be changed.
    pub(super) is_immutable: bool,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { reason, is_immutable: false }
    }
}

/// Where bodies are read from and sent to.
pub(super) struct Way<'w> {
    pub(super) client: &'w Client,
    pub(super) kinds: &'w Kinds,
    pub(super) desired: &'w Desired,
    pub(super) repository: &'w Repository,
    /// Once it is set, no further write begins.
    pub(super) stop: &'w AtomicBool,
}

impl Way<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Applies all orders, rank after rank, until it is stopped; the server's answer or its refusal for each that was sent, as
/// they come. The bodies of one file at a time are in memory.
pub(super) fn apply<'w>(
    way: &'w Way<'w>,
    orders: Vec<Order>,
) -> impl Stream<Item = (ObjectId, Result<Json, Refusal>)> + 'w {
    let mut ranks: BTreeMap<usize, BTreeMap<String, Vec<Order>>> = BTreeMap::new();
    for order in orders {
        let files = ranks.entry(rank(&order.object.kind)).or_default();
        files.entry(order.outline.origin.file.clone()).or_default().push(order);
    }
    stream::iter(ranks.into_values()).flat_map(move |files| {
        let files = stream::iter(files).filter(|_| ready(!way.is_stopped()));
        let writes = files.flat_map(move |(file, orders)| {
            let bodies = way.desired.bodies(way.repository, &file);
            let bodies = bodies.map_err(|error: Error| error.to_string());
            let with_body: Vec<_> = match bodies {
                Ok(mut bodies) => orders
                    .into_iter()
                    .map(|order| {
                        let body = bodies.remove(&(order.outline.origin.line, order.outline.id.clone()));
                        (order, body.ok_or_else(|| "its file no longer has it".to_owned()))
                    })
                    .collect(),
                Err(reason) => orders.into_iter().map(|order| (order, Err(reason.clone()))).collect(),
            };
            stream::iter(with_body)
        });
        writes
            .map(move |(order, body)| async move {
                if way.is_stopped() {
                    return None;
                }
                let result = match body {
                    Ok(body) => apply_one(way, &order, body).await,
                    Err(reason) => Err(reason.into()),
                };
                Some((order.object, result))
            })
            .buffer_unordered(PARALLEL)
            .filter_map(ready)
    })
}

async fn apply_one(way: &Way<'_>, order: &Order, mut body: Json) -> Result<Json, Refusal> {
    let api_version = &order.outline.api_version;
    let unknown = || format!("the cluster does not serve {api_version} {}", order.object.kind);
    let kind = way.kinds.find(api_version, &order.object.kind).ok_or_else(unknown)?;
    if order.replicas == Replicas::Scaled
        && let Some(spec) = body.get_mut("spec").and_then(Json::as_object_mut)
    {
        spec.shift_remove("replicas");
    }
    let api = kind.api(way.client, order.object.namespace.as_deref());
    let body = placed(body, &order.object);
    let mut parameters = PatchParams::apply(FIELD_MANAGER).validation_strict();
    if order.force == Force::Take {
        parameters = parameters.force();
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match api.patch(&order.object.name, &parameters, &Patch::Apply(&body)).await {
            Ok(object) => return Ok(to_json(object, kind)),
            Err(error) if tries < TRIES && passes(&error) => pause(tries).await,
            Err(error) => return Err(Refusal { reason: reason(&error), is_immutable: is_immutable(&error) }),
        }
    }
}

/// The object to be deleted: only as it was last seen.
pub(super) struct Condemned<'c> {
    pub(super) object: &'c ObjectId,
    pub(super) api_version: &'c str,
    pub(super) uid: &'c str,
    /// Its version, where a later change is a reason to look again.
    pub(super) version: Option<&'c str>,
}

/// What came of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deleted {
    /// The object is gone.
    Gone,
    /// It goes when its finalizers let it.
    Going,
}

/// Deletes an object that is still the one that was seen; what is gone already is as good.
pub(super) async fn delete(client: &Client, kinds: &Kinds, condemned: &Condemned<'_>) -> Result<Deleted, String> {
    let Condemned { object, api_version, uid, version } = condemned;
    let unknown = || format!("the cluster no longer serves {api_version} {}", object.kind);
    let kind = kinds.find_served(api_version, object).ok_or_else(unknown)?;
    let api = kind.api(client, object.namespace.as_deref());
    let mut parameters = DeleteParams::background();
    parameters.preconditions =
        Some(Preconditions { uid: Some((*uid).to_owned()), resource_version: version.map(str::to_owned) });
    let mut tries = 0;
    loop {
        tries += 1;
        match api.delete(&object.name, &parameters).await {
            Ok(answer) => return Ok(answer.map_left(|_| Deleted::Going).map_right(|_| Deleted::Gone).into_inner()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Deleted::Gone),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                return Err("it has just changed; it is looked at once more".to_owned());
            }
            Err(error) if tries < TRIES && passes(&error) => pause(tries).await,
            Err(error) => return Err(reason(&error)),
        }
    }
}

/// What the API server's own validation says of a field that cannot be changed.
const IMMUTABLE: &[&str] =
    &["field is immutable", "updates to statefulset spec for fields other than", "may not change once set"];

/// Whether the server says of every cause that the field cannot be changed: only that proves that a new object is needed.
fn is_immutable(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes: &[_] = status.details.as_ref().map_or(&[], |details| &details.causes);
    status.code == 422
        && !causes.is_empty()
        && causes.iter().all(|cause| IMMUTABLE.iter().any(|words| cause.message.contains(words)))
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
    let told: Vec<String> = causes
        .iter()
        .take(CAUSES)
        .filter(|cause| !cause.message.is_empty())
        .map(|cause| {
            if cause.field.is_empty() {
                brief(&cause.message)
            } else {
                format!("{}: {}", cause.field, brief(&cause.message))
            }
        })
        .collect();
    if told.is_empty() { status.message.clone() } else { told.join("; ") }
}

/// A server's message without the value that it repeats, where that is long: what is wrong with it stands behind.
fn brief(message: &str) -> String {
    const LONG: usize = 200;
    const VALUE: &str = "Invalid value: ";
    match message.rsplit_once(": ") {
        Some((value, wrong)) if value.len() > LONG && value.starts_with(VALUE) => format!("{VALUE}…: {wrong}"),
        _ => message.to_owned(),
    }
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
        let long = format!("Invalid value: {{\"a\": \"{}\"}}: field is immutable", "x".repeat(300));
        let error =
            refused(json!({ "code": 422, "details": { "causes": [{ "field": "spec.template", "message": long }] } }));
        assert_eq!(reason(&error), "spec.template: Invalid value: …: field is immutable");
        let unknown = refused(json!({ "code": 400, "message": "strict decoding error: unknown field \"spec.x\"" }));
        assert_eq!(reason(&unknown), "strict decoding error: unknown field \"spec.x\"");
    }

    #[test]
    fn only_the_servers_own_word_on_every_field_proves_that_an_object_must_be_made_again() {
        let cause = |message: &str| json!({ "field": "spec.selector", "message": message });
        let error = |causes: Json| refused(json!({ "code": 422, "details": { "causes": causes } }));
        assert!(is_immutable(&error(json!([cause("Invalid value: {}: field is immutable")]))));
        assert!(!is_immutable(&error(json!([cause("field is immutable"), cause("must be greater than 0")]))));
        assert!(!is_immutable(&error(json!([]))));
        assert!(!is_immutable(&refused(json!({ "code": 422, "message": "field is immutable" }))));
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
