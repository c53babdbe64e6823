//! A cluster under load, and what must be true of it in the end, whatever was done to it: everything acknowledged is there once,
//! all nodes stand at the same place, and the judges find no fault with what clients saw.

use std::time::{Duration, Instant};

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
/// attempt of a client 2.5 s until it leaves a node that says nothing; the rest is for machines that are busy.
pub const SOON: Duration = Duration::from_secs(15);

/// A cluster with clients at work.
pub struct Trial {
    pub cluster: Cluster,
    pub load: Load,
    recording: Recording,
    /// A connection to each node that asks it where it stands, logged in while that is possible.
    eyes: Vec<RawClient>,
    witnesses: u64,
}

impl Trial {
    /// Founds a cluster on a network, and waits until every client has written.
    pub fn on(network: &Network, name: &str) -> Self {
        let entered = |place, options: Options| options.under(network.enter(place));
        Self::of(Cluster::start_at(name, network.addresses(), entered))
    }

    /// The same with a cluster that was started.
    pub fn of(cluster: Cluster) -> Self {
        let (user, _) = cluster.credentials();
        let recording = Recording::default();
        let load = Load::start(&cluster.config(), &user, &recording);
        let eyes = cluster.places().map(|place| cluster.raw(place)).collect();
        let trial = Self { cluster, load, recording, eyes, witnesses: 0 };
        trial.load.progress_of_all(SOON);
        trial
    }

    /// A client of one node alone.
    pub fn witness(&mut self, place: usize) -> Witness {
        self.witnesses += 1;
        let (user, password) = self.cluster.credentials();
        let process = load::IN_SESSIONS + load::WITHOUT + self.witnesses;
        Witness::start(
            &self.cluster.addresses[place],
            &user,
            &password,
            self.recording.observer(process, &user),
        )
    }

    /// Where a node stands.
    pub fn standing(&mut self, place: usize) -> Standing {
        Standing::ask(&mut self.eyes[place]).expect("a connection that is logged in gets an answer to INFO")
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

    /// Ends the load and the cluster, and looks whether everything is as it must be. All links are whole, all nodes run.
    pub fn end(mut self) {
        let (user, _) = self.cluster.credentials();
        self.load.progress_of_all(SOON);
        let tally = self.load.stop();
        let observer = self.recording.observer(load::IN_SESSIONS + load::WITHOUT, &user);
        tally.check(&self.cluster.config().observer(observer));
        let eyes = &mut self.eyes;
        wait_within(SOON, "all nodes at the same place under one leader", || {
            let standings: Vec<_> = eyes.iter_mut().filter_map(Standing::ask).collect();
            let same = standings.iter().all(|it| {
                (it.term, it.commit, it.leader)
                    == (standings[0].term, standings[0].commit, standings[0].leader)
            });
            let leaders = standings.iter().filter(|it| it.leads()).count();
            (same && leaders == 1 && standings.len() == eyes.len()).then_some(())
        });
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
    }
}
