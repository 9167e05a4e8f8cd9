//! What `install` writes down so that it still holds after an upgrade, and what `uninstall` leaves alone.

use crate::{PASSES, context::TestContext};
use std::{os::unix::fs::symlink, path::PathBuf};

/// A version of the program in a folder of its own, as package managers keep it.
fn version(context: &TestContext, version: &str) -> PathBuf {
    let program = context.beside("opt").join(version).join("gitops-hooks");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::fs::copy(assert_cmd::cargo::cargo_bin!("gitops-hooks"), &program).unwrap();
    program
}

#[test]
fn hooks_call_the_program_by_the_link_that_an_upgrade_moves() {
    let context = TestContext::new();
    let (old, bin) = (version(&context, "1.0"), context.beside("bin"));
    let link = bin.join("gitops-hooks");
    std::fs::create_dir(&bin).unwrap();
    symlink("../opt/1.0/gitops-hooks", &link).unwrap();
    context.write(".gitops-hooks.yaml", PASSES);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for called in [link.to_str().unwrap(), "gitops-hooks", "../bin/../bin/gitops-hooks"] {
        let done = TestContext::run(context.command(called).args(["install", "--yes"]).env("PATH", &path));
        assert_eq!(done.code, Some(0), "{done:?}");
        let shim = context.read(".git/hooks/pre-commit");
        assert!(shim.contains("bin/gitops-hooks'\n") && !shim.contains("opt/1.0"), "{called}: {shim}");
    }
    let doctor =
        TestContext::run(context.command("gitops-hooks").args(["doctor", "--offline"]).env("PATH", &path)).stdout;
    assert!(doctor.contains(&format!(", {}\n", link.display())) && !doctor.contains("opt/1.0"), "{doctor}");
    let new = version(&context, "2.0");
    std::fs::remove_file(&old).unwrap();
    std::fs::remove_file(&link).unwrap();
    symlink(&new, &link).unwrap();
    context.git(&["add", "."]);
    let done = context.try_git(&["commit", "-m", "x"]);
    assert!(done.code == Some(0) && done.stderr.contains("✓ check"), "{done:?}");
}

#[test]
fn every_command_that_will_run_is_shown() {
    let context = TestContext::new();
    context.write(
        ".gitops-hooks.yaml",
        "hooks:\n  pre-commit:\n    - {run: plain}\n    - {run: 'set -o pipefail', shell: bash -eu, tools: [ruff --version], only: {run: test -e a}, skip: {run: test -e b}}\n  pre-push:\n    - {image: web}\nimages:\n  web: {repository: registry.invalid/web, before: npm ci, artifacts: [dist], secrets: {pip: {run: pass show pip}}}\n  plain: {repository: registry.invalid/plain}\n",
    );
    let told = context.must(&["install", "--yes"]);
    let commands = told.split("installed").next().unwrap();
    assert_eq!(
        commands,
        ".gitops-hooks.yaml runs, on this machine and as you:
  pre-commit plain
  pre-commit set -o pipefail  (in bash -eu; first `test -e a`, `test -e b`, `ruff --version`)
  pre-push builds the image web
  image web `npm ci`, `pass show pip`
  images are pushed to: registry.invalid
"
    );
}

#[test]
fn a_name_that_leads_to_another_program_is_not_written_down() {
    use std::os::unix::process::CommandExt;
    let context = TestContext::new();
    let program = version(&context, "1.0");
    let wrapper = context.beside("shims/gitops-hooks");
    TestContext::script(&wrapper, "#!/bin/sh\n");
    context.write(".gitops-hooks.yaml", PASSES);
    let done = TestContext::run(context.command(&program).arg0(&wrapper).args(["install", "--yes"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    let shim = context.read(".git/hooks/pre-commit");
    assert!(shim.contains(&format!("binary='{}'\n", program.display())), "{shim}");
}

fn installed_over_a_folder_of_the_users() -> TestContext {
    let context = TestContext::new();
    let theirs = context.beside("their-hooks");
    TestContext::script(&theirs.join("pre-commit"), "#!/bin/sh\n");
    context.git(&["config", "--global", "core.hooksPath", theirs.to_str().unwrap()]);
    context.write(".gitops-hooks.yaml", PASSES);
    context.must(&["install", "--yes"]);
    context
}

#[test]
fn a_hooks_folder_that_was_set_after_the_installation_stays() {
    let context = installed_over_a_folder_of_the_users();
    context.git(&["config", "core.hooksPath", ".husky/_"]);
    let told = context.must(&["uninstall"]);
    assert!(told.contains("core.hooksPath was set to .husky/_ after `install`, and stays"), "{told}");
    assert_eq!(context.git(&["config", "--local", "--get", "core.hooksPath"]), ".husky/_\n");
    assert!(!context.work.join(".git/gitops-hooks/hooks/pre-commit").exists());

    // Installed over it once more, it is what comes back.
    context.git(&["config", "--unset", "core.hooksPath"]);
    context.must(&["install", "--yes"]);
    context.git(&["config", "core.hooksPath", ".husky/_"]);
    context.must(&["install", "--yes"]);
    let told = context.must(&["uninstall"]);
    assert!(told.contains("what was here before is back in place"), "{told}");
    assert_eq!(context.git(&["config", "--local", "--get", "core.hooksPath"]), ".husky/_\n");
}

#[test]
fn a_hooks_folder_that_was_unset_after_the_installation_stays_unset() {
    let context = installed_over_a_folder_of_the_users();
    context.git(&["config", "--unset", "core.hooksPath"]);
    context.must(&["uninstall"]);
    assert!(!context.read(".git/config").contains("hooks"), "{}", context.read(".git/config"));
}
