//! The level-triggered delivery of one environment: fetch, judge, patch, commit, push, and again when somebody else was
//! faster. A note in the outbox is written before and removed after.

use super::{Error, State, Switch, Target, commit, delivered, message::Message, order, order::Standing, outbox};
use crate::{
    git::{Mirror, Pushed, Repository},
    manifest::Wanted,
    ui::Task,
    values::{Digest, ImageName, ImageRef, Oid, Tag},
};
use std::{thread, time::Duration};

/// How often a lost race is run again. Each time somebody else has landed something, so this is reached only in a crowd.
const TRIES: u32 = 40;

/// Why the images of a commit could not be had, in the words of who should have given them.
pub type ResolveError = Box<dyn miette::Diagnostic + Send + Sync>;

/// Gives the images of a source commit, and may build them for it.
pub type Resolve<'r> = dyn FnMut(&Oid) -> Result<Vec<(ImageName, ImageRef)>, ResolveError> + 'r;

/// How a delivery ended.
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
    /// The environment runs this already; nothing was committed.
    Unchanged,
    /// The environment runs something newer, or the branch has something else by now.
    Superseded {
        /// The newer source commit.
        by: Oid,
    },
    /// Everything that is behind is held.
    Held {
        /// The images and why.
        images: Vec<(ImageName, String)>,
    },
}

/// Makes an environment run what `tip` built: `tip` is what the branch's upstream has. `references` is asked at most once
/// for the images of that commit, and may build them; it is not asked when there is nothing to deliver, nor when the
/// manifests could not take the images.
///
/// # Errors
/// Any [`Error`]; the outbox then keeps a note with it.
pub fn deliver(
    repository: &Repository,
    target: &Target<'_>,
    tip: &Oid,
    references: &mut Resolve<'_>,
    task: &Task,
) -> Result<Delivery, Error> {
    let note = outbox::begin(repository, target.name)?;
    let run = Run { repository, target, tip, task };
    match run.run(references) {
        Ok(delivery) => {
            // A note that stays behind is only looked at once more.
            let _ = note.done(repository, tip);
            Ok(delivery)
        }
        Err(error) => {
            let _ = note.failed(error.in_full());
            Err(error)
        }
    }
}

struct Run<'r> {
    repository: &'r Repository,
    target: &'r Target<'r>,
    tip: &'r Oid,
    task: &'r Task,
}

/// What the state says is to be done.
struct Plan {
    behind: Vec<ImageName>,
    rewritten: Option<Oid>,
}

/// One attempt's end.
enum Attempt {
    Done(Delivery),
    Overtaken { reason: String },
}

