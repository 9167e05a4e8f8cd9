//! When workloads are healthy: the counts of the generation that was applied, and what their controllers say of them. Pure.

use super::{Health, condition, number, number_or, text, waits};
use crate::sync::pods;
use serde_json::Value as Json;

pub(super) fn deployment(object: &Json) -> Health {
    if let Some(progressing) = condition(object, "Progressing")
        && progressing["reason"] == "ProgressDeadlineExceeded"
    {
        return Health::Failed(text(progressing, "/message").to_owned());
    }
    if let Some(failure) = condition(object, "ReplicaFailure")
        && failure["status"] == "True"
    {
        return Health::Failed(text(failure, "/message").to_owned());
    }
    // Without it no controller has looked yet: the counts below would all be zero and "equal".
    if object.pointer("/status/observedGeneration").is_none() {
        return waits("its controller has not seen it yet");
    }
    let wanted = number_or(object, "/spec/replicas", 1);
    let total = number(object, "/status/replicas");
    let updated = number(object, "/status/updatedReplicas");
    let available = number(object, "/status/availableReplicas");
    let ready = number(object, "/status/readyReplicas");
    if updated < wanted {
        return waits(format!("{updated} of {wanted} replicas are updated"));
    }
    if total > updated {
        return waits(format!("{} old replicas are still running", total - updated));
    }
    if available < updated {
        return waits(format!("{available} of {updated} updated replicas are available"));
    }
    if ready < wanted {
        return waits(format!("{ready} of {wanted} replicas are ready"));
    }
    match condition(object, "Available") {
        Some(available) if available["status"] != "True" => waits(text(available, "/message").to_owned()),
        _ => Health::Healthy,
    }
}

pub(super) fn stateful_set(object: &Json) -> Health {
    if object.pointer("/status/observedGeneration").is_none() {
        return waits("its controller has not seen it yet");
    }
    let wanted = number_or(object, "/spec/replicas", 1);
    let ready = number(object, "/status/readyReplicas");
    let current = number(object, "/status/currentReplicas");
    if number(object, "/status/replicas") < wanted {
        return waits(format!("{} of {wanted} replicas are made", number(object, "/status/replicas")));
    }
    if ready < wanted {
        return waits(format!("{ready} of {wanted} replicas are ready"));
    }
    // When these are replaced is somebody else's business.
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Health::Healthy;
    }
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    if partition > 0 {
        let updated = number(object, "/status/updatedReplicas");
        return if updated < wanted - partition {
            waits(format!("{updated} of {} replicas above the partition are updated", wanted - partition))
        } else {
            Health::Healthy
        };
    }
    if current < wanted {
        return waits(format!("{current} of {wanted} replicas are current"));
    }
    if text(object, "/status/currentRevision") == text(object, "/status/updateRevision") {
        Health::Healthy
    } else {
        waits("replicas of the old revision are still running")
    }
}

pub(super) fn daemon_set(object: &Json) -> Health {
    let Some(wanted) = object.pointer("/status/desiredNumberScheduled").and_then(Json::as_i64) else {
        return waits("its controller has not seen it yet");
    };
    if object.pointer("/status/observedGeneration").is_none() {
        return waits("its controller has not seen it yet");
    }
    for (pointer, what) in [
        ("/status/currentNumberScheduled", "scheduled"),
        ("/status/updatedNumberScheduled", "updated"),
        ("/status/numberAvailable", "available"),
        ("/status/numberReady", "ready"),
    ] {
        let there = number(object, pointer);
        if there < wanted && !(what == "updated" && text(object, "/spec/updateStrategy/type") == "OnDelete") {
            return waits(format!("{there} of {wanted} pods are {what}"));
        }
    }
    Health::Healthy
}

pub(super) fn replica_set(object: &Json) -> Health {
    if let Some(failure) = condition(object, "ReplicaFailure")
        && failure["status"] == "True"
    {
        return Health::Failed(text(failure, "/message").to_owned());
    }
    let wanted = number_or(object, "/spec/replicas", 1);
    let available = number(object, "/status/availableReplicas");
    if available < wanted {
        return waits(format!("{available} of {wanted} replicas are available"));
    }
    if number(object, "/status/replicas") > wanted {
        return waits("surplus replicas are still running");
    }
    Health::Healthy
}

/// A Job is healthy once it ran to its end; kstatus calls a started one "current", but green means green.
pub(super) fn job(object: &Json) -> Health {
    for kind in ["Failed", "FailureTarget"] {
        if let Some(failed) = condition(object, kind)
            && failed["status"] == "True"
        {
            return Health::Failed(text(failed, "/message").to_owned());
        }
    }
    if condition(object, "Complete").is_some_and(|complete| complete["status"] == "True") {
        return Health::Healthy;
    }
    if object.pointer("/spec/suspend") == Some(&Json::Bool(true)) {
        return Health::Healthy;
    }
    waits(format!("{} running, {} failed so far", number(object, "/status/active"), number(object, "/status/failed")))
}

pub(super) fn pod(object: &Json) -> Health {
    match text(object, "/status/phase") {
        "Succeeded" => Health::Healthy,
        "Failed" => Health::Failed(match text(object, "/status/message") {
            "" => "a container failed".to_owned(),
            message => message.to_owned(),
        }),
        "Running" if condition(object, "Ready").is_some_and(|ready| ready["status"] == "True") => Health::Healthy,
        phase => match pods::trouble(object) {
            Some(trouble) => trouble.health(),
            None if phase == "Running" => waits("its containers are not ready"),
            None => waits("it is starting"),
        },
    }
}
