//! What a step can say, as its author meets it: which files it gets, where and when it runs, beside what, and what a person
//! can leave out or ask for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod context;
#[path = "context/documented.rs"]
mod documented;
#[path = "context/testbed.rs"]
mod testbed;
mod steps {
    mod live;
    mod screen;
    mod terminal;
}

use context::{Done, TestContext};
use std::time::Duration;

/// A repository whose steps are installed and committed.
fn with(configuration: &str) -> TestContext {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", configuration);
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "--no-verify", "-m", "configuration"]);
    context
}

fn commit(context: &TestContext) -> Done {
    context.git(&["add", "."]);
    context.try_git(&["commit", "-q", "-m", "change"])
}

/// What the steps wrote into a file beside the repository.
fn log(context: &TestContext) -> String {
    std::fs::read_to_string(context.beside("log")).unwrap_or_default()
}

fn logging(steps: &str, context: &TestContext) -> String {
    steps.replace("LOG", context.beside("log").to_str().unwrap())
}

/// As [`with`], where `LOG` stands for a file beside the repository.
fn with_log(configuration: &str) -> TestContext {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", &logging(configuration, &context));
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "--no-verify", "-m", "configuration"]);
    context
}

#[test]
fn a_folder_of_its_own_gets_its_own_paths() {
    let context = with_log(
        "hooks:\n  pre-commit:\n    - name: web\n      root: web\n      files: ['*.js']\n      exclude: [vendor]\n      run: echo {files} in $(basename $PWD) >>LOG\n",
    );
    context.write("other/a.js", "1");
    assert!(commit(&context).stderr.contains("no changed file matches"));
    context.write("web/src/a.js", "1");
    context.write("web/vendor/b.js", "1");
    assert_eq!(commit(&context).code, Some(0));
    assert_eq!(log(&context), "src/a.js in web\n");
}

#[test]
fn all_files_are_those_of_the_snapshot() {
    let context = with_log("hooks:\n  pre-commit:\n    - run: echo {all_files} >>LOG\n      files: ['*.txt']\n");
    context.write("a.txt", "1");
    commit(&context);
    context.write("b.txt", "1");
    context.git(&["add", "."]);
    context.write("c.txt", "not added");
    context.git(&["commit", "-q", "-m", "b"]);
    assert_eq!(log(&context), "a.txt\na.txt b.txt\n");
}

#[test]
fn a_list_that_the_hook_does_not_have_is_refused() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", "hooks:\n  pre-commit:\n    - run: echo {push_files}\n");
    let done = context.hooks(&["install", "--yes"]);
    assert!(done.code == Some(2) && done.stderr.contains("pre-commit has no {push_files}"), "{}", done.stderr);
}

#[test]
fn tags_stand_for_several_steps_and_priority_orders_all() {
    let context = with_log(
        "hooks:\n  pre-commit:\n    - {name: last, run: echo last >>LOG, priority: 9}\n    - {name: needs, run: echo needs >>LOG, needs: [slow]}\n    - {name: a, tags: [slow], run: sleep 0.2; echo a >>LOG}\n    - {name: b, tags: [slow], run: sleep 1; echo b >>LOG}\n",
    );
    context.write("x", "1");
    assert_eq!(commit(&context).code, Some(0));
    assert_eq!(log(&context), "a\nb\nneeds\nlast\n");
    context.must(&["run", "pre-commit", "--no-cache", "--step", "slow"]);
    assert_eq!(log(&context).lines().count(), 6);
    let unknown = context.hooks(&["run", "pre-commit", "--step", "sloow"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("last, needs, a, b"), "{}", unknown.stderr);
}

#[test]
fn conditions_decide_and_say_why() {
    let context = with_log(
        "hooks:\n  pre-commit:\n    - {name: main, run: echo main >>LOG, only: {branch: [main]}}\n    - {name: release, run: echo release >>LOG, only: {branch: ['release/*']}}\n    - {name: merging, run: echo merging >>LOG, only: {state: [merge]}}\n    - {name: variable, run: echo variable >>LOG, only: {env: [WANTED=yes]}}\n    - {name: command, run: echo command >>LOG, skip: {run: 'test -e stop'}}\n    - {name: paths, run: echo paths >>LOG, only: {paths: ['docs/**']}}\n    - {name: never, run: echo never >>LOG, skip: true}\n",
    );
    context.write("x", "1");
    let done = commit(&context);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let mut ran: Vec<String> = log(&context).lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, ["command", "main"]);
    for why in [
        "`only`: the branch is main",
        "`only`: nothing is under way",
        "`only`: WANTED=yes is not set",
        "`only`: no changed path matches",
        "`skip` is true",
    ] {
        assert!(done.stderr.contains(why), "{why}: {}", done.stderr);
    }
    std::fs::remove_file(context.beside("log")).unwrap();
    context.write("docs/x", "1");
    context.write("stop", "1");
    context.git(&["add", "."]);
    context.git(&["switch", "-q", "-c", "release/1"]);
    let done = TestContext::run(context.command("git").args(["commit", "-q", "-m", "x"]).env("WANTED", "yes"));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let mut ran: Vec<String> = log(&context).lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, ["paths", "release", "variable"]);
}

