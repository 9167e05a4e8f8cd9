//! Which kinds there are: what the API server knows, and what the Role allows. The Role that `cluster install` makes and
//! the refusals of the plan both come from one table here and cannot disagree.

use super::{Error, object::ObjectId};
use kube::{
    Client,
    api::{ApiResource, DynamicObject},
    core::{GroupVersionKind, discovery::v2::APIGroupDiscovery},
};
use std::collections::HashMap;

/// What the sync may write in its namespace: API group, then resources. No Secrets (who can push manifests could read
/// them through a pod anyway, but never write the ones that a cluster's owner made), nothing that grants rights, and
/// neither endpoints nor quotas, which Kubernetes' own role `edit` leaves out too.
pub const WRITABLE: &[(&str, &[&str])] = &[
    ("", &["configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "serviceaccounts", "services"]),
    ("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
];

/// Whether a kind lives in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// It does.
    Namespaced,
    /// It does not.
    Cluster,
}

/// A kind as the API server serves it.
#[derive(Debug, Clone)]
pub struct Kind {
    /// What its requests are made of.
    pub resource: ApiResource,
    /// Where it lives.
    pub scope: Scope,
}

impl Kind {
    /// The name of an object of this kind.
    #[must_use]
    pub fn id(&self, object: &DynamicObject) -> ObjectId {
        ObjectId {
            group: self.resource.group.clone(),
            kind: self.resource.kind.clone(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Whether the Role allows to write it.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        WRITABLE.iter().any(|(group, resources)| {
            *group == self.resource.group && resources.contains(&self.resource.plural.as_str())
        })
    }
}

/// The kinds of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Kinds(HashMap<(String, String), Kind>);

impl Kinds {
    /// Asks the API server: two requests for all kinds (aggregated discovery, Kubernetes 1.30).
    ///
    /// # Errors
    /// A server that does not answer.
    pub async fn discover(client: &Client) -> Result<Self, Error> {
        let (core, groups) = futures_util::future::try_join(
            client.list_core_api_versions_aggregated(),
            client.list_api_groups_aggregated(),
        )
        .await
        .map_err(|source| Error::cluster("asking for the kinds it knows", source))?;
        let mut kinds = Self::default();
        for group in core.items.into_iter().chain(groups.items) {
            kinds.add_group(group);
        }
        Ok(kinds)
    }

    fn add_group(&mut self, group: APIGroupDiscovery) {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        for version in group.versions {
            let Some(number) = version.version else { continue };
            for resource in version.resources {
                let kind = resource.response_kind.as_ref().and_then(|kind| kind.kind.as_deref());
                let (Some(kind), Some(plural)) = (kind, resource.resource.as_deref()) else { continue };
                let scope =
                    if resource.scope.as_deref() == Some("Namespaced") { Scope::Namespaced } else { Scope::Cluster };
                self.add(&name, &number, kind, plural, scope);
            }
        }
    }

    pub(super) fn add(&mut self, group: &str, version: &str, kind: &str, plural: &str, scope: Scope) {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let api_version = gvk.api_version();
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        // The first wins: a resource before anything that only answers with the same kind.
        self.0.entry((api_version, kind.to_owned())).or_insert(Kind { resource, scope });
    }

    /// The kind as a manifest names it.
    #[must_use]
    pub fn find(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        self.0.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// The kind in the given version, or in any that is still served: an object does not go with a version.
    #[must_use]
    pub fn find_served(&self, api_version: &str, object: &ObjectId) -> Option<&Kind> {
        self.find(api_version, &object.kind).or_else(|| {
            self.0.values().find(|kind| kind.resource.group == object.group && kind.resource.kind == object.kind)
        })
    }

    /// The API versions that serve a kind, for messages.
    #[must_use]
    pub fn versions_of(&self, kind: &str) -> Vec<&str> {
        let mut versions: Vec<_> =
            self.0.keys().filter(|(_, known)| known == kind).map(|(version, _)| version.as_str()).collect();
        versions.sort_unstable();
        versions
    }
}
