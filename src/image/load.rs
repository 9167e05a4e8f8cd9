//! An image under a name that a person can run, in their own engine only.

use super::{Error, Prepared, Request, engine::Engine};
use crate::values::{ImageRef, Tag};

/// Gives what was built the commit's name in the engine, as it will have on the registry. `None` where nothing was built.
///
/// # Errors
/// When the engine refuses it.
pub async fn load(request: &Request<'_>, prepared: &Prepared) -> Result<Option<ImageRef>, Error> {
    let Prepared::Built { id, .. } = prepared else { return Ok(None) };
    name(&Engine::connect().await?, request, id).await.map(Some)
}

/// Gives an image of the engine the commit's name.
pub(super) async fn name(engine: &Engine, request: &Request<'_>, id: &str) -> Result<ImageRef, Error> {
    let (repository, tag) = ((*request.image.repository).clone(), Tag::of_commit(&request.commit));
    let named = engine.name(id, &repository, &tag).await;
    named.map_err(|source| Error::Engine { doing: "naming the image".to_owned(), source })?;
    Ok(ImageRef { repository, tag: Some(tag), digest: None })
}
