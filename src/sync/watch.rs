//! The watches that feed the cache: one request for each kind that matters in each namespace, for as long as it matters. What a watch misses,
//! because a connection was cut or the server forgot, it lists anew by itself (`kube-runtime`). Objects come one by one
//! and are not kept, so that even a large namespace costs little memory. A watch that fails stands in the way of nothing but
//! its own place.

use super::{
    cache::Cache,
    kinds::{Kind, Place},
    object::ObjectId,
};
use futures_util::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    api::DynamicObject,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, InitialListStrategy},
    },
};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

/// Objects in one answer, where a server is too old to send them one by one.
const PAGE: u32 = 100;
/// How long a pass waits for a first listing, from when that began: a server that is not ready itself answers late.
const LISTED_WITHIN: Duration = Duration::from_secs(30);
/// A watch that has failed again and again for so long is deaf: what it told is no longer what is.
const DEAF_AFTER: Duration = Duration::from_secs(60);
/// Errors further apart are not one failure. Between two of one the client itself may ask a busy server again for minutes;
/// when a watch goes on, `kube-runtime` is silent.
const APART: Duration = Duration::from_secs(600);

/// What a watch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// The objects themselves.
    Objects,
    /// Why workloads do not come up.
    Pods,
}

/// How a watch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Listing,
    Current,
    /// It has never listed; the server's words.
    Failing(String),
    /// It has listed, and hears nothing any more; the server's words.
    Deaf(String),
    /// The server knows the kind no more.
    Unknown,
}

struct Watch {
    place: Place,
    began: Instant,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The cache with the watches that feed it.
pub(super) struct Watches {
    client: Client,
    cache: Arc<Mutex<Cache>>,
    /// Something happened that a pass should see.
    pub(super) changed: Arc<Notify>,
    followed: BTreeMap<Followed, Watch>,
}

/// What a watch is known by: API version, kind, namespace, purpose.
type Followed = (String, String, Option<String>, Purpose);

impl Watches {
    pub(super) fn new(client: Client) -> Self {
        Self { client, cache: Arc::default(), changed: Arc::default(), followed: BTreeMap::new() }
    }

    /// What is known now. The lock is never held over an `await`.
    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        lock(&self.cache)
    }

    /// Follows these places and no others, and the pods of some namespaces.
    pub(super) fn follow(&mut self, places: &[Place], pods: &[Place]) {
        let objects = places.iter().map(|place| (place, Purpose::Objects));
        let wanted: BTreeMap<Followed, &Place> = objects
            .chain(pods.iter().map(|place| (place, Purpose::Pods)))
            .map(|(place, purpose)| {
                let resource = &place.kind.resource;
                ((resource.api_version.clone(), resource.kind.clone(), place.namespace.clone(), purpose), place)
            })
            .collect();
        let before = self.followed.len();
        self.followed.retain(|key, _| wanted.contains_key(key));
        if before != self.followed.len() {
            let follows = |object: &ObjectId| places.iter().any(|place| place.holds(object));
            self.cache().keep_only(follows);
        }
        for (key, place) in wanted {
            if !self.followed.contains_key(&key) {
                let watch = self.start(place.clone(), key.3);
                self.followed.insert(key, watch);
            }
        }
    }

    fn start(&self, place: Place, purpose: Purpose) -> Watch {
        let api = place.kind.api(&self.client, place.namespace.as_deref());
        let (sender, state) = watch::channel(State::Listing);
        let follower = Follower {
            api,
            place: place.clone(),
            purpose,
            cache: Arc::clone(&self.cache),
            changed: Arc::clone(&self.changed),
            state: sender,
            listed: None,
            errors: None,
            deaf_after: DEAF_AFTER,
        };
        Watch { place, began: Instant::now(), state, task: tokio::spawn(follower.run()) }
    }

    /// Waits until every kind was listed once, or could not be.
    pub(super) async fn ready(&mut self) {
        for watch in self.followed.values_mut() {
            let listed = watch.state.wait_for(|state| *state != State::Listing);
            // What is not listed by then is told as such.
            let _ = tokio::time::timeout_at((watch.began + LISTED_WITHIN).into(), listed).await;
        }
    }

    /// Of which places it is not known what is there. Pods that are followed only for their words are none of them.
    pub(super) fn silence(&self) -> Silence {
        let mut silence = Silence::default();
        for ((.., purpose), watch) in &self.followed {
            match &*watch.state.borrow() {
                _ if *purpose == Purpose::Pods => {}
                State::Listing => {
                    let reason = format!("the server has not done so within {} seconds", LISTED_WITHIN.as_secs());
                    silence.unlisted.push((watch.place.clone(), reason));
                }
                State::Failing(reason) => silence.unlisted.push((watch.place.clone(), reason.clone())),
                State::Deaf(reason) => silence.unheard.push((watch.place.clone(), reason.clone())),
                State::Current | State::Unknown => {}
            }
        }
        silence
    }

