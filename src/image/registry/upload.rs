//! A blob on its way to a registry: small ones at once, large ones in pieces, so that a connection that is cut costs a piece
//! and not all that was sent (OCI distribution specification, "Pushing a blob in chunks").

use super::{
    Error,
    login::Right,
    patience::{Patience, passes},
    wire::{Again, Answer, Question, Wire},
};
use crate::values::Digest;
use bytes::Bytes;
use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE},
};

/// The size of a piece. Some registries take none below 5 MiB (those on top of S3) but the last.
const PIECE_BYTES: usize = 8 << 20;

/// How a blob is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Pieces,
}

/// How an upload ended.
enum Ended {
    Stored,
    /// Some hosted registries know no pieces; none refuses a whole.
    NoPieces,
    /// The connection or the registry was lost, and with it the upload.
    Lost(Error, HeaderMap),
}

/// A blob to send.
pub(super) struct Upload<'a> {
    pub wire: &'a Wire,
    pub bytes: Bytes,
    pub digest: &'a Digest,
    pub doing: &'a str,
}

impl Upload<'_> {
    /// Sends it. What has arrived when something breaks off is not sent again, where the registry remembers it.
    pub(super) async fn run(&self) -> Result<(), Error> {
        let mut patience = Patience::default();
        let mut form = if self.bytes.len() > PIECE_BYTES { Form::Pieces } else { Form::Whole };
        loop {
            let Some(place) = self.begin().await? else { return Ok(()) };
            let ended = match form {
                Form::Whole => self.finish(place, self.bytes.clone()).await?,
                Form::Pieces => self.pieces(place, &mut patience).await?,
            };
            match ended {
                Ended::Stored => return Ok(()),
                Ended::NoPieces => form = Form::Whole,
                Ended::Lost(error, headers) => self.wire.rest(&mut patience, &headers, error).await?,
            }
        }
    }

    /// Opens an upload; `None` where the registry has the blob after all.
    async fn begin(&self) -> Result<Option<Url>, Error> {
        let answer = self.ask(Method::POST, self.wire.url("blobs/uploads/"), None, Bytes::new(), Again::Yes).await?;
        match answer.status {
            StatusCode::CREATED => Ok(None),
            StatusCode::ACCEPTED => self.place(&answer).map(Some),
            _ => Err(self.wire.said(self.doing, &answer)),
        }
    }

    /// Sends pieces until all have arrived, and ends the upload.
    async fn pieces(&self, mut place: Url, patience: &mut Patience) -> Result<Ended, Error> {
        let mut arrived = 0;
        while arrived < self.bytes.len() {
            let end = (arrived + PIECE_BYTES).min(self.bytes.len());
            let range = format!("{arrived}-{}", end - 1);
            let piece = self.bytes.slice(arrived..end);
            let (error, headers) = match self.ask(Method::PATCH, place.clone(), Some(&range), piece, Again::No).await {
                Ok(answer) if answer.status == StatusCode::ACCEPTED => {
                    place = self.place(&answer)?;
                    arrived = after(&answer.headers).unwrap_or(end).min(end);
                    *patience = Patience::default();
                    continue;
                }
                Ok(answer) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE || passes(answer.status) => {
                    (self.wire.said(self.doing, &answer), answer.headers)
                }
                Ok(_) => return Ok(Ended::NoPieces),
                Err(error @ Error::Unreachable { .. }) => (error, HeaderMap::new()),
                Err(error) => return Err(error),
            };
            self.wire.rest(patience, &headers, error).await?;
            let asked = self.ask(Method::GET, place.clone(), None, Bytes::new(), Again::Yes).await?;
            if !asked.status.is_success() {
                return Ok(Ended::Lost(self.wire.said(self.doing, &asked), asked.headers));
            }
            // "0-0" is said of nothing as of one byte; a piece from the start is right for both.
            arrived = after(&asked.headers).filter(|bytes| *bytes > 1).unwrap_or(0).min(self.bytes.len());
            if asked.headers.contains_key(LOCATION) {
                place = self.place(&asked)?;
            }
        }
        self.finish(place, Bytes::new()).await
    }

    /// Ends an upload with its last bytes.
    async fn finish(&self, mut place: Url, rest: Bytes) -> Result<Ended, Error> {
        place.query_pairs_mut().append_pair("digest", self.digest.as_str());
        let (error, headers) = match self.ask(Method::PUT, place, None, rest, Again::No).await {
            Ok(answer) if answer.status.is_success() => return Ok(Ended::Stored),
            Ok(answer) if passes(answer.status) => (self.wire.said(self.doing, &answer), answer.headers),
            Ok(answer) => return Err(self.wire.said(self.doing, &answer)),
            Err(error @ Error::Unreachable { .. }) => (error, HeaderMap::new()),
            Err(error) => return Err(error),
        };
        // Only the answer may have been lost.
        let there = exists(self.wire, self.digest, self.doing).await.unwrap_or(false);
        Ok(if there { Ended::Stored } else { Ended::Lost(error, headers) })
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        range: Option<&str>,
        body: Bytes,
        again: Again,
    ) -> Result<Answer, Error> {
        let mut headers = HeaderMap::new();
        if method != Method::GET {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        if let Some(range) = range.and_then(|range| HeaderValue::from_str(range).ok()) {
            headers.insert(CONTENT_RANGE, range);
        }
        let right = Right::Push;
        self.wire.ask(&Question { method, url, right, headers, body, doing: self.doing, again }).await
    }

    fn place(&self, answer: &Answer) -> Result<Url, Error> {
        let location = answer.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let place = location.and_then(|location| self.wire.resolve(location));
        place.ok_or_else(|| self.wire.failed(self.doing, "it does not say where to send it".to_owned()))
    }
}

/// Whether the registry has a blob in this repository.
pub(super) async fn exists(wire: &Wire, digest: &Digest, doing: &str) -> Result<bool, Error> {
    let answer = wire
        .ask(&Question {
            method: Method::HEAD,
            url: wire.url(&format!("blobs/{digest}")),
            right: Right::Push,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            doing,
            again: Again::Yes,
        })
        .await?;
    match answer.status {
        status if status.is_success() => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(wire.said(doing, &answer)),
    }
}

/// How many bytes a registry says it has: `Range: 0-<last>`.
fn after(headers: &HeaderMap) -> Option<usize> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let (_, last) = range.trim_start_matches("bytes=").split_once('-')?;
    last.trim().parse::<usize>().ok().map(|last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_arrived_is_read_in_every_spelling() {
        let read = |text: &str| after(&HeaderMap::from_iter([(RANGE, text.parse().unwrap())]));
        assert_eq!(read("0-8388607"), Some(8 << 20));
        assert_eq!(read("bytes=0-9"), Some(10));
        assert_eq!((read("none"), after(&HeaderMap::new())), (None, None));
    }
}
