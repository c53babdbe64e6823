//! Makes a cluster of one out of what one node has of a cluster that lost the majority of its voters.
//!
//! The directory gets another identity, and from that a cluster that nobody else belongs to: whoever comes back from the
//! old one is a stranger. Each step is durable before the next begins:
//!
//! 1. What an earlier attempt has left goes.
//! 2. The state goes into a snapshot of the new cluster, at a position beyond all that the lost nodes can have given out. Once
//!    it has its name, no start takes the directory for the old node's any more: it finds the newest snapshot to be
//!    another cluster's, and refuses.
//! 3. The new log begins, empty, in a segment of its own behind that snapshot.
//! 4. The hard state changes its identity, in one record. From here on the directory is the new cluster's.
//! 5. The old files go.
//!
//! A crash before the fourth step leaves the old identity and all that belonged to it, so that the same can be done again
//! from the beginning; one after it leaves a directory that starts. Who drives this has put the old files aside
//! before: nothing here knows a second directory.

use std::collections::VecDeque;

use super::remains::Remains;
use super::{hard_op, setup};
use crate::config::SnapshotConfig;
use crate::disk::{Tokens, file_of};
use crate::founding::identity;
use crate::hard::{HardStore, Phase};
use crate::io::{
    DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output, Owner, Token,
};
use crate::job::Job;
use crate::snapshot::format::Seal;
use crate::snapshot::{Writer, Written};
use crate::state::State;
use crate::state::effect::Founding;
use crate::types::{ClusterId, EntryId, Incarnation};
use crate::wal::{Identity, Link, Rebuild};

/// What the driver draws for a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// The directory's new identity. The cluster's follows from it.
    pub incarnation: u64,
    /// The nonce of its boot.
    pub nonce: u64,
}

/// A recovery under way.
#[derive(Clone, Debug)]
pub struct Recover {
    cluster: ClusterId,
    stage: Stage,
    state: State,
    writer: Writer,
    tokens: Tokens,
    rebuild: Rebuild,
    /// The new segment.
    segment: u64,
    hard: HardStore,
    out: Outbox,
    /// The operation of the snapshot or of the hard state that is under way.
    pending: Option<(Token, DiskOp)>,
    /// Removals, at the beginning and at the end.
    removals: VecDeque<(&'static str, DiskOp)>,
    /// What goes at the end.
    old: Vec<FileName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Leftovers,
    Snapshot,
    Log,
    Identity,
    Cleanup,
}

impl Recover {
    /// Out of a state, of which everything up to the first of the two entries is known to have been committed, a cluster
    /// that begins at the second.
    pub(super) fn new(
        remains: Remains,
        mut state: State,
        (known, begins): (EntryId, EntryId),
        old: Vec<FileName>,
        draws: Draws,
    ) -> Self {
        let Remains { hard: (mut owner, mut hard), segments, unfinished, begun, .. } = remains;
        // Were the same number drawn again, the directory would still be the old cluster's.
        let repeated = draws.incarnation == owner.incarnation.0;
        owner.incarnation = Incarnation::of_data(draws.incarnation.wrapping_add(u64::from(repeated)));
        let members = vec![(owner.node, owner.incarnation)];
        let cluster = identity(&owner.cluster_name, &members);
        let founding = Founding { cluster, name: owner.cluster_name.clone(), members };
        state.refound(begins.index, known.index, founding.clone());
        let segment = segments.last().copied().max(Some(owner.log_segment)).unwrap_or(0) + 1;
        (owner.boot, owner.boot_nonce) = (owner.boot.next(), draws.nonce);
        (owner.term, owner.vote, owner.in_doubt) = (begins.term, None, false);
        (owner.phase, owner.log_segment) = (Phase::Founded(founding), segment);
        owner.peers.clear();
        let own = Identity { cluster, node: owner.node, incarnation: owner.incarnation };
        let setup = setup(own, owner.boot, owner.boot_nonce);
        let rebuild = Rebuild::new(&setup, segment, Link::after(begins), &[]);
        hard.set(owner);
        let seal = Seal { cluster, at: begins, block_bytes: SnapshotConfig::default().block_bytes };
        let writer = Writer::new(seal, state.capture().clone());
        let unfinished = unfinished.into_iter().map(FileName::Wal).filter(|file| !begun.contains(file));
        let leftovers: Vec<FileName> = begun.iter().copied().chain(unfinished).collect();
        Self {
            cluster,
            stage: Stage::Leftovers,
            state,
            writer,
            tokens: Tokens::new(Owner::Snapshot),
            rebuild,
            segment,
            hard,
            out: Outbox::default(),
            pending: None,
            removals: removals(&leftovers),
            old,
        }
    }

