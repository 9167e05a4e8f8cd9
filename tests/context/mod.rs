//! A repository of its own for each test, with the real git and the real binary, and nothing of the user's configuration.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

pub struct TestContext {
    folder: TempDir,
    /// The work tree.
    pub work: PathBuf,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl TestContext {
    /// An empty repository on branch `main`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().canonicalize().unwrap().join("app");
        std::fs::create_dir(&work).unwrap();
        let context = Self { folder, work };
        context.git(&["init", "-q", "-b", "main"]);
        context
    }

    /// A folder beside the repository.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn script(path: &Path, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.work.join(path)).unwrap()
    }

    /// A command with an environment that holds nothing of the user's.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("GIT_") || name.starts_with("XDG_") {
                command.env_remove(&*name);
            }
        }
        command
            .current_dir(&self.work)
            .env("HOME", self.folder.path())
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "A Developer")
            .env("GIT_AUTHOR_EMAIL", "dev@example.com")
            .env("GIT_COMMITTER_NAME", "A Developer")
            .env("GIT_COMMITTER_EMAIL", "dev@example.com")
            .env("NO_COLOR", "1");
        command
    }

    /// git, which must succeed.
    pub fn git(&self, args: &[&str]) -> String {
        let done = self.try_git(args);
        assert_eq!(done.code, Some(0), "git {args:?}: {}", done.stderr);
        done.stdout
    }

    /// git, whatever comes of it.
    pub fn try_git(&self, args: &[&str]) -> Done {
        Self::run(self.command("git").args(args))
    }

    /// gitops-hooks, whatever comes of it.
    pub fn hooks(&self, args: &[&str]) -> Done {
        Self::run(self.command(assert_cmd::cargo::cargo_bin!("gitops-hooks")).args(args))
    }

    /// gitops-hooks, which must succeed.
    pub fn must(&self, args: &[&str]) -> String {
        let done = self.hooks(args);
        assert_eq!(done.code, Some(0), "gitops-hooks {args:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    pub fn run(command: &mut Command) -> Done {
        let mut output = command.output();
        // Another test's thread may have forked while a script of this one was being written.
        while output.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ExecutableFileBusy) {
            std::thread::sleep(std::time::Duration::from_millis(10));
            output = command.output();
        }
        let Output { status, stdout, stderr } = output.unwrap();
        Done {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Every file below a folder with its bytes and mode, to see that nothing changed.
    pub fn tree(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
        use std::os::unix::fs::PermissionsExt;
        let mut found = Vec::new();
        let mut waiting = vec![folder.to_owned()];
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    waiting.push(entry.path());
                } else {
                    found.push((entry.path(), metadata.permissions().mode(), std::fs::read(entry.path()).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}
