//! A disk in the hand of a script: what was issued, and what of it a crash leaves.
//!
//! Two kinds of writes with a sync each, as the node has them: the term record and the log. Like `node/durable.rs` it
//! counts writes, never indexes. It decides nothing.

use std::collections::VecDeque;

use crate::raft::LogEntry;
use crate::types::{EntryId, Index, NodeId, Term};

/// The term record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hard {
    pub term: Term,
    pub vote: Option<NodeId>,
    pub doubtful: bool,
}

/// What survives a crash, as it can be copied and put back.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub hard: Hard,
    /// Every entry, also those for which a snapshot stands: the checker compares them.
    pub log: Vec<LogEntry>,
    /// For how many of them, from the first on, a snapshot stands.
    pub covered: usize,
}

impl Image {
    /// What the snapshot covers, and the last entry of that.
    pub fn start(&self) -> (&[LogEntry], EntryId) {
        let covered = &self.log[..self.covered];
        let term = covered.last().map_or_else(Term::default, |last| last.term);
        (covered, EntryId { index: Index(self.covered as u64), term })
    }
}

/// One node's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    durable: Image,
    /// The term record as last issued.
    issued: Hard,
    hard_writes: VecDeque<Hard>,
    log_writes: VecDeque<(Index, LogEntry)>,
    /// The log writes that still speak of the present log, with their numbers: only these are reported.
    valid: VecDeque<(u64, Index)>,
    hard_done: u64,
    log_done: u64,
}

impl Disk {
    /// A disk with this on it.
    pub fn holding(durable: Image) -> Self {
        Self { issued: durable.hard.clone(), durable, ..Self::default() }
    }

    /// What a crash now would leave.
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// A snapshot of these entries is durable. What was issued of them is as good as written, and whatever the log had in their place
    /// is gone with all that followed it.
    pub fn cover(&mut self, entries: &[LogEntry]) {
        if !self.durable.log.starts_with(entries) {
            self.durable.log = entries.to_vec();
        }
        self.durable.covered = self.durable.covered.max(entries.len());
    }

    /// The log begins anew behind the snapshot: what was issued of the old one says nothing any more.
    pub fn begin_anew(&mut self) {
        self.durable.log.truncate(self.durable.covered);
        self.log_done += self.log_writes.len() as u64;
        self.log_writes.clear();
        self.valid.clear();
    }

    /// Everything that was not synced is gone.
    pub fn crash(&mut self) {
        *self = Self::holding(std::mem::take(&mut self.durable));
    }

    /// Issues the term record, if it has changed.
    pub fn write_hard(&mut self, hard: Hard) {
        if hard != self.issued {
            self.issued = hard.clone();
            self.hard_writes.push_back(hard);
        }
    }

    /// Issues one entry; one at or before the end supersedes everything from its index on.
    pub fn write_log(&mut self, index: Index, entry: LogEntry) {
        self.log_writes.push_back((index, entry));
        self.valid.push_back((self.log_issued(), index));
    }

    /// The log was cut: what was issued from here on says nothing about it any more.
    pub fn forget_from(&mut self, index: Index) {
        self.valid.retain(|(_, at)| *at < index);
    }

    /// A sync of the term record has ended.
    pub fn sync_hard(&mut self) {
        self.hard_done += self.hard_writes.len() as u64;
        if let Some(hard) = self.hard_writes.drain(..).next_back() {
            self.durable.hard = hard;
        }
    }

    /// A sync that covered the oldest `count` log writes has ended.
    pub fn sync_log(&mut self, count: usize) {
        for (index, entry) in self.log_writes.drain(..count.min(self.log_writes.len())) {
            if index.0 as usize <= self.durable.covered {
                self.log_done += 1;
                continue;
            }
            self.durable.log.truncate(index.prev().0 as usize);
            assert_eq!(self.durable.log.len() as u64, index.prev().0, "a log is written without gaps");
            self.durable.log.push(entry);
            self.log_done += 1;
        }
    }

    /// The newest index of the present log that has become durable since this was last asked.
    pub fn collect(&mut self) -> Option<Index> {
        let mut newest = None;
        while let Some((_, index)) = self.valid.pop_front_if(|(seq, _)| *seq <= self.log_done) {
            newest = Some(index);
        }
        newest
    }

    /// The term record, if what was issued is durable.
    pub fn settled_hard(&self) -> Option<&Hard> {
        self.hard_writes.is_empty().then_some(&self.durable.hard)
    }

    /// How many term records were issued.
    pub fn hard_issued(&self) -> u64 {
        self.hard_done + self.hard_writes.len() as u64
    }

    /// How many log writes were issued.
    pub fn log_issued(&self) -> u64 {
        self.log_done + self.log_writes.len() as u64
    }

    /// How many term records are durable.
    pub fn hard_done(&self) -> u64 {
        self.hard_done
    }

    /// How many log writes are durable.
    pub fn log_done(&self) -> u64 {
        self.log_done
    }

    /// Whether nothing waits for a sync.
    pub fn is_quiet(&self) -> bool {
        self.hard_writes.is_empty() && self.log_writes.is_empty()
    }
}
