//! What can go wrong with a delivery, in words that say what to do.

use crate::{
    git, manifest,
    values::{EnvironmentName, ImageName, Oid},
    yaml::Position,
};
use miette::Diagnostic;
use std::path::Path;

use super::{ResolveError, render};

/// What can go wrong with a delivery. Whatever it is, the outbox keeps the note.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// git or a remote.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Git(#[from] git::Error),

    /// A manifest that cannot be edited safely.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Manifest(#[from] manifest::Refusal),

    /// An overlay or a chart that cannot be rendered.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Render(#[from] render::Error),

    /// The images of the commit could not be had.
    #[error("{0}")]
    #[diagnostic(transparent)]
    Images(ResolveError),

    /// No manifest names an image.
    #[error("no manifest under {place} names {repository}{hint}")]
    #[diagnostic(
        code(config),
        help(
            "write `image: {repository}:TAG` into a manifest of {environment}, list the file under `values` if it holds a chart's values, or mark where it stands with `# gitops-hooks: {image}`"
        )
    )]
    Nowhere {
        /// The environment.
        environment: EnvironmentName,
        /// The image.
        image: ImageName,
        /// What was looked for.
        repository: String,
        /// Where it was looked for: path and repository, for people.
        place: String,
        /// What stands there instead, where that may be the reason.
        hint: String,
    },

    /// The environment's path is not a folder.
    #[error("{path} {what} on the branch {branch} of {url}")]
    #[diagnostic(code(config), help("push the manifests there, or correct `path` in .gitops-hooks.yaml"))]
    NoFolder {
        /// The path.
        path: String,
        /// `is not there` or `is no folder`.
        what: &'static str,
        /// The branch.
        branch: String,
        /// The manifest repository, for people.
        url: String,
    },

    /// A state file that this program would not have written.
    #[error("{path}:{position}: this state file cannot be trusted: {why}")]
    #[diagnostic(
        code(config),
        help(
            "restore it in the manifest repository: `git log -- {path}` shows the last delivery, `git checkout COMMIT -- {path}` brings it back"
        )
    )]
    State {
        /// The file.
        path: String,
        /// Where.
        position: Position,
        /// What is wrong.
        why: String,
    },

    /// Something else where the state belongs.
    #[error("{path} is no {what} of its own, and the state belongs there")]
    #[diagnostic(
        code(config),
        help(
            "take that link, file or folder out of the manifest repository and push; the next delivery writes the state"
        )
    )]
    NoState {
        /// Where.
        path: String,
        /// What should be there.
        what: &'static str,
    },

    /// The environment runs a commit of another branch, and the one to deliver does not follow it.
    #[error("{environment} runs {} of the branch {running_branch}, which {branch} does not have", running.short())]
    #[diagnostic(
        code(config),
        help(
            "pull first, in case the configuration here is an old one; if the environment follows {branch} now: `gitops-hooks deliver {environment} --switch-branch`"
        )
    )]
    OtherBranch {
        /// The environment.
        environment: EnvironmentName,
        /// What it runs.
        running: Oid,
        /// The branch that it came from.
        running_branch: String,
        /// The branch that it should follow.
        branch: String,
    },

    /// What was to be delivered is not on the branch any more.
    #[error("the branch {branch} of {remote} does not have {} any more", tip.short())]
    #[diagnostic(
        code(environment),
        help("`git fetch {remote}` shows what it has now; `gitops-hooks deliver` delivers that")
    )]
    NotOnBranch {
        /// The commit.
        tip: Oid,
        /// The branch.
        branch: String,
        /// The remote.
        remote: String,
    },

    /// What was built does not include an image that the environment runs.
    #[error("{image} has no digest for {commit}")]
    #[diagnostic(code(environment), help("build and publish it: `gitops-hooks run pre-push`"))]
    NotBuilt {
        /// The image.
        image: ImageName,
        /// The source commit.
        commit: String,
    },

    /// A cut history that cannot tell older from newer.
    #[error("{environment} runs {running}, and this shallow clone cannot tell whether that is older or newer")]
    #[diagnostic(code(environment), help("`git fetch --unshallow`, then `gitops-hooks deliver`"))]
    Shallow {
        /// The environment.
        environment: EnvironmentName,
        /// What it runs.
        running: Oid,
    },

    /// A source branch that no remote has.
    #[error("the branch {branch} has no upstream here")]
    #[diagnostic(code(config), help("push it once with `git push -u origin {branch}`"))]
    NoUpstream {
        /// The branch.
        branch: String,
    },

    /// The manifest repository does not want the commit.
    #[error("{url} refused the delivery on {branch}: {message}")]
    #[diagnostic(
        code(environment),
        help("what it says above comes from the server; once that is mended, run `gitops-hooks deliver`")
    )]
    Refused {
        /// The manifest repository, for people.
        url: String,
        /// The branch.
        branch: String,
        /// What the server said.
        message: String,
    },

    /// A branch by whose name git keeps a folder of branches, or the other way round.
    #[error(
        "{url} has a branch {there}, beside which git can have no branch {branch}, where the delivery waits for review"
    )]
    #[diagnostic(code(config), help("rename or delete {there} there; then run `gitops-hooks deliver`"))]
    BranchInTheWay {
        /// The manifest repository, for people.
        url: String,
        /// The branch of the review.
        branch: String,
        /// The one that is in the way.
        there: String,
    },

    /// Neither the branch nor a branch to review is to be had.
    #[error(
        "{branch} and {main} of {url} have both changed {paths}, so the delivery for review cannot be brought up to date"
    )]
    #[diagnostic(
        code(config),
        help(
            "merge the one into the other by hand, or close the review and delete {branch}; then run `gitops-hooks deliver`"
        )
    )]
    ReviewConflict {
        /// The manifest repository, for people.
        url: String,
        /// The branch of the review.
        branch: String,
        /// The branch that it is for.
        main: String,
        /// The files.
        paths: String,
    },

    /// A cluster that follows other manifests.
    #[error("the cluster of {environment} runs {}, which {branch} of {url} does not have", commit.short())]
    #[diagnostic(
        code(environment),
        help(
            "see that KUBECONFIG leads to the cluster of {environment}; or promote what was delivered with --unverified"
        )
    )]
    OtherManifests {
        /// The environment.
        environment: EnvironmentName,
        /// What its cluster runs.
        commit: Oid,
        /// The branch of the manifests.
        branch: String,
        /// The manifest repository, for people.
        url: String,
    },

    /// Manifests that somebody edited since what they run was delivered.
    #[error("{place}: {environment} runs {says} there, which was not delivered")]
    #[diagnostic(
        code(check),
        help("deliver to {environment} first, so that what runs there is what was built; or use --unverified")
    )]
    Edited {
        /// The environment.
        environment: EnvironmentName,
        /// File, line and column.
        place: String,
        /// What stands there.
        says: String,
    },

    /// A rollback to what never ran here.
    #[error("{environment} never ran {wanted}{hint}")]
    #[diagnostic(code(usage), help("`gitops-hooks history {environment}` shows what ran there"))]
    NeverRan {
        /// The environment.
        environment: EnvironmentName,
        /// What was asked for.
        wanted: String,
        /// What is known beside it.
        hint: String,
    },

    /// Others were faster every time.
    #[error("{url} moved {tries} times while we pushed to {branch} ({reason})")]
    #[diagnostic(code(environment), help("nothing is lost: run `gitops-hooks deliver` once it is quieter there"))]
    Overtaken {
        /// The manifest repository, for people.
        url: String,
        /// The branch.
        branch: String,
        /// How often we tried.
        tries: u32,
        /// What the server said last.
        reason: String,
    },

    /// A commit that would have changed more than it should. A mistake of this program.
    #[error("the delivery would have changed more than the image fields: {}", paths.join(", "))]
    #[diagnostic(code(environment), help("nothing was pushed; please report this with the manifest"))]
    Unproven {
        /// What differs.
        paths: Vec<String>,
    },

    /// A file of ours in the clone.
    #[error("cannot use {path}")]
    #[diagnostic(code(environment))]
    File {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(super) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }

    /// The same for another environment of the repository.
    pub(super) fn for_another(&self) -> Self {
        match self {
            Self::Git(error) => Self::Git(error.for_another()),
            other => Self::Git(git::Error::Failed { command: "deliver".to_owned(), message: other.to_string() }),
        }
    }

    /// Whether the checks of what was to be delivered failed.
    pub(super) fn is_of_checks(&self) -> bool {
        matches!(self, Self::Images(error) if error.code().is_some_and(|code| code.to_string() == "check"))
    }

    /// The error and its causes on one line, for the outbox.
    pub(super) fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
