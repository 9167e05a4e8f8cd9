//! One question to a registry and its answer. A login that is wanted is made, one that has run out is made again, and what
//! passes by itself is waited for; all that is left for the caller is what the registry says about the question.

use super::{
    Error, Scheme,
    login::{Challenge, Login, Right},
    patience::{Patience, asked_for, passes},
    trust,
};
use crate::{image::credentials::Credentials, image::error::chain, values::Repository};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use reqwest::{
    Client, Method, RequestBuilder, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION},
};
use std::{
    error::Error as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// More is no manifest, list or token (OCI distribution specification: manifests of at least 4 MiB are to be accepted).
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// The way to one repository of a registry.
pub(super) struct Wire {
    client: Client,
    login: Login,
    root: Url,
    registry: String,
    path: String,
    /// Whether it has ever answered: a registry that was there may come back, one that was not is told at once.
    answered: AtomicBool,
}

/// What a registry is asked.
pub(super) struct Question<'a> {
    pub method: Method,
    pub url: Url,
    pub right: Right,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For messages, as a participle.
    pub doing: &'a str,
    pub again: Again,
}

/// Whether a question may be asked again where nobody knows what became of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    /// Half of it may have arrived: the caller asks how much before it goes on.
    No,
}

pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Wire {
    pub(super) fn to(repository: &Repository, scheme: Scheme, credentials: Credentials) -> Result<Self, Error> {
        let registry = repository.registry().to_owned();
        // Where Docker Hub's registry is, unlike its name (docker/cli, `registry.IndexHostname`).
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { &registry };
        let root = Url::parse(&format!("{}://{host}/", scheme.as_str())).map_err(|error| Error::Registry {
            registry: registry.clone(),
            doing: "reading its address".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            client: trust::client(host, scheme)?,
            login: Login::with(credentials),
            root,
            registry,
            path: repository.path().to_owned(),
            answered: AtomicBool::new(false),
        })
    }

    /// Whom the registry is asked as.
    pub(super) fn user(&self) -> Option<String> {
        self.login.credentials.user()
    }

    /// An address below the repository: `manifests/…`, `blobs/…`.
    pub(super) fn url(&self, below: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("/v2/{}/{below}", self.path));
        url
    }

    /// The address that says only whether one may come in.
    pub(super) fn entrance(&self) -> Url {
        let mut url = self.root.clone();
        url.set_path("/v2/");
        url
    }

    /// An address that the registry sent, which may be relative.
    pub(super) fn resolve(&self, location: &str) -> Option<Url> {
        self.root.join(location).ok()
    }

    /// Asks until there is an answer about the question itself.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Answer, Error> {
        let mut renewed = false;
        loop {
            let shown = self.at_home(&question.url).then(|| self.login.header(question.right)).flatten();
            let answer = self
                .patiently(question.again, question.doing, || {
                    let request = self.client.request(question.method.clone(), question.url.clone());
                    let request = request.headers(question.headers.clone()).body(question.body.clone());
                    match &shown {
                        Some(header) => request.header(AUTHORIZATION, header.clone()),
                        None => request,
                    }
                })
                .await?;
            match answer.status {
                // A token that has run out is refused with either, depending on the registry.
                StatusCode::UNAUTHORIZED if !renewed && self.at_home(&question.url) => {}
                StatusCode::FORBIDDEN if !renewed && shown.is_some() && self.at_home(&question.url) => {}
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(self.refused());
                }
                _ => return self.about_images(question.doing, answer),
            }
            renewed = true;
            let Some(challenge) = self.login.challenged(&answer.headers) else { return Err(self.refused()) };
            self.open(&challenge, question.right).await?;
        }
    }

    /// A page for people, or the way to one, is no registry's answer: a hotel's login, a company's proxy, a wrong address.
    fn about_images(&self, doing: &str, answer: Answer) -> Result<Answer, Error> {
        let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let page = text(CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
        if (page && !answer.status.is_server_error()) || answer.status.is_redirection() {
            let elsewhere = text(LOCATION).and_then(|location| Some(self.resolve(location)?.host_str()?.to_owned()));
            return Err(Error::NoRegistry { registry: self.registry.clone(), doing: doing.to_owned(), elsewhere });
        }
        Ok(answer)
    }

    /// Makes the login that the registry wants.
    async fn open(&self, challenge: &Challenge, right: Right) -> Result<(), Error> {
        let (realm, service) = match challenge {
            Challenge::Password if self.login.use_password() => return Ok(()),
            Challenge::Password => return Err(self.refused()),
            Challenge::Token { realm, service } => (realm, service),
        };
        let doing = "asking for a token";
        let realm = Url::parse(realm).map_err(|_| self.failed(doing, "its token server has no address".to_owned()))?;
        if self.root.scheme() == "https" && realm.scheme() != "https" {
            return Err(self.failed(doing, format!("its token server {realm} has no TLS")));
        }
        let mut words = vec![("scope", right.scope(&self.path))];
        words.extend(service.iter().map(|service| ("service", service.clone())));
        let mut answer = None;
        if let Credentials::Identity(token) = &self.login.credentials {
            // RFC 6749, section 6, as the distribution project has it ("Docker Registry v2 OAuth2").
            let mut words = words.clone();
            words.extend([
                ("grant_type", "refresh_token".to_owned()),
                ("client_id", "gitops-hooks".to_owned()),
                ("refresh_token", token.clone()),
            ]);
            let form = encoded(&words);
            let kind = "application/x-www-form-urlencoded";
            let post = || self.client.post(realm.clone()).header(CONTENT_TYPE, kind).body(form.clone());
            let posted = self.patiently(Again::Yes, doing, post).await?;
            // Servers without this way take the token as a password.
            answer = (!matches!(posted.status.as_u16(), 400 | 404 | 405)).then_some(posted);
        }
        let answer = if let Some(answer) = answer {
            answer
        } else {
            let mut url = realm.clone();
            url.query_pairs_mut().extend_pairs(&words);
            let password = self.login.password();
            let get = || match &password {
                Some(header) => self.client.get(url.clone()).header(AUTHORIZATION, header.clone()),
                None => self.client.get(url.clone()),
            };
            self.patiently(Again::Yes, doing, get).await?
        };
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.refused()),
            status if status.is_success() && self.login.use_token(right, &answer.body) => Ok(()),
            status if status.is_success() => self.about_images(doing, answer).and_then(|_| {
                let host = realm.host_str().unwrap_or_default();
                Err(self.failed(doing, format!("what {host} answered is no token")))
            }),
            _ => Err(self.said(doing, &answer)),
        }
    }

    /// Sends a request, again and again where that can help.
    async fn patiently(
        &self,
        again: Again,
        doing: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, Error> {
        let mut patience = Patience::default();
        loop {
            let sent = self.send(request()).await;
            let (wait, otherwise) = match sent {
                Ok(answer) if again == Again::No || !passes(answer.status) => return Ok(answer),
                Ok(answer) => {
                    let asked_for = asked_for(&answer.headers, Timestamp::now());
                    let mut reason = words(&answer);
                    if let Some(long) = asked_for {
                        reason.extend([", asking to be left alone for ", &long.as_secs().to_string(), " s"]);
                    }
                    (patience.wait(asked_for), self.failed(doing, reason))
                }
                Err(error) => {
                    let may_pass = again == Again::Yes && self.answered.load(Ordering::Relaxed) && !error.is_builder();
                    (may_pass.then(|| patience.wait(None)).flatten(), self.unreachable(doing, &error))
                }
            };
            tokio::time::sleep(wait.ok_or(otherwise)?).await;
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        let mut response = request.send().await?;
        self.answered.store(true, Ordering::Relaxed);
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > MAX_ANSWER_BYTES {
                break;
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }

    /// Credentials go to the registry itself only, never to where it sends an upload (CVE-2020-15157).
    fn at_home(&self, url: &Url) -> bool {
        url.origin() == self.root.origin()
    }

    pub(super) fn refused(&self) -> Error {
        Error::Refused { registry: self.registry.clone(), user: self.user() }
    }

    pub(super) fn failed(&self, doing: &str, reason: String) -> Error {
        Error::Registry { registry: self.registry.clone(), doing: doing.to_owned(), reason }
    }

    fn unreachable(&self, doing: &str, error: &reqwest::Error) -> Error {
        if let Some(reason) = untrusted(error) {
            return Error::Untrusted { registry: self.registry.clone(), reason };
        }
        let reason = chain(error);
        Error::Unreachable { registry: self.registry.clone(), doing: doing.to_owned(), reason }
    }

    /// The registry's own words (OCI distribution specification, "Error Codes"), else its status.
    pub(super) fn said(&self, doing: &str, answer: &Answer) -> Error {
        self.failed(doing, words(answer))
    }

    /// Waits before an upload goes on; the error where it is given up.
    pub(super) async fn rest(
        &self,
        patience: &mut Patience,
        headers: &HeaderMap,
        otherwise: Error,
    ) -> Result<(), Error> {
        let wait: Option<Duration> = patience.wait(asked_for(headers, Timestamp::now()));
        tokio::time::sleep(wait.ok_or(otherwise)?).await;
        Ok(())
    }
}

/// What is wrong with the certificate that was shown, where it is that.
fn untrusted(error: &reqwest::Error) -> Option<String> {
    // The source of an `io::Error` is not the error that it holds, but that one's.
    let all = std::iter::successors(error.source(), |error| {
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(held) => Some(held as &(dyn std::error::Error + 'static)),
            None => (*error).source(),
        }
    });
    all.filter_map(|error| error.downcast_ref()).find_map(|error| match error {
        rustls::Error::InvalidCertificate(why) => Some(why.to_string()),
        _ => None,
    })
}

fn words(answer: &Answer) -> String {
    #[derive(serde::Deserialize)]
    struct Told {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let status = format!("HTTP status {}", answer.status.as_u16());
    if let Ok(told) = serde_json::from_slice::<Told>(&answer.body)
        && !told.errors.is_empty()
    {
        let said = told.errors.iter().map(|one| format!("{}: {}", one.code, one.message).trim().to_owned());
        return format!("{status}, {}", said.collect::<Vec<_>>().join("; "));
    }
    // A proxy in front of it answers in its own way, mostly with a page.
    let text = String::from_utf8_lossy(&answer.body);
    let first = text.lines().next().unwrap_or_default().trim();
    if first.is_empty() || first.starts_with('<') {
        return status;
    }
    format!("{status}, {}", first.chars().take(200).collect::<String>())
}

/// Words in the form of a query.
fn encoded(words: &[(&str, String)]) -> String {
    let mut form = Url::parse("form:").ok();
    if let Some(form) = &mut form {
        form.query_pairs_mut().extend_pairs(words);
    }
    form.and_then(|form| form.query().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_told_and_a_page_is_not() {
        let told = |status: u16, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            words(&Answer { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) })
        };
        let said = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"},{"code":"X"}]}"#;
        assert_eq!(told(429, said), "HTTP status 429, TOOMANYREQUESTS: slow down; X:");
        assert_eq!(told(502, "<html><body>Bad Gateway"), "HTTP status 502");
        assert_eq!(told(503, "no server is available\nmore"), "HTTP status 503, no server is available");
    }

    #[test]
    fn a_form_is_encoded() {
        let words = [("scope", "repository:a/b:pull,push".to_owned()), ("refresh_token", "a+b&c".to_owned())];
        assert_eq!(encoded(&words), "scope=repository%3Aa%2Fb%3Apull%2Cpush&refresh_token=a%2Bb%26c");
    }
}
