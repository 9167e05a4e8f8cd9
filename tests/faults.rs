//! The sync where things fail under it: killed at random, cut off, refused, full. The cluster and the git server are real; what
//! is cut is a connection through a proxy of the test's own. `SOAK=1` takes the long form, `SEED` repeats one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "sync/bed.rs"]
#[allow(dead_code, reason = "each test file uses a part of this")]
mod bed;
#[path = "faults/cut.rs"]
mod cut;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/own.rs"]
mod own;
#[path = "faults/refused.rs"]
mod refused;
#[path = "faults/restarted.rs"]
mod restarted;
#[path = "context/testbed.rs"]
mod testbed;

/// The short form's count, or the long one's.
fn count(short: usize, long: usize) -> usize {
    if std::env::var_os("SOAK").is_some() { long } else { short }
}

/// Numbers without a pattern that come again with the same seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            u64::from(std::process::id())
                ^ std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
        });
        println!("SEED={seed} repeats this");
        Self(seed | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
