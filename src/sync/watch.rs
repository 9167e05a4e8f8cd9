//! The watches that feed the cache: one request for each kind that matters, for as long as it matters. What a watch misses,
//! because a connection was cut or the server forgot, it lists anew by itself (`kube-runtime`). Objects come one by one
//! and are not kept, so that even a large namespace costs little memory.

use super::{Error, cache::Cache, kinds::Kind, object::ObjectId};
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
    namespace: String,
    cache: Arc<Mutex<Cache>>,
    /// Something happened that a pass should see.
    pub(super) changed: Arc<Notify>,
    followed: BTreeMap<(String, String, Purpose), Watch>,
}

impl Watches {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            cache: Arc::default(),
            changed: Arc::default(),
            followed: BTreeMap::new(),
        }
    }

    /// What is known now. The lock is never held over an `await`.
    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        lock(&self.cache)
    }

    /// Follows these kinds and no others, and the pods where some are given.
    pub(super) fn follow(&mut self, kinds: &[Kind], pods: Option<&Kind>) {
        let objects = kinds.iter().map(|kind| (kind, Purpose::Objects));
        let wanted: BTreeMap<_, _> = objects
            .chain(pods.map(|kind| (kind, Purpose::Pods)))
            .map(|(kind, purpose)| {
                ((kind.resource.api_version.clone(), kind.resource.kind.clone(), purpose), kind.clone())
            })
            .collect();
        let before = self.followed.len();
        self.followed.retain(|key, _| wanted.contains_key(key));
        if before != self.followed.len() {
            let follows = |object: &ObjectId| {
                kinds.iter().any(|kind| kind.resource.kind == object.kind && kind.resource.group == object.group)
            };
            self.cache().keep_kinds(follows);
        }
        for (key, kind) in wanted {
            if !self.followed.contains_key(&key) {
                let watch = self.start(kind, key.2);
                self.followed.insert(key, watch);
            }
        }
    }

    fn start(&self, kind: Kind, purpose: Purpose) -> Watch {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource);
        let (sender, state) = watch::channel(State::Listing);
        let follower = Follower {
            api,
            kind,
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
        for ((_, kind, _), watch) in &mut self.followed {
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
    kind: Kind,
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
        let (group, name) = (self.kind.resource.group.clone(), self.kind.resource.kind.clone());
        let mut cache = lock(&self.cache);
        match (event, self.purpose) {
            (Event::Init, Purpose::Objects) => cache.begin(&group, &name),
            (Event::Init, Purpose::Pods) => self.listed = Some(HashSet::new()),
            (Event::Apply(object) | Event::InitApply(object), Purpose::Objects) => {
                let id = self.kind.id(&object);
                cache.put(&id, &to_json(object, &self.kind));
            }
            (Event::Apply(pod) | Event::InitApply(pod), Purpose::Pods) => {
                let name = pod.name_any();
                cache.put_pod(&name, &to_json(pod, &self.kind));
                if let Some(listed) = &mut self.listed {
                    listed.insert(name);
                }
            }
            (Event::InitDone, Purpose::Objects) => {
                cache.complete(&group, &name);
                self.state.send_replace(State::Current);
            }
            (Event::InitDone, Purpose::Pods) => {
                cache.retain_pods(&self.listed.take().unwrap_or_default());
                self.state.send_replace(State::Current);
            }
            (Event::Delete(object), Purpose::Objects) => {
                cache.remove(&self.kind.id(&object), &object.uid().unwrap_or_default());
            }
            (Event::Delete(pod), Purpose::Pods) => cache.remove_pod(&pod.name_any()),
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
            cache.begin(&self.kind.resource.group, &self.kind.resource.kind);
            cache.complete(&self.kind.resource.group, &self.kind.resource.kind);
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
