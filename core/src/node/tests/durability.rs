//! Answers that leave ahead of their durability: which, how far, and what is lost with a leader.

use super::{AccessMode, Cluster};
use crate::error::ErrorCode;
use crate::io::Input;
use crate::reply::{Reply, Value};
use crate::types::{ConnId, Index, NodeId};

const WIDE: &str = "DURABILITY ASYNC a* MS 1000 BYTES 1000";

fn cluster(configured: &str) -> (Cluster, ConnId) {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let leader = cluster.leader();
    let conn = cluster.connect(leader, None);
    assert_eq!(cluster.value(conn, configured), Value::Int(1));
    (cluster, conn)
}

/// The answer that comes before the node has heard of any disk or other node again.
fn at_once(cluster: &mut Cluster, conn: ConnId, words: &str) -> Option<Reply> {
    let id = cluster.ask(conn, words);
    let (node, input) = cluster.queue.pop_back().expect("it was just sent");
    assert!(matches!(input, Input::Bytes { .. }));
    cluster.step(node, input);
    cluster.answer(conn, id)
}

/// How many writes a node has answered ahead that are not durable.
fn lag(cluster: &mut Cluster, node: NodeId) -> usize {
    let now = cluster.now.mono;
    cluster.replica(node).lag.size(now).entries
}

fn is_ahead(reply: &Reply) -> bool {
    reply.receipt.is_some_and(|receipt| receipt.ahead.is_some())
}

#[test]
fn a_write_of_an_asynchronous_key_is_answered_at_once_and_says_so() {
    let (mut cluster, conn) = cluster(WIDE);
    assert_eq!(at_once(&mut cluster, conn, "SET b 1"), None, "that is another key");
    let ahead = at_once(&mut cluster, conn, "SET a1 1").expect("it is answered");
    assert!(is_ahead(&ahead));
    assert_eq!(ahead.outcome, Ok(Value::ok()));
    assert_eq!(at_once(&mut cluster, conn, "GET a1"), None, "a read waits for what it shows");
    let more =
        at_once(&mut cluster, conn, "INCRBY a1 1").expect("it rests on what was answered ahead itself");
    assert_eq!((is_ahead(&more), more.outcome), (true, Ok(Value::Int(2))));
    assert_eq!(at_once(&mut cluster, conn, "TXN THEN 3 SET a1 1 3 SET b 2"), None, "not all of it may");
    assert_eq!(at_once(&mut cluster, conn, "LOCK ACQUIRE a1 me PX 1000"), None, "never a lock");
    assert_eq!(at_once(&mut cluster, conn, "LEASE GRANT 1000"), None, "nor a lease");
    assert_eq!(at_once(&mut cluster, conn, "SESSION OPEN"), None, "nor a session");
    assert!(at_once(&mut cluster, conn, "LIMIT SLIDING a1 5 1000").is_some_and(|reply| is_ahead(&reply)));
    let leader = cluster.leader();
    assert_eq!(lag(&mut cluster, leader), 3);
    cluster.run(100);
    assert_eq!(lag(&mut cluster, leader), 0);
    let read = cluster.command(conn, "GET a1");
    assert_eq!((is_ahead(&read), read.outcome), (false, Ok(Value::Bytes("1".into()))));
}

#[test]
fn it_waits_for_what_it_rests_on_that_was_not_answered_ahead() {
    let (mut cluster, conn) = cluster(WIDE);
    let pending = cluster.ask(conn, "SET b 1");
    let (node, input) = cluster.queue.pop_back().expect("it was just sent");
    cluster.step(node, input);
    let rests = "TXN IF EXISTS b THEN 3 INCRBY a 1";
    assert_eq!(at_once(&mut cluster, conn, rests), None, "nobody may learn of b before it is durable");
    assert_eq!(at_once(&mut cluster, conn, "INCRBY a 1"), None, "nor by what came of it");
    assert!(at_once(&mut cluster, conn, "INCRBY a2 1").is_some(), "this has nothing to do with b");
    assert_eq!(cluster.answer(conn, pending), None);
    assert_eq!(at_once(&mut cluster, conn, "DURABILITY SYNC a*"), None);
    assert_eq!(at_once(&mut cluster, conn, "INCRBY a2 1"), None, "what is configured at its position counts");
}

