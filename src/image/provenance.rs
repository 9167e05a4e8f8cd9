//! Where an image comes from, said in a form that other tools read: an in-toto statement with a SLSA provenance (slsa.dev,
//! version 1), attached to the image as an artifact that refers to it. It is written by the laptop that built the image and
//! signed by nobody: it helps people, and proves nothing against somebody who may push.

use super::{
    Error,
    engine::Engine,
    key::Key,
    registry::{OCI_MANIFEST, Registry},
};
use crate::values::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The media type of a statement (in-toto attestation specification, "File naming").
pub const STATEMENT: &str = "application/vnd.in-toto+json";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// What an image is built by, and as what kind of build. They are names, and need not be found anywhere.
const BUILDER: &str = "https://gitops-hooks.dev/builder/laptop";
const BUILD_TYPE: &str = "https://gitops-hooks.dev/build/image/v1";

/// The blob `{}`, which stands for the configuration of what has none (OCI image specification, "Guidance for an Empty
/// Descriptor").
const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// The labels in which a build notes what it was made of.
pub(super) const KEY_LABEL: &str = "dev.gitops-hooks.key";
pub(super) const BASES_LABEL: &str = "dev.gitops-hooks.bases";
pub(super) const REVISION_LABEL: &str = "org.opencontainers.image.revision";
pub(super) const SOURCE_LABEL: &str = "org.opencontainers.image.source";

/// What is known of an image that was built here.
#[derive(Debug)]
pub(super) struct Provenance<'a> {
    /// Where it was pushed to.
    pub repository: String,
    pub digest: &'a Digest,
    pub key: &'a Key,
    /// The image's name in the configuration.
    pub image: &'a str,
    pub dockerfile: String,
    pub platform: &'a str,
    pub target: Option<&'a str>,
    /// The labels of the image.
    pub labels: &'a BTreeMap<String, String>,
    /// The engine and its version.
    pub engine: (String, String),
    pub finished: Timestamp,
}

/// The engine as it calls itself, and its version.
pub(super) async fn builder(engine: &Engine) -> (String, String) {
    let told = engine.docker.version().await.unwrap_or_default();
    let is_podman = told.components.unwrap_or_default().iter().any(|component| component.name.contains("Podman"));
    let name = if is_podman { "podman" } else { "docker" };
    (name.to_owned(), told.version.unwrap_or_default())
}

