//! Whether the work tree is the snapshot: our own walk against what `git status` says, in whatever state a work tree can be.

use crate::context::TestContext;
use gitops_hooks::git::{Repository, Sight, WorkTreeState};
use proptest::prelude::*;
use std::{
    fs,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt, fs::symlink},
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// A name that is no UTF-8 and has a line end in it.
const ODD: &[u8] = b"sub/odd\n\xff";

/// What a person, an editor or a tool may do to a work tree.
#[derive(Debug, Clone, Copy)]
enum Act {
    SameSize,
    Longer,
    Touch,
    Executable,
    LinkToFile,
    FileToLink,
    OtherLink,
    FileToFolder,
    FolderToFile,
    FolderToLink,
    Delete,
    DeleteFolder,
    Odd,
    Untracked,
    UntrackedBelow,
    Ignored,
    IgnoredFolder,
    IgnoredBelow,
    Negated,
    EmptyFolder,
    FolderOfIgnored,
    Exclude,
    OtherRules,
    Pipe,
    OddlyGit,
    EmbeddedRepository,
    EmbeddedInTracked,
    Submodule,
    SubmoduleMoved,
    IntentToAdd,
    Staged,
    Removed,
    Attributes,
    Crlf,
    Hardlink,
    NoFileMode,
    Young,
}

const ACTS: [Act; 37] = [
    Act::SameSize,
    Act::Longer,
    Act::Touch,
    Act::Executable,
    Act::LinkToFile,
    Act::FileToLink,
    Act::OtherLink,
    Act::FileToFolder,
    Act::FolderToFile,
    Act::FolderToLink,
    Act::Delete,
    Act::DeleteFolder,
    Act::Odd,
    Act::Untracked,
    Act::UntrackedBelow,
    Act::Ignored,
    Act::IgnoredFolder,
    Act::IgnoredBelow,
    Act::Negated,
    Act::EmptyFolder,
    Act::FolderOfIgnored,
    Act::Exclude,
    Act::OtherRules,
    Act::Pipe,
    Act::OddlyGit,
    Act::EmbeddedRepository,
    Act::EmbeddedInTracked,
    Act::Submodule,
    Act::SubmoduleMoved,
    Act::IntentToAdd,
    Act::Staged,
    Act::Removed,
    Act::Attributes,
    Act::Crlf,
    Act::Hardlink,
    Act::NoFileMode,
    Act::Young,
];

struct Tree {
    context: TestContext,
}

impl Tree {
    /// A commit of every kind of file, older than its index.
    fn new() -> Self {
        let context = TestContext::new();
        for (path, text) in [
            (".gitignore", "*.log\nbuild/\n/only-here\n"),
            ("file", "text\n"),
            ("file-beside", "text\n"),
            ("folder/a", "a\n"),
            ("folder/b.txt", "b\n"),
            ("folder/deep/er/c", "c\n"),
            ("folder.d/x", "x\n"),
            ("sub/.gitignore", "!kept.log\n*.tmp\n"),
            ("sub/file", "text\n"),
            ("build/tracked", "though ignored\n"),
        ] {
            context.write(path, text);
        }
        let tree = Self { context };
        fs::write(tree.odd(), "odd\n").unwrap();
        symlink("file", tree.path("link")).unwrap();
        tree.age();
        tree.context.git(&["add", "-f", "."]);
        tree.context.git(&["commit", "-q", "-m", "seed"]);
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.context.work.join(path)
    }

    fn odd(&self) -> PathBuf {
        self.context.work.join(std::ffi::OsString::from_vec(ODD.to_vec()))
    }

    /// Sets every file's time back, as if it had not been touched for a while.
    fn age(&self) {
        let then = SystemTime::now() - Duration::from_secs(100);
        for (path, mode, _) in TestContext::tree(&self.context.work) {
            if !path.starts_with(self.path(".git")) && mode & 0o170_000 == 0o100_000 {
                fs::File::open(path).unwrap().set_modified(then).unwrap();
            }
        }
    }

    fn repository(&self) -> Repository {
        Repository::open(&self.context.work).unwrap()
    }

