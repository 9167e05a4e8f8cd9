//! What a run must never touch, whatever a step does and however the run ends.

use super::processes::wait_for;
use crate::context::TestContext;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// All that is the user's: files, index, references, configuration.
fn belongings(context: &TestContext) -> Vec<String> {
    let mut all = vec![
        context.git(&["for-each-ref"]),
        context.git(&["symbolic-ref", "HEAD"]),
        context.git(&["status", "--porcelain=v2", "--ignored"]),
        context.git(&["ls-files", "--stage"]),
        context.git(&["stash", "list"]),
        context.git(&["config", "--list", "--local"]),
        format!("{:?}", std::fs::read(context.work.join(".git/index")).map(|bytes| bytes.len())),
    ];
    for file in context.git(&["ls-files", "-co"]).lines() {
        all.push(format!("{file} {:?}", std::fs::read(context.work.join(file)).ok()));
    }
    all
}

fn dirty(context: &TestContext) {
    context.seed();
    context.write("staged", "staged");
    context.git(&["add", "staged"]);
    context.write("main.sh", "unstaged");
    context.write("untracked", "untracked");
}

/// Starts a commit of its own in a folder of its own, as a test suite of a git tool does.
const NESTED: &str = "    - name: nested\n      run: |\n        set -e\n        cd \"$(mktemp -d)\"\n        git init -q\n        echo x > x\n        git add x\n        git -c user.name=n -c user.email=n@n commit -q -m nested\n        test \"$(git rev-list --count HEAD)\" = 1";

#[test]
fn a_commit_inside_a_step_never_lands_in_the_users_repository() {
    let context = TestContext::new();
    context.seed();
    context.hook("pre-commit", NESTED);
    let linked = context.beside("linked");
    context.git(&["worktree", "add", "-q", "-b", "side", linked.to_str().unwrap()]);
    for (folder, dirty) in [(&context.work, false), (&linked, false), (&context.work, true), (&linked, true)] {
        let git = |arguments: &[&str]| {
            let mut all = vec!["-C", folder.to_str().unwrap()];
            all.extend(arguments);
            context.git(&all)
        };
        std::fs::write(folder.join("f"), format!("{dirty}")).unwrap();
        git(&["add", "f"]);
        if dirty {
            std::fs::write(folder.join("main.sh"), "unstaged").unwrap();
        }
        let before: u32 = git(&["rev-list", "--count", "HEAD"]).trim().parse().unwrap();
        git(&["commit", "-q", "-m", "mine"]);
        let after: u32 = git(&["rev-list", "--count", "HEAD"]).trim().parse().unwrap();
        assert_eq!(after, before + 1);
        assert_eq!(git(&["log", "-1", "--format=%s"]).trim(), "mine");
        assert!(git(&["show", "--stat", "--format="]).contains(" f "));
    }
    assert!(!context.git(&["log", "--all", "--format=%s"]).contains("nested"));
}

#[test]
fn the_index_that_a_hook_is_given_is_the_one_that_is_judged() {
    let context = TestContext::new();
    context.write("a", "good");
    context.write("b", "good");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "seed"]);
    context.hook("pre-commit", "    - { name: good, run: 'cat a b >> $LOG; ! grep bad a b' }");
    let commit = |arguments: &[&str]| {
        let mut command = context.command("git");
        command.env("LOG", context.log()).args(["commit", "-q", "-m", "x"]).args(arguments).status().unwrap().success()
    };
    // Staged, but not what `git commit FILE` commits.
    context.write("b", "bad");
    context.git(&["add", "b"]);
    context.write("a", "good, edited");
    assert!(commit(&["a"]));
    assert_eq!(context.git(&["show", "HEAD:b"]).trim(), "good");
    assert_eq!(context.git(&["diff", "--cached", "--name-only"]).trim(), "b");
    assert!(!commit(&["b"]));
    assert!(!commit(&["-a"]));
    assert!(!commit(&[]));
    context.write("b", "good, mended");
    assert!(commit(&["-a"]));
    assert_eq!(context.git(&["status", "--porcelain"]).trim(), "");
}

