//! A member's snapshots: when one is taken, what may go once it is durable, and to whom it is sent; `receiving` is the
//! follower's side.
//!
//! This file decides; `snapshot/` writes, reads and sends. At most one snapshot is written or received at a time.

mod receiving;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::peers::Kind;
use super::replica::{Replica, Stepped, notice, probe};
use super::short::Short;
use crate::config::SnapshotConfig;
use crate::disk::{Pending, Tokens};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, Lane, Outbox, Output, Token};
use crate::protocol::peer::{self, PeerHeader};
use crate::snapshot::format::Seal;
use crate::snapshot::transfer::{Receiving, Sending, SnapshotMessage};
use crate::snapshot::{Damaged, Encoded, LoadStep, Loading, Meta, Writer, Written, is_point, made_of};
use crate::time::Micros;
use crate::trace::{Event, Probe};
use crate::types::{EntryId, Index, NodeId};

/// For slow followers the log stays in memory for at most so many times what is logged between two snapshots.
const KEEP_INTERVALS: u64 = 2;

/// After a snapshot that could not be written when it was due, there are so many points in an interval.
const FINER_POINTS: u64 = 8;

/// What a member knows of its snapshots.
#[derive(Clone, Debug)]
pub(super) struct Snapshots {
    tokens: Tokens,
    /// The newest that is durable.
    pub current: Option<Meta>,
    writer: Option<Writer>,
    receiving: Option<Receiving>,
    /// A received one that is durable and becomes the state.
    loading: Option<Loading>,
    sending: BTreeMap<NodeId, Sending>,
    /// The current one can't be sent: one of the present state will take its place.
    spoilt: bool,
    /// What a start has found damaged. The blocks that are intact need not be sent.
    damaged: Vec<Damaged>,
    /// Files that nothing needs, but for those that are being sent.
    unused: Vec<FileName>,
    removing: Option<(Pending, FileName)>,
    /// A point went by while nothing could be written.
    missed: bool,
    short: Short,
}

/// What a start has found of snapshots.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// For all further operations.
    pub tokens: Tokens,
    /// The one whose state was read.
    pub current: Option<Meta>,
    /// Files that nothing needs.
    pub unused: Vec<FileName>,
    /// Newer ones that are damaged.
    pub damaged: Vec<Damaged>,
}

impl Snapshots {
    /// As a start has found them.
    pub fn new(found: Found) -> Self {
        let Found { tokens, current, unused, damaged } = found;
        Self {
            tokens,
            current,
            damaged,
            writer: None,
            receiving: None,
            loading: None,
            sending: BTreeMap::new(),
            spoilt: false,
            unused,
            removing: None,
            missed: false,
            short: Short::default(),
        }
    }

    /// Whether a snapshot's files under either name are being removed.
    fn is_going(&self, unfinished: FileName, index: Index) -> bool {
        let names = [unfinished, FileName::Snapshot(index.0)];
        self.removing.is_some_and(|(_, file)| names.contains(&file))
    }

    fn is_busy(&self) -> bool {
        self.writer.is_some() || self.receiving.is_some() || self.loading.is_some()
    }

    /// The oldest snapshot that is being sent: its receiver will need the log from there on.
    fn oldest_sent(&self) -> Option<Index> {
        self.sending.values().map(|sending| sending.meta().seal.at.index).min()
    }

    /// Whether a file that was to go is wanted again under the same name.
    fn is_in_use(&self, file: FileName) -> bool {
        let snapshot = |index: Index| file == FileName::Snapshot(index.0);
        self.writer.as_ref().is_some_and(|it| it.file() == file)
            || self
                .receiving
                .as_ref()
                .is_some_and(|it| it.file() == file || snapshot(it.meta().seal.at.index))
            || self.loading.as_ref().is_some_and(|it| snapshot(it.index()))
            || self.current.is_some_and(|meta| snapshot(meta.seal.at.index))
    }

    fn pump_removal(&mut self, out: &mut Outbox) {
        if self.removing.is_some() {
            return;
        }
        let sent = |file: &FileName| {
            self.sending
                .values()
                .filter(|it| !it.is_made())
                .any(|it| *file == FileName::Snapshot(it.meta().seal.at.index.0))
        };
        let in_use = |file: &FileName| sent(file) || self.is_in_use(*file);
        let Some(at) = self.unused.iter().position(|file| !in_use(file)) else { return };
        let file = self.unused.remove(at);
        let pending = self.tokens.issue("removing the unused", DiskOp::Remove { file }, out);
        self.removing = Some((pending, file));
    }
}

