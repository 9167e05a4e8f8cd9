//! Whether a registry lets anybody pull an image, and where it does not, the user's own credentials for it in the form that
//! whoever pulls wants them: docker's configuration file, cut down to this one registry. It knows nothing of who pulls.

use super::{
    Error, Transport,
    credentials::{Credentials, Logins, server},
    registry::Registry,
};
use crate::values::ImageRef;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use std::fmt;

/// The text of a configuration file of docker's that opens one registry. Never printed: it has no `Display`, and its
/// `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct DockerConfigJson(String);

impl DockerConfigJson {
    /// The text, with the password.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The form of `docker login`, which is also that of `kubectl create secret docker-registry`. Kubelets know no identity
    /// tokens, so these go as the password that registries take them for.
    fn of(registry: &str, credentials: &Credentials) -> Option<Self> {
        let (username, password) = credentials.basic()?;
        let auth = STANDARD.encode(format!("{username}:{password}"));
        let entry = json!({ "username": username, "password": password, "auth": auth });
        Some(Self(json!({ "auths": { server(registry): entry } }).to_string()))
    }
}

impl fmt::Debug for DockerConfigJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DockerConfigJson(…)")
    }
}

/// Who may pull an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Who has credentials; with the user's own, where some are known.
    Closed(Option<DockerConfigJson>),
}

/// Asks the registry for an image as a stranger, and only where that is not enough with the user's credentials.
///
/// # Errors
/// The registry cannot be asked, or refuses the user's credentials.
pub async fn access(image: &ImageRef, transport: Transport) -> Result<Access, Error> {
    let stranger = Registry::with(&image.repository, transport, Credentials::Anonymous)?.find(image).await;
    let refused = match stranger {
        Ok(Some(_)) => return Ok(Access::Open),
        Ok(None) => false,
        Err(Error::Refused { .. }) => true,
        Err(error) => return Err(error),
    };
    let registry = image.repository.registry();
    let credentials = Logins::load()?.of(&image.repository).await?;
    let Some(config) = DockerConfigJson::of(registry, &credentials) else {
        return Ok(if refused { Access::Closed(None) } else { Access::Open });
    };
    // Some registries hide from a stranger that they have an image, instead of asking who it is.
    let found = Registry::with(&image.repository, transport, credentials)?.find(image).await?;
    Ok(if refused || found.is_some() { Access::Closed(Some(config)) } else { Access::Open })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_docker_login_writes_for_one_registry() {
        let known = Credentials::Password { user: "team".to_owned(), password: "s3:cret".to_owned() };
        let config = DockerConfigJson::of("reg.example.com:5000", &known).unwrap();
        let value: serde_json::Value = serde_json::from_str(config.reveal()).unwrap();
        let entry = json!({ "username": "team", "password": "s3:cret", "auth": "dGVhbTpzMzpjcmV0" });
        assert_eq!(value, json!({ "auths": { "reg.example.com:5000": entry } }));
        assert!(!format!("{config:?}").contains("cret"));
        let hub = DockerConfigJson::of("docker.io", &known).unwrap();
        assert!(hub.reveal().contains("https://index.docker.io/v1/"));
        assert_eq!(DockerConfigJson::of("docker.io", &Credentials::Anonymous), None);
    }
}
