//! The configuration in the work tree: whether it can be read, whether what it aims at was confirmed in this clone, and
//! whether one person's file stayed with that person.

use super::Finding;
use crate::{
    config::{self, Config, Image, Manifests},
    git::Repository,
    hook, pipeline,
};
use miette::Diagnostic;

pub(super) fn examine(repository: &Repository, config: Result<&Config, &miette::Report>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match config {
        Ok(config) => {
            findings.push(Finding::fine("configuration", counted(config)));
            findings.push(judge_unconfirmed(hook::unconfirmed(repository, config, hook::Subject::Publication)));
        }
        Err(error) => {
            let error: &dyn Diagnostic = (*error).as_ref();
            findings.push(Finding::error("configuration", error, "see that the file can be read"));
        }
    }
    match repository.is_tracked(config::LOCAL_PATH) {
        Ok(true) => findings.push(Finding::error("local configuration", &pipeline::Error::LocalIsTracked, "")),
        Ok(false) => {}
        Err(error) => findings.push(Finding::error("local configuration", &error, "see that `git ls-files` works")),
    }
    findings
}

fn judge_unconfirmed(lines: Vec<String>) -> Finding {
    if lines.is_empty() {
        return Finding::fine("confirmed", "all that the configuration aims at");
    }
    Finding::error("confirmed", &hook::Error::Unconfirmed { lines }, "")
}

fn counted(config: &Config) -> String {
    let steps = config.hooks.values().map(Vec::len).sum();
    let count = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let (images, environments) = (config.images.len(), config.environments.len());
    format!("{}, {}, {}", count(steps, "step"), count(images, "image"), count(environments, "environment"))
}

/// Where credentials may go: nobody else is asked anything.
pub(super) struct Confirmed {
    unconfirmed: Vec<String>,
}

impl Confirmed {
    /// What is confirmed in a clone.
    pub(super) fn of(repository: &Repository, config: &Config) -> Self {
        Self { unconfirmed: hook::unconfirmed(repository, config, hook::Subject::Publication) }
    }

    pub(super) fn has_registry(&self, image: &Image) -> bool {
        !self.unconfirmed.contains(&hook::registry_line(image))
    }

    pub(super) fn has_manifests(&self, manifests: &Manifests) -> bool {
        !self.unconfirmed.contains(&hook::manifests_line(manifests))
    }
}

/// What is said of somebody who is not asked.
pub(super) fn not_asked(check: String) -> Finding {
    Finding::warning(
        check,
        "not asked: its address was not confirmed in this clone",
        "look at it, then confirm with `gitops-hooks install`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn what_nobody_confirmed_is_the_configurations_fault() {
        let found = judge_unconfirmed(vec!["images are pushed to: registry.example.com".to_owned()]);
        assert_eq!(found.state, State::Configuration);
        assert!(found.message.contains("registry.example.com") && found.next.unwrap().contains("gitops-hooks install"));
        assert_eq!(judge_unconfirmed(Vec::new()).state, State::Fine);
    }

    #[test]
    fn only_what_is_confirmed_may_be_asked() {
        let text = "images: {web: {repository: registry.example.com/web}}\nenvironments: {staging: {branch: main, manifests: {url: 'https://git.example.com/m.git'}, images: [web]}}\n";
        let config = config::parse("c.yaml", text).unwrap();
        let (image, environment) =
            (&config.images.values().next().unwrap(), config.environments.values().next().unwrap());
        let confirmed = Confirmed { unconfirmed: vec![hook::registry_line(image)] };
        assert!(!confirmed.has_registry(image) && confirmed.has_manifests(&environment.manifests));
    }
}