#[test]
fn a_shell_of_its_own_and_a_word_for_those_who_fail() {
    let context = with(
        "hooks:\n  pre-commit:\n    - name: bash\n      shell: bash -eu\n      run: |\n        list=(1 2)\n        [[ ${#list[@]} == 2 ]]\n        echo $UNSET_VARIABLE\n      fail_text: set the variable\n",
    );
    context.write("x", "1");
    let done = commit(&context);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("unbound variable") && done.stderr.contains("set the variable"), "{}", done.stderr);
    assert!(done.stderr.contains("gitops-hooks run pre-commit --step bash"), "{}", done.stderr);
}

#[test]
fn standard_input_comes_as_git_gave_it() {
    let context = with_log("hooks:\n  pre-push:\n    - {name: lines, stdin: true, run: 'cat >>LOG; echo {1} >>LOG'}\n");
    let bare = context.beside("bare.git");
    context.git(&["init", "-q", "--bare", bare.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", bare.to_str().unwrap()]);
    context.git(&["push", "-q", "origin", "main:other"]);
    let head = context.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let zero = "0".repeat(40);
    assert_eq!(log(&context), format!("refs/heads/main {head} refs/heads/other {zero}\norigin\n"));
}

#[test]
fn a_fix_joins_the_commit_and_checks_see_it() {
    let context = with(
        "hooks:\n  pre-commit:\n    - {name: check, run: '! grep -n bad {files}', files: ['*.txt']}\n    - {name: fix, fix: true, files: ['*.txt'], run: 'sed -i s/bad/good/ {files}'}\n",
    );
    context.write("a.txt", "bad\n");
    let done = commit(&context);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("1 file changed by `fix` steps"), "{}", done.stderr);
    assert_eq!(context.git(&["show", "HEAD:a.txt"]), "good\n");
    assert_eq!(context.read("a.txt"), "good\n");
    assert_eq!(context.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_fixer_that_fails_leaves_everything_as_it_was() {
    let context = with(
        "hooks:\n  pre-commit:\n    - {name: one, fix: true, run: 'sed -i s/bad/good/ {files}', files: ['*.txt']}\n    - {name: two, fix: true, needs: [one], run: exit 7, files: ['*.txt']}\n",
    );
    context.write("a.txt", "bad\n");
    let done = commit(&context);
    assert!(done.code == Some(1) && done.stderr.contains("exit code 7"), "{}", done.stderr);
    assert_eq!(context.read("a.txt"), "bad\n");
    assert_eq!(context.git(&["show", ":a.txt"]), "bad\n");
}

#[test]
fn two_fixers_of_one_file_never_run_at_once_and_others_do() {
    let context = with_log(
        "hooks:\n  pre-commit:\n    - {name: a, fix: true, files: [x], run: 'echo a1 >>LOG; sleep 0.3; echo a2 >>LOG'}\n    - {name: b, fix: true, files: ['*'], run: 'echo b1 >>LOG; sleep 0.3; echo b2 >>LOG'}\n",
    );
    context.write("x", "1");
    context.write("y", "1");
    assert_eq!(commit(&context).code, Some(0));
    assert_eq!(log(&context), "a1\na2\nb1\nb2\n");
}

#[test]
fn two_fixers_that_are_handed_one_file_never_run_at_once() {
    let context = TestContext::new();
    for path in ["x", "y", "z"] {
        context.write(path, "0");
    }
    let fixers = "hooks:\n  pre-commit:\n    - {name: a, fix: true, files: [x, z], run: 'echo a1 {all_files} >>LOG; sleep 0.3; echo a2 >>LOG'}\n    - {name: b, fix: true, files: [y, z], run: 'echo b1 {all_files} >>LOG; sleep 0.3; echo b2 >>LOG'}\n";
    context.write(".gitops-hooks.yaml", &logging(fixers, &context));
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "--no-verify", "-m", "configuration"]);
    context.write("x", "1");
    context.write("y", "1");
    assert_eq!(commit(&context).code, Some(0));
    assert_eq!(log(&context), "a1 x z\na2\nb1 y z\nb2\n");
}

#[test]
fn an_unstaged_edit_of_a_fixed_line_is_kept_and_of_another_line_merged() {
    let context = with(
        "hooks:\n  pre-commit:\n    - {name: fix, fix: true, files: ['*.txt'], run: 'sed -i s/bad/good/ {files}'}\n",
    );
    context.write("a.txt", "bad\n2\n3\n4\n5\n");
    context.write("b.txt", "bad\n2\n3\n4\n5\n");
    context.git(&["add", "."]);
    context.write("a.txt", "bad, and mine\n2\n3\n4\n5\n");
    context.write("b.txt", "bad\n2\n3\n4\n5 mine\n");
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("a.txt: the commit has the fix; your file keeps its unstaged edit"),
        "{}",
        done.stderr
    );
    assert_eq!(context.git(&["show", "HEAD:a.txt"]), "good\n2\n3\n4\n5\n");
    assert_eq!(context.read("a.txt"), "bad, and mine\n2\n3\n4\n5\n");
    assert_eq!(context.git(&["show", "HEAD:b.txt"]), "good\n2\n3\n4\n5\n");
    assert_eq!(context.read("b.txt"), "good\n2\n3\n4\n5 mine\n");
}

