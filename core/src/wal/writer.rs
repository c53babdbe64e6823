//! The log's writer: group commit into zero-filled segments.
//!
//! Entries queue up; one batch at a time is written and synced while the next one gathers. Both are asked for at once: the
//! disk does the one after the other, and nobody has to hear of the write before the sync can begin. A batch is
//! written only once all before it is durable, so a mark always names its own beginning as the synced
//! place, and whatever is found torn after a crash belongs to the one batch that was under way. The writer
//! never reads, never overwrites a sector that may hold acknowledged bytes, and never tries again what
//! failed.

mod batch;
mod mending;
mod space;

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{Identity, Link, MAX_PAYLOAD, Mark, Position, SegmentHeader};
use super::prepare::{Preparation, PreparationStep, segment_bytes};
use crate::config::LogConfig;
use crate::disk::{Pending, Tokens, has_no_space};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Owner, Token};
use crate::time::Micros;
use crate::types::{BootNumber, EntryId, Index, Term, WriteSeq};
use mending::Mending;
use space::Task;

/// Most segments that wait to be used again.
const MOST_SPARE: usize = 2;

/// What the log must know about its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Whose log it is.
    pub identity: Identity,
    /// The boot that is under way.
    pub boot: BootNumber,
    /// That boot's nonce.
    pub nonce: u64,
    /// The layout.
    pub log: LogConfig,
    /// How long the log must be idle before its newest entries get their mark.
    pub idle_mark: Micros,
}

/// The write-ahead log. Made by [`super::Recovery`].
#[derive(Clone, Debug)]
pub struct Wal {
    setup: Setup,
    tokens: Tokens,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    issued: WriteSeq,
    durable: WriteSeq,
    /// Index of the newest entry, queued ones included.
    last: Index,
    /// Size of the segment in use, in bytes.
    bytes: u64,
    /// Where the next batch goes.
    tail: Link,
    write: Option<Write>,
    /// Whether the segment in use has its header durable.
    header_durable: bool,
    /// Whether the newest durable mark covers every durable entry.
    marked: bool,
    idle_since: Option<Micros>,
    next: Option<Preparation>,
    preparing: Option<(Pending, PreparationStep)>,
    /// Size that a batch waits for in the next segment, in bytes; 0 if none waits.
    wanted: u64,
    /// Whether not even one entry fits into the segment in use, so that nothing can go on before that.
    blocked: bool,
    /// No segment beyond this one may hold a batch yet.
    vouched: u64,
    /// The segments before this one, oldest first.
    closed: VecDeque<Closed>,
    /// The last entry that a durable snapshot is known to cover.
    covered: Index,
    /// Segments that hold nothing which is still needed, to be used again.
    spare: VecDeque<u64>,
    /// The log is to begin anew behind this entry; appends that were queued before and never written.
    anchor: Option<(EntryId, u64)>,
    cleanup: VecDeque<(&'static str, DiskOp)>,
    cleaning: Option<Pending>,
    mending: Mending,
    /// There was no space for this, which is tried again after this time.
    full: Option<(Task, Micros)>,
    /// Whether a snapshot is to have the space that a next segment would take.
    yields: bool,
    /// Whether one that was being prepared has been let go, and its file may still be there.
    yielded: bool,
    now: Micros,
}

#[derive(Clone, Debug)]
struct Queued {
    index: Index,
    term: Term,
    payload: Bytes,
}

/// The batch under way.
#[derive(Clone, Debug)]
struct Write {
    file: FileName,
    /// For another try, should the disk be full.
    op: DiskOp,
    /// What has not been reported of it.
    writing: Option<Pending>,
    syncing: Option<Pending>,
    /// The disk had no space for it. What of it is there is not believed, synced or not, and is written over. (A file system
    /// that finds out at the sync only, as networks' do, halts the node: nobody can tell what was lost.)
    refused: bool,
    /// All writes up to here are durable once it is.
    covers: WriteSeq,
    /// Whether it holds more than a mark.
    entries: bool,
}

/// A segment that the log has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) segment: u64,
    /// Length of the file, in bytes, if it stays as it is.
    pub(super) bytes: Option<u64>,
    /// How many of them the log uses.
    pub(super) used: u64,
    /// The index with which the next segment goes on.
    pub(super) next: Index,
}

/// Where recovery leaves the log.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// Where the next batch goes; all before it is durable and marked.
    pub(super) tail: Link,
    /// Size of the segment in use, in bytes.
    pub(super) bytes: u64,
    /// The segments before, oldest first.
    pub(super) closed: VecDeque<Closed>,
    /// What is no longer part of the log.
    pub(super) cleanup: VecDeque<(&'static str, DiskOp)>,
}

