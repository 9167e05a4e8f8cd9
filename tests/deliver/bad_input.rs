//! What nobody should do to a manifest repository and everybody does: each is told by name, and nothing is damaged.

use super::bed::{Bed, Clone, MANIFEST, REPOSITORY, built, described, follow, git, identify};
use gitops_hooks::{
    deliver::{Delivery, Error, Switch},
    values::Oid,
};
use std::{fs, path::Path};

/// A clone of the manifest repository, as a person works in it.
fn hand(bed: &Bed) -> tempfile::TempDir {
    let hand = tempfile::tempdir_in(bed.path()).unwrap();
    git(hand.path(), &["clone", "--quiet", &bed.url, "."]);
    identify(hand.path(), "Hand");
    hand
}

fn publish(hand: &Path) {
    git(hand, &["add", "-A"]);
    git(hand, &["commit", "--quiet", "-m", "by hand"]);
    git(hand, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
}

fn begun(bed: &Bed) -> (Clone, Oid) {
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    (clone, tip)
}

fn refused(clone: &Clone, tip: &Oid, expected: &str) {
    let error = clone.deliver_with(tip, |_| panic!("nothing is built for this")).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert!(clone.waiting()[0].last_error.as_ref().unwrap().contains(expected));
}

#[test]
fn a_repository_without_the_branch() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    git(&bed.path().join("manifests.git"), &["branch", "-m", "main", "trunk"]);
    refused(&clone, &tip, "has no branch \"main\"");
}

#[test]
fn a_branch_that_is_deleted_while_images_are_built_does_not_come_back() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    let server = bed.path().join("manifests.git");
    let deleted = clone.deliver_with(&tip, |tip| {
        git(&server, &["branch", "-M", "main", "trunk"]);
        vec![("web".parse().unwrap(), built(tip))]
    });
    assert!(deleted.unwrap_err().to_string().contains("has no branch \"main\""));
    assert_eq!(git(&server, &["for-each-ref", "--format=%(refname)"]).trim(), "refs/heads/trunk");
}

#[test]
fn a_branch_rewritten_by_force_is_followed() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    clone.deliver(&tip).unwrap();
    let hand = hand(&bed);
    git(hand.path(), &["checkout", "--quiet", "--orphan", "new"]);
    fs::write(hand.path().join("README.md"), "all new\n").unwrap();
    publish(hand.path());
    let next = clone.commit_and_push("two");
    assert!(matches!(clone.deliver(&next).unwrap(), Delivery::Delivered { .. }));
    assert_eq!((bed.log().len(), bed.manifest("README.md").as_str()), (2, "all new\n"));

    // Also where that happens between our fetch and our push.
    let third = clone.commit_and_push("three");
    let Delivery::Delivered { tries, .. } = clone
        .deliver_with(&third, |tip| {
            git(hand.path(), &["commit", "--quiet", "--amend", "-m", "again"]);
            git(hand.path(), &["push", "--quiet", "--force", "origin", "HEAD:main"]);
            vec![("web".parse().unwrap(), built(tip))]
        })
        .unwrap()
    else {
        panic!()
    };
    assert_eq!((tries, bed.log()[0].as_str()), (2, "Hand|again"));
}

