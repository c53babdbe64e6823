//! A damaged log that is whole in memory again is written anew, beside its damaged segments.

use bytes::Bytes;

use super::super::format::Link;
use super::super::rebuild::Rebuild;
use super::Wal;
use crate::disk::Pending;
use crate::io::{DiskOp, FileName, Outbox};
use crate::types::{EntryId, Index, Term, WriteSeq};

/// What becomes of a damaged log.
#[derive(Clone, Debug)]
pub(super) enum Mending {
    /// It is not damaged.
    No,
    /// It is, and is not whole in memory yet: nothing is written. The number of its next segment, and the files.
    Waiting(u64, Vec<u64>),
    /// It is written beside the damaged segments.
    Writing { rebuild: Box<Rebuild>, files: Vec<u64>, covers: WriteSeq, pending: Option<Pending> },
}

impl Wal {
    /// The damaged log is whole again, behind an entry that a durable snapshot covers: it is written anew, and counts
    /// as one write. The damaged segments stay until it is durable.
    pub fn mend(&mut self, covered: EntryId, entries: &[(Index, Term, Bytes)]) -> WriteSeq {
        let Mending::Waiting(next, files) = &self.mending else { panic!("a damaged log is mended once") };
        let rebuild = Rebuild::new(&self.setup, *next, Link::after(covered), entries);
        self.issued = self.issued.next();
        self.last = entries.last().map_or(covered.index, |(index, ..)| *index);
        let (files, covers) = (files.clone(), self.issued);
        self.mending = Mending::Writing { rebuild: Box::new(rebuild), files, covers, pending: None };
        self.issued
    }

    pub(super) fn pump_mending(&mut self, out: &mut Outbox) {
        if self.waits_for_space() {
            return;
        }
        let Mending::Writing { rebuild, pending, .. } = &mut self.mending else { return };
        if pending.is_some() {
            return;
        }
        if let Some((doing, op)) = rebuild.next_op() {
            *pending = Some(self.tokens.issue(doing, op, out));
        }
    }

    /// The mended log is durable: the damaged segments may go.
    pub(super) fn mended(&mut self) {
        let Mending::Writing { rebuild, files, covers, .. } =
            std::mem::replace(&mut self.mending, Mending::No)
        else {
            unreachable!("a log is mended while it is written anew")
        };
        (self.tail, self.bytes) = rebuild.end();
        self.durable = covers;
        let remove =
            |segment: &u64| ("removing the damaged", DiskOp::Remove { file: FileName::Wal(*segment) });
        self.cleanup = files.iter().map(remove).collect();
        self.cleanup.push_back(("syncing the data directory after removals", DiskOp::SyncDir));
    }
}
