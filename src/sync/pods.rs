//! Why pods do not start, in their own words: a missing image, a crash, a node that is nowhere to be found. It is known within
//! seconds, long before any deadline passes. Pure: JSON in, a verdict out.

use super::health::{Health, condition, number, text};
use serde_json::{Value as Json, json};

/// What a container waits for that does not come by itself.
const STUCK: &[&str] = &[
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// What keeps a pod from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is to be said.
    pub reason: String,
    /// Whether it may still go away by itself.
    pub passes: bool,
    /// The log that tells more, where a container ended by itself.
    pub log: Option<Log>,
}

/// The log of a container's last run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Its container.
    pub container: String,
    /// Which run ended, so that it is read once.
    pub run: i64,
}

impl Trouble {
    /// What it means for the workload.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.passes { Health::Progressing(self.reason.clone()) } else { Health::Failed(self.reason.clone()) }
    }
}

/// What keeps a pod from running, where something does.
#[must_use]
pub fn trouble(pod: &Json) -> Option<Trouble> {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return None;
    }
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = lists.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    statuses.clone().find_map(|status| stuck(pod, status)).or_else(|| unschedulable(pod)).or_else(|| {
        let mut statuses = statuses;
        statuses.find_map(|status| crashed(pod, status))
    })
}

fn stuck(pod: &Json, status: &Json) -> Option<Trouble> {
    let waiting = text(status, "/state/waiting/reason");
    if !STUCK.contains(&waiting) {
        return None;
    }
    let container = named(pod, status);
    // Of a crash the last end is the cause; "back-off restarting" is only what follows.
    if waiting == "CrashLoopBackOff" {
        let reason = format!("{container}: {waiting}: {}", ended(status.pointer("/lastState/terminated")));
        return Some(Trouble { reason: bounded(&reason), passes: false, log: Some(log(pod, status)) });
    }
    let reason = format!("{container}: {waiting}: {}", text(status, "/state/waiting/message"));
    Some(Trouble { reason: bounded(&reason), passes: false, log: None })
}

/// A container that has ended badly and will be started once more.
fn crashed(pod: &Json, status: &Json) -> Option<Trouble> {
    let terminated = status.pointer("/state/terminated")?;
    if number(terminated, "/exitCode") == 0 || text(pod, "/spec/restartPolicy") == "Never" {
        return None;
    }
    let reason = format!("{}: {}", named(pod, status), ended(Some(terminated)));
    Some(Trouble { reason: bounded(&reason), passes: true, log: None })
}

fn unschedulable(pod: &Json) -> Option<Trouble> {
    let scheduled = condition(pod, "PodScheduled")?;
    let reason = format!("pod {}: {}", text(pod, "/metadata/name"), text(scheduled, "/message"));
    (scheduled["status"] == "False").then(|| Trouble { reason: bounded(&reason), passes: true, log: None })
}

fn named(pod: &Json, status: &Json) -> String {
    format!("container {} of pod {}", text(status, "/name"), text(pod, "/metadata/name"))
}

fn log(pod: &Json, status: &Json) -> Log {
    Log {
        namespace: text(pod, "/metadata/namespace").to_owned(),
        pod: text(pod, "/metadata/name").to_owned(),
        container: text(status, "/name").to_owned(),
        run: number(status, "/restartCount"),
    }
}

/// How a container ended, with the last line of the message that it left.
fn ended(terminated: Option<&Json>) -> String {
    let Some(terminated) = terminated else { return "it ended".to_owned() };
    let code = number(terminated, "/exitCode");
    let message = text(terminated, "/message").trim().lines().last().unwrap_or_default();
    match (message, text(terminated, "/reason")) {
        ("", "" | "Error") => format!("it ended with exit code {code}"),
        ("", reason) => format!("{reason}, exit code {code}"),
        (message, _) => format!("exit code {code}: {message}"),
    }
}

