//! Examples, which stand first in the help of each command. A test reads each as the command line that it is.

use clap::{Command, CommandFactory};
use std::fmt::Write as _;

/// About, examples, usage, then the rest.
const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// Of each command, how it is called and what for. The first is the program itself.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "",
        &[
            ("init", "write what fits this repository"),
            ("install", "check commits, deliver pushes"),
            ("run pre-commit --all-files", "a commit's checks, on every file"),
            ("status --follow", "a commit on its way to the pods"),
        ],
    ),
    (
        "init",
        &[
            ("init", "hooks and the image, as far as the files tell"),
            ("init --repository r.example.com/app --manifests ../k8s.git", "delivery too"),
        ],
    ),
    ("import", &[("import", "of whatever is found"), ("import --from husky --print", "look at it first")]),
    ("install", &[("install", "all hooks that the configuration needs"), ("install pre-commit", "only this one")]),
    (
        "run",
        &[
            ("run pre-commit", "what a commit would run now"),
            ("run pre-commit --all-files", "on every file"),
            ("run pre-push --step test", "one step alone"),
            ("run pre-commit --from origin/main", "on what this branch changed"),
            ("run pre-push --why", "what would run, and why it is not skipped"),
        ],
    ),
    (
        "deliver",
        &[("deliver", "try again what waits"), ("deliver staging --dry-run", "the patch, with the objects it changes")],
    ),
    ("diff", &[("diff staging", "what a delivery would change")]),
    (
        "promote",
        &[
            ("promote production", "run what runs healthy in the environment before"),
            ("promote production --unverified", "where its cluster cannot be asked"),
        ],
    ),
    (
        "rollback",
        &[
            ("rollback production", "what ran there before"),
            ("rollback production --to 3f2a91c -m 'orders fail'", "a commit that ran there, with the reason"),
            ("release production", "let newer commits in again"),
        ],
    ),
    ("hold", &[("hold production 'black Friday'", "no deliveries until it is released")]),
    ("release", &[("release production", "deliver what waited, and go on")]),
    ("history", &[("history staging -n 5", "the last five deliveries"), ("history staging --json", "for programs")]),
    (
        "image build",
        &[
            ("image build", "every image of HEAD, as a push would"),
            ("image build web --load", "have it in the engine, to run it"),
            ("image build --at v1.2", "of another commit"),
            ("image build --refresh", "does it still build on the base images of today?"),
        ],
    ),
    (
        "image key",
        &[
            ("image key", "the key of each image at HEAD"),
            ("image key web --explain", "what it holds"),
            ("image key web origin/main HEAD", "why is it built again?"),
        ],
    ),
    (
        "image list",
        &[
            ("image list", "20 of each"),
            ("image list web -n 100", "more of one"),
            ("image list --json | jq '.images[].published[]'", "for programs"),
        ],
    ),
    ("image prune", &[("image prune", "what would go, and what stays"), ("image prune web --yes", "remove it")]),
    (
        "status",
        &[
            ("status", "each environment from commit to pods"),
            ("status staging --follow", "one of them, until nothing moves any more"),
            ("status --json", "for programs"),
        ],
    ),
    ("ui", &[("ui --open", "see it"), ("ui --export report.html", "one file to send to somebody")]),
    ("doctor", &[("doctor", "everything"), ("doctor --offline", "ask nobody else")]),
    ("plan", &[("plan staging", "what the sync would create, change and prune")]),
    (
        "cluster install",
        &[
            ("cluster install staging --dry-run", "all that would be applied"),
            ("cluster install staging --deploy-key ~/.ssh/k8s", "over SSH, with a key that may read"),
            ("cluster install staging --username bot --password-file token", "over HTTPS"),
        ],
    ),
    (
        "cluster image",
        &[
            ("cluster image sync.tar", "for `docker load -i`, or `ctr -n k8s.io images import`"),
            ("cluster image sync.tar --repository r.example.com/gitops-hooks", "under this name"),
        ],
    ),
    ("cluster suspend", &[("cluster suspend staging", "change nothing until it is resumed")]),
    ("cluster uninstall", &[("cluster uninstall staging", "its workloads stay")]),
    ("config check", &[("config check", "every mistake with its line")]),
    ("config schema", &[("config schema > .gitops-hooks.schema.json", "for editors")]),
    ("completions", &[("completions bash >> ~/.bash_completion", "bash, zsh, fish and others")]),
];

/// The command line with its examples.
pub(super) fn command() -> Command {
    with_examples(super::Arguments::command(), "")
}

fn with_examples(command: Command, path: &str) -> Command {
    let command = match EXAMPLES.iter().find(|(of, _)| *of == path) {
        Some((_, examples)) => command.before_help(shown(examples)),
        None => command,
    };
    command.help_template(TEMPLATE).mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        with_examples(sub, path.trim_start())
    })
}

/// Terminals are seldom narrower.
const COLUMNS: usize = 80;

/// One beside its meaning where they fit into a line, else above it.
fn shown(examples: &[(&str, &str)]) -> String {
    let lines: Vec<(String, String)> =
        examples.iter().map(|(line, meaning)| (format!("  gitops-hooks {line}"), format!("  # {meaning}"))).collect();
    let beside = lines.iter().filter(|(line, meaning)| line.len() + meaning.len() <= COLUMNS);
    let width = beside.map(|(line, _)| line.len()).max().unwrap_or_default();
    let mut text = "Examples:".to_owned();
    for (line, meaning) in lines {
        let _ = if line.len() <= width && width + meaning.len() <= COLUMNS {
            write!(text, "\n{line:width$}{meaning}")
        } else {
            write!(text, "\n{line}\n    {meaning}")
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_command_line_of_the_command_it_stands_at() {
        for (path, examples) in EXAMPLES {
            for (line, _) in *examples {
                let words = shlex::split(line.split([' ', '\t']).collect::<Vec<_>>().join(" ").as_str()).unwrap();
                let words =
                    words.iter().take_while(|word| !matches!(word.as_str(), "|" | ">" | ">>")).map(String::as_str);
                let read = command().try_get_matches_from(std::iter::once("gitops-hooks").chain(words));
                assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
                let related = line.starts_with(path) || (*path, *line) == ("rollback", "release production");
                assert!(related, "{line} at {path}");
            }
        }
    }

    #[test]
    fn every_example_fits_into_a_terminal() {
        for (path, examples) in EXAMPLES {
            let text = shown(examples);
            assert!(text.lines().all(|line| line.len() <= COLUMNS), "{path}: {text}");
        }
    }

    #[test]
    fn every_example_stands_at_a_command_that_there_is() {
        for (path, _) in EXAMPLES {
            let mut found = super::super::Arguments::command();
            for name in path.split_whitespace() {
                found = found.find_subcommand(name).unwrap().clone();
            }
        }
    }

    #[test]
    fn the_first_help_fits_a_screen() {
        let help = command().term_width(COLUMNS).render_help().to_string();
        assert!(help.lines().count() <= 40, "{help}");
        assert!(help.lines().all(|line| line.len() <= COLUMNS), "{help}");
        assert!(help.find("Examples:") < help.find("Commands:"));
        // Each command on a line of its own.
        let commands = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
        assert!(commands.lines().all(|line| line.starts_with("  ") && !line.starts_with("   ")), "{help}");
    }
}
