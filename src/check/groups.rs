//! The process groups that run at the moment, and somebody who ends them when we cannot: after a `kill -9` of ours, a
//! shell that reads our end from its standard input sends them TERM and then KILL.

use rustix::process::Pid;
use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Keeps the list as it is told it. (dash takes a negative number only in this form.) Only the end of our process ends its
/// input; then it works off what is still listed. It changes its folder itself, so that it starts without a copy of us.
const WATCH: &str = r#"trap '' INT TERM HUP
cd /
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
pub(super) struct Groups(Mutex<Option<Watch>>);

struct Watch {
    shell: Child,
    list: Option<ChildStdin>,
}

impl Groups {
    /// Sees to it that there is a watch. Called before a group is made: a `kill -9` may come at any moment.
    pub(super) fn watch(&self) {
        let mut watch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_none() {
            *watch = Watch::start();
        }
    }

    /// Adds a group until the value that this gives goes away.
    pub(super) fn add(&self, leader: Pid) -> Listed<'_> {
        let id = leader.as_raw_pid();
        self.tell('+', id);
        Listed { groups: self, id }
    }

    fn tell(&self, change: char, id: i32) {
        let mut watch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = watch.as_mut().and_then(|watch| watch.list.as_mut()) {
            // In one piece: half a line would be lost with us.
            let _ = list.write_all(format!("{change} {id}\n").as_bytes());
        }
    }
}

impl Watch {
    fn start() -> Option<Self> {
        let mut command = Command::new("sh");
        // In a group of its own: a Ctrl-C in the terminal is not for it.
        command.args(["-c", WATCH]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // Without it, only the one promise after a `kill -9` is not kept.
        let mut shell = command.spawn().ok()?;
        let list = shell.stdin.take();
        Some(Self { shell, list })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.list.take());
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
