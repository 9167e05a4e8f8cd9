//! The manifest room against files that people wrote: golden pairs, the corpus of real manifests, and any YAML at all.

#![allow(clippy::unwrap_used, reason = "clippy takes the functions beside tests for no tests")]

#[path = "context/testbed.rs"]
mod testbed;

use gitops_hooks::{
    manifest::{self, File, Form, Images, Patch, Refusal, Wanted},
    values::ImageRef,
};
use miette::Diagnostic;
use proptest::prelude::*;
use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

const REPOSITORY: &str = "registry.example.com/team/flask-app";
const API: &str = "registry.example.com/team/api";

fn reference(repository: &str) -> String {
    format!("{repository}:git-3f2a91c@sha256:{}", "a".repeat(64))
}

fn wanted(repository: &str) -> Vec<Wanted> {
    vec![Wanted { image: "web".parse().unwrap(), reference: reference(repository).parse().unwrap() }]
}

fn patched<'f>(path: &'f str, bytes: &'f [u8], wanted: &[Wanted]) -> Result<Patch<'f>, Refusal> {
    patched_as(Form::Manifest, path, bytes, wanted)
}

fn patched_as<'f>(form: Form, path: &'f str, bytes: &'f [u8], wanted: &[Wanted]) -> Result<Patch<'f>, Refusal> {
    let known = wanted.iter().map(|wanted| (wanted.image.clone(), wanted.reference.repository.clone())).collect();
    manifest::patch(&File { path, form, bytes }, &Images::new(wanted, &known))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Each folder is a case: `before.*` becomes `after.*`, or is refused with the words in `refused`. Those called `values` are a
/// chart's values. `UPDATE_GOLDEN=1` writes what comes out.
#[test]
fn golden_pairs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    let mut cases: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.is_dir());
    cases.sort();
    assert!(cases.len() > 50);
    let mut images = wanted(REPOSITORY);
    images.push(Wanted { image: "api".parse().unwrap(), reference: reference(API).parse().unwrap() });
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        let form = if name.starts_with("values") { Form::Values } else { Form::Manifest };
        let extension = ["yaml", "json"].into_iter().find(|ending| case.join(format!("before.{ending}")).exists());
        let extension = extension.unwrap();
        let path = format!("before.{extension}");
        let before = fs::read(case.join(&path)).unwrap();
        let outcome = match patched_as(form, &path, &before, &images) {
            Ok(outcome) => outcome,
            Err(refusal) => {
                golden(&case.join("refused"), format!("{refusal}\n  next: {}\n", refusal.help().unwrap()).as_bytes());
                assert!(name.contains("refused"), "{name}: {refusal}");
                continue;
            }
        };
        assert!(!name.contains("refused"), "{name}");
        golden(&case.join(format!("after.{extension}")), &outcome.bytes);
        let again = patched_as(form, &path, &outcome.bytes, &images).unwrap();
        assert!(!again.is_changed(), "{name}: what is there already is left alone");
        assert_eq!(again.fields.len(), outcome.fields.len(), "{name}");
    }
}

fn golden(path: &Path, found: &[u8]) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read(path).unwrap_or_default();
    assert_eq!(String::from_utf8_lossy(found), String::from_utf8_lossy(&expected), "{}", path.display());
}

/// The story's pipeline ran `sed s/flask-app.*/flask-app:16/` and rewrote names and labels along with the tag.
#[test]
fn names_labels_and_selectors_are_never_taken_for_the_image() {
    let before = include_str!("manifests/flask/before.yaml");
    let patch = patched("deployment.yaml", before.as_bytes(), &wanted(REPOSITORY)).unwrap();
    let after = shown(&patch.bytes);
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
        let patch = patched("a.yaml", before.as_bytes(), &wanted("nginx")).unwrap();
        let after = shown(&patch.bytes);
        assert!(after.contains(&format!("\"{}\"", reference(spelling))), "{after}");
    }
}

