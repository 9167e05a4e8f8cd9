//! What a wish makes of the manifests on a commit, as a tree and a message. The same draft is committed, shown by a dry run,
//! and made anew after a lost race.

use super::{
    Act, Builds, Delivery, Error, Session, State, Wish,
    commit::{self, Change},
    delivered,
    message::Message,
    plan::{self, Plan},
    render,
};
use crate::{
    git::Mirror,
    manifest::Field,
    values::{ImageName, ImageRef, Oid},
};

/// A commit that is ready to be made.
pub(super) struct Draft {
    pub(super) tree: Oid,
    pub(super) message: String,
    /// The changed fields with their files.
    pub(super) fields: Vec<(String, Field)>,
    /// The changed files, the state not among them.
    pub(super) files: Vec<String>,
    /// The images of which a field changes, and what they run then.
    pub(super) images: Vec<(ImageName, ImageRef)>,
    pub(super) source: Option<Oid>,
    pub(super) rewritten: Option<Oid>,
}

/// What a wish changes on a commit or tree, or how it ends without a commit.
pub(super) fn draft(
    session: &Session<'_>,
    builds: &dyn Builds,
    wish: &Wish<'_>,
    built: &[(ImageName, ImageRef)],
    mirror: &Mirror,
    base: &Oid,
) -> Result<Result<Draft, Delivery>, Error> {
    let Wish { target, act, .. } = wish;
    let state = delivered::state(mirror, target, base)?;
    let plan = match plan::plan(session, target, act, &state)? {
        Ok(plan) => plan.with(act.source(), built)?,
        Err(delivery) => return Ok(Err(delivery)),
    };
    let change = commit::patch(mirror, target, base, &plan)?;
    let after = commit::state_after(target, &plan, &change, &state);
    if change.files.is_empty() && (after == state || !plan::is_worth_recording(builds, target, act, &plan, &state)?) {
        return Ok(Err(Delivery::Unchanged));
    }
    render::is_possible(mirror, target, base)?;
    let tree = commit::write(mirror, target, base, &change, &after)?;
    let message =
        Message { session, target, act, plan: &plan, change: &change, before: &state, after: &after }.render();
    Ok(Ok(draft_of(tree, message, change, plan, act, &after)))
}

fn draft_of(tree: Oid, message: String, change: Change, plan: Plan, act: &Act, after: &State) -> Draft {
    let runs = |image: ImageName| Some((image.clone(), after.images.get(&image)?.reference.clone()));
    Draft {
        tree,
        message,
        files: change.files.into_iter().map(|(path, _)| path).collect(),
        fields: change.fields,
        images: change.images.into_iter().filter_map(runs).collect(),
        source: act.source().cloned(),
        rewritten: plan.rewritten,
    }
}
