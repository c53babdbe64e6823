//! One order: two workers, and a leader that dies as it answers one of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::Servers;
use super::links::Trap;
use super::script::{Bank, Door, HELD, Job, Script};

/// How long the second worker comes after the first, unless the leader dies before.
const LEAD: Duration = Duration::from_millis(5);

/// How long the dead machine stays away after another leads. The workers go on meanwhile.
const REBOOT: Duration = Duration::from_millis(500);

/// Upon which answer the leader dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The lock is granted.
    Granted,
    /// The order is marked as charged.
    Marked,
}

/// What is to happen to one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub order: String,
    /// How it is marked.
    pub script: Script,
    /// Upon which answer the leader dies.
    pub moment: Moment,
    /// Whether that answer still arrives.
    pub is_heard: bool,
    /// How long whoever has the lock first pauses before it goes on.
    pub pause: Duration,
    /// How long it takes until the leader's death is noticed, where nobody else notices.
    pub noticed: Duration,
}

impl Plan {
    /// Of the order with this number: all moments, answers that arrive and that don't, and workers that pause and
    /// that don't, in turn.
    #[must_use]
    pub fn of(number: u64, script: Script) -> Self {
        // Not in step with what alternates.
        let spread = |most: u64| Duration::from_millis(number * 7919 % most);
        // Longer than the lock lasts even if a new leader grants its whole time anew.
        let pause = if number % 8 >= 4 { 4 * HELD + spread(500) } else { Duration::ZERO };
        Self {
            order: format!("order:{number}"),
            script,
            moment: if number.is_multiple_of(2) { Moment::Granted } else { Moment::Marked },
            is_heard: number % 4 >= 2,
            pause,
            // As long as a follower of Steadfast waits for its leader.
            noticed: Duration::from_millis(300) + spread(300),
        }
    }

    /// Whether somebody pauses for longer than the lock lasts.
    #[must_use]
    pub fn is_late(&self) -> bool {
        !self.pause.is_zero()
    }
}

/// What came of one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How often it was charged.
    pub charges: u64,
    /// Whether the leader died.
    pub died: bool,
}

/// Has two workers work on an order, kills the leader amid it, and brings it back.
///
/// # Errors
/// If the servers don't come back.
pub fn run(servers: &Arc<dyn Servers>, doors: &mut [Box<dyn Door>; 2], plan: &Plan) -> io::Result<Outcome> {
    // Connected and logged in: the next answers are to what the script asks.
    for door in &mut *doors {
        door.charged_by(&plan.order).map_err(io::Error::other)?;
    }
    let victim = servers.clone();
    let trap = Arc::new(Trap::new(plan.is_heard, Box::new(move || victim.kill_leader())));
    let job = Job { plan, bank: Bank::default(), trap: trap.clone(), paused: AtomicBool::new(false) };
    let [first, second] = doors;
    std::thread::scope(|scope| {
        let workers = [
            scope.spawn(|| job.work(&mut **first, "worker-1")),
            scope.spawn(|| {
                let begun = Instant::now();
                while !trap.has_killed() && begun.elapsed() < LEAD {
                    std::thread::sleep(LEAD / 10);
                }
                job.work(&mut **second, "worker-2");
            }),
        ];
        while !trap.has_killed() && !workers.iter().all(|worker| worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !trap.has_killed() {
            return Ok(());
        }
        servers.replace_leader(plan);
        std::thread::sleep(REBOOT);
        servers.heal()
    })?;
    Ok(Outcome { charges: job.bank.charges(), died: trap.has_killed() })
}
