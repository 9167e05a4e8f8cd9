use super::{Error, Repository};
use crate::values::Oid;

/// Where a branch goes when it is pushed, and where this clone remembers what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The remote's name.
    pub remote: String,
    /// The branch there, in full: `refs/heads/main`.
    pub branch: String,
    /// The remote-tracking branch here: `refs/remotes/origin/main`.
    pub tracking: String,
}

impl Repository {
    /// The upstream of a branch: the one that is configured, else the branch of the same name on `origin` or on the only
    /// remote.
    #[must_use]
    pub fn upstream(&self, branch: &str) -> Option<Upstream> {
        let configured = self.config(&format!("branch.{branch}.remote")).filter(|remote| remote != ".");
        let remote = configured.or_else(|| self.default_remote())?;
        let merge = self.config(&format!("branch.{branch}.merge")).unwrap_or_else(|| format!("refs/heads/{branch}"));
        let short = merge.strip_prefix("refs/heads/")?;
        Some(Upstream { tracking: format!("refs/remotes/{remote}/{short}"), remote, branch: merge })
    }

    fn default_remote(&self) -> Option<String> {
        let repository = self.gix();
        let names = repository.remote_names();
        let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
        match names.iter().position(|name| name == "origin") {
            Some(at) => Some(names.swap_remove(at)),
            None if names.len() == 1 => names.pop(),
            None => None,
        }
    }

    /// The commit from which a new branch probably grew: the nearest that the remote has, as far as this clone knows.
    ///
    /// # Errors
    /// When git fails.
    pub fn base_on(&self, remote: &str, commit: &Oid) -> Result<Option<Oid>, Error> {
        let exclude = format!("--remotes={remote}");
        // All of them: a limit would call the oldest of very many new commits old.
        let args = ["rev-list", "--boundary", commit.as_str(), "--not", &exclude];
        let listed = self.git().args(args).run()?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        Ok(text.lines().find_map(|line| line.strip_prefix('-')).and_then(|id| id.parse().ok()))
    }

    /// The first line of a commit's message.
    #[must_use]
    pub fn subject(&self, commit: &Oid) -> Option<String> {
        let id = gix::ObjectId::from_hex(commit.as_str().as_bytes()).ok()?;
        let repository = self.gix();
        let found = repository.find_commit(id).ok()?;
        let message = found.message().ok()?;
        Some(message.title.to_string().trim().to_owned())
    }

    /// The address of a remote as git would use it, for people: without secrets.
    #[must_use]
    pub fn remote_url(&self, remote: &str) -> Option<crate::values::RemoteUrl> {
        self.config(&format!("remote.{remote}.url"))?.parse().ok()
    }
}
