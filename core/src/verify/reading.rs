//! Reads one file from its beginning to its end, around what the disk can't read: such sectors are zeros, and are
//! named. It knows no format.

use bytes::Bytes;

use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, HaltReason};

/// Bytes in one read.
const READ_BYTES: u64 = 1 << 20;

/// The unit in which a disk fails.
const SECTOR: u64 = 512;

/// Neighbouring sectors that the disk did not give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The first byte.
    pub(super) from: u64,
    /// The first byte behind it.
    pub(super) to: u64,
    /// What the system said of the first sector.
    pub(super) error: DiskError,
}

/// A file that is being read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    file: FileName,
    /// Up to where it is to be read, in bytes.
    len: u64,
    bytes: Vec<u8>,
    /// What could not be read at once is read sector by sector up to here.
    careful: u64,
    /// Where reading failed.
    gaps: Vec<Gap>,
}

impl Reading {
    /// Of the first `len` bytes.
    pub(super) fn new(file: FileName, len: u64) -> Self {
        Self { file, len, bytes: Vec::new(), careful: 0, gaps: Vec::new() }
    }

    /// The next read; `None` when all is read.
    pub(super) fn next_op(&self) -> Option<DiskOp> {
        let offset = self.bytes.len() as u64;
        let most = if offset < self.careful { SECTOR } else { READ_BYTES };
        let len = self.len.saturating_sub(offset).min(most);
        (len > 0).then_some(DiskOp::Read { file: self.file, offset, len: len as u32 })
    }

    /// The read that [`Self::next_op`] named has ended.
    ///
    /// # Errors
    /// A failure that says nothing about the file's bytes, such as that it has gone.
    pub(super) fn done(&mut self, result: Result<DiskReply, DiskError>) -> Result<(), HaltReason> {
        let Some(DiskOp::Read { file, offset, len }) = self.next_op() else {
            unreachable!("a reading only reads")
        };
        match result {
            Ok(DiskReply::Data(data)) if !data.is_empty() => self.bytes.extend_from_slice(&data),
            // The file has become shorter.
            Ok(_) => self.len = offset,
            Err(error) if error.kind != DiskErrorKind::Io => {
                return Err(HaltReason::Disk { doing: "reading".into(), file: Some(file), error });
            }
            Err(_) if u64::from(len) > SECTOR => self.careful = offset + u64::from(len),
            Err(error) => {
                let to = offset + u64::from(len);
                match self.gaps.last_mut().filter(|gap| gap.to == offset) {
                    Some(gap) => gap.to = to,
                    None => self.gaps.push(Gap { from: offset, to, error }),
                }
                self.bytes.resize(to as usize, 0);
            }
        }
        Ok(())
    }

    /// What was read, and where that failed.
    pub(super) fn finish(self) -> (Bytes, Vec<Gap>) {
        (self.bytes.into(), self.gaps)
    }
}
