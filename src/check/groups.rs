//! The process groups that run at the moment, and somebody who ends them when we cannot: after a `kill -9` of ours, a
//! shell that reads our end from its standard input sends them TERM and then KILL.

use rustix::process::Pid;
use std::{
    collections::BTreeSet,
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Keeps the list as it is told it. (dash takes a negative number only in this form.) Only the end of our process ends its input; then it works off what is still listed.
const WATCH: &str = r#"trap '' INT TERM HUP
all=' '
while read -r change id; do
    case $change in
    +) all="$all$id " ;;
    -) case $all in *" $id "*) all="${all%% "$id" *} ${all#* "$id" }" ;; esac ;;
    esac
done
set -- $all
[ $# = 0 ] && exit
for id; do kill -s TERM -- "-$id"; done
sleep 2
for id; do kill -s KILL -- "-$id"; done"#;

/// The groups of one run.
#[derive(Default)]
pub(super) struct Groups(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    running: BTreeSet<i32>,
    watch: Option<(Child, ChildStdin)>,
}

impl Groups {
    /// Adds a group until the value that this gives goes away.
    pub(super) fn add(&self, leader: Pid) -> Listed<'_> {
        let id = leader.as_raw_pid();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.running.insert(id);
        inner.tell('+', id);
        Listed { groups: self, id }
    }

    /// Starts the watch, if it has not been started. It costs a process: not worth it for steps that end at once.
    pub(super) fn watch(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.watch.is_some() || inner.running.is_empty() {
            return;
        }
        let mut command = Command::new("sh");
        // In a group of its own: a Ctrl-C in the terminal is not for it.
        command.args(["-c", WATCH]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // Without it, only the one promise after a `kill -9` is not kept.
        let Ok(mut child) = command.current_dir("/").spawn() else { return };
        let Some(stdin) = child.stdin.take() else { return };
        inner.watch = Some((child, stdin));
        for id in inner.running.clone() {
            inner.tell('+', id);
        }
    }
}

impl Inner {
    fn tell(&mut self, change: char, id: i32) {
        if let Some((_, stdin)) = &mut self.watch {
            let _ = writeln!(stdin, "{change} {id}");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some((mut child, stdin)) = self.watch.take() {
            drop(stdin);
            let _ = child.wait();
        }
    }
}

/// A group on the list.
pub(super) struct Listed<'a> {
    groups: &'a Groups,
    id: i32,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut inner = self.groups.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.running.remove(&self.id);
        inner.tell('-', self.id);
    }
}
