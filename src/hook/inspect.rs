//! The hooks of a clone as they stand there, compared with what an installation would write. Looks, and changes nothing.

use super::{
    Error,
    install::{branches, chosen, chosen_of, watched},
    needed,
    places::{Places, absolute, is_executable},
    shim,
};
use crate::{
    config::Config,
    git::{Repository, Setting},
    values::HookName,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A hook that the configuration needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookFile {
    /// Which.
    pub hook: HookName,
    /// Where its file has to be.
    pub path: PathBuf,
    /// What is there.
    pub standing: Standing,
}

/// What stands at a hook's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Absent,
    /// A file that is not ours, with its text.
    Foreign(String),
    /// A shim of ours.
    Shim {
        /// Whether git would run it.
        executable: bool,
        /// Whether it says what this program would write today.
        current: bool,
        /// The program that it calls.
        binary: PathBuf,
        /// Whether that is there and can be run.
        usable: bool,
    },
}

/// A hook of the user's own that runs before ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its file.
    pub path: PathBuf,
    /// Whether it is run.
    pub executable: bool,
}

/// Where git looks for hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HooksFolder {
    /// Every `core.hooksPath` that is set; the last one counts.
    pub settings: Vec<Setting>,
    /// The folder that git looks into.
    pub effective: PathBuf,
    /// The folder that our shims are in.
    pub ours: PathBuf,
    /// The user's own folder, over which ours is set.
    pub theirs: Option<PathBuf>,
}

/// The hooks that have to be there, and how they are.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn hooks(repository: &Repository, config: &Config) -> Result<Vec<HookFile>, Error> {
    let places = Places::of(repository);
    let branches = branches(repository, config);
    let inspected = chosen_of(needed(config), &chosen(repository)).into_iter().map(|hook| {
        let path = places.shim(hook);
        let standing = match fs::read(&path) {
            Ok(bytes) if shim::is_ours(&bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let binary = shim::binary(&text).unwrap_or_default();
                let current =
                    text == shim::text(hook, &binary, &places.kept_from_shim(hook), watched(hook, config, &branches));
                let usable = is_executable(&binary);
                Standing::Shim { executable: is_executable(&path), current, binary, usable }
            }
            Ok(bytes) => Standing::Foreign(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Standing::Absent,
            Err(source) => return Err(Error::file(&path, source)),
        };
        Ok(HookFile { hook, path, standing })
    });
    inspected.collect()
}

/// The hooks of the user's own that are there beside ours.
#[must_use]
pub fn kept(repository: &Repository) -> Vec<Kept> {
    let places = Places::of(repository);
    let paths = HookName::ALL.iter().map(|hook| places.kept(*hook)).filter(|path| path.is_file());
    paths.map(|path| Kept { executable: is_executable(&path), path }).collect()
}

/// Where git looks for hooks, and who said so.
///
/// # Errors
/// When git fails.
pub fn hooks_folder(repository: &Repository) -> Result<HooksFolder, Error> {
    let settings = repository.settings("core.hooksPath")?;
    let own = || repository.common_dir().join("hooks");
    let effective = settings.last().map_or_else(own, |setting| absolute(repository, &setting.value));
    let Places { ours, theirs, .. } = Places::of(repository);
    Ok(HooksFolder { settings, effective, ours, theirs })
}

impl HooksFolder {
    /// Whether there is such a folder.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.effective.is_dir()
    }

    /// Whether the user's own folder, where ours is set over one, is there.
    #[must_use]
    pub fn theirs_exists(&self) -> bool {
        self.theirs.as_deref().is_none_or(Path::is_dir)
    }
}
