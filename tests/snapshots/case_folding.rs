//! A real file system on which `F` and `f` are one file. It takes root to make one; where none can be had the tests say why.

use crate::{
    context::{Done, TestContext},
    testbed::skipped,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted file system; it goes away with this value.
struct Folding {
    folder: PathBuf,
    _image: tempfile::TempDir,
}

impl Folding {
    fn mount() -> Option<Self> {
        let image = tempfile::tempdir().unwrap();
        let (file, folder) = (image.path().join("image"), image.path().join("mounted"));
        std::fs::create_dir(&folder).unwrap();
        let forms = [
            "mkfs.ext4 -q -O casefold $I && mount -o loop $I $M && chattr +F $M",
            "mkfs.vfat $I && mount -o loop $I $M",
            "mkntfs -q -F -Q $I && lowntfs-3g -o ignore_case,permissions $I $M",
        ];
        let made = forms.iter().find(|form| {
            std::fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
            let mut shell = Command::new("sh");
            shell.env("I", &file).env("M", &folder).args(["-c", form]);
            shell.output().is_ok_and(|done| done.status.success())
        });
        if made.is_none() {
            skipped(&format!("no file system that folds case can be mounted here ({})", forms.join("; ")));
            return None;
        }
        Some(Self { folder: folder.canonicalize().unwrap(), _image: image })
    }

    /// A repository on it, which knows what its files are like, with `f` on its first commit.
    fn repository(&self, context: &TestContext, config: &str) -> PathBuf {
        let folder = self.folder.join("app");
        std::fs::create_dir(&folder).unwrap();
        must(context, &folder, &["init", "-q", "-b", "main"]);
        assert_eq!(must(context, &folder, &["config", "core.ignoreCase"]), "true\n");
        for (name, text) in [(".gitops-hooks.yaml", config), ("f", "one\n"), ("g", "one\n")] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        must(context, &folder, &["add", "."]);
        must(context, &folder, &["commit", "-q", "-m", "first"]);
        let binary = assert_cmd::cargo::cargo_bin!("gitops-hooks");
        let done = TestContext::run(context.command(binary).args(["install", "--yes"]).current_dir(&folder));
        assert_eq!(done.code, Some(0), "{done:?}");
        folder
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).status();
    }
}

/// git, with scratch trees on the same file system as the repository.
fn git(context: &TestContext, folder: &Path, args: &[&str]) -> Done {
    let cache = folder.parent().unwrap().join("cache");
    TestContext::run(context.logging(args).env("XDG_CACHE_HOME", cache).current_dir(folder))
}

#[track_caller]
fn must(context: &TestContext, folder: &Path, args: &[&str]) -> String {
    let done = git(context, folder, args);
    assert_eq!(done.code, Some(0), "git {args:?}: {done:?}");
    done.stdout
}

const JUDGE: &str = "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: [f, F] }\n    - { name: judge, run: 'cat f g >> \"$LOG\"' }\n";

#[test]
fn a_file_in_another_spelling_is_the_same_file() {
    let Some(disk) = Folding::mount() else { return };
    let context = TestContext::new();
    let folder = disk.repository(&context, JUDGE);
    std::fs::write(folder.join("F"), "BAD\n2\n3\n4\n5\n").unwrap();
    must(&context, &folder, &["commit", "-q", "-a", "-m", "all"]);
    assert_eq!(must(&context, &folder, &["show", "HEAD:f"]), "GOOD\n2\n3\n4\n5\n");
    assert_eq!(must(&context, &folder, &["status", "--porcelain"]), "");
    must(&context, &folder, &["mv", "g", "G"]);
    std::fs::write(folder.join("f"), "GOOD\n2\n3\n4\nmine\n").unwrap();
    let done = git(&context, &folder, &["commit", "-q", "-m", "renamed"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(must(&context, &folder, &["ls-tree", "--name-only", "HEAD"]), ".gitops-hooks.yaml\nG\nf\n");
    assert_eq!(std::fs::read_to_string(folder.join("f")).unwrap(), "GOOD\n2\n3\n4\nmine\n");
    let seen = std::fs::read_to_string(context.log()).unwrap();
    assert_eq!(seen, "GOOD\n2\n3\n4\n5\none\nGOOD\n2\n3\n4\n5\none\n");
}

#[test]
fn of_two_paths_that_are_one_file_no_record_says_that_both_were_judged() {
    let Some(disk) = Folding::mount() else { return };
    let context = TestContext::new();
    let folder =
        disk.repository(&context, "hooks:\n  pre-commit:\n    - { name: judge, run: 'cat f g >> \"$LOG\"' }\n");
    // As it comes from somebody whose file system tells them apart.
    std::fs::write(folder.join("other"), "two\n").unwrap();
    let id = must(&context, &folder, &["hash-object", "-w", "other"]);
    std::fs::remove_file(folder.join("other")).unwrap();
    must(&context, &folder, &["update-index", "--add", "--cacheinfo", &format!("100644,{},F", id.trim())]);
    for _ in 0..2 {
        let done = git(&context, &folder, &["commit", "-q", "--allow-empty", "-m", "both"]);
        assert!(!done.stderr.contains("passed on these inputs"), "{done:?}");
        assert!(done.stderr.contains("not recorded") || done.code != Some(0), "{done:?}");
    }
}
