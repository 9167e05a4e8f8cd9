//! One pass: observe, plan, apply, look at health, prune, report. It may be made at any time and as often as one likes: a
//! pass that finds everything as it should be writes nothing.

use super::{
    Error, Settings,
    apply::{self, Force, Order},
    checkout::Checkout,
    decode,
    events::{Tone, Voice, Word},
    fingerprint, health,
    health::Health,
    inventory::{Applied, Inventory},
    kinds::{Kind, Kinds, Scope},
    object::{ObjectId, Origin, Problem},
    observe,
    plan::{self, Decision, Observed, Verdict, Wanted},
    prune::{self, Approval, Fate, Footing},
    report::{self, Delivered, Note, Phase, Report, Workload},
    store,
};
use crate::values::Oid;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// A commit as it is to be applied.
pub(super) struct Revision {
    pub(super) commit: Oid,
    time: Timestamp,
    wanted: Wanted,
    problems: Vec<Problem>,
    approval: Approval,
    delivered: Delivered,
}

/// Where a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// All is as it should be.
    Well,
    /// Something is on its way.
    Moving,
    /// Something will not come by itself.
    Stuck,
}

/// A write that the server refused, and when it is worth another try.
struct Failure {
    reason: String,
    count: u32,
    next: Instant,
}

/// One environment's sync between two passes.
pub(super) struct Sync {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) voice: Voice,
    pub(super) revision: Option<Revision>,
    pub(super) report: Option<Report>,
    /// What is in the way of the whole: the repository does not answer, or holds no such folder.
    pub(super) trouble: Option<(Phase, String)>,
    kinds: Kinds,
    inventory: Inventory,
    failures: HashMap<ObjectId, Failure>,
}

impl Sync {
    /// Begins with what the cluster knows of earlier days.
    pub(super) async fn begin(client: Client, settings: Settings) -> Result<Self, Error> {
        let kinds = Kinds::discover(&client).await?;
        let inventory = store::inventory(&client, &settings).await?;
        // A report that cannot be read is only replaced; the inventory, above, is not.
        let report = report::read(&client, &settings.environment).await.unwrap_or_default();
        let voice = Voice::new(client.clone(), settings.environment.as_str(), &settings.namespace);
        let failures = HashMap::new();
        Ok(Self { client, settings, voice, revision: None, report, trouble: None, kinds, inventory, failures })
    }

    /// Takes a commit in place of the one before.
    pub(super) async fn take(&mut self, checkout: Checkout) -> Result<(), Error> {
        let decoded = decode::decode(&checkout.files);
        let is_unknown =
            |manifest: &super::Manifest| self.kinds.find(&manifest.api_version, &manifest.id.kind).is_none();
        if decoded.manifests.iter().any(is_unknown) {
            self.kinds = Kinds::discover(&self.client).await?;
        }
        let (wanted, refused) = plan::resolve(decoded.manifests, &self.settings.namespace, &self.kinds);
        let problems = checkout.problems.into_iter().chain(decoded.problems).chain(refused).collect();
        let Checkout { commit, time, approval, delivered, .. } = checkout;
        let count = wanted.len().to_string();
        self.voice.line("decode", &[("decision", "take"), ("commit", commit.as_str()), ("objects", &count)]);
        self.failures.clear();
        self.revision = Some(Revision { commit, time, wanted, problems, approval, delivered });
        Ok(())
    }

    /// Makes one pass.
    pub(super) async fn pass(&mut self) -> Result<Settled, Error> {
        let Some(revision) = self.revision.take() else {
            self.publish(None, Findings::default()).await?;
            return Ok(if self.trouble.is_some() { Settled::Stuck } else { Settled::Moving });
        };
        let result = self.pass_on(&revision).await;
        self.revision = Some(revision);
        result
    }

    async fn pass_on(&mut self, revision: &Revision) -> Result<Settled, Error> {
        let namespace = self.settings.namespace.clone();
        let kinds = self.kinds_that_matter(&revision.wanted);
        let inventory = &self.inventory;
        let matters = |object: &ObjectId| revision.wanted.contains_key(object) || inventory.owns(object);
        let mut observed = observe::observe(&self.client, &namespace, &kinds, matters).await?;
        let decisions = plan::plan(&revision.wanted, &self.inventory, &observed);
        let mut findings = Findings { refused: self.problems(revision).await, ..Findings::default() };
        self.apply(revision, &decisions, &mut observed, &mut findings).await?;
        self.judge(revision, &observed, &mut findings).await?;
        self.prune(revision, &observed, &mut findings).await?;
        let settled = findings.settled();
        self.publish(Some(revision), findings).await?;
        Ok(settled)
    }

