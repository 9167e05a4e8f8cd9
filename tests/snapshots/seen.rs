//! A step that writes down what it sees, to be compared with what git recorded.

use crate::context::{Done, TestContext};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Files of a flat tree by their names.
pub type Files = BTreeMap<String, String>;

/// Writes the tracked files that it sees, as one block.
const SEE: &str =
    r#"{ for f in *; do test -f "$f" && printf '%s=%s\n' "$f" "$(cat "$f" | tr '\n' ' ')"; done; echo ==; } >> "$LOG""#;

/// Names each line of a file, so that edits can be far apart or on the same one.
pub fn lines(edits: &[(usize, &str)]) -> String {
    (1..=20).fold(String::new(), |mut text, at| {
        let edit = edits.iter().find(|(line, _)| *line == at).map_or("", |(_, edit)| edit);
        let _ = writeln!(text, "line {at}{edit}");
        text
    })
}

impl TestContext {
    /// A repository with a few commits whose hooks write down what they see.
    pub fn seeing(hooks: &[&str]) -> Self {
        let context = Self::new();
        let each = hooks.iter().fold("hooks:\n".to_owned(), |mut text, hook| {
            let _ = writeln!(text, "  {hook}:\n    - name: see\n      run: |\n        {SEE}");
            text
        });
        context.configured(&each);
        context
    }

    /// Commits a configuration and three files, and installs the hooks.
    pub fn configured(&self, config: &str) {
        self.write(".gitops-hooks.yaml", config);
        for name in ["f", "g", "h"] {
            self.write(name, &lines(&[]));
        }
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", "seed"]);
        self.must(&["install", "--yes"]);
    }

    pub fn log(&self) -> PathBuf {
        self.beside("log")
    }

    /// git with a place for steps to write to.
    pub fn logging(&self, args: &[&str]) -> Command {
        let mut command = self.command("git");
        command.args(args).env("LOG", self.log());
        command
    }

    /// git as a user calls it, whatever comes of it.
    pub fn user(&self, args: &[&str]) -> Done {
        Self::run(&mut self.logging(args))
    }

    /// git as a user calls it, which must succeed.
    #[track_caller]
    pub fn user_must(&self, args: &[&str]) -> Done {
        let done = self.user(args);
        assert_eq!(done.code, Some(0), "git {args:?}: {}{}", done.stdout, done.stderr);
        done
    }

    /// git with somebody who types.
    pub fn typing(&self, args: &[&str], typed: &str) -> Done {
        let mut command = self.logging(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What steps have seen, one after the other.
    pub fn seen(&self) -> Vec<Files> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let blocks = text.split("==\n").filter(|block| !block.is_empty());
        blocks.map(|block| block.lines().filter_map(|line| line.split_once('=')).map(owned).collect()).collect()
    }

    /// What a revision holds, in the form in which it is seen.
    pub fn held(&self, revision: &str) -> Files {
        let names = self.git(&["ls-tree", "--name-only", revision]);
        let visible = names.lines().filter(|name| !name.starts_with('.'));
        let of = |name: &str| self.git(&["show", &format!("{revision}:{name}")]).trim_end().replace('\n', " ");
        visible.map(|name| (name.to_owned(), of(name))).collect()
    }

    /// Every file of the work tree: steps that look change none.
    pub fn files(&self) -> Vec<(PathBuf, u32, Vec<u8>)> {
        let all = Self::tree(&self.work);
        all.into_iter().filter(|(path, ..)| !path.starts_with(self.work.join(".git"))).collect()
    }

    /// Looks at the last step's block and at the commit that was made meanwhile.
    #[track_caller]
    pub fn saw(&self, revision: &str) {
        assert_eq!(self.seen().last(), Some(&self.held(revision)), "what was judged is not what {revision} holds");
    }

    /// The index is what `HEAD` is, and the work tree what both are.
    #[track_caller]
    pub fn agrees(&self) {
        assert_eq!(self.git(&["status", "--porcelain"]), "");
        assert_eq!(self.git(&["diff", "HEAD"]), "");
    }

    pub fn git_at(&self, folder: &Path, args: &[&str]) -> Done {
        Self::run(self.logging(args).current_dir(folder))
    }
}

fn owned((name, text): (&str, &str)) -> (String, String) {
    (name.to_owned(), text.trim_end().to_owned())
}
