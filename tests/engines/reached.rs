//! Engines that are somewhere else: behind TLS, in a docker context, behind SSH.

use super::{Ended, again, bed, busybox, images::Source, inside, testbed};
use gitops_hooks::values::Digest;
use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

#[test]
fn an_engine_behind_tls_is_used_with_its_certificates() {
    const TEST: &str = "reached::an_engine_behind_tls_is_used_with_its_certificates";
    let (Some(host), Some(certificates)) =
        (bed("GITOPS_HOOKS_TEST_DOCKER20_TLS"), bed("GITOPS_HOOKS_TEST_DOCKER20_CERTS"))
    else {
        return testbed::skipped("needs docker20 of the test bed");
    };
    let variables = [
        ("DOCKER_HOST", Some(host.as_str())),
        ("DOCKER_TLS_VERIFY", Some("1")),
        ("DOCKER_CERT_PATH", Some(certificates.as_str())),
    ];
    if !inside(TEST, &variables) {
        // Without them the engine is not spoken to.
        let told = inside_told(TEST, &host);
        assert!(told.contains("no container engine answers"), "{told}");
        // A context says the same.
        let config = tempfile::tempdir().unwrap();
        context(config.path(), "remote", &host, Some(Path::new(&certificates)));
        inside(
            TEST,
            &[("DOCKER_HOST", None), ("DOCKER_CONFIG", config.path().to_str()), ("DOCKER_CONTEXT", Some("remote"))],
        );
        return;
    }
    if std::env::var("GITOPS_HOOKS_TEST_BARE").is_ok() {
        eprintln!("{}", Source::new("", "FROM scratch\n").build().unwrap_err());
        std::process::exit(1);
    }
    let smoke = "    smoke: { port: 8080, path: /, expect: 404, timeout: 30s }\n";
    let dockerfile = format!("FROM {}\nCOPY a /\nCMD httpd -f -p 8080 -h /\n", busybox());
    let source = Source::new(smoke, &dockerfile);
    source.write("a", "1");
    source.build().unwrap();
}

fn inside_told(test: &str, host: &str) -> String {
    let variables = [("GITOPS_HOOKS_TEST_BARE", Some("1")), ("DOCKER_HOST", Some(host))];
    let output = again(test, &variables).output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A docker context, as `docker context create` writes it.
fn context(config: &Path, name: &str, host: &str, certificates: Option<&Path>) {
    let id = Digest::of(name.as_bytes()).hex().to_owned();
    let meta = config.join("contexts/meta").join(&id);
    std::fs::create_dir_all(&meta).unwrap();
    let text = serde_json::json!({ "Name": name, "Metadata": {}, "Endpoints": { "docker": { "Host": host, "SkipTLSVerify": false } } });
    std::fs::write(meta.join("meta.json"), text.to_string()).unwrap();
    if let Some(certificates) = certificates {
        let tls = config.join("contexts/tls").join(&id).join("docker");
        std::fs::create_dir_all(&tls).unwrap();
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            std::fs::copy(certificates.join(file), tls.join(file)).unwrap();
        }
    }
}

/// A real sshd for one user, and an `ssh` that knows the way to it.
struct Remote {
    _sshd: Ended,
    folder: tempfile::TempDir,
    port: u16,
}

impl Remote {
    fn with(engine: &str, programs: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for key in ["host", "laptop"] {
            let keygen =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(key)).status();
            assert!(keygen.unwrap().success());
        }
        std::fs::copy(path("laptop.pub"), path("authorized")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nSetEnv DOCKER_HOST={engine} PATH={programs}/usr/bin:/usr/bin:/bin\n",
            path("host").display(),
            path("authorized").display()
        );
        std::fs::write(path("sshd_config"), config).unwrap();
        let sshd =
            Command::new("/usr/sbin/sshd").arg("-D").arg("-f").arg(path("sshd_config")).stderr(Stdio::null()).spawn();
        let sshd = Ended(sshd.unwrap());
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let known = std::fs::read_to_string(path("host.pub")).unwrap();
        std::fs::write(path("known"), format!("[127.0.0.1]:{port} {known}")).unwrap();
        std::fs::create_dir(path("bin")).unwrap();
        let script = format!(
            "#!/bin/sh\nexec /usr/bin/ssh -F none -i {} -o UserKnownHostsFile={} \"$@\"\n",
            path("laptop").display(),
            path("known").display()
        );
        std::fs::write(path("bin/ssh"), script).unwrap();
        std::fs::set_permissions(path("bin/ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { _sshd: sshd, folder, port }
    }
}

#[test]
fn an_engine_behind_ssh_builds_and_tries() {
    const TEST: &str = "reached::an_engine_behind_ssh_builds_and_tries";
    let (Some(engine), Some(programs)) =
        (bed("GITOPS_HOOKS_TEST_DOCKER20"), bed("GITOPS_HOOKS_TEST_DOCKER20_PROGRAMS"))
    else {
        return testbed::skipped("needs docker20 of the test bed");
    };
    if std::env::var("GITOPS_HOOKS_TEST_INSIDE").is_err() {
        let remote = Remote::with(&engine, &programs);
        let path = format!("{}:{}", remote.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        let user = rustix::process::geteuid().as_raw();
        let user = if user == 0 { "root".to_owned() } else { std::env::var("USER").unwrap() };
        let host = format!("ssh://{user}@127.0.0.1:{}", remote.port);
        inside(TEST, &[("DOCKER_HOST", Some(&host)), ("PATH", Some(&path))]);
        return;
    }
    let smoke = "    smoke: { port: 8080, path: /, expect: 404, timeout: 60s }\n";
    let dockerfile = format!("FROM {}\nCOPY a /\nCMD httpd -f -p 8080 -h /\n", busybox());
    let source = Source::new(smoke, &dockerfile);
    source.write("a", "1");
    source.build().unwrap();
}