#[test]
fn what_a_person_leaves_out_is_shown_and_nothing_is_silent() {
    let context =
        with("hooks:\n  pre-commit:\n    - {name: a, tags: [slow], run: exit 1}\n    - {name: b, run: exit 1}\n");
    context.write("x", "1");
    context.git(&["add", "."]);
    let commit = |name: &str, value: &str| {
        TestContext::run(context.command("git").args(["commit", "-q", "-m", "x"]).env(name, value))
    };
    let some = commit("GITOPS_HOOKS_SKIP", "slow");
    assert!(some.code == Some(1) && some.stderr.contains("left out: GITOPS_HOOKS_SKIP names slow"), "{}", some.stderr);
    let none = commit("GITOPS_HOOKS", "0");
    assert!(
        none.code == Some(0) && none.stderr.contains("pre-commit is skipped, as GITOPS_HOOKS=0 says"),
        "{}",
        none.stderr
    );
}

#[test]
fn one_persons_file_changes_a_step_for_them_alone() {
    let context = with("hooks:\n  pre-commit:\n    - {name: check, run: exit 1}\n");
    context.write(
        "gitops-hooks.local.yaml",
        "hooks:\n  pre-commit:\n    - {name: check, run: 'true'}\n    - {name: mine, run: 'true'}\n",
    );
    context.write("x", "1");
    context.git(&["add", "x"]);
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(0) && done.stderr.contains("✓ mine"), "{}", done.stderr);
    context.git(&["add", "-f", "gitops-hooks.local.yaml"]);
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(1) && done.stderr.contains("gitops-hooks.local.yaml is tracked"), "{}", done.stderr);
}

#[test]
fn a_configuration_extends_a_file_of_the_same_snapshot() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", "extends: [team/hooks.yaml]\n");
    context.write("team/hooks.yaml", "hooks:\n  pre-commit:\n    - {name: team, run: 'true'}\n");
    context.must(&["install", "--yes"]);
    let done = commit(&context);
    assert!(done.code == Some(0) && done.stderr.contains("✓ team"), "{}", done.stderr);
    context.git(&["rm", "-q", "--cached", "team/hooks.yaml"]);
    let done = context.try_git(&["commit", "-q", "-m", "x"]);
    assert!(done.code == Some(1) && done.stderr.contains("there is no file team/hooks.yaml"), "{done:?}");
}

