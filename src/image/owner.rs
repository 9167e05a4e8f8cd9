//! Whose trial run a container or network is, written on it as a label: what a killed process left behind is found by the next
//! one, and nobody else's is touched.

use std::{fmt, str::FromStr};

/// A process, told apart from another one that got the same number later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub pid: u32,
    /// When it started, in ticks since the machine did; 0 where the system does not tell.
    start: u64,
    pub host: String,
}

impl Owner {
    pub(super) fn this_process() -> Self {
        let pid = std::process::id();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { pid, start: started(pid).unwrap_or(0), host }
    }

    pub(super) fn is_alive(&self) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
        let exists = match rustix::process::test_kill_process(pid) {
            Ok(()) => true,
            Err(error) => error != rustix::io::Errno::SRCH,
        };
        exists && (self.start == 0 || started(self.pid).is_none_or(|start| start == self.start))
    }
}

/// The 22nd field of `/proc/<pid>/stat` (`proc_pid_stat(5)`); the second may contain anything, but ends with the last `)`.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.pid, self.start, self.host)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, ' ');
        let mut next = || parts.next().ok_or(());
        let (pid, start, host) = (next()?, next()?, next()?);
        Ok(Self { pid: pid.parse().map_err(drop)?, start: start.parse().map_err(drop)?, host: host.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_alive_until_its_process_ends() {
        let this = Owner::this_process();
        assert_eq!(this.to_string().parse(), Ok(this.clone()));
        assert!(this.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(!Owner { pid, ..this.clone() }.is_alive());
        if cfg!(target_os = "linux") {
            assert!(!Owner { start: this.start + 1, ..this }.is_alive(), "the same number, but another process");
        }
    }
}
