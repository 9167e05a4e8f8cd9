//! The way to the repository: one listing of references per poll, and where the branch moved, the newest commit alone into a
//! bare repository that may be lost at any time. What a server sends is bounded. The calls block, so they run in a
//! thread of their own (`poll`), which a server that stops answering may keep, but not the loop.

use super::{Error, settings::Settings};
use crate::values::Oid;
use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, Direction, ErrorClass, ErrorCode, FetchOptions,
};
use std::{
    cell::RefCell,
    collections::HashSet,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

/// The reference that keeps the fetched commit.
const TIP: &str = "refs/heads/sync";
/// What one fetch may bring.
const MAX_RECEIVED: usize = 256 << 20;
/// Every fetch leaves a pack; libgit2 does not repack, so after this many the copy begins anew.
const MAX_PACKS: usize = 50;
/// Commits that are fetched where one is known already: so many since then tell whether the branch was rewritten.
const DEPTH: i32 = 32;
/// Commits that are looked at for that.
const MAX_WALK: usize = 1000;
/// The longest that a server may take for one poll, a first fetch included.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks for the branch's tip and fetches it where it is not here yet.
///
/// # Errors
/// A server that does not answer, or answers as another; see [`Error`].
pub async fn poll(settings: &Settings) -> Result<Oid, Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let settings = settings.clone();
    let shown = settings.url.shown();
    // No pool of the runtime's: that would wait for a stuck call when the process ends.
    std::thread::spawn(move || {
        let _ = sender.send(fetch(&settings));
    });
    match tokio::time::timeout(PATIENCE, receiver).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Error::Unreachable { url: shown, reason: "the fetch was given up".to_owned() }),
        Err(_) => Err(Error::Stuck { url: shown, seconds: PATIENCE.as_secs() }),
    }
}

/// Our copy of the repository.
///
/// # Errors
/// A copy that is not there or unsound.
pub fn copy(settings: &Settings) -> Result<git2::Repository, Error> {
    git2::Repository::open_bare(folder(settings))
        .map_err(|error| Error::Repository { reason: error.message().to_owned() })
}

/// The folder of the bare repository.
fn folder(settings: &Settings) -> PathBuf {
    settings.data.join("repository.git")
}

fn fetch(settings: &Settings) -> Result<Oid, Error> {
    let repository = open(&folder(settings))?;
    let seen = Rc::new(RefCell::new(None));
    let failed = |error: git2::Error| explain(settings, &error, seen.borrow().as_deref());
    let mut remote = repository.remote_anonymous(settings.url.reveal()).map_err(failed)?;
    let branch = format!("refs/heads/{}", settings.branch);
    let callbacks = callbacks(settings, &seen);
    let mut connection = remote.connect_auth(Direction::Fetch, Some(callbacks), None).map_err(failed)?;
    let tip = connection.list().map_err(failed)?.iter().find(|head| head.name() == branch).map(git2::RemoteHead::oid);
    let tip = tip.ok_or_else(|| Error::NoBranch { url: settings.url.shown(), branch: settings.branch.clone() })?;
    if repository.find_commit(tip).is_err() {
        let knows_one = repository.refname_to_id(TIP).is_ok();
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(self::callbacks(settings, &seen))
            .download_tags(AutotagOption::None)
            .update_fetchhead(false)
            .follow_redirects(git2::RemoteRedirect::None);
        // libgit2 cannot fetch shallowly from a folder, which only tests have as a remote.
        if !settings.url.reveal().starts_with(['/', 'f']) {
            options.depth(if knows_one { DEPTH } else { 1 });
        }
        // Forced: a branch that was rewritten is followed.
        connection.remote().fetch(&[format!("+{branch}:{TIP}")], Some(&mut options), None).map_err(failed)?;
        repository.find_commit(tip).map_err(failed)?;
    }
    tip.to_string().parse().map_err(|_| Error::Repository { reason: "a commit's id is no id".to_owned() })
}

/// Whether a branch that had `earlier` has been rewritten so that its new tip does not come from it. Only what the copy can
/// prove counts: the tip's history has the parent of the earlier commit and not that commit itself.
pub(super) fn is_rewritten(repository: &git2::Repository, earlier: &Oid, tip: &Oid) -> bool {
    let id = |oid: &Oid| git2::Oid::from_str(oid.as_str()).ok();
    let (Some(earlier), Some(tip)) = (id(earlier), id(tip)) else { return false };
    let known = || -> Result<HashSet<git2::Oid>, git2::Error> {
        let mut walk = repository.revwalk()?;
        walk.push(tip)?;
        // The end of a shallow history cannot be walked past.
        Ok(walk.take(MAX_WALK).map_while(Result::ok).collect())
    };
    let Ok(history) = known() else { return false };
    if history.contains(&earlier) {
        return false;
    }
    // The grafts of a shallow copy hide parents; the commit itself still names them.
    let raw = repository.odb().and_then(|odb| odb.read(earlier).map(|object| object.data().to_vec()));
    let Ok(raw) = raw else { return false };
    let text = String::from_utf8_lossy(&raw);
    let parents: Vec<git2::Oid> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| git2::Oid::from_str(line.strip_prefix("parent ")?).ok())
        .collect();
    // A first commit has none: whatever does not come from it is another history.
    parents.is_empty() || parents.iter().any(|parent| history.contains(parent))
}

