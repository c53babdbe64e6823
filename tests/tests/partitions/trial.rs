//! A cluster under load, and what must be true of it in the end, whatever was done to it: everything acknowledged is there once,
//! all nodes stand at the same place, and the judges find no fault with what clients saw.

use std::time::{Duration, Instant};

use steadfast::{Client, Config};
use steadfast_sim::check::{self, Verdict};
use steadfast_sim::history::History;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::final_log;
use steadfast_tests::load::{self, Load};
use steadfast_tests::namespaces::Network;
use steadfast_tests::process::Options;
use steadfast_tests::raw::RawClient;
use steadfast_tests::recording::{self, Recording};
use steadfast_tests::scratch::wait_within;
use steadfast_tests::standing::Standing;

use crate::witness::Witness;

/// Within this time the others have a new leader, and every client has a write acknowledged. An election takes 0.3 to 0.6 s, an
/// attempt of a client 1.25 s until it leaves a node that says nothing; the rest is for machines that are busy.
pub const SOON: Duration = Duration::from_secs(15);
/// How long a client waits for the answer to an attempt.
const ATTEMPT: Duration = Duration::from_secs(1);

/// A cluster with clients at work.
pub struct Trial {
    pub cluster: Cluster,
    pub load: Load,
    pub recording: Recording,
    /// A connection to each node that asks it where it stands, logged in while that is possible.
    eyes: Vec<RawClient>,
    others: u64,
}

impl Trial {
    /// Founds a cluster on a network, and waits until every client has written.
    pub fn on(network: &Network, name: &str) -> Self {
        Self::founded_on(network, name, network.addresses().len())
    }

    /// Founds it with so many of the network's nodes.
    pub fn founded_on(network: &Network, name: &str, nodes: usize) -> Self {
        let entered = |place, options: Options| options.under(network.enter(place));
        let addresses = network.addresses()[..nodes].to_vec();
        Self::of(Cluster::start_at(name, addresses, entered))
    }

    /// Lets the network's next node join, which knows this one, until it votes.
    pub fn join(&mut self, network: &Network, knows: usize) {
        let place = self.cluster.addresses.len();
        let address = network.addresses()[place].clone();
        let enter = |options: Options| options.under(network.enter(place));
        self.cluster.join(address.clone(), knows, enter);
        let id = (place + 1).to_string();
        self.change_members(&["ADD", &id, &address]);
        self.change_members(&["PROMOTE", &id]);
        self.eyes.push(self.cluster.raw(place));
    }

