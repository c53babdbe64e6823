//! Brings a snapshot to a follower: the leader reads blocks from its file and sends them, a few ahead of what the
//! follower has written; the follower asks for the next one it wants.
//!
//! What is on its way is bounded on both sides, so that a follower that is slow or gone costs nobody anything. Since
//! equal snapshots have equal bytes, a transfer goes on where it was after a lost frame or under another leader, and a
//! follower whose own file of the same snapshot is damaged takes from there what is intact and asks for the rest. Nothing
//! here knows Raft: what a finished snapshot means is for the node to decide.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::UNSYNCED_BYTES;
use super::format::{BlockFlaw, Meta, root, verify_block};
use super::writer::{Written, ending};
use crate::disk::{Pending, Tokens, has_no_space};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Token};
use crate::time::Micros;
use crate::types::Term;

/// Most blocks that are sent ahead of what the follower has written.
const WINDOW: u32 = 4;

/// What nodes say to each other about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotMessage {
    /// A leader's block.
    Block {
        /// The leader's term.
        term: Term,
        /// Of which snapshot.
        meta: Meta,
        /// The block's number.
        number: u32,
        /// The block as it lies in the file.
        data: Bytes,
        /// Whether it is of what a witness may know of the state: nobody else takes that, and a witness nothing else.
        withheld: bool,
    },
    /// A follower's answer.
    Wanted {
        /// The follower's term.
        term: Term,
        /// The snapshot's root.
        root: u64,
        /// Everything before this block is written.
        next: u32,
    },
}

impl SnapshotMessage {
    /// The message's bytes in a peer frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a snapshot message is plain data")
    }

    /// Reads a message back; none if it can't be read.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        postcard::from_bytes(body).ok()
    }
}

/// A leader's side of one transfer.
#[derive(Clone, Debug)]
pub struct Sending {
    meta: Meta,
    /// What is read and sent next.
    next: u32,
    /// What the follower wants next.
    wanted: u32,
    /// Whether it has said so: until then it is sent one block, as it may have most of them.
    heard: bool,
    /// When the follower last got further.
    moved_at: Micros,
    /// When it did, or everything was sent again.
    sent_at: Micros,
    reading: Option<(Pending, u32)>,
    /// The blocks, if they lie in no file.
    made: Option<Bytes>,
}

impl Sending {
    /// From the beginning; the follower says where to go on.
    #[must_use]
    pub fn new(meta: Meta, now: Micros) -> Self {
        let (next, wanted, heard, reading, made) = (0, 0, false, None, None);
        Self { meta, next, wanted, heard, moved_at: now, sent_at: now, reading, made }
    }

    /// The same of a snapshot that lies in no file, and whose blocks these are.
    #[must_use]
    pub(crate) fn of_made(meta: Meta, blocks: Bytes, now: Micros) -> Self {
        Self { made: Some(blocks), ..Self::new(meta, now) }
    }

    /// Whether it lies in no file.
    #[must_use]
    pub(crate) fn is_made(&self) -> bool {
        self.made.is_some()
    }

    /// What is sent.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// When the follower last got further.
    #[must_use]
    pub fn moved_at(&self) -> Micros {
        self.moved_at
    }

    /// The next block that lies in no file, if there is one that the follower can take: its number and bytes.
    pub(crate) fn next_made(&mut self, now: Micros, patience: Micros) -> Option<(u32, Bytes)> {
        let ends = self.may_reach(now, patience);
        let (number, blocks) = (self.next, self.made.as_ref()?);
        if number >= ends {
            return None;
        }
        self.next += 1;
        let from = (self.meta.offset(number) - self.meta.offset(0)) as usize;
        Some((number, blocks.slice(from..from + self.meta.block_len(number) as usize)))
    }

    /// Before which block the follower may be sent some now.
    fn may_reach(&mut self, now: Micros, patience: Micros) -> u32 {
        if self.next > self.wanted && now >= self.sent_at.after(patience) {
            (self.next, self.sent_at) = (self.wanted, now);
        }
        let ahead = if self.heard { WINDOW } else { 1 };
        self.meta.blocks.min(self.wanted.saturating_add(ahead))
    }

