use super::{EntryKind, Error, Git, TreeEntry};
use crate::values::Oid;
use gix::bstr::{BStr, ByteSlice};
use std::path::{Path, PathBuf};

/// A repository as one of its work trees sees it. Cheap to clone, and may be used from several threads.
#[derive(Clone)]
pub struct Repository {
    inner: gix::ThreadSafeRepository,
    git_dir: PathBuf,
    common_dir: PathBuf,
    work_dir: Option<PathBuf>,
    pub(super) index: Option<PathBuf>,
}

impl Repository {
    /// The repository of the process: that of a running hook (`GIT_DIR`), else the one around the current folder.
    ///
    /// # Errors
    /// [`Error::NoRepository`], or a repository that cannot be read.
    pub fn discover() -> Result<Self, Error> {
        let here = std::env::current_dir().map_err(|source| Error::File { path: ".".into(), source })?;
        let mut found = Self::wrap(gix::discover_with_environment_overrides(&here), &here)?;
        // git asks for it, too, unless the repository is named by hand; within a hook it has done so already.
        let gix = found.gix();
        if gix.git_dir_trust() == gix::sec::Trust::Reduced && std::env::var_os("GIT_DIR").is_none() {
            let path = found.work_dir.as_ref().unwrap_or(&found.git_dir);
            return Err(Error::NotYours { path: path.display().to_string() });
        }
        // Whoever names the folder of git alone stands at the top of the work tree (git(1), --git-dir).
        let bare = gix.config_snapshot().boolean("core.bare").unwrap_or_default();
        if found.work_dir.is_none() && std::env::var_os("GIT_DIR").is_some() && !bare {
            found.work_dir = Some(here.clone());
        }
        // git gives the path from the folder that it calls the hook in.
        Ok(match std::env::var_os("GIT_INDEX_FILE") {
            Some(index) => found.with_index(here.join(index)),
            None => found,
        })
    }