impl Replica {
    /// An entry was applied, before which the log weighed so much: whether a snapshot is due after it. Where one was due
    /// and could not be written, it need not wait for a whole interval, or a log that grows fast would grow long.
    pub fn is_snapshot_due(&self, before: u64) -> bool {
        let (after, interval) = (self.state.weight(), self.config.snapshot.interval_bytes);
        is_point(before, after, interval)
            || (self.snapshots.missed && is_point(before, after, interval / FINER_POINTS))
    }

    /// Whether a snapshot may be tried as far as space goes: where it was lacking, not before the log has yielded its own.
    fn has_space_for_snapshot(&self) -> bool {
        let (short, now) = (&self.snapshots.short, self.now.mono);
        !short.waits(now) && (!short.yields(now) || self.wal.has_yielded())
    }

    /// A snapshot is due after this entry, the last one that was applied.
    pub fn snapshot_due(&mut self, index: Index, out: &mut Outbox) {
        let going = self.snapshots.is_going(FileName::SnapshotTmp(index.0), index);
        self.snapshots.missed = self.snapshots.is_busy() || !self.has_space_for_snapshot() || going;
        if self.snapshots.missed {
            return;
        }
        let Some(term) = self.raft.log().term_at(index) else { return };
        let SnapshotConfig { block_bytes, .. } = self.config.snapshot;
        let seal = Seal { cluster: self.founding().cluster, at: EntryId { index, term }, block_bytes };
        let head = self.state.capture().clone();
        self.snapshots.writer = Some(Writer::new(seal, head));
        out.push(Output::Trace(Event::SnapshotBegun { index }));
    }

    /// Whether what is kept for a snapshot is at its limit, so that nothing may be applied.
    pub fn must_wait_for_snapshot(&self) -> bool {
        self.state.kept_bytes() >= self.config.limits.kept_bytes
    }

    /// When [`Self::pump_snapshots`] has something to do although nothing was reported.
    pub fn snapshots_wake_at(&self) -> Option<Micros> {
        self.snapshots.short.retry_at().filter(|at| *at > self.now.mono && !self.snapshots.is_busy())
    }

    /// Starts whatever can start.
    pub fn pump_snapshots(&mut self, out: &mut Outbox) {
        self.give_up_receiving();
        let hurry = self.state.kept_bytes() >= self.config.limits.kept_bytes / 2;
        let Snapshots { writer, receiving, loading, tokens, .. } = &mut self.snapshots;
        if let Some(writer) = writer {
            writer.pump(&mut self.state, hurry, tokens, out);
        }
        if let Some(receiving) = receiving {
            receiving.pump(tokens, out);
        }
        if let Some(loading) = loading {
            loading.pump(tokens, out);
        }
        self.begin_what_waited(out);
        self.pump_sending(out);
        self.snapshots.pump_removal(out);
    }

    /// Begins a snapshot that is wanted whatever the point: one is damaged, or there was no space for one, or the log has
    /// none to grow.
    fn begin_what_waited(&mut self, out: &mut Outbox) {
        let (now, committed, busy) = (self.now.mono, self.state.committed(), self.snapshots.is_busy());
        let Snapshots { short, current, spoilt, .. } = &mut self.snapshots;
        if self.wal.is_full() && self.wal.would_shrink(committed) && *short == Short::No && !busy {
            short.failed(now);
        }
        short.tick(now, busy);
        self.wal.yield_space(short.yields(now));
        let newer = current.map_or(Index(0), |meta| meta.seal.at.index) < committed;
        let wanted = self.scrub.found || *spoilt || (newer && short.retry_at().is_some());
        if wanted && !busy && committed > Index(0) && self.has_space_for_snapshot() {
            self.scrub.found = false;
            self.snapshot_due(committed, out);
        }
    }

