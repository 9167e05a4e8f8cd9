//! What environments are to run becomes commits, one for each, and one push for each manifest repository: fetch, judge,
//! patch, commit, push, and again when somebody else was faster. A note in the outbox is written before and removed after.

use super::{
    Act, Build, Error, Hold, Seen, Session, State, Target, commit, delivered,
    message::Message,
    order, outbox,
    plan::{self, Plan},
    review,
    session::Freshness,
};
use crate::{
    git::{Mirror, Prompts, Push, Pushed},
    manifest::Field,
    ui::Task,
    values::{ImageName, ImageRef, Oid, RemoteUrl},
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How often a lost race is run again. Each time somebody else has landed something, so this is reached only in a crowd.
const TRIES: u32 = 40;

/// Manifest repositories that are spoken to at the same time, where nobody can be asked for a password.
const PARALLEL: usize = 8;

/// What git said of an upstream longer ago than this may have changed.
const LONG: Duration = Duration::from_secs(20);

/// Why something could not be had of another room, in its own words.
pub type ResolveError = Box<dyn miette::Diagnostic + Send + Sync>;

/// What a delivery asks of those who know images.
pub trait Builds: Sync {
    /// The images of a source commit that an environment runs. It may build them, as far as `build` allows.
    ///
    /// # Errors
    /// Where an image cannot be had.
    fn references(
        &self,
        target: &Target<'_>,
        commit: &Oid,
        build: Build,
    ) -> Result<Vec<(ImageName, ImageRef)>, ResolveError>;

    /// Whether a commit that `to` has and `from` does not have makes another image than `to` does.
    ///
    /// # Errors
    /// Where it cannot be told.
    fn differed(&self, target: &Target<'_>, image: &ImageName, from: &Oid, to: &Oid) -> Result<bool, ResolveError>;

    /// Looks over a commit that is about to be pushed, in the repository at a folder, and may warn of it.
    fn look_over(&self, _target: &Target<'_>, _git_dir: &Path, _commit: &Oid) {}
}

/// An environment and what somebody wants of it.
pub struct Wish<'a> {
    /// The environment.
    pub target: Target<'a>,
    /// What is wanted.
    pub act: Act,
    /// Where progress is shown.
    pub task: Task,
}

/// How a wish ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// One commit was pushed.
    Delivered {
        /// The commit on the manifest branch.
        manifest_commit: Oid,
        /// The source commit that runs now.
        source: Oid,
        /// The images that changed, and what runs now.
        images: Vec<(ImageName, ImageRef)>,
        /// The files that changed, the state not among them.
        files: Vec<String>,
        /// What ran before, where it is no longer on the source branch because somebody rewrote it.
        rewritten: Option<Oid>,
        /// How often it was pushed; more than 1 after a lost race.
        tries: u32,
    },
    /// No reference changed, and the state says that what runs is as new as this.
    Noted {
        /// The commit on the manifest branch.
        manifest_commit: Oid,
        /// The source commit; none where only a hold was set or released.
        source: Option<Oid>,
    },
    /// It waits on a branch of its own until somebody has reviewed and merged it.
    Proposed {
        /// The branch.
        branch: String,
        /// Its newest commit; `None` where it had all of it before.
        commit: Option<Oid>,
        /// Where it is reviewed, where that is known.
        page: Option<String>,
        /// What the server said against a push to the branch itself.
        refused: Option<String>,
    },
    /// The environment runs this already; nothing was committed.
    Unchanged,
    /// The environment runs something newer, or the branch has something else by now.
    Superseded {
        /// The newer source commit.
        by: Oid,
    },
    /// Somebody said that it stays as it is.
    Held {
        /// Who and why.
        hold: Hold,
    },
}

/// Does what is wanted, and says for each wish how it ended; one that fails stops no other. The environments of a manifest
/// repository are fetched once and pushed once. The outbox keeps a note of what should follow a branch and could not.
pub fn deliver(session: &Session<'_>, wishes: &[Wish<'_>], builds: &dyn Builds) -> Vec<Result<Delivery, Error>> {
    let mut groups: BTreeMap<&RemoteUrl, Vec<usize>> = BTreeMap::new();
    for (at, wish) in wishes.iter().enumerate() {
        groups.entry(&wish.target.environment.manifests.url).or_default().push(at);
    }
    let groups: Vec<(&RemoteUrl, Vec<usize>)> = groups.into_iter().collect();
    let (next, ended) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some((url, wanted)) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut group = Group { session, builds, url, jobs: Vec::new(), ended: Vec::new() };
            group.begin(wanted.iter().map(|at| (*at, &wishes[*at])));
            group.run();
            ended.lock().unwrap_or_else(PoisonError::into_inner).extend(group.ended);
        }
    };
    match session.prompts {
        // Two questions at once on one terminal: nobody could answer them.
        Prompts::Allowed => work(),
        Prompts::Never => thread::scope(|scope| {
            for _ in 0..groups.len().min(PARALLEL) {
                scope.spawn(work);
            }
        }),
    }
    ended.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// The wishes about one manifest repository.
