//! Whether an object does what it should: the rules of kstatus (`kubernetes-sigs/cli-utils`), the observed generation
//! first, then one small function per kind of Kubernetes' own, then the conditions that any kind may have. Pure: JSON in, a verdict out.
//! Where pods fail to start, their own message is the reason, long before a deadline passes.

mod conditions;
mod workloads;

use super::pods;
use conditions::{available, conditions, definition};
use serde_json::Value as Json;
use workloads::{daemon_set, deployment, job, pod, replica_set, stateful_set};

/// How an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It is as its manifest wants it.
    Healthy,
    /// It is on its way, with what it waits for.
    Progressing(String),
    /// It will not get there by itself, with the reason.
    Failed(String),
}

/// The health of an object with the pods of its namespace; the ones that belong to it are found by its selector.
#[must_use]
pub fn assess(object: &Json, pods: &[&Json]) -> Health {
    let health = rule(object);
    // A workload only says that it waits; why is told by its pods.
    if matches!(health, Health::Progressing(_))
        && let Some(selects) = pods::selects(object)
        && let Some(trouble) =
            pods.iter().filter(|pod| pods::belongs(&selects, &pods::shape(pod))).find_map(|pod| pods::trouble(pod))
    {
        return trouble.health();
    }
    health
}

/// The health of an object by itself.
#[must_use]
pub fn rule(object: &Json) -> Health {
    if let Some(health) = being_deleted(object).or_else(|| unobserved(object)) {
        return health;
    }
    // Others have a Service or a Job too, which says in its own way how it is.
    let group = text(object, "/apiVersion").split_once('/').map_or("", |(group, _)| group);
    match (group, text(object, "/kind")) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replica_set(object),
        ("batch", "Job") => job(object),
        ("", "Pod") => pod(object),
        ("", "Service") => service(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "PersistentVolume") => volume(object),
        ("", "Namespace") if text(object, "/status/phase") == "Terminating" => waits("it is being deleted"),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("apiregistration.k8s.io", "APIService") => available(object),
        // Their conditions speak of what they look at, not of themselves.
        ("policy", "PodDisruptionBudget")
        | ("autoscaling", "HorizontalPodAutoscaler")
        | ("batch", "CronJob")
        | ("networking.k8s.io", "Ingress" | "NetworkPolicy") => Health::Healthy,
        _ => conditions(object),
    }
}

fn waits(text: impl Into<String>) -> Health {
    Health::Progressing(text.into())
}

pub(super) fn number(object: &Json, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Json::as_i64).unwrap_or(0)
}

fn number_or(object: &Json, pointer: &str, otherwise: i64) -> i64 {
    object.pointer(pointer).and_then(Json::as_i64).unwrap_or(otherwise)
}

pub(super) fn text<'o>(object: &'o Json, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

/// A condition of the given type, where there is one.
pub(super) fn condition<'o>(object: &'o Json, kind: &str) -> Option<&'o Json> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

fn being_deleted(object: &Json) -> Option<Health> {
    object.pointer("/metadata/deletionTimestamp").map(|_| waits("it is being deleted"))
}

/// A status that speaks of an older generation says nothing about this one.
fn unobserved(object: &Json) -> Option<Health> {
    let observed = object.pointer("/status/observedGeneration")?.as_i64()?;
    let current = number(object, "/metadata/generation");
    (observed < current).then(|| waits("its controller has not seen the change yet"))
}

fn service(object: &Json) -> Health {
    let waits_for_address = text(object, "/spec/type") == "LoadBalancer"
        && object.pointer("/status/loadBalancer/ingress").and_then(Json::as_array).is_none_or(Vec::is_empty);
    if waits_for_address { waits("its load balancer has no address yet") } else { Health::Healthy }
}

/// A claim of a class that binds only when a pod needs it would wait forever where no pod does, so only a lost one fails.
fn claim(object: &Json) -> Health {
    match text(object, "/status/phase") {
        "Bound" => Health::Healthy,
        "Lost" => Health::Failed("its volume is lost".to_owned()),
        _ => waits("it is not bound to a volume"),
    }
}

