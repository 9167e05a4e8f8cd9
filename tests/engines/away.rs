//! An engine that goes away, or has no room left, in the middle of a build.

use super::{ALL, Ended, again, bed, busybox, images::Source, on_each, passes_again, testbed};
use gitops_hooks::image::Error;
use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A socket that leads to the engine until it is cut.
struct Cut {
    path: PathBuf,
    open: Arc<Mutex<Vec<UnixStream>>>,
    ended: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl Cut {
    fn before(engine: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (open, ended) = (Arc::<Mutex<Vec<UnixStream>>>::default(), Arc::<AtomicBool>::default());
        let engine = engine.strip_prefix("unix://").unwrap().to_owned();
        let (kept, cut) = (Arc::clone(&open), Arc::clone(&ended));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let far = UnixStream::connect(&engine).unwrap();
                kept.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    std::thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Self { path, open, ended, _folder: folder }
    }

    fn cut(&self) {
        self.ended.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

#[test]
fn an_engine_that_goes_away_in_a_build_is_told() {
    on_each("away::an_engine_that_goes_away_in_a_build_is_told", ALL, |engine| {
        let marker = std::env::var("GITOPS_HOOKS_TEST_CUT").ok();
        let Some(marker) = marker else {
            let host = std::env::var("DOCKER_HOST").unwrap();
            let cut = Cut::before(&host);
            let marker = tempfile::tempdir().unwrap();
            let host = format!("unix://{}", cut.path.display());
            let variables = [("DOCKER_HOST", Some(host.as_str())), ("GITOPS_HOOKS_TEST_CUT", marker.path().to_str())];
            let mut again = again("away::an_engine_that_goes_away_in_a_build_is_told", &variables);
            let mut again = again.stderr(Stdio::piped()).spawn().unwrap();
            while !marker.path().join("building").exists() && again.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(50));
            }
            std::thread::sleep(Duration::from_secs(3));
            cut.cut();
            let output = again.wait_with_output().unwrap();
            assert!(output.status.success(), "{engine}: {}", String::from_utf8_lossy(&output.stderr));
            return;
        };
        let source = Source::new("", &format!("FROM {}\nRUN sleep 120 # {}\n", busybox(), std::process::id()));
        std::fs::write(Path::new(&marker).join("building"), "").unwrap();
        let told = source.build().unwrap_err();
        let code = miette::Diagnostic::code(&told).unwrap().to_string();
        assert_eq!(code, "environment", "{told}");
    });
}

/// A Docker engine of the test's own, with its data on a disk of its own.
struct Own {
    daemon: Option<Ended>,
    folder: tempfile::TempDir,
    host: String,
}

impl Own {
    /// `None`, with a word, where there is no engine to start or nobody may.
    fn with(megabytes: usize) -> Option<Self> {
        let programs = Path::new(&bed("GITOPS_HOOKS_TESTBED_CACHE").unwrap_or_default()).join("bin");
        if bed("GITOPS_HOOKS_TEST_REGISTRY").is_none()
            || !programs.join("dockerd").exists()
            || !rustix::process::geteuid().is_root()
        {
            testbed::skipped("needs the test bed's own dockerd, and root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(path("data")).unwrap();
        std::fs::write(path("daemon.json"), "{}").unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs", &path("data")]).status();
        assert!(mounted.unwrap().success());
        let host = format!("unix://{}", path("docker.sock"));
        let mut daemon = Command::new(programs.join("dockerd"));
        daemon.args(["--config-file", &path("daemon.json"), "--data-root", &path("data"), "--exec-root", &path("run")]);
        daemon.args(["--pidfile", &path("pid"), "--host", &host, "--exec-opt", "native.cgroupdriver=cgroupfs"]);
        daemon.args(["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        daemon.args(["--insecure-registry", &bed("GITOPS_HOOKS_TEST_REGISTRY").unwrap()]);
        let search = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let log = std::fs::File::create(path("log")).unwrap();
        let daemon = daemon.env("PATH", search).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut own = Self { daemon: Some(Ended(daemon)), folder, host };
        let began = Instant::now();
        while !own.answers() {
            let ended = own.daemon.as_mut().unwrap().0.try_wait().unwrap().is_some();
            let late = ended || began.elapsed() > Duration::from_secs(90);
            assert!(!late, "{}", std::fs::read_to_string(own.folder.path().join("log")).unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(own)
    }

    /// It listens before it answers.
    fn answers(&self) -> bool {
        let asked = UnixStream::connect(self.folder.path().join("docker.sock")).and_then(|mut socket| {
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
            let mut answer = [0; 15];
            socket.read_exact(&mut answer)?;
            Ok(answer.ends_with(b" 200 OK"))
        });
        asked.unwrap_or(false)
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        self.daemon = None;
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // In good order where it still runs, so that it takes its own containerd and mounts with it.
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(daemon.0.id().to_string()).status();
            let _ = daemon.0.wait();
        }
        let below = self.folder.path().display().to_string();
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let ours = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|at| at.starts_with(&below));
        for at in ours {
            let _ = Command::new("umount").args(["--lazy", at]).stderr(Stdio::null()).status();
        }
    }
}

#[test]
fn a_full_disk_in_the_engine_is_told() {
    if std::env::var("GITOPS_HOOKS_TEST_OWN").is_ok() {
        let source = Source::new("", "FROM scratch\nCOPY a /\n");
        source.write("a", vec![7; 300 << 20]);
        let told = source.build().unwrap_err();
        assert!(matches!(told, Error::EngineFull { .. }), "{told:?}");
        let help = miette::Diagnostic::help(&told).unwrap().to_string();
        assert!(help.contains("docker system prune"), "{help}");
        return;
    }
    let Some(own) = Own::with(120) else { return };
    let variables = [("DOCKER_HOST", Some(own.host.as_str())), ("GITOPS_HOOKS_TEST_OWN", Some("1"))];
    passes_again("away::a_full_disk_in_the_engine_is_told", &variables);
}

#[test]
fn an_engine_that_is_killed_in_a_build_is_told() {
    const TEST: &str = "away::an_engine_that_is_killed_in_a_build_is_told";
    if let Ok(unique) = std::env::var("GITOPS_HOOKS_TEST_OWN") {
        let source = Source::new("", &format!("FROM {}\nRUN --network=none sleep {unique}\nCOPY a /\n", busybox()));
        source.write("a", "1");
        let told = source.build().unwrap_err();
        assert!(matches!(told, Error::EngineGone { .. }), "{told:?}");
        assert!(told.to_string().contains("went away while building"), "{told}");
        let told = source.build().unwrap_err();
        assert!(matches!(told, Error::NoEngine { .. }), "{told:?}");
        return;
    }
    let Some(mut own) = Own::with(400) else { return };
    let unique = format!("77{}", std::process::id());
    let variables = [("DOCKER_HOST", Some(own.host.as_str())), ("GITOPS_HOOKS_TEST_OWN", Some(unique.as_str()))];
    let mut again = again(TEST, &variables).stderr(Stdio::piped()).spawn().unwrap();
    let steps = || {
        let all = Command::new("pgrep").args(["-f", &format!("^sleep {unique}")]).output().unwrap();
        String::from_utf8(all.stdout).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    while steps().is_empty() && again.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    own.kill();
    let output = again.wait_with_output().unwrap();
    // What the engine itself leaves behind is not this program's to end, but the test's.
    for pid in steps() {
        let _ = Command::new("kill").args(["-9", &pid]).status();
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
