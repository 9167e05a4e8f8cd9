//! The wishes about one manifest repository: fetch, judge, patch, commit, push, and again when somebody else was faster. A
//! note in the outbox is written before and removed after.

use super::{
    Act, Builds, Delivery, Error, Seen, Session, Wish, commit, delivered,
    draft::{Draft, draft, planned},
    order, outbox, render, review,
    session::Freshness,
};
use crate::{
    git::{Mirror, Push, Pushed},
    values::{ImageName, ImageRef, Oid, RemoteUrl},
};
use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

/// How often a lost race is run again. Each time somebody else has landed something, so this is reached only in a crowd.
const TRIES: u32 = 40;

/// What git said of an upstream longer ago than this may have changed.
const LONG: Duration = Duration::from_secs(20);

/// The wishes about one manifest repository.
pub(super) struct Group<'g> {
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
    /// Whether all that it is to run is known already: nothing is looked for or built then.
    is_known: bool,
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

/// A branch that is about to be pushed, with the wishes that it does.
struct Line {
    push: Push,
    jobs: Vec<(usize, Draft, Oid)>,
    message: String,
    review: bool,
}

impl<'g> Group<'g> {
    pub(super) fn new(session: &'g Session<'g>, builds: &'g dyn Builds, url: &'g RemoteUrl) -> Self {
        Self { session, builds, url, jobs: Vec::new(), ended: Vec::new() }
    }

    /// Does the wishes, each with its number, and says how each ended.
    pub(super) fn run(
        mut self,
        wishes: impl Iterator<Item = (usize, &'g Wish<'g>)>,
    ) -> Vec<(usize, Result<Delivery, Error>)> {
        self.begin(wishes);
        self.work();
        self.ended
    }

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
                Ok(note) => self.jobs.push(Job { at, wish, note, built: Vec::new(), is_known: false, way }),
                Err(error) => self.ended.push((at, Err(error))),
            }
        }
    }

    fn work(&mut self) {
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
                // Nobody was faster: all is done, or goes another way now.
                Ok(reason) if reason.is_empty() => {}
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
            match planned(group.session, target, act, &state, &mirror, &tip)? {
                Ok(plan) => {
                    commit::patch(&mirror, target, &tip, &state, &plan.rehearsed(target, act.source())?)?;
                    render::is_possible(&mirror, target, &tip)?;
                    job.is_known = plan.behind.values().all(Option::is_some);
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
        if job.is_known {
            return Ok(None);
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
                let there = match (&line.push.expected, &pushed) {
                    (_, Pushed::Accepted { .. }) | (Some(_), _) => None,
                    (None, _) => mirror.in_the_way_of(&line.push.branch)?,
                };
                self.pushed_for_review(&line, &pushed, there.as_deref(), &mut reason);
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

    fn pushed_for_review(&mut self, line: &Line, pushed: &Pushed, there: Option<&str>, reason: &mut String) {
        for (at, _, commit) in &line.jobs {
            let Some(job) = self.job(*at) else { continue };
            let target = &job.wish.target;
            let Way::Review { refused } = job.way.clone() else { continue };
            let (url, branch) = (self.url.shown(), line.push.branch.clone());
            let result = match pushed {
                Pushed::Accepted { said } => {
                    job.wish.task.message("opening the review");
                    let page = review::page(target, said, &line.message);
                    Ok(Delivery::Proposed { branch, commit: Some(commit.clone()), page, refused })
                }
                _ if let Some(there) = there => Err(Error::BranchInTheWay { url, branch, there: there.to_owned() }),
                Pushed::Overtaken { reason: said } => {
                    reason.clone_from(said);
                    continue;
                }
                Pushed::Refused { message } => Err(match refused {
                    Some(message) => {
                        Error::Refused { url, branch: target.environment.manifests.branch.to_string(), message }
                    }
                    None => Error::Refused { url, branch, message: message.clone() },
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
            let repository = self.session.repository;
            let _ = match &result {
                Ok(_) => note.done(repository, tip),
                Err(error) => note.failed(repository, error, tip),
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
            let branch = match job.way {
                Way::Direct => job.wish.target.environment.manifests.branch.to_string(),
                Way::Review { .. } => review::branch(&job.wish.target),
            };
            let (url, reason) = (self.url.shown(), reason.to_owned());
            self.end(job, Err(Error::Overtaken { url, branch, tries: TRIES, reason }));
        }
    }
}

/// Waits a random time, longer after each lost race, so that those who raced do not meet again.
fn pause(tries: u32) {
    let longest = 100_u64.saturating_mul(u64::from(tries)).min(1500);
    thread::sleep(Duration::from_millis(super::random() % longest));
}