struct Group<'g> {
    session: &'g Session<'g>,
    builds: &'g dyn Builds,
    url: &'g RemoteUrl,
    /// What is still to be done.
    jobs: Vec<Job<'g>>,
    ended: Vec<(usize, Result<Delivery, Error>)>,
}

/// A wish on its way.
struct Job<'g> {
    at: usize,
    wish: &'g Wish<'g>,
    note: Option<outbox::Open>,
    /// The images of the commit that is followed, once they are known.
    built: Vec<(ImageName, ImageRef)>,
    way: Way,
}

/// Where a delivery goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Direct,
    Review {
        /// What the server said against the direct way.
        refused: Option<String>,
    },
}

/// A commit that is ready to be made.
pub(super) struct Draft {
    pub(super) tree: Oid,
    pub(super) message: String,
    pub(super) fields: Vec<(String, Field)>,
    files: Vec<String>,
    images: Vec<(ImageName, ImageRef)>,
    source: Option<Oid>,
    rewritten: Option<Oid>,
}

/// A branch that is about to be pushed, with the wishes that it does.
struct Line {
    push: Push,
    jobs: Vec<(usize, Draft, Oid)>,
    message: String,
    review: bool,
}

impl<'g> Group<'g> {
    fn begin(&mut self, wishes: impl Iterator<Item = (usize, &'g Wish<'g>)>) {
        for (at, wish) in wishes {
            let way = match (wish.target.environment.review, &wish.act) {
                // A hold is a word of warning that must not wait for a review.
                (true, Act::Follow { .. } | Act::Promote { .. } | Act::Rollback { .. }) => {
                    Way::Review { refused: None }
                }
                _ => Way::Direct,
            };
            let note = match &wish.act {
                Act::Follow { .. } => outbox::begin(self.session.repository, wish.target.name).map(Some),
                _ => Ok(None),
            };
            match note {
                Ok(note) => self.jobs.push(Job { at, wish, note, built: Vec::new(), way }),
                Err(error) => self.ended.push((at, Err(error))),
            }
        }
    }

