//! One shell command in a process group of its own. It always ends: by itself, by its time limit or by a signal to us; and
//! whatever it started ends with it (promise 4), but for daemons that have left its group and let go of its output.

use super::{
    Interrupt,
    groups::{Groups, MARK, Mark},
    strays::{Extent, Strays},
};
use crate::git;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
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
/// After KILL.
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
    let mark = shell.groups.mark();
    command.env(MARK, mark.value());
    let child = command.spawn()?;
    // It holds our copies of the writing end, without which the output would never end.
    drop(command);
    let _listed = shell.groups.add(Pid::from_child(&child));
    let mut group = Group::of(child);
    let mut pipe = Output { reader: Some(reader), buffer: Vec::new() };
    let mut limits = Limits::new(shell.deadline, interrupt);
    while !group.leader_has_ended()? && limits.hold(|signal| group.signal(signal)) {
        group.wait(pipe.reader.as_ref())?;
        pipe.pass_on(Duration::ZERO, output)?;
    }
    let grace = limits.grace();
    let status = group.end(grace, || pipe.pass_on(Duration::ZERO, output))?;
    pipe.rest(output)?;
    pipe.end_strays(&mark, limits.extent(), grace, output)?;
    Ok(limits.ended(status))
}

/// Runs a script that talks to the person at the terminal: in our own process group, which the terminal's Ctrl-C reaches.
pub(super) fn attended(shell: Shell<'_>, interrupt: &Interrupt) -> io::Result<End> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let terminal =
        terminal.map_err(|error| io::Error::new(error.kind(), "it asks a person, and there is no terminal here"))?;
    let mut command = shell.command();
    command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    shell.groups.watch();
    let mark = shell.groups.mark();
    command.env(MARK, mark.value());
    let mut child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let _listed = shell.groups.add_process(pid);
    let mut limits = Limits::new(shell.deadline, interrupt);
    // Its group is ours, and git's: what else is the step's is known by the mark alone.
    let mut marked = Output { reader: None, buffer: Vec::new() };
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let signal = |signal| {
            // It may have gone meanwhile.
            let _ = kill_process(pid, signal);
            marked.strays(&mark, Extent::All).signal(signal);
        };
        if !limits.hold(signal) {
            break killed();
        }
        std::thread::sleep(TICK);
    };
    let extent = if limits.stopped.is_some() { Extent::All } else { Extent::InOurGroup };
    marked.end_strays(&mark, extent, limits.grace(), &|_| {})?;
    Ok(limits.ended(status))
}

/// TERM, then KILL for what is still there when the grace is over.
struct Ending {
    since: Instant,
    grace: Duration,
    killed: bool,
}

impl Ending {
    fn begin(grace: Duration, signal: impl Fn(Signal)) -> Self {
        signal(Signal::TERM);
        Self { since: Instant::now(), grace, killed: false }
    }

    /// Goes on when it is time to; `false` when nothing is gained by waiting any longer: what outlives KILL is stuck in the
    /// kernel.
    fn go_on(&mut self, signal: impl Fn(Signal)) -> bool {
        let elapsed = self.since.elapsed();
        if !self.killed && elapsed >= self.grace {
            signal(Signal::KILL);
            self.killed = true;
        }
        elapsed < self.grace + AFTER_KILL
    }
}

/// As which ends what does not even react to KILL.
fn killed() -> ExitStatus {
    ExitStatus::from_raw(Signal::KILL.as_raw())
}

/// What a command must not outlast.
struct Limits<'a> {
    deadline: Instant,
    interrupt: &'a Interrupt,
    stopped: Option<(End, Ending)>,
}

impl<'a> Limits<'a> {
    fn new(deadline: Instant, interrupt: &'a Interrupt) -> Self {
        Self { deadline, interrupt, stopped: None }
    }

    /// Ends a command that has come to a limit; `false` when that was in vain.
    fn hold(&mut self, signal: impl Fn(Signal)) -> bool {
        if let Some((_, ending)) = &mut self.stopped {
            return ending.go_on(signal);
        }
        let end = if self.interrupt.signal().is_some() {
            End::Interrupted
        } else if Instant::now() >= self.deadline {
            End::TimedOut
        } else {
            return true;
        };
        self.stopped = Some((end, Ending::begin(GRACE, signal)));
        true
    }

    /// What is left of the time between TERM and KILL.
    fn grace(&self) -> Duration {
        self.stopped.as_ref().map_or(GRACE, |(_, ending)| ending.grace.saturating_sub(ending.since.elapsed()))
    }

    /// Who came to its own end may leave a daemon behind.
    fn extent(&self) -> Extent {
        if self.stopped.is_some() { Extent::All } else { Extent::Holding }
    }

    fn ended(&self, status: ExitStatus) -> End {
        match (&self.stopped, status.code(), status.signal()) {
            (Some((end, _)), ..) => *end,
            (None, Some(code), _) => End::Exited(code),
            (None, None, signal) => End::Signalled(signal.unwrap_or_default()),
        }
    }
}

