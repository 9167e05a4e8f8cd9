//! What ran in an environment, from the history of its state file: the file says what, the commits say who and when. What
//! a commit did is read off its difference and the states before and after it, never off its message; that only tells from
//! which environment was promoted.

use super::{Error, Hold, Session, State, Target, delivered, same};
use crate::{
    git::Mirror,
    values::{EnvironmentName, ImageName, Oid},
};
use jiff::Timestamp;

/// What became of an environment, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The tip of the manifest branch.
    pub tip: Oid,
    /// What it says runs now.
    pub state: State,
    /// Each commit that changed the state.
    pub entries: Vec<Entry>,
}

/// One commit that changed the state of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The commit on the manifest branch.
    pub commit: Oid,
    /// Who.
    pub author: String,
    /// When, by that person's clock.
    pub time: Timestamp,
    /// The first line of its message.
    pub subject: String,
    /// What it did.
    pub kind: Kind,
    /// The state afterwards; `None` where the file could not be trusted.
    pub state: Option<State>,
    /// The images that ran something else afterwards.
    pub changed: Vec<ImageName>,
}

/// What a commit did to an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// It delivered what the branch had.
    Delivered,
    /// It said that what runs is as new as a newer commit.
    Noted,
    /// It brought what ran in another environment.
    Promoted(EnvironmentName),
    /// It brought back what had run before.
    RolledBack(Hold),
    /// It kept newer commits away.
    Held(Hold),
    /// It let them in again.
    Released,
    /// Somebody edited the state.
    ByHand,
}

/// The history of an environment, at most `limit` commits of it.
///
/// # Errors
/// A remote that cannot be reached, a folder that is not there, a state that cannot be trusted now.
pub fn history(session: &Session<'_>, target: &Target<'_>, limit: usize) -> Result<Past, Error> {
    let (mirror, tip) = delivered::newest(session, target)?;
    let state = delivered::state(&mirror, target, &tip)?;
    let path = State::path(&target.environment.manifests.path);
    let format = "--format=%H%x1f%P%x1f%an%x1f%ct%x1f%(trailers:key=Promoted-From,valueonly,separator=%x20)%x1f%s";
    let mut git = mirror.repository().git().args(["log", format]);
    // One more: what the oldest did shows only beside what was before it. git counts to 2^31.
    if let Ok(count) = i32::try_from(limit.saturating_add(1)) {
        git = git.arg(format!("--max-count={count}"));
    }
    let git = git.args([tip.as_str(), "--"]);
    let output = git.arg(format!(":(literal){path}")).run()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let commits: Vec<Line<'_>> = text.lines().filter_map(Line::parse).collect();
    let states: Vec<Option<State>> =
        commits.iter().map(|line| state_at(&mirror, target, &line.commit)).collect::<Result<_, _>>()?;
    let none = State::default();
    let mut entries = Vec::new();
    for (at, line) in commits.iter().enumerate().take(limit) {
        let after = states[at].clone();
        let before = states.get(at + 1).map_or(Some(&none), Option::as_ref);
        let changed = match (before, &after) {
            (Some(before), Some(after)) => changed(before, after),
            _ => Vec::new(),
        };
        let kind = match (before, &after) {
            (Some(before), Some(after)) if line.is_delivery(&mirror, target, before, after, &changed)? => {
                line.kind(before, after, !changed.is_empty())
            }
            _ => Kind::ByHand,
        };
        let (commit, author, subject) = (line.commit.clone(), line.author.to_owned(), line.subject.to_owned());
        entries.push(Entry { commit, author, time: line.time, subject, kind, state: after, changed });
    }
    Ok(Past { tip, state, entries })
}

/// The most that is shown of what a commit changed.
const MAX_PATCH: usize = 128 << 10;

/// What a commit of the manifest branch changed in an environment's folder, as `git diff` shows it.
///
/// # Errors
/// When the mirror cannot be opened or does not have the commit.
pub fn patch(session: &Session<'_>, target: &Target<'_>, commit: &Oid) -> Result<String, Error> {
    let mirror = session.open(&target.environment.manifests.url)?;
    let show = ["show", "--format=", "--no-color", "--no-ext-diff", "--first-parent", "-m", commit.as_str(), "--"];
    let path = target.environment.manifests.path.as_str();
    let git = mirror.repository().git().args(show);
    let output = if path.is_empty() { git.run()? } else { git.arg(format!(":(literal){path}")).run()? };
    let shown = &output.stdout[..output.stdout.len().min(MAX_PATCH)];
    Ok(String::from_utf8_lossy(shown).into_owned())
}

