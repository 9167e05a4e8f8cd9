//! The programs that make manifests of overlays and charts, where an environment is rendered.

use super::Finding;
use crate::{
    config::Config,
    deliver::{self, Switch, Target},
    git::Repository,
    values::EnvironmentName,
};

/// Both, as people install them.
const PROGRAMS: [&str; 2] = ["kustomize", "helm"];

pub(super) fn examine(repository: &Repository, config: &Config) -> Vec<Finding> {
    let rendered = config.environments.iter().filter(|(_, environment)| environment.manifests.render);
    let finding = |(name, environment): (&EnvironmentName, &crate::config::Environment)| {
        let target = Target::of(config, name, Switch::Refused)?;
        let check = format!("rendering of {name}");
        Some(match deliver::renderer(repository, &target) {
            Ok(Some(program)) => Finding::fine(check, format!("{program} is on the PATH")),
            Err(error) => Finding::error(check, &error, "see that the program works"),
            // Before the first fetch only a chart that is named says which of them it takes.
            Ok(None) => {
                let needed = if environment.manifests.chart.is_some() { &PROGRAMS[1..] } else { &PROGRAMS[..] };
                judge(check, needed, |program| which::which(program).is_ok())
            }
        })
    };
    rendered.filter_map(finding).collect()
}

/// One of these programs will be needed.
fn judge(check: String, needed: &[&str], is_there: impl Fn(&str) -> bool) -> Finding {
    let (there, missing): (Vec<&str>, Vec<&str>) = needed.iter().partition(|program| is_there(program));
    let next = format!("install {}, or deliver from a machine that has it", missing.join(" or "));
    match (there.as_slice(), missing.as_slice()) {
        (_, []) => Finding::fine(check, format!("{} on the PATH", there.join(" and "))),
        ([], _) => Finding::environment(check, format!("no {} on the PATH", missing.join(" and no ")), next),
        _ => Finding::warning(check, format!("{} is on the PATH, no {}", there.join(", "), missing.join(", ")), next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn one_of_two_programs_is_worth_a_look_and_none_is_wrong() {
        let state = |needed: &[&str], there: &[&str]| {
            judge("rendering".to_owned(), needed, |program| there.contains(&program)).state
        };
        assert_eq!(state(&PROGRAMS, &["kustomize", "helm"]), State::Fine);
        assert_eq!(state(&PROGRAMS, &["kustomize"]), State::Warning);
        assert_eq!(state(&PROGRAMS, &[]), State::Environment);
        assert_eq!(state(&["helm"], &["kustomize"]), State::Environment);
    }
}
