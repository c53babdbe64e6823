//! Two nodes with data and a witness: what lies on whose disk, and who says what.

use std::collections::BTreeMap;

use super::{AccessMode, Cluster, bytes, config};
use crate::config::{Member, NodeConfig, SnapshotConfig};
use crate::error::ErrorCode;
use crate::inspect::RoleName;
use crate::limits::Limits;
use crate::reply::{Receipt, Value};
use crate::types::{ConnId, NodeId};

const OPEN: AccessMode = AccessMode::InsecureNoAuth;
const WITNESS: NodeId = NodeId(3);

/// Node 3 of three is the witness; snapshots are taken often.
fn of_three(id: u16, access: AccessMode) -> NodeConfig {
    let snapshot = SnapshotConfig { interval_bytes: 8 << 10, block_bytes: 512, ..SnapshotConfig::default() };
    // So that the log is not kept for those who are a little behind.
    let limits = Limits { append_entries: 4, ..Limits::default() };
    NodeConfig { witness: NodeId(id) == WITNESS, snapshot, limits, ..config(id, 3, access) }
}

fn cluster(access: AccessMode) -> Cluster {
    let mut cluster = Cluster::empty();
    (1..=3).for_each(|id| cluster.boot(of_three(id, access)));
    cluster.run(2000);
    cluster
}

fn open() -> (Cluster, ConnId) {
    let mut cluster = cluster(OPEN);
    let conn = cluster.connect(cluster.leader(), None);
    (cluster, conn)
}

fn receipt(cluster: &mut Cluster, conn: ConnId, words: &str) -> Receipt {
    cluster.command(conn, words).receipt.unwrap_or_else(|| panic!("no receipt for {words}"))
}

fn info(cluster: &mut Cluster, conn: ConnId, name: &str) -> Value {
    let Value::Map(pairs) = cluster.value(conn, "INFO") else { panic!("a map") };
    let found = pairs.into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("INFO has no {name}")).1
}

/// Whether these bytes lie anywhere on a node's disk.
fn lies_on(cluster: &Cluster, node: NodeId, text: &str) -> bool {
    let has = |file: &Vec<u8>| file.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    cluster.disks[&node].values().any(has)
}

fn other_with_data(node: NodeId) -> NodeId {
    NodeId(3 - node.0)
}

#[test]
fn a_witness_holds_no_key_no_value_and_no_user() {
    let mut cluster = cluster(AccessMode::Enforced);
    let conn = cluster.connect(cluster.leader(), Some(("root", "secret")));
    assert_eq!(cluster.value(conn, "SET the-very-key the-very-value"), Value::ok());
    cluster.value(conn, "USER ADD the-very-user the-very-password");
    cluster.run(500);
    let commit = cluster.nodes[&cluster.leader()].inspect().commit;
    assert_eq!(cluster.nodes[&WITNESS].inspect().commit, commit, "it has every position");
    for text in ["the-very-key", "the-very-value", "the-very-user", "$argon2id$"] {
        assert!(lies_on(&cluster, NodeId(1), text) && lies_on(&cluster, NodeId(2), text), "{text}");
        assert!(!lies_on(&cluster, WITNESS, text), "{text}");
    }
}

#[test]
fn what_was_answered_while_one_is_away_says_that_it_rests_on_one_disk() {
    let (mut cluster, conn) = open();
    assert!(!receipt(&mut cluster, conn, "SET k v").degraded);
    assert_eq!(info(&mut cluster, conn, "degraded"), Value::Int(0));
    let other = other_with_data(cluster.leader());
    cluster.nodes.remove(&other);
    cluster.run(1000);
    assert!(receipt(&mut cluster, conn, "SET k w").degraded);
    assert_eq!(info(&mut cluster, conn, "degraded"), Value::Int(1));
    assert_eq!(info(&mut cluster, conn, "witness"), Value::Int(3));
    assert!(cluster.notices.iter().any(|(_, text)| text.contains("degraded from entry")));
    cluster.boot(of_three(other.0, OPEN));
    cluster.run(1000);
    assert_eq!(info(&mut cluster, conn, "degraded"), Value::Int(0));
    assert!(!receipt(&mut cluster, conn, "SET k x").degraded);
    assert!(cluster.notices.iter().any(|(_, text)| text.contains("whole again from entry")));
    // Either one alone with the witness goes on.
    cluster.nodes.remove(&NodeId(3 - other.0));
    cluster.run(3000);
    let conn = cluster.connect(other, None);
    assert_eq!(cluster.value(conn, "GET k"), bytes("x"));
    assert!(receipt(&mut cluster, conn, "GET k").degraded, "a read rests on what it shows");
}

