//! Nodes that come from elsewhere: they know a member or two, and the cluster takes them in.

use std::collections::BTreeMap;

use super::{AccessMode, Cluster, bytes, config};
use crate::config::{Member, NodeConfig};
use crate::error::ErrorCode;
use crate::inspect::RoleName;
use crate::reply::Value;
use crate::types::{ConnId, NodeId};

const OPEN: AccessMode = AccessMode::InsecureNoAuth;

/// A node that is to join, and knows this one.
fn newcomer(id: u16, knows: u16) -> NodeConfig {
    let member = |id| Member { id: NodeId(id), address: format!("host{id}:1") };
    NodeConfig { members: vec![member(id), member(knows)], join: true, ..config(id, id, OPEN) }
}

/// Takes a node in and makes it a voter.
fn take_in(cluster: &mut Cluster, conn: ConnId, id: u16) {
    assert_eq!(cluster.value(conn, &format!("CLUSTER ADD {id} host{id}:1")), Value::ok());
    cluster.run(2000);
    assert_eq!(cluster.value(conn, &format!("CLUSTER PROMOTE {id}")), Value::ok());
    cluster.run(500);
}

/// One node that has become three; node 3 knows no founder.
fn grown() -> (Cluster, ConnId) {
    let mut cluster = Cluster::new(1, OPEN);
    let conn = cluster.connect(NodeId(1), None);
    cluster.value(conn, "SET k v");
    cluster.boot(newcomer(2, 1));
    cluster.boot(newcomer(3, 2));
    cluster.run(1000);
    take_in(&mut cluster, conn, 2);
    take_in(&mut cluster, conn, 3);
    (cluster, conn)
}

#[test]
fn a_node_that_nobody_took_in_waits_and_says_what_for() {
    let mut cluster = Cluster::new(1, OPEN);
    cluster.boot(newcomer(2, 1));
    cluster.run(3000);
    assert_eq!(cluster.nodes[&NodeId(2)].inspect().role, RoleName::Founding);
    let conn = cluster.connect(NodeId(2), None);
    let refused = cluster.command(conn, "GET k").outcome.expect_err("refused");
    assert_eq!(refused.code, ErrorCode::NoLeader);
    assert!(refused.message.contains("CLUSTER ADD 2 host2:1"), "{refused}");
}

#[test]
fn one_node_becomes_three_that_outlive_it() {
    let (mut cluster, conn) = grown();
    assert_eq!(cluster.value(conn, "CLUSTER REMOVE 1"), Value::ok());
    cluster.run(3000);
    cluster.nodes.remove(&NodeId(1));
    let conn = cluster.connect(cluster.leader(), None);
    assert_eq!((cluster.value(conn, "GET k"), cluster.value(conn, "SET k w")), (bytes("v"), Value::ok()));
    // Both start again, each with what it was first told: they find one another by what is in the log.
    cluster.boot(newcomer(2, 1));
    cluster.boot(newcomer(3, 1));
    cluster.run(3000);
    let conn = cluster.connect(cluster.leader(), None);
    assert_eq!(cluster.value(conn, "GET k"), bytes("w"));
    // Somebody who comes now hears of a founder that is gone, and lacks nothing for it.
    cluster.boot(newcomer(7, cluster.leader().0));
    take_in(&mut cluster, conn, 7);
    assert_eq!(cluster.nodes[&NodeId(7)].inspect().role, RoleName::Follower);
}

#[test]
fn a_newcomer_whose_disk_is_lost_is_a_learner_until_it_is_promoted() {
    let (mut cluster, conn) = grown();
    let lost = NodeId(3);
    cluster.disks.insert(lost, BTreeMap::new());
    cluster.boot(newcomer(3, 2));
    cluster.run(2000);
    assert_eq!(cluster.nodes[&lost].inspect().role, RoleName::Learner);
    assert_eq!(cluster.value(conn, "CLUSTER PROMOTE 3"), Value::ok());
    cluster.run(500);
    assert_eq!(cluster.nodes[&lost].inspect().role, RoleName::Follower);
}