#[test]
fn submodules_large_files_and_links_are_left_alone() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    let hand = hand(&bed);
    let at = |path: &str| hand.path().join(path);
    std::os::unix::fs::symlink("/etc/passwd", at("staging/passwd.yaml")).unwrap();
    std::os::unix::fs::symlink("../../outside", at("staging/outside")).unwrap();
    std::os::unix::fs::symlink("deployment.yaml", at("staging/link.yaml")).unwrap();
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 99999\n", "a".repeat(64));
    fs::write(at("staging/model.yaml"), &pointer).unwrap();
    fs::write(at("staging/.gitattributes"), "*.yaml filter=lfs text eol=crlf\n").unwrap();
    let commit = git(hand.path(), &["rev-parse", "HEAD"]);
    git(
        hand.path(),
        &["update-index", "--add", "--cacheinfo", &format!("160000,{},staging/module.yaml", commit.trim())],
    );
    fs::write(
        at(".gitmodules"),
        "[submodule \"m\"]\n\tpath = staging/module.yaml\n\turl = ext::sh -c 'touch /tmp/never'\n",
    )
    .unwrap();
    git(
        hand.path(),
        &[
            "-c",
            "filter.lfs.clean=cat",
            "add",
            "-A",
            "--",
            ".gitmodules",
            "staging/passwd.yaml",
            "staging/outside",
            "staging/link.yaml",
            "staging/model.yaml",
            "staging/.gitattributes",
        ],
    );
    git(hand.path(), &["commit", "--quiet", "-m", "by hand"]);
    git(hand.path(), &["push", "--quiet", "origin", "HEAD:main"]);
    let server = bed.path().join("manifests.git");
    let before = git(&server, &["ls-tree", "-r", "main"]);
    assert!(matches!(clone.deliver(&tip).unwrap(), Delivery::Delivered { .. }));
    let after = git(&server, &["ls-tree", "-r", "main"]);
    let others = |tree: &str| -> Vec<String> {
        tree.lines()
            .filter(|line| !line.ends_with("staging/deployment.yaml") && !line.contains("state.yaml"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(others(&before), others(&after));
    assert!(before.contains("160000") && before.contains("120000"));
    assert_eq!(bed.manifest("staging/model.yaml"), pointer);
    assert!(!bed.manifest("staging/deployment.yaml").contains('\r'), "attributes change no byte");
}

#[test]
fn a_file_of_a_hundred_megabytes_is_refused_by_name_where_it_could_be_a_manifest() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    let hand = hand(&bed);
    let large = vec![b'#'; 100 << 20];
    fs::write(hand.path().join("staging/dump.sql"), &large).unwrap();
    publish(hand.path());
    assert!(matches!(clone.deliver(&tip).unwrap(), Delivery::Delivered { .. }), "it is nobody's manifest");
    git(hand.path(), &["pull", "--quiet", "--rebase", "origin", "main"]);
    fs::rename(hand.path().join("staging/dump.sql"), hand.path().join("staging/dump.yaml")).unwrap();
    publish(hand.path());
    let next = clone.commit_and_push("two");
    refused(&clone, &next, "staging/dump.yaml");
}

#[test]
fn a_path_that_is_a_file_or_is_not_there() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    let hand = hand(&bed);
    fs::remove_dir_all(hand.path().join("staging")).unwrap();
    publish(hand.path());
    refused(&clone, &tip, "staging is not there on the branch main");
    fs::write(hand.path().join("staging"), MANIFEST).unwrap();
    publish(hand.path());
    refused(&clone, &tip, "staging is no folder");
    fs::remove_file(hand.path().join("staging")).unwrap();
    std::os::unix::fs::symlink("/etc", hand.path().join("staging")).unwrap();
    publish(hand.path());
    refused(&clone, &tip, "staging is no folder");
}

#[test]
fn a_state_that_was_edited_broken_or_merged_badly_is_told_with_its_place() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    clone.deliver(&tip).unwrap();
    let next = clone.commit_and_push("two");
    let path = "staging/.gitops-hooks/state.yaml";
    let good = bed.manifest(path);
    for (text, expected) in [
        (good.replace("    source:", "<<<<<<< HEAD\n    source:"), "a merge left its conflict marks"),
        (good.replace("@sha256:", "@sha256:zz"), "cannot be trusted"),
        (good.replace("version: 1", "version: 9"), "reads version 1 only"),
        ("\u{0}".to_owned(), "cannot be trusted"),
        ("a: [".repeat(100_000), "cannot be trusted"),
        (String::new(), "cannot be trusted"),
    ] {
        bed.push_manifests("manifests.git", &[(path, &text)]);
        refused(&clone, &next, expected);
        refused(&clone, &next, &format!("{path}:"));
    }
    // Edited so that it is still sound: it counts.
    let third = clone.commit_and_push("three");
    bed.push_manifests("manifests.git", &[(path, &good.replace(tip.as_str(), third.as_str()))]);
    assert!(matches!(clone.deliver(&next).unwrap(), Delivery::Superseded { .. }));
    let gone = hand(&bed);
    fs::remove_file(gone.path().join(path)).unwrap();
    publish(gone.path());
    assert!(matches!(clone.deliver(&third).unwrap(), Delivery::Delivered { .. }), "without a state it begins anew");
}

