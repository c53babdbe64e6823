//! What a node does when it can't go on as usual: no room, no memory, no sense in what it was given.

use super::{AccessMode, Cluster, bytes};
use crate::error::ErrorCode;
use crate::reply::Value;
use crate::state::effect::{Cause, Entry};
use crate::time::Millis;
use crate::types::NodeId;

const NODE: NodeId = NodeId(1);

#[test]
fn at_the_limit_of_the_log_writes_are_refused_and_reads_are_not() {
    let mut cluster = Cluster::new(1, AccessMode::Enforced);
    let conn = cluster.connect(NODE, Some(("root", "secret")));
    assert_eq!(cluster.value(conn, "SET k v"), Value::ok());
    assert_eq!(cluster.value(conn, "SET dated v PX 100000"), Value::ok());
    cluster.replica(NODE).config.limits.log_bytes = 1;
    assert_eq!(cluster.code(conn, "SET k w"), ErrorCode::LimitReached);
    assert_eq!(cluster.value(conn, "GET k"), bytes("v"));
    let last = cluster.nodes[&NODE].inspect().last;
    assert_eq!(cluster.code(conn, "PTTL dated"), ErrorCode::LimitReached, "it would have to log the time");
    assert_eq!(cluster.nodes[&NODE].inspect().last, last);
    let again = cluster.connect(NODE, Some(("root", "secret")));
    assert_eq!(cluster.value(again, "GET k"), bytes("v"), "a login is a read");
}

#[test]
fn the_first_administrator_is_created_although_there_was_no_memory_at_first() {
    let mut cluster = Cluster::empty();
    cluster.memory = false;
    cluster.boot(super::config(1, 1, AccessMode::Enforced));
    cluster.run(2000);
    assert_eq!(cluster.nodes[&NODE].state().user_count(), 0);
    cluster.memory = true;
    cluster.run(1000);
    assert_eq!(cluster.nodes[&NODE].state().user_count(), 1);
}

#[test]
#[should_panic(expected = "node 1 halted: entry")]
fn an_entry_whose_time_goes_back_stops_the_node_with_a_reason() {
    let mut cluster = Cluster::new(1, AccessMode::InsecureNoAuth);
    let entry = Entry { time: Millis(1), cause: Cause::Clock, effects: Vec::new() };
    let replica = cluster.replica(NODE);
    replica.raft.propose(replica.now.mono, entry.encode());
    cluster.run(100);
}

#[test]
fn what_would_not_be_committed_in_time_is_refused_before_it_is_logged() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let leader = cluster.leader();
    let conn = cluster.connect(leader, None);
    cluster.cut = Some(leader);
    let patient = cluster.ask(conn, "SET a 1");
    cluster.run(50);
    let hasty = cluster.ask_within(conn, "SET b 1", 80);
    cluster.run(5);
    let failure =
        cluster.answer(conn, hasty).expect("an answer").outcome.expect_err("it could not be in time");
    assert_eq!(failure.code, ErrorCode::Overloaded, "{failure}");
    assert!(failure.is_definite(), "nothing was logged");
    cluster.cut = None;
    cluster.run(200);
    assert_eq!(cluster.answer(conn, patient).expect("an answer").outcome, Ok(Value::ok()));
    assert_eq!(cluster.value(conn, "GET b"), Value::Nil);
    let id = cluster.ask_within(conn, "SET b 2", 80);
    cluster.run(50);
    assert_eq!(
        cluster.answer(conn, id).expect("an answer").outcome,
        Ok(Value::ok()),
        "nothing waits any more"
    );
}

#[test]
fn a_leader_does_nothing_for_whom_nobody_waits_any_more() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let there = cluster.connect(follower, None);
    // What is forwarded now is lost, and comes again when its time is over.
    cluster.cut = Some(leader);
    let (write, read) = (cluster.ask_within(there, "INCRBY n 1", 60), cluster.ask_within(there, "GET n", 60));
    cluster.run(100);
    cluster.cut = None;
    cluster.run(1000);
    assert_eq!(cluster.leader(), leader, "nobody else has led");
    for (id, code) in [(write, ErrorCode::TimedOut), (read, ErrorCode::DeadlineExceeded)] {
        let failure = cluster.answer(there, id).expect("an answer").outcome.expect_err("too late");
        assert_eq!(failure.code, code, "its own node could not know");
    }
    let conn = cluster.connect(leader, None);
    assert_eq!(cluster.value(conn, "GET n"), Value::Nil);
}
