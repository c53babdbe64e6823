//! The members of a cluster change while it works, step by step and at any node.

use std::collections::BTreeMap;

use super::{AccessMode, Cluster, bytes, config};
use crate::error::ErrorCode;
use crate::inspect::RoleName;
use crate::reply::Value;
use crate::snapshot::Meta;
use crate::types::{ConnId, NodeId};

const OPEN: AccessMode = AccessMode::InsecureNoAuth;

fn cluster() -> (Cluster, ConnId) {
    let mut cluster = Cluster::new(3, OPEN);
    let conn = cluster.connect(cluster.leader(), None);
    (cluster, conn)
}

/// A word for each member: its number, what it is, and whether it is counted (!) and heard (+).
fn members(cluster: &mut Cluster, conn: ConnId) -> String {
    let Value::List(list) = cluster.value(conn, "CLUSTER MEMBERS") else { panic!("a list") };
    let word = |member: &Value| {
        let Value::Map(pairs) = member else { panic!("a map") };
        let get =
            |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let flag = |name, sign| if get(name) == Some(Value::Int(1)) { sign } else { "" };
        let (Some(Value::Int(node)), Some(Value::Bytes(part))) = (get("node"), get("part")) else { panic!() };
        format!("{node} {part}{}{}", flag("counted", "!"), flag("heard", "+"))
    };
    list.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn wipe(cluster: &mut Cluster, id: NodeId) {
    cluster.disks.insert(id, BTreeMap::new());
    cluster.boot(config(id.0, 3, OPEN));
    cluster.run(2000);
}

#[test]
fn a_wiped_node_is_promoted_and_counts_again() {
    let (mut cluster, conn) = cluster();
    cluster.value(conn, "SET k v");
    let (leader, wiped) = (cluster.leader(), cluster.follower());
    wipe(&mut cluster, wiped);
    let shown = members(&mut cluster, conn);
    assert!(shown.contains(&format!("{wiped} voter+")), "its new directory is not counted: {shown}");
    // Asked at the node that it is about, which forwards it.
    let at_wiped = cluster.connect(wiped, None);
    assert_eq!(cluster.value(at_wiped, &format!("CLUSTER PROMOTE {wiped}")), Value::ok());
    assert_eq!(cluster.value(conn, &format!("CLUSTER PROMOTE {wiped}")), Value::ok(), "it is done already");
    assert_eq!(members(&mut cluster, conn), "1 voter!+, 2 voter!+, 3 voter!+");
    assert_eq!(cluster.nodes[&wiped].inspect().role, RoleName::Follower);
    // With the third one gone it is needed for every commit, and elects and is elected.
    cluster.cut = Some(NodeId(6 - leader.0 - wiped.0));
    assert_eq!(cluster.value(conn, "INCRBY n 1"), Value::Int(1));
    cluster.cut = Some(leader);
    cluster.run(5000);
    let at_wiped = cluster.connect(wiped, None);
    assert_eq!(cluster.value(at_wiped, "GET n"), bytes("1"));
}

#[test]
fn a_removed_node_is_sent_nothing_and_can_come_back() {
    let (mut cluster, conn) = cluster();
    let gone = cluster.follower();
    assert_eq!(cluster.value(conn, &format!("CLUSTER REMOVE {gone}")), Value::ok());
    assert_eq!(cluster.value(conn, &format!("CLUSTER REMOVE {gone}")), Value::ok(), "it is done already");
    let shown = members(&mut cluster, conn);
    assert!(!shown.contains(&gone.to_string()), "{shown}");
    cluster.value(conn, "SET k v");
    cluster.run(2000);
    let (there, left) = (cluster.nodes[&cluster.leader()].inspect(), cluster.nodes[&gone].inspect());
    assert!(left.commit < there.commit && left.term == there.term, "it neither learns nor disturbs");
    let promote = format!("CLUSTER PROMOTE {gone}");
    assert_eq!(cluster.code(conn, &promote), ErrorCode::MembersRefused, "it is no member");
    let at_once = cluster.ask(conn, &format!("CLUSTER ADD {gone}"));
    let too_early = cluster.ask(conn, &promote);
    cluster.run(500);
    assert_eq!(cluster.answer(conn, at_once).expect("an answer").outcome, Ok(Value::ok()));
    let refused = cluster.answer(conn, too_early).expect("an answer").outcome.expect_err("refused");
    assert_eq!(refused.code, ErrorCode::MembersBusy, "nobody has heard of it: {refused}");
    assert_eq!(cluster.value(conn, &promote), Value::ok());
    assert_eq!(members(&mut cluster, conn), "1 voter!+, 2 voter!+, 3 voter!+");
}

#[test]
fn a_leader_that_is_removed_hands_over() {
    let (mut cluster, conn) = cluster();
    let old = cluster.leader();
    assert_eq!(cluster.value(conn, &format!("CLUSTER REMOVE {old}")), Value::ok());
    cluster.run(2000);
    let new = cluster.leader();
    assert_ne!(new, old);
    let conn = cluster.connect(new, None);
    assert_eq!(cluster.value(conn, "SET k v"), Value::ok());
    assert!(!members(&mut cluster, conn).contains(&old.to_string()));
}

#[test]
fn one_step_at_a_time_and_none_that_nobody_could_commit() {
    let (mut cluster, conn) = cluster();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let third = NodeId(6 - leader.0 - follower.0);
    cluster.cut = Some(third);
    cluster.run(500);
    let text = cluster.command(conn, &format!("CLUSTER REMOVE {follower}")).outcome.expect_err("refused");
    assert_eq!(text.code, ErrorCode::MembersBusy, "{text}");
    assert!(text.message.contains("too few"), "{text}");
    // To lose the one that is not there is no loss.
    assert_eq!(cluster.value(conn, &format!("CLUSTER REMOVE {third}")), Value::ok());
    cluster.cut = Some(follower);
    let first = cluster.ask(conn, &format!("CLUSTER DEMOTE {follower}"));
    let second = cluster.ask(conn, &format!("CLUSTER ADD {third}"));
    cluster.run(50);
    cluster.cut = None;
    cluster.run(1000);
    assert_eq!(cluster.answer(conn, first).expect("an answer").outcome, Ok(Value::ok()));
    let refused = cluster.answer(conn, second).expect("an answer").outcome.expect_err("refused");
    assert_eq!(refused.code, ErrorCode::MembersBusy, "it can't begin before the first has ended: {refused}");
}

#[test]
fn a_step_under_an_id_is_taken_once_and_by_what_the_leader_knows_then() {
    let (mut cluster, conn) = cluster();
    let (follower, born) = (cluster.follower(), cluster.now.wall.0);
    let demote = format!("ONCE RUN d BORN {born} CLUSTER DEMOTE {follower}");
    assert_eq!(cluster.value(conn, &demote), Value::ok());
    assert_eq!(cluster.value(conn, &format!("CLUSTER PROMOTE {follower}")), Value::ok());
    assert_eq!(cluster.value(conn, &demote), Value::ok(), "its first answer");
    assert_eq!(members(&mut cluster, conn), "1 voter!+, 2 voter!+, 3 voter!+", "and nothing else");
    // What was known when the last step was taken is not what counts.
    cluster.cut = Some(NodeId(6 - cluster.leader().0 - follower.0));
    cluster.run(500);
    let late = format!("ONCE RUN e BORN {born} CLUSTER REMOVE {follower}");
    assert_eq!(cluster.code(conn, &late), ErrorCode::MembersBusy, "too few would be there");
}

#[test]
fn the_last_voter_stays() {
    let mut cluster = Cluster::new(1, OPEN);
    let conn = cluster.connect(NodeId(1), None);
    for step in ["CLUSTER REMOVE 1", "CLUSTER DEMOTE 1"] {
        assert_eq!(cluster.code(conn, step), ErrorCode::MembersRefused, "{step}");
    }
    assert_eq!(cluster.value(conn, "CLUSTER ADD 2"), Value::ok());
    assert_eq!(cluster.code(conn, "CLUSTER REPLACE 1 2"), ErrorCode::MembersBusy, "it was not heard of");
    assert_eq!(cluster.code(conn, "CLUSTER ADD 0"), ErrorCode::Argument);
}

#[test]
fn members_are_what_they_were_after_a_start_from_log_and_snapshot() {
    let (mut cluster, conn) = cluster();
    let gone = cluster.follower();
    cluster.value(conn, &format!("CLUSTER REMOVE {gone}"));
    let small = |id: u16| {
        let mut config = config(id, 3, OPEN);
        config.snapshot.interval_bytes = 4 << 10;
        config
    };
    let others: Vec<NodeId> = cluster.nodes.keys().copied().filter(|id| *id != gone).collect();
    for with_snapshot in [false, true] {
        for id in &others {
            cluster.boot(small(id.0));
        }
        cluster.run(3000);
        let conn = cluster.connect(cluster.leader(), None);
        let shown = members(&mut cluster, conn);
        assert!(!shown.contains(&gone.to_string()) && shown.matches("voter!+").count() == 2, "{shown}");
        if !with_snapshot {
            for number in 0..40 {
                cluster.value(conn, &format!("SET k{number} v"));
            }
            let replica = cluster.replica(others[0]);
            let index = replica.snapshots.current.map(|meta: Meta| meta.seal.at.index);
            assert!(index > Some(crate::types::Index(5)), "a snapshot covers the change: {index:?}");
        }
    }
}
