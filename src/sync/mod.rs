//! The in-cluster loop that makes one namespace what one folder of a repository says: fetch, decode, plan, apply, health,
//! prune, report, one file each. It never deletes on doubt: whatever cannot be read or applied forbids pruning. It knows
//! nothing of hooks, checks or how images are built; `status` reads its report, `cluster` installs it.

mod apply;
mod cache;
mod checkout;
mod claims;
mod decode;
mod desired;
mod drift;
mod events;
mod fetch;
mod findings;
mod fingerprint;
mod health;
mod inventory;
mod kinds;
mod lease;
mod listing;
mod metrics;
mod nudges;
mod object;
mod owned;
mod pass;
mod plan;
mod pods;
mod preview;
mod prune;
mod rehearse;
mod report;
mod run;
mod settings;
mod store;
mod sweep;
mod to_json;
mod trust;
mod validate;
mod verify;
mod watch;
mod write;

pub use cache::Seen;
pub use checkout::{Checkout, Leaf, read as read_commit};
pub use claims::{Claims, claims, says as claimed};
pub use decode::{Decoded, File, decode};
pub use desired::{Desired, Outline};
pub(crate) use fingerprint::hex;
pub use health::{Health, assess};
pub use inventory::Inventory;
pub use kinds::{Kind, Kinds, Place, Reach, Resource, Scope, WRITABLE, places};
pub use lease::lease_name;
pub use listing::list;
pub use object::{Manifest, ObjectId, Origin, Problem};
pub use plan::{Wanted, resolve};
pub use preview::{Act, Foreseen, Preview, preview};
pub use rehearse::rehearse;
pub use report::{
    DeliveredImage, KEY, NUDGE, Note, Phase, Report, Workload, name, nudge, read, settings_name, suspend,
};
pub use run::{Times, run};
pub use settings::Settings;
pub use store::inventory_names;
pub use trust::establish;
pub use verify::commit as expect_signed;

use miette::Diagnostic;

/// The namespace of the sync itself: its key, its account, its inventory and its reports. Nothing is ever applied to it.
pub const NAMESPACE: &str = "gitops-hooks-system";

/// The name under which we own fields (server-side apply).
pub const FIELD_MANAGER: &str = "gitops-hooks";

/// The label that says which environment an object of an installation belongs to.
pub const ENVIRONMENT_LABEL: &str = "gitops-hooks.dev/environment";

