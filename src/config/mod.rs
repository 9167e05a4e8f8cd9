//! `.gitops-hooks.yaml`: types, defaults, validation with line and column, its JSON schema. This room knows nothing of git,
//! containers or clusters: it is given text and gives back what the text says, or every mistake in it at once.

mod decode;
mod layers;
mod reference;
mod step;
mod types;
mod validate;

pub use decode::{Located, Problem};
pub use layers::{LOCAL_PATH, Layers, Source, touches};
pub use reference::reference;
pub use step::{Condition, Conditions, Step};
pub use types::{Config, Environment, Image, Manifests, Scratch, Secret, Setup, Smoke};

use crate::yaml::Position;
use decode::Decode;
use serde_json::{Value as Json, json};
use std::fmt;

/// Where the configuration is looked for, from the root of a repository; the first that is there counts.
pub const PATHS: &[&str] = &[".gitops-hooks.yaml", ".config/gitops-hooks.yaml"];

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
    let main = Source { path: path.to_owned(), text: text.to_owned() };
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
                "c.yaml:2:3: git has no client-side hook \"pre-comit\"",
                "c.yaml:4:7: unknown key \"runn\" in a step; did you mean \"run\"?",
                "c.yaml:5:16: expected a time such as 30s, 10m or 1h 30m, at most 24h, found \"soon\"",
                "c.yaml:8:3: \"Web\" is no name: use up to 63 lower-case letters, digits and dashes, starting and ending with a letter or digit",
                "c.yaml:8:8: an image needs the key \"repository\"",
                "c.yaml:10:17: expected an image repository such as registry.example.com/team/app, found \"Team/App\"",
                "c.yaml:11:14: unknown key \"pot\" in a smoke run; did you mean \"port\"?",
            ]
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
        assert!(mistakes(&text("prod"))[0].contains("b and a share manifests"));
        let apart = text("prod").replace("path: .}", "path: staging}");
        assert!(parse("c.yaml", &apart).is_ok());
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
