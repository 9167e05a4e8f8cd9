//! The manifest room against files that people wrote: golden pairs, the corpus of real manifests, and any YAML at all.

#![allow(clippy::unwrap_used, reason = "clippy takes the functions beside tests for no tests")]

#[path = "context/testbed.rs"]
mod testbed;

use gitops_hooks::manifest::{self, Refusal, Wanted};
use proptest::prelude::*;
use std::{fmt::Write, fs, path::Path};

const REPOSITORY: &str = "registry.example.com/team/flask-app";

fn reference(repository: &str) -> String {
    format!("{repository}:git-3f2a91c@sha256:{}", "a".repeat(64))
}

fn wanted(repository: &str) -> Vec<Wanted> {
    vec![Wanted { image: "web".parse().unwrap(), reference: reference(repository).parse().unwrap() }]
}

#[test]
fn golden_pairs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    let mut cases: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.is_dir());
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let before = fs::read(case.join("before.yaml")).unwrap();
        let patch = manifest::patch("before.yaml", &before, &wanted(REPOSITORY)).unwrap();
        let golden = case.join("after.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &patch.bytes).unwrap();
        }
        let after = fs::read(&golden).unwrap();
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(shown(&patch.bytes), shown(&after), "{}", case.display());
        let again = manifest::patch("after.yaml", &after, &wanted(REPOSITORY)).unwrap();
        assert!(!again.is_changed(), "{}: what is there already is left alone", case.display());
    }
}

/// The story's pipeline ran `sed s/flask-app.*/flask-app:16/` and rewrote names and labels along with the tag.
#[test]
fn names_labels_and_selectors_are_never_taken_for_the_image() {
    let before = include_str!("manifests/flask/before.yaml");
    let patch = manifest::patch("deployment.yaml", before.as_bytes(), &wanted(REPOSITORY)).unwrap();
    let after = String::from_utf8(patch.bytes).unwrap();
    let changed: Vec<_> = before.lines().zip(after.lines()).filter(|(old, new)| old != new).collect();
    let new = format!("          image: {}", reference(REPOSITORY));
    assert_eq!(changed, [("          image: registry.example.com/team/flask-app:16", new.as_str())]);
    assert_eq!(before.lines().count(), after.lines().count());
    let field = &patch.fields[0];
    assert_eq!(
        (field.object.to_string().as_str(), field.position.to_string().as_str()),
        ("Deployment flask-app", "19:18")
    );
}

#[test]
fn the_spelling_of_the_manifest_stays() {
    for spelling in ["nginx", "library/nginx", "docker.io/library/nginx", "index.docker.io/library/nginx"] {
        let before = format!("apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: \"{spelling}:1\"}}]}}\n");
        let patch = manifest::patch("a.yaml", before.as_bytes(), &wanted("nginx")).unwrap();
        let after = String::from_utf8(patch.bytes).unwrap();
        assert!(after.contains(&format!("\"{}\"", reference(spelling))), "{after}");
    }
}

fn refusal(text: &str) -> Refusal {
    manifest::patch("a.yaml", text.as_bytes(), &wanted(REPOSITORY)).unwrap_err()
}

