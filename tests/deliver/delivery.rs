//! One environment: what is delivered, what is not, and what a race, a crash or a colleague may do to it.

use super::bed::{Bed, Clone, MANIFEST, REPOSITORY, built, config, follow, git, identify};
use gitops_hooks::{
    deliver::{self, Delivery, Error, Reason, Session, State, Target},
    git::{Prompts, Repository},
    values::Oid,
};
use std::collections::HashSet;

#[test]
fn a_delivery_changes_the_image_and_the_state_and_nothing_else() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("Say version 2");
    let Delivery::Delivered { source, files, tries, .. } = clone.deliver(&tip).unwrap() else { panic!() };
    assert_eq!((source, files, tries), (tip.clone(), vec!["staging/deployment.yaml".to_owned()], 1));
    let expected = MANIFEST.replace(&format!("{REPOSITORY}:16"), &built(&tip).to_string());
    assert_eq!(bed.manifest("staging/deployment.yaml"), expected);
    assert_eq!(bed.manifest("README.md"), "flask-app\n");
    let state = State::parse("s", bed.manifest("staging/.gitops-hooks/state.yaml").as_bytes()).unwrap();
    assert_eq!(state.images[&"web".parse().unwrap()].source, tip);
    assert_eq!(bed.log()[1], format!("Ada|Deliver flask-app {} to staging: Say version 2", tip.short()));
    let body = git(&bed.path().join("manifests.git"), &["log", "-1", "--format=%(trailers)", "main"]);
    for trailer in [format!("Source-Commit: {tip}"), format!("Image: {}", built(&tip)), "Environment: staging".into()] {
        assert!(body.lines().any(|line| line == trailer), "{body}");
    }
    assert!(clone.waiting().is_empty());

    let config = config(&bed.url);
    let target = Target::of(&config, &"staging".parse().unwrap(), deliver::Switch::Refused).unwrap();
    let session = Session::new(&clone.repository, Prompts::Never, [&target]);
    let delivered = deliver::delivered(&session, &target).unwrap();
    assert_eq!((delivered.state, delivered.commit.unwrap().author), (state, "Ada".to_owned()));
}

#[test]
fn unchanged_means_untouched_and_asks_for_no_image() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let first = clone.commit_and_push("one");
    clone.deliver(&first).unwrap();
    let again = clone.deliver_with(&first, |_| panic!("nothing is behind")).unwrap();
    assert_eq!(again, Delivery::Unchanged);
    let second = clone.commit_and_push("only words");
    let same = clone.deliver_with(&second, |_| vec![("web".parse().unwrap(), built(&first))]).unwrap();
    assert_eq!(same, Delivery::Unchanged);
    assert_eq!(bed.log().len(), 2);
    assert!(clone.waiting().is_empty());
}

#[test]
fn never_backwards_also_where_the_newer_commit_is_not_known_here() {
    let bed = Bed::new();
    let (ada, ben) = (bed.clone("Ada"), bed.clone("Ben"));
    let old = ada.commit_and_push("one");
    git(&ben.folder, &["pull", "--quiet", "origin", "main"]);
    let new = ben.commit_and_push("two");
    ben.deliver(&new).unwrap();
    assert_eq!(ada.deliver(&old).unwrap(), Delivery::Superseded { by: new });
    let tracking = git(&ada.folder, &["rev-parse", "origin/main"]);
    assert_eq!(tracking.trim(), old.as_str(), "the user's remote-tracking branch is the user's");
}

#[test]
fn a_rewritten_branch_is_followed_and_a_stale_clone_is_not() {
    let bed = Bed::new();
    let ada = bed.clone("Ada");
    ada.commit_and_push("base");
    let old = ada.commit_and_push("old");
    ada.deliver(&old).unwrap();
    let ben = bed.clone("Ben");
    git(&ben.folder, &["pull", "--quiet", "origin", "main"]);
    git(&ada.folder, &["commit", "--quiet", "--amend", "--allow-empty", "-m", "rewritten"]);
    let new = ada.commit_and_push("after it");
    let Delivery::Delivered { rewritten, .. } = ada.deliver(&new).unwrap() else { panic!() };
    assert_eq!(rewritten, Some(old.clone()));
    assert!(matches!(ben.deliver(&old).unwrap(), Delivery::Superseded { .. }));
}

