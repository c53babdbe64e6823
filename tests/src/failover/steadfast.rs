//! Three nodes of Steadfast, and how a worker talks to them.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steadfast::client::{ErrorCode, Value};
use steadfast::{Client, Config};
use tokio::runtime::Runtime;

use super::Servers;
use super::links::{Link, Trap};
use super::round::Plan;
use super::script::{Door, HELD, Script, Trouble};
use crate::cluster::Cluster;

/// How far the nodes are from each other, one way: two zones of one region.
pub const APART: Duration = Duration::from_millis(1);
/// How long a worker waits for a lock at a time, in milliseconds.
const WAIT: &str = "10000";

/// The nodes.
#[derive(Clone, Debug)]
pub struct Nodes {
    cluster: Arc<Mutex<Cluster>>,
    /// From each node to each.
    between: Vec<Vec<Link>>,
    leader: Arc<Mutex<Leader>>,
    config: Config,
}

/// Who leads, and who did until it was killed.
#[derive(Clone, Copy, Debug)]
struct Leader {
    place: usize,
    dead: Option<usize>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nodes {
    /// Starts them.
    ///
    /// # Errors
    /// If there are no ports.
    pub fn start() -> io::Result<Self> {
        let mut between = Vec::new();
        let cluster = Cluster::start_linked("failover", |addresses| {
            for _ in addresses {
                let links = addresses.iter().map(|to| Link::open(to, APART));
                between.push(links.collect::<io::Result<Vec<_>>>().expect("there are ports"));
            }
            let row = |row: &Vec<Link>| row.iter().map(|link| link.address().to_owned()).collect();
            between.iter().map(row).collect()
        });
        let leader = Arc::new(Mutex::new(Leader { place: cluster.leader(), dead: None }));
        let config = cluster.config();
        Ok(Self { cluster: Arc::new(Mutex::new(cluster)), between, leader, config })
    }
}

impl Servers for Nodes {
    fn kill_leader(&self) {
        let mut leader = locked(&self.leader);
        let place = leader.place;
        self.between.iter().map(|row| &row[place]).chain(&self.between[place]).for_each(Link::cut);
        locked(&self.cluster).kill(place);
        leader.dead = Some(place);
    }

    /// They elect one.
    fn replace_leader(&self, _: &Plan) {}

    fn heal(&self) -> io::Result<()> {
        let (mut leader, mut cluster) = (locked(&self.leader), locked(&self.cluster));
        if let Some(dead) = leader.dead.take() {
            self.between.iter().flatten().for_each(Link::mend);
            cluster.restart(dead);
        }
        leader.place = cluster.leader();
        Ok(())
    }

    fn door(&self) -> io::Result<Box<dyn Door>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let nodes = locked(&self.cluster).addresses.clone();
        let links =
            nodes.iter().map(|node| Link::open(node, Duration::ZERO)).collect::<io::Result<Vec<_>>>()?;
        let mut config = self.config.clone();
        config.core().addresses = links.iter().map(|link| link.address().to_owned()).collect();
        let client = runtime.block_on(Client::connect(config)).map_err(io::Error::other)?;
        Ok(Box::new(Worker { runtime, client, links, token: None }))
    }
}

/// A worker with a client in a runtime that stands still whenever the worker does.
#[derive(Debug)]
struct Worker {
    runtime: Runtime,
    client: Client,
    links: Vec<Link>,
    /// Of the lock that it thinks it has.
    token: Option<i64>,
}

impl Worker {
    fn ask(&self, words: &[&str]) -> Result<Value, steadfast::Error> {
        self.runtime.block_on(self.client.command(words.iter().copied())).map(|answer| answer.value)
    }

    fn token(&self) -> String {
        self.token.expect("it has had the lock").to_string()
    }
}

fn said(error: impl ToString) -> Trouble {
    error.to_string()
}

impl Door for Worker {
    fn acquire(&mut self, order: &str, worker: &str, _: Script) -> Result<bool, Trouble> {
        let held = HELD.as_millis().to_string();
        let granted =
            self.ask(&["LOCK", "ACQUIRE", order, worker, "PX", &held, "WAIT", WAIT]).map_err(said)?;
        let Value::Map(pairs) = granted else { return Ok(false) };
        let token = pairs.iter().find(|(name, _)| name == "token");
        self.token =
            token.and_then(|(_, token)| if let Value::Int(token) = token { Some(*token) } else { None });
        Ok(true)
    }

    fn charged_by(&mut self, order: &str) -> Result<Option<String>, Trouble> {
        match self.ask(&["GET", &format!("charged:{order}")]).map_err(said)? {
            Value::Bytes(by) => Ok(Some(String::from_utf8_lossy(&by).into_owned())),
            _ => Ok(None),
        }
    }

    fn mark(&mut self, order: &str, worker: &str, script: Script) -> Result<bool, Trouble> {
        let (key, token) = (format!("charged:{order}"), self.token());
        let marked = match script {
            Script::Plain => self.ask(&["SET", &key, worker]),
            Script::Guarded | Script::Awaited => self.ask(&["SET", &key, worker, "FENCE", order, &token]),
        };
        match marked {
            Ok(_) => Ok(true),
            Err(error) if error.code() == ErrorCode::Fenced => Ok(false),
            Err(error) => Err(said(error)),
        }
    }

    fn release(&mut self, order: &str, _: &str) {
        // If it is lost already, or this is not answered, it ends by itself.
        let _ = self.ask(&["LOCK", "RELEASE", order, &self.token()]);
    }

    fn arm(&mut self, trap: &Arc<Trap>) {
        self.links.iter().for_each(|link| link.set_trap(Some(trap)));
    }

    fn disarm(&mut self) {
        self.links.iter().for_each(|link| link.set_trap(None));
    }
}