#[test]
fn nothing_of_the_users_changes_whatever_the_verdict() {
    let context = TestContext::new();
    dirty(&context);
    let before = belongings(&context);
    context.check("pre-commit", "    - { name: s, run: 'echo changed > main.sh; git add -A; rm -rf sub' }").passes();
    context.check("pre-commit", "    - { name: s, run: 'echo changed > main.sh; exit 1' }").fails();
    context.check("pre-commit", "    - { name: s, run: 'git commit -q -m mine; rm -rf .git' }").done();
    context.check("pre-commit", "    - { name: s, run: test -e main.sh }").passes();
    assert_eq!(belongings(&context), before);
    // As the file has it: `git worktree list` shows it since 2.31.
    let locked = context.read(".git/worktrees/app/locked");
    assert!(locked.contains("gitops-hooks judges snapshots here"), "{locked}");
    context.git(&["worktree", "prune"]);
    context.git(&["gc", "-q", "--prune=now"]);
    context.check("pre-commit", "    - { name: s, run: test -e staged }").passes();
    assert_eq!(belongings(&context).len(), before.len());
}

/// The scratch tree of a repository that has one.
fn scratch(context: &TestContext) -> PathBuf {
    let list = context.git(&["worktree", "list", "--porcelain"]);
    let tree = list.lines().filter_map(|line| line.strip_prefix("worktree ")).find(|path| path.contains("/scratch/"));
    tree.unwrap_or_else(|| panic!("{list}")).into()
}

type Harm<'a> = Box<dyn Fn() + 'a>;

#[test]
fn a_scratch_tree_that_was_cut_short_is_healed() {
    let context = TestContext::new();
    dirty(&context);
    let before = belongings(&context);
    let steps =
        "    - { name: s, run: 'test -e staged && test \"$(git status --porcelain)\" = \"A  staged\" && sh main.sh' }";
    let run = || context.check("pre-commit", steps).env("CHECK_ANEW", "1").passes();
    run();
    let tree = scratch(&context);
    let admin = || {
        let text = std::fs::read_to_string(tree.join(".git")).unwrap();
        PathBuf::from(text.trim().strip_prefix("gitdir: ").unwrap())
    };
    let write = |path: PathBuf, text: &str| std::fs::write(path, text).unwrap();
    let harms: Vec<(&str, Harm<'_>)> = vec![
        ("locks left", Box::new(|| ["index.lock", "HEAD.lock"].iter().for_each(|name| write(admin().join(name), "")))),
        ("a broken index", Box::new(|| write(admin().join("index"), "DIRC"))),
        ("no index", Box::new(|| std::fs::remove_file(admin().join("index")).unwrap())),
        ("files changed", Box::new(|| write(tree.join("lib.sh"), "exit 1"))),
        ("files gone", Box::new(|| std::fs::remove_dir_all(tree.join("sub")).unwrap())),
        ("files left", Box::new(|| write(tree.join("left"), ""))),
        (
            "a file where a folder was",
            Box::new(|| {
                std::fs::remove_dir_all(tree.join("sub")).unwrap();
                write(tree.join("sub"), "");
            }),
        ),
        ("no .git", Box::new(|| std::fs::remove_file(tree.join(".git")).unwrap())),
        ("no folder", Box::new(|| std::fs::remove_dir_all(&tree).unwrap())),
        ("not registered", Box::new(|| std::fs::remove_dir_all(admin()).unwrap())),
        ("a broken HEAD", Box::new(|| write(admin().join("HEAD"), ""))),
    ];
    for (name, harm) in harms {
        harm();
        let done = context.check("pre-commit", steps).env("CHECK_ANEW", "1").done();
        assert_eq!(done.code, Some(0), "{name}: {}", done.stderr);
        assert_eq!(belongings(&context), before, "{name}");
    }
    assert_eq!(context.git(&["worktree", "list"]).lines().count(), 2);
}

#[test]
fn a_clone_made_anew_at_the_same_place_gets_a_tree_of_its_own() {
    let context = TestContext::new();
    dirty(&context);
    let steps = "    - { name: s, run: 'git log --format=%s; sh main.sh' }";
    context.check("pre-commit", steps).passes();
    std::fs::remove_dir_all(context.work.join(".git")).unwrap();
    context.git(&["init", "-q"]);
    context.write("main.sh", "true");
    context.git(&["add", "main.sh"]);
    context.git(&["commit", "-q", "-m", "anew"]);
    let done = context.check("pre-commit", steps).passes();
    assert!(done.stderr.contains("anew") && !done.stderr.contains("seed"), "{}", done.stderr);
}

