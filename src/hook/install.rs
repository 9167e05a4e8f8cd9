//! Puts the shims in place and takes them away. Nothing of the user's is ever overwritten: a hook that stands there is
//! renamed and still run; a `core.hooksPath` of the user's is left as it is, and ours is set over it in this clone only.

use super::{
    Error, exclude, needed,
    places::{PREVIOUS, Places, is_executable},
    shim::{self, Watched},
};
use crate::{
    config::{Condition, Config, Step},
    git::Repository,
    values::HookName,
};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What `install` did.
#[derive(Debug, Default)]
pub struct Installed {
    /// Hooks that git will find.
    pub hooks: Vec<HookName>,
    /// Hooks that were there before and still run first.
    pub kept: Vec<PathBuf>,
    /// Shims of ours that the configuration no longer needs, now gone.
    pub removed: Vec<HookName>,
}

/// What `uninstall` did.
#[derive(Debug)]
pub struct Uninstalled {
    /// Hooks of ours that are gone.
    pub removed: Vec<HookName>,
    /// The `core.hooksPath` that somebody has set over ours since, and that stays.
    pub hooks_path: Option<String>,
}

/// Where git's configuration of this clone remembers the `core.hooksPath` of its own that ours was set over.
const PREVIOUS_LOCAL: &str = "gitops-hooks.previousLocalHooksPath";
/// Where git's configuration of this clone remembers the hooks that the user chose; all that are needed without it.
const CHOSEN: &str = "gitops-hooks.chosen";

/// Installs the shims that the configuration needs, or of those the ones that the user chose. May be called again at any
/// time.
///
/// # Errors
/// When a file cannot be written; what was there before is then still there.
pub fn install(
    repository: &Repository,
    config: &Config,
    binary: &Path,
    chosen: &[HookName],
) -> Result<Installed, Error> {
    let places = Places::of(repository);
    fs::create_dir_all(&places.ours).map_err(|source| Error::file(&places.ours, source))?;
    let branches = branches(repository, config);
    let wanted = chosen_of(needed(config), chosen);
    let mut installed = Installed::default();
    for hook in HookName::ALL.iter().copied() {
        let path = places.shim(hook);
        let present = read(&path)?;
        let ours = present.as_deref().is_some_and(shim::is_ours);
        if wanted.contains(&hook) {
            if present.is_some() && !ours {
                set_aside(&path, &places.kept(hook))?;
            }
            let watched = watched(hook, config, &branches);
            write(&path, &shim::text(hook, binary, &places.kept_from_shim(hook), watched))?;
            installed.hooks.push(hook);
            if is_executable(&places.kept(hook)) {
                installed.kept.push(places.kept(hook));
            }
        } else if places.theirs.is_some() {
            // Ours is the only folder that git looks into now: every hook of theirs needs a way through, those to come too.
            write(&path, &shim::pass_through(hook, &places.kept_from_shim(hook)))?;
            if is_executable(&places.kept(hook)) {
                installed.kept.push(places.kept(hook));
            }
        } else if ours {
            restore(&places, hook)?;
            installed.removed.push(hook);
        }
    }
    if let Some(theirs) = &places.theirs {
        redirect(repository, &places, theirs)?;
    }
    remember(repository, chosen)?;
    exclude::add(repository)?;
    Ok(installed)
}

fn remember(repository: &Repository, chosen: &[HookName]) -> Result<(), Error> {
    if !chosen.is_empty() {
        let names: Vec<&str> = chosen.iter().map(|hook| hook.as_str()).collect();
        repository.git().args(["config", "--local", CHOSEN, &names.join(" ")]).run()?;
    } else if repository.config(CHOSEN).is_some() {
        repository.git().args(["config", "--local", "--unset", CHOSEN]).run()?;
    }
    Ok(())
}

/// Takes our shims away and puts back what was there before.
///
/// # Errors
/// When a file cannot be changed.
pub fn uninstall(repository: &Repository) -> Result<Uninstalled, Error> {
    let places = Places::of(repository);
    let mut removed = Vec::new();
    let mut hooks_path = None;
    if places.theirs.is_some() && repository.config(PREVIOUS).is_some() {
        let local = repository.local_values("core.hooksPath").pop();
        if local.as_deref().map(Path::new) != Some(&places.ours) {
            hooks_path = local;
        } else if let Some(path) = repository.config(PREVIOUS_LOCAL) {
            repository.git().args(["config", "--local", "core.hooksPath", &path]).run()?;
        } else {
            repository.git().args(["config", "--local", "--unset", "core.hooksPath"]).run()?;
        }
    }
    for hook in HookName::ALL.iter().copied() {
        if read(&places.shim(hook))?.as_deref().is_some_and(shim::is_ours) {
            restore(&places, hook)?;
            removed.push(hook);
        }
    }
    if [PREVIOUS, CHOSEN, "gitops-hooks.confirmed"].iter().any(|key| repository.config(key).is_some()) {
        repository.git().args(["config", "--local", "--remove-section", "gitops-hooks"]).run()?;
    }
    exclude::remove(repository)?;
    Ok(Uninstalled { removed, hooks_path })
}