    /// The new cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The next operation; `None` when all is done.
    pub fn next_op(&mut self) -> Option<DiskOp> {
        loop {
            let op = match self.stage {
                Stage::Leftovers | Stage::Cleanup => self.removals.front().map(|(_, op)| op.clone()),
                Stage::Snapshot => self.snapshot_op(),
                Stage::Log => self.rebuild.next_op().map(|(_, op)| op),
                Stage::Identity => hard_op(&mut self.hard, &mut self.pending, &mut self.out),
            };
            if op.is_some() || self.stage == Stage::Cleanup {
                return op;
            }
            self.stage = match self.stage {
                Stage::Leftovers => Stage::Snapshot,
                Stage::Snapshot => Stage::Log,
                Stage::Log => Stage::Identity,
                Stage::Identity | Stage::Cleanup => {
                    self.removals = removals(&std::mem::take(&mut self.old));
                    Stage::Cleanup
                }
            };
        }
    }

    /// The snapshot's next operation; none once it has its name.
    fn snapshot_op(&mut self) -> Option<DiskOp> {
        while self.pending.is_none() && !self.writer.is_done() {
            self.writer.pump(&mut self.state, false, &mut self.tokens, &mut self.out);
            for output in self.out.drain() {
                match output {
                    Output::Compute { job: Job::Snapshot(job), .. } => self.writer.encoded(job.run()),
                    Output::Disk { token, op } => self.pending = Some((token, op)),
                    _ => unreachable!("a snapshot is made of operations and its own jobs"),
                }
            }
        }
        self.pending.as_ref().map(|(_, op)| op.clone())
    }

    /// The operation that [`Self::next_op`] named has ended.
    ///
    /// # Errors
    /// Any failure ends the recovery, and the same can be begun again.
    pub fn done(&mut self, result: Result<DiskReply, DiskError>) -> Result<(), HaltReason> {
        match self.stage {
            Stage::Snapshot => {
                let (_, op) = self.pending.take().expect("only an operation that was named ends");
                match self.writer.disk_done(result)? {
                    Written::Working | Written::Done(_) => Ok(()),
                    Written::NoSpace => Err(no_space("writing", &op)),
                }
            }
            Stage::Identity => {
                let (token, _) = self.pending.take().expect("only an operation that was named ends");
                self.hard.disk_done(token, result)
            }
            Stage::Log => {
                let step = self.rebuild.next_op();
                if matches!(&result, Err(error) if error.kind == DiskErrorKind::NoSpace)
                    && self.rebuild.no_space(Vec::new())
                {
                    return Ok(());
                }
                settle(step, result)?;
                self.rebuild.done();
                Ok(())
            }
            Stage::Leftovers | Stage::Cleanup => settle(self.removals.pop_front(), result),
        }
    }

    /// The new segment of the log.
    #[must_use]
    pub fn segment(&self) -> FileName {
        FileName::Wal(self.segment)
    }
}

fn settle(
    step: Option<(&'static str, DiskOp)>,
    result: Result<DiskReply, DiskError>,
) -> Result<(), HaltReason> {
    let (doing, op) = step.expect("only an operation that was named ends");
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(HaltReason::Disk { doing: doing.to_owned(), file: file_of(&op), error }),
    }
}

fn no_space(doing: &str, op: &DiskOp) -> HaltReason {
    let message = "there is no space for it".to_owned();
    let error = DiskError { kind: DiskErrorKind::NoSpace, message };
    HaltReason::Disk { doing: doing.to_owned(), file: file_of(op), error }
}

/// Removes these files, durably.
fn removals(files: &[FileName]) -> VecDeque<(&'static str, DiskOp)> {
    let remove = |file: &FileName| ("removing", DiskOp::Remove { file: *file });
    let mut ops: VecDeque<_> = files.iter().map(remove).collect();
    if !ops.is_empty() {
        ops.push_back(("syncing the data directory after removals", DiskOp::SyncDir));
    }
    ops
}