fn refusal(text: &str) -> Refusal {
    patched("a.yaml", text.as_bytes(), &wanted(REPOSITORY)).unwrap_err()
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
    let error = patched("a.yaml", &bytes, &wanted(REPOSITORY)).unwrap_err();
    assert!(matches!(error, Refusal::NotUtf8 { .. }), "{error}");
    bytes.pop();
    let mut two = wanted(REPOSITORY);
    two.push(Wanted { image: "api".parse().unwrap(), ..two[0].clone() });
    let error = patched("a.yaml", &bytes, &two).unwrap_err();
    assert!(error.to_string().contains("both api and web claim"), "{error}");
}

/// A rollback over a move of the registry: the manifests name the new place, and what ran before is in the old one.
#[test]
fn a_reference_in_another_place_takes_its_repository_along_and_is_found_there_again() {
    let old = "old.example.com:5000/flask";
    let known: BTreeMap<_, _> = [("web".parse().unwrap(), REPOSITORY.parse().unwrap())].into();
    let kustomization = |entry: &str| format!("kind: Kustomization\nimages: [{{{entry}}}]\n");
    let pod = |image: &str| format!("apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: '{image}'}}]}}\n");
    let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
    let (was, is) = (digest("b"), digest("a"));
    let cases = [
        (Form::Manifest, pod(&format!("{REPOSITORY}:v2@{was}")), pod(&reference(old))),
        (
            Form::Manifest,
            kustomization(&format!("name: web, newName: {REPOSITORY}, newTag: v2, digest: '{was}'")),
            kustomization(&format!("name: web, newName: {old}, newTag: git-3f2a91c, digest: '{is}'")),
        ),
        (
            Form::Values,
            format!("a: {{repository: {REPOSITORY}, tag: v2, digest: '{was}'}}\n"),
            format!("a: {{repository: {old}, tag: git-3f2a91c, digest: '{is}'}}\n"),
        ),
        (
            Form::Values,
            format!("registry: registry.example.com\nrepository: team/flask-app\ntag: v2\ndigest: {is}\n"),
            format!("registry: old.example.com:5000\nrepository: flask\ntag: git-3f2a91c\ndigest: {is}\n"),
        ),
        (
            Form::Values,
            format!("image: {REPOSITORY}\nimageTag: v2\n"),
            format!("image: {old}\nimageTag: git-3f2a91c\n"),
        ),
        (
            Form::Values,
            format!("name: {REPOSITORY} # gitops-hooks: web:name\nversion: v2 # gitops-hooks: web:tag\n"),
            format!("name: {old} # gitops-hooks: web:name\nversion: git-3f2a91c # gitops-hooks: web:tag\n"),
        ),
    ];
    let back = wanted(old);
    for (form, before, after) in cases {
        let images = Images::new(&back, &known);
        let patch = manifest::patch(&File { path: "a.yaml", form, bytes: before.as_bytes() }, &images).unwrap();
        assert_eq!(shown(&patch.bytes), after);
        // Only the state knows by now whose it is.
        let file = File { path: "a.yaml", form, bytes: after.as_bytes() };
        let forth = wanted(REPOSITORY);
        let unmarked = !after.contains("gitops-hooks");
        assert_eq!(manifest::patch(&file, &Images::new(&forth, &known)).unwrap().fields.is_empty(), unmarked);
        let running = back.iter().map(|wanted| (&wanted.image, &wanted.reference));
        let patch = manifest::patch(&file, &Images::of_state(&forth, &known, running)).unwrap();
        let expected = before.replace("v2", "git-3f2a91c").replace(&was, &is);
        assert_eq!(shown(&patch.bytes), expected);
    }
    let refused = |text: &str, expected: &str| {
        let file = File { path: "a.yaml", form: Form::Manifest, bytes: text.as_bytes() };
        let refusal = manifest::patch(&file, &Images::new(&back, &known)).unwrap_err();
        assert_eq!(refusal.to_string(), format!("a.yaml:{expected} {old}"));
    };
    refused(
        &kustomization(&format!("name: {REPOSITORY}, newTag: v2")),
        "2:10: the entry of web has no newName, so that it cannot name",
    );
    refused(
        "data:\n  VERSION: v2 # gitops-hooks: web:tag\n",
        "2:12: the tag of web is marked and its repository is not, so that it cannot become",
    );
}

