//! Steps that use git themselves: what they do lands where they do it, never in the user's repository.

use crate::context::TestContext;

const NESTED: &str = "    - name: nested\n      run: |\n        set -e\n        cd \"$(mktemp -d)\"\n        git init -q\n        echo x > x\n        git add x\n        git -c user.name=n -c user.email=n@n commit -q -m nested\n        git tag t\n        test \"$(git rev-list --count HEAD)\" = 1\n        echo nested >> \"$LOG\"\n";

#[test]
fn a_repository_made_by_a_step_is_a_repository_of_its_own() {
    let context = TestContext::new();
    let remote = context.beside("remote.git");
    context.git(&["init", "-q", "--bare", remote.to_str().unwrap()]);
    context.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    let hooks = ["pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "pre-push", "post-checkout"];
    let config = hooks.iter().fold("hooks:\n".to_owned(), |config, hook| {
        // Another command in each: what has passed is not run again.
        config + "  " + hook + ":\n" + NESTED + "        : " + hook + "\n"
    });
    context.configured(&config);
    let linked = context.beside("linked");
    context.user_must(&["worktree", "add", "-q", "-b", "side", linked.to_str().unwrap()]);
    for folder in [&context.work, &linked] {
        for dirty in ["", "dirty"] {
            let _ = std::fs::remove_file(context.log());
            std::fs::write(folder.join("f"), format!("{dirty}{}", folder.display())).unwrap();
            std::fs::write(folder.join("g"), format!("{dirty}{}", folder.display())).unwrap();
            let git = |args: &[&str]| {
                let done = context.git_at(folder, args);
                assert_eq!(done.code, Some(0), "{done:?}");
                done.stdout
            };
            let before: usize = git(&["rev-list", "--count", "HEAD"]).trim().parse().unwrap();
            match dirty {
                "" => git(&["commit", "-q", "-a", "-m", "mine"]),
                _ => git(&["commit", "-q", "-m", "mine", "f"]),
            };
            git(&["push", "-q", "origin", "HEAD"]);
            assert_eq!(git(&["rev-list", "--count", "HEAD"]).trim(), (before + 1).to_string());
            assert_eq!(git(&["log", "-1", "--format=%s %an"]), "mine A Developer\n");
            assert_eq!(git(&["tag"]), "");
            let nested = std::fs::read_to_string(context.log()).unwrap().lines().count();
            assert_eq!(nested, 5, "{} {dirty}", folder.display());
        }
    }
    assert!(!context.git(&["log", "--all", "--format=%s"]).contains("nested"));
}
