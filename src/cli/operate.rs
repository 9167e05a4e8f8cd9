//! `gitops-hooks promote`, `rollback`, `hold` and `release`: what a person says about an environment.

use super::{
    Global,
    deliver::{show_all, verdict, with_pipeline},
};
use crate::{
    deliver::{Delivery, Switch},
    git::Prompts,
    pipeline::{self, Proof, Wanted},
    values::EnvironmentName,
};
use miette::Result;

#[derive(Debug, clap::Args)]
pub(super) struct Promote {
    /// The environment that takes what runs in the one before it.
    environment: EnvironmentName,
    /// Take what was delivered to the environment before, without asking its cluster whether it runs well.
    #[arg(long)]
    unverified: bool,
    /// The context of the kubeconfig for the environment before; the current one without it.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rollback {
    /// The environment that goes back.
    environment: EnvironmentName,
    /// The source commit to go back to, which must have run there; without it, what ran before.
    #[arg(long, value_name = "COMMIT")]
    to: Option<String>,
    /// Why. Everybody sees it until the environment is released.
    #[arg(long, short, value_name = "REASON")]
    message: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Hold {
    /// The environment that stays as it is.
    environment: EnvironmentName,
    /// Why. Everybody sees it until the environment is released.
    #[arg(required_unless_present = "message", value_name = "REASON")]
    reason: Vec<String>,
    /// The same as REASON.
    #[arg(long, short, value_name = "REASON", conflicts_with = "reason")]
    message: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Release {
    /// The environment that goes on.
    environment: EnvironmentName,
}

pub(super) fn promote(arguments: &Promote, global: Global) -> Result<()> {
    let proof = if arguments.unverified { Proof::Unverified } else { Proof::Cluster(arguments.context.clone()) };
    with_pipeline(global, Prompts::Allowed, |pipeline| {
        if arguments.dry_run {
            return show_all(vec![pipeline::rehearse_promotion(pipeline, &arguments.environment, &proof)?]);
        }
        let told = pipeline::promote(pipeline, &arguments.environment, &proof)?;
        held(&arguments.environment, &told)?;
        verdict(vec![told])
    })
}

pub(super) fn rollback(arguments: &Rollback, global: Global) -> Result<()> {
    with_pipeline(global, Prompts::Allowed, |pipeline| {
        let (to, why) = (arguments.to.as_deref(), arguments.message.as_deref());
        if arguments.dry_run {
            return show_all(vec![pipeline::rehearse_rollback(pipeline, &arguments.environment, to, why)?]);
        }
        let told = pipeline::rollback(pipeline, &arguments.environment, to, why)?;
        let name = &arguments.environment;
        match &told.result {
            Ok(Delivery::Proposed { branch, .. }) => pipeline.progress.line(&format!(
                "next: it goes back once that is merged; whoever thinks better of it deletes {branch} there"
            )),
            Ok(_) => {
                pipeline.progress.line(&format!("next: nothing newer runs there until `gitops-hooks release {name}`"));
            }
            Err(_) => {}
        }
        verdict(vec![told])
    })
}

pub(super) fn hold(arguments: &Hold, global: Global) -> Result<()> {
    with_pipeline(global, Prompts::Allowed, |pipeline| {
        let why = arguments.message.clone().unwrap_or_else(|| arguments.reason.join(" "));
        verdict(vec![pipeline::hold(pipeline, &arguments.environment, &why)?])
    })
}

/// What waited meanwhile is delivered at once.
pub(super) fn release(arguments: &Release, global: Global) -> Result<()> {
    with_pipeline(global, Prompts::Allowed, |pipeline| {
        let told = pipeline::release(pipeline, &arguments.environment)?;
        let waits = match &told.result {
            Ok(Delivery::Unchanged) => pipeline::in_review(pipeline, &arguments.environment)?,
            _ => None,
        };
        held(&arguments.environment, &told)?;
        verdict(vec![told])?;
        if let Some(branch) = waits {
            pipeline.progress.line(&format!(
                "next: nothing holds it; what {branch} proposes may, until that is merged or the branch deleted"
            ));
        }
        let wanted = Wanted { environment: arguments.environment.clone(), commit: None };
        match pipeline::deliver(pipeline, &[wanted], Switch::Refused) {
            Err(pipeline::Error::IsPromoted { name, from }) => {
                pipeline.progress.line(&format!("next: `gitops-hooks promote {name}` takes what runs in {from}"));
                Ok(())
            }
            told => verdict(told?),
        }
    })
}

/// A word that keeps a person's own wish from being done.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{environment} is {hold}")]
#[diagnostic(code(check), help("talk to them; then `gitops-hooks release {environment}`"))]
struct IsHeld {
    environment: String,
    hold: String,
}

fn held(environment: &EnvironmentName, told: &pipeline::Told) -> Result<()> {
    match &told.result {
        Ok(Delivery::Held { hold }) => {
            Err(IsHeld { environment: environment.to_string(), hold: hold.to_string() }.into())
        }
        _ => Ok(()),
    }
}
