//! The part of a pass that writes what the repository has: what the plan asks for is applied, what others changed is put back
//! or told, each only while it is this pod's turn. The inventory is written before an object is made and after its answer.

use super::{
    Error,
    apply::{self, Condemned, Deleted, Force, Order, Refusal, Replicas, Way},
    cache::Seen,
    claims,
    desired::{Outline, RECREATE, placed},
    drift::{self, Fights},
    events::{Tone, Word},
    fetch,
    findings::Findings,
    inventory::Applied,
    lease::Turn,
    object::ObjectId,
    pass::{Failure, Revision, Sync},
    plan::{self, Verdict},
    prune::PRECIOUS,
    report::Note,
    store,
};
use futures_util::StreamExt;
use serde_json::Value as Json;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Answers of a large pass after which the inventory is kept in between.
const KEPT_AFTER: usize = 1000;

/// What is to be said of an object that was applied.
struct Said {
    object: ObjectId,
    api_version: String,
    uid: String,
    reason: &'static str,
    message: String,
}

/// What is about to be done with an object, and why.
struct Intent {
    outline: Arc<Outline>,
    verdict: Verdict,
    reason: String,
}

impl Sync {
    /// Whether this pod may write now; if not, the findings say why, and nothing more is begun in this pass.
    pub(super) async fn may_write(&mut self, findings: &mut Findings) -> Result<bool, Error> {
        if findings.halted.is_some() || self.is_suspended(findings) {
            return Ok(false);
        }
        self.has_turn(findings).await
    }

    /// Whether this pod has the turn, taken or renewed. After another's turn the inventory is read anew, and what was planned on
    /// an older one is not done.
    async fn has_turn(&mut self, findings: &mut Findings) -> Result<bool, Error> {
        match self.lease.take().await? {
            Turn::Ours => Ok(true),
            Turn::OursAfter(other) => {
                self.metrics.wrote("lease");
                if other.is_empty() {
                    self.voice.line("lease", &[("decision", "take")]);
                } else {
                    self.voice.line("lease", &[("decision", "take"), ("from", &other)]);
                }
                let kept = store::inventory(&self.client, &self.settings).await?;
                let is_known = kept.has_the_objects_of(&self.inventory);
                self.inventory = kept;
                if !is_known {
                    findings.halted =
                        Some("another pod acted for this environment; what it did is looked at".to_owned());
                    self.watches.changed.notify_one();
                }
                Ok(is_known)
            }
            Turn::Theirs(other) => {
                let reason = format!("the pod {other} acts for this environment");
                self.voice.line_once("lease", "lease", &reason);
                findings.halted = Some(reason);
                Ok(false)
            }
        }
    }

    /// Whether somebody asks for peace by now, which the findings then say.
    fn is_suspended(&mut self, findings: &mut Findings) -> bool {
        self.hear();
        findings.halted.clone_from(&self.suspended);
        findings.halted.is_some()
    }

