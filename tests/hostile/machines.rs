//! Machines where something is missing, full, locked or wrong.

use crate::{
    context::{Done, TestContext},
    testbed,
};
use std::{
    os::unix::fs::symlink,
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime},
};

const PASSES: &str = "hooks:\n  pre-commit:\n    - { name: step, run: 'grep -q staged f' }\n";

/// A script with mounts of its own, where this machine lets us make some.
fn mounting(context: &TestContext, script: &str) -> Option<Done> {
    let mut command = context.command("unshare");
    let binary = assert_cmd::cargo::cargo_bin!("gitops-hooks");
    command
        .args(["--mount", "sh", "-ec", script])
        .env("HOOKS", binary)
        .env("WORK", &context.work)
        .env("CACHE", context.beside("cache"));
    let possible = context.command("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if possible.is_ok_and(|output| output.status.success()) {
        return Some(TestContext::run(&mut command));
    }
    testbed::skipped("needs to be root, to mount a disk that is full or read-only");
    None
}

fn outside(context: &TestContext) -> Vec<(std::path::PathBuf, u32, Vec<u8>)> {
    let all = TestContext::tree(&context.work).into_iter();
    all.filter(|(path, ..)| !path.starts_with(context.work.join(".git"))).collect()
}

#[track_caller]
fn explained(done: &Done, code: i32, part: &str) {
    assert_eq!(done.code, Some(code), "{done:?}");
    assert!(
        done.stderr.contains(part) && done.stderr.contains("error:") && !done.stderr.contains("panicked"),
        "{done:?}"
    );
}

#[test]
fn in_a_read_only_repository_steps_are_run_and_not_recorded() {
    let context = TestContext::with(PASSES);
    context.git(&["commit", "-q", "--no-verify", "-m", "x"]);
    let read_only = "mount --bind \"$WORK\" \"$WORK\"; mount -o remount,ro,bind \"$WORK\"; cd \"$WORK\"";
    let Some(done) = mounting(&context, &format!("{read_only}; exec \"$HOOKS\" run pre-commit")) else { return };
    assert!(done.code == Some(0) && done.stderr.contains("✓ step"), "{done:?}");
    assert!(done.stderr.contains("not recorded"), "{done:?}");
    context.write("untracked", "so that a scratch tree is needed");
    let done = mounting(&context, &format!("{read_only}; exec \"$HOOKS\" run pre-commit")).unwrap();
    explained(&done, 3, "Read-only file system");
    context.must(&["run", "pre-commit"]);
}

#[test]
fn on_a_full_disk_nothing_is_lost_and_the_next_run_works() {
    let context = TestContext::with(
        "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/staged/fixed/ f', files: [f] }\n",
    );
    context.write("large", &"x".repeat(3 << 20));
    context.git(&["add", "large"]);
    context.write("untracked", "mine");
    let (files, index) = (outside(&context), context.git(&["ls-files", "--stage"]));
    // The cache, the temporary files, and the folder of git itself.
    let cache = "mkdir -p \"$CACHE\"; mount -t tmpfs -o size=1m none \"$CACHE\"; cd \"$WORK\"; exec git commit -q -m x";
    let temporary = "mount -t tmpfs -o size=4k none /tmp2; export TMPDIR=/tmp2; head -c 4096 /dev/zero > /tmp2/full || true; cd \"$WORK\"; exec git commit -q -m x";
    let temporary = temporary.replace("/tmp2", context.beside("tmp").to_str().unwrap());
    std::fs::create_dir(context.beside("tmp")).unwrap();
    let state = "mkdir -p .git/gitops-hooks; mount -t tmpfs -o size=4k none .git/gitops-hooks; head -c 4096 /dev/zero > .git/gitops-hooks/full || true; exec git commit -q -m x";
    let Some(done) = mounting(&context, cache) else { return };
    explained(&done, 1, "unable to write file");
    assert_eq!((outside(&context), context.git(&["ls-files", "--stage"])), (files.clone(), index.clone()));
    let done = mounting(&context, state).unwrap();
    explained(&done, 1, "No space left on device");
    assert_eq!((outside(&context), context.git(&["ls-files", "--stage"])), (files, index));
    let done = mounting(&context, &temporary).unwrap();
    assert!(done.code == Some(0) || done.stderr.contains("No space left on device"), "{done:?}");
    context.write("f", "1\nstaged\n4\n");
    context.git(&["commit", "-q", "-m", "x", "f"]);
    assert_eq!(context.read("f"), "1\nfixed\n4\n");
}

#[test]
fn a_standard_error_that_takes_nothing_stops_nothing() {
    let context = TestContext::with(PASSES);
    for closed in ["2>/dev/full", "2>&-", ">&- 2>&- <&-"] {
        let script = format!("exec git commit -q --allow-empty -m x {closed}");
        let done = TestContext::run(context.command("sh").args(["-c", &script]));
        assert_eq!(done.code, Some(0), "{closed}: {done:?}");
    }
}

