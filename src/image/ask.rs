//! Whether the engine and the registries that images need are there and let the user in. Builds and publishes nothing.

use super::{Error, Transport, engine::Engine, registry::Registry};
use crate::{
    config,
    values::{Digest, Tag},
};

/// Where the container engine is that would build.
///
/// # Errors
/// [`Error::NoEngine`], with every place that was looked at.
pub async fn ask_engine() -> Result<String, Error> {
    Ok(Engine::connect().await?.shown())
}

/// Asks the registry of an image for the right to push and for a tag, and gives the user that it was asked as.
///
/// # Errors
/// The registry cannot be reached, or does not let the user in.
pub async fn ask_registry(image: &config::Image) -> Result<Option<String>, Error> {
    let registry = Registry::open(&image.repository, Transport::of(image)).await?;
    // No image has the key of nothing; whether a tag is there does not matter here.
    let tag = Tag::of_key(&Digest::of(b""));
    registry.log_in().await?;
    registry.digest(&tag).await?;
    Ok(registry.user())
}
