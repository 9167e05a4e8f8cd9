//! `gitops-hooks doctor` on clones that are well and clones that are not: what it finds, what it says to do, how it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod context;
#[path = "context/documented.rs"]
mod documented;

use context::{Done, TestContext};
use std::{
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const STEPS: &str = "hooks:\n  pre-commit:\n    - name: check\n      run: test ! -e bad\n";

/// The doctor, with the program on the `PATH` as an installation would have it, and without an engine or a cluster.
fn doctor(context: &TestContext, arguments: &[&str]) -> Command {
    let binary = assert_cmd::cargo::cargo_bin!("gitops-hooks");
    let path = std::env::var("PATH").unwrap();
    let mut command = context.command(binary);
    command
        .arg("doctor")
        .args(arguments)
        .env("PATH", format!("{}:{path}", binary.parent().unwrap().display()))
        .env("DOCKER_HOST", format!("unix://{}", context.beside("no-engine.sock").display()))
        .env("DOCKER_CONFIG", context.beside("docker"))
        .env("KUBECONFIG", context.beside("no-kubeconfig"));
    command
}

fn run(context: &TestContext, arguments: &[&str]) -> Done {
    TestContext::run(&mut doctor(context, arguments))
}

/// A clone with hooks that are installed.
fn installed(config: &str) -> TestContext {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", config);
    context.must(&["install", "--yes"]);
    context
}

/// A clone with a remote, and an environment with its manifests at an address.
fn delivering(registry: &str, manifests: &str) -> TestContext {
    let context = TestContext::new();
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", "-b", "main", remote.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    context.git(&["commit", "-q", "--allow-empty", "-m", "Start"]);
    context.git(&["push", "-q", "-u", "origin", "main"]);
    context.write(
        ".gitops-hooks.yaml",
        &format!(
            "{STEPS}images:\n  web: {{ repository: {registry}/team/web }}\nenvironments:\n  staging:\n    branch: main\n    manifests: {{ url: \"{manifests}\", path: staging }}\n    images: [web]\n"
        ),
    );
    context.must(&["install", "--yes"]);
    context
}

/// A manifest repository with a commit.
fn manifests(context: &Path) -> PathBuf {
    let folder = context.join("manifests.git");
    for arguments in [
        &["init", "-q", "--bare", "-b", "main", "manifests.git"][..],
        &["-C", "manifests.git", "config", "user.name", "A"],
        &["-C", "manifests.git", "config", "user.email", "a@example.com"],
    ] {
        assert_eq!(TestContext::run(Command::new("git").args(arguments).current_dir(context)).code, Some(0));
    }
    let empty = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    let git = |arguments: &[&str]| {
        TestContext::run(Command::new("git").arg("-C").arg(&folder).args(arguments)).stdout.trim().to_owned()
    };
    git(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let commit = git(&["commit-tree", "-m", "Start", empty]);
    git(&["update-ref", "refs/heads/main", &commit]);
    folder
}

/// A server that gives every request the same answer. Gives its `host:port`.
fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// A server that accepts and says nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// One finding: its mark, its words, and the next step in the line that follows.
fn finds(done: &Done, code: i32, start: &str, message: &str, next: &str) {
    assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
    let lines: Vec<&str> = done.stdout.lines().collect();
    let at = lines.iter().position(|line| line.starts_with(start) && line.contains(message));
    let at = at.unwrap_or_else(|| panic!("{start:?} with {message:?} in\n{}", done.stdout));
    let told = lines[at + 1..].iter().find(|line| !line.starts_with("  │")).unwrap();
    assert!(told.starts_with("  next: ") && told.contains(next), "{next:?} in {told:?}");
}

#[test]
fn a_clone_that_is_well_has_a_line_for_each_check_and_exit_code_0() {
    let context = installed(STEPS);
    let done = run(&context, &[]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stdout.lines().all(|line| line.starts_with("✓ ")), "{}", done.stdout);
    for check in ["git", "shell", "cache folder", "configuration", "confirmed", "hooks", "hooks path", "program"] {
        assert!(done.stdout.contains(&format!("✓ {check}  ")), "{check} in {}", done.stdout);
    }
    assert!(!done.stdout.contains("engine"), "nothing is asked that the configuration does not need");
    assert_eq!(run(&context, &["--quiet"]).stdout, "");
}

#[test]
fn an_environment_whose_remotes_answer_is_well_but_for_the_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let registry = server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let context = delivering(&registry, manifests(folder.path()).to_str().unwrap());
    let engine = server(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 68\r\nConnection: close\r\n\r\n\
         {\"Version\":\"29.0.0\",\"ApiVersion\":\"1.44\",\"Os\":\"linux\",\"Arch\":\"amd64\"}",
    );
    let done = TestContext::run(doctor(&context, &[]).env("DOCKER_HOST", format!("tcp://{engine}")));
    finds(&done, 0, "! cluster", "no cluster answers", "kubectl get nodes");
    for line in ["✓ engine  tcp://", "✓ manifests of staging  ", "✓ upstream of staging  origin/main", "✓ outbox  "]
    {
        assert!(done.stdout.contains(line), "{line:?} in {}", done.stdout);
    }
    assert!(done.stdout.contains(&format!("✓ registry of {registry}/team/web  answers")), "{}", done.stdout);
    assert_eq!(done.stdout.matches("next:").count(), 1, "{}", done.stdout);
}

#[test]
fn without_an_installation_the_hooks_are_missing() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", STEPS);
    finds(&run(&context, &[]), 3, "✗ hooks", "pre-commit: not installed", "gitops-hooks install");
}

#[test]
fn a_shim_that_is_deleted_or_not_executable_or_of_another_text_is_told_and_install_mends_it() {
    use std::os::unix::fs::PermissionsExt;
    let context = installed(STEPS);
    let shim = context.work.join(".git/hooks/pre-commit");
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o644)).unwrap();
    finds(&run(&context, &[]), 3, "✗ hooks", "pre-commit: not executable", "gitops-hooks install");
    std::fs::remove_file(&shim).unwrap();
    finds(&run(&context, &[]), 3, "✗ hooks", "pre-commit: not installed", "gitops-hooks install");
    context.must(&["install", "--yes"]);
    let text = std::fs::read_to_string(&shim).unwrap() + "# a line of an older version\n";
    TestContext::script(&shim, &text);
    finds(&run(&context, &[]), 0, "! hooks", "pre-commit: not what this version writes", "gitops-hooks install");
    context.must(&["install", "--yes"]);
    assert_eq!(run(&context, &[]).code, Some(0));
    assert!(!run(&context, &[]).stdout.contains("next:"));
}

