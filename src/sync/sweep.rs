//! The part of a pass that deletes: what left the repository is pruned once all else is well, each object only while it is
//! this pod's turn, and only where the inventory, the server and the other environments say that it is ours.

use super::{
    Error,
    apply::{self, Condemned, Deleted},
    cache::{PRUNE, Seen},
    claims::{self, Claims},
    events::{Tone, Word},
    findings::{Findings, Settled},
    inventory::Applied,
    kinds::{DEFINITION, Resource},
    object::{ObjectId, rank},
    pass::{Revision, Sync},
    plan,
    prune::{self, Fate, Footing},
    report::Note,
};
use kube::{
    ResourceExt,
    api::{DynamicObject, ListParams},
    core::PartialObjectMeta,
};
use std::{cmp::Reverse, collections::HashSet, time::Duration};

/// How long every workload must have been healthy without a break before anything is pruned. Without a probe Kubernetes calls
/// a container ready for as long as it takes to crash, and starts the first crash again at once.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

impl Sync {
    /// Deletes what no manifest names any more, once all else is well.
    pub(super) async fn prune(&mut self, revision: &Revision, findings: &mut Findings) -> Result<(), Error> {
        let footing = if findings.refused.is_empty() { Footing::Sound } else { Footing::Doubtful };
        let mut fates = prune::plan(&self.inventory, &revision.wanted, &revision.approval, footing);
        // What others need goes last.
        fates.sort_by_key(|(object, _)| Reverse(rank(&object.kind)));
        let well = findings.settled() == Settled::Well;
        let steady = self.is_steady(revision);
        let waits = |(object, fate): &(ObjectId, Fate)| {
            (!well || !steady || matches!(fate, Fate::Wait(_))) && self.is_there_to_prune(object)
        };
        let is_unkept = !self.inventory.unwritten().is_empty();
        let is_unsettled = fates.is_empty() && self.inventory.unsettled().is_some();
        // What waits costs no turn.
        if (is_unkept || is_unsettled || !fates.iter().all(waits)) && !self.may_write(findings).await? {
            return Ok(());
        }
        let claims = self.claims_on_doomed(&mut fates, well && steady).await?;
        for (object, fate) in fates {
            let Some(applied) = self.inventory.get(&object).cloned() else { continue };
            let Some(kind) = self.kinds.find_served(&applied.api_version, &object) else {
                // A definition takes its objects with it.
                self.inventory.remove(&object);
                continue;
            };
            if !self.settings.reaches(&object) || !self.settings.may_write(kind) {
                self.release(&object, "its rights no longer reach so far; it stays as it is, and nobody prunes it");
                continue;
            }
            let seen = self.watches.cache().get(&object).cloned();
            let Some(seen) = seen.filter(|seen| plan::owns(&applied, seen)) else {
                // Gone, or somebody else's by now.
                self.inventory.remove(&object);
                continue;
            };
            if seen.keep {
                self.release(&object, PRUNE);
                continue;
            }
            if let Some(other) = claims.get(&object) {
                self.release(&object, &claims::says(other));
                continue;
            }
            let reason = match (fate, &seen.going) {
                (_, Some(finalizers)) if finalizers.is_empty() => "it is being deleted".to_owned(),
                (_, Some(finalizers)) => format!("it is being deleted, once these let it go: {finalizers}"),
                (Fate::Wait(reason), None) => reason,
                (Fate::Delete, None) if !well => "it is pruned once all that the repository has is healthy".to_owned(),
                (Fate::Delete, None) if !steady => {
                    findings.settling = true;
                    let seconds = SETTLED_AFTER.as_secs();
                    format!("it is pruned once every workload has been healthy for {seconds} seconds")
                }
                (Fate::Delete, None) => match self.what_needs(&object).await {
                    Some(left) => format!("{left} and perhaps more would go with it; it is pruned once none is left"),
                    None if !self.may_write(findings).await? => return Ok(()),
                    None => match self.delete(revision, &object, &applied, &seen).await {
                        Ok(Deleted::Gone) => continue,
                        Ok(Deleted::Going) => "it is being deleted".to_owned(),
                        Err(reason) => reason,
                    },
                },
            };
            self.voice.line_once("prune", &object.to_string(), &reason);
            findings.waiting.push(Note::on(&object, &reason));
        }
        self.settle(revision);
        if self.inventory.unwritten().is_empty() || !self.may_write(findings).await? {
            return Ok(());
        }
        self.keep_inventory().await
    }

