//! What an overlay or a chart becomes. The source is edited like any manifest; then the user's own `kustomize` or `helm`
//! renders it, and the same commit holds the result beside the state, so that what is reviewed is what the cluster runs. No
//! code of the manifest repository is run, and no link of its leads out of it.

use super::{Error as DeliverError, Target, commit::Change};
use crate::{
    git::{self, EntryKind, Mirror},
    manifest::{self, File, Form, Wanted},
    values::{ImageRef, Oid, RelativePath},
};
use miette::Diagnostic;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Component, Path},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Where the result is, below the environment's path. The cluster runs this and nothing else where it is there.
pub(super) const FILE: &str = ".gitops-hooks/rendered.yaml";

/// The sync reads no larger file.
const MAX_BYTES: u64 = 8 << 20;

/// Rendering is a matter of a second; a base on another host may take longer.
const PATIENCE: Duration = Duration::from_secs(120);

const HEAD: &str = "\
# Rendered by gitops-hooks with each delivery from what is beside it; the cluster runs this and nothing else here.
# Not for editing by hand: the next delivery writes it anew.
";

/// Why an overlay or a chart is not rendered. Nothing was pushed then.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// A folder that is neither an overlay nor a chart.
    #[error("`render: true` is set, but {path} has neither a kustomization.yaml nor a Chart.yaml")]
    #[diagnostic(
        code(config),
        help(
            "let `path` name the overlay or chart, or `chart` name the chart from the root of the manifest repository"
        )
    )]
    NoSource {
        /// The folder.
        path: String,
    },

    /// A program that is not installed.
    #[error("{path} is rendered with `{program}`, which is not on the PATH")]
    #[diagnostic(
        code(environment),
        help(
            "install {program}, or deliver from a machine that has it; nothing is lost: `gitops-hooks deliver` goes on"
        )
    )]
    NoProgram {
        /// Which one.
        program: &'static str,
        /// What it is for.
        path: String,
    },

    /// A program that failed.
    #[error("`{command}` failed on {path}: {said}")]
    #[diagnostic(
        code(config),
        help("try the same in a clone of the manifest repository, mend it, push it, and deliver again")
    )]
    Failed {
        /// What was called.
        command: String,
        /// The folder.
        path: String,
        /// What it said.
        said: String,
    },

    /// A result that is no manifest the cluster would take.
    #[error("what `{command}` makes of {path} cannot be used: {why}")]
    #[diagnostic(code(config), help("try the same in a clone of the manifest repository and look at its output"))]
    Unusable {
        /// What was called.
        command: String,
        /// The folder.
        path: String,
        /// What is wrong.
        why: String,
    },

    /// A result in which another version runs.
    #[error("the delivery changed {path}, but what is rendered from it runs {runs} and not {wanted}")]
    #[diagnostic(
        code(config),
        help(
            "a patch, another values file or the chart itself sets the image; let it be set where the delivery writes it"
        )
    )]
    NotDelivered {
        /// The folder.
        path: String,
        /// What the result has.
        runs: String,
        /// What it should have.
        wanted: String,
    },

    /// A result of former times, which the cluster would go on running.
    #[error("{path} is there, which the cluster runs in place of all else, but `render: true` is not set")]
    #[diagnostic(code(config), help("take the file out of the manifest repository, or set `render: true`"))]
    LeftBehind {
        /// The file.
        path: String,
    },

    /// A file that could not be written or read.
    #[error("cannot render {path}")]
    #[diagnostic(code(environment))]
    File {
        /// The folder.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Who renders, from which folder of the manifest repository.
struct Renderer<'t> {
    target: &'t Target<'t>,
    program: &'static str,
    folder: String,
}

/// Makes sure, before anything is built, that what is to be rendered can be.
pub(super) fn is_possible(mirror: &Mirror, target: &Target<'_>, base: &Oid) -> Result<(), DeliverError> {
    let path = target.environment.manifests.path.join(FILE);
    match Renderer::of(mirror, target, base)? {
        Some(renderer) => renderer.is_installed().map_err(Into::into),
        None if mirror.repository().file(base, &path)?.is_some() => Err(Error::LeftBehind { path }.into()),
        None => Ok(()),
    }
}

