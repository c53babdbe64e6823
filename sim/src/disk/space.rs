//! How much room a disk has. The lengths of the files that a process sees count as allocated; removing and cutting
//! them frees it. Nothing here strikes bytes.

use steadfast_core::io::{DiskError, DiskErrorKind, DiskOp, FileName};

use super::Disk;

/// A bound on what may be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Most bytes allocated.
    pub limit: u64,
    /// Whether overwriting needs room too, as on a file system that copies on write; and a sync where no byte is left.
    pub overwrites: bool,
}

impl Disk {
    /// From now on only so many more bytes can be allocated; `None` lifts the bound.
    pub fn bound(&mut self, left: Option<u64>, overwrites: bool) {
        let limit = self.allocated() + left.unwrap_or(0);
        self.quota = left.map(|_| Quota { limit, overwrites });
    }

    /// Bytes allocated to the files that a process sees.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.live.values().map(|id| self.files[id].live.len() as u64).sum()
    }

    /// How many bytes of a write there is room for.
    pub(super) fn room_for(&self, file: FileName, offset: u64, len: u64) -> u64 {
        let Some(quota) = self.quota else { return len };
        let room = quota.limit.saturating_sub(self.allocated());
        let end = self.live.get(&file).map_or(0, |id| self.files[id].live.len() as u64);
        // What lies before the end of the file is there already, except where a write needs a new place.
        let gap = offset.saturating_sub(end);
        let free = if quota.overwrites { 0 } else { end.saturating_sub(offset) };
        if offset + len > end && gap > room { 0 } else { len.min(free + room.saturating_sub(gap)) }
    }

    /// Whether an operation that is no write finds no room.
    pub(super) fn has_no_room(&self, op: &DiskOp) -> bool {
        let Some(quota) = self.quota else { return false };
        let room = quota.limit.saturating_sub(self.allocated());
        let len_of = |file: &FileName| self.live.get(file).map(|id| self.files[id].live.len() as u64);
        match op {
            DiskOp::Create { file } => room == 0 && len_of(file).is_none(),
            DiskOp::Rename { .. } => room == 0,
            DiskOp::Truncate { file, len } => len.saturating_sub(len_of(file).unwrap_or(0)) > room,
            // Space that was promised and is not there shows itself when the pages are written.
            DiskOp::Sync { file } => {
                let id = self.live.get(file);
                room == 0 && quota.overwrites && id.is_some_and(|id| self.files[id].is_unsynced())
            }
            _ => false,
        }
    }
}

/// There is no room.
pub(super) fn full() -> DiskError {
    DiskError { kind: DiskErrorKind::NoSpace, message: "No space left on device (os error 28)".into() }
}
