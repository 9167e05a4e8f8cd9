//! A bare mirror of another repository, kept under the source's git folder and fetched incrementally. There, `includeIf`
//! conditions and the user's transport work as in the source itself; what only the source's own configuration says is
//! passed on. One process at a time: whoever has a [`Mirror`] has its lock.

use super::{
    Error, Git, Output, Repository, passed_on,
    remote::{self, remote_error},
};
use crate::values::{Oid, RemoteUrl};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, TryLockError},
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long another process may use a mirror before we give up. A fetch over a slow line takes a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a git of ours may be at its end without us.
const LEFT_BEHIND: Duration = Duration::from_secs(3);

/// The name of the one remote of a mirror.
pub(super) const REMOTE: &str = "mirrored";

/// The file with what the source passes on, included by the mirror's configuration.
const PASSED_ON: &str = "passed-on.config";

/// Whether somebody is there to answer questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompts {
    /// git, ssh and helpers may ask on the terminal.
    Allowed,
    /// Nobody watches: what would ask fails instead.
    Never,
}

/// A bare mirror, locked.
pub struct Mirror {
    pub(super) repository: Repository,
    pub(super) url: RemoteUrl,
    /// Where git is run: relative addresses and paths mean what they mean in the source.
    from: PathBuf,
    pub(super) prompts: Prompts,
    /// Freed when it is closed, also by a `kill -9`.
    _lock: File,
}

/// What stands at a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subtree {
    /// A folder, by its tree.
    Folder(Oid),
    /// Something that is no folder.
    NoFolder,
    /// Nothing.
    Absent,
}

