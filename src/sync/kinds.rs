//! Which kinds there are: what the API server knows, and what the Role allows. The Role that `cluster install` makes and
//! the refusals of the plan both come from one table here and cannot disagree.

use super::{Error, object::ObjectId};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::{GroupVersionKind, discovery::v2::APIGroupDiscovery},
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    str::FromStr,
};

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

/// How far a sync reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// One namespace, and the kinds that its Role lists.
    #[default]
    Namespace,
    /// Every kind in every namespace but the sync's own.
    Cluster,
}

impl Reach {
    /// Whether it is the usual one.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// A resource as `kubectl` and definitions name it: `secrets`, `certificates.cert-manager.io`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Resource {
    /// Its API group; empty for the core group.
    pub group: String,
    /// Its name in addresses.
    pub plural: String,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.plural) } else { write!(f, "{}.{}", self.plural, self.group) }
    }
}

impl From<Resource> for String {
    fn from(resource: Resource) -> Self {
        resource.to_string()
    }
}

impl TryFrom<String> for Resource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Resource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (plural, group) = text.split_once('.').unwrap_or((text, ""));
        super::validate::label(plural)?;
        if !group.is_empty() {
            super::validate::subdomain(group)?;
        }
        if group == "rbac.authorization.k8s.io" {
            return Err(format!("{text} grants rights, which a sync of one namespace never does"));
        }
        Ok(Self { group: group.to_owned(), plural: plural.to_owned() })
    }
}

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

    /// Whether every sync may write it.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        WRITABLE.iter().any(|(group, resources)| {
            *group == self.resource.group && resources.contains(&self.resource.plural.as_str())
        })
    }

    /// Whether it is this resource.
    #[must_use]
    pub fn is(&self, resource: &Resource) -> bool {
        self.resource.group == resource.group && self.resource.plural == resource.plural
    }

    /// Where its objects are asked for: in a namespace, or in the whole cluster.
    pub(crate) fn api(&self, client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }
}

/// The objects of one kind in one namespace, or in the whole cluster where the kind has none.
#[derive(Debug, Clone)]
pub struct Place {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: Option<String>,
}

impl Place {
    /// Whether an object belongs there.
    #[must_use]
    pub fn holds(&self, object: &ObjectId) -> bool {
        let resource = &self.kind.resource;
        object.kind == resource.kind && object.group == resource.group && object.namespace == self.namespace
    }
}

/// The places of objects, each once: objects with the API versions that they are spoken to with.
#[must_use]
pub fn places<'o>(
    objects: impl Iterator<Item = (&'o str, &'o ObjectId)>,
    kinds: &Kinds,
    matters: impl Fn(&Kind) -> bool,
) -> Vec<Place> {
    let mut found: BTreeMap<(&str, &str, Option<&str>), Option<Place>> = BTreeMap::new();
    for (api_version, object) in objects {
        found.entry((&object.group, &object.kind, object.namespace.as_deref())).or_insert_with(|| {
            let kind = kinds.find_served(api_version, object).filter(|kind| matters(kind))?;
            Some(Place { kind: kind.clone(), namespace: object.namespace.clone() })
        });
    }
    found.into_values().flatten().collect()
}

/// What a definition in the repository says that the cluster will serve once it is established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    group: String,
    kind: String,
    plural: String,
    versions: Vec<String>,
    scope: Scope,
}

impl Definition {
    /// What the manifest of a `CustomResourceDefinition` defines; nothing where it is no sound one.
    #[must_use]
    pub fn of(manifest: &Json) -> Option<Self> {
        if manifest["kind"] != DEFINITION {
            return None;
        }
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Json::as_str).map(str::to_owned);
        let versions = manifest.pointer("/spec/versions")?.as_array()?;
        let served = versions.iter().filter(|version| version["served"] == true);
        Some(Self {
            group: text("/spec/group")?,
            kind: text("/spec/names/kind")?,
            plural: text("/spec/names/plural")?,
            versions: served.filter_map(|version| version["name"].as_str()).map(str::to_owned).collect(),
            scope: if text("/spec/scope")? == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
        })
    }

    /// Whether all of it is served.
    #[must_use]
    pub fn is_served(&self, kinds: &Kinds) -> bool {
        let served = |version: &String| kinds.find(&format!("{}/{version}", self.group), &self.kind).is_some();
        self.versions.iter().all(served)
    }
}

/// The kind of definitions.
pub const DEFINITION: &str = "CustomResourceDefinition";

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

    /// The kinds that definitions promise.
    #[must_use]
    pub fn promised<'d>(definitions: impl Iterator<Item = &'d Definition>) -> Self {
        let mut kinds = Self::default();
        for Definition { group, kind, plural, versions, scope } in definitions {
            for version in versions {
                kinds.add(group, version, kind, plural, *scope);
            }
        }
        kinds
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

    /// The kind of a resource.
    #[must_use]
    pub fn find_resource(&self, resource: &Resource) -> Option<&Kind> {
        self.0.values().find(|kind| kind.is(resource))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resource_is_named_as_kubectl_names_it_and_never_grants_rights() {
        let parsed = |text: &str| text.parse::<Resource>();
        let certificates = parsed("certificates.cert-manager.io").unwrap();
        assert_eq!((certificates.plural.as_str(), certificates.group.as_str()), ("certificates", "cert-manager.io"));
        assert_eq!(parsed("secrets").unwrap().to_string(), "secrets");
        for refused in ["roles.rbac.authorization.k8s.io", "*", "serviceaccounts/token", "Secrets", ""] {
            assert!(parsed(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_definition_promises_the_versions_that_it_serves() {
        let manifest = json!({ "kind": DEFINITION, "spec": { "group": "example.com", "scope": "Namespaced",
            "names": { "kind": "Widget", "plural": "widgets" },
            "versions": [{ "name": "v1", "served": true }, { "name": "v2", "served": false }] } });
        let definition = Definition::of(&manifest).unwrap();
        let kinds = Kinds::promised([&definition].into_iter());
        assert_eq!(kinds.find("example.com/v1", "Widget").unwrap().scope, Scope::Namespaced);
        assert!(kinds.find("example.com/v2", "Widget").is_none());
        assert!(definition.is_served(&kinds) && !definition.is_served(&Kinds::default()));
        assert_eq!(Definition::of(&json!({ "kind": "ConfigMap" })), None);
    }
}
