//! Writes a damaged log anew, up to an entry, and takes what it replaces out of the directory.
//!
//! Each step is durable before the next begins. First a new boot: for a member of a cluster one in doubt, since with the
//! entries it forgets what it promised, and it must never act on a shorter log while it believes its promises. Then
//! the new log, in a segment beside the damaged ones; its header comes last and makes it the log, as after a repair from
//! other nodes ([`crate::wal::Wal::mend`]). Then the hard state vouches for it, and only then the old files lose
//! their names. A crash leaves either the damaged log, still refused, or the new one. Who drives this has put the
//! old files aside before: nothing here knows a second directory. What holds nothing, an earlier repair's unfinished
//! segment, is not among these, and goes as soon as the disk is full.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Remains, hard_op, setup};
use crate::hard::HardStore;
use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, HaltReason, Outbox, Token};
use crate::types::{Index, Term};
use crate::wal::{Link, Rebuild};

/// A repair under way.
#[derive(Clone, Debug)]
pub struct Repair {
    hard: HardStore,
    out: Outbox,
    /// The hard state's operation under way.
    pending: Option<(Token, DiskOp)>,
    rebuild: Rebuild,
    /// The new segment.
    segment: u64,
    stage: Stage,
    /// Removes what earlier attempts have left: at the end, or before if the disk is full.
    frees: Vec<(&'static str, DiskOp)>,
    cleanup: VecDeque<(&'static str, DiskOp)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Boot,
    Log,
    Vouch,
    Cleanup,
}

impl Repair {
    /// Keeps everything up to `keep`.
    pub(super) fn new(
        remains: Remains,
        keep: Index,
        aside: Vec<FileName>,
        in_doubt: bool,
        nonce: u64,
    ) -> Self {
        let Remains { identity, hard: (mut state, mut hard), covered, log, segments, unfinished, .. } =
            remains;
        state.boot = state.boot.next();
        state.boot_nonce = nonce;
        state.in_doubt |= in_doubt;
        let setup = setup(identity, state.boot, nonce);
        let segment = segments.last().copied().max(Some(state.log_segment)).unwrap_or(0) + 1;
        hard.set(state);
        let kept = log.entries.into_iter().zip(log.start.index.0 + 1..);
        let kept: Vec<(Index, Term, Bytes)> = kept
            .take_while(|(_, index)| *index <= keep.0)
            .map(|((term, payload), index)| {
                (Index(index), term, payload.expect("what is kept lies before all that is lost"))
            })
            .collect();
        let rebuild = Rebuild::new(&setup, segment, Link::after(covered), &kept);
        let remove = |file: FileName| ("removing the damaged", DiskOp::Remove { file });
        let frees = unfinished.into_iter().map(|segment| remove(FileName::Wal(segment))).collect();
        let mut cleanup: VecDeque<_> = aside.into_iter().map(remove).collect();
        cleanup.push_back(("syncing the data directory after removals", DiskOp::SyncDir));
        let (out, stage) = (Outbox::default(), Stage::Boot);
        Self { hard, out, pending: None, rebuild, segment, stage, frees, cleanup }
    }

    /// The new segment of the log.
    #[must_use]
    pub fn segment(&self) -> FileName {
        FileName::Wal(self.segment)
    }

    /// The next operation; `None` when all is done.
    pub fn next_op(&mut self) -> Option<DiskOp> {
        loop {
            match self.stage {
                Stage::Boot | Stage::Vouch => {
                    if let Some(op) = hard_op(&mut self.hard, &mut self.pending, &mut self.out) {
                        return Some(op);
                    }
                    self.stage = if self.stage == Stage::Boot { Stage::Log } else { Stage::Cleanup };
                    if self.stage == Stage::Cleanup {
                        self.frees.drain(..).for_each(|free| self.cleanup.push_front(free));
                    }
                }
                Stage::Log => match self.rebuild.next_op() {
                    Some((_, op)) => return Some(op),
                    None => {
                        let segment = self.segment;
                        self.hard.update(|state| state.log_segment = segment);
                        self.stage = Stage::Vouch;
                    }
                },
                Stage::Cleanup => return self.cleanup.front().map(|(_, op)| op.clone()),
            }
        }
    }

    /// The operation that [`Self::next_op`] named has ended.
    ///
    /// # Errors
    /// Any failure ends the repair; what was begun is not part of the log, or all of it is.
    pub fn done(&mut self, result: Result<DiskReply, DiskError>) -> Result<(), HaltReason> {
        if let Some((token, _)) = self.pending.take() {
            return self.hard.disk_done(token, result);
        }
        let step = match self.stage {
            Stage::Log => self.rebuild.next_op(),
            _ => self.cleanup.front().cloned(),
        };
        let (doing, op) = step.expect("only an operation that was named ends");
        if let Err(error) = result {
            // On a full disk the new segment is as large as there is space.
            let full = error.kind == DiskErrorKind::NoSpace && self.stage == Stage::Log;
            if full && self.rebuild.no_space(std::mem::take(&mut self.frees)) {
                return Ok(());
            }
            return Err(HaltReason::Disk { doing: doing.to_owned(), file: crate::disk::file_of(&op), error });
        }
        match self.stage {
            Stage::Log => self.rebuild.done(),
            _ => drop(self.cleanup.pop_front()),
        }
        Ok(())
    }
}
