//! What a person says about an environment: promote, roll back, hold, release; and what its history says afterwards.

use super::bed::{Bed, Clone, MANIFEST, REPOSITORY, built, config, described, follow, git};
use gitops_hooks::{
    config::{self, Config},
    deliver::{self, Act, Build, Delivery, Error, Hold, Seen, Session, State, Switch, Target},
    git::Prompts,
    values::{ImageName, ImageRef, Oid},
};

fn images(tip: &Oid) -> Vec<(ImageName, ImageRef)> {
    vec![("web".parse().unwrap(), built(tip))]
}

fn state(bed: &Bed, environment: &str) -> State {
    let text = bed.manifest(&format!("{environment}/.gitops-hooks/state.yaml"));
    State::parse("state.yaml", text.as_bytes()).unwrap()
}

/// Staging follows main, and production takes what runs in staging.
fn two(url: &str) -> String {
    described(url)
        + &format!(
            "  production:\n    promote: staging\n    manifests: {{url: \"{url}\", path: production}}\n    images: [web]\n"
        )
}

fn runs(bed: &Bed, environment: &str) -> Oid {
    state(bed, environment).images[&"web".parse().unwrap()].source.clone()
}

fn promotion(clone: &Clone, config: &Config) -> Act {
    let target = Target::of(config, &"staging".parse().unwrap(), Switch::Refused).unwrap();
    let session = Session::new(&clone.repository, Prompts::Never, [&target]);
    let images = deliver::delivered(&session, &target).unwrap().state.images;
    Act::Promote { from: "staging".parse().unwrap(), images, proof: "healthy".to_owned() }
}

#[test]
fn what_was_reverted_is_noted_so_that_a_slow_laptop_cannot_deliver_it_later() {
    let bed = Bed::new();
    let (ada, slow) = (bed.clone("Ada"), bed.clone("Slow"));
    let first = ada.commit_and_push("one");
    ada.deliver(&first).unwrap();
    let between = ada.commit_and_push("one and a half");
    git(&slow.folder, &["pull", "--quiet", "origin", "main"]);
    let second = ada.commit_and_push("revert it");
    // The revert builds what the first commit built; what came between is another image.
    let same = |tip: &Oid| vec![("web".parse().unwrap(), built(if *tip == second { &first } else { tip }))];
    let noted = ada.deliver_with(&second, same).unwrap();
    assert!(matches!(&noted, Delivery::Noted { source: Some(source), .. } if *source == second), "{noted:?}");
    assert_eq!(slow.deliver_with(&between, same).unwrap(), Delivery::Superseded { by: second.clone() });
    assert_eq!(runs(&bed, "staging"), second);
    assert!(bed.manifest("staging/deployment.yaml").contains(&built(&first).to_string()));
    assert_eq!(bed.log().len(), 3);
}

#[test]
fn an_image_that_stays_is_as_new_as_the_commit_that_was_delivered() {
    let bed = Bed::new();
    let api = "registry.example.com/team/api";
    bed.push_manifests(
        "manifests.git",
        &[("staging/api.yaml", &format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: api}}\nspec: {{containers: [{{name: api, image: '{api}:0'}}]}}\n"))],
    );
    let text = described(&bed.url)
        .replace("images: {", &format!("images: {{api: {{repository: {api}}}, "))
        .replace("[web]", "[web, api]");
    let config = config::parse("c.yaml", &text).unwrap();
    let clone = bed.clone("Ada");
    let reference = |tip: &Oid| format!("{api}:git-{tip}@sha256:{:0<64}", tip.as_str()).parse::<ImageRef>().unwrap();
    let first = clone.commit_and_push("one");
    let between = clone.commit_and_push("change the api");
    let second = clone.commit_and_push("change the api back, and the web");
    let all = |tip: &Oid| {
        let api = if *tip == between { reference(&between) } else { reference(&first) };
        vec![("web".parse().unwrap(), built(tip)), ("api".parse().unwrap(), api)]
    };
    for tip in [&first, &second] {
        let delivered = clone.act(&config, "staging", Switch::Refused, follow(tip), all).unwrap();
        assert!(matches!(delivered, Delivery::Delivered { .. }));
    }
    let late = clone.act(&config, "staging", Switch::Refused, follow(&between), all).unwrap();
    assert_eq!(late, Delivery::Superseded { by: second });
    assert!(bed.manifest("staging/api.yaml").contains(&reference(&first).to_string()));
}

