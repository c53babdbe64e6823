//! The steps of a script that are about snapshots.

use steadfast_core::io::{DiskOp, FileName, Owner};
use steadfast_core::types::Index;

use super::cluster::Cluster;
use super::disk::Disk;
use super::play::Play;
use super::script::{End, Loss, Who, Written};

impl Play {
    pub(super) fn walk(&mut self, who: Who) -> Result<(), String> {
        self.settle()?;
        let node = self.choose(who)?;
        // The walk begins when the file is there, so writes that come before are kept for it.
        self.cluster.machines[node].stalled = Some(Owner::Snapshot);
        self.write_until("a snapshot under way", |it| {
            let creates = |op: &DiskOp| matches!(op, DiskOp::Create { file: FileName::SnapshotTmp(_) });
            it.machines[node].ops.iter().any(|op| creates(&op.op))
        })?;
        let before = self.covered("row kept for a snapshot");
        let kept = |it: &Cluster| it.recording.covered.get("row kept for a snapshot").copied() > Some(before);
        self.write_until("a row kept for a snapshot", kept)?;
        self.settle()?;
        self.cluster.machines[node].stalled = None;
        self.cluster.until("a snapshot", |it| {
            let machine = &it.machines[node];
            machine.ops.is_empty() && machine.computed.is_empty()
        })?;
        self.settle()
    }

    pub(super) fn stop_snapshot(&mut self, who: Who, written: Written) -> Result<(), String> {
        self.settle()?;
        let node = self.choose(who)?;
        self.write_until("a snapshot half written", |it| {
            let disk = &it.machines[node].disk;
            match written {
                Written::Begun => disk.live.iter().any(|(name, inode)| {
                    matches!(name, FileName::SnapshotTmp(_)) && !disk.inodes[inode].live.bytes().is_empty()
                }),
                Written::Renamed => renamed(disk).is_some(),
            }
        })?;
        self.end(node, End::Power)?;
        self.cluster.recording.cover("power loss in a snapshot");
        self.start(node)
    }

    pub(super) fn lag(&mut self, unfinished: usize, loss: Loss) -> Result<(), String> {
        let (leader, stays) = self.leader_of_its_own()?;
        let node = if unfinished > 0 { leader } else { self.choose(Who::Follower)? };
        let common = self.cluster.machines[node].seen.as_ref().map_or(Index(0), |seen| seen.last);
        let others = self.isolate(node);
        if unfinished > 0 {
            self.unfinished(node, stays, unfinished, 40)?;
        }
        let goes = self.another_leader(node, others.clone())?;
        // Whoever of them leads when the node is back must send it a snapshot.
        self.write_by(goes, "logs that begin behind the end of the one that is cut off", |it| {
            others
                .iter()
                .all(|other| it.machines[*other].seen.as_ref().is_some_and(|seen| seen.start > common))
        })?;
        let before = self.covered("snapshot installed");
        let installed = |it: &Cluster| it.recording.covered.get("snapshot installed").copied() > Some(before);
        self.cluster.cut.clear();
        match loss {
            Loss::Receiving => {
                self.cluster.until("a part of a snapshot", |it| receives(&it.machines[node].disk))?;
                self.end(node, End::Power)?;
                self.cluster.recording.cover("power loss while a snapshot is received");
                self.start(node)?;
            }
            Loss::Installing => {
                self.cluster.until("a snapshot in place of the log", installed)?;
                self.end(node, End::Power)?;
                self.cluster.recording.cover("power loss before the log begins anew");
                return self.start(node);
            }
            Loss::Never => {}
        }
        self.cluster.until("a snapshot installed", installed)?;
        let what = match unfinished {
            0 => "snapshot installed without a conflict",
            _ => "snapshot installed over a conflict",
        };
        self.cluster.recording.cover(what);
        self.settle()
    }
}

/// A snapshot whose name is not durable.
fn renamed(disk: &Disk) -> Option<FileName> {
    let new = |name: &&FileName| matches!(name, FileName::Snapshot(_)) && !disk.durable.contains_key(name);
    disk.live.keys().find(new).copied()
}

/// Whether a part of a snapshot from another node is written.
fn receives(disk: &Disk) -> bool {
    disk.live.iter().any(|(name, inode)| {
        matches!(name, FileName::SnapshotPart(_)) && !disk.inodes[inode].live.bytes().is_empty()
    })
}
