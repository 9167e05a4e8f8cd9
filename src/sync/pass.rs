//! One pass: plan, apply, look at health, prune, report. It may be made at any time and as often as one likes: a pass that
//! finds everything as it should be asks the cluster nothing and writes nothing.

use super::{
    Error, Settings,
    checkout::{self, Checkout},
    desired::Desired,
    drift::Fights,
    events::{Tone, Voice, Word},
    fetch,
    findings::{Findings, Settled},
    health::Health,
    inventory::Inventory,
    kinds::{self, Kinds, Place, Reach},
    lease::Lease,
    metrics::{Counts, Metrics},
    nudges::{self, Asked, Listener},
    object::{ObjectId, Problem},
    plan::{self, Wanted},
    pods::Log,
    prune::Approval,
    report::{self, Delivered, Note, Phase, Report},
    store, verify,
    watch::Watches,
};
use crate::values::Oid;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, Client, api::LogParams};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The kinds whose health their pods explain.
const WITH_PODS: &[&str] = &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"];
/// How often the server is asked for kinds that manifests name and it does not serve.
const KINDS_AFTER: Duration = Duration::from_secs(30);
/// The same once a definition of such a kind is established: what is served is told a moment later.
const DEFINED_AFTER: Duration = Duration::from_millis(500);
/// Lines of a crashed container's log that are told.
const LOG_LINES: i64 = 5;
/// Bytes of it that are read.
const LOG_BYTES: i64 = 2048;
/// How long a log may take to be read; the next pass asks again.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// A commit as it is to be applied.
pub(super) struct Revision {
    pub(super) commit: Oid,
    time: Timestamp,
    pub(super) wanted: Wanted,
    refused: Vec<Problem>,
    pub(super) approval: Approval,
    delivered: Delivered,
    pub(super) desired: Arc<Desired>,
}

/// A write that the server refused, and when it is worth another try.
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) count: u32,
    pub(super) next: Instant,
}

/// One environment's sync between two passes.
pub(super) struct Sync {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) voice: Voice,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watches: Watches,
    pub(super) lease: Lease,
    pub(super) revision: Option<Revision>,
    pub(super) report: Option<Report>,
    /// What is in the way of the whole: the repository does not answer, or holds no such folder.
    pub(super) trouble: Option<(Phase, String)>,
    /// The newest commit of the branch, where it cannot be taken.
    pub(super) not_taken: Option<Oid>,
    /// Why somebody asked to change nothing.
    pub(super) suspended: Option<String>,
    /// What people ask for by now.
    pub(super) asked: watch::Receiver<Asked>,
    _listener: Listener,
    pub(super) kinds: Kinds,
    /// When the server was last asked for them.
    discovered: Instant,
    /// Somebody asks to try again what was refused.
    pub(super) asked_again: bool,
    pub(super) inventory: Inventory,
    pub(super) failures: HashMap<ObjectId, Failure>,
    pub(super) fights: Fights,
    /// What was said of drift that is left: by object, for the version that was looked at.
    pub(super) left: HashMap<ObjectId, (String, String)>,
    logs: HashMap<Log, String>,
}

impl Sync {
    /// Begins with what the cluster knows of earlier days.
    pub(super) async fn begin(client: Client, settings: Settings, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let kinds = Kinds::discover(&client).await?;
        let inventory = store::inventory(&client, &settings).await?;
        // A report that cannot be read is only replaced; the inventory, above, is not.
        let report = report::read(&client, &settings.environment).await.unwrap_or_default();
        let report = report.filter(|report| report.is_of(&settings));
        let suspended = nudges::suspended(&client, &settings).await?;
        let (asked, listener) = nudges::listen(client.clone(), &settings, suspended.clone());
        let environment = settings.environment.as_str();
        Ok(Self {
            voice: Voice::new(client.clone(), Arc::clone(&metrics), environment, &settings.namespace),
            watches: Watches::new(client.clone()),
            lease: Lease::new(client.clone(), &settings),
            client,
            settings,
            metrics,
            revision: None,
            report,
            trouble: None,
            not_taken: None,
            suspended,
            asked,
            _listener: listener,
            kinds,
            discovered: Instant::now(),
            asked_again: false,
            inventory,
            failures: HashMap::new(),
            fights: Fights::default(),
            left: HashMap::new(),
            logs: HashMap::new(),
        })
    }

    /// Takes in whether somebody asks for peace by now; whether that is news.
    pub(super) fn hear(&mut self) -> bool {
        let suspended = self.asked.borrow().suspended.clone();
        let is_news = self.suspended != suspended;
        if is_news {
            self.voice.line("suspend", &[("decision", if suspended.is_some() { "suspend" } else { "resume" })]);
            self.suspended = suspended;
        }
        is_news
    }

