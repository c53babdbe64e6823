//! A node's disk as the bounded search needs it: the term record and the log, what of them is durable, and what is only
//! issued. It decides nothing, and keeps no count that only grows, so that equal disks are equal.

use std::collections::VecDeque;

use steadfast_core::raft::LogEntry;
use steadfast_core::types::{EntryId, Index, NodeId, Term};

/// The term record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hard {
    /// The current term.
    pub term: Term,
    /// Whom the node voted for in it.
    pub vote: Option<NodeId>,
}

/// One node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    hard: Hard,
    /// Every entry, also those for which a snapshot stands: the judges compare them.
    log: Vec<LogEntry>,
    /// For how many of them, from the first on, a snapshot stands.
    covered: usize,
    hard_writes: VecDeque<Hard>,
    log_writes: VecDeque<(Index, LogEntry)>,
    /// The log writes that still speak of the present log, by their place among those issued since the last
    /// [`Disk::settle`], counted from 1. Only these are reported.
    valid: VecDeque<(usize, Index)>,
    hard_done: usize,
    log_done: usize,
}

impl Disk {
    /// The durable term record.
    #[must_use]
    pub fn hard(&self) -> &Hard {
        &self.hard
    }

    /// The durable log: what a crash would leave.
    #[must_use]
    pub fn log(&self) -> &[LogEntry] {
        &self.log
    }

    /// What a snapshot stands for, and the last entry of that.
    #[must_use]
    pub fn snapshot(&self) -> (&[LogEntry], EntryId) {
        let covered = &self.log[..self.covered];
        let term = covered.last().map_or_else(Term::default, |last| last.term);
        (covered, EntryId { index: Index(self.covered as u64), term })
    }

    /// A snapshot of these entries is durable. What was issued of them is as good as written, and whatever the log had in their place is
    /// gone with all that followed it.
    pub fn cover(&mut self, entries: &[LogEntry]) {
        if !self.log.starts_with(entries) {
            self.log = entries.to_vec();
        }
        self.covered = self.covered.max(entries.len());
    }

    /// The log begins anew behind the snapshot: what was issued of the old one says nothing any more.
    pub fn begin_anew(&mut self) {
        self.log.truncate(self.covered);
        self.log_done += self.log_writes.len();
        self.log_writes.clear();
        self.valid.clear();
    }

    /// Everything that was not synced is gone.
    pub fn crash(&mut self) {
        let (hard, log) = (std::mem::take(&mut self.hard), std::mem::take(&mut self.log));
        *self = Self { hard, log, covered: self.covered, ..Self::default() };
    }

    /// Issues the term record, if it has changed.
    pub fn write_hard(&mut self, hard: Hard) {
        if *self.hard_writes.back().unwrap_or(&self.hard) != hard {
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
        self.hard_done += self.hard_writes.len();
        if let Some(hard) = self.hard_writes.drain(..).next_back() {
            self.hard = hard;
        }
    }

    /// A sync that covered the oldest `count` log writes has ended.
    pub fn sync_log(&mut self, count: usize) {
        for (index, entry) in self.log_writes.drain(..count.min(self.log_writes.len())) {
            if index.0 as usize <= self.covered {
                self.log_done += 1;
                continue;
            }
            self.log.truncate(index.prev().0 as usize);
            assert_eq!(self.log.len() as u64, index.prev().0, "a log is written without gaps");
            self.log.push(entry);
            self.log_done += 1;
        }
    }

    /// The newest index of the present log that has become durable since this was last asked.
    pub fn collect(&mut self) -> Option<Index> {
        let mut newest = None;
        while let Some((_, index)) = self.valid.pop_front_if(|(place, _)| *place <= self.log_done) {
            newest = Some(index);
        }
        newest
    }

    /// The term record, if what was issued is durable.
    #[must_use]
    pub fn settled_hard(&self) -> Option<&Hard> {
        self.hard_writes.is_empty().then_some(&self.hard)
    }

    /// How many term records were issued.
    #[must_use]
    pub fn hard_issued(&self) -> usize {
        self.hard_done + self.hard_writes.len()
    }

    /// How many log writes were issued.
    #[must_use]
    pub fn log_issued(&self) -> usize {
        self.log_done + self.log_writes.len()
    }

    /// How many term records, and how many log writes, are durable.
    #[must_use]
    pub fn done(&self) -> (usize, usize) {
        (self.hard_done, self.log_done)
    }

    /// Term records and log writes that wait for a sync.
    #[must_use]
    pub fn pending(&self) -> (usize, usize) {
        (self.hard_writes.len(), self.log_writes.len())
    }

    /// Counts from here on anew.
    pub fn settle(&mut self) {
        for (place, _) in &mut self.valid {
            *place -= self.log_done;
        }
        (self.hard_done, self.log_done) = (0, 0);
    }
}
