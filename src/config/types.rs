//! What the configuration says, key by key. The documentation of a key here is its documentation in the JSON schema.

use super::decode::{Located, object};
use crate::values::{EnvironmentName, Globs, HookName, ImageName, RelativePath, RemoteUrl, Repository, Span};
use std::collections::BTreeMap;

object! {
    /// The configuration of gitops-hooks: hooks, then images, then environments.
    Config, "the configuration" {
        /// For each of git's client-side hooks, the steps that it runs.
        hooks: BTreeMap<HookName, Vec<Step>>,
        /// The container images of this repository.
        images: BTreeMap<ImageName, Image>,
        /// The places that run images.
        environments: BTreeMap<EnvironmentName, Environment>,
        /// How a scratch tree gets what git does not track.
        scratch: Scratch = Scratch { link: Vec::new(), setup: None },
    }
}

object! {
    /// One thing to run on a snapshot: a command (`run`) or the build of an image (`image`).
    Step, "a step" {
        /// What people call the step. Without it, the command's first word or the image's name.
        name: Option<Located<String>>,
        /// A command for the shell. `{files}` stands for the paths that match `files`, quoted; a long list is split over
        /// several calls. `{message_file}` is the file of the commit message, `{1}`, `{2}` … are the hook's arguments.
        run: Option<Located<String>>,
        /// The image to build and, in pre-push, to publish once every other step has passed.
        image: Option<Located<ImageName>>,
        /// Patterns as in .gitignore. The step runs only when a changed path matches.
        files: Option<Globs>,
        /// Patterns for all that the step reads. Unchanged since it passed, it is not run again.
        inputs: Option<Globs>,
        /// Names of steps of this hook that must have passed before.
        needs: Vec<Located<String>>,
        /// The longest that it may run before it is stopped.
        timeout: Span = Span::seconds(600),
        /// Environment variables for the command.
        env: BTreeMap<String, String>,
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
        context: RelativePath = RelativePath::root(),
        /// The Dockerfile, from the root of the repository.
        dockerfile: Option<RelativePath>,
        /// The stage to build; the last one without it.
        target: Option<String>,
        /// Build arguments. They are no place for secrets: they stay in the image.
        args: BTreeMap<String, String>,
        /// What the cluster's nodes are, such as linux/amd64.
        platform: String = "linux/amd64".to_owned(),
        /// A trial run of the image before it is published.
        smoke: Option<Smoke>,
    }
}

object! {
    /// A trial run: the image is started and asked once it listens.
    Smoke, "a smoke run" {
        /// The port that it listens on inside the container.
        port: u16,
        /// The path to ask for.
        path: String = "/".to_owned(),
        /// The HTTP status that is right.
        expect: u16 = 200,
        /// How long it may take to answer.
        timeout: Span = Span::seconds(60),
        /// Environment variables for the container.
        env: BTreeMap<String, String>,
    }
}

object! {
    /// A place that runs images: a path in a manifest repository.
    Environment, "an environment" {
        /// The branch of this repository that is delivered: what its upstream has runs here.
        branch: Located<String>,
        /// Where its manifests are.
        manifests: Manifests,
        /// The images whose references are delivered.
        images: Vec<Located<ImageName>>,
        /// The namespace of the cluster that runs it.
        namespace: String = "default".to_owned(),
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
        path: RelativePath = RelativePath::root(),
    }
}

object! {
    /// How a scratch tree gets what git does not track.
    Scratch, "scratch" {
        /// Ignored folders of the work tree that a scratch tree borrows, such as `.venv` or `node_modules`.
        link: Vec<RelativePath>,
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

impl Step {
    /// The step's name, written or derived.
    #[must_use]
    pub fn label(&self) -> &str {
        let derived = || match (&self.image, &self.run) {
            (Some(image), _) => image.as_str(),
            (None, Some(run)) => run.split_whitespace().next().unwrap_or("step"),
            (None, None) => "step",
        };
        self.name.as_ref().map_or_else(derived, |name| name.as_str())
    }
}

impl Image {
    /// The Dockerfile's path from the root of the repository; `Dockerfile` in the context without one written.
    #[must_use]
    pub fn dockerfile(&self) -> String {
        self.dockerfile.as_ref().map_or_else(|| self.context.join("Dockerfile"), |path| path.as_str().to_owned())
    }
}
