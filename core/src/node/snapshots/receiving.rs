//! A follower's side: the leader's snapshot comes block by block, is read back, and becomes the state.

use bytes::Bytes;

use super::super::repair::Repair;
use super::super::replica::{Replica, notice, probe};
use crate::io::{FileName, Outbox, Output};
use crate::membership::Membership;
use crate::snapshot::transfer::{Receiving, SnapshotMessage};
use crate::snapshot::{LoadError, Loading, Meta, Written};
use crate::state::State;
use crate::trace::{Event, Probe};
use crate::types::NodeId;

impl Replica {
    /// A transfer that leads nowhere any more is given up, or this node would never write a snapshot of its own again:
    /// another leader's entries were quicker, or this node leads.
    pub(super) fn give_up_receiving(&mut self) {
        let Some(receiving) = &self.snapshots.receiving else { return };
        let (meta, file) = (*receiving.meta(), receiving.file());
        if receiving.is_ending() || (!self.raft.is_leader() && self.wants(&meta)) {
            return;
        }
        self.snapshots.receiving = None;
        self.snapshots.unused.push(file);
    }

    /// What was received is not what lies on the disk: it is sent once more.
    pub(super) fn loading_failed(&mut self, error: &LoadError, out: &mut Outbox) {
        notice(out, format!("a snapshot that has just come is asked for again: {error}"));
        let Some(loading) = self.snapshots.loading.take() else { return };
        self.snapshots.unused.push(FileName::Snapshot(loading.index().0));
        if let (Some(leader), Some(meta)) = (self.raft.leader(), loading.meta()) {
            self.want_block(leader, &meta, 0, out);
        }
    }

    /// Whether a snapshot would bring this node further.
    pub(super) fn wants(&self, meta: &Meta) -> bool {
        let seal = &meta.seal;
        if self.repair.as_ref().is_some_and(Repair::is_writing) {
            return false;
        }
        meta.is_possible() && seal.cluster == self.founding().cluster && seal.at.index > self.raft.commit()
    }

    pub(super) fn receive_block(
        &mut self,
        from: NodeId,
        meta: Meta,
        number: u32,
        data: Bytes,
        out: &mut Outbox,
    ) {
        let done = |it: &Loading| it.index() == meta.seal.at.index;
        if let Some(loading) = &self.snapshots.loading {
            let next = if done(loading) { meta.blocks } else { 0 };
            return self.want_block(from, &meta, next, out);
        }
        // Not while an earlier attempt's file of the same name goes.
        let index = meta.seal.at.index;
        if self.snapshots.is_going(FileName::SnapshotPart(index.0), index) {
            return;
        }
        // Of two from one leader, the newer one is worth more. A later leader may have none that is newer, and be unable to
        // commit without this node.
        let term = self.raft.term();
        let other = |it: &Receiving| {
            let newer = it.meta().seal.at.index < meta.seal.at.index;
            it.meta() != &meta && !it.is_ending() && (newer || it.term() < term)
        };
        if self.snapshots.receiving.as_ref().is_none_or(other) {
            if !self.has_space_for_snapshot() {
                // The leader sends it again.
                return;
            }
            self.give_up_writing();
            let has_damaged = self.snapshots.damaged.iter().any(|damaged| damaged.meta == Some(meta));
            let receiving = Receiving::new(meta, term, has_damaged);
            if let Some(old) = self.snapshots.receiving.replace(receiving) {
                self.snapshots.unused.push(old.file());
            }
            out.push(Output::Trace(Event::SnapshotBegun { index: meta.seal.at.index }));
        }
        let Some(receiving) = self.snapshots.receiving.as_mut().filter(|it| it.meta() == &meta) else {
            return;
        };
        let known = number < receiving.written();
        receiving.sent_in(term);
        receiving.block(number, data);
        if known {
            // A leader that hears nothing while this node tries its own blocks would begin anew.
            let next = receiving.asks_for().unwrap_or_else(|| receiving.written());
            self.want_block(from, &meta, next, out);
        }
    }

    /// A snapshot from the leader has got further.
    pub(super) fn snapshot_received(&mut self, written: Written, out: &mut Outbox) {
        let Some(receiving) = &self.snapshots.receiving else { return };
        let (meta, next, file) = (*receiving.meta(), receiving.asks_for(), receiving.file());
        if !receiving.is_consistent() {
            notice(
                out,
                format!("the snapshot of entry {} came with other blocks than announced", meta.seal.at),
            );
            self.snapshots.receiving = None;
            self.snapshots.unused.push(file);
            return;
        }
        match written {
            Written::Working => {
                if let (Some(leader), Some(next)) = (self.raft.leader(), next) {
                    self.want_block(leader, &meta, next, out);
                }
            }
            Written::Done(_) if self.raft.is_leader() => {
                self.snapshots.receiving = None;
                self.snapshots.unused.push(FileName::Snapshot(meta.seal.at.index.0));
            }
            Written::Done(_) => {
                let taken = receiving.taken_from_own();
                if taken > 0 {
                    notice(
                        out,
                        format!(
                            "of the snapshot of entry {}, {taken} of {} blocks were intact here",
                            meta.seal.at, meta.blocks
                        ),
                    );
                    probe(out, Probe::SnapshotMended);
                }
                self.snapshots.receiving = None;
                if self.wants(&meta) {
                    let seed = self.hard.get().hash_seed;
                    let (cluster, index) = (meta.seal.cluster, meta.seal.at.index);
                    self.snapshots.loading = Some(Loading::new(cluster, index, meta.file_bytes(), seed));
                } else {
                    // Another leader's entries were quicker.
                    self.snapshot_durable(meta, out);
                }
            }
            Written::NoSpace => {
                self.snapshots.receiving = None;
                self.snapshots.unused.push(file);
                self.no_space_for_snapshot(out);
            }
        }
    }

    fn want_block(&mut self, leader: NodeId, meta: &Meta, next: u32, out: &mut Outbox) {
        let message = SnapshotMessage::Wanted { term: self.raft.term(), root: meta.root, next };
        self.send_snapshot(leader, &message, out);
    }

    /// A durable snapshot from the leader becomes the state, in place of the log up to there.
    pub(super) fn install(&mut self, state: State, meta: Meta, out: &mut Outbox) {
        self.snapshots.loading = None;
        if self.raft.is_leader() {
            // It has been elected meanwhile, and so has everything that is in it.
            self.snapshots.unused.push(FileName::Snapshot(meta.seal.at.index.0));
            return;
        }
        if !self.wants(&meta) {
            return self.snapshot_durable(meta, out);
        }
        assert!(self.tail.is_empty(), "only a leader has a tail, and a leader is sent no snapshot");
        self.give_up_writing();
        self.state = state;
        let at = meta.seal.at;
        let founders = || Membership::of(self.founding().members.clone());
        let membership = self.state.membership().unwrap_or_else(founders);
        if self.repair.is_some() {
            let follows = self.repair_follows(at);
            if !follows && self.raft.log().last() > at.index {
                self.raft.doubt(self.now.mono);
            }
            self.raft.rebase(at, follows, membership);
        } else if !self.raft.installed(at, membership) {
            // What was promised of the old log is not to be said any more; its writes speak of nothing now.
            self.writes.clear();
            self.held.clear();
            self.wal.restart(at);
        }
        self.waits_after_snapshot();
        self.tell_addresses(out);
        probe(out, Probe::SnapshotInstalled);
        out.push(Output::Trace(Event::SnapshotInstalled { index: at.index }));
        self.snapshot_durable(meta, out);
        if self.repair.is_none() {
            self.raft.announce();
        }
    }
}