#[test]
fn no_more_is_answered_ahead_than_may_be_lost() {
    let (mut cluster, conn) = cluster("DURABILITY ASYNC a* MS 50 BYTES 10");
    assert!(at_once(&mut cluster, conn, "SET a1 12345678901").is_none(), "alone it is larger than that");
    assert!(at_once(&mut cluster, conn, "SET a1 1234").is_some_and(|reply| is_ahead(&reply)));
    let full = at_once(&mut cluster, conn, "SET a2 123").expect("it is refused");
    assert_eq!(full.outcome.expect_err("it is refused").code, ErrorCode::DurabilityLag);
    cluster.run(100);
    assert!(at_once(&mut cluster, conn, "SET a2 123").is_some_and(|reply| is_ahead(&reply)));
    // From here on no majority hears of anything.
    cluster.queue.clear();
    for _ in 0..50 {
        cluster.now.mono = cluster.now.mono.after(crate::time::Micros::from_millis(1));
    }
    let late = at_once(&mut cluster, conn, "SET a 1").expect("it is refused");
    assert_eq!(late.outcome.expect_err("it is refused").code, ErrorCode::DurabilityLag);
    assert_eq!(at_once(&mut cluster, conn, "SET b 1"), None, "what is durable only waits");
}

#[test]
fn what_was_answered_ahead_is_lost_with_a_leader_whom_nobody_heard() {
    let (mut cluster, conn) = cluster(WIDE);
    let old = cluster.leader();
    cluster.cut = Some(old);
    let ahead = at_once(&mut cluster, conn, "SET a 1").expect("it is answered");
    let receipt = ahead.receipt.expect("it was evaluated");
    let term = receipt.ahead.expect("it says in which term");
    cluster.run(3000);
    assert_eq!(lag(&mut cluster, old), 0, "it leads no more");
    cluster.cut = None;
    cluster.run(1000);
    let leader = cluster.leader();
    let conn = cluster.connect(leader, None);
    assert_eq!(cluster.value(conn, "GET a"), Value::Nil);
    let stands = |index: Index| cluster.nodes[&leader].entry(index).map(|(term, _)| term);
    assert!(stands(receipt.position).is_none_or(|there| there > term), "the receipt tells that it is lost");
}

#[test]
fn a_leader_that_stops_waits_until_what_it_answered_ahead_is_durable() {
    let (mut cluster, conn) = cluster(WIDE);
    let leader = cluster.leader();
    assert!(at_once(&mut cluster, conn, "SET a 1").is_some_and(|reply| is_ahead(&reply)));
    cluster.step(leader, Input::Shutdown);
    assert!(matches!(cluster.nodes[&leader].phase, super::super::Phase::Running(_)), "it is still there");
    cluster.run(500);
    assert!(!matches!(cluster.nodes[&leader].phase, super::super::Phase::Running(_)), "now it is not");
}

#[test]
fn a_read_that_finds_keys_to_be_due_is_no_write() {
    let (mut cluster, conn) = cluster(WIDE);
    cluster.value(conn, "SET a1 1 PX 50");
    cluster.queue.clear();
    let leader = cluster.leader();
    // The leader does not come to expire it.
    cluster.wake.clear();
    cluster.now.mono = cluster.now.mono.after(crate::time::Micros::from_millis(200));
    let id = cluster.ask(conn, "GET a1");
    let (node, input) = cluster.queue.pop_back().expect("it was just sent");
    cluster.step(node, input);
    assert_eq!((node, cluster.answer(conn, id)), (leader, None), "it shows what is durable");
}
