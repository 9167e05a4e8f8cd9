//! The watches that feed the cache: one request for each kind that matters in each namespace, for as long as it matters. What a watch misses,
//! because a connection was cut or the server forgot, it lists anew by itself (`kube-runtime`). Objects come one by one
//! and are not kept, so that even a large namespace costs little memory.

use super::{
    Error,
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
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

/// Objects in one answer, where a server is too old to send them one by one.
const PAGE: u32 = 100;

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
    /// The server knows the kind no more.
    Unknown,
}

struct Watch {
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
            place,
            purpose,
            cache: Arc::clone(&self.cache),
            changed: Arc::clone(&self.changed),
            state: sender,
            listed: None,
        };
        Watch { state, task: tokio::spawn(follower.run()) }
    }

    /// Waits until every kind was listed once.
    ///
    /// # Errors
    /// A server that does not answer, or does not let us.
    pub(super) async fn ready(&mut self) -> Result<(), Error> {
        for ((_, kind, _, _), watch) in &mut self.followed {
            let state = watch.state.wait_for(|state| *state != State::Listing).await;
            if let Ok(state) = state
                && let State::Failing(reason) = &*state
            {
                return Err(Error::Cluster { doing: format!("watching {kind}"), reason: reason.clone() });
            }
        }
        Ok(())
    }

    /// Whether the server has lost a kind, so that it must be asked anew which it has.
    pub(super) fn has_lost_a_kind(&self) -> bool {
        self.followed.values().any(|watch| *watch.state.borrow() == State::Unknown)
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
                    Err(error) => self.fail(&error),
                }
            }
        }
    }

    fn take(&mut self, event: Event<DynamicObject>) {
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
                self.state.send_replace(State::Current);
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

    fn fail(&self, error: &watcher::Error) {
        let unknown = code(error) == Some(404);
        self.state.send_if_modified(|state| {
            // One that was current goes on with what it knows until it is so again.
            let next = if unknown {
                State::Unknown
            } else if *state == State::Current {
                return false;
            } else {
                State::Failing(super::chain(error))
            };
            *state != next && {
                *state = next;
                true
            }
        });
        if unknown {
            let mut cache = lock(&self.cache);
            cache.begin(&self.place);
            cache.complete(&self.place);
            self.changed.notify_one();
        }
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