    fn act(&self, act: Act) {
        let (context, path) = (&self.context, |path: &str| self.path(path));
        // What an earlier act has taken away cannot be changed any more: then nothing happens.
        let overwrite = |at: &str, text: &str| {
            let _ = fs::write(path(at), text);
        };
        let remove = |at: &str| {
            let _ = fs::remove_file(path(at));
            let _ = fs::remove_dir_all(path(at));
        };
        match act {
            Act::SameSize => overwrite("file", "TEXT\n"),
            Act::Longer => overwrite("folder/a", "longer than before\n"),
            Act::Touch => overwrite("sub/file", "text\n"),
            Act::Executable => {
                let _ = fs::set_permissions(path("folder/a"), fs::Permissions::from_mode(0o755));
            }
            Act::LinkToFile => {
                remove("link");
                overwrite("link", "file");
            }
            Act::FileToLink => {
                remove("file");
                let _ = symlink("file-beside", path("file"));
            }
            Act::OtherLink => {
                remove("link");
                let _ = symlink("elsewhere", path("link"));
            }
            Act::FileToFolder => {
                remove("file");
                context.write("file/inside", "x");
            }
            Act::FolderToFile => {
                remove("folder");
                overwrite("folder", "x");
            }
            Act::FolderToLink => {
                let moved = context.beside("moved");
                if fs::rename(path("folder"), &moved).is_ok() {
                    symlink(moved, path("folder")).unwrap();
                }
            }
            Act::Delete => remove("folder/b.txt"),
            Act::DeleteFolder => remove("folder/deep"),
            Act::Odd => {
                let _ = fs::write(self.odd(), "ODD\n");
            }
            Act::Untracked => overwrite("new", "x"),
            Act::UntrackedBelow => context.write("new folder/deep/file", "x"),
            Act::Ignored => overwrite("some.log", "x"),
            Act::IgnoredFolder => context.write("build/made/by", "x"),
            Act::IgnoredBelow => overwrite("sub/some.tmp", "x"),
            Act::Negated => overwrite("sub/kept.log", "x"),
            Act::EmptyFolder => {
                let _ = fs::create_dir_all(path("empty/inside"));
            }
            Act::FolderOfIgnored => context.write("logs/some.log", "x"),
            Act::Exclude => {
                context.write(".git/info/exclude", "new\nnew folder/\n");
            }
            Act::OtherRules => {
                remove(".gitignore");
                overwrite(".gitignore", "*.tmp\n");
                context.git(&["add", ".gitignore"]);
            }
            Act::Pipe => {
                let _ = std::process::Command::new("mkfifo").arg(path("pipe")).output();
            }
            Act::OddlyGit => overwrite(".GIT", "x"),
            Act::EmbeddedRepository => {
                context.git(&["init", "-q", "embedded"]);
            }
            Act::EmbeddedInTracked => {
                context.try_git(&["init", "-q", "sub"]);
            }
            Act::Submodule | Act::SubmoduleMoved => {
                context.git(&["init", "-q", "module"]);
                let commit = ["-C", "module", "commit", "-q", "--allow-empty", "-m", "one"];
                context.git(&commit);
                context.git(&["-c", "advice.addEmbeddedRepo=false", "add", "module"]);
                if matches!(act, Act::SubmoduleMoved) {
                    context.git(&commit);
                }
            }
            Act::IntentToAdd => {
                overwrite("intended", "x");
                context.git(&["add", "-N", "intended"]);
            }
            Act::Staged => {
                overwrite("staged", "x");
                context.git(&["add", "staged"]);
            }
            Act::Removed => {
                context.try_git(&["rm", "-q", "--cached", "file-beside"]);
            }
            Act::Attributes => {
                context.write(".gitattributes", "* text=auto\nfile eol=crlf\nsub/* ident\n");
                context.git(&["add", ".gitattributes"]);
            }
            Act::Crlf => overwrite("file", "text\r\n"),
            Act::Hardlink => {
                remove("file-beside");
                let _ = fs::hard_link(path("file"), path("file-beside"));
            }
            Act::NoFileMode => {
                context.git(&["config", "core.fileMode", "false"]);
            }
            Act::Young => {
                context.git(&["add", "-u"]);
            }
        }
    }

    /// Whether `git status` says that the work tree is what the index says.
    fn git_says_equal(&self) -> bool {
        let args = ["status", "--porcelain", "-z", "--no-renames", "--ignore-submodules=untracked"];
        let status = self.context.git(&args);
        let mut lines = status.split_terminator('\0');
        lines.all(|line| line.as_bytes()[1] == b' ')
    }
}

fn equal(state: &WorkTreeState) -> bool {
    matches!(state, WorkTreeState::Equal(_))
}