#[test]
fn what_is_not_ours_stops_nothing() {
    for text in [
        "{{- if .Values.on }}\nimage: {{ .Values.image }}\n{{- end }}\n",
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: x, image: y}]}\n",
        "a: [\n",
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: \"<image_url>\"}, {image: [x]}, {image: }, 1, {}]}\n",
    ] {
        let patch = patched("a.yaml", text.as_bytes(), &wanted(REPOSITORY)).unwrap();
        assert!(patch.fields.is_empty() && *patch.bytes == *text.as_bytes(), "{text}");
    }
    let template = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: '{{ .Values.image }}'\n";
    for (template, place) in [(template, "5:12"), ("{{ if .on }}\n- image: {{ .image }}\n{{ end }}\n", "2:1")] {
        let file = File { path: "a.yaml", form: Form::Manifest, bytes: template.as_bytes() };
        assert_eq!(manifest::template(&file).unwrap().to_string(), place);
    }
}

#[test]
fn a_bomb_of_aliases_is_walked_once() {
    let mut text = "apiVersion: v1\nkind: Pod\na0: &a0 {containers: [{image: x}]}\n".to_owned();
    for level in 1..60 {
        let previous = level - 1;
        writeln!(text, "a{level}: &a{level} [*a{previous}, *a{previous}, *a{previous}]").unwrap();
    }
    assert_eq!(
        manifest::references(&File { path: "a.yaml", form: Form::Manifest, bytes: text.as_bytes() }).unwrap().len(),
        1
    );
}

