//! Secrets of a build (`RUN --mount=type=secret`). Each is read at the moment when a step asks for it, and is nowhere but in
//! the answer: in no argument, layer, record or key. What a step prints of one is blotted out.

use crate::config::Secret;
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse, secrets_server};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::process::Command;
use tonic::{Request, Response, Status};

/// How long a command may take to tell a secret.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// The largest secret that engines take (moby/buildkit, `MaxSecretSize`).
const SECRET_BYTES: usize = 500 << 10;
/// A shorter one would blot out half of what is printed.
const BLOTTED_BYTES: usize = 5;

/// Where an image's secrets come from.
pub(super) struct Secrets {
    known: BTreeMap<String, Secret>,
    /// What paths are relative to, and where commands run.
    folder: PathBuf,
    told: Told,
}

/// The secrets that were handed over.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<Vec<Vec<u8>>>>);

impl Told {
    fn add(&self, secret: &[u8]) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Line by line too: a step that prints a file prints it so.
        for part in std::iter::once(secret).chain(secret.split(|byte| *byte == b'\n')) {
            let part = part.trim_ascii();
            if part.len() >= BLOTTED_BYTES && !told.iter().any(|known| known == part) {
                told.push(part.to_vec());
            }
        }
        told.sort_by_key(|known| std::cmp::Reverse(known.len()));
    }

    /// A text in which no secret stands any more.
    pub(super) fn blotted(&self, text: &[u8]) -> Vec<u8> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blotted = Vec::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(secret) = told.iter().find(|secret| rest.starts_with(secret)) {
                blotted.extend_from_slice(b"***");
                rest = &rest[secret.len()..];
            } else {
                blotted.push(rest[0]);
                rest = &rest[1..];
            }
        }
        blotted
    }
}

impl Secrets {
    pub(super) fn new(known: &BTreeMap<String, Secret>, folder: &Path, told: Told) -> Self {
        Self { known: known.clone(), folder: folder.to_owned(), told }
    }

    async fn read(&self, id: &str) -> Result<Vec<u8>, Status> {
        let known = self.known.get(id);
        // The engine adds "not found" to the name itself.
        let known = known.ok_or_else(|| Status::not_found(format!("no secret {id:?} under `secrets`")))?;
        let failed = |why: String| Status::failed_precondition(format!("the secret {id:?} cannot be read: {why}"));
        let bytes = match (&known.file, &known.env, &known.run) {
            (Some(file), ..) => {
                let path = placed(file, &self.folder);
                tokio::fs::read(&path).await.map_err(|error| failed(format!("{}: {error}", path.display())))?
            }
            (_, Some(name), _) => {
                let value = std::env::var_os(name).ok_or_else(|| failed(format!("{name} is not set")))?;
                std::os::unix::ffi::OsStringExt::into_vec(value)
            }
            (_, _, run) => self.answer(run.as_deref().unwrap_or_default()).await.map_err(failed)?,
        };
        if bytes.len() > SECRET_BYTES {
            return Err(failed(format!("it has more than {} kB", SECRET_BYTES >> 10)));
        }
        self.told.add(&bytes);
        Ok(bytes)
    }

    /// What a command prints, without the end of its last line, as `$(...)` of a shell.
    async fn answer(&self, command: &str) -> Result<Vec<u8>, String> {
        let mut shell = std::process::Command::new("sh");
        crate::git::scrub(&mut shell).args(["-c", command]).current_dir(&self.folder);
        let child = Command::from(shell)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| error.to_string())?;
        let ended = tokio::time::timeout(COMMAND_LIMIT, child.wait_with_output()).await;
        let output = ended.map_err(|_| format!("its command took more than {} s", COMMAND_LIMIT.as_secs()))?;
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            // What the command printed may be a part of the secret.
            return Err(format!("its command ended with {}", output.status));
        }
        let mut bytes = output.stdout;
        while bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(bytes)
    }
}

/// A path as a shell reads it: below the home folder with `~/`, else below the repository.
fn placed(file: &str, folder: &Path) -> PathBuf {
    match (file.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => folder.join(file),
    }
}

#[tonic::async_trait]
impl secrets_server::Secrets for Secrets {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let data = self.read(&request.into_inner().id).await?;
        Ok(Response::new(GetSecretResponse { data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_blotted_out() {
        let told = Told::default();
        told.add(b"first-line\nsecond\n");
        told.add(b"abc");
        let text = b"+ echo first-line\nsecond x\nfirst-line y abc";
        assert_eq!(String::from_utf8(told.blotted(text)).unwrap(), "+ echo *** x\n*** y abc");
    }
}
