//! Nodes that go and come back while clients write: one with an empty disk, and all in turn.

use std::time::{Duration, Instant};

use steadfast::{Client, Config};
use steadfast_tests::cluster::Cluster;

use crate::three::others;
use crate::trial::{SOON, Trial, runtime};

/// A node's disk is emptied and the node promoted again, as `docs/operations.md` says. Then its copy must count: without it the
/// cluster could not go on when another one dies.
#[test]
fn a_wiped_node_is_promoted_under_load_and_carries_the_next_failure() {
    let mut trial = Trial::of(Cluster::start("replaced"));
    let leader = trial.leader();
    // The administrator's password lies on one node, and is still needed.
    let has_password = |place: &usize| trial.cluster.data(*place).join("root-credentials").exists();
    let wiped = others(leader).into_iter().find(|place| !has_password(place)).expect("only one has it");
    trial.cluster.kill(wiped);
    trial.load.progress(50);
    std::fs::remove_dir_all(trial.cluster.data(wiped)).expect("a killed node lets go of its directory");
    trial.cluster.restart(wiped);
    trial.look_at(wiped);
    assert_eq!(trial.standing(wiped).role, "learner", "it can't know what its predecessor promised");
    let config = trial.config();
    runtime().block_on(promote(config, wiped));
    trial.load.progress_of_all(SOON);
    let before = trial.term();
    trial.cluster.kill(leader);
    let last = others(leader).into_iter().find(|place| *place != wiped).expect("there are three");
    trial.leader_above(before, &[wiped, last]);
    trial.load.progress_of_all(SOON);
    trial.load.progress(100);
    trial.cluster.restart(leader);
    trial.look_at(leader);
    trial.end();
}

/// Each node in turn is asked to stop and started again, once it is up to date the next one.
#[test]
fn a_rolling_restart_fails_no_client_that_tries_again() {
    let mut trial = Trial::of(Cluster::start("rolling"));
    for place in 0..3 {
        let node = trial.cluster.nodes[place].take().expect("it runs");
        assert_eq!(node.stop(), Some(0), "everything under way was answered");
        trial.load.progress(50);
        trial.cluster.restart(place);
        trial.look_at(place);
        trial.caught_up(place, others(place)[0]);
        trial.load.progress_of_all(SOON);
    }
    trial.end();
}

/// Makes a node vote again, as soon as it has nearly the whole log.
async fn promote(config: Config, place: usize) {
    let client = Client::connect(config).await.expect("the cluster is up");
    let begun = Instant::now();
    while let Err(error) = client.command(["CLUSTER", "PROMOTE", &(place + 1).to_string()]).await {
        assert!(error.is_passing() && begun.elapsed() < SOON, "node {} is not promoted: {error}", place + 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.close().await;
}
