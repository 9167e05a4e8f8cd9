//! Steps that ask the person at the terminal: a real pseudo terminal, which `script(1)` makes, and somebody who types.

use crate::{context::TestContext, testbed::skipped};
use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
};

/// A commit in a terminal of its own.
pub struct Terminal {
    script: Child,
    written: Vec<u8>,
}

impl Terminal {
    /// `None` where there is no `script`, as of util-linux.
    fn commit(context: &TestContext) -> Option<Self> {
        Self::runs(context, "git commit -q -m x")
    }

    pub fn runs(context: &TestContext, line: &str) -> Option<Self> {
        let known = Command::new("script").arg("--version").output();
        if !known.is_ok_and(|known| String::from_utf8_lossy(&known.stdout).contains("util-linux")) {
            skipped("a terminal is made with script(1) of util-linux, which is not here");
            return None;
        }
        let mut command = context.command("script");
        command.args(["-q", "-e", "-f", "-c", line, "/dev/null"]).env("TERM", "xterm");
        let script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { script, written: Vec::new() })
    }

    /// Waits until the terminal has shown a text.
    fn reads(&mut self, text: &str) {
        self.until(|terminal| terminal.shown().contains(text));
    }

    pub fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        let mut buffer = [0; 4096];
        while !holds(self) {
            let length = self.script.stdout.as_mut().unwrap().read(&mut buffer).unwrap();
            assert_ne!(length, 0, "it never came: {}", self.shown());
            self.written.extend_from_slice(&buffer[..length]);
        }
    }

    /// All that was written to it.
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }

    pub fn types(&mut self, text: &str) {
        let input = self.script.stdin.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// The exit code of the commit, and all that was shown.
    fn ends(mut self) -> (Option<i32>, String) {
        (self.waits(), self.shown())
    }

    /// Reads to the end, and gives the exit code.
    pub fn waits(&mut self) -> Option<i32> {
        self.script.stdout.take().unwrap().read_to_end(&mut self.written).unwrap();
        self.script.wait().unwrap().code()
    }
}

fn asking(ask: &str) -> TestContext {
    let run = format!("test -t 0 && test -t 1 && printf 'sure? ' && {ask}");
    let config = format!(
        "hooks:\n  pre-commit:\n    - {{ name: ask, interactive: true, run: {run:?} }}\n    - {{ name: other, run: 'sleep 0.2' }}\n"
    );
    let context = crate::with(&config);
    context.write("x", "1");
    context.git(&["add", "."]);
    context
}

#[test]
fn an_answer_that_is_typed_reaches_the_step_and_decides() {
    for (answer, code) in [("yes\n", 0), ("no\n", 1)] {
        let context = asking("read answer && test \"$answer\" = yes");
        let Some(mut terminal) = Terminal::commit(&context) else { return };
        terminal.reads("sure? ");
        terminal.types(answer);
        let (ended, shown) = terminal.ends();
        assert_eq!(ended, Some(code), "{shown}");
        let mark = if code == 0 { "✓ " } else { "✗ " };
        assert!(shown.contains(mark) && shown.contains("ask"), "{shown}");
        let after = &shown[shown.find("sure? ").unwrap()..];
        assert!(!after[.."sure? ".len() + answer.len()].contains('⠋'), "a live line in the person's way: {shown}");
    }
}

#[test]
fn ctrl_c_ends_a_step_that_asks_and_the_commit_with_it() {
    let context = asking("echo $$ > ../asking && exec sleep 300");
    let Some(mut terminal) = Terminal::commit(&context) else { return };
    terminal.reads("sure? ");
    let pid = context.beside("asking");
    while !std::fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    terminal.types("\u{3}");
    let (ended, shown) = terminal.ends();
    assert_ne!(ended, Some(0), "{shown}");
    let pid = std::fs::read_to_string(&pid).unwrap();
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    assert!(line.is_empty(), "the step lives on");
    assert_eq!(context.git(&["rev-list", "--count", "HEAD"]), "1\n");
    assert!(!context.work.join(".git/index.lock").exists());
}

/// The processes that a step has noted, once there are this many.
fn noted(context: &TestContext, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(context.beside("asking")).unwrap_or_default();
    while read().lines().count() < count {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    read().lines().map(str::to_owned).collect()
}

fn alive(pid: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn what_a_step_that_asks_has_started_ends_with_it() {
    let child = "(trap '' HUP; exec sleep 300) & echo $! >> ../asking";
    // In its own time, and at its limit with all that has left the group.
    for (script, code) in [
        (child.to_owned(), Some(0)),
        (format!("{{ {child}; setsid sh -c 'echo $$ >> ../asking; exec sleep 300' & wait; }}"), Some(1)),
    ] {
        let context = asking(&script);
        let configuration =
            context.read(".gitops-hooks.yaml").replace("interactive: true", "interactive: true, timeout: 1s");
        context.write(".gitops-hooks.yaml", &configuration);
        context.git(&["add", "."]);
        let Some(terminal) = Terminal::commit(&context) else { return };
        let (ended, shown) = terminal.ends();
        assert_eq!(ended, code, "{shown}");
        let pids = noted(&context, if code == Some(0) { 1 } else { 2 });
        assert!(!pids.iter().any(|pid| alive(pid)), "{pids:?} {shown}");
    }
}

#[test]
fn a_step_that_asks_ends_with_a_run_that_is_killed_and_whoever_called_git_does_not() {
    let context = asking("{ echo $PPID >> ../asking; (trap '' HUP; exec sleep 300) & echo $! >> ../asking; wait; }");
    // All of this line is one process group.
    let Some(terminal) = Terminal::runs(&context, "git commit -q -m x; sleep 1; exit 9") else { return };
    let pids = noted(&context, 2);
    Command::new("kill").args(["-9", &pids[0]]).status().unwrap();
    let (ended, shown) = terminal.ends();
    assert_eq!(ended, Some(9), "{shown}");
    let since = std::time::Instant::now();
    while alive(&pids[1]) {
        assert!(since.elapsed() < std::time::Duration::from_secs(10), "{pids:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn where_there_is_no_terminal_a_step_that_asks_fails_and_says_so() {
    let context = asking("read answer");
    // In a session of its own there is none to be opened.
    let mut command = context.command("setsid");
    let done = TestContext::run(command.args(["--wait", "git", "commit", "-q", "-m", "x"]).stdin(Stdio::null()));
    assert!(
        done.code == Some(1) && done.stderr.contains("it asks a person, and there is no terminal here"),
        "{done:?}"
    );
}
