//! Names that shells, line-based tools and file systems stumble over, and repositories at such places.

use crate::context::TestContext;
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

const NAMES: &[&[u8]] =
    &[b"a b", b"it's", b"quo\"te", b"new\nline", b"-rf", b"$(touch pwned)", b"l\xe4tin", b"tab\t", b"*"];

/// Every name is handed over, fixed and committed; an unstaged edit of each is kept.
#[test]
fn a_fixer_meets_every_name() {
    let context = TestContext::new();
    context.configured(
        "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: ['names/*'] }\n    - { name: judge, run: 'grep -L GOOD {files} | grep . && exit 1; exit 0', files: ['names/*'] }\n",
    );
    let folder = context.work.join("names");
    std::fs::create_dir(&folder).unwrap();
    for name in NAMES {
        std::fs::write(folder.join(OsStr::from_bytes(name)), "BAD\n2\n3\n4\n5\n").unwrap();
    }
    context.git(&["add", "."]);
    for name in NAMES {
        std::fs::write(folder.join(OsStr::from_bytes(name)), "BAD\n2\n3\n4\nmine\n").unwrap();
    }
    let done = context.user_must(&["commit", "-q", "-m", "x"]);
    assert!(done.stderr.contains("✓ judge"), "{}", done.stderr);
    for name in NAMES {
        let held = std::fs::read_to_string(folder.join(OsStr::from_bytes(name))).unwrap();
        assert_eq!(held, "GOOD\n2\n3\n4\nmine\n", "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(context.git(&["diff", "--cached"]), "");
    assert_eq!(context.git(&["grep", "-c", "GOOD", "HEAD", "--", "names"]).split('\n').count() - 1, NAMES.len());
    assert!(!context.work.join("pwned").exists());
}

#[test]
fn a_repository_may_stand_anywhere() {
    let places: &[&[u8]] = &[b"it's a \"repo\"", b"$(touch pwned)", b"l\xe4tin", b"-rf"];
    for place in places {
        let context = TestContext::new();
        let work = context.beside("x").parent().unwrap().join(OsString::from_vec(place.to_vec()));
        std::fs::rename(&context.work, &work).unwrap();
        let git = |args: &[&str]| {
            let done = TestContext::run(context.logging(args).current_dir(&work));
            assert_eq!(done.code, Some(0), "{} {args:?}: {done:?}", work.display());
            done
        };
        let config = "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: [f] }\n    - { name: judge, run: 'pwd >> \"$LOG\"; grep GOOD f' }\n  commit-msg:\n    - { name: message, run: 'grep -q x {1}' }\n";
        std::fs::write(work.join(".gitops-hooks.yaml"), config).unwrap();
        std::fs::write(work.join("f"), "BAD\n").unwrap();
        let binary = assert_cmd::cargo::cargo_bin!("gitops-hooks");
        let install = TestContext::run(context.command(binary).args(["install", "--yes"]).current_dir(&work));
        assert_eq!(install.code, Some(0), "{install:?}");
        git(&["add", "."]);
        std::fs::write(work.join("untracked"), "mine").unwrap();
        git(&["commit", "-q", "-m", "x"]);
        assert_eq!(git(&["show", "HEAD:f"]).stdout, "GOOD\n");
        assert_eq!(git(&["status", "--porcelain"]).stdout, "?? untracked\n");
        let log = std::fs::read(context.log()).unwrap();
        assert!(log.windows(8).any(|window| window == b"/scratch"), "{log:?}");
        assert!(!Path::new(&work).join("pwned").exists());
    }
}
