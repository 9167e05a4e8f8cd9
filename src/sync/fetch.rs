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
/// Every fetch leaves a pack; libgit2 does not repack, so after this many another copy is begun.
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
    git2::Repository::open_bare(folder(settings)).map_err(|error| unsound(&error))
}

fn unsound(error: &git2::Error) -> Error {
    Error::Repository { reason: error.message().to_owned() }
}

/// The copy that a new commit is in: ours, or the one that was begun beside it.
///
/// # Errors
/// None that has it, or one that is unsound.
pub(super) fn copy_with(settings: &Settings, commit: &Oid) -> Result<git2::Repository, Error> {
    match copy(settings) {
        Ok(copy) if has(&copy, commit) => Ok(copy),
        _ => git2::Repository::open_bare(next_folder(settings)).map_err(|error| unsound(&error)),
    }
}

/// Lets the copy that was begun take the place of ours where only that one has the commit, which is applied from now on.
/// Nobody may be reading ours.
///
/// # Errors
/// Folders that cannot be moved.
pub(super) fn settle(settings: &Settings, commit: &Oid) -> Result<(), Error> {
    if copy(settings).is_ok_and(|copy| has(&copy, commit)) {
        return Ok(());
    }
    let (ours, next) = (folder(settings), next_folder(settings));
    let failed = |source| Error::File { path: ours.display().to_string(), source };
    remove(&ours).map_err(failed)?;
    std::fs::rename(next, &ours).map_err(failed)
}

fn has(repository: &git2::Repository, commit: &Oid) -> bool {
    git2::Oid::from_str(commit.as_str()).is_ok_and(|commit| repository.find_commit(commit).is_ok())
}

/// The folder of the bare repository.
fn folder(settings: &Settings) -> PathBuf {
    settings.data.join("repository.git")
}

/// The folder of the one that is to take its place.
fn next_folder(settings: &Settings) -> PathBuf {
    settings.data.join("next.git")
}

/// Where a fetch goes. What is applied now may be in our copy alone, and a pass may be reading it: it is left as it is until
/// a newer commit is applied from another.
fn target(settings: &Settings) -> Result<git2::Repository, Error> {
    let ours = folder(settings);
    let is_full = packs(&ours) > MAX_PACKS && git2::Repository::open_bare(&ours).is_ok();
    open(&if is_full { next_folder(settings) } else { ours })
}

