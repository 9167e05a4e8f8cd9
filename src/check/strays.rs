//! Processes of a step that have left its process group, as `setsid` and job control do. Linux tells who holds a pipe open
//! and what a process carries in its environment; elsewhere none are found.

use super::groups::Mark;
use rustix::process::Signal;
use std::io::PipeReader;

/// What makes a process one of a step's.
#[derive(Clone, Copy)]
pub(super) struct Strays<'a> {
    /// It can write into the step's output. A daemon that means to stay has let go of it.
    pub(super) output: Option<&'a PipeReader>,
    /// It carries the step's mark.
    pub(super) mark: &'a Mark,
    /// Whether the mark alone is enough.
    pub(super) extent: Extent,
}

/// Which processes outside of a step's group end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those that hold its output open.
    Holding,
    /// Those that come from it, too: it was ended by us.
    All,
    /// Those that come from it and are in our own group, as what a person is asked by is.
    InOurGroup,
}

#[cfg(not(target_os = "linux"))]
impl Strays<'_> {
    pub(super) fn are_there(self) -> bool {
        false
    }

    pub(super) fn signal(self, _: Signal) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Extent, Signal, Strays};
    use crate::check::groups::MARK;
    use rustix::{
        fd::OwnedFd,
        fs::fstat,
        process::{Pid, PidfdFlags, getpgid, getpgrp, pidfd_open, pidfd_send_signal},
    };
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    impl Strays<'_> {
        pub(in crate::check) fn are_there(self) -> bool {
            !self.found().is_empty()
        }

        pub(in crate::check) fn signal(self, signal: Signal) {
            for process in self.found() {
                let _ = pidfd_send_signal(process, signal);
            }
        }

        fn found(self) -> Vec<OwnedFd> {
            let pipe = self.output.and_then(|output| fstat(output).ok()).map(|stat| format!("pipe:[{}]", stat.st_ino));
            let mark = format!("{MARK}={}", self.mark.value());
            let own = fs::read_link("/proc/self/exe").ok();
            let listed = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
            let numbers = listed.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
            let others = numbers.filter(|pid| *pid != rustix::process::getpid());
            let is_one = |pid: &Pid| {
                let process = PathBuf::from(format!("/proc/{pid}"));
                let carries = carries(&process, mark.as_bytes());
                let holds = || pipe.as_ref().is_some_and(|pipe| holds(&process, pipe));
                // Without the mark it may be another step's, which we have just forked and which has not let go of our
                // files yet.
                let ours = || getpgid(Some(*pid)).is_ok_and(|group| group == getpgrp());
                carries && (self.extent == Extent::All || self.extent == Extent::InOurGroup && ours())
                    || holds() && (carries || fs::read_link(process.join("exe")).ok() != own)
            };
            // Taken by the hand before it is looked at: its number cannot become another process's meanwhile.
            let taken = others.filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
            taken.filter(|(pid, _)| is_one(pid)).map(|(_, process)| process).collect()
        }
    }

    fn carries(process: &Path, mark: &[u8]) -> bool {
        fs::read(process.join("environ")).is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == mark))
    }

    fn holds(process: &Path, pipe: &str) -> bool {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().filter_map(Result::ok);
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| link.as_os_str() == pipe)
    }
}
