//! What a commit wants, without keeping the text of it: each manifest's name, place and fingerprint. A file that is the same
//! as in the commit before is not read again, and a manifest's body is read back from our copy of the repository when it is
//! to be sent. So a change costs what changed, and thousands of objects fit a small pod.

use super::{
    Error,
    checkout::{Checkout, Leaf},
    decode::{Unrendered, decode_file, too_many},
    fingerprint::Fingerprint,
    kinds::Definition,
    object::{Manifest, ObjectId, Origin, Problem},
};
use git2::Repository;
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A manifest without its body.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Its name, with the namespace as it is written.
    pub id: ObjectId,
    /// Its API version.
    pub api_version: String,
    /// Where it was written.
    pub origin: Origin,
    /// The fingerprint of what is sent.
    pub fingerprint: Fingerprint,
    /// What it asks of us.
    pub asks: Asks,
    /// What it defines, where it is a definition.
    pub defines: Option<Box<Definition>>,
}

/// What a manifest asks of the sync, by its annotations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// `gitops-hooks.dev/drift: report`: what others change is told and left.
    pub drift_is_reported: bool,
    /// `gitops-hooks.dev/recreate: allowed`: where a field cannot be changed, the object is deleted and made again.
    pub recreate: bool,
}

/// The annotation that says what drift leads to.
pub const DRIFT: &str = "gitops-hooks.dev/drift";
/// The annotation that allows to make an object again.
pub const RECREATE: &str = "gitops-hooks.dev/recreate";

impl Asks {
    fn of(value: &Json) -> Self {
        let annotations = &value["metadata"]["annotations"];
        Self { drift_is_reported: annotations[DRIFT] == "report", recreate: annotations[RECREATE] == "allowed" }
    }
}

impl Outline {
    /// What is kept of a manifest.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id.clone(),
            api_version: manifest.api_version.clone(),
            origin: manifest.origin.clone(),
            fingerprint: Fingerprint::of(&body(manifest.value.clone())),
            asks: Asks::of(&manifest.value),
            defines: Definition::of(&manifest.value).map(Box::new),
        }
    }
}

/// What is sent of a manifest. What the server keeps for itself is not ours to send, however it came into the file
/// (`kubectl get -o yaml`); the namespace is filled in when it is sent.
fn body(mut value: Json) -> Json {
    if let Some(object) = value.as_object_mut() {
        object.shift_remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Json::as_object_mut) {
        for field in
            ["managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink", "namespace"]
        {
            metadata.shift_remove(field);
        }
    }
    value
}

/// A body with the namespace that it is sent to.
#[must_use]
pub fn placed(mut body: Json, object: &ObjectId) -> Json {
    if let Some(namespace) = object.namespace.as_deref()
        && let Some(metadata) = body.get_mut("metadata").and_then(Json::as_object_mut)
    {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    body
}

/// What one file holds.
#[derive(Debug)]
struct Known {
    blob: git2::Oid,
    outlines: Vec<Arc<Outline>>,
    problems: Vec<Problem>,
}

/// All that a commit says below the environment's path.
#[derive(Debug, Default)]
pub struct Desired {
    files: BTreeMap<String, Arc<Known>>,
    problems: Vec<Problem>,
}

impl Desired {
    /// Reads a commit; files that `earlier` has are taken from there.
    ///
    /// # Errors
    /// A repository that cannot be read.
    pub fn read(repository: &Repository, checkout: &Checkout, earlier: &Self) -> Result<Self, Error> {
        let mut desired = Self { files: BTreeMap::new(), problems: checkout.problems.clone() };
        let paths = checkout.files.iter().map(|leaf| leaf.path.as_str());
        let unrendered = Unrendered::among(paths, &mut desired.problems);
        for leaf in checkout.files.iter().filter(|leaf| !unrendered.holds(&leaf.path)) {
            let known = match earlier.files.get(&leaf.path).filter(|known| known.blob == leaf.blob) {
                Some(known) => Arc::clone(known),
                None => Arc::new(Known::read(repository, leaf)?),
            };
            desired.files.insert(leaf.path.clone(), known);
        }
        let origins: Vec<&Origin> = desired.outlines().map(|outline| &outline.origin).collect();
        if let Some(problem) = too_many(origins.into_iter()) {
            desired.files.clear();
            desired.problems.push(problem);
        }
        Ok(desired)
    }

    /// Every manifest, in the order of files.
    pub fn outlines(&self) -> impl Iterator<Item = &Arc<Outline>> + Clone {
        self.files.values().flat_map(|known| &known.outlines)
    }

    /// Every mistake.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(self.files.values().flat_map(|known| &known.problems))
    }

    /// The bodies of manifests of one file, by the line that each begins at, without their namespace.
    ///
    /// # Errors
    /// A repository that cannot be read, or no longer has the file.
    pub fn bodies(&self, repository: &Repository, path: &str) -> Result<HashMap<(usize, ObjectId), Json>, Error> {
        let Some(known) = self.files.get(path) else { return Ok(HashMap::new()) };
        let file = Leaf { path: path.to_owned(), blob: known.blob }.read(repository)?;
        let manifests = decode_file(&file).unwrap_or_default();
        let entry = |manifest: Manifest| ((manifest.origin.line, manifest.id), body(manifest.value));
        Ok(manifests.into_iter().map(entry).collect())
    }
}

impl Known {
    fn read(repository: &Repository, leaf: &Leaf) -> Result<Self, Error> {
        let (outlines, problems) = match decode_file(&leaf.read(repository)?) {
            Ok(manifests) => (manifests.iter().map(|manifest| Arc::new(Outline::of(manifest))).collect(), Vec::new()),
            Err(problems) => (Vec::new(), problems),
        };
        Ok(Self { blob: leaf.blob, outlines, problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(value: Json) -> Manifest {
        let id = ObjectId { group: String::new(), kind: "ConfigMap".into(), namespace: None, name: "a".into() };
        let origin = Origin { file: "a.yaml".into(), document: 1, line: 1 };
        Manifest { id, api_version: "v1".into(), origin, value }
    }

    #[test]
    fn what_the_server_keeps_for_itself_is_not_sent_and_counts_for_nothing() {
        let plain = json!({ "metadata": { "name": "a" }, "data": { "x": "1" } });
        let copied = json!({ "metadata": { "name": "a", "uid": "u", "namespace": "shop" }, "data": { "x": "1" },
            "status": {} });
        assert_eq!(Outline::of(&manifest(plain)).fingerprint, Outline::of(&manifest(copied.clone())).fingerprint);
        let id = ObjectId {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: Some("shop".into()),
            name: "a".into(),
        };
        assert_eq!(
            placed(body(copied), &id),
            json!({ "metadata": { "name": "a", "namespace": "shop" }, "data": { "x": "1" } })
        );
    }

    #[test]
    fn annotations_ask() {
        let value = json!({ "metadata": { "name": "a", "annotations": { DRIFT: "report", RECREATE: "yes" } } });
        assert_eq!(Outline::of(&manifest(value)).asks, Asks { drift_is_reported: true, recreate: false });
    }
}
