//! `.gitops-hooks.yaml`: types, defaults, validation with line and column, its JSON schema. This room knows nothing of git,
//! containers or clusters: it is given text and gives back what the text says, or every mistake in it at once.

mod decode;
mod find;
mod layers;
mod reference;
mod step;
mod types;
mod validate;

pub use decode::{Located, Problem};
pub use find::{Misnamed, PATHS, find, misnamed};
pub use layers::{Kind, LOCAL_PATH, Layers, Source, touches};
pub use reference::reference;
pub use step::{Condition, Conditions, Step};
pub use types::{Config, Environment, Image, Manifests, Scratch, Secret, Setup, Smoke};

use crate::yaml::Position;
use decode::Decode;
use serde_json::{Value as Json, json};
use std::fmt;

/// A configuration that cannot be used: all that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConfig {
    /// The mistakes, file by file, in the order of the file: the first hundred.
    pub mistakes: Vec<Mistake>,
    /// How many there are beside them.
    pub more: usize,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, from the root of the repository.
    pub path: String,
    /// Where in it.
    pub position: Position,
    /// What is wrong and what to do, as one sentence.
    pub message: String,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len() + self.more;
        let first = self.mistakes.first().map_or("the configuration", |mistake| &mistake.path);
        write!(f, "{first} has {count} mistake{}", if count == 1 { "" } else { "s" })?;
        for Mistake { path, position, message } in &self.mistakes {
            write!(f, "\n{path}:{position}: {message}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidConfig {}

impl miette::Diagnostic for InvalidConfig {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("config"))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(
            "mend the file and try `gitops-hooks config check`; `gitops-hooks config schema` lists every key",
        ))
    }
}

/// Reads a configuration that stands in one file. `path` is only for messages.
///
/// # Errors
/// Every mistake of the text, with its place.
pub fn parse(path: &str, text: &str) -> Result<Config, InvalidConfig> {
    let main = Source::new(path, text.as_bytes().to_vec());
    let Ok(layers) = Layers::gather(main, None, |_| Ok::<_, std::convert::Infallible>(None));
    layers.parse()
}