#[test]
fn a_write_waits_while_the_other_one_is_away_and_that_is_not_said() {
    let (mut cluster, conn) = open();
    let other = other_with_data(cluster.leader());
    cluster.nodes.remove(&other);
    let id = cluster.ask(conn, "SET k v");
    cluster.run(200);
    assert_eq!(cluster.answer(conn, id), None, "the witness does not count while the cluster is whole");
    cluster.run(1000);
    assert!(cluster.answer(conn, id).expect("degraded by now").receipt.expect("a receipt").degraded);
}

#[test]
fn the_witness_and_a_stale_node_stop_and_both_say_why() {
    let (mut cluster, conn) = open();
    let first = cluster.leader();
    let stale = other_with_data(first);
    cluster.nodes.remove(&stale);
    cluster.run(1000);
    assert!(receipt(&mut cluster, conn, "SET k v").degraded);
    cluster.nodes.remove(&first);
    cluster.boot(of_three(stale.0, OPEN));
    cluster.run(5000);
    assert!(cluster.nodes.values().all(|node| node.inspect().role != RoleName::Leader), "nobody leads");
    for (node, words) in [(WITNESS, "is not elected"), (stale, "only the other node with data can lead")] {
        let said = cluster.notices.iter().filter(|(of, text)| *of == node && text.contains(words)).count();
        assert_eq!(said, 1, "node {node} says it once: {:?}", cluster.notices);
    }
    let at = cluster.connect(stale, None);
    let refused = cluster.ask(at, "GET k");
    cluster.run(3000);
    let refused = cluster.answer(at, refused).expect("an answer").outcome.expect_err("refused");
    assert!(refused.code == ErrorCode::NoLeader && refused.message.contains("the witness"), "{refused}");
    cluster.boot(of_three(first.0, OPEN));
    cluster.run(5000);
    let conn = cluster.connect(cluster.leader(), None);
    assert_eq!(cluster.value(conn, "GET k"), bytes("v"));
    assert_eq!(info(&mut cluster, conn, "no_leader_because"), Value::Nil);
}

#[test]
fn a_witness_that_was_long_away_is_sent_what_it_may_know_of_the_state() {
    let (mut cluster, conn) = open();
    cluster.nodes.remove(&WITNESS);
    for i in 0..100 {
        cluster.value(conn, &format!("SET key{i} the-very-value"));
    }
    let leader = cluster.leader();
    cluster.boot(of_three(3, OPEN));
    let before = cluster.nodes[&leader].inspect().start;
    assert!(before.0 > 10, "the log begins behind a snapshot: {before}");
    cluster.run(3000);
    let (there, witness) = (cluster.nodes[&leader].inspect(), cluster.nodes[&WITNESS].inspect());
    assert_eq!((witness.commit, witness.last), (there.commit, there.last));
    assert!(!lies_on(&cluster, WITNESS, "the-very-value"));
    // It knows the members, and elects the one that is left.
    cluster.nodes.remove(&leader);
    cluster.run(3000);
    let conn = cluster.connect(other_with_data(leader), None);
    assert_eq!(cluster.value(conn, "GET key99"), bytes("the-very-value"));
    cluster.boot(of_three(3, OPEN));
    cluster.run(2000);
    assert_eq!(cluster.nodes[&WITNESS].inspect().role, RoleName::Follower, "what it was sent can be read");
}

#[test]
fn clients_are_sent_on_by_a_witness() {
    let (mut cluster, _) = open();
    let conn = cluster.connect(WITNESS, None);
    let refused = cluster.command(conn, "GET k").outcome.expect_err("refused");
    assert_eq!(refused.code, ErrorCode::NoLeader);
    assert!(refused.message.contains("ask node 1 at host1:1 or node 2 at host2:1"), "{refused}");
    assert_eq!(info(&mut cluster, conn, "witness"), Value::Int(3));
}