    /// What of the plan is to be written; what is only to be said is said.
    async fn intents(&mut self, revision: &Revision, findings: &mut Findings) -> HashMap<ObjectId, Intent> {
        let decisions: Vec<(ObjectId, Verdict, String)> = {
            let cache = self.watches.cache();
            plan::plan(&revision.wanted, &self.inventory, |object| cache.get(object))
                .filter(|(_, verdict, _)| *verdict != Verdict::Unchanged)
                .map(|(object, verdict, reason)| (object.clone(), verdict, reason))
                .collect()
        };
        // What needs no write any more is no failure either.
        let asked_for: HashSet<&ObjectId> = decisions.iter().map(|(object, ..)| object).collect();
        self.failures.retain(|object, _| asked_for.contains(object));
        let mut intents = HashMap::new();
        for (object, verdict, mut reason) in decisions {
            let Some(outline) = revision.wanted.get(&object) else { continue };
            if self.kinds.find(&outline.api_version, &object.kind).is_none() {
                findings.progressing = true;
                findings.unhealthy.push(Note::on(&object, "it waits until the definition of its kind is established"));
                continue;
            }
            if let Some(reason) = findings.silence.unlisted(&object) {
                // It is tried again as soon as they can be listed.
                findings.progressing = true;
                self.warn("plan", &object, "Refused", &reason).await;
                findings.refuse(&object, &outline.origin, &reason);
                continue;
            }
            if let Some(failure) = self.failures.get(&object).filter(|failure| failure.next > Instant::now()) {
                findings.refuse(&object, &outline.origin, &failure.reason);
                continue;
            }
            match verdict {
                Verdict::Refuse => {
                    self.warn("plan", &object, "Refused", &reason).await;
                    findings.refuse(&object, &outline.origin, &reason);
                    continue;
                }
                Verdict::Correct => {
                    let is_news;
                    (reason, is_news) = match self.drift(revision, &object, outline).await {
                        Ok(said) => said,
                        Err(error) => {
                            let reason = format!("it was changed, and what changed cannot be told: {error}");
                            self.warn("drift", &object, "Failed", &reason).await;
                            findings.refuse(&object, &outline.origin, &reason);
                            continue;
                        }
                    };
                    if outline.asks.drift_is_reported {
                        if is_news {
                            self.metrics.drifted("reported");
                        }
                        self.warn("drift", &object, "Drifted", &reason).await;
                        findings.drifted.push(Note::on(&object, &reason));
                        continue;
                    }
                    if self.fights.is_one(&object, Instant::now()) {
                        reason = Fights::says(&reason);
                        if is_news {
                            self.metrics.drifted("fight");
                        }
                        self.warn("drift", &object, "Fought", &reason).await;
                        findings.refuse(&object, &outline.origin, &reason);
                        continue;
                    }
                }
                _ => {}
            }
            intents.insert(object, Intent { outline: Arc::clone(outline), verdict, reason });
        }
        intents
    }

    /// What was changed about an object and by whom, and whether this version of it was not looked at before: one read of an
    /// object that drifted, for each time that it did.
    async fn drift(
        &mut self,
        revision: &Revision,
        object: &ObjectId,
        outline: &Outline,
    ) -> Result<(String, bool), Error> {
        let version = self.watches.cache().get(object).map(|seen| seen.version.clone()).unwrap_or_default();
        if let Some((_, said)) = self.left.get(object).filter(|(known, _)| *known == version) {
            return Ok((said.clone(), false));
        }
        let Some(kind) = self.kinds.find(&outline.api_version, &object.kind) else {
            return Ok(("it was changed".to_owned(), false));
        };
        let api = kind.api(&self.client, object.namespace.as_deref());
        let live = api.get_opt(&object.name).await.map_err(|source| Error::cluster("looking at drift", source))?;
        let live = live.map(|live| super::watch::to_json(live, kind)).unwrap_or_default();
        let repository = fetch::copy(&self.settings)?;
        let mut bodies = revision.desired.bodies(&repository, &outline.origin.file)?;
        let body = bodies.remove(&(outline.origin.line, outline.id.clone())).unwrap_or_default();
        let body = placed(body, object);
        let said = format!("changed: {}", drift::describe(&body, &live));
        self.left.insert(object.clone(), (version, said.clone()));
        Ok((said, true))
    }

