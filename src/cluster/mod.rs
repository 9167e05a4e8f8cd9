//! The laptop's side of the cluster: put the sync there, take it away, look at what stands there already. A room apart from
//! `sync`, because it runs where the kubeconfig, the registry and the files with the keys are, and the pod has none of
//! these. What it applies is in `templates/cluster/`.

mod adopt;
mod ask;
mod binary;
mod credentials;
mod foresee;
mod guests;
mod install;
mod objects;
mod ours;
mod run_now;
mod secrets;
mod uninstall;

pub use adopt::{Existing, Standing, adopt, existing};
pub use ask::ask;
pub use binary::{Platform, check_static};
pub use credentials::{Credentials, Files, public_keys};
pub use foresee::{fetched, foresee};
pub use guests::{guests, host, seat};
pub use install::{USUAL_PORTS, api_ports, apply, expect_namespace, expect_same, settings, settle, wait};
pub use objects::{ImagePull, Installation, objects};
pub use ours::{our_report, our_settings, usual_settings};
pub use run_now::run_now;
pub use secrets::{expect_pull_secret, has_pull_secret, held_credentials, named_pull_secret, remove_pull_secret};
pub use uninstall::{Removed, remove_old, uninstall};

use crate::{sync::NAMESPACE, values::EnvironmentName};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use miette::Diagnostic;
use std::time::Duration;

/// The label of everything that an installation made, with the environment's name.
pub const ENVIRONMENT_LABEL: &str = crate::sync::ENVIRONMENT_LABEL;
/// The label with the namespace that the environment runs in.
pub const NAMESPACE_LABEL: &str = "gitops-hooks.dev/namespace";
/// The name under which an installation owns fields.
const FIELD_MANAGER: &str = "gitops-hooks-install";

/// What can go wrong with an installation.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// No cluster answers.
    #[error("no cluster answers{context}: {reason}")]
    #[diagnostic(
        code(environment),
        help("see that `kubectl get nodes` works; KUBECONFIG or --context says which cluster is meant")
    )]
    NoCluster {
        /// ` in context NAME`, where one was asked for.
        context: String,
        /// Why.
        reason: String,
    },

    /// The API server did not do what was asked.
    #[error("the cluster failed at {doing}: {reason}")]
    #[diagnostic(
        code(environment),
        help("an installation needs an account that may make namespaces, roles and role bindings")
    )]
    Refused {
        /// What was asked, as a participle.
        doing: String,
        /// What it says.
        reason: String,
    },

    /// A file that was named.
    #[error("cannot read {path}")]
    #[diagnostic(code(usage), help("name a file that is there"))]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// Options that do not fit together.
    #[error("{message}")]
    #[diagnostic(code(usage), help("{help}"))]
    Usage {
        /// What does not fit.
        message: String,
        /// What would.
        help: String,
    },

    /// The running program cannot be put into an image.
    #[error("this program cannot run in an image of its own: {reason}")]
    #[diagnostic(code(usage), help("name an image that holds a static gitops-hooks for Linux with --image REFERENCE"))]
    NotStatic {
        /// Why.
        reason: String,
    },

    /// Another installation has this environment's name.
    #[error("the cluster has a sync called {environment} already, which applies {there}; this one would apply {here}")]
    #[diagnostic(
        code(usage),
        help(
            "give the environment another name; or, if that sync is not needed any more, install with --replace: what it applied stays, and nobody prunes it"
        )
    )]
    Taken {
        /// The environment.
        environment: String,
        /// What that one applies.
        there: String,
        /// What this one would apply.
        here: String,
    },

    /// Another environment's sync owns what this one would apply.
    #[error("the sync of {other} owns {object}, which {environment} has too{more}")]
    #[diagnostic(
        code(usage),
        help(
            "nothing was installed: give {environment} a `namespace` of its own in the configuration, or keep each object in one of the two environments; `gitops-hooks cluster uninstall {other}` lets go of all that {other} owns"
        )
    )]
    Claimed {
        /// The environment that was to be installed.
        environment: EnvironmentName,
        /// The first such object, as `Kind namespace/name`.
        object: String,
        /// The environment that owns it.
        other: EnvironmentName,
        /// `, and N more`, where there are more.
        more: String,
    },

    /// The pod does not come up.
    #[error("the sync does not run: {reason}")]
    #[diagnostic(
        code(environment),
        help(
            "look at it with `kubectl -n gitops-hooks-system describe pod -l gitops-hooks.dev/environment={environment}` and `kubectl -n gitops-hooks-system logs deployment/sync-{environment}`"
        )
    )]
    NotRunning {
        /// The environment.
        environment: String,
        /// What its pod says.
        reason: String,
    },

    /// The image pull secret that the user named.
    #[error("{NAMESPACE} has no image pull secret {name}{found}")]
    #[diagnostic(
        code(usage),
        help(
            "make it with `kubectl -n {NAMESPACE} create secret generic {name} --type kubernetes.io/dockerconfigjson --from-file .dockerconfigjson=FILE`, where FILE is a config.json of docker's for that registry"
        )
    )]
    NoPullSecret {
        /// Its name.
        name: String,
        /// `, but a Secret of another type`, where there is one.
        found: String,
    },

    /// A template of ours; only a broken build has one.
    #[error("the template {name} cannot be read: {reason}")]
    #[diagnostic(code(environment), help("this build of gitops-hooks is broken; install another"))]
    Template {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },

    /// What the sync room says.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Sync(#[from] crate::sync::Error),

    /// What git says.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Git(#[from] crate::git::Error),
}

