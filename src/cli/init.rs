//! `gitops-hooks init`: looks at the repository and writes a configuration that works, with a word on each part.

use super::present::Present;
use crate::{
    config,
    git::Repository,
    ui,
    values::{EnvironmentName, ImageName, Namespace, RelativePath, RemoteUrl, Repository as ImageRepository},
};
use miette::{IntoDiagnostic, Result};
use std::{fs, io::Write, path::Path};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the image is pushed to, such as registry.example.com/team/app.
    #[arg(long)]
    repository: Option<ImageRepository>,
    /// The registry speaks plain HTTP.
    #[arg(long)]
    plain_http: bool,
    /// The address of the manifest repository.
    #[arg(long)]
    manifests: Option<RemoteUrl>,
    /// The folder of the environment in the manifest repository.
    #[arg(long, default_value = ".")]
    path: RelativePath,
    /// The name of the environment.
    #[arg(long, default_value = "staging")]
    environment: EnvironmentName,
    /// The namespace of the cluster that runs it.
    #[arg(long, default_value = "default")]
    namespace: Namespace,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let repository = Repository::discover()?;
    let Some(root) = repository.work_dir() else {
        return Err(crate::git::Error::NoRepository { path: repository.git_dir().display().to_string() }.into());
    };
    Present::refuse(root, "change it by hand, or move it away and run `gitops-hooks init` again")?;
    let found = Found::look(root);
    let branch =
        repository.git().args(["symbolic-ref", "--short", "HEAD"]).run().map_or("main".to_owned(), |out| out.line());
    // In the repository of the code, a branch of their own keeps deliveries out of everybody's next push.
    let origin = repository.remote_url("origin");
    let manifest_branch = if origin.is_some() && origin == arguments.manifests { "manifests" } else { "main" };
    let text = compose(&found, arguments, &branch, manifest_branch);
    // What init writes is read back before anybody else has to.
    config::parse(config::PATHS[0], &text)?;
    let path = root.join(config::PATHS[0]);
    let mut file = fs::File::create_new(&path).into_diagnostic()?;
    file.write_all(text.as_bytes()).into_diagnostic()?;
    crate::ui::say!("{} {}", ui::paint("wrote", ui::Tone::Good), config::PATHS[0]);
    for line in found.told() {
        crate::ui::say!("  {line}");
    }
    crate::ui::say!("next: read it, then `gitops-hooks install`");
    Ok(())
}

/// What the repository shows of itself.
struct Found {
    name: ImageName,
    language: Option<Language>,
    virtual_environment: Option<&'static str>,
    dockerfile: Option<String>,
    port: Option<u16>,
}

#[derive(Clone, Copy)]
enum Language {
    Python,
    Rust,
    Go,
    Node,
}

impl Found {
    fn look(root: &Path) -> Self {
        let has = |name: &str| root.join(name).exists();
        let language = [
            ("Cargo.toml", Language::Rust),
            ("go.mod", Language::Go),
            ("pyproject.toml", Language::Python),
            ("requirements.txt", Language::Python),
            ("package.json", Language::Node),
        ];
        let dockerfile = ["Dockerfile", "Containerfile", "docker/Dockerfile"].into_iter().find(|name| has(name));
        let folder = root.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let name: String = folder.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Self {
            name: name
                .trim_matches('-')
                .parse()
                .or_else(|_| "app".parse())
                .unwrap_or_else(|_| unreachable!("app is a name")),
            language: language.into_iter().find(|(file, _)| has(file)).map(|(_, language)| language),
            virtual_environment: [".venv", "venv"].into_iter().find(|name| has(name)),
            port: dockerfile.and_then(|name| fs::read_to_string(root.join(name)).ok()).and_then(|text| exposed(&text)),
            dockerfile: dockerfile.map(str::to_owned),
        }
    }

    /// The command that tests the repository.
    fn test(&self) -> Option<String> {
        Some(match self.language? {
            Language::Python => {
                let python =
                    self.virtual_environment.map_or("python3".to_owned(), |folder| format!("{folder}/bin/python"));
                format!("{python} -m pytest -q")
            }
            Language::Rust => "cargo test --quiet".to_owned(),
            Language::Go => "go test ./...".to_owned(),
            Language::Node => "npm test".to_owned(),
        })
    }

    fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        match self.test() {
            Some(command) => told.push(format!("tests: {command}")),
            None => told.push("no tests were recognised: add a step of your own".to_owned()),
        }
        match (&self.dockerfile, self.port) {
            (Some(dockerfile), Some(port)) => {
                told.push(format!("image: {} from {dockerfile}, listening on {port}", self.name));
            }
            (Some(dockerfile), None) => told.push(format!("image: {} from {dockerfile}", self.name)),
            (None, _) => told.push("no Dockerfile: no image is built".to_owned()),
        }
        told
    }
}

/// The port of the first EXPOSE instruction.
fn exposed(dockerfile: &str) -> Option<u16> {
    let mut instructions = dockerfile.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    let (_, ports) = instructions.find(|(instruction, _)| instruction.eq_ignore_ascii_case("EXPOSE"))?;
    ports.split_whitespace().next()?.split('/').next()?.parse().ok()
}

