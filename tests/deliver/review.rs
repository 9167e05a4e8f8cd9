//! Deliveries that somebody reviews: one branch for each environment, never forced, never multiplied.

use super::bed::{Bed, Clone, built, described, follow, git};
use gitops_hooks::{
    config::{self, Config},
    deliver::{self, Act, Delivery, Error, Hold, Kind, Session, Switch, Target},
    git::Prompts,
    values::{ImageName, ImageRef, Oid},
};

const BRANCH: &str = "gitops-hooks/staging";

fn images(tip: &Oid) -> Vec<(ImageName, ImageRef)> {
    vec![("web".parse().unwrap(), built(tip))]
}

fn reviewed(bed: &Bed) -> Config {
    config::parse("c.yaml", &described(&bed.url).replace("    branch: main\n", "    branch: main\n    review: true\n"))
        .unwrap()
}

fn propose(bed: &Bed, clone: &Clone, tip: &Oid) -> Result<Delivery, Error> {
    clone.act(&reviewed(bed), "staging", Switch::Refused, follow(tip), images)
}

fn on_server(bed: &Bed, args: &[&str]) -> String {
    git(&bed.path().join("manifests.git"), args)
}

fn branches(bed: &Bed) -> Vec<String> {
    on_server(bed, &["for-each-ref", "--format=%(refname:short)", "refs/heads"]).lines().map(str::to_owned).collect()
}

/// Merges the review as a host does, with a merge commit.
fn merge(bed: &Bed) {
    let hand = tempfile::tempdir_in(bed.path()).unwrap();
    git(hand.path(), &["clone", "--quiet", &bed.url, "."]);
    super::bed::identify(hand.path(), "Reviewer");
    git(hand.path(), &["merge", "--quiet", "--no-ff", "-m", "Merge it", &format!("origin/{BRANCH}")]);
    git(hand.path(), &["push", "--quiet", "origin", "main"]);
}

/// Commits a file to the branch of the review.
fn amend(bed: &Bed, path: &str, text: &str) {
    let hand = tempfile::tempdir_in(bed.path()).unwrap();
    git(hand.path(), &["clone", "--quiet", "-b", BRANCH, &bed.url, "."]);
    super::bed::identify(hand.path(), "Reviewer");
    std::fs::write(hand.path().join(path), text).unwrap();
    git(hand.path(), &["add", "-A"]);
    git(hand.path(), &["commit", "--quiet", "-m", "A word of mine"]);
    git(hand.path(), &["push", "--quiet", "origin", BRANCH]);
}

#[test]
fn a_review_is_one_branch_that_is_brought_up_to_date() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let main = on_server(&bed, &["rev-parse", "main"]);
    let first = clone.commit_and_push("one");
    let proposed = propose(&bed, &clone, &first).unwrap();
    assert!(matches!(&proposed, Delivery::Proposed { branch, commit: Some(_), refused: None, .. } if branch == BRANCH));
    assert!(clone.waiting().is_empty());
    let again = propose(&bed, &clone, &first).unwrap();
    assert!(matches!(again, Delivery::Proposed { commit: None, .. }), "{again:?}");

    amend(&bed, "staging/note.yaml", "a: 1\n");
    bed.push_manifests("manifests.git", &[("production.yaml", "b: 1\n")]);
    let second = clone.commit_and_push("two");
    let before = on_server(&bed, &["rev-parse", BRANCH]);
    propose(&bed, &clone, &second).unwrap();
    assert_eq!(branches(&bed), [BRANCH, "main"]);
    on_server(&bed, &["merge-base", "--is-ancestor", before.trim(), BRANCH]);
    on_server(&bed, &["merge-base", "--is-ancestor", "main", BRANCH]);
    let show = |path: &str| on_server(&bed, &["show", &format!("{BRANCH}:{path}")]);
    assert!(show("staging/deployment.yaml").contains(&built(&second).to_string()));
    assert_eq!((show("staging/note.yaml"), show("production.yaml")), ("a: 1\n".to_owned(), "b: 1\n".to_owned()));
    let body = on_server(&bed, &["log", "-1", "--format=%B", BRANCH]);
    assert!(body.contains("staging/deployment.yaml:") && body.contains(&format!("Source-Commit: {second}")), "{body}");
    assert_ne!(on_server(&bed, &["rev-parse", "main"]), main, "only by hand");
    assert!(!bed.manifest("staging/deployment.yaml").contains(&built(&first).to_string()));

    merge(&bed);
    let config = reviewed(&bed);
    let target = Target::of(&config, &"staging".parse().unwrap(), Switch::Refused).unwrap();
    let session = Session::new(&clone.repository, Prompts::Never, [&target]);
    let past = deliver::history(&session, &target, 20).unwrap();
    let kinds: Vec<&Kind> = past.entries.iter().map(|entry| &entry.kind).collect();
    assert_eq!(kinds, [&Kind::Delivered, &Kind::Delivered], "what was merged beside it is no change of a delivery's");
}

#[test]
fn status_names_the_review_until_it_is_merged() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    clone.configure(&described(&bed.url).replace("    branch: main\n", "    branch: main\n    review: true\n"));
    let tip = clone.tip();
    propose(&bed, &clone, &tip).unwrap();
    let status = || clone.hooks(&["status"]).1;
    assert!(status().contains("staging: waits for review on gitops-hooks/staging"), "{}", status());
    merge(&bed);
    assert!(!status().contains("waits for review"), "{}", status());
}

