//! The user's own ways to a server, over SSH and HTTPS. With the servers of the test bed.

use super::bed::{Bed, git};
use crate::testbed;
use gitops_hooks::{deliver::Delivery, git::Repository};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The test bed's variable, or a word that says what is skipped without it.
fn test_bed(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok();
    if value.is_none() {
        testbed::skipped(&format!("{variable} is not set"));
    }
    value
}

/// A manifest repository on the test bed's server, with the address that `base` gives it.
fn on_the_server(bed: &Bed, root: &str, base: &str) -> (PathBuf, String) {
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
