//! What the log takes of the disk before it needs it, and gives back: the next segment is prepared, what nothing needs
//! is removed, and what finds no space waits.

use super::super::prepare::{Preparation, segment_bytes};
use super::Wal;
use crate::disk::{Pending, SPACE_PAUSE, has_no_space};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox};

/// What needs space on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Batch,
    Preparation,
    Mending,
}

impl Wal {
    /// Whether the disk has refused something for want of space since it last took a prepared segment or a batch.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// What the disk had no space for need not wait.
    pub(super) fn retry_at_once(&mut self) {
        self.full = self.full.map(|(task, _)| (task, self.now));
    }

    /// What the driver reported of an operation that is no sync: for want of space it is tried again after a while,
    /// since nothing of it is believed before it is whole and synced. Every other failure ends the node.
    pub(super) fn settle(
        &mut self,
        task: Task,
        pending: Pending,
        result: Result<DiskReply, DiskError>,
    ) -> Result<(), HaltReason> {
        if has_no_space(&result) {
            self.full = Some((task, self.now.after(SPACE_PAUSE)));
            return Ok(());
        }
        self.full.take_if(|(refused, _)| *refused == task);
        pending.settle(result).map(drop)
    }

    /// Whether what the disk had no space for is to wait longer.
    pub(super) fn waits_for_space(&self) -> bool {
        self.full.is_some_and(|(_, until)| self.now < until)
    }

    /// Whether a snapshot, which will make more space than it takes, is to have what the next segment would take: what is
    /// prepared of that goes, unless it is ready, and nothing more is prepared.
    pub fn yield_space(&mut self, yields: bool) {
        self.yields = yields;
    }

    /// Whether all that it can give is given.
    #[must_use]
    pub fn has_yielded(&self) -> bool {
        let idle = self.preparing.is_none() && self.cleaning.is_none() && self.cleanup.is_empty();
        self.yields && idle && !self.next.as_ref().is_some_and(takes_space)
    }

    /// Lets go of a next segment that is being prepared. Whether there is none now, and none to be made.
    fn let_go(&mut self) -> bool {
        let going = self.yields && self.preparing.is_none();
        if let Some(next) = self.next.take_if(|next| going && takes_space(next)) {
            let file = FileName::Wal(next.segment());
            if next.is_created() {
                self.cleanup.push_back(("removing the unused", DiskOp::Remove { file }));
                self.cleanup.push_back(("syncing the data directory after removals", DiskOp::SyncDir));
            }
            self.yielded = true;
        }
        // Its number is used again, but not before the file has gone. A segment that is used again takes no space.
        self.yielded &= self.cleaning.is_some() || !self.cleanup.is_empty();
        self.next.is_none() && (self.yielded || (self.yields && self.spare.is_empty()))
    }

    /// Prepares the next segment from the moment on when this one is half full; at once, if it was made on a full disk:
    /// what is prepared is space for the next start there.
    pub(super) fn pump_preparation(&mut self, out: &mut Outbox) {
        if self.vouched < self.tail.position.segment || self.let_go() {
            return;
        }
        let bytes = segment_bytes(&self.setup.log);
        let soon = self.tail.position.offset >= self.bytes / 2 || self.bytes < bytes;
        if self.next.is_none() && (soon || self.wanted > 0) {
            let segment = self.tail.position.segment.checked_add(1).expect("segments are not exhausted");
            self.next = Some(match self.spare.pop_front() {
                Some(old) => Preparation::again(old, segment, bytes),
                None => Preparation::new(segment, bytes),
            });
        }
        let Some(next) = &mut self.next else { return };
        if self.preparing.is_none() && self.full.is_none_or(|(_, until)| until <= self.now) {
            next.extend(self.wanted);
            if let Some((doing, op)) = next.next_op() {
                let step = next.step();
                self.preparing = Some((self.tokens.issue(doing, op, out), step));
            }
        }
    }

    /// Removes what recovery found to be no longer part of the log, once nothing can need it again.
    pub(super) fn pump_cleanup(&mut self, out: &mut Outbox) {
        if self.cleaning.is_some() || self.vouched < self.tail.position.segment {
            return;
        }
        if let Some((doing, op)) = self.cleanup.pop_front() {
            self.cleaning = Some(self.tokens.issue(doing, op, out));
        }
    }
}

/// Whether a segment that is being prepared takes space which it may lose again. Not one that was ever ready: the hard
/// state may vouch for it.
fn takes_space(next: &Preparation) -> bool {
    !next.was_ready() && !next.is_again()
}
