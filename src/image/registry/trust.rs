//! Whom to believe that it is the registry: the system's authorities, and those that the user or the administrator put
//! beside docker's or Podman's configuration for this one registry. A registry without TLS loads none of them.

use super::{Error, Scheme};
use crate::image::credentials;
use reqwest::{Certificate, Client, ClientBuilder, Identity, redirect};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The longest silence of a registry in the middle of an answer.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// How often a registry may send on to somewhere else.
const REDIRECTS: usize = 5;

/// What speaks to a registry.
pub(super) fn client(registry: &str, scheme: Scheme) -> Result<Client, Error> {
    crate::tls::choose_provider();
    let builder = Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(READ_LIMIT)
        .user_agent(concat!("gitops-hooks/", env!("CARGO_PKG_VERSION")));
    let builder = match scheme {
        // No authority at all: loading the system's takes longer than a question on the local network. Where such a
        // registry sends on to one with TLS, that is told instead of followed.
        Scheme::Http => builder.tls_certs_only([]).redirect(redirect::Policy::custom(|attempt| {
            if attempt.url().scheme() == "http" && attempt.previous().len() <= REDIRECTS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        })),
        Scheme::Https => trusting(builder.redirect(redirect::Policy::limited(REDIRECTS)), &folders(), registry)?,
    };
    builder.build().map_err(|error| Error::Certificates {
        registry: registry.to_owned(),
        reason: crate::image::error::chain(&error),
    })
}

/// Where certificates for registries are kept, a folder for each `host:port` (dockerd's documentation, "Verify repository
/// client with certificates"; containers-certs.d(5)).
fn folders() -> Vec<PathBuf> {
    let home = std::env::home_dir();
    let own = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = own.or_else(|| home.map(|home| home.join(".config")));
    let mut folders = vec![PathBuf::from("/etc/docker"), PathBuf::from("/etc/containers")];
    folders.extend(credentials::folder());
    folders.extend(own.iter().flat_map(|own| [own.join("docker"), own.join("containers")]));
    folders.into_iter().map(|folder| folder.join("certs.d")).collect()
}

fn trusting(mut builder: ClientBuilder, folders: &[PathBuf], registry: &str) -> Result<ClientBuilder, Error> {
    let mut authorities = Vec::new();
    for folder in folders.iter().map(|folder| folder.join(registry)) {
        for path in files(&folder)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => authorities.extend(certificates(&path)?),
                Some("cert") => builder = builder.identity(identity(&path)?),
                _ => {}
            }
        }
    }
    // Elsewhere the system's own verifier reads this variable.
    if cfg!(target_os = "macos")
        && let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|value| !value.is_empty())
    {
        authorities.extend(certificates(Path::new(&path))?);
    }
    Ok(builder.tls_certs_merge(authorities))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(source) => return Err(unread(folder, source)),
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    Ok(files)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let found = Certificate::from_pem_bundle(&read(path)?).map_err(|error| unusable(path, &error))?;
    if found.is_empty() { Err(none(path)) } else { Ok(found) }
}

/// A certificate of the user's own, `NAME.cert`, with its key in `NAME.key`.
fn identity(path: &Path) -> Result<Identity, Error> {
    let mut pem = read(&path.with_extension("key"))?;
    pem.push(b'\n');
    pem.extend(read(path)?);
    Identity::from_pem(&pem).map_err(|error| unusable(path, &error))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| unread(path, source))
}

fn unread(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.display().to_string(), source }
}

fn unusable(path: &Path, error: &reqwest::Error) -> Error {
    let reason = crate::image::error::chain(error);
    Error::Certificates { registry: path.display().to_string(), reason }
}

fn none(path: &Path) -> Error {
    Error::Certificates {
        registry: path.display().to_string(),
        reason: "it holds no certificate in PEM form".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("reg.example.com:5000");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("ca.crt"), "no certificate").unwrap();
        let told = |registry: &str| trusting(Client::builder(), &[home.path().to_owned()], registry).map(|_| ());
        let error = told("reg.example.com:5000").unwrap_err().to_string();
        assert!(error.contains("ca.crt") && error.contains("no certificate"), "{error}");
        told("reg.example.com:5001").unwrap();
    }
}