#[test]
fn a_clock_that_was_set_back_changes_nothing() {
    let context = TestContext::with(PASSES);
    context.must(&["run", "pre-commit"]);
    let later = SystemTime::now() + Duration::from_secs(20 * 365 * 24 * 3600);
    let mut touched = 0;
    for (path, ..) in TestContext::tree(&context.work) {
        let file = std::fs::File::options().append(true).open(&path);
        touched += usize::from(file.is_ok_and(|file| file.set_modified(later).is_ok()));
    }
    assert!(touched > 10);
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(0) && done.stderr.contains("passed on these inputs"), "{done:?}");
    context.write("f", "bad\n");
    assert_eq!(context.try_git(&["commit", "-q", "-a", "-m", "x"]).code, Some(1));
    context.write("f", "staged once more\n");
    context.git(&["commit", "-q", "-a", "-m", "x"]);
}

#[test]
fn hooks_at_once_in_one_repository_do_not_disturb_each_other() {
    let context = TestContext::with(
        "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'sed -i s/BAD/GOOD/ {files}', files: [f] }\n    - { name: judge, run: 'sleep 0.2; ! grep BAD f' }\n",
    );
    let trees: Vec<_> = (0..4).map(|at| context.beside(&format!("tree-{at}"))).collect();
    for (at, tree) in trees.iter().enumerate() {
        context.git(&["worktree", "add", "-q", "-b", &format!("side-{at}"), tree.to_str().unwrap()]);
        std::fs::write(tree.join("f"), format!("BAD {at}\n")).unwrap();
        std::fs::write(tree.join("untracked"), "mine").unwrap();
    }
    let started: Vec<_> = trees
        .iter()
        .map(|tree| {
            let mut command = context.command("git");
            command.args(["commit", "-q", "-a", "-m", "x"]).current_dir(tree).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    for (at, tree) in trees.iter().enumerate() {
        assert_eq!(std::fs::read_to_string(tree.join("f")).unwrap(), format!("GOOD {at}\n"));
        assert_eq!(context.git(&["show", &format!("side-{at}:f")]), format!("GOOD {at}\n"));
    }
}

#[test]
fn more_runs_at_once_than_there_are_scratch_trees_are_refused() {
    let context = TestContext::with(
        "hooks:\n  pre-commit:\n    - { name: wait, run: 'until test -e \"$GO\"; do sleep 0.1; done' }\n",
    );
    context.write("untracked", "so that a scratch tree is needed");
    let go = context.beside("go");
    let run = || {
        let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
        command.args(["run", "pre-commit", "--no-cache"]).env("GO", &go).stderr(Stdio::null());
        command
    };
    let mut started: Vec<_> = (0..16).map(|_| run().spawn().unwrap()).collect();
    // Not `git worktree list`, which stumbles over those that are half made.
    let made = context.work.join(".git/worktrees");
    let trees = || {
        std::fs::read_dir(&made)
            .map_or(0, |all| all.flatten().filter(|tree| tree.path().join("gitops-hooks").exists()).count())
    };
    let began = std::time::Instant::now();
    while trees() < 16 {
        assert!(began.elapsed() < Duration::from_secs(120), "{} trees", trees());
        std::thread::sleep(Duration::from_millis(50));
    }
    explained(&TestContext::run(run().stderr(Stdio::piped())), 3, "all 16 scratch trees");
    std::fs::write(&go, "").unwrap();
    for child in &mut started {
        assert!(child.wait().unwrap().success());
    }
    context.git(&["commit", "-q", "--no-verify", "-m", "x"]);
}

#[test]
fn without_a_home_only_a_scratch_tree_is_missed() {
    let context = TestContext::with(PASSES);
    let commit = || {
        let mut command = context.command("git");
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME").args(["commit", "-q", "--allow-empty", "-m", "x"]);
        TestContext::run(&mut command)
    };
    let done = commit();
    assert_eq!(done.code, Some(0), "{done:?}");
    context.write("untracked", "so that a scratch tree is needed");
    context.write("f", "staged anew");
    context.git(&["add", "f"]);
    let done = commit();
    explained(&done, 1, "HOME or XDG_CACHE_HOME");
}

#[test]
fn a_cache_folder_that_is_a_link_or_a_file_is_no_way_out() {
    let context = TestContext::with(PASSES);
    context.write("untracked", "mine");
    let elsewhere = context.beside("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("precious"), "mine").unwrap();
    symlink(&elsewhere, context.beside("cache")).unwrap();
    context.git(&["commit", "-q", "-m", "x"]);
    assert_eq!(std::fs::read_to_string(elsewhere.join("precious")).unwrap(), "mine");
    std::fs::remove_file(context.beside("cache")).unwrap();
    std::fs::write(context.beside("cache"), "a file").unwrap();
    context.write("f", "staged anew");
    context.git(&["add", "f"]);
    explained(&context.try_git(&["commit", "-q", "-m", "x"]), 1, "Not a directory");
    assert!(Path::new(&context.work.join("untracked")).exists());
}
