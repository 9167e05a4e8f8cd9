//! One shell command in a process group of its own. It always ends: by itself, by its time limit or by a signal to us; and
//! whatever it started in its group ends with it (promise 4).

use super::{Interrupt, groups::Groups};
use crate::git;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, test_kill_process_group, waitid},
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io::{self, PipeReader, Read, Seek, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Between TERM and KILL, for those who put something away.
const GRACE: Duration = Duration::from_secs(5);
/// The longest that a step's end stays unnoticed while somebody else holds its output open.
const TICK: Duration = Duration::from_millis(20);
/// After KILL; a process that outlives it is stuck in the kernel.
const AFTER_KILL: Duration = Duration::from_secs(2);

/// A script and where it runs.
#[derive(Clone, Copy)]
pub(super) struct Shell<'a> {
    /// The program that runs it, with its options; the script follows `-c`.
    pub(super) program: &'a str,
    pub(super) script: &'a OsStr,
    pub(super) folder: &'a Path,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) stdin: &'a [u8],
    /// When it must have ended.
    pub(super) deadline: Instant,
    /// The list that its group stands on meanwhile.
    pub(super) groups: &'a Groups,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With an exit code.
    Exited(i32),
    /// By a signal from elsewhere.
    Signalled(i32),
    /// By us, at its deadline.
    TimedOut,
    /// By us, because of a signal to us.
    Interrupted,
}

/// Runs a script and hands its output on as it comes.
pub(super) fn run(shell: Shell<'_>, interrupt: &Interrupt, output: &dyn Fn(&[u8])) -> io::Result<End> {
    let (reader, writer) = io::pipe()?;
    let mut command = shell.command();
    command.stdin(standard_input(shell.stdin)?).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    shell.groups.watch();
    let (name, run) = shell.groups.mark();
    command.env(name, run);
    let child = command.spawn()?;
    // It holds our copies of the writing end, without which the output would never end.
    drop(command);
    let _listed = shell.groups.add(Pid::from_child(&child));
    let mut group = Group { leader: Pid::from_child(&child), child, ended: None };
    let mut pipe = Output { reader: Some(reader), buffer: vec![0; 64 * 1024] };
    let mut stopped: Option<Stopped> = None;
    let mut pause = Duration::from_micros(50);
    while !group.leader_has_ended()? {
        if pipe.reader.is_some() {
            pipe.pass_on(TICK, output)?;
        } else {
            // It closed its output; most end with that, some live on.
            std::thread::sleep(pause);
            pause = (pause * 2).min(TICK);
        }
        match &mut stopped {
            None => {
                let end = if interrupt.signal().is_some() {
                    End::Interrupted
                } else if Instant::now() >= shell.deadline {
                    End::TimedOut
                } else {
                    continue;
                };
                group.signal(Signal::TERM);
                stopped = Some(Stopped { end, since: Instant::now(), killed: false });
            }
            Some(stopped) if !stopped.killed && stopped.since.elapsed() >= GRACE => {
                group.signal(Signal::KILL);
                stopped.killed = true;
            }
            Some(stopped) if stopped.since.elapsed() >= GRACE + AFTER_KILL => break,
            Some(_) => {}
        }
    }
    let grace = stopped.as_ref().map_or(GRACE, |stopped| GRACE.saturating_sub(stopped.since.elapsed()));
    let status = group.end(grace, || pipe.pass_on(Duration::ZERO, output))?;
    pipe.rest(output)?;
    Ok(ended(stopped.as_ref(), status))
}

/// Runs a script that talks to the person at the terminal: in our own process group, which the terminal's Ctrl-C reaches.
pub(super) fn attended(shell: Shell<'_>, interrupt: &Interrupt) -> io::Result<End> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let terminal =
        terminal.map_err(|error| io::Error::new(error.kind(), "it asks a person, and there is no terminal here"))?;
    let mut command = shell.command();
    command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    let mut child = command.spawn()?;
    let mut stopped: Option<Stopped> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(ended(stopped.as_ref(), status));
        }
        std::thread::sleep(TICK);
        let pid = Pid::from_child(&child);
        match &mut stopped {
            None => {
                let end = if interrupt.signal().is_some() {
                    End::Interrupted
                } else if Instant::now() >= shell.deadline {
                    End::TimedOut
                } else {
                    continue;
                };
                // It may have gone meanwhile.
                let _ = kill_process(pid, Signal::TERM);
                stopped = Some(Stopped { end, since: Instant::now(), killed: false });
            }
            Some(stopped) if !stopped.killed && stopped.since.elapsed() >= GRACE => {
                let _ = kill_process(pid, Signal::KILL);
                stopped.killed = true;
            }
            Some(_) => {}
        }
    }
}

fn ended(stopped: Option<&Stopped>, status: ExitStatus) -> End {
    match (stopped, status.code(), status.signal()) {
        (Some(stopped), ..) => stopped.end,
        (None, Some(code), _) => End::Exited(code),
        (None, None, signal) => End::Signalled(signal.unwrap_or_default()),
    }
}

impl Shell<'_> {
    fn command(&self) -> Command {
        let mut words = self.program.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or("sh"));
        git::scrub(&mut command).args(words).arg("-c").arg(self.script).envs(self.env);
        // git starts hooks at the root of the work tree. A process that need not change its folder is started without a
        // copy of our own.
        if std::env::current_dir().map_or(true, |here| here != self.folder) {
            command.current_dir(self.folder);
        }
        command
    }
}

/// What a command reads: a file that has no name, so that nobody waits for it to be read.
fn standard_input(bytes: &[u8]) -> io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

