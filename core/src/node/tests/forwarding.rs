//! Commands that other nodes forward, when frames are lost, doubled or late.

use super::super::peers::{Kind, Quarantine};
use super::{AccessMode, Cluster, config};
use crate::config::{Features, NodeConfig};
use crate::error::ErrorCode;
use crate::io::Input;
use crate::protocol::peer;
use crate::reply::Value;
use crate::types::{BootNumber, NodeId};

fn cluster() -> (Cluster, NodeId, NodeId) {
    let cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    (cluster, leader, follower)
}

#[test]
fn an_answer_to_an_earlier_boot_is_no_answer_to_this_one() {
    let (mut cluster, leader, follower) = cluster();
    let conn = cluster.connect(follower, None);
    cluster.ask(conn, "INCRBY n 5");
    let late = cluster.intercept(follower, Kind::Forward);
    cluster.boot(config(follower.0, 3, AccessMode::InsecureNoAuth));
    cluster.run(1000);
    let conn = cluster.connect(follower, None);
    let id = cluster.ask(conn, "INCRBY m 1");
    cluster.intercept(leader, Kind::Forward);
    cluster.deliver(follower, &late);
    cluster.run(5);
    assert_eq!(cluster.answer(conn, id), None, "the leader has not heard of the command");
    cluster.run(1000);
    assert_eq!(cluster.answer(conn, id).unwrap().outcome, Ok(Value::Int(1)));
}

#[test]
fn a_lost_command_that_nobody_waits_for_holds_up_no_other() {
    let (mut cluster, leader, follower) = cluster();
    let (gone, stays) = (cluster.connect(follower, None), cluster.connect(follower, None));
    cluster.ask(gone, "SET k 1");
    cluster.intercept(leader, Kind::Forward);
    cluster.queue.push_back((follower, Input::Disconnected { conn: gone }));
    let id = cluster.ask(stays, "SET k 2");
    cluster.run(1000);
    assert_eq!(cluster.answer(stays, id).expect("an answer").outcome, Ok(Value::ok()));
}

#[test]
fn a_command_that_was_refused_is_not_executed_when_its_frame_comes_again() {
    let (mut cluster, leader, follower) = cluster();
    let conn = cluster.connect(follower, None);
    let usual = cluster.replica(leader).config.limits.waiting_requests;
    cluster.replica(leader).config.limits.waiting_requests = 0;
    let id = cluster.ask(conn, "INCRBY n 1");
    let frame = cluster.intercept(leader, Kind::Forward);
    cluster.deliver(leader, &frame);
    let refusal = cluster.intercept(follower, Kind::Forward);
    cluster.replica(leader).config.limits.waiting_requests = usual;
    cluster.deliver(leader, &frame);
    // The origin does not know yet, and asks again by itself, too.
    cluster.run(250);
    cluster.deliver(follower, &refusal);
    cluster.run(250);
    let failure =
        cluster.answer(conn, id).expect("an answer").outcome.expect_err("the leader was overloaded");
    assert_eq!(failure.code, ErrorCode::Overloaded);
    assert!(failure.retry_after_ms >= 10, "the leader's word on when to come again is passed on");
    assert_eq!(cluster.value(conn, "GET n"), Value::Nil, "a refusal says that nothing happens");
}

#[test]
fn a_command_that_came_too_late_to_be_committed_in_time_is_refused_for_good() {
    let (mut cluster, leader, follower) = cluster();
    let (slow, conn) = (cluster.connect(leader, None), cluster.connect(follower, None));
    cluster.cut = Some(leader);
    cluster.ask(slow, "SET a 1");
    cluster.run(100);
    cluster.cut = None;
    let id = cluster.ask_within(conn, "INCRBY n 1", 180);
    let frame = cluster.intercept(leader, Kind::Forward);
    cluster.cut = Some(leader);
    cluster.deliver(leader, &frame);
    cluster.run(1);
    cluster.cut = None;
    cluster.run(120);
    assert_eq!(cluster.replica(leader).tail.len(), 0, "everything is committed");
    cluster.deliver(leader, &frame);
    cluster.run(500);
    let failure = cluster.answer(conn, id).expect("an answer").outcome.expect_err("it came too late");
    assert!(
        matches!(failure.code, ErrorCode::Overloaded | ErrorCode::DeadlineExceeded | ErrorCode::TimedOut),
        "{failure}"
    );
    assert_eq!(cluster.value(slow, "GET n"), Value::Nil, "a refusal says that nothing happens");
}

