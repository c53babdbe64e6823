//! Makes a segment file ready for use: created, filled with zeros, synced, and its name synced.
//!
//! A segment that nothing needs any more can be made the next one: its header is blanked, and only then does it get
//! its new name. Its old records stay behind the new ones; none of them is believed, since its checksum covers the
//! segment's number.
//!
//! A sync of bytes that lie inside a zero-filled file has no metadata to write, which about halves its time;
//! `fallocate` alone does not do that. Nothing is logged into a segment before this is complete.

use bytes::Bytes;

use super::format::{HEADER_BYTES, SECTOR, align};
use crate::config::LogConfig;
use crate::io::{DiskOp, FileName};

/// Most zeros in one write, in bytes, so that a batch of the log never waits long behind one.
const FILL_BYTES: u64 = 256 << 10;

/// Fewest zeros in one write, where a disk is full, in bytes.
const FINEST_FILL: u64 = 4 << 10;

/// Most zeros written before they are synced, in bytes, for the same reason.
const UNSYNCED_BYTES: u64 = 2 << 20;

static ZEROS: [u8; FILL_BYTES as usize] = [0; FILL_BYTES as usize];

/// The regular size of a segment, in bytes.
pub(super) fn segment_bytes(config: &LogConfig) -> u64 {
    align(config.segment_bytes).max(HEADER_BYTES + SECTOR)
}

/// One segment file on its way to being usable.
#[derive(Clone, Debug)]
pub(super) struct Preparation {
    segment: u64,
    bytes: u64,
    filled: u64,
    /// How much is filled with one write, in bytes.
    chunk: u64,
    synced: u64,
    created: bool,
    named: bool,
    /// The old segment that becomes this one, and how far it is.
    again: Option<(u64, Blank)>,
    /// Whether it was another segment before.
    is_again: bool,
}

/// How far an old segment's header is blanked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blank {
    Not,
    Written,
    Durable,
}

impl Preparation {
    /// Of a file that does not exist, or whose content does not matter.
    pub(super) fn new(segment: u64, bytes: u64) -> Self {
        assert!(bytes.is_multiple_of(SECTOR), "a segment is made of whole sectors");
        Self {
            segment,
            bytes,
            filled: 0,
            chunk: FILL_BYTES,
            synced: 0,
            created: false,
            named: false,
            again: None,
            is_again: false,
        }
    }

    /// Of an old segment of the same size, whose records nothing needs any more.
    pub(super) fn again(old: u64, segment: u64, bytes: u64) -> Self {
        assert!(old < segment, "no number that a segment was used under is used twice");
        Self {
            filled: bytes,
            synced: bytes,
            created: true,
            again: Some((old, Blank::Not)),
            is_again: true,
            ..Self::new(segment, bytes)
        }
    }

    /// Which.
    pub(super) fn segment(&self) -> u64 {
        self.segment
    }

    /// Whether it was another segment before.
    pub(super) fn is_again(&self) -> bool {
        self.is_again
    }

    /// Whether it was ready, before it was made larger perhaps.
    pub(super) fn was_ready(&self) -> bool {
        self.named
    }

    /// Whether its file exists.
    pub(super) fn is_created(&self) -> bool {
        self.created
    }

    /// Its size once ready, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// There was no space for what [`Self::next_op`] named: it is tried in smaller pieces, so that what there is becomes
    /// part of this file. False if they can't be smaller.
    pub(super) fn finer(&mut self) -> bool {
        let finer = self.chunk > FINEST_FILL;
        self.chunk = (self.chunk / 2).max(FINEST_FILL);
        finer
    }

    /// Makes do with what is filled, if that is `enough` bytes. False if it is not.
    pub(super) fn make_do(&mut self, enough: u64) -> bool {
        let fits = (enough..self.bytes).contains(&self.filled);
        if fits {
            self.bytes = self.filled;
        }
        fits
    }