    pub(super) async fn apply(&mut self, revision: &Revision, findings: &mut Findings) -> Result<(), Error> {
        let mut intents = self.intents(revision, findings).await;
        self.leave_to_others(&mut intents, findings).await?;
        if intents.is_empty() || !self.may_write(findings).await? {
            // What waits for another's turn is not yet there.
            findings.progressing |= !intents.is_empty();
            return Ok(());
        }
        if self.inventory.is_empty() {
            self.expect_namespace().await?;
        }
        let anew = intents.keys().any(|object| self.inventory.get(object).is_none());
        self.inventory.announce(intents.iter().map(|(object, intent)| (object, intent.outline.api_version.as_str())));
        self.keep_inventory().await?;
        if anew {
            // Once more, now that ours is written: of two that begin at the same time one at least sees the other.
            self.leave_to_others(&mut intents, findings).await?;
        }
        let orders = self.orders(&intents);
        let repository = fetch::copy(&self.settings)?;
        // Held apart, so that each answer may be taken in while the next writes are under way.
        let (client, kinds) = (self.client.clone(), self.kinds.clone());
        let stop = AtomicBool::new(false);
        let way =
            Way { client: &client, kinds: &kinds, desired: &revision.desired, repository: &repository, stop: &stop };
        let mut answers = std::pin::pin!(apply::apply(&way, orders));
        let mut words = Vec::new();
        let (mut unkept, mut is_ours) = (0, true);
        while let Some((object, result)) = answers.next().await {
            self.metrics.wrote("apply");
            is_ours = self.has_turn(findings).await?;
            if !is_ours {
                break;
            }
            let Some(intent) = intents.remove(&object) else { continue };
            match result {
                Ok(live) => words.extend(self.applied(revision, &object, &intent, &live)),
                Err(refusal) => self.refused(&object, &intent, refusal, findings).await,
            }
            unkept += 1;
            if unkept == KEPT_AFTER {
                unkept = 0;
                self.keep_inventory().await?;
            }
            // What was sent is done all the same, and its answers are taken in.
            if !stop.load(Ordering::Relaxed) && self.is_suspended(findings) {
                stop.store(true, Ordering::Relaxed);
            }
        }
        if is_ours {
            self.settle(revision);
            self.keep_inventory().await?;
        }
        for said in words {
            self.told(&said).await;
        }
        Ok(())
    }

    /// Refuses what another environment's sync owns. Where that cannot be told, what we have applied before is ours.
    async fn leave_to_others(
        &mut self,
        intents: &mut HashMap<ObjectId, Intent>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        if intents.is_empty() || findings.halted.is_some() {
            return Ok(());
        }
        let is_applied = |object: &ObjectId| self.inventory.get(object).is_some_and(|it| it.manifest.is_some());
        let asked = claims::claims(&self.client, &self.settings, |object| intents.contains_key(object)).await;
        let refused: Vec<(ObjectId, String)> = match asked {
            Ok(claims) => claims.into_iter().map(|(object, other)| (object, claims::says(&other))).collect(),
            Err(error @ Error::Stored { .. }) => {
                let unknown = intents.keys().filter(|object| !is_applied(object));
                unknown.map(|object| (object.clone(), format!("whose it is cannot be told: {error}"))).collect()
            }
            Err(error) => return Err(error),
        };
        for (object, reason) in refused {
            let Some(intent) = intents.remove(&object) else { continue };
            if self.inventory.get(&object).is_some_and(|it| it.manifest.is_none() && it.uid.is_empty()) {
                self.inventory.remove(&object);
            }
            self.warn("plan", &object, "Refused", &format!("{}: {reason}", intent.outline.origin)).await;
            self.failed(&object, &intent, reason, findings);
        }
        Ok(())
    }

    fn orders(&self, intents: &HashMap<ObjectId, Intent>) -> Vec<Order> {
        let cache = self.watches.cache();
        let order = |(object, intent): (&ObjectId, &Intent)| Order {
            object: object.clone(),
            outline: Arc::clone(&intent.outline),
            force: if intent.verdict == Verdict::Create { Force::Leave } else { Force::Take },
            replicas: match cache.get(object) {
                Some(seen) if seen.scaled => Replicas::Scaled,
                _ => Replicas::Ours,
            },
        };
        intents.iter().map(order).collect()
    }