#[test]
fn a_promotion_brings_exactly_what_runs_before_and_never_goes_back() {
    let bed = Bed::new();
    bed.push_manifests("manifests.git", &[("production/deployment.yaml", MANIFEST)]);
    let clone = bed.clone("Ada");
    let config = config::parse("c.yaml", &two(&bed.url)).unwrap();
    let first = clone.commit_and_push("one");
    clone.deliver(&first).unwrap();
    let old = promotion(&clone, &config);
    let production = |act| clone.act(&config, "production", Switch::Refused, act, images);
    assert!(matches!(production(old.clone()).unwrap(), Delivery::Delivered { .. }));
    assert_eq!(bed.manifest("production/deployment.yaml"), bed.manifest("staging/deployment.yaml"));
    assert_eq!(bed.log()[3], format!("Ada|Promote flask-app {} from staging to production: one", first.short()));
    assert_eq!(production(old.clone()).unwrap(), Delivery::Unchanged);

    let second = clone.commit_and_push("two");
    clone.deliver(&second).unwrap();
    assert_eq!(runs(&bed, "production"), first, "a merge delivers nothing there");
    assert!(matches!(production(promotion(&clone, &config)).unwrap(), Delivery::Delivered { .. }));
    assert_eq!(production(old).unwrap(), Delivery::Superseded { by: second.clone() });
    assert_eq!(runs(&bed, "production"), second);
}

#[test]
fn what_somebody_edited_after_its_delivery_is_not_promoted_as_delivered() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let config = config(&bed.url);
    let tip = clone.commit_and_push("one");
    let Delivery::Delivered { manifest_commit, .. } = clone.deliver(&tip).unwrap() else { panic!() };
    let at = |commit: &str| {
        let target = Target::of(&config, &"staging".parse().unwrap(), Switch::Refused).unwrap();
        let session = Session::new(&clone.repository, Prompts::Never, [&target]);
        deliver::delivered_at(&session, &target, &commit.trim().parse().unwrap())
    };
    let edited =
        bed.manifest("staging/deployment.yaml").replace(&built(&tip).to_string(), &format!("{REPOSITORY}:hand"));
    bed.push_manifests("manifests.git", &[("staging/deployment.yaml", &edited)]);
    let hand = git(&bed.path().join("manifests.git"), &["rev-parse", "main"]);
    let error = at(&hand).unwrap_err();
    assert!(matches!(error, Error::Edited { .. }) && error.to_string().contains("flask-app:hand"), "{error}");
    assert_eq!(at(manifest_commit.as_str()).unwrap(), state(&bed, "staging"));
    let error = at(&"1".repeat(40)).unwrap_err();
    assert!(matches!(error, Error::OtherManifests { .. }), "{error}");
}

#[test]
fn a_hold_is_seen_by_every_laptop_until_it_is_released() {
    let bed = Bed::new();
    let (ada, ben) = (bed.clone("Ada"), bed.clone("Ben"));
    let first = ada.commit_and_push("one");
    ada.deliver(&first).unwrap();
    let hold = Hold { by: "Ada <ada@example.com>".to_owned(), why: "the fair: nothing \"new\"\n".to_owned() };
    let config = config(&bed.url);
    let said = ada.act(&config, "staging", Switch::Refused, Act::Hold(hold.clone()), images).unwrap();
    assert!(matches!(said, Delivery::Noted { source: None, .. }));
    git(&ben.folder, &["pull", "--quiet", "origin", "main"]);
    let second = ben.commit_and_push("two");
    let refused = ben.deliver_with(&second, |_| panic!("nothing is built for an environment that is held")).unwrap();
    assert_eq!(refused, Delivery::Held { hold: hold.clone() });
    assert_eq!(runs(&bed, "staging"), first);
    // Who releases another hold than the one that stands there by now has not read this one.
    let unread = ben.act(&config, "staging", Switch::Refused, Act::Release(None), images).unwrap();
    assert_eq!(unread, Delivery::Held { hold: hold.clone() });
    assert_eq!(state(&bed, "staging").hold, Some(hold.clone()));
    let release = || Act::Release(Some(hold.clone()));
    ben.act(&config, "staging", Switch::Refused, release(), images).unwrap();
    assert_eq!(ben.act(&config, "staging", Switch::Refused, release(), images).unwrap(), Delivery::Unchanged);
    assert!(matches!(ben.deliver(&second).unwrap(), Delivery::Delivered { .. }));
    assert_eq!(state(&bed, "staging").hold, None);
}

