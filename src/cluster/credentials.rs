//! What the sync shows to the manifest repository, gathered from files that the user names, and checked for what it must
//! have before anything is installed.

use super::Error;
use crate::values::RemoteUrl;
use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The largest file that is taken: keys and certificates are small.
const MAX_BYTES: u64 = 256 << 10;

/// Where the user keeps them.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The private half of a deploy key.
    pub deploy_key: Option<PathBuf>,
    /// Host keys, as in `~/.ssh/known_hosts`.
    pub known_hosts: Option<PathBuf>,
    /// A user name for HTTPS.
    pub username: Option<String>,
    /// A file with a password or a token for HTTPS.
    pub password: Option<PathBuf>,
    /// The certificate of the host's own authority.
    pub ca: Option<PathBuf>,
}

/// The public keys of a file, a line each; comments and empty lines are none.
///
/// # Errors
/// A file that cannot be read, or holds no key.
pub fn public_keys(file: &Path) -> Result<Vec<String>, Error> {
    let text = String::from_utf8_lossy(&read(file)?).into_owned();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<String> = lines.map(str::to_owned).collect();
    if keys.is_empty() {
        let message = format!("{} holds no public key", file.display());
        return Err(Error::usage(message, "a line `ssh-ed25519 AAAA… NAME` for each who may sign"));
    }
    Ok(keys)
}

impl Files {
    /// Whether the user named nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let files = [&self.deploy_key, &self.known_hosts, &self.password, &self.ca];
        self.username.is_none() && files.iter().all(|file| file.is_none())
    }
}

/// The contents of the Secret, by file name. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(BTreeMap<String, Vec<u8>>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Credentials {
    /// What an installation holds, as the cluster keeps it.
    pub(super) fn held(data: BTreeMap<String, Vec<u8>>) -> Self {
        Self(data)
    }

    /// Reads the files and sees that they are what the address needs. A file that is not named stays as `held` has it,
    /// as far as the address still needs it.
    ///
    /// # Errors
    /// A file that cannot be read, and an address that needs more.
    pub fn gather(url: &RemoteUrl, files: &Files, held: Self) -> Result<Self, Error> {
        let address = Address::of(url);
        let mut found = held.0;
        found.retain(|name, _| address.needs(name));
        let named = [
            ("identity", &files.deploy_key),
            ("known_hosts", &files.known_hosts),
            ("password", &files.password),
            ("ca.crt", &files.ca),
        ];
        for (name, file) in named {
            if let Some(file) = file {
                let bytes = read(file)?;
                if name == "identity" && !String::from_utf8_lossy(&bytes).contains("PRIVATE KEY") {
                    return Err(Error::usage(
                        format!("{} is no private SSH key", file.display()),
                        "give the file that `ssh-keygen` made beside the one that ends in .pub",
                    ));
                }
                found.insert(name.to_owned(), bytes);
            }
        }
        if let Some(username) = &files.username {
            found.insert("username".to_owned(), username.clone().into_bytes());
        }
        check(url, address, &mut found)?;
        Ok(Self(found))
    }

    /// Each file's name and bytes.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File { path: file.display().to_string(), source };
    if fs::metadata(file).map_err(failed)?.len() > MAX_BYTES {
        return Err(Error::usage(
            format!("{} is larger than {} KiB, too large for a key", file.display(), MAX_BYTES >> 10),
            "name another file",
        ));
    }
    fs::read(file).map_err(failed)
}

fn check(url: &RemoteUrl, address: Address, found: &mut BTreeMap<String, Vec<u8>>) -> Result<(), Error> {
    match address {
        Address::Local => Err(Error::usage(
            format!("no pod reaches {url}, a folder of this machine"),
            "give the address that a pod reaches with --url",
        )),
        Address::Https { password: true } => Err(Error::usage(
            format!("the address of {url} carries a password, which would be kept in the open"),
            "give it with --username NAME --password-file FILE, and the address without it with --url",
        )),
        Address::Https { .. } => Ok(()),
        Address::Ssh { host, port } => {
            if !found.contains_key("identity") {
                return Err(Error::usage(
                    format!("{url} is an SSH address, and the sync has no key for it"),
                    "make one with `ssh-keygen -t ed25519 -f deploy-key -N ''`, add deploy-key.pub to the repository with read access, and pass --deploy-key deploy-key",
                ));
            }
            if !found.contains_key("known_hosts") {
                let known = known_to_user(&host, port).ok_or_else(|| {
                    Error::usage(
                        format!("nothing here vouches for the host key of {host}"),
                        "connect once with `ssh`, or pass --known-hosts FILE; `ssh-keyscan HOST` prints what to check and put into it",
                    )
                })?;
                found.insert("known_hosts".to_owned(), known.into_bytes());
            }
            Ok(())
        }
    }
}

