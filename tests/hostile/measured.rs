//! A run with its peak of memory and the time that it computed: how long it waited is the machine's business.

use crate::context::{Done, TestContext};
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What a run needed.
pub struct Measured {
    pub done: Done,
    /// The peak of the process's own memory, in MiB.
    pub peak: u64,
    /// The time of the processor, in seconds.
    pub computed: u64,
}

impl TestContext {
    /// gitops-hooks, measured.
    pub fn measured(&self, args: &[&str]) -> Measured {
        let mut command = self.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
        measured(command.args(args), self)
    }

    /// A repository with a configuration whose hooks are installed, and a staged file.
    pub fn with(config: &str) -> Self {
        let context = Self::new();
        context.write(".gitops-hooks.yaml", config);
        context.write("f", "1\n2\n3\n");
        context.git(&["add", "."]);
        context.git(&["commit", "-q", "-m", "seed"]);
        context.must(&["install", "--yes"]);
        context.write("f", "1\nstaged\n3\n");
        context.git(&["add", "f"]);
        context
    }
}

fn measured(command: &mut Command, context: &TestContext) -> Measured {
    let (out, err) = (context.beside("stdout"), context.beside("stderr"));
    let file = |path| std::fs::File::create(path).unwrap();
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).spawn().unwrap();
    let id = child.id();
    let about = |what: &str| std::fs::read_to_string(format!("/proc/{id}/{what}")).unwrap_or_default();
    let (mut peak, mut ticks) = (0, 0);
    let code = loop {
        let said = about("status");
        let kib =
            said.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or_default());
        // utime and stime, in hundredths of a second (proc_pid_stat(5)).
        let said = about("stat");
        let times = said.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
        ticks = ticks.max(times.map_or(0, |times| times.filter_map(|time| time.parse::<u64>().ok()).sum()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(300), "it does not end");
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let done = Done { code: code.code(), stdout: text(out), stderr: text(err) };
    Measured { done, peak: peak / 1024, computed: ticks / 100 }
}