/// A state that cannot be trusted is a part of the history all the same.
fn state_at(mirror: &Mirror, target: &Target<'_>, commit: &Oid) -> Result<Option<State>, Error> {
    match delivered::state(mirror, target, commit) {
        Ok(state) => Ok(Some(state)),
        Err(Error::State { .. } | Error::NoState { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn changed(before: &State, after: &State) -> Vec<ImageName> {
    let differs = |image: &ImageName| {
        let digest = |state: &State| state.images.get(image).map(|running| running.reference.digest.clone());
        digest(before) != digest(after)
    };
    after.images.keys().filter(|image| differs(image)).cloned().collect()
}

/// A commit as `git log` prints it.
struct Line<'l> {
    commit: Oid,
    parents: Vec<Oid>,
    author: &'l str,
    time: Timestamp,
    promoted_from: &'l str,
    subject: &'l str,
}

impl<'l> Line<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let parts: Vec<&str> = line.splitn(6, '\x1f').collect();
        let [commit, parents, author, time, promoted_from, subject] = parts[..] else { return None };
        let parents = parents.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let time = Timestamp::from_second(time.parse().ok()?).ok()?;
        Some(Self { commit: commit.parse().ok()?, parents, author, time, promoted_from, subject })
    }

    /// Whether it did to the environment what a delivery does: nothing else changed in its folder than the state and
    /// references to what that says, and those of all images of which the state says something new.
    fn is_delivery(
        &self,
        mirror: &Mirror,
        target: &Target<'_>,
        before: &State,
        after: &State,
        changed: &[ImageName],
    ) -> Result<bool, Error> {
        let Some(brought) = same::brought_to(mirror.repository(), target, &self.parents, &self.commit)? else {
            return Ok(false);
        };
        let is_kept = before.images.keys().all(|image| after.images.contains_key(image));
        let is_brought = || changed.iter().all(|image| brought.contains(image));
        // Somebody may have written the reference before it was delivered.
        let stood_there = || matches!(delivered::edited(mirror, target, &self.commit, after), Ok(None));
        Ok(is_kept && (is_brought() || stood_there()))
    }

    fn kind(&self, before: &State, after: &State, moved: bool) -> Kind {
        match (&before.hold, &after.hold) {
            (known, Some(hold)) if known.as_ref() != Some(hold) => {
                if moved {
                    Kind::RolledBack(hold.clone())
                } else {
                    Kind::Held(hold.clone())
                }
            }
            (Some(_), None) => Kind::Released,
            _ => match self.promoted_from.trim().parse() {
                Ok(from) => Kind::Promoted(from),
                Err(_) if moved => Kind::Delivered,
                Err(_) => Kind::Noted,
            },
        }
    }
}

impl Past {
    /// What ran before what runs now; rolled back twice, one goes back two steps.
    #[must_use]
    pub fn before(&self, images: impl Fn(&ImageName) -> bool) -> Option<&State> {
        let runs = |state: &State| -> Vec<_> {
            let wanted = state.images.iter().filter(|(image, _)| images(image));
            wanted.map(|(image, running)| (image.clone(), running.reference.digest.clone())).collect()
        };
        let now = runs(&self.state);
        let came = self.entries.iter().filter(|entry| !matches!(entry.kind, Kind::RolledBack(_)));
        let states: Vec<&State> = came.filter_map(|entry| entry.state.as_ref()).collect();
        // The oldest time that this came to run: what is older than that is what was before it.
        let first = states.iter().rposition(|state| runs(state) == now);
        let older = states.get(first.map_or(0, |at| at + 1)..).unwrap_or_default();
        older.iter().copied().find(|state| !runs(state).is_empty() && runs(state) != now)
    }

    /// The newest state in which an image ran a source commit.
    #[must_use]
    pub fn at(&self, is_wanted: impl Fn(&Oid) -> bool) -> Option<&State> {
        let states = self.entries.iter().filter_map(|entry| entry.state.as_ref());
        states.into_iter().find(|state| state.images.values().any(|running| is_wanted(&running.source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::Running;

    fn state(digit: char) -> State {
        let source: Oid = digit.to_string().repeat(40).parse().unwrap();
        let reference = format!("r.example.com/web:git-{source}@sha256:{}", digit.to_string().repeat(64));
        let running = Running { source, reference: reference.parse().unwrap() };
        State { branch: None, hold: None, images: [("web".parse().unwrap(), running)].into() }
    }

    fn entry(digit: char, kind: Kind) -> Entry {
        Entry {
            commit: digit.to_string().repeat(40).parse().unwrap(),
            author: String::new(),
            time: Timestamp::UNIX_EPOCH,
            subject: String::new(),
            kind,
            state: Some(state(digit)),
            changed: Vec::new(),
        }
    }

    #[test]
    fn going_back_twice_goes_back_two_steps() {
        let delivered = |digit| entry(digit, Kind::Delivered);
        let tip: Oid = "f".repeat(40).parse().unwrap();
        let hold = Hold { by: String::new(), why: String::new() };
        let mut past = Past { tip, state: state('3'), entries: vec![delivered('3'), delivered('2'), delivered('1')] };
        let sources =
            |past: &Past| past.before(|_| true).map(|state| state.images[&"web".parse().unwrap()].source.clone());
        assert_eq!(sources(&past), Some("2".repeat(40).parse().unwrap()));
        past.entries.insert(0, entry('2', Kind::RolledBack(hold.clone())));
        past.state = state('2');
        assert_eq!(sources(&past), Some("1".repeat(40).parse().unwrap()));
        past.entries.insert(0, entry('1', Kind::RolledBack(hold)));
        past.state = state('1');
        assert_eq!(sources(&past), None);
    }
}
