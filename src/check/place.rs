//! Where the steps of a run work: in the work tree where that provably is the snapshot, else in a scratch tree. Asked
//! again afterwards, the same place says whether what was judged is still what stands there.

use super::{Context, Error, Kind, Places, scratch::ScratchTree};
use crate::git::{Repository, Trust};
use gix::bstr::BString;
use std::path::{Path, PathBuf};

/// A folder that holds the snapshot.
pub(super) enum Place {
    /// The work tree itself.
    WorkTree(PathBuf),
    /// A scratch tree, ours for as long as this value lives.
    Scratch(ScratchTree),
}

impl Place {
    /// Finds the place for a run.
    pub(super) fn find(context: &Context<'_>) -> Result<Self, Error> {
        let why = match context.repository.work_dir() {
            None => "the repository has no work tree".to_owned(),
            Some(folder) if !context.judges() => return Ok(Self::WorkTree(folder.to_owned())),
            Some(_) if context.places == Places::Scratch => return Self::scratch(context),
            Some(folder) => match difference(context, context.snapshot.trust)? {
                None => return Ok(Self::WorkTree(folder.to_owned())),
                Some(why) => why,
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
            Self::WorkTree(folder) => folder,
            Self::Scratch(tree) => tree.folder(),
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::WorkTree(_) => "work tree",
            Self::Scratch(_) => "scratch tree",
        }
    }

    /// Why it holds the snapshot no more, if so: a step changed a file, or a person did.
    pub(super) fn changed(&self, context: &Context<'_>) -> Result<Option<String>, Error> {
        match self {
            Self::WorkTree(_) => {
                let index = context.repository.index()?;
                if context.snapshot.kind == Kind::Index && index.tree != context.snapshot.tree {
                    return Ok(Some("the index is another one now".to_owned()));
                }
                difference(context, index.trust)
            }
            Self::Scratch(tree) => {
                // What steps leave beside the tracked files goes away with the next update.
                let repository = Repository::open(tree.folder())?;
                if repository.index()?.tree != context.snapshot.tree {
                    return Ok(Some("a step changed the index".to_owned()));
                }
                Ok(first(&repository.work_tree_state()?.unstaged, "was changed"))
            }
        }
    }
}

/// Why the work tree is not the snapshot, if so.
fn difference(context: &Context<'_>, trust: Trust) -> Result<Option<String>, Error> {
    let (repository, snapshot) = (context.repository, context.snapshot);
    if trust == Trust::Believes {
        return Ok(Some("some files are assume-unchanged or outside the sparse checkout".to_owned()));
    }
    if let Kind::Commit(commit) = &snapshot.kind {
        match repository.commit("HEAD") {
            Some(head) if head == *commit || repository.tree_of(&head)? == snapshot.tree => {}
            _ => return Ok(Some(format!("commit {} is not checked out", commit.short()))),
        }
        if repository.index()?.trust == Trust::Believes {
            return Ok(Some("some files are assume-unchanged or outside the sparse checkout".to_owned()));
        }
    }
    let state = repository.work_tree_state()?;
    let staged = if snapshot.kind == Kind::Index { None } else { first(&state.staged, "has staged changes") };
    Ok(staged
        .or_else(|| first(&state.unstaged, "has unstaged changes"))
        .or_else(|| first(&state.untracked, "is neither tracked nor ignored")))
}

fn first(paths: &[BString], what: &str) -> Option<String> {
    let first = paths.first()?;
    Some(match paths.len() {
        1 => format!("{first} {what}"),
        more => format!("{first} {what}, and {} more", more - 1),
    })
}