#[test]
fn a_shallow_history_that_cannot_tell_is_refused() {
    let bed = Bed::new();
    let ada = bed.clone("Ada");
    let first = ada.commit_and_push("one");
    ada.deliver(&first).unwrap();
    ada.commit_and_push("two");
    let third = ada.commit_and_push("three");
    let url = format!("file://{}", bed.path().join("source.git").display());
    git(bed.path(), &["clone", "--quiet", "--depth=1", &url, "shallow"]);
    let folder = bed.path().join("shallow");
    identify(&folder, "Shallow");
    let shallow = Clone { repository: Repository::open(&folder).unwrap(), folder, url: bed.url.clone() };
    let error = shallow.deliver(&third).unwrap_err();
    assert!(matches!(error, Error::Shallow { .. }), "{error}");
    assert_eq!(shallow.waiting().len(), 1);
}

#[test]
fn two_clones_racing_lose_nothing() {
    let bed = Bed::new();
    let ada = bed.clone("Ada");
    let commits: Vec<Oid> = (0..20).map(|number| ada.commit_and_push(&format!("commit {number}"))).collect();
    let ben = bed.clone("Ben");
    git(&ben.folder, &["pull", "--quiet", "origin", "main"]);
    let landed: Vec<Oid> = std::thread::scope(|scope| {
        let run = |clone: Clone| {
            let commits = &commits;
            let Clone { folder, url, .. } = clone;
            scope.spawn(move || {
                let clone = Clone { repository: Repository::open(&folder).unwrap(), folder, url };
                let mut landed = Vec::new();
                for commit in commits {
                    match clone.deliver(commit).unwrap() {
                        Delivery::Delivered { source, .. } => landed.push(source),
                        Delivery::Unchanged | Delivery::Superseded { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
                assert!(clone.waiting().is_empty());
                landed
            })
        };
        let (ada, ben) = (run(ada), run(ben));
        [ada.join().unwrap(), ben.join().unwrap()].concat()
    });
    let unique: HashSet<&Oid> = landed.iter().collect();
    assert_eq!(unique.len(), landed.len(), "each at most once");
    assert_eq!(bed.log().len(), 1 + landed.len(), "every commit is a delivery");
    let delivered: Vec<usize> =
        bed.log()[1..].iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(delivered.is_sorted(), "{delivered:?}");
    assert_eq!(delivered.last(), Some(&19));
}

#[test]
fn a_lost_race_is_run_again_and_keeps_the_other_commit() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    let other = |tip: &Oid| {
        bed.push_manifests("manifests.git", &[("staging/other.yaml", "a: 1\n")]);
        vec![("web".parse().unwrap(), built(tip))]
    };
    let Delivery::Delivered { tries, .. } = clone.deliver_with(&tip, other).unwrap() else { panic!() };
    assert_eq!(tries, 2);
    assert_eq!(bed.manifest("staging/other.yaml"), "a: 1\n");
}

#[test]
fn what_fails_says_so_and_leaves_a_note() {
    let bed = Bed::new();
    let mut clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    clone.url = bed.path().join("gone.git").to_str().unwrap().to_owned();
    let error = clone.deliver(&tip).unwrap_err();
    assert!(matches!(error, Error::Git(gitops_hooks::git::Error::Unreachable { .. })), "{error}");
    let note = clone.waiting().remove(0);
    assert!(note.last_error.unwrap().contains("gone.git") && note.attempts == 1);

    git(bed.path(), &["init", "--quiet", "--bare", "empty.git"]);
    clone.url = bed.path().join("empty.git").to_str().unwrap().to_owned();
    let error = clone.deliver(&tip).unwrap_err().to_string();
    assert!(error.contains("is empty: there is no branch \"main\""), "{error}");

    bed.push_manifests("empty.git", &[("staging/a.yaml", "image: other\n")]);
    let error = clone.deliver_with(&tip, |_| panic!("not built for nothing")).unwrap_err().to_string();
    assert!(error.contains("no manifest under staging of") && error.contains(REPOSITORY), "{error}");

    bed.push_manifests("empty.git", &[("staging/.gitops-hooks/state.yaml", "version: 1\n<<<<<<< HEAD\n")]);
    let error = clone.deliver(&tip).unwrap_err().to_string();
    assert!(error.contains("staging/.gitops-hooks/state.yaml:2:1") && error.contains("conflict marks"), "{error}");

    clone.url.clone_from(&bed.url);
    clone.deliver(&tip).unwrap();
    assert!(clone.waiting().is_empty());
}

#[test]
fn a_commit_that_the_branch_has_lost_is_not_delivered() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    clone.commit_and_push("one");
    let lost = clone.commit_and_push("two");
    let other = bed.clone("Grace");
    git(&other.folder, &["reset", "--quiet", "--hard", "HEAD~1"]);
    git(&other.folder, &["push", "--quiet", "--force", "origin", "main"]);
    let error = clone.deliver(&lost).unwrap_err();
    assert!(matches!(error, Error::NotOnBranch { .. }), "{error}");
    assert_eq!(bed.log().len(), 1);
}

#[test]
fn a_commit_of_another_branch_is_delivered_only_when_that_was_asked_for() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    clone.deliver(&tip).unwrap();
    let state = bed.manifest("staging/.gitops-hooks/state.yaml");
    assert!(state.contains("branch: \"main\""), "{state}");
    let before = state.replace("branch: \"main\"", "branch: \"develop\"");
    bed.push_manifests("manifests.git", &[("staging/.gitops-hooks/state.yaml", &before)]);
    git(&clone.folder, &["commit", "--quiet", "--amend", "--allow-empty", "-m", "another history"]);
    git(&clone.folder, &["push", "--quiet", "--force", "origin", "main"]);
    let tip = clone.tip();
    let error = clone.deliver(&tip).unwrap_err();
    assert!(matches!(error, Error::OtherBranch { .. }), "{error}");
    let images = |tip: &Oid| vec![("web".parse().unwrap(), built(tip))];
    let delivery = clone.act(&config(&clone.url), "staging", deliver::Switch::Asked, follow(&tip), images).unwrap();
    assert!(matches!(delivery, Delivery::Delivered { .. }), "{delivery:?}");
}