    /// Reads the next block, if the follower can take it. What was not answered for `patience` is sent again.
    pub(crate) fn pump(&mut self, now: Micros, patience: Micros, tokens: &mut Tokens, out: &mut Outbox) {
        let ends = self.may_reach(now, patience);
        if self.made.is_none() && self.reading.is_none() && self.next < ends {
            let file = FileName::Snapshot(self.meta.seal.at.index.0);
            let (offset, len) = (self.meta.offset(self.next), self.meta.block_len(self.next));
            let pending = tokens.issue("reading", DiskOp::Read { file, offset, len }, out);
            self.reading = Some((pending, self.next));
            self.next += 1;
        }
    }

    /// Whether an operation with this token is under way here.
    pub(crate) fn awaits(&self, token: Token) -> bool {
        self.reading.is_some_and(|(pending, _)| pending.token == token)
    }

    /// A block was read: its number and bytes.
    ///
    /// # Errors
    /// The file is damaged there.
    pub(crate) fn disk_done(
        &mut self,
        result: Result<DiskReply, DiskError>,
    ) -> Result<(u32, Bytes), BlockFlaw> {
        let (_, number) = self.reading.take().expect("an operation that ends was under way");
        match result {
            Ok(DiskReply::Data(data)) => {
                verify_block(&self.meta, number, &data).map(|_| (number, data.clone()))
            }
            Ok(reply) => panic!("a driver answers an operation with its own kind of reply, not {reply:?}"),
            Err(_) => Err(BlockFlaw::Short),
        }
    }

    /// The follower has written everything before `next`. It may have gone back, after a restart.
    pub fn wanted(&mut self, now: Micros, next: u32) {
        if next < self.wanted {
            self.next = next;
        }
        if next != self.wanted {
            (self.moved_at, self.sent_at) = (now, now);
        }
        self.heard = true;
        self.wanted = next.min(self.meta.blocks);
        self.next = self.next.max(self.wanted);
    }
}

/// A follower's side of one transfer.
#[derive(Clone, Debug)]
pub struct Receiving {
    meta: Meta,
    /// The term of the newest leader that has sent some of it.
    term: Term,
    /// Blocks that have come and are not written yet.
    blocks: VecDeque<Bytes>,
    crcs: Vec<u32>,
    written: u32,
    unsynced: u64,
    created: bool,
    ending: Option<VecDeque<(&'static str, DiskOp)>>,
    pending: Option<Pending>,
    own: Option<Own>,
}

/// A damaged file of the snapshot that is received, whose blocks are tried before they are asked for.
#[derive(Clone, Debug, Default)]
struct Own {
    /// This block of it is being read.
    reading: Option<u32>,
    /// This one, the next that is wanted, is lost.
    lost: Option<u32>,
    /// How many were intact.
    taken: u32,
}

impl Receiving {
    /// Of a snapshot of which nothing is here yet, or only a damaged file.
    #[must_use]
    pub fn new(meta: Meta, term: Term, has_damaged: bool) -> Self {
        Self {
            meta,
            term,
            blocks: VecDeque::new(),
            crcs: Vec::new(),
            written: 0,
            unsynced: 0,
            created: false,
            ending: None,
            pending: None,
            own: has_damaged.then(Own::default),
        }
    }

    /// What is received.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The term of the newest leader that has sent some of it.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// A leader of this term sends it too.
    pub fn sent_in(&mut self, term: Term) {
        self.term = self.term.max(term);
    }

    /// Whether all blocks are written, and the file is being given its name.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// The file under its temporary name.
    #[must_use]
    pub fn file(&self) -> FileName {
        FileName::SnapshotPart(self.meta.seal.at.index.0)
    }

    /// Everything before this block is written.
    #[must_use]
    pub fn written(&self) -> u32 {
        self.written
    }

    /// What the leader is to send next: the first block that is not written, unless this node tries its own.
    #[must_use]
    pub fn asks_for(&self) -> Option<u32> {
        let sent = |own: &Own| own.lost == Some(self.written) || self.written == self.meta.blocks;
        self.own.as_ref().is_none_or(sent).then_some(self.written)
    }

