//! What a node does when it can't go on as usual: no room, no memory, no sense in what it was given.

use super::{AccessMode, Cluster, bytes};
use crate::error::ErrorCode;
use crate::io::Input;
use crate::reply::Value;
use crate::state::effect::{Cause, Entry};
use crate::time::{Micros, Millis};
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
fn what_a_leaders_own_disk_has_not_written_counts_although_the_others_have_it() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let leader = cluster.leader();
    let conn = cluster.connect(leader, None);
    cluster.replica(leader).config.limits.pending_bytes = 400;
    cluster.stalled = Some(leader);
    // The first is being written, and the next wait for that.
    let words = format!("SET k {}", "x".repeat(100));
    for _ in 0..5 {
        let id = cluster.ask(conn, &words);
        cluster.run(5);
        assert_eq!(cluster.answer(conn, id).expect("a majority has it").outcome, Ok(Value::ok()));
    }
    assert_eq!(cluster.replica(leader).tail_bytes, 0, "everything is committed");
    let id = cluster.ask(conn, &words);
    cluster.run(5);
    let failure = cluster.answer(conn, id).expect("an answer").outcome.expect_err("there is no room");
    assert_eq!(failure.code, ErrorCode::Overloaded, "{failure}");
    assert!((10..100).contains(&failure.retry_after_ms), "as long as the first has waited: {failure:?}");
    cluster.stalled = None;
    let unsaid = std::mem::take(&mut cluster.unsaid);
    cluster.queue.extend(unsaid);
    cluster.run(20);
    assert_eq!(cluster.value(conn, &words), Value::ok());
}

#[test]
fn what_a_request_waited_before_it_was_looked_at_is_taken_from_its_time() {
    let mut cluster = Cluster::new(1, AccessMode::InsecureNoAuth);
    let conn = cluster.connect(NODE, None);
    let mut ask = |words: &str, waited: u64| {
        let id = cluster.ask_within(conn, words, 80);
        let Some((_, Input::Bytes { waited: told, .. })) = cluster.queue.back_mut() else {
            panic!("the request is the last input")
        };
        *told = Micros::from_millis(waited);
        cluster.run(20);
        cluster.answer(conn, id).expect("an answer").outcome
    };
    assert_eq!(ask("SET k 1", 79), Ok(Value::ok()));
    let failure = ask("SET k 2", 80).expect_err("nobody waits for it any more");
    assert_eq!(failure.code, ErrorCode::DeadlineExceeded, "{failure}");
    assert_eq!(ask("GET k", 0), Ok(bytes("1")));
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