/// The bare repository, made where it is not there, is unsound, or has grown too many packs.
fn open(folder: &Path) -> Result<git2::Repository, Error> {
    let packs = std::fs::read_dir(folder.join("objects/pack")).map_or(0, Iterator::count) / 2;
    if packs <= MAX_PACKS
        && let Ok(repository) = git2::Repository::open_bare(folder)
    {
        return Ok(repository);
    }
    let failed = |source| Error::File { path: folder.display().to_string(), source };
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(failed)?;
    }
    git2::Repository::init_bare(folder).map_err(|error| Error::Repository { reason: error.message().to_owned() })
}

/// Who we are, whom we believe, and how much we take. `seen` keeps the host key that the server showed.
fn callbacks<'c>(settings: &'c Settings, seen: &Rc<RefCell<Option<String>>>) -> git2::RemoteCallbacks<'c> {
    let mut callbacks = git2::RemoteCallbacks::new();
    let mut offered = CredentialType::empty();
    callbacks.credentials(move |_, user, allowed| {
        // libgit2 asks again for as long as it is given what the server refuses.
        let fresh = allowed - offered;
        offered |= allowed - CredentialType::USERNAME;
        credentials(settings, user, fresh)
    });
    let seen = Rc::clone(seen);
    callbacks.certificate_check(move |certificate, _| {
        if let Some(key) = certificate.as_hostkey() {
            let kind = key.hostkey_type().map_or("unknown", |kind| kind.short_name());
            let print = key.hash_sha256().map(|hash| fingerprint(hash)).unwrap_or_default();
            *seen.borrow_mut() = Some(format!("{kind} SHA256:{print}"));
        }
        // libgit2's own verdict counts: the known hosts, or the chain of certificates.
        Ok(CertificateCheckStatus::CertificatePassthrough)
    });
    callbacks.transfer_progress(|progress| progress.received_bytes() <= MAX_RECEIVED);
    callbacks
}

/// A key's hash as `ssh-keygen -l` writes it.
fn fingerprint(hash: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
    BASE64_STANDARD_NO_PAD.encode(hash)
}

fn credentials(settings: &Settings, user: Option<&str>, allowed: CredentialType) -> Result<Cred, git2::Error> {
    let refused = |message: &str| git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, message);
    let text = |name: &str| {
        let file = settings.credential(name)?;
        std::fs::read_to_string(file).ok().map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
    };
    if allowed.contains(CredentialType::SSH_KEY) {
        let identity = settings.credential("identity").ok_or_else(|| refused("no deploy key was given"))?;
        return Cred::ssh_key(user.unwrap_or("git"), None, &identity, None);
    }
    if allowed.contains(CredentialType::USERNAME) {
        return Cred::username(user.unwrap_or("git"));
    }
    if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) {
        let password = text("password").ok_or_else(|| refused("no password or token was given"))?;
        // Hosts that take a token take any user name with it, but not an empty one.
        return Cred::userpass_plaintext(&text("username").unwrap_or_else(|| "git".to_owned()), &password);
    }
    Err(refused("the server does not take what was given"))
}

/// What libgit2's error means for whoever runs the cluster.
fn explain(settings: &Settings, error: &git2::Error, seen: Option<&str>) -> Error {
    let url = settings.url.shown();
    // The server's words may repeat the address as it was given.
    let reason = error.message().replace(settings.url.reveal(), &url);
    match (error.code(), error.class()) {
        (ErrorCode::Certificate, ErrorClass::Ssh) => {
            let known = settings.credential("known_hosts").is_some();
            let key = seen.unwrap_or("another key").to_owned();
            if known { Error::HostKey { url, key } } else { Error::NoKnownHosts { url, key } }
        }
        (ErrorCode::Certificate, _) => Error::Certificate { url, reason },
        (ErrorCode::Auth, _) => Error::Credentials { url, reason },
        (ErrorCode::User, _) => Error::TooLarge { url, bytes: MAX_RECEIVED },
        (_, ErrorClass::Ssl) if reason.contains("certificate") => Error::Certificate { url, reason },
        (_, ErrorClass::Http) if reason.contains("401") || reason.contains("403") => Error::Credentials { url, reason },
        _ => Error::Unreachable { url, reason },
    }
}
