//! Answers that wait until they are true: for the entry they depend on to be committed, and, if they logged nothing
//! themselves, for a quorum to confirm that this node still led after the command came.
//!
//! This file releases; it never decides what an answer depends on.

use std::collections::{BTreeMap, BTreeSet};

use super::forward::Ticket;
use crate::raft::Round;
use crate::reply::Reply;
use crate::types::{BootNumber, Incarnation, Index, NodeId};

/// Who gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// A connection of this node.
    Here(Ticket),
    /// The same, for a command in a session.
    HereInSession(Ticket),
    /// The node itself, which wants no answer.
    Nobody,
    /// A connection of another node, by the number in that node's session.
    There {
        /// The node that forwarded.
        node: NodeId,
        /// Its data directory.
        origin: Incarnation,
        /// Its boot.
        boot: BootNumber,
        /// Its number.
        seq: u64,
    },
}

/// An answer and what it waits for.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// Who gets it.
    pub asker: Asker,
    /// The answer.
    pub reply: Reply,
    /// The entry that has to be committed.
    pub depends: Index,
    /// The round that has to be confirmed, for answers that logged nothing.
    pub round: Option<Round>,
    /// Whether the entry it depends on may carry out the asker's own command.
    pub own_entry: bool,
}

/// All answers that wait.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    next: u64,
    /// Waiting for a commit, by index.
    commits: BTreeMap<(Index, u64), Waiter>,
    /// Waiting for a round only, by round.
    rounds: BTreeMap<(Round, u64), Waiter>,
    /// The askers on other nodes, so that a repetition is told from a new command.
    askers: BTreeSet<Asker>,
}

impl Waiting {
    /// How many answers wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.commits.len() + self.rounds.len()
    }

    /// Whether this asker waits.
    #[must_use]
    pub fn has(&self, asker: &Asker) -> bool {
        self.askers.contains(asker)
    }

    /// Adds an answer.
    pub fn push(&mut self, waiter: Waiter) {
        self.next += 1;
        if matches!(waiter.asker, Asker::There { .. }) {
            self.askers.insert(waiter.asker);
        }
        self.commits.insert((waiter.depends, self.next), waiter);
    }

    /// Takes out the answers that are true now, in the order of what they depended on.
    pub fn release(&mut self, commit: Index, confirmed: Option<Round>) -> Vec<Waiter> {
        let mut ready = Vec::new();
        while let Some(first) = self.commits.first_entry() {
            if first.key().0 > commit {
                break;
            }
            let ((_, number), waiter) = first.remove_entry();
            match waiter.round {
                Some(round) if confirmed.is_none_or(|confirmed| round > confirmed) => {
                    self.rounds.insert((round, number), waiter);
                }
                _ => ready.push(waiter),
            }
        }
        while let (Some(first), Some(confirmed)) = (self.rounds.first_entry(), confirmed) {
            if first.key().0 > confirmed {
                break;
            }
            ready.push(first.remove());
        }
        for waiter in &ready {
            self.askers.remove(&waiter.asker);
        }
        ready
    }

    /// Takes everything out: the term is lost.
    pub fn take_all(&mut self) -> Vec<Waiter> {
        self.askers.clear();
        let commits = std::mem::take(&mut self.commits).into_values();
        commits.chain(std::mem::take(&mut self.rounds).into_values()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Value;
    use crate::types::ConnId;

    fn waiter(number: u64, depends: u64, round: Option<u64>) -> Waiter {
        Waiter {
            asker: Asker::Here(Ticket { conn: ConnId(1), number }),
            reply: Reply { outcome: Ok(Value::ok()), receipt: None },
            depends: Index(depends),
            round: round.map(Round),
            own_entry: round.is_none(),
        }
    }

    fn released(waiting: &mut Waiting, commit: u64, round: u64) -> Vec<u64> {
        let ready = waiting.release(Index(commit), Some(Round(round)));
        ready
            .iter()
            .map(|waiter| match waiter.asker {
                Asker::Here(ticket) | Asker::HereInSession(ticket) => ticket.number,
                Asker::Nobody => 0,
                Asker::There { seq, .. } => seq,
            })
            .collect()
    }

    #[test]
    fn an_answer_waits_for_its_entry_and_a_read_for_its_round_too() {
        let mut waiting = Waiting::default();
        waiting.push(waiter(1, 5, None));
        waiting.push(waiter(2, 4, Some(1)));
        waiting.push(waiter(3, 0, Some(2)));
        assert_eq!(released(&mut waiting, 4, 0), [], "no round was confirmed");
        assert_eq!(released(&mut waiting, 4, 1), [2]);
        assert_eq!(released(&mut waiting, 5, 1), [1]);
        assert_eq!(released(&mut waiting, 5, 2), [3]);
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn a_confirmed_round_does_not_release_what_is_not_committed() {
        let mut waiting = Waiting::default();
        waiting.push(waiter(1, 5, Some(1)));
        assert_eq!(released(&mut waiting, 4, 9), []);
        assert_eq!(released(&mut waiting, 5, 9), [1]);
    }
}