#[test]
fn an_environment_can_be_held_before_anything_was_delivered() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    let hold = Hold { by: "Ada <a@example.com>".to_owned(), why: "not yet".to_owned() };
    clone.act(&config(&bed.url), "staging", Switch::Refused, Act::Hold(hold.clone()), images).unwrap();
    assert_eq!(clone.deliver(&tip).unwrap(), Delivery::Held { hold });
}

#[test]
fn a_rollback_is_told_holds_and_is_released_by_hand() {
    let bed = Bed::new();
    bed.push_manifests("manifests.git", &[("production/deployment.yaml", MANIFEST)]);
    let clone = bed.clone("Ada");
    let first = clone.configure(&two(&bed.url));
    clone.deliver(&first).unwrap();
    let second = clone.commit_and_push("two");
    clone.deliver(&second).unwrap();
    let third = clone.commit_and_push("three");
    clone.deliver(&third).unwrap();
    bed.push_manifests("manifests.git", &[("staging/by-hand.yaml", "kind: ConfigMap\n")]);

    let said = clone.must(&["rollback", "staging", "-m", "it loses orders"]);
    assert!(said.contains(&format!("web of {} is delivered by", second.short())), "{said}");
    assert!(said.contains("gitops-hooks release staging"), "{said}");
    assert_eq!(runs(&bed, "staging"), second);
    assert_eq!(bed.manifest("staging/by-hand.yaml"), "kind: ConfigMap\n", "only references go back");
    let hold = state(&bed, "staging").hold.unwrap();
    assert_eq!((hold.by.as_str(), hold.why.as_str()), ("Ada <dev@example.com>", "it loses orders"));
    assert!(matches!(clone.deliver(&third).unwrap(), Delivery::Held { .. }), "it holds");

    clone.must(&["rollback", "staging", "--to", &first.as_str()[..10]]);
    assert_eq!(runs(&bed, "staging"), first);
    let (code, said) = clone.hooks(&["rollback", "staging", "--to", "1234567"]);
    assert!(code == Some(2) && said.contains("staging never ran 1234567"), "{said}");
    let (code, said) = clone.hooks(&["rollback", "staging"]);
    assert!(code == Some(2) && said.contains("never ran anything else"), "{said}");

    let (_, said) = clone.hooks(&["release", "staging"]);
    assert!(said.contains("everybody sees it from"), "{said}");
    assert_eq!(state(&bed, "staging").hold, None);

    let told = clone.must(&["history", "staging"]);
    let rows: Vec<&str> = told.lines().collect();
    assert!(rows[1].contains("released"), "{told}");
    assert!(rows.iter().any(|row| row.contains("rolled back: it loses orders")), "{told}");
    let json: serde_json::Value = serde_json::from_str(&clone.must(&["history", "staging", "--json"])).unwrap();
    crate::documented::is_documented("history ENVIRONMENT --json", &json);
    let entries = json["entries"].as_array().unwrap();
    let what: Vec<&str> = entries.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["released", "rolled back", "rolled back", "delivered", "delivered", "delivered"]);
    assert_eq!(entries[2]["images"][0]["subject"], "two");
    assert_eq!(entries[3]["result"], "rolled back");
    assert_eq!(entries[0]["who"], "Ada");
}

