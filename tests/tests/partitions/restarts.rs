//! Nodes that go and come back while clients write: one with an empty disk, and all in turn.

use steadfast::client::Value;
use steadfast_core::state::effect::FEATURE_LEVEL;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::process::Options;
use steadfast_tests::scratch::wait_within;

use crate::three::others;
use crate::trial::{SOON, Trial};

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
    trial.change_members(&["PROMOTE", &(wiped + 1).to_string()]);
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

/// All nodes know no more than an older release; then one after the other is started without that, and the first goes back once
/// more. Nothing new is used before the last one is there.
#[test]
fn a_rolling_upgrade_fails_no_client_and_can_be_undone_until_the_last_node() {
    let (old, new) = (i64::from(FEATURE_LEVEL) - 1, i64::from(FEATURE_LEVEL));
    let older = format!("--feature-level={old}");
    let mut trial = Trial::of(Cluster::start_with("upgrade", |_, options| options.arg(&older)));
    let mut behind = vec![1, 2, 3];
    for (place, upgrades) in [(0, true), (1, true), (0, false), (0, true), (2, true)] {
        assert_eq!(trial.cluster.info(place, "feature_level"), Some(Value::Int(old)));
        let node = trial.cluster.nodes[place].take().expect("it runs");
        assert_eq!(node.stop(), Some(0), "everything under way was answered");
        trial.load.progress(50);
        let release = |options: Options| if upgrades { options.without(&older) } else { options.arg(&older) };
        trial.cluster.change(place, release);
        trial.cluster.restart(place);
        trial.look_at(place);
        trial.caught_up(place, others(place)[0]);
        trial.load.progress_of_all(SOON);
        behind.retain(|id| *id != place as i64 + 1);
        behind.extend((!upgrades).then_some(place as i64 + 1));
        behind.sort_unstable();
        wait_within(SOON, "a leader that names those for whom it waits", || {
            let leader = trial.leader();
            // One that knows no more itself waits for nobody.
            let others = behind.iter().copied().filter(|_| !behind.contains(&(leader as i64 + 1)));
            let names = trial.cluster.info(leader, "feature_level_waits_for")?;
            (names == Value::List(others.map(Value::Int).collect())).then_some(())
        });
    }
    for place in trial.cluster.places() {
        wait_within(SOON, "the new level", || {
            (trial.cluster.info(place, "feature_level") == Some(Value::Int(new))).then_some(())
        });
    }
    trial.end();
}
