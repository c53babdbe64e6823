//! The disk of the nodes in these tests. What disks do wrong is for the simulator, and for `testdisk.rs` where one part of the core is alone.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName};

/// A disk that does what it is told at once and never fails.
pub(super) fn execute(disk: &mut BTreeMap<FileName, Vec<u8>>, op: DiskOp) -> Result<DiskReply, DiskError> {
    match op {
        DiskOp::Create { file } => {
            disk.insert(file, Vec::new());
        }
        DiskOp::WriteAt { file, offset, data } => {
            let bytes = disk.get_mut(&file).expect("a file is created before it is written");
            let end = offset as usize + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[offset as usize..end].copy_from_slice(&data);
        }
        DiskOp::Truncate { file, len } => disk.get_mut(&file).unwrap().resize(len as usize, 0),
        DiskOp::Rename { from, to } => {
            let bytes = disk.remove(&from).unwrap();
            disk.insert(to, bytes);
        }
        DiskOp::Remove { file } => {
            disk.remove(&file);
        }
        DiskOp::Sync { .. } | DiskOp::SyncDir => {}
        DiskOp::List => {
            let files = disk.iter().map(|(file, bytes)| (*file, bytes.len() as u64));
            return Ok(DiskReply::Listing(files.collect()));
        }
        DiskOp::Read { file, offset, len } => {
            // Scrubbing may find that a file has gone.
            let gone = || DiskError { kind: DiskErrorKind::NotFound, message: format!("no {file}") };
            let bytes = disk.get(&file).ok_or_else(gone)?;
            let start = (offset as usize).min(bytes.len());
            let end = (start + len as usize).min(bytes.len());
            return Ok(DiskReply::Data(Bytes::copy_from_slice(&bytes[start..end])));
        }
    }
    Ok(DiskReply::Done)
}
