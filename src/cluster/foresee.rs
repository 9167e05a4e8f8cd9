//! What the sync of an environment would do with what its manifest repository has now. The laptop's own git fetches, so that
//! the user's credentials count.

use super::Error;
use crate::{
    config::Manifests,
    git::{Mirror, Prompts, Repository},
    sync::{self, Checkout, Preview, Settings},
};
use kube::Client;

/// An environment's part of its manifest repository, as it is now.
///
/// # Errors
/// A repository that does not answer, a commit without the path, and one that the sync would not take.
pub fn fetched(
    repository: &Repository,
    manifests: &Manifests,
    signers: &[String],
    prompts: Prompts,
) -> Result<(git2::Repository, Checkout), Error> {
    let mirror = Mirror::open(repository, &manifests.url, prompts)?;
    let commit = mirror.fetch(manifests.branch.as_str())?;
    let unreadable = |error: git2::Error| sync::Error::Repository { reason: error.message().to_owned() };
    let bare = git2::Repository::open(mirror.repository().git_dir()).map_err(unreadable)?;
    sync::expect_signed(&bare, &commit, signers)?;
    let checkout = sync::read_commit(&bare, &commit, &manifests.path)?;
    Ok((bare, checkout))
}

/// What would be done with it, asked of the API server too (server-side dry run). Of an environment that is not installed yet
/// nothing is owned.
///
/// # Errors
/// As [`fetched`], and a cluster that does not answer.
pub async fn foresee(
    client: &Client,
    repository: &Repository,
    manifests: &Manifests,
    settings: &Settings,
    prompts: Prompts,
) -> Result<Preview, Error> {
    let (bare, checkout) = fetched(repository, manifests, &settings.verify, prompts)?;
    Ok(sync::rehearse(client, settings, &bare, &checkout).await?)
}
