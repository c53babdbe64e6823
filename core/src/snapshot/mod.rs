//! Snapshots: the committed state at one index, as a file that takes the place of the log up to there.
//!
//! *Same bytes everywhere.* A snapshot's bytes follow from the state and the block size alone; they name no node. Nodes
//! take their snapshots at the same indexes where they can ([`is_point`]), so that a block that rots on one can be had from another.
//!
//! *Written without a pause.* The state is captured at an index and walked in slices while it goes on
//! (`state/capture.rs`); a slice becomes bytes in a compute job, and these are written by bounded operations, synced
//! every few of them. The file has a temporary name until it is durable; only when its own name is durable too may
//! anything that it replaces go (`writer.rs`).
//!
//! *Read back, or sent.* `reader.rs` makes a state of a file and believes no block whose checksum, place or owner is
//! wrong. `transfer.rs` brings a file to a follower whose log ends before the leader's begins; of a damaged file only the
//! blocks that are lost.

pub mod format;
mod reader;
mod recovery;
#[cfg(test)]
mod tests;
pub mod transfer;
mod writer;

use serde::{Deserialize, Serialize};

use bytes::Bytes;

use crate::state::State;
use crate::state::row::{Head, Row};
pub use format::Meta;
use format::Seal;
pub use reader::{LoadError, LoadStep, Loading};
pub use recovery::{Damaged, SnapshotRecovered, SnapshotRecovery};
pub use writer::{Writer, Written};

/// Most unsynced bytes of a snapshot, so that no sync of the log waits long behind them.
pub const UNSYNCED_BYTES: u64 = 2 << 20;

/// Whether an entry is one of those after which a snapshot is due: the first beyond each multiple of `interval` of the
/// log's weight. They are the same on every node with the same interval; not every node can take each of them.
#[must_use]
pub fn is_point(before: u64, after: u64, interval: u64) -> bool {
    let interval = interval.max(1);
    before / interval != after / interval
}

/// A small state's snapshot, at once and in no file: all about it, and its blocks.
#[must_use]
pub(crate) fn made_of(seal: Seal, mut state: State) -> (Meta, Bytes) {
    let head = Some(state.capture().clone());
    let (rows, last) = state.capture_slice(usize::MAX, usize::MAX);
    assert!(last, "a slice without bounds holds all rows");
    let Encoded { blocks, crcs, last_bytes, .. } =
        EncodeJob { seal, first: 0, carry: Bytes::new(), head, rows, last }.run();
    (Meta { seal, blocks: crcs.len() as u32, last_bytes, root: format::root(&crcs) }, blocks)
}

/// Rows that are to become blocks: slow, pure work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodeJob {
    /// Whose snapshot, of which index, in blocks of which size.
    pub seal: Seal,
    /// The number of the first block.
    pub first: u32,
    /// What the slice before left over.
    pub carry: Bytes,
    /// What comes before all rows, with the first slice.
    pub head: Option<Head>,
    /// The rows, in order.
    pub rows: Vec<Row>,
    /// Whether these are the last.
    pub last: bool,
}

/// What becomes of an [`EncodeJob`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoded {
    /// Whole blocks.
    pub blocks: Bytes,
    /// Their checksums.
    pub crcs: Vec<u32>,
    /// Length of the last one's content, in bytes.
    pub last_bytes: u32,
    /// What does not fill a block yet.
    pub carry: Bytes,
}

impl EncodeJob {
    /// Does the work: well under a millisecond for a slice.
    #[must_use]
    pub fn run(&self) -> Encoded {
        let mut stream = self.carry.to_vec();
        if let Some(head) = &self.head {
            crate::state::row::encode_head(&mut stream, head);
        }
        for row in &self.rows {
            crate::state::row::encode_row(&mut stream, row);
        }
        let whole = self.seal.content_bytes();
        let (mut blocks, mut crcs, mut last_bytes) = (Vec::new(), Vec::new(), 0);
        let mut left = stream.as_slice();
        while left.len() >= whole || (self.last && !left.is_empty()) {
            let (content, rest) = left.split_at(left.len().min(whole));
            let number = self.first + crcs.len() as u32;
            crcs.push(format::encode_block(&self.seal, number, content, &mut blocks));
            last_bytes = content.len() as u32;
            left = rest;
        }
        Encoded { blocks: blocks.into(), crcs, last_bytes, carry: Bytes::copy_from_slice(left) }
    }
}