fn volume(object: &Json) -> Health {
    match text(object, "/status/phase") {
        "Failed" => Health::Failed(match text(object, "/status/message") {
            "" => "its reclamation failed".to_owned(),
            message => message.to_owned(),
        }),
        "Available" | "Bound" | "Released" => Health::Healthy,
        _ => waits("it is not available yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rolled(generation: i64, observed: i64, [total, updated, ready]: [i64; 3]) -> Json {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "generation": generation },
            "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "web" } } },
            "status": { "observedGeneration": observed, "replicas": total, "updatedReplicas": updated,
                "readyReplicas": ready, "availableReplicas": ready } })
    }

    fn is_waiting(health: &Health) -> bool {
        matches!(health, Health::Progressing(_))
    }

    #[test]
    fn a_deployment_is_healthy_only_for_its_current_generation() {
        assert_eq!(assess(&rolled(2, 2, [2, 2, 2]), &[]), Health::Healthy);
        assert!(is_waiting(&assess(&rolled(3, 2, [2, 2, 2]), &[])), "generation first");
        assert!(is_waiting(&assess(&rolled(2, 2, [3, 2, 2]), &[])), "an old pod still answers");
        assert!(is_waiting(&assess(&rolled(2, 2, [2, 1, 2]), &[])));
        assert!(is_waiting(&assess(&rolled(2, 2, [2, 2, 1]), &[])));
        assert!(
            is_waiting(&assess(
                &json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "replicas": 0 } }),
                &[]
            )),
            "nobody looked"
        );
    }

    #[test]
    fn a_deadline_that_passed_is_a_failure() {
        let mut late = rolled(2, 2, [2, 1, 1]);
        late["status"]["conditions"] = json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out" }]);
        assert_eq!(assess(&late, &[]), Health::Failed("timed out".into()));
    }

    #[test]
    fn a_pod_that_cannot_start_is_told_in_its_own_words() {
        let pod = json!({ "metadata": { "name": "web-1", "labels": { "app": "web", "x": "y" } }, "status": {
            "containerStatuses": [{ "name": "web", "state": { "waiting":
                { "reason": "ImagePullBackOff", "message": "manifest unknown" } } }] } });
        let health = assess(&rolled(2, 2, [3, 1, 2]), &[&pod]);
        assert_eq!(health, Health::Failed("container web of pod web-1: ImagePullBackOff: manifest unknown".into()));
        assert_eq!(assess(&rolled(2, 2, [2, 2, 2]), &[&pod]), Health::Healthy, "its replicas are all there");
        let crashed = json!({ "metadata": { "name": "web-1", "labels": { "app": "web" } }, "status": {
            "containerStatuses": [{ "name": "web", "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 3, "message": "a\nno database\n" } } }] } });
        assert!(
            matches!(assess(&rolled(2, 2, [2, 2, 0]), &[&crashed]), Health::Failed(m) if m.ends_with("exit code 3: no database"))
        );
        let other = json!({ "metadata": { "labels": { "app": "api" } }, "status": pod["status"] });
        assert!(is_waiting(&assess(&rolled(2, 2, [3, 1, 2]), &[&other])));
    }

    #[test]
    fn a_pod_of_an_earlier_template_says_nothing_about_this_one() {
        let template = |image: &str| json!({ "containers": [{ "name": "web", "image": image }] });
        let mut workload = rolled(2, 2, [3, 1, 2]);
        workload["spec"]["template"] = json!({ "spec": template("web:2") });
        let pod = |image: &str| {
            json!({ "metadata": { "name": "web-1", "labels": { "app": "web" } }, "spec": template(image), "status": {
                "containerStatuses": [{ "name": "web", "state": { "waiting": { "reason": "ErrImagePull" } } }] } })
        };
        assert!(is_waiting(&assess(&workload, &[&pod("web:1")])));
        assert!(matches!(assess(&workload, &[&pod("web:1"), &pod("web:2")]), Health::Failed(_)));
    }

    #[test]
    fn each_kind_has_its_rule() {
        let table = [
            (json!({ "apiVersion": "v1", "kind": "ConfigMap" }), true),
            (json!({ "apiVersion": "v1", "kind": "Service", "spec": { "type": "NodePort" } }), true),
            (json!({ "apiVersion": "v1", "kind": "Service", "spec": { "type": "LoadBalancer" } }), false),
            (json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": { "phase": "Bound" } }), true),
            (json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": { "phase": "Pending" } }), false),
            (json!({ "apiVersion": "batch/v1", "kind": "Job", "status": { "active": 1 } }), false),
            (
                json!({ "apiVersion": "batch/v1", "kind": "Job", "status": { "conditions": [{ "type": "Complete", "status": "True" }] } }),
                true,
            ),
            (json!({ "apiVersion": "v1", "kind": "Pod", "status": { "phase": "Pending" } }), false),
            (
                json!({ "apiVersion": "v1", "kind": "Pod", "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } }),
                true,
            ),
            (
                json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "spec": { "replicas": 1 }, "status": { "observedGeneration": 1, "replicas": 1,
                    "readyReplicas": 1, "currentReplicas": 1, "currentRevision": "a", "updateRevision": "a" } }),
                true,
            ),
            (
                json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "spec": { "replicas": 1 }, "status": { "observedGeneration": 1, "replicas": 1,
                    "readyReplicas": 1, "currentReplicas": 1, "currentRevision": "a", "updateRevision": "b" } }),
                false,
            ),
            (
                json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "status": { "observedGeneration": 1, "desiredNumberScheduled": 1,
                    "currentNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1, "numberReady": 1 } }),
                true,
            ),
            (json!({ "apiVersion": "apps/v1", "kind": "DaemonSet" }), false),
            (
                json!({ "apiVersion": "example.com/v1", "kind": "Widget", "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }),
                false,
            ),
            (json!({ "apiVersion": "example.com/v1", "kind": "Widget" }), true),
            (
                json!({ "apiVersion": "serving.knative.dev/v1", "kind": "Service", "status": { "conditions":
                    [{ "type": "Ready", "status": "False" }] } }),
                false,
            ),
            (
                json!({ "apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "status": { "state": { "phase": "Running" } } }),
                true,
            ),
            (
                json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "generation": 2 }, "status": { "conditions":
                    [{ "type": "Ready", "status": "True", "observedGeneration": 1 }] } }),
                false,
            ),
            (
                json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "status": { "conditions":
                [{ "type": "Established", "status": "True" }] } }),
                true,
            ),
            (json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition" }), false),
            (json!({ "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService" }), false),
            (json!({ "apiVersion": "v1", "kind": "PersistentVolume", "status": { "phase": "Released" } }), true),
            (json!({ "apiVersion": "v1", "kind": "Namespace", "status": { "phase": "Terminating" } }), false),
            (
                json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "status": { "conditions":
                [{ "type": "Ready", "status": "False" }] } }),
                true,
            ),
        ];
        for (object, healthy) in table {
            assert_eq!(assess(&object, &[]) == Health::Healthy, healthy, "{object}");
        }
    }

    #[test]
    fn what_is_updated_on_delete_still_needs_its_replicas_and_its_controllers_look() {
        let rolled = |kind: &str, status: Json| {
            json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "generation": 2 },
                "spec": { "replicas": 2, "updateStrategy": { "type": "OnDelete" } }, "status": status })
        };
        let set = |ready: i64| {
            json!({ "observedGeneration": 2, "replicas": 2, "readyReplicas": ready, "currentReplicas": 0,
                "currentRevision": "a", "updateRevision": "b" })
        };
        let daemons = |ready: i64| {
            json!({ "observedGeneration": 2, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
                "updatedNumberScheduled": 0, "numberAvailable": ready, "numberReady": ready })
        };
        for (object, healthy) in [
            (rolled("StatefulSet", set(2)), true),
            (rolled("StatefulSet", set(1)), false),
            (rolled("StatefulSet", json!({})), false),
            (rolled("DaemonSet", daemons(2)), true),
            (rolled("DaemonSet", daemons(1)), false),
            (rolled("DaemonSet", json!({ "desiredNumberScheduled": 0 })), false),
        ] {
            assert_eq!(assess(&object, &[]) == Health::Healthy, healthy, "{object}");
        }
    }

    #[test]
    fn a_failed_job_says_why() {
        let failed = json!({ "apiVersion": "batch/v1", "kind": "Job", "status": { "conditions":
            [{ "type": "Failed", "status": "True", "message": "it has reached the specified backoff limit" }] } });
        assert!(matches!(assess(&failed, &[]), Health::Failed(message) if message.contains("backoff limit")));
    }
}