impl Error {
    fn refused(doing: &str, error: kube::Error) -> Self {
        match crate::sync::Error::cluster(doing, error) {
            crate::sync::Error::Cluster { doing, reason } => Self::Refused { doing, reason },
            other => Self::Sync(other),
        }
    }

    fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: help.into() }
    }
}

/// The longest time that a cluster may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(15);

/// The cluster of a context of the kubeconfig; without one the current context, and in a pod the pod's own cluster.
///
/// # Errors
/// [`Error::NoCluster`], when there is no configuration or nobody answers.
pub async fn connect(context: Option<&str>) -> Result<Client, Error> {
    let (client, server) = client(context).await?;
    answers(&client, &server, PATIENCE).await.map_err(|reason| no_cluster(context, reason))?;
    Ok(client)
}

/// A client of the same cluster, which may answer later, and its address.
///
/// # Errors
/// [`Error::NoCluster`], when there is no configuration.
pub async fn client(context: Option<&str>) -> Result<(Client, String), Error> {
    crate::tls::choose_provider();
    let none = |reason: String| no_cluster(context, reason);
    let config = match context {
        Some(name) => {
            let options = KubeConfigOptions { context: Some(name.to_owned()), ..KubeConfigOptions::default() };
            let file = Kubeconfig::read().map_err(|error| none(error.to_string()))?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| none(error.to_string()))?
        }
        None => infer().await.map_err(none)?,
    };
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| none(error.to_string()))?;
    Ok((client, server))
}

/// The configuration of the kubeconfig's current context, else of the pod; what is wrong, where there is none of either.
async fn infer() -> Result<Config, String> {
    // Its source is what is wrong with the kubeconfig; that this is no pod either, nobody on a laptop wants to know.
    Config::infer().await.map_err(|error| {
        let kubeconfig = std::error::Error::source(&error).map(ToString::to_string);
        kubeconfig.unwrap_or_else(|| error.to_string())
    })
}

fn no_cluster(context: Option<&str>, reason: String) -> Error {
    Error::NoCluster { context: context.map(|name| format!(" in context {name}")).unwrap_or_default(), reason }
}

/// Whether the API server says its version; if not, why.
async fn answers(client: &Client, server: &str, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            let reason = match crate::sync::Error::cluster("", error) {
                crate::sync::Error::Cluster { reason, .. } => reason,
                other => other.to_string(),
            };
            Err(format!("{server} {reason}"))
        }
        Err(_) => Err(format!("{server} is silent for {} seconds", limit.as_secs())),
    }
}