    /// How many blocks of a damaged file did not have to be sent.
    #[must_use]
    pub fn taken_from_own(&self) -> u32 {
        self.own.as_ref().map_or(0, |own| own.taken)
    }

    /// A block has come. One that is not the next, or not believed, is not taken.
    pub fn block(&mut self, number: u32, data: Bytes) {
        let next = self.crcs.len() as u32;
        if number != next || number >= self.meta.blocks || self.blocks.len() >= WINDOW as usize {
            return;
        }
        if data.len() != self.meta.block_len(number) as usize {
            return;
        }
        if let Ok((_, crc)) = verify_block(&self.meta, number, &data) {
            self.crcs.push(crc);
            self.blocks.push_back(data);
        }
    }

    /// Starts the next operation, if none is under way.
    pub(crate) fn pump(&mut self, tokens: &mut Tokens, out: &mut Outbox) {
        if self.pending.is_some() {
            return;
        }
        if let Some((doing, op)) = self.next_op() {
            self.pending = Some(tokens.issue(doing, op, out));
        }
    }

    fn next_op(&mut self) -> Option<(&'static str, DiskOp)> {
        let file = self.file();
        if !self.created {
            return Some(("creating", DiskOp::Create { file }));
        }
        if self.unsynced >= UNSYNCED_BYTES {
            return Some(("syncing", DiskOp::Sync { file }));
        }
        if let Some(data) = self.blocks.front() {
            let offset = self.meta.offset(self.written);
            return Some(("writing", DiskOp::WriteAt { file, offset, data: data.clone() }));
        }
        if self.written < self.meta.blocks {
            let (number, meta) = (self.written, &self.meta);
            let own = self.own.as_mut().filter(|own| own.lost != Some(number))?;
            own.reading = Some(number);
            let (offset, len) = (meta.offset(number), meta.block_len(number));
            return Some((
                "reading",
                DiskOp::Read { file: FileName::Snapshot(meta.seal.at.index.0), offset, len },
            ));
        }
        let meta = self.meta;
        self.ending.get_or_insert_with(|| ending(file, &meta)).front().cloned()
    }

    /// Whether an operation with this token is under way here.
    pub(crate) fn awaits(&self, token: Token) -> bool {
        self.pending.is_some_and(|pending| pending.token == token)
    }

    /// An operation has ended.
    pub(crate) fn disk_done(&mut self, result: Result<DiskReply, DiskError>) -> Result<Written, HaltReason> {
        let pending = self.pending.take().expect("an operation that ends was under way");
        if let Some(number) = self.own.as_mut().and_then(|own| own.reading.take()) {
            self.tried(number, result);
            return Ok(Written::Working);
        }
        let is_sync = match &self.ending {
            Some(ending) => matches!(ending.front(), Some((_, DiskOp::Sync { .. } | DiskOp::SyncDir))),
            None => self.created && self.unsynced >= UNSYNCED_BYTES,
        };
        if has_no_space(&result) && !is_sync {
            return Ok(Written::NoSpace);
        }
        pending.settle(result)?;
        if !self.created {
            self.created = true;
        } else if let Some(ending) = &mut self.ending {
            ending.pop_front();
            if ending.is_empty() {
                return Ok(Written::Done(self.meta));
            }
        } else if is_sync {
            self.unsynced = 0;
        } else if let Some(data) = self.blocks.pop_front() {
            self.unsynced += data.len() as u64;
            self.written += 1;
        }
        Ok(Written::Working)
    }

    /// A block of the damaged file was read, or not.
    fn tried(&mut self, number: u32, result: Result<DiskReply, DiskError>) {
        let next = self.crcs.len() as u32;
        if number == next
            && let Ok(DiskReply::Data(data)) = result
        {
            self.block(number, data);
        }
        let came = self.crcs.len() as u32 > number;
        let Some(own) = &mut self.own else { return };
        match came {
            // Unless the leader's was quicker.
            true => own.taken += u32::from(number == next),
            false => own.lost = Some(number),
        }
    }

    /// Whether the blocks that came are those of the snapshot that was announced, as far as all have come.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.written < self.meta.blocks || root(&self.crcs) == self.meta.root
    }
}