#[test]
fn what_cannot_be_edited_safely_is_refused_with_its_place() {
    let pod = |spec: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\n{spec}\n");
    let image = format!("{REPOSITORY}:16");
    let cases = [
        (
            pod(&format!("x-image: &i {image}\nspec: {{containers: [{{image: *i}}]}}")),
            "a.yaml:4:13: the reference of web in Pod web is shared",
        ),
        (pod(&format!("spec: {{containers: [{{name: &i {image}, image: *i}}]}}")), "shared through an alias"),
        (pod(&format!("spec: {{containers: [{{image: &i {image}, name: *i}}]}}")), "shared through an alias"),
        (
            pod(&format!("base: &b {{image: {image}}}\nspec: {{containers: [{{<<: *b, name: x}}]}}")),
            "shared through an alias",
        ),
        (pod(&format!("base: &b [{{image: {image}}}]\nspec: {{containers: *b}}")), "shared through an alias"),
        (pod(&format!("base: &b {{containers: [{{image: {image}}}]}}\nspec: *b")), "shared through an alias"),
        (
            pod(&format!("spec: {{containers: [{{image: x, image: {image}}}]}}")),
            "a.yaml:4:32: the key \"image\" stands here a second time",
        ),
        (pod("spec:\n  containers:\n  - image: {{ .Values.registry }}/team/flask-app:1"), "a.yaml:6:"),
        (pod("spec: {containers: [{image: \"{{ .Values.registry }}/team/flask-app:1\"}]}"), "is made by a template"),
        (pod(&format!("spec: {{containers: [{{image: \"{REPOSITORY}:$TAG\"}}]}}")), "is no image reference"),
        (pod(&format!("spec:\n  containers:\n  - image: {image}\n bad: [")), "is no YAML"),
        (
            format!("kind: Kustomization\nimages: [{{name: {REPOSITORY}, newName: {REPOSITORY}}}]"),
            "neither newTag nor digest",
        ),
        (
            format!("kind: Kustomization\nimages: [{{name: {REPOSITORY}, newTag: a, newTag: b}}]"),
            "the key \"newTag\" stands here a second time",
        ),
    ];
    for (text, expected) in cases {
        let refusal = refusal(&text).to_string();
        assert!(refusal.contains(expected) && refusal.starts_with("a.yaml:"), "{refusal}\n{text}");
    }
}

#[test]
fn no_utf_8_and_two_claims_are_refused() {
    let mut bytes =
        format!("apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: {REPOSITORY}:1}}]}}\n#").into_bytes();
    bytes.push(0xff);
    let error = manifest::patch("a.yaml", &bytes, &wanted(REPOSITORY)).unwrap_err();
    assert!(matches!(error, Refusal::NotUtf8 { .. }), "{error}");
    bytes.pop();
    let mut two = wanted(REPOSITORY);
    two.push(Wanted { image: "api".parse().unwrap(), ..two[0].clone() });
    let error = manifest::patch("a.yaml", &bytes, &two).unwrap_err();
    assert!(error.to_string().contains("both web and api claim"), "{error}");
}

#[test]
fn what_is_not_ours_stops_nothing() {
    for text in [
        "{{- if .Values.on }}\nimage: {{ .Values.image }}\n{{- end }}\n",
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: x, image: y}]}\n",
        "a: [\n",
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: \"<image_url>\"}, {image: [x]}, {image: }, 1, {}]}\n",
    ] {
        let patch = manifest::patch("a.yaml", text.as_bytes(), &wanted(REPOSITORY)).unwrap();
        assert!(patch.fields.is_empty() && patch.bytes == text.as_bytes(), "{text}");
    }
    let template = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: '{{ .Values.image }}'\n";
    let patch = manifest::patch("a.yaml", template.as_bytes(), &wanted(REPOSITORY)).unwrap();
    assert_eq!(patch.templates[0].to_string(), "5:12");
}

#[test]
fn a_bomb_of_aliases_is_walked_once() {
    let mut text = "apiVersion: v1\nkind: Pod\na0: &a0 {containers: [{image: x}]}\n".to_owned();
    for level in 1..60 {
        let previous = level - 1;
        writeln!(text, "a{level}: &a{level} [*a{previous}, *a{previous}, *a{previous}]").unwrap();
    }
    assert_eq!(manifest::references("a.yaml", text.as_bytes()).unwrap().len(), 1);
}

