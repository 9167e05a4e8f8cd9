//! Asks everybody at once, each on a thread of its own, and waits for nobody longer than a few seconds: a server that is
//! silent costs its own answer and no other.

use super::{Finding, PATIENCE};
use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// How much later than [`PATIENCE`] an answer still counts: what asks ends by itself at that time and says why.
const GRACE: Duration = Duration::from_millis(1500);

/// One thing to ask.
pub(super) struct Job {
    late: Finding,
    work: Box<dyn FnOnce() -> Option<Vec<Finding>> + Send>,
}

impl Job {
    /// Work that finds something, and what is said where it finds nothing in time.
    pub(super) fn new(late: Finding, work: impl FnOnce() -> Option<Vec<Finding>> + Send + 'static) -> Self {
        Self { late, work: Box::new(work) }
    }

    /// What is known without asking.
    pub(super) fn known(finding: Finding) -> Self {
        Self::new(finding, || None)
    }
}

/// Runs all of it, and gives what was found in the order of the jobs.
pub(super) fn run(jobs: Vec<Job>) -> Vec<Finding> {
    let (sender, receiver) = mpsc::channel();
    let mut answers: Vec<Vec<Finding>> = Vec::new();
    for (at, job) in jobs.into_iter().enumerate() {
        answers.push(vec![job.late]);
        let (sender, work) = (sender.clone(), job.work);
        // A thread that cannot be started answers as one that is late.
        let _ = thread::Builder::new().spawn(move || sender.send((at, work())));
    }
    drop(sender);
    let deadline = Instant::now() + PATIENCE + GRACE;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((at, Some(findings))) => answers[at] = findings,
            Ok((_, None)) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    answers.into_iter().flatten().collect()
}

/// What comes of asynchronous work within `limit`; `None` where nothing does.
pub(super) fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = runtime.block_on(async { tokio::time::timeout(limit, work).await.ok() });
    // Looking up a name cannot be broken off; nobody waits for it here.
    runtime.shutdown_background();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_their_order_and_a_late_one_costs_only_its_own() {
        let late = |name: &str| Finding::warning(name, "late", "-");
        let found = run(vec![
            Job::new(late("a"), || {
                thread::sleep(Duration::from_millis(50));
                Some(vec![Finding::fine("a", "slow"), Finding::fine("a2", "too")])
            }),
            Job::new(late("b"), || None),
            Job::new(late("c"), || Some(vec![Finding::fine("c", "quick")])),
        ]);
        let told: Vec<_> = found.iter().map(|finding| (finding.check.as_str(), finding.message.as_str())).collect();
        assert_eq!(told, [("a", "slow"), ("a2", "too"), ("b", "late"), ("c", "quick")]);
    }

    #[test]
    fn work_that_never_ends_is_given_up() {
        assert_eq!(within(Duration::from_millis(10), std::future::pending::<()>()), None);
        assert_eq!(within(PATIENCE, async { 1 }), Some(1));
    }
}
