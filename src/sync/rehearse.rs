//! What a commit would do to a cluster, asked of the API server without a change (server-side dry run): which objects it
//! would refuse, and which would be pruned. For the laptop, before a delivery is pushed.

use super::{
    Error, FIELD_MANAGER, Note, Settings,
    apply::reason,
    checkout::Checkout,
    decode,
    kinds::{Kind, Kinds, Scope},
    object::ObjectId,
    observe::observe,
    plan::{self, Verdict},
    prune::{self, Fate, Footing},
    store,
};
use futures_util::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use std::collections::{BTreeMap, BTreeSet};

/// Questions at the same time.
const PARALLEL: usize = 8;

/// What would happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// What would be refused, with the file and line.
    pub refused: Vec<Note>,
    /// What no manifest names any more, and what becomes of it.
    pub pruned: Vec<(ObjectId, Fate)>,
}

/// Rehearses a commit in the cluster of an environment. What the cluster has already as it should be is not asked about.
///
/// # Errors
/// A cluster that does not answer, or does not let this account look.
pub async fn rehearse(client: &Client, settings: &Settings, checkout: &Checkout) -> Result<Rehearsed, Error> {
    let kinds = Kinds::discover(client).await?;
    let inventory = store::inventory(client, settings).await?;
    let decoded = decode::decode(&checkout.files);
    let (wanted, problems) = plan::resolve(decoded.manifests, &settings.namespace, &kinds);
    let mut refused: Vec<Note> =
        checkout.problems.iter().chain(&decoded.problems).chain(&problems).map(Note::from).collect();

    let of_wanted = wanted.values().map(|manifest| (manifest.api_version.as_str(), &manifest.id));
    let of_owned = inventory.objects.iter().map(|(object, applied)| (applied.api_version.as_str(), object));
    let mut listed: BTreeMap<(&str, &str), Kind> = BTreeMap::new();
    for (api_version, object) in of_wanted.chain(of_owned) {
        if let Some(kind) = kinds.find(api_version, &object.kind).filter(|kind| kind.scope == Scope::Namespaced) {
            listed.entry((object.group.as_str(), object.kind.as_str())).or_insert_with(|| kind.clone());
        }
    }
    let listed: Vec<Kind> = listed.into_values().collect();
    let matters = |object: &ObjectId| wanted.contains_key(object) || inventory.owns(object);
    let observed = observe(client, &settings.namespace, &listed, matters).await?;

    let mut questions = Vec::new();
    for decision in plan::plan(&wanted, &inventory, &observed) {
        let Some(manifest) = wanted.get(&decision.object) else { continue };
        let note = |reason: &str| Note {
            object: Some(decision.object.to_string()),
            origin: Some(manifest.origin.to_string()),
            reason: reason.to_owned(),
        };
        match decision.verdict {
            Verdict::Unchanged => {}
            Verdict::Refuse => refused.push(note(&decision.reason)),
            Verdict::Create | Verdict::Change | Verdict::Correct => {
                let Some(kind) = kinds.find(&manifest.api_version, &decision.object.kind) else { continue };
                let value = match observed.get(&decision.object) {
                    Some(live) => plan::without_foreign(&manifest.value, live),
                    None => manifest.value.clone(),
                };
                let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &settings.namespace, &kind.resource);
                let parameters = PatchParams::apply(FIELD_MANAGER).validation_strict().dry_run().force();
                let note = note("");
                let name = decision.object.name.clone();
                questions.push(async move {
                    let asked = api.patch(&name, &parameters, &Patch::Apply(&value)).await;
                    asked.err().map(|error| Note { reason: reason(&error), ..note })
                });
            }
        }
    }
    let answers: Vec<Option<Note>> = stream::iter(questions).buffer_unordered(PARALLEL).collect().await;
    refused.extend(answers.into_iter().flatten());
    refused.sort_by(|a, b| (&a.origin, &a.object).cmp(&(&b.origin, &b.object)));
    let footing = if refused.is_empty() { Footing::Sound } else { Footing::Doubtful };
    let names: BTreeSet<ObjectId> = wanted.keys().cloned().collect();
    let pruned = prune::plan(&inventory, &names, &checkout.approval, footing);
    Ok(Rehearsed { refused, pruned })
}
