//! Where the steps of a run work: in the work tree where that provably is the snapshot, else in a scratch tree. Asked
//! again afterwards, the same place says whether what was judged is still what stands there.

use super::{Context, Error, Kind, Places, scratch::ScratchTree};
use crate::git::{self, Difference, Index, Repository, Sight, Trust, WorkTreeState};
use gix::bstr::BString;
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    time::Duration,
};

/// A person's own settings, at the root of the work tree; never a part of what is judged.
const UNSEEN: &[&str] = &[crate::config::LOCAL_PATH];

/// A folder that holds the snapshot.
pub(super) enum Place {
    /// The work tree itself, as it was seen.
    WorkTree(PathBuf, Option<Box<Sight>>),
    /// A scratch tree, ours for as long as this value lives.
    Scratch(ScratchTree),
}

impl Place {
    /// Finds the place for a run.
    pub(super) fn find(context: &Context<'_>) -> Result<Self, Error> {
        let why = match context.repository.work_dir() {
            None => "the repository has no work tree".to_owned(),
            Some(folder) if !context.judges() => return Ok(Self::WorkTree(folder.to_owned(), None)),
            Some(_) if context.places == Places::Scratch => return Self::scratch(context),
            Some(folder) => match compare(context, context.snapshot.index.as_ref())? {
                Compared::Equal(sight) => return Ok(Self::WorkTree(folder.to_owned(), sight)),
                Compared::Different(why) => why,
            },
        };
        let scratch = Self::scratch(context)?;
        context.progress.line(&format!("in a scratch tree: {why}"));
        Ok(scratch)
    }

    /// A scratch tree, whatever the work tree is like.
    pub(super) fn scratch(context: &Context<'_>) -> Result<Self, Error> {
        ScratchTree::take(context).map(Self::Scratch)
    }

    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::WorkTree(folder, _) => folder,
            Self::Scratch(tree) => tree.folder(),
        }
    }

    /// How long it takes to find out whether it still holds the snapshot, where that is known.
    pub(super) fn price(&self) -> Duration {
        match self {
            Self::WorkTree(_, Some(sight)) => sight.price(),
            Self::WorkTree(_, None) => Duration::ZERO,
            Self::Scratch(tree) => tree.looked.unwrap_or_default(),
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::WorkTree(..) => "work tree",
            Self::Scratch(_) => "scratch tree",
        }
    }

    /// Why it holds the snapshot no more, if so: a step changed a file, or a person did.
    pub(super) fn changed(&self, context: &Context<'_>) -> Result<Option<String>, Error> {
        match self {
            Self::WorkTree(_, sight) => Ok(match compare_again(context, sight.as_deref())? {
                Compared::Equal(_) => None,
                Compared::Different(why) => Some(why),
            }),
            Self::Scratch(tree) => {
                // What steps leave beside the tracked files goes away with the next update.
                let repository = Repository::open(tree.folder())?;
                let index = repository.index()?;
                if index.tree != context.snapshot.tree {
                    return Ok(Some("a step changed the index".to_owned()));
                }
                Ok(match repository.tracked_state(&index)? {
                    WorkTreeState::Different(difference) => first(&difference.unstaged, "was changed"),
                    WorkTreeState::Equal(_) => None,
                })
            }
        }
    }
}

/// How the work tree stands to the snapshot.
enum Compared {
    Equal(Option<Box<Sight>>),
    /// Not equal, and why.
    Different(String),
}

impl From<WorkTreeState> for Compared {
    fn from(state: WorkTreeState) -> Self {
        match state {
            WorkTreeState::Equal(sight) => Self::Equal(sight),
            WorkTreeState::Different(Difference { unstaged, untracked, written }) => {
                let why = first(&unstaged, "has unstaged changes");
                let why = why.or_else(|| first(&untracked, "is neither tracked nor ignored"));
                let why = why.or_else(|| first(&written, "was written"));
                Self::Different(why.unwrap_or_else(|| "it differs from the index".to_owned()))
            }
        }
    }
}

fn compare(context: &Context<'_>, index: Option<&Index>) -> Result<Compared, Error> {
    let (repository, snapshot) = (context.repository, context.snapshot);
    if let Kind::Commit(commit) = &snapshot.kind
        && !is_checked_out(context)?
    {
        return Ok(Compared::Different(format!("commit {} is not checked out", commit.short())));
    }
    let index = match index {
        Some(index) => Cow::Borrowed(index),
        None => match index_now(repository)? {
            Some(index) => Cow::Owned(index),
            None => return Ok(conflicts()),
        },
    };
    if index.trust == Trust::Believes {
        return Ok(Compared::Different("some files are assume-unchanged or outside the sparse checkout".to_owned()));
    }
    if index.tree != snapshot.tree {
        let staged = repository.changes(Some(&snapshot.tree), &index.tree)?;
        let staged: Vec<BString> = staged.into_iter().map(|change| change.path).collect();
        if let Some(why) = first(&staged, "has staged changes") {
            return Ok(Compared::Different(why));
        }
    }
    Ok(repository.work_tree_state(&index, UNSEEN)?.into())
}

/// How the work tree that was seen to be the snapshot stands to it after the steps.
fn compare_again(context: &Context<'_>, sight: Option<&Sight>) -> Result<Compared, Error> {
    let repository = context.repository;
    if let Some(sight) = sight
        && is_checked_out(context)?
        && (sight.index().is_current(repository)
            || index_now(repository)?.is_some_and(|index| index.tree == sight.index().tree))
    {
        // By the index of that sight, even where git has put another in its place: a new one forgets what was written.
        return Ok(repository.work_tree_state_since(sight, UNSEEN)?.into());
    }
    let Some(index) = index_now(repository)? else { return Ok(conflicts()) };
    if context.snapshot.kind == Kind::Index && index.tree != context.snapshot.tree {
        return Ok(Compared::Different("the index is another one now".to_owned()));
    }
    compare(context, Some(&index))
}

/// The index; `None` while a merge or the like waits for somebody to resolve it.
fn index_now(repository: &Repository) -> Result<Option<Index>, Error> {
    match repository.index() {
        Err(git::Error::Unmerged { .. }) => Ok(None),
        index => Ok(Some(index?)),
    }
}

fn conflicts() -> Compared {
    Compared::Different("the index has conflicts".to_owned())
}

/// Whether `HEAD` is the snapshot; an index belongs to every `HEAD`.
pub(super) fn is_checked_out(context: &Context<'_>) -> Result<bool, Error> {
    let Kind::Commit(commit) = &context.snapshot.kind else { return Ok(true) };
    Ok(match context.repository.commit("HEAD") {
        Some(head) => head == *commit || context.repository.tree_of(&head)? == context.snapshot.tree,
        None => false,
    })
}

fn first(paths: &[BString], what: &str) -> Option<String> {
    let first = paths.first()?;
    Some(match paths.len() {
        1 => format!("{first} {what}"),
        more => format!("{first} {what}, and {} more", more - 1),
    })
}
