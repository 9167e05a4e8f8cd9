use super::{
    Error,
    contract::{Stdin, call},
};
use crate::values::{HookName, Oid};
use std::{
    ffi::OsString,
    io::Read,
    path::{Path, PathBuf},
};

/// Standard input larger than this is no list of references.
const MAX_INPUT: u64 = 64 << 20;

/// One call of a hook by git, parsed.
#[derive(Debug, Clone)]
pub enum Event {
    /// About to push.
    PrePush {
        /// The remote's name, or its address where it has none.
        remote: String,
        /// The references, as the remote will have them.
        updates: Vec<RefUpdate>,
    },
    /// References have moved to another id.
    Moved(Vec<Movement>),
    /// A pull or merge is finished.
    PostMerge,
    /// A commit message waits in a file.
    Message(PathBuf),
    /// Any other hook.
    Plain,
}

/// A reference that has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// Its name.
    pub reference: String,
    /// What it points at now.
    pub to: Oid,
    /// Whether git says what it pointed at before.
    pub from: From,
}

/// What git says of a reference as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Its id, as a fetch does.
    Told,
    /// Nothing: it is new, git packs its references, or it is that of a push of ours.
    Untold,
}

/// One reference that a push moves (`githooks(5)`, pre-push).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// The reference here, or a revision; `(delete)` for a deletion.
    pub local_ref: String,
    /// What it points at here; zero for a deletion.
    pub local: Oid,
    /// The reference there.
    pub remote_ref: String,
    /// What it points at there; zero where it is new.
    pub remote: Oid,
}

impl RefUpdate {
    /// Whether the push takes the reference away: there is nothing to judge.
    #[must_use]
    pub fn is_deletion(&self) -> bool {
        self.local.is_zero()
    }

    /// Whether the remote has this already.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        self.local == self.remote
    }
}

impl Event {
    /// Parses a call.
    ///
    /// # Errors
    /// [`Error::Contract`] where the call is not what `githooks(5)` says.
    pub fn parse(hook: HookName, arguments: &[OsString], input: &[u8]) -> Result<Self, Error> {
        let contract = |what: String| Error::Contract { hook, what };
        let (count, _) = call(hook);
        if !count.contains(&arguments.len()) {
            return Err(contract(format!("{} arguments", arguments.len())));
        }
        let text = |index: usize| arguments[index].to_string_lossy().into_owned();
        Ok(match hook {
            HookName::PrePush => Self::PrePush { remote: text(0), updates: updates(input).map_err(contract)? },
            // In the other states nothing has moved, or never will.
            HookName::ReferenceTransaction if arguments[0] == "committed" => Self::Moved(moved(input)),
            HookName::PostMerge => Self::PostMerge,
            HookName::CommitMsg | HookName::PrepareCommitMsg | HookName::ApplypatchMsg => {
                Self::Message(Path::new(&arguments[0]).to_owned())
            }
            _ => Self::Plain,
        })
    }
}

/// Reads standard input where the hook's contract has one.
///
/// # Errors
/// When it cannot be read.
pub fn input(hook: HookName) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    if call(hook).1 == Stdin::Lines {
        let read = std::io::stdin().lock().take(MAX_INPUT).read_to_end(&mut bytes);
        read.map_err(|source| Error::File { path: "standard input".to_owned(), source })?;
    }
    Ok(bytes)
}

/// `<local ref> SP <local id> SP <remote ref> SP <remote id> LF`
fn updates(input: &[u8]) -> Result<Vec<RefUpdate>, String> {
    let text = String::from_utf8_lossy(input);
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            // From the right: a local revision may hold spaces (`HEAD@{1 day ago}`), the rest may not.
            let mut words = line.rsplitn(4, ' ');
            let (remote, remote_ref, local, local_ref) = (words.next(), words.next(), words.next(), words.next());
            match (local_ref, local.map(str::parse), remote_ref, remote.map(str::parse)) {
                (Some(local_ref), Some(Ok(local)), Some(remote_ref), Some(Ok(remote))) => {
                    Ok(RefUpdate { local_ref: local_ref.to_owned(), local, remote_ref: remote_ref.to_owned(), remote })
                }
                _ => Err(format!("the line {line:?}")),
            }
        })
        .collect()
}

/// `<old id> SP <new id> SP <ref> LF`; symbolic references and deletions are not movements to an id.
fn moved(input: &[u8]) -> Vec<Movement> {
    let text = String::from_utf8_lossy(input);
    let parsed = text.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let (old, to, reference) = (words.next()?, words.next()?.parse::<Oid>().ok()?, words.next()?.to_owned());
        let from = if old.bytes().all(|byte| byte == b'0') { From::Untold } else { From::Told };
        Some(Movement { reference, to, from })
    });
    parsed.filter(|movement| !movement.to.is_zero()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    #[test]
    fn every_pushed_reference_is_read() {
        let input = format!(
            "refs/heads/main {A} refs/heads/main {ZERO}\n(delete) {ZERO} refs/heads/old {A}\nHEAD@{{1 day ago}} {A} refs/heads/x {A}\n"
        );
        let arguments = ["origin".into(), "git@git.example.com:a.git".into()];
        let Event::PrePush { updates, .. } = Event::parse(HookName::PrePush, &arguments, input.as_bytes()).unwrap()
        else {
            panic!("not a push");
        };
        assert_eq!(updates.len(), 3);
        assert!(updates[1].is_deletion() && updates[2].is_noop());
        assert_eq!(updates[2].local_ref, "HEAD@{1 day ago}");
    }

    #[test]
    fn only_movements_to_an_id_count() {
        let input =
            format!("{ZERO} {A} refs/remotes/origin/main\n{A} {ZERO} refs/heads/gone\n{ZERO} ref:refs/heads/x HEAD\n");
        let Event::Moved(moved) =
            Event::parse(HookName::ReferenceTransaction, &["committed".into()], input.as_bytes()).unwrap()
        else {
            panic!("not a transaction");
        };
        let reference = "refs/remotes/origin/main".to_owned();
        assert_eq!(moved, [Movement { reference, to: A.parse().unwrap(), from: From::Untold }]);
    }

    #[test]
    fn a_call_that_git_never_makes_is_refused() {
        assert!(Event::parse(HookName::PreCommit, &["x".into()], b"").is_err());
        assert!(Event::parse(HookName::PrePush, &["origin".into(), "url".into()], b"half a line\n").is_err());
    }
}
