//! A store and an API server of the test's own, from the test bed's programs, so that they may be stopped and killed. No controller
//! runs there: what one would say of an object, the test says.

use crate::testbed;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub struct Own {
    folder: tempfile::TempDir,
    /// Where the programs of the test bed's Kubernetes are.
    programs: PathBuf,
    keys: PathBuf,
    etcd: Child,
    server: Child,
    ports: [u16; 3],
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Own {
    pub fn new() -> Option<Self> {
        let programs = PathBuf::from(testbed::value("GITOPS_HOOKS_TEST_KUBERNETES")?);
        let keys = PathBuf::from(testbed::value("GITOPS_HOOKS_TESTBED_CACHE")?).join("state/pki");
        let kubeconfig = testbed::value("KUBECONFIG")?;
        let folder = tempfile::tempdir().unwrap();
        let ports = [port(), port(), port()];
        let [client, peer, _] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        let etcd = Command::new(programs.join("etcd"))
            .args(["--name", "own", "--unsafe-no-fsync", "--log-level", "error", "--data-dir"])
            .arg(folder.path().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("own={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self::server(&programs, &keys, ports);
        let text = fs::read_to_string(kubeconfig).unwrap();
        let mut config: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        config["clusters"][0]["cluster"]["server"] = format!("https://127.0.0.1:{}", ports[2]).into();
        fs::write(folder.path().join("kubeconfig"), config.to_string()).unwrap();
        let own = Self { folder, programs, keys, etcd, server, ports };
        own.wait();
        Some(own)
    }

    fn server(programs: &Path, keys: &Path, ports: [u16; 3]) -> Child {
        let pki = |name: &str| keys.join(name);
        Command::new(programs.join("kube-apiserver"))
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", ports[0]))
            .arg(format!("--secure-port={}", ports[2]))
            .args(["--bind-address=127.0.0.1", "--advertise-address=10.88.0.1", "--authorization-mode=RBAC"])
            .args([
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.96.0.0/16",
            ])
            // Nobody makes accounts here.
            .arg("--disable-admission-plugins=ServiceAccount")
            .arg("--client-ca-file")
            .arg(pki("ca.crt"))
            .arg("--tls-cert-file")
            .arg(pki("apiserver.crt"))
            .arg("--tls-private-key-file")
            .arg(pki("apiserver.key"))
            .arg("--service-account-key-file")
            .arg(pki("accounts.pub"))
            .arg("--service-account-signing-key-file")
            .arg(pki("accounts.key"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Waits until it takes writes.
    fn wait(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let began = Instant::now();
        loop {
            let asked = runtime.block_on(async {
                gitops_hooks::tls::choose_provider();
                let file = kube::config::Kubeconfig::read_from(self.kubeconfig()).ok()?;
                let options = kube::config::KubeConfigOptions::default();
                let config = kube::Config::from_custom_kubeconfig(file, &options).await.ok()?;
                let client = kube::Client::try_from(config).ok()?;
                let api: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(client);
                api.get_opt("default").await.ok()?
            });
            if asked.is_some() {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(300), "the API server does not come up");
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Kills the API server wherever it is, and starts it anew after a while.
    pub fn restart_server(&mut self, away: Duration) {
        self.without_server(|| std::thread::sleep(away));
    }

    /// The same after something was done without it.
    pub fn without_server<T>(&mut self, act: impl FnOnce() -> T) -> T {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let acted = act();
        self.server = Self::server(&self.programs, &self.keys, self.ports);
        self.wait();
        acted
    }

    /// Lets the store answer nothing for a while.
    pub fn stop_store(&self, away: Duration) {
        let signal = |name: &str| {
            let sent = Command::new("kill").args([name, &self.etcd.id().to_string()]).status().unwrap();
            assert!(sent.success());
        };
        signal("-STOP");
        std::thread::sleep(away);
        signal("-CONT");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for process in [&mut self.server, &mut self.etcd] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