/// The JSON schema of the configuration (draft 2020-12), for editors.
#[must_use]
pub fn schema() -> Json {
    let mut schema = Config::schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("gitops-hooks");
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = r#"
hooks:
  pre-commit:
    - name: format
      run: ruff format {files}
      files: ["*.py", "!migrations/**"]
  pre-push:
    - name: test
      run: pytest -q
      inputs: ["**/*.py", requirements.txt]
      timeout: 10m
    - image: web
images:
  web:
    repository: registry.example.com/team/flask-app
    smoke: { port: 5000, path: /, expect: 200 }
environments:
  staging:
    branch: main
    manifests: { url: "git@git.example.com:team/k8s-manifest.git", path: staging }
    images: [web]
scratch:
  link: [.venv]
  setup: { run: uv sync, inputs: [uv.lock] }
"#;

    fn mistakes(text: &str) -> Vec<String> {
        let error = parse("c.yaml", text).unwrap_err();
        error.to_string().lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn the_story_is_read_with_its_defaults() {
        let config = parse("c.yaml", STORY).unwrap();
        let web = &config.images[&"web".parse().unwrap()];
        assert_eq!((web.dockerfile().as_str(), web.platform.as_str()), ("Dockerfile", "linux/amd64"));
        let staging = &config.environments[&"staging".parse().unwrap()];
        assert_eq!((staging.manifests.branch.as_str(), staging.namespace.as_str()), ("main", "default"));
        assert_eq!(config.hooks[&crate::values::HookName::PrePush][1].label(), "web");
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_place() {
        let text = "hooks:\n  pre-comit: []\n  pre-push:\n    - runn: x\n      timeout: soon\n    - image: api\nimages:\n  Web: {}\n  api:\n    repository: Team/App\n    smoke: { pot: 1 }\n";
        assert_eq!(
            mistakes(text),
            [
                "c.yaml:2:3: git has no client-side hook \"pre-comit\"; did you mean \"pre-commit\"?",
                "c.yaml:4:7: unknown key \"runn\" in a step; did you mean \"run\"?",
                "c.yaml:5:16: expected a time such as 30s, 10m or 1h 30m, at most 24h, found \"soon\"",
                "c.yaml:8:3: \"Web\" is no name: use up to 63 lower-case letters, digits and dashes, starting and ending with a letter or digit",
                "c.yaml:8:8: an image needs the key \"repository\"",
                "c.yaml:10:17: expected an image repository in lower case, such as registry.example.com/team/app, found \"Team/App\"",
                "c.yaml:11:14: unknown key \"pot\" in a smoke run; did you mean \"port\"?",
            ]
        );
    }

    #[test]
    fn what_a_newer_version_brought_is_no_mistake_of_its_own() {
        assert_eq!(
            mistakes("hooks:\n  pre-dream: []\nmin_version: '999.1'\n"),
            [format!(
                "c.yaml:3:14: this configuration needs gitops-hooks 999.1.0 or newer, and this is {}; put the newer one in its place",
                crate::values::Version::of_this_program()
            )]
        );
        assert!(parse("c.yaml", "min_version: 0.0.1\n").is_ok());
        assert_eq!(
            mistakes("min_version: new\n"),
            ["c.yaml:1:14: expected a version such as 0.2 or 0.2.1, found \"new\""]
        );
    }

    #[test]
    fn what_only_the_whole_shows_is_told_too() {
        let text = "hooks:\n  pre-push:\n    - run: a\n      needs: [b]\n    - name: b\n      run: b\n      needs: [a]\n    - image: nowhere\n    - name: c\n    - name: d\n      run: x\n      image: nowhere\n    - run: d\n      needs: [typo]\n";
        let found = mistakes(text);
        for expected in [
            "c.yaml:4:15: a → b → a",
            "c.yaml:8:14: no image \"nowhere\"",
            "c.yaml:9:7:",
            "c.yaml:12:14:",
            "c.yaml:14:15:",
        ] {
            assert!(found.iter().any(|line| line.starts_with(expected)), "{expected} in {found:#?}");
        }
    }

    #[test]
    fn environments_that_would_patch_one_manifest_are_refused() {
        let text = |path: &str| {
            format!(
                "environments:\n  a: {{branch: main, manifests: {{url: 'git@h:m.git', path: .}}, images: []}}\n  b: {{branch: main, manifests: {{url: 'git@h:m.git', path: {path}}}, images: []}}\n"
            )
        };
        assert!(mistakes(&text("prod"))[0].starts_with("c.yaml:3:59: b and a share manifests (prod and .)"));
        let apart = text("prod").replace("path: .}", "path: staging}");
        assert!(parse("c.yaml", &apart).is_ok());
    }

    #[test]
    fn mistakes_of_types_hide_none_of_references() {
        let text = "hooks:\n  pre-push:\n    - {name: a, run: [x], timeout: soon, needs: [b, typo]}\n    - {name: b, run: b}\n    - image: wep\nimages:\n  web: {repository: Team/App}\n  api: {repository: r/api}\nenvironments:\n  staging: {branch: main, images: [web, nope]}\n";
        assert_eq!(
            mistakes(text),
            [
                "c.yaml:3:22: expected text, found a list",
                "c.yaml:3:36: expected a time such as 30s, 10m or 1h 30m, at most 24h, found \"soon\"",
                "c.yaml:3:53: no step \"typo\" in this hook; known here: a, b, wep",
                "c.yaml:5:14: no image \"wep\"; did you mean \"web\"?",
                "c.yaml:7:21: expected an image repository in lower case, such as registry.example.com/team/app, found \"Team/App\"",
                "c.yaml:10:12: an environment needs the key \"manifests\"",
                "c.yaml:10:41: no image \"nope\"; add it under `images`",
            ]
        );
    }

    #[test]
    fn values_that_could_not_work_are_refused_with_the_form_that_is_right() {
        let image = |more: &str| format!("images:\n  web: {{repository: r/web, {more}}}\n");
        let environment = |more: &str| format!("environments:\n  s: {{branch: main, manifests: {more}}}\n");
        let step = |hook: &str, run: &str| format!("hooks: {{{hook}: [{{run: '{run}'}}]}}\n");
        for (text, expected) in [
            (image("smoke: {port: 0}"), "expected a port from 1 to 65535, found \"0\""),
            (image("smoke: {port: 80, expect: 20000}"), "expected an HTTP status from 100 to 599, found \"20000\""),
            (image("platform: linux/potato"), "expected a platform such as linux/amd64"),
            (environment("{url: 'git@h:m.git'}, namespace: My_App"), "use up to 63 lower-case letters"),
            (environment("{url: 'https://me:hunter2@h/m.git'}"), "let a credential helper of git's keep it"),
            (environment("'https://me:hunter2@h/m.git'"), "expected a mapping, found \"https://…@h/m.git\""),
            ("hooks: {pre-comit: []}".to_owned(), "did you mean \"pre-commit\"?"),
            (step("pre-commit", "lint {filez}"), "there is no placeholder {filez}; did you mean {files}?"),
            (step("pre-commit", "lint \"{files}\""), "{files} stands in quotes"),
            (step("pre-commit", "a {files} {all_files}"), "{files} and {all_files} in one command"),
            (step("pre-commit", "a {push_files}"), "pre-commit has no {push_files}"),
            (step("pre-push", "a {message_file}"), "pre-push has no {message_file}"),
        ] {
            let found = mistakes(&text);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected:?} in {found:#?}");
            assert!(!found[0].contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn an_environment_follows_a_branch_or_another_environment() {
        let text = |rest: &str| {
            format!(
                "images: {{web: {{repository: r.example.com/web}}, api: {{repository: r.example.com/api}}}}\nenvironments:\n  a: {{branch: main, manifests: {{url: 'git@h:m.git', path: a}}, images: [web]}}\n  b: {{{rest}, manifests: {{url: 'git@h:m.git', path: b}}}}\n"
            )
        };
        let config = parse("c.yaml", &text("promote: a, images: [web]")).unwrap();
        assert_eq!(config.source_branch(&"b".parse().unwrap()), Some("main"));
        assert_eq!(config.followers().count(), 1);
        for (rest, expected) in [
            ("images: [web]", "needs the key \"branch\", or \"promote\""),
            ("branch: main, promote: a, images: [web]", "not both"),
            ("promote: aa, images: [web]", "did you mean \"a\"?"),
            ("promote: b, images: [web]", "from itself"),
            ("promote: a, images: [api]", "a does not run api"),
        ] {
            let found = mistakes(&text(rest));
            assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_have_a_place() {
        let main = Source::new("c.yaml", b"hooks: {}\n# caf\xe9 x\n".to_vec());
        let Ok(layers) = Layers::gather(main, None, |_| Ok::<_, std::convert::Infallible>(None));
        let error = layers.parse().unwrap_err().to_string();
        assert_eq!(error.lines().nth(1), Some("c.yaml:2:6: byte 16 of the file is no UTF-8; save the file as UTF-8"));
    }

    #[test]
    fn what_is_said_of_a_chart_goes_with_rendering_it() {
        let text = |more: &str| {
            format!(
                "environments:\n  a:\n    branch: main\n    images: []\n    manifests:\n      url: 'git@h:m.git'\n      path: a\n{more}"
            )
        };
        let found = mistakes(&text("      chart: charts/web\n      release: Web\n      values: [v.yaml, ./v.yaml]\n"));
        assert_eq!(
            found,
            [
                "c.yaml:8:14: `chart` is for `render: true`, which says that a chart is rendered",
                "c.yaml:9:16: `release` is for `render: true`, which says that a chart is rendered",
                "c.yaml:9:16: \"Web\" is no name of a release: use lower-case letters, digits and dashes",
                "c.yaml:10:24: v.yaml stands here twice; keep one of them",
            ]
        );
        let config = parse("c.yaml", &text("      render: true\n      values: values.yaml\n")).unwrap();
        let manifests = &config.environments[&"a".parse().unwrap()].manifests;
        assert!(manifests.render && manifests.values[0].as_str() == "values.yaml");
    }

    #[test]
    fn the_schema_knows_every_key() {
        let schema = schema();
        let step = &schema["properties"]["hooks"]["additionalProperties"]["items"];
        assert_eq!(step["additionalProperties"], false);
        assert!(step["properties"]["needs"]["description"].as_str().unwrap().contains("must have passed"));
        assert_eq!(schema["properties"]["images"]["additionalProperties"]["required"], json!(["repository"]));
    }
}
