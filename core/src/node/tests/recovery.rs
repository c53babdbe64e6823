//! Nodes that were made a cluster of their own, and what they and their old cluster make of each other.

use super::super::peers::Kind;
use super::disk::execute;
use super::{AccessMode, Cluster, bytes, config};
use crate::inspect::RoleName;
use crate::io::{DiskOp, Input, Outbox, Output};
use crate::protocol::peer;
use crate::raft::Message;
use crate::trace::Event;
use crate::types::{Index, NodeId, Term};
use crate::verify::{Draws, POSITIONS, Verify};

const OPEN: AccessMode = AccessMode::InsecureNoAuth;

/// Makes a cluster of one out of a node's directory.
fn recover(cluster: &mut Cluster, id: NodeId) {
    let disk = cluster.disks.get_mut(&id).expect("it has a disk");
    let mut execute = |op: DiskOp| execute(disk, op);
    let mut verify = Verify::new();
    while let Some(op) = verify.next_op() {
        verify.done(execute(op)).expect("it can be read");
    }
    let mut reading = verify.finish().survivor(Index(0)).expect("it is one of three");
    while let Some(op) = reading.next_op() {
        reading.done(execute(op)).expect("it can be read");
    }
    let mut recover = reading.finish().expect("it is whole").recover(Draws { incarnation: 77, nonce: 7 });
    while let Some(op) = recover.next_op() {
        recover.done(execute(op)).expect("no failure was planned");
    }
}

#[test]
fn a_recovered_node_and_its_old_cluster_go_their_own_ways() {
    let mut cluster = Cluster::new(3, OPEN);
    let (old, own) = (cluster.leader(), cluster.follower());
    let client = cluster.connect(old, None);
    cluster.value(client, "SET k before");
    cluster.run(500);
    // The others still run: whoever says that they are lost is wrong, and yet nothing gets mixed.
    recover(&mut cluster, own);
    cluster.boot(config(own.0, 3, OPEN));
    cluster.run(5000);
    let inspection = cluster.nodes[&own].inspect();
    assert_eq!(inspection.role, RoleName::Leader);
    assert!(inspection.commit > Index(POSITIONS), "{:?}", inspection.commit);
    assert_eq!(cluster.nodes[&old].inspect().role, RoleName::Leader, "the majority goes on without it");
    let here = cluster.connect(own, None);
    assert_eq!(cluster.value(here, "GET k"), bytes("before"));
    cluster.value(here, "SET k here");
    cluster.value(client, "SET k there");
    cluster.run(1000);
    assert_eq!(
        (cluster.value(here, "GET k"), cluster.value(client, "GET k")),
        (bytes("here"), bytes("there"))
    );
    // It starts again as what it is now, its old peers in its configuration or not.
    cluster.boot(config(own.0, 3, OPEN));
    cluster.run(5000);
    assert_eq!(cluster.nodes[&own].inspect().role, RoleName::Leader);
}

#[test]
fn a_stranger_is_told_whom_it_speaks_to_and_answers_nothing() {
    let mut cluster = Cluster::new(3, OPEN);
    let (old, own) = (cluster.leader(), cluster.follower());
    recover(&mut cluster, own);
    cluster.boot(config(own.0, 3, OPEN));
    cluster.run(5000);
    let vote = Message::Vote {
        term: Term(1 << 50),
        last_index: Index(1 << 60),
        last_term: Term(1 << 50),
        forced: false,
    };
    let frame = peer::encode(&cluster.replica(old).peers.header(own, Kind::Raft), &vote.encode());
    let term = cluster.nodes[&own].inspect().term;
    cluster.deliver(own, &frame);
    let answer = cluster.intercept(old, Kind::Founding);
    assert_eq!(cluster.nodes[&own].inspect().term, term, "it is not listened to");
    let before = cluster.nodes[&old].inspect();
    let (now, mut out) = (cluster.now, Outbox::default());
    cluster.nodes.get_mut(&old).expect("it runs").step(now, Input::Peer { frame: answer }, &mut out);
    let told: Vec<Output> = out.drain().collect();
    let answers = |output: &Output| matches!(output, Output::SendPeer { to, .. } if *to == own);
    assert!(!told.iter().any(answers), "an answer is never answered: {told:?}");
    let named = |output: &Output| matches!(output, Output::Trace(Event::Notice(text)) if text.contains("another cluster"));
    assert!(!told.iter().any(named), "it was named when the new cluster first spoke");
    assert_eq!(cluster.nodes[&old].inspect().term, before.term);
}
