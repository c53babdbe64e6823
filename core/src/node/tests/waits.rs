//! Claims that wait: whoever leads meanwhile, and whether anybody still listens.

use super::super::peers::Kind;
use super::{AccessMode, Cluster, config};
use crate::error::ErrorCode;
use crate::io::Input;
use crate::reply::Value;
use crate::types::{ConnId, Index, NodeId};
use uuid::Uuid;

/// Three nodes, and a lock that a connection of the leader holds; with the token.
fn held() -> (Cluster, ConnId, u64) {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let holder = cluster.connect(cluster.leader(), None);
    let token = token(&cluster.value(holder, "LOCK ACQUIRE l one PX 60000"));
    (cluster, holder, token)
}

fn token(value: &Value) -> u64 {
    match value {
        Value::Map(pairs) => match pairs[0].1 {
            Value::Int(token) => token as u64,
            _ => panic!("{value:?} has no token"),
        },
        _ => panic!("{value:?} grants nothing"),
    }
}

/// A connection of this node that waits, and its request.
fn waits(cluster: &mut Cluster, node: NodeId, owner: &str) -> (ConnId, Uuid) {
    let conn = cluster.connect(node, None);
    let id = cluster.ask(conn, &format!("LOCK ACQUIRE l {owner} PX 60000 WAIT 30000"));
    cluster.run(300);
    assert_eq!(cluster.answer(conn, id), None, "somebody else has it");
    (conn, id)
}

/// How many claims wait.
fn waiting(cluster: &mut Cluster) -> usize {
    let leader = cluster.leader();
    cluster.replica(leader).state.waiting_claims().len()
}

#[test]
fn who_waits_at_whatever_node_is_answered_where_the_wait_ended() {
    let (mut cluster, holder, first) = held();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let (at_follower, two) = waits(&mut cluster, follower, "two");
    let (at_leader, three) = waits(&mut cluster, leader, "three");
    let released = cluster.command(holder, &format!("LOCK RELEASE l {first}"));
    let reply = cluster.answer(at_follower, two).expect("it is its turn");
    assert_eq!(reply.receipt, released.receipt, "at the release");
    let second = token(&reply.outcome.expect("granted"));
    assert!(second > first);
    assert_eq!(cluster.value(at_follower, &format!("LOCK RELEASE l {second}")), Value::Int(1));
    let reply = cluster.answer(at_leader, three).expect("it is its turn");
    assert!(token(&reply.outcome.expect("granted")) > second);
}

#[test]
fn a_wait_goes_on_under_another_leader_and_is_not_asked_for_again() {
    let (mut cluster, _, first) = held();
    let (old, follower) = (cluster.leader(), cluster.follower());
    let (conn, id) = waits(&mut cluster, follower, "two");
    let (beside, other) = waits(&mut cluster, old, "three");
    cluster.cut = Some(old);
    cluster.run(3000);
    let new = cluster.leader();
    assert_ne!(old, new);
    let admin = cluster.connect(new, None);
    cluster.value(admin, &format!("LOCK RELEASE l {first}"));
    let second = token(&cluster.answer(conn, id).expect("it is its turn").outcome.expect("granted"));
    let lost =
        cluster.answer(beside, other).expect("it has long heard of no leader").outcome.expect_err("unknown");
    assert_eq!(lost.code, ErrorCode::LeaderLost);
    assert!(second > first);
    cluster.cut = None;
    cluster.run(2000);
    assert_eq!(waiting(&mut cluster), 0, "nobody listened any more");
}

#[test]
fn a_wait_ends_with_its_connection_or_its_time_and_the_next_has_its_turn() {
    let (mut cluster, holder, first) = held();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let (gone, _) = waits(&mut cluster, follower, "two");
    let (also, _) = waits(&mut cluster, leader, "three");
    let (stays, id) = waits(&mut cluster, follower, "four");
    assert_eq!(waiting(&mut cluster), 3);
    for (node, conn) in [(follower, gone), (leader, also)] {
        cluster.queue.push_back((node, Input::Disconnected { conn }));
    }
    cluster.run(300);
    assert_eq!(waiting(&mut cluster), 1);
    cluster.value(holder, &format!("LOCK RELEASE l {first}"));
    assert!(cluster.answer(stays, id).expect("it is its turn").outcome.is_ok());
    let late = cluster.connect(follower, None);
    let id = cluster.ask(late, "LOCK ACQUIRE l five PX 60000 WAIT 500");
    cluster.run(1000);
    assert_eq!(cluster.answer(late, id).expect("its time is up").outcome, Ok(Value::Nil));
    assert_eq!(waiting(&mut cluster), 0);
}

#[test]
fn whoever_leaves_before_the_leader_has_said_anything_leaves_no_wait_behind() {
    let (mut cluster, _, _) = held();
    let follower = cluster.follower();
    let conn = cluster.connect(follower, None);
    cluster.ask(conn, "LOCK ACQUIRE l two PX 60000 WAIT 30000");
    cluster.step(follower, Input::Disconnected { conn });
    cluster.run(1000);
    assert_eq!(waiting(&mut cluster), 0);
}

#[test]
fn whoever_leaves_the_leader_before_its_wait_is_committed_leaves_none_behind() {
    let (mut cluster, _, _) = held();
    let leader = cluster.leader();
    let conn = cluster.connect(leader, None);
    cluster.ask(conn, "LOCK ACQUIRE l two PX 60000 WAIT 30000");
    let (id, input) = cluster.queue.pop_front().expect("its bytes");
    cluster.step(id, input);
    cluster.step(leader, Input::Disconnected { conn });
    cluster.run(1000);
    assert_eq!(waiting(&mut cluster), 0);
}

