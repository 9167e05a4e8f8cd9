//! A last look at what is about to be pushed: every manifest is decoded as the pod decodes it, and where a cluster can be
//! asked, it says what it would refuse and prune. A warning, never a veto: what is wrong may be somebody else's file, and a
//! cluster that cannot be asked stops nobody.

use super::{Pipeline, runtime};
use crate::{
    cluster,
    deliver::Target,
    git::Prompts,
    sync::{self, Act, Checkout, Desired, Foreseen, Preview},
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
    // In the background nobody waits, and nobody may be asked to log in.
    let asked = if pipeline.prompts == Prompts::Allowed { ask(target, git_dir, commit) } else { None };
    let acts = asked.map_or_else(
        || {
            let desired = Desired::read(&repository, &checkout, &Desired::default());
            desired.map(|desired| desired.problems().map(Foreseen::from).collect()).unwrap_or_default()
        },
        |preview| preview.acts,
    );
    let name = target.name;
    warn(pipeline, acts.iter().filter(|foreseen| foreseen.act == Act::Refuse), |foreseen| {
        let place = foreseen.origin.as_deref().or(foreseen.object.as_deref()).unwrap_or_default();
        let object = foreseen.object.as_deref().filter(|_| foreseen.origin.is_some());
        let object = object.map(|object| format!("{object}: ")).unwrap_or_default();
        format!("{name} will not take {place}: {object}{}", foreseen.reason)
    });
    warn(pipeline, acts.iter().filter(|foreseen| matches!(foreseen.act, Act::Prune | Act::Wait)), |foreseen| {
        let object = foreseen.object.as_deref().unwrap_or_default();
        match foreseen.act {
            Act::Prune => format!("{name} will delete {object}, which no manifest names any more"),
            _ => format!("{name} will keep {object} for now: {}", foreseen.reason),
        }
    });
}

/// The first few in full.
fn warn<'f>(pipeline: &Pipeline<'_>, acts: impl Iterator<Item = &'f Foreseen>, line: impl Fn(&Foreseen) -> String) {
    let acts: Vec<&Foreseen> = acts.collect();
    for foreseen in acts.iter().take(SHOWN) {
        pipeline.progress.line(&format!("warning: {}", clean(&line(foreseen))));
    }
    if acts.len() > SHOWN {
        pipeline.progress.line(&format!("warning: and {} more", acts.len() - SHOWN));
    }
}

/// What the environment's cluster says; `None` where it cannot be asked, or has no sync of this environment.
fn ask(target: &Target<'_>, git_dir: &Path, commit: &Oid) -> Option<Preview> {
    let (name, environment) = (target.name.clone(), target.environment.clone());
    let (folder, commit) = (PathBuf::from(git_dir), commit.clone());
    // In a thread that is left to itself: what a kubeconfig runs to log in may wait for ever.
    let (done, told) = mpsc::channel();
    thread::spawn(move || {
        let Ok(runtime) = runtime() else { return };
        let found = runtime.block_on(async {
            let client = cluster::connect(None).await.ok()?;
            // A cluster without this environment's sync is somebody else's.
            let mut settings = cluster::our_settings(&client, &name, &environment).await.ok()?;
            // One that nobody installed is a `sync --once` by hand.
            if settings.is_none() && cluster::our_report(&client, &name, &environment).await.ok()?.is_some() {
                settings = Some(cluster::usual_settings(&name, &environment));
            }
            let settings = settings?;
            let repository = git2::Repository::open_bare(&folder).ok()?;
            let checkout: Checkout = sync::read_commit(&repository, &commit, &settings.path).ok()?;
            sync::rehearse(&client, &settings, &repository, &checkout).await.ok()
        });
        let _ = done.send(found);
    });
    told.recv_timeout(PATIENCE).ok().flatten()
}
