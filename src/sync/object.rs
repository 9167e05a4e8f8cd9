//! What an object is called and where it was written: the two facts that every stage hands on, and the order in which
//! kinds are applied.

use crate::values::RelativePath;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::fmt;

/// An object of the cluster, however its API version is spelt: `apps/v1` and `apps/v1beta1` name the same Deployment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId {
    /// The API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The kind, as manifests write it.
    pub kind: String,
    /// The namespace; `None` for what has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    /// `Deployment default/flask-app`, the form of logs, reports and approvals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Where an object was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file, from the root of the repository.
    pub file: String,
    /// The document in it, from 1.
    pub document: usize,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An object as a file says it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Its name. Until `plan::resolve` the namespace is the written one.
    pub id: ObjectId,
    /// Its API version: `v1`, `apps/v1`.
    pub api_version: String,
    /// Where it was written.
    pub origin: Origin,
    /// All of it.
    pub value: Json,
}

/// Something in the repository that cannot be applied as it stands. It never stops another file's objects, and while
/// there is one nothing is pruned: what it hides may be what still names the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// The object, where one could be told.
    pub object: Option<ObjectId>,
    /// What is wrong and what to do, as one sentence.
    pub message: String,
}

impl Problem {
    /// A problem of a whole file.
    pub(super) fn file(path: &str, message: impl Into<String>) -> Self {
        Self { origin: Origin { file: path.to_owned(), document: 1, line: 1 }, object: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{}: {object}: {}", self.origin, self.message),
            None => write!(f, "{}: {}", self.origin, self.message),
        }
    }
}

/// The folder beside an environment's manifests that is ours and holds no manifests.
pub const STATE_FOLDER: &str = ".gitops-hooks";

/// The path of one of our files beside an environment's manifests.
#[must_use]
pub fn state_file(path: &RelativePath, name: &str) -> String {
    path.join(&format!("{STATE_FOLDER}/{name}"))
}

/// What must be there before what: each row is applied, side by side, before the next one begins.
const ORDER: &[&[&str]] = &[
    &["Namespace"],
    &["CustomResourceDefinition"],
    &["ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "LimitRange", "ResourceQuota"],
    &["ConfigMap", "Secret", "PersistentVolumeClaim", "PersistentVolume", "StorageClass", "PriorityClass"],
    &["Service", "NetworkPolicy"],
    &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Job", "CronJob"],
];

/// Kinds that may refuse every later write, so they come when all else is there.
const LAST: &[&str] = &["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService"];

/// The rank of a kind: objects of one rank may be applied side by side, lower ranks first. Unknown kinds come after the
/// workloads and before webhooks.
#[must_use]
pub fn rank(kind: &str) -> usize {
    if LAST.contains(&kind) {
        return ORDER.len() + 1;
    }
    ORDER.iter().position(|row| row.contains(&kind)).unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_first() {
        let mut kinds =
            ["ValidatingWebhookConfiguration", "Ingress", "Deployment", "ConfigMap", "CustomResourceDefinition"];
        kinds.sort_by_key(|kind| rank(kind));
        assert_eq!(
            kinds,
            ["CustomResourceDefinition", "ConfigMap", "Deployment", "Ingress", "ValidatingWebhookConfiguration"]
        );
    }

    #[test]
    fn an_object_reads_as_people_say_it() {
        let id = ObjectId {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: Some("shop".into()),
            name: "web".into(),
        };
        assert_eq!(id.to_string(), "Deployment shop/web");
    }
}