fn sight(state: WorkTreeState) -> Sight {
    match state {
        WorkTreeState::Equal(Some(sight)) => *sight,
        WorkTreeState::Equal(None) => panic!("the walk was not sure"),
        WorkTreeState::Different(difference) => panic!("{difference:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_walk_agrees_with_git(before in prop::collection::vec(prop::sample::select(&ACTS[..]), 0..3),
                                after in prop::collection::vec(prop::sample::select(&ACTS[..]), 0..3)) {
        let tree = Tree::new();
        for act in before {
            tree.act(act);
        }
        let repository = tree.repository();
        let index = repository.index().unwrap();
        if let Some(entries) = index.entries() {
            prop_assert_eq!(entries, repository.entries(&index.tree).unwrap());
        }
        let state = repository.work_tree_state(&index, &[]).unwrap();
        prop_assert_eq!(equal(&state), tree.git_says_equal());
        let WorkTreeState::Equal(Some(sight)) = state else { return Ok(()) };
        for act in after {
            tree.act(act);
        }
        // One of them may have been a setting.
        let repository = tree.repository();
        let again = if sight.index().is_current(&repository) {
            repository.work_tree_state_since(&sight, &[]).unwrap()
        } else {
            repository.work_tree_state(&repository.index().unwrap(), &[]).unwrap()
        };
        prop_assert_eq!(equal(&again), tree.git_says_equal());
    }
}

#[test]
fn each_act_alone_is_seen_as_git_sees_it() {
    for act in ACTS {
        let tree = Tree::new();
        tree.act(act);
        let repository = tree.repository();
        let state = repository.work_tree_state(&repository.index().unwrap(), &[]).unwrap();
        assert_eq!(equal(&state), tree.git_says_equal(), "{act:?}");
    }
}

#[test]
fn a_common_work_tree_needs_no_git() {
    let tree = Tree::new();
    for act in [Act::Ignored, Act::IgnoredFolder, Act::EmptyFolder, Act::FolderOfIgnored, Act::Touch] {
        tree.act(act);
    }
    let repository = tree.repository();
    let seen = sight(repository.work_tree_state(&repository.index().unwrap(), &[]).unwrap());
    sight(repository.work_tree_state_since(&seen, &[]).unwrap());
}

#[test]
fn what_changes_while_steps_run_is_seen_whatever_its_times_say() {
    let changes: [fn(&Tree); 5] = [
        |tree| fs::write(tree.path("file"), "TEXT\n").unwrap(),
        |tree| fs::write(tree.path("empty/inside/new"), "x").unwrap(),
        |tree| fs::write(tree.path("folder/deep/er/new"), "x").unwrap(),
        |tree| fs::remove_dir_all(tree.path("folder/deep")).unwrap(),
        |tree| fs::rename(tree.path("link"), tree.path("link2")).unwrap(),
    ];
    for change in changes {
        let tree = Tree::new();
        tree.act(Act::EmptyFolder);
        let repository = tree.repository();
        let seen = sight(repository.work_tree_state(&repository.index().unwrap(), &[]).unwrap());
        change(&tree);
        tree.age();
        assert!(!equal(&repository.work_tree_state_since(&seen, &[]).unwrap()));
    }
}

#[test]
fn a_file_of_ours_at_the_root_is_not_seen() {
    let tree = Tree::new();
    tree.context.write("own.yaml", "x");
    let repository = tree.repository();
    let index = repository.index().unwrap();
    assert!(equal(&repository.work_tree_state(&index, &["own.yaml"]).unwrap()));
    tree.context.write("sub/own.yaml", "x");
    assert!(!equal(&repository.work_tree_state(&index, &["own.yaml"]).unwrap()));
}

#[test]
fn files_that_git_does_not_look_at_are_not_believed() {
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        let tree = Tree::new();
        tree.context.git(&["update-index", flag, "file"]);
        let repository = tree.repository();
        let state = repository.work_tree_state(&repository.index().unwrap(), &[]).unwrap();
        assert!(!matches!(state, WorkTreeState::Equal(Some(_))), "{flag}");
    }
}

#[test]
fn a_sparse_index_is_gits_to_read() {
    let tree = Tree::new();
    tree.context.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "sub"]);
    let repository = tree.repository();
    let state = repository.work_tree_state(&repository.index().unwrap(), &[]).unwrap();
    assert!(!matches!(state, WorkTreeState::Equal(Some(_))));
}
