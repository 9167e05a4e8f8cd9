//! Publication on real registries: what makes it late, what cuts it off, who wins a race, who may come in. Where engine and
//! registries are stands in the environment, as the test bed writes it; without them each test says so and passes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "context/again.rs"]
mod again;
#[path = "registry/certified.rs"]
mod certified;
#[path = "registry/proxy.rs"]
mod proxy;
#[path = "registry/source.rs"]
mod source;
#[path = "context/testbed.rs"]
mod testbed;

use again::{again, inside};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use certified::Certified;
use gitops_hooks::{
    image::{self, Error, ExtraFile, Intent, Origin, Prepared, Transport},
    values::{Digest, ImageRef, Oid, Repository, Tag},
};
use proxy::{Asked, Fate, Proxy};
use source::{Source, curl, open_registry, run, told};
use std::{
    path::Path,
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use testbed::value as bed;

/// The digest of a tag, as the registry tells anybody.
fn digest_of(registry: &str, path: &str, tag: &Tag) -> Option<Digest> {
    let (status, body) = curl(&[
        "-H",
        "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json",
        &format!("http://{registry}/v2/{path}/manifests/{tag}"),
    ]);
    (status == 200).then(|| Digest::of(body.as_bytes()))
}

fn is_manifest(asked: &Asked, method: &str, tag: &str) -> bool {
    asked.is(method, &format!("/manifests/{tag}"))
}

/// Bytes that no compression makes small.
fn noise(count: usize) -> Vec<u8> {
    let mut state = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(count)
    .collect()
}

/// Pushes a blob of some size the way the image of the sync is pushed, and gives its reference.
fn push_bytes(source: &Source, count: usize) -> Result<ImageRef, Error> {
    let binary = source.folder.path().join("binary");
    std::fs::write(&binary, noise(count)).unwrap();
    let repository: Repository = (*source.image().repository).clone();
    let tag = "1.0".parse().unwrap();
    run(image::push_binary(&repository, Transport::PlainHttp, &tag, &binary, "linux/amd64", &[]))
}

#[test]
fn a_registry_that_is_overloaded_is_left_alone_for_as_long_as_it_asks() {
    let Some(registry) = open_registry() else { return };
    let proxy = Proxy::to(&registry, |asked, before| {
        if is_manifest(asked, "HEAD", "git-") && before < 2 {
            return Fate::answer(429, &[("Retry-After", "1")], "");
        }
        Fate::Pass
    });
    let source = Source::new(&proxy.address);
    assert_eq!(run(source.published(&source.commit("one"))).unwrap(), None);
    let times: Vec<Instant> =
        proxy.asked().iter().filter(|asked| asked.method == "HEAD").map(|asked| asked.at).collect();
    assert_eq!(times.len(), 3);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)), "{times:?}");
}

#[test]
fn one_that_asks_for_an_hour_is_told_at_once() {
    let Some(registry) = open_registry() else { return };
    let words = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"you have reached your pull rate limit"}]}"#;
    let proxy = Proxy::to(&registry, |_, _| Fate::answer(429, &[("Retry-After", "3600")], words));
    let source = Source::new(&proxy.address);
    let commit = source.commit("one");
    // A HEAD has no words of the registry's; the question for a key has.
    let (text, code) = told(&run(source.prepare(&commit, Intent::WillPublish)).unwrap_err());
    assert_eq!((code.as_str(), proxy.asked().len()), ("environment", 1), "{text}");
    assert!(text.contains("you have reached your pull rate limit"), "{text}");
    assert!(text.contains("asking to be left alone for 3600 s"), "{text}");
}

#[test]
fn a_page_for_people_is_no_answer_of_a_registry() {
    let Some(registry) = open_registry() else { return };
    let hotel =
        Proxy::to(&registry, |_, _| Fate::answer(200, &[("Content-Type", "text/html; charset=utf-8")], "<html>"));
    let source = Source::new(&hotel.address);
    let commit = source.commit("one");
    let (text, code) = told(&run(source.prepare(&commit, Intent::WillPublish)).unwrap_err());
    assert_eq!(code, "environment");
    assert!(text.contains(&format!("what answers for {}", hotel.address)) && text.contains("a web page"), "{text}");
    assert!(text.contains("open a page in a browser"), "{text}");

    let elsewhere =
        Proxy::to(&registry, |_, _| Fate::answer(302, &[("Location", "https://login.hotel.example/?next=1")], ""));
    let source = Source::new(&elsewhere.address);
    let (text, _) = told(&run(source.published(&source.commit("one"))).unwrap_err());
    assert!(text.contains("the way to a page of login.hotel.example"), "{text}");
}

