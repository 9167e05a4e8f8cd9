//! What the cluster has at one moment, for the laptop: one listing for each kind, page by page. The pod is told by its watches
//! instead.

use super::{Error, kinds::Kind, object::ObjectId, watch::to_json};
use futures_util::{StreamExt, TryStreamExt, stream};
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
/// A cluster that does not answer, or an account that may not list.
pub async fn list(
    client: &Client,
    namespace: &str,
    kinds: &[Kind],
    matters: impl Fn(&ObjectId) -> bool,
) -> Result<Vec<(ObjectId, Json)>, Error> {
    let listings = kinds.iter().map(|kind| one(client, namespace, kind));
    let pages: Vec<Vec<(ObjectId, Json)>> = stream::iter(listings).buffer_unordered(PARALLEL).try_collect().await?;
    Ok(pages.into_iter().flatten().filter(|(object, _)| matters(object)).collect())
}

/// All objects of one kind in a namespace.
async fn one(client: &Client, namespace: &str, kind: &Kind) -> Result<Vec<(ObjectId, Json)>, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource);
    let mut parameters = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = match api.list(&parameters).await {
            Ok(page) => page,
            Err(source) => return Err(Error::cluster(&format!("listing {}", kind.resource.plural), source)),
        };
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        found.extend(page.items.into_iter().map(|object| (kind.id(&object), to_json(object, kind))));
        match next {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(found),
        }
    }
}
