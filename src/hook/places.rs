//! Where the hooks of a clone are: ours, and those that the user had before.

use crate::{git::Repository, values::HookName};
use std::path::{Path, PathBuf};

/// The suffix of a hook that was there before.
const KEPT: &str = "before-gitops-hooks";
/// Where git's configuration of this clone remembers the hooks folder that ours was set over.
pub(super) const PREVIOUS: &str = "gitops-hooks.previousHooksPath";

/// Where this clone's hooks are.
pub(super) struct Places {
    /// Where our shims stand.
    pub(super) ours: PathBuf,
    /// The user's own hooks folder, where `core.hooksPath` names one.
    pub(super) theirs: Option<PathBuf>,
    /// The same as it was written: a relative one is another folder in each linked work tree.
    pub(super) written: Option<String>,
}

impl Places {
    pub(super) fn of(repository: &Repository) -> Self {
        let own = repository.state_dir().join("hooks");
        let written = match repository.config("core.hooksPath") {
            Some(path) if absolute(repository, &path) == own => repository.config(PREVIOUS),
            other => other,
        };
        let configured = written.as_ref().map(|path| absolute(repository, path));
        let usual = repository.common_dir().join("hooks");
        // Written out, the usual place is still the usual place: its hooks are renamed, not passed through.
        let same = |path: &PathBuf| {
            path.canonicalize().is_ok_and(|real| usual.canonicalize().is_ok_and(|usual| usual == real))
        };
        match configured.filter(|path| !same(path)) {
            Some(theirs) => Self { ours: own, theirs: Some(theirs), written },
            None => Self { ours: usual, theirs: None, written: None },
        }
    }

    pub(super) fn kept(&self, hook: HookName) -> PathBuf {
        match &self.theirs {
            Some(theirs) => theirs.join(hook.as_str()),
            None => self.ours.join(format!("{hook}.{KEPT}")),
        }
    }

    /// Where a shim finds the kept hook from the folder that git calls it in: the root of the work tree (githooks(5)).
    pub(super) fn kept_from_shim(&self, hook: HookName) -> PathBuf {
        match &self.written {
            Some(written) if !written.starts_with(['/', '~']) => Path::new(written).join(hook.as_str()),
            _ => self.kept(hook),
        }
    }

    pub(super) fn shim(&self, hook: HookName) -> PathBuf {
        self.ours.join(hook.as_str())
    }
}

/// git resolves a relative `core.hooksPath` from where hooks run: the root of the work tree (git-config(1)).
pub(super) fn absolute(repository: &Repository, path: &str) -> PathBuf {
    let home = path.strip_prefix("~/").and_then(|rest| std::env::home_dir().map(|home| home.join(rest)));
    let base = repository.work_dir().unwrap_or_else(|| repository.git_dir());
    home.unwrap_or_else(|| base.join(path))
}

/// git runs only hooks that are executable.
pub(super) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
