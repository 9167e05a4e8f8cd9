//! What the cluster has at one moment, for the laptop: one listing for each kind in each namespace, page by page. The pod is told by its watches
//! instead.

use super::{Error, kinds::Place, object::ObjectId, watch::to_json};
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::{Client, api::ListParams};
use serde_json::Value as Json;

/// Objects in one answer of a listing.
const PAGE: u32 = 500;
/// Listings at the same time.
const PARALLEL: usize = 4;

/// Lists the places and keeps the objects that `matters` chooses.
///
/// # Errors
/// A cluster that does not answer, or an account that may not list.
pub async fn list(
    client: &Client,
    places: &[Place],
    matters: impl Fn(&ObjectId) -> bool,
) -> Result<Vec<(ObjectId, Json)>, Error> {
    let listings = places.iter().map(|place| one(client, place));
    let pages: Vec<Vec<(ObjectId, Json)>> = stream::iter(listings).buffer_unordered(PARALLEL).try_collect().await?;
    Ok(pages.into_iter().flatten().filter(|(object, _)| matters(object)).collect())
}

/// All objects of one place.
async fn one(client: &Client, place: &Place) -> Result<Vec<(ObjectId, Json)>, Error> {
    let Place { kind, namespace } = place;
    let api = kind.api(client, namespace.as_deref());
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
