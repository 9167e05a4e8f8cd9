//! What a registry is asked and told (OCI distribution specification 1.1): the digest of a tag, a tag for a digest, blobs,
//! manifests, what refers to them, and their removal. A tag that exists is never overwritten here: its digest is adopted.

mod login;
mod patience;
mod referrers;
mod trust;
mod upload;
mod wire;

pub(super) use patience::Patience;

use super::{
    Error,
    credentials::{Credentials, Logins},
};
use crate::{
    config,
    values::{Digest, ImageRef, Repository, Tag},
};
use bytes::Bytes;
use login::Right;
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LINK},
};
use std::net::IpAddr;
use upload::Upload;
use wire::{Again, Answer, Question, Wire};

/// The media types of the OCI image specification, and those of Docker that came before them.
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// All kinds of manifest. A registry that is not told all of them may convert one, and then names another digest.
const MANIFESTS: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

/// The digest that a registry gives to what it answers (OCI distribution specification, "Pulling manifests").
const DIGEST_HEADER: &str = "docker-content-digest";

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// With TLS, except on loopback, as engines do.
    Tls,
    /// Without, because the configuration says so.
    PlainHttp,
}

impl Transport {
    /// What an image's configuration says.
    #[must_use]
    pub const fn of(image: &config::Image) -> Self {
        if image.plain_http { Self::PlainHttp } else { Self::Tls }
    }

    fn scheme(self, registry: &str) -> Scheme {
        match self {
            Self::Tls if !is_loopback(registry) => Scheme::Https,
            _ => Scheme::Http,
        }
    }
}

/// What stands before a registry's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// `localhost` and the addresses of this machine itself (the rule of Docker's engine for insecure registries).
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One repository of a registry, with what opens it.
pub(super) struct Registry {
    wire: Wire,
    repository: Repository,
}

/// A manifest as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

