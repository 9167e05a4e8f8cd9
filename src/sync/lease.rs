//! Whose turn it is to write: a Lease in the sync's own namespace, taken before the first write of a pass and renewed only
//! while there is something to write. Two pods never act at once, and a pass that finds nothing to do costs no write
//! for saying so. `cluster install` makes the Lease, so that the pod needs no right to make any.

use super::{Error, NAMESPACE, settings::Settings};
use crate::values::EnvironmentName;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use std::time::{Duration, Instant};

/// How long a turn lasts that is not renewed.
const TURN: Duration = Duration::from_secs(15);
/// How old it may be before it is renewed.
const RENEWAL: Duration = Duration::from_secs(5);
/// How far two clocks may be apart. A turn that ended longer ago than that is over on any of them.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// The name of an environment's Lease.
#[must_use]
pub fn lease_name(environment: &EnvironmentName) -> String {
    format!("gitops-hooks-{environment}")
}

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ours, as it was.
    Ours,
    /// Ours again after another's: what the cluster keeps for us may have changed.
    OursAfter(String),
    /// Another's.
    Theirs(String),
}

/// Our side of the Lease.
pub(super) struct Lease {
    api: Api<Object>,
    name: String,
    me: String,
    renewed: Option<Instant>,
    /// Another's Lease as it was last seen to change: its version, and when that was by our own clock.
    theirs: Option<(String, Instant)>,
}

impl Lease {
    pub(super) fn new(client: Client, settings: &Settings) -> Self {
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let me = std::env::var(super::report::POD).unwrap_or_else(|_| format!("{}-{}", host(), std::process::id()));
        let api = Api::namespaced(client, NAMESPACE);
        Self { api, name: lease_name(&settings.environment), me, renewed: None, theirs: None }
    }

    /// Takes or keeps the turn, where it can be had.
    ///
    /// # Errors
    /// A cluster that does not answer.
    pub(super) async fn take(&mut self) -> Result<Turn, Error> {
        if self.renewed.is_some_and(|renewed| renewed.elapsed() < RENEWAL) {
            return Ok(Turn::Ours);
        }
        let failed = |source| Error::cluster("taking the lease", source);
        let Some(mut lease) = self.api.get_opt(&self.name).await.map_err(failed)? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Object { metadata, spec: Some(self.spec(None)) };
            self.api.create(&PostParams::default(), &lease).await.map_err(failed)?;
            self.renewed = Some(Instant::now());
            return Ok(Turn::Ours);
        };
        let spec = lease.spec.take().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let is_mine = holder == self.me;
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if !is_mine && !holder.is_empty() && !self.is_over(&version, &spec) {
            self.renewed = None;
            return Ok(Turn::Theirs(holder));
        }
        let began = Instant::now();
        lease.spec = Some(self.spec(Some(&spec)));
        match self.api.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(_) => {
                let first = self.renewed.replace(began).is_none();
                self.theirs = None;
                Ok(if is_mine && !first { Turn::Ours } else { Turn::OursAfter(holder) })
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.renewed = None;
                Ok(Turn::Theirs("another pod".to_owned()))
            }
            Err(source) => Err(failed(source)),
        }
    }

    /// Whether another's turn has ended: long ago by the clock, or seen by our own to stand still for a whole turn.
    fn is_over(&mut self, version: &str, spec: &LeaseSpec) -> bool {
        let turn = SignedDuration::try_from(TURN).unwrap_or_default();
        let ended_long_ago = |renewed: &MicroTime| {
            let renewed = Timestamp::from_microsecond(renewed.0.as_microsecond()).unwrap_or_default();
            Timestamp::now().duration_since(renewed) > turn + SKEW
        };
        if spec.renew_time.as_ref().is_none_or(ended_long_ago) {
            return true;
        }
        match &self.theirs {
            Some((seen, since)) if seen == version => since.elapsed() > TURN,
            _ => {
                self.theirs = Some((version.to_owned(), Instant::now()));
                false
            }
        }
    }

    fn spec(&self, earlier: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        let is_mine = earlier.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.me));
        let transitions = earlier.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(TURN.as_secs()).ok(),
            acquire_time: earlier
                .filter(|_| is_mine)
                .and_then(|spec| spec.acquire_time.clone())
                .or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(!is_mine)),
            ..LeaseSpec::default()
        }
    }

    /// Gives the turn back, so that the next pod need not wait for its end.
    pub(super) async fn release(&mut self) {
        if self.renewed.take().is_none() {
            return;
        }
        // A process that ends can do no more about a cluster that does not answer.
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.me)) {
            spec.holder_identity = None;
            let _ = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        }
    }
}
