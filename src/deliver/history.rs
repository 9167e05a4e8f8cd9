use super::{Error, State, Target, delivered::state};
use crate::{
    git::{Mirror, Repository},
    values::Oid,
};

/// What an environment has run: its state after each of its last deliveries, the newest first. Fetches the manifest branch.
///
/// # Errors
/// A remote that cannot be reached, a state file that cannot be trusted.
pub fn history(repository: &Repository, target: &Target<'_>, deliveries: usize) -> Result<Vec<State>, Error> {
    let manifests = &target.environment.manifests;
    let mirror = Mirror::open(repository, &manifests.url, target.prompts)?;
    let tip = mirror.fetch(&manifests.branch)?;
    let path = State::path(&manifests.path);
    let limit = format!("--max-count={deliveries}");
    let git = mirror.repository().git().args(["log", &limit, "--format=%H", tip.as_str(), "--"]);
    let listed = git.arg(format!(":(literal){path}")).run()?;
    let mut states = Vec::new();
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let Ok(commit) = line.parse::<Oid>() else { continue };
        match state(&mirror, target, &commit) {
            Ok(known) => states.push(known),
            // What stands there now must be readable; of the past, what somebody broke by hand names nothing.
            Err(error) if states.is_empty() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(states)
}
