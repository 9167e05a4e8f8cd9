//! What is said aloud: Events on the objects, for whoever runs `kubectl describe`, and a line of JSON for each decision on
//! standard output. Nothing is said twice in a row about the same object.

use super::{metrics::Metrics, object::ObjectId};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Map, Value as Json};
use std::{collections::HashMap, io::Write as _, sync::Arc};

/// Whether an Event is news or a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Normal,
    Warning,
}

/// Something to be said about an object.
pub(super) struct Word<'w> {
    pub(super) object: &'w ObjectId,
    pub(super) api_version: &'w str,
    /// The object's uid, where it is known, so that `kubectl describe` finds the Event.
    pub(super) uid: Option<&'w str>,
    pub(super) tone: Tone,
    /// One word in camel case, as Events have it: `Applied`.
    pub(super) reason: &'static str,
    pub(super) message: &'w str,
}

/// Events of one pass: a change of everything must not double the writes.
const EVENTS: usize = 20;

/// Says things, once each.
pub(super) struct Voice {
    client: Client,
    metrics: Arc<Metrics>,
    events_left: usize,
    environment: String,
    namespace: String,
    last: HashMap<String, String>,
}

impl Voice {
    pub(super) fn new(client: Client, metrics: Arc<Metrics>, environment: &str, namespace: &str) -> Self {
        Self {
            client,
            metrics,
            events_left: EVENTS,
            environment: environment.to_owned(),
            namespace: namespace.to_owned(),
            last: HashMap::new(),
        }
    }

    /// A pass begins, and with it a new count of Events.
    pub(super) fn begin(&mut self) {
        self.events_left = EVENTS;
    }

    /// Whether this is new about the subject. A subject that is well again is forgotten with an empty text.
    fn is_new(&mut self, subject: &str, text: &str) -> bool {
        if text.is_empty() {
            return self.last.remove(subject).is_some();
        }
        self.last.insert(subject.to_owned(), text.to_owned()).is_none_or(|last| last != text)
    }

    /// Writes a line about the whole.
    pub(super) fn line(&self, stage: &str, fields: &[(&str, &str)]) {
        let mut line = Map::new();
        line.insert("time".to_owned(), Timestamp::now().to_string().into());
        line.insert("environment".to_owned(), self.environment.clone().into());
        line.insert("stage".to_owned(), stage.into());
        for (name, value) in fields {
            line.insert((*name).to_owned(), super::report::shorten(value).into());
        }
        // A closed standard output must not stop the loop.
        let _ = writeln!(std::io::stdout().lock(), "{}", Json::Object(line));
    }

    /// Writes a line about a subject, unless it is what was said last.
    pub(super) fn line_once(&mut self, stage: &str, subject: &str, text: &str) {
        if self.is_new(subject, text) && !text.is_empty() {
            self.line(stage, &[("subject", subject), ("reason", text)]);
        }
    }

    /// Says a word about an object, as a line and as an Event.
    pub(super) async fn say(&mut self, stage: &str, word: &Word<'_>) {
        if !self.is_new(&word.object.to_string(), word.message) {
            return;
        }
        let object = word.object.to_string();
        self.line(stage, &[("object", &object), ("decision", word.reason), ("reason", word.message)]);
        if self.events_left == 0 {
            return;
        }
        self.events_left -= 1;
        let event = self.event(word);
        self.metrics.wrote("event");
        let api: Api<Event> = Api::namespaced(self.client.clone(), self.place(word.object));
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            self.line("report", &[("decision", "no event"), ("object", &object), ("reason", &error.to_string())]);
        }
    }

    /// Forgets what was said about an object, so that the same trouble is news when it comes back.
    pub(super) fn well(&mut self, object: &ObjectId) {
        if !self.last.is_empty() {
            self.last.remove(&object.to_string());
        }
    }

    /// The namespace of an Event: its object's, or where that has none the environment's.
    fn place<'o>(&'o self, object: &'o ObjectId) -> &'o str {
        object.namespace.as_deref().unwrap_or(&self.namespace)
    }

    fn event(&self, word: &Word<'_>) -> Event {
        let now = k8s_openapi::jiff::Timestamp::now();
        Event {
            metadata: ObjectMeta {
                generate_name: Some("gitops-hooks.".to_owned()),
                namespace: Some(self.place(word.object).to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(word.api_version.to_owned()),
                kind: Some(word.object.kind.clone()),
                name: Some(word.object.name.clone()),
                namespace: Some(self.place(word.object).to_owned()),
                uid: word.uid.map(str::to_owned),
                ..ObjectReference::default()
            },
            type_: Some(if word.tone == Tone::Normal { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(word.reason.to_owned()),
            message: Some(super::report::shorten(word.message)),
            source: Some(EventSource { component: Some(super::FIELD_MANAGER.to_owned()), host: None }),
            reporting_component: Some(super::FIELD_MANAGER.to_owned()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            ..Event::default()
        }
    }
}