/// Which manifest is meant.
enum At<'a> {
    Tag(&'a Tag),
    Digest(&'a Digest),
}

impl Registry {
    /// Finds the user's credentials; does not connect yet.
    pub(super) async fn open(repository: &Repository, transport: Transport) -> Result<Self, Error> {
        let credentials = Logins::load()?.of(repository).await?;
        Self::with(repository, transport, credentials)
    }

    /// The same with these credentials.
    pub(super) fn with(repository: &Repository, transport: Transport, credentials: Credentials) -> Result<Self, Error> {
        let wire = Wire::to(repository, transport.scheme(repository.registry()), credentials)?;
        Ok(Self { wire, repository: repository.clone() })
    }

    /// Whom the registry is asked as.
    pub(super) fn user(&self) -> Option<String> {
        self.wire.user()
    }

    /// The digest that a tag names; `None` where the registry has no such tag.
    pub(super) async fn digest(&self, tag: &Tag) -> Result<Option<Digest>, Error> {
        self.look(&At::Tag(tag), &format!("asking for the tag {tag}")).await
    }

    /// The digest of an image; `None` where the registry does not have it.
    pub(super) async fn find(&self, image: &ImageRef) -> Result<Option<Digest>, Error> {
        let doing = format!("asking for {image}");
        match (&image.digest, &image.tag) {
            (Some(digest), _) => self.look(&At::Digest(digest), &doing).await,
            (None, Some(tag)) => self.look(&At::Tag(tag), &doing).await,
            (None, None) => match "latest".parse() {
                Ok(latest) => self.look(&At::Tag(&latest), &doing).await,
                Err(_) => Ok(None),
            },
        }
    }

    async fn look(&self, at: &At<'_>, doing: &str) -> Result<Option<Digest>, Error> {
        let answer = self.manifests(Method::HEAD, at, Right::Pull, doing).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.wire.said(doing, &answer)),
        }
        match named(&answer.headers) {
            Some(digest) => Ok(Some(digest)),
            // Some proxies leave the header out, and some registries answer HEAD with less.
            None => Ok(self.read(at, doing).await?.map(|manifest| manifest.digest)),
        }
    }

    /// What a tag names; `None` where the registry has no such tag.
    pub(super) async fn manifest(&self, tag: &Tag) -> Result<Option<Manifest>, Error> {
        self.read(&At::Tag(tag), &format!("asking for the tag {tag}")).await
    }

    /// The manifest of a digest; `None` where the registry does not have it.
    pub(super) async fn manifest_of(&self, digest: &Digest) -> Result<Option<Manifest>, Error> {
        self.read(&At::Digest(digest), &format!("reading {digest}")).await
    }

    async fn read(&self, at: &At<'_>, doing: &str) -> Result<Option<Manifest>, Error> {
        let answer = self.manifests(Method::GET, at, Right::Pull, doing).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.wire.said(doing, &answer)),
        }
        let digest = Digest::of(&answer.body);
        let wanted = match at {
            At::Digest(wanted) => Some((*wanted).clone()),
            At::Tag(_) => named(&answer.headers),
        };
        if wanted.is_some_and(|wanted| wanted != digest) {
            return Err(self.wire.failed(doing, "what it sent is not what its digest says".to_owned()));
        }
        Ok(Some(Manifest { digest, bytes: answer.body.to_vec() }))
    }

    async fn manifests(&self, method: Method, at: &At<'_>, right: Right, doing: &str) -> Result<Answer, Error> {
        let url = self.manifest_url(at);
        let accept = HeaderValue::from_str(&MANIFESTS.join(", ")).into_iter().map(|value| (ACCEPT, value));
        let (headers, body) = (accept.collect(), Bytes::new());
        self.wire.ask(&Question { method, url, right, headers, body, doing, again: Again::Yes }).await
    }

    fn manifest_url(&self, at: &At<'_>) -> Url {
        self.wire.url(&match at {
            At::Tag(tag) => format!("manifests/{tag}"),
            At::Digest(digest) => format!("manifests/{digest}"),
        })
    }

    /// Gives a digest that the registry has another tag, without sending anything but the manifest. Where the tag exists
    /// already it stays; the answer is the digest that it names. `known` is the manifest, where it was read already.
    pub(super) async fn tag(&self, digest: &Digest, known: Option<Manifest>, tag: &Tag) -> Result<Digest, Error> {
        if let Some(existing) = self.digest(tag).await? {
            return Ok(existing);
        }
        let doing = format!("adding the tag {tag}");
        let gone = || self.wire.failed(&doing, format!("it does not have {digest} any more"));
        if let Some(known) = known {
            return self.put_new(tag, known.bytes).await;
        }
        let manifest = self.manifest_of(digest).await?.ok_or_else(gone)?;
        self.put_new(tag, manifest.bytes).await
    }

    /// Writes a manifest under a tag that was free a moment ago. Whoever was quicker in that moment wins: the answer is the
    /// digest that the tag names.
    pub(super) async fn put_new(&self, tag: &Tag, manifest: Vec<u8>) -> Result<Digest, Error> {
        let doing = format!("adding the tag {tag}");
        let put = self.put_manifest(&At::Tag(tag), manifest, &doing).await;
        // Also asked after a refusal: registries can be told to keep a tag as it is.
        match (self.digest(tag).await, put) {
            (Ok(Some(digest)), _) => Ok(digest),
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(None), Ok(_)) => Err(self.wire.failed(&doing, "it is not there afterwards".to_owned())),
        }
    }

    /// Writes a manifest. The answer's headers tell what the registry made of it.
    async fn put_manifest(&self, at: &At<'_>, manifest: Vec<u8>, doing: &str) -> Result<HeaderMap, Error> {
        let kind = HeaderValue::from_str(&media_type(&manifest))
            .map_err(|_| self.wire.failed(doing, "its manifest's media type is no media type".to_owned()))?;
        let (method, url, right, again) = (Method::PUT, self.manifest_url(at), Right::Push, Again::Yes);
        let (headers, body) = (HeaderMap::from_iter([(CONTENT_TYPE, kind)]), Bytes::from(manifest));
        let answer = self.wire.ask(&Question { method, url, right, headers, body, doing, again }).await?;
        if answer.status.is_success() { Ok(answer.headers) } else { Err(self.wire.said(doing, &answer)) }
    }

    /// Asks for the right to push, so that a wrong password is told before anything is sent.
    pub(super) async fn log_in(&self) -> Result<(), Error> {
        let (method, url, right) = (Method::GET, self.wire.entrance(), Right::Push);
        let (headers, body, doing) = (HeaderMap::new(), Bytes::new(), "logging in");
        let answer = self.wire.ask(&Question { method, url, right, headers, body, doing, again: Again::Yes }).await?;
        // Some answer 404 here, and are registries all the same.
        if answer.status.is_server_error() { Err(self.wire.said(doing, &answer)) } else { Ok(()) }
    }

    /// Sends a blob, unless the registry has it.
    pub(super) async fn put_blob(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        let doing = format!("sending the layer {}", digest.short());
        if !upload::exists(&self.wire, &digest, &doing).await? {
            Upload { wire: &self.wire, bytes: bytes.into(), digest: &digest, doing: &doing }.run().await?;
        }
        Ok(digest)
    }

    /// Every tag of the repository; none where the registry does not know it.
    pub(super) async fn tags(&self) -> Result<Vec<Tag>, Error> {
        #[derive(serde::Deserialize)]
        struct Listed {
            tags: Option<Vec<String>>,
        }
        let doing = "listing its tags";
        let mut url = self.wire.url("tags/list");
        url.set_query(Some("n=1000"));
        let mut tags = Vec::new();
        loop {
            let (method, right, headers, body) = (Method::GET, Right::Pull, HeaderMap::new(), Bytes::new());
            let question = Question { method, url: url.clone(), right, headers, body, doing, again: Again::Yes };
            let answer = self.wire.ask(&question).await?;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(tags),
                _ => return Err(self.wire.said(doing, &answer)),
            }
            let listed: Listed = serde_json::from_slice(&answer.body)
                .map_err(|_| self.wire.failed(doing, "its answer is no list".to_owned()))?;
            let before = tags.len();
            tags.extend(listed.tags.unwrap_or_default().iter().filter_map(|tag| tag.parse().ok()));
            match next(&answer.headers).and_then(|next| self.wire.resolve(&next)) {
                Some(next) if next != url && tags.len() > before => url = next,
                _ => return Ok(tags),
            }
        }
    }

    /// Removes a manifest with every tag that names it. `false` where it was gone already.
    pub(super) async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let doing = format!("removing {digest}");
        let answer = self.manifests(Method::DELETE, &At::Digest(digest), Right::Delete, &doing).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            StatusCode::METHOD_NOT_ALLOWED => Err(Error::NoRemoval { registry: self.repository.registry().to_owned() }),
            _ => Err(self.wire.said(&doing, &answer)),
        }
    }
}

