use super::{Digest, Invalid, Oid, serde_as_text};
use std::{fmt, str::FromStr};

/// Where an image lives, without tag or digest: `registry.example.com/team/flask-app`.
///
/// Two spellings of one place are equal, as engines compare them: `nginx`, `library/nginx` and
/// `docker.io/library/nginx` (distribution/reference, `ParseNormalizedNamed`). [`fmt::Display`] keeps the spelling.
#[derive(Debug, Clone)]
pub struct Repository {
    written: Box<str>,
    registry: Box<str>,
    path: Box<str>,
}

impl Repository {
    /// The registry's host with its port; `docker.io` where none was written.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry; `library/…` where `docker.io` implies it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl PartialEq for Repository {
    fn eq(&self, other: &Self) -> bool {
        self.registry == other.registry && self.path == other.path
    }
}

impl Eq for Repository {}

impl std::hash::Hash for Repository {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.registry.hash(state);
        self.path.hash(state);
    }
}

impl FromStr for Repository {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wanted = if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            "an image repository in lower case, such as registry.example.com/team/app"
        } else {
            "an image repository such as registry.example.com/team/app"
        };
        let invalid = || Invalid::new(wanted, text);
        // The first component is a registry only if it could not be a Docker Hub user (distribution/reference).
        let (registry, path) = match text.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => ("docker.io", text),
        };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let path =
            if registry == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if text.len() > 255 || !is_host(registry) || !path.split('/').all(is_component) {
            return Err(invalid());
        }
        Ok(Self { written: text.into(), registry: registry.into(), path: path.into() })
    }
}

/// `host[:port]`; IPv6 in brackets.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(inner) => !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => {
            !host.is_empty()
                && host.split('.').all(|label| {
                    !label.is_empty()
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
        }
    };
    host_fits && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (OCI distribution specification, `<name>`).
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_fit = bytes.first().copied().is_some_and(alphanumeric) && bytes.last().copied().is_some_and(alphanumeric);
    ends_fit
        && bytes
            .split(|b| alphanumeric(*b))
            .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

serde_as_text!(Repository);

/// A tag: up to 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-` (OCI distribution specification).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

impl Tag {
    /// The tag that people read: `git-<commit>`.
    #[must_use]
    pub fn of_commit(commit: &Oid) -> Self {
        Self(format!("git-{commit}").into())
    }

    /// The tag that finds what is built: `key-<key>`.
    #[must_use]
    pub fn of_key(key: &Digest) -> Self {
        Self(format!("key-{}", key.hex()).into())
    }

    /// The tag under which registries that keep no referrers find what refers to a manifest: its digest with `-` for `:`
    /// (OCI distribution specification 1.1, "Referrers Tag Schema").
    #[must_use]
    pub fn of_referrers(subject: &Digest) -> Self {
        Self(format!("sha256-{}", subject.hex()).into())
    }

    /// The commit of a tag that people read; `None` for any other tag.
    #[must_use]
    pub fn commit(&self) -> Option<Oid> {
        self.0.strip_prefix("git-")?.parse().ok()
    }

    /// Whether it finds an image by its key.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        self.0.strip_prefix("key-").is_some_and(is_hex)
    }

    /// Whether it is the list of what refers to a manifest.
    #[must_use]
    pub fn is_of_referrers(&self) -> bool {
        self.0.strip_prefix("sha256-").is_some_and(is_hex)
    }

    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// 64 hexadecimal digits.
fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl FromStr for Tag {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fits = text.len() <= 128
            && !text.starts_with(['.', '-'])
            && !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if fits { Ok(Self(text.into())) } else { Err(Invalid::new("an image tag", text)) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(Tag);

/// A reference as engines read it: `repository[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRef {
    /// Where the image lives.
    pub repository: Repository,
    /// What people read.
    pub tag: Option<Tag>,
    /// What machines obey.
    pub digest: Option<Digest>,
}

impl FromStr for ImageRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash is a port.
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.parse()?)),
            _ => (rest, None),
        };
        Ok(Self { repository: repository.parse()?, tag, digest })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

serde_as_text!(ImageRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_repository_are_equal() {
        let parse = |text: &str| text.parse::<Repository>().unwrap();
        assert_eq!(parse("nginx"), parse("docker.io/library/nginx"));
        assert_eq!(parse("index.docker.io/library/nginx"), parse("library/nginx"));
        assert_ne!(parse("team/flask-app"), parse("team/flask-app-worker"));
        assert_ne!(parse("localhost:5000/app"), parse("app"));
        assert_eq!(parse("library/nginx").to_string(), "library/nginx");
    }

    #[test]
    fn a_port_is_no_tag() {
        let reference: ImageRef = "10.0.0.1:5000/flask-app".parse().unwrap();
        assert_eq!((reference.repository.registry(), reference.tag), ("10.0.0.1:5000", None));
        let reference: ImageRef = "10.0.0.1:5000/flask-app:16".parse().unwrap();
        assert_eq!(reference.tag.unwrap().as_str(), "16");
    }

    #[test]
    fn what_no_engine_accepts_is_refused() {
        for text in ["Team/app", "app/", "/app", "a b", "{{ .Values.image }}", "", "reg.example.com:port/app", "a//b"] {
            assert!(text.parse::<Repository>().is_err(), "{text}");
        }
        for text in ["", "-a", "a/b", &"a".repeat(129)] {
            assert!(text.parse::<Tag>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_full_reference_round_trips() {
        let text = format!("registry.example.com/team/app:git-1@sha256:{}", "a".repeat(64));
        assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), text);
    }
}