    /// Takes a commit in place of the one before.
    pub(super) async fn take(&mut self, commit: &Oid) -> Result<(), Error> {
        let earlier = self.revision.as_ref().map(|revision| Arc::clone(&revision.desired)).unwrap_or_default();
        let (settings, commit) = (self.settings.clone(), commit.clone());
        let reading = tokio::task::spawn_blocking(move || -> Result<(Checkout, Desired), Error> {
            let repository = fetch::copy_with(&settings, &commit)?;
            verify::commit(&repository, &commit, &settings.verify)?;
            let checkout = checkout::read(&repository, &commit, &settings.path)?;
            let desired = Desired::read(&repository, &checkout, &earlier)?;
            fetch::settle(&settings, &commit)?;
            Ok((checkout, desired))
        });
        let gone = |error: tokio::task::JoinError| Error::Repository { reason: error.to_string() };
        let (checkout, desired) = reading.await.map_err(gone)??;
        if self.is_some_unknown(&desired) {
            self.discover().await?;
        }
        let (wanted, refused) = plan::resolve(desired.outlines(), &self.settings, &self.kinds);
        let Checkout { commit, time, approval, delivered, .. } = checkout;
        let before = self.report.as_ref().and_then(|report| report.manifest_commit.clone());
        self.tell_rewritten(before.as_ref(), &commit).await;
        let count = wanted.len().to_string();
        self.voice.line("decode", &[("decision", "take"), ("commit", commit.as_str()), ("objects", &count)]);
        self.failures.clear();
        let earlier = self.revision.take().map(|revision| revision.wanted).unwrap_or_default();
        for (object, outline) in &wanted {
            if earlier.get(object).is_none_or(|earlier| earlier.fingerprint != outline.fingerprint) {
                self.fights.forget(object);
                self.left.remove(object);
            }
        }
        self.left.retain(|object, _| wanted.contains_key(object));
        self.revision =
            Some(Revision { commit, time, wanted, refused, approval, delivered, desired: Arc::new(desired) });
        Ok(())
    }

    /// Makes one pass.
    pub(super) async fn pass(&mut self) -> Result<Settled, Error> {
        let began = Instant::now();
        self.voice.begin();
        let Some(mut revision) = self.revision.take() else {
            self.publish(None, Findings::default()).await?;
            self.metrics.passed(began.elapsed());
            return Ok(if self.trouble.is_some() { Settled::Stuck } else { Settled::Moving });
        };
        let result = self.pass_on(&mut revision).await;
        self.revision = Some(revision);
        self.metrics.passed(began.elapsed());
        result
    }

    async fn pass_on(&mut self, revision: &mut Revision) -> Result<Settled, Error> {
        if self.knows_too_little(revision) {
            self.discover().await?;
            (revision.wanted, revision.refused) =
                plan::resolve(revision.desired.outlines(), &self.settings, &self.kinds);
        }
        self.asked_again = false;
        let revision: &Revision = revision;
        let places = self.places_that_matter(&revision.wanted);
        let with_pods = places.iter().filter(|place| WITH_PODS.contains(&place.kind.resource.kind.as_str()));
        let namespaces: BTreeSet<_> = with_pods.map(|place| place.namespace.clone()).collect();
        let pod = self.kinds.find("v1", "Pod");
        let pods: Vec<Place> =
            namespaces.into_iter().filter_map(|namespace| Some(Place { kind: pod?.clone(), namespace })).collect();
        self.watches.follow(&places, &pods);
        self.watches.ready().await;
        self.watches.cache().take_news();
        let silence = self.watches.silence();
        let mut findings = Findings { halted: self.suspended.clone(), silence, ..Findings::default() };
        findings.refused = self.problems(revision).await;
        self.apply(revision, &mut findings).await?;
        self.judge(revision, &mut findings).await;
        if findings.silence.is_blind() {
            self.hold_prune(revision, &mut findings);
        } else {
            self.prune(revision, &mut findings).await?;
        }
        let settled = findings.settled();
        self.publish(Some(revision), findings).await?;
        Ok(settled)
    }

    /// Asks the server which kinds it serves.
    async fn discover(&mut self) -> Result<(), Error> {
        self.kinds = Kinds::discover(&self.client).await?;
        self.discovered = Instant::now();
        Ok(())
    }

    fn is_some_unknown(&self, desired: &Desired) -> bool {
        desired.outlines().any(|outline| self.kinds.find(&outline.api_version, &outline.id.kind).is_none())
    }