#[test]
fn the_plan_tells_and_runs_nothing() {
    let context = with_log(
        "hooks:\n  pre-commit:\n    - {name: a, run: echo a >>LOG, inputs: ['*.py']}\n    - {name: b, run: echo b >>LOG, files: ['*.js']}\n",
    );
    context.write("a.py", "1");
    context.git(&["add", "."]);
    let plan = context.must(&["run", "pre-commit", "--plan"]);
    assert!(plan.contains("a  runs: it has not passed") && plan.contains("b  skipped: no changed file"), "{plan}");
    assert_eq!(log(&context), "");
    context.must(&["run", "pre-commit"]);
    assert!(context.must(&["run", "pre-commit", "--plan"]).contains("a  skipped: passed on these inputs"));
    context.write("a.py", "2");
    context.git(&["add", "."]);
    let why = context.must(&["run", "pre-commit", "--why"]);
    assert!(why.contains("changed since it passed at") && why.contains(": a.py"), "{why}");
    let json: serde_json::Value =
        serde_json::from_str(&context.must(&["run", "pre-commit", "--why", "--json"])).unwrap();
    documented::is_documented("run HOOK --plan --json", &json);
    let step = &json["steps"][0];
    assert_eq!((step["step"].as_str(), step["runs"].as_bool()), (Some("a"), Some(true)));
    assert!(step["differs"][0].as_str().unwrap().contains("a.py"));
}

#[test]
fn a_person_names_the_files_or_the_commits() {
    let context = with_log("hooks:\n  pre-commit:\n    - {name: a, run: 'echo {files} >>LOG', files: ['*.txt']}\n");
    context.write("a.txt", "1");
    context.write("b.txt", "1");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "--no-verify", "-m", "x"]);
    context.must(&["run", "pre-commit", "--files", "b.txt"]);
    context.must(&["run", "pre-commit", "--all-files"]);
    context.must(&["run", "pre-commit", "--from", "HEAD~1"]);
    assert_eq!(log(&context), "b.txt\na.txt b.txt\n", "the last one passed on the same files before");
    let done = context.hooks(&["run", "pre-commit", "--files", "gone.txt"]);
    assert!(done.code == Some(2) && done.stderr.contains("git add gone.txt"), "{}", done.stderr);
    let done = context.hooks(&["run", "pre-commit", "--from", "nowhere"]);
    assert!(done.code == Some(2) && done.stderr.contains("\"nowhere\" is no commit"), "{}", done.stderr);
}

#[test]
fn a_folder_stands_for_all_files_of_the_snapshot_in_it() {
    let context = with_log("hooks:\n  pre-commit:\n    - {name: a, run: 'echo {files} >>LOG', files: ['*.txt']}\n");
    for path in ["web/a.txt", "web/sub/b.txt", "website.txt"] {
        context.write(path, "1");
    }
    context.git(&["add", "."]);
    context.write("web/new.txt", "not added");
    let run = |folder: &str, path: &str| {
        let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
        let command = command.args(["run", "pre-commit", "--no-cache", "--files", path]);
        TestContext::run(command.current_dir(context.work.join(folder)))
    };
    let (web, all) = ("web/a.txt web/sub/b.txt\n", "web/a.txt web/sub/b.txt website.txt\n");
    for (folder, path, files) in
        [("", "web", web), ("", "web/", web), ("web", ".", web), ("", ".", all), ("web/sub", "..", web)]
    {
        let done = run(folder, path);
        assert_eq!((done.code, log(&context).as_str()), (Some(0), files), "{folder} {path}: {done:?}");
        std::fs::remove_file(context.beside("log")).unwrap();
    }
    context.write("empty/new.txt", "not added");
    let done = run("", "empty");
    assert!(done.code == Some(2) && done.stderr.contains("git add empty"), "{}", done.stderr);
}

#[test]
fn files_with_conflicts_are_named_and_what_to_do_about_them() {
    let context = with("hooks:\n  pre-commit:\n    - {name: a, run: 'true'}\n");
    let write = |text: &str| {
        context.write("a.txt", text);
        context.write("b.txt", text);
        context.git(&["add", "."]);
        context.git(&["commit", "-q", "--no-verify", "-m", text]);
    };
    context.git(&["branch", "other"]);
    write("ours");
    context.git(&["switch", "-q", "other"]);
    write("theirs");
    assert_eq!(context.try_git(&["merge", "main"]).code, Some(1));
    let done = context.hooks(&["run", "pre-commit"]);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.starts_with("error: conflicts are not resolved yet in a.txt, b.txt\n"), "{done:?}");
    assert!(done.stderr.contains("git add") && !done.stderr.contains("write-tree"), "{done:?}");
}