impl Mirror {
    /// Opens the mirror of `url` that belongs to `source`, and makes it where there is none yet.
    ///
    /// # Errors
    /// [`Error::Busy`], and what can go wrong with files and git.
    pub fn open(source: &Repository, url: &RemoteUrl, prompts: Prompts) -> Result<Self, Error> {
        use std::fmt::Write as _;
        let hash = Sha256::digest(url.reveal().as_bytes());
        let name = hash.iter().take(10).fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        });
        let folder = source.state_dir().join("mirrors").join(name);
        fs::create_dir_all(&folder).map_err(|error| file_error(&folder, error))?;
        let lock = lock(&folder)?;
        let from = source.work_dir().unwrap_or(source.common_dir()).to_owned();
        if !folder.join("config").exists() || !folder.join("HEAD").exists() || !folder.join("objects").exists() {
            // Without a template: no hooks of the user's, no samples.
            Git::at(&from).args(["init", "--quiet", "--bare", "--template="]).arg(&folder).run()?;
        }
        free(&folder)?;
        pass_on(source, url, &folder)?;
        let repository = Repository::open(&folder)?;
        Ok(Self { repository, url: url.clone(), from, prompts, _lock: lock })
    }

    /// The mirror as a repository, to read from.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Fetches one branch and gives its tip.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`], [`Error::HostKey`], [`Error::NoBranch`].
    pub fn fetch(&self, branch: &str) -> Result<Oid, Error> {
        self.fetch_all([branch], None)?;
        self.tip(branch)
    }

    /// Fetches branches in one go, with every branch below `folder` where one is given. What the remote does not have is
    /// forgotten here: [`Mirror::tip`] tells.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`], [`Error::HostKey`], [`Error::BranchName`].
    pub fn fetch_all<'b>(
        &self,
        branches: impl IntoIterator<Item = &'b str>,
        folder: Option<&str>,
    ) -> Result<(), Error> {
        let mut wanted = branches.into_iter().map(references).collect::<Result<Vec<_>, _>>()?;
        let output = self.fetch_references(&wanted, folder)?;
        if output.0 == Some(0) {
            return Ok(());
        }
        if !output.1.stderr.contains("couldn't find remote ref") {
            return Err(remote_error(&self.url, &output.1));
        }
        // One that is missing must not hide the others.
        let heads = self.git().args(["ls-remote", "--heads", REMOTE]).run()?;
        let heads = String::from_utf8_lossy(&heads.stdout).into_owned();
        let there =
            |theirs: &str| heads.lines().any(|line| line.split_once('\t').is_some_and(|(_, name)| name == theirs));
        for (_, ours) in wanted.extract_if(.., |(theirs, _)| !there(theirs)) {
            self.git().args(["update-ref", "-d", &ours]).run()?;
        }
        if wanted.is_empty() && folder.is_none() {
            return Ok(());
        }
        match self.fetch_references(&wanted, folder)? {
            (Some(0), _) => Ok(()),
            (_, output) => Err(remote_error(&self.url, &output)),
        }
    }

    fn fetch_references(
        &self,
        wanted: &[(String, String)],
        folder: Option<&str>,
    ) -> Result<(Option<i32>, Output), Error> {
        let options = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];
        let mut git = self.git().args(options);
        if folder.is_some() {
            git = git.arg("--prune");
        }
        git = git.arg(REMOTE).args(wanted.iter().map(|(theirs, ours)| format!("+{theirs}:{ours}")));
        if let Some(folder) = folder {
            git = git.arg(format!("+refs/heads/{folder}/*:refs/remotes/{REMOTE}/{folder}/*"));
        }
        git.finish()
    }

    /// The tip of a branch that was fetched.
    ///
    /// # Errors
    /// [`Error::NoBranch`].
    pub fn tip(&self, branch: &str) -> Result<Oid, Error> {
        self.known(branch)?.ok_or_else(|| {
            let any = self.git().args(["for-each-ref", "--count=1", &format!("refs/remotes/{REMOTE}")]).run();
            let empty = any.is_ok_and(|found| found.stdout.is_empty())
                && self.git().args(["ls-remote", "--heads", REMOTE]).run().is_ok_and(|heads| heads.stdout.is_empty());
            let why = if empty {
                format!("is empty: there is no branch {branch:?} to deliver to")
            } else {
                format!("has no branch {branch:?}")
            };
            Error::NoBranch { url: self.url.shown(), why }
        })
    }

    /// The tip of a branch as it was last fetched or pushed.
    ///
    /// # Errors
    /// [`Error::BranchName`].
    pub fn known(&self, branch: &str) -> Result<Option<Oid>, Error> {
        let (_, ours) = references(branch)?;
        Ok(self.repository.reference(&ours))
    }

    /// The branch of the remote that keeps it from having this one: git has no branch and a folder of branches by one name.
    ///
    /// # Errors
    /// Where the remote could not be asked.
    pub fn in_the_way_of(&self, branch: &str) -> Result<Option<String>, Error> {
        let heads = self.git().args(["ls-remote", "--heads", REMOTE]).run()?;
        let heads = String::from_utf8_lossy(&heads.stdout).into_owned();
        let mut names = heads.lines().filter_map(|line| line.split_once("\trefs/heads/")).map(|(_, name)| name);
        let is_folder = |folder: &str, of: &str| of.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        Ok(names.find(|name| is_folder(name, branch) || is_folder(branch, name)).map(str::to_owned))
    }

    /// What stands at a path of a tree or of a commit's tree.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn subtree(&self, treeish: &Oid, path: &str) -> Result<Subtree, Error> {
        let failed =
            |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("{path} in {treeish}"), error);
        let gix = self.repository.gix();
        let id = gix::ObjectId::from_hex(treeish.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let object = gix.find_object(id).map_err(|error| failed(error.into()))?;
        let tree = object.peel_to_tree().map_err(|error| failed(error.into()))?;
        if path.is_empty() {
            let root = tree.id.to_string();
            return root.parse().map(Subtree::Folder).map_err(|error: crate::values::Invalid| failed(error.into()));
        }
        match tree.lookup_entry_by_path(path).map_err(|error| failed(error.into()))? {
            None => Ok(Subtree::Absent),
            Some(entry) if entry.mode().is_tree() => {
                let id = entry.oid().to_string();
                id.parse().map(Subtree::Folder).map_err(|error: crate::values::Invalid| failed(error.into()))
            }
            Some(_) => Ok(Subtree::NoFolder),
        }
    }

    /// Packs what has gathered in the mirror and drops what nothing leads to, once there is enough of it by git's own measure
    /// (git-gc(1), "--auto"). Large packs stay as they are, so that whoever waits for the mirror does not wait long.
    ///
    /// # Errors
    /// When git fails; the mirror is as good as before.
    pub fn tidy(&self) -> Result<(), Error> {
        // Every other call of git has it off, because it would work on beside us without our lock.
        let settings = [
            ("gc.auto", "6700"),
            ("gc.autoDetach", "false"),
            ("gc.bigPackThreshold", "256m"),
            ("gc.pruneExpire", "1.day"),
        ];
        let git = settings.iter().fold(self.git(), |git, (key, value)| git.config(key, value));
        git.args(["gc", "--auto", "--quiet"]).run().map(|_| ())
    }

    /// git on the mirror, as the user's own git would be in the source.
    pub(super) fn git(&self) -> Git {
        let git = Git::at(&self.from).env("GIT_DIR", self.repository.git_dir());
        let git = match self.prompts {
            Prompts::Allowed => git,
            Prompts::Never => git.without_prompts(),
        };
        match remote::ssh(&self.repository, self.prompts) {
            Some(ssh) => git.env("GIT_SSH_COMMAND", ssh),
            None => git,
        }
    }
}