    fn run(&mut self) {
        if let Err(error) = self.look() {
            return self.fail(&error);
        }
        self.each(Self::resolve);
        for tries in 1..=TRIES {
            if self.jobs.is_empty() {
                return;
            }
            if tries > 1 {
                for job in &self.jobs {
                    job.wish.task.message(&format!("somebody else was faster; trying again ({tries})"));
                }
            }
            match self.round(tries) {
                Ok(reason) if tries == TRIES => return self.give_up(&reason),
                Ok(_) if self.jobs.iter().any(|job| matches!(job.way, Way::Review { refused: Some(_) })) => {}
                Ok(_) if self.jobs.is_empty() => {}
                Ok(_) => pause(tries),
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// What the manifests cannot take is found out before minutes go into building it.
    fn look(&mut self) -> Result<(), Error> {
        for job in &self.jobs {
            job.wish.task.message("fetching the manifests");
        }
        let mirror = self.session.open(self.url)?;
        self.session.fetch(&mirror, self.url, Freshness::OfThisCommand)?;
        self.each(|group, job| {
            let Wish { target, act, .. } = job.wish;
            let tip = mirror.tip(&target.environment.manifests.branch)?;
            let state = delivered::state(&mirror, target, &tip)?;
            match plan::plan(group.session, target, act, &state)? {
                Ok(plan) => {
                    commit::patch(&mirror, target, &tip, &plan.rehearsed(target, act.source())?)?;
                    Ok(None)
                }
                Err(delivery) => Ok(Some(delivery)),
            }
        });
        // The mirror is given back here: building may take long, and others may use it meanwhile.
        Ok(())
    }

    fn resolve(&self, job: &mut Job<'g>) -> Result<Option<Delivery>, Error> {
        let Wish { target, act, task } = job.wish;
        let Act::Follow { tip, seen, build } = act else { return Ok(None) };
        if *seen == Seen::Once {
            task.message("asking the upstream");
            order::still_there(self.session, target, tip)?;
        }
        task.message("looking for the images");
        let began = Instant::now();
        job.built = self.builds.references(target, tip, *build).map_err(Error::Images)?;
        if *seen == Seen::Now && began.elapsed() > LONG {
            order::still_there(self.session, target, tip)?;
        }
        Ok(None)
    }

    /// Does something for each job; those that end with it are done.
    fn each(&mut self, mut work: impl FnMut(&Self, &mut Job<'g>) -> Result<Option<Delivery>, Error>) {
        let mut left = Vec::new();
        for mut job in std::mem::take(&mut self.jobs) {
            match work(self, &mut job) {
                Ok(None) => left.push(job),
                Ok(Some(delivery)) => self.end(job, Ok(delivery)),
                Err(error) => self.end(job, Err(error)),
            }
        }
        self.jobs = left;
    }

    /// One try: a commit for each job on what is there now, and a push of them all. What is left afterwards has lost a race, or
    /// is to go another way.
    fn round(&mut self, tries: u32) -> Result<String, Error> {
        let mirror = self.session.open(self.url)?;
        let freshness = if tries == 1 { Freshness::OfThisCommand } else { Freshness::Now };
        self.session.fetch(&mirror, self.url, freshness)?;
        if self.jobs.iter().any(|job| matches!(job.way, Way::Review { refused: Some(_) })) {
            mirror.fetch_all([], Some(review::FOLDER))?;
        }
        let mut lines: BTreeMap<String, Line> = BTreeMap::new();
        self.each(|group, job| {
            job.wish.task.message("patching the manifests");
            group.add(&mirror, job, &mut lines, tries)
        });
        for job in &self.jobs {
            job.wish.task.message("pushing the delivery");
        }
        let (reviews, direct): (Vec<Line>, Vec<Line>) = lines.into_values().partition(|line| line.review);
        let mut reason = String::new();
        if !direct.is_empty() {
            let pushes: Vec<Push> = direct.iter().map(|line| line.push.clone()).collect();
            let told = mirror.push(&pushes, &[])?;
            for (line, pushed) in direct.into_iter().zip(told) {
                self.pushed(line, pushed, tries, &mut reason);
            }
        }
        for line in reviews {
            let Some(target) = line.jobs.first().and_then(|(at, ..)| self.job(*at)).map(|job| &job.wish.target) else {
                continue;
            };
            let options = review::options(target, &line.message);
            let told = mirror.push(std::slice::from_ref(&line.push), &options)?;
            for pushed in told.into_iter().take(1) {
                self.pushed_for_review(&line, &pushed, &mut reason);
            }
        }
        Ok(reason)
    }

    /// Makes a job's commit and adds it to its branch.
    fn add(
        &self,
        mirror: &Mirror,
        job: &Job<'g>,
        lines: &mut BTreeMap<String, Line>,
        tries: u32,
    ) -> Result<Option<Delivery>, Error> {
        let target = &job.wish.target;
        let main = (*target.environment.manifests.branch).clone();
        let there = mirror.tip(&main)?;
        let (name, base) = match &job.way {
            Way::Direct => {
                let ahead = lines.get(&main).map(|line| line.push.commit.clone());
                let tree = ahead.unwrap_or_else(|| there.clone());
                (main, review::Base { parents: vec![tree.clone()], tree, expected: Some(there) })
            }
            Way::Review { refused } => {
                // What the branch itself runs already waits for nobody.
                if let Err(delivery) = self.draft(mirror, job, &there)? {
                    return Ok(Some(delivery));
                }
                let name = review::branch(target);
                let base = review::base(mirror, target, &there)?;
                if let Err(Delivery::Unchanged | Delivery::Superseded { .. }) = self.draft(mirror, job, &base.tree)? {
                    let refused = refused.clone();
                    return Ok(Some(Delivery::Proposed { branch: name, commit: None, page: None, refused }));
                }
                (name, base)
            }
        };
        let draft = match self.draft(mirror, job, &base.tree)? {
            Ok(draft) => draft,
            Err(delivery) => return Ok(Some(delivery)),
        };
        let commit = mirror.commit(&draft.tree, &base.parents, &draft.message)?;
        if tries == 1 {
            job.wish.task.message("looking over the manifests");
            self.builds.look_over(target, mirror.repository().git_dir(), &commit);
        }
        let line = lines.entry(name.clone()).or_insert_with(|| Line {
            push: Push { branch: name, commit: commit.clone(), expected: base.expected },
            jobs: Vec::new(),
            message: draft.message.clone(),
            review: job.way != Way::Direct,
        });
        line.push.commit = commit.clone();
        line.jobs.push((job.at, draft, commit));
        Ok(None)
    }

    /// What a job's commit changes on a commit or tree, or how it ends without one.
    fn draft(&self, mirror: &Mirror, job: &Job<'g>, base: &Oid) -> Result<Result<Draft, Delivery>, Error> {
        draft(self.session, self.builds, job.wish, &job.built, mirror, base)
    }

    fn pushed(&mut self, line: Line, pushed: Pushed, tries: u32, reason: &mut String) {
        match pushed {
            Pushed::Accepted { .. } => {
                for (at, draft, manifest_commit) in line.jobs {
                    let Draft { images, files, source, rewritten, .. } = draft;
                    let delivery = match source {
                        Some(source) if !images.is_empty() => {
                            Delivery::Delivered { manifest_commit, source, images, files, rewritten, tries }
                        }
                        source => Delivery::Noted { manifest_commit, source },
                    };
                    self.end_at(at, Ok(delivery));
                }
            }
            Pushed::Overtaken { reason: said } => *reason = said,
            Pushed::Refused { message } => {
                for (at, ..) in &line.jobs {
                    if let Some(job) = self.jobs.iter_mut().find(|job| job.at == *at) {
                        job.way = Way::Review { refused: Some(message.clone()) };
                    }
                }
            }
        }
    }

    fn pushed_for_review(&mut self, line: &Line, pushed: &Pushed, reason: &mut String) {
        for (at, _, commit) in &line.jobs {
            let Some(job) = self.job(*at) else { continue };
            let target = &job.wish.target;
            let Way::Review { refused } = job.way.clone() else { continue };
            let result = match pushed {
                Pushed::Accepted { said } => {
                    job.wish.task.message("opening the review");
                    let page = review::page(target, said, &line.message);
                    Ok(Delivery::Proposed {
                        branch: line.push.branch.clone(),
                        commit: Some(commit.clone()),
                        page,
                        refused,
                    })
                }
                Pushed::Overtaken { reason: said } => {
                    reason.clone_from(said);
                    continue;
                }
                Pushed::Refused { message } => Err(Error::Refused {
                    url: self.url.shown(),
                    branch: target.environment.manifests.branch.to_string(),
                    message: refused.unwrap_or_else(|| message.clone()),
                }),
            };
            self.end_at(*at, result);
        }
    }

    fn job(&self, at: usize) -> Option<&Job<'g>> {
        self.jobs.iter().find(|job| job.at == at)
    }

    fn end_at(&mut self, at: usize, result: Result<Delivery, Error>) {
        if let Some(place) = self.jobs.iter().position(|job| job.at == at) {
            let job = self.jobs.remove(place);
            self.end(job, result);
        }
    }

    fn end(&mut self, job: Job<'g>, result: Result<Delivery, Error>) {
        if let (Some(note), Act::Follow { tip, .. }) = (job.note, &job.wish.act) {
            // A note that stays behind is only looked at once more.
            let _ = match &result {
                Ok(_) => note.done(self.session.repository, tip),
                Err(error) => note.failed(error.in_full()),
            };
        }
        self.ended.push((job.at, result));
    }

    fn fail(&mut self, error: &Error) {
        for job in std::mem::take(&mut self.jobs) {
            self.end(job, Err(error.for_another()));
        }
    }

    fn give_up(&mut self, reason: &str) {
        for job in std::mem::take(&mut self.jobs) {
            let branch = job.wish.target.environment.manifests.branch.to_string();
            let (url, reason) = (self.url.shown(), reason.to_owned());
            self.end(job, Err(Error::Overtaken { url, branch, tries: TRIES, reason }));
        }
    }
}

/// What a wish changes on a commit or tree, or how it ends without a commit.
pub(super) fn draft(
    session: &Session<'_>,
    builds: &dyn Builds,
    wish: &Wish<'_>,
    built: &[(ImageName, ImageRef)],
    mirror: &Mirror,
    base: &Oid,
) -> Result<Result<Draft, Delivery>, Error> {
    let Wish { target, act, .. } = wish;
    let state = delivered::state(mirror, target, base)?;
    let plan = match plan::plan(session, target, act, &state)? {
        Ok(plan) => plan.with(act.source(), built)?,
        Err(delivery) => return Ok(Err(delivery)),
    };
    let change = commit::patch(mirror, target, base, &plan)?;
    let after = commit::state_after(target, &plan, &change, &state);
    if change.files.is_empty() && (after == state || !plan::is_worth_recording(builds, target, act, &plan, &state)?) {
        return Ok(Err(Delivery::Unchanged));
    }
    let tree = commit::write(mirror, target, base, &change, &after)?;
    let message =
        Message { session, target, act, plan: &plan, change: &change, before: &state, after: &after }.render();
    Ok(Ok(draft_of(tree, message, change, plan, act, &after)))
}

fn draft_of(tree: Oid, message: String, change: commit::Change, plan: Plan, act: &Act, after: &State) -> Draft {
    let runs = |image: ImageName| Some((image.clone(), after.images.get(&image)?.reference.clone()));
    Draft {
        tree,
        message,
        files: change.files.into_iter().map(|(path, _)| path).collect(),
        fields: change.fields,
        images: change.images.into_iter().filter_map(runs).collect(),
        source: act.source().cloned(),
        rewritten: plan.rewritten,
    }
}

/// Waits a random time, longer after each lost race, so that those who raced do not meet again.
fn pause(tries: u32) {
    let longest = 100_u64.saturating_mul(u64::from(tries)).min(1500);
    thread::sleep(Duration::from_millis(super::random() % longest));
}
