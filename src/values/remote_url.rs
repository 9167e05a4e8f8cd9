use super::Invalid;
use std::{fmt, str::FromStr};

/// The address of a remote, which may carry a user and a password. What is shown never has them; [`RemoteUrl::reveal`]
/// gives them to git alone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteUrl(Box<str>);

impl RemoteUrl {
    /// The address as git takes it, secrets included. Only ever an argument of git or of libgit2.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The host and the path of the repository on it, as hosts' own tools name it: `git.example.com`, `team/app`. `None` for
    /// a folder of this machine.
    #[must_use]
    pub fn on_host(&self) -> Option<(&str, &str)> {
        let (host, path) = match self.0.split_once("://") {
            Some(("file", _)) => return None,
            Some((_, rest)) => {
                let (authority, path) = rest.split_once('/')?;
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                (host.split_once(':').map_or(host, |(host, _)| host), path)
            }
            None => {
                // `user@host:path` (git-clone(1)); a slash before the colon makes it a folder.
                let (host, path) = self.0.split_once(':').filter(|(host, _)| !host.contains('/'))?;
                (host.rsplit_once('@').map_or(host, |(_, host)| host), path)
            }
        };
        let path = path.trim_matches('/');
        Some((host, path.strip_suffix(".git").unwrap_or(path)))
    }

    /// The address for people: without user and password, except the user of an SSH address, which is no secret.
    #[must_use]
    pub fn shown(&self) -> String {
        let text = &*self.0;
        let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let Some((user, host)) = authority.rsplit_once('@') else { return text.to_owned() };
        let user = user.split_once(':').map_or(user, |(name, _)| name);
        if scheme.contains("ssh") {
            format!("{scheme}://{user}@{host}{path}")
        } else {
            format!("{scheme}://{host}{path}")
        }
    }

    /// Whether it carries a secret: a password, or a token in the place of the user.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        /// How the tokens of GitHub, GitLab and Bitbucket begin.
        const TOKENS: &[&str] = &["ghp_", "gho_", "ghu_", "ghs_", "github_pat_", "glpat-", "gldt-", "ATBB", "ATCTT"];
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let Some((user, _)) = authority.rsplit_once('@') else { return false };
        user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
            || TOKENS.iter().any(|token| user.starts_with(token))
    }

    /// The port that it is reached at: the one that is written, or that of its scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        let Some((scheme, rest)) = self.0.split_once("://") else { return 22 };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        // The colons of an IPv6 address stand within brackets.
        let written =
            host.rsplit(']').next().and_then(|rest| rest.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
        written.unwrap_or(match scheme {
            "https" => 443,
            "http" => 80,
            "git" => 9418,
            _ => 22,
        })
    }
}

impl FromStr for RemoteUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // A leading dash would be an option to git; `ext::` and its kin run programs (gitremote-helpers(7)).
        let transport = text.split_once("::").is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_alphanumeric()));
        // Where the host ends is a matter of opinion once one of these stands in it: what is shown, and confirmed, must be
        // what is connected to.
        let authority = text.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
        let ambiguous = authority.contains(['?', '#', '\\']) || authority.contains(char::is_whitespace);
        let control = text.contains(|c: char| c.is_control());
        if text.is_empty() || text.starts_with('-') || transport || ambiguous || control {
            return Err(Invalid::new("the address of a git repository", &Self(text.into()).shown()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl<'de> serde::Deserialize<'de> for RemoteUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for RemoteUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        let shown = |text: &str| text.parse::<RemoteUrl>().unwrap().to_string();
        assert_eq!(shown("https://user:token@git.example.com/a.git"), "https://git.example.com/a.git");
        assert_eq!(shown("https://token@git.example.com/a.git"), "https://git.example.com/a.git");
        assert_eq!(shown("ssh://git:pw@git.example.com:22/a@b.git"), "ssh://git@git.example.com:22/a@b.git");
        assert_eq!(shown("git@git.example.com:team/a.git"), "git@git.example.com:team/a.git");
    }

    #[test]
    fn a_secret_in_an_address_is_seen() {
        let secret = |text: &str| text.parse::<RemoteUrl>().unwrap().has_secret();
        for text in ["https://me:pw@h/a.git", "http://:pw@h/a", "https://ghp_abc@github.com/a/b", "ssh://git:pw@h/a"] {
            assert!(secret(text), "{text}");
        }
        for text in ["https://me@h/a.git", "https://h:8443/a@b:c", "git@h:a.git", "ssh://git@h:22/a", "/srv/a.git"] {
            assert!(!secret(text), "{text}");
        }
    }

    #[test]
    fn a_host_and_its_repository_are_told_apart() {
        let on_host = |text: &str| {
            let url: RemoteUrl = text.parse().unwrap();
            url.on_host().map(|(host, path)| format!("{host} {path}"))
        };
        for text in ["https://u:p@h.example/t/a.git", "ssh://git@h.example:22/t/a", "git@h.example:t/a.git"] {
            assert_eq!(on_host(text).as_deref(), Some("h.example t/a"), "{text}");
        }
        for text in ["/srv/a.git", "file:///srv/a.git", "./a:b"] {
            assert_eq!(on_host(text), None, "{text}");
        }
    }

    #[test]
    fn the_port_is_the_written_one_or_the_schemes() {
        let port = |text: &str| text.parse::<RemoteUrl>().unwrap().port();
        assert_eq!(port("git@git.example.com:team/a.git"), 22);
        assert_eq!(port("ssh://git@git.example.com:2222/a.git"), 2222);
        assert_eq!(port("https://user:1234@git.example.com/a.git"), 443);
        assert_eq!(port("https://[2001:db8::1]/a.git"), 443);
        assert_eq!(port("https://[2001:db8::1]:8443/a.git"), 8443);
    }

    #[test]
    fn an_address_that_runs_a_program_or_hides_its_host_is_refused() {
        for text in ["ext::sh -c true", "--upload-pack=x", "", "a\nb", "http://evil?@good/x", "http://evil#@good/x"] {
            assert!(text.parse::<RemoteUrl>().is_err(), "{text}");
        }
    }
}
