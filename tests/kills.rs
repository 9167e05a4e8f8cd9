//! A commit that is ended at any moment, by each signal: whatever is the user's is as it was, nothing runs on, nothing is
//! left, and the next commit works. 25 times each; 1,000 times with SOAK=1. SEED=number repeats a sequence.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is tests, also what clippy does not know for one")]

mod context;

use context::TestContext;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant, SystemTime},
};

/// Pseudo-random numbers that can be repeated (xorshift64).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let seed =
            std::env::var("SEED").map_or_else(|_| u64::from(since.subsec_nanos()) + 1, |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one_of<'l, T: ?Sized>(&mut self, list: &[&'l T]) -> &'l T {
        list[self.below(list.len())]
    }
}

fn trials() -> usize {
    if std::env::var_os("SOAK").is_some_and(|value| value == "1") { 1000 } else { 25 }
}

/// A process as `/proc` shows it; those that have ended and wait to be reaped do not count.
struct Process {
    id: i32,
    group: i32,
    command: String,
}

fn processes() -> Vec<Process> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let (id, command) = head.split_once(" (")?;
        let mut words = rest.split_whitespace();
        let (state, _parent, group) = (words.next()?, words.next()?, words.next()?);
        let alive = !matches!(state, "Z" | "X");
        alive.then_some(Process { id: id.parse().ok()?, group: group.parse().ok()?, command: command.to_owned() })
    })
    .collect()
}

/// All that is the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    references: String,
    /// Each path of the index.
    index: BTreeMap<String, String>,
    /// Each file of the work tree.
    files: BTreeMap<PathBuf, String>,
}

impl State {
    fn of(context: &TestContext) -> Self {
        let listed = context.git(&["ls-files", "--stage"]);
        let files = TestContext::tree(&context.work).into_iter();
        let outside = files.filter(|(path, ..)| !path.starts_with(context.work.join(".git")));
        Self {
            references: context.git(&["for-each-ref"]),
            index: listed
                .lines()
                .filter_map(|line| line.split_once('\t'))
                .map(|(entry, path)| (path.to_owned(), entry.to_owned()))
                .collect(),
            files: outside
                .map(|(path, mode, bytes)| (path, format!("{mode:o} {}", String::from_utf8_lossy(&bytes))))
                .collect(),
        }
    }
}

/// A commit that has begun, in a process group of its own as a shell gives it.
struct Commit {
    git: Child,
    began: Instant,
}

impl Commit {
    fn begin(context: &TestContext, form: &[&str], nap: &str) -> Self {
        for name in ["pids", "began", "ended"] {
            let _ = std::fs::remove_file(context.beside(name));
        }
        // A `kill -9` may leave a copy of the index among the temporary files.
        let _ = std::fs::remove_dir_all(context.beside("tmp"));
        std::fs::create_dir(context.beside("tmp")).unwrap();
        let mut command = context.command("git");
        command
            .args(form)
            .env("NAP", nap)
            .env("PIDS", context.beside("pids"))
            .env("BESIDE", context.beside(""))
            .env("TMPDIR", context.beside("tmp"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self { git: command.spawn().unwrap(), began: Instant::now() }
    }

    fn id(&self) -> i32 {
        i32::try_from(self.git.id()).unwrap()
    }

    /// As a terminal does it: all of the group at once.
    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_raw(self.id()).unwrap(), signal);
    }

    /// The program alone: what it had begun runs on, and git sees its hook die. Whether it was there.
    fn kill(&self) -> bool {
        let hook =
            processes().into_iter().find(|process| process.group == self.id() && process.command == "gitops-hooks");
        hook.is_some_and(|hook| kill_process(Pid::from_raw(hook.id).unwrap(), Signal::KILL).is_ok())
    }

