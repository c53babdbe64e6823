//! What a node has said and may never take back, read from its own outputs: this is what a restart on any image of a
//! crash must still know.
//!
//! A ledger belongs to a data directory and lives through restarts. It excuses nothing but what the node itself cut
//! from its log in favour of another leader's entries, or of a leader's snapshot. It never looks at a disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::founding::FoundingMessage;
use steadfast_core::protocol::peer;
use steadfast_core::raft::{Message, message::Verdict};
use steadfast_core::snapshot::transfer::SnapshotMessage;
use steadfast_core::state::effect::Founding;
use steadfast_core::trace::Event;
use steadfast_core::types::{BootNumber, Incarnation, Index, NodeId, Term};

use super::image;
use super::recording::Recording;

/// Kinds of peer frames (`docs/formats.md`, peer frames).
const RAFT: u8 = 1;
const FOUNDING: u8 = 2;
const SNAPSHOT: u8 = 5;

/// An entry, by its term and the hash of its bytes.
pub type Stood = (Term, u64);

/// How far a node has told the others that the founding has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// It made no promise.
    #[default]
    Nothing,
    /// It founds this set or none.
    Prepared(Founding),
    /// The cluster is this.
    Founded(Founding),
}

/// What a node holds of the log: entries, and before them a snapshot, which covers what is committed.
#[derive(Clone, Copy)]
pub struct Holds<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its log in memory begins behind this index.
    pub start: Index,
    /// What is committed.
    pub recording: &'a Recording,
}

/// A node's promises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The highest term that it spoke in.
    pub term: Term,
    /// Whom it gave its vote, in the newest term in which it did.
    pub vote: Option<(Term, NodeId)>,
    /// The highest boot that it showed.
    pub boot: BootNumber,
    /// The identity of its directory.
    pub incarnation: Option<Incarnation>,
    /// The founding.
    pub founding: Told,
    /// The entries from index 1 on that it vouched for, to a leader, a client or itself. Those that only a snapshot
    /// of the node still has are the committed ones.
    pub log: Arc<Vec<Stood>>,
    /// The indexes of the snapshots that it began to write or to receive.
    pub begun: Arc<BTreeSet<Index>>,
    /// The index of the newest one that it called durable.
    pub snapshot: Index,
    /// The highest position that a client was told.
    pub acknowledged: Index,
    /// Whether the credentials file holds the password of the administrator that was created.
    pub credentials: bool,
    /// Whether a sync has failed: the hard state may then come back in doubt of itself.
    pub sync_failed: bool,
}

impl Ledger {
    /// A node sent a frame.
    ///
    /// # Errors
    /// A promise that contradicts an earlier one.
    pub fn frame(&mut self, holds: Holds<'_>, frame: &Bytes) -> Result<(), String> {
        let Ok((header, body)) = peer::decode(frame) else {
            return Err("it sends a frame that nobody can read".into());
        };
        self.boot = self.boot.max(header.boot);
        if *self.incarnation.get_or_insert(header.incarnation) != header.incarnation {
            return Err(format!("it speaks as directory {}", header.incarnation));
        }
        match header.kind {
            FOUNDING => match postcard::from_bytes(&body) {
                Ok(FoundingMessage::Prepared { set, .. }) => self.founding = Told::Prepared(set),
                Ok(FoundingMessage::Founded(set)) => self.founding = Told::Founded(set),
                Ok(FoundingMessage::Fresh { .. }) if self.founding != Told::Nothing => {
                    return Err("it has forgotten its founding promise".into());
                }
                _ => {}
            },
            RAFT => {
                let message = Message::decode(&body).map_err(|error| format!("{error:?}"))?;
                return self.message(holds, header.from, header.to, &message);
            }
            SNAPSHOT => {
                // What a follower still wants of a snapshot is no promise: it names a term so that another leader
                // ignores it.
                if let Some(SnapshotMessage::Block { term, .. }) = SnapshotMessage::decode(&body) {
                    return self.votes(term, header.from);
                }
            }
            // What it forwards names a term for the same reason.
            _ => {}
        }
        Ok(())
    }

    fn message(
        &mut self,
        holds: Holds<'_>,
        from: NodeId,
        to: NodeId,
        message: &Message,
    ) -> Result<(), String> {
        match message {
            Message::Vote { term, .. } => self.votes(*term, from),
            Message::VoteReply { term, granted: true } => self.votes(*term, to),
            Message::Append(append) => self.votes(append.term, from),
            Message::TimeoutNow { term } => self.votes(*term, from),
            Message::Gone { term, .. } | Message::Ahead { term, .. } => self.speaks(*term),
            Message::VoteReply { term, .. } | Message::PreVoteReply { term, granted: false } => {
                self.speaks(*term)
            }
            Message::AppendReply { term, verdict, .. } => {
                self.speaks(*term)?;
                match verdict {
                    Verdict::Match(index) => self.vouches(holds, *index),
                    Verdict::Heard | Verdict::Conflict { .. } => Ok(()),
                }
            }
            // These speak of terms that nobody is in yet.
            Message::PreVote { .. } | Message::PreVoteReply { .. } => Ok(()),
        }
    }

