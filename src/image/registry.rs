//! What a registry is asked and told (OCI distribution specification 1.1): the digest of a tag, a tag for a digest, blobs
//! and manifests. A tag that exists is never overwritten here: its digest is adopted.

use super::{
    Error,
    credentials::{Credentials, DockerConfig},
    error::chain,
};
use crate::{
    config,
    values::{Digest, ImageRef, Repository, Tag},
};
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode},
    manifest::{
        IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
    },
    secrets::RegistryAuth,
};
use std::{net::IpAddr, time::Duration};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The longest silence of a registry in the middle of an answer.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// All kinds of manifest. A registry that is not told all of them may convert one, and then names another digest.
const MANIFESTS: &[&str] =
    &[OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE];

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

    fn protocol(self, registry: &str) -> ClientProtocol {
        match self {
            Self::Tls if !is_loopback(registry) => ClientProtocol::Https,
            _ => ClientProtocol::Http,
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
    client: Client,
    auth: RegistryAuth,
    user: Option<String>,
    repository: Repository,
}

impl Registry {
    /// Finds the user's credentials; does not connect yet.
    pub(super) async fn open(repository: &Repository, transport: Transport) -> Result<Self, Error> {
        let credentials = DockerConfig::load()?.credentials(repository.registry()).await?;
        Ok(Self::with(repository, transport, &credentials))
    }

    /// The same with these credentials.
    pub(super) fn with(repository: &Repository, transport: Transport, credentials: &Credentials) -> Self {
        crate::tls::choose_provider();
        let client = Client::new(ClientConfig {
            protocol: transport.protocol(repository.registry()),
            connect_timeout: Some(CONNECT_LIMIT),
            read_timeout: Some(READ_LIMIT),
            // One PUT for a blob: several hosted registries refuse chunks, and none refuses this.
            use_monolithic_push: true,
            user_agent: concat!("gitops-hooks/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        let auth =
            credentials.basic().map_or(RegistryAuth::Anonymous, |(user, password)| RegistryAuth::Basic(user, password));
        Self { client, auth, user: credentials.user(), repository: repository.clone() }
    }

    /// Whom the registry is asked as.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    fn at_tag(&self, tag: &Tag) -> Reference {
        let (registry, path) = (self.repository.registry().to_owned(), self.repository.path().to_owned());
        Reference::with_tag(registry, path, tag.to_string())
    }

    fn at_digest(&self, digest: &Digest) -> Reference {
        let (registry, path) = (self.repository.registry().to_owned(), self.repository.path().to_owned());
        Reference::with_digest(registry, path, digest.to_string())
    }

    /// The digest that a tag names; `None` where the registry has no such tag.
    pub(super) async fn digest(&self, tag: &Tag) -> Result<Option<Digest>, Error> {
        self.look(&self.at_tag(tag), format!("asking for the tag {tag}")).await
    }

    /// The digest of an image; `None` where the registry does not have it.
    pub(super) async fn find(&self, image: &ImageRef) -> Result<Option<Digest>, Error> {
        let at = match (&image.digest, &image.tag) {
            (Some(digest), _) => self.at_digest(digest),
            (None, Some(tag)) => self.at_tag(tag),
            (None, None) => Reference::with_tag(
                self.repository.registry().to_owned(),
                self.repository.path().to_owned(),
                "latest".to_owned(),
            ),
        };
        self.look(&at, format!("asking for {image}")).await
    }

    async fn look(&self, at: &Reference, doing: String) -> Result<Option<Digest>, Error> {
        match self.client.fetch_manifest_digest(at, &self.auth).await {
            Ok(digest) => match digest.parse() {
                Ok(digest) => Ok(Some(digest)),
                Err(error) => Err(self.unexpected(doing, error.to_string())),
            },
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.told(doing, &error)),
        }
    }

    /// Gives a digest that the registry has another tag, without sending anything but the manifest. Where the tag exists
    /// already it stays; the answer is the digest that it names.
    pub(super) async fn tag(&self, digest: &Digest, tag: &Tag) -> Result<Digest, Error> {
        if let Some(existing) = self.digest(tag).await? {
            return Ok(existing);
        }
        let pulled = self.client.pull_manifest_raw(&self.at_digest(digest), &self.auth, MANIFESTS).await;
        let (manifest, _) = pulled.map_err(|error| self.told(format!("reading {digest}"), &error))?;
        self.put_manifest(tag, manifest.to_vec()).await?;
        let named = self.digest(tag).await?;
        named.ok_or_else(|| self.unexpected(format!("adding the tag {tag}"), "it is not there afterwards".to_owned()))
    }

    /// Asks for the right to push, so that a wrong password is told before anything is sent.
    pub(super) async fn log_in(&self, tag: &Tag) -> Result<(), Error> {
        let asked = self.client.auth(&self.at_tag(tag), &self.auth, RegistryOperation::Push).await;
        asked.map(|_| ()).map_err(|error| self.told("logging in".to_owned(), &error))
    }

    /// Sends a blob, unless the registry has it.
    pub(super) async fn put_blob(&self, tag: &Tag, bytes: Vec<u8>) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        let at = self.at_tag(tag);
        let doing = || format!("sending the layer {}", digest.short());
        let exists = self.client.blob_exists(&at, digest.as_str()).await;
        if !exists.map_err(|error| self.told(doing(), &error))? {
            let sent = self.client.push_blob(&at, bytes, digest.as_str()).await;
            sent.map_err(|error| self.told(doing(), &error))?;
        }
        Ok(digest)
    }

    /// Writes a manifest under a tag. The caller has made sure that the tag is free.
    pub(super) async fn put_manifest(&self, tag: &Tag, manifest: Vec<u8>) -> Result<(), Error> {
        let doing = format!("adding the tag {tag}");
        self.log_in(tag).await?;
        let kind = media_type(&manifest)
            .parse()
            .map_err(|_| self.unexpected(doing.clone(), "its manifest's media type is no media type".to_owned()))?;
        let put = self.client.push_manifest_raw(&self.at_tag(tag), manifest, kind).await;
        put.map(|_| ()).map_err(|error| self.told(doing, &error))
    }

    fn unexpected(&self, doing: String, reason: String) -> Error {
        Error::Registry { registry: self.repository.registry().to_owned(), doing, reason }
    }

    fn told(&self, doing: String, error: &OciDistributionError) -> Error {
        let registry = self.repository.registry().to_owned();
        match error {
            error if is_refusal(error) => Error::Refused { registry, user: self.user.clone() },
            OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => {
                Error::Unreachable { registry, doing, reason: chain(error) }
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let said = envelope.errors.iter().map(|error| format!("{:?}: {}", error.code, error.message));
                Error::Registry { registry, doing, reason: said.collect::<Vec<_>>().join("; ") }
            }
            OciDistributionError::ServerError { code, message, .. } => {
                // A registry behind a proxy answers with a page of HTML.
                let first = message.lines().next().unwrap_or_default().chars().take(200).collect::<String>();
                Error::Registry { registry, doing, reason: format!("HTTP status {code} {first}").trim().to_owned() }
            }
            error => Error::Registry { registry, doing, reason: chain(error) },
        }
    }
}

/// "No such tag" and "no such repository" both mean: build it. The answer to HEAD has no body, only a status.
fn is_absent(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ServerError { code, .. } => *code == 404,
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
            matches!(error.code, OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound)
        }),
        _ => false,
    }
}

fn is_refusal(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => true,
        OciDistributionError::ServerError { code, .. } => matches!(code, 401 | 403),
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|error| matches!(error.code, OciErrorCode::Denied | OciErrorCode::Unauthorized))
        }
        _ => false,
    }
}

/// The kind of a manifest, which a registry wants to be told: what it says of itself, else by its fields.
fn media_type(manifest: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        manifests: Option<serde_json::Value>,
    }
    match serde_json::from_slice(manifest) {
        Ok(Shape { media_type: Some(kind), .. }) => kind,
        Ok(Shape { manifests: Some(_), .. }) => OCI_IMAGE_INDEX_MEDIA_TYPE.to_owned(),
        _ => OCI_IMAGE_MEDIA_TYPE.to_owned(),
    }
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
        assert_eq!(media_type(br#"{"manifests": []}"#), OCI_IMAGE_INDEX_MEDIA_TYPE);
        assert_eq!(media_type(br#"{"config": {}}"#), OCI_IMAGE_MEDIA_TYPE);
    }
}