    /// Ends what runs on without git, once git is gone: who kills git itself makes it leave its locks.
    fn end_the_rest(&mut self) {
        let since = Instant::now();
        while self.git.try_wait().unwrap().is_none() {
            if since.elapsed() > Duration::from_secs(5) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..20 {
            self.signal(Signal::KILL);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until nothing that the commit began is left, and gives whether git committed.
    fn ended(mut self, context: &TestContext, what: &str) -> bool {
        let code = self.git.wait().unwrap().code();
        let pids = std::fs::read_to_string(context.beside("pids")).unwrap_or_default();
        let steps: Vec<i32> = pids.lines().filter_map(|line| line.parse().ok()).collect();
        let since = Instant::now();
        loop {
            let left: Vec<String> = processes()
                .into_iter()
                .filter(|process| process.group == self.id() || steps.contains(&process.group))
                .map(|process| format!("{} {}", process.id, process.command))
                .collect();
            if left.is_empty() {
                return code == Some(0);
            }
            assert!(since.elapsed() < Duration::from_secs(30), "{what}: still running: {left:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn locks(folder: &Path) -> Vec<PathBuf> {
    let all = TestContext::tree(folder).into_iter().map(|(path, ..)| path);
    all.filter(|path| {
        path.extension().is_some_and(|end| end == "lock") && !path.to_string_lossy().contains("gitops-hooks")
    })
    .collect()
}

const FORMS: &[&[&str]] = &[
    &["commit", "-q", "-m", "x"],
    &["commit", "-q", "-a", "-m", "x"],
    &["commit", "-q", "-m", "x", "staged", "bad1", "bad2", "bad3", "bad4"],
];
const SIGNALS: &[Signal] = &[Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL];

fn begin(config: &str) -> TestContext {
    let context = TestContext::new();
    for n in 0..50 {
        context.write(&format!("many/{n}"), "x\n");
    }
    for name in ["staged", "unstaged", "bad1", "bad2", "bad3", "bad4"] {
        context.write(name, "1\n2\n3\n4\n5\n6\n7\n");
    }
    context.write(".gitops-hooks.yaml", config);
    context.git(&["add", "."]);
    context.git(&["commit", "-q", "-m", "seed"]);
    context.git(&["tag", "seed"]);
    context.must(&["install", "--yes"]);
    // Around our hook, so that one can tell what git itself leaves when it is ended before or after.
    let hook = context.work.join(".git/hooks/pre-commit");
    std::fs::rename(&hook, context.beside("hook")).unwrap();
    TestContext::script(
        &hook,
        "#!/bin/sh\n: > \"$BESIDE/began\"\n\"$BESIDE/hook\" \"$@\"\ncode=$?\n[ $code -gt 1 ] || : > \"$BESIDE/ended\"\nexit $code\n",
    );
    context
}

/// The same beginning for each trial: staged edits, unstaged ones, an untracked file.
fn dirty(context: &TestContext, trial: usize) -> State {
    context.git(&["reset", "-q", "--hard", "seed"]);
    context.git(&["clean", "-fdq"]);
    context.write("staged", &format!("staged {trial}\n"));
    for name in ["bad1", "bad2", "bad3", "bad4"] {
        context.write(name, &format!("1 BAD\n2\n3\n4\n5\n6\n{trial}\n"));
    }
    context.git(&["add", "."]);
    context.write("bad2", "1 BAD, rewritten\n2\n3\n4\n5\n6\n7\n");
    context.write("bad3", &format!("1 BAD\n2\n3\n4\n5\n6 edited\n{trial}\n"));
    context.write("unstaged", &format!("unstaged {trial}\n"));
    context.write("untracked", "untracked\n");
    State::of(context)
}

/// Runs all trials of a configuration. `allowed` judges what a commit that was ended left behind.
fn trial_by_trial(config: &str, allowed: impl Fn(&State, &State, &[&str], &str)) {
    let mut random = Random::seeded();
    let context = begin(config);
    let seed = random.0;
    let mut ended_early = 0;
    let mut longest = Duration::from_millis(400);
    for trial in 0..trials() {
        let before = dirty(&context, trial);
        if random.below(5) == 0 {
            // The making of a scratch tree is cut short too.
            let _ = std::fs::remove_dir_all(context.beside("cache"));
        }
        let form = random.one_of(FORMS);
        let nap = random.one_of(&["0", "0.05", "60"]);
        let signal = SIGNALS[trial % SIGNALS.len()];
        let micros = random.below(usize::try_from(longest.as_micros()).unwrap());
        let moment = Duration::from_micros(u64::try_from(micros).unwrap());
        let mut commit = Commit::begin(&context, form, nap);
        std::thread::sleep(moment.saturating_sub(commit.began.elapsed()));
        let called = context.beside("began").exists();
        if signal == Signal::KILL {
            while nap == "60" && !commit.kill() {
                std::thread::sleep(Duration::from_millis(1));
            }
            commit.kill();
        } else {
            commit.signal(signal);
        }
        let what = format!("seed {seed}, trial {trial}: {signal:?} after {moment:?} in {form:?} with naps of {nap} s");
        let took = commit.began.elapsed();
        if signal != Signal::KILL && !called {
            // git may die while it begins to call us, and we run on without it.
            commit.end_the_rest();
        }
        // git may have committed and been ended just after it.
        let _ = commit.ended(&context, &what);
        let committed = context.git(&["rev-parse", "HEAD"]) != context.git(&["rev-parse", "seed"]);
        if nap == "0" && committed {
            longest = (took + took / 4).clamp(Duration::from_millis(100), Duration::from_secs(2));
        }
        // In the scratch tree's own folder a lock may lie until the next run.
        let held = locks(&context.work.join(".git"));
        let held: Vec<_> = held.into_iter().filter(|path| !path.to_string_lossy().contains("worktrees")).collect();
        if context.beside("began").exists() && !context.beside("ended").exists() {
            assert_eq!(held, Vec::<PathBuf>::new(), "{what}");
        } else {
            // git was ended before it called us or after we were done; it does not always take its own lock away.
            for path in held {
                std::fs::remove_file(path).unwrap();
            }
        }
        if committed {
            continue;
        }
        ended_early += 1;
        let after = State::of(&context);
        allowed(&before, &after, form, &what);
        if signal != Signal::KILL {
            let left: Vec<_> = TestContext::tree(&context.beside("tmp"));
            assert!(left.is_empty(), "{what}: {left:?}");
        }
        let next = Commit::begin(&context, &["commit", "-q", "-a", "-m", "next"], "0");
        assert!(next.ended(&context, &what), "{what}: the next commit does not work");
        assert_eq!(locks(&context.work.join(".git")), Vec::<PathBuf>::new(), "{what}");
        assert_eq!(context.git(&["status", "--porcelain"]), "?? untracked\n", "{what}");
    }
    println!("{ended_early} of {} commits were ended before they were done", trials());
    assert!(ended_early > trials() / 4, "the moments are not well chosen: {ended_early}");
}

#[test]
fn a_commit_that_is_ended_leaves_everything_as_it_was() {
    let config = "hooks:\n  pre-commit:\n    - { name: a, run: 'echo $$ >> \"$PIDS\"; sleep $NAP; cat staged' }\n    - { name: b, run: 'echo $$ >> \"$PIDS\"; sleep $NAP & wait; ls many' }\n    - { name: c, needs: [a], run: 'echo $$ >> \"$PIDS\"; test -e bad1' }\n";
    trial_by_trial(config, |before, after, _, what| assert_eq!(before, after, "{what}"));
}

#[test]
fn a_commit_with_a_fixer_that_is_ended_leaves_each_file_whole() {
    let config = "hooks:\n  pre-commit:\n    - { name: fix, fix: true, run: 'echo $$ >> \"$PIDS\"; sed -i s/BAD/GOOD/ {files}; sleep $NAP', files: ['bad*'] }\n    - { name: a, run: 'echo $$ >> \"$PIDS\"; sleep $NAP; ! grep BAD bad1' }\n";
    trial_by_trial(config, |before, after, form, what| {
        assert_eq!(before.references, after.references, "{what}");
        let paths: Vec<_> = after.files.keys().collect();
        assert_eq!(before.files.keys().collect::<Vec<_>>(), paths, "{what}");
        for (path, text) in &after.files {
            let old = &before.files[path];
            // What the user rewrote on the same line is never touched, unless it is committed too.
            let fixed =
                if path.ends_with("bad2") && form == FORMS[0] { old.clone() } else { old.replace("1 BAD", "1 GOOD") };
            assert!(text == old || *text == fixed, "{what}: {} is {text:?}", path.display());
        }
        // The index is the old one or the new one, never a part of it.
        let changed: Vec<&String> =
            before.index.keys().filter(|path| before.index[*path] != after.index[*path]).collect();
        assert!(changed.is_empty() || changed == ["bad1", "bad2", "bad3", "bad4"], "{what}: {changed:?}");
    });
}

#[test]
fn a_step_that_has_just_begun_when_the_program_is_killed_ends_too() {
    let context = begin("hooks:\n  pre-commit:\n    - { name: a, run: sleep 60 }\n    - { name: b, run: sleep 60 }\n");
    let mark = format!("KILLED_BY={}", context.beside("").display());
    let (name, value) = mark.split_once('=').unwrap();
    for _ in 0..20 {
        let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
        command.args(["run", "pre-commit", "--no-cache"]).env(name, value).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // A thread for a step: the step itself comes into being now.
        let threads = format!("/proc/{}/task", child.id());
        while std::fs::read_dir(&threads).is_ok_and(|threads| threads.count() == 1) {
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let carries = |process: &Process| {
        let environment = std::fs::read(format!("/proc/{}/environ", process.id)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let since = Instant::now();
    loop {
        let left: Vec<String> = processes().into_iter().filter(carries).map(|process| process.command).collect();
        if left.is_empty() {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "still running: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