#[test]
fn a_push_that_was_cut_goes_on_with_what_has_not_arrived() {
    let Some(registry) = open_registry() else { return };
    let cuts = AtomicUsize::new(0);
    let proxy = Proxy::to(&registry, move |asked, _| {
        if asked.length > 1_000_000 && cuts.fetch_add(1, Ordering::SeqCst) == 0 {
            return Fate::CutAfter(300_000);
        }
        Fate::Pass
    });
    let source = Source::new(&proxy.address);
    source.write("Dockerfile", "FROM scratch\nCOPY a /\nCOPY b /\n");
    source.write("b", noise(2 << 20));
    let commit = source.commit("one");
    run(async {
        let built = source.build(&commit).await;
        let new = source.publish(&commit, built).await.unwrap();
        assert_eq!(new.origin, Origin::Built);
        assert_eq!(source.published(&commit).await.unwrap(), Some(new.reference));
    });
    assert!(proxy.asked().iter().any(|asked| asked.passed == 300_000), "it was cut: {:?}", proxy.asked());
}

#[test]
fn a_registry_that_stumbles_in_a_push_is_given_time() {
    let Some(registry) = open_registry() else { return };
    let proxy = Proxy::to(&registry, |asked, before| {
        if (asked.method == "PUT" || asked.is("POST", "/uploads/")) && before == 0 {
            Fate::status(503)
        } else {
            Fate::Pass
        }
    });
    let source = Source::new(&proxy.address);
    let commit = source.commit("one");
    run(async {
        let built = source.build(&commit).await;
        assert_eq!(source.publish(&commit, built).await.unwrap().origin, Origin::Built);
    });
}

#[test]
fn a_large_blob_goes_on_where_it_was_cut() {
    const BYTES: usize = 40 << 20;
    let Some(registry) = bed("GITOPS_HOOKS_TEST_REGISTRY") else { return };
    // Each third piece is lost on its way: before any of it arrived, since what of a piece has arrived makes this registry
    // (Docker's, 2.8) forget all of the upload.
    let pieces = AtomicUsize::new(0);
    let proxy = Proxy::to(&registry, move |asked, _| {
        if asked.method == "PATCH" && pieces.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
            return Fate::CutAfter(0);
        }
        Fate::Pass
    });
    let source = Source::new(&proxy.address);
    let reference = push_bytes(&source, BYTES).unwrap();
    let sent: usize = proxy.asked().iter().map(|asked| asked.passed).sum();
    assert!(proxy.count("PATCH", "") > 5, "it is sent in pieces, some of them twice");
    assert!(sent < BYTES + BYTES / 4, "{sent} bytes were sent for {BYTES}");
    assert_eq!(digest_of(&registry, &source.path, &"1.0".parse().unwrap()), reference.digest);
}

#[test]
fn a_registry_that_takes_no_pieces_gets_the_whole() {
    let Some(registry) = bed("GITOPS_HOOKS_TEST_REGISTRY") else { return };
    let proxy = Proxy::to(&registry, |asked, _| if asked.method == "PATCH" { Fate::status(405) } else { Fate::Pass });
    let source = Source::new(&proxy.address);
    let reference = push_bytes(&source, 20 << 20).unwrap();
    assert_eq!(digest_of(&registry, &source.path, &"1.0".parse().unwrap()), reference.digest);
}

#[test]
fn whatever_is_lost_of_an_upload_it_ends_whole() {
    let Some(registry) = bed("GITOPS_HOOKS_TEST_REGISTRY") else { return };
    // In the middle of a piece, of the end, and of the answer to it.
    let cut = AtomicUsize::new(0);
    let proxy = Proxy::to(&registry, move |asked, _| match (asked.method.as_str(), cut.load(Ordering::SeqCst)) {
        ("PATCH", 0) => {
            cut.store(1, Ordering::SeqCst);
            Fate::CutAfter(5_000_000)
        }
        ("PUT", 1) => {
            cut.store(2, Ordering::SeqCst);
            Fate::CutAfter(0)
        }
        ("PUT", 2) => {
            cut.store(3, Ordering::SeqCst);
            Fate::status(502)
        }
        _ => Fate::Pass,
    });
    let source = Source::new(&proxy.address);
    let reference = push_bytes(&source, 20 << 20).unwrap();
    assert_eq!(digest_of(&registry, &source.path, &"1.0".parse().unwrap()), reference.digest);
}

