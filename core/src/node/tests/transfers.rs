//! The leadership goes from one node to another because somebody asked for it, and clients notice no more than a pause.

use super::{AccessMode, Cluster, bytes};
use crate::error::ErrorCode;
use crate::reply::Value;
use crate::types::{ConnId, NodeId};

const OPEN: AccessMode = AccessMode::InsecureNoAuth;

fn cluster() -> (Cluster, ConnId) {
    let mut cluster = Cluster::new(3, OPEN);
    let conn = cluster.connect(cluster.leader(), None);
    (cluster, conn)
}

#[test]
fn a_voter_takes_over_and_what_comes_meanwhile_waits_for_it() {
    let (mut cluster, conn) = cluster();
    let (old, new) = (cluster.leader(), cluster.follower());
    let other = cluster.connect(new, None);
    let before = cluster.ask(conn, "INCRBY n 1");
    let transfer = cluster.ask(conn, &format!("CLUSTER TRANSFER {new}"));
    let asked: Vec<_> =
        (0..20).flat_map(|_| [conn, other].map(|at| (at, cluster.ask(at, "INCRBY n 1")))).collect();
    cluster.run(200);
    assert_eq!(cluster.leader(), new);
    assert_ne!(cluster.leader(), old);
    for (at, id) in asked.into_iter().chain([(conn, before)]) {
        let reply = cluster.answer(at, id).expect("an answer");
        assert!(matches!(reply.outcome, Ok(Value::Int(_))), "{reply:?}");
    }
    assert_eq!(cluster.answer(conn, transfer).expect("an answer").outcome, Ok(Value::ok()));
    assert_eq!(cluster.value(conn, "GET n"), bytes("41"));
    assert_eq!(cluster.value(conn, &format!("CLUSTER TRANSFER {new}")), Value::ok(), "it leads already");
}

#[test]
fn it_can_be_asked_for_at_any_node() {
    let (mut cluster, _) = cluster();
    for _ in 0..4 {
        let (at, to) = (cluster.follower(), NodeId(6 - cluster.leader().0 - cluster.follower().0));
        let conn = cluster.connect(at, None);
        assert_eq!(cluster.value(conn, &format!("CLUSTER TRANSFER {to}")), Value::ok());
        assert_eq!(cluster.leader(), to);
    }
}

#[test]
fn if_nobody_takes_over_the_leader_goes_on_with_what_has_waited() {
    let (mut cluster, conn) = cluster();
    let (old, deaf) = (cluster.leader(), cluster.follower());
    cluster.cut = Some(deaf);
    let transfer = cluster.ask(conn, &format!("CLUSTER TRANSFER {deaf}"));
    let write = cluster.ask(conn, "INCRBY n 1");
    cluster.run(300);
    assert_eq!(cluster.answer(conn, write), None, "it waits");
    cluster.run(1000);
    assert_eq!(cluster.leader(), old);
    let refused = cluster.answer(conn, transfer).expect("an answer").outcome.expect_err("refused");
    assert_eq!(refused.code, ErrorCode::MembersBusy);
    assert_eq!(cluster.answer(conn, write).expect("an answer").outcome, Ok(Value::Int(1)));
    assert_eq!(cluster.value(conn, "GET n"), bytes("1"), "once");
}

#[test]
fn only_to_voters_and_not_under_an_id() {
    let (mut cluster, conn) = cluster();
    let learner = cluster.follower();
    cluster.value(conn, &format!("CLUSTER DEMOTE {learner}"));
    assert_eq!(cluster.code(conn, &format!("CLUSTER TRANSFER {learner}")), ErrorCode::MembersRefused);
    assert_eq!(cluster.code(conn, "CLUSTER TRANSFER 9"), ErrorCode::MembersRefused);
    let (voter, born) = (NodeId(6 - cluster.leader().0 - learner.0), cluster.now.wall.0);
    let under_id = format!("ONCE RUN t BORN {born} CLUSTER TRANSFER {voter}");
    assert_eq!(cluster.code(conn, &under_id), ErrorCode::Argument);
}

#[test]
fn whoever_had_rather_lead_gets_the_leadership_when_it_can() {
    let (mut cluster, conn) = cluster();
    let wanted = cluster.follower();
    let refused = cluster.code(conn, "CLUSTER PREFER 9 1");
    assert_eq!(refused, ErrorCode::MembersRefused);
    assert_eq!(cluster.value(conn, &format!("CLUSTER PREFER {wanted} 10")), Value::ok());
    cluster.run(4000);
    assert_eq!(cluster.leader(), wanted);
    // It goes away, and comes back.
    cluster.cut = Some(wanted);
    cluster.run(2000);
    assert_ne!(cluster.leader(), wanted);
    cluster.cut = None;
    cluster.run(4000);
    assert_eq!(cluster.leader(), wanted);
    let conn = cluster.connect(wanted, None);
    assert_eq!(cluster.value(conn, &format!("CLUSTER PREFER {wanted} 0")), Value::ok());
}
