//! Who may see the page and press its buttons, how it ends, and what it says when there is nothing to say.

use super::{super::context::TestContext, browser::Browser, served::Served};
use std::{
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    time::{Duration, Instant},
};

const CONFIG: &str = "\
hooks:
  pre-commit:
    - {name: test, run: sh check.sh}
";

#[test]
fn a_stranger_sees_nothing_and_changes_nothing() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", CONFIG);
    context.git(&["add", "."]);
    context.git(&["commit", "-qm", "One"]);
    let served = Served::by(&context, &[]);
    let (host, root) = (format!("Host: {}", served.host()), served.root().to_owned());
    let origin = format!("Origin: http://{}", served.host());
    assert!(root.len() > 30, "{root} can be guessed");

    let status = |first: &str, headers: &[&str]| served.ask(first, headers, "").0;
    assert_eq!(status(&format!("GET {root}"), &[&host]), 200);
    // Another name that leads to this address, as when somebody's DNS is rebound.
    assert_eq!(status(&format!("GET {root}"), &["Host: rebound.example.com"]), 421);
    assert_eq!(status(&format!("GET {root}"), &["Host: 127.0.0.1"]), 421);
    for path in ["/", "/environments", "/x/", "/events", "//", "/%2e%2e/"] {
        assert_eq!(status(&format!("GET {path}"), &[&host]), 403, "{path}");
    }
    // A page of somebody else's, even one that knows the address.
    assert_eq!(status(&format!("GET {root}"), &[&host, "Origin: http://evil.example.com"]), 403);
    assert_eq!(status(&format!("GET {root}events?generation=0"), &[&host, "Sec-Fetch-Site: cross-site"]), 403);
    let form = "Content-Type: application/x-www-form-urlencoded";
    let act = format!("POST {root}act");
    let body = "verb=hold&environment=staging&message=x";
    for headers in
        [vec![&*host, form], vec![&*host, form, "Origin: null"], vec![&*host, form, "Origin: http://evil.example.com"]]
    {
        assert_eq!(served.ask(&act, &headers, body).0, 403, "{headers:?}");
    }
    assert_eq!(served.ask("POST /act", &[&host, form, &origin], body).0, 403);
    // Its own page may ask; of what the configuration does not name nothing is run.
    assert_eq!(served.ask(&act, &[&host, form, &origin], body).0, 409);
    assert_eq!(served.ask(&act, &[&host, form, &origin], "verb=uninstall&environment=staging").0, 422);
    assert_eq!(served.ask(&act, &[&host, form, &origin], "verb=hold&environment=..%2Fx&message=x").0, 422);
    assert_eq!(served.ask(&act, &[&host, form, &origin], &"x".repeat(1 << 20)).0, 413);

    // Refused or not, a browser may keep nothing, frame nothing and load nothing.
    for (first, host) in
        [(format!("GET {root}"), &*host), ("GET /".to_owned(), &*host), (format!("GET {root}"), "Host: x")]
    {
        let (_, head, _) = served.ask(&first, &[host], "");
        for wanted in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "cache-control: no-store",
            "nosniff",
            "referrer-policy: same-origin",
        ] {
            assert!(head.contains(wanted), "{wanted} in {head}");
        }
        assert!(!head.contains("unsafe") && !head.contains("access-control"), "{head}");
    }
}

#[test]
fn it_listens_on_loopback_alone() {
    let context = TestContext::new();
    let served = Served::by(&context, &[]);
    let port = served.host().rsplit(':').next().unwrap();
    let listed = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let everything = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let hex = format!(":{:04X} ", port.parse::<u16>().unwrap());
    let listening = |table: &str| {
        let lines = table.lines().filter(|line| line.split_whitespace().nth(3) == Some("0A"));
        lines
            .filter_map(|line| line.split_whitespace().nth(1).map(|address| format!("{address} ")))
            .filter(|address| address.ends_with(&hex))
            .collect::<Vec<_>>()
    };
    if !listed.is_empty() {
        assert_eq!(listening(&listed), [format!("0100007F{hex}")]);
        assert_eq!(listening(&everything), Vec::<String>::new());
    }
}

#[test]
fn a_repository_without_anything_has_a_page() {
    let context = TestContext::new();
    let served = Served::by(&context, &[]);
    let (status, body) = served.get("");
    assert_eq!(status, 200);
    assert!(body.contains("No commits yet") && body.contains("there is no .gitops-hooks.yaml"), "{body}");
    let (status, body) = served.get("environments");
    assert_eq!(status, 200);
    assert!(body.contains("gitops-hooks init"), "{body}");
    let (status, body) = served.get("trends");
    assert_eq!(status, 200);
    assert!(body.contains("No step has run yet"), "{body}");
    assert_eq!(served.get("commit/0123").0, 404);
    assert_eq!(served.get("environment/staging/hold").0, 404);
    assert_eq!(served.get("nothing").0, 404);
}