impl Shell<'_> {
    fn command(&self) -> Command {
        let mut words = self.program.split_whitespace();
        let program = words.next().unwrap_or("sh");
        // A step that sets the PATH means its programs, and a path is no name to look for.
        let named = !self.env.contains_key("PATH") && !program.contains('/');
        let found = if named { self.groups.program(program) } else { None };
        let mut command = Command::new(found.as_deref().unwrap_or(program.as_ref()));
        command.arg0(program);
        git::scrub(&mut command).args(words).arg("-c").arg(self.script).envs(self.env);
        // A process that need not change its folder is started without a copy of our own.
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

/// A process group; it does not outlive this value.
struct Group {
    leader: Pid,
    child: Child,
    ended: Option<ExitStatus>,
    /// Tells when the leader ends, where the system has such a thing.
    end: Option<OwnedFd>,
}

#[cfg(target_os = "linux")]
fn end_of(process: Pid) -> Option<OwnedFd> {
    use rustix::process::{PidfdFlags, pidfd_open};
    pidfd_open(process, PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn end_of(_: Pid) -> Option<OwnedFd> {
    None
}

impl Group {
    fn of(child: Child) -> Self {
        let leader = Pid::from_child(&child);
        Self { leader, child, ended: None, end: end_of(leader) }
    }

    /// Waits for output or for the leader's end, and for no more than a moment.
    fn wait(&self, output: Option<&PipeReader>) -> io::Result<()> {
        let output = output.map(|output| PollFd::new(output, PollFlags::IN));
        let end = self.end.as_ref().map(|end| PollFd::new(end, PollFlags::IN));
        // Who closed its output has mostly ended.
        let moment = if output.is_none() && end.is_none() { Duration::from_millis(1) } else { TICK };
        let mut either: Vec<PollFd<'_>> = output.into_iter().chain(end).collect();
        match poll(&mut either, Some(&timeout(moment))) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

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
        let signal = |signal| _ = kill_process_group(self.leader, signal);
        let mut ending = Ending::begin(grace, signal);
        let status = self.child.try_wait()?.unwrap_or_else(killed);
        self.ended = Some(status);
        let mut pause = Duration::from_micros(100);
        while test_kill_process_group(self.leader).is_ok() && ending.go_on(signal) {
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

/// Of less than a second.
fn timeout(wait: Duration) -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() }
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
        match poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&timeout(wait))) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        // Most commands say nothing when all is well.
        self.buffer.resize(64 * 1024, 0);
        match reader.read(&mut self.buffer)? {
            0 => self.reader = None,
            length => output(&self.buffer[..length]),
        }
        Ok(true)
    }

    /// What is left when the group has ended. Somebody outside of the group may hold the pipe and write on: it is not read
    /// for long. Another step's process holds it, too, in the moment between its fork and its exec.
    fn rest(&mut self, output: &dyn Fn(&[u8])) -> io::Result<()> {
        let until = Instant::now() + Duration::from_millis(100);
        while self.pass_on(TICK, output)? && Instant::now() < until {}
        Ok(())
    }

    /// Ends what has left the group and is the step's all the same.
    fn end_strays(&mut self, mark: &Mark, extent: Extent, grace: Duration, output: &dyn Fn(&[u8])) -> io::Result<()> {
        if self.reader.is_none() && extent == Extent::Holding {
            return Ok(());
        }
        let mut ending = Ending::begin(grace, |signal| self.strays(mark, extent).signal(signal));
        while self.strays(mark, extent).are_there() && ending.go_on(|signal| self.strays(mark, extent).signal(signal)) {
            if !self.pass_on(Duration::ZERO, output)? {
                std::thread::sleep(TICK);
            }
        }
        Ok(())
    }

    fn strays<'a>(&'a self, mark: &'a Mark, extent: Extent) -> Strays<'a> {
        Strays { output: self.reader.as_ref(), mark, extent }
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

    #[cfg(target_os = "linux")]
    #[test]
    fn one_that_left_the_group_and_holds_the_output_ends_with_the_step() {
        let ran = quick("setsid sh -c 'echo $$; exec sleep 60' & sleep 0.2; exit 3");
        assert!(ran.end == End::Exited(3) && ran.took < GRACE, "{:?}", ran.took);
        assert!(!alive(ran.output.trim()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn not_even_a_daemon_that_ignores_term_and_hides_outlasts_the_step_whose_output_it_holds() {
        let hidden =
            "setsid env -i sh -c 'trap \"\" TERM HUP; sh -c \"echo \\$\\$; sleep 60\" & while :; do sleep 1; done' &";
        let ran = quick(&format!("{hidden} sleep 0.3; exit 0"));
        assert_eq!(ran.end, End::Exited(0));
        assert!(ran.took >= GRACE && ran.took < GRACE + AFTER_KILL + AFTER_KILL, "{:?}", ran.took);
        assert!(!alive(ran.output.trim()));
    }

    #[test]
    fn a_daemon_that_lets_go_of_everything_is_left_behind_on_purpose() {
        let ran = quick("echo hello; setsid sh -c 'echo $$ >&3; exec 3>&- sleep 8' 3>&1 >/dev/null 2>&1 & sleep 0.3");
        let pid = ran.output.lines().last().unwrap();
        assert!(ran.end == End::Exited(0) && alive(pid), "{}", ran.output);
        let _ = Command::new("kill").arg(pid).status();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn at_the_limit_ends_what_has_left_the_group_and_lets_go_of_everything() {
        let script = "echo $$; setsid sh -c 'echo $$ >&3; exec 3>&- sleep 60' 3>&1 >/dev/null 2>&1 & sleep 60";
        let ran = ran(script, Duration::from_millis(500), &Interrupt::never());
        assert!(ran.end == End::TimedOut && ran.took < GRACE, "{:?}", ran.took);
        for pid in ran.output.lines() {
            assert!(!alive(pid), "{}", ran.output);
        }
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