/// A registry with a token server beside it: each token is good for so many questions, and only for what it was asked for.
fn with_tokens(registry: &str, uses: usize) -> Proxy {
    let (left, number) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let learned = Arc::new(OnceLock::<String>::new());
    let own = Arc::clone(&learned);
    let proxy = Proxy::to(registry, move |asked, _| {
        let address = own.get().cloned().unwrap_or_default();
        if asked.path.starts_with("/token") {
            // team:s3cret
            if asked.authorization.as_deref() != Some("Basic dGVhbTpzM2NyZXQ=") {
                return Fate::status(401);
            }
            left.store(uses, Ordering::SeqCst);
            let token = number.fetch_add(1, Ordering::SeqCst) + 1;
            return Fate::answer(200, &[("Content-Type", "application/json")], &format!("{{\"token\": \"t{token}\"}}"));
        }
        let current = format!("Bearer t{}", number.load(Ordering::SeqCst));
        let good = asked.authorization.as_deref() == Some(current.as_str())
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if good {
            return Fate::Pass;
        }
        let realm = format!("Bearer realm=\"http://{address}/token\",service=\"registry\",error=\"invalid_token\"");
        let words = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        Fate::answer(401, &[("WWW-Authenticate", &realm), ("Content-Type", "application/json")], words)
    });
    let _ = learned.set(proxy.address.clone());
    proxy
}

