//! Snapshots that a leader has begun to send, when it does not get to the end of it.

use super::super::peers::Kind;
use super::{AccessMode, Cluster};
use crate::io::FileName;
use crate::protocol::peer;
use crate::snapshot::Meta;
use crate::snapshot::format::{Seal, encode_block};
use crate::snapshot::transfer::SnapshotMessage;
use crate::types::{EntryId, Index, NodeId, Term};

/// Beyond everything that these clusters log.
const FAR: u64 = 100_000;

impl Cluster {
    /// The present leader sends a follower the first of two blocks of a snapshot of this index.
    fn send_first_block(&mut self, to: NodeId, index: u64) {
        let leader = self.leader();
        let replica = self.replica(leader);
        let (cluster, term) = (replica.founding().cluster, replica.raft.term());
        let at = EntryId { index: Index(index), term: Term(1) };
        let seal = Seal { cluster, at, block_bytes: 512 };
        let meta = Meta { seal, blocks: 2, last_bytes: 9, root: index };
        let mut data = Vec::new();
        encode_block(&seal, 0, &vec![7; seal.content_bytes()], &mut data);
        let message = SnapshotMessage::Block { term, meta, number: 0, data: data.into(), withheld: false };
        let frame = peer::encode(&replica.peers.header(to, Kind::Snapshot), &message.encode());
        self.deliver(to, &frame);
        self.run(5);
    }

    fn has(&self, node: NodeId, wanted: impl Fn(&FileName) -> bool) -> bool {
        self.disks[&node].keys().any(wanted)
    }
}

#[test]
fn a_later_leaders_snapshot_takes_the_place_of_one_that_was_begun_whatever_its_index() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let (first, follower) = (cluster.leader(), cluster.follower());
    cluster.send_first_block(follower, FAR);
    assert!(cluster.has(follower, |file| *file == FileName::SnapshotPart(FAR)));
    cluster.send_first_block(follower, FAR - 1);
    assert!(
        !cluster.has(follower, |file| *file == FileName::SnapshotPart(FAR - 1)),
        "of one leader's, the newer"
    );
    // The follower must not be the one that is elected.
    let other = (1..=3).map(NodeId).find(|id| ![first, follower].contains(id)).unwrap();
    cluster.cut = Some(first);
    for _ in 0..100 {
        cluster.run(200);
        let led = |id: &NodeId| cluster.nodes[id].inspect().role == crate::inspect::RoleName::Leader;
        if led(&other) {
            break;
        }
        if led(&follower) {
            let now = cluster.now.mono;
            cluster.replica(follower).raft.hand_over(now);
        }
    }
    assert_eq!(cluster.leader(), other);
    cluster.send_first_block(follower, FAR - 1);
    assert!(cluster.has(follower, |file| *file == FileName::SnapshotPart(FAR - 1)));
    assert!(!cluster.has(follower, |file| *file == FileName::SnapshotPart(FAR)), "the other one is removed");
}

#[test]
fn a_transfer_that_entries_have_overtaken_does_not_keep_a_node_from_its_own_snapshots() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let begun = cluster.replica(follower).raft.commit().0 + 3;
    cluster.send_first_block(follower, begun);
    assert!(cluster.has(follower, |file| *file == FileName::SnapshotPart(begun)));
    for id in (1..=3).map(NodeId) {
        cluster.replica(id).config.snapshot.interval_bytes = 4000;
    }
    let conn = cluster.connect(leader, None);
    for number in 0..30 {
        cluster.value(conn, &format!("SET key:{number} value"));
    }
    assert!(!cluster.has(follower, |file| matches!(file, FileName::SnapshotPart(_))), "it led nowhere");
    assert!(cluster.has(follower, |file| matches!(file, FileName::Snapshot(_))), "it writes its own");
}

#[test]
fn a_follower_without_space_does_not_try_again_at_once() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let follower = cluster.follower();
    let begun = cluster.replica(follower).raft.commit().0 + 3;
    let part = |file: &FileName| *file == FileName::SnapshotPart(begun);
    let yields = |cluster: &mut Cluster| cluster.replica(follower).wal.has_yielded();
    cluster.full = Some(follower);
    cluster.send_first_block(follower, begun);
    cluster.full = None;
    for _ in 0..10 {
        assert!(!cluster.has(follower, part) && !yields(&mut cluster), "it is not tried again at once");
        cluster.send_first_block(follower, begun);
    }
    cluster.run(1200);
    assert!(cluster.has(follower, |file| matches!(file, FileName::Snapshot(_))), "its own, of what it has");
    assert!(!yields(&mut cluster), "and then there is space");
    cluster.send_first_block(follower, begun);
    assert!(cluster.has(follower, part), "for the leader's too");
}

#[test]
fn space_that_was_left_for_a_snapshot_which_never_comes_goes_back_to_the_log() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let follower = cluster.follower();
    cluster.full = Some(follower);
    cluster.send_first_block(follower, FAR);
    cluster.run(1500);
    let mut yielded = 0;
    for _ in 0..40_000 {
        cluster.run(1);
        yielded += u32::from(cluster.replica(follower).wal.has_yielded());
    }
    assert!((1..10_000).contains(&yielded), "{yielded} ms of 40,000");
    cluster.full = None;
    cluster.run(70_000);
    assert!(
        cluster.has(follower, |file| matches!(file, FileName::Snapshot(_))),
        "once there is space it is written"
    );
    assert!(!cluster.replica(follower).wal.has_yielded());
}
