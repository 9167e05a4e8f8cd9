//! Makes a configuration of another hook manager's: lefthook's, pre-commit's, husky's with lint-staged. Each source has a
//! file that turns what it reads into a [`draft::Draft`]; `write` makes YAML of it, with a comment wherever something has no
//! equal. Nothing that is read is ever run, and whatever is taken over is quoted for where it goes.

mod conditions;
mod draft;
mod ere;
mod file_types;
mod foreign;
mod globs;
mod husky;
mod lefthook;
mod lefthook_files;
mod lefthook_jobs;
mod lint_staged;
mod pre_commit;
mod pre_commit_hook;
mod regex;
mod shell;
mod write;

use draft::Draft;
use miette::Diagnostic;
use std::{fmt, path::Path, str::FromStr};

/// A hook manager whose configuration can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `lefthook.yml` and its kin.
    Lefthook,
    /// `.pre-commit-config.yaml`, which prek reads too.
    PreCommit,
    /// `.husky/` or husky 4's part of `package.json`, with lint-staged.
    Husky,
}

impl Source {
    const ALL: &[(Self, &str)] =
        &[(Self::Lefthook, "lefthook"), (Self::PreCommit, "pre-commit"), (Self::Husky, "husky")];

    /// How its user takes its hooks away.
    #[must_use]
    pub const fn farewell(self) -> &'static str {
        match self {
            Self::Lefthook => "lefthook uninstall",
            Self::PreCommit => "pre-commit uninstall",
            Self::Husky => "git config --unset core.hooksPath",
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(source, _)| *source).ok_or_else(|| "it is lefthook, pre-commit or husky".to_owned())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(source, _)| source == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// The program that runs hooks of pre-commit's repositories, chosen where the import runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// `prek`, the faster of the two.
    Prek,
    /// `pre-commit` itself.
    PreCommit,
    /// Neither was found; steps are written for `pre-commit`.
    Missing,
}

/// A configuration made of another's.
#[derive(Debug)]
pub struct Imported {
    /// The text of `.gitops-hooks.yaml`.
    pub text: String,
    /// The file that it was made of, from the root of the repository.
    pub path: String,
    /// Whose file that is.
    pub source: Source,
    /// How many steps it has.
    pub steps: usize,
    /// The text of `gitops-hooks.local.yaml`, and the file that it was made of, where one person laid something over it.
    pub own: Option<(String, String)>,
}

/// What a source's file says.
struct Read {
    path: String,
    draft: Draft,
    /// One person's file, and everything with it laid over.
    own: Option<(String, Draft)>,
}

/// What can go wrong while another's configuration is read.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// No other hook manager is configured here.
    #[error("there is no configuration of {wanted} in {root}")]
    #[diagnostic(code(usage), help("`gitops-hooks init` writes a configuration to start from"))]
    Nothing {
        /// What was looked for.
        wanted: String,
        /// Where.
        root: String,
    },

    /// More than one hook manager is configured here.
    #[error("{} are all configured here", found.join(" and "))]
    #[diagnostic(code(usage), help("say which with `--from {}`", found[0]))]
    Several {
        /// Their names.
        found: Vec<String>,
    },

    /// It is configured, but has no step that could be taken over.
    #[error("{path} has no hook that could become a step")]
    #[diagnostic(code(usage), help("`gitops-hooks init` writes a configuration to start from"))]
    Empty {
        /// The file.
        path: String,
    },

    /// The file is not what its name says.
    #[error("{path} cannot be read: {why}")]
    #[diagnostic(code(config), help("mend it, or see whether its own tool can read it"))]
    Unreadable {
        /// The file.
        path: String,
        /// What its parser says.
        why: String,
    },

    /// A file that the operating system does not give.
    #[error("cannot read {path}")]
    #[diagnostic(code(environment))]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The hook managers that are configured below a folder.
#[must_use]
pub fn found(root: &Path) -> Vec<Source> {
    let present = |source: &Source| match source {
        Source::Lefthook => lefthook::file(root).is_some(),
        Source::PreCommit => pre_commit::file(root).is_some(),
        Source::Husky => husky::is_configured(root),
    };
    Source::ALL.iter().map(|(source, _)| *source).filter(present).collect()
}