#[test]
fn a_rollback_over_a_move_of_the_repository_goes_back_to_the_old_one_and_forth_again() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let first = clone.configure(&described(&bed.url));
    clone.deliver(&first).unwrap();
    let moved = "registry.example.com/apps/flask";
    let hand = bed.manifest("staging/deployment.yaml").replace(&built(&first).to_string(), &format!("{moved}:none"));
    bed.push_manifests("manifests.git", &[("staging/deployment.yaml", &hand)]);
    let second = clone.configure(&described(&bed.url).replace(REPOSITORY, moved));
    let config = config::parse("c.yaml", &described(&bed.url).replace(REPOSITORY, moved)).unwrap();
    let there = |tip: &Oid| {
        let reference = built(tip).to_string().replace(REPOSITORY, moved);
        vec![("web".parse().unwrap(), reference.parse::<ImageRef>().unwrap())]
    };
    let deliver = |tip: &Oid| clone.act(&config, "staging", Switch::Refused, follow(tip), there).unwrap();
    deliver(&second);
    clone.must(&["rollback", "staging"]);
    let runs = || state(&bed, "staging").images[&"web".parse().unwrap()].reference.clone();
    assert_eq!(runs(), built(&first));
    assert!(bed.manifest("staging/deployment.yaml").contains(&built(&first).to_string()));
    let hold = state(&bed, "staging").hold;
    clone.act(&config, "staging", Switch::Refused, Act::Release(hold), there).unwrap();
    assert!(matches!(deliver(&second), Delivery::Delivered { .. }));
    assert_eq!(vec![("web".parse().unwrap(), runs())], there(&second));
    assert!(bed.manifest("staging/deployment.yaml").contains(&runs().to_string()));
}

/// What a host makes of a review, and what people write into messages.
#[test]
fn history_goes_by_what_a_commit_changes_and_not_by_its_message() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let first = clone.configure(&described(&bed.url));
    clone.deliver(&first).unwrap();
    let second = clone.commit_and_push("two");
    clone.deliver(&second).unwrap();
    let path = "staging/.gitops-hooks/state.yaml";
    let (state, manifest) = (bed.manifest(path), bed.manifest("staging/deployment.yaml"));
    let next = |text: &str| text.replace(&built(&second).to_string(), &built(&first).to_string());
    // As a host squashes: what a delivery changes, under a message of its own.
    bed.push_manifests("manifests.git", &[(path, &next(&state)), ("staging/deployment.yaml", &next(&manifest))]);
    let server = bed.path().join("manifests.git");
    let forge = |files: &[(&str, &str)]| {
        bed.push_manifests("manifests.git", files);
        let commit = ["commit-tree", "main^{tree}", "-p", "main^", "-m", "Deliver it\n\nEnvironment: staging"];
        let identity = ["-c", "user.name=Hand", "-c", "user.email=hand@example.com"];
        let forged = git(&server, &[&identity[..], &commit[..]].concat());
        git(&server, &["update-ref", "refs/heads/main", forged.trim()]);
    };
    forge(&[(path, &state)]);
    forge(&[(path, &next(&state)), ("staging/deployment.yaml", &next(&manifest).replace("replicas: ", "replicas: 1"))]);
    let json: serde_json::Value = serde_json::from_str(&clone.must(&["history", "staging", "--json"])).unwrap();
    let entries = json["entries"].as_array().unwrap();
    let what: Vec<&str> = entries.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["by hand", "by hand", "delivered", "delivered", "delivered"]);
}

