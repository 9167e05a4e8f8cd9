//! What a wish makes of the manifests on a commit, as a tree and a message. The same draft is committed, shown by a dry run,
//! and made anew after a lost race.

use super::{
    Act, Builds, Delivery, Error, Seen, Session, State, Target, Wish,
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
    let plan = match planned(session, target, act, &state, mirror, base)? {
        Ok(plan) => plan.with(act.source(), built)?,
        Err(delivery) => return Ok(Err(delivery)),
    };
    let change = commit::patch(mirror, target, base, &state, &plan)?;
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

/// Plans an act on a commit or tree with this state. Where a person asks for what the state says already, but a manifest says
/// something else, as after an edit by hand or in a new file, the plan is to make it what the state says.
pub(super) fn planned(
    session: &Session<'_>,
    target: &Target<'_>,
    act: &Act,
    state: &State,
    mirror: &Mirror,
    base: &Oid,
) -> Result<Result<Plan, Delivery>, Error> {
    let planned = plan::plan(session, target, act, state)?;
    let is_asked = matches!(act, Act::Follow { seen: Seen::Once, .. } | Act::Promote { .. });
    if is_asked && state.hold.is_none() && matches!(planned, Err(Delivery::Unchanged)) {
        let restored = plan::as_in(target, state);
        // What runs already needs no manifest that can be patched.
        let differs =
            commit::patch(mirror, target, base, state, &restored).is_ok_and(|change| !change.files.is_empty());
        if differs {
            return Ok(Ok(restored));
        }
    }
    Ok(planned)
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