struct Stopped {
    end: End,
    since: Instant,
    killed: bool,
}

/// A process group; it does not outlive this value.
struct Group {
    leader: Pid,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Group {
    /// Sees the leader's end without reaping it: until then its number, and so the group's, cannot be given away anew.
    fn leader_has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.leader), options)?.is_some())
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone already needs none.
        let _ = kill_process_group(self.leader, signal);
    }

    /// Ends what the leader left behind, reaps the leader and gives its status.
    fn end(&mut self, grace: Duration, mut meanwhile: impl FnMut() -> io::Result<bool>) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        let status = match self.child.try_wait()? {
            Some(status) => status,
            // Stuck in the kernel in spite of KILL: nothing is gained by waiting with it.
            None => ExitStatus::from_raw(Signal::KILL.as_raw()),
        };
        self.ended = Some(status);
        let since = Instant::now();
        let mut killed = false;
        let mut pause = Duration::from_micros(100);
        while test_kill_process_group(self.leader).is_ok() {
            if !killed && since.elapsed() >= grace {
                self.signal(Signal::KILL);
                killed = true;
            } else if killed && since.elapsed() >= grace + AFTER_KILL {
                break;
            }
            // A process that still writes must not wait for us to read.
            meanwhile()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(TICK);
        }
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// The reading end of a command's output.
struct Output {
    reader: Option<PipeReader>,
    buffer: Vec<u8>,
}

impl Output {
    /// Passes on what there is, waiting at most this long for it; `false` when nothing came.
    fn pass_on(&mut self, wait: Duration, output: &dyn Fn(&[u8])) -> io::Result<bool> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        match poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match reader.read(&mut self.buffer)? {
            0 => self.reader = None,
            length => output(&self.buffer[..length]),
        }
        Ok(true)
    }

    /// What is left when the group has ended. A daemon outside of the group may hold the pipe and write on: it is not read
    /// for long.
    fn rest(&mut self, output: &dyn Fn(&[u8])) -> io::Result<()> {
        let until = Instant::now() + Duration::from_millis(100);
        while self.pass_on(Duration::ZERO, output)? && Instant::now() < until {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Ran {
        end: End,
        output: String,
        took: Duration,
    }

    fn ran(script: &str, limit: Duration, interrupt: &Interrupt) -> Ran {
        let kept = Mutex::new(Vec::new());
        let started = Instant::now();
        let shell = Shell {
            program: "sh",
            script: OsStr::new(script),
            folder: Path::new("/"),
            env: &BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            stdin: b"",
            deadline: started + limit,
            groups: &Groups::default(),
        };
        let end = run(shell, interrupt, &|bytes| kept.lock().unwrap().extend_from_slice(bytes)).unwrap();
        Ran { end, output: String::from_utf8(kept.into_inner().unwrap()).unwrap(), took: started.elapsed() }
    }

    fn quick(script: &str) -> Ran {
        ran(script, Duration::from_secs(30), &Interrupt::never())
    }

    fn alive(pid: &str) -> bool {
        // A zombie that nobody reaps has no command line; it runs no more.
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    }

    #[test]
    fn output_comes_in_order_with_the_exit_code() {
        let ran = quick("echo one; echo two >&2; echo $GREETING; exit 7");
        assert_eq!((ran.end, ran.output.as_str()), (End::Exited(7), "one\ntwo\nhello\n"));
    }

    #[test]
    fn a_step_cannot_read_the_terminal() {
        assert_eq!(quick("cat; echo done").output, "done\n");
    }

    #[test]
    fn one_that_kills_itself_has_failed_by_a_signal() {
        assert_eq!(quick("kill -9 $$").end, End::Signalled(9));
    }

    #[test]
    fn one_that_closes_its_output_and_lives_on_is_waited_for() {
        let ran = quick("exec >&- 2>&-; sleep 0.3; exit 3");
        assert!(ran.end == End::Exited(3) && ran.took >= Duration::from_millis(300));
    }

    #[test]
    fn one_that_leaves_a_child_behind_ends_and_so_does_the_child() {
        let ran = quick("sleep 60 & echo $!; exit 0");
        assert_eq!(ran.end, End::Exited(0));
        assert!(ran.took < Duration::from_secs(4), "{:?}", ran.took);
        assert!(!alive(ran.output.trim()));
    }

    #[test]
    fn a_daemon_that_holds_the_output_open_hangs_nobody() {
        let ran = quick("setsid sh -c 'echo $$; exec sleep 8' & sleep 0.2; exit 0");
        assert!(ran.end == End::Exited(0) && ran.took < Duration::from_secs(4), "{:?}", ran.took);
        let _ = Command::new("kill").arg(ran.output.trim()).status();
    }

    #[test]
    fn at_the_limit_the_whole_group_ends_even_who_ignores_term() {
        let script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & wait";
        let ran = ran(script, Duration::from_millis(300), &Interrupt::never());
        assert_eq!(ran.end, End::TimedOut);
        assert!(ran.took >= GRACE && ran.took < GRACE + AFTER_KILL + AFTER_KILL, "{:?}", ran.took);
        assert!(!alive(ran.output.trim()));
    }

    #[test]
    fn a_signal_to_us_ends_it_and_lets_it_put_things_away() {
        let interrupt = Interrupt::never();
        let later = interrupt.clone();
        let raiser = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            later.raise(2);
        });
        let ran = ran("trap 'echo tidied; exit 1' TERM; sleep 60 & wait", Duration::from_secs(30), &interrupt);
        raiser.join().unwrap();
        assert_eq!((ran.end, ran.output.as_str()), (End::Interrupted, "tidied\n"));
    }
}
