//! What must not leave before a sync: Raft's messages, and the count of what this node itself holds.
//!
//! A message waits for *writes issued*, never for a log index: an index can be cut off and issued again while a
//! sync is under way, and the sync then speaks of the old one.

use bytes::Bytes;

use super::peers::Kind;
use super::replica::Replica;
use crate::hard::HardState;
use crate::io::{Lane, Outbox, Output};
use crate::protocol::peer;
use crate::raft::Needs;
use crate::types::{Index, NodeId, Term, WriteSeq};

/// A message that waits for writes.
#[derive(Clone, Debug)]
pub(super) struct Held {
    to: NodeId,
    /// The term in which it was said; in a later one it is stale and goes nowhere.
    term: Term,
    lane: Lane,
    body: Bytes,
    hard: WriteSeq,
    log: WriteSeq,
}

impl Replica {
    /// Issues what has changed: the term record, the boots that were seen, and the log's new entries.
    pub fn issue_writes(&mut self) {
        let wanted = (self.raft.term(), self.raft.vote(), self.raft.is_doubtful());
        let hard = self.hard.get();
        if (hard.term, hard.vote, hard.in_doubt) != wanted || self.peers.take_news() {
            let (term, vote, in_doubt) = wanted;
            let peers = self.peers.seen();
            self.hard.set(HardState { term, vote, in_doubt, peers, ..hard.clone() });
        }
        if self.repair.is_some() {
            // Written in one piece when it is whole.
            self.hard.vouch(&mut self.wal);
            return;
        }
        for (index, entry) in self.raft.log_mut().take_unwritten() {
            let seq = self.wal.append(index, entry.term, entry.payload.clone());
            self.writes.push_back((seq, index, self.now.mono));
        }
        self.hard.vouch(&mut self.wal);
    }

    /// Tells Raft what has become durable. True if anything has.
    pub fn collect_durable(&mut self) -> bool {
        let mut newest: Option<Index> = None;
        while let Some(&(seq, index, _)) = self.writes.front() {
            if seq > self.wal.durable() {
                break;
            }
            newest = Some(index);
            self.writes.pop_front();
        }
        if let Some(index) = newest {
            self.raft.log_durable(self.now.mono, index);
        }
        let counted = self.raft.is_leader();
        if self.hard.durable() == self.hard.issued() {
            let hard = self.hard.get();
            let (term, vote) = (hard.term, hard.vote);
            self.raft.vote_durable(self.now.mono, term, vote);
        }
        newest.is_some() || counted != self.raft.is_leader()
    }

    /// Takes over what Raft wants to say, with what it has to wait for.
    pub fn hold_messages(&mut self) {
        for outgoing in self.raft.take_outgoing() {
            let log = match outgoing.needs {
                Needs::Term => WriteSeq(0),
                Needs::Log => self.wal.issued(),
            };
            let body = outgoing.message.encode();
            let (to, lane) = (outgoing.to, outgoing.lane);
            let (term, hard) = (self.raft.term(), self.hard.issued());
            self.held.push(Held { to, term, lane, body, hard, log });
        }
    }

    /// Sends what waits for nothing any more.
    pub fn send_held(&mut self, out: &mut Outbox) {
        let (hard, log, term) = (self.hard.durable(), self.wal.durable(), self.raft.term());
        let ready = |held: &Held| held.hard <= hard && held.log <= log;
        for held in self.held.extract_if(.., |held| ready(held) || held.term < term) {
            if held.term == term {
                let frame = peer::encode(&self.peers.header(held.to, Kind::Raft), &held.body);
                out.push(Output::SendPeer { to: held.to, lane: held.lane, frame });
            }
        }
    }
}
