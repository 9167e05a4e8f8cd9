//! The page that lists every key, made from the JSON schema, so that it can say nothing else than the decoder does.

use super::schema;
use serde_json::Value as Json;
use std::{collections::HashSet, fmt::Write as _};

/// Every key of the configuration as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# The configuration, key by key\n\n\
         Made from `gitops-hooks config schema`. The file is `.gitops-hooks.yaml` or `.config/gitops-hooks.yaml`; an untracked\n\
         `gitops-hooks.local.yaml` beside it lays one person's `hooks` and `scratch` over it. A list of patterns is read as in\n\
         `.gitignore`; a time is written as `30s`, `10m` or `1h 30m`.\n",
    );
    object(&mut text, "the file", &schema(), &mut HashSet::new());
    text
}

/// A table of an object's keys, then those of the objects in it that had none yet.
fn object(text: &mut String, name: &str, schema: &Json, told: &mut HashSet<String>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let about = schema["description"].as_str().unwrap_or_default();
    if !told.insert(about.to_owned()) {
        return;
    }
    let _ = write!(text, "\n## {name}\n\n{about}\n\n| key | value | what it says |\n|---|---|---|\n");
    let required = |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|known| known == key));
    for (key, value) in properties {
        let what = value["description"].as_str().unwrap_or_default().replace('|', "\\|");
        let must = if required(key) { " (needed)" } else { "" };
        let _ = writeln!(text, "| `{key}` | {}{must} | {what} |", kind(value));
    }
    for (key, value) in properties {
        let (label, inner) = inner(key, value);
        object(text, &label, inner, told);
    }
}

/// The object that a key leads to, through lists and maps, and what its part of the page is called.
fn inner<'s>(key: &str, value: &'s Json) -> (String, &'s Json) {
    let mut label = format!("`{key}`");
    let mut inner = value;
    loop {
        if inner["properties"].is_object() {
            return (label, inner);
        }
        if let Some(one) = inner["anyOf"].as_array().and_then(|of| of.iter().find(|one| one["properties"].is_object()))
        {
            return (label, one);
        }
        if inner["items"].is_object() {
            label.push_str(", one of the list");
            inner = &inner["items"];
        } else if inner["additionalProperties"].is_object() {
            label.push_str(", one of them by name");
            inner = &inner["additionalProperties"];
        } else {
            return (label, inner);
        }
    }
}

/// What kind of value a key takes, in words.
fn kind(value: &Json) -> String {
    if let Some(of) = value["anyOf"].as_array() {
        return of.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if value["type"].is_array() {
        return "one text or a list".to_owned();
    }
    match value["type"].as_str() {
        Some("array") => format!("list of {}", kind(&value["items"])),
        Some("object") if value["properties"].is_object() => "mapping".to_owned(),
        Some("object") => format!("names, each with {}", kind(&value["additionalProperties"])),
        Some("integer") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        _ => "text".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1 cargo test --lib the_page` writes the page anew.
    #[test]
    fn the_page_in_the_documentation_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), reference());
    }
}