#[test]
fn a_repeated_command_that_nobody_waits_for_is_not_logged_and_holds_up_no_other() {
    let (mut cluster, leader, follower) = cluster();
    let (slow, conn) = (cluster.connect(leader, None), cluster.connect(follower, None));
    cluster.ask_within(conn, "INCRBY n 1", 80);
    cluster.intercept(leader, Kind::Forward);
    let again = cluster.intercept(leader, Kind::Forward);
    cluster.cut = Some(leader);
    cluster.ask(slow, "SET a 1");
    cluster.run(50);
    cluster.deliver(leader, &again);
    cluster.run(1);
    assert_eq!(cluster.replica(leader).tail.len(), 1, "its client was told that the outcome is unknown");
    cluster.cut = None;
    cluster.run(200);
    let other = cluster.connect(follower, None);
    assert_eq!(cluster.value(other, "INCRBY n 1"), Value::Int(1), "what follows it is taken");
    cluster.deliver(leader, &again);
    assert_eq!(cluster.value(other, "GET n"), super::bytes("1"), "however often it comes");
}

#[test]
fn a_node_that_begins_a_boot_anew_sends_nothing_twice_under_it() {
    let (mut cluster, leader, follower) = cluster();
    let conn = cluster.connect(follower, None);
    let id = cluster.ask(conn, "INCRBY n 1");
    // The leader executes it, and its answer is lost.
    cluster.intercept(follower, Kind::Forward);
    let (incarnation, boot) =
        (cluster.replica(follower).hard.get().incarnation, cluster.replica(follower).peers.boot());
    let notice = Quarantine { incarnation, boot: BootNumber(boot.number.0 + 3), nonce: 1 };
    let header = cluster.replica(leader).peers.header(follower, Kind::Quarantine);
    let frame = peer::encode(&header, &postcard::to_stdvec(&notice).unwrap());
    cluster.deliver(follower, &frame);
    cluster.run(2000);
    let failure = cluster.answer(conn, id).expect("an answer").outcome.expect_err("its answer was lost");
    assert!(!failure.is_definite(), "{failure}");
    let conn = cluster.connect(follower, None);
    assert_eq!(cluster.value(conn, "GET n"), super::bytes("1"));
}

fn held(id: u16, hold: Option<u32>) -> NodeConfig {
    NodeConfig {
        features: Features { hold, ..Features::default() },
        ..config(id, 3, AccessMode::InsecureNoAuth)
    }
}

/// A cluster that its third node holds at level 2, with the leader and the other one of the first two.
fn held_cluster() -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::empty();
    (1..=3).for_each(|id| cluster.boot(held(id, (id == 3).then_some(2))));
    cluster.run(2000);
    if cluster.leader() == NodeId(3) {
        let conn = cluster.connect(NodeId(3), None);
        cluster.value(conn, "CLUSTER TRANSFER 1");
    }
    let leader = cluster.leader();
    (cluster, leader, NodeId(3 - leader.0))
}

/// An earlier leader may have logged it at a level that this one does not know of yet.
#[test]
fn a_repeated_command_that_the_level_does_not_allow_is_of_unknown_outcome_however_often_it_comes() {
    let (mut cluster, leader, follower) = held_cluster();
    let conn = cluster.connect(follower, None);
    let id = cluster.ask(conn, "CLUSTER PREFER 1 5");
    cluster.intercept(leader, Kind::Forward);
    let again = cluster.intercept(leader, Kind::Forward);
    cluster.deliver(leader, &again);
    // The answer is lost, and the next one given from memory.
    cluster.intercept(follower, Kind::Forward);
    assert!(cluster.answer(conn, id).is_none());
    cluster.deliver(leader, &again);
    cluster.run(100);
    let unknown = cluster.answer(conn, id).expect("an answer").outcome.expect_err("not done");
    assert_eq!(unknown.code, ErrorCode::TimedOut, "{unknown}");
}

#[test]
fn a_command_that_the_level_did_not_allow_is_not_done_when_it_comes_once_more() {
    let (mut cluster, leader, follower) = held_cluster();
    let conn = cluster.connect(follower, None);
    let id = cluster.ask(conn, "CLUSTER PREFER 1 5");
    let frame = cluster.intercept(leader, Kind::Forward);
    cluster.deliver(leader, &frame);
    cluster.run(100);
    let refused = cluster.answer(conn, id).expect("an answer").outcome.expect_err("refused");
    assert_eq!(refused.code, ErrorCode::FeatureLevel);
    cluster.boot(held(3, None));
    cluster.run(4000);
    assert_eq!((cluster.leader(), cluster.nodes[&leader].state().level()), (leader, 3));
    cluster.deliver(leader, &frame);
    cluster.run(300);
    assert!(
        cluster.nodes[&leader].state().priorities().is_empty(),
        "its client was told that nothing happens"
    );
}
