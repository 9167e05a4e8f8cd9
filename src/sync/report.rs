//! What the sync says about itself: a `ConfigMap` for `gitops-hooks status`, bounded and written only when what it says
//! changes. The laptop reads it with [`read`] and asks for a poll with [`nudge`].

use super::{Error, FIELD_MANAGER, NAMESPACE, Settings, object::ObjectId, store::Origin};
use crate::values::{EnvironmentName, ImageName, ImageRef, Oid};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// The key under which the report lies in its `ConfigMap`.
pub const KEY: &str = "report.json";
/// The annotation on the settings' `ConfigMap` whose change makes the sync poll at once.
pub const NUDGE: &str = "gitops-hooks.dev/nudge";
/// The annotation there that asks the sync to change nothing; its value says why.
pub const SUSPEND: &str = "gitops-hooks.dev/suspend";
/// The variable with the name of the pod that the sync runs in; `templates/cluster/deployment.yaml` sets it.
pub(super) const POD: &str = "POD_NAME";
/// The most notes of one sort that a report holds.
pub(super) const MAX_NOTES: usize = 50;
/// The longest reason that it holds.
const MAX_REASON: usize = 600;

/// The name of the `ConfigMap` that holds an environment's report.
#[must_use]
pub fn name(environment: &EnvironmentName) -> String {
    format!("gitops-hooks-report-{environment}")
}

/// How the environment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The newest commit is being applied, or its objects are on their way.
    Syncing,
    /// All that the newest commit asks for is there and does what it should.
    Healthy,
    /// All of it was applied; something does not come up.
    Unhealthy,
    /// Something of it was refused, here or by the API server.
    Failed,
    /// The repository does not answer; the cluster is left as it is.
    Unreachable,
    /// Somebody has asked the sync to change nothing until `cluster resume`.
    Suspended,
}

impl Phase {
    /// Its word in logs, reports and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::Suspended => "suspended",
        }
    }
}

/// One environment, as the sync last saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The environment.
    pub environment: EnvironmentName,
    /// Its namespace.
    pub namespace: String,
    /// What it is made from; none where an older program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<Origin>,
    /// The pod whose sync says so; none where it runs elsewhere. `cluster install` waits for the word of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// How it is.
    pub phase: Phase,
    /// Since when it is so with this commit (RFC 3339).
    pub since: Timestamp,
    /// The commit of the manifest repository that was last read; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_commit: Option<Oid>,
    /// When that was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_time: Option<Timestamp>,
    /// The newest commit of the branch, where it is not taken and the one before stays: not signed, without the path. `message`
    /// says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_taken: Option<Oid>,
    /// What was delivered with that commit: for each image the source commit, from the state file.
    #[serde(default)]
    pub sources: BTreeMap<ImageName, DeliveredImage>,
    /// What is in the way of the whole, where something is: the repository's or the API server's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many objects the commit asks for.
    #[serde(default)]
    pub objects: usize,
    /// Objects that are not healthy, with the reason.
    #[serde(default)]
    pub unhealthy: Vec<Note>,
    /// What was refused or failed, with the file and line.
    #[serde(default)]
    pub refused: Vec<Note>,
    /// Objects that no manifest names any more and that wait to be pruned, with the reason.
    #[serde(default)]
    pub waiting: Vec<Note>,
    /// Objects that somebody else changed and that are left so, because their manifests ask for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifted: Vec<Note>,
    /// The workloads and the images that they run.
    #[serde(default)]
    pub workloads: Vec<Workload>,
}

/// A line about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The object as `Kind namespace/name`; none for a whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// `file:line`, where it was written somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What is to be said.
    pub reason: String,
}

/// A workload and what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment shop/web`.
    pub object: String,
    /// The images of its pod template.
    pub images: Vec<String>,
    /// The replicas that are ready.
    pub ready: i64,
    /// The replicas that it wants.
    pub wanted: i64,
}

/// An image as the state file says it was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredImage {
    /// The commit that it was built from.
    pub source: Oid,
    /// What was written into the manifests.
    pub reference: ImageRef,
}