#[test]
fn a_server_hook_that_rejects_is_quoted() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    bed.server_hook("pre-receive", "echo 'main is protected: ask the release team' >&2; exit 1");
    let error = clone.deliver(&tip).unwrap_err();
    assert!(error.to_string().contains("main is protected: ask the release team"), "{error}");
    assert!(matches!(error, Error::Refused { .. }));
    assert_eq!((clone.waiting().len(), bed.log().len()), (1, 1));
}

#[test]
fn an_amend_of_a_colleagues_commit_does_not_sign_the_delivery() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    clone.commit_and_push("one");
    let leaks = [
        ("GIT_AUTHOR_NAME", "Colleague"),
        ("GIT_COMMITTER_NAME", "Colleague"),
        ("GIT_AUTHOR_DATE", "2001-01-01T00:00"),
    ];
    assert_eq!(clone.deliver_in_a_process(&leaks), Some(0));
    assert!(bed.log()[1].starts_with("Ada|"), "{:?}", bed.log());
}

#[test]
fn killed_in_the_middle_the_next_delivery_finishes() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    assert_eq!(clone.deliver_in_a_process(&[("DELIVER_DIES_BUILDING", "1")]), None);
    assert_eq!((clone.waiting().len(), bed.log().len()), (1, 1));
    assert!(matches!(clone.deliver(&tip).unwrap(), Delivery::Delivered { .. }));

    // Killed after the server took the push, before the note was removed.
    let next = clone.commit_and_push("two");
    let pid = bed.path().join("pid");
    bed.server_hook("post-receive", &format!("kill -9 $(cat {})", pid.display()));
    assert_eq!(clone.deliver_in_a_process(&[("DELIVER_PID", pid.to_str().unwrap())]), None);
    bed.server_hook("post-receive", "true");
    assert_eq!((clone.waiting().len(), bed.log().len()), (1, 3));
    assert_eq!(clone.deliver(&next).unwrap(), Delivery::Unchanged);
    assert!(clone.waiting().is_empty());
}

#[test]
fn a_note_waits_for_whoever_delivers_next() {
    let bed = Bed::new();
    let clone = bed.clone("Ada");
    let tip = clone.commit_and_push("one");
    deliver::note(&clone.repository, &"staging".parse().unwrap(), Reason::Push(tip.clone())).unwrap();
    assert_eq!(clone.waiting()[0].reason, Reason::Push(tip.clone()));
    clone.deliver(&tip).unwrap();
    assert!(clone.waiting().is_empty());
}
