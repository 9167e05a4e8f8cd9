//! What the cluster has of the objects that matter: one listing for each kind, never a request for each object. A cache
//! fed by watches can take this file's place without any other stage knowing.

use super::{Error, kinds::Kind, object::ObjectId, plan::Observed};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
};
use serde_json::Value as Json;

/// Objects in one answer of a listing.
const PAGE: u32 = 500;
/// Listings at the same time.
const PARALLEL: usize = 4;

/// Lists the kinds in a namespace and keeps the objects that `matters` chooses.
///
/// # Errors
/// A cluster that does not answer, a missing namespace, or an account that may not list.
pub async fn observe(
    client: &Client,
    namespace: &str,
    kinds: &[Kind],
    matters: impl Fn(&ObjectId) -> bool,
) -> Result<Observed, Error> {
    let listings = kinds.iter().map(|kind| list(client, namespace, kind));
    let pages: Vec<Vec<(ObjectId, Json)>> = stream::iter(listings).buffer_unordered(PARALLEL).try_collect().await?;
    let observed: Observed = pages.into_iter().flatten().filter(|(object, _)| matters(object)).collect();
    if observed.is_empty() {
        exists(client, namespace).await?;
    }
    Ok(observed)
}

/// An empty namespace and a missing one list alike; only the second is a mistake.
async fn exists(client: &Client, namespace: &str) -> Result<(), Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    match api.get_metadata_opt(namespace).await {
        Ok(None) => Err(Error::NoNamespace { namespace: namespace.to_owned() }),
        Ok(Some(_)) => Ok(()),
        Err(source) => Err(Error::cluster("looking for the namespace", source)),
    }
}

/// All objects of one kind in a namespace.
pub(super) async fn list(client: &Client, namespace: &str, kind: &Kind) -> Result<Vec<(ObjectId, Json)>, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource);
    let mut parameters = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = match api.list(&parameters).await {
            Ok(page) => page,
            Err(source) => return Err(Error::cluster(&format!("listing {}", kind.resource.plural), source)),
        };
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        for object in page.items {
            let id = ObjectId {
                group: kind.resource.group.clone(),
                kind: kind.resource.kind.clone(),
                namespace: Some(namespace.to_owned()),
                name: object.metadata.name.clone().unwrap_or_default(),
            };
            found.push((id, to_json(object, kind)));
        }
        match next {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// The object as JSON, with the type that items of a listing leave out.
pub(super) fn to_json(object: DynamicObject, kind: &Kind) -> Json {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), kind.resource.api_version.clone().into());
        map.insert("kind".to_owned(), kind.resource.kind.clone().into());
    }
    value
}
