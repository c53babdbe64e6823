//! A member whose log was damaged: it asks the others for what it lost, entry by entry, and takes part again when its
//! log is whole and durable. And what the others answer.
//!
//! Nobody can take an entry for the lost one that is another: whoever answers has an entry that this log has too and
//! that lies behind the lost ones, and then all before it is the same in both (Raft paper, figure 3). If the leader has
//! none of those, then nothing from the lost entries on is committed, and they are given up. If the leader has them in
//! a snapshot alone, it sends that. Until all this is done the node neither leads nor copies nor answers clients from
//! its state, and votes by where its log is known to have ended (CTRL, FAST '18). This file never touches the disk.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::peers::Kind;
use super::replica::{Replica, Stepped, notice, probe};
use crate::io::{Lane, Outbox, Output};
use crate::protocol::peer::{self, PeerHeader};
use crate::raft::LogEntry;
use crate::state::effect::Entry;
use crate::time::Micros;
use crate::trace::{Event, Probe};
use crate::types::{EntryId, Index, NodeId, Term, WriteSeq};

/// Most proofs in one question.
const PROOFS: usize = 16;

/// A repair under way.
#[derive(Clone, Debug)]
pub(super) struct Repair {
    /// When the next question goes out, if no answer comes before.
    ask_at: Micros,
    /// Whom it goes to, in turn.
    turn: usize,
    /// The newest entry that a leader is known to have in common with this log, and its term.
    in_common: Option<(Term, EntryId)>,
    /// The log is whole and on its way to the disk.
    written: Option<WriteSeq>,
}

impl Repair {
    /// Of a log that was just salvaged.
    pub fn new(now: Micros) -> Self {
        Self { ask_at: now, turn: 0, in_common: None, written: None }
    }

    /// Whether the whole log is on its way to the disk, and must stay as it is meanwhile.
    pub fn is_writing(&self) -> bool {
        self.written.is_some()
    }
}

/// What nodes say to each other about lost entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepairMessage {
    /// These entries were lost.
    Lost {
        /// The first.
        from: Index,
        /// The last.
        to: Index,
        /// Entries behind them that were not, the newest first.
        proofs: Vec<EntryId>,
    },
    /// The answer.
    Found {
        /// The answerer's term.
        term: Term,
        /// Whether it leads in that term.
        leads: bool,
        /// The first entry that was asked for.
        from: Index,
        /// What it has.
        found: Found,
    },
}

/// What a node has of another one's lost entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// These: terms and bodies, without gaps from the first that was asked for.
    Entries {
        /// The proof that both logs have in common.
        proof: EntryId,
        /// At least one.
        entries: Vec<(Term, Bytes)>,
    },
    /// A snapshot took their place.
    Covered {
        /// The newest proof that both logs have in common, if any.
        proof: Option<EntryId>,
    },
    /// None of the proofs: its log is another one.
    Differs,
    /// Nothing that helps.
    Nothing,
}

impl Found {
    /// What a witness may know of it.
    fn withheld(self) -> Self {
        match self {
            Self::Entries { proof, entries } => {
                let entries =
                    entries.into_iter().map(|(term, body)| (term, Entry::withheld(&body))).collect();
                Self::Entries { proof, entries }
            }
            other => other,
        }
    }
}

impl Replica {
    /// Asks for what was lost, now and then.
    pub fn repair_tick(&mut self, out: &mut Outbox) {
        let now = self.now.mono;
        let Some(repair) = self.repair.as_mut().filter(|it| it.written.is_none() && now >= it.ask_at) else {
            return;
        };
        let Some((from, to)) = self.raft.log().first_lost() else { return };
        repair.ask_at = now.after(self.config.timing.heartbeat);
        repair.turn += 1;
        let others: Vec<NodeId> =
            self.raft.membership().nodes().into_iter().filter(|node| *node != self.config.id).collect();
        // The leader every other time: it alone can say that the lost entries are given up.
        let in_turn = others.get(repair.turn / 2 % others.len().max(1)).copied();
        let asked = if repair.turn.is_multiple_of(2) { self.raft.leader().or(in_turn) } else { in_turn };
        if let Some(to_whom) = asked {
            let message = RepairMessage::Lost { from, to, proofs: self.raft.log().proofs(PROOFS) };
            self.send_repair(to_whom, &message, out);
        }
    }

    /// When [`Replica::repair_tick`] has something to do.
    pub fn repair_wake_at(&self) -> Option<Micros> {
        // With nothing left to ask for it waits for a sync, however long that takes.
        let asks = |repair: &&Repair| repair.written.is_none() && self.raft.log().lost() > 0;
        self.repair.as_ref().filter(asks).map(|repair| repair.ask_at)
    }

