//! Scratch trees that go from one tree to the next in our own process: the same files as git would write, whatever stood
//! there before.

use crate::context::TestContext;
use gitops_hooks::{
    git::{LinkedTree, Repository},
    values::Oid,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

struct Scratch {
    context: TestContext,
    repository: Repository,
    head: Oid,
    tree: LinkedTree,
}

impl Scratch {
    fn new() -> Self {
        let context = TestContext::new();
        context.seed();
        context.write(".gitignore", "*.log\n");
        context.git(&["add", "."]);
        let repository = Repository::open(&context.work).unwrap();
        let head = repository.commit("HEAD").unwrap();
        let tree = repository.linked_tree(&context.beside("scratch"), &head, "a test").unwrap();
        let scratch = Self { context, repository, head, tree };
        assert_eq!(scratch.set(), By::Git);
        scratch
    }

    /// Makes the scratch tree what is staged, and sees that it is.
    fn set(&self) -> By {
        let tree = self.repository.index().unwrap().tree;
        let looked = self.tree.set(&tree, &self.head, &[]).unwrap();
        let folder = self.tree.folder();
        let git = |args: &[&str]| {
            let mut command = self.context.command("git");
            TestContext::run(command.current_dir(folder).env("GIT_OPTIONAL_LOCKS", "0").args(args))
        };
        let status = git(&["status", "--porcelain", "--no-renames"]).stdout;
        let unstaged: Vec<&str> = status.lines().filter(|line| line.as_bytes()[1] != b' ').collect();
        assert_eq!(unstaged, [""; 0]);
        assert_eq!(git(&["write-tree"]).stdout.trim(), tree.as_str());
        assert_eq!(git(&["rev-parse", "HEAD"]).stdout.trim(), self.head.as_str());
        assert_eq!(git(&["fsck", "--cache", "--no-dangling"]).code, Some(0));
        // As git writes them.
        let plain = self.context.beside("plain");
        let _ = fs::remove_dir_all(&plain);
        let prefix = format!("--prefix={}/", plain.display());
        self.context.git(&["checkout-index", "--all", &prefix]);
        assert_eq!(tracked(folder), tracked(&plain));
        looked.into()
    }

    fn stage(&self) {
        self.context.git(&["add", "-A", "-f", "."]);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.context.work.join(path)
    }

    fn scratch(&self, path: &str) -> PathBuf {
        self.tree.folder().join(path)
    }
}

fn tracked(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let name = |path: &Path| path.strip_prefix(folder).unwrap().to_owned();
    let all = TestContext::tree(folder).into_iter().map(|(path, mode, bytes)| (name(&path), mode, bytes));
    all.filter(|(path, ..)| path != Path::new(".git") && path.extension().is_none_or(|end| end != "log")).collect()
}

/// Who made the tree.
#[derive(Debug, PartialEq)]
enum By {
    Us,
    Git,
}

impl From<Option<Duration>> for By {
    fn from(looked: Option<Duration>) -> Self {
        if looked.is_some() { Self::Us } else { Self::Git }
    }
}

#[test]
fn common_changes_need_no_git() {
    let changes: [fn(&Scratch); 8] = [
        |_| {},
        |scratch| scratch.context.write("main.sh", "another\n"),
        |scratch| scratch.context.write("new/folder/file", "x\n"),
        |scratch| fs::remove_dir_all(scratch.path("sub")).unwrap(),
        |scratch| fs::set_permissions(scratch.path("lib.sh"), fs::Permissions::from_mode(0o755)).unwrap(),
        |scratch| {
            fs::remove_file(scratch.path("lib.sh")).unwrap();
            symlink(".gitignore", scratch.path("lib.sh")).unwrap();
        },
        |scratch| {
            fs::remove_file(scratch.path("main.sh")).unwrap();
            scratch.context.write("main.sh/inside", "x\n");
        },
        |scratch| {
            fs::remove_dir_all(scratch.path("main.sh")).unwrap();
            scratch.context.write("main.sh", "a file again\n");
        },
    ];
    let scratch = Scratch::new();
    for change in changes {
        change(&scratch);
        scratch.stage();
        assert_eq!(scratch.set(), By::Us);
    }
}

#[test]
fn what_a_step_or_a_kill_left_is_healed() {
    let left: [fn(&Scratch); 8] = [
        |scratch| fs::write(scratch.scratch("main.sh"), "another one\n").unwrap(),
        |scratch| fs::write(scratch.scratch("left over"), "x").unwrap(),
        |scratch| fs::create_dir_all(scratch.scratch("empty/folder")).unwrap(),
        |scratch| fs::remove_dir_all(scratch.scratch("sub")).unwrap(),
        |scratch| symlink("/", scratch.scratch("root")).unwrap(),
        |scratch| {
            // A link in place of a folder, out of the tree.
            fs::rename(scratch.scratch("sub"), scratch.context.beside("moved")).unwrap();
            symlink(scratch.context.beside("moved"), scratch.scratch("sub")).unwrap();
        },
        |scratch| {
            let mut git = scratch.context.command("git");
            TestContext::run(git.current_dir(scratch.tree.folder()).args(["rm", "-q", "--cached", "lib.sh"]));
        },
        |scratch| {
            let mut git = scratch.context.command("git");
            let args = ["update-index", "--assume-unchanged", "lib.sh"];
            TestContext::run(git.current_dir(scratch.tree.folder()).args(args));
            fs::write(scratch.scratch("lib.sh"), "hidden\n").unwrap();
        },
    ];
    for (at, leave) in left.into_iter().enumerate() {
        let scratch = Scratch::new();
        leave(&scratch);
        if at % 2 == 0 {
            scratch.context.write("main.sh", "the next\n");
            scratch.stage();
        }
        assert_eq!(scratch.set(), By::Git, "{at}");
        scratch.set();
    }
}

#[test]
fn a_lock_that_a_kill_left_is_no_hindrance() {
    let scratch = Scratch::new();
    let admin = fs::read_to_string(scratch.scratch(".git")).unwrap();
    fs::write(Path::new(admin.trim().strip_prefix("gitdir: ").unwrap()).join("index.lock"), "").unwrap();
    scratch.context.write("main.sh", "the next\n");
    scratch.stage();
    assert_eq!(scratch.set(), By::Us);
}

#[test]
fn a_file_is_never_written_through_an_ignored_link() {
    let scratch = Scratch::new();
    let outside = scratch.context.beside("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, scratch.scratch("out.log")).unwrap();
    scratch.context.write("out.log/file", "x\n");
    scratch.stage();
    assert_eq!(scratch.set(), By::Git);
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn ignored_files_stay() {
    let scratch = Scratch::new();
    fs::write(scratch.scratch("kept.log"), "x").unwrap();
    scratch.context.write("main.sh", "another\n");
    scratch.stage();
    assert_eq!(scratch.set(), By::Us);
    assert!(scratch.scratch("kept.log").exists());
}

#[test]
fn what_git_would_write_otherwise_is_gits_to_write() {
    for attributes in ["*.dat eol=crlf", "*.dat ident", "*.dat filter=up"] {
        let scratch = Scratch::new();
        scratch.context.git(&["config", "filter.up.smudge", "tr a-z A-Z"]);
        scratch.context.git(&["config", "filter.up.clean", "tr A-Z a-z"]);
        scratch.context.write(".gitattributes", attributes);
        scratch.stage();
        assert_eq!(scratch.set(), By::Git, "the attributes themselves");
        scratch.context.write("some.dat", "$Id$\nlines\n");
        scratch.stage();
        assert_eq!(scratch.set(), By::Git, "{attributes}");
    }
    let scratch = Scratch::new();
    scratch.context.git(&["config", "core.autocrlf", "true"]);
    scratch.context.write("some.txt", "lines\n");
    scratch.stage();
    // git leaves the other files as they are, so only this one can be looked at.
    let tree = scratch.repository.index().unwrap().tree;
    assert_eq!(By::from(scratch.tree.set(&tree, &scratch.head, &[]).unwrap()), By::Git);
    assert_eq!(fs::read_to_string(scratch.scratch("some.txt")).unwrap(), "lines\r\n");
}