#[test]
fn it_ends_when_nobody_looks_and_at_ctrl_c() {
    let context = TestContext::new();
    let mut served = Served::by(&context, &["--idle", "300ms"]);
    assert_eq!(served.process.wait().unwrap().code(), Some(0));
    let mut served = Served::by(&context, &[]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(served.process.try_wait().unwrap().is_none());
    rustix::process::kill_process(rustix::process::Pid::from_child(&served.process), rustix::process::Signal::INT)
        .unwrap();
    assert_eq!(served.process.wait().unwrap().signal(), Some(2));
}

#[test]
fn a_browser_is_sent_there_without_telling_the_machine_the_address() {
    let context = TestContext::new();
    let (opener, called) = (context.beside("bin/xdg-open"), context.beside("called"));
    std::fs::create_dir(context.beside("bin")).unwrap();
    std::fs::write(&opener, format!("#!/bin/sh\necho \"$*\" >{0}.new && mv {0}.new {0}\n", called.display())).unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
    let path = format!("{}:{}", context.beside("bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("KUBECONFIG", context.beside("none")).args(["ui", "--open"]);
    let mut served = Served::start(&mut command);
    let began = Instant::now();
    while !called.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing was opened");
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = std::fs::read_to_string(&called).unwrap();
    let file = Path::new(told.trim());
    assert!(!told.contains(served.root()), "{told}");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    if let Some(browser) = Browser::start() {
        browser.open(&format!("file://{}", file.display()));
        browser.until("main", "No commits yet");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&served.process), rustix::process::Signal::INT)
        .unwrap();
    served.process.wait().unwrap();
    assert!(!file.exists());
}

#[test]
fn a_port_that_is_taken_is_told() {
    let context = TestContext::new();
    let served = Served::by(&context, &[]);
    let port = served.host().rsplit(':').next().unwrap();
    let done = context.hooks(&["ui", "--port", port]);
    assert_eq!(done.code, Some(3));
    assert!(
        done.stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")) && done.stderr.contains("--port"),
        "{}",
        done.stderr
    );
}

#[test]
fn text_of_a_repository_is_never_markup() {
    let context = TestContext::new();
    let hostile = "<script>document.title='taken'</script><img src=x onerror=alert(1)>\"'&";
    context.write(".gitops-hooks.yaml", CONFIG);
    context.write("check.sh", &format!("echo \"{}\"; exit 1\n", hostile.replace('"', "\\\"")));
    context.git(&["config", "user.name", "x"]);
    context.git(&["add", "."]);
    context.must(&["install", "--yes"]);
    let stopped = context.try_git(&["commit", "-m", hostile]);
    assert_ne!(stopped.code, Some(0), "{}", stopped.stderr);
    context.git(&["-c", "core.hooksPath=/dev/null", "commit", "-qm", hostile]);
    let served = Served::by(&context, &[]);
    let id = context.git(&["rev-parse", "HEAD"]);
    for path in
        ["", "environments", "trends", &format!("commit/{}", id.trim()), &format!("commit/{}?part=1", id.trim())]
    {
        let (status, body) = served.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(!body.contains("<script>document") && !body.contains("<img"), "{path}: {body}");
    }
    assert!(served.get("").1.contains("&lt;script&gt;document.title"));
    assert!(served.get(&format!("commit/{}", id.trim())).1.contains("onerror=alert(1)&gt;"));

    let file = context.beside("report.html");
    context.must(&["ui", "--export", file.to_str().unwrap()]);
    let report = std::fs::read_to_string(&file).unwrap();
    assert!(!report.contains("<script") && !report.contains("<img") && report.contains("&lt;script&gt;document.title"));
}

#[test]
fn a_report_is_one_file_that_needs_nothing() {
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", CONFIG);
    context.write("check.sh", "exit 0\n");
    context.git(&["add", "."]);
    context.must(&["install", "--yes"]);
    context.git(&["commit", "-qm", "A commit to read about"]);
    let told = context.must(&["ui", "--export", "report.html"]);
    assert_eq!(told.trim(), "report.html");
    let report = context.read("report.html");
    for wanted in
        ["A commit to read about", "Content-Security-Policy", "default-src 'none'", "passed", "Time of each step"]
    {
        assert!(report.contains(wanted), "{wanted}");
    }
    for unwanted in ["<script", "http://", "https://", "<form", "method=\"post\"", "src="] {
        assert!(!report.contains(unwanted), "{unwanted} in {report}");
    }
    let done = context.hooks(&["ui", "--export", "no/such/folder/report.html"]);
    assert_eq!(done.code, Some(3));
    assert!(done.stderr.contains("cannot write no/such/folder/report.html"), "{}", done.stderr);
}