    /// Takes in the server's answer to an apply. A created object gets a line only: an Event for each would double the
    /// writes of a first sync.
    fn applied(&mut self, revision: &Revision, object: &ObjectId, intent: &Intent, live: &Json) -> Option<Said> {
        self.failures.remove(object);
        self.left.remove(object);
        self.voice.well(object);
        let seen = Seen::of(live);
        let applied = Applied {
            api_version: intent.outline.api_version.clone(),
            manifest: Some(intent.outline.fingerprint),
            uid: seen.uid.clone(),
            answer: seen.answer,
        };
        self.inventory.note(object, applied);
        self.watches.cache().put(object, live);
        let commit = revision.commit.short();
        let decision = match intent.verdict {
            Verdict::Create => {
                let name = object.to_string();
                let fields = [
                    ("object", name.as_str()),
                    ("decision", "Created"),
                    ("reason", &intent.reason),
                    ("commit", commit),
                ];
                self.voice.line("apply", &fields);
                return None;
            }
            Verdict::Correct => {
                self.fights.note(object, Instant::now());
                self.metrics.drifted("corrected");
                "Corrected"
            }
            _ => "Applied",
        };
        let message = format!("applied commit {commit}: {}", intent.reason);
        let api_version = intent.outline.api_version.clone();
        Some(Said { object: object.clone(), api_version, uid: seen.uid, reason: decision, message })
    }

    async fn told(&mut self, said: &Said) {
        let Said { object, api_version, uid, reason, message } = said;
        let word = Word { object, api_version, uid: Some(uid), tone: Tone::Normal, reason, message };
        self.voice.say("apply", &word).await;
        self.voice.well(object);
    }

    /// Takes in a refusal: an object whose field cannot be changed is deleted, to be made again, where its manifest
    /// allows it and nothing in it is lost for good.
    async fn refused(&mut self, object: &ObjectId, intent: &Intent, refusal: Refusal, findings: &mut Findings) {
        let Refusal { mut reason, is_immutable } = refusal;
        if is_immutable && !PRECIOUS.contains(&object.kind.as_str()) {
            if intent.outline.asks.recreate {
                reason = match self.condemn(object, &intent.outline.api_version).await {
                    Ok(_) => format!("deleted, to be made again, because {reason}"),
                    Err(error) => format!("{reason}; it cannot be deleted to be made again: {error}"),
                };
            } else {
                reason.push_str("; the annotation ");
                reason.push_str(RECREATE);
                reason.push_str(": allowed lets the sync delete it and make it again");
            }
        }
        self.warn("apply", object, "Failed", &format!("{}: {reason}", intent.outline.origin)).await;
        self.failed(object, intent, reason, findings);
    }

    /// Notes that an object could not be applied, and when that is worth another try.
    fn failed(&mut self, object: &ObjectId, intent: &Intent, reason: String, findings: &mut Findings) {
        findings.refuse(object, &intent.outline.origin, &reason);
        let count = self.failures.get(object).map_or(0, |failure| failure.count) + 1;
        // From two seconds to about four minutes.
        let next = Instant::now() + Duration::from_secs(1 << count.min(8));
        self.failures.insert(object.clone(), Failure { reason, count, next });
    }

    /// Deletes an object that is the one that is known.
    async fn condemn(&mut self, object: &ObjectId, api_version: &str) -> Result<Deleted, String> {
        let uid = self.watches.cache().get(object).map(|seen| seen.uid.clone()).unwrap_or_default();
        let condemned = Condemned { object, api_version, uid: &uid, version: None };
        let deleted = apply::delete(&self.client, &self.kinds, &condemned).await?;
        self.metrics.wrote("delete");
        Ok(deleted)
    }

    /// When the next refused write is worth another try. What was due before the last pass began and was not tried by it
    /// waits for something else: a suspension, or another's turn.
    pub(super) fn next_try(&self, last_pass: Instant) -> Option<Instant> {
        self.failures.values().map(|failure| failure.next).filter(|next| *next > last_pass).min()
    }

    pub(super) async fn keep_inventory(&mut self) -> Result<(), Error> {
        for _ in 0..store::keep(&self.client, &self.settings, &mut self.inventory).await? {
            self.metrics.wrote("inventory");
        }
        Ok(())
    }

    /// What is owned now is what the next deletion is measured by, once nothing is left of this one.
    pub(super) fn settle(&mut self, revision: &Revision) {
        if self.inventory.surplus(|object| revision.wanted.contains_key(object)).is_empty() {
            self.inventory.settle();
        }
    }
}
