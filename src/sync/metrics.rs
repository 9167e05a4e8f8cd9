//! What the sync counts, for Prometheus, and the three pages that it answers with: `/metrics`, `/healthz` (the loop turns) and
//! `/readyz` (a pass was made). Nothing that a repository says becomes a label but the commit's id.

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

/// A loop that has not turned for so long hangs.
const HANGS: Duration = Duration::from_secs(300);
/// The longest that a caller may take to ask.
const CALL: Duration = Duration::from_secs(10);
/// Seconds, from a quick pass to a first sync of thousands of objects.
const SECONDS: [f64; 10] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// What a write was.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Write {
    what: &'static str,
}

/// What came of something.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// The commit that is applied.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Commit {
    commit: String,
}

/// How the environment is.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Phase {
    phase: &'static str,
}

/// Every number of one environment.
pub(super) struct Metrics {
    registry: Registry,
    writes: Family<Write, Counter>,
    polls: Family<Outcome, Counter>,
    drift: Family<Outcome, Counter>,
    poll_seconds: Histogram,
    pass_seconds: Histogram,
    wanted: Gauge,
    owned: Gauge,
    unhealthy: Gauge,
    refused: Gauge,
    waiting: Gauge,
    phase: Family<Phase, Gauge>,
    commit: Family<Commit, Gauge>,
    began: Instant,
    turned: AtomicU64,
    ready: AtomicBool,
}

/// The counts of one pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) wanted: usize,
    pub(super) owned: usize,
    pub(super) unhealthy: usize,
    pub(super) refused: usize,
    pub(super) waiting: usize,
}

impl Metrics {
    pub(super) fn new(environment: &str) -> Self {
        let labels = [("environment".into(), environment.to_owned().into())];
        let mut root = Registry::with_labels(labels.into_iter());
        let registry = root.sub_registry_with_prefix("gitops_hooks");
        let seconds = || Histogram::new(SECONDS);
        let (poll_seconds, pass_seconds) = (seconds(), seconds());
        let writes = Family::default();
        let (polls, drift) = (Family::default(), Family::default());
        let (wanted, owned) = (Gauge::default(), Gauge::default());
        let (unhealthy, refused, waiting) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (phase, commit) = (Family::default(), Family::default());
        registry.register("writes", "Requests that change the cluster, by what they write", writes.clone());
        registry.register("polls", "Looks at the repository, by what came of them", polls.clone());
        registry.register("drift", "Objects that somebody else changed, by what was done", drift.clone());
        registry.register_with_unit("poll", "Time of a look at the repository", Unit::Seconds, poll_seconds.clone());
        registry.register_with_unit("pass", "Time of a pass", Unit::Seconds, pass_seconds.clone());
        registry.register("objects", "Objects that the commit asks for", wanted.clone());
        registry.register("inventory_objects", "Objects that the sync owns", owned.clone());
        registry.register("unhealthy_objects", "Objects that are not healthy", unhealthy.clone());
        registry.register("refused_objects", "Objects that were refused, here or by the API server", refused.clone());
        registry.register("waiting_objects", "Objects that wait to be pruned", waiting.clone());
        registry.register("phase", "1 for the phase that the environment is in", phase.clone());
        registry.register("commit_info", "1 for the commit that was last read", commit.clone());
        Self {
            registry: root,
            writes,
            polls,
            drift,
            poll_seconds,
            pass_seconds,
            wanted,
            owned,
            unhealthy,
            refused,
            waiting,
            phase,
            commit,
            began: Instant::now(),
            turned: AtomicU64::new(0),
            ready: AtomicBool::new(false),
        }
    }