    fn pump_sending(&mut self, out: &mut Outbox) {
        let wanting = self.raft.wanting_snapshot(self.now.mono);
        let Snapshots { sending, current, tokens, spoilt, .. } = &mut self.snapshots;
        // A follower that gets no further for so long is sent the newest one, once it is heard again.
        let give_up = Micros(self.config.timing.election.0.saturating_mul(32));
        let now = self.now.mono;
        sending.retain(|peer, it| {
            let fits = it.is_made() == self.raft.is_witness_at(*peer);
            fits && wanting.contains(peer) && now < it.moved_at().after(give_up)
        });
        let patience = Micros(self.config.timing.heartbeat.0.saturating_mul(4));
        let (witnesses, others): (Vec<_>, Vec<_>) =
            wanting.into_iter().partition(|peer| self.raft.is_witness_at(*peer));
        if let Some(meta) = current.filter(|_| !*spoilt) {
            for peer in others {
                let sending = sending.entry(peer).or_insert_with(|| Sending::new(meta, now));
                sending.pump(now, patience, tokens, out);
            }
        }
        for peer in witnesses {
            self.pump_withheld(peer, patience, out);
        }
    }

    /// To a witness goes what it may know of the state, made of the state itself.
    fn pump_withheld(&mut self, peer: NodeId, patience: Micros, out: &mut Outbox) {
        let now = self.now.mono;
        if !self.snapshots.sending.contains_key(&peer) {
            let Some((meta, blocks)) = self.make_withheld() else { return };
            probe(out, Probe::WitnessSentState);
            self.snapshots.sending.insert(peer, Sending::of_made(meta, blocks, now));
        }
        let term = self.raft.term();
        while let Some((meta, (number, data))) = self
            .snapshots
            .sending
            .get_mut(&peer)
            .and_then(|it| Some((*it.meta(), it.next_made(now, patience)?)))
        {
            let withheld = true;
            self.send_snapshot(peer, &SnapshotMessage::Block { term, meta, number, data, withheld }, out);
        }
    }

    /// A snapshot of what a witness may know: a few members and where they are. So small that it is made at once.
    fn make_withheld(&self) -> Option<(Meta, Bytes)> {
        let index = self.state.committed();
        let term = self.raft.log().term_at(index).filter(|_| index > Index(0))?;
        let SnapshotConfig { block_bytes, .. } = self.config.snapshot;
        let seal = Seal { cluster: self.founding().cluster, at: EntryId { index, term }, block_bytes };
        Some(made_of(seal, self.state.withheld(self.hard.get().hash_seed)))
    }

    /// A slice has become blocks.
    pub fn snapshot_encoded(&mut self, token: Token, encoded: Encoded, out: &mut Outbox) -> Stepped {
        // One that was given up meanwhile waits for nothing.
        if let Some(writer) = self.snapshots.writer.as_mut().filter(|writer| writer.awaits(token)) {
            writer.encoded(encoded);
        }
        self.settle(out)
    }

    /// A disk operation of a snapshot has ended.
    pub fn snapshot_disk_done(
        &mut self,
        token: Token,
        result: Result<DiskReply, DiskError>,
        out: &mut Outbox,
    ) -> Stepped {
        let Snapshots { writer, receiving, loading, sending, removing, .. } = &mut self.snapshots;
        if let Some(writer) = writer.as_mut().filter(|it| it.awaits(token)) {
            let written = writer.disk_done(result)?;
            self.snapshot_written(written, out);
        } else if let Some(receiving) = receiving.as_mut().filter(|it| it.awaits(token)) {
            let written = receiving.disk_done(result)?;
            self.snapshot_received(written, out);
        } else if let Some(loading) = loading.as_mut().filter(|it| it.awaits(token)) {
            let step = loading.disk_done(result);
            match step {
                Ok(LoadStep::Working) => {}
                Ok(LoadStep::Done(state, meta)) => {
                    self.check_level_known(state.level(), meta.seal.at.index)?;
                    self.install(*state, meta, out);
                }
                Err(error) => self.loading_failed(&error, out),
            }
        } else if let Some((&peer, it)) = sending.iter_mut().find(|(_, it)| it.awaits(token)) {
            let meta = *it.meta();
            match it.disk_done(result) {
                Ok((number, data)) => {
                    let term = self.raft.term();
                    let withheld = false;
                    let block = SnapshotMessage::Block { term, meta, number, data, withheld };
                    self.send_snapshot(peer, &block, out);
                }
                Err(flaw) => {
                    notice(out, format!("the snapshot of entry {} is damaged: {flaw}", meta.seal.at));
                    // One of the present state takes its place, and all transfers begin anew with that.
                    self.scrub.found = true;
                    self.snapshots.spoilt = true;
                    self.snapshots.sending.clear();
                }
            }
        } else if let Some(removed) = removing.take_if(|(pending, _)| pending.token == token) {
            // What could not be removed is left for the next start to find.
            let _ = removed;
        }
        self.settle(out)
    }

