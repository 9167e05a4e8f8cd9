//! A delivery that is only shown: everything is done but the commit and the push, the last look before it among it, and
//! nothing is built.

use super::{
    Act, Build, Builds, Delivery, Error, Session, Wish, delivered,
    draft::{Draft, draft},
};
use crate::{
    manifest::Field,
    values::{ImageName, ImageRef, Oid},
};

/// What a delivery would do.
#[derive(Debug, Clone)]
pub enum Rehearsal {
    /// Nothing, and why.
    Nothing(Delivery),
    /// One commit.
    Change {
        /// The changed fields with their files.
        fields: Vec<(String, Field)>,
        /// The whole difference, as `git diff` shows it.
        diff: String,
        /// What the commit would say.
        message: String,
        /// The images that nobody has built yet: their digests are not known.
        not_built: Vec<ImageName>,
    },
}

/// Rehearses a wish on the newest manifests.
///
/// # Errors
/// All that can go wrong with the delivery itself until it is committed.
pub fn rehearse(session: &Session<'_>, wish: &Wish<'_>, builds: &dyn Builds) -> Result<Rehearsal, Error> {
    let target = &wish.target;
    let (mut built, mut not_built) = (Vec::new(), Vec::new());
    if let Act::Follow { tip, .. } = &wish.act {
        built = builds.references(target, tip, Build::Nothing).map_err(Error::Images)?;
        for (image, repository) in &target.images {
            if built.iter().any(|(name, _)| name == image) {
                continue;
            }
            not_built.push(image.clone());
            built.push((image.clone(), placeholder(repository.clone(), tip)));
        }
    }
    let (mirror, tip) = delivered::newest(session, target)?;
    Ok(match draft(session, builds, wish, &built, &mirror, &tip)? {
        Err(delivery) => Rehearsal::Nothing(delivery),
        Ok(Draft { tree, message, fields, .. }) => {
            let unknown = format!("@sha256:{NO_DIGEST}");
            let diff = mirror.diff(&tip, &tree)?.replace(&unknown, "@sha256:…");
            let commit = mirror.commit_unseen(&tree, &tip)?;
            builds.look_over(target, mirror.repository().git_dir(), &commit);
            Rehearsal::Change { fields, diff, message, not_built }
        }
    })
}

/// What stands in for a digest that is not known.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn placeholder(repository: crate::values::Repository, commit: &Oid) -> ImageRef {
    let tag = Some(crate::values::Tag::of_commit(commit));
    ImageRef { repository, tag, digest: format!("sha256:{NO_DIGEST}").parse().ok() }
}
