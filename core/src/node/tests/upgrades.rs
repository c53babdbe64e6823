//! Nodes are upgraded one by one: the cluster's feature level rises once every member supports the next one, and not before.

use super::{AccessMode, Cluster, config};
use crate::config::{Features, NodeConfig};
use crate::error::ErrorCode;
use crate::reply::Value;
use crate::types::NodeId;

const OPEN: AccessMode = AccessMode::InsecureNoAuth;

/// A node of three whose release knows the levels up to this one, and may be held at another.
fn release(id: u16, known: u32, hold: Option<u32>) -> NodeConfig {
    NodeConfig { features: Features { known, hold }, ..config(id, 3, OPEN) }
}

/// Three nodes of the older release.
fn old() -> Cluster {
    let mut cluster = Cluster::empty();
    (1..=3).for_each(|id| cluster.boot(release(id, 2, None)));
    cluster.run(2000);
    cluster
}

/// Asks the leader.
fn levels(cluster: &mut Cluster) -> (Value, Value) {
    let conn = cluster.connect(cluster.leader(), None);
    let Value::Map(info) = cluster.value(conn, "INFO") else { panic!("a map") };
    let field = |name: &str| info.iter().find(|(field, _)| field == name).expect(name).1.clone();
    (field("feature_level"), field("feature_level_waits_for"))
}

fn waits_for(nodes: &[i64]) -> Value {
    Value::List(nodes.iter().map(|node| Value::Int(*node)).collect())
}

#[test]
fn the_level_rises_once_the_last_member_supports_it() {
    let mut cluster = old();
    for id in [1, 2] {
        cluster.boot(release(id, 3, None));
        cluster.run(4000);
        assert_eq!(levels(&mut cluster).0, Value::Int(2), "after node {id}");
    }
    let conn = cluster.connect(cluster.leader(), None);
    assert_eq!(cluster.code(conn, "CLUSTER REMOVE 3"), ErrorCode::FeatureLevel);
    cluster.boot(release(3, 3, None));
    cluster.run(4000);
    assert_eq!(levels(&mut cluster), (Value::Int(3), waits_for(&[])));
    let conn = cluster.connect(cluster.leader(), None);
    assert_eq!(cluster.value(conn, "CLUSTER DEMOTE 3"), Value::ok());
}

#[test]
fn one_node_holds_the_others_and_who_waits_says_for_whom() {
    let mut cluster = old();
    (1..=3).for_each(|id| cluster.boot(release(id, 3, (id == 2).then_some(2))));
    cluster.run(6000);
    let (level, waits) = levels(&mut cluster);
    assert_eq!(level, Value::Int(2));
    // A leader that is held itself waits for nobody.
    assert_eq!(waits, waits_for(if cluster.leader() == NodeId(2) { &[] } else { &[2] }));
    cluster.boot(release(2, 3, None));
    cluster.run(4000);
    assert_eq!(levels(&mut cluster).0, Value::Int(3));
    cluster.boot(release(2, 3, Some(2)));
    cluster.run(2000);
    assert_eq!(levels(&mut cluster).0, Value::Int(3), "it is beyond that already");
}

#[test]
fn what_a_node_said_before_it_went_back_counts_no_more() {
    let mut cluster = old();
    (1..=2).for_each(|id| cluster.boot(release(id, 3, None)));
    cluster.run(3000);
    // The way back, just before the last one is upgraded.
    cluster.boot(release(2, 2, None));
    cluster.run(50);
    cluster.boot(release(3, 3, None));
    cluster.run(6000);
    assert_eq!(levels(&mut cluster).0, Value::Int(2));
}

#[test]
#[should_panic(expected = "and this build knows no more than 2: start the release that the other nodes run")]
fn an_older_release_stops_where_the_cluster_has_gone_on() {
    let mut cluster = Cluster::new(3, OPEN);
    let conn = cluster.connect(cluster.leader(), None);
    cluster.value(conn, "SET k v");
    cluster.boot(release(cluster.follower().0, 2, None));
    cluster.run(2000);
}

#[test]
fn a_node_that_is_alone_goes_on_by_itself() {
    let alone = |known| NodeConfig { features: Features { known, hold: None }, ..config(1, 1, OPEN) };
    let mut cluster = Cluster::empty();
    cluster.boot(alone(1));
    cluster.run(1000);
    assert_eq!(levels(&mut cluster).0, Value::Int(1));
    cluster.boot(alone(3));
    cluster.run(1000);
    assert_eq!(levels(&mut cluster).0, Value::Int(3));
}

#[test]
fn nodes_of_two_releases_found_at_what_all_of_them_support() {
    let mut cluster = Cluster::empty();
    (1..=3).for_each(|id| cluster.boot(release(id, if id == 3 { 2 } else { 3 }, None)));
    cluster.run(2000);
    assert_eq!(levels(&mut cluster).0, Value::Int(2));
    cluster.boot(release(3, 3, None));
    cluster.run(4000);
    assert_eq!(levels(&mut cluster).0, Value::Int(3));
}

#[test]
fn a_leader_that_is_the_only_voter_waits_for_its_learners() {
    let mut cluster = Cluster::new(1, OPEN);
    let conn = cluster.connect(NodeId(1), None);
    let known = |id, known| NodeConfig { features: Features { known, hold: None }, ..config(id, 2, OPEN) };
    cluster.boot(NodeConfig { join: true, ..known(2, 3) });
    assert_eq!(cluster.value(conn, "CLUSTER ADD 2 host2:1"), Value::ok());
    cluster.run(3000);
    // It is upgraded first; the learner would stop if it were left behind.
    cluster.boot(NodeConfig { features: Features { known: 4, hold: None }, ..config(1, 1, OPEN) });
    cluster.run(4000);
    assert_eq!(levels(&mut cluster), (Value::Int(3), waits_for(&[2])));
    cluster.boot(NodeConfig { join: true, ..known(2, 4) });
    cluster.run(4000);
    assert_eq!(levels(&mut cluster).0, Value::Int(4));
}