/// A docker configuration that knows one registry.
fn docker_config(registry: &str, entry: &serde_json::Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({ "auths": { registry: entry } });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn a_token_that_runs_out_in_an_upload_is_made_anew() {
    let this = "a_token_that_runs_out_in_an_upload_is_made_anew";
    let Some(registry) = bed("GITOPS_HOOKS_TEST_REGISTRY") else { return };
    let address = std::env::var("GITOPS_HOOKS_TEST_PROXY");
    let Ok(address) = address else {
        let proxy = with_tokens(&registry, 3);
        let config = docker_config(&proxy.address, &serde_json::json!({ "auth": "dGVhbTpzM2NyZXQ=" }));
        let address = proxy.address.as_str();
        assert!(!inside(
            this,
            &[("DOCKER_CONFIG", config.path().to_str()), ("GITOPS_HOOKS_TEST_PROXY", Some(address))]
        ));
        assert!(proxy.count("GET", "/token") > 3, "tokens ran out");
        return;
    };
    let source = Source::new(&address);
    let reference = push_bytes(&source, 40 << 20).unwrap();
    assert_eq!(digest_of(&registry, &source.path, &"1.0".parse().unwrap()), reference.digest);
}

#[test]
fn a_token_that_runs_out_in_the_engines_push_is_made_anew() {
    let this = "a_token_that_runs_out_in_the_engines_push_is_made_anew";
    let Some(registry) = open_registry() else { return };
    let Ok(address) = std::env::var("GITOPS_HOOKS_TEST_PROXY") else {
        let proxy = with_tokens(&registry, 9);
        let config = docker_config(&proxy.address, &serde_json::json!({ "auth": "dGVhbTpzM2NyZXQ=" }));
        let address = proxy.address.as_str();
        inside(this, &[("DOCKER_CONFIG", config.path().to_str()), ("GITOPS_HOOKS_TEST_PROXY", Some(address))]);
        return;
    };
    let source = Source::new(&address);
    source.write("Dockerfile", "FROM scratch\nCOPY a /\nCOPY b /\n");
    source.write("b", noise(1 << 20));
    let commit = source.commit("one");
    run(async {
        let built = source.build(&commit).await;
        assert_eq!(source.publish(&commit, built).await.unwrap().origin, Origin::Built);
    });
}

#[test]
fn a_password_that_the_token_server_does_not_know_is_told() {
    let this = "a_password_that_the_token_server_does_not_know_is_told";
    let Some(registry) = open_registry() else { return };
    let Ok(address) = std::env::var("GITOPS_HOOKS_TEST_PROXY") else {
        let proxy = with_tokens(&registry, 100);
        // team:wrong
        let config = docker_config(&proxy.address, &serde_json::json!({ "auth": "dGVhbTp3cm9uZw==" }));
        let address = proxy.address.as_str();
        inside(this, &[("DOCKER_CONFIG", config.path().to_str()), ("GITOPS_HOOKS_TEST_PROXY", Some(address))]);
        assert_eq!(proxy.count("GET", "/token"), 1, "it is shown once, not until the account is locked");
        return;
    };
    let source = Source::new(&address);
    let (text, code) = told(&run(source.published(&source.commit("one"))).unwrap_err());
    assert_eq!(code, "environment");
    assert!(text.contains("refuses the user team") && text.contains(&format!("docker login {address}")), "{text}");
    assert!(!text.contains("wrong"), "{text}");
}

/// Two builds of one key as on two laptops: each engine would keep its own.
async fn two_builds(source: &Source, commit: &Oid) -> (Prepared, Prepared) {
    let docker = bollard::Docker::connect_with_defaults().unwrap();
    let one = source.build(commit).await;
    let Prepared::Built { id, .. } = &one else { panic!("{one:?}") };
    let kept = bollard::query_parameters::TagImageOptionsBuilder::new().repo(&source.path).tag("kept").build();
    docker.tag_image(id, Some(kept)).await.unwrap();
    let two = source.build(commit).await;
    assert_ne!(one, two, "two builds have two digests");
    assert_eq!(one.key(), two.key());
    (one, two)
}

#[test]
fn two_laptops_that_build_one_key_deliver_one_digest() {
    let Some(registry) = open_registry() else { return };
    // The engine that the two share here gives a name in two steps; they meet between them in one round of six.
    for _ in 0..10 {
        let source = Source::new(&registry);
        let commit = source.commit("one");
        run(async {
            let (one, two) = two_builds(&source, &commit).await;
            let (one, two) = tokio::join!(source.publish(&commit, one), source.publish(&commit, two));
            let (one, two) = (one.unwrap(), two.unwrap());
            assert_eq!(one.reference, two.reference);
            assert_eq!(digest_of(&registry, &source.path, &Tag::of_commit(&commit)), one.reference.digest);
        });
    }
}

/// The worst moment of a race: the slower laptop has asked for the key before the quicker one published it, and pushes after.
/// `keeps` says whether the registry refuses to overwrite a tag.
fn a_race_is_lost(registry: &str, keeps: bool) {
    let source = Source::new(registry);
    let commit = source.commit("one");
    let (winner, loser) = run(two_builds(&source, &commit));
    let won = run(source.publish(&commit, winner)).unwrap();

    let proxy = Proxy::to(registry, move |asked, before| {
        if is_manifest(asked, "GET", "key-") && before == 0 {
            return Fate::answer(404, &[("Content-Type", "application/json")], "");
        }
        if keeps && is_manifest(asked, "PUT", "key-") {
            let words = r#"{"errors":[{"code":"TAG_INVALID","message":"the tag is immutable and already exists"}]}"#;
            return Fate::answer(409, &[("Content-Type", "application/json")], words);
        }
        Fate::Pass
    });
    let seen = source.seen_at(&proxy.address);
    let lost = run(source.publish_to(&seen, &commit, loser)).unwrap();
    assert_eq!(lost.reference.digest, won.reference.digest, "whoever comes second delivers what the first did");
    assert_eq!(digest_of(registry, &source.path, &Tag::of_commit(&commit)), won.reference.digest);
    if keeps {
        assert_eq!(lost.origin, Origin::Adopted);
        assert!(proxy.count("PUT", "/manifests/key-") > 0, "it tried");
    }
}

#[test]
fn two_work_trees_that_build_one_key_share_the_engines_name_for_it() {
    let Some(registry) = open_registry() else { return };
    let source = Source::new(&registry);
    let commit = source.commit("one");
    run(async {
        // The second build takes the name; an engine on containerd forgets the first image then.
        let (one, two) = (source.build(&commit).await, source.build(&commit).await);
        let one = source.publish(&commit, one).await.unwrap();
        let two = source.publish(&commit, two).await.unwrap();
        assert_eq!(one.reference, two.reference);
    });
}

#[test]
fn two_commits_of_one_key_are_built_and_published_side_by_side() {
    let Some(registry) = open_registry() else { return };
    for _ in 0..10 {
        let source = Source::new(&registry);
        let (one, two) = (source.commit("one"), source.commit("two"));
        run(async {
            let published = async |commit| {
                let prepared = source.prepare(commit, Intent::WillPublish).await.unwrap();
                source.publish(commit, prepared).await.unwrap()
            };
            let (one, two) = tokio::join!(published(&one), published(&two));
            assert_eq!(one.key, two.key);
        });
    }
}

#[test]
fn who_comes_second_delivers_what_the_first_did() {
    let Some(registry) = open_registry() else { return };
    a_race_is_lost(&registry, false);
}

#[test]
fn a_registry_that_keeps_its_tags_ends_a_race_without_an_error() {
    let Some(registry) = open_registry() else { return };
    a_race_is_lost(&registry, true);
}

#[test]
fn what_a_clean_up_removed_is_built_and_pushed_again() {
    let Some(registry) = open_registry() else { return };
    let source = Source::new(&registry);
    let commit = source.commit("one");
    run(async {
        let built = source.prepare(&commit, Intent::WillPublish).await.unwrap();
        let first = source.publish(&commit, built).await.unwrap();
        let digest = first.reference.digest.clone().unwrap();
        let address = format!("http://{registry}/v2/{}/manifests/{digest}", source.path);
        assert_eq!(curl(&["-X", "DELETE", &address]).0, 202);
        assert_eq!(source.published(&commit).await.unwrap(), None);

        let again = source.prepare(&commit, Intent::WillPublish).await.unwrap();
        assert!(matches!(again, Prepared::Built { .. }), "{again:?}");
        let second = source.publish(&commit, again).await.unwrap();
        assert_eq!(second.origin, Origin::Built);
        assert_eq!(source.published(&commit).await.unwrap(), Some(second.reference));
    });
}

#[test]
fn an_image_without_the_platform_is_not_taken_for_the_keys() {
    let Some(registry) = open_registry() else { return };
    let source = Source::new(&registry);
    let commit = source.commit("one");
    // Somebody has put an image for another machine under the key.
    let other = push_bytes(&source, 1000).unwrap().digest.unwrap();
    let bytes = curl(&[&format!("http://{registry}/v2/{}/manifests/{other}", source.path), "-H", "Accept: */*"]).1;
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": other, "size": bytes.len(),
            "platform": { "os": "linux", "architecture": "riscv64" },
        }],
    });
    run(async {
        let key = source.build(&commit).await.key().tag();
        let kind = "Content-Type: application/vnd.oci.image.index.v1+json";
        let address = format!("http://{registry}/v2/{}/manifests/{key}", source.path);
        assert_eq!(curl(&["-X", "PUT", "-H", kind, "-d", &index.to_string(), &address]).0, 201);
        let before = digest_of(&registry, &source.path, &key);

        let built = source.prepare(&commit, Intent::WillPublish).await.unwrap();
        assert!(matches!(built, Prepared::Built { .. }), "{built:?}");
        let new = source.publish(&commit, built).await.unwrap();
        assert_eq!(new.origin, Origin::Built);
        assert_ne!(new.reference.digest, before);
        assert_eq!(source.published(&commit).await.unwrap(), Some(new.reference));
        assert_eq!(digest_of(&registry, &source.path, &key), before, "no tag is overwritten");
    });
}

