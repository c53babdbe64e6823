//! What a worker does for an order, word for word the same with every database; and the bank, which counts.
//!
//! Take the order's lock; look whether it is charged; work; mark it as charged; and if the database says that this was done,
//! charge. A worker whose answer got lost begins anew, and knows its own mark when it sees it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::links::Trap;
use super::round::{Moment, Plan};

/// How long a lock is held, if it is not released. Nobody renews it: who works for longer has lost it.
pub const HELD: Duration = Duration::from_millis(500);
/// How long a worker tries to get anywhere with an order.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it rests after an error.
const REST: Duration = Duration::from_millis(20);

/// How the order is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// A plain SET: the worker trusts that it still has the lock.
    Plain,
    /// In one step with a look at the lock: with Redis a script in Lua, with Steadfast `FENCE`.
    Guarded,
    /// The same, and with Redis `WAIT 1` after the lock and after the mark: who did not hear of a replica takes them as failed.
    Awaited,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Guarded => "guarded",
            Self::Awaited => "guarded, with WAIT 1",
        })
    }
}

/// What went wrong, for people.
pub type Trouble = String;

/// A worker's way to its database.
pub trait Door: Send {
    /// Takes the order's lock, waiting for it; false if somebody else had it all the time.
    ///
    /// # Errors
    /// If it is not known, or not possible.
    fn acquire(&mut self, order: &str, worker: &str, script: Script) -> Result<bool, Trouble>;

    /// Who marked the order as charged.
    ///
    /// # Errors
    /// If the database does not answer.
    fn charged_by(&mut self, order: &str) -> Result<Option<String>, Trouble>;

    /// Marks the order as charged; false if the lock was lost.
    ///
    /// # Errors
    /// If it is not known whether it was marked.
    fn mark(&mut self, order: &str, worker: &str, script: Script) -> Result<bool, Trouble>;

    /// Gives the lock back. Should that fail, it ends by itself.
    fn release(&mut self, order: &str, worker: &str);

    /// Whoever's answer passes next springs the trap.
    fn arm(&mut self, trap: &Arc<Trap>);

    /// No answer springs a trap any more.
    fn disarm(&mut self);
}

/// The bank: charges whenever it is asked to.
#[derive(Debug, Default)]
pub struct Bank {
    charges: AtomicU64,
}

impl Bank {
    /// Charges the order.
    pub fn charge(&self) {
        self.charges.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it did.
    pub fn charges(&self) -> u64 {
        self.charges.load(Ordering::Relaxed)
    }
}

/// One order, as its workers share it.
#[derive(Debug)]
pub struct Job<'a> {
    /// The order, and what is to happen amid it.
    pub plan: &'a Plan,
    /// Who charges.
    pub bank: Bank,
    /// Kills the leader.
    pub trap: Arc<Trap>,
    /// Somebody has paused.
    pub paused: AtomicBool,
}

impl Job<'_> {
    /// What one worker does.
    pub fn work(&self, door: &mut dyn Door, worker: &str) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.attempt(door, worker) {
                Ok(true) => return,
                Ok(false) => {}
                Err(_) => std::thread::sleep(REST),
            }
        }
    }

    /// Whether the order needs no more of this worker.
    fn attempt(&self, door: &mut dyn Door, worker: &str) -> Result<bool, Trouble> {
        let (plan, script) = (self.plan, self.plan.script);
        if !self.with_trap(door, Moment::Granted, |door| door.acquire(&plan.order, worker, script))? {
            return Ok(false);
        }
        if let Some(by) = door.charged_by(&plan.order)? {
            // Its own mark, of which it never heard, is its to act upon.
            if by == worker {
                self.bank.charge();
            }
            door.release(&plan.order, worker);
            return Ok(true);
        }
        if plan.is_late() && !self.paused.swap(true, Ordering::Relaxed) {
            std::thread::sleep(plan.pause);
        }
        if !self.with_trap(door, Moment::Marked, |door| door.mark(&plan.order, worker, script))? {
            return Ok(false);
        }
        self.bank.charge();
        door.release(&plan.order, worker);
        Ok(true)
    }

    /// Asks, and if this is the moment, with the trap set upon the answer.
    fn with_trap<T>(
        &self,
        door: &mut dyn Door,
        moment: Moment,
        ask: impl FnOnce(&mut dyn Door) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        if self.plan.moment == moment {
            door.arm(&self.trap);
        }
        let answer = ask(door);
        door.disarm();
        answer
    }
}