fn bounded(text: &str) -> String {
    const MOST: usize = 500;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// What a workload's pods are known by: its selector's labels and the images that it asks for now. One that is left of an
/// earlier template says nothing about this one, whatever it waits for.
#[must_use]
pub fn selects(workload: &Json) -> Option<Json> {
    let labels = match workload["kind"].as_str()? {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => {
            workload.pointer("/spec/selector/matchLabels")
        }
        "ReplicationController" => workload.pointer("/spec/selector"),
        _ => None,
    };
    let labels = labels.filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()))?;
    Some(json!({ "labels": labels, "containers": images(workload, "/spec/template/spec") }))
}

/// What tells whose a pod is, in the same form.
#[must_use]
pub fn shape(pod: &Json) -> Json {
    let labels = pod.pointer("/metadata/labels").cloned().unwrap_or_default();
    json!({ "labels": labels, "containers": images(pod, "/spec") })
}

/// The name and image of each container.
fn images(object: &Json, spec: &str) -> Vec<Json> {
    ["containers", "initContainers"]
        .iter()
        .filter_map(|list| object.pointer(&format!("{spec}/{list}"))?.as_array())
        .flatten()
        .map(|container| json!([container["name"], container["image"]]))
        .collect()
}

/// Whether a pod is one of the workload's, and of its current template. A sidecar that was injected stands in no template.
#[must_use]
pub fn belongs(selects: &Json, shape: &Json) -> bool {
    let labels = selects["labels"].as_object().into_iter().flatten();
    let runs = |wanted: &Json| shape["containers"].as_array().is_some_and(|all| all.contains(wanted));
    labels.into_iter().all(|(key, value)| shape["labels"].get(key) == Some(value))
        && selects["containers"].as_array().is_some_and(|all| all.iter().all(runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: &Json) -> Json {
        json!({ "metadata": { "name": "web-1", "labels": { "app": "web" } }, "status": { "containerStatuses": [status] } })
    }

    #[test]
    fn a_missing_image_is_the_containers_own_message() {
        let waiting = json!({ "name": "web", "state": { "waiting": { "reason": "ImagePullBackOff",
            "message": "Back-off pulling image \"web:2\"" } } });
        let trouble = trouble(&pod(&waiting)).unwrap();
        assert_eq!(trouble.reason, "container web of pod web-1: ImagePullBackOff: Back-off pulling image \"web:2\"");
        assert!(!trouble.passes);
    }

    #[test]
    fn a_crash_loop_says_how_it_ended_and_where_the_log_is() {
        let crashed = json!({ "name": "web", "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 3, "message": "a\nno database\n" } } });
        let told = trouble(&pod(&crashed)).unwrap();
        assert!(told.reason.ends_with("exit code 3: no database"), "{}", told.reason);
        assert_eq!(told.log.map(|log| (log.container, log.run)), Some(("web".to_owned(), 3)));
        let killed = json!({ "name": "web", "state": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } } });
        let told = trouble(&pod(&killed)).unwrap();
        assert!(told.passes && told.reason.ends_with("OOMKilled, exit code 137"), "{}", told.reason);
    }

    #[test]
    fn no_node_is_told_and_may_still_come() {
        let mut pending = pod(&json!({ "name": "web" }));
        pending["status"]["conditions"] =
            json!([{ "type": "PodScheduled", "status": "False", "message": "0/1 nodes are available" }]);
        let told = trouble(&pending).unwrap();
        assert!(told.passes && told.reason.contains("0/1 nodes"));
        pending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(trouble(&pending), None);
    }

    #[test]
    fn pods_are_found_by_labels_and_current_images() {
        let workload = |kind: &str| {
            json!({ "kind": kind, "spec": { "selector": { "matchLabels": { "app": "web" } },
                "template": { "spec": { "containers": [{ "name": "web", "image": "web:2" }] } } } })
        };
        let pod = |image: &str| {
            shape(&json!({ "metadata": { "labels": { "app": "web", "hash": "x" } }, "spec": { "containers":
                [{ "name": "web", "image": image }, { "name": "proxy", "image": "p" }] } }))
        };
        let selects = selects(&workload("Deployment")).unwrap();
        assert!(belongs(&selects, &pod("web:2")));
        assert!(!belongs(&selects, &pod("web:1")));
        assert_eq!(super::selects(&workload("ConfigMap")), None);
    }
}