#[test]
fn a_hook_that_the_user_left_out_is_not_missing_and_stays_out() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", &format!("{STEPS}  commit-msg:\n    - run: \"true\"\n"));
    context.must(&["install", "--yes", "pre-commit"]);
    let done = run(&context, &[]);
    assert!(done.code == Some(0) && done.stdout.contains("✓ hooks  pre-commit\n"), "{done:?}");
    std::fs::remove_file(context.work.join(".git/hooks/pre-commit")).unwrap();
    finds(&run(&context, &[]), 3, "✗ hooks", "pre-commit: not installed", "gitops-hooks install pre-commit`");
}

#[test]
fn a_hook_of_another_manager_in_our_place_is_named_and_install_keeps_it() {
    let context = installed(STEPS);
    let shim = context.work.join(".git/hooks/pre-commit");
    TestContext::script(&shim, "#!/bin/sh\ncall_lefthook run \"pre-commit\" \"$@\"\n");
    finds(&run(&context, &[]), 3, "✗ hooks", "another hook of lefthook", "gitops-hooks install");
    context.must(&["install", "--yes"]);
    assert_eq!(run(&context, &[]).code, Some(0));
    let kept = context.work.join(".git/hooks/pre-commit.before-gitops-hooks");
    TestContext::run(Command::new("chmod").arg("-x").arg(&kept));
    finds(&run(&context, &[]), 0, "! kept hook", "not executable", "chmod +x");
}