impl Run<'_> {
    fn run(&self, references: &mut Resolve<'_>) -> Result<Delivery, Error> {
        let branch = self.target.environment.manifests.branch.as_str();
        self.task.message("fetching the manifests");
        let mirror = self.open()?;
        let manifest_tip = mirror.fetch(branch)?;
        let state = delivered::state(&mirror, self.target, &manifest_tip)?;
        let plan = match self.plan(&state)? {
            Ok(plan) => plan,
            Err(delivery) => return Ok(delivery),
        };
        // What the manifests cannot take is found out before minutes go into building it.
        commit::patch(&mirror, self.target, &manifest_tip, &self.rehearsal(&plan)?)?;
        // Building may take long: others may use the mirror meanwhile.
        drop(mirror);
        self.task.message("asking the upstream");
        order::still_there(self.repository, self.target, self.tip)?;
        self.task.message("looking for the images");
        let images = references(self.tip).map_err(Error::Images)?;
        let mut last = String::new();
        for tries in 1..=TRIES {
            let mirror = self.open()?;
            let known = if tries == 1 { mirror.known(branch)? } else { None };
            let manifest_tip = match known {
                Some(known) => known,
                None => mirror.fetch(branch)?,
            };
            match self.attempt(&mirror, &manifest_tip, &images, tries)? {
                Attempt::Done(delivery) => return Ok(delivery),
                Attempt::Overtaken { reason } => last = reason,
            }
            drop(mirror);
            self.task.message(&format!("somebody else was faster; trying again ({tries})"));
            pause(tries);
        }
        let url = self.target.environment.manifests.url.shown();
        Err(Error::Overtaken { url, branch: branch.to_owned(), tries: TRIES, reason: last })
    }

    fn open(&self) -> Result<Mirror, Error> {
        let url = &self.target.environment.manifests.url;
        Ok(Mirror::open(self.repository, url, self.target.prompts)?)
    }

    /// What is behind, or why nothing is to be done.
    fn plan(&self, state: &State) -> Result<Result<Plan, Delivery>, Error> {
        let mut plan = Plan { behind: Vec::new(), rewritten: None };
        let (mut newer, mut held) = (None, Vec::new());
        for image in self.target.images.keys() {
            let running = state.images.get(image);
            match order::judge(self.repository, self.target, running.map(|running| &running.source), self.tip)? {
                Standing::Same => continue,
                Standing::Older(by) => {
                    newer = Some(by);
                    continue;
                }
                Standing::Rewritten => {
                    let running = running.map(|running| running.source.clone());
                    self.same_branch(state, running.as_ref())?;
                    plan.rewritten = running;
                }
                Standing::Newer => {}
            }
            match running.and_then(|running| running.hold.clone()) {
                Some(why) => held.push((image.clone(), why)),
                None => plan.behind.push(image.clone()),
            }
        }
        Ok(match (plan.behind.is_empty(), newer, held.is_empty()) {
            (false, ..) => Ok(plan),
            (true, Some(by), _) => Err(Delivery::Superseded { by }),
            (true, None, false) => Err(Delivery::Held { images: held }),
            (true, None, true) => Err(Delivery::Unchanged),
        })
    }

    /// A rewritten branch is one that was followed before; another one may be what an old checkout still names.
    fn same_branch(&self, state: &State, running: Option<&Oid>) -> Result<(), Error> {
        let branch = self.target.environment.branch.as_str();
        match (&state.branch, running) {
            (Some(before), Some(running)) if before != branch && self.target.switch == Switch::Refused => {
                Err(Error::OtherBranch {
                    environment: self.target.name.clone(),
                    running: running.clone(),
                    running_branch: before.clone(),
                    branch: branch.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }

    /// References that stand for what is not built yet.
    fn rehearsal(&self, plan: &Plan) -> Result<Vec<Wanted>, Error> {
        let not_built = |image: &ImageName| Error::NotBuilt { image: image.clone(), commit: self.tip.clone() };
        plan.behind
            .iter()
            .map(|image| {
                let repository = self.target.images.get(image).cloned().ok_or_else(|| not_built(image))?;
                let tag: Option<Tag> = format!("git-{}", self.tip).parse().ok();
                let digest: Option<Digest> = format!("sha256:{}", "0".repeat(64)).parse().ok();
                Ok(Wanted { image: image.clone(), reference: ImageRef { repository, tag, digest } })
            })
            .collect()
    }

    fn attempt(
        &self,
        mirror: &Mirror,
        manifest_tip: &Oid,
        built: &[(ImageName, ImageRef)],
        tries: u32,
    ) -> Result<Attempt, Error> {
        let Self { target, tip, .. } = self;
        let manifests = &target.environment.manifests;
        let state = delivered::state(mirror, target, manifest_tip)?;
        let plan = match self.plan(&state)? {
            Ok(plan) => plan,
            Err(delivery) => return Ok(Attempt::Done(delivery)),
        };
        let wanted = plan.behind.iter().map(|image| self.wanted(image, built)).collect::<Result<Vec<_>, _>>()?;
        self.task.message("patching the manifests");
        let change = commit::patch(mirror, target, manifest_tip, &wanted)?;
        if change.files.is_empty() {
            return Ok(Attempt::Done(Delivery::Unchanged));
        }
        let changed = wanted.into_iter().filter(|wanted| change.images.contains(&wanted.image));
        let images: Vec<(ImageName, ImageRef)> = changed.map(|wanted| (wanted.image, wanted.reference)).collect();
        let tree = commit::write(mirror, target, manifest_tip, tip, &change, &state, &images)?;
        let message = Message {
            target,
            source: tip,
            subject: &self.repository.subject(tip).unwrap_or_default(),
            repository: self.source_url(),
            images: &images.iter().map(|(_, reference)| reference.clone()).collect::<Vec<_>>(),
            changes: &change.fields,
            rewritten: plan.rewritten.as_ref(),
        };
        let commit = mirror.commit(&tree, manifest_tip, &message.render())?;
        self.task.message("pushing the delivery");
        match mirror.push(&commit, &manifests.branch)? {
            Pushed::Accepted => {
                let files = change.files.into_iter().map(|(path, _)| path).collect();
                let (source, rewritten) = ((*tip).clone(), plan.rewritten);
                let manifest_commit = commit;
                Ok(Attempt::Done(Delivery::Delivered { manifest_commit, source, images, files, rewritten, tries }))
            }
            Pushed::Overtaken { reason } => Ok(Attempt::Overtaken { reason }),
            Pushed::Refused { message } => {
                Err(Error::Refused { url: manifests.url.shown(), branch: manifests.branch.to_string(), message })
            }
        }
    }

    fn wanted(&self, image: &ImageName, built: &[(ImageName, ImageRef)]) -> Result<Wanted, Error> {
        match built.iter().find(|(name, reference)| name == image && reference.digest.is_some()) {
            Some((_, reference)) => Ok(Wanted { image: image.clone(), reference: reference.clone() }),
            None => Err(Error::NotBuilt { image: image.clone(), commit: self.tip.clone() }),
        }
    }

    /// Where the source comes from, for people.
    fn source_url(&self) -> Option<String> {
        let upstream = self.repository.upstream(&self.target.environment.branch)?;
        Some(self.repository.remote_url(&upstream.remote)?.shown())
    }
}

/// Waits a random time, longer after each lost race, so that those who raced do not meet again.
fn pause(tries: u32) {
    let longest = 100_u64.saturating_mul(u64::from(tries)).min(1500);
    thread::sleep(Duration::from_millis(super::random() % longest));
}
