//! How large an image is that was published, and how much of it every node fetches that has the one before.

use super::{
    Error, Published, Request, Transport,
    registry::{Manifest, Registry},
};
use crate::values::{Oid, Tag};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The size of an image as it is on the registry, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// All of its layers.
    pub total: u64,
    /// The layers that the image before it does not have; `None` where there is none to compare with.
    pub new: Option<u64>,
}

/// Weighs an image against that of an earlier commit.
///
/// # Errors
/// When the registry cannot be asked.
pub async fn weigh(
    request: &Request<'_>,
    published: &Published,
    previous: Option<&Oid>,
) -> Result<Option<Weight>, Error> {
    let registry = Registry::open(&request.image.repository, Transport::of(request.image)).await?;
    let Some(digest) = &published.reference.digest else { return Ok(None) };
    let platform = request.image.platform.as_str();
    let Some(ours) = layers(&registry, registry.manifest_of(digest).await?, platform).await? else {
        return Ok(None);
    };
    let before = match previous {
        Some(commit) => layers(&registry, registry.manifest(&Tag::of_commit(commit)).await?, platform).await?,
        None => None,
    };
    Ok(Some(weight(&ours, before.as_ref())))
}

/// The layers of an image by their digests.
type Layers = BTreeMap<String, u64>;

fn weight(ours: &Layers, before: Option<&Layers>) -> Weight {
    let new = before.map(|before| {
        let missing = ours.iter().filter(|(digest, _)| !before.contains_key(*digest));
        missing.map(|(_, size)| size).sum()
    });
    Weight { total: ours.values().sum(), new }
}

#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

/// The layers of what a tag names; of an image for several platforms, those of the first that is
/// asked for.
async fn layers(registry: &Registry, found: Option<Manifest>, platform: &str) -> Result<Option<Layers>, Error> {
    let Some(manifest) = found else { return Ok(None) };
    let Ok(shape) = serde_json::from_slice::<Shape>(&manifest.bytes) else { return Ok(None) };
    if let Some(inner) = inner(&shape, platform) {
        let Some(manifest) = registry.manifest_of(&inner).await? else { return Ok(None) };
        let Ok(shape) = serde_json::from_slice::<Shape>(&manifest.bytes) else { return Ok(None) };
        return Ok(Some(of(shape)));
    }
    Ok(Some(of(shape)))
}

fn inner(list: &Shape, platform: &str) -> Option<crate::values::Digest> {
    let fits = |found: &Platform| {
        let first = platform.split(',').next().unwrap_or(platform);
        let mut wanted = first.trim().split('/');
        wanted.next() == Some(&*found.os) && wanted.next() == Some(&*found.architecture)
    };
    let entry = list.manifests.iter().find(|entry| entry.platform.as_ref().is_some_and(fits))?;
    entry.digest.parse().ok()
}

fn of(shape: Shape) -> Layers {
    shape.layers.into_iter().map(|layer| (layer.digest, layer.size)).collect()
}

impl Weight {
    /// Whether the image before had all of it.
    #[must_use]
    pub fn is_nothing_new(self) -> bool {
        self.new == Some(0)
    }

    /// `45.2 MB, 1.3 MB of it new`.
    #[must_use]
    pub fn told(self) -> String {
        let total = megabytes(self.total);
        match self.new {
            None => total,
            Some(0) => format!("{total}, nothing of it new"),
            Some(new) => format!("{total}, {} of it new", megabytes(new)),
        }
    }
}

/// As docker shows sizes: in powers of ten.
fn megabytes(bytes: u64) -> String {
    let (value, unit) = match bytes {
        0..1_000_000 => (bytes.div_ceil(100), "kB"),
        1_000_000..1_000_000_000 => (bytes.div_ceil(100_000), "MB"),
        _ => (bytes.div_ceil(100_000_000), "GB"),
    };
    format!("{}.{} {unit}", value / 10, value % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_image_before_has_is_not_new() {
        let layers = |all: &[(&str, u64)]| all.iter().map(|(digest, size)| ((*digest).to_owned(), *size)).collect();
        let (before, ours): (Layers, Layers) =
            (layers(&[("base", 29_000_000), ("app", 700)]), layers(&[("base", 29_000_000), ("new app", 1_250_000)]));
        assert_eq!(weight(&ours, Some(&before)).told(), "30.3 MB, 1.3 MB of it new");
        assert_eq!(weight(&ours, None).told(), "30.3 MB");
        assert_eq!(weight(&before, Some(&before)).told(), "29.1 MB, nothing of it new");
        assert_eq!(megabytes(2_310_000_000), "2.4 GB");
    }

    #[test]
    fn of_several_platforms_the_wanted_one_is_weighed() {
        let digest = crate::values::Digest::of(b"arm");
        let list = format!(
            r#"{{"manifests": [{{"digest": "sha256:0", "size": 1, "platform": {{"os": "linux", "architecture": "amd64"}}}},
                {{"digest": "{digest}", "size": 1, "platform": {{"os": "linux", "architecture": "arm64"}}}}]}}"#
        );
        let list: Shape = serde_json::from_str(&list).unwrap();
        assert_eq!(inner(&list, "linux/arm64"), Some(digest));
        assert_eq!(inner(&list, "linux/s390x"), None);
    }
}
