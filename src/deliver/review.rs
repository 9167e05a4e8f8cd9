//! A delivery to be reviewed: one branch for each environment, brought up to date and never forced, with a page where people
//! look at it. The host's own way is taken where it has one: GitLab's push options, the user's `gh`, else an address to open.

use super::{Error, Session, State, Target, delivered};
use crate::{
    git::{self, Ancestry, Merged, Mirror},
    values::{Oid, RemoteUrl},
};
use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What the branches to review begin with.
pub(super) const FOLDER: &str = "gitops-hooks";

/// How long a program of the host's may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a commit is made on.
pub(super) struct Base {
    /// A commit or a tree.
    pub(super) tree: Oid,
    pub(super) parents: Vec<Oid>,
    /// What the branch is at; `None` where it is new.
    pub(super) expected: Option<Oid>,
}

/// The branch on which deliveries to an environment are reviewed.
pub(super) fn branch(target: &Target<'_>) -> String {
    format!("{FOLDER}/{}", target.name)
}

/// The branch on which a delivery to an environment waits for its review; `None` where none does.
///
/// # Errors
/// When the manifests cannot be asked.
pub fn in_review(session: &Session<'_>, target: &Target<'_>) -> Result<Option<String>, Error> {
    let (mirror, tip) = delivered::newest(session, target)?;
    let branch = branch(target);
    let Some(waiting) = mirror.known(&branch)? else { return Ok(None) };
    let is_merged = matches!(mirror.repository().ancestry(&waiting, &tip)?, Ancestry::Same | Ancestry::Behind);
    Ok((!is_merged).then_some(branch))
}

/// What a delivery for review is made on: the branch that waits for its review with all that people have added to it, and
/// the newest manifests; after a merge those alone.
pub(super) fn base(mirror: &Mirror, target: &Target<'_>, main: &Oid) -> Result<Base, Error> {
    let branch = branch(target);
    let alone = |expected| Base { tree: main.clone(), parents: vec![main.clone()], expected };
    let Some(waiting) = mirror.known(&branch)? else { return Ok(alone(None)) };
    match mirror.repository().ancestry(&waiting, main)? {
        Ancestry::Same | Ancestry::Behind => Ok(alone(Some(waiting))),
        Ancestry::Ahead => Ok(Base { tree: waiting.clone(), parents: vec![waiting.clone()], expected: Some(waiting) }),
        Ancestry::Diverged | Ancestry::Unknown => {
            // What runs is what the main branch says, whatever somebody proposed.
            match mirror.merge(&waiting, main, &State::path(&target.environment.manifests.path))? {
                Merged::Tree(tree) => {
                    Ok(Base { tree, parents: vec![waiting.clone(), main.clone()], expected: Some(waiting) })
                }
                Merged::Conflict(paths) => Err(Error::ReviewConflict {
                    url: target.environment.manifests.url.shown(),
                    branch,
                    main: target.environment.manifests.branch.to_string(),
                    paths: paths.join(", "),
                }),
            }
        }
    }
}

/// The push options with which GitLab opens a merge request, or brings the text of an open one up to date
/// (<https://docs.gitlab.com/topics/git/commit/#push-options-for-merge-requests>). Other hosts overlook them.
pub(super) fn options(target: &Target<'_>, message: &str) -> Vec<String> {
    let (title, body) = split(message);
    // An option is one line.
    let body = body.lines().collect::<Vec<_>>().join("<br>");
    vec![
        "merge_request.create".to_owned(),
        format!("merge_request.target={}", *target.environment.manifests.branch),
        format!("merge_request.title={title}"),
        format!("merge_request.description={body}"),
    ]
}

/// Where people review: what the server named, else what `gh` opened, else an address that opens the form.
pub(super) fn page(target: &Target<'_>, said: &str, message: &str) -> Option<String> {
    let manifests = &target.environment.manifests;
    let branch = branch(target);
    if let Some(review) = named(said, is_review) {
        return Some(git::without_secrets(review));
    }
    let there = manifests.url.on_host();
    there
        .and_then(|(host, path)| pull_request(host, path, &branch, &manifests.branch, message))
        .or_else(|| named(said, is_form).map(git::without_secrets))
        .or_else(|| form(&manifests.url, &branch, &manifests.branch))
}

/// The first address of a kind in a server's words, which may hold a banner with others.
fn named(said: &str, is_wanted: fn(&str) -> bool) -> Option<&str> {
    let words = said.split_whitespace().filter(|word| word.starts_with("https://") || word.starts_with("http://"));
    words.map(|word| word.trim_end_matches(['.', ',', ')', '>'])).find(|word| is_wanted(word))
}

/// Whether an address is a review: its number follows the word that GitHub, Gitea and Forgejo, GitLab or Bitbucket has for it.
fn is_review(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    parts.windows(2).any(|pair| {
        matches!(pair[0], "pull" | "pulls" | "merge_requests" | "pull-requests") && pair[1].parse::<u64>().is_ok()
    })
}

/// Whether an address opens a review, on the same hosts.
fn is_form(address: &str) -> bool {
    let forms = ["/pull/new/", "/compare/", "/merge_requests/new", "/pull-requests/new", "/pull-requests?create"];
    forms.iter().any(|form| address.contains(form))
}

/// The address of the form for a new pull or merge request, on the hosts that everybody knows.
fn form(url: &RemoteUrl, branch: &str, main: &str) -> Option<String> {
    let (host, path) = url.on_host()?;
    if host == "github.com" {
        return Some(format!("https://{host}/{path}/compare/{main}...{branch}?expand=1"));
    }
    host.contains("gitlab").then(|| {
        format!(
            "https://{host}/{path}/-/merge_requests/new?merge_request[source_branch]={branch}&merge_request[target_branch]={main}"
        )
    })
}

