//! Keys and credentials as people have them: behind a passphrase that an agent may know, and good for a while only. Work that
//! nobody watches asks for none of it.

use super::bed::{Bed, Clone, git};
use super::servers::{on_the_server, test_bed};
use gitops_hooks::git::Repository;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A keyring of its own with one key behind a passphrase; its agent ends with it.
struct Keyring {
    folder: tempfile::TempDir,
    key: String,
}

impl Keyring {
    /// `None`, with a word, where there is no gpg.
    fn new() -> Option<Self> {
        if which::which("gpg").is_err() {
            crate::testbed::skipped("needs gpg");
            return None;
        }
        // The agent's socket is in it, and a socket's path is short.
        let folder = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let pinentry = folder.path().join("pinentry");
        // A window, as far as anybody can tell: that it was opened is written down.
        fs::write(&pinentry, "#!/bin/sh\ntouch \"$(dirname \"$0\")/asked\"\nexit 1\n").unwrap();
        fs::set_permissions(&pinentry, fs::Permissions::from_mode(0o755)).unwrap();
        let settings = format!("pinentry-program {}\nallow-loopback-pinentry\n", pinentry.display());
        fs::write(folder.path().join("gpg-agent.conf"), settings).unwrap();
        let mut keyring = Self { folder, key: String::new() };
        let person = "Ada <dev@example.com>";
        keyring
            .gpg(&["--pinentry-mode", "loopback", "--passphrase", "secret", "--quick-gen-key", person, "ed25519"], "");
        let keys = keyring.gpg(&["--list-keys", "--with-colons"], "");
        let line = keys.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().clone_into(&mut keyring.key);
        keyring.lock();
        Some(keyring)
    }

    fn gpg(&self, args: &[&str], input: &str) -> String {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--yes"]).args(args).env("GNUPGHOME", self.folder.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The agent forgets the passphrase.
    fn lock(&self) {
        let _ = Command::new("gpgconf").args(["--kill", "gpg-agent"]).env("GNUPGHOME", self.folder.path()).status();
    }

    /// The user signs something, and so tells the agent the passphrase.
    fn unlock(&self) {
        self.gpg(
            &["--pinentry-mode", "loopback", "--passphrase", "secret", "-u", &self.key, "--clear-sign"],
            "hello\n",
        );
    }

    fn has_asked(&self) -> bool {
        self.folder.path().join("asked").exists()
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        self.lock();
    }
}

#[test]
fn a_signing_key_that_gpg_has_locked_is_not_asked_for_and_signs_once_the_agent_knows_it() {
    let Some(keyring) = Keyring::new() else { return };
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    clone.commit_and_push("one");
    git(&clone.folder, &["config", "user.signingkey", &keyring.key]);
    git(&clone.folder, &["config", "commit.gpgSign", "true"]);
    let variables = [("GNUPGHOME", keyring.folder.path().to_str().unwrap())];
    assert_ne!(clone.deliver_in_a_process(&variables), Some(0));
    let told = clone.waiting().remove(0).last_error.unwrap();
    assert!(told.contains("cannot sign"), "{told}");
    assert!(!keyring.has_asked(), "a window was opened");
    assert_eq!(bed.log().len(), 1);
    keyring.unlock();
    assert_eq!(clone.deliver_in_a_process(&variables), Some(0), "{:?}", clone.waiting());
    assert!(!keyring.has_asked(), "a window was opened");
    let commit = git(&bed.path().join("manifests.git"), &["cat-file", "commit", "main"]);
    assert!(commit.contains("gpgsig -----BEGIN PGP SIGNATURE-----"), "{commit}");
    assert!(clone.waiting().is_empty());
}

/// An agent of SSH's; it ends with the test.
struct Agent {
    socket: PathBuf,
    process: std::process::Child,
}

impl Agent {
    fn new(folder: &Path) -> Self {
        let socket = folder.join("agent");
        let process = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        while !socket.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self { socket, process }
    }

