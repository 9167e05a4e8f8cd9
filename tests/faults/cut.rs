//! Connections that break: the API server's through a proxy, the repository's by taking it away.

use crate::{
    Random,
    bed::{Bed, Running, map, until, variable},
    count,
};
use std::{
    fs,
    io::copy,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A proxy to the API server whose connections can be cut.
struct Proxy {
    port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
    refuses: Arc<AtomicBool>,
}

impl Proxy {
    fn begin(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, refuses) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let proxy = Self { port, open: Arc::clone(&open), refuses: Arc::clone(&refuses) };
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                if refuses.load(Ordering::Relaxed) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&target) else { continue };
                for (mut from, mut to) in [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())]
                    .map(|(from, to)| (from.unwrap(), to.unwrap()))
                {
                    std::thread::spawn(move || {
                        let _ = copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                open.lock().unwrap().extend([near, far]);
            }
        });
        proxy
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The kubeconfig with another address for the server, whose name in its certificate stays.
fn kubeconfig(bed: &Bed, proxy: &dyn Fn(String) -> u16) -> std::path::PathBuf {
    let text = fs::read_to_string(std::env::var("KUBECONFIG").unwrap()).unwrap();
    let mut config: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    let cluster = &mut config["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().unwrap().to_owned();
    let target = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let host = target.rsplit_once(':').unwrap().0.to_owned();
    cluster["server"] = format!("https://127.0.0.1:{}", proxy(target)).into();
    cluster["tls-server-name"] = host.into();
    let file = bed.folder.path().join("kubeconfig");
    fs::write(&file, config.to_string()).unwrap();
    file
}

#[test]
fn connections_to_the_api_server_that_are_cut_at_any_moment_cost_nothing_but_time() {
    let Some(bed) = Bed::new("cut") else { return };
    bed.set("interval: 500ms");
    let proxy = std::cell::OnceCell::new();
    let file = kubeconfig(&bed, &|target| proxy.get_or_init(|| Proxy::begin(target)).port);
    let proxy = proxy.get().unwrap();
    let mut command = bed.command();
    command.env("KUBECONFIG", &file);
    let first = bed.commit(&[("a.yaml", &map("a", "0")), ("b.yaml", &map("b", "0"))]);
    let _sync = Running::begin(command, &bed.folder.path().join("log"));
    bed.says(&first, "healthy");
    let mut random = Random::new();
    for round in 1..=count(8, 60) {
        let many: Vec<(String, String)> =
            (0..30).map(|n| (format!("m{n}.yaml"), map(&format!("m{n}"), &round.to_string()))).collect();
        let mut files: Vec<(&str, &str)> = many.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (a, passing) = (map("a", &round.to_string()), map(&format!("passing-{}", round % 2), "1"));
        files.extend([("a.yaml", a.as_str()), ("p.yaml", passing.as_str())]);
        let commit = bed.commit(&files);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(random.below(700)));
            proxy.cut();
        }
        if round % 4 == 0 {
            // Away for longer than one try.
            proxy.refuses.store(true, Ordering::Relaxed);
            proxy.cut();
            std::thread::sleep(Duration::from_secs(3));
            proxy.refuses.store(false, Ordering::Relaxed);
        }
        bed.says(&commit, "healthy");
        assert_eq!(bed.value("a").unwrap(), round.to_string());
        until("the prune", || bed.value(&format!("passing-{}", (round + 1) % 2)).is_none().then_some(()));
    }
    // A watch that was cut hears again.
    proxy.cut();
    bed.meddle("a", "theirs");
    until("the value to be put back", || (bed.value("a")? != "theirs").then_some(()));
}

#[test]
fn a_repository_that_is_away_for_longer_than_the_interval_is_told_and_taken_up_again() {
    let Some(bed) = Bed::new("away") else { return };
    bed.set("interval: 1s");
    let commit = bed.commit(&[("a.yaml", &map("a", "1"))]);
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    let away = bed.bare.with_extension("away");
    fs::rename(&bed.bare, &away).unwrap();
    let report = until("the report to say so", || bed.reported().filter(|report| report["phase"] == "unreachable"));
    assert!(report["message"].as_str().unwrap().contains("cannot be reached"), "{report}");
    // What is in the cluster is kept as it was applied, without the repository.
    bed.meddle("a", "2");
    until("the value to be put back", || (bed.value("a")? == "1").then_some(()));
    fs::rename(&away, &bed.bare).unwrap();
    let commit = bed.commit(&[("a.yaml", &map("a", "3"))]);
    bed.says(&commit, "healthy");
    assert_eq!(bed.value("a").unwrap(), "3");
}

#[test]
fn a_token_that_expires_is_told_and_a_new_one_is_taken_up_without_a_restart() {
    let Some(bed) = Bed::new("token") else { return };
    bed.settings(&format!("{}{}.git", variable("GIT_HTTPS").unwrap(), bed.name));
    bed.set("interval: 1s");
    let commit = bed.commit(&[("a.yaml", &map("a", "1"))]);
    let _sync = bed.running();
    bed.says(&commit, "healthy");
    let password = fs::read_to_string(bed.credential("password")).unwrap();
    // What the server takes no more, as after a token's last day.
    fs::write(bed.credential("password"), "expired").unwrap();
    let report = until("the report to say so", || bed.reported().filter(|report| report["phase"] == "unreachable"));
    assert!(report["message"].as_str().unwrap().contains("refuses the sync's credentials"), "{report}");
    fs::write(bed.credential("password"), password).unwrap();
    let commit = bed.commit(&[("a.yaml", &map("a", "2"))]);
    bed.says(&commit, "healthy");
}

#[test]
fn a_branch_that_was_rewritten_by_force_is_followed() {
    let Some(bed) = Bed::new("forced") else { return };
    let first = bed.commit(&[("a.yaml", &map("a", "1"))]);
    bed.commit(&[("a.yaml", &map("a", "2")), ("b.yaml", &map("b", "2"))]);
    bed.synced();
    let work = bed.work();
    crate::bed::git(&work, &["reset", "-q", "--hard", &first]);
    let commit = bed.commit(&[("a.yaml", &map("a", "other history"))]);
    bed.synced();
    assert_eq!(bed.report()["manifest_commit"], commit.as_str());
    assert_eq!(bed.maps(), ["a"]);
    assert_eq!(bed.value("a").unwrap(), "other history");
    let told = || bed.events().into_iter().filter(|event| event.starts_with("Rewritten")).collect::<Vec<_>>();
    assert!(told().len() == 1 && told()[0].contains("main was rewritten by force"), "{:?}", told());
    // A commit upon another is none, and nor are several at once.
    for value in ["5", "6"] {
        bed.commit(&[("a.yaml", &map("a", value))]);
    }
    bed.synced();
    assert_eq!((bed.value("a").unwrap().as_str(), told().len()), ("6", 1));
}