    /// Whether the server may serve other kinds by now than we know, and somebody needs them.
    fn knows_too_little(&self, revision: &Revision) -> bool {
        if self.watches.has_lost_a_kind() {
            return true;
        }
        if !self.is_some_unknown(&revision.desired) {
            return false;
        }
        let cache = self.watches.cache();
        let is_established = |object: &ObjectId| cache.get(object).is_some_and(|seen| seen.health == Health::Healthy);
        let mut defined = revision.wanted.iter().filter(|(object, outline)| {
            outline.defines.as_ref().is_some_and(|it| !it.is_served(&self.kinds)) && is_established(object)
        });
        let after = if defined.next().is_some() { DEFINED_AFTER } else { KINDS_AFTER };
        self.asked_again || self.discovered.elapsed() >= after
    }

    /// An empty namespace and a missing one look alike; only the second is a mistake. One that reaches the whole cluster may
    /// have it in the repository.
    pub(super) async fn expect_namespace(&self) -> Result<(), Error> {
        if self.settings.reach == Reach::Cluster {
            return Ok(());
        }
        let namespace = &self.settings.namespace;
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.get_metadata_opt(namespace).await {
            Ok(None) => Err(Error::NoNamespace { namespace: namespace.clone() }),
            Ok(Some(_)) => Ok(()),
            Err(source) => Err(Error::cluster("looking for the namespace", source)),
        }
    }

    /// The places to be followed: of what is wanted and of what is owned, each once.
    fn places_that_matter(&self, wanted: &Wanted) -> Vec<Place> {
        let of_wanted = wanted.iter().map(|(object, outline)| (outline.api_version.as_str(), object));
        let of_owned = self.inventory.iter().map(|(object, applied)| (applied.api_version.as_str(), object));
        // What it owns of a wider reach than it has now, it may not even look at.
        let within = of_wanted.chain(of_owned).filter(|(_, object)| self.settings.reaches(object));
        kinds::places(within, &self.kinds, |kind| self.settings.may_write(kind))
    }

    /// Says so where the branch no longer has the commit that was applied before: whoever rewrote it may not know that it is
    /// followed all the same.
    async fn tell_rewritten(&mut self, earlier: Option<&Oid>, commit: &Oid) {
        let Some(earlier) = earlier.filter(|earlier| *earlier != commit) else { return };
        let rewritten = fetch::copy(&self.settings).is_ok_and(|copy| fetch::is_rewritten(&copy, earlier, commit));
        if !rewritten {
            return;
        }
        let message = format!(
            "{} was rewritten by force: it no longer has commit {}; commit {} is applied",
            self.settings.branch,
            earlier.short(),
            commit.short()
        );
        let namespace = self.settings.namespace.clone();
        let object = ObjectId {
            group: String::new(),
            kind: "Namespace".to_owned(),
            namespace: Some(namespace.clone()),
            name: namespace,
        };
        let word = Word {
            object: &object,
            api_version: "v1",
            uid: None,
            tone: Tone::Warning,
            reason: "Rewritten",
            message: &message,
        };
        self.voice.say("fetch", &word).await;
        self.voice.well(&object);
    }

    /// Tells what of the commit was refused before the cluster was asked.
    async fn problems(&mut self, revision: &Revision) -> Vec<Note> {
        let problems = || revision.desired.problems().chain(&revision.refused);
        for problem in problems() {
            let message = format!("{}: {}", problem.origin, problem.message);
            match &problem.object {
                Some(object) => self.warn("plan", object, "Refused", &message).await,
                None => self.voice.line_once("decode", &problem.origin.file, &message),
            }
        }
        problems().map(Note::from).collect()
    }

    pub(super) async fn warn(&mut self, stage: &str, object: &ObjectId, reason: &'static str, message: &str) {
        let api_version = self.inventory.get(object).map(|applied| applied.api_version.clone()).unwrap_or_default();
        let uid = self.watches.cache().get(object).map(|seen| seen.uid.clone());
        let word =
            Word { object, api_version: &api_version, uid: uid.as_deref(), tone: Tone::Warning, reason, message };
        self.voice.say(stage, &word).await;
    }

    /// Keeps what no manifest names: what is not seen may be there all the same, and stays owned.
    fn hold_prune(&self, revision: &Revision, findings: &mut Findings) {
        let reason = "nothing is pruned while the objects of a kind cannot be listed";
        let surplus = self.inventory.surplus(|object| revision.wanted.contains_key(object));
        findings.waiting.extend(surplus.into_iter().map(|object| Note::on(&object, reason)));
    }

