//! Real nodes on this machine, each with its own data directory and fixed address: three on loopback, or as many as there are
//! addresses.

use std::path::PathBuf;

use steadfast::client::Value;
use steadfast::{Client, Config};
use uuid::Uuid;

use crate::process::{Options, Process, credentials};
use crate::raw::RawClient;
use crate::scratch::{Scratch, free_addresses, wait_for};
use crate::standing::Standing;

/// The cluster's name.
pub const NAME: &str = "steadfast";

/// A cluster. Nodes have places, counted from zero; the node at place `p` has the number `p + 1`.
#[derive(Debug)]
pub struct Cluster {
    /// Where each node listens.
    pub addresses: Vec<String>,
    /// The processes that run.
    pub nodes: Vec<Option<Process>>,
    options: Vec<Options>,
    // Removed last, once no process uses it any more.
    scratch: Scratch,
}

impl Cluster {
    /// Starts three nodes.
    #[must_use]
    pub fn start(name: &str) -> Self {
        Self::start_with(name, |_, options| options)
    }

    /// Starts three nodes with these changes to how each starts.
    #[must_use]
    pub fn start_with(name: &str, change: impl Fn(usize, Options) -> Options) -> Self {
        Self::start_at(name, free_addresses(3), change)
    }

    /// Starts a node at each of these addresses, with these changes to how each starts.
    #[must_use]
    pub fn start_at(name: &str, addresses: Vec<String>, change: impl Fn(usize, Options) -> Options) -> Self {
        Self::start_as(name, addresses, |addresses| vec![addresses.to_vec(); addresses.len()], change)
    }

    /// Starts three nodes. `ways` gives, for each node, the addresses at which it reaches each.
    #[must_use]
    pub fn start_linked(name: &str, ways: impl FnOnce(&[String]) -> Vec<Vec<String>>) -> Self {
        Self::start_as(name, free_addresses(3), ways, |_, options| options)
    }

    fn start_as(
        name: &str,
        addresses: Vec<String>,
        ways: impl FnOnce(&[String]) -> Vec<Vec<String>>,
        change: impl Fn(usize, Options) -> Options,
    ) -> Self {
        let scratch = Scratch::new(name);
        let ways = ways(&addresses);
        let options = |place: usize| {
            let mut args = vec!["--id".to_owned(), (place + 1).to_string()];
            args.extend(["--listen".to_owned(), addresses[place].clone()]);
            for (other, address) in ways[place].iter().enumerate().filter(|(other, _)| *other != place) {
                args.extend(["--peer".to_owned(), format!("{}={address}", other + 1)]);
            }
            change(place, Options::new(&scratch.join(format!("node{}", place + 1)), args))
        };
        let options: Vec<_> = (0..addresses.len()).map(options).collect();
        let nodes = options.iter().map(|options| Some(options.start())).collect();
        Self { addresses, nodes, options, scratch }
    }

    /// The places of all nodes.
    pub fn places(&self) -> std::ops::Range<usize> {
        0..self.addresses.len()
    }

    /// Where a node's data lies.
    #[must_use]
    pub fn data(&self, place: usize) -> PathBuf {
        self.options[place].data().to_owned()
    }

    /// The test's directory.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Starts a node that does not run.
    pub fn restart(&mut self, place: usize) {
        assert!(self.nodes[place].is_none(), "node {} runs", place + 1);
        self.nodes[place] = Some(self.options[place].start());
    }

    /// Launches one more node, with an empty directory, that is to join and knows this one; its place. Nobody has added it yet.
    pub fn join(&mut self, address: String, knows: usize, change: impl FnOnce(Options) -> Options) -> usize {
        let place = self.addresses.len();
        let mut args = vec!["--join".to_owned(), "--id".into(), (place + 1).to_string()];
        args.extend(["--listen".into(), address.clone()]);
        args.extend(["--peer".into(), format!("{}={}", knows + 1, self.addresses[knows])]);
        let options = change(Options::new(&self.scratch.join(format!("node{}", place + 1)), args));
        self.nodes.push(Some(options.launch()));
        self.options.push(options);
        self.addresses.push(address);
        place
    }

    /// Changes how a node starts from now on.
    pub fn change(&mut self, place: usize, change: impl FnOnce(Options) -> Options) {
        self.options[place] = change(self.options[place].clone());
    }

    /// Starts a node that does not run, which may be refused.
    pub fn launch(&mut self, place: usize) {
        assert!(self.nodes[place].is_none(), "node {} runs", place + 1);
        self.nodes[place] = Some(self.options[place].launch());
    }

    /// Kills a node with SIGKILL.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, place: usize) {
        self.nodes[place].take().expect("the node runs").kill();
    }

    /// The administrator's user and password: on the node that led first.
    #[must_use]
    pub fn credentials(&self) -> (String, String) {
        wait_for("the founding", || self.places().find_map(|place| credentials(&self.data(place))))
    }

    /// A client's configuration that names all nodes and the administrator.
    #[must_use]
    pub fn config(&self) -> Config {
        let (user, password) = self.credentials();
        Config::new(self.addresses.clone()).credentials(user, password)
    }

    /// A client of one node, or of all: waits until the administrator is known there.
    ///
    /// # Panics
    /// If it never is.
    pub async fn client(&self, config: Config) -> Client {
        let begun = tokio::time::Instant::now();
        loop {
            match Client::connect(config.clone()).await {
                Ok(client) => return client,
                Err(error) => {
                    assert!(begun.elapsed() < crate::scratch::PATIENCE, "nobody lets us in: {error}")
                }
            }
        }
    }

    /// A raw connection to a node, logged in as the administrator.
    #[must_use]
    pub fn raw(&self, place: usize) -> RawClient {
        let (user, password) = self.credentials();
        RawClient::login(&self.addresses[place], &user, &password)
    }

    /// A field of a node's INFO, as one more client sees it.
    ///
    /// # Panics
    /// If it gives none.
    #[must_use]
    pub fn info(&self, place: usize, wanted: &str) -> Option<Value> {
        let mut client = self.raw(place);
        client.request(Uuid::from_u128(1), ["INFO"]).expect("it is up");
        let Ok(Value::Map(info)) = client.response().reply.outcome else { panic!("INFO is a map") };
        info.into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
    }

    /// The place of the node that leads, by its own word and not by what others remember.
    pub fn leader(&self) -> usize {
        let (user, password) = self.credentials();
        wait_for("a leader", || {
            self.places().filter(|place| self.nodes[*place].is_some()).find(|place| {
                let mut client = RawClient::login(&self.addresses[*place], &user, &password);
                Standing::ask(&mut client).is_some_and(|standing| standing.leads())
            })
        })
    }

    /// Makes a node lead: whoever else does is killed and comes back.
    pub fn make_leader(&mut self, place: usize) {
        wait_for("another leader", || {
            let leader = self.leader();
            if leader == place {
                return Some(());
            }
            self.kill(leader);
            self.leader();
            self.restart(leader);
            None
        });
    }

    /// SIGTERM to all at once; the exit codes.
    #[must_use]
    pub fn stop(&mut self) -> Vec<Option<i32>> {
        let mut running: Vec<_> = self.nodes.iter_mut().filter_map(Option::take).collect();
        running.iter().for_each(Process::terminate);
        running.iter_mut().map(Process::wait).collect()
    }
}
