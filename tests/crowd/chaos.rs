//! What goes wrong: processes that are killed, connections that break, a network that is gone for a while.

use super::{random::Random, world::World};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

pub struct Chaos<'w> {
    world: &'w World,
    random: Random,
}

/// A process of the crowd that works on deliveries: the program, or a git in one of its mirrors.
pub fn processes(mark: &str) -> Vec<i32> {
    let mark = format!("CROWD={mark}");
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let variables: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
        if !variables.contains(&mark.as_bytes()) {
            return None;
        }
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
        let is_delivery = words.first().is_some_and(|program| program.ends_with(b"gitops-hooks"))
            && words.get(1).is_some_and(|word| *word == b"deliver");
        let in_mirror = variables.iter().any(|variable| {
            variable.starts_with(b"GIT_DIR=") && variable.windows(9).any(|window| window == b"/mirrors/")
        });
        (is_delivery || in_mirror).then_some(id)
    })
    .collect()
}

/// The scripts of a crowd without hooks, and what they started.
fn scripts(mark: &str) -> Vec<i32> {
    let mark = format!("CROWD={mark}");
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let command = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).into_owned();
        let marked = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
        (marked && command.starts_with("bash")).then_some(id)
    })
    .collect()
}

impl<'w> Chaos<'w> {
    pub fn new(world: &'w World, random: Random) -> Self {
        for weather in &world.weather {
            weather.cut_percent.store(4, Ordering::Relaxed);
        }
        Self { world, random }
    }

    /// Breaks things until it is over. Gives how many processes were killed and how many connections cut.
    pub fn reign(mut self, over: &AtomicBool) -> (usize, usize) {
        let mut kills = 0;
        while !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(200 + self.random.below(800)));
            if self.random.percent(15) {
                let weather = &self.world.weather[usize::try_from(self.random.below(2)).unwrap()];
                weather.down.store(true, Ordering::Relaxed);
                weather.cut_all();
                thread::sleep(Duration::from_millis(self.random.below(1500)));
                weather.down.store(false, Ordering::Relaxed);
                continue;
            }
            let mut victims = processes(&self.world.mark);
            victims.extend(scripts(&self.world.mark));
            if victims.is_empty() || self.random.percent(50) {
                continue;
            }
            let at = usize::try_from(self.random.below(victims.len() as u64)).unwrap();
            let victim = Pid::from_raw(victims[at]).unwrap();
            kills += usize::from(kill_process(victim, Signal::KILL).is_ok());
        }
        (kills, self.world.weather.iter().map(|weather| weather.cuts.load(Ordering::Relaxed)).sum())
    }
}
