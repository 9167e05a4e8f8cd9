//! The user's own ways to a server, over SSH and HTTPS. With the servers of the test bed.

use super::bed::{Bed, git};
use crate::testbed;
use gitops_hooks::{
    deliver::{Delivery, Error},
    git::Repository,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[test]
fn a_signing_key_that_is_locked_is_never_asked_for_and_the_delivery_waits() {
    let bed = Bed::new();
    let mut clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    for (name, passphrase) in [("locked", "secret"), ("open", "")] {
        let key = bed.path().join(name);
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(&key).status();
        assert!(made.unwrap().success());
        git(&clone.folder, &["config", "gpg.format", "ssh"]);
        git(&clone.folder, &["config", "user.signingkey", key.to_str().unwrap()]);
        git(&clone.folder, &["config", "commit.gpgSign", "true"]);
        clone.repository = Repository::open(&clone.folder).unwrap();
        let delivered = clone.deliver(&tip);
        if name == "locked" {
            assert!(matches!(delivered, Err(Error::Git(gitops_hooks::git::Error::Signing(_)))), "{delivered:?}");
            assert!(clone.waiting()[0].last_error.as_ref().unwrap().contains("cannot sign"), "{:?}", clone.waiting());
        } else {
            assert!(matches!(delivered, Ok(Delivery::Delivered { .. })), "{delivered:?}");
        }
    }
    let commit = git(&bed.path().join("manifests.git"), &["cat-file", "commit", "main"]);
    assert!(commit.contains("gpgsig -----BEGIN SSH SIGNATURE-----"), "{commit}");
    assert!(clone.waiting().is_empty());
}

#[test]
fn the_user_in_an_address_is_shown_nowhere() {
    let bed = Bed::new();
    let mut clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    clone.url = "https://robot@127.0.0.1:1/team/manifests.git".to_owned();
    let error = clone.deliver(&tip).unwrap_err();
    let all = format!("{error} {error:?} {:?}", clone.waiting());
    assert!(all.contains("127.0.0.1:1/team/manifests.git"), "{all}");
    assert!(!all.contains("robot"), "{all}");
}

#[test]
fn a_key_with_a_passphrase_and_no_agent_is_never_asked_for() {
    let (Some(base), Some(root), Some(hosts)) = (
        test_bed("GITOPS_HOOKS_TEST_GIT_SSH"),
        test_bed("GITOPS_HOOKS_TEST_GIT_ROOT"),
        test_bed("GITOPS_HOOKS_TEST_KNOWN_HOSTS"),
    ) else {
        return;
    };
    let bed = Bed::new();
    let (path, url) = on_the_server(&bed, &root, &base);
    let mut clone = bed.clone("Ada");
    clone.url = url;
    let tip = clone.commit_and_push("one");
    let key = bed.path().join("locked");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "secret", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let ssh = format!(
        "ssh -F none -i {} -o IdentitiesOnly=yes -o IdentityAgent=none -o UserKnownHostsFile={hosts}",
        key.display()
    );
    git(&clone.folder, &["config", "core.sshCommand", &ssh]);
    clone.repository = Repository::open(&clone.folder).unwrap();
    let error = clone.deliver(&tip).unwrap_err();
    assert!(matches!(error, Error::Git(gitops_hooks::git::Error::Denied { .. })), "{error}");
    assert!(clone.waiting()[0].last_error.as_ref().unwrap().contains("does not let you in"));
    fs::remove_dir_all(path).unwrap();
}

/// The test bed's variable, or a word that says what is skipped without it.
pub fn test_bed(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok();
    if value.is_none() {
        testbed::skipped(&format!("{variable} is not set"));
    }
    value
}

/// A manifest repository on the test bed's server, with the address that `base` gives it.
pub fn on_the_server(bed: &Bed, root: &str, base: &str) -> (PathBuf, String) {
    let name = format!("deliver-{}-{}.git", std::process::id(), bed.path().file_name().unwrap().to_string_lossy());
    let path = Path::new(root).join(&name);
    git(bed.path(), &["clone", "--quiet", "--bare", "manifests.git", path.to_str().unwrap()]);
    (path, format!("{}/{name}", base.trim_end_matches('/')))
}

#[test]
fn over_ssh_with_the_settings_of_the_source() {
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
    let tip = clone.commit_and_push("one");
    let ssh = |hosts: &str| format!("ssh -F none -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={hosts}");
    git(&clone.folder, &["config", "core.sshCommand", &ssh(&hosts)]);
    // Opened anew: a repository keeps the configuration that it was opened with.
    clone.repository = Repository::open(&clone.folder).unwrap();
    assert!(matches!(clone.deliver(&tip).unwrap(), Delivery::Delivered { .. }));

    let changed = bed.path().join("known_hosts");
    git(bed.path(), &["--version"]);
    let other = bed.path().join("other");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other).status().unwrap();
    assert!(made.success());
    let public = fs::read_to_string(other.with_extension("pub")).unwrap();
    let known = fs::read_to_string(&hosts).unwrap();
    let host = known.split_whitespace().next().unwrap();
    fs::write(&changed, format!("{host} {public}")).unwrap();
    git(&clone.folder, &["config", "core.sshCommand", &ssh(changed.to_str().unwrap())]);
    clone.repository = Repository::open(&clone.folder).unwrap();
    let next = clone.commit_and_push("two");
    let error = clone.deliver(&next).unwrap_err().to_string();
    assert!(error.contains("SSH host key") && error.contains("has changed"), "{error}");
    assert_eq!(clone.waiting().len(), 1);
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn over_https_with_the_credentials_of_the_source() {
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
    let tip = clone.commit_and_push("one");
    git(&clone.folder, &["config", "http.sslCAInfo", &ca]);
    git(&clone.folder, &["config", "credential.helper", ""]);
    // In a process of its own: a GIT_SSL_CAINFO of the machine would win over the configuration.
    let trusted = [("GIT_SSL_CAINFO", ca.as_str())];
    assert_ne!(clone.deliver_in_a_process(&trusted), Some(0));
    let told = clone.waiting().remove(0).last_error.unwrap();
    assert!(told.contains("does not let you in"), "{told}");
    let helper = format!("!f() {{ echo username={user}; echo password={password}; }}; f");
    git(&clone.folder, &["config", "--add", "credential.helper", &helper]);
    assert_eq!(clone.deliver_in_a_process(&trusted), Some(0), "{:?}", clone.waiting());
    assert!(git(&path, &["log", "-1", "--format=%s", "main"]).contains(tip.short()));
    fs::remove_dir_all(path).unwrap();
}