    /// Takes a step of the membership, as soon as it is allowed.
    pub fn change_members(&mut self, words: &[&str]) {
        let config = self.config();
        runtime().block_on(async {
            let client = Client::connect(config).await.expect("the cluster is up");
            let (step, begun) = ([&["CLUSTER"], words].concat(), Instant::now());
            while let Err(error) = client.command(step.iter().copied()).await {
                assert!(error.is_passing() && begun.elapsed() < SOON, "{step:?}: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            client.close().await;
        });
    }

    /// The same with a cluster that was started.
    pub fn of(cluster: Cluster) -> Self {
        let (user, _) = cluster.credentials();
        let recording = Recording::default();
        let mut impatient = cluster.config().attempt(ATTEMPT);
        // A stopped process still accepts connections, by its kernel.
        impatient.core().greeting_ms = 1500;
        let load = Load::start_with(&impatient, &user, &recording);
        let eyes = cluster.places().map(|place| cluster.raw(place)).collect();
        let trial = Self { cluster, load, recording, eyes, others: 0 };
        trial.load.progress_of_all(SOON);
        trial
    }

    /// A number for one more client in the history.
    pub fn process(&mut self) -> u64 {
        self.others += 1;
        load::IN_SESSIONS + load::WITHOUT + self.others
    }

    /// A client of one node alone.
    pub fn witness(&mut self, place: usize) -> Witness {
        let (process, (user, password)) = (self.process(), self.cluster.credentials());
        let observer = self.recording.observer(process, &user);
        Witness::start(&self.cluster.addresses[place], &user, &password, observer)
    }

    /// The configuration of one more client, which names all nodes.
    pub fn config(&mut self) -> Config {
        let (process, (user, _)) = (self.process(), self.cluster.credentials());
        self.cluster.config().observer(self.recording.observer(process, &user))
    }

    /// Looks at a node anew, after it was restarted.
    pub fn look_at(&mut self, place: usize) {
        self.eyes[place] = self.cluster.raw(place);
    }

    /// Where a node stands. A leader that is cut off says so only once it has stepped down.
    pub fn standing(&mut self, place: usize) -> Standing {
        wait_within(SOON, "an answer to INFO", || Standing::ask(&mut self.eyes[place]))
    }

    /// The place of the leader among these nodes, by its own word, as soon as there is one, in a term above this one.
    pub fn leader_above(&mut self, term: i64, among: &[usize]) -> usize {
        wait_within(SOON, "a leader in a newer term", || {
            among.iter().copied().find(|place| {
                let standing = self.standing(*place);
                standing.leads() && standing.term > term
            })
        })
    }

    /// The place of whoever leads, in whatever term.
    pub fn leader(&mut self) -> usize {
        let all: Vec<usize> = self.cluster.places().collect();
        self.leader_above(0, &all)
    }

    /// The highest term that any node has.
    pub fn term(&mut self) -> i64 {
        let standings = self.cluster.places().map(|place| self.standing(place).term);
        standings.max().expect("there are nodes")
    }

    /// Lets the cluster work for so long with every client, and gives by how much the highest term grew meanwhile.
    pub fn work_for(&mut self, span: Duration) -> i64 {
        let (begun, before) = (Instant::now(), self.term());
        while begun.elapsed() < span {
            self.load.progress_of_all(SOON);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.term() - before
    }

    /// Lets the clients rest until they are told to go on, and waits until all nodes stand at the same place: nobody's log is behind
    /// then, so that anybody could be elected.
    pub fn rest(&mut self) {
        self.load.pause(true);
        self.wait_for_peace();
    }

    fn wait_for_peace(&mut self) {
        wait_within(SOON, "all nodes at the same place under one leader", || {
            let standings: Vec<_> = self.eyes.iter_mut().filter_map(Standing::ask).collect();
            let same = standings.iter().all(|it| {
                (it.term, it.commit, it.leader)
                    == (standings[0].term, standings[0].commit, standings[0].leader)
            });
            let leaders = standings.iter().filter(|it| it.leads()).count();
            (same && leaders == 1 && standings.len() == self.eyes.len()).then_some(())
        });
    }

    /// Heals all links, waits until the leader hears everybody again, and gives by how much the highest term grew.
    pub fn mend(&mut self, network: &Network) -> i64 {
        let before = self.term();
        network.heal();
        let begun = Instant::now();
        wait_within(SOON, "a leader that hears everybody", || {
            let leader = self.leader();
            Standing::hears_all(&mut self.eyes[leader]).then_some(())
        });
        eprintln!("{:?} after the links are whole, everybody is heard", begun.elapsed());
        self.work_for(Duration::from_millis(300));
        self.term() - before
    }

    /// Waits until a node has committed what another one has by now.
    pub fn caught_up(&mut self, place: usize, with: usize) {
        let wanted = self.standing(with).commit;
        wait_within(SOON, "a node that catches up", || (self.standing(place).commit >= wanted).then_some(()));
    }

    /// Ends the load and the cluster, and looks whether everything is as it must be. All links are whole, all nodes run.
    pub fn end(mut self) -> History {
        let (user, _) = self.cluster.credentials();
        self.load.progress_of_all(SOON);
        self.rest();
        let tally = self.load.stop();
        assert_eq!(tally.given_up, [] as [&str; 0], "a client that tries again is served in the end");
        let observer = self.recording.observer(load::IN_SESSIONS + load::WITHOUT, &user);
        tally.check(&self.cluster.config().observer(observer));
        drop(self.eyes);
        let stopped = self.cluster.stop();
        assert!(stopped.iter().all(|code| *code == Some(0)), "every server stops cleanly: {stopped:?}");
        let records = self.recording.records();
        let file = self.cluster.scratch().join("history.jsonl");
        recording::save(&records, &file).expect("the history can be written");
        let history = History::from_records(&records).expect("the recording is a history");
        let log = final_log::committed(&self.cluster, &history);
        let begun = Instant::now();
        assert_eq!(check::judge(&history, &log), Verdict::Passed, "see {}", file.display());
        eprintln!(
            "{} operations: {} ok, {:?} failed, {} unknown; judged in {:.1} s",
            history.ops.len(),
            tally.ok,
            tally.failed,
            tally.unknown,
            begun.elapsed().as_secs_f64()
        );
        history
    }
}

/// A tokio runtime on this thread alone.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system gives a runtime")
}