impl Wal {
    pub(super) fn new(setup: Setup, start: Start) -> Self {
        Self {
            setup,
            tokens: Tokens::new(Owner::Wal),
            queue: VecDeque::new(),
            queued_bytes: 0,
            issued: WriteSeq(0),
            durable: WriteSeq(0),
            last: start.tail.next.prev(),
            bytes: start.bytes,
            tail: start.tail,
            write: None,
            header_durable: true,
            marked: true,
            idle_since: None,
            next: None,
            preparing: None,
            wanted: 0,
            blocked: false,
            vouched: 0,
            closed: start.closed,
            covered: Index(0),
            spare: VecDeque::new(),
            anchor: None,
            cleanup: start.cleanup,
            cleaning: None,
            mending: Mending::No,
            full: None,
            yields: false,
            yielded: false,
            now: Micros(0),
        }
    }

    /// A damaged log in these segments: it writes nothing before it was mended.
    pub(super) fn damaged(setup: Setup, next: u64, files: Vec<u64>) -> Self {
        let start =
            Start { tail: Link::default(), bytes: 0, closed: VecDeque::new(), cleanup: VecDeque::new() };
        Self { mending: Mending::Waiting(next, files), ..Self::new(setup, start) }
    }

    /// Queues an entry, and counts one write. An index that is not the next but lower supersedes everything
    /// from there on (Raft paper, section 5.3: a conflict deletes the entry and all that follow it).
    pub fn append(&mut self, index: Index, term: Term, payload: Bytes) -> WriteSeq {
        assert!(index > Index(0) && index <= self.last.next(), "the log has no gaps");
        assert!(payload.len() <= MAX_PAYLOAD, "an entry's payload was bounded before it was appended");
        self.queued_bytes += payload.len();
        self.queue.push_back(Queued { index, term, payload });
        self.last = index;
        self.issued = self.issued.next();
        self.issued
    }

    /// A durable snapshot covers everything up to this index: segments that hold nothing else are used again, or
    /// removed.
    pub fn release(&mut self, covered: Index) {
        self.covered = self.covered.max(covered);
        let regular = segment_bytes(&self.setup.log);
        let before = self.cleanup.len();
        while self.would_shrink(covered) {
            let closed = self.closed.pop_front().expect("it was just looked at");
            if closed.bytes == Some(regular) && self.spare.len() < MOST_SPARE {
                self.spare.push_back(closed.segment);
            } else {
                let file = FileName::Wal(closed.segment);
                self.cleanup.push_back(("removing the unused", DiskOp::Remove { file }));
            }
        }
        if self.cleanup.len() > before {
            self.cleanup.push_back(("syncing the data directory after removals", DiskOp::SyncDir));
        }
    }

    /// Whether [`Self::release`] up to this index would make any segment unused.
    #[must_use]
    pub fn would_shrink(&self, covered: Index) -> bool {
        // Without its header the segment in use is no proof that the log has got so far: the one before it must stay, or a
        // start would find that what the hard state vouches for was lost.
        let spares = self.header_durable || self.closed.len() > 1;
        spares && self.closed.front().is_some_and(|closed| closed.next <= covered.next())
    }

    /// The log begins anew behind this entry, which a durable snapshot covers: nothing that it holds follows from
    /// there. What is queued is never written, and counts as durable with the new beginning.
    pub fn restart(&mut self, covered: EntryId) {
        let given_up = self.queue.len() as u64 + self.anchor.map_or(0, |(_, given_up)| given_up);
        self.queue.clear();
        self.queued_bytes = 0;
        (self.blocked, self.wanted) = (false, 0);
        self.last = covered.index;
        self.anchor = Some((covered, given_up));
    }