/// Makes a configuration of the one hook manager that is configured below a folder, or of the one that is named. `common` is
/// the folder of git that all work trees share, where some keep what they have fetched.
///
/// # Errors
/// When there is none or more than one, or when its files cannot be read.
pub fn import(root: &Path, common: &Path, from: Option<Source>, runner: Runner) -> Result<Imported, Error> {
    let found = found(root);
    let source = match (from, found.as_slice()) {
        (Some(source), found) if found.contains(&source) => source,
        (None, [source]) => *source,
        (None, [_, ..]) => return Err(Error::Several { found: found.iter().map(ToString::to_string).collect() }),
        (from, _) => {
            let wanted = from.map_or_else(|| "lefthook, pre-commit or husky".to_owned(), |source| source.to_string());
            return Err(Error::Nothing { wanted, root: root.display().to_string() });
        }
    };
    let Read { path, draft, own } = match source {
        Source::Lefthook => lefthook::read(root, common)?,
        Source::PreCommit => pre_commit::read(root, runner)?,
        Source::Husky => husky::read(root)?,
    };
    let draft = draft.tidied();
    let steps = draft.hooks.iter().map(|hook| hook.steps.len()).sum();
    if steps == 0 {
        return Err(Error::Empty { path });
    }
    let own = own.and_then(|(own, whole)| {
        let changed = whole.tidied().changed_from(&draft);
        (!changed.hooks.is_empty()).then(|| (write::write(&own, &changed), own))
    });
    Ok(Imported { text: write::write(&path, &draft), path, source, steps, own })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// Text as people and attackers write it: words, patterns, expressions, quotes, whatever else.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z{}$'\"*./ |&;()^\\\\#!:-]{0,24}",
            ".{0,12}",
            "[a-z]{1,6}( (\\{staged_files\\}|\\{1\\}|'\\{files\\}'))?"
        ]
    }

    fn imported(name: &str, value: &Value) -> Result<(), TestCaseError> {
        imported_with(name, value, None)
    }

    fn imported_with(name: &str, value: &Value, local: Option<(&str, &Value)>) -> Result<(), TestCaseError> {
        let folder = tempfile::tempdir().unwrap();
        if let Some((name, value)) = local {
            std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        match import(folder.path(), &folder.path().join(".git"), None, Runner::Prek) {
            Ok(Imported { text, own, .. }) => {
                let own = own.map(|(text, _)| text);
                let source = |path: &str, text: &String| config::Source::new(path, text.clone().into_bytes());
                let layer = own.as_ref().map(|text| source(config::LOCAL_PATH, text));
                let Ok(layers) =
                    config::Layers::gather(source("c.yaml", &text), layer, |_| Ok::<_, std::convert::Infallible>(None));
                let parsed = layers.parse().map(|_| ());
                parsed.map_err(|error| TestCaseError::fail(format!("{error}\n{text}\n{own:?}")))
            }
            Err(Error::Empty { .. } | Error::Unreadable { .. }) => Ok(()),
            Err(error) => Err(TestCaseError::fail(error.to_string())),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn whatever_lefthook_is_told_ours_is_sound(texts in proptest::collection::vec(text(), 12), flags in any::<[bool; 6]>()) {
            let command = json!({
                "run": texts[1], "glob": texts[2], "exclude": texts[3], "tags": texts[4], "root": texts[5],
                "env": {&texts[6]: texts[7]}, "skip": [{"ref": texts[8]}, {"run": texts[9]}, "merge"], "timeout": texts[10],
                "stage_fixed": flags[0], "interactive": flags[1], "use_stdin": flags[2], "fail_text": texts[11],
            });
            let group = json!({"group": {"piped": flags[3], "jobs": [command, {"run": texts[0], "exclude": [texts[2]]}]}});
            let hook = json!({
                "parallel": flags[4], "piped": flags[5], "commands": {&texts[0]: command, &texts[4]: command},
                "scripts": {&texts[5]: {"runner": texts[6]}}, "jobs": [group, command],
            });
            let local = json!({"pre-commit": {"commands": {&texts[4]: {"skip": true, "run": texts[1]}}, "jobs": [{"run": texts[2]}]}});
            let config = json!({"pre-commit": hook, "pre-push": hook, &texts[0]: hook});
            imported_with("lefthook.json", &config, Some(("lefthook-local.json", &local)))?;
        }

        #[test]
        fn whatever_pre_commit_is_told_ours_is_sound(texts in proptest::collection::vec(text(), 8), flags in any::<[bool; 4]>()) {
            let hook = |id: &str| json!({
                "id": id, "name": texts[1], "entry": texts[2], "args": [texts[3]], "files": texts[4], "exclude": texts[5],
                "language": if flags[0] { "system" } else { "python" }, "types": [if flags[1] { "python" } else { "text" }],
                "stages": if flags[2] { json!(["commit-msg", "push"]) } else { json!([]) }, "always_run": flags[3],
            });
            let hooks = json!([hook(&texts[0]), hook(&texts[0]), hook(&texts[6])]);
            let config = json!({"exclude": texts[7], "fail_fast": flags[3], "repos": [
                {"repo": "local", "hooks": hooks}, {"repo": "https://git.example.com/x", "hooks": hooks},
            ]});
            imported(".pre-commit-config.yaml", &config)?;
        }

        #[test]
        fn whatever_husky_is_told_ours_is_sound(texts in proptest::collection::vec(text(), 6)) {
            let package = json!({
                "husky": {"hooks": {"pre-commit": texts[0], "commit-msg": texts[1], "pre-push": format!("lint-staged && {}", texts[2])}},
                "lint-staged": {&texts[3]: [texts[4], texts[5]]},
            });
            imported("package.json", &package)?;
        }
    }
}
