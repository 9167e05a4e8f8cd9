//! `gitops-hooks config check` as its users run it: all mistakes at once, with their places, and nothing secret in them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod context;

use context::TestContext;
use std::fmt::Write as _;

const IMAGE: &str = "images:\n  web:\n    repository: registry.example.com/team/web\n";

fn mistakes(context: &TestContext) -> Vec<String> {
    let done = context.hooks(&["config", "check"]);
    assert_eq!(done.code, Some(2), "{done:?}");
    let told = done.stderr.lines().filter(|line| line.starts_with(".gitops-hooks.yaml:"));
    told.map(str::to_owned).collect()
}

#[test]
fn a_repository_with_capitals_is_told_what_is_wrong_with_it() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", "images:\n  web:\n    repository: registry.example.com/Team/App\n");
    context.write("Dockerfile", "FROM scratch\n");
    let told = mistakes(&context);
    assert!(told.len() == 1 && told[0].starts_with(".gitops-hooks.yaml:3:17: "), "{told:?}");
    assert!(told[0].contains("in lower case"), "{told:?}");
}

#[test]
fn paths_that_lead_nowhere_are_told_at_their_places() {
    let context = TestContext::new();
    context.write(
        ".gitops-hooks.yaml",
        &format!("hooks:\n  pre-commit:\n    - {{run: make, root: web-ui}}\n{IMAGE}    dockerfile: docker/App\n  api:\n    repository: r/api\n    context: api\n"),
    );
    assert_eq!(
        mistakes(&context),
        [
            ".gitops-hooks.yaml:3:25: there is no folder web-ui here",
            ".gitops-hooks.yaml:7:17: there is no file docker/App here; its path is from the root of the repository",
            ".gitops-hooks.yaml:10:14: there is no folder api here",
        ]
    );
    context.write("web-ui/Makefile", "");
    context.write("docker/App", "");
    context.write("api/main.py", "");
    assert_eq!(
        mistakes(&context),
        [".gitops-hooks.yaml:9:17: there is no file api/Dockerfile here; name it with `dockerfile`"]
    );
    context.write("api/Dockerfile", "");
    assert_eq!(context.must(&["config", "check"]), ".gitops-hooks.yaml is fine\n");
}

#[test]
fn a_password_in_an_address_is_refused_and_never_shown() {
    let context = TestContext::new();
    for address in ["https://me:hunter2@git.example.com/m.git", "https://ghp_hunter2@git.example.com/m.git"] {
        context.write(
            ".gitops-hooks.yaml",
            &format!(
                "environments:\n  staging:\n    branch: main\n    manifests: {{url: '{address}'}}\n    images: []\n"
            ),
        );
        for args in [["config", "check"].as_slice(), &["install", "--yes"], &["deliver"], &["doctor"], &["status"]] {
            let done = context.hooks(args);
            assert!(done.code != Some(0), "{args:?} {done:?}");
            assert!(!format!("{done:?}").contains("hunter2"), "{args:?} {done:?}");
        }
        assert!(mistakes(&context)[0].contains("credential helper"));
    }
}

#[test]
fn a_configuration_that_is_no_text_is_a_mistake_with_its_place() {
    let context = TestContext::new();
    std::fs::write(context.work.join(".gitops-hooks.yaml"), b"hooks:\n  # caf\xe9\n").unwrap();
    let place = ".gitops-hooks.yaml:2:8: byte 15 of the file is no UTF-8; save the file as UTF-8";
    assert_eq!(mistakes(&context), [place]);
    let done = context.hooks(&["install", "--yes"]);
    assert!(done.code == Some(2) && done.stderr.contains(place), "{done:?}");
}

