//! `gitops-hooks run HOOK`: a hook's steps by hand, ahead of git; or only the plan of what would run, and why.

use super::Global;
use crate::{
    check::{CachePolicy, Decision, Failures, Interrupt, Outcome, Places, Plan, Reported, Why},
    git::{self, Repository},
    pipeline::{self, Pipeline, Scope, When},
    ui::{self, Tone},
    values::HookName,
};
use gix::bstr::BString;
use miette::Result;
use serde_json::{Value, json};
use std::{
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Arguments {
    /// The hook whose steps run: pre-push on HEAD, any other on what is staged.
    hook: HookName,
    /// Every file counts as changed.
    #[arg(long, conflicts_with_all = ["files", "from"])]
    all_files: bool,
    /// Only these files count as changed, of a folder all that are in it.
    #[arg(long, num_args = 1.., value_name = "PATH", conflicts_with = "from")]
    files: Vec<PathBuf>,
    /// Judge a commit against this one.
    #[arg(long, value_name = "REVISION")]
    from: Option<String>,
    /// The commit that is judged, `HEAD` without this; without `--from`, against what its upstream has.
    #[arg(long, value_name = "REVISION", conflicts_with_all = ["all_files", "files"])]
    to: Option<String>,
    /// Only steps with this name or tag; may be given several times.
    #[arg(long, value_name = "NAME")]
    step: Vec<String>,
    /// Begin no step after one has failed.
    #[arg(long)]
    fail_fast: bool,
    /// Run steps again that passed on these inputs before.
    #[arg(long)]
    no_cache: bool,
    /// Say what would run; of commands only those of conditions and `tools` run, which decide it.
    #[arg(long)]
    plan: bool,
    /// As --plan, with what is different from when each step last passed.
    #[arg(long)]
    why: bool,
    /// Only what can run ahead, detached: started by the post-commit hook.
    #[arg(long, hide = true)]
    ahead: bool,
    /// Print the result, or the plan, as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, global: Global) -> Result<()> {
    if arguments.ahead {
        pipeline::detach();
    }
    let repository = Repository::discover()?;
    let progress = global.progress();
    let interrupt = Interrupt::listen()?;
    let mut choice = super::choice();
    choice.only.clone_from(&arguments.step);
    choice.when = if arguments.ahead { When::Ahead } else { When::Now };
    let pipeline = Pipeline {
        repository: &repository,
        progress: &progress,
        cache: if arguments.no_cache { CachePolicy::Ignore } else { CachePolicy::Use },
        choice,
        places: if arguments.ahead { Places::Scratch } else { Places::Any },
        failures: if arguments.fail_fast { Failures::StopAtFirst } else { Failures::Gather },
        prompts: if arguments.ahead { git::Prompts::Never } else { git::Prompts::Allowed },
        interrupt: &interrupt,
    };
    if arguments.ahead {
        return Ok(pipeline::ahead(&pipeline)?);
    }
    let scope = scope(arguments, &repository)?;
    if arguments.plan || arguments.why {
        let (plan, why) = pipeline::plan_by_hand(&pipeline, arguments.hook, &scope)?;
        let why = if arguments.why { why } else { Vec::new() };
        if arguments.json {
            super::print_json(
                &json!({ "version": 1, "hook": arguments.hook.as_str(), "steps": plan_json(&plan, &why) }),
            );
        } else if plan.entries.is_empty() {
            crate::ui::say!("nothing would run: {} has no steps", arguments.hook);
        } else {
            show(&plan, &why);
        }
        return Ok(());
    }
    let done = pipeline::by_hand(&pipeline, arguments.hook, &scope)?;
    if done.steps().is_empty() && !arguments.json {
        progress.line(&format!("nothing ran: {} has no steps", arguments.hook));
    }
    if arguments.json {
        let steps: Value = done.steps().iter().map(step_json).collect();
        super::print_json(&json!({ "version": 1, "hook": arguments.hook.as_str(), "steps": steps }));
    }
    Ok(done.verdict()?)
}

fn scope(arguments: &Arguments, repository: &Repository) -> Result<Scope> {
    match (&arguments.from, &arguments.to) {
        (Some(from), to) => {
            let to = to.clone().unwrap_or_else(|| "HEAD".to_owned());
            return Ok(Scope::Between { from: from.clone(), to });
        }
        (None, Some(to)) => return Ok(pipeline::scope_of(repository, to)?),
        (None, None) => {}
    }
    if arguments.all_files {
        return Ok(Scope::AllFiles);
    }
    if arguments.files.is_empty() {
        return Ok(Scope::Changes);
    }
    let files = arguments.files.iter().map(|path| from_root(path, repository));
    Ok(Scope::Files(files.collect::<Result<_>>()?))
}

/// A path as git writes it: from the root of the work tree.
fn from_root(path: &Path, repository: &Repository) -> Result<BString> {
    let outside = || pipeline::Error::NoPath { path: path.display().to_string() };
    let absolute = std::path::absolute(path).map_err(|_| outside())?;
    // Of a path that leads through a link only its folder is resolved: a link itself is a file of git's.
    let real = match (absolute.parent(), absolute.file_name()) {
        (Some(folder), Some(name)) => folder.canonicalize().map(|folder| folder.join(name)),
        _ => absolute.canonicalize(),
    };
    let real = real.map_err(|_| outside())?;
    let below = repository.work_dir().and_then(|root| real.strip_prefix(root).ok()).ok_or_else(outside)?;
    if below.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(outside().into());
    }
    Ok(below.as_os_str().as_bytes().into())
}

fn show(plan: &Plan, why: &[Why]) {
    for entry in &plan.entries {
        let (mark, tone) = match &entry.decision {
            Decision::Run(_) => ("▶", Tone::Good),
            Decision::Skip(_) => ("·", Tone::Faint),
        };
        let label = ui::clean(&entry.label).into_owned();
        let decision = ui::clean(&entry.decision.to_string()).into_owned();
        crate::ui::say!("{} {}  {decision}", ui::paint(mark, tone), ui::paint(&label, Tone::Strong));
        for line in why.iter().filter(|why| why.step == entry.step).flat_map(|why| &why.differs) {
            crate::ui::say!("    {}", ui::clean(line));
        }
    }
}

fn plan_json(plan: &Plan, why: &[Why]) -> Value {
    let entries = plan.entries.iter().map(|entry| {
        let differs: Vec<&String> =
            why.iter().filter(|why| why.step == entry.step).flat_map(|why| &why.differs).collect();
        let (runs, reason) = match &entry.decision {
            Decision::Run(reason) => (true, reason.to_string()),
            Decision::Skip(reason) => (false, reason.to_string()),
        };
        let mut line = json!({ "step": entry.label, "runs": runs, "reason": reason });
        if !differs.is_empty() {
            line["differs"] = json!(differs);
        }
        line
    });
    entries.collect()
}

fn step_json(step: &Reported) -> Value {
    let (outcome, reason) = match &step.outcome {
        Outcome::Passed => ("passed", None),
        Outcome::Failed(reason) => ("failed", Some(reason)),
        Outcome::Skipped(reason) => ("skipped", Some(reason)),
        Outcome::Withheld(reason) => ("withheld", Some(reason)),
    };
    json!({
        "step": step.label,
        "outcome": outcome,
        "reason": reason,
        "seconds": step.duration.as_secs_f64(),
        "record": step.record.as_ref().map(crate::check::Key::as_str),
    })
}
