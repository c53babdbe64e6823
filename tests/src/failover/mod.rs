//! Two payment workers, one order, and a leader that dies at the worst moment: how often is the order charged twice? The same script for
//! Steadfast and for Redis with a replica, for `docs/why.md`.
//!
//! | file | job |
//! |---|---|
//! | `script.rs` | what a worker does, whichever database it talks to; the bank, which counts |
//! | `round.rs` | one order: who works, when the leader dies, what came of it |
//! | `links.rs` | connections with a length, which can be cut, and which notice an answer that passes |
//! | `steadfast.rs`, `redis.rs` | the databases: how their leader is killed and replaced, how a worker talks to them |
//!
//! Nothing here knows what should come out: tests and readers judge the counts.

pub mod links;
pub mod redis;
pub mod round;
pub mod script;
pub mod steadfast;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::figures::daemon::is_installed;
use crate::figures::options::Options;
use crate::figures::redis::PROGRAM;
use crate::figures::report::{Cell, Report};
use round::{Outcome, Plan};
use script::{Door, Script};

/// Servers of one kind: a leader and others that can take its place.
pub trait Servers: Send + Sync {
    /// Kills the leader's machine, with everything that it has not got across its links.
    fn kill_leader(&self);

    /// Sees to it that another leads. Called once per death.
    fn replace_leader(&self, plan: &Plan);

    /// Brings the dead back, and waits until all are in step.
    ///
    /// # Errors
    /// If they don't get there.
    fn heal(&self) -> io::Result<()>;

    /// A door for a worker.
    ///
    /// # Errors
    /// If it can't be opened.
    fn door(&self) -> io::Result<Box<dyn Door>>;
}

/// What came of all rounds with one database and one script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Orders.
    pub orders: u64,
    /// In how many of them the leader died.
    pub deaths: u64,
    /// Orders charged more than once, though nobody paused.
    pub doubled: u64,
    /// Orders charged more than once, where a worker paused and woke late.
    pub doubled_late: u64,
    /// Orders that nobody charged.
    pub uncharged: u64,
}

impl Tally {
    fn add(&mut self, plan: &Plan, outcome: &Outcome) {
        let twice = u64::from(outcome.charges > 1);
        self.orders += 1;
        self.deaths += u64::from(outcome.died);
        self.doubled += if plan.is_late() { 0 } else { twice };
        self.doubled_late += if plan.is_late() { twice } else { 0 };
        self.uncharged += u64::from(outcome.charges == 0);
    }
}

/// A database that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// Three nodes.
    Steadfast,
    /// A primary and a replica.
    Redis,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steadfast => "steadfast, three nodes",
            Self::Redis => "redis, with a replica",
        })
    }
}

/// So many orders, in so many lanes at once: each has servers of its own.
///
/// # Errors
/// If servers don't start, or don't come back.
pub fn run(database: Database, script: Script, orders: u64, lanes: u64) -> io::Result<Tally> {
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let lane = || -> io::Result<()> {
        let servers: Arc<dyn Servers> = match database {
            Database::Steadfast => Arc::new(steadfast::Nodes::start()?),
            Database::Redis => Arc::new(redis::Pair::start()?),
        };
        let mut doors = [servers.door()?, servers.door()?];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= orders {
                return Ok(());
            }
            let plan = Plan::of(number, script);
            let outcome = round::run(&servers, &mut doors, &plan)?;
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.add(&plan, &outcome);
            if tally.orders % 100 == 0 {
                eprintln!("{database}, {script}: {tally:?}");
            }
        }
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().expect("a lane does not panic"))
    })?;
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Which scripts are worth a look with which database: an answer of Steadfast needs no waiting for replicas.
const SUBJECTS: [(Database, Script); 5] = [
    (Database::Redis, Script::Plain),
    (Database::Redis, Script::Guarded),
    (Database::Redis, Script::Awaited),
    (Database::Steadfast, Script::Plain),
    (Database::Steadfast, Script::Guarded),
];

/// All that was asked for, as a table.
///
/// # Errors
/// See [`run`].
pub fn report(options: &Options) -> io::Result<Report> {
    let columns =
        vec!["database", "script", "orders", "leader died", "charged twice", "twice, after a pause", "never"];
    let title = "Two workers, one order, and the leader killed amid it".to_owned();
    let mut report = Report { title, columns, ..Report::default() };
    let mut subjects = SUBJECTS.to_vec();
    subjects.retain(|(database, _)| options.wants(&database.to_string()));
    if subjects.is_empty() {
        return Err(io::Error::other("--only wants steadfast or redis here"));
    }
    if !is_installed(PROGRAM) {
        subjects.retain(|(database, _)| *database != Database::Redis);
        report.notes.push("Redis is not installed, and left out".into());
    }
    for (database, script) in subjects {
        let tally = run(database, script, options.orders(), options.lanes())?;
        let counts = [tally.orders, tally.deaths, tally.doubled, tally.doubled_late, tally.uncharged];
        let names = [database.to_string(), script.to_string()].map(Cell::Text);
        report.rows.push(names.into_iter().chain(counts.map(Cell::from)).collect());
    }
    Ok(report)
}