    /// The user types the passphrase.
    fn learn(&self, key: &Path, ask: &Path) {
        let mut command = Command::new("ssh-add");
        command.arg(key).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        command.env("SSH_ASKPASS", ask).env("SSH_ASKPASS_REQUIRE", "force");
        assert!(command.output().unwrap().status.success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_key_with_a_passphrase_waits_for_the_agent_to_know_it() {
    let (Some(base), Some(root), Some(key), Some(hosts)) = (
        test_bed("GITOPS_HOOKS_TEST_GIT_SSH"),
        test_bed("GITOPS_HOOKS_TEST_GIT_ROOT"),
        test_bed("GITOPS_HOOKS_TEST_SSH_KEY"),
        test_bed("GITOPS_HOOKS_TEST_KNOWN_HOSTS"),
    ) else {
        return;
    };
    let bed = Bed::new();
    let (path, url) = on_the_server(&bed, &root, &base);
    let mut clone = bed.clone("Ada");
    clone.url = url;
    clone.commit_and_push("one");
    let locked = bed.path().join("locked");
    fs::copy(key, &locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o600)).unwrap();
    let sealed = Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", "secret", "-f"]).arg(&locked).status();
    assert!(sealed.unwrap().success());
    let ask = bed.path().join("ask");
    // Whoever calls it is told the passphrase, and is written down.
    fs::write(&ask, "#!/bin/sh\necho x >> \"$0.calls\"\necho secret\n").unwrap();
    fs::set_permissions(&ask, fs::Permissions::from_mode(0o755)).unwrap();
    let asked = || fs::read_to_string(bed.path().join("ask.calls")).unwrap_or_default().lines().count();
    let ssh = format!("ssh -F none -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={hosts}", locked.display());
    git(&clone.folder, &["config", "core.sshCommand", &ssh]);
    let agent = Agent::new(bed.path());
    let variables = [("SSH_AUTH_SOCK", agent.socket.to_str().unwrap()), ("SSH_ASKPASS", ask.to_str().unwrap())];
    assert_ne!(clone.deliver_in_a_process(&variables), Some(0));
    let told = clone.waiting().remove(0).last_error.unwrap();
    assert!(told.contains("does not let you in"), "{told}");
    assert_eq!(asked(), 0, "detached work asks nobody");
    agent.learn(&locked, &ask);
    assert_eq!(clone.deliver_in_a_process(&variables), Some(0), "{:?}", clone.waiting());
    assert_eq!(asked(), 1, "by the user's own ssh-add alone");
    assert!(clone.waiting().is_empty());
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn credentials_that_expire_between_fetch_and_push_leave_a_note_and_no_question() {
    let (Some(base), Some(root), Some(ca), Some(user), Some(password)) = (
        test_bed("GITOPS_HOOKS_TEST_GIT_HTTPS"),
        test_bed("GITOPS_HOOKS_TEST_GIT_ROOT"),
        test_bed("GITOPS_HOOKS_TEST_CA"),
        test_bed("GITOPS_HOOKS_TEST_USER"),
        test_bed("GITOPS_HOOKS_TEST_PASSWORD"),
    ) else {
        return;
    };
    let bed = Bed::new();
    let (path, url) = on_the_server(&bed, &root, &base);
    git(&path, &["config", "http.receivepack", "true"]);
    let mut clone = bed.clone("Ada");
    clone.url = url;
    clone.commit_and_push("one");
    // A token that is good for as long as a file is there, as a login of an hour is.
    let token = bed.path().join("token");
    fs::write(&token, &password).unwrap();
    let helper =
        format!("!f() {{ echo username={user}; echo password=$(cat '{}' || echo gone); }}; f", token.display());
    git(&clone.folder, &["config", "credential.helper", ""]);
    git(&clone.folder, &["config", "--add", "credential.helper", &helper]);
    let expires = format!("rm '{}'", token.display());
    let before = git(&path, &["rev-parse", "main"]);
    let fails = [("GIT_SSL_CAINFO", ca.as_str()), ("DELIVER_WHILE_BUILDING", expires.as_str())];
    assert_ne!(clone.deliver_in_a_process(&fails), Some(0));
    assert!(!token.exists(), "it was fetched with the token");
    let told = clone.waiting().remove(0).last_error.unwrap();
    assert!(told.contains("does not let you in") && !told.contains(&password), "{told}");
    assert_eq!(git(&path, &["rev-parse", "main"]), before);
    fs::write(&token, &password).unwrap();
    assert_eq!(clone.deliver_in_a_process(&fails[..1]), Some(0), "{:?}", clone.waiting());
    assert!(git(&path, &["log", "-1", "--format=%s", "main"]).contains(clone.tip().short()));
    assert!(clone.waiting().is_empty());
    fs::remove_dir_all(path).unwrap();
}

/// What a locked key leaves is what the user is shown.
#[test]
fn status_says_why_a_delivery_with_a_locked_key_waits() {
    let Some(keyring) = Keyring::new() else { return };
    let bed = Bed::new();
    let mut clone: Clone = bed.clone("Ada");
    clone.configure(&super::bed::described(&bed.url));
    git(&clone.folder, &["config", "user.signingkey", &keyring.key]);
    git(&clone.folder, &["config", "commit.gpgSign", "true"]);
    clone.repository = Repository::open(&clone.folder).unwrap();
    assert_ne!(clone.deliver_in_a_process(&[("GNUPGHOME", keyring.folder.path().to_str().unwrap())]), Some(0));
    let (_, said) = clone.hooks(&["status"]);
    assert!(said.contains("staging: delivery waits: cannot sign"), "{said}");
}
