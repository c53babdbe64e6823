//! Requests whose answer is still to come: a claim waits, and nobody knows for how long. The request is parked at the node that
//! has the client's connection, and answered when that node has applied the entry that ends the wait. So it makes no difference
//! who leads by then, and nothing is asked again.
//!
//! This file keeps the book. It never decides when a wait ends.

use std::collections::{BTreeMap, VecDeque};

use super::forward::Ticket;
use crate::reply::Reply;
use crate::types::Index;

/// So many ended waits are remembered, for requests that are parked later than they end.
const REMEMBERED: usize = 8192;

/// The requests that are parked.
#[derive(Clone, Debug, Default)]
pub struct Parked {
    /// By the claim's number.
    requests: BTreeMap<Index, Vec<Ticket>>,
    /// The claim that each waits for, and whether it is to go on without the request: it was made in a session, in which it
    /// can be asked for again.
    tickets: BTreeMap<Ticket, (Index, bool)>,
    ended: VecDeque<(Index, Reply)>,
}

impl Parked {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Parks a request, or says what it gets, if its wait has ended meanwhile.
    pub fn park(&mut self, id: Index, ticket: Ticket, in_session: bool) -> Option<Reply> {
        if let Some((_, reply)) = self.ended.iter().find(|(ended, _)| *ended == id) {
            return Some(reply.clone());
        }
        self.requests.entry(id).or_default().push(ticket);
        self.tickets.insert(ticket, (id, in_session));
        None
    }

    /// A wait has ended: who gets the answer.
    pub fn ended(&mut self, id: Index, reply: &Reply) -> Vec<Ticket> {
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((id, reply.clone()));
        let tickets = self.requests.remove(&id).unwrap_or_default();
        for ticket in &tickets {
            self.tickets.remove(ticket);
        }
        tickets
    }

    /// Nobody waits for this answer any more. The claim that it was about, if it is of no use to anybody now.
    pub fn give_up(&mut self, ticket: Ticket) -> Option<Option<Index>> {
        let (id, in_session) = self.tickets.remove(&ticket)?;
        let others = self.requests.get_mut(&id).expect("a parked request is in both books");
        others.retain(|other| *other != ticket);
        let alone = others.is_empty();
        if alone {
            self.requests.remove(&id);
        }
        Some((alone && !in_session).then_some(id))
    }

    /// Takes out the requests whose claim is not what `keep` wants: each with its claim, and whether it was made in a session.
    pub fn retain(&mut self, keep: impl Fn(Index) -> bool) -> Vec<(Ticket, Index, bool)> {
        let gone = self.tickets.iter().filter(|(_, (id, _))| !keep(*id));
        let gone: Vec<(Ticket, Index, bool)> =
            gone.map(|(ticket, (id, in_session))| (*ticket, *id, *in_session)).collect();
        for (ticket, id, _) in &gone {
            self.tickets.remove(ticket);
            self.requests.remove(id);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Value;
    use crate::types::ConnId;

    fn ticket(number: u64) -> Ticket {
        Ticket { conn: ConnId(1), number }
    }

    fn reply() -> Reply {
        Reply { outcome: Ok(Value::ok()), receipt: None }
    }

    #[test]
    fn all_who_wait_for_a_claim_are_told_also_those_who_come_late() {
        let mut parked = Parked::default();
        assert_eq!(parked.park(Index(5), ticket(1), false), None);
        assert_eq!(parked.park(Index(5), ticket(2), true), None);
        assert_eq!(parked.ended(Index(5), &reply()), [ticket(1), ticket(2)]);
        assert_eq!(parked.park(Index(5), ticket(3), false), Some(reply()));
        assert_eq!(parked.len(), 0);
    }

    #[test]
    fn a_claim_is_given_up_with_its_last_request_unless_it_can_be_asked_for_again() {
        let mut parked = Parked::default();
        parked.park(Index(5), ticket(1), false);
        parked.park(Index(5), ticket(2), false);
        parked.park(Index(6), ticket(3), true);
        assert_eq!(parked.give_up(ticket(1)), Some(None));
        assert_eq!(parked.give_up(ticket(2)), Some(Some(Index(5))));
        assert_eq!(parked.give_up(ticket(3)), Some(None));
        assert_eq!(parked.give_up(ticket(3)), None, "it was not parked any more");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut parked = Parked::default();
        for id in 0..REMEMBERED as u64 + 1 {
            parked.ended(Index(id), &reply());
        }
        assert_eq!(parked.park(Index(0), ticket(1), false), None);
        assert_eq!(parked.park(Index(1), ticket(2), false), Some(reply()));
        assert_eq!(parked.retain(|id| id != Index(0)), [(ticket(1), Index(0), false)]);
    }
}
