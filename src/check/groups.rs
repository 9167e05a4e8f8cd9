//! The process groups that run at the moment, and somebody who ends them when we cannot: after a `kill -9` of ours, a
//! shell that reads our end from its standard input sends them TERM and then KILL.

use rustix::process::{Pid, getpgrp};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::{fs::FileExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

/// Waits until it is told that all is done. An input that ends without that word is the end of our process: then it reads
/// the list from its standard output and works off what still stands on it, numbers as `kill(2)` takes them: that of a group
/// is negative. (dash takes it only in this form.) A step that had just begun may not be on the list yet: on Linux it is found
/// by its mark, in our session (`proc_pid_stat(5)`), which a daemon that a step left on purpose is not. In our own group,
/// which is git's too, it stands for itself.
const WATCH: &str = r#"trap '' INT TERM HUP
run=$1
own=$2
read -r word && exit
all=' '
while read -r change id; do
    case $change in
    +) all="$all$id " ;;
    -) case $all in *" $id "*) all="${all%% "$id" *} ${all#* "$id" }" ;; esac ;;
    esac
done <&1
exec >/dev/null
of() { stat=$(cat "/proc/$1/stat" 2>/dev/null) && set -- ${stat##*) } && echo "$3 $4"; }
marked() {
    mine=$(of $$)
    for file in $(grep -lz "^$run" /proc/[0-9]*/environ 2>/dev/null); do
        id=${file#/proc/}
        its=$(of "${id%/environ}")
        [ "${its#* }" = "${mine#* }" ] || continue
        case ${its% *} in "$own") echo "${id%/environ}" ;; *) echo "-${its% *}" ;; esac
    done
}
end() { for id in $all $(marked); do kill -s "$1" -- "$id"; done; }
end TERM
sleep 2
end KILL"#;

/// The variable by which a step's processes are found, wherever they are.
pub(super) const MARK: &str = "GITOPS_HOOKS_RUN";

/// The groups of one run.
#[derive(Default)]
pub(super) struct Groups {
    watch: Mutex<Option<Watch>>,
    /// What no other run has.
    run: Run,
    /// Where the programs that steps start with are.
    programs: Mutex<BTreeMap<String, Option<PathBuf>>>,
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
    end: Option<ChildStdin>,
    list: File,
    length: u64,
}

/// What a step's processes carry in their environment, as the value of [`MARK`].
pub(super) struct Mark(String);

impl Mark {
    pub(super) fn value(&self) -> &str {
        &self.0
    }
}

impl Groups {
    /// Sees to it that there is a watch. Called before a group is made: a `kill -9` may come at any moment.
    pub(super) fn watch(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_none() {
            // Without it, only the one promise after a `kill -9` is not kept.
            let shell = self.program("sh").unwrap_or_else(|| "sh".into());
            *watch = Watch::start(&shell, &format!("{MARK}={}.", self.run.0)).ok();
        }
    }

    /// Where a program is, looked for once in a run: of the folders of a PATH, most do not have it.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.entry(name.to_owned()).or_insert_with(|| which::which(name).ok()).clone()
    }

    /// What the processes of one more command carry.
    pub(super) fn mark(&self) -> Mark {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        Mark(format!("{}.{}", self.run.0, COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Adds a group until the value that this gives goes away.
    pub(super) fn add(&self, leader: Pid) -> Listed<'_> {
        self.list(-leader.as_raw_pid())
    }

    /// Adds a process that has no group of its own until the value that this gives goes away.
    pub(super) fn add_process(&self, process: Pid) -> Listed<'_> {
        self.list(process.as_raw_pid())
    }

    fn list(&self, id: i32) -> Listed<'_> {
        self.tell('+', id);
        Listed { groups: self, id }
    }

    fn tell(&self, change: char, id: i32) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = watch.as_mut() {
            let line = format!("{change} {id}\n");
            // Written at its place: the watch reads from the beginning, by the offset that it shares with us.
            if watch.list.write_all_at(line.as_bytes(), watch.length).is_ok() {
                watch.length += line.len() as u64;
            }
        }
    }
}

impl Watch {
    fn start(shell: &Path, mark: &str) -> io::Result<Self> {
        let list = list()?;
        let mut command = Command::new(shell);
        // In a group of its own: a Ctrl-C in the terminal is not for it. Nor is the end of a step that we are a part of.
        command
            .args(["-c", WATCH, "sh", mark, &getpgrp().to_string()])
            .env_remove(MARK)
            .stdin(Stdio::piped())
            .stdout(list.try_clone()?)
            .stderr(Stdio::null())
            .process_group(0);
        let mut shell = command.spawn()?;
        let end = shell.stdin.take();
        Ok(Self { shell, end, list, length: 0 })
    }
}

/// A file without a name, which is written at no cost worth speaking of.
#[cfg(target_os = "linux")]
fn list() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(memfd_create(c"groups", MemfdFlags::CLOEXEC)?.into())
}

/// A file without a name.
#[cfg(not(target_os = "linux"))]
fn list() -> io::Result<File> {
    tempfile::tempfile()
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(mut end) = self.end.take() {
            let _ = io::Write::write_all(&mut end, b".\n");
        }
        // It ends by itself; who is in a hurry does not wait for it.
        let _ = self.shell.try_wait();
    }
}

/// A group or process on the list.
pub(super) struct Listed<'a> {
    groups: &'a Groups,
    id: i32,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.groups.tell('-', self.id);
    }
}