#[test]
fn after_a_failure_fail_fast_begins_nothing_more() {
    let context = with_log(
        "hooks:\n  pre-commit:\n    - {name: a, run: exit 1}\n    - {name: b, priority: 1, run: echo b >>LOG}\n",
    );
    context.write("x", "1");
    context.git(&["add", "."]);
    let done = context.hooks(&["run", "pre-commit", "--fail-fast", "--json"]);
    assert_eq!(done.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    documented::is_documented("run HOOK --json", &json);
    let steps = &json["steps"];
    assert_eq!((steps[0]["outcome"].as_str(), steps[1]["outcome"].as_str()), (Some("failed"), Some("withheld")));
    assert_eq!(log(&context), "");
}

#[test]
fn another_version_of_a_tool_judges_anew() {
    let context =
        with_log("hooks:\n  pre-commit:\n    - {name: a, run: echo a >>LOG, inputs: [a], tools: [cat VERSION]}\n");
    let version = |text: &str| std::fs::write(context.work.join("VERSION"), text).unwrap();
    context.write(".gitignore", "VERSION\n");
    context.write("a", "1");
    context.git(&["add", "."]);
    version("1");
    context.must(&["run", "pre-commit"]);
    context.must(&["run", "pre-commit"]);
    assert_eq!(log(&context), "a\n");
    version("2");
    context.must(&["run", "pre-commit"]);
    assert_eq!(log(&context), "a\na\n");
}

#[test]
fn what_runs_in_the_background_has_passed_when_the_push_comes() {
    let context =
        with_log("hooks:\n  pre-push:\n    - {name: test, background: true, run: sleep 0.3; echo test >>LOG}\n");
    let bare = context.beside("bare.git");
    context.git(&["init", "-q", "--bare", bare.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", bare.to_str().unwrap()]);
    context.write("x", "1");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "x"]);
    let passed = || context.must(&["run", "pre-push", "--plan"]).contains("test  skipped: passed");
    // What the user does meanwhile is none of its business.
    context.write("x", "an edit");
    until(passed);
    let before = log(&context);
    let done = context.try_git(&["push", "-q", "origin", "main"]);
    assert!(done.code == Some(0) && done.stderr.contains("test  passed on these inputs"), "{}", done.stderr);
    assert_eq!(log(&context), before);
}

#[test]
fn a_push_waits_for_what_judges_its_commit_ahead() {
    let context =
        with_log("hooks:\n  pre-push:\n    - {name: test, background: true, run: echo test >>LOG; sleep 1.5}\n");
    let bare = context.beside("bare.git");
    context.git(&["init", "-q", "--bare", bare.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", bare.to_str().unwrap()]);
    until(|| log(&context) == "test\n");
    let done = context.try_git(&["push", "-q", "origin", "main"]);
    assert!(done.code == Some(0) && done.stderr.contains("✓ what runs ahead"), "{}", done.stderr);
    assert_eq!(log(&context), "test\n", "{}", done.stderr);
}

/// Waits for something that another process does.
fn until(holds: impl Fn() -> bool) {
    let mut tries = 0;
    while !holds() {
        tries += 1;
        assert!(tries < 400, "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_hook_that_acts_is_told_what_git_brought_in() {
    let context = with_log(
        "hooks:\n  post-checkout:\n    - {name: install, run: 'echo checkout {files} >>LOG', files: ['*.lock']}\n  post-merge:\n    - {name: install, run: 'echo merge {files} >>LOG', files: ['*.lock']}\n  reference-transaction:\n    - {name: moved, run: 'echo {1} >>LOG', stdin: true, only: {env: TOLD}}\n",
    );
    context.git(&["switch", "-q", "-c", "other"]);
    context.write("a.lock", "1");
    context.write("b.txt", "1");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "x"]);
    assert_eq!(log(&context), "");
    context.git(&["switch", "-q", "main"]);
    context.git(&["switch", "-q", "other"]);
    assert_eq!(log(&context), "checkout a.lock\n", "what is gone is not handed over");
    context.git(&["switch", "-q", "main"]);
    context.git(&["merge", "-q", "other"]);
    assert_eq!(log(&context), "checkout a.lock\nmerge a.lock\n");
    let done = TestContext::run(context.command("git").args(["tag", "v1"]).env("TOLD", "1"));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(log(&context).ends_with("prepared\ncommitted\n"), "{}", log(&context));
}