/// A branch there and here.
pub(super) fn references(branch: &str) -> Result<(String, String), Error> {
    let theirs = format!("refs/heads/{branch}");
    match gix::refs::FullName::try_from(theirs.as_str()) {
        Ok(_) => Ok((theirs, format!("refs/remotes/{REMOTE}/{branch}"))),
        Err(_) => Err(Error::BranchName(branch.to_owned())),
    }
}

/// Writes the configuration that the source passes on, readable by the user alone.
fn pass_on(source: &Repository, url: &RemoteUrl, folder: &Path) -> Result<(), Error> {
    let mut settings = Vec::new();
    // A server that says nothing for a minute is gone; what the user set is passed on after this, and wins.
    if source.config("http.lowSpeedTime").is_none() {
        settings.push(("http.lowspeedlimit".to_owned(), Some("1".to_owned())));
        settings.push(("http.lowspeedtime".to_owned(), Some("60".to_owned())));
    }
    settings.extend(source.passed_on()?);
    settings.push((format!("remote.{REMOTE}.url"), Some(url.reveal().to_owned())));
    settings.push((format!("remote.{REMOTE}.fetch"), Some(format!("+refs/heads/*:refs/remotes/{REMOTE}/*"))));
    let text = passed_on::as_file(&settings);
    let path = folder.join(PASSED_ON);
    if fs::read(&path).is_ok_and(|known| known == text.as_bytes()) {
        return Ok(());
    }
    // A temporary file is made for its owner alone (0600).
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| file_error(folder, error))?;
    file.write_all(text.as_bytes()).map_err(|error| file_error(&path, error))?;
    file.persist(&path).map_err(|error| file_error(&path, error.error))?;
    Git::at(folder).args(["config", "--file", "config", "include.path", PASSED_ON]).run()?;
    Ok(())
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.with_extension("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| file_error(&path, error))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(file_error(&path, error)),
            Err(TryLockError::WouldBlock) if started.elapsed() > PATIENCE => {
                return Err(Error::Busy { path: folder.display().to_string(), seconds: PATIENCE.as_secs() });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Takes away the locks that a git left which was killed in here. Nobody else works in the mirror, except for a git whose
/// gitops-hooks was killed and which is at its end: it holds such a lock for a moment only.
fn free(folder: &Path) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        let held = locks(folder);
        if held.is_empty() {
            return Ok(());
        }
        if started.elapsed() > LEFT_BEHIND {
            for path in held {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_error(&path, error)),
                    _ => {}
                }
            }
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The lock files of a mirror: beside its own files, and among its references.
fn locks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned(), folder.join("refs")];
    while let Some(at) = waiting.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            if at != folder && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(path);
            } else if path.extension().is_some_and(|end| end == "lock") {
                found.push(path);
            }
        }
    }
    found
}

fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.display().to_string(), source }
}
