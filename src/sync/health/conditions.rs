//! What objects say of themselves in conditions: definitions, registered API servers, and kinds that are not known here. Pure.

use super::{Health, condition, number, number_or, text, waits};
use serde_json::Value as Json;

/// A definition serves its kind once its names are accepted and it is established.
pub(super) fn definition(object: &Json) -> Health {
    if let Some(accepted) = condition(object, "NamesAccepted")
        && accepted["status"] == "False"
    {
        return Health::Failed(text(accepted, "/message").to_owned());
    }
    match condition(object, "Established") {
        Some(established) if established["status"] == "True" => Health::Healthy,
        _ => waits("it is not established yet"),
    }
}

pub(super) fn available(object: &Json) -> Health {
    match condition(object, "Available") {
        Some(available) if available["status"] == "True" => Health::Healthy,
        Some(available) => waits(text(available, "/message")),
        None => waits("nobody has looked whether it is available"),
    }
}

/// `Ready`, or `Stalled` and `Reconciling` (kstatus), for kinds that are not known here. Nothing said is healthy.
pub(super) fn conditions(object: &Json) -> Health {
    let is_true = |kind: &str| condition(object, kind).filter(|condition| condition["status"] == "True");
    let generation = number(object, "/metadata/generation");
    let is_old = |condition: &Json| number_or(condition, "/observedGeneration", generation) < generation;
    if condition(object, "Ready").is_some_and(is_old) {
        return waits("its controller has not seen the change yet");
    }
    if let Some(stalled) = is_true("Stalled").or_else(|| is_true("Failed")) {
        return Health::Failed(text(stalled, "/message").to_owned());
    }
    if let Some(reconciling) = is_true("Reconciling") {
        return waits(text(reconciling, "/message").to_owned());
    }
    match condition(object, "Ready") {
        Some(ready) if ready["status"] != "True" => waits(match text(ready, "/message") {
            "" => "it is not ready",
            message => message,
        }),
        _ => Health::Healthy,
    }
}
