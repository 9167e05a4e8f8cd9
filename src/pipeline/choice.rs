//! Which of a hook's steps a person asked for, and which they left out. What is left out is shown, never silent.

use super::Error;
use crate::{
    config::{Config, Step},
    values::closest,
};

/// A person's choice of steps, by name or tag.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Only these; without any, all.
    pub only: Vec<String>,
    /// Not these.
    pub skip: Vec<String>,
    /// Whether only those are run that can run ahead.
    pub when: When,
}

/// Which steps run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// All of them, now.
    #[default]
    Now,
    /// Those with `background`, ahead of the push.
    Ahead,
}

impl Choice {
    /// Why a step is left out, if it is.
    pub(super) fn leaves_out(&self, step: &Step) -> Option<String> {
        if let Some(name) = self.skip.iter().find(|name| step.is_called(name)) {
            return Some(format!("left out: GITOPS_HOOKS_SKIP names {name}"));
        }
        if self.when == When::Ahead && !step.background {
            return Some("not one of those that run in the background".to_owned());
        }
        let asked = self.only.is_empty() || self.only.iter().any(|name| step.is_called(name));
        (!asked).then(|| "not asked for".to_owned())
    }

    /// The names that were to be left out and that no step of any hook has, each as a sentence.
    pub(super) fn unknown<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = String> + 'a {
        let steps = || config.hooks.values().flatten();
        let unknown = self.skip.iter().filter(move |name| !steps().any(|step| step.is_called(name)));
        unknown.map(move |name| {
            let known: Vec<&str> = steps()
                .flat_map(|step| std::iter::once(step.label()).chain(step.tags.iter().map(String::as_str)))
                .collect();
            let meant = closest(name, &known).map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
            format!("GITOPS_HOOKS_SKIP names {name}, which no step is called{meant}")
        })
    }

    /// Refuses a name that no step has.
    pub(super) fn fits(&self, steps: &[Step]) -> Result<(), Error> {
        match self.only.iter().find(|name| !steps.iter().any(|step| step.is_called(name))) {
            None => Ok(()),
            Some(name) => {
                let known: Vec<&str> = steps.iter().map(Step::label).collect();
                Err(Error::NoStep { name: name.clone(), known: known.join(", ") })
            }
        }
    }
}