#[test]
fn a_wait_that_was_not_committed_when_the_term_was_lost_is_parked_once_it_is() {
    let (mut cluster, _, first) = held();
    let old = cluster.leader();
    let conn = cluster.connect(old, None);
    let others: Vec<NodeId> = cluster.nodes.keys().copied().filter(|id| *id != old).collect();
    let id = cluster.ask(conn, "LOCK ACQUIRE l two PX 60000 WAIT 30000");
    // Its entry goes out, and then nothing more is heard of or by the leader.
    cluster.intercept(others[0], Kind::Raft);
    cluster.cut = Some(old);
    cluster.run(3000);
    cluster.cut = None;
    cluster.run(1000);
    let new = cluster.leader();
    let admin = cluster.connect(new, None);
    cluster.value(admin, &format!("LOCK RELEASE l {first}"));
    let outcome = cluster.answer(conn, id).expect("it is told one or the other").outcome;
    match outcome {
        Ok(value) => assert!(token(&value) > first),
        Err(failure) => {
            assert_eq!(failure.code, ErrorCode::LeaderChanged);
            assert_eq!(waiting(&mut cluster), 0, "what was said not to be executed was not");
        }
    }
}

#[test]
fn a_wait_whose_entry_a_snapshot_took_the_place_of_may_have_begun_or_not() {
    let (mut cluster, _, first) = held();
    let old = cluster.leader();
    let conn = cluster.connect(old, None);
    for id in (1..=3).map(NodeId) {
        cluster.replica(id).config.snapshot.interval_bytes = 4000;
    }
    let others: Vec<NodeId> = cluster.nodes.keys().copied().filter(|id| *id != old).collect();
    let id = cluster.ask(conn, "LOCK ACQUIRE l two PX 60000 WAIT 30000");
    let index = cluster.replica(old).raft.log().last();
    cluster.intercept(others[0], Kind::Raft);
    cluster.cut = Some(old);
    cluster.run(3000);
    let admin = cluster.connect(cluster.leader(), None);
    for number in 0..200 {
        cluster.value(admin, &format!("SET key:{number} value"));
    }
    cluster.value(admin, &format!("LOCK RELEASE l {first}"));
    cluster.cut = None;
    cluster.run(3000);
    assert_eq!(cluster.replica(old).raft.log().get(index), None, "its log begins after the wait's entry");
    let failure = cluster.answer(conn, id).expect("it is told").outcome.expect_err("that nothing is known");
    assert_eq!(failure.code, ErrorCode::LeaderLost);
}

#[test]
fn a_node_that_hears_no_leader_lets_go_of_those_who_wait() {
    let (mut cluster, _, _) = held();
    let follower = cluster.follower();
    let (conn, id) = waits(&mut cluster, follower, "two");
    cluster.cut = Some(follower);
    cluster.run(4000);
    let failure = cluster.answer(conn, id).expect("it is told").outcome.expect_err("that nothing is known");
    assert_eq!(failure.code, ErrorCode::LeaderLost);
    cluster.cut = None;
    cluster.run(4000);
    assert_eq!(waiting(&mut cluster), 0, "it is ended once there is a leader again");
}

#[test]
fn a_node_that_stops_lets_go_of_those_who_wait() {
    let (mut cluster, _, _) = held();
    let follower = cluster.follower();
    let (conn, id) = waits(&mut cluster, follower, "two");
    let replica = cluster.replica(follower);
    replica.lose_track(|_| false);
    cluster.run(300);
    let failure = cluster.answer(conn, id).expect("it is told").outcome.expect_err("that nothing is known");
    assert_eq!(failure.code, ErrorCode::LeaderLost);
}

#[test]
fn leases_outlive_a_change_of_leader_by_their_whole_time() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let (old, follower) = (cluster.leader(), cluster.follower());
    let conn = cluster.connect(follower, None);
    let Value::Int(lease) = cluster.value(conn, "LEASE GRANT 4000") else { panic!("a lease is a number") };
    cluster.value(conn, &format!("SET k v LEASE {lease}"));
    cluster.run(3000);
    cluster.cut = Some(old);
    cluster.run(3000);
    assert_ne!(cluster.leader(), old);
    assert_eq!(
        cluster.value(conn, "EXISTS k"),
        Value::Int(1),
        "it has long been as old as it was promised to be"
    );
    cluster.run(4000);
    assert_eq!(cluster.value(conn, "EXISTS k"), Value::Int(0));
}

#[test]
fn a_lone_node_that_restarts_spares_its_leases() {
    let mut cluster = Cluster::new(1, AccessMode::InsecureNoAuth);
    let conn = cluster.connect(NodeId(1), None);
    cluster.value(conn, "LOCK ACQUIRE l one PX 1000");
    cluster.run(700);
    cluster.boot(config(1, 1, AccessMode::InsecureNoAuth));
    cluster.run(700);
    let conn = cluster.connect(NodeId(1), None);
    assert_eq!(cluster.value(conn, "LOCK ACQUIRE l two PX 1000"), Value::Nil);
    cluster.run(1000);
    let second = token(&cluster.value(conn, "LOCK ACQUIRE l two PX 1000"));
    assert!(Index(second) > Index(2));
}