/// What can go wrong on the way from the repository to the cluster.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// The settings make no sense.
    #[error("{file} is no sync configuration: {reason}")]
    #[diagnostic(code(config), help("`gitops-hooks cluster install ENVIRONMENT` writes it"))]
    Settings {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },

    /// A file of ours.
    #[error("cannot use {path}")]
    #[diagnostic(code(environment), help("see that the file is mounted and that the data folder can be written"))]
    File {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// The repository does not answer.
    #[error("the manifest repository {url} cannot be reached: {reason}")]
    #[diagnostic(
        code(environment),
        help("the cluster stays as it is; see that the pod may reach the host, and that the address is right")
    )]
    Unreachable {
        /// The repository, without secrets.
        url: String,
        /// What the transport says.
        reason: String,
    },

    /// The repository's server took the connection and fell silent.
    #[error("the manifest repository {url} did not answer within {seconds} seconds")]
    #[diagnostic(code(environment), help("the cluster stays as it is, and the sync starts again"))]
    Stuck {
        /// The repository, without secrets.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },

    /// The repository's server does not let us in.
    #[error("the manifest repository {url} refuses the sync's credentials: {reason}")]
    #[diagnostic(
        code(environment),
        help(
            "give the repository the deploy key, or a new token, and run `gitops-hooks cluster install ENVIRONMENT` again with it"
        )
    )]
    Credentials {
        /// The repository, without secrets.
        url: String,
        /// What the transport says.
        reason: String,
    },

    /// The SSH server is not the one that was known.
    #[error("the host key of {url} changed: it now shows {key}, which known_hosts does not have")]
    #[diagnostic(
        code(environment),
        help(
            "somebody may be in between. If the host's owner confirms the new key, run `gitops-hooks cluster install ENVIRONMENT --known-hosts FILE` with a file that has it"
        )
    )]
    HostKey {
        /// The repository, without secrets.
        url: String,
        /// The key that was shown.
        key: String,
    },

    /// There is nothing to know the SSH server by.
    #[error("nothing vouches for the host key of {url}: it shows {key}, and no known_hosts was given")]
    #[diagnostic(
        code(environment),
        help(
            "run `gitops-hooks cluster install ENVIRONMENT --known-hosts FILE`; `ssh-keyscan HOST` prints what to check and put into it"
        )
    )]
    NoKnownHosts {
        /// The repository, without secrets.
        url: String,
        /// The key that was shown.
        key: String,
    },

    /// The HTTPS server's certificate is not trusted.
    #[error("the certificate of {url} is not trusted: {reason}")]
    #[diagnostic(
        code(environment),
        help("if the host has an authority of its own, run `gitops-hooks cluster install ENVIRONMENT --ca FILE`")
    )]
    Certificate {
        /// The repository, without secrets.
        url: String,
        /// What TLS says.
        reason: String,
    },

    /// The repository has no such branch.
    #[error("{url} has no branch {branch}")]
    #[diagnostic(code(config), help("push the branch, or name another in the environment's `manifests`"))]
    NoBranch {
        /// The repository, without secrets.
        url: String,
        /// The branch.
        branch: String,
    },

    /// The commit does not have the folder.
    #[error("commit {commit} has no folder {path}")]
    #[diagnostic(
        code(config),
        help("nothing was changed or deleted; commit the folder, or name another in the environment's `manifests`")
    )]
    NoPath {
        /// The folder.
        path: String,
        /// The commit.
        commit: String,
    },

    /// The commit is not signed by one of the given keys.
    #[error("commit {commit} is not applied: {reason}")]
    #[diagnostic(
        code(config),
        help(
            "the cluster stays at the last commit that was signed; sign with `git commit -S` and `gpg.format=ssh`, or give the sync the signer's key with `gitops-hooks cluster install ENVIRONMENT --verify FILE`"
        )
    )]
    Unsigned {
        /// The commit.
        commit: String,
        /// What is wrong with its signature.
        reason: String,
    },

    /// The repository sends more than we take.
    #[error("{url} sent more than {bytes} bytes")]
    #[diagnostic(code(environment), help("manifests are small; keep large files out of their repository"))]
    TooLarge {
        /// The repository, without secrets.
        url: String,
        /// The bound.
        bytes: usize,
    },

    /// Our own copy of the repository.
    #[error("the copy of the manifest repository cannot be read: {reason}")]
    #[diagnostic(code(environment), help("it is made anew when the data folder is emptied"))]
    Repository {
        /// What libgit2 says.
        reason: String,
    },

    /// The API server did not do what was asked.
    #[error("the cluster failed at {doing}: {reason}")]
    #[diagnostic(
        code(environment),
        help("see that the cluster answers (`kubectl get nodes`) and lets this account do it")
    )]
    Cluster {
        /// What was asked, as `reading the report`.
        doing: String,
        /// What it says.
        reason: String,
    },

    /// The namespace that keeps inventory and report is not there.
    #[error("the cluster has no namespace {NAMESPACE}, which keeps the sync's inventory and report")]
    #[diagnostic(code(environment), help("make it with `gitops-hooks cluster install ENVIRONMENT`"))]
    NotInstalled,

    /// The environment's namespace is not there.
    #[error("the cluster has no namespace {namespace}")]
    #[diagnostic(
        code(environment),
        help(
            "nothing was changed; make it with `kubectl create namespace {namespace}`, or name another in the environment"
        )
    )]
    NoNamespace {
        /// The namespace.
        namespace: String,
    },

    /// What we kept in the cluster cannot be read.
    #[error("the ConfigMap {name} cannot be read: {reason}")]
    #[diagnostic(
        code(environment),
        help("nothing is pruned without it; if a newer gitops-hooks wrote it, use that one, else delete it")
    )]
    Stored {
        /// The `ConfigMap`.
        name: String,
        /// Why.
        reason: String,
    },

    /// `--once` ended and not all is well.
    #[error("{environment} is not what the repository says:{notes}")]
    #[diagnostic(code(check), help("mend the manifests and commit; nothing was pruned"))]
    NotHealthy {
        /// The environment.
        environment: String,
        /// What is not well, a line each.
        notes: String,
    },
}

impl Error {
    /// An error of the API server while doing something.
    pub(crate) fn cluster(doing: &str, error: kube::Error) -> Self {
        let reason = match error {
            kube::Error::Api(status) => status.message,
            other => chain(&other),
        };
        Self::Cluster { doing: doing.to_owned(), reason }
    }
}

/// An error with its causes in one line: "service error" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}
