//! A last look at what is about to be pushed: every manifest is decoded as the pod decodes it, and where a cluster can be
//! asked, it says what it would refuse and prune. A warning, never a veto: what is wrong may be somebody else's file, and a
//! cluster that cannot be asked stops nobody.

use super::{Pipeline, runtime};
use crate::{
    cluster,
    deliver::Target,
    git::Prompts,
    sync::{self, Checkout, Fate, Note, Settings},
    ui::clean,
    values::Oid,
};
use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long a cluster may take. It is asked while somebody waits.
const PATIENCE: Duration = Duration::from_secs(6);

/// Warnings of one sort that are shown.
const SHOWN: usize = 5;

/// Looks at a commit in a mirror, and says what is wrong with it.
pub(super) fn look_over(pipeline: &Pipeline<'_>, target: &Target<'_>, git_dir: &Path, commit: &Oid) {
    let path = &target.environment.manifests.path;
    let Ok(repository) = git2::Repository::open_bare(git_dir) else { return };
    let Ok(checkout) = sync::read_commit(&repository, commit, path) else { return };
    let decoded = sync::decode(&checkout.files);
    let problems: Vec<Note> = checkout.problems.iter().chain(&decoded.problems).map(Note::from).collect();
    // In the background nobody waits, and nobody may be asked to log in.
    let cluster = if pipeline.prompts == Prompts::Allowed { ask(target, git_dir, commit) } else { None };
    let name = target.name;
    let (refused, pruned) = cluster.map_or((problems, Vec::new()), |found| (found.refused, found.pruned));
    warn(
        pipeline,
        refused.iter().map(|note| {
            let place = note.origin.as_deref().or(note.object.as_deref()).unwrap_or_default();
            let object = note.object.as_deref().filter(|_| note.origin.is_some()).map(|object| format!("{object}: "));
            format!("{name} will not take {place}: {}{}", object.unwrap_or_default(), note.reason)
        }),
    );
    warn(
        pipeline,
        pruned.iter().map(|(object, fate)| match fate {
            Fate::Delete => format!("{name} will delete {object}, which no manifest names any more"),
            Fate::Wait(why) => format!("{name} will keep {object} for now: {why}"),
        }),
    );
}

fn warn(pipeline: &Pipeline<'_>, lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(SHOWN);
    for line in lines.take(SHOWN) {
        pipeline.progress.line(&format!("warning: {}", clean(&line)));
    }
    if more > 0 {
        pipeline.progress.line(&format!("warning: and {more} more"));
    }
}

/// What the environment's cluster says; `None` where it cannot be asked, or has no sync of this environment.
fn ask(target: &Target<'_>, git_dir: &Path, commit: &Oid) -> Option<sync::Rehearsed> {
    let manifests = &target.environment.manifests;
    let namespace = target.environment.namespace.clone();
    let name = target.name.clone();
    let settings = Settings {
        path: manifests.path.clone(),
        ..Settings::in_pod(name, &namespace, (*manifests.url).clone(), &manifests.branch)
    };
    let (folder, commit) = (PathBuf::from(git_dir), commit.clone());
    // In a thread that is left to itself: what a kubeconfig runs to log in may wait for ever.
    let (done, told) = mpsc::channel();
    thread::spawn(move || {
        let Ok(runtime) = runtime() else { return };
        let found = runtime.block_on(async {
            let client = cluster::connect(None).await.ok()?;
            // A cluster without this environment's sync is somebody else's.
            sync::read(&client, &settings.environment).await.ok()??;
            let repository = git2::Repository::open_bare(&folder).ok()?;
            let checkout: Checkout = sync::read_commit(&repository, &commit, &settings.path).ok()?;
            sync::rehearse(&client, &settings, &checkout).await.ok()
        });
        let _ = done.send(found);
    });
    told.recv_timeout(PATIENCE).ok().flatten()
}