#[test]
fn a_file_with_nearly_the_right_name_is_told() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yml", "hooks: {pre-commit: [{run: \"true\"}]}\n");
    let done = context.hooks(&["config", "check"]);
    assert!(done.code == Some(2) && done.stderr.contains("the name is .gitops-hooks.yaml"), "{done:?}");
    assert!(done.stderr.contains("`git mv .gitops-hooks.yml .gitops-hooks.yaml`"), "{done:?}");
    context.write(".gitops-hooks.yaml", "hooks: {pre-commit: [{run: \"true\"}]}\n");
    let said = context.must(&["config", "check"]);
    assert!(said.contains("warning: .gitops-hooks.yml is never read"), "{said}");
}

#[test]
fn hooks_whose_configuration_was_renamed_do_not_pass_in_silence() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", "hooks: {pre-commit: [{run: \"true\"}]}\n");
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    context.git(&["mv", ".gitops-hooks.yaml", ".gitops-hooks.yml"]);
    let done = context.try_git(&["commit", "-m", "x"]);
    assert!(done.code == Some(1) && done.stderr.contains("the name is .gitops-hooks.yaml"), "{done:?}");
}

#[test]
fn a_configuration_of_ten_thousand_lines_with_every_mistake_is_told_a_hundred() {
    let context = TestContext::new();
    let mut text = "hooks:\n  pre-push:\n".to_owned();
    for n in 0..1_900 {
        let _ = write!(
            text,
            "    - name: s{n}\n      run: x {{filez}}\n      needs: [t{n}]\n      timeout: soon\n      colour: red\n"
        );
    }
    text.push_str("environments:\n");
    for n in 0..500 {
        let _ = writeln!(text, "  e{n}:\n    branch: main\n    images: [i{n}]");
    }
    context.write(".gitops-hooks.yaml", &text);
    let done = context.hooks(&["config", "check"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert_eq!(mistakes(&context).len(), 100);
    assert!(done.stderr.contains("and 8500 more"), "{}", done.stderr.lines().last().unwrap_or_default());
}

#[test]
fn a_bomb_of_aliases_is_a_mistake() {
    let context = TestContext::new();
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, before) in ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"])
    {
        let _ = writeln!(bomb, "{name}: &{name} [{}]", vec![format!("*{before}"); 10].join(","));
    }
    bomb.push_str("hooks: {pre-commit: *i}\n");
    context.write(".gitops-hooks.yaml", &bomb);
    let told = mistakes(&context);
    assert!(told.iter().any(|line| line.contains("an alias, which this file may not use")), "{told:?}");
}

#[test]
fn one_persons_file_is_out_of_sight_until_uninstall_restores_what_was_there() {
    for before in [None, Some(""), Some("# mine\n*.log\n"), Some("*.log")] {
        let context = TestContext::new();
        context.write(".gitops-hooks.yaml", "hooks: {pre-commit: [{run: \"true\"}]}\n");
        context.git(&["add", "."]);
        context.git(&["commit", "-q", "-m", "x"]);
        let exclude = context.work.join(".git/info/exclude");
        match before {
            None => std::fs::remove_file(&exclude).unwrap(),
            Some(text) => std::fs::write(&exclude, text).unwrap(),
        }
        let bytes = || std::fs::read(&exclude).ok();
        let at_first = bytes();
        context.must(&["install", "--yes"]);
        let installed = bytes();
        context.must(&["install", "--yes"]);
        assert_eq!(bytes(), installed, "installed again, nothing is written twice");
        context.write("gitops-hooks.local.yaml", "hooks: {pre-commit: [{name: mine, run: \"true\"}]}\n");
        assert_eq!(context.git(&["status", "--porcelain"]), "");
        context.must(&["uninstall"]);
        assert_eq!(bytes(), at_first, "{before:?}");
        assert_eq!(context.git(&["status", "--porcelain"]), "?? gitops-hooks.local.yaml\n");
    }
}

#[test]
fn names_that_mean_nothing_are_told() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", "hooks: {pre-commit: [{name: lint, run: \"true\", tags: [slow]}]}\n");
    context.must(&["install", "--yes"]);
    context.git(&["add", "."]);
    let skip = |names: &str| {
        let mut git = context.command("git");
        TestContext::run(git.args(["commit", "--allow-empty", "-m", "x"]).env("GITOPS_HOOKS_SKIP", names)).stderr
    };
    let told = skip("lnit,slow");
    assert!(told.contains("GITOPS_HOOKS_SKIP names lnit, which no step is called; did you mean lint?"), "{told}");
    assert!(!skip("slow,lint").contains("no step is called"));
    let done = context.hooks(&["run", "pre-comit"]);
    assert!(done.code == Some(2) && done.stderr.contains("did you mean \"pre-commit\"?"), "{done:?}");
    let done = context.hooks(&["run", "commit-msg"]);
    assert!(done.code == Some(0) && done.stderr.contains("nothing ran: commit-msg has no steps"), "{done:?}");
}

#[test]
fn shells_and_manual_pages_are_told_of_every_command() {
    let context = TestContext::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = context.must(&["completions", shell]);
        assert!(script.contains("all-files") && script.contains("uninstall"), "{shell}");
    }
    context.must(&["man", "."]);
    assert!(context.read("gitops-hooks-run.1").contains("all\\-files"));
}

#[test]
fn what_only_a_command_can_use_is_refused_where_an_image_is_built() {
    let context = TestContext::new();
    context.write("Dockerfile", "FROM scratch\n");
    context.write(
        ".gitops-hooks.yaml",
        &format!("hooks:\n  pre-push:\n    - image: web\n      timeout: 10m\n      fail_text: ask Ada\n      files: [src]\n      env: {{A: b}}\n      shell: bash\n      stdin: true\n      interactive: true\n      inputs: [src]\n      tools: [node -v]\n{IMAGE}"),
    );
    let told = mistakes(&context);
    let keys = ["env", "shell", "stdin", "interactive", "inputs", "tools"];
    for (line, key) in (7..).zip(keys) {
        let wanted = format!(".gitops-hooks.yaml:{line}:7: `{key}` is for a step that runs a command");
        assert!(told.iter().any(|one| one.starts_with(&wanted)), "{wanted} in {told:?}");
    }
}
