//! What is left of an examined directory, for those who make something else of it. Nothing here reads or writes, and nothing
//! is decided.

use super::Verify;
use super::log::Answer;
use super::snapshot::Found;
use crate::hard::{HardState, HardStore};
use crate::io::FileName;
use crate::types::{EntryId, Index};
use crate::wal::{HeaderFlaw, Identity, Salvaged};

/// What is left of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Remains {
    pub(crate) identity: Identity,
    pub(crate) hard: (HardState, HardStore),
    pub(crate) covered: EntryId,
    pub(crate) log: Salvaged,
    /// The first entry whose content can't be read, if there is one.
    pub(crate) unreadable: Option<Index>,
    /// Every segment that there is.
    pub(crate) segments: Vec<u64>,
    /// Those of them that never became part of the log and hold nothing: an earlier repair has not got to its end.
    pub(crate) unfinished: Vec<u64>,
    /// Damaged snapshots of later entries than the one that is used.
    pub(crate) snapshots: Vec<FileName>,
    /// The directory's own snapshots, with the lengths of their files in bytes.
    pub(crate) own_snapshots: Vec<(Index, u64)>,
    /// What a recovery that has not come to its end has left.
    pub(crate) begun: Vec<FileName>,
}

impl Verify {
    /// What is left, if the code of a start can make anything of it.
    pub(super) fn remains(&self, answer: Answer) -> Option<Remains> {
        let log = match answer {
            Answer::Takes { log, .. } | Answer::Damaged { log, .. } => log,
            Answer::Refuses(_) => return None,
        };
        let covered = self.covered();
        let unreadable =
            self.scans.values().flat_map(|scan| scan.unreadable.iter().map(|(_, index, _)| *index));
        let newer = |found: &&Found| found.index > covered.index;
        let own = self.snapshots.iter().filter(|found| found.foreign.is_none());
        let hard = self.hard.state.clone()?;
        let was_read = |segment: u64| self.unreadable.iter().all(|(file, _)| *file != FileName::Wal(segment));
        let blank = self.scans.iter().filter(|(_, scan)| scan.header.is_err() && scan.batches == 0);
        let blank = blank.map(|(segment, _)| *segment).filter(|segment| was_read(*segment));
        Some(Remains {
            identity: self.identity?,
            unfinished: blank.filter(|segment| *segment > hard.0.log_segment).collect(),
            hard,
            covered,
            log,
            unreadable: unreadable.filter(|index| *index > covered.index).min(),
            segments: self.wals().collect(),
            snapshots: self.snapshots.iter().filter(newer).map(Found::file).collect(),
            own_snapshots: own.map(|found| (found.index, found.len)).collect(),
            begun: self.begun(),
        })
    }

    /// What a recovery from a lost majority has left that has not come to its end, and what no start keeps.
    fn begun(&self) -> Vec<FileName> {
        let Some(owner) = &self.hard.newest else { return Vec::new() };
        let snapshots = self.snapshots.iter().filter(|found| found.is_of_a_recovery(owner)).map(Found::file);
        let elsewhere = self.headers.iter().filter(|(segment, header)| {
            **segment > owner.log_segment && matches!(header, Err(HeaderFlaw::Elsewhere(_)))
        });
        let segments = elsewhere.map(|(segment, _)| FileName::Wal(*segment));
        let parts = self.listing.iter().map(|(file, _)| *file);
        let parts = parts.filter(|it| matches!(it, FileName::SnapshotTmp(_) | FileName::SnapshotPart(_)));
        snapshots.chain(segments).chain(parts).collect()
    }
}
