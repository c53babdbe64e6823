//! Writes the hard state: one write and one sync at a time, each into the next slot.
//!
//! It never reads, never touches the slot with the newest record, and never tries again what failed.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{FILE_BYTES, encode, place_of, slot_of};
use super::{HardState, MAX_PEERS};
use crate::disk::{Pending, Tokens, has_no_space};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Token};
use crate::types::WriteSeq;
use crate::wal::Wal;

/// The store of the hard state. Made by [`super::HardRecovery`].
#[derive(Clone, Debug)]
pub struct HardStore {
    state: HardState,
    tokens: Tokens,
    /// Generation of the newest record, written or under way.
    generation: u64,
    issued: WriteSeq,
    durable: WriteSeq,
    /// The newest segment that a durable record vouches for.
    durable_log_segment: u64,
    /// Whether the newest record is on disk once only.
    unconfirmed: bool,
    /// What is left of the operations under way; the front one is issued if `pending` is.
    ops: VecDeque<(&'static str, DiskOp)>,
    pending: Option<Pending>,
    /// What is durable once `ops` is empty.
    covers: WriteSeq,
    covers_log_segment: u64,
    /// Whether both files exist in full length.
    created: bool,
    /// Whether what was found at the start is known to be on disk, as far as a sync can tell.
    settled: bool,
    /// Whether a write that finds no space waits for the next [`Self::retry`], instead of ending the node.
    patient: bool,
    /// One does.
    refused: bool,
}

impl HardStore {
    /// Over files that exist, or that are to be created with the first record.
    pub(super) fn new(tokens: Tokens, found: Option<(u64, HardState)>) -> Self {
        let created = found.is_some();
        let (generation, state) = found.unwrap_or_default();
        Self {
            tokens,
            generation,
            issued: WriteSeq(0),
            durable: WriteSeq(0),
            // After a failed sync the record that was read may not be durable: the next write tells.
            durable_log_segment: 0,
            unconfirmed: false,
            ops: VecDeque::new(),
            pending: None,
            covers: WriteSeq(0),
            covers_log_segment: 0,
            created,
            settled: false,
            patient: false,
            refused: false,
            state,
        }
    }

    /// The newest state, durable or not. All zeros before the first [`Self::set`] of an empty directory.
    #[must_use]
    pub fn get(&self) -> &HardState {
        &self.state
    }

    /// Replaces the state, and counts one write. States that were not yet being written are never written.
    pub fn set(&mut self, state: HardState) -> WriteSeq {
        assert!(state.peers.len() <= MAX_PEERS, "a node remembers only its configured peers");
        assert!(state.term >= self.state.term, "a term never goes back (Raft paper, section 5.1)");
        assert!(
            state.term > self.state.term || self.state.vote.is_none() || state.vote == self.state.vote,
            "a node votes once in a term (Raft paper, section 5.2)"
        );
        assert!(state.boot >= self.state.boot, "a boot number never goes back");
        assert!(state.log_segment >= self.state.log_segment, "what was vouched for stays so");
        self.state = state;
        self.issued = self.issued.next();
        self.issued
    }

    /// Changes the state; see [`Self::set`].
    pub fn update(&mut self, change: impl FnOnce(&mut HardState)) -> WriteSeq {
        let mut state = self.state.clone();
        change(&mut state);
        self.set(state)
    }

    /// Lets the log use every segment whose completeness is on record, and puts newer ones on record. Call it
    /// before the pumps at the end of every step: without it the log writes nothing.
    pub fn vouch(&mut self, wal: &mut Wal) {
        let prepared = wal.prepared();
        if prepared > self.state.log_segment {
            self.update(|state| state.log_segment = prepared);
        }
        wal.vouched(self.durable_log_segment);
    }

    /// The newest set.
    #[must_use]
    pub fn issued(&self) -> WriteSeq {
        self.issued
    }

    /// All writes up to here are synced.
    #[must_use]
    pub fn durable(&self) -> WriteSeq {
        self.durable
    }

    /// From now on a write that finds no space on the disk is tried again: at a start there would be nobody to wait.
    pub fn be_patient(&mut self) {
        self.patient = true;
    }

    /// Whether a write that found no space waits for [`Self::retry`].
    #[must_use]
    pub fn waits_for_space(&self) -> bool {
        self.refused
    }

    /// What found no space may be tried again. Called now and then.
    pub fn retry(&mut self) {
        self.refused = false;
    }

    /// Starts whatever can start. Calling it again changes nothing.
    pub fn pump(&mut self, out: &mut Outbox) {
        if self.pending.is_some() || self.refused {
            return;
        }
        if self.ops.is_empty() {
            self.plan();
        }
        if let Some((doing, op)) = self.ops.front() {
            self.pending = Some(self.tokens.issue(doing, op.clone(), out));
        }
    }

    /// An operation with one of the store's tokens has ended.
    ///
    /// # Errors
    /// Any failure ends the node: the newest record may be on disk or not, and only a start that writes it
    /// again may trust it.
    pub fn disk_done(
        &mut self,
        token: Token,
        result: Result<DiskReply, DiskError>,
    ) -> Result<(), HaltReason> {
        let pending = self.pending.take_if(|pending| pending.token == token);
        let pending = pending.expect("a driver reports an operation once, and only one that was issued");
        let writes = matches!(self.ops.front(), Some((_, DiskOp::WriteAt { .. })));
        if self.patient && writes && has_no_space(&result) {
            // A record of which only a part is there is not believed, and the slot of the newest is another one.
            self.refused = true;
            return Ok(());
        }
        pending.settle(result)?;
        self.ops.pop_front();
        if self.ops.is_empty() {
            self.unconfirmed = self.covers > self.durable;
            self.durable = self.covers;
            self.durable_log_segment = self.covers_log_segment;
            self.created = true;
        }
        Ok(())
    }

    /// Plans the next record: of a newer state, or once more of the newest.
    fn plan(&mut self) {
        let newer = self.issued > self.durable;
        if !newer && !self.unconfirmed {
            return;
        }
        if !self.created {
            self.plan_creation();
        } else if !self.settled {
            // A killed process may leave a record that is readable and not durable. Were the next one written beside
            // it, a power loss could break both, which looks like rot and would leave the node in doubt.
            for file in [FileName::Hard(0), FileName::Hard(1)] {
                self.ops.push_back(("syncing the hard state that was found in", DiskOp::Sync { file }));
            }
        }
        self.settled = true;
        self.generation = self.generation.checked_add(1).expect("generations are not exhausted");
        let (file, offset) = place_of(slot_of(self.generation));
        let data = Bytes::from(encode(self.generation, &self.state));
        self.ops.push_back(("writing the hard state to", DiskOp::WriteAt { file, offset, data }));
        self.ops.push_back(("syncing the hard state in", DiskOp::Sync { file }));
        self.covers = self.issued;
        self.covers_log_segment = self.state.log_segment;
    }

    /// Both files, zero-filled and with durable names, before the first record: a file that is missing or
    /// short later was damaged.
    fn plan_creation(&mut self) {
        let files = [FileName::Hard(0), FileName::Hard(1)];
        for file in files {
            self.ops.push_back(("creating", DiskOp::Create { file }));
        }
        for file in files {
            let data = Bytes::from_static(&[0; FILE_BYTES as usize]);
            self.ops.push_back(("filling", DiskOp::WriteAt { file, offset: 0, data }));
        }
        for file in files {
            self.ops.push_back(("syncing", DiskOp::Sync { file }));
        }
        self.ops.push_back(("syncing the data directory for the hard state", DiskOp::SyncDir));
    }
}
