//! Answers that wait until they are true: for the entry they depend on to be committed, and, if they logged nothing
//! themselves, for a quorum to confirm that this node still led after the command came.
//!
//! This file releases; it never decides what an answer depends on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// Waiting for a commit, by index and number: what came in this order anyway, as writes do.
    queue: VecDeque<(u64, Waiter)>,
    /// And what depends on an earlier entry than something that came before it.
    others: BTreeMap<(Index, u64), Waiter>,
    /// Waiting for a round only, by round.
    rounds: BTreeMap<(Round, u64), Waiter>,
    /// The askers on other nodes, so that a repetition is told from a new command.
    askers: BTreeSet<Asker>,
    /// Of all answers.
    bytes: usize,
}

impl Waiter {
    fn bytes(&self) -> usize {
        match &self.reply.outcome {
            Ok(value) => value.size(),
            Err(failure) => failure.message.len(),
        }
    }
}

impl Waiting {
    /// How many answers wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len() + self.others.len() + self.rounds.len()
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether this asker waits.
    #[must_use]
    pub fn has(&self, asker: &Asker) -> bool {
        self.askers.contains(asker)
    }

    /// Adds an answer.
    pub fn push(&mut self, waiter: Waiter) {
        self.next += 1;
        self.bytes += waiter.bytes();
        if matches!(waiter.asker, Asker::There { .. }) {
            self.askers.insert(waiter.asker);
        }
        if self.queue.back().is_none_or(|(_, last)| last.depends <= waiter.depends) {
            self.queue.push_back((self.next, waiter));
        } else {
            self.others.insert((waiter.depends, self.next), waiter);
        }
    }

    /// Takes out the next one whose entry is committed.
    fn pop_committed(&mut self, commit: Index) -> Option<(u64, Waiter)> {
        let queued = self.queue.front().map(|(number, waiter)| (waiter.depends, *number));
        let other = self.others.first_key_value().map(|(place, _)| *place);
        let (depends, _) = queued.into_iter().chain(other).min()?;
        if depends > commit {
            return None;
        }
        if other.is_none_or(|other| queued.is_some_and(|queued| queued < other)) {
            return self.queue.pop_front();
        }
        self.others.pop_first().map(|((_, number), waiter)| (number, waiter))
    }

    /// Takes out the answers that are true now, in the order of what they depended on.
    pub fn release(&mut self, commit: Index, confirmed: Option<Round>) -> Vec<Waiter> {
        let mut ready = Vec::new();
        while let Some((number, waiter)) = self.pop_committed(commit) {
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
            self.bytes -= waiter.bytes();
        }
        ready
    }

    /// Takes everything out: the term is lost.
    pub fn take_all(&mut self) -> Vec<Waiter> {
        self.askers.clear();
        self.bytes = 0;
        let committed = std::iter::from_fn(|| self.pop_committed(Index(u64::MAX)));
        let mut all: Vec<Waiter> = committed.map(|(_, waiter)| waiter).collect();
        all.extend(std::mem::take(&mut self.rounds).into_values());
        all
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
    fn answers_are_released_in_the_order_of_what_they_depend_on_however_they_came() {
        let mut waiting = Waiting::default();
        for (number, depends) in [(1, 5), (2, 7), (3, 6), (4, 7), (5, 5), (6, 8)] {
            waiting.push(waiter(number, depends, None));
        }
        assert_eq!((waiting.len(), waiting.bytes()), (6, 6 * Value::ok().size()));
        assert_eq!(released(&mut waiting, 6, 0), [1, 5, 3]);
        assert_eq!(released(&mut waiting, 7, 0), [2, 4]);
        assert_eq!(waiting.bytes(), Value::ok().size());
        waiting.push(waiter(7, 3, Some(9)));
        assert_eq!(waiting.take_all().len(), 2);
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