    /// Whoever else owns what is about to be deleted. Where that cannot be told, it waits.
    async fn claims_on_doomed(&self, fates: &mut [(ObjectId, Fate)], now: bool) -> Result<Claims, Error> {
        let doomed = fates.iter().filter(|(_, fate)| now && *fate == Fate::Delete);
        let doomed: HashSet<&ObjectId> = doomed.map(|(object, _)| object).collect();
        if doomed.is_empty() {
            return Ok(Claims::new());
        }
        match claims::claims(&self.client, &self.settings, |object| doomed.contains(object)).await {
            Err(error @ Error::Stored { .. }) => {
                for (_, fate) in fates.iter_mut().filter(|(_, fate)| *fate == Fate::Delete) {
                    *fate = Fate::Wait(format!("whether another environment has it cannot be told: {error}"));
                }
                Ok(Claims::new())
            }
            claims => claims,
        }
    }

    /// Owns an object no longer, which stays as it is.
    fn release(&mut self, object: &ObjectId, reason: &str) {
        let name = object.to_string();
        self.voice.line("prune", &[("object", &name), ("decision", "Released"), ("reason", reason)]);
        self.inventory.remove(object);
    }

    /// Whether an object that no manifest names is there, ours, and not to be kept.
    fn is_there_to_prune(&self, object: &ObjectId) -> bool {
        let cache = self.watches.cache();
        let (Some(applied), Some(seen)) = (self.inventory.get(object), cache.get(object)) else { return false };
        plan::owns(applied, seen) && !seen.keep
    }

    /// An object that would go with a definition, whoever made it; where that cannot be told, anything might.
    async fn what_needs(&self, object: &ObjectId) -> Option<String> {
        let resource = object.name.parse::<Resource>().ok().filter(|_| object.kind == DEFINITION);
        let kind = resource.and_then(|resource| self.kinds.find_resource(&resource))?;
        let one = match kind.api(&self.client, None).list_metadata(&ListParams::default().limit(1)).await {
            Ok(one) => one,
            Err(error) => return Some(format!("what cannot be listed ({})", apply::reason(&error))),
        };
        let shown = |left: &PartialObjectMeta<DynamicObject>| match left.namespace() {
            Some(namespace) => format!("{} {namespace}/{}", kind.resource.kind, left.name_any()),
            None => format!("{} {}", kind.resource.kind, left.name_any()),
        };
        one.items.first().map(shown)
    }

    /// Whether every workload of the commit has been healthy for long enough.
    fn is_steady(&self, revision: &Revision) -> bool {
        let cache = self.watches.cache();
        let mut since = revision.wanted.keys().filter_map(|object| cache.steady_since(object));
        since.all(|since| since.elapsed() >= SETTLED_AFTER)
    }

    async fn delete(
        &mut self,
        revision: &Revision,
        object: &ObjectId,
        applied: &Applied,
        seen: &Seen,
    ) -> Result<Deleted, String> {
        let (api_version, uid) = (applied.api_version.as_str(), seen.uid.as_str());
        let condemned = Condemned { object, api_version, uid, version: Some(&seen.version) };
        let deleted = apply::delete(&self.client, &self.kinds, &condemned).await?;
        self.metrics.wrote("delete");
        if deleted == Deleted::Gone {
            self.inventory.remove(object);
            self.watches.cache().remove(object, uid);
        }
        let message = format!("commit {} no longer has it", revision.commit.short());
        self.voice.well(object);
        let word =
            Word { object, api_version, uid: Some(uid), tone: Tone::Normal, reason: "Pruned", message: &message };
        self.voice.say("prune", &word).await;
        self.voice.well(object);
        Ok(deleted)
    }
}