#[test]
fn a_gone_program_is_wrong_unless_the_path_has_one() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", STEPS);
    let copy = context.beside("gitops-hooks");
    std::fs::copy(assert_cmd::cargo::cargo_bin!("gitops-hooks"), &copy).unwrap();
    let done = TestContext::run(context.command(&copy).args(["install", "--yes"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = run(&context, &[]);
    assert!(done.code == Some(0) && done.stdout.contains("✓ program of the hooks  gitops-hooks"), "{done:?}");
    TestContext::script(&copy, "#!/bin/sh\necho gitops-hooks 0.0.1\n");
    finds(&run(&context, &[]), 0, "! program of the hooks", "is gitops-hooks 0.0.1", "install");
    std::fs::remove_file(&copy).unwrap();
    finds(&run(&context, &[]), 0, "! hooks", "they call the one on the PATH", "gitops-hooks install");
    let done = TestContext::run(doctor(&context, &[]).env("PATH", std::env::var("PATH").unwrap()));
    finds(&done, 3, "✗ hooks", "the program that they call is gone", "gitops-hooks install");
    finds(&done, 3, "! program", "is not on the PATH", "to the PATH");
}

#[test]
fn a_hooks_path_to_nowhere_and_one_past_ours_say_who_set_it() {
    let context = installed(STEPS);
    context.git(&["config", "--global", "core.hooksPath", "/nowhere/hooks"]);
    let done = run(&context, &[]);
    finds(&done, 3, "✗ hooks path", "(global, ", "git config --global --unset core.hooksPath");
    finds(&done, 3, "✗ hooks path", "no folder /nowhere/hooks", "gitops-hooks install");
    context.git(&["config", "--global", "--unset", "core.hooksPath"]);
    assert_eq!(run(&context, &[]).code, Some(0));
    std::fs::create_dir_all(context.work.join(".husky/_")).unwrap();
    context.git(&["config", "core.hooksPath", ".husky/_"]);
    finds(&run(&context, &[]), 3, "✗ hooks path", "where husky has its hooks", "gitops-hooks install");
    context.must(&["install", "--yes"]);
    let done = run(&context, &[]);
    assert!(done.code == Some(0) && done.stdout.contains("✓ hooks path  ours, which passes on to "), "{done:?}");
}

#[test]
fn a_broken_configuration_is_told_with_its_places_and_the_rest_is_still_looked_at() {
    let context = installed(STEPS);
    context.write(".gitops-hooks.yaml", "hooks:\n  pre-commit:\n    - runn: x\n");
    let done = run(&context, &[]);
    finds(&done, 2, "✗ configuration", "1 mistake", "gitops-hooks config check");
    assert!(done.stdout.contains("│ .gitops-hooks.yaml:3:7: unknown key"), "{}", done.stdout);
    assert!(done.stdout.contains("✓ git  ") && done.stdout.contains("✓ scratch trees"), "{}", done.stdout);
    std::fs::remove_file(context.work.join(".gitops-hooks.yaml")).unwrap();
    finds(&run(&context, &[]), 2, "✗ configuration", "there is no .gitops-hooks.yaml", "gitops-hooks init");
}

#[test]
fn one_persons_file_that_is_tracked_is_the_configurations_fault() {
    let context = installed(STEPS);
    context.write("gitops-hooks.local.yaml", "hooks: {}\n");
    assert_eq!(run(&context, &[]).code, Some(0));
    context.git(&["add", "-f", "gitops-hooks.local.yaml"]);
    finds(&run(&context, &[]), 2, "✗ local configuration", "is tracked", "git rm --cached");
}

#[test]
fn dead_remotes_and_no_engine_are_told_one_by_one() {
    let context = delivering("127.0.0.1:1", "/nowhere/manifests.git");
    let done = run(&context, &[]);
    finds(&done, 3, "✗ engine", "no container engine answers", "DOCKER_HOST");
    assert!(done.stdout.contains("no-engine.sock (DOCKER_HOST): not there"), "{}", done.stdout);
    finds(&done, 3, "✗ registry of 127.0.0.1:1/team/web", "cannot reach the registry", "registry up?");
    finds(&done, 3, "✗ manifests of staging", "cannot reach /nowhere/manifests.git", "git ls-remote");
    assert!(done.stderr.contains("error: 3 things are wrong"), "{}", done.stderr);
    let offline = run(&context, &["--offline"]);
    assert_eq!(offline.code, Some(0), "{offline:?}");
    assert!(!offline.stdout.contains("registry of"), "{}", offline.stdout);
}

#[test]
fn a_registry_that_refuses_leads_to_docker_login_and_says_no_password() {
    let registry = server("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let context = delivering(&registry, "/nowhere/manifests.git");
    std::fs::create_dir(context.beside("docker")).unwrap();
    // me:s3cret, as `docker login` writes it.
    let auths = format!("{{\"auths\": {{\"{registry}\": {{\"auth\": \"bWU6czNjcmV0\"}}}}}}");
    std::fs::write(context.beside("docker/config.json"), auths).unwrap();
    let done = run(&context, &[]);
    finds(&done, 3, "✗ registry of", "refuses the user me", "docker login");
    assert!(!format!("{done:?}").contains("s3cret"), "{done:?}");
}

#[test]
fn servers_that_are_silent_cost_a_few_seconds_together_and_no_answer_of_others() {
    let (_listening, address) = silent();
    let context = delivering(&address, &format!("http://{address}/m.git"));
    let started = Instant::now();
    let done = TestContext::run(doctor(&context, &[]).env("DOCKER_HOST", format!("tcp://{address}")));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    finds(&done, 3, "✗ engine", "no", "");
    finds(&done, 3, "✗ registry of", "no answer within 5 s", "up?");
    finds(&done, 3, "✗ manifests of staging", "no answer within 5 s", "git ls-remote");
    assert!(done.stdout.contains("✓ hooks  "), "{}", done.stdout);
}

#[test]
fn nobody_is_asked_whom_the_user_did_not_confirm() {
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    registry.set_nonblocking(true).unwrap();
    let address = registry.local_addr().unwrap().to_string();
    let context = delivering("127.0.0.1:1", "/nowhere/manifests.git");
    let text = context.read(".gitops-hooks.yaml");
    context.write(".gitops-hooks.yaml", &text.replace("127.0.0.1:1/", &format!("{address}/")));
    let done = run(&context, &[]);
    finds(&done, 3, "✗ confirmed", "was not confirmed", "gitops-hooks install");
    finds(&done, 3, "! registry of", "not asked", "gitops-hooks install");
    context.write(".gitops-hooks.yaml", &text.replace("/nowhere/", &format!("http://{address}/")));
    let said = context.must(&["status"]);
    assert!(said.contains("not readable") && said.contains("was not confirmed in this clone"), "{said}");
    let done = context.hooks(&["plan", "staging"]);
    assert!(done.code == Some(2) && done.stderr.contains("what was not confirmed"), "{}", done.stderr);
    assert!(registry.accept().is_err(), "nothing knocked there");
}

#[test]
fn a_broken_scratch_tree_one_that_is_gone_and_one_of_a_gone_clone_say_how_to_remove_them() {
    let context = installed(STEPS);
    context.write("staged", "1");
    context.git(&["add", "."]);
    context.write("unstaged", "1");
    context.must(&["run", "pre-commit"]);
    let scratch = context.beside("cache/gitops-hooks/scratch");
    let clone = std::fs::read_dir(&scratch).unwrap().next().unwrap().unwrap().path();
    let tree = clone.join("0/app");
    let done = run(&context, &[]);
    assert!(
        done.code == Some(0) && done.stdout.contains(&format!("✓ scratch trees  {}", tree.parent().unwrap().display())),
        "{done:?}"
    );
    assert!(!done.stdout.contains("next:"), "{}", done.stdout);

    let link = std::fs::read_to_string(tree.join(".git")).unwrap();
    std::fs::write(tree.join(".git"), "gitdir: /nowhere/.git/worktrees/app\n").unwrap();
    let done = run(&context, &[]);
    finds(&done, 0, "! scratch trees", "is broken", &format!("rm -r {}", clone.join("0").display()));
    assert_eq!(done.stdout.matches("next:").count(), 1, "{}", done.stdout);
    std::fs::write(tree.join(".git"), link).unwrap();

    let gone = scratch.join("0123456789abcdef");
    std::fs::create_dir_all(gone.join("0/app")).unwrap();
    std::fs::write(gone.join("0/app/.git"), "gitdir: /nowhere/.git/worktrees/app\n").unwrap();
    let done = run(&context, &[]);
    finds(&done, 0, "! scratch trees", "belongs to a clone that is gone", &format!("rm -r {}", gone.display()));
    std::fs::remove_dir_all(&gone).unwrap();

    std::fs::remove_dir_all(&clone).unwrap();
    let done = run(&context, &[]);
    finds(&done, 0, "! scratch trees", "git lists a tree of ours that is gone", "git worktree remove --force --force ");
    context.git(&["worktree", "remove", "--force", "--force", tree.to_str().unwrap()]);
    assert!(!run(&context, &[]).stdout.contains("next:"));
}

#[test]
fn a_scratch_tree_in_use_names_the_process() {
    let context = installed("hooks:\n  pre-commit:\n    - name: wait\n      run: touch \"$STARTED\"; sleep 3\n");
    context.write("staged", "1");
    context.git(&["add", "."]);
    context.write("unstaged", "1");
    let started = context.beside("started");
    let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
    let mut running = command.args(["run", "pre-commit", "-q"]).env("STARTED", &started).spawn().unwrap();
    let limit = Instant::now() + Duration::from_secs(20);
    while !started.exists() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
    let done = run(&context, &[]);
    assert!(done.stdout.contains(&format!("in use by process {}", running.id())), "{}", done.stdout);
    assert!(running.wait().unwrap().success());
}

#[test]
fn a_failed_delivery_and_an_unpushed_branch_are_worth_a_look() {
    let context = delivering("127.0.0.1:1", "/nowhere/manifests.git");
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "Configure"]);
    context.git(&["push", "-q", "--no-verify"]);
    context.hooks(&["deliver"]);
    let done = run(&context, &["--offline"]);
    finds(&done, 0, "! outbox of staging", "the last one with", "gitops-hooks deliver staging");
    context.git(&["remote", "remove", "origin"]);
    finds(&run(&context, &["--offline"]), 0, "! upstream of staging", "no upstream", "git push -u origin main");
}

#[test]
fn a_program_that_renders_an_environment_and_is_not_there_is_told() {
    let context = delivering("127.0.0.1:1", "https://git.invalid/m.git");
    let text =
        context.read(".gitops-hooks.yaml").replace("path: staging }", "path: staging, render: true, chart: web }");
    context.write(".gitops-hooks.yaml", &text);
    let programs = context.beside("programs");
    std::fs::create_dir(&programs).unwrap();
    for name in ["git", "sh"] {
        std::os::unix::fs::symlink(which::which(name).unwrap(), programs.join(name)).unwrap();
    }
    let look = || TestContext::run(doctor(&context, &["--offline"]).env("PATH", &programs));
    finds(&look(), 3, "✗ rendering of staging", "no helm on the PATH", "install helm");
    TestContext::script(&programs.join("helm"), "#!/bin/sh\n");
    let done = look();
    assert!(done.stdout.contains("✓ rendering of staging  helm on the PATH"), "{}", done.stdout);
}

#[test]
fn a_cache_folder_that_cannot_be_written_is_wrong() {
    let context = installed(STEPS);
    std::fs::write(context.beside("file"), "").unwrap();
    let done = TestContext::run(doctor(&context, &[]).env("XDG_CACHE_HOME", context.beside("file")));
    finds(&done, 3, "✗ cache folder", "cannot be written to", "disk is not full");
    let done = TestContext::run(doctor(&context, &[]).env_remove("XDG_CACHE_HOME").env_remove("HOME"));
    finds(&done, 3, "✗ cache folder", "no cache folder", "set HOME");
}

#[test]
fn a_git_that_is_too_old_is_told() {
    let context = installed(STEPS);
    let bin = context.beside("bin");
    let git = which::which("git").unwrap();
    let script = "#!/bin/sh\nfor word; do [ \"$word\" = version ] && echo 'git version 2.20.1' && exit 0; done\n";
    TestContext::script(&bin.join("git"), &format!("{script}exec {} \"$@\"\n", git.display()));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let done = TestContext::run(doctor(&context, &[]).env("PATH", path));
    finds(&done, 3, "✗ git", "2.20.1 is too old", "git 2.30 or newer");
}

#[test]
fn json_lists_every_finding_and_no_password() {
    let (listening, address) = silent();
    drop(listening);
    let context = delivering("127.0.0.1:1", &format!("http://s3cret@{address}/m.git"));
    let done = run(&context, &["--json"]);
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(!format!("{done:?}").contains("s3cret"), "{done:?}");
    let answer: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    documented::is_documented("doctor --json", &answer);
    let findings = answer["findings"].as_array().unwrap();
    for finding in findings {
        let keys: Vec<&str> = finding.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["check", "state", "message", "next"]);
        let state = finding["state"].as_str().unwrap();
        assert!(["fine", "warning", "configuration", "environment"].contains(&state), "{finding}");
        assert_eq!(finding["next"].is_null(), state == "fine", "{finding}");
    }
    let manifests = findings.iter().find(|finding| finding["check"] == "manifests of staging").unwrap();
    assert!(manifests["message"].as_str().unwrap().contains(&format!("http://{address}/m.git")), "{manifests}");
    assert!(!format!("{:?}", run(&context, &[])).contains("s3cret"));
}