#[test]
fn promotion_without_a_cluster_must_be_asked_for() {
    let bed = Bed::new();
    bed.push_manifests("manifests.git", &[("production/deployment.yaml", MANIFEST)]);
    let clone = bed.clone("Ada");
    let first = clone.configure(&two(&bed.url));
    let (code, said) = clone.hooks(&["promote", "production", "--unverified"]);
    assert!(code == Some(2) && said.contains("staging runs no web that was delivered"), "{said}");
    clone.deliver(&first).unwrap();
    let (code, said) = clone.hooks(&["promote", "production"]);
    assert!(
        code == Some(3) && said.contains("cannot tell what runs in staging") && said.contains("--unverified"),
        "{said}"
    );
    bed.push_manifests("manifests.git", &[("production/broken.yaml", "kind: ConfigMap\n")]);
    let said = clone.must(&["promote", "production", "--unverified"]);
    assert!(
        said.contains("warning: production will not take production/broken.yaml:1: apiVersion is missing"),
        "{said}"
    );
    assert!(said.contains(&format!("web of {} is delivered by", first.short())), "{said}");
    let (code, said) = clone.hooks(&["promote", "staging", "--unverified"]);
    assert!(code == Some(2) && said.contains("follows a branch"), "{said}");
    let (code, said) = clone.hooks(&["deliver", "production"]);
    assert!(code == Some(2) && said.contains("gitops-hooks promote production"), "{said}");

    clone.must(&["hold", "production", "-m", "for now"]);
    let said = clone.must(&["hold", "production", "until", "the audit"]);
    assert!(said.contains("this takes the place of: held by Ada: for now"), "{said}");
    let said = clone.must(&["status"]);
    assert!(
        said.contains("held by Ada: until the audit; `gitops-hooks release production` lets newer commits in"),
        "{said}"
    );
    let said = clone.must(&["status", "staging"]);
    assert!(said.contains("staging") && !said.contains("production") && !said.contains("behind"), "{said}");
    let (code, said) = clone.hooks(&["status", "nowhere"]);
    assert!(code == Some(2) && said.contains("there is no environment \"nowhere\""), "{said}");
    let (code, said) = clone.hooks(&["promote", "nowhere"]);
    assert!(code == Some(2) && said.contains("in the configuration of the commit that is checked out"), "{said}");
    clone.commit_and_push("two");
    clone.deliver(&clone.tip()).unwrap();
    let (code, said) = clone.hooks(&["promote", "production", "--unverified"]);
    assert!(code == Some(1) && said.contains("held by Ada: until the audit"), "{said}");
    let said = clone.must(&["release", "production"]);
    assert!(said.contains("gitops-hooks promote production"), "{said}");
    let said = clone.must(&["status"]);
    let behind =
        "production: 1 commit behind main; `gitops-hooks promote production` takes what runs healthy in staging";
    assert!(said.contains(behind), "{said}");
}

#[test]
fn what_was_edited_by_hand_is_restored_when_a_person_asks_and_stays_in_a_hold() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    clone.deliver(&tip).unwrap();
    let delivered = bed.manifest("staging/deployment.yaml");
    let edit = || {
        let edited = delivered.replace(&built(&tip).to_string(), "registry.example.com/team/flask-app:debug");
        assert_ne!(edited, delivered);
        bed.push_manifests("manifests.git", &[("staging/deployment.yaml", &edited)]);
    };
    let config = config(&bed.url);
    let seen = |seen| Act::Follow { tip: tip.clone(), seen, build: Build::Missing };
    edit();
    let hook = clone.act(&config, "staging", Switch::Refused, seen(Seen::Now), images).unwrap();
    assert_eq!((hook, bed.manifest("staging/deployment.yaml") == delivered), (Delivery::Unchanged, false));
    let asked = clone.act(&config, "staging", Switch::Refused, seen(Seen::Once), images).unwrap();
    assert!(matches!(&asked, Delivery::Delivered { source, .. } if *source == tip), "{asked:?}");
    assert_eq!((bed.manifest("staging/deployment.yaml"), runs(&bed, "staging")), (delivered.clone(), tip.clone()));
    let hold = Hold { by: "Ada <ada@example.com>".to_owned(), why: "looking".to_owned() };
    clone.act(&config, "staging", Switch::Refused, Act::Hold(hold), images).unwrap();
    edit();
    clone.act(&config, "staging", Switch::Refused, seen(Seen::Once), images).unwrap();
    assert_ne!(bed.manifest("staging/deployment.yaml"), delivered);
}

#[test]
fn a_promotion_and_a_way_back_are_shown_before_they_are_made() {
    let bed = Bed::new();
    bed.push_manifests("manifests.git", &[("production/deployment.yaml", MANIFEST)]);
    let clone = bed.clone("Ada");
    let first = clone.configure(&two(&bed.url));
    clone.deliver(&first).unwrap();
    clone.must(&["promote", "production", "--unverified"]);
    let second = clone.commit_and_push("two");
    clone.deliver(&second).unwrap();
    let log = bed.log();
    let tag = |commit: &Oid| format!("git-{commit}");
    for shown in [&["diff", "production"][..], &["promote", "production", "--unverified", "--dry-run"]] {
        let said = clone.must(shown);
        assert!(said.contains("production: Promote flask-app") && said.contains(&tag(&first)), "{said}");
        assert!(said.contains("+          image: ") && said.contains(&tag(&second)), "{said}");
    }
    let said = clone.must(&["rollback", "staging", "--dry-run"]);
    assert!(said.contains("staging: Roll staging back to") && said.contains(&tag(&first)), "{said}");
    assert_eq!(bed.log(), log);
}
