//! What may be deleted: only what the inventory owns and no manifest names, and of that only what a budget allows or a
//! commit approves. Pure: the deleting is `apply`'s.

use super::{inventory::Inventory, object::ObjectId, plan::Wanted};
use std::collections::BTreeSet;

/// Kinds that hold what cannot be made again.
pub(super) const PRECIOUS: &[&str] =
    &["Namespace", "PersistentVolumeClaim", "PersistentVolume", "CustomResourceDefinition"];
/// Fewer or equal are never a catastrophe.
const BUDGET_OBJECTS: usize = 5;
/// More than this share of what was owned before may be one.
const BUDGET_PERCENT: usize = 30;

/// The file beside the manifests, in `.gitops-hooks/`, whose lines name objects that may be pruned although the budget holds
/// them, as logs and reports write them: `PersistentVolumeClaim shop/data`. `#` begins a comment.
pub const APPROVAL_FILE: &str = "approve-prune";

/// What a commit approves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Approval(BTreeSet<String>);

impl Approval {
    /// Reads the file's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
            words.join(" ")
        };
        Self(text.lines().map(line).filter(|line| !line.is_empty()).collect())
    }

    fn covers(&self, object: &ObjectId) -> bool {
        self.0.contains(&object.to_string())
    }
}

/// Whether this revision may delete anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footing {
    /// Everything in it was read, taken and applied.
    Sound,
    /// Something was not, and may be what still names the object.
    Doubtful,
}

/// What happens to one object that no manifest names any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is deleted.
    Delete,
    /// It stays for now, for this reason.
    Wait(String),
}

/// The fate of every owned object that is not wanted.
#[must_use]
pub fn plan(owned: &Inventory, wanted: &Wanted, approval: &Approval, footing: Footing) -> Vec<(ObjectId, Fate)> {
    let surplus = owned.surplus(|object| wanted.contains_key(object));
    let unapproved = surplus.iter().filter(|object| !approval.covers(object)).count();
    // What the same commit brings makes the deletion no smaller.
    let all = owned.before();
    let many = unapproved > BUDGET_OBJECTS && unapproved * 100 > all * BUDGET_PERCENT;
    let fate = |object: &ObjectId| {
        let approve = || {
            let folder = super::object::STATE_FOLDER;
            format!("add the line `{object}` to {folder}/{APPROVAL_FILE} beside the manifests to approve it")
        };
        if footing == Footing::Doubtful {
            Fate::Wait("nothing is pruned while something in the repository cannot be applied".to_owned())
        } else if approval.covers(object) {
            Fate::Delete
        } else if wanted.is_empty() {
            Fate::Wait(format!("the path holds no manifest any more, which may be a mistake; {}", approve()))
        } else if PRECIOUS.contains(&object.kind.as_str()) {
            Fate::Wait(format!("a {} is not pruned without approval; {}", object.kind, approve()))
        } else if many {
            Fate::Wait(format!("{unapproved} of {all} objects are too many to prune at once; {}", approve()))
        } else {
            Fate::Delete
        }
    };
    surplus.into_iter().map(|object| (object.clone(), fate(&object))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{
        desired::Outline,
        object::{Manifest, Origin},
    };
    use serde_json::json;
    use std::sync::Arc;

    fn id(kind: &str, name: &str) -> ObjectId {
        ObjectId { group: String::new(), kind: kind.into(), namespace: Some("shop".into()), name: name.into() }
    }

    fn owned(objects: &[ObjectId]) -> Inventory {
        let mut inventory = Inventory::default();
        inventory.announce(objects.iter().map(|object| (object, "v1")));
        inventory.settle();
        inventory
    }

    fn many(count: usize) -> Vec<ObjectId> {
        (0..count).map(|n| id("ConfigMap", &format!("c{n:03}"))).collect()
    }

    /// These objects as a repository wants them.
    fn these(objects: &[ObjectId]) -> Wanted {
        let outline = |id: &ObjectId| {
            let origin = Origin { file: "a.yaml".into(), document: 1, line: 1 };
            let value = json!({ "metadata": { "name": id.name } });
            Arc::new(Outline::of(&Manifest { id: id.clone(), api_version: "v1".into(), origin, value }))
        };
        objects.iter().map(|id| (id.clone(), outline(id))).collect()
    }

    fn deleted(fates: &[(ObjectId, Fate)]) -> usize {
        fates.iter().filter(|(_, fate)| *fate == Fate::Delete).count()
    }

    #[test]
    fn what_left_the_repository_is_deleted() {
        let all = [id("ConfigMap", "a"), id("ConfigMap", "b")];
        let fates = plan(&owned(&all), &these(&all[..1]), &Approval::default(), Footing::Sound);
        assert_eq!(fates, [(all[1].clone(), Fate::Delete)]);
    }

    #[test]
    fn an_empty_path_prunes_nothing_until_each_object_is_approved() {
        let all = [id("ConfigMap", "a"), id("ConfigMap", "b")];
        let fates = plan(&owned(&all), &Wanted::new(), &Approval::default(), Footing::Sound);
        assert_eq!(deleted(&fates), 0);
        let approval = Approval::parse("# done with it\nConfigMap  shop/a # yes\n");
        let fates = plan(&owned(&all), &Wanted::new(), &approval, Footing::Sound);
        assert_eq!(fates[0].1, Fate::Delete);
        assert_eq!(deleted(&fates), 1);
    }

    #[test]
    fn the_budget_is_more_than_five_and_more_than_thirty_percent() {
        let all = many(20);
        let wanted = |kept: usize| these(&all[..kept]);
        let fates = |kept: usize| plan(&owned(&all), &wanted(kept), &Approval::default(), Footing::Sound);
        assert_eq!(deleted(&fates(14)), 6, "30 % exactly");
        assert_eq!(deleted(&fates(13)), 0, "more than 30 %");
        let few = many(6);
        let kept = these(&few[..1]);
        assert_eq!(deleted(&plan(&owned(&few), &kept, &Approval::default(), Footing::Sound)), 5, "not more than five");
    }

    #[test]
    fn what_takes_the_place_of_others_makes_their_deletion_no_smaller() {
        let (all, old) = (many(34), many(10));
        let mut inventory = owned(&old);
        inventory.announce(all.iter().map(|object| (object, "v1")));
        let fates = plan(&inventory, &these(&all[10..]), &Approval::default(), Footing::Sound);
        assert_eq!(deleted(&fates), 0);
        assert!(matches!(&fates[0].1, Fate::Wait(reason) if reason.starts_with("10 of 10 objects are too many")));
        inventory.settle();
        let fates = plan(&inventory, &these(&all[10..]), &Approval::default(), Footing::Sound);
        assert_eq!(deleted(&fates), 10, "once all of them are owned");
    }

    #[test]
    fn what_cannot_be_made_again_waits_alone() {
        let all = [id("ConfigMap", "a"), id("PersistentVolumeClaim", "data"), id("ConfigMap", "b")];
        let fates = plan(&owned(&all), &these(&all[..1]), &Approval::default(), Footing::Sound);
        assert_eq!(deleted(&fates), 1);
        let approval = Approval::parse("PersistentVolumeClaim shop/data");
        assert_eq!(deleted(&plan(&owned(&all), &these(&all[..1]), &approval, Footing::Sound)), 2);
    }

    #[test]
    fn doubt_deletes_nothing_even_approved() {
        let all = [id("ConfigMap", "a"), id("ConfigMap", "b")];
        let approval = Approval::parse("ConfigMap shop/b");
        assert_eq!(deleted(&plan(&owned(&all), &these(&all[..1]), &approval, Footing::Doubtful)), 0);
    }
}
