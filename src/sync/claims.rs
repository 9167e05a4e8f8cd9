//! What the syncs of other environments own. Environments may share a namespace, and all apply under one field manager, so that
//! their inventories alone say whose an object is. What another's inventory has is neither applied nor deleted.

use super::{
    ENVIRONMENT_LABEL, Error, NAMESPACE, Settings,
    kinds::Reach,
    object::ObjectId,
    store::{self, INVENTORY, Origin},
};
use crate::values::EnvironmentName;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt, api::ListParams};
use std::collections::{BTreeMap, HashMap};

/// Objects with the environments whose inventories have them.
pub type Claims = HashMap<ObjectId, EnvironmentName>;

/// `ConfigMap`s in one answer: an inventory's may be long.
const PAGE: u32 = 16;

/// Who else owns the objects that `asked` chooses.
///
/// # Errors
/// [`Error::Stored`] where an inventory that counts cannot be read, or this account may not look; a cluster that does not answer.
pub async fn claims(client: &Client, settings: &Settings, asked: impl Fn(&ObjectId) -> bool) -> Result<Claims, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let others = format!("{ENVIRONMENT_LABEL}!={}", settings.environment);
    let mut parameters = ListParams::default().labels(&others).limit(PAGE);
    let mut maps = Vec::new();
    loop {
        let page = match api.list(&parameters).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(Error::Stored {
                    name: "of another environment".to_owned(),
                    reason: format!(
                        "this account may not list them; `gitops-hooks cluster upgrade {}` lets it",
                        settings.host()
                    ),
                });
            }
            Err(source) => return Err(Error::cluster("asking what other environments own", source)),
        };
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        maps.extend(page.items.into_iter().map(|map| (map.name_any(), map.data.unwrap_or_default())));
        match next {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return found(&maps, settings, asked),
        }
    }
}

/// The claims that these `ConfigMap`s hold, each a name and its data. An environment that cannot hold an object of ours has
/// none, and nor has the inventory of what an environment no longer follows.
fn found(
    maps: &[(String, BTreeMap<String, String>)],
    settings: &Settings,
    asked: impl Fn(&ObjectId) -> bool,
) -> Result<Claims, Error> {
    let others: BTreeMap<EnvironmentName, Settings> = maps
        .iter()
        .filter_map(|(name, data)| Settings::parse(name, data.get("sync.yaml")?).ok())
        .map(|other| (other.environment.clone(), other))
        .collect();
    let mut claims = Claims::new();
    for (name, data) in maps {
        let (Some(environment), Some(text)) = (store::environment_of(name), data.get(INVENTORY)) else { continue };
        let other = others.get(&environment);
        if environment == settings.environment || other.is_some_and(|other| !overlap(other, settings)) {
            continue;
        }
        let (origin, objects) = store::parse(name, text)?;
        if other.is_some_and(|other| Origin::of(other) != origin) {
            continue;
        }
        let asked = objects.iter().map(|(object, _)| object).filter(|object| asked(object));
        claims.extend(asked.map(|object| (object.clone(), environment.clone())));
    }
    Ok(claims)
}

/// Whether two environments can hold the same object.
fn overlap(one: &Settings, other: &Settings) -> bool {
    one.reach == Reach::Cluster || other.reach == Reach::Cluster || one.namespace == other.namespace
}

/// What is said of an object that another environment's sync owns.
#[must_use]
pub fn says(other: &EnvironmentName) -> String {
    format!("the sync of {other} owns it; keep it in one of the two environments, or give each a namespace of its own")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Inventory;

    fn settings(environment: &str, more: &str) -> Settings {
        let text = format!("environment: {environment}\nurl: https://git.example.com/m.git\nbranch: main\n{more}");
        Settings::parse("s", &text).unwrap()
    }

    fn id(name: &str) -> ObjectId {
        ObjectId { group: String::new(), kind: "ConfigMap".into(), namespace: Some("shop".into()), name: name.into() }
    }

    fn map(name: &str, key: &str, text: String) -> (String, BTreeMap<String, String>) {
        (name.to_owned(), BTreeMap::from([(key.to_owned(), text)]))
    }

    /// The inventory that an environment keeps of `a`.
    fn kept(environment: &str, settings: &Settings) -> (String, BTreeMap<String, String>) {
        let mut inventory = Inventory::default();
        inventory.announce([(&id("a"), "v1")]);
        let text = store::text(settings, &inventory, 0).unwrap();
        map(&format!("gitops-hooks-inventory-{environment}"), INVENTORY, text)
    }

    fn installed(settings: &Settings) -> (String, BTreeMap<String, String>) {
        let text = serde_yaml::to_string(settings).unwrap();
        map(&format!("gitops-hooks-{}", settings.environment), "sync.yaml", text)
    }

    #[test]
    fn what_another_environment_of_the_same_namespace_owns_is_its_own() {
        let (staging, production) =
            (settings("staging", "namespace: shop\n"), settings("production", "namespace: shop\n"));
        let maps = [kept("production", &production), installed(&production), kept("staging", &staging)];
        let claims = found(&maps, &staging, |_| true).unwrap();
        assert_eq!(claims, Claims::from([(id("a"), "production".parse().unwrap())]), "and not what is ours");
        assert!(found(&maps, &staging, |object| *object != id("a")).unwrap().is_empty());
        // Whether it is installed is not known: its inventory counts.
        assert_eq!(found(&maps[..1], &staging, |_| true).unwrap().len(), 1);
    }

    #[test]
    fn what_an_environment_cannot_hold_or_no_longer_follows_is_no_claim() {
        let staging = settings("staging", "namespace: shop\n");
        let elsewhere = settings("production", "namespace: other\n");
        let broken = map("gitops-hooks-inventory-production.1", INVENTORY, "{}".to_owned());
        let maps = [kept("production", &elsewhere), broken.clone(), installed(&elsewhere)];
        assert!(found(&maps, &staging, |_| true).unwrap().is_empty());
        let everywhere = settings("production", "namespace: other\nreach: cluster\n");
        assert_eq!(
            found(&[kept("production", &everywhere), installed(&everywhere)], &staging, |_| true).unwrap().len(),
            1
        );
        let moved = settings("production", "namespace: shop\npath: new\n");
        let was = settings("production", "namespace: shop\npath: old\n");
        assert!(found(&[kept("production", &was), installed(&moved)], &staging, |_| true).unwrap().is_empty());
        assert!(matches!(found(&[broken], &staging, |_| true), Err(Error::Stored { .. })), "what hides claims");
    }
}