#[test]
fn an_image_for_several_platforms_is_published_as_one_list() {
    let Some(registry) = open_registry() else { return };
    let mut source = Source::new(&registry);
    source.yaml += "    platform: linux/amd64,linux/arm64\n";
    source.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY a-$TARGETARCH /a\n");
    source.write("a-amd64", format!("one {}", source.path));
    source.write("a-arm64", format!("other {}", source.path));
    let commit = source.commit("one");
    run(async {
        let built = source.prepare(&commit, Intent::WillPublish).await.unwrap();
        let new = source.publish(&commit, built).await.unwrap();
        assert_eq!((new.origin, &new.note), (Origin::Built, &None));
        let digest = new.reference.digest.unwrap();
        let address = format!("http://{registry}/v2/{}/manifests/{digest}", source.path);
        let (_, body) = curl(&["-H", "Accept: application/vnd.oci.image.index.v1+json", &address]);
        let list: serde_json::Value = serde_json::from_str(&body).unwrap();
        let mut found: Vec<&str> = list["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|one| one["platform"]["architecture"].as_str())
            .collect();
        found.retain(|name| *name != "unknown");
        found.sort_unstable();
        assert_eq!(found, ["amd64", "arm64"], "{list}");

        let again = source.prepare(&commit, Intent::WillPublish).await.unwrap();
        assert!(matches!(again, Prepared::AlreadyPublished { .. }), "{again:?}");
    });
}

#[test]
fn layers_that_the_registry_has_elsewhere_are_not_sent_again() {
    let Some(registry) = open_registry() else { return };
    let proxy = Proxy::to(&registry, |_, _| Fate::Pass);
    // Two services of one repository on one base that is large and that only the engine has.
    let (one, two) = (Source::new(&proxy.address), Source::new(&proxy.address));
    let shared = noise(2 << 20);
    for source in [&one, &two] {
        source.write("Dockerfile", "FROM scratch\nCOPY shared /\nCOPY a /\n");
        source.write("shared", &shared);
    }
    let sent = || proxy.asked().iter().map(|asked| asked.passed).sum::<usize>();
    run(async {
        let commit = one.commit("one");
        let built = one.prepare(&commit, Intent::WillPublish).await.unwrap();
        one.publish(&commit, built).await.unwrap();
        assert!(sent() > 2 << 20);
        let before = sent();
        let commit = two.commit("two");
        let built = two.prepare(&commit, Intent::WillPublish).await.unwrap();
        two.publish(&commit, built).await.unwrap();
        assert!(sent() - before < 100_000, "{} bytes were sent", sent() - before);
    });
    assert!(proxy.count("POST", "mount=sha256") > 0, "{:?}", proxy.asked());
}

#[test]
fn podmans_file_opens_a_registry_too() {
    let this = "podmans_file_opens_a_registry_too";
    let (Some(registry), Some(user), Some(password)) =
        (bed("GITOPS_HOOKS_TEST_REGISTRY_AUTH"), bed("GITOPS_HOOKS_TEST_USER"), bed("GITOPS_HOOKS_TEST_PASSWORD"))
    else {
        return;
    };
    let auth = STANDARD.encode(format!("{user}:{password}"));
    let wrong = STANDARD.encode(format!("{user}:wrong"));
    let nothing = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("containers")).unwrap();
    let file = folder.path().join("containers/auth.json");
    // For a part of the registry, beside a password for the rest that is none any more.
    let auths =
        serde_json::json!({ "auths": { &registry: { "auth": wrong }, format!("{registry}/test"): { "auth": auth } } });
    std::fs::write(&file, auths.to_string()).unwrap();
    let none = nothing.path().to_str();
    let places = [
        [("REGISTRY_AUTH_FILE", file.to_str()), ("XDG_RUNTIME_DIR", none), ("XDG_CONFIG_HOME", none)],
        [("REGISTRY_AUTH_FILE", None), ("XDG_RUNTIME_DIR", folder.path().to_str()), ("XDG_CONFIG_HOME", none)],
        [("REGISTRY_AUTH_FILE", None), ("XDG_RUNTIME_DIR", none), ("XDG_CONFIG_HOME", folder.path().to_str())],
    ];
    for place in places {
        let mut variables = place.to_vec();
        variables.push(("DOCKER_CONFIG", none));
        if inside(this, &variables) {
            let source = Source::new(&registry);
            push_bytes(&source, 1000).unwrap();
            return;
        }
    }
}

