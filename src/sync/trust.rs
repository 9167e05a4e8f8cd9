//! Whom the fetch believes. libgit2 reads the known SSH hosts from `$HOME/.ssh/known_hosts` and OpenSSL its authorities
//! from `$SSL_CERT_FILE`, and both look when they are first used; safe code can change neither in a running process. So
//! the two files are written into the data folder, and the program starts itself once more with an environment that names them.

use super::{Error, settings::Settings};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::{
    fmt::Write as _,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Makes sure that this process believes exactly what the settings say; comes back only in a process that does.
///
/// # Errors
/// Files that cannot be read or written, and a program that cannot be started again.
pub fn establish(settings: &Settings) -> Result<(), Error> {
    let home = settings.data.join("home");
    let roots = settings.data.join("authorities.pem");
    write(&home.join(".ssh/known_hosts"), &read(settings.credential("known_hosts").as_deref())?)?;
    write(&roots, &authorities(&read(settings.credential("ca.crt").as_deref())?))?;
    let is = |name: &str, path: &Path| std::env::var_os(name).is_some_and(|value| value == path);
    if is("HOME", &home) && is("SSL_CERT_FILE", &roots) {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|source| Error::File { path: "/proc/self/exe".into(), source })?;
    let mut again = Command::new(&program);
    again.args(std::env::args_os().skip(1)).env("HOME", &home).env("SSL_CERT_FILE", &roots).env_remove("SSL_CERT_DIR");
    // glibc keeps what was freed, in an arena for each thread, unless it is told otherwise before it starts: what a first sync
    // needs for a moment would stay for good.
    again.env("MALLOC_ARENA_MAX", "1").env("MALLOC_TRIM_THRESHOLD_", "131072");
    // Outside of a pod the cluster is found through the real home folder.
    if std::env::var_os("KUBECONFIG").is_none()
        && let Some(kubeconfig) =
            std::env::home_dir().map(|home| home.join(".kube/config")).filter(|file| file.exists())
    {
        again.env("KUBECONFIG", kubeconfig);
    }
    Err(Error::File { path: program.display().to_string(), source: again.exec() })
}

fn read(file: Option<&Path>) -> Result<String, Error> {
    let Some(file) = file else { return Ok(String::new()) };
    std::fs::read_to_string(file).map_err(|source| Error::File { path: file.display().to_string(), source })
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: file.display().to_string(), source };
    let folder = file.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(file, text).map_err(failed)
}

/// Mozilla's authorities, which an image without a file system of its own lacks, and the user's own.
fn authorities(own: &str) -> String {
    let mut pem = own.to_owned();
    if !pem.is_empty() && !pem.ends_with('\n') {
        pem.push('\n');
    }
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in BASE64_STANDARD.encode(certificate).as_bytes().chunks(64) {
            let _ = writeln!(pem, "{}", String::from_utf8_lossy(line));
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_pem_with_the_own_one_first() {
        let pem = authorities("own");
        assert!(pem.starts_with("own\n-----BEGIN CERTIFICATE-----\n"));
        assert!(pem.matches("BEGIN CERTIFICATE").count() > 100);
        assert!(pem.lines().all(|line| line.len() <= 64));
    }
}