fn fetch(settings: &Settings) -> Result<Oid, Error> {
    let repository = target(settings)?;
    let seen = Rc::new(RefCell::new(None));
    let failed = |error: git2::Error| explain(settings, &error, seen.borrow().as_deref());
    let mut remote = repository.remote_anonymous(settings.url.reveal()).map_err(failed)?;
    let branch = format!("refs/heads/{}", settings.branch);
    let callbacks = callbacks(settings, &seen);
    let mut connection = remote.connect_auth(Direction::Fetch, Some(callbacks), None).map_err(failed)?;
    let tip = connection.list().map_err(failed)?.iter().find(|head| head.name() == branch).map(git2::RemoteHead::oid);
    let tip = tip.ok_or_else(|| Error::NoBranch { url: settings.url.shown(), branch: settings.branch.clone() })?;
    let id: Oid =
        tip.to_string().parse().map_err(|_| Error::Repository { reason: "a commit's id is no id".to_owned() })?;
    if !has(&repository, &id) && !copy(settings).is_ok_and(|copy| has(&copy, &id)) {
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
    Ok(id)
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

/// The packs of a bare repository.
fn packs(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("objects/pack")).map_or(0, Iterator::count) / 2
}

/// The bare repository, made where it is not there, is unsound, or has grown too many packs.
fn open(folder: &Path) -> Result<git2::Repository, Error> {
    if packs(folder) <= MAX_PACKS
        && let Ok(repository) = git2::Repository::open_bare(folder)
    {
        stay_at_home(&repository).map_err(|error| unsound(&error))?;
        return Ok(repository);
    }
    remove(folder).map_err(|source| Error::File { path: folder.display().to_string(), source })?;
    let repository = git2::Repository::init_bare(folder).map_err(|error| unsound(&error))?;
    stay_at_home(&repository).map_err(|error| unsound(&error))?;
    Ok(repository)
}

fn remove(folder: &Path) -> std::io::Result<()> {
    if folder.exists() { std::fs::remove_dir_all(folder) } else { Ok(()) }
}

/// Lets no server send us, and our credentials, to another. A connection that is made with credentials takes no options
/// (`git_remote_connect`), so it is the repository's own configuration that says so.
fn stay_at_home(repository: &git2::Repository) -> Result<(), git2::Error> {
    const FOLLOW: &str = "http.followRedirects";
    let mut configuration = repository.config()?;
    if configuration.get_bool(FOLLOW) == Ok(false) { Ok(()) } else { configuration.set_bool(FOLLOW, false) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        process::Command,
        sync::{Arc, Mutex},
    };

    fn settings(folder: &Path, url: &str) -> Settings {
        let text = format!(
            "environment: staging\nnamespace: shop\nurl: {url}\nbranch: main\ncredentials: {0}\ndata: {0}/data\n",
            folder.display()
        );
        Settings::parse("sync.yaml", &text).unwrap()
    }

    /// A server that gives everybody the same answer; the heads of the requests that it was sent.
    fn server(answer: String) -> (u16, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                seen.lock().unwrap().push(head.join("\n"));
                let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        (port, heads)
    }

    #[test]
    fn a_server_that_points_to_another_is_not_followed_there_with_the_credentials() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("password"), "secret").unwrap();
        let (elsewhere, theirs) = server("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"".to_owned());
        let target = format!("http://localhost:{elsewhere}/a.git/info/refs?service=git-upload-pack");
        let (here, ours) = server(format!("301 Moved Permanently\r\nLocation: {target}"));
        let settings = settings(folder.path(), &format!("http://127.0.0.1:{here}/a.git"));
        let error = fetch(&settings).unwrap_err();
        assert!(matches!(&error, Error::Unreachable { reason, .. } if reason.contains("redirect")), "{error:?}");
        assert_eq!(ours.lock().unwrap().len(), 1);
        assert!(theirs.lock().unwrap().is_empty(), "{theirs:?}");
    }

    #[test]
    fn a_copy_that_has_grown_too_many_packs_serves_until_a_newer_commit_is_applied_from_another() {
        let folder = tempfile::tempdir().unwrap();
        let (bare, away) = (folder.path().join("upstream.git"), folder.path().join("away.git"));
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"];
            let done = Command::new("git").arg("-C").arg(&bare).args(identity).args(arguments).output().unwrap();
            assert!(done.status.success(), "{done:?}");
            String::from_utf8(done.stdout).unwrap().trim().to_owned()
        };
        let commit = |message: &str| -> Oid {
            let tree = git(&["write-tree"]);
            let commit = git(&["commit-tree", "-m", message, &tree]);
            git(&["update-ref", "refs/heads/main", &commit]);
            commit.parse().unwrap()
        };
        fs::create_dir(&bare).unwrap();
        git(&["init", "-q", "--bare", "."]);
        let settings = settings(folder.path(), bare.to_str().unwrap());
        let first = commit("first");
        assert_eq!(fetch(&settings).unwrap(), first);
        let packs = super::folder(&settings).join("objects/pack");
        fs::create_dir_all(&packs).unwrap();
        for number in 0..=2 * MAX_PACKS + 2 {
            fs::write(packs.join(format!("{number}")), "").unwrap();
        }

        fs::rename(&bare, &away).unwrap();
        assert!(fetch(&settings).is_err());
        assert!(has(&copy(&settings).unwrap(), &first), "with git down it is all there is");
        fs::rename(&away, &bare).unwrap();
        assert_eq!(fetch(&settings).unwrap(), first);
        assert!(
            !has(&git2::Repository::open_bare(next_folder(&settings)).unwrap(), &first),
            "nothing is fetched twice"
        );

        let second = commit("second");
        assert_eq!(fetch(&settings).unwrap(), second);
        assert!(has(&copy(&settings).unwrap(), &first), "a pass may be reading it");
        assert!(has(&copy_with(&settings, &second).unwrap(), &second));
        settle(&settings, &second).unwrap();
        assert!(has(&copy(&settings).unwrap(), &second) && !next_folder(&settings).exists());
        settle(&settings, &second).unwrap();
        assert!(has(&copy(&settings).unwrap(), &second));
    }
}