    /// Looks at the health of what is there and ours.
    async fn judge(&mut self, revision: &Revision, findings: &mut Findings) {
        let mut ailing = Vec::new();
        {
            let cache = self.watches.cache();
            for object in revision.wanted.keys() {
                let Some(seen) = cache.get(object) else {
                    // Gone again since it was applied; what was refused never came.
                    findings.progressing |= self.inventory.get(object).is_some() && !self.failures.contains_key(object);
                    continue;
                };
                if !self.inventory.get(object).is_some_and(|applied| plan::owns(applied, seen)) {
                    continue;
                }
                if let Some(workload) =
                    seen.workload.as_deref().filter(|_| findings.workloads.len() < report::MAX_NOTES)
                {
                    findings.workloads.push(report::Workload { object: object.to_string(), ..workload.clone() });
                }
                if let Some(reason) = findings.silence.unheard(object) {
                    findings.progressing = true;
                    findings.unhealthy.push(Note::on(object, &reason));
                    continue;
                }
                match cache.health(object, seen) {
                    // What was refused or failed about it is still to be told once only.
                    (Health::Healthy, _) => {
                        if !self.failures.contains_key(object) {
                            self.voice.well(object);
                        }
                    }
                    (health, pod) => ailing.push((object, health, pod.and_then(|pod| pod.trouble.log.clone()))),
                }
            }
        }
        for (object, health, log) in ailing {
            let (mut reason, failed) = match health {
                Health::Progressing(reason) => (reason, false),
                Health::Failed(reason) => (reason, true),
                Health::Healthy => continue,
            };
            if let Some(said) = self.last_words(log).await {
                reason = format!("{reason}; its last lines: {said}");
            }
            findings.unhealthy.push(Note::on(object, &reason));
            if failed {
                findings.failing = true;
                self.warn("health", object, "Unhealthy", &reason).await;
            } else {
                findings.progressing = true;
            }
        }
    }

    /// The end of a crashed container's log, read once for each crash.
    async fn last_words(&mut self, log: Option<Log>) -> Option<String> {
        const REMEMBERED: usize = 200;
        let log = log?;
        if let Some(said) = self.logs.get(&log) {
            return Some(said.clone()).filter(|said| !said.is_empty());
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &log.namespace);
        let parameters = LogParams {
            container: Some(log.container.clone()),
            previous: true,
            tail_lines: Some(LOG_LINES),
            limit_bytes: Some(LOG_BYTES),
            ..LogParams::default()
        };
        // A log that cannot be read says nothing for now; the container's exit code is told all the same.
        let said = match tokio::time::timeout(LOG_PATIENCE, api.logs(&log.pod, &parameters)).await {
            Ok(Ok(said)) => said,
            Ok(Err(kube::Error::Api(refused))) if (400..500).contains(&refused.code) && refused.code != 429 => {
                String::new()
            }
            _ => return None,
        };
        let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ");
        if self.logs.len() >= REMEMBERED {
            self.logs.clear();
        }
        self.logs.insert(log, said.clone());
        Some(said).filter(|said| !said.is_empty())
    }

    /// Writes the report where it changed.
    async fn publish(&mut self, revision: Option<&Revision>, findings: Findings) -> Result<(), Error> {
        if revision.is_none() && self.trouble.is_none() && self.suspended.is_none() {
            // What an earlier process saw is not for this one to sign.
            return Ok(());
        }
        let counts = Counts {
            wanted: revision.map_or(0, |revision| revision.wanted.len()),
            owned: self.inventory.len(),
            unhealthy: findings.unhealthy.len(),
            refused: findings.refused.len(),
            waiting: findings.waiting.len(),
        };
        let mut report = match (revision, &self.report) {
            (Some(revision), _) => {
                let mut report = Report::new(&self.settings);
                report.manifest_commit = Some(revision.commit.clone());
                report.manifest_time = Some(revision.time);
                report.sources.clone_from(&revision.delivered.images);
                report.objects = revision.wanted.len();
                report.phase = findings.phase();
                report.message = findings.halted;
                report.unhealthy = findings.unhealthy;
                report.refused = findings.refused;
                report.waiting = findings.waiting;
                report.drifted = findings.drifted;
                report.workloads = findings.workloads;
                report
            }
            // Before the first commit of this process, what an earlier one saw is the best that is known.
            (None, Some(earlier)) => Report { message: None, ..earlier.clone() },
            (None, None) => Report::new(&self.settings),
        };
        if let Some(why) = &self.suspended {
            report.phase = Phase::Suspended;
            report.message = Some(report::shorten(&format!("suspended: {why}")));
        }
        if let Some((phase, message)) = &self.trouble {
            report.phase = *phase;
            report.message = Some(report::shorten(message));
        }
        report.not_taken.clone_from(&self.not_taken);
        let commit = report.manifest_commit.as_ref().map(Oid::as_str);
        self.metrics.found(counts, report.phase.as_str(), commit);
        if self.report.as_ref().map(|earlier| earlier.phase) != Some(report.phase) {
            let message = report.message.clone().unwrap_or_default();
            self.voice.line("report", &[("decision", report.phase.as_str()), ("reason", &message)]);
        }
        if let Some(written) = report::write(&self.client, report.signed(), self.report.as_ref()).await? {
            self.metrics.wrote("report");
            self.report = Some(written);
        }
        Ok(())
    }
}