/// The digest that an answer names.
fn named(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

/// Where a list goes on (RFC 5988, `rel="next"`).
fn next(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (address, relation) = link.trim().strip_prefix('<')?.split_once('>')?;
    relation.contains("next").then(|| address.to_owned())
}

/// The kind of a manifest, which a registry wants to be told: what it says of itself, else by its fields.
pub(super) fn media_type(manifest: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        manifests: Option<serde_json::Value>,
    }
    match serde_json::from_slice(manifest) {
        Ok(Shape { media_type: Some(kind), .. }) => kind,
        Ok(Shape { manifests: Some(_), .. }) => OCI_INDEX.to_owned(),
        _ => OCI_MANIFEST.to_owned(),
    }
}

/// Whether an image can run on each `os/architecture[/variant]`, with commas between several. Of one that is for a single
/// platform its key says which.
pub(super) fn has_platform(manifest: &[u8], platforms: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct List {
        manifests: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        platform: Option<Platform>,
    }
    #[derive(serde::Deserialize)]
    struct Platform {
        os: String,
        architecture: String,
        variant: Option<String>,
    }
    let Ok(list) = serde_json::from_slice::<List>(manifest) else { return !platforms.contains(',') };
    let listed: Vec<&Platform> = list.manifests.iter().filter_map(|entry| entry.platform.as_ref()).collect();
    platforms.split(',').all(|platform| {
        let mut wanted = platform.trim().split('/');
        let (os, architecture, variant) = (wanted.next(), wanted.next(), wanted.next());
        listed.iter().any(|found| {
            os == Some(&*found.os)
                && architecture == Some(&*found.architecture)
                && variant.is_none_or(|variant| found.variant.as_deref() == Some(variant))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_spoken_to_without_tls_unasked() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["registry.example.com", "10.0.0.1:5000", "localhost.example.com", "[2001:db8::1]:5000"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_manifests_kind_is_what_it_says_or_what_it_has() {
        assert_eq!(media_type(br#"{"mediaType": "application/x"}"#), "application/x");
        assert_eq!(media_type(br#"{"manifests": []}"#), OCI_INDEX);
        assert_eq!(media_type(br#"{"config": {}}"#), OCI_MANIFEST);
    }

    #[test]
    fn an_image_for_several_platforms_has_those_it_lists() {
        let list = br#"{"manifests": [
            {"platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {"platform": {"os": "linux", "architecture": "amd64"}},
            {"platform": {"os": "unknown", "architecture": "unknown"}}, {}]}"#;
        for there in ["linux/amd64", "linux/arm", "linux/arm/v7", "linux/arm/v7, linux/amd64"] {
            assert!(has_platform(list, there), "{there}");
        }
        for not_there in ["linux/arm64", "linux/arm/v6", "windows/amd64", "linux/amd64/v3", "linux/amd64,linux/arm64"] {
            assert!(!has_platform(list, not_there), "{not_there}");
        }
        assert!(has_platform(br#"{"config": {}}"#, "linux/arm64"));
        assert!(!has_platform(br#"{"config": {}}"#, "linux/arm64,linux/amd64"));
    }

    #[test]
    fn a_list_goes_on_where_its_link_says() {
        let link = |text: &str| next(&HeaderMap::from_iter([(LINK, text.parse().unwrap())]));
        assert_eq!(link("</v2/a/tags/list?last=b&n=2>; rel=\"next\"").as_deref(), Some("/v2/a/tags/list?last=b&n=2"));
        assert_eq!(link("</v2/a>; rel=\"prev\""), None);
    }
}
