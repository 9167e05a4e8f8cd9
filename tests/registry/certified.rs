//! A door of the tests' own in front of a real registry with TLS: it opens only for who shows a certificate.

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{path::PathBuf, process::Command, sync::Arc};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub struct Certified {
    /// `HOST:PORT`; not on loopback, where nobody speaks TLS unasked.
    pub address: String,
    folder: TempDir,
}

impl Certified {
    pub fn before(registry: &str, registry_ca: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (host, _) = registry.rsplit_once(':').unwrap();
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path(), host);
        let file = |name: &str| folder.path().join(name);
        let authority = |path: PathBuf| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
            Arc::new(roots)
        };
        let door = ServerConfig::builder()
            .with_client_cert_verifier(WebPkiClientVerifier::builder(authority(file("ca.crt"))).build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_file(file("server.crt")).unwrap()],
                PrivateKeyDer::from_pem_file(file("server.key")).unwrap(),
            );
        let way = ClientConfig::builder().with_root_certificates(authority(registry_ca.into())).with_no_client_auth();
        let (door, way) = (TlsAcceptor::from(Arc::new(door.unwrap())), TlsConnector::from(Arc::new(way)));
        let listener = std::net::TcpListener::bind((host, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (registry, name) = (registry.to_owned(), ServerName::try_from(host.to_owned()).unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((near, _)) = listener.accept().await {
                    let (door, way, registry, name) = (door.clone(), way.clone(), registry.clone(), name.clone());
                    tokio::spawn(async move {
                        let mut near = door.accept(near).await?;
                        let mut far = way.connect(name, TcpStream::connect(&registry).await?).await?;
                        tokio::io::copy_bidirectional(&mut near, &mut far).await
                    });
                }
            });
        });
        Self { address, folder }
    }

    /// `ca.crt`, `client.crt`, `client.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// An authority, and what it has signed for the door and for who may come in.
fn certificates(folder: &std::path::Path, host: &str) {
    let openssl = |words: &str| {
        let output = Command::new("openssl").args(words.split(' ')).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=authority -days 2"));
    for (name, extension) in
        [("server", format!("subjectAltName=IP:{host}")), ("client", "extendedKeyUsage=clientAuth".to_owned())]
    {
        std::fs::write(folder.join("extension"), extension).unwrap();
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.crt -days 2 -extfile extension"
        ));
    }
}