    /// The kinds to be listed: of what is wanted and of what is owned, each once.
    fn kinds_that_matter(&self, wanted: &Wanted) -> Vec<Kind> {
        let of_wanted = wanted.values().map(|manifest| (manifest.api_version.as_str(), &manifest.id));
        let of_owned = self.inventory.objects.iter().map(|(object, applied)| (applied.api_version.as_str(), object));
        let mut kinds: BTreeMap<(&str, &str), &Kind> = BTreeMap::new();
        for (api_version, object) in of_wanted.chain(of_owned) {
            let key = (object.group.as_str(), object.kind.as_str());
            let served = self.kinds.find(api_version, &object.kind);
            if let Some(kind) = served.filter(|kind| kind.scope == Scope::Namespaced && kind.is_writable()) {
                kinds.entry(key).or_insert(kind);
            }
        }
        kinds.into_values().cloned().collect()
    }

    /// Tells what of the commit was refused before the cluster was asked.
    async fn problems(&mut self, revision: &Revision) -> Vec<Note> {
        for problem in &revision.problems {
            let message = format!("{}: {}", problem.origin, problem.message);
            match &problem.object {
                Some(object) => self.warn("plan", object, "Refused", &message).await,
                None => self.voice.line_once("decode", &problem.origin.file, &message),
            }
        }
        revision.problems.iter().map(Note::from).collect()
    }

    async fn warn(&mut self, stage: &str, object: &ObjectId, reason: &'static str, message: &str) {
        let api_version = self.inventory.objects.get(object).map(|applied| applied.api_version.clone());
        let api_version = api_version.unwrap_or_default();
        let word = Word { object, api_version: &api_version, uid: None, tone: Tone::Warning, reason, message };
        self.voice.say(stage, &word).await;
    }

