//! When a registry that is overloaded or was cut off is asked again, and when it is given up. No I/O: what to do with a
//! wait is the caller's business.

use jiff::Timestamp;
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// How often one thing is asked for in all.
const ATTEMPTS: u32 = 6;
/// The first wait; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(250);
/// A registry that wants to be left alone for longer than this in all is told to the person instead.
const LIMIT: Duration = Duration::from_secs(60);

/// What is left of the patience with one question.
#[derive(Debug, Default)]
pub(in crate::image) struct Patience {
    asked: u32,
    waited: Duration,
}

impl Patience {
    /// How long to wait before the next attempt; `None` where it is time to give up. What the registry asked for counts,
    /// unless it is more than anybody would wait.
    pub(in crate::image) fn wait(&mut self, asked_for: Option<Duration>) -> Option<Duration> {
        self.asked += 1;
        // Up to a quarter more, so that laptops that were refused together do not come back together.
        let jitter = RandomState::new().build_hasher().finish() % 256;
        let own = FIRST * 2u32.pow(self.asked.min(ATTEMPTS) - 1);
        let wait = asked_for.unwrap_or(own + own * u32::try_from(jitter).unwrap_or(0) / 1024);
        if self.asked >= ATTEMPTS || self.waited + wait > LIMIT {
            return None;
        }
        self.waited += wait;
        Some(wait)
    }
}

/// Whether an answer is about the registry's present state and not about the question (RFC 9110, 15.5 and 15.6).
pub(super) fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// How long the registry wants to be left alone: seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn asked_for(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())])
    }

    #[test]
    fn waits_grow_and_end() {
        let mut patience = Patience::default();
        let waits: Vec<Duration> = std::iter::from_fn(|| patience.wait(None)).collect();
        assert_eq!(waits.len(), 5);
        assert!(waits.iter().is_sorted(), "{waits:?}");
        assert!(waits[0] >= FIRST && waits.iter().sum::<Duration>() < LIMIT);
    }

    #[test]
    fn what_the_registry_asks_for_counts_within_reason() {
        assert_eq!(Patience::default().wait(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(Patience::default().wait(Some(Duration::from_secs(3600))), None);
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(asked_for(&headers("120"), now), Some(Duration::from_secs(120)));
        assert_eq!(asked_for(&headers("Thu, 01 Jan 2026 00:00:30 GMT"), now), Some(Duration::from_secs(30)));
        assert_eq!(asked_for(&headers("Wed, 31 Dec 2025 00:00:00 GMT"), now), Some(Duration::ZERO));
        assert_eq!(asked_for(&headers("soon"), now), None);
    }
}