/// 193 references in 167 real files, found by another parser.
#[test]
fn the_corpus_is_found_whole_and_nothing_is_invented() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let Ok(expected) = fs::read_to_string(corpus.join("expected.jsonl")) else {
        testbed::skipped(&format!("there is no corpus at {}", corpus.display()));
        return;
    };
    let mut files: BTreeMap<String, Vec<(usize, usize, String)>> = BTreeMap::new();
    for line in expected.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |key: &str| usize::try_from(line[key].as_u64().unwrap()).unwrap();
        let found = (number("start"), number("end"), line["value"].as_str().unwrap().to_owned());
        files.entry(line["file"].as_str().unwrap().to_owned()).or_default().push(found);
    }
    let mut count = 0;
    for (file, expected) in files {
        let before = fs::read(corpus.join(&file)).unwrap();
        let found: Vec<_> = manifest::references(&File { path: &file, form: Form::Manifest, bytes: &before })
            .unwrap_or_else(|refusal| panic!("{refusal}"))
            .into_iter()
            .map(|reference| (reference.place.start, reference.place.end, reference.value))
            .collect();
        assert_eq!(found, expected, "{file}");
        count += found.len();
        for (start, end, value) in &expected {
            let Ok(image) = value.parse::<ImageRef>() else { continue };
            let repository = image.repository.to_string();
            let patch = patched(&file, &before, &wanted(&repository)).unwrap_or_else(|refusal| panic!("{refusal}"));
            let same: Vec<_> = expected
                .iter()
                .filter(|(_, _, other)| {
                    other.parse::<ImageRef>().is_ok_and(|other| other.repository == image.repository)
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
        Just(format!("  repository: {REPOSITORY}\n  tag: v1\n")),
        Just("  tag: v1 # gitops-hooks: web:tag\n".to_owned()),
        Just("  # gitops-hooks: web\n".to_owned()),
        Just("  - image: *a\n".to_owned()),
        Just("---\n".to_owned()),
        Just("# comment\n".to_owned()),
        "[ -~\\n]{0,12}",
        "\\PC{0,6}",
    ];
    proptest::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

/// A text and what it is to become.
type Pair = (String, String);

fn joined(pairs: Vec<Pair>) -> Pair {
    let (old, new): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
    (old.concat(), new.concat())
}

/// A reference of ours as any hand may write it, and how it is to read.
fn ours() -> impl Strategy<Value = Pair> {
    let version = prop_oneof![
        Just(String::new()),
        "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}".prop_map(|tag| format!(":{tag}")),
        "[0-9a-f]{64}".prop_map(|hex| format!("@sha256:{hex}")),
        "[0-9a-f]{64}".prop_map(|hex| format!(":v1@sha256:{hex}")),
    ];
    let quote = prop_oneof![Just(""), Just("'"), Just("\"")];
    (version, quote, " {1,3}", " {0,2}", "( #[ -~]{0,20})?").prop_map(|(version, quote, gap, trail, comment)| {
        let written = |reference: &str| format!("{gap}{quote}{reference}{quote}{trail}{comment}");
        (written(&format!("{REPOSITORY}{version}")), written(&reference(REPOSITORY)))
    })
}

/// What stands in a manifest beside that, and stays.
fn beside() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\n".to_owned()),
        "#[ -~]{0,20}\n",
        Just("app: flask-app\n".to_owned()),
        Just(format!("note: \"image: {REPOSITORY}:1\"\n")),
        Just(format!("args: [{REPOSITORY}, 'ü',  \"\\u00fc\" ]   \n")),
        Just(format!("text: |\n    image: {REPOSITORY}:1\n\n    - x\n")),
        Just("anchored: &x {a: 1}\nalias: *x\n".to_owned()),
        Just("\"quoted\"  :   'it''s'\n".to_owned()),
    ]
}

/// A pod with containers at some depth, in block style.
fn pod() -> impl Strategy<Value = Pair> {
    let foreign = prop_oneof![
        Just(format!(" {REPOSITORY}-worker:1")),
        Just(" other.example.com/team/flask-app:1".to_owned()),
        Just(" busybox".to_owned()),
    ];
    let image = prop_oneof![ours(), foreign.prop_map(|text| (text.clone(), text))];
    let container = (image, any::<bool>(), 0..3_usize, "( {0,3}\n)?").prop_map(|((old, new), named, indent, blank)| {
        let pad = " ".repeat(indent);
        let name = if named { format!("    {pad}name: web\n") } else { String::new() };
        let text = |image: &str| format!("  -{pad} image:{image}\n{name}{blank}");
        (text(&old), text(&new))
    });
    let key = prop_oneof![Just("containers"), Just("initContainers"), Just("ephemeralContainers")];
    let lists = (key, proptest::collection::vec(container, 1..4));
    (proptest::collection::vec(beside(), 0..4), lists, 0..2_usize).prop_map(|(head, (key, containers), deep)| {
        let (old, new) = joined(containers);
        // Where two spellings of one key would meet, only the first may stand.
        let mut head = head;
        head.sort();
        head.dedup();
        let open = if deep == 1 { "spec:\n template:\n  " } else { "spec:\n  " };
        let text = |containers: &str| format!("apiVersion: v1\nkind: Pod\n{}{open}{key}:\n{containers}", head.concat());
        (text(&old), text(&new))
    })
}

fn manifest_of_pods() -> impl Strategy<Value = Pair> {
    let pods = proptest::collection::vec(pod(), 1..3);
    (pods, any::<[bool; 3]>()).prop_map(|(pods, [windows, mark, end])| {
        let finish = |pods: Vec<String>| {
            let text = pods.join("---\n");
            let text = if end { text } else { text.trim_end().to_owned() };
            let text = if windows { text.replace('\n', "\r\n") } else { text };
            if mark { format!("\u{feff}{text}") } else { text }
        };
        let (old, new): (Vec<String>, Vec<String>) = pods.into_iter().unzip();
        (finish(old), finish(new))
    })
}

/// The values of a chart: blocks with the reference in one piece, in several fields or behind a mark, between others that stay.
fn values_of_a_chart() -> impl Strategy<Value = Pair> {
    let (old_digest, new_digest) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "a".repeat(64)));
    let quote = prop_oneof![Just("'"), Just("\"")];
    let block = (0..8_usize, quote, "[a-zA-Z][a-zA-Z0-9_.-]{0,12}", "( #[ -~]{0,20})?", "\n{0,2}");
    let block = block.prop_map(move |(form, quote, tag, comment, blank)| {
        let text = |tag: &str, digest: &str| {
            let q = quote;
            let whole = format!("{q}{REPOSITORY}:{tag}@{digest}{q}");
            match form {
                0 => format!("  image: {whole}{comment}\n"),
                1 => format!("  image: {{repository: {REPOSITORY}, tag: {q}{tag}{q}, digest: {digest}}}{comment}\n"),
                2 => format!("  repository: {q}{REPOSITORY}{q}{comment}\n  tag: {q}{tag}{q}\n"),
                3 => format!(
                    "  digest:   {digest}{comment}\n  registry: registry.example.com\n  repository: team/flask-app\n"
                ),
                4 => format!("  imageTag: {q}{tag}{q}{comment}\n  image: {REPOSITORY}\n"),
                5 => format!("  version: {q}{tag}{q}   # gitops-hooks: web:tag\n"),
                6 => format!("  # gitops-hooks: web\n  ref: {whole}{comment}\n"),
                _ => format!("  repository: {REPOSITORY}-worker\n  tag: {q}stays{q}{comment}\n"),
            }
        };
        let after = text("git-3f2a91c", &new_digest);
        (text(&tag, &old_digest) + &blank, after + &blank)
    });
    proptest::collection::vec(block, 1..8).prop_map(|blocks| {
        let key = |(number, (old, new)): (usize, Pair)| (format!("k{number}:\n{old}"), format!("k{number}:\n{new}"));
        joined(blocks.into_iter().enumerate().map(key).collect())
    })
}

