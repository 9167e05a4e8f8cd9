//! Keeps the facts fresh while somebody looks: what is near at every change, what is far every few seconds while something
//! moves and seldom otherwise. A thread each, so that a remote that is silent holds up nothing.

use super::{
    Settings,
    act::{self, Act, Wanted},
    environments,
    facts::{self, Facts},
    live::{Drawn, Fragment, Patch},
    parts::Links,
    pipeline, trends,
};
use crate::check::log::State;
use jiff::Timestamp;
use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::broadcast;

/// How often the clone is looked at.
const NEAR: Duration = Duration::from_millis(250);
/// How often others are asked while something moves.
const MOVING: Duration = Duration::from_millis(1500);
/// How often otherwise.
const STILL: Duration = Duration::from_secs(10);
/// Something that changed may soon change again.
const AFTER: Duration = Duration::from_secs(20);
/// So many patches may wait for a slow browser; one that has missed some loads its page anew.
const KEPT: usize = 64;
/// So many commands are remembered.
const ACTS: usize = 20;

/// What the threads and the server share.
pub(super) struct Watched {
    pub settings: Settings,
    links: Links,
    inner: Mutex<Inner>,
    /// Somebody wants to know now.
    wanted: Condvar,
    patches: broadcast::Sender<Arc<Patch>>,
    /// How many browsers listen.
    pub listeners: AtomicUsize,
    looked: Mutex<Instant>,
}

struct Inner {
    facts: Facts,
    drawn: Drawn,
    /// When something was seen to move last.
    moved: Instant,
    /// Whether the far facts are older than a change.
    is_stale: bool,
    acts: usize,
}

impl Watched {
    pub fn new(settings: Settings, links: Links) -> Arc<Self> {
        let near = facts::near(&settings);
        let facts = Facts { project: facts::project(&settings.repository), near: Arc::new(near), ..Facts::default() };
        let inner = Inner { facts, drawn: Drawn::default(), moved: Instant::now(), is_stale: true, acts: 0 };
        let (patches, _) = broadcast::channel(KEPT);
        let watched = Arc::new(Self {
            settings,
            links,
            inner: Mutex::new(inner),
            wanted: Condvar::new(),
            patches,
            listeners: AtomicUsize::new(0),
            looked: Mutex::new(Instant::now()),
        });
        watched.change(|_| ());
        watched
    }

    /// Starts the threads, which live as long as the process.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let (near, far) = (Arc::clone(self), Arc::clone(self));
        thread::Builder::new().name("near".to_owned()).spawn(move || near.watch_near())?;
        thread::Builder::new().name("far".to_owned()).spawn(move || far.watch_far())?;
        Ok(())
    }

    pub fn facts(&self) -> Facts {
        self.lock().facts.clone()
    }

    /// What comes from now on, and what a page must be of to be told the rest by it.
    pub fn listen(&self) -> (broadcast::Receiver<Arc<Patch>>, u64) {
        let inner = self.lock();
        (self.patches.subscribe(), inner.facts.generation)
    }

    /// Somebody looks.
    pub fn look(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.wanted.notify_all();
    }

    /// How long nobody has looked.
    pub fn quiet(&self) -> Duration {
        let is_busy =
            self.listeners.load(Ordering::Relaxed) > 0 || self.lock().facts.acts.iter().any(|act| act.ended.is_none());
        if is_busy {
            *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Runs what somebody asked for, in a thread of its own.
    pub fn act(self: &Arc<Self>, wanted: &Wanted) -> Result<usize, String> {
        let mut id = 0;
        let mut refusal = None;
        let words = wanted.words(self.settings.context.as_deref());
        self.change(|inner| {
            refusal = wanted.refusal(&inner.facts);
            if refusal.is_some() {
                return;
            }
            inner.acts += 1;
            id = inner.acts;
            let (environment, words) = (wanted.environment.clone(), words.clone());
            let act = Act { id, environment, words, began: Timestamp::now(), ended: None, output: String::new() };
            inner.facts.acts.insert(0, act);
            inner.facts.acts.truncate(ACTS);
        });
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let watched = Arc::clone(self);
        thread::spawn(move || {
            let (code, output) = match act::run(&watched.settings.repository, &words) {
                Ok(ended) => ended,
                Err(error) => (None, format!("it could not be run: {error}")),
            };
            watched.change(|inner| {
                if let Some(act) = inner.facts.acts.iter_mut().find(|act| act.id == id) {
                    (act.ended, act.output) = (Some((Timestamp::now(), code)), output);
                }
                inner.is_stale = true;
                inner.moved = Instant::now();
            });
            watched.wanted.notify_all();
        });
        Ok(id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known and tells every browser what looks different.
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        change(&mut inner);
        let fragments = fragments(&inner.facts, &self.links);
        let next = inner.facts.generation + 1;
        if let Some(patch) = inner.drawn.anew(next, fragments) {
            inner.facts.generation = next;
            // Nobody may be listening.
            let _ = self.patches.send(Arc::new(patch));
        }
    }

    fn is_watched(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
            || self.looked.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < AFTER
    }

    fn watch_near(&self) {
        let mut known = None;
        loop {
            if self.is_watched() {
                let stamp = facts::stamp(&self.settings.repository);
                // A run that was killed says no last word.
                let runs = self
                    .lock()
                    .facts
                    .near
                    .told
                    .runs
                    .iter()
                    .any(|run| run.ended.is_none() && run.state() == State::Running);
                if runs || known.as_ref() != Some(&stamp) {
                    let near = Arc::new(facts::near(&self.settings));
                    let is_new = known.replace(stamp).is_some();
                    self.change(|inner| {
                        inner.facts.near = near;
                        inner.is_stale |= is_new && !runs;
                        inner.moved = if is_new { Instant::now() } else { inner.moved };
                    });
                    self.wanted.notify_all();
                }
            }
            thread::sleep(NEAR);
        }
    }

    fn watch_far(&self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let mut client = Err(String::new());
        let mut asked: Option<Instant> = None;
        loop {
            self.wait(asked);
            self.lock().is_stale = false;
            let far = runtime.block_on(async {
                if client.is_err() {
                    client = facts::client(&self.settings).await;
                }
                facts::far(&self.settings, &client).await
            });
            // A cluster that has gone away is looked for anew, as the kubeconfig may name another one by now.
            let lost =
                far.as_ref().is_some_and(|far| far.status.environments.iter().any(|trace| trace.cluster.is_err()));
            if lost {
                client = Err(String::new());
            }
            asked = Some(Instant::now());
            let far = far.map(Arc::new);
            self.change(|inner| {
                let moving =
                    far.iter().flat_map(|far| &far.status.environments).any(|trace| !trace.verdict.is_settled());
                if moving {
                    inner.moved = Instant::now();
                }
                inner.facts.far = far;
            });
        }
    }

    /// Until others should be asked again.
    fn wait(&self, asked: Option<Instant>) {
        let mut inner = self.lock();
        loop {
            let age = asked.map(|asked| asked.elapsed());
            let patience = if inner.moved.elapsed() < AFTER { MOVING } else { STILL };
            let due = age.is_none_or(|age| age >= patience || inner.is_stale && age >= NEAR);
            drop(inner);
            if due && self.is_watched() {
                return;
            }
            inner = self.lock();
            inner = self.wanted.wait_timeout(inner, NEAR).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn fragments(facts: &Facts, links: &Links) -> Vec<Fragment> {
    let mut fragments = pipeline::fragments(facts, links);
    fragments.extend(environments::fragments(facts, links));
    fragments.push(trends::fragment(facts, links));
    fragments
}