    /// Whether the server has lost a kind, so that it must be asked anew which it has.
    pub(super) fn has_lost_a_kind(&self) -> bool {
        self.followed.values().any(|watch| *watch.state.borrow() == State::Unknown)
    }
}

/// The places whose watches fail, each with the server's words.
#[derive(Debug, Default)]
pub(super) struct Silence {
    unlisted: Vec<(Place, String)>,
    unheard: Vec<(Place, String)>,
}

impl Silence {
    /// Whether there is a place of which nothing is known: what is missing there may only be unseen.
    pub(super) fn is_blind(&self) -> bool {
        !self.unlisted.is_empty()
    }

    /// Why nothing is known of an object, where that is so.
    pub(super) fn unlisted(&self, object: &ObjectId) -> Option<String> {
        let (_, reason) = self.unlisted.iter().find(|(place, _)| place.holds(object))?;
        Some(format!("the objects of its kind cannot be listed, and it is left alone until they can: {reason}"))
    }

    /// Why nothing new is known of an object, where that is so.
    pub(super) fn unheard(&self, object: &ObjectId) -> Option<String> {
        let (_, reason) = self.unheard.iter().find(|(place, _)| place.holds(object))?;
        Some(format!("the objects of its kind can no longer be watched, so how it is now is not known: {reason}"))
    }
}

fn lock(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One watch while it runs.
struct Follower {
    api: Api<DynamicObject>,
    place: Place,
    purpose: Purpose,
    cache: Arc<Mutex<Cache>>,
    changed: Arc<Notify>,
    state: watch::Sender<State>,
    /// The pods that a listing under way has named.
    listed: Option<HashSet<String>>,
    /// When its failure began and when it was last seen to fail, where nothing was heard since.
    errors: Option<(Instant, Instant)>,
    deaf_after: Duration,
}

impl Follower {
    async fn run(mut self) {
        // From 1.34 on every server sends a listing as a stream.
        let mut strategy = InitialListStrategy::StreamingList;
        loop {
            let config = watcher::Config {
                initial_list_strategy: strategy.clone(),
                page_size: (strategy == InitialListStrategy::ListWatch).then_some(PAGE),
                ..watcher::Config::default()
            };
            let mut events = std::pin::pin!(watcher::watcher(self.api.clone(), config).default_backoff());
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => self.take(event),
                    Err(error) if strategy == InitialListStrategy::StreamingList && is_invalid(&error) => {
                        strategy = InitialListStrategy::ListWatch;
                        break;
                    }
                    // Only a listing shows that it hears again: `kube-runtime` says nothing when a watch goes on.
                    Err(error) if self.fail(&error) => break,
                    Err(_) => {}
                }
            }
        }
    }

    fn take(&mut self, event: Event<DynamicObject>) {
        self.errors = None;
        let (place, kind) = (&self.place, &self.place.kind);
        let namespace = place.namespace.as_deref().unwrap_or_default();
        let mut cache = lock(&self.cache);
        match (event, self.purpose) {
            (Event::Init, Purpose::Objects) => cache.begin(place),
            (Event::Init, Purpose::Pods) => self.listed = Some(HashSet::new()),
            (Event::Apply(object) | Event::InitApply(object), Purpose::Objects) => {
                let id = kind.id(&object);
                cache.put(&id, &to_json(object, kind));
            }
            (Event::Apply(pod) | Event::InitApply(pod), Purpose::Pods) => {
                let name = pod.name_any();
                cache.put_pod(namespace, &name, &to_json(pod, kind));
                if let Some(listed) = &mut self.listed {
                    listed.insert(name);
                }
            }
            (Event::InitDone, Purpose::Objects) => {
                cache.complete(place);
                if self.state.send_replace(State::Current) != State::Current {
                    self.changed.notify_one();
                }
            }
            (Event::InitDone, Purpose::Pods) => {
                cache.retain_pods(namespace, &self.listed.take().unwrap_or_default());
                self.state.send_replace(State::Current);
            }
            (Event::Delete(object), Purpose::Objects) => {
                cache.remove(&kind.id(&object), &object.uid().unwrap_or_default());
            }
            (Event::Delete(pod), Purpose::Pods) => cache.remove_pod(namespace, &pod.name_any()),
        }
        if cache.has_news() {
            self.changed.notify_one();
        }
    }

    /// Takes note of an error; whether it has just become deaf.
    fn fail(&mut self, error: &watcher::Error) -> bool {
        let unknown = code(error) == Some(404);
        let now = Instant::now();
        let since = self.errors.filter(|(_, last)| now.duration_since(*last) < APART).map_or(now, |(since, _)| since);
        self.errors = Some((since, now));
        let is_deaf = now.duration_since(since) >= self.deaf_after;
        let mut has_become_deaf = false;
        self.state.send_if_modified(|state| {
            let next = match state {
                _ if unknown => State::Unknown,
                // For a while one that was current goes on with what it knows.
                State::Current if !is_deaf => return false,
                State::Current | State::Deaf(_) => State::Deaf(super::chain(error)),
                _ => State::Failing(super::chain(error)),
            };
            has_become_deaf = *state == State::Current && next != State::Unknown;
            *state != next && {
                *state = next;
                true
            }
        });
        if has_become_deaf {
            self.changed.notify_one();
        }
        if unknown {
            let mut cache = lock(&self.cache);
            cache.begin(&self.place);
            cache.complete(&self.place);
            self.changed.notify_one();
        }
        has_become_deaf
    }
}