/// The hooks that the configuration needs, that the user did not leave out, and that git would not find.
#[must_use]
pub fn missing(repository: &Repository, config: &Config) -> Vec<HookName> {
    let places = Places::of(repository);
    let needed = chosen_of(needed(config), &chosen(repository));
    needed.into_iter().filter(|hook| !places.shim(*hook).exists()).collect()
}

/// The hooks that the user chose at the last installation; none where all that are needed were meant.
#[must_use]
pub fn chosen(repository: &Repository) -> Vec<HookName> {
    let names = repository.config(CHOSEN).unwrap_or_default();
    names.split_whitespace().filter_map(|name| name.parse().ok()).collect()
}

pub(super) fn chosen_of(mut needed: BTreeSet<HookName>, chosen: &[HookName]) -> BTreeSet<HookName> {
    if !chosen.is_empty() {
        needed.retain(|hook| chosen.contains(hook));
    }
    needed
}

/// The branches that environments deliver, as they are called here and on the remote: the shim of
/// `reference-transaction` waits for either name.
pub(super) fn branches(repository: &Repository, config: &Config) -> Vec<String> {
    let mut branches = BTreeSet::new();
    for (_, branch) in config.followers() {
        let upstream = repository.upstream(branch);
        let there = upstream.as_ref().and_then(|upstream| upstream.branch.strip_prefix("refs/heads/"));
        branches.extend([Some(branch), there].into_iter().flatten().map(str::to_owned));
    }
    branches.into_iter().collect()
}

/// What the shim of a hook starts the program for.
pub(super) fn watched<'a>(hook: HookName, config: &Config, branches: &'a [String]) -> Watched<'a> {
    let steps = config.hooks.get(&hook).map_or(&[][..], Vec::as_slice);
    let asked = |step: &Step| match &step.only {
        Condition::When(conditions) => !conditions.state.is_empty(),
        Condition::Always | Condition::Never => false,
    };
    match hook {
        HookName::ReferenceTransaction if steps.is_empty() => Watched::Branches(branches),
        HookName::PostCheckout | HookName::PostCommit | HookName::PostIndexChange if !steps.iter().any(asked) => {
            Watched::OutsidePicks
        }
        _ => Watched::Everything,
    }
}

/// Sets our hooks folder over the user's, in this clone only.
fn redirect(repository: &Repository, places: &Places, theirs: &Path) -> Result<(), Error> {
    let local = repository.local_values("core.hooksPath").pop();
    if local.as_deref().map(Path::new) != Some(&places.ours) {
        if let Some(local) = local {
            repository.git().args(["config", "--local", PREVIOUS_LOCAL, &local]).run()?;
        }
        let written = places.written.as_ref().map_or(theirs.as_os_str(), |written| written.as_ref());
        repository.git().args(["config", "--local", PREVIOUS]).arg(written).run()?;
    }
    repository.git().args(["config", "--local", "core.hooksPath"]).arg(&places.ours).run()?;
    // A work tree's own configuration (`git config --worktree`) comes after the clone's.
    let found = Repository::open(repository.git_dir())?.config("core.hooksPath");
    match found {
        Some(path) if Path::new(&path) != places.ours => Err(Error::Overridden { path }),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::file(path, source)),
    }
}

/// Renames a hook of the user's. One that was set aside earlier is never overwritten.
fn set_aside(path: &Path, kept: &Path) -> Result<(), Error> {
    if kept.exists() {
        return Err(Error::InTheWay { path: kept.display().to_string() });
    }
    fs::rename(path, kept).map_err(|source| Error::file(path, source))
}

/// Writes a hook so that git sees the old file or the whole new one.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let half = path.with_extension("new");
    let written = fs::write(&half, text)
        .and_then(|()| fs::set_permissions(&half, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&half, path));
    written.map_err(|source| Error::file(path, source))
}

/// Takes one shim away and puts back the hook that was there before.
fn restore(places: &Places, hook: HookName) -> Result<(), Error> {
    let path = places.shim(hook);
    let kept = places.kept(hook);
    let back = if places.theirs.is_none() && kept.exists() { fs::rename(&kept, &path) } else { fs::remove_file(&path) };
    back.map_err(|source| Error::file(&path, source))
}