#[test]
fn an_authority_of_ones_own_is_found_where_docker_keeps_it() {
    let this = "an_authority_of_ones_own_is_found_where_docker_keeps_it";
    let (Some(registry), Some(ca)) = (bed("GITOPS_HOOKS_TEST_REGISTRY_TLS"), bed("GITOPS_HOOKS_TEST_CA")) else {
        return;
    };
    let login = format!("{}:{}", bed("GITOPS_HOOKS_TEST_USER").unwrap(), bed("GITOPS_HOOKS_TEST_PASSWORD").unwrap());
    let auth = STANDARD.encode(login);
    let with = docker_config(&registry, &serde_json::json!({ "auth": auth }));
    let certificates = with.path().join("certs.d").join(&registry);
    std::fs::create_dir_all(&certificates).unwrap();
    std::fs::copy(&ca, certificates.join("ca.crt")).unwrap();
    let without = docker_config(&registry, &serde_json::json!({ "auth": auth }));
    let (yes, no) = (Some("yes"), Some("no"));
    let cases = [
        [("DOCKER_CONFIG", with.path().to_str()), ("SSL_CERT_FILE", None), ("GITOPS_HOOKS_TEST_TRUSTED", yes)],
        [("DOCKER_CONFIG", without.path().to_str()), ("SSL_CERT_FILE", Some(&ca)), ("GITOPS_HOOKS_TEST_TRUSTED", yes)],
        [("DOCKER_CONFIG", without.path().to_str()), ("SSL_CERT_FILE", None), ("GITOPS_HOOKS_TEST_TRUSTED", no)],
    ];
    for case in cases {
        if !inside(this, &case) {
            continue;
        }
        let repository: Repository = format!("{registry}/test/trust").parse().unwrap();
        let extra = [ExtraFile { path: "x".to_owned(), bytes: noise(100), mode: 0o644 }];
        let tag = "1.0".parse().unwrap();
        let binary = Path::new("/bin/true");
        let pushed = run(image::push_binary(&repository, Transport::Tls, &tag, binary, "linux/amd64", &extra));
        if std::env::var("GITOPS_HOOKS_TEST_TRUSTED").as_deref() == Ok("yes") {
            pushed.unwrap();
        } else {
            let (text, code) = told(&pushed.unwrap_err());
            assert_eq!(code, "environment");
            assert!(text.contains("shows a certificate that is not trusted here") && text.contains("ca.crt"), "{text}");
        }
        return;
    }
}

#[test]
fn a_registry_that_wants_a_certificate_of_ones_own_is_shown_it() {
    let this = "a_registry_that_wants_a_certificate_of_ones_own_is_shown_it";
    let Some(user) = bed("GITOPS_HOOKS_TEST_USER") else { return };
    if let Ok(address) = std::env::var("GITOPS_HOOKS_TEST_PROXY") {
        let repository: Repository = format!("{address}/test/certified").parse().unwrap();
        let extra = [ExtraFile { path: "x".to_owned(), bytes: noise(100), mode: 0o644 }];
        let (tag, binary) = ("1.0".parse().unwrap(), Path::new("/bin/true"));
        let pushed = run(image::push_binary(&repository, Transport::Tls, &tag, binary, "linux/amd64", &extra));
        if std::env::var("GITOPS_HOOKS_TEST_TRUSTED").is_ok() {
            pushed.unwrap();
        } else {
            let (text, code) = told(&pushed.unwrap_err());
            assert_eq!(code, "environment");
            assert!(text.to_lowercase().contains("certificate"), "{text}");
        }
        return;
    }
    let door =
        Certified::before(&bed("GITOPS_HOOKS_TEST_REGISTRY_TLS").unwrap(), &bed("GITOPS_HOOKS_TEST_CA").unwrap());
    let auth = STANDARD.encode(format!("{user}:{}", bed("GITOPS_HOOKS_TEST_PASSWORD").unwrap()));
    let config = docker_config(&door.address, &serde_json::json!({ "auth": auth }));
    let certificates = config.path().join("certs.d").join(&door.address);
    std::fs::create_dir_all(&certificates).unwrap();
    std::fs::copy(door.file("ca.crt"), certificates.join("ca.crt")).unwrap();
    let folder = ("DOCKER_CONFIG", config.path().to_str());
    let address = ("GITOPS_HOOKS_TEST_PROXY", Some(door.address.as_str()));
    inside(this, &[folder, address]);
    std::fs::copy(door.file("client.crt"), certificates.join("client.cert")).unwrap();
    std::fs::copy(door.file("client.key"), certificates.join("client.key")).unwrap();
    inside(this, &[folder, address, ("GITOPS_HOOKS_TEST_TRUSTED", Some("yes"))]);
}