#[test]
fn after_a_merge_the_next_review_begins_anew() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let first = clone.commit_and_push("one");
    propose(&bed, &clone, &first).unwrap();
    merge(&bed);
    assert_eq!(propose(&bed, &clone, &first).unwrap(), Delivery::Unchanged);
    let second = clone.commit_and_push("two");
    propose(&bed, &clone, &second).unwrap();
    assert_eq!(on_server(&bed, &["rev-list", "--count", &format!("main..{BRANCH}")]).trim(), "1");
    on_server(&bed, &["update-ref", "-d", &format!("refs/heads/{BRANCH}")]);
    let third = clone.commit_and_push("three");
    propose(&bed, &clone, &third).unwrap();
    assert_eq!(on_server(&bed, &["rev-list", "--count", &format!("main..{BRANCH}")]).trim(), "1", "a closed one too");
    assert_eq!(branches(&bed), [BRANCH, "main"]);
}

#[test]
fn a_review_that_disagrees_with_the_branch_is_told_and_not_forced() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let first = clone.commit_and_push("one");
    propose(&bed, &clone, &first).unwrap();
    let here = bed.manifest("staging/deployment.yaml");
    let line = here.lines().find(|line| line.contains("image:")).unwrap().to_owned();
    bed.push_manifests("manifests.git", &[("staging/deployment.yaml", &here.replace(&line, &format!("{line}-hand")))]);
    let before = on_server(&bed, &["rev-parse", BRANCH]);
    let second = clone.commit_and_push("two");
    let error = propose(&bed, &clone, &second).unwrap_err();
    assert!(matches!(error, Error::ReviewConflict { .. }), "{error}");
    assert!(error.to_string().contains("staging/deployment.yaml"), "{error}");
    assert_eq!(on_server(&bed, &["rev-parse", BRANCH]), before);
}

#[test]
fn a_branch_that_leaves_no_room_for_the_review_is_named_at_once() {
    for there in ["gitops-hooks", "gitops-hooks/staging/old"] {
        let bed = Bed::new();
        let clone = bed.clone("Ada");
        let tip = clone.commit_and_push("one");
        on_server(&bed, &["branch", there, "main"]);
        let began = std::time::Instant::now();
        let error = propose(&bed, &clone, &tip).unwrap_err();
        assert!(error.to_string().contains(&format!("has a branch {there}, beside which")), "{error}");
        assert!(began.elapsed().as_secs() < 10, "it is tried once");
        on_server(&bed, &["branch", "-D", there]);
        assert!(matches!(propose(&bed, &clone, &tip).unwrap(), Delivery::Proposed { .. }));
    }
}

#[test]
fn a_hold_counts_at_once_although_deliveries_are_reviewed() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let first = clone.commit_and_push("one");
    propose(&bed, &clone, &first).unwrap();
    let hold = Hold { by: "Ada <a@example.com>".to_owned(), why: "the fair".to_owned() };
    clone.act(&reviewed(&bed), "staging", Switch::Refused, Act::Hold(hold.clone()), images).unwrap();
    let second = clone.commit_and_push("two");
    assert_eq!(propose(&bed, &clone, &second).unwrap(), Delivery::Held { hold });
}

#[test]
fn a_protected_branch_turns_a_delivery_into_a_review_with_a_word() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    bed.server_hook(
        "pre-receive",
        "while read -r old new ref; do\n  [ \"$ref\" != refs/heads/main ] || { echo 'GitLab: You are not allowed to push code to protected branches'; exit 1; }\ndone",
    );
    let tip = clone.commit_and_push("one");
    let Delivery::Proposed { branch, refused: Some(refused), .. } = clone.deliver(&tip).unwrap() else { panic!() };
    assert!(branch == BRANCH && refused.contains("not allowed to push code to protected branches"), "{refused}");
    assert_eq!((bed.log().len(), branches(&bed).len()), (1, 2));
    assert!(clone.waiting().is_empty());
    let again = clone.deliver(&tip).unwrap();
    assert!(matches!(again, Delivery::Proposed { commit: None, .. }), "{again:?}");
}

#[test]
fn a_server_that_opens_merge_requests_is_asked_to_and_its_page_is_told() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    on_server(&bed, &["config", "receive.advertisePushOptions", "true"]);
    let told = bed.path().join("options");
    bed.server_hook(
        "post-receive",
        &format!(
            "n=0; while [ $n -lt \"${{GIT_PUSH_OPTION_COUNT:-0}}\" ]; do eval echo \\\"\\$GIT_PUSH_OPTION_$n\\\"; n=$((n+1)); done > {}\necho\necho 'View merge request for {BRANCH}:'\necho '  https://git.example.com/team/manifests/-/merge_requests/7'",
            told.display()
        ),
    );
    let tip = clone.commit_and_push("one");
    let Delivery::Proposed { page, .. } = propose(&bed, &clone, &tip).unwrap() else { panic!() };
    assert_eq!(page.as_deref(), Some("https://git.example.com/team/manifests/-/merge_requests/7"));
    let options = std::fs::read_to_string(told).unwrap();
    assert!(options.contains("merge_request.create\nmerge_request.target=main\n"), "{options}");
    assert!(
        options.contains(&format!("merge_request.title=Deliver flask-app {} to staging: one", tip.short())),
        "{options}"
    );
    assert!(options.contains("Source-Commit: "), "{options}");
}

#[test]
fn a_rollback_that_waits_for_its_review_is_taken_back_where_it_waits() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let yaml = described(&bed.url).replace("    branch: main\n", "    branch: main\n    review: true\n");
    let first = clone.configure(&yaml);
    for tip in [first, clone.commit_and_push("two")] {
        propose(&bed, &clone, &tip).unwrap();
        merge(&bed);
    }
    let said = clone.must(&["rollback", "staging", "-m", "two is late"]);
    assert!(said.contains(&format!("deletes {BRANCH} there")), "{said}");
    let (_, said) = clone.hooks(&["release", "staging"]);
    assert!(said.contains(&format!("what {BRANCH} proposes may")), "{said}");
}