#[test]
fn what_stands_where_the_state_or_the_values_belong_is_told_by_name() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    let hand = hand(&bed);
    let at = |path: &str| hand.path().join("staging").join(path);
    fs::write(at(".gitops-hooks"), "mine\n").unwrap();
    publish(hand.path());
    refused(&clone, &tip, "staging/.gitops-hooks is no folder of its own");
    fs::remove_file(at(".gitops-hooks")).unwrap();
    std::os::unix::fs::symlink("..", at(".gitops-hooks")).unwrap();
    publish(hand.path());
    refused(&clone, &tip, "staging/.gitops-hooks is no folder of its own");
    fs::remove_file(at(".gitops-hooks")).unwrap();
    fs::create_dir(at(".gitops-hooks")).unwrap();
    std::os::unix::fs::symlink("../../state.yaml", at(".gitops-hooks/state.yaml")).unwrap();
    publish(hand.path());
    refused(&clone, &tip, "staging/.gitops-hooks/state.yaml is no file of its own");

    fs::remove_file(at(".gitops-hooks/state.yaml")).unwrap();
    fs::write(hand.path().join("values.yaml"), format!("image: {REPOSITORY}:1\n")).unwrap();
    std::os::unix::fs::symlink("../values.yaml", at("values.yaml")).unwrap();
    publish(hand.path());
    let config = described(&bed.url).replace("path: staging", "path: staging, values: [values.yaml]");
    let config = gitops_hooks::config::parse("c.yaml", &config).unwrap();
    let error = clone.act(&config, "staging", Switch::Refused, follow(&tip), |_| panic!()).unwrap_err().to_string();
    assert_eq!(error, "staging/values.yaml is a symbolic link, and `values` names it");
}

#[test]
fn credentials_that_expire_between_fetch_and_push_leave_a_note() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    let server = bed.path().join("manifests.git");
    let away = bed.path().join("away.git");
    let failed = clone.deliver_with(&tip, |tip| {
        fs::rename(&server, &away).unwrap();
        vec![("web".parse().unwrap(), built(tip))]
    });
    assert!(matches!(failed, Err(Error::Git(_))), "{failed:?}");
    fs::rename(&away, &server).unwrap();
    assert_eq!((clone.waiting().len(), bed.log().len()), (1, 1));
    assert!(matches!(clone.deliver(&tip).unwrap(), Delivery::Delivered { .. }));
    assert!(clone.waiting().is_empty());
}

#[test]
fn clocks_that_disagree_decide_nothing() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let dated = |subject: &str, date: &str| -> Oid {
        let output = std::process::Command::new("git")
            .args(["commit", "--quiet", "--allow-empty", "-m", subject])
            .current_dir(&clone.folder)
            .env("GIT_AUTHOR_DATE", date)
            .env("GIT_COMMITTER_DATE", date)
            .status();
        assert!(output.unwrap().success());
        git(&clone.folder, &["push", "--quiet", "-u", "origin", "main"]);
        clone.tip()
    };
    let future = dated("from the future", "2099-01-01T00:00:00Z");
    assert!(matches!(clone.deliver(&future).unwrap(), Delivery::Delivered { .. }));
    let past = dated("from the past", "1999-01-01T00:00:00Z");
    assert!(matches!(clone.deliver(&past).unwrap(), Delivery::Delivered { .. }));
    assert_eq!(clone.deliver(&future).unwrap(), Delivery::Superseded { by: past });
}

#[test]
fn a_disk_that_is_full_damages_nothing() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    clone.deliver(&tip).unwrap();
    let next = clone.commit_and_push("two");
    let log = bed.log();
    // No process of the delivery may write a file beyond its limit, as on a full disk.
    let limited = |blocks: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "deliver::bed::process", "--ignored", "--nocapture"]);
        command.env("DELIVER_CLONE", &clone.folder).env("DELIVER_URL", &clone.url);
        command.output().unwrap()
    };
    let output = limited("0");
    assert!(!output.status.success());
    assert_eq!(bed.log(), log);
    assert!(matches!(clone.deliver(&next).unwrap(), Delivery::Delivered { .. }));
    assert!(bed.manifest("staging/deployment.yaml").contains(&format!("{REPOSITORY}:git-{next}")));
}

#[test]
fn what_a_killed_git_left_in_the_mirror_is_in_nobodys_way() {
    let bed = Bed::new();
    let (clone, tip) = begun(&bed);
    clone.deliver(&tip).unwrap();
    let mirrors = clone.folder.join(".git/gitops-hooks/mirrors");
    let mirror = fs::read_dir(mirrors).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    for lock in ["refs/remotes/mirrored/main.lock", "packed-refs.lock", "config.lock", "shallow.lock"] {
        fs::write(mirror.join(lock), "").unwrap();
    }
    let next = clone.commit_and_push("two");
    assert!(matches!(clone.deliver(&next).unwrap(), Delivery::Delivered { .. }));
}