#[test]
fn a_token_for_a_token_is_traded() {
    let this = "a_token_for_a_token_is_traded";
    let Some(registry) = bed("GITOPS_HOOKS_TEST_REGISTRY") else { return };
    let Ok(address) = std::env::var("GITOPS_HOOKS_TEST_PROXY") else {
        let own = Arc::new(OnceLock::<String>::new());
        let known = Arc::clone(&own);
        let proxy = Proxy::to(&registry, move |asked, _| {
            let json = [("Content-Type", "application/json")];
            if asked.is("POST", "/token") {
                return Fate::answer(200, &json, r#"{"access_token": "traded"}"#);
            }
            if asked.authorization.as_deref() == Some("Bearer traded") {
                return Fate::Pass;
            }
            let realm =
                format!("Bearer realm=\"http://{}/token\",service=\"r\"", known.get().cloned().unwrap_or_default());
            Fate::answer(401, &[("WWW-Authenticate", &realm)], "")
        });
        let _ = own.set(proxy.address.clone());
        let config = docker_config(&proxy.address, &serde_json::json!({ "identitytoken": "refresh" }));
        let address = proxy.address.as_str();
        inside(this, &[("DOCKER_CONFIG", config.path().to_str()), ("GITOPS_HOOKS_TEST_PROXY", Some(address))]);
        assert!(proxy.count("POST", "/token") > 0);
        return;
    };
    push_bytes(&Source::new(&address), 1000).unwrap();
}

/// Publishes in a process of its own, which is killed with the proxy's request of that number; gives whether it was.
fn killed_at(registry: &str, source: &Source, number: usize) -> bool {
    let child = Arc::new(AtomicU32::new(0));
    let (victim, seen) = (Arc::clone(&child), AtomicUsize::new(0));
    let proxy = Proxy::to(registry, move |_, _| {
        if seen.fetch_add(1, Ordering::SeqCst) + 1 == number {
            let pid = i32::try_from(victim.load(Ordering::SeqCst)).unwrap();
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        Fate::Pass
    });
    let folder = source.folder.path().to_str().unwrap();
    let variables = [
        ("GITOPS_HOOKS_TEST_PROXY", Some(proxy.address.as_str())),
        ("GITOPS_HOOKS_TEST_FOLDER", Some(folder)),
        ("GITOPS_HOOKS_TEST_PATH", Some(source.path.as_str())),
    ];
    let mut command = again("a_publication_that_is_killed_leaves_nothing_half_done", &variables);
    let mut process = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    child.store(process.id(), Ordering::SeqCst);
    let status = process.wait().unwrap();
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

#[test]
fn a_publication_that_is_killed_leaves_nothing_half_done() {
    let Some(registry) = open_registry() else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    if std::env::var("GITOPS_HOOKS_TEST_FOLDER").is_ok() {
        let folder = Path::new(&variable("GITOPS_HOOKS_TEST_FOLDER")).to_owned();
        let source = Source::open(&folder, &variable("GITOPS_HOOKS_TEST_PROXY"), &variable("GITOPS_HOOKS_TEST_PATH"));
        let commit = source.repository.commit("HEAD").unwrap();
        run(async {
            let prepared = source.prepare(&commit, Intent::WillPublish).await.unwrap();
            source.publish(&commit, prepared).await.unwrap();
        });
        return;
    }
    // Every request of a publication when there is time, else some from its beginning to its end.
    let soak = std::env::var_os("SOAK").is_some();
    let numbers: Vec<usize> = if soak { (1..60).collect() } else { vec![2, 7, 11, 14, 18, 21] };
    let mut killed = 0;
    for number in numbers {
        let source = Source::new(&registry);
        let commit = source.commit("one");
        let was_killed = killed_at(&registry, &source, number);
        killed += usize::from(was_killed);
        run(async {
            // What can be found is whole.
            if let Some(found) = source.published(&commit).await.unwrap() {
                assert_whole(&registry, &source.path, &found.digest.unwrap());
            }
            let key = source.prepare(&commit, Intent::TrialOnly).await.unwrap().key().tag();
            if let Some(digest) = digest_of(&registry, &source.path, &key) {
                assert_whole(&registry, &source.path, &digest);
            }
            // And the next push goes on.
            let prepared = source.prepare(&commit, Intent::WillPublish).await.unwrap();
            let new = source.publish(&commit, prepared).await.unwrap();
            assert_whole(&registry, &source.path, &new.reference.digest.unwrap());
        });
        if !was_killed {
            break;
        }
    }
    assert!(killed > 1, "a publication has more requests than that");
}

/// A manifest and every blob that it names are there.
fn assert_whole(registry: &str, path: &str, digest: &Digest) {
    let accept =
        "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
    let (status, body) = curl(&["-H", accept, &format!("http://{registry}/v2/{path}/manifests/{digest}")]);
    assert_eq!(status, 200, "{body}");
    let manifest: serde_json::Value = serde_json::from_str(&body).unwrap();
    let blobs = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    for blob in blobs {
        let blob = blob["digest"].as_str().unwrap();
        assert_eq!(curl(&["-I", &format!("http://{registry}/v2/{path}/blobs/{blob}")]).0, 200, "{blob}");
    }
}

#[test]
fn where_an_image_comes_from_is_found_beside_it() {
    let Some(registry) = open_registry() else { return };
    let base = bed("GITOPS_HOOKS_TEST_BASE_BUSYBOX").unwrap();
    let source = Source::new(&registry);
    source.write("Dockerfile", format!("FROM {base}\nCOPY a /\n"));
    let commit = source.commit("one");
    let published = run(async {
        let built = source.build(&commit).await;
        source.publish(&commit, built).await.unwrap()
    });
    let digest = published.reference.digest.unwrap();
    let list = Tag::of_referrers(&digest);
    let get = |below: &str| {
        let address = format!("http://{registry}/v2/{}/{below}", source.path);
        let kinds = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        serde_json::from_str::<serde_json::Value>(&curl(&["-L", "-H", kinds, &address]).1).unwrap()
    };
    let found = get(&format!("manifests/{list}"));
    let about = &found["manifests"][0];
    assert_eq!(about["artifactType"], "application/vnd.in-toto+json");
    assert_eq!(about["annotations"]["org.opencontainers.image.revision"], commit.as_str());
    let manifest = get(&format!("manifests/{}", about["digest"].as_str().unwrap()));
    assert_eq!(manifest["subject"]["digest"], digest.as_str());
    let statement = get(&format!("blobs/{}", manifest["layers"][0]["digest"].as_str().unwrap()));
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest.hex());
    let built = &statement["predicate"]["buildDefinition"];
    assert_eq!(built["internalParameters"]["key"], published.key.as_str());
    assert_eq!(built["resolvedDependencies"][0]["digest"]["gitCommit"], commit.as_str());
    assert_eq!(built["resolvedDependencies"][1]["uri"], format!("oci://{base}"));

    // As somebody else's program reads it.
    let Some(oras) = bed("GITOPS_HOOKS_TEST_ORAS") else { return };
    let reference = format!("{registry}/{}@{digest}", source.path);
    let output =
        Command::new(oras).args(["discover", "--plain-http", "--format", "json", &reference]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("application/vnd.in-toto+json"), "{said}");
    assert!(said.contains(about["digest"].as_str().unwrap()), "{said}");
}

#[test]
fn a_registry_that_keeps_the_list_itself_gets_no_tag_for_it() {
    let Some(registry) = open_registry() else { return };
    let proxy = Proxy::to(&registry, |asked, _| {
        if asked.is("PUT", "/manifests/sha256:") {
            return Fate::answer(201, &[("OCI-Subject", "sha256:any")], "");
        }
        Fate::Pass
    });
    let source = Source::new(&proxy.address);
    let commit = source.commit("one");
    run(async {
        let built = source.build(&commit).await;
        assert_eq!(source.publish(&commit, built).await.unwrap().note, None);
    });
    assert_eq!(proxy.count("PUT", "/manifests/sha256:"), 1);
    assert_eq!(proxy.count("PUT", "/manifests/sha256-"), 0);
}

#[test]
fn a_registry_that_takes_images_only_gets_the_image() {
    let Some(registry) = open_registry() else { return };
    let proxy = Proxy::to(&registry, |asked, _| {
        if asked.is("PUT", "/manifests/sha256:") {
            let words = r#"{"errors":[{"code":"MANIFEST_INVALID","message":"artifacts are not supported"}]}"#;
            return Fate::answer(400, &[("Content-Type", "application/json")], words);
        }
        Fate::Pass
    });
    let source = Source::new(&proxy.address);
    let commit = source.commit("one");
    run(async {
        let built = source.build(&commit).await;
        let new = source.publish(&commit, built).await.unwrap();
        assert!(new.note.unwrap().contains("artifacts are not supported"));
        assert_eq!(source.published(&commit).await.unwrap(), Some(new.reference));
    });
}