    /// Another node's message about lost entries.
    pub fn repair_message(
        &mut self,
        header: &PeerHeader,
        message: RepairMessage,
        out: &mut Outbox,
    ) -> Stepped {
        match message {
            RepairMessage::Lost { from, to, proofs } => {
                let found = match self.look_up(header.from, from, to, &proofs) {
                    // A witness has nobody's entries but its own.
                    Found::Entries { .. } if self.raft.is_witness() && !header.incarnation.is_witness() => {
                        Found::Nothing
                    }
                    found if header.incarnation.is_witness() => found.withheld(),
                    found => found,
                };
                let (term, leads) = (self.raft.term(), self.raft.is_leader());
                self.send_repair(header.from, &RepairMessage::Found { term, leads, from, found }, out);
            }
            RepairMessage::Found { term, leads, from, found } => {
                let current = self.raft.log().first_lost().is_some_and(|(first, _)| first == from);
                if self.repair.as_ref().is_some_and(|it| it.written.is_none()) && current {
                    let leads = leads && term == self.raft.term() && self.raft.leader() == Some(header.from);
                    self.repair_found(leads, from, found, out);
                }
            }
        }
        Ok(())
    }

    /// What this node has of another one's lost entries.
    fn look_up(&mut self, asker: NodeId, from: Index, to: Index, proofs: &[EntryId]) -> Found {
        let log = self.raft.log();
        let proof =
            proofs.iter().copied().find(|id| log.term_at(id.index) == Some(id.term) && id.index >= to);
        if from <= log.start().index {
            self.raft.needs_snapshot(asker);
            return Found::Covered { proof };
        }
        let Some(proof) = proof else { return Found::Differs };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for index in (from.0..=to.0).map(Index).take(self.config.limits.append_entries) {
            let Some(LogEntry { term, payload }) = log.get(index) else { break };
            bytes += payload.len();
            if bytes > self.config.limits.append_bytes && !entries.is_empty() {
                break;
            }
            entries.push((*term, payload.clone()));
        }
        if entries.is_empty() { Found::Nothing } else { Found::Entries { proof, entries } }
    }

    /// An answer has come. `leads` if it is that of this term's leader.
    fn repair_found(&mut self, leads: bool, from: Index, found: Found, out: &mut Outbox) {
        let term = self.raft.term();
        let Some(repair) = &mut self.repair else { return };
        match found {
            Found::Entries { proof, entries } => {
                // It may be one that was given up meanwhile.
                if !self.raft.log().proofs(PROOFS).contains(&proof) {
                    return;
                }
                for (index, (term, payload)) in (from.0..).map(Index).zip(entries) {
                    if !self.raft.log_mut().fill(index, LogEntry { term, payload }) {
                        break;
                    }
                }
                probe(out, Probe::LostEntryFetched);
                repair.ask_at = self.now.mono;
                self.repair_tick(out);
            }
            Found::Covered { proof } if leads => {
                repair.in_common = proof.map(|proof| (term, proof));
            }
            Found::Differs if leads => {
                let text = format!(
                    "the leader has another log behind entry {from}: what was lost from there is given up"
                );
                notice(out, text);
                // Some of it may be committed, and the leader has it; until it has brought it back, this node has
                // forgotten what it confirmed, and abstains.
                self.raft.doubt(self.now.mono);
                self.raft.give_up_lost();
            }
            Found::Covered { .. } | Found::Differs | Found::Nothing => {}
        }
    }

    /// Goes on with a repair: writes the log once it is whole, and takes part again once that is durable.
    pub fn repair_settle(&mut self, out: &mut Outbox) {
        let Some(repair) = &mut self.repair else { return };
        let log = self.raft.log();
        match repair.written {
            // A doubt is on record before the log that it is about.
            None if self.hard.get().in_doubt != self.raft.is_doubtful()
                || self.hard.durable() < self.hard.issued() => {}
            None if log.first_lost().is_none() => {
                let start = log.start();
                let entry =
                    |index: Index| log.get(index).map(|entry| (index, entry.term, entry.payload.clone()));
                let entries: Vec<_> =
                    (start.index.0 + 1..=log.last().0).filter_map(|at| entry(Index(at))).collect();
                repair.written = Some(self.wal.mend(start, &entries));
            }
            Some(written) if self.wal.durable() >= written => {
                self.repair = None;
                self.raft.repaired();
                probe(out, Probe::LogRepaired);
                out.push(Output::Trace(Event::Repaired { last: self.raft.log().last() }));
            }
            _ => {}
        }
    }

    /// Whether a snapshot from the leader that ends here is known to be followed by what this damaged log holds.
    pub fn repair_follows(&self, at: EntryId) -> bool {
        let term = self.raft.term();
        let common = self.repair.as_ref().and_then(|it| it.in_common).filter(|(then, _)| *then == term);
        let log = self.raft.log();
        log.term_at(at.index) == Some(at.term)
            || common.is_some_and(|(_, proof)| {
                proof.index >= at.index
                    && (log.term_at(proof.index) == Some(proof.term) || log.end() == proof)
            })
    }

    fn send_repair(&mut self, to: NodeId, message: &RepairMessage, out: &mut Outbox) {
        let body = postcard::to_stdvec(message).expect("a repair message is plain data");
        let frame = peer::encode(&self.peers.header(to, Kind::Repair), &body);
        out.push(Output::SendPeer { to, lane: Lane::Bulk, frame });
    }
}
