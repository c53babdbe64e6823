//! Writes a snapshot: captured slices go through compute jobs into a temporary file, which then gets its name.
//!
//! One operation or job at a time. The order is what makes it safe: blocks and header, sync, rename, sync of the
//! directory; until that is done nothing that the snapshot replaces may go. What fails for want of space is given up
//! and leaves nothing behind; whatever else fails stops the node.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{Meta, Seal, root};
use super::{EncodeJob, Encoded, UNSYNCED_BYTES};
use crate::disk::{Pending, Tokens, has_no_space};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output, Token};
use crate::job::Job;
use crate::state::State;
use crate::state::row::Head;

/// Most rows in a slice: some ten microseconds of the node's time.
const SLICE_ROWS: usize = 512;

/// About as many bytes in a slice.
const SLICE_BYTES: usize = 64 << 10;

/// How many slices are taken at once when what is kept for the walk gets much.
const HURRY: usize = 8;

/// A snapshot on its way to the disk.
#[derive(Clone, Debug)]
pub struct Writer {
    seal: Seal,
    head: Option<Head>,
    carry: Bytes,
    crcs: Vec<u32>,
    last_bytes: u32,
    /// Bytes of blocks that are written, and how many of them are synced.
    written: u64,
    synced: u64,
    /// Whether the walk is at its end.
    walked: bool,
    created: bool,
    /// Blocks that wait to be written.
    blocks: Bytes,
    /// The last operations, once all blocks are there.
    ending: Option<VecDeque<(&'static str, DiskOp)>>,
    pending: Option<Pending>,
    job: Option<Token>,
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It goes on.
    Working,
    /// It is durable under its own name.
    Done(Meta),
    /// There was no space: the temporary file is to be removed.
    NoSpace,
}

impl Writer {
    /// Of the state that was just captured.
    #[must_use]
    pub fn new(seal: Seal, head: Head) -> Self {
        assert_eq!(seal.at.index, head.committed, "a snapshot is of the index that was captured");
        Self {
            seal,
            head: Some(head),
            carry: Bytes::new(),
            crcs: Vec::new(),
            last_bytes: 0,
            written: 0,
            synced: 0,
            walked: false,
            created: false,
            blocks: Bytes::new(),
            ending: None,
            pending: None,
            job: None,
        }
    }

    /// The last entry in it.
    #[must_use]
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// The file under its temporary name.
    #[must_use]
    pub fn file(&self) -> FileName {
        FileName::SnapshotTmp(self.seal.at.index.0)
    }

    /// Starts the next operation or job, if none is under way. `hurry` if what is kept for the walk gets much.
    pub(crate) fn pump(&mut self, state: &mut State, hurry: bool, tokens: &mut Tokens, out: &mut Outbox) {
        if self.pending.is_some() || self.job.is_some() {
            return;
        }
        let Some((doing, op)) = self.next_op() else {
            let (rows, bytes) =
                if hurry { (HURRY * SLICE_ROWS, HURRY * SLICE_BYTES) } else { (SLICE_ROWS, SLICE_BYTES) };
            let (rows, last) = state.capture_slice(rows, bytes);
            self.walked = last;
            let token = tokens.token();
            self.job = Some(token);
            let job = EncodeJob {
                seal: self.seal,
                first: self.crcs.len() as u32,
                carry: std::mem::take(&mut self.carry),
                head: self.head.take(),
                rows,
                last,
            };
            out.push(Output::Compute { token, job: Job::Snapshot(job) });
            return;
        };
        self.pending = Some(tokens.issue(doing, op, out));
    }

    /// The next operation; none if rows are wanted first.
    fn next_op(&mut self) -> Option<(&'static str, DiskOp)> {
        let file = self.file();
        if !self.created {
            return Some(("creating", DiskOp::Create { file }));
        }
        if !self.blocks.is_empty() {
            let offset = super::format::SECTOR + self.written;
            return Some(("writing", DiskOp::WriteAt { file, offset, data: self.blocks.clone() }));
        }
        if self.written - self.synced >= UNSYNCED_BYTES {
            return Some(("syncing", DiskOp::Sync { file }));
        }
        if !self.walked {
            return None;
        }
        let meta = self.meta();
        let ending = self.ending.get_or_insert_with(|| ending(file, &meta));
        ending.front().cloned()
    }

    fn meta(&self) -> Meta {
        let blocks = self.crcs.len() as u32;
        Meta { seal: self.seal, blocks, last_bytes: self.last_bytes, root: root(&self.crcs) }
    }

    /// Whether an operation or a job with this token is under way here.
    pub(crate) fn awaits(&self, token: Token) -> bool {
        self.job == Some(token) || self.pending.is_some_and(|pending| pending.token == token)
    }

    /// Whether the snapshot is durable under its own name.
    pub(crate) fn is_done(&self) -> bool {
        self.ending.as_ref().is_some_and(VecDeque::is_empty)
    }

    /// A slice has become blocks.
    pub(crate) fn encoded(&mut self, encoded: Encoded) {
        self.job = None;
        self.blocks = encoded.blocks;
        self.carry = encoded.carry;
        if !encoded.crcs.is_empty() {
            self.last_bytes = encoded.last_bytes;
        }
        self.crcs.extend(encoded.crcs);
    }

    /// An operation has ended.
    pub(crate) fn disk_done(&mut self, result: Result<DiskReply, DiskError>) -> Result<Written, HaltReason> {
        let pending = self.pending.take().expect("an operation that ends was under way");
        let is_sync = self.syncs();
        if has_no_space(&result) && !is_sync {
            return Ok(Written::NoSpace);
        }
        pending.settle(result)?;
        if !self.created {
            self.created = true;
        } else if !self.blocks.is_empty() {
            self.written += self.blocks.len() as u64;
            self.blocks = Bytes::new();
        } else if let Some(ending) = &mut self.ending {
            ending.pop_front();
            if ending.is_empty() {
                return Ok(Written::Done(self.meta()));
            }
        } else {
            self.synced = self.written;
        }
        Ok(Written::Working)
    }

    /// Whether the operation under way is a sync, which is never tried again.
    fn syncs(&self) -> bool {
        match &self.ending {
            Some(ending) => matches!(ending.front(), Some((_, DiskOp::Sync { .. } | DiskOp::SyncDir))),
            None => self.created && self.blocks.is_empty(),
        }
    }
}

/// What makes the written blocks a snapshot: the header at both ends, all of it durable, then the name.
pub(super) fn ending(file: FileName, meta: &Meta) -> VecDeque<(&'static str, DiskOp)> {
    let header = Bytes::copy_from_slice(&meta.encode());
    let to = FileName::Snapshot(meta.seal.at.index.0);
    VecDeque::from([
        ("ending", DiskOp::WriteAt { file, offset: meta.trailer(), data: header.clone() }),
        ("writing the header of", DiskOp::WriteAt { file, offset: 0, data: header }),
        ("syncing", DiskOp::Sync { file }),
        ("renaming the snapshot to", DiskOp::Rename { from: file, to }),
        ("syncing the data directory for the snapshot", DiskOp::SyncDir),
    ])
}
