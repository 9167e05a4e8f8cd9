//! What is said about an image without changing it: manifests that name it as their subject (OCI distribution specification
//! 1.1, "Listing Referrers"). A registry that does not know them keeps their list under a tag instead.

use super::{At, Error, OCI_INDEX, Registry, login::Right, media_type};
use crate::{
    image::registry::wire::{Again, Question},
    values::{Digest, Tag},
};
use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, HeaderMap, HeaderValue},
};
use serde_json::{Value, json};

/// A registry that keeps the list itself says so with this header, naming the subject.
const SUBJECT_HEADER: &str = "oci-subject";

/// How often the list under the tag is written anew where somebody else writes it at the same time.
const ROUNDS: usize = 3;

/// A manifest about another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Referrer {
    pub digest: Digest,
    pub artifact_type: String,
}

impl Registry {
    /// Writes a manifest that has a subject, and sees to it that whoever looks at the subject finds it.
    pub(in crate::image) async fn refer(&self, subject: &Digest, manifest: Vec<u8>) -> Result<Digest, Error> {
        let doing = format!("writing what is known of {}", subject.short());
        let digest = Digest::of(&manifest);
        let mut descriptor = json!({
            "mediaType": media_type(&manifest), "digest": digest, "size": manifest.len(),
        });
        let said: Value = serde_json::from_slice(&manifest).unwrap_or_default();
        for field in ["artifactType", "annotations"] {
            if let Some(value) = said.get(field) {
                descriptor[field] = value.clone();
            }
        }
        let headers = self.put_manifest(&At::Digest(&digest), manifest, &doing).await?;
        if headers.contains_key(SUBJECT_HEADER) {
            return Ok(digest);
        }
        let tag = Tag::of_referrers(subject);
        for _ in 0..ROUNDS {
            let known = self.manifest(&tag).await?.map(|list| list.bytes).unwrap_or_default();
            let Some(list) = with(&known, &digest, &descriptor) else { return Ok(digest) };
            self.put_manifest(&At::Tag(&tag), list, &doing).await?;
        }
        Ok(digest)
    }

    /// What refers to an image, wherever the registry keeps the list.
    pub(in crate::image) async fn referrers(&self, subject: &Digest) -> Result<Vec<Referrer>, Error> {
        let doing = format!("asking what refers to {}", subject.short());
        let url = self.wire.url(&format!("referrers/{subject}"));
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(OCI_INDEX))]);
        let (method, right, body) = (Method::GET, Right::Pull, Bytes::new());
        let question = Question { method, url, right, headers, body, doing: &doing, again: Again::Yes };
        let answer = self.wire.ask(&question).await?;
        if answer.status == StatusCode::OK {
            return Ok(listed(&answer.body));
        }
        Ok(self.manifest(&Tag::of_referrers(subject)).await?.map(|list| listed(&list.bytes)).unwrap_or_default())
    }

    /// The list under a tag, for a registry that keeps none itself.
    pub(in crate::image) async fn referrers_list(&self, subject: &Digest) -> Result<Option<Digest>, Error> {
        self.digest(&Tag::of_referrers(subject)).await
    }
}

/// The list with one more entry; `None` where it is there.
fn with(list: &[u8], digest: &Digest, descriptor: &Value) -> Option<Vec<u8>> {
    let mut list = serde_json::from_slice::<Value>(list)
        .ok()
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] }));
    let entries = list["manifests"].as_array_mut()?;
    if entries.iter().any(|entry| entry["digest"] == digest.as_str()) {
        return None;
    }
    entries.push(descriptor.clone());
    serde_json::to_vec(&list).ok()
}

fn listed(list: &[u8]) -> Vec<Referrer> {
    let list: Value = serde_json::from_slice(list).unwrap_or_default();
    let entries = list["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let referrer = |entry: &Value| {
        let kind = entry["artifactType"].as_str().or_else(|| entry["mediaType"].as_str()).unwrap_or_default();
        Some(Referrer { digest: entry["digest"].as_str()?.parse().ok()?, artifact_type: kind.to_owned() })
    };
    entries.iter().filter_map(referrer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_grows_by_what_it_does_not_have() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let entry = |digest: &Digest| json!({ "digest": digest, "artifactType": "application/vnd.in-toto+json" });
        let first = with(b"", &one, &entry(&one)).unwrap();
        assert_eq!(with(&first, &one, &entry(&one)), None);
        let both = with(&first, &two, &entry(&two)).unwrap();
        let digests: Vec<Digest> = listed(&both).into_iter().map(|referrer| referrer.digest).collect();
        assert_eq!(digests, [one, two]);
        assert_eq!(media_type(&both), OCI_INDEX);
        assert!(listed(b"<html>").is_empty());
    }
}