/// Opens a pull request with the user's `gh`, or brings the text of the open one up to date. `None` where there is no `gh`,
/// where it does not know the host, or where it fails: the branch is there, and people can open it themselves.
fn pull_request(host: &str, path: &str, branch: &str, main: &str, message: &str) -> Option<String> {
    let gh = which::which("gh").ok()?;
    let call = |args: &[&str]| ended(Command::new(&gh).args(args));
    // It answers from its own files whether it can speak to this host at all.
    call(&["auth", "token", "--hostname", host])?;
    let repository = format!("{host}/{path}");
    let (title, body) = split(message);
    let list = ["pr", "list", "--repo", &repository, "--head", branch, "--state", "open"];
    let open = call(&[&list[..], &["--json", "url", "--jq", ".[0].url"]].concat())?;
    if open.starts_with("https://") {
        // Not `gh pr edit`, which reads the projects of a pull request first; few tokens may.
        let pull = format!("repos/{path}/pulls/{}", open.rsplit('/').next()?);
        let (title, body) = (format!("title={title}"), format!("body={body}"));
        let change = ["api", "--hostname", host, "--method", "PATCH", &pull, "--silent"];
        call(&[&change[..], &["--raw-field", &title, "--raw-field", &body]].concat())?;
        return Some(open);
    }
    let create = ["pr", "create", "--repo", &repository, "--head", branch, "--base", main];
    let said = call(&[&create[..], &["--title", title, "--body", body]].concat())?;
    said.lines().rev().find(|line| line.starts_with("https://")).map(str::to_owned)
}

/// What a program printed, where it ended well and in time.
fn ended(command: &mut Command) -> Option<String> {
    let mut child = git::scrub(command)
        .env("GH_PROMPT_DISABLED", "1")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let began = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn split(message: &str) -> (&str, &str) {
    let (title, body) = message.split_once('\n').unwrap_or((message, ""));
    (title, body.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_known_for_the_hosts_that_everybody_knows() {
        let form = |url: &str| form(&url.parse().unwrap(), "gitops-hooks/staging", "main");
        let github = form("git@github.com:team/manifests.git").unwrap();
        assert_eq!(github, "https://github.com/team/manifests/compare/main...gitops-hooks/staging?expand=1");
        assert!(form("https://gitlab.example.com/team/manifests.git").unwrap().contains("/-/merge_requests/new?"));
        assert_eq!(form("ssh://git@git.example.com/team/manifests.git"), None);
    }

    #[test]
    fn of_all_that_a_server_says_the_page_of_the_review_is_taken() {
        let github = "GitHub found 1 vulnerability on team/manifests's default branch (1 low). To find out more, visit:\n     https://github.com/team/manifests/security/dependabot/1\n\nCreate a pull request for 'gitops-hooks/staging' on GitHub by visiting:\n     https://github.com/team/manifests/pull/new/gitops-hooks/staging";
        assert_eq!(named(github, is_review), None);
        assert_eq!(named(github, is_form), Some("https://github.com/team/manifests/pull/new/gitops-hooks/staging"));
        for (said, review) in [
            (
                "https://example.com/motd https://github.com/team/manifests/pull/7",
                "https://github.com/team/manifests/pull/7",
            ),
            (
                "see http://git.example.com/team/m/-/merge_requests/7.",
                "http://git.example.com/team/m/-/merge_requests/7",
            ),
            (
                "https://codeberg.org/team/m/compare/main...x https://codeberg.org/team/m/pulls/7",
                "https://codeberg.org/team/m/pulls/7",
            ),
            (
                "https://bitbucket.org/team/m/pull-requests/7/diff?t=1",
                "https://bitbucket.org/team/m/pull-requests/7/diff?t=1",
            ),
        ] {
            assert_eq!(named(said, is_review), Some(review));
        }
        for form in [
            "https://codeberg.org/team/m/compare/main...gitops-hooks/staging",
            "https://gitlab.com/team/m/-/merge_requests/new?merge_request%5Bsource_branch%5D=gitops-hooks%2Fstaging",
            "https://bitbucket.org/team/m/pull-requests/new?source=gitops-hooks/staging&t=1",
            "https://git.example.com/projects/T/repos/m/pull-requests?create&sourceBranch=refs%2Fheads%2Fgitops-hooks%2Fstaging",
        ] {
            assert_eq!((named(form, is_review), named(form, is_form)), (None, Some(form)));
        }
        assert_eq!(named("https://wiki.example.com/pull-requests/how-to", is_review), None);
    }

    #[test]
    fn a_message_is_a_title_and_a_body_of_one_line_each() {
        let config = crate::config::parse(
            "c.yaml",
            "images: {web: {repository: r.example.com/web}}\nenvironments: {staging: {branch: main, manifests: {url: 'git@h:m.git'}, images: [web]}}\n",
        )
        .unwrap();
        let target = Target::of(&config, &"staging".parse().unwrap(), super::super::Switch::Refused).unwrap();
        let options = options(&target, "Deliver web\n\na: 1\nb: 2\n");
        assert!(options.contains(&"merge_request.title=Deliver web".to_owned()));
        assert!(options.contains(&"merge_request.description=a: 1<br>b: 2".to_owned()));
        assert!(options.iter().all(|option| !option.contains('\n')));
    }
}