    /// Makes it larger; one that was ready then has more to do.
    pub(super) fn extend(&mut self, bytes: u64) {
        self.bytes = self.bytes.max(align(bytes));
    }

    /// Whether it may be used.
    pub(super) fn is_ready(&self) -> bool {
        self.named && self.synced == self.bytes
    }

    /// The next operation, with its purpose in words; `None` when ready. Each is issued once the one before
    /// is done and was reported by [`Self::done`].
    pub(super) fn next_op(&self) -> Option<(&'static str, DiskOp)> {
        let file = FileName::Wal(self.segment);
        let unsynced = self.filled - self.synced;
        if let Some((old, blank)) = self.again {
            let old = FileName::Wal(old);
            let data = Bytes::from_static(&ZEROS[..HEADER_BYTES as usize]);
            Some(match blank {
                Blank::Not => {
                    ("blanking the old log segment", DiskOp::WriteAt { file: old, offset: 0, data })
                }
                Blank::Written => ("syncing the blanked log segment", DiskOp::Sync { file: old }),
                Blank::Durable => ("renaming the old log segment to", DiskOp::Rename { from: old, to: file }),
            })
        } else if !self.created {
            Some(("creating the log segment", DiskOp::Create { file }))
        } else if unsynced > 0 && (self.filled == self.bytes || unsynced >= UNSYNCED_BYTES) {
            Some(("syncing the prepared log segment", DiskOp::Sync { file }))
        } else if self.filled < self.bytes {
            let data = Bytes::from_static(&ZEROS[..self.next_fill() as usize]);
            Some(("filling the log segment", DiskOp::WriteAt { file, offset: self.filled, data }))
        } else if !self.named {
            Some(("syncing the data directory for a log segment", DiskOp::SyncDir))
        } else {
            None
        }
    }

    /// The operation that [`Self::next_op`] named was done.
    pub(super) fn done(&mut self, op: &PreparationStep) {
        match op {
            PreparationStep::Created => self.created = true,
            PreparationStep::Filled(bytes) => {
                self.filled += bytes;
                self.chunk = (self.chunk * 2).min(FILL_BYTES);
            }
            PreparationStep::Synced(filled) => self.synced = *filled,
            PreparationStep::Named => self.named = true,
            PreparationStep::Blanked(blank) => self.again = self.again.map(|(old, _)| (old, *blank)),
            PreparationStep::Renamed => self.again = None,
        }
    }

    /// What [`Self::next_op`] will have achieved. Noted when it is issued, because the target may move
    /// while it is under way.
    pub(super) fn step(&self) -> PreparationStep {
        match self.next_op() {
            Some((_, DiskOp::Rename { .. })) => PreparationStep::Renamed,
            Some((_, DiskOp::WriteAt { .. })) if self.again.is_some() => {
                PreparationStep::Blanked(Blank::Written)
            }
            Some((_, DiskOp::Sync { .. })) if self.again.is_some() => {
                PreparationStep::Blanked(Blank::Durable)
            }
            Some((_, DiskOp::Create { .. })) => PreparationStep::Created,
            Some((_, DiskOp::WriteAt { data, .. })) => PreparationStep::Filled(data.len() as u64),
            Some((_, DiskOp::Sync { .. })) => PreparationStep::Synced(self.filled),
            _ => PreparationStep::Named,
        }
    }

    fn next_fill(&self) -> u64 {
        (self.bytes - self.filled).min(self.chunk)
    }
}

impl PreparationStep {
    /// Whether a sync achieves it, which is never tried again.
    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Self::Synced(_) | Self::Named | Self::Blanked(Blank::Durable))
    }
}

/// What one operation of a preparation achieves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PreparationStep {
    /// The file exists.
    Created,
    /// So many more zeros were written.
    Filled(u64),
    /// The file is durable up to here.
    Synced(u64),
    /// Its name is durable.
    Named,
    /// The old segment's header is blanked so far.
    Blanked(Blank),
    /// The old segment has its new name.
    Renamed,
}