#[test]
fn an_address_is_data_and_its_change_is_told_to_every_driver() {
    let (mut cluster, conn) = grown();
    let at = |cluster: &mut Cluster, conn, wanted: i64| {
        let Value::List(list) = cluster.value(conn, "CLUSTER MEMBERS") else { panic!("a list") };
        let of = |member: &Value, name: &str| {
            let Value::Map(pairs) = member else { panic!("a map") };
            pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let member = list.iter().find(|member| of(member, "node") == Some(Value::Int(wanted)));
        of(member.expect("a member"), "address").expect("an address")
    };
    assert_eq!(at(&mut cluster, conn, 3), bytes("host3:1"));
    assert_eq!(cluster.value(conn, "CLUSTER ADD 3 elsewhere:1"), Value::ok());
    assert_eq!(at(&mut cluster, conn, 3), bytes("elsewhere:1"));
    cluster.run(500);
    for id in [1, 2] {
        let told =
            cluster.peers[&NodeId(id)].iter().any(|peer| peer.addresses.contains(&"elsewhere:1".into()));
        assert!(told, "node {id}");
    }
    assert_eq!(cluster.code(conn, "CLUSTER ADD 3 nowhere"), ErrorCode::Argument);
    cluster.value(conn, "CLUSTER REMOVE 3");
    assert_eq!(cluster.value(conn, "CLUSTER ADD 3"), Value::ok());
    assert_eq!(at(&mut cluster, conn, 3), Value::Nil, "with the node went what was known of it");
}

#[test]
fn a_learner_that_lacks_much_of_the_log_is_not_promoted_yet() {
    let mut cluster = Cluster::new(1, OPEN);
    let conn = cluster.connect(NodeId(1), None);
    cluster.boot(newcomer(2, 1));
    cluster.value(conn, "CLUSTER ADD 2 host2:1");
    cluster.run(2000);
    cluster.cut = Some(NodeId(2));
    for _ in 0..1010 {
        cluster.ask(conn, "INCRBY n 1");
    }
    cluster.run(100);
    let refused = cluster.command(conn, "CLUSTER PROMOTE 2").outcome.expect_err("refused");
    assert_eq!(refused.code, ErrorCode::MembersBusy);
    assert!(refused.message.contains("still lacks 101"), "{refused}");
    cluster.cut = None;
    cluster.run(2000);
    assert_eq!(cluster.value(conn, "CLUSTER PROMOTE 2"), Value::ok());
}

#[test]
fn a_node_that_was_removed_while_it_was_away_is_told_so() {
    let (mut cluster, conn) = grown();
    let gone = NodeId(3);
    cluster.cut = Some(gone);
    cluster.value(conn, "CLUSTER REMOVE 3");
    cluster.cut = None;
    cluster.run(2000);
    assert_eq!(cluster.nodes[&gone].inspect().role, RoleName::Removed);
    let there = cluster.connect(gone, None);
    let refused = cluster.ask(there, "GET k");
    cluster.run(5000);
    let refused = cluster.answer(there, refused).expect("an answer").outcome.expect_err("refused");
    assert_eq!(refused.code, ErrorCode::NoLeader);
    take_in(&mut cluster, conn, 3);
    assert_eq!(cluster.nodes[&gone].inspect().role, RoleName::Follower, "it is back");
}

#[test]
fn a_newcomer_that_knows_nobody_who_is_left_is_found_by_the_leader() {
    let mut cluster = Cluster::new(1, OPEN);
    let conn = cluster.connect(NodeId(1), None);
    cluster.boot(newcomer(2, 9));
    cluster.run(3000);
    take_in(&mut cluster, conn, 2);
    assert_eq!(cluster.nodes[&NodeId(2)].inspect().role, RoleName::Follower);
}