/// 193 references in 167 real files, found by another parser.
#[test]
fn the_corpus_is_found_whole_and_nothing_is_invented() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let Ok(expected) = fs::read_to_string(corpus.join("expected.jsonl")) else {
        testbed::skipped(&format!("there is no corpus at {}", corpus.display()));
        return;
    };
    let mut files: std::collections::BTreeMap<String, Vec<(usize, usize, String)>> = std::collections::BTreeMap::new();
    for line in expected.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |key: &str| usize::try_from(line[key].as_u64().unwrap()).unwrap();
        let found = (number("start"), number("end"), line["value"].as_str().unwrap().to_owned());
        files.entry(line["file"].as_str().unwrap().to_owned()).or_default().push(found);
    }
    let mut count = 0;
    for (file, expected) in files {
        let before = fs::read(corpus.join(&file)).unwrap();
        let found: Vec<_> = manifest::references(&file, &before)
            .unwrap_or_else(|refusal| panic!("{refusal}"))
            .into_iter()
            .map(|reference| (reference.place.start, reference.place.end, reference.value))
            .collect();
        assert_eq!(found, expected, "{file}");
        count += found.len();
        for (start, end, value) in &expected {
            let Ok(image) = value.parse::<gitops_hooks::values::ImageRef>() else { continue };
            let repository = image.repository.to_string();
            let patch =
                manifest::patch(&file, &before, &wanted(&repository)).unwrap_or_else(|refusal| panic!("{refusal}"));
            let same: Vec<_> = expected
                .iter()
                .filter(|(_, _, other)| {
                    other
                        .parse::<gitops_hooks::values::ImageRef>()
                        .is_ok_and(|other| other.repository == image.repository)
                })
                .collect();
            assert_eq!(patch.fields.len(), same.len(), "{file}");
            if same.len() == 1 {
                let tail = before.len() - end;
                assert!(patch.bytes.starts_with(&before[..*start]) && patch.bytes.ends_with(&before[*end..]), "{file}");
                let written = &patch.bytes[*start..patch.bytes.len() - tail];
                assert_eq!(
                    String::from_utf8_lossy(written).trim_matches(['"', '\'']),
                    reference(&repository),
                    "{file}"
                );
            }
        }
    }
    assert_eq!(count, 193);
}

/// Pieces of manifests, put together in any order and nesting, most of them no YAML at all.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("apiVersion: v1\nkind: Pod\n".to_owned()),
        Just("kind: Kustomization\nimages:\n".to_owned()),
        Just("spec:\n  containers:\n".to_owned()),
        Just(format!("  - image: {REPOSITORY}:1\n")),
        Just(format!("  - image: \"{REPOSITORY}\" # c\r\n")),
        Just(format!("  - {{image: '{REPOSITORY}:1', name: ü}}\n")),
        Just(format!("  - image: |\n      {REPOSITORY}:2\n\n")),
        Just(format!("  - name: {REPOSITORY}\n    newTag: x\n")),
        Just(format!("  - image: &a {REPOSITORY}:1\n    name: b\n")),
        Just("  - image: *a\n".to_owned()),
        Just("---\n".to_owned()),
        Just("# comment\n".to_owned()),
        "[ -~\\n]{0,12}",
        "\\PC{0,6}",
    ];
    proptest::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn outside_the_fields_no_byte_changes(text in soup()) {
        let Ok(patch) = manifest::patch("a.yaml", text.as_bytes(), &wanted(REPOSITORY)) else { return Ok(()) };
        let after = String::from_utf8(patch.bytes.clone()).unwrap();
        // Taking every new reference out again must give the old text without its references.
        let fields = patch.fields.iter().filter(|field| field.is_changed()).count();
        if fields == 0 {
            prop_assert_eq!(&after, &text);
        } else {
            prop_assert_ne!(&after, &text);
            let again = manifest::patch("a.yaml", after.as_bytes(), &wanted(REPOSITORY)).unwrap();
            prop_assert!(!again.is_changed());
            prop_assert_eq!(again.fields.len(), patch.fields.len());
        }
    }

    #[test]
    fn any_reference_in_any_style_is_replaced_alone(
        tag in "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}",
        quote in prop_oneof![Just(""), Just("'"), Just("\"")],
        before in "(#[ -~]{0,20}\n){0,3}",
        after in "( #[ -~]{0,10})?(\r?\n){0,3}",
    ) {
        let head = format!("{before}apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: {quote}");
        let text = format!("{head}{REPOSITORY}:{tag}{quote}{after}");
        let patch = manifest::patch("a.yaml", text.as_bytes(), &wanted(REPOSITORY)).unwrap();
        let expected = format!("{head}{}{quote}{after}", reference(REPOSITORY));
        prop_assert_eq!(String::from_utf8(patch.bytes).unwrap(), expected);
    }
}
