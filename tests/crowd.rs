//! A crowd at work: many clones, some environments, real servers, a network that breaks, processes that are killed, and a
//! person who commits by hand. At the end nothing is lost, nothing went back, nothing was delivered twice, and no byte but the
//! references' was touched. Beside it the same load by the script that people write. Needs the test bed; `SOAK=1` makes it
//! 500 commits of sixteen clones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is tests, also what clippy does not know for one")]

#[path = "context/testbed.rs"]
mod testbed;
mod crowd {
    pub mod chaos;
    pub mod network;
    pub mod people;
    pub mod random;
    pub mod registry;
    pub mod verdict;
    pub mod world;
}

use crowd::{
    chaos::Chaos,
    people::{hand, laptop},
    random::Random,
    verdict,
    world::{Way, World},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

/// Lets a crowd work in its own way, and gives the world that it leaves.
fn work(way: Way, seed: u64) -> Option<World> {
    let soak = std::env::var_os("SOAK").is_some_and(|value| value == "1");
    let (clones, commits) = if soak { (16, 500) } else { (4, 16) };
    let world = World::new(way, clones)?;
    let began = Instant::now();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (world, over) = (&world, &over);
        let chaos = scope.spawn(move || Chaos::new(world, Random::new(seed)).reign(over));
        let person = scope.spawn(move || hand(world, Random::new(seed + 1), over));
        let laptops: Vec<_> = (0..clones)
            .map(|clone| {
                let share = commits / clones + usize::from(clone < commits % clones);
                scope.spawn(move || laptop(world, clone, share, Random::new(seed + 2 + clone as u64)))
            })
            .collect();
        let pushed: usize = laptops.into_iter().map(|laptop| laptop.join().unwrap()).sum();
        over.store(true, Ordering::Relaxed);
        let (kills, cuts) = chaos.join().unwrap();
        let by_hand = person.join().unwrap();
        println!(
            "{way:?}: {clones} clones, {pushed} source commits, {by_hand} commits by hand, {kills} processes killed, {cuts} connections cut, {:.0} s",
            began.elapsed().as_secs_f64()
        );
    });
    Some(world)
}

#[test]
fn a_crowd_delivers_everything_once_and_in_order() {
    let seed = Random::seed();
    let Some(world) = work(Way::Hooks, seed) else { return };
    world.calm();
    world.deliver_what_waits();
    let counts = verdict::counts(&world);
    println!("{counts}");
    assert_eq!(counts.waiting, 0, "every outbox is empty");
    assert_eq!(counts.behind, Vec::<String>::new(), "every environment runs its branch's tip");
    assert_eq!(counts.backwards, Vec::<String>::new(), "each delivery is of a newer source commit");
    assert_eq!(counts.damaged, Vec::<String>::new(), "no byte but references and state");
    assert_eq!(counts.lost_by_hand, Vec::<String>::new(), "what people wrote is there");
    assert!(counts.deliveries > 0);
}

/// For comparison alone: what it does wrong is counted, not judged.
#[test]
fn the_script_that_people_write_under_the_same_load() {
    let seed = Random::seed();
    let Some(world) = work(Way::Script, seed) else { return };
    world.calm();
    println!("{}", verdict::counts(&world));
}