#[test]
fn a_witness_is_added_to_two_and_never_made_to_lead() {
    let mut cluster = Cluster::new(2, OPEN);
    let conn = cluster.connect(cluster.leader(), None);
    let member = |id| Member { id: NodeId(id), address: format!("host{id}:1") };
    let newcomer =
        NodeConfig { members: vec![member(3), member(1)], join: true, witness: true, ..config(3, 3, OPEN) };
    cluster.boot(newcomer);
    cluster.value(conn, "SET k the-very-value");
    assert_eq!(cluster.value(conn, "CLUSTER ADD 3 host3:1"), Value::ok());
    cluster.run(2000);
    assert_eq!(cluster.value(conn, "CLUSTER PROMOTE 3"), Value::ok());
    cluster.run(500);
    assert_eq!(info(&mut cluster, conn, "witness"), Value::Int(3));
    assert!(!lies_on(&cluster, WITNESS, "the-very-value"));
    for refused in ["CLUSTER TRANSFER 3", "CLUSTER PREFER 3 1", "CLUSTER REMOVE 1"] {
        assert_eq!(cluster.code(conn, refused), ErrorCode::MembersRefused, "{refused}");
    }
    assert_eq!(cluster.value(conn, "CLUSTER REMOVE 3"), Value::ok());
    cluster.run(500);
    let Value::Map(pairs) = cluster.value(conn, "INFO") else { panic!("a map") };
    assert!(!pairs.iter().any(|(name, _)| name == "witness"), "nothing is said where there is none");
}

#[test]
fn a_wiped_node_with_data_leaves_the_cluster_degraded_until_it_is_promoted() {
    let (mut cluster, conn) = open();
    cluster.value(conn, "SET k v");
    let wiped = other_with_data(cluster.leader());
    cluster.disks.insert(wiped, BTreeMap::new());
    cluster.boot(of_three(wiped.0, OPEN));
    cluster.run(3000);
    assert!(receipt(&mut cluster, conn, "SET k w").degraded, "a learner's copy is not counted");
    assert_eq!(cluster.value(conn, &format!("CLUSTER PROMOTE {wiped}")), Value::ok());
    cluster.run(1000);
    assert!(!receipt(&mut cluster, conn, "SET k x").degraded);
    // So does a witness whose disk was lost, and nobody notices but the operator.
    cluster.disks.insert(WITNESS, BTreeMap::new());
    cluster.boot(of_three(3, OPEN));
    cluster.run(3000);
    assert_eq!(cluster.nodes[&WITNESS].inspect().role, RoleName::Learner);
    assert_eq!(cluster.value(conn, "CLUSTER PROMOTE 3"), Value::ok());
    cluster.run(500);
    assert_eq!(cluster.nodes[&WITNESS].inspect().role, RoleName::Follower);
    assert!(!lies_on(&cluster, WITNESS, "the-very-value"));
}

#[test]
#[should_panic(expected = "start this node with --witness")]
fn a_witnesss_directory_starts_as_nothing_else() {
    let (mut cluster, _) = open();
    cluster.boot(NodeConfig { witness: false, ..of_three(3, OPEN) });
    cluster.run(100);
}

#[test]
#[should_panic(expected = "start this node without --witness")]
fn a_directory_with_data_does_not_start_as_a_witnesss() {
    let (mut cluster, _) = open();
    cluster.boot(NodeConfig { witness: true, ..of_three(1, OPEN) });
    cluster.run(100);
}

#[test]
fn a_cluster_is_founded_with_one_witness_beside_two_or_not_at_all() {
    for witnesses in [vec![1, 2], vec![1, 2, 3]] {
        let mut cluster = Cluster::empty();
        for id in 1..=3 {
            cluster.boot(NodeConfig { witness: witnesses.contains(&id), ..config(id, 3, OPEN) });
        }
        cluster.run(2000);
        assert!(cluster.nodes.values().all(|node| node.inspect().role == RoleName::Founding));
        assert!(cluster.notices.iter().any(|(_, text)| text.contains("is a witness, which can found")));
    }
}
