use crate::git;
use miette::Diagnostic;

/// What can go wrong with an image.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// The repository could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Git(#[from] git::Error),

    /// No container engine answers.
    #[error("no container engine answers; looked at\n{looked}")]
    #[diagnostic(
        code(environment),
        help("start Docker (or Podman, Colima, OrbStack), or say where it is with DOCKER_HOST")
    )]
    NoEngine {
        /// A line for each place, with what was found there.
        looked: String,
    },

    /// The engine did not do what it was asked.
    #[error("the container engine failed while {doing}: {}", engine_message(source))]
    #[diagnostic(code(environment), help("`docker info` tells whether the engine is well"))]
    Engine {
        /// What it was asked for, as a participle.
        doing: String,
        /// What it answered.
        source: bollard::errors::Error,
    },

    /// The engine ended, or was cut off.
    #[error("the container engine went away while {doing}: {reason}")]
    #[diagnostic(code(environment), help("start it again, and then try again; nothing was published"))]
    EngineGone {
        /// What it was asked for, as a participle.
        doing: String,
        /// How that was seen.
        reason: String,
    },

    /// The engine's disk is full.
    #[error("the container engine has no space left: {reason}")]
    #[diagnostic(code(environment), help("`docker system prune` frees what no container uses"))]
    EngineFull {
        /// In its words.
        reason: String,
    },

    /// The engine cannot do what the Dockerfile or the configuration asks for.
    #[error("{place}: {what} needs BuildKit, which this engine ({engine}) does not have")]
    #[diagnostic(code(environment), help("use Docker 20.10 or newer, or write it without"))]
    NeedsBuildKit {
        /// `Dockerfile:12`, or a key of the configuration.
        place: String,
        /// What asks for it.
        what: String,
        /// Which engine.
        engine: String,
    },

    /// What was built is for other machines than it should be.
    #[error("the image is for {found}, not for {wanted}: a base image of {dockerfile} is there for {found} alone")]
    #[diagnostic(
        code(check),
        help("choose a base image that is there for {wanted}, or say with `platform` what the cluster's nodes are")
    )]
    Platform {
        /// The Dockerfile's path.
        dockerfile: String,
        /// What it is.
        found: String,
        /// What the configuration says.
        wanted: String,
    },

    /// The commit has no Dockerfile where the configuration says.
    #[error("the commit has no file {path}")]
    #[diagnostic(code(config), help("commit it, or name another one with `dockerfile` in .gitops-hooks.yaml"))]
    NoDockerfile {
        /// From the root of the repository.
        path: String,
    },

    /// A submodule lies in the context whose files are not here.
    #[error("{path} {reason}")]
    #[diagnostic(
        code(environment),
        help("`git submodule update --init --recursive` brings it; or leave it out with a line in .dockerignore")
    )]
    Submodule {
        /// From the root of the repository.
        path: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A file of Git LFS is not here and cannot be fetched.
    #[error("{path} is kept by Git LFS and cannot be read: {reason}")]
    #[diagnostic(code(environment), help("`git lfs pull` fetches it and says what is wrong"))]
    Lfs {
        /// From the root of its repository.
        path: String,
        /// What is wrong.
        reason: String,
    },

    /// The files of a build could not be read or written.
    #[error("cannot read the build context")]
    #[diagnostic(code(environment), help("`git fsck` tells whether the repository is sound"))]
    Unread {
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// The command that makes artifacts failed.
    #[error("`{command}` before the build failed: {reason}\n{tail}")]
    #[diagnostic(code(check), help("it sees the commit's files alone: what it needs besides, it must fetch or make"))]
    Before {
        /// The command.
        command: String,
        /// How it ended.
        reason: String,
        /// The end of what it printed.
        tail: String,
    },

    /// The command that makes artifacts did not make one.
    #[error("`{command}` did not make {path}")]
    #[diagnostic(code(check), help("`artifacts` are paths from the root of the repository"))]
    NotMade {
        /// The command.
        command: String,
        /// The path.
        path: String,
    },

    /// The Dockerfile copies a file that no build of a commit can see.
    #[error("{place}: {command}: {path} {why}")]
    #[diagnostic(code(check), help("{next}"))]
    NotCommitted {
        /// `Dockerfile:12`.
        place: String,
        /// The instruction.
        command: String,
        /// From the root of the repository.
        path: String,
        /// Why it is not there.
        why: &'static str,
        /// What to do.
        next: &'static str,
    },

    /// A line of `.dockerignore` that is no pattern.
    #[error("{file}:{line}: {pattern:?} is no pattern: {reason}")]
    #[diagnostic(code(config), help("mend or remove the line"))]
    Pattern {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A step of the Dockerfile failed.
    #[error("{place}: {command}: {reason}")]
    #[diagnostic(code(check), help("mend the Dockerfile, commit, and try again"))]
    Step {
        /// `Dockerfile:12`, or only the file where the line is not known.
        place: String,
        /// The instruction as it is written there, on one line.
        command: String,
        /// Why it failed, in the engine's words.
        reason: String,
        /// The last lines that the step printed.
        tail: String,
    },

    /// The build failed outside any step: a syntax error, a base image that is not there.
    #[error("{dockerfile}: {reason}")]
    #[diagnostic(code(check), help("mend the Dockerfile, commit, and try again"))]
    Build {
        /// The Dockerfile's path.
        dockerfile: String,
        /// Why, in the engine's words.
        reason: String,
    },

    /// The image was started and did not answer as it should.
    #[error("the image {name} started, but {reason}")]
    #[diagnostic(
        code(check),
        help("its log is above; `smoke` in .gitops-hooks.yaml says what was expected; to run it by hand: `{by_hand}`")
    )]
    Smoke {
        /// The image's name in the configuration.
        name: String,
        /// What happened instead: it ended with exit code 1; GET / answered 500, not 200; …
        reason: String,
        /// The last lines of its log.
        tail: String,
        /// The command that runs it, or that first gives it a name to be run by.
        by_hand: String,
    },

    /// The registry does not let the user in.
    #[error("the registry {registry} refuses {}", who(user.as_deref()))]
    #[diagnostic(code(environment), help("log in with `docker login {registry}`, as a user who may push there"))]
    Refused {
        /// Its host and port.
        registry: String,
        /// The user that was tried; without one, none was known.
        user: Option<String>,
    },

    /// The registry cannot be reached, or stopped answering.
    #[error("cannot reach the registry {registry} while {doing}: {reason}")]
    #[diagnostic(
        code(environment),
        help(
            "is the address right, and the registry up? One without TLS needs `plain_http: true` under the image; nothing was published, try again when it answers"
        )
    )]
    Unreachable {
        /// Its host and port.
        registry: String,
        /// What was asked of it, as a participle.
        doing: String,
        /// Why, as far as known.
        reason: String,
    },

    /// The registry shows a certificate that does not convince.
    #[error("the registry {registry} shows a certificate that is not trusted here: {reason}")]
    #[diagnostic(
        code(environment),
        help(
            "put the certificate of its authority where docker looks for it, `/etc/docker/certs.d/{registry}/ca.crt`, or among the system's"
        )
    )]
    Untrusted {
        /// Its host and port.
        registry: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The registry answered with something else than expected.
    #[error("the registry {registry} failed while {doing}: {reason}")]
    #[diagnostic(code(environment), help("nothing was published; ask the registry's keeper, or try again"))]
    Registry {
        /// Its host and port.
        registry: String,
        /// What was asked of it, as a participle.
        doing: String,
        /// What it said.
        reason: String,
    },

    /// Something answers at the registry's address that is none.
    #[error("what answers for {registry} while {doing} is no registry, but {}", page(elsewhere.as_deref()))]
    #[diagnostic(
        code(environment),
        help(
            "a network that wants a login first answers so: open a page in a browser, then try again. Else see that the address is right"
        )
    )]
    NoRegistry {
        /// Its host and port.
        registry: String,
        /// What was asked of it, as a participle.
        doing: String,
        /// The host that it sends on to.
        elsewhere: Option<String>,
    },

    /// The registry removes nothing.
    #[error("the registry {registry} does not let anybody remove an image")]
    #[diagnostic(
        code(environment),
        help(
            "its keeper must allow it (`REGISTRY_STORAGE_DELETE_ENABLED=true` for Docker's own), or it has rules of its own for clean-up"
        )
    )]
    NoRemoval {
        /// Its host and port.
        registry: String,
    },

    /// Certificates that cannot be used.
    #[error("cannot use the certificates for {registry}: {reason}")]
    #[diagnostic(
        code(environment),
        help("they are looked for in `certs.d/HOST:PORT` of docker and Podman, and in the system's store")
    )]
    Certificates {
        /// The file, or the registry.
        registry: String,
        /// What is wrong with them.
        reason: String,
    },

    /// Docker's configuration cannot be used.
    #[error("cannot use {path}: {reason}")]
    #[diagnostic(code(environment), help("docker writes this file; `docker login` mends it"))]
    DockerConfig {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },

    /// A credential helper gave no answer.
    #[error("the credential helper {helper} failed: {reason}")]
    #[diagnostic(
        code(environment),
        help("`echo {registry} | {helper} get` shows what it says; `docker login {registry}` may mend it")
    )]
    Helper {
        /// The program.
        helper: String,
        /// The registry it was asked about.
        registry: String,
        /// What happened.
        reason: String,
    },

    /// A file of the machine could not be read.
    #[error("cannot read {path}")]
    #[diagnostic(code(environment))]
    File {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn who(user: Option<&str>) -> String {
    user.map_or_else(|| "to let anyone in without a password".to_owned(), |user| format!("the user {user}"))
}

fn page(elsewhere: Option<&str>) -> String {
    elsewhere.map_or_else(|| "a web page".to_owned(), |host| format!("the way to a page of {host}"))
}

/// The engine's own sentence, without the HTTP around it.
fn engine_message(error: &bollard::errors::Error) -> String {
    use bollard::errors::Error as Engine;
    match error {
        Engine::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Engine::DockerStreamError { error } => error.trim().to_owned(),
        other => chain(other),
    }
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
