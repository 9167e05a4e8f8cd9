//! What a commit would do to a cluster, asked of the API server without a change (server-side dry run): which objects it
//! would refuse, and which would be pruned. For the laptop, before a delivery is pushed.

use super::{
    Error, FIELD_MANAGER, Settings,
    apply::reason,
    checkout::Checkout,
    desired::{Desired, Outline, placed},
    kinds::Kinds,
    object::ObjectId,
    plan,
    preview::{Act, Preview, preview},
};
use futures_util::{StreamExt, stream};
use git2::Repository;
use kube::{
    Client,
    api::{Patch, PatchParams},
};
use std::{collections::BTreeMap, sync::Arc};

/// Questions at the same time.
const PARALLEL: usize = 8;

/// Rehearses a commit in the cluster of an environment. What the cluster has already as it should be is not asked about;
/// what the server would refuse is refused in the preview, with the server's words.
///
/// # Errors
/// A cluster that does not answer, or does not let this account look; a repository that cannot be read.
pub async fn rehearse(
    client: &Client,
    settings: &Settings,
    repository: &Repository,
    checkout: &Checkout,
) -> Result<Preview, Error> {
    let desired = Desired::read(repository, checkout, &Desired::default())?;
    let kinds = Kinds::discover(client).await?;
    let mut preview = preview(client, settings, &kinds, checkout, &desired).await?;
    let (wanted, _) = plan::resolve(desired.outlines(), settings, &kinds);
    let by_name: BTreeMap<String, (&ObjectId, &Arc<Outline>)> =
        wanted.iter().map(|(object, outline)| (object.to_string(), (object, outline))).collect();

    let mut questions = Vec::new();
    for (at, foreseen) in preview.acts.iter().enumerate() {
        let is_sent = matches!(foreseen.act, Act::Create | Act::Change | Act::Correct);
        let named = foreseen.object.as_ref().filter(|_| is_sent).and_then(|name| by_name.get(name));
        let Some((object, outline)) = named else { continue };
        let Some(kind) = kinds.find(&outline.api_version, &object.kind) else { continue };
        let mut bodies = desired.bodies(repository, &outline.origin.file)?;
        let Some(body) = bodies.remove(&(outline.origin.line, outline.id.clone())) else { continue };
        let api = kind.api(client, object.namespace.as_deref());
        let body = placed(body, object);
        let parameters = PatchParams::apply(FIELD_MANAGER).validation_strict().dry_run().force();
        let name = object.name.clone();
        questions.push(async move {
            let asked = api.patch(&name, &parameters, &Patch::Apply(&body)).await;
            // An account that may only look can be told nothing by the server.
            asked
                .err()
                .map(|error| (at, reason(&error)))
                .filter(|(_, reason)| !reason.contains("cannot patch resource"))
        });
    }
    let answers: Vec<Option<(usize, String)>> = stream::iter(questions).buffer_unordered(PARALLEL).collect().await;
    for (at, reason) in answers.into_iter().flatten() {
        preview.acts[at].act = Act::Refuse;
        preview.acts[at].reason = reason;
    }
    Ok(preview)
}