/// The events of another YAML parser, libyaml's: scalars by their text, all else by its kind. `None` where it reads no YAML.
fn events(text: &str) -> Option<Vec<Result<String, String>>> {
    use libyaml_safer::{EventData, Parser};
    // It falls over a block scalar that the text ends in.
    let text = format!("{text}\n\n");
    let mut input = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut events = Vec::new();
    loop {
        match parser.parse().ok()?.data {
            EventData::StreamEnd => return Some(events),
            EventData::Scalar { value, style, anchor, tag, .. } => {
                events.push(Err(format!("{style:?} {anchor:?} {tag:?}")));
                events.push(Ok(value));
            }
            other => events.push(Err(format!("{other:?}"))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("SOAK").is_some() { 20_000 } else { 256 }))]

    #[test]
    fn any_manifest_with_any_reference_changes_there_alone((before, after) in manifest_of_pods()) {
        let patch = patched("a.yaml", before.as_bytes(), &wanted(REPOSITORY)).unwrap();
        prop_assert_eq!(shown(&patch.bytes), after);
    }

    #[test]
    fn any_values_with_any_reference_change_there_alone((before, after) in values_of_a_chart()) {
        let patch = patched_as(Form::Values, "values.yaml", before.as_bytes(), &wanted(REPOSITORY)).unwrap();
        prop_assert_eq!(shown(&patch.bytes), after);
    }

    #[test]
    fn another_parser_sees_only_the_references_change(text in soup(), form in prop_oneof![Just(Form::Manifest), Just(Form::Values)]) {
        let Ok(patch) = patched_as(form, "a.yaml", text.as_bytes(), &wanted(REPOSITORY)) else { return Ok(()) };
        let after = shown(&patch.bytes);
        let changed = patch.fields.iter().filter(|field| field.is_changed()).count();
        prop_assert_eq!(after != text, changed > 0);
        let again = patched_as(form, "a.yaml", after.as_bytes(), &wanted(REPOSITORY)).unwrap();
        prop_assert!(!again.is_changed() && again.fields.len() == patch.fields.len());
        let kustomize = text.contains("Kustomization");
        if let (Some(old), Some(new)) = (events(&text), events(&after)) && !kustomize {
            prop_assert_eq!(old.len(), new.len());
            let differ = old.iter().zip(&new).filter(|(old, new)| old != new);
            let differ: Vec<_> = differ.collect();
            prop_assert!(differ.iter().all(|(old, new)| old.is_ok() && new.is_ok()), "{:?}", differ);
            prop_assert!(differ.len() <= changed, "{:?}", differ);
        }
    }
}