fn compose(found: &Found, arguments: &Arguments, branch: &str, manifest_branch: &str) -> String {
    let image = found.name.as_str();
    let repository = arguments.repository.as_ref();
    let repository = repository.map_or_else(|| format!("registry.example.com/team/{image}"), ToString::to_string);
    let mut text = include_str!("../../templates/init/head.yaml").to_owned();
    match found.test() {
        Some(command) => {
            text.push_str(&fill(include_str!("../../templates/init/hooks.yaml"), &[("TEST", &scalar(&command))]));
        }
        None => text.push_str(include_str!("../../templates/init/hooks-without-tests.yaml")),
    }
    if let Some(dockerfile) = &found.dockerfile {
        if found.test().is_none() {
            text.push_str("  pre-push:\n");
        }
        let pad = " ".repeat(15_usize.saturating_sub(image.len()).max(3));
        text.push_str(&fill(include_str!("../../templates/init/image-step.yaml"), &[("IMAGE", image), ("PAD", &pad)]));
        let plain_http = if arguments.plain_http { "    plain_http: true\n" } else { "" };
        text.push_str(&fill(
            include_str!("../../templates/init/image.yaml"),
            &[
                ("IMAGE", image),
                ("REPOSITORY", &scalar(&repository)),
                ("PLAIN_HTTP", plain_http),
                ("DOCKERFILE", &scalar(dockerfile)),
            ],
        ));
        if let Some(port) = found.port {
            text.push_str(&fill(include_str!("../../templates/init/smoke.yaml"), &[("PORT", &port.to_string())]));
        }
        match &arguments.manifests {
            Some(url) => text.push_str(&fill(
                include_str!("../../templates/init/environment.yaml"),
                &[
                    ("ENVIRONMENT", arguments.environment.as_str()),
                    ("BRANCH", &scalar(branch)),
                    ("URL", &scalar(url.reveal())),
                    ("MANIFEST_BRANCH", manifest_branch),
                    ("PATH", &scalar(&arguments.path.to_string())),
                    ("IMAGE", image),
                    ("NAMESPACE", &scalar(arguments.namespace.as_str())),
                ],
            )),
            None => text.push_str(&fill(
                include_str!("../../templates/init/no-environment.yaml"),
                &[("IMAGE", image), ("BRANCH", branch)],
            )),
        }
    }
    if let Some(folder) = found.virtual_environment {
        text.push_str(&fill(include_str!("../../templates/init/scratch.yaml"), &[("LINK", &list(&[folder]))]));
    }
    text
}

/// Puts YAML scalars into a template. Values are never looked at again for marks.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        text.push_str(before);
        let mark = after
            .split_once('@')
            .and_then(|(name, after)| values.iter().find(|(known, _)| *known == name).map(|(_, value)| (value, after)));
        if let Some((value, after)) = mark {
            text.push_str(value);
            rest = after;
        } else {
            text.push('@');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

/// A YAML scalar: plain where that is safe, else in double quotes as JSON writes it, which YAML reads the same.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ' ' | ':' | '=');
    let safe = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.')
        && text.chars().all(plain)
        && !text.contains(": ")
        && !text.ends_with([' ', ':'])
        && !matches!(text, "true" | "false" | "null");
    if safe { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn list(items: &[&str]) -> String {
    let items: Vec<String> = items.iter().map(|item| scalar(item)).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(manifests: Option<&str>) -> Arguments {
        Arguments {
            repository: None,
            plain_http: false,
            manifests: manifests.map(|url| url.parse().unwrap()),
            path: "staging".parse().unwrap(),
            environment: "staging".parse().unwrap(),
            namespace: Namespace::usual(),
        }
    }

    #[test]
    fn whatever_is_found_the_configuration_is_sound() {
        let languages = [None, Some(Language::Python), Some(Language::Rust), Some(Language::Go), Some(Language::Node)];
        for language in languages {
            for dockerfile in [None, Some("Dockerfile".to_owned())] {
                for manifests in [None, Some("git@git.example.com:team/a: b.git")] {
                    let found = Found {
                        name: "flask-app".parse().unwrap(),
                        language,
                        virtual_environment: Some(".venv"),
                        dockerfile: dockerfile.clone(),
                        port: Some(5000),
                    };
                    let text = compose(&found, &arguments(manifests), "main", "main");
                    config::parse("c.yaml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                }
            }
        }
    }

    #[test]
    fn the_exposed_port_is_found() {
        assert_eq!(exposed("FROM x\nexpose 5000/tcp 6000\n"), Some(5000));
        assert_eq!(exposed("FROM x\nEXPOSE $PORT\n"), None);
    }

    #[test]
    fn a_value_is_never_a_template() {
        assert_eq!(fill("a: @X@ @Y@", &[("X", "@Y@"), ("Y", "1")]), "a: @Y@ 1");
        assert_eq!(scalar("a: b"), "\"a: b\"");
        assert_eq!(scalar("*.py"), "\"*.py\"");
    }
}