/// The program that renders an environment, as far as it is known here: `path` holds an overlay or a chart, which the mirror
/// tells where there is one. Nobody is asked.
///
/// # Errors
/// What is to be rendered and cannot be.
pub fn renderer(repository: &git::Repository, target: &Target<'_>) -> Result<Option<&'static str>, DeliverError> {
    let manifests = &target.environment.manifests;
    if !manifests.render {
        return Ok(None);
    }
    let mirror = Mirror::open(repository, &manifests.url, git::Prompts::Never)?;
    let Some(tip) = mirror.known(&manifests.branch)? else { return Ok(None) };
    let renderer = Renderer::of(&mirror, target, &tip)?;
    renderer.map_or(Ok(None), |renderer| renderer.is_installed().map(|()| Some(renderer.program)).map_err(Into::into))
}

/// The file with what a changed source becomes; `None` where nothing is rendered, or where it is there already.
pub(super) fn rendered(
    mirror: &Mirror,
    target: &Target<'_>,
    base: &Oid,
    change: &Change,
) -> Result<Option<(String, Vec<u8>)>, DeliverError> {
    let renderer = if change.files.is_empty() { None } else { Renderer::of(mirror, target, base)? };
    let Some(renderer) = renderer else { return Ok(None) };
    let tree = mirror.write(base, &change.files)?;
    let place = tempfile::tempdir().map_err(|error| renderer.file(error))?;
    renderer.check_out(mirror, &tree, place.path())?;
    let result = renderer.render(place.path())?;
    for wanted in &change.wanted {
        renderer.runs(&result, wanted)?;
    }
    let path = target.environment.manifests.path.join(FILE);
    let bytes = [HEAD.as_bytes(), &result].concat();
    let same = mirror.repository().file(base, &path)?.is_some_and(|known| known == bytes);
    Ok(if same { None } else { Some((path, bytes)) })
}

impl<'t> Renderer<'t> {
    fn of(mirror: &Mirror, target: &'t Target<'t>, base: &Oid) -> Result<Option<Self>, DeliverError> {
        let manifests = &target.environment.manifests;
        if !manifests.render {
            return Ok(None);
        }
        let source = manifests.chart.as_ref().map_or(&*manifests.path, |chart| &**chart);
        let has = |name: &str| Ok::<_, DeliverError>(mirror.repository().file(base, &source.join(name))?.is_some());
        let overlay = manifests.chart.is_none()
            && (has("kustomization.yaml")? || has("kustomization.yml")? || has("Kustomization")?);
        let program = if overlay {
            "kustomize"
        } else if has("Chart.yaml")? {
            "helm"
        } else {
            return Err(Error::NoSource { path: source.to_string() }.into());
        };
        Ok(Some(Self { target, program, folder: source.to_string() }))
    }

    fn is_installed(&self) -> Result<(), Error> {
        which::which(self.program)
            .map(|_| ())
            .map_err(|_| Error::NoProgram { program: self.program, path: self.folder.clone() })
    }

    fn file(&self, source: io::Error) -> Error {
        Error::File { path: self.folder.clone(), source }
    }

    /// The arguments of the program, to be run at the root of the manifest repository.
    fn arguments(&self) -> Vec<String> {
        let manifests = &self.target.environment.manifests;
        if self.program == "kustomize" {
            return vec!["build".to_owned(), self.folder.clone()];
        }
        let release = manifests.release.as_ref().map_or(self.target.name.as_str(), |release| release.as_str());
        let mut arguments = vec!["template".to_owned(), release.to_owned(), in_root(&self.folder)];
        // Hooks are for `helm install`: applied like other objects, a job of theirs would run once and never again.
        arguments.extend(["--namespace", self.target.environment.namespace.as_str(), "--no-hooks"].map(str::to_owned));
        for values in &manifests.values {
            arguments.extend(["--values".to_owned(), in_root(&manifests.path.join(values.as_str()))]);
        }
        arguments
    }

    /// Writes a tree into a folder. What leads out of it is left out.
    fn check_out(&self, mirror: &Mirror, tree: &Oid, folder: &Path) -> Result<(), DeliverError> {
        let mut links = Vec::new();
        for entry in mirror.repository().entries(tree)? {
            let path = str::from_utf8(&entry.path).ok().and_then(|path| path.parse::<RelativePath>().ok());
            let Some(path) = path.filter(|_| entry.kind != EntryKind::Submodule) else { continue };
            let place = path.below(folder);
            place.parent().map_or(Ok(()), fs::create_dir_all).map_err(|error| self.file(error))?;
            let bytes = mirror.repository().blob(&entry.oid)?;
            if entry.kind == EntryKind::Link {
                links.push((path, place, bytes));
            } else {
                fs::write(&place, bytes).map_err(|error| self.file(error))?;
            }
        }
        // Last, so that nothing is written through one.
        for (path, place, bytes) in links {
            if let Ok(to) = str::from_utf8(&bytes)
                && stays_inside(&path, Path::new(to))
            {
                std::os::unix::fs::symlink(to, &place).map_err(|error| self.file(error))?;
            }
        }
        Ok(())
    }

    fn render(&self, root: &Path) -> Result<Vec<u8>, Error> {
        self.is_installed()?;
        let output = tempfile::tempfile().map_err(|error| self.file(error))?;
        let said = tempfile::tempfile().map_err(|error| self.file(error))?;
        let handle = |file: &fs::File| file.try_clone().map(Stdio::from).map_err(|error| self.file(error));
        let mut command = Command::new(self.program);
        // A base on another host is fetched with git, and nobody watches to answer it.
        git::scrub(&mut command).envs(git::WITHOUT_PROMPTS.iter().copied());
        command.args(self.arguments()).current_dir(root).process_group(0);
        command.stdin(Stdio::null()).stdout(handle(&output)?).stderr(handle(&said)?);
        let mut child = command.spawn().map_err(|error| self.file(error))?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().map_err(|error| self.file(error))? {
                Some(status) => break status,
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                None => {
                    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                        let _ = kill_process_group(group, Signal::KILL);
                    }
                    let _ = child.wait();
                    return Err(self.failed(&format!("it was not done after {} s", PATIENCE.as_secs())));
                }
            }
        };
        if !status.success() {
            let said = self.read(said)?;
            return Err(self.failed(&String::from_utf8_lossy(&said)));
        }
        self.read(output)
    }

    /// What a program wrote, from the start.
    fn read(&self, mut file: fs::File) -> Result<Vec<u8>, Error> {
        use io::{Read, Seek};
        let mut bytes = Vec::new();
        let length = file.rewind().and_then(|()| file.metadata()).map_err(|error| self.file(error))?.len();
        if length > MAX_BYTES {
            return Err(self.unusable(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
        }
        file.read_to_end(&mut bytes).map_err(|error| self.file(error))?;
        Ok(bytes)
    }

    /// Proves that an image of the result is the wanted one, wherever it stands.
    fn runs(&self, result: &[u8], wanted: &Wanted) -> Result<(), Error> {
        let file = File { path: FILE, form: Form::Manifest, bytes: result };
        let references = manifest::references(&file).map_err(|refusal| self.unusable(refusal.to_string()))?;
        let reference = &wanted.reference;
        let ours = references.iter().filter_map(|found| found.value.parse::<ImageRef>().ok());
        let ours: Vec<ImageRef> = ours.filter(|found| found.repository == reference.repository).collect();
        let is_wanted = |found: &&ImageRef| match &found.digest {
            Some(digest) => Some(digest) == reference.digest.as_ref(),
            None => found.tag == reference.tag,
        };
        // What a mark tells of need not be a container's; then the text has it somewhere.
        let text = String::from_utf8_lossy(result);
        let (tag, digest) = (reference.tag.as_ref(), reference.digest.as_ref());
        let mentioned = tag.is_some_and(|tag| text.contains(tag.as_str()))
            || digest.is_some_and(|digest| text.contains(digest.as_str()));
        let runs = match ours.iter().find(|found| !is_wanted(found)) {
            Some(other) => other.to_string(),
            None if ours.is_empty() && !mentioned => format!("no {}", reference.repository),
            None => return Ok(()),
        };
        Err(Error::NotDelivered { path: self.folder.clone(), runs, wanted: reference.to_string() })
    }

    fn command(&self) -> String {
        format!("{} {}", self.program, self.arguments().join(" "))
    }

    fn failed(&self, said: &str) -> Error {
        // What a program says may repeat an address of a base.
        let said = git::without_secrets(said.trim());
        Error::Failed { command: self.command(), path: self.folder.clone(), said }
    }

    fn unusable(&self, why: String) -> Error {
        Error::Unusable { command: self.command(), path: self.folder.clone(), why }
    }
}

/// `charts/web` alone would be the chart `web` of a repository called `charts`, if there is no such folder.
fn in_root(path: &str) -> String {
    format!("./{path}")
}

/// Whether a link at `path` leads to something below the root. Once it has gone down it may not go up again: what it went
/// down into may be a link too.
fn stays_inside(path: &RelativePath, to: &Path) -> bool {
    let mut depth = path.as_str().matches('/').count();
    let mut down = false;
    to.components().all(|component| match component {
        Component::Normal(_) => {
            down = true;
            true
        }
        Component::CurDir => true,
        Component::ParentDir if !down && depth > 0 => {
            depth -= 1;
            true
        }
        Component::ParentDir | Component::RootDir | Component::Prefix(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_never_leads_out_of_the_repository() {
        let inside = |path: &str, to: &str| stays_inside(&path.parse().unwrap(), Path::new(to));
        assert!(inside("staging/base", "../base") && inside("a/b/c", "../../d/e") && inside("a", "b/c"));
        for (path, to) in [("a", "../x"), ("a/b", "../../x"), ("a", "/etc/passwd"), ("a", "b/../c"), ("a/b", "c/../..")]
        {
            assert!(!inside(path, to), "{path} -> {to}");
        }
    }
}
