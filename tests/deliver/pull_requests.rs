//! The user's own `gh` opens a pull request, and brings the text of an open one up to date. The program is the real one; what
//! it talks to is a stand-in for the few calls that it makes, which answers with what GitHub answers and remembers the text.

use super::bed::{Bed, git};
use crate::testbed;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// The one host that gh speaks to without TLS (its own developers' machine), and a repository there.
const URL: &str = "ssh://git@github.localhost/team/manifests.git";
const PAGE: &str = "https://github.localhost/team/manifests/pull/7";

#[derive(Default)]
struct Host {
    /// Title and body of the one pull request, and how often each was written.
    open: Option<(String, String)>,
    created: usize,
    edited: usize,
    asked: Vec<String>,
}

/// Answers on a port of its own as a proxy does: gh names the host in the request.
fn serve() -> (u16, Arc<Mutex<Host>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Arc::new(Mutex::new(Host::default()));
    let shared = host.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let shared = shared.clone();
            thread::spawn(move || talk(&stream.unwrap(), &shared));
        }
    });
    (port, host)
}

fn talk(stream: &TcpStream, host: &Mutex<Host>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) =
                header.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            {
                assert!(!name.is_empty());
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let answer = answer(&request, &asked, host).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", answer.len());
        let mut stream = stream;
        stream.write_all((head + &answer).as_bytes()).unwrap();
    }
}

fn answer(request: &str, asked: &serde_json::Value, host: &Mutex<Host>) -> serde_json::Value {
    let query = asked["query"].as_str().unwrap_or_default();
    let input = &asked["variables"]["input"];
    let text = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
    let mut host = host.lock().unwrap();
    host.asked.push(format!("{request} {query}"));
    if request.starts_with("PATCH") && request.contains("/repos/team/manifests/pulls/7 ") {
        let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
        host.edited += 1;
        host.open = Some((text("title"), text("body")));
        return serde_json::json!({ "number": 7, "html_url": PAGE });
    }
    let pull = |host: &Host| {
        host.open.as_ref().map(|(title, body)| {
            serde_json::json!({
                "id": "PR_7", "number": 7, "url": PAGE, "title": title, "body": body, "state": "OPEN", "isDraft": false,
                "baseRefName": "main", "headRefName": "gitops-hooks/staging", "isCrossRepository": false,
                "headRepositoryOwner": { "id": "O_1", "login": "team" },
            })
        })
    };
    let repository = serde_json::json!({
        "id": "R_1", "name": "manifests", "owner": { "id": "O_1", "login": "team" }, "viewerPermission": "WRITE",
        "hasIssuesEnabled": true, "description": "", "mergeCommitAllowed": true, "rebaseMergeAllowed": true,
        "squashMergeAllowed": true, "defaultBranchRef": { "name": "main" }, "isPrivate": false, "parent": null,
    });
    if query.contains("mutation PullRequestCreate") {
        host.created += 1;
        host.open = Some((text("title"), text("body")));
        return serde_json::json!({ "data": { "createPullRequest": { "pullRequest": { "id": "PR_7", "url": PAGE } } } });
    }
    let nodes: Vec<_> = pull(&host).into_iter().collect();
    let mut found = repository;
    found["pullRequests"] = serde_json::json!({
        "nodes": nodes, "totalCount": nodes.len(), "pageInfo": { "hasNextPage": false, "endCursor": "" },
    });
    serde_json::json!({ "data": { "repository": found } })
}

#[test]
fn gh_opens_one_pull_request_and_brings_its_text_up_to_date() {
    if which::which("gh").is_err() {
        testbed::skipped("needs gh");
        return;
    }
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let (port, host) = serve();
    git(&clone.folder, &["config", &format!("url.{}.insteadOf", bed.url), URL]);
    let home = bed.path().join("home");
    let proxy = format!("http://127.0.0.1:{port}");
    let text = super::bed::described(URL).replace("    branch: main\n", "    branch: main\n    review: true\n");
    let variables = [
        ("DELIVER_CONFIG", text.as_str()),
        ("GH_TOKEN", "gho_of_a_test"),
        ("GH_CONFIG_DIR", home.to_str().unwrap()),
        ("HTTP_PROXY", &proxy),
        ("http_proxy", &proxy),
        ("GH_NO_UPDATE_NOTIFIER", "1"),
    ];
    let first = clone.commit_and_push("one");
    assert_eq!(clone.deliver_in_a_process(&variables), Some(0), "{:?}", clone.waiting());
    let told = || {
        let host = host.lock().unwrap();
        (host.created, host.edited, host.open.clone().unwrap_or_else(|| panic!("asked {:?}", host.asked)))
    };
    let (created, edited, (title, body)) = told();
    assert_eq!((created, edited), (1, 0));
    assert_eq!(title, format!("Deliver flask-app {} to staging: one", first.short()));
    assert!(body.contains(&format!("Source-Commit: {first}")) && body.contains("staging/deployment.yaml:"), "{body}");
    let second = clone.commit_and_push("two");
    assert_eq!(clone.deliver_in_a_process(&variables), Some(0), "{:?}", clone.waiting());
    let (created, edited, (title, body)) = told();
    assert_eq!((created, edited), (1, 1), "one for each environment, updated and not multiplied");
    assert!(title.contains(second.short()) && body.contains(&format!("Source-Commit: {second}")), "{title}\n{body}");
}