    /// The repository at a folder: a work tree, a `.git` folder or a bare one.
    ///
    /// # Errors
    /// [`Error::NoRepository`], or a repository that cannot be read.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let mut options = gix::open::Options::default();
        if std::env::var_os("GIT_WORK_TREE").is_some() {
            // It is meant for the repository of the running command, not for a mirror or a scratch tree.
            options.permissions.env.git_prefix = gix::sec::Permission::Deny;
        }
        Self::wrap(gix::open_opts(folder, options), folder)
    }

    fn wrap<E>(opened: Result<gix::Repository, E>, folder: &Path) -> Result<Self, Error>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let absent = || Error::NoRepository { path: folder.display().to_string() };
        let inner = opened.map_err(|_| absent())?;
        let absolute = |path: &Path| {
            path.canonicalize().map_err(|source| Error::File { path: path.display().to_string(), source })
        };
        let git_dir = absolute(inner.git_dir())?;
        let common_dir = absolute(inner.common_dir())?;
        let work_dir = inner.workdir().map(absolute).transpose()?;
        Ok(Self { inner: inner.into_sync(), git_dir, common_dir, work_dir, index: None })
    }

    /// gix's own view, for this room's other files.
    pub(super) fn gix(&self) -> gix::Repository {
        self.inner.to_thread_local()
    }

    /// The `.git` folder of this work tree.
    #[must_use]
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The `.git` folder that all linked work trees share.
    #[must_use]
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The work tree; `None` for a bare repository.
    #[must_use]
    pub fn work_dir(&self) -> Option<&Path> {
        self.work_dir.as_deref()
    }

    /// Where gitops-hooks keeps what belongs to this clone: records, outbox, mirrors, logs.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.common_dir.join("gitops-hooks")
    }

    /// A call of git in this repository, from the root of its work tree where it has one.
    #[must_use]
    pub fn git(&self) -> Git {
        match &self.work_dir {
            Some(work_dir) => Git::at(work_dir).env("GIT_DIR", &self.git_dir).env("GIT_WORK_TREE", work_dir),
            None => Git::on(&self.git_dir),
        }
    }

    /// Whether the history was cut off by a shallow clone.
    #[must_use]
    pub fn is_shallow(&self) -> bool {
        self.common_dir.join("shallow").exists()
    }

    /// The commit that a revision names, with tags peeled; `None` where there is none.
    #[must_use]
    pub fn commit(&self, revision: &str) -> Option<Oid> {
        let repository = self.gix();
        let id = repository.rev_parse_single(BStr::new(revision)).ok()?;
        let commit = id.object().ok()?.peel_to_kind(gix::object::Kind::Commit).ok()?;
        commit.id.to_string().parse().ok()
    }

    /// Whether this commit is here.
    #[must_use]
    pub fn has_commit(&self, commit: &Oid) -> bool {
        gix::ObjectId::from_hex(commit.as_str().as_bytes())
            .is_ok_and(|id| self.gix().find_header(id).is_ok_and(|header| header.kind() == gix::object::Kind::Commit))
    }

    /// The tree of a commit.
    ///
    /// # Errors
    /// When the commit cannot be read.
    pub fn tree_of(&self, commit: &Oid) -> Result<Oid, Error> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("commit {commit}"), error);
        let repository = self.gix();
        let id = gix::ObjectId::from_hex(commit.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let found = repository.find_commit(id).map_err(|error| failed(error.into()))?;
        let tree = found.tree_id().map_err(|error| failed(error.into()))?;
        tree.to_string().parse().map_err(|error: crate::values::Invalid| failed(error.into()))
    }

    /// Every path of a tree (or of a commit's tree) that is no tree, in git's order.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn entries(&self, treeish: &Oid) -> Result<Vec<TreeEntry>, Error> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("tree {treeish}"), error);
        let repository = self.gix();
        let id = gix::ObjectId::from_hex(treeish.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let object = repository.find_object(id).map_err(|error| failed(error.into()))?;
        let tree = object.peel_to_tree().map_err(|error| failed(error.into()))?;
        let mut recorder = gix::traverse::tree::Recorder::default();
        tree.traverse().depthfirst(&mut recorder).map_err(|error| failed(error.into()))?;
        let entries = recorder.records.into_iter().filter_map(|entry| {
            let kind = EntryKind::of(entry.mode)?;
            Some((entry.filepath, kind, entry.oid))
        });
        entries
            .map(|(path, kind, oid)| {
                let oid = oid.to_string().parse().map_err(|error: crate::values::Invalid| failed(error.into()))?;
                Ok(TreeEntry { path, kind, oid })
            })
            .collect()
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// When the blob is not here.
    pub fn blob(&self, oid: &Oid) -> Result<Vec<u8>, Error> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("blob {oid}"), error);
        let id = gix::ObjectId::from_hex(oid.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let repository = self.gix();
        let mut object = repository.find_object(id).map_err(|error| failed(error.into()))?;
        Ok(std::mem::take(&mut object.data))
    }

    /// The bytes of a file in a tree (or in a commit's tree); `None` where the tree has no such file.
    ///
    /// # Errors
    /// When the tree or the file cannot be read.
    pub fn file(&self, treeish: &Oid, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let failed =
            |error: Box<dyn std::error::Error + Send + Sync>| Error::read(format!("{path} in {treeish}"), error);
        let repository = self.gix();
        let id = gix::ObjectId::from_hex(treeish.as_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let object = repository.find_object(id).map_err(|error| failed(error.into()))?;
        let tree = object.peel_to_tree().map_err(|error| failed(error.into()))?;
        let Some(entry) = tree.lookup_entry_by_path(path).map_err(|error| failed(error.into()))? else {
            return Ok(None);
        };
        if !entry.mode().is_blob() {
            return Ok(None);
        }
        let mut blob = entry.object().map_err(|error| failed(error.into()))?;
        Ok(Some(std::mem::take(&mut blob.data)))
    }

    /// A value of the configuration, as git resolves it.
    #[must_use]
    pub fn config(&self, key: &str) -> Option<String> {
        let repository = self.gix();
        let value = repository.config_snapshot().string(key)?;
        Some(value.to_str_lossy().into_owned())
    }

    /// The object a reference points at, unpeeled; `None` where there is no such reference.
    #[must_use]
    pub fn reference(&self, full_name: &str) -> Option<Oid> {
        let repository = self.gix();
        let reference = repository.try_find_reference(full_name).ok()??;
        reference.into_fully_peeled_id().ok()?.to_string().parse().ok()
    }

    /// Who commits here, as git writes it: `Ada <ada@example.com>`.
    ///
    /// # Errors
    /// [`Error::Identity`].
    pub fn committer(&self) -> Result<String, Error> {
        match self.git().args(["var", "GIT_COMMITTER_IDENT"]).run() {
            // The time follows (git-var(1)).
            Ok(output) => {
                let line = output.line();
                Ok(line.rfind('>').map_or(line.as_str(), |end| &line[..=end]).to_owned())
            }
            Err(Error::Failed { message, .. }) => {
                Err(Error::Identity(message.lines().last().unwrap_or_default().to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// The commits that `to` has and `from` does not have, without `to` itself: the newest, at most `limit` of them.
    ///
    /// # Errors
    /// When git fails.
    pub fn between(&self, from: &Oid, to: &Oid, limit: usize) -> Result<Vec<Oid>, Error> {
        let (count, not) = (format!("--max-count={limit}"), format!("^{from}"));
        let output = self.git().args(["rev-list", "--skip=1", "--topo-order", &count, to.as_str(), &not]).run()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// How many commits `to` has that `from` does not have, counted up to `limit`.
    ///
    /// # Errors
    /// When git fails.
    pub fn distance(&self, from: &Oid, to: &Oid, limit: usize) -> Result<usize, Error> {
        let (count, not) = (format!("--max-count={limit}"), format!("^{from}"));
        let output = self.git().args(["rev-list", "--count", &count, to.as_str(), &not]).run()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0))
    }

    /// Every value of a key in this clone's own configuration: never what a global or system file says, or one that is
    /// included.
    #[must_use]
    pub fn local_values(&self, key: &str) -> Vec<String> {
        let repository = self.gix();
        let config = repository.config_snapshot();
        let own = |meta: &gix::config::file::Metadata| meta.source == gix::config::Source::Local && meta.level == 0;
        let values = config.plumbing().strings_filter(key, own).unwrap_or_default();
        values.iter().map(|value| value.to_str_lossy().into_owned()).collect()
    }

    /// Every value that git's files give a key, with the file; the last one counts (git-config(1), `--show-scope`).
    ///
    /// # Errors
    /// When git fails.
    pub fn settings(&self, key: &str) -> Result<Vec<Setting>, Error> {
        let show = ["config", "--null", "--show-scope", "--show-origin", "--get-all", key];
        let bytes = match self.git().args(show).run() {
            Ok(output) => output.stdout,
            Err(Error::Failed { message, .. }) if message == "exit code 1" => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        let words: Vec<&str> = text.split_terminator('\0').collect();
        let settings = words.chunks_exact(3).map(|word| Setting {
            scope: word[0].to_owned(),
            file: word[1].strip_prefix("file:").unwrap_or(word[1]).to_owned(),
            value: word[2].to_owned(),
        });
        // What this program itself sets for its calls of git is nobody's setting.
        Ok(settings.filter(|setting| setting.scope != "command").collect())
    }

    /// How many files of the work tree are not as `HEAD` has them; none where there is no work tree.
    ///
    /// # Errors
    /// When git fails.
    pub fn edited(&self) -> Result<usize, Error> {
        if self.work_dir().is_none() {
            return Ok(0);
        }
        let listed = self.git().args(["status", "--porcelain=v1", "-z", "--no-renames"]).run()?;
        Ok(listed.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty()).count())
    }

    /// Whether the index has a path.
    ///
    /// # Errors
    /// When git fails.
    pub fn is_tracked(&self, path: &str) -> Result<bool, Error> {
        let listed = self.git().args(["ls-files", "-z", "--", path]).run()?;
        Ok(!listed.stdout.is_empty())
    }
}

/// A value of the configuration and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `system`, `global`, `local` or `worktree`.
    pub scope: String,
    /// The file that it stands in.
    pub file: String,
    /// The value as it stands there.
    pub value: String,
}