    fn speaks(&mut self, term: Term) -> Result<(), String> {
        if term < self.term {
            return Err(format!("it speaks in term {term} after term {}", self.term));
        }
        self.term = term;
        Ok(())
    }

    fn votes(&mut self, term: Term, whom: NodeId) -> Result<(), String> {
        self.speaks(term)?;
        match self.vote {
            Some((before, other)) if before == term && other != whom => {
                Err(format!("it votes for node {whom} in term {term}, and has voted for {other}"))
            }
            _ => {
                self.vote = Some((term, whom));
                Ok(())
            }
        }
    }

    /// The node stands by all that its log holds up to an index.
    ///
    /// # Errors
    /// An entry that it does not have, or that was another one.
    pub fn vouches(&mut self, holds: Holds<'_>, index: Index) -> Result<(), String> {
        let known = self.log.len() as u64;
        if let Some(last) = self.log.last() {
            let now = holds.entry(Index(known.min(index.0)));
            let then = self.log.get(known.min(index.0).saturating_sub(1) as usize);
            if index.0 > 0 && now.as_ref() != then {
                return Err(format!("entry {} is not the one it vouched for ({last:?})", known.min(index.0)));
            }
        }
        for at in known + 1..=index.0 {
            let Some(entry) = holds.entry(Index(at)) else {
                return Err(format!("it vouches for entry {at}, which it does not have"));
            };
            Arc::make_mut(&mut self.log).push(entry);
        }
        Ok(())
    }

    /// A client was told a position. Alone, the node stands by all entries up to it.
    ///
    /// # Errors
    /// See [`Ledger::vouches`].
    pub fn replies(&mut self, holds: Holds<'_>, position: Index, alone: bool) -> Result<(), String> {
        self.acknowledged = self.acknowledged.max(position);
        if alone { self.vouches(holds, position) } else { Ok(()) }
    }

    /// A snapshot that the node calls durable takes the place of its log up to there. Where the log has another entry
    /// than the committed one, all that follows it goes too (Raft paper, figure 13, steps 6 and 7).
    ///
    /// # Errors
    /// It covers what nobody has committed.
    pub fn covered(&mut self, recording: &Recording, index: Index) -> Result<(), String> {
        let Some(entry) = recording.committed_at(index) else {
            return Err(format!("it has a snapshot of entry {index}, which nobody has committed"));
        };
        self.snapshot = self.snapshot.max(index);
        let covered = index.0 as usize;
        if self.log.get(covered - 1) != Some(&entry.entry) {
            let entries = recording.committed[..covered].iter().map(|it| it.entry);
            self.log = Arc::new(entries.collect());
        }
        Ok(())
    }

    /// The node said something about itself.
    pub fn said(&mut self, event: &Event) {
        match event {
            Event::Truncated { from } => {
                let keep = from.prev().0 as usize;
                if self.log.len() > keep {
                    Arc::make_mut(&mut self.log).truncate(keep);
                }
            }
            Event::Recovered { boot, .. } => self.boot = self.boot.max(*boot),
            Event::RootCreated => self.credentials = true,
            Event::SnapshotBegun { index } => {
                Arc::make_mut(&mut self.begun).insert(*index);
            }
            _ => {}
        }
    }

    /// The ledger in a line.
    #[must_use]
    pub fn describe(&self) -> String {
        let vote = self.vote.map_or("none".into(), |(term, whom)| format!("n{whom} in term {term}"));
        let founding = match &self.founding {
            Told::Nothing => "none",
            Told::Prepared(_) => "prepared",
            Told::Founded(_) => "founded",
        };
        format!(
            "boot {} term {} vote {vote} founding {founding} entries {} snapshot {} acknowledged {} credentials {}",
            self.boot,
            self.term,
            self.log.len(),
            self.snapshot,
            self.acknowledged,
            if self.credentials { "yes" } else { "no" }
        )
    }
}

impl Holds<'_> {
    /// An entry, by what identifies it.
    #[must_use]
    pub fn entry(self, index: Index) -> Option<Stood> {
        if index <= self.start {
            return self.recording.committed_at(index).map(|it| it.entry);
        }
        self.node.entry(index).map(|(term, body)| (term, image::hash(body)))
    }

    /// The term of an entry, or of the place before the first one.
    #[must_use]
    pub fn term(self, index: Index) -> Option<Term> {
        if index <= self.start {
            return self.recording.term_at(index);
        }
        self.node.entry(index).map(|(term, _)| term)
    }
}