/// What the API server answered, where it did.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// Older servers do not know how to stream a listing.
fn is_invalid(error: &watcher::Error) -> bool {
    matches!(code(error), Some(400 | 422))
}

/// The object as JSON, with the type that watches and listings leave out.
pub(super) fn to_json(object: DynamicObject, kind: &Kind) -> Json {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), kind.resource.api_version.clone().into());
        map.insert("kind".to_owned(), kind.resource.kind.clone().into());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::kinds::{Kinds, Scope};
    use hyper::{Request, Response};
    use kube::client::Body;
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    fn maps() -> Place {
        let mut kinds = Kinds::default();
        kinds.add("", "v1", "ConfigMap", "configmaps", Scope::Namespaced);
        Place { kind: kinds.find("v1", "ConfigMap").unwrap().clone(), namespace: Some("shop".to_owned()) }
    }

    fn map() -> ObjectId {
        ObjectId { group: String::new(), kind: "ConfigMap".into(), namespace: Some("shop".into()), name: "a".into() }
    }

    /// A server whose answers are these, one after the other, and the last one ever after: whether it answers with a listing.
    fn server(answers: &'static [bool]) -> Client {
        let asked = AtomicUsize::new(0);
        let service = tower::service_fn(move |_: Request<Body>| {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            let (status, text) = if answers[number.min(answers.len() - 1)] {
                let end = r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
                (200, format!("{end}\n"))
            } else {
                let said =
                    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no converter","code":500}"#;
                (500, said.to_owned())
            };
            let answer = Response::builder().status(status).body(Body::from(text.into_bytes())).unwrap();
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "shop")
    }

    #[tokio::test]
    async fn a_kind_that_cannot_be_listed_is_told_and_keeps_no_other_waiting() {
        let mut watches = Watches::new(server(&[false]));
        watches.follow(&[maps()], &[]);
        watches.ready().await;
        let silence = watches.silence();
        assert!(silence.is_blind() && silence.unheard(&map()).is_none());
        assert!(silence.unlisted(&map()).unwrap().contains("no converter"));
        assert_eq!(silence.unlisted(&ObjectId { namespace: Some("other".into()), ..map() }), None);
    }

    #[tokio::test]
    async fn a_watch_that_keeps_failing_is_deaf_until_it_has_listed_again() {
        let (sender, state) = watch::channel(State::Listing);
        let place = maps();
        let mut follower = Follower {
            api: place.kind.api(&server(&[true, false, false, true]), place.namespace.as_deref()),
            place: place.clone(),
            purpose: Purpose::Objects,
            cache: Arc::default(),
            changed: Arc::default(),
            state: sender,
            listed: None,
            errors: None,
            deaf_after: DEAF_AFTER,
        };
        let error = || watcher::Error::NoResourceVersion;
        follower.state.send_replace(State::Current);
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        assert!(!follower.fail(&error()), "one error alone");
        follower.errors = Some((ago(1300), ago(700)));
        assert!(!follower.fail(&error()), "in between it went on, and nothing happened");
        follower.errors = Some((ago(70), ago(20)));
        assert!(follower.fail(&error()));
        assert!(!follower.fail(&error()), "said once");
        assert!(matches!(&*state.borrow(), State::Deaf(_)));

        follower.deaf_after = Duration::ZERO;
        follower.errors = None;
        follower.state.send_replace(State::Listing);
        let changed = Arc::clone(&follower.changed);
        let task = tokio::spawn(follower.run());
        let mut watches = Watches::new(server(&[true]));
        let key = ("v1".to_owned(), "ConfigMap".to_owned(), place.namespace.clone(), Purpose::Objects);
        let mut seen = state.clone();
        watches.followed.insert(key, Watch { place, began: Instant::now(), state, task });
        assert!(seen.wait_for(|state| matches!(state, State::Deaf(_))).await.is_ok());
        assert!(watches.silence().unheard(&map()).unwrap().contains("no converter") && !watches.silence().is_blind());
        changed.notified().await;
        assert!(seen.wait_for(|state| *state == State::Current).await.is_ok());
    }
}
