//! A leader that is stopped, as by a machine that swaps or a virtual one that is moved, and wakes up after its successor has
//! written: in its own belief no time has passed, and it still leads.

use std::time::Duration;

use steadfast::Client;
use steadfast::client::Value;
use steadfast_core::reply::Outcome;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::raw::RawClient;
use uuid::Uuid;

use crate::three::others;
use crate::trial::{SOON, Trial, runtime};

/// How often a leader is put to sleep.
const ROUNDS: u32 = 2;
/// How many clients ask each while it sleeps.
const ASKING: usize = 6;

#[test]
fn a_leader_that_wakes_after_its_successor_wrote_answers_nothing_old() {
    let mut trial = Trial::of(Cluster::start("sleeper"));
    for round in 1..=ROUNDS {
        let (old, before) = (trial.leader(), trial.term());
        let mut asking: Vec<Asking> = (0..ASKING).map(|_| Asking::at(&mut trial, old)).collect();
        write(&mut trial, format!("old {round}"));
        trial.cluster.nodes[old].as_ref().expect("it runs").signal("STOP");
        // What they ask lies in the kernel until it wakes.
        for (number, client) in asking.iter_mut().enumerate() {
            client.ask(&trial, 0, &["GET", "sleeper"]);
            client.ask(&trial, 1, &["SET", &format!("sleeper/{round}/{number}"), "late"]);
        }
        trial.leader_above(before, &others(old));
        write(&mut trial, format!("new {round}"));
        trial.load.progress_of_all(SOON);
        trial.cluster.nodes[old].as_ref().expect("it runs").signal("CONT");
        // In the end the judges look at the writes: an acknowledged one is in the log, and a definite failure is not.
        for client in &mut asking {
            let [read, written] = client.told(&trial);
            let newest = Ok(Value::Bytes(format!("new {round}").into()));
            assert!(read.is_err() || read == newest, "the leader that woke answers {read:?}");
            eprintln!("round {round}: {read:?}, {written:?}");
        }
        let grown = trial.work_for(Duration::from_millis(500));
        assert!(grown <= 1, "the term grew by {grown} when the old leader woke");
    }
    trial.end();
}

/// A raw connection whose two questions, and the answers, are in the history.
struct Asking {
    client: RawClient,
    process: u64,
    user: String,
    /// The questions' numbers there.
    asked: [u64; 2],
}

impl Asking {
    fn at(trial: &mut Trial, place: usize) -> Self {
        let (user, _) = trial.cluster.credentials();
        Self { client: trial.cluster.raw(place), process: trial.process(), user, asked: [0; 2] }
    }

    fn ask(&mut self, trial: &Trial, question: usize, args: &[&str]) {
        self.asked[question] = trial.recording.asks(self.process, &self.user, args);
        let id = Uuid::from_u128(question as u128);
        self.client.request(id, args.iter().copied()).expect("it is sent");
    }

    /// Both outcomes, in whatever order they come.
    fn told(&mut self, trial: &Trial) -> [Outcome; 2] {
        let responses = [self.client.response(), self.client.response()];
        [0, 1].map(|question| {
            let mut responses = responses.iter();
            let response =
                responses.find(|it| it.id.as_u128() == question as u128).expect("each is answered once");
            trial.recording.told(self.process, self.asked[question], &response.reply);
            response.reply.outcome.clone()
        })
    }
}

/// Writes at whoever leads.
fn write(trial: &mut Trial, value: String) {
    let config = trial.config();
    runtime().block_on(async {
        let client = Client::connect(config).await.expect("somebody leads");
        client.set("sleeper", value).await.expect("a client that tries again is served");
        client.close().await;
    });
}
