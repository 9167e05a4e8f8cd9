//! Who may talk to the page: this machine's user, who has the address with its token, and nobody through a web page of
//! somebody else's. A name that leads here (DNS rebinding) has another `Host`; a form of another page has another `Origin`.

use axum::http::{HeaderMap, Method, StatusCode, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;

/// What opens the page.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    token: String,
    hosts: [String; 2],
}

impl Gate {
    /// A gate with a token of its own, for a page at this address.
    pub fn new(address: SocketAddr) -> Result<Self, super::Error> {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes).map_err(|error| super::Error::Random(error.to_string()))?;
        Ok(Self::with(URL_SAFE_NO_PAD.encode(bytes), address.port()))
    }

    fn with(token: String, port: u16) -> Self {
        Self { token, hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")] }
    }

    /// The path below which everything is.
    pub fn root(&self) -> String {
        format!("/{}/", self.token)
    }

    /// The address to open.
    pub fn address(&self) -> String {
        format!("http://{}{}", self.hosts[0], self.root())
    }

    /// Whether a request may pass; else how it is answered, and in which words.
    pub fn judge(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).filter(|host| self.hosts.iter().any(|known| known == host));
        let Some(host) = host else {
            return Err((StatusCode::MISDIRECTED_REQUEST, "This page answers to 127.0.0.1 and localhost only."));
        };
        let given = path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(token, _)| token);
        // Of hashes it tells nothing how far they are alike.
        if Sha256::digest(given) != Sha256::digest(&self.token) {
            return Err((
                StatusCode::FORBIDDEN,
                "Open the whole address that `gitops-hooks ui` has printed: its token is missing here.",
            ));
        }
        let reads = method == Method::GET || method == Method::HEAD;
        let fetch = |what: &'static str| text(header::HeaderName::from_static(what));
        // Who knows the address may open it from wherever it is written, in a window of its own; that page learns nothing by it.
        let opens = reads
            && fetch("sec-fetch-mode") == Some("navigate")
            && fetch("sec-fetch-dest").is_some_and(|dest| dest == "document");
        if !opens && fetch("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
            return Err((StatusCode::FORBIDDEN, "Another page may not ask this one."));
        }
        let origin = text(header::ORIGIN);
        let is_ours = origin.is_some_and(|origin| origin.strip_prefix("http://") == Some(host));
        if !is_ours && (origin.is_some() || !reads) {
            return Err((StatusCode::FORBIDDEN, "Only a button of this very page may do that."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(method: &Method, path: &str, headers: &[(&'static str, &'static str)]) -> u16 {
        let gate = Gate::with("secret".to_owned(), 80);
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), header::HeaderValue::from_static(value)));
        gate.judge(method, path, &headers.collect()).err().map_or(200, |(status, _)| status.as_u16())
    }

    #[test]
    fn only_its_own_address_opens_it() {
        let host = ("host", "127.0.0.1:80");
        assert_eq!(judge(&Method::GET, "/secret/", &[host]), 200);
        assert_eq!(judge(&Method::GET, "/secret/trends", &[("host", "localhost:80")]), 200);
        for host in ["evil.example.com", "127.0.0.1:81", "127.0.0.1", "127.0.0.1:80.evil.example.com"] {
            assert_eq!(judge(&Method::GET, "/secret/", &[("host", host)]), 421, "{host}");
        }
        assert_eq!(judge(&Method::GET, "/secret/", &[]), 421);
        for path in ["/", "/secret", "/Secret/", "/secre/", "//secret/", "/x/secret/"] {
            assert_eq!(judge(&Method::GET, path, &[host]), 403, "{path}");
        }
    }

    #[test]
    fn only_its_own_page_may_change_anything() {
        let host = ("host", "127.0.0.1:80");
        assert_eq!(judge(&Method::POST, "/secret/act", &[host, ("origin", "http://127.0.0.1:80")]), 200);
        for origin in
            ["null", "http://localhost:80", "https://127.0.0.1:80", "http://evil.example.com", "http://127.0.0.1:8080"]
        {
            assert_eq!(judge(&Method::POST, "/secret/act", &[host, ("origin", origin)]), 403, "{origin}");
            assert_eq!(judge(&Method::GET, "/secret/", &[host, ("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(judge(&Method::POST, "/secret/act", &[host]), 403);
        let cross = ("sec-fetch-site", "cross-site");
        assert_eq!(judge(&Method::GET, "/secret/", &[host, cross]), 403);
        let (navigates, frame) = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"));
        let opened = [host, cross, navigates, ("sec-fetch-dest", "document")];
        assert_eq!(judge(&Method::GET, "/secret/", &opened), 200);
        assert_eq!(judge(&Method::GET, "/guess/", &opened), 403);
        assert_eq!(judge(&Method::POST, "/secret/act", &opened), 403);
        assert_eq!(judge(&Method::GET, "/secret/", &[host, cross, navigates, frame]), 403);
        assert_eq!(judge(&Method::GET, "/secret/", &[host, ("sec-fetch-site", "none")]), 200);
    }
}
