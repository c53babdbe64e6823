//! Reads a snapshot file and makes a state of it. It writes nothing; what can't be believed is named with its place.

use std::fmt;

use bytes::Bytes;

use super::format::{HeaderFlaw, Meta, SECTOR, root, verify_block};
use crate::disk::{Pending, Tokens};
use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, Outbox, Token};
use crate::state::State;
use crate::state::restore::Restore;
use crate::state::row::take_item;
use crate::types::{ClusterId, Index};

/// A snapshot that is being read.
#[derive(Clone, Debug)]
pub struct Loading {
    cluster: ClusterId,
    index: Index,
    /// Length of the file, in bytes.
    len: u64,
    meta: Option<Meta>,
    /// The header at the beginning was not believed: the one at the end is tried.
    second: bool,
    next: u32,
    crcs: Vec<u32>,
    /// The beginning of an item whose rest is in the next block.
    carry: Vec<u8>,
    restore: Restore,
    pending: Option<Pending>,
}

/// How far the reading is.
#[derive(Debug)]
pub enum LoadStep {
    /// It goes on.
    Working,
    /// This is the state.
    Done(Box<State>, Meta),
}

/// Why a snapshot can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// It is damaged at this offset.
    Damaged {
        /// The file.
        file: FileName,
        /// In bytes.
        offset: u64,
        /// How.
        what: String,
    },
    /// It is a whole one of a format that this build does not know, or of another cluster.
    Foreign(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { file, offset, what } => write!(f, "{file} is damaged at offset {offset}: {what}"),
            Self::Foreign(what) => f.write_str(what),
        }
    }
}

impl Loading {
    /// Of the snapshot of this index, whose file has this length. Keys are hashed under the seed.
    #[must_use]
    pub fn new(cluster: ClusterId, index: Index, len: u64, hash_seed: (u64, u64)) -> Self {
        Self {
            cluster,
            index,
            len,
            meta: None,
            second: false,
            next: 0,
            crcs: Vec::new(),
            carry: Vec::new(),
            restore: Restore::new(hash_seed),
            pending: None,
        }
    }

    fn file(&self) -> FileName {
        FileName::Snapshot(self.index.0)
    }

    /// The snapshot's index.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// What its header says, once it is read.
    #[must_use]
    pub fn meta(&self) -> Option<Meta> {
        self.meta
    }

    /// Issues the next read.
    pub(crate) fn pump(&mut self, tokens: &mut Tokens, out: &mut Outbox) {
        if self.pending.is_some() {
            return;
        }
        let (offset, len) = self.place();
        let op = DiskOp::Read { file: self.file(), offset, len };
        self.pending = Some(tokens.issue("reading", op, out));
    }

    /// Where the next read begins, and how much it asks for.
    fn place(&self) -> (u64, u32) {
        match &self.meta {
            Some(meta) => (meta.offset(self.next), meta.block_len(self.next)),
            None if self.second => (self.len.saturating_sub(SECTOR), SECTOR as u32),
            None => (0, SECTOR as u32),
        }
    }

    /// Whether an operation with this token is under way here.
    pub(crate) fn awaits(&self, token: Token) -> bool {
        self.pending.is_some_and(|pending| pending.token == token)
    }

    /// A read has ended.
    ///
    /// # Errors
    /// [`LoadError`] if the file can't be believed.
    pub(crate) fn disk_done(&mut self, result: Result<DiskReply, DiskError>) -> Result<LoadStep, LoadError> {
        self.pending = None;
        let (offset, _) = self.place();
        let bytes = match result {
            Ok(DiskReply::Data(bytes)) => bytes,
            Ok(reply) => panic!("a driver answers an operation with its own kind of reply, not {reply:?}"),
            // What can't be read is as good as rotten.
            Err(error) if error.kind == DiskErrorKind::Io && self.meta.is_none() && !self.second => {
                Bytes::new()
            }
            Err(error) => return Err(self.damaged(offset, error.to_string())),
        };
        if self.meta.is_none() {
            return self.header(&bytes).map(|()| LoadStep::Working);
        }
        self.block(offset, &bytes)?;
        let meta = self.meta.expect("the header was read");
        if self.next < meta.blocks {
            return Ok(LoadStep::Working);
        }
        if root(&self.crcs) != meta.root {
            return Err(self.damaged(0, "its blocks are not those that its header names".into()));
        }
        if !self.carry.is_empty() {
            return Err(self.damaged(meta.trailer(), "it ends within a row".into()));
        }
        let restore = std::mem::replace(&mut self.restore, Restore::new((0, 0)));
        match restore.finish() {
            Ok(state) if state.committed() == self.index => Ok(LoadStep::Done(Box::new(state), meta)),
            Ok(state) => Err(self.damaged(0, format!("it holds the state of entry {}", state.committed()))),
            Err(error) => Err(self.damaged(meta.trailer(), error.to_string())),
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        let file = self.file();
        match Meta::decode(bytes) {
            Ok(meta) if meta.seal.cluster != self.cluster => Err(LoadError::Foreign(format!(
                "{file} belongs to cluster {}, and this node to {}: choose another data directory; or, if `steadfast recover` was \
                 interrupted here, run it again",
                meta.seal.cluster, self.cluster
            ))),
            Ok(meta) if meta.seal.at.index == self.index && meta.file_bytes() == self.len => {
                self.meta = Some(meta);
                Ok(())
            }
            Err(HeaderFlaw::Version(version)) => Err(LoadError::Foreign(format!(
                "{file} has snapshot format {version}, which this build does not know: start a release that does"
            ))),
            Ok(_) | Err(HeaderFlaw::Short | HeaderFlaw::Bad) if !self.second => {
                self.second = true;
                Ok(())
            }
            Ok(_) => Err(self.damaged(0, "its header speaks of another file, or of another length".into())),
            Err(_) => Err(self.damaged(0, "neither of its headers can be read".into())),
        }
    }

    fn block(&mut self, offset: u64, bytes: &[u8]) -> Result<(), LoadError> {
        let meta = self.meta.expect("the header was read");
        let (content, crc) = match verify_block(&meta, self.next, bytes) {
            Ok(block) => block,
            Err(flaw) => return Err(self.damaged(offset, flaw.to_string())),
        };
        self.crcs.push(crc);
        self.next += 1;
        let mut carry = std::mem::take(&mut self.carry);
        // Most blocks begin within a row; only that one is copied.
        carry.extend_from_slice(content);
        let mut left = carry.as_slice();
        loop {
            match take_item(left) {
                Ok(Some((item, rest))) => {
                    left = rest;
                    self.restore.item(item).map_err(|error| self.damaged(offset, error.to_string()))?;
                }
                Ok(None) => break,
                Err(error) => return Err(self.damaged(offset, error.to_string())),
            }
        }
        let gone = carry.len() - left.len();
        carry.drain(..gone);
        self.carry = carry;
        Ok(())
    }

    fn damaged(&self, offset: u64, what: String) -> LoadError {
        LoadError::Damaged { file: self.file(), offset, what }
    }
}