    /// This node's own snapshot has got further.
    fn snapshot_written(&mut self, written: Written, out: &mut Outbox) {
        match written {
            Written::Working => {}
            Written::Done(meta) => {
                self.snapshots.writer = None;
                self.snapshot_durable(meta, out);
            }
            Written::NoSpace => {
                self.give_up_writing();
                self.no_space_for_snapshot(out);
            }
        }
    }

    fn no_space_for_snapshot(&mut self, out: &mut Outbox) {
        self.snapshots.short.failed(self.now.mono);
        notice(out, "there is no space for a snapshot: the log can't be shortened until there is".into());
    }

    fn give_up_writing(&mut self) {
        if let Some(writer) = self.snapshots.writer.take() {
            self.state.drop_capture();
            self.snapshots.unused.push(writer.file());
        }
    }

    /// A snapshot is durable under its own name: what it replaces may go.
    fn snapshot_durable(&mut self, meta: Meta, out: &mut Outbox) {
        let index = meta.seal.at.index;
        (self.snapshots.short, self.snapshots.spoilt) = (Short::No, false);
        if let Some(old) = self.snapshots.current.replace(meta).filter(|old| old.seal.at.index != index) {
            self.snapshots.unused.push(FileName::Snapshot(old.seal.at.index.0));
        }
        let damaged = self.snapshots.damaged.drain(..).map(|damaged| damaged.file);
        self.snapshots.unused.extend(damaged.filter(|file| *file != FileName::Snapshot(index.0)));
        out.push(Output::Trace(Event::SnapshotTaken { index, bytes: meta.file_bytes() }));
        probe(out, Probe::SnapshotTaken);
        if self.repair.is_some() {
            // Of a damaged log nothing goes before it is whole.
            return;
        }
        self.wal.release(index);
        self.raft.compact(self.log_needed_from(index));
    }

    /// Up to where the log in memory may go, if a snapshot covers it up to `covered`: what followers that are heard
    /// still need stays, as long as there is room.
    fn log_needed_from(&self, covered: Index) -> Index {
        let (log, limits) = (self.raft.log(), &self.config.limits);
        if log.bytes() > self.config.snapshot.interval_bytes.saturating_mul(KEEP_INTERVALS) {
            return covered;
        }
        // Whoever leads next will want to reach followers that are a little behind.
        let near = Index(log.last().0.saturating_sub(limits.append_entries as u64));
        let wanted = self.raft.needed_from(self.now.mono).into_iter().chain(self.snapshots.oldest_sent());
        wanted.fold(covered.min(near), Index::min)
    }

    /// Another node's message about a snapshot.
    pub fn snapshot_message(
        &mut self,
        header: &PeerHeader,
        message: SnapshotMessage,
        out: &mut Outbox,
    ) -> Stepped {
        match message {
            SnapshotMessage::Wanted { term, root, next } => {
                let sending = self.snapshots.sending.get_mut(&header.from);
                if let Some(it) = sending.filter(|it| it.meta().root == root && term == self.raft.term()) {
                    it.wanted(self.now.mono, next);
                }
            }
            SnapshotMessage::Block { term, meta, number, data, withheld } => {
                let leads = self.raft.leader() == Some(header.from) && !self.raft.is_leader();
                // A leader may not know yet whether this directory is a witness's: one under the same number was of the other kind.
                let fits = withheld == self.raft.is_witness();
                if fits && leads && term == self.raft.term() && self.wants(&meta) {
                    self.receive_block(header.from, meta, number, data, out);
                }
            }
        }
        Ok(())
    }

    fn send_snapshot(&mut self, to: NodeId, message: &SnapshotMessage, out: &mut Outbox) {
        let body = message.encode();
        let frame = peer::encode(&self.peers.header(to, Kind::Snapshot), &body);
        out.push(Output::SendPeer { to, lane: Lane::Bulk, frame });
    }
}
