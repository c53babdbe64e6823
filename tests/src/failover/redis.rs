//! A primary of Redis with a replica that takes its place, both with a log that is synced before every answer; and how a worker talks to
//! them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Servers;
use super::links::{Link, Trap};
use super::round::Plan;
use super::script::{Door, HELD, Script, Trouble};
use super::steadfast::APART;
use crate::figures::daemon::Daemon;
use crate::figures::redis::{Connection, Keeping, Redis};
use crate::figures::system::System;
use crate::scratch::{PATIENCE, Scratch};

/// How often a worker asks for a lock that somebody has.
const POLL: Duration = Duration::from_millis(10);
/// How long it asks before it begins anew.
const WAIT: Duration = Duration::from_secs(10);
/// Marks the order if the lock is still the worker's and nobody has marked it.
const MARK: &str = "if redis.call('get', KEYS[1]) == ARGV[1] and redis.call('exists', KEYS[2]) == 0 then \
                    redis.call('set', KEYS[2], ARGV[1]) return 1 else return 0 end";
/// Gives the lock back if it is still the worker's.
const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

#[derive(Debug)]
struct Shared {
    servers: [Redis; 2],
    /// The replica's way to each.
    between: [Link; 2],
    /// Which of the two leads.
    primary: AtomicUsize,
    running: Mutex<[Option<Daemon>; 2]>,
    // Removed last.
    _scratch: Scratch,
}

/// The servers.
#[derive(Clone, Debug)]
pub struct Pair(Arc<Shared>);

impl Pair {
    /// Starts them.
    ///
    /// # Errors
    /// If they don't start.
    pub fn start() -> io::Result<Self> {
        let scratch = Scratch::new("failover-redis");
        let server = |name| Redis::new(Keeping::SyncedLog, scratch.path().join(name));
        let servers = [server("one")?, server("two")?];
        let between = [Link::open(servers[0].address(), APART)?, Link::open(servers[1].address(), APART)?];
        let running = Mutex::new([Some(servers[0].launch()?), None]);
        let primary = AtomicUsize::new(0);
        let pair = Self(Arc::new(Shared { servers, between, primary, running, _scratch: scratch }));
        pair.heal()?;
        Ok(pair)
    }

    fn primary(&self) -> usize {
        self.0.primary.load(Ordering::Acquire)
    }

    fn running(&self) -> MutexGuard<'_, [Option<Daemon>; 2]> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a server until it answers what is wanted.
    fn until(&self, place: usize, words: &[&str], wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self.0.servers[place].open().and_then(|mut connection| connection.say(words));
            match answer {
                Ok(Some(answer)) if wanted(&answer) => return Ok(()),
                other if begun.elapsed() > PATIENCE => {
                    return Err(io::Error::other(format!("redis still answers {words:?} with {other:?}")));
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Servers for Pair {
    fn kill_leader(&self) {
        self.0.between.iter().for_each(Link::cut);
        // Killed when dropped.
        self.running()[self.primary()] = None;
    }

    /// As a sentinel does, once it has noticed.
    fn replace_leader(&self, plan: &Plan) {
        std::thread::sleep(plan.noticed);
        let next = 1 - self.primary();
        self.until(next, &["REPLICAOF", "NO", "ONE"], |answer| answer == "OK").expect("the replica is there");
        self.0.primary.store(next, Ordering::Release);
    }

    fn heal(&self) -> io::Result<()> {
        let (primary, replica) = (self.primary(), 1 - self.primary());
        self.0.between.iter().for_each(Link::mend);
        let dead = &mut self.running()[replica];
        if dead.is_none() {
            *dead = Some(self.0.servers[replica].launch()?);
        }
        let ok = |answer: &str| answer == "OK";
        self.until(primary, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"], ok)?;
        let (host, port) = self.0.between[primary].address().split_once(':').expect("it has a port");
        self.until(replica, &["REPLICAOF", host, port], ok)?;
        self.until(replica, &["INFO", "replication"], |info| info.contains("master_link_status:up"))?;
        // Heard of the replica, which has everything then.
        self.until(primary, &["WAIT", "1", "100"], |replicas| replicas == "1")
    }

    fn door(&self) -> io::Result<Box<dyn Door>> {
        let link = |place: usize| Link::open(self.0.servers[place].address(), Duration::ZERO);
        Ok(Box::new(Worker { pair: self.clone(), links: [link(0)?, link(1)?], connection: None }))
    }
}

/// A worker, which the sentinels tell who the primary is.
#[derive(Debug)]
struct Worker {
    pair: Pair,
    links: [Link; 2],
    connection: Option<(usize, Connection)>,
}

impl Worker {
    /// Whatever goes wrong, it connects anew.
    fn ask(&mut self, words: &[&str]) -> Result<Option<String>, Trouble> {
        let primary = self.pair.primary();
        let asked = self.connected(primary).and_then(|connection| connection.say(words));
        asked.map_err(|error| {
            self.connection = None;
            error.to_string()
        })
    }

    fn connected(&mut self, primary: usize) -> io::Result<&mut Connection> {
        let kept = self.connection.take().filter(|(place, _)| *place == primary);
        let connected = match kept {
            Some(connected) => connected,
            None => (primary, Connection::open(self.links[primary].address())?),
        };
        Ok(&mut self.connection.insert(connected).1)
    }

    /// Whether a replica has everything that this connection wrote, if the script wants that.
    fn is_replicated(&mut self, script: Script) -> Result<bool, Trouble> {
        Ok(script != Script::Awaited || self.ask(&["WAIT", "1", "1000"])?.as_deref() == Some("1"))
    }
}

fn lock_of(order: &str) -> String {
    format!("lock:{order}")
}

fn mark_of(order: &str) -> String {
    format!("charged:{order}")
}

impl Door for Worker {
    fn acquire(&mut self, order: &str, worker: &str, script: Script) -> Result<bool, Trouble> {
        let (begun, held) = (Instant::now(), HELD.as_millis().to_string());
        while begun.elapsed() < WAIT {
            if self.ask(&["SET", &lock_of(order), worker, "NX", "PX", &held])?.as_deref() == Some("OK") {
                return self.is_replicated(script);
            }
            std::thread::sleep(POLL);
        }
        Ok(false)
    }

    fn charged_by(&mut self, order: &str) -> Result<Option<String>, Trouble> {
        self.ask(&["GET", &mark_of(order)])
    }

    fn mark(&mut self, order: &str, worker: &str, script: Script) -> Result<bool, Trouble> {
        let (lock, mark) = (lock_of(order), mark_of(order));
        if script == Script::Plain {
            return self.ask(&["SET", &mark, worker]).map(|_| true);
        }
        let marked = self.ask(&["EVAL", MARK, "2", &lock, &mark, worker])?.as_deref() == Some("1");
        if marked && !self.is_replicated(script)? {
            return Err("no replica has the mark".to_owned());
        }
        Ok(marked)
    }

    fn release(&mut self, order: &str, worker: &str) {
        // If it is lost already, or this is not answered, it ends by itself.
        let _ = self.ask(&["EVAL", RELEASE, "1", &lock_of(order), worker]);
    }

    fn arm(&mut self, trap: &Arc<Trap>) {
        self.links.iter().for_each(|link| link.set_trap(Some(trap)));
    }

    fn disarm(&mut self) {
        self.links.iter().for_each(|link| link.set_trap(None));
    }
}