    async fn apply(
        &mut self,
        revision: &Revision,
        decisions: &[Decision],
        observed: &mut Observed,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let mut orders = Vec::new();
        for decision in decisions {
            let Some(manifest) = revision.wanted.get(&decision.object) else { continue };
            let force = match decision.verdict {
                Verdict::Unchanged => continue,
                Verdict::Refuse => {
                    self.warn("plan", &decision.object, "Refused", &decision.reason).await;
                    findings.refuse(&decision.object, &manifest.origin, &decision.reason);
                    continue;
                }
                Verdict::Create => Force::Leave,
                Verdict::Change | Verdict::Correct => Force::Take,
            };
            if let Some(failure) = self.failures.get(&decision.object).filter(|failure| failure.next > Instant::now()) {
                findings.refuse(&decision.object, &manifest.origin, &failure.reason);
                continue;
            }
            let value = match observed.get(&decision.object) {
                Some(live) => plan::without_foreign(&manifest.value, live),
                None => manifest.value.clone(),
            };
            let api_version = manifest.api_version.clone();
            orders.push((Order { object: decision.object.clone(), api_version, value, force }, decision));
        }
        if orders.is_empty() {
            return Ok(());
        }
        let before = self.inventory.clone();
        self.inventory.announce(orders.iter().map(|(order, _)| (&order.object, order.api_version.as_str())));
        self.keep_inventory(&before).await?;
        let before = self.inventory.clone();
        let why: HashMap<ObjectId, (&Decision, Json)> =
            orders.iter().map(|(order, decision)| (order.object.clone(), (*decision, order.value.clone()))).collect();
        let orders = orders.into_iter().map(|(order, _)| order).collect();
        for (object, result) in apply::apply(&self.client, &self.kinds, orders).await {
            let (Some((decision, sent)), Some(manifest)) = (why.get(&object), revision.wanted.get(&object)) else {
                continue;
            };
            match result {
                Ok(live) => {
                    self.failures.remove(&object);
                    self.applied(revision, decision, &live).await;
                    let applied = Applied {
                        api_version: manifest.api_version.clone(),
                        manifest: fingerprint::of(sent),
                        uid: live["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
                        answer: fingerprint::through(sent, &live),
                    };
                    self.inventory.objects.insert(object.clone(), applied);
                    observed.insert(object, live);
                }
                Err(reason) => {
                    self.warn("apply", &object, "Failed", &format!("{}: {reason}", manifest.origin)).await;
                    findings.refuse(&object, &manifest.origin, &reason);
                    let count = self.failures.get(&object).map_or(0, |failure| failure.count) + 1;
                    // From one second to about four minutes.
                    let next = Instant::now() + Duration::from_secs(1 << count.min(8));
                    self.failures.insert(object, Failure { reason, count, next });
                }
            }
        }
        self.keep_inventory(&before).await
    }

    /// A created object gets a line only: an Event for each would double the writes of a first sync.
    async fn applied(&mut self, revision: &Revision, decision: &Decision, live: &Json) {
        self.voice.well(&decision.object);
        let commit = revision.commit.short();
        if decision.verdict == Verdict::Create {
            let object = decision.object.to_string();
            let fields = [
                ("object", object.as_str()),
                ("decision", "Created"),
                ("reason", &decision.reason),
                ("commit", commit),
            ];
            return self.voice.line("apply", &fields);
        }
        let reason = if decision.verdict == Verdict::Correct { "Corrected" } else { "Applied" };
        let message = format!("applied commit {commit}: {}", decision.reason);
        let text = |pointer: &str| live.pointer(pointer).and_then(Json::as_str);
        let word = Word {
            object: &decision.object,
            api_version: text("/apiVersion").unwrap_or_default(),
            uid: text("/metadata/uid"),
            tone: Tone::Normal,
            reason,
            message: &message,
        };
        self.voice.say("apply", &word).await;
        self.voice.well(&decision.object);
    }

    async fn keep_inventory(&self, before: &Inventory) -> Result<(), Error> {
        if *before == self.inventory {
            return Ok(());
        }
        store::keep(&self.client, &self.settings, &self.inventory).await
    }

    /// Looks at the health of what is there and ours.
    async fn judge(&mut self, revision: &Revision, observed: &Observed, findings: &mut Findings) -> Result<(), Error> {
        let ours = |object: &ObjectId| observed.get(object).filter(|live| plan::owns(&self.inventory, object, live));
        let live: Vec<(&ObjectId, &Json)> =
            revision.wanted.keys().filter_map(|object| Some((object, ours(object)?))).collect();
        findings.workloads = live.iter().filter_map(|(object, live)| workload(object, live)).collect();
        let waiting = |(_, live): &&(&ObjectId, &Json)| {
            matches!(health::assess(live, &[]), Health::Progressing(_)) && live.pointer("/spec/selector").is_some()
        };
        let pods = if live.iter().any(|pair| waiting(&pair)) { self.pods().await? } else { Vec::new() };
        let pods: Vec<&Json> = pods.iter().collect();
        for (object, live) in live {
            let (reason, failed) = match health::assess(live, &pods) {
                Health::Healthy => {
                    // What was refused or failed about it is still to be told once only.
                    if !findings.mentions(object) {
                        self.voice.well(object);
                    }
                    continue;
                }
                Health::Progressing(reason) => (reason, false),
                Health::Failed(reason) => (reason, true),
            };
            findings.unhealthy.push(Note::on(object, &reason));
            if failed {
                findings.failing = true;
                self.warn("health", object, "Unhealthy", &reason).await;
            } else {
                findings.progressing = true;
            }
        }
        Ok(())
    }

    async fn pods(&self) -> Result<Vec<Json>, Error> {
        let Some(kind) = self.kinds.find("v1", "Pod") else { return Ok(Vec::new()) };
        let pods = observe::list(&self.client, &self.settings.namespace, kind).await?;
        Ok(pods.into_iter().map(|(_, pod)| pod).collect())
    }

    /// Deletes what no manifest names any more, once all else is well.
    async fn prune(&mut self, revision: &Revision, observed: &Observed, findings: &mut Findings) -> Result<(), Error> {
        let wanted: BTreeSet<ObjectId> = revision.wanted.keys().cloned().collect();
        let footing = if findings.refused.is_empty() { Footing::Sound } else { Footing::Doubtful };
        let before = self.inventory.clone();
        for (object, fate) in prune::plan(&before, &wanted, &revision.approval, footing) {
            let Some(live) = observed.get(&object).filter(|live| plan::owns(&before, &object, live)) else {
                // Gone, or somebody else's by now.
                self.inventory.objects.remove(&object);
                continue;
            };
            if live.pointer("/metadata/annotations").and_then(|all| all.get(KEEP)) == Some(&"never".into()) {
                self.voice
                    .line("prune", &[("object", &object.to_string()), ("decision", "Released"), ("reason", KEEP)]);
                self.inventory.objects.remove(&object);
                continue;
            }
            let reason = match fate {
                Fate::Wait(reason) => reason,
                Fate::Delete if findings.settled() != Settled::Well => {
                    "it is pruned once all that the repository has is healthy".to_owned()
                }
                Fate::Delete => match self.delete(revision, &object, live).await {
                    Ok(()) => continue,
                    Err(reason) => reason,
                },
            };
            self.voice.line_once("prune", &object.to_string(), &reason);
            findings.waiting.push(Note::on(&object, &reason));
        }
        self.keep_inventory(&before).await
    }

    async fn delete(&mut self, revision: &Revision, object: &ObjectId, live: &Json) -> Result<(), String> {
        let api_version =
            self.inventory.objects.get(object).map_or("", |applied| applied.api_version.as_str()).to_owned();
        apply::delete(&self.client, &self.kinds, &api_version, live).await?;
        self.inventory.objects.remove(object);
        let message = format!("commit {} no longer has it", revision.commit.short());
        let uid = live.pointer("/metadata/uid").and_then(Json::as_str);
        self.voice.well(object);
        let word =
            Word { object, api_version: &api_version, uid, tone: Tone::Normal, reason: "Pruned", message: &message };
        self.voice.say("prune", &word).await;
        self.voice.well(object);
        Ok(())
    }

    /// Writes the report where it changed.
    async fn publish(&mut self, revision: Option<&Revision>, findings: Findings) -> Result<(), Error> {
        let mut report = match (revision, &self.report) {
            (Some(revision), _) => {
                let mut report = Report::new(self.settings.environment.clone(), self.settings.namespace.clone());
                report.manifest_commit = Some(revision.commit.clone());
                report.manifest_time = Some(revision.time);
                report.sources.clone_from(&revision.delivered.images);
                report.objects = revision.wanted.len();
                report.phase = findings.phase();
                report.unhealthy = findings.unhealthy;
                report.refused = findings.refused;
                report.waiting = findings.waiting;
                report.workloads = findings.workloads;
                report
            }
            // Before the first commit of this process, what an earlier one saw is the best that is known.
            (None, Some(earlier)) => Report { message: None, ..earlier.clone() },
            (None, None) => Report::new(self.settings.environment.clone(), self.settings.namespace.clone()),
        };
        if let Some((phase, message)) = &self.trouble {
            report.phase = *phase;
            report.message = Some(report::shorten(message));
        }
        let earlier = self.report.take();
        if earlier.as_ref().map(|earlier| earlier.phase) != Some(report.phase) {
            let phase = format!("{:?}", report.phase).to_lowercase();
            let message = report.message.clone().unwrap_or_default();
            self.voice.line("report", &[("decision", &phase), ("reason", &message)]);
        }
        self.report.clone_from(&earlier);
        self.report = Some(report::write(&self.client, report.signed(), earlier).await?);
        Ok(())
    }
}

/// An object that carries this annotation with the value `never` is released, not deleted.
const KEEP: &str = "gitops-hooks.dev/prune";

/// What one pass found.
#[derive(Default)]
struct Findings {
    refused: Vec<Note>,
    unhealthy: Vec<Note>,
    waiting: Vec<Note>,
    workloads: Vec<Workload>,
    progressing: bool,
    failing: bool,
}

impl Findings {
    fn refuse(&mut self, object: &ObjectId, origin: &Origin, reason: &str) {
        self.refused.push(Note { origin: Some(origin.to_string()), ..Note::on(object, reason) });
    }