/// The part of the state file that the sync reports. It decides nothing here, so what cannot be read is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Delivered {
    /// By image.
    #[serde(default)]
    pub images: BTreeMap<ImageName, DeliveredImage>,
}

impl Delivered {
    /// Reads the state file's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        serde_yaml::from_str(text).unwrap_or_default()
    }
}

impl Note {
    /// A note on an object.
    pub(super) fn on(object: &ObjectId, reason: &str) -> Self {
        Self { object: Some(object.to_string()), origin: None, reason: shorten(reason) }
    }
}

impl From<&super::object::Problem> for Note {
    fn from(problem: &super::object::Problem) -> Self {
        Self {
            object: problem.object.as_ref().map(ToString::to_string),
            origin: Some(problem.origin.to_string()),
            reason: shorten(&problem.message),
        }
    }
}

/// Text of bounded length.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_REASON).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl Report {
    /// A report with nothing in it yet.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            environment: settings.environment.clone(),
            namespace: settings.namespace.clone(),
            origin: Some(Origin::of(settings)),
            pod: None,
            phase: Phase::Syncing,
            since: Timestamp::now(),
            manifest_commit: None,
            not_taken: None,
            manifest_time: None,
            sources: BTreeMap::new(),
            message: None,
            objects: 0,
            unhealthy: Vec::new(),
            refused: Vec::new(),
            waiting: Vec::new(),
            drifted: Vec::new(),
            workloads: Vec::new(),
        }
    }

    /// The same with each list cut to what a `ConfigMap` and a reader can hold, saying how many are left out.
    fn bounded(mut self) -> Self {
        for notes in [&mut self.unhealthy, &mut self.refused, &mut self.waiting, &mut self.drifted] {
            if notes.len() > MAX_NOTES {
                let more = notes.len() - MAX_NOTES;
                notes.truncate(MAX_NOTES);
                notes.push(Note { object: None, origin: None, reason: format!("and {more} more") });
            }
        }
        self.workloads.truncate(MAX_NOTES);
        self
    }

    /// What is wrong, on one line: what is in the way of the whole, else the first of the objects.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let mut notes = self.refused.iter().chain(&self.unhealthy);
        self.message.clone().or_else(|| {
            let note = notes.next()?;
            let place: Vec<&str> = [&note.origin, &note.object].into_iter().flatten().map(String::as_str).collect();
            let more = match notes.count() {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            Some(format!("{}: {}{more}", place.join(": "), note.reason))
        })
    }

    /// The folder that is applied, where the program that wrote it said so.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| origin.path.as_str())
    }

    /// What is applied where, as [`Settings::applies`] has it.
    #[must_use]
    pub fn applies(&self) -> String {
        let what = self.origin.as_ref().map_or("its manifests".to_owned(), |it| format!("{} of {}", it.path, it.url));
        format!("{what} into the namespace {}", self.namespace)
    }

    /// Whether it speaks of what these settings follow.
    pub(super) fn is_of(&self, settings: &Settings) -> bool {
        self.origin.as_ref().map_or(self.namespace == settings.namespace, |origin| *origin == Origin::of(settings))
    }

    /// The same in the name of this process.
    pub(super) fn signed(self) -> Self {
        Self { pod: std::env::var(POD).ok(), ..self }
    }

    /// This report after `earlier`: the time stays where phase and commit do.
    fn after(mut self, earlier: Option<&Self>) -> Self {
        if let Some(earlier) = earlier
            && earlier.phase == self.phase
            && earlier.manifest_commit == self.manifest_commit
        {
            self.since = earlier.since;
        }
        self
    }
}

/// Writes the report where it says something else than the one before; what is there now, if it was written.
pub(super) async fn write(client: &Client, report: Report, earlier: Option<&Report>) -> Result<Option<Report>, Error> {
    let report = report.bounded().after(earlier);
    if earlier == Some(&report) {
        return Ok(None);
    }
    let text = serde_json::to_string(&report).unwrap_or_default();
    super::store::write(client, &name(&report.environment), KEY, text).await?;
    Ok(Some(report))
}

