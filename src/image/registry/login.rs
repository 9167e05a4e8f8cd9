//! What a registry wants to see before it answers: a password (RFC 7617), or a token that another server hands out for it
//! (the distribution project's token authentication). Which of the two, the registry says itself when it refuses.

use crate::image::credentials::Credentials;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// What somebody means to do with a repository. Tokens are for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    Pull,
    Push,
    Delete,
}

impl Right {
    const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// As a token server reads it.
    pub(super) fn scope(self, repository: &str) -> String {
        let actions = match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
            Self::Delete => "pull,delete",
        };
        format!("repository:{repository}:{actions}")
    }
}

/// What a registry said it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Password,
    /// A token of this server, for this service.
    Token {
        realm: String,
        service: Option<String>,
    },
}

impl Challenge {
    /// Reads a refusal; a token is preferred, since it shows the password to one server only.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let texts: Vec<&str> =
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
        let all: Vec<_> = texts.iter().filter_map(|text| http_auth::parse_challenges(text).ok()).flatten().collect();
        let token =
            all.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer")).and_then(|challenge| {
                let value = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                Some(Self::Token { realm: value("realm")?, service: value("service") })
            });
        let password = || all.iter().any(|challenge| challenge.scheme.eq_ignore_ascii_case("basic"));
        token.or_else(|| password().then_some(Self::Password))
    }
}

/// The credentials, and what they have opened.
pub(super) struct Login {
    pub(super) credentials: Credentials,
    opened: Mutex<BTreeMap<Right, HeaderValue>>,
    challenge: Mutex<Option<Challenge>>,
}

impl Login {
    pub(super) fn with(credentials: Credentials) -> Self {
        let opened = match &credentials {
            // Made for this registry alone, it is shown without being asked for.
            Credentials::Bearer(token) => secret(&format!("Bearer {token}")),
            _ => None,
        };
        let opened = opened.map(|header| Right::ALL.map(|right| (right, header.clone())).into());
        Self { credentials, opened: Mutex::new(opened.unwrap_or_default()), challenge: Mutex::default() }
    }

    /// What to show for a right; a token that lets one push lets one pull.
    pub(super) fn header(&self, right: Right) -> Option<HeaderValue> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let found = opened.get(&right);
        let found = if right == Right::Pull { found.or_else(|| opened.get(&Right::Push)) } else { found };
        found.cloned()
    }

    /// What the registry wants, as it says now or has said before; what was shown until now counts no more.
    pub(super) fn challenged(&self, headers: &HeaderMap) -> Option<Challenge> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut known = self.challenge.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = Challenge::read(headers) {
            *known = Some(now);
        }
        known.clone()
    }

    /// Shows the password from now on. `false` where none is known.
    pub(super) fn use_password(&self) -> bool {
        let Some(header) = self.password() else { return false };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.extend(Right::ALL.map(|right| (right, header.clone())));
        true
    }

    /// Shows a token from now on. `false` where the server's answer has none.
    pub(super) fn use_token(&self, right: Right, answer: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let answer = serde_json::from_slice::<Answer>(answer).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token)).filter(|token| !token.is_empty());
        let Some(header) = token.and_then(|token| secret(&format!("Bearer {token}"))) else { return false };
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(right, header);
        true
    }

    /// User and password as a header.
    pub(super) fn password(&self) -> Option<HeaderValue> {
        let (user, password) = self.credentials.basic()?;
        secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }
}

/// A header that is left out of what is printed.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        Challenge::read(&values.iter().map(|value| (WWW_AUTHENTICATE, value.parse().unwrap())).collect())
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let token = r#"Bearer realm="https://auth.example.com/token",service="reg",scope="repository:a:pull""#;
        let wanted =
            Challenge::Token { realm: "https://auth.example.com/token".to_owned(), service: Some("reg".to_owned()) };
        assert_eq!(challenge(&[r#"Basic realm="x""#, token]), Some(wanted.clone()));
        assert_eq!(challenge(&[token]), Some(wanted));
        assert_eq!(challenge(&[r#"basic realm="x""#]), Some(Challenge::Password));
        assert_eq!(challenge(&["Negotiate"]), None);
    }

    #[test]
    fn a_refusal_ends_what_was_shown_and_a_token_to_push_pulls_too() {
        let login = Login::with(Credentials::Anonymous);
        assert!(!login.use_password());
        assert!(login.use_token(Right::Push, br#"{"access_token": "t"}"#));
        assert!(login.header(Right::Pull).is_some() && login.header(Right::Delete).is_none());
        assert!(!format!("{:?}", login.header(Right::Push)).contains("Bearer"));
        assert_eq!(login.challenged(&HeaderMap::new()), None);
        assert_eq!(login.header(Right::Push), None);
        assert!(!login.use_token(Right::Pull, b"<html>"));
    }
}
