//! Any bytes as a manifest, as a kustomization, as values and as JSON. Whatever is patched: another parser, libyaml's, must
//! see the same but for the references, every line but theirs must be the same bytes, sound JSON must stay sound, and a
//! second delivery must have nothing to do. Whatever is refused must name its file.

#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "the rooms are taken whole")]

#[path = "../../src/manifest/mod.rs"]
mod manifest;
#[path = "../../src/values/mod.rs"]
mod values;
#[path = "../../src/yaml/mod.rs"]
mod yaml;

use libfuzzer_sys::fuzz_target;
use libyaml_safer::{EventData, Parser};
use manifest::{File, Form, Images, Wanted};
use std::{collections::BTreeMap, sync::LazyLock};
use values::{ImageName, Repository};

static WANTED: LazyLock<Vec<Wanted>> = LazyLock::new(|| {
    let wanted = |image: &str, repository: &str| {
        let reference = format!("{repository}:git-3f2a91c@sha256:{}", "a".repeat(64));
        Some(Wanted { image: image.parse().ok()?, reference: reference.parse().ok()? })
    };
    let all = [("web", "registry.example.com/team/flask-app"), ("api", "registry.example.com/team/api")];
    all.into_iter().filter_map(|(image, repository)| wanted(image, repository)).collect()
});
static KNOWN: LazyLock<BTreeMap<ImageName, Repository>> =
    LazyLock::new(|| WANTED.iter().map(|wanted| (wanted.image.clone(), wanted.reference.repository.clone())).collect());

fuzz_target!(|bytes: &[u8]| {
    let (path, form) = match bytes.len() % 4 {
        0 => ("a.yaml", Form::Manifest),
        1 => ("kustomization.yaml", Form::Manifest),
        2 => ("values.yaml", Form::Values),
        _ => ("a.json", Form::Manifest),
    };
    let images = Images::new(&WANTED, &KNOWN);
    let patch = match manifest::patch(&File { path, form, bytes }, &images) {
        Ok(patch) => patch,
        Err(refusal) => {
            assert!(refusal.to_string().starts_with(path), "{refusal}");
            return;
        }
    };
    let changed = patch.fields.iter().filter(|field| field.is_changed()).count();
    assert_eq!(*patch.bytes != *bytes, changed > 0);
    if changed == 0 {
        return;
    }
    let before = std::str::from_utf8(bytes).expect("what is changed is text");
    let after = std::str::from_utf8(&patch.bytes).expect("and stays it");
    let again = manifest::patch(&File { path, form, bytes: &patch.bytes }, &images).expect("what was patched once");
    assert!(!again.is_changed() && again.fields.len() == patch.fields.len());
    if path.ends_with(".json") && serde_json::from_str::<serde_json::Value>(before).is_ok() {
        serde_json::from_str::<serde_json::Value>(after).expect("JSON stays JSON");
    }
    // A kustomization may get a digest beside its tag.
    let kustomization = |kind: &str| matches!(kind, "Kustomization" | "Component");
    if !patch.fields.iter().any(|field| kustomization(&field.object.kind)) {
        same_lines(before, after);
        if let (Some(before), Some(after)) = (events(before), events(after)) {
            assert_eq!(before.len(), after.len());
            let differ = before.iter().zip(&after).filter(|(old, new)| old != new);
            differ.for_each(|(old, new)| assert!(old.is_ok() && new.is_ok(), "{old:?} {new:?}"));
        }
    }
});

/// A line that differs has a piece of a wanted reference. A scalar over several lines becomes one line, which only libyaml
/// can follow.
fn same_lines(before: &str, after: &str) {
    if before.split('\n').count() != after.split('\n').count() {
        return;
    }
    let pieces = ["git-3f2a91c".to_owned(), "a".repeat(64), "team/flask-app".to_owned(), "team/api".to_owned()];
    for (old, new) in before.split('\n').zip(after.split('\n')).filter(|(old, new)| old != new) {
        assert!(pieces.iter().any(|piece| new.contains(piece)), "{old:?}\n{new:?}");
    }
}

/// What libyaml's port reads; `None` also where it panics, which says nothing of ours.
fn events(text: &str) -> Option<Vec<Result<String, String>>> {
    // libFuzzer's own would end the run.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let events = std::panic::catch_unwind(|| parsed(text));
    std::panic::set_hook(hook);
    events.ok().flatten()
}

/// Scalars by their text, all else by its kind.
fn parsed(text: &str) -> Option<Vec<Result<String, String>>> {
    // It falls over a block scalar that the text ends in.
    let text = format!("{text}\n\n");
    let mut input = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut events = Vec::new();
    loop {
        match parser.parse().ok()?.data {
            EventData::StreamEnd => return Some(events),
            EventData::Scalar { value, anchor, tag, .. } => {
                events.push(Err(format!("{anchor:?} {tag:?}")));
                events.push(Ok(value));
            }
            other => events.push(Err(format!("{other:?}"))),
        }
    }
}
