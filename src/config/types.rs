//! What the configuration says, key by key. The documentation of a key here is its documentation in the JSON schema.

use super::{
    Step,
    decode::{Located, object},
};
use crate::values::{
    EnvironmentName, Globs, HookName, HttpStatus, ImageName, Namespace, Platform, RelativePath, RemoteUrl, Repository,
    Span, Version,
};
use std::{collections::BTreeMap, num::NonZeroU16};

object! {
    /// The configuration of gitops-hooks: hooks, then images, then environments.
    Config, "the configuration" {
        /// The oldest version of this program that understands this file; an older one asks to be replaced.
        min_version: Option<Version>,
        /// Files of this repository that are read first: what stands here is laid over them.
        extends: Vec<RelativePath>,
        /// For each of git's client-side hooks, the steps that it runs.
        hooks: BTreeMap<HookName, Vec<Step>>,
        /// The container images of this repository.
        images: BTreeMap<ImageName, Image>,
        /// The places that run images.
        environments: BTreeMap<EnvironmentName, Environment>,
        /// How a scratch tree gets what git does not track.
        scratch: Scratch = Scratch { link: borrowed(), setup: None },
    }
}

object! {
    /// A container image, built from the tree of a commit.
    Image, "an image" {
        /// Where it is pushed to, without a tag.
        repository: Located<Repository>,
        /// Whether its registry is spoken to without TLS. Registries on loopback always are.
        plain_http: bool = false,
        /// The folder that the build may see.
        context: Located<RelativePath> = Located::unwritten(RelativePath::root()),
        /// The Dockerfile, from the root of the repository.
        dockerfile: Option<Located<RelativePath>>,
        /// The stage to build; the last one without it.
        target: Option<String>,
        /// A command that makes what the build needs and git does not have. It sees the commit's files alone.
        before: Option<String>,
        /// What `before` makes for the build, as paths from the root of the repository. Its content counts as if it were
        /// committed.
        artifacts: Vec<RelativePath>,
        /// How long `before` may take.
        timeout: Span = Span::seconds(1800),
        /// Build arguments. They are no place for secrets: they stay in the image.
        args: BTreeMap<String, String>,
        /// Secrets for `RUN --mount=type=secret,id=NAME`. They are read when a step asks for one, and stay in no layer.
        secrets: BTreeMap<String, Secret>,
        /// Whether `RUN --mount=type=ssh` may use your SSH agent.
        ssh: bool = false,
        /// What the cluster's nodes are, such as linux/amd64; several with commas between.
        platform: Platform = Platform::usual(),
        /// A trial run of the image before it is published.
        smoke: Option<Smoke>,
    }
}

object! {
    /// Where a secret comes from: one of these.
    Secret, "a secret" at place {
        /// A file: below your home folder with `~/`, else below the root of the repository.
        file: Option<String>,
        /// An environment variable.
        env: Option<String>,
        /// A command for the shell that prints it.
        run: Option<String>,
    }
}

object! {
    /// A trial run: the image is started, and right once everything said here is so. Where it has a HEALTHCHECK of its own,
    /// that must say healthy too.
    Smoke, "a smoke run" {
        /// The port that it listens on inside the container.
        port: Option<NonZeroU16>,
        /// The path to ask for.
        path: String = "/".to_owned(),
        /// The HTTP status that is right.
        expect: HttpStatus = HttpStatus::OK,
        /// Text that the answer must have in it.
        body: Option<String>,
        /// A command for the container's shell that must end with 0; it is tried again until `timeout`.
        run: Option<String>,
        /// How long it may take to be right. An answer of 5xx is asked for again until then; another wrong one has ten seconds
        /// to become right, or half of this where that is less.
        timeout: Span = Span::seconds(60),
        /// Environment variables for the container.
        env: BTreeMap<String, String>,
        /// Folders of the container that are in memory, for what it writes.
        tmpfs: Vec<String>,
        /// Whether it may reach other machines.
        internet: bool = false,
    }
}

object! {
    /// A place that runs images: a path in a manifest repository.
    Environment, "an environment" at place {
        /// The branch of this repository that is delivered: what its upstream has runs here.
        branch: Option<Located<String>>,
        /// In place of a branch, the environment before this one: what runs healthy there runs here once somebody says
        /// `gitops-hooks promote`.
        promote: Option<Located<EnvironmentName>>,
        /// Where its manifests are.
        manifests: Manifests,
        /// The images whose references are delivered.
        images: Vec<Located<ImageName>>,
        /// Whether a delivery goes onto a branch of its own, to be reviewed and merged, and not straight onto the branch.
        review: bool = false,
        /// The namespace of the cluster that runs it.
        namespace: Namespace = Namespace::usual(),
    }
}

object! {
    /// A path on a branch of a manifest repository.
    Manifests, "manifests" {
        /// The address of the repository, as `git clone` takes it.
        url: Located<RemoteUrl>,
        /// The branch that the cluster follows.
        branch: Located<String> = Located::unwritten("main".to_owned()),
        /// The folder that holds the environment's manifests.
        path: Located<RelativePath> = Located::unwritten(RelativePath::root()),
        /// Files in the folder that hold the values of a Helm chart: image references are looked for in them as charts write
        /// them, and `render` hands them to `helm template` in this order.
        values: Vec<Located<RelativePath>>,
        /// Whether the folder is a kustomization or a chart: each delivery then also commits what the machine's own
        /// `kustomize build` or `helm template` makes of it, and the cluster runs that.
        render: bool = false,
        /// The chart that is rendered, from the root of the manifest repository; without it, the folder itself.
        chart: Option<Located<RelativePath>>,
        /// The name of the release that a chart is rendered for; without it, the environment's.
        release: Option<Located<String>>,
    }
}

object! {
    /// How a scratch tree gets what git does not track.
    Scratch, "scratch" {
        /// Ignored folders of the work tree that a scratch tree borrows: `.venv` and `node_modules` where nothing else is
        /// written.
        link: Vec<RelativePath> = borrowed(),
        /// A command that makes what is missing, run again only when its inputs change.
        setup: Option<Setup>,
    }
}

object! {
    /// A command that prepares a scratch tree.
    Setup, "setup" {
        /// The command for the shell.
        run: String,
        /// Patterns for all that it reads, such as a lock file.
        inputs: Globs,
    }
}

/// What most repositories keep out of git and need for their tests.
fn borrowed() -> Vec<RelativePath> {
    [".venv", "node_modules"].into_iter().filter_map(|folder| folder.parse().ok()).collect()
}

impl Config {
    /// The branch that an environment's images come from: its own, or that of the first environment before it.
    #[must_use]
    pub fn source_branch(&self, environment: &EnvironmentName) -> Option<&str> {
        let mut found = self.environments.get(environment)?;
        // As many steps as there are environments; a circle never gets past `validate`.
        for _ in &self.environments {
            match (&found.branch, &found.promote) {
                (Some(branch), _) => return Some(branch),
                (None, Some(before)) => found = self.environments.get(&**before)?,
                (None, None) => return None,
            }
        }
        None
    }

    /// The environments that follow a branch, each with its branch.
    pub fn followers(&self) -> impl Iterator<Item = (&EnvironmentName, &str)> {
        self.environments.iter().filter_map(|(name, environment)| Some((name, environment.branch.as_ref()?.as_str())))
    }
}

impl Image {
    /// The Dockerfile's path from the root of the repository; `Dockerfile` in the context without one written.
    #[must_use]
    pub fn dockerfile(&self) -> String {
        self.dockerfile.as_ref().map_or_else(|| self.context.join("Dockerfile"), |path| path.as_str().to_owned())
    }
}