/// The report of an environment; `None` where no sync has written one.
///
/// # Errors
/// A cluster that does not answer, and a report that a newer version wrote.
pub async fn read(client: &Client, environment: &EnvironmentName) -> Result<Option<Report>, Error> {
    let Some(text) = super::store::read(client, &name(environment), KEY).await? else { return Ok(None) };
    let report = serde_json::from_str(&text)
        .map_err(|error| Error::Stored { name: name(environment), reason: error.to_string() })?;
    Ok(Some(report))
}

/// The name of the `ConfigMap` that holds an environment's settings, and that is nudged.
#[must_use]
pub fn settings_name(environment: &EnvironmentName) -> String {
    format!("gitops-hooks-{environment}")
}

/// Makes the sync of an environment ask the repository now, not at its next poll.
///
/// # Errors
/// A cluster that does not answer or does not let us, and an environment without a sync.
pub async fn nudge(client: &Client, environment: &EnvironmentName) -> Result<(), Error> {
    annotate(client, environment, &json!({ NUDGE: Timestamp::now().to_string() }), "nudging the sync").await
}

/// Asks the sync of an environment to change nothing, for this reason, or with none to go on.
///
/// # Errors
/// A cluster that does not answer or does not let us, and an environment without a sync.
pub async fn suspend(client: &Client, environment: &EnvironmentName, reason: Option<&str>) -> Result<(), Error> {
    annotate(client, environment, &json!({ SUSPEND: reason }), "suspending the sync").await
}

async fn annotate(
    client: &Client,
    environment: &EnvironmentName,
    annotations: &serde_json::Value,
    doing: &str,
) -> Result<(), Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = json!({ "metadata": { "annotations": annotations } });
    let parameters = PatchParams { field_manager: Some(format!("{FIELD_MANAGER}-nudge")), ..PatchParams::default() };
    api.patch_metadata(&settings_name(environment), &parameters, &Patch::Merge(&patch))
        .await
        .map(drop)
        .map_err(|source| Error::cluster(doing, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(&settings("https://git.example.com/a.git"))
    }

    fn settings(url: &str) -> Settings {
        let text = format!("environment: staging\nnamespace: shop\nurl: {url}\nbranch: main\n");
        Settings::parse("sync.yaml", &text).unwrap()
    }

    #[test]
    fn a_report_of_another_repository_or_namespace_says_nothing_about_this_one() {
        let ours = settings("https://git.example.com/a.git");
        assert!(report().is_of(&ours) && !report().is_of(&settings("https://git.example.com/b.git")));
        let old = Report { origin: None, ..report() };
        assert!(old.is_of(&ours));
        assert!(!Report { namespace: "other".into(), ..old }.is_of(&ours));
    }

    #[test]
    fn since_moves_only_with_phase_and_commit() {
        let earlier = Report { since: Timestamp::from_second(1).unwrap(), ..report() };
        assert_eq!(report().after(Some(&earlier)).since.as_second(), 1);
        let healthy = Report { phase: Phase::Healthy, ..report() };
        assert_ne!(healthy.after(Some(&earlier)).since.as_second(), 1);
    }

    #[test]
    fn a_report_stays_small() {
        let note = Note { object: None, origin: None, reason: "x".repeat(MAX_REASON) };
        let report = Report { refused: vec![note; 1000], ..report() }.bounded();
        assert_eq!(report.refused.len(), MAX_NOTES + 1);
        assert_eq!(report.refused[MAX_NOTES].reason, "and 950 more");
    }

    #[test]
    fn the_state_file_is_read_and_a_strange_one_ignored() {
        let text = format!(
            "version: 1\nimages:\n  web: {{source: {}, reference: 'registry.example.com/web:git-1@sha256:{}', hold: x}}\n",
            "a".repeat(40),
            "b".repeat(64)
        );
        assert_eq!(Delivered::parse(&text).images.len(), 1);
        assert_eq!(Delivered::parse("images: [1]"), Delivered::default());
    }
}
