//! Reads a closed segment again, to find rot before a start has to rely on it. It changes nothing, and what damage means
//! is for the node to decide.

use super::format::{Flaw, HEADER_BYTES, Identity, Position, SECTOR, SegmentHeader};
use super::walk::{Found, Walker};
use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName};

/// A closed segment that is being read again.
#[derive(Clone, Debug)]
pub struct SegmentCheck {
    identity: Identity,
    segment: u64,
    /// How much of it the log uses, in bytes.
    used: u64,
    walker: Option<Walker>,
    /// What the next read asks for, in bytes.
    asks: u32,
}

/// What came of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// There is more to read.
    Working,
    /// All of it is intact, or it is no longer there.
    Done,
    /// It is damaged.
    Damaged(String),
}

impl SegmentCheck {
    /// Of a segment of which the log uses so many bytes.
    #[must_use]
    pub fn new(identity: Identity, Position { segment, offset }: Position) -> Self {
        Self { identity, segment, used: offset, walker: None, asks: SECTOR as u32 }
    }

    /// The next read.
    #[must_use]
    pub fn next_op(&self) -> DiskOp {
        let offset = self.walker.as_ref().map_or(0, Walker::read_at);
        DiskOp::Read { file: FileName::Wal(self.segment), offset, len: self.asks }
    }

    /// The read that [`Self::next_op`] named has ended.
    pub fn done(&mut self, result: Result<DiskReply, DiskError>) -> Checked {
        let data = match result {
            Ok(DiskReply::Data(data)) => data,
            // A snapshot was quicker, and the segment is another one by now.
            Err(error) if error.kind == DiskErrorKind::NotFound => return Checked::Done,
            Err(error) => return self.damaged(0, &format!("it can't be read: {error}")),
            Ok(reply) => panic!("a driver answers an operation with its own kind of reply, not {reply:?}"),
        };
        let Some(walker) = &mut self.walker else {
            return match SegmentHeader::decode(&data) {
                Ok(header) if header.segment == self.segment && header.identity == self.identity => {
                    let walker = Walker::new(&self.identity, self.segment, self.used, header.link.crc);
                    self.walker = Some(walker);
                    self.walk()
                }
                _ => self.damaged(0, "its header is not valid"),
            };
        };
        walker.supply(data, self.asks);
        self.walk()
    }

    fn walk(&mut self) -> Checked {
        let Some(walker) = &mut self.walker else { return Checked::Working };
        loop {
            match walker.next() {
                Found::More(bytes) => {
                    self.asks = bytes;
                    return Checked::Working;
                }
                Found::Mark { .. } | Found::Entry { .. } => {}
                Found::End if walker.good_end() <= HEADER_BYTES && self.used > HEADER_BYTES => {
                    return self.damaged(HEADER_BYTES, &Flaw::Nothing.to_string());
                }
                Found::End => return Checked::Done,
                Found::Bad { offset, flaw } => return self.damaged(offset, &flaw.to_string()),
            }
        }
    }

    fn damaged(&self, offset: u64, what: &str) -> Checked {
        Checked::Damaged(format!("{} is damaged at offset {offset}: {what}", FileName::Wal(self.segment)))
    }
}
