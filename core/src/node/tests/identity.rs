//! Directories that went back in time, and what nodes remember of each other's boots.

use super::super::peers::{Kind, Quarantine};
use super::{AccessMode, Cluster, config};
use crate::inspect::RoleName;
use crate::io::Input;
use crate::protocol::peer;
use crate::raft::Message;
use crate::types::{BootNumber, Index, NodeId, Term};

const OPEN: AccessMode = AccessMode::InsecureNoAuth;

#[test]
fn a_seen_boot_is_remembered_through_a_restart() {
    let mut cluster = Cluster::new(3, OPEN);
    let old = cluster.follower();
    let image = cluster.disks[&old].clone();
    cluster.boot(config(old.0, 3, OPEN));
    cluster.run(1000);
    cluster.disks.insert(old, image);
    for id in 1..=3 {
        cluster.boot(config(id, 3, OPEN));
    }
    cluster.run(5000);
    assert_eq!(
        cluster.replica(old).peers.boot().number,
        BootNumber(3),
        "boot 2 was seen under another nonce"
    );
}

/// Whether a frame gives a vote.
fn gives_a_vote(frame: &bytes::Bytes) -> bool {
    let (header, body) = peer::decode(frame).unwrap();
    header.kind == Kind::Raft.number()
        && matches!(Message::decode(&body), Ok(Message::VoteReply { granted: true, .. }))
}

#[test]
fn a_vote_that_waits_for_its_sync_is_not_given_by_an_old_image() {
    let mut cluster = Cluster::new(3, OPEN);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let (last_index, last_term) = (Index(1000), Term(1000));
    let vote = Message::Vote { term: Term(1001), last_index, last_term, forced: false }.encode();
    let known = cluster.replica(follower).peers.boot().number;
    let incarnation = cluster.replica(follower).hard.get().incarnation;
    let notice = Quarantine { incarnation, boot: BootNumber(known.0 + 1), nonce: 1 };
    let peers = &cluster.replica(leader).peers;
    let vote = peer::encode(&peers.header(follower, Kind::Raft), &vote);
    let notice =
        peer::encode(&peers.header(follower, Kind::Quarantine), &postcard::to_stdvec(&notice).unwrap());
    cluster.step(follower, Input::Peer { frame: vote });
    cluster.step(follower, Input::Peer { frame: notice });
    while let Some((id, input)) = cluster.queue.pop_front() {
        if let Input::Peer { frame } = &input {
            assert!(!gives_a_vote(frame), "it may have voted in that term before, and forgotten it");
        }
        cluster.step(id, input);
    }
}

#[test]
fn a_boot_is_told_to_every_member() {
    let mut cluster = Cluster::new(3, OPEN);
    let follower = cluster.follower();
    cluster.boot(config(follower.0, 3, OPEN));
    cluster.run(1000);
    for id in (1..=3).map(NodeId).filter(|id| *id != follower) {
        let hard = cluster.replica(id).hard.get();
        let seen = hard.peers.iter().find(|peer| peer.node == follower).map(|peer| peer.boot);
        assert_eq!(seen, Some(BootNumber(2)), "node {id} would not know an image of boot 1");
    }
}

#[test]
fn an_old_image_from_before_the_founding_finds_its_way_back() {
    let mut cluster = Cluster::empty();
    let old = NodeId(3);
    cluster.boot(config(3, 3, OPEN));
    cluster.run(100);
    let image = cluster.disks[&old].clone();
    for id in 1..=2 {
        cluster.boot(config(id, 3, OPEN));
    }
    cluster.run(2000);
    cluster.boot(config(3, 3, OPEN));
    cluster.run(1000);
    // Only the leader is there, and it has seen a later boot.
    cluster.cut = Some(NodeId(3 - cluster.leader().0));
    cluster.disks.insert(old, image);
    cluster.boot(config(3, 3, OPEN));
    cluster.run(1000);
    let figures = cluster.nodes[&old].inspect();
    assert_ne!(figures.role, RoleName::Founding, "the cluster was founded long ago");
    assert!(figures.commit > Index(0), "it is fed");
}