    /// The loop is alive.
    pub(super) fn turn(&self) {
        self.turned.store(self.began.elapsed().as_secs(), Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, what: &'static str) {
        self.turn();
        self.writes.get_or_create(&Write { what }).inc();
    }

    pub(super) fn polled(&self, result: &'static str, time: Duration) {
        self.polls.get_or_create(&Outcome { result }).inc();
        self.poll_seconds.observe(time.as_secs_f64());
    }

    pub(super) fn drifted(&self, result: &'static str) {
        self.drift.get_or_create(&Outcome { result }).inc();
    }

    pub(super) fn passed(&self, time: Duration) {
        self.pass_seconds.observe(time.as_secs_f64());
        self.ready.store(true, Ordering::Relaxed);
    }

    pub(super) fn found(&self, counts: Counts, phase: &'static str, commit: Option<&str>) {
        let set = |gauge: &Gauge, count: usize| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set(&self.wanted, counts.wanted);
        set(&self.owned, counts.owned);
        set(&self.unhealthy, counts.unhealthy);
        set(&self.refused, counts.refused);
        set(&self.waiting, counts.waiting);
        self.phase.clear();
        self.phase.get_or_create(&Phase { phase }).set(1);
        self.commit.clear();
        if let Some(commit) = commit {
            self.commit.get_or_create(&Commit { commit: commit.to_owned() }).set(1);
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn hangs(&self) -> bool {
        self.began.elapsed().saturating_sub(Duration::from_secs(self.turned.load(Ordering::Relaxed))) > HANGS
    }
}

/// One page of the numbers of all environments: a metric's name and help may stand there but once.
fn page(all: &[Arc<Metrics>]) -> String {
    const END: &str = "# EOF\n";
    let texts: Vec<String> = all.iter().map(|metrics| metrics.text()).collect();
    let [text] = &texts[..] else {
        let mut page: Vec<(&str, String)> = Vec::new();
        for text in &texts {
            let mut at = 0;
            for line in text.lines().filter(|line| *line != END.trim_end()) {
                if line.starts_with('#') {
                    let name = line.split(' ').nth(2).unwrap_or_default();
                    match page.iter().position(|(known, _)| *known == name) {
                        // Its first environment has said what it is; the line that begins it there does not come again.
                        Some(known) if page[known].1.contains(line) => {
                            at = known;
                            continue;
                        }
                        Some(known) => at = known,
                        None => {
                            at = page.len();
                            page.push((name, String::new()));
                        }
                    }
                }
                if let Some((_, lines)) = page.get_mut(at) {
                    lines.push_str(line);
                    lines.push('\n');
                }
            }
        }
        return page.into_iter().map(|(_, lines)| lines).chain([END.to_owned()]).collect();
    };
    text.clone()
}

fn answer(all: &[Arc<Metrics>], method: &Method, path: &str) -> (StatusCode, &'static str, String) {
    const PLAIN: &str = "text/plain; charset=utf-8";
    if *method != Method::GET && *method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, PLAIN, String::new());
    }
    let is = |well: bool, otherwise: &str| {
        if well {
            (StatusCode::OK, PLAIN, "ok\n".to_owned())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{otherwise}\n"))
        }
    };
    match path {
        "/metrics" => (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", page(all)),
        "/healthz" => is(!all.iter().any(|it| it.hangs()), "the loop has not turned for minutes"),
        "/readyz" => is(all.iter().all(|it| it.ready.load(Ordering::Relaxed)), "no pass was made yet"),
        _ => (StatusCode::NOT_FOUND, PLAIN, "try /metrics, /healthz or /readyz\n".to_owned()),
    }
}

/// Answers on a port, over IPv6 and IPv4 where there are both, for as long as the process runs.
///
/// # Errors
/// A port that is taken.
pub(super) async fn serve(port: u16, metrics: Vec<Arc<Metrics>>) -> std::io::Result<()> {
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?,
    };
    let metrics: Arc<[Arc<Metrics>]> = metrics.into();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: they come back.
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let metrics = Arc::clone(&metrics);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (status, kind, text) = answer(&metrics, request.method(), request.uri().path());
                    let mut response = Response::new(Full::new(Bytes::from(text)));
                    *response.status_mut() = status;
                    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection =
                    http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
                // A caller that goes away or never asks is no trouble of ours.
                let _ = tokio::time::timeout(CALL, connection).await;
            });
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_environment_and_the_commit_is_the_last_one() {
        let metrics = Metrics::new("staging");
        metrics.wrote("apply");
        metrics.polled("unchanged", Duration::from_millis(3));
        metrics.found(Counts { wanted: 3, ..Counts::default() }, "syncing", Some("a"));
        metrics.found(Counts { wanted: 4, ..Counts::default() }, "healthy", Some("b"));
        let text = metrics.text();
        for line in [
            "gitops_hooks_writes_total{environment=\"staging\",what=\"apply\"} 1",
            "gitops_hooks_objects{environment=\"staging\"} 4",
            "gitops_hooks_phase{environment=\"staging\",phase=\"healthy\"} 1",
            "gitops_hooks_commit_info{environment=\"staging\",commit=\"b\"} 1",
            "gitops_hooks_poll_seconds_count{environment=\"staging\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("syncing") && !text.contains("commit=\"a\""), "{text}");
    }

    #[test]
    fn the_page_of_several_environments_says_once_what_a_number_is() {
        let all = ["staging", "production"].map(|name| Arc::new(Metrics::new(name)));
        for metrics in &all {
            metrics.wrote("apply");
        }
        let page = page(&all);
        assert_eq!(page.matches("# TYPE gitops_hooks_writes counter").count(), 1, "{page}");
        assert_eq!(page.matches("# EOF").count(), 1);
        let writes: Vec<&str> = page
            .lines()
            .skip_while(|line| !line.contains("TYPE gitops_hooks_writes"))
            .skip(1)
            .take_while(|line| !line.starts_with('#'))
            .collect();
        assert_eq!(writes.len(), 2, "both beside each other: {page}");
    }

    #[test]
    fn it_is_ready_after_the_first_pass() {
        let metrics = [Arc::new(Metrics::new("staging")), Arc::new(Metrics::new("production"))];
        let status = |path: &str| answer(&metrics, &Method::GET, path).0;
        metrics[0].passed(Duration::ZERO);
        assert_eq!(status("/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        metrics[1].passed(Duration::ZERO);
        assert_eq!([status("/readyz"), status("/healthz"), status("/x")].map(|code| code.as_u16()), [200, 200, 404]);
        assert_eq!(answer(&metrics, &Method::POST, "/metrics").0, StatusCode::METHOD_NOT_ALLOWED);
    }
}
