//! The check room as a program: what it runs and how it was called stand in the environment.

use crate::context::{Done, TestContext};
use gitops_hooks::{
    check::{self, CachePolicy, Context, Interrupt, Snapshot},
    config, git, ui,
    values::HookName,
};
use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// A run to be made in a repository.
pub struct Run<'a> {
    context: &'a TestContext,
    command: Command,
}

impl TestContext {
    /// A run of a hook's steps, written as YAML in one line or more.
    pub fn check(&self, hook: &str, steps: &str) -> Run<'_> {
        let config = self.configuration(hook, steps, "");
        let mut command = self.command(std::env::current_exe().unwrap());
        command.args(RUNNER).env("CHECK_HOOK", hook).env("CHECK_CONFIG", config);
        Run { context: self, command }
    }

    /// Writes a configuration beside the repository.
    pub fn configuration(&self, hook: &str, steps: &str, more: &str) -> PathBuf {
        let path = self.beside("config.yaml");
        std::fs::write(&path, format!("hooks:\n  {hook}:\n{steps}\n{more}\n")).unwrap();
        path
    }

    /// Lets git itself call the room, as a hook of this repository.
    pub fn hook(&self, hook: &str, steps: &str) {
        let config = self.configuration(hook, steps, "");
        let binary = std::env::current_exe().unwrap();
        let text = format!(
            "#!/bin/sh\nCHECK_HOOK={hook} CHECK_CONFIG='{}' exec '{}' {}\n",
            config.display(),
            binary.display(),
            RUNNER.join(" ")
        );
        TestContext::script(&self.work.join(".git/hooks").join(hook), &text);
    }

    /// A file that steps write to, outside of every work tree.
    pub fn log(&self) -> PathBuf {
        self.beside("log")
    }

    /// What steps wrote to it, line by line.
    pub fn logged(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A commit of a few files.
    pub fn seed(&self) {
        self.write("main.sh", ". ./lib.sh\nanswer\n");
        self.write("lib.sh", "answer() { true; }\n");
        self.write("sub/deep.txt", "deep\n");
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", "seed"]);
    }
}

const RUNNER: &[&str] = &["--exact", "check::runner::the_runner", "--ignored", "--nocapture", "--quiet"];

impl Run<'_> {
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Keys of the configuration besides the hook.
    pub fn configured(self, hook: &str, steps: &str, more: &str) -> Self {
        self.context.configuration(hook, steps, more);
        self
    }

    pub fn done(mut self) -> Done {
        let Output { status, stdout, stderr } = self.command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Done { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    #[track_caller]
    pub fn passes(self) -> Done {
        let done = self.done();
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        done
    }

    #[track_caller]
    pub fn fails(self) -> Done {
        let done = self.done();
        assert_eq!(done.code, Some(1), "{}\n{}", done.stdout, done.stderr);
        done
    }

    pub fn started(mut self) -> std::process::Child {
        let null = std::process::Stdio::null;
        self.command.stdin(null()).stdout(null()).stderr(null()).spawn().unwrap()
    }
}

#[test]
#[ignore = "not a test: the other tests start it"]
fn the_runner() {
    let Ok(hook) = std::env::var("CHECK_HOOK") else { return };
    let interrupt = Interrupt::listen().unwrap();
    let code = match judge(&hook, &interrupt) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}: {:?}", std::error::Error::source(&error));
            interrupt.die();
            1
        }
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    std::process::exit(code);
}

fn judge(hook: &str, interrupt: &Interrupt) -> Result<(), check::Error> {
    let hook: HookName = hook.parse().unwrap();
    let text = std::fs::read_to_string(std::env::var_os("CHECK_CONFIG").unwrap()).unwrap();
    let config = config::parse("config.yaml", &text).unwrap();
    let repository = git::Repository::discover()?;
    let snapshot = match std::env::var("CHECK_COMMIT") {
        Ok(revision) => {
            let commit = repository.commit(&revision).unwrap();
            let base = std::env::var("CHECK_BASE").ok().map(|base| repository.commit(&base).unwrap());
            Snapshot::of_commit(&repository, commit, base.as_ref())?
        }
        Err(_) => Snapshot::of_index(&repository)?,
    };
    let message_file = std::env::var_os("CHECK_MESSAGE").map(PathBuf::from);
    let context = Context {
        repository: &repository,
        hook,
        snapshot: &snapshot,
        branches: &[],
        scratch: &config.scratch,
        arguments: &[],
        message_file: message_file.as_deref(),
        progress: &ui::Progress::new(ui::Verbosity::Verbose),
        cache: if std::env::var_os("CHECK_ANEW").is_some() { CachePolicy::Ignore } else { CachePolicy::Use },
        input: b"",
        places: check::Places::Any,
        failures: check::Failures::Gather,
        coverage: check::Coverage::Whole,
        cache_folder: None,
        interrupt,
    };
    let plan = check::plan(&config.hooks[&hook], &context)?;
    for entry in &plan.entries {
        println!("plan {}: {}", entry.label, entry.decision);
    }
    let report = check::run(&plan, check::Work::new(), &context)?;
    check::verdict(hook, &report.entries)
}