/// What kind of address a URL is.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Local,
    Https { password: bool },
    Ssh { host: String, port: Option<u16> },
}

impl Address {
    fn of(url: &RemoteUrl) -> Self {
        let text = url.reveal();
        if let Some((scheme, rest)) = text.split_once("://") {
            let authority = rest.split('/').next().unwrap_or_default();
            let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
            if scheme.contains("ssh") {
                let (host, port) = match host.rsplit_once(':') {
                    Some((host, port)) if port.parse::<u16>().is_ok() => (host, port.parse().ok()),
                    _ => (host, None),
                };
                return Self::Ssh { host: host.trim_matches(['[', ']']).to_owned(), port };
            }
            if scheme == "file" {
                return Self::Local;
            }
            return Self::Https { password: user.is_some_and(|user| user.contains(':')) };
        }
        // `user@host:path` is SSH; git takes a colon after a slash for a part of a path (`git-clone(1)`).
        match text.split_once(':') {
            Some((host, _)) if !host.contains('/') => {
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                Self::Ssh { host: host.to_owned(), port: None }
            }
            _ => Self::Local,
        }
    }
}

impl Address {
    /// Whether an address of this kind has a use for one of the files.
    fn needs(&self, name: &str) -> bool {
        match self {
            Self::Local => false,
            Self::Https { .. } => matches!(name, "username" | "password" | "ca.crt"),
            Self::Ssh { .. } => matches!(name, "identity" | "known_hosts"),
        }
    }
}

/// The lines of the user's own known hosts that speak of this host.
fn known_to_user(host: &str, port: Option<u16>) -> Option<String> {
    let name = match port {
        Some(port) if port != 22 => format!("[{host}]:{port}"),
        _ => host.to_owned(),
    };
    let output = Command::new("ssh-keygen").args(["-F", &name]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    if lines.is_empty() { None } else { Some(lines.join("\n") + "\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::of(&text.parse().unwrap())
    }

    #[test]
    fn addresses_are_told_apart() {
        let ssh = |host: &str, port| Address::Ssh { host: host.into(), port };
        assert_eq!(address("git@git.example.com:team/m.git"), ssh("git.example.com", None));
        assert_eq!(address("ssh://git@10.0.0.1:2222/m.git"), ssh("10.0.0.1", Some(2222)));
        assert_eq!(address("https://git.example.com/m.git"), Address::Https { password: false });
        assert_eq!(address("https://a:b@git.example.com/m.git"), Address::Https { password: true });
        assert_eq!(address("/srv/git/m.git"), Address::Local);
        assert_eq!(address("file:///srv/git/m.git"), Address::Local);
    }

    #[test]
    fn what_an_address_needs_is_said_before_anything_is_installed() {
        let gather = |url: &str| {
            let held = Credentials::default();
            Credentials::gather(&url.parse().unwrap(), &Files::default(), held).unwrap_err().to_string()
        };
        assert!(gather("git@git.example.com:m.git").contains("no key for it"));
        let told = gather("https://user:s3cret@git.example.com/m.git");
        assert!(told.contains("carries a password") && !told.contains("s3cret"), "{told}");
        assert!(gather("/srv/m.git").contains("no pod reaches"));
    }

    #[test]
    fn a_public_key_is_none_to_read_with() {
        let folder = tempfile::tempdir().unwrap();
        let deploy_key = Some(folder.path().join("key.pub"));
        fs::write(folder.path().join("key.pub"), "ssh-ed25519 AAAA dev@example.com\n").unwrap();
        let files = Files { deploy_key, ..Files::default() };
        let url = "git@git.example.com:m.git".parse().unwrap();
        let told = Credentials::gather(&url, &files, Credentials::default()).unwrap_err().to_string();
        assert!(told.contains("key.pub is no private SSH key"), "{told}");
    }

    #[test]
    fn what_is_held_stays_as_far_as_the_address_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let known_hosts = folder.path().join("known_hosts");
        fs::write(&known_hosts, "new").unwrap();
        let entry = |name: &str| (name.to_owned(), b"old".to_vec());
        let held = Credentials::held(BTreeMap::from(["identity", "known_hosts", "password"].map(entry)));
        let files = Files { known_hosts: Some(known_hosts), ..Files::default() };
        let gathered = Credentials::gather(&"git@git.example.com:m.git".parse().unwrap(), &files, held).unwrap();
        let entries: Vec<_> = gathered.entries().collect();
        assert_eq!(entries, [("identity", &b"old"[..]), ("known_hosts", b"new")]);
    }
}