    fn mentions(&self, object: &ObjectId) -> bool {
        let object = object.to_string();
        self.refused.iter().any(|note| note.object.as_ref() == Some(&object))
    }

    fn settled(&self) -> Settled {
        if self.progressing {
            Settled::Moving
        } else if self.failing || !self.refused.is_empty() {
            Settled::Stuck
        } else {
            Settled::Well
        }
    }

    fn phase(&self) -> Phase {
        if !self.refused.is_empty() {
            Phase::Failed
        } else if self.failing {
            Phase::Unhealthy
        } else if self.progressing {
            Phase::Syncing
        } else {
            Phase::Healthy
        }
    }
}

/// What a workload runs, for the report.
fn workload(object: &ObjectId, live: &Json) -> Option<Workload> {
    let containers = live.pointer("/spec/template/spec/containers")?.as_array()?;
    let images = containers.iter().filter_map(|container| container["image"].as_str()).map(str::to_owned).collect();
    let number = |pointers: &[&str]| pointers.iter().find_map(|pointer| live.pointer(pointer)?.as_i64());
    Some(Workload {
        object: object.to_string(),
        images,
        ready: number(&["/status/readyReplicas", "/status/numberReady"]).unwrap_or(0),
        wanted: number(&["/spec/replicas", "/status/desiredNumberScheduled"]).unwrap_or(1),
    })
}
