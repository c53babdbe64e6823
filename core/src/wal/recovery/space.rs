//! A start on a full disk: what nothing needs any more makes room for the end of the log.

use super::super::format::SECTOR;
use super::{Recovery, Stage};
use crate::io::{DiskOp, FileName};
use crate::types::Index;

impl Recovery {
    /// The end of the log finds no space: whether it can do with less. What an earlier life had begun to prepare may go,
    /// and a copy that an earlier start did not finish: no hard state vouches for them, so the log was never there. So may
    /// snapshots that were not finished, or that one which was just read has replaced. If that is too little, what was
    /// prepared to its end is cut to its blank header, as a segment that is vouched for must not be missing.
    pub(super) fn makes_space(&mut self) -> bool {
        let Stage::Rebuilding(rebuild) = &mut self.stage else { return false };
        let (vouched, headless) = (self.vouched, &mut self.survey.headless);
        let unused = headless.extract_if(.., |(segment, _)| *segment > vouched);
        let unused: Vec<FileName> = unused.map(|(segment, _)| FileName::Wal(segment)).collect();
        let mut frees = Vec::new();
        if unused.is_empty() && self.spent.is_empty() {
            // A mark in one proves how far the log was synced, and may be needed for that yet.
            let proves = |segment: u64| self.claims.iter().any(|claim| claim.at.segment == segment);
            for (segment, len) in headless.iter_mut().filter(|(at, len)| *len > SECTOR && !proves(*at)) {
                *len = SECTOR;
                let file = FileName::Wal(*segment);
                frees.push(("cutting the unused end of", DiskOp::Truncate { file, len: SECTOR }));
            }
        }
        if !self.spent.is_empty() {
            // The newest snapshot may have been given its name by a life that did not sync that.
            frees.push(("syncing the data directory before removals", DiskOp::SyncDir));
        }
        let gone = unused.into_iter().chain(self.spent.drain(..));
        frees.extend(gone.map(|file| ("removing the unused", DiskOp::Remove { file })));
        rebuild.no_space(frees)
    }
}

/// Whether nothing needs a snapshot's file, now that the snapshot of this entry was read.
pub(super) fn is_spent(file: FileName, covered: Index) -> bool {
    match file {
        FileName::SnapshotTmp(_) | FileName::SnapshotPart(_) => true,
        FileName::Snapshot(index) => index < covered.0,
        _ => false,
    }
}
