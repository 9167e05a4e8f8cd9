//! The process groups that run at the moment, and somebody who ends them when we cannot: after a `kill -9` of ours, a
//! shell that reads our end from its standard input sends them TERM and then KILL.

use rustix::process::Pid;
use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

/// Keeps the list as it is told it, until it is told that all is done. An input that ends without that word is the end of
/// our process: then it works off what is still listed. (dash takes a negative number only in this form.) A step that had
/// just begun may not be on the list yet: on Linux it is found by its mark, in our session (`proc_pid_stat(5)`), which a
/// daemon that a step left on purpose is not.
const WATCH: &str = r#"trap '' INT TERM HUP
run=$1
all=' '
while read -r change id; do
    case $change in
    .) exit ;;
    +) all="$all$id " ;;
    -) case $all in *" $id "*) all="${all%% "$id" *} ${all#* "$id" }" ;; esac ;;
    esac
done
of() { stat=$(cat "/proc/$1/stat" 2>/dev/null) && set -- ${stat##*) } && echo "$3 $4"; }
marked() {
    mine=$(of $$)
    for file in $(grep -lz "^$run\$" /proc/[0-9]*/environ 2>/dev/null); do
        id=${file#/proc/}
        its=$(of "${id%/environ}")
        [ "${its#* }" = "${mine#* }" ] && echo "${its% *}"
    done
}
end() { for id in $all $(marked); do kill -s "$1" -- "-$id"; done; }
end TERM
sleep 2
end KILL"#;

/// The variable by which a step is found, should we be gone.
const MARK: &str = "GITOPS_HOOKS_RUN";

/// The groups of one run.
#[derive(Default)]
pub(super) struct Groups {
    watch: Mutex<Option<Watch>>,
    /// What no other run has.
    run: Run,
}

struct Run(String);

impl Default for Run {
    fn default() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(format!("{}-{}-{}", std::process::id(), since.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed)))
    }
}

struct Watch {
    shell: Child,
    list: Option<ChildStdin>,
}

impl Groups {
    /// Sees to it that there is a watch. Called before a group is made: a `kill -9` may come at any moment.
    pub(super) fn watch(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_none() {
            *watch = Watch::start(&format!("{MARK}={}", self.run.0));
        }
    }

    /// The variable, and its value, that the command of a step carries.
    pub(super) fn mark(&self) -> (&'static str, &str) {
        (MARK, &self.run.0)
    }

    /// Adds a group until the value that this gives goes away.
    pub(super) fn add(&self, leader: Pid) -> Listed<'_> {
        let id = leader.as_raw_pid();
        self.tell('+', id);
        Listed { groups: self, id }
    }

    fn tell(&self, change: char, id: i32) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = watch.as_mut().and_then(|watch| watch.list.as_mut()) {
            // In one piece: half a line would be lost with us.
            let _ = list.write_all(format!("{change} {id}\n").as_bytes());
        }
    }
}

impl Watch {
    fn start(mark: &str) -> Option<Self> {
        let mut command = Command::new("sh");
        // In a group of its own: a Ctrl-C in the terminal is not for it.
        command
            .args(["-c", WATCH, "sh", mark])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        // Without it, only the one promise after a `kill -9` is not kept.
        let mut shell = command.spawn().ok()?;
        let list = shell.stdin.take();
        Some(Self { shell, list })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(mut list) = self.list.take() {
            let _ = list.write_all(b". 0\n");
        }
        // It ends by itself; who is in a hurry does not wait for it.
        let _ = self.shell.try_wait();
    }
}

/// A group on the list.
pub(super) struct Listed<'a> {
    groups: &'a Groups,
    id: i32,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.groups.tell('-', self.id);
    }
}