    /// Whose log it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.setup.identity
    }

    /// The segments that the log has left, each with how much of it the log uses.
    #[must_use]
    pub fn cold(&self) -> VecDeque<Position> {
        let place = |closed: &Closed| Position { segment: closed.segment, offset: closed.used };
        self.closed.iter().map(place).collect()
    }

    /// The newest append.
    #[must_use]
    pub fn issued(&self) -> WriteSeq {
        self.issued
    }

    /// All writes up to here are synced.
    #[must_use]
    pub fn durable(&self) -> WriteSeq {
        self.durable
    }

    /// Whether a batch is on its way to the disk and not yet durable.
    #[must_use]
    pub fn sync_in_flight(&self) -> bool {
        self.write.is_some()
    }

    /// Bytes of payload that no batch has taken yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Bytes of log on disk in use, prepared zeros not counted.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.closed.iter().map(|closed| closed.used).sum::<u64>() + self.tail.position.offset
    }

    /// The newest segment that is complete on disk: in use, or prepared while the header of the one in use is
    /// durable. Recovery relies on that.
    #[must_use]
    pub fn prepared(&self) -> u64 {
        match &self.next {
            Some(next) if next.is_ready() && self.header_durable => next.segment(),
            _ => self.tail.position.segment,
        }
    }

    /// Whether everything is durable, and a durable mark says so.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.marked && self.queue.is_empty() && self.write.is_none()
    }

    /// The durable hard state vouches for all segments up to this one: one of them that is then missing or
    /// cut to nothing was lost. Until a segment is vouched for, no batch goes into it, because after a crash
    /// its loss would look like a preparation that had not ended.
    pub fn vouched(&mut self, segment: u64) {
        self.vouched = self.vouched.max(segment);
    }

    /// When [`Self::pump`] has something to do although nothing was reported: the idle log's mark.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        if let Some((_, until)) = self.full.filter(|(_, until)| *until > self.now) {
            return Some(until);
        }
        let blocked = self.write.is_some()
            || self.blocked
            || self.anchor.is_some()
            || self.vouched < self.tail.position.segment;
        let since = self.idle_since.filter(|_| !blocked)?;
        Some(since.after(self.setup.idle_mark))
    }

    /// Starts whatever can start. Calling it again changes nothing.
    pub fn pump(&mut self, now: Micros, out: &mut Outbox) {
        self.now = now;
        self.pump_mending(out);
        if !matches!(self.mending, Mending::No) {
            return;
        }
        self.pump_write(now, out);
        self.pump_preparation(out);
        self.pump_cleanup(out);
    }

    /// An operation with one of the log's tokens has ended.
    ///
    /// # Errors
    /// Any failure ends the node: what was under way may be on disk in part, and only a recovery that
    /// rewrites it may trust it.
    pub fn disk_done(
        &mut self,
        token: Token,
        result: Result<DiskReply, DiskError>,
    ) -> Result<(), HaltReason> {
        if let Some(write) = &mut self.write {
            if let Some(pending) = write.writing.take_if(|pending| pending.token == token) {
                write.refused = has_no_space(&result);
                self.settle(Task::Batch, pending, result)?;
                self.end_write();
                return Ok(());
            }
            if let Some(pending) = write.syncing.take_if(|pending| pending.token == token) {
                pending.settle(result)?;
                self.end_write();
                return Ok(());
            }
        }
        if let Mending::Writing { rebuild, pending: waits, .. } = &mut self.mending
            && let Some(pending) = waits.take_if(|pending| pending.token == token)
        {
            let tried = rebuild.next_op();
            if matches!(tried, Some((_, DiskOp::Sync { .. } | DiskOp::SyncDir))) {
                pending.settle(result.clone())?;
            }
            let full = has_no_space(&result);
            if !full {
                rebuild.done();
            }
            let (done, at_once) = (rebuild.next_op().is_none(), full && rebuild.no_space(Vec::new()));
            self.settle(Task::Mending, pending, result)?;
            if at_once {
                self.retry_at_once();
            }
            if done {
                self.mended();
            }
            return Ok(());
        }
        if let Some((pending, step)) = self.preparing.take_if(|(pending, _)| pending.token == token) {
            if step.is_sync() {
                pending.settle(result.clone())?;
            }
            let next = self.next.as_mut().expect("a preparation under way has its segment");
            let at_once = if has_no_space(&result) {
                next.finer()
            } else {
                next.done(&step);
                false
            };
            self.settle(Task::Preparation, pending, result)?;
            if at_once {
                self.retry_at_once();
            }
            return Ok(());
        }
        let cleaned = self.cleaning.take_if(|pending| pending.token == token);
        cleaned.expect("a driver reports an operation once, and only one that was issued").settle(result)?;
        // There may be space now, before somebody else takes it.
        self.retry_at_once();
        Ok(())
    }
}

impl Wal {
    /// If the batch under way is written and synced, it is durable.
    fn end_write(&mut self) {
        let ended = |write: &mut Write| write.writing.is_none() && write.syncing.is_none() && !write.refused;
        let Some(write) = self.write.take_if(ended) else { return };
        self.durable = write.covers;
        self.marked = !write.entries;
        if !self.header_durable {
            self.header_durable = true;
            self.release(self.covered);
        }
    }
}

impl Setup {
    /// A segment's header.
    pub(super) fn header(&self, segment: u64, bytes: u64, again: bool, link: Link) -> SegmentHeader {
        SegmentHeader {
            identity: self.identity,
            again,
            segment,
            bytes,
            boot: self.boot,
            nonce: self.nonce,
            link,
        }
    }

    /// The mark of a batch of `len` bytes.
    pub(super) fn mark(&self, synced: Link, len: usize) -> Mark {
        let batch = u32::try_from(len).expect("a batch is shorter than MAX_BATCH or one entry");
        Mark { synced, boot: self.boot, nonce: self.nonce, batch }
    }
}