impl Provenance<'_> {
    /// Attaches the statement to the image.
    pub(super) async fn attach(&self, registry: &Registry) -> Result<Digest, Error> {
        let statement = self.statement().to_string().into_bytes();
        registry.put_blob(EMPTY.to_vec()).await?;
        let (size, layer) = (statement.len(), registry.put_blob(statement).await?);
        let subject = registry.manifest_of(self.digest).await?.map(|manifest| manifest.bytes).unwrap_or_default();
        let manifest = self.manifest(&layer, size, &subject);
        registry.refer(self.digest, manifest.to_string().into_bytes()).await
    }

    /// The statement (in-toto attestation framework, statement version 1; SLSA provenance, version 1).
    fn statement(&self) -> Value {
        let mut dependencies = Vec::new();
        if let Some(commit) = self.labels.get(REVISION_LABEL) {
            let source = self.labels.get(SOURCE_LABEL).map_or("", String::as_str);
            dependencies.push(json!({ "uri": format!("git+{source}"), "digest": { "gitCommit": commit } }));
        }
        dependencies.extend(
            self.bases()
                .map(|(name, digest)| json!({ "uri": format!("oci://{name}"), "digest": { "sha256": digest } })),
        );
        let mut asked = json!({ "image": self.image, "dockerfile": self.dockerfile, "platform": self.platform });
        if let Some(target) = self.target {
            asked["target"] = target.into();
        }
        let (engine, version) = &self.engine;
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": self.repository, "digest": { "sha256": self.digest.hex() } }],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": asked,
                    "internalParameters": { "key": self.key.as_str() },
                    "resolvedDependencies": dependencies,
                },
                "runDetails": {
                    "builder": {
                        "id": BUILDER,
                        "version": { "gitops-hooks": env!("CARGO_PKG_VERSION"), engine: version },
                    },
                    "metadata": { "finishedOn": self.finished.to_string() },
                },
            },
        })
    }

    /// The base images that the build used: their names and the digits of their digests.
    fn bases(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.labels.get(BASES_LABEL).map_or("", String::as_str);
        all.split_whitespace().filter_map(|base| base.split_once("@sha256:"))
    }

    /// The artifact that carries the statement (OCI image specification 1.1, "Guidelines for Artifact Usage").
    fn manifest(&self, layer: &Digest, size: usize, subject: &[u8]) -> Value {
        let kept = [REVISION_LABEL, SOURCE_LABEL, KEY_LABEL, BASES_LABEL];
        let mut annotations: BTreeMap<&str, String> =
            kept.into_iter().filter_map(|name| Some((name, self.labels.get(name)?.clone()))).collect();
        annotations.insert("org.opencontainers.image.created", self.finished.to_string());
        annotations.insert("in-toto.io/predicate-type", PREDICATE.to_owned());
        json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": STATEMENT,
            "config": { "mediaType": EMPTY_TYPE, "digest": Digest::of(EMPTY), "size": EMPTY.len(), "data": "e30=" },
            "layers": [{
                "mediaType": STATEMENT, "digest": layer, "size": size,
                "annotations": { "in-toto.io/predicate-type": PREDICATE },
            }],
            "subject": {
                "mediaType": super::registry::media_type(subject), "digest": self.digest, "size": subject.len(),
            },
            "annotations": annotations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::key::Recipe;

    #[test]
    fn the_statement_names_what_was_built_of_what_by_what() {
        let args = BTreeMap::new();
        let key = Key::of(&Recipe { dockerfile: b"", target: None, platform: "", args: &args, context: &[] });
        let digest = Digest::of(b"image");
        let base = Digest::of(b"base");
        let labels = [
            (REVISION_LABEL, "c0ffee".to_owned()),
            (SOURCE_LABEL, "https://git.example.com/team/app".to_owned()),
            (BASES_LABEL, format!("reg.example.com/base:1@{base}")),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
        let provenance = Provenance {
            repository: "reg.example.com/app".to_owned(),
            digest: &digest,
            key: &key,
            image: "web",
            dockerfile: "Dockerfile".to_owned(),
            platform: "linux/amd64",
            target: None,
            labels: &labels,
            engine: ("docker".to_owned(), "29.0.1".to_owned()),
            finished: Timestamp::UNIX_EPOCH,
        };
        let said = provenance.statement();
        assert_eq!(said["subject"][0]["digest"]["sha256"], digest.hex());
        let built = &said["predicate"]["buildDefinition"];
        assert_eq!(built["internalParameters"]["key"], key.as_str());
        assert_eq!(
            built["resolvedDependencies"],
            json!([
                { "uri": "git+https://git.example.com/team/app", "digest": { "gitCommit": "c0ffee" } },
                { "uri": "oci://reg.example.com/base:1", "digest": { "sha256": base.hex() } },
            ])
        );
        assert_eq!(said["predicate"]["runDetails"]["builder"]["version"]["docker"], "29.0.1");

        let manifest = provenance.manifest(&base, 7, br#"{"manifests": []}"#);
        assert_eq!(manifest["subject"]["digest"], digest.as_str());
        assert_eq!(manifest["subject"]["mediaType"], "application/vnd.oci.image.index.v1+json");
        assert_eq!(manifest["annotations"][REVISION_LABEL], "c0ffee");
        assert_eq!(manifest["config"]["digest"], Digest::of(EMPTY).as_str());
    }
}