#[test]
fn two_runs_at_once_use_two_trees() {
    let context = TestContext::new();
    dirty(&context);
    let steps = "    - { name: s, run: 'pwd >> $LOG; until test \"$(sort -u $LOG | wc -l)\" = 2; do sleep 0.05; done', timeout: 20s }";
    let other = context.check("pre-commit", steps).env("LOG", context.log()).started();
    context.check("pre-commit", steps).env("LOG", context.log()).passes();
    assert!({ other }.wait().unwrap().success());
}

#[test]
fn while_steps_of_a_killed_run_still_write_the_next_one_takes_another_tree() {
    let context = TestContext::new();
    dirty(&context);
    // Until it is killed, too: for two seconds it is only asked to end.
    let writes = "    - { name: s, run: 'trap \"\" TERM; echo $$ > $LOG.pid; pwd >> $LOG; while :; do echo x >> main.sh; sleep 0.02; done' }";
    let mut killed = context.check("pre-commit", writes).env("LOG", context.log()).started();
    wait_for(|| !context.logged().is_empty());
    killed.kill().unwrap();
    killed.wait().unwrap();
    let steps = "    - { name: s, run: 'pwd >> $LOG; sh main.sh' }";
    let place = || {
        context.check("pre-commit", steps).env("LOG", context.log()).env("CHECK_ANEW", "1").passes();
        context.logged().pop().unwrap()
    };
    let first = context.logged().remove(0);
    let pid = std::fs::read_to_string(context.beside("log.pid")).unwrap();
    let writes = || std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty());
    wait_for(|| {
        let is_free = place() == first;
        assert!(!(is_free && writes()), "it was given away too early");
        is_free
    });
}

#[test]
fn a_run_that_is_killed_leaves_everything_and_the_next_one_works() {
    let context = TestContext::new();
    dirty(&context);
    for n in 0..300 {
        context.write(&format!("many/{n}"), "x");
    }
    context.git(&["add", "many"]);
    let before = belongings(&context);
    let steps = "    - { name: s, run: 'sleep 0.3; test \"$(ls many | wc -l)\" = 300' }";
    for delay in [5, 15, 30, 45, 60, 90, 120, 200] {
        let mut child = context.check("pre-commit", steps).env("CHECK_ANEW", "1").started();
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(belongings(&context), before, "killed after {delay} ms");
        if delay % 2 == 0 {
            // The tree differs from the one that was being made.
            context.check("pre-commit", steps).env("CHECK_ANEW", "1").passes();
        }
    }
    context.check("pre-commit", steps).env("CHECK_ANEW", "1").passes();
    assert_eq!(belongings(&context), before);
    assert!(!context.work.join(".git/index.lock").exists());
}

#[test]
fn a_run_that_is_killed_leaves_no_step_running() {
    let context = TestContext::new();
    context.seed();
    let steps =
        "    - { name: a, run: 'echo $$ >> $LOG; sleep 60' }\n    - { name: b, run: 'echo $$ >> $LOG; sleep 60' }";
    let mut child = context.check("pre-commit", steps).env("LOG", context.log()).started();
    wait_for(|| context.logged().len() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let pids = context.logged();
    let since = Instant::now();
    let alive = |pid: &String| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    while pids.iter().any(alive) {
        assert!(since.elapsed() < Duration::from_secs(5), "{pids:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_in_a_repository_of_ten_thousand_files_is_quick() {
    let context = TestContext::new();
    for n in 0..10_000 {
        context.write(&format!("d{}/f{n}", n % 100), "x");
    }
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "many"]);
    context.write("d0/f0", "y");
    context.git(&["add", "."]);
    let steps = "    - { name: s, run: 'true' }";
    let timed = |context: &TestContext| {
        let started = Instant::now();
        context.check("pre-commit", steps).env("CHECK_ANEW", "1").passes();
        started.elapsed()
    };
    timed(&context);
    let clean = timed(&context);
    context.write("untracked", "");
    let first = timed(&context);
    let second = timed(&context);
    println!("in place {clean:?}, in a new scratch tree {first:?}, in a kept one {second:?}");
    assert!(clean < Duration::from_secs(3) && second < Duration::from_secs(5));
    assert!(Path::new(&scratch(&context)).exists());
}
