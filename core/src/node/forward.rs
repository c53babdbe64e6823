//! Forwarding: how a node that does not lead hands its clients' commands to the one that does.
//!
//! The origin numbers its commands under its own session (node, boot): a *seq* for ever, and a *position* in the
//! stream to one leader in one term. A leader takes a stream's positions strictly in order, so that a connection's
//! commands take effect in order although frames are lost, doubled and reordered. When the leader or the
//! term changes, all that is unanswered goes to the new one as a new stream, in the old order and under the old
//! seqs: what an earlier leader logged is recognised by its seq and answered from the log, never executed again.
//!
//! This file keeps the origin's books; `inbound.rs` keeps the leader's. It evaluates nothing and answers no client itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access::user::Principal;
use crate::command::Command;
use crate::command::evaluate::Once;
use crate::reply::{Receipt, Reply};
use crate::time::Micros;
use crate::types::{BootNumber, ConnId, NodeId, Term};

/// Most commands on their way to one leader; the rest follow as answers come. Fewer than a link between nodes holds, or
/// they would be lost there and crowd out what Raft has to say.
const FLYING: usize = 1024;

/// Most commands that one repetition sends again.
const REPEATED: usize = 256;

/// What nodes say to each other about forwarded commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardMessage {
    /// A command for the leader of `term`.
    Command {
        /// The leader's term, as the origin knows it. In another term the receiver ignores it.
        term: Term,
        /// The place in the stream to this leader, from zero.
        position: u64,
        /// The number in the origin's session.
        seq: u64,
        /// The origin holds all answers up to here.
        floor: u64,
        /// A leader, this or an earlier one, may have seen the command before.
        again: bool,
        /// What to do.
        task: Task,
    },
    /// The answer.
    Reply {
        /// The origin's boot that asked. Another one counts its commands from the beginning again.
        boot: BootNumber,
        /// The number in the origin's session.
        seq: u64,
        /// The answer.
        reply: Reply,
        /// If it is a refusal: after so many milliseconds another attempt is likelier to be taken in; 0 where nobody knows.
        retry_after_ms: u32,
    },
}

impl ForwardMessage {
    /// The answer to a command.
    #[must_use]
    pub fn reply(boot: BootNumber, seq: u64, reply: Reply) -> Self {
        let retry_after_ms = reply.outcome.as_ref().err().map_or(0, |failure| failure.retry_after_ms);
        Self::Reply { boot, seq, reply, retry_after_ms }
    }
}

/// A command on its way to evaluation, with all that evaluation needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Who asks.
    pub principal: Principal,
    /// What.
    pub command: Command,
    /// Under which session and number, if any.
    pub once: Option<Once>,
    /// How long after it was handed on its answer is still wanted.
    pub within: Micros,
}

/// Whom an answer goes to on its own node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The connection.
    pub conn: ConnId,
    /// The how-manieth task of that connection.
    pub number: u64,
}

/// A command that waits for a leader's answer.
#[derive(Clone, Debug)]
pub struct Outstanding {
    /// Whom the answer goes to; none if nobody waits any more.
    pub ticket: Option<Ticket>,
    /// It is the node's own.
    own: bool,
    /// The command.
    pub task: Task,
    /// Its place in the present stream, once it was sent there.
    position: Option<u64>,
    /// Whether any leader may have seen it.
    pub handed: bool,
    /// Whether a leader before the present one may have.
    moved: bool,
    /// When it came.
    since: Micros,
    /// Its size on the way.
    bytes: usize,
}

impl Outstanding {
    /// The command as it is handed on now.
    fn task(&self, now: Micros) -> Task {
        let within = self.task.within.since(now.since(self.since));
        Task { within, ..self.task.clone() }
    }
}

/// The origin's side.
#[derive(Clone, Debug)]
pub struct Forwarder {
    next_seq: u64,
    outstanding: BTreeMap<u64, Outstanding>,
    /// The commands that somebody waits for.
    tickets: BTreeMap<Ticket, u64>,
    /// Of all that waits.
    bytes: usize,
    stream: Option<Stream>,
    repeat_after: Micros,
}

/// The commands' way to one leader in one term.
#[derive(Clone, Debug)]
struct Stream {
    leader: NodeId,
    term: Term,
    next_position: u64,
    /// Sent and not answered.
    flying: usize,
    /// All below this number that wait were sent.
    next_seq: u64,
    repeat_at: Micros,
}

impl Forwarder {
    /// A node's forwarder; unanswered commands are repeated after `repeat_after`.
    #[must_use]
    pub fn new(repeat_after: Micros) -> Self {
        Self {
            next_seq: 1,
            outstanding: BTreeMap::new(),
            tickets: BTreeMap::new(),
            bytes: 0,
            stream: None,
            repeat_after,
        }
    }

    /// How many commands wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// The size of all that waits, in bytes of frames.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long the one that waits longest has.
    #[must_use]
    pub fn oldest_waits(&self, now: Micros) -> Micros {
        self.outstanding.first_key_value().map_or(Micros(0), |(_, command)| now.since(command.since))
    }

    /// Takes a command; [`Forwarder::send`] hands it on.
    pub fn push(&mut self, ticket: Ticket, task: Task, now: Micros) {
        self.tickets.insert(ticket, self.next_seq);
        self.add(Some(ticket), task, now);
    }

    /// Takes a command of the node's own. It is handed on until it is answered.
    pub fn push_for_nobody(&mut self, task: Task, now: Micros) {
        self.add(None, task, now);
    }

    fn add(&mut self, ticket: Option<Ticket>, task: Task, now: Micros) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let bytes = postcard::experimental::serialized_size(&task).expect("a task is plain data");
        self.bytes += bytes;
        let own = ticket.is_none();
        let outstanding =
            Outstanding { ticket, own, task, position: None, handed: false, moved: false, since: now, bytes };
        self.outstanding.insert(seq, outstanding);
    }

    /// All answers up to here have been received or given up.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.outstanding.first_key_value().map_or(self.next_seq, |(seq, _)| *seq) - 1
    }

    /// What to send to this leader now.
    pub fn send(&mut self, now: Micros, leader: NodeId, term: Term) -> Vec<ForwardMessage> {
        let repeat_at = now.after(self.repeat_after);
        if self.stream.as_ref().is_none_or(|stream| (stream.leader, stream.term) != (leader, term)) {
            self.leave();
            self.stream = Some(Stream { leader, term, next_position: 0, flying: 0, next_seq: 0, repeat_at });
        }
        let floor = self.floor();
        let Some(stream) = &mut self.stream else { return Vec::new() };
        let mut messages = Vec::new();
        if now >= stream.repeat_at {
            stream.repeat_at = repeat_at;
            let sent =
                self.outstanding.iter().filter_map(|(seq, command)| Some((*seq, command, command.position?)));
            messages.extend(sent.take(REPEATED).map(|(seq, command, position)| {
                let task = command.task(now);
                ForwardMessage::Command { term, position, seq, floor, again: true, task }
            }));
        }
        let fresh = self.outstanding.range_mut(stream.next_seq..);
        for (seq, command) in fresh.take(FLYING.saturating_sub(stream.flying)) {
            let position = stream.next_position;
            stream.next_position += 1;
            stream.next_seq = seq + 1;
            stream.flying += 1;
            command.position = Some(position);
            let again = std::mem::replace(&mut command.handed, true);
            let task = command.task(now);
            messages.push(ForwardMessage::Command { term, position, seq: *seq, floor, again, task });
        }
        messages
    }

    /// When [`Forwarder::send`] has something to repeat.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        let stream = self.stream.as_ref().filter(|_| !self.outstanding.is_empty())?;
        Some(stream.repeat_at)
    }

    /// Leaves the present stream. What nobody waits for is not asked of another leader.
    fn leave(&mut self) {
        self.stream = None;
        self.outstanding.retain(|_, command| command.ticket.is_some() || command.own);
        self.bytes = self.outstanding.values().map(|command| command.bytes).sum();
        for command in self.outstanding.values_mut() {
            command.position = None;
            command.moved = command.handed;
        }
    }

    /// A leader answered a command that was waited for, by this ticket if anybody still does, and in a session or not.
    pub fn answered(&mut self, seq: u64) -> Option<(Option<Ticket>, bool)> {
        let command = self.remove(seq)?;
        if let Some(ticket) = command.ticket {
            self.tickets.remove(&ticket);
        }
        Some((command.ticket, command.task.once.is_some()))
    }

    fn remove(&mut self, seq: u64) -> Option<Outstanding> {
        let command = self.outstanding.remove(&seq)?;
        self.bytes -= command.bytes;
        if let Some(stream) = self.stream.as_mut().filter(|_| command.position.is_some()) {
            stream.flying -= 1;
        }
        Some(command)
    }

    /// Whether what a leader said is no answer any more. A refusal to evaluate a command, and an answer that left ahead of its
    /// durability, come from the leader that it was handed to. If it was handed on since, that one is late: the other leader may
    /// execute it.
    #[must_use]
    pub fn is_late(&self, seq: u64, reply: &Reply) -> bool {
        let moved = |command: &Outstanding| command.moved && command.task.command.is_write();
        let by_another = match reply.receipt {
            None => true,
            Some(Receipt { ahead: None, .. }) => false,
            Some(Receipt { ahead: term, .. }) => self.stream.as_ref().map(|stream| stream.term) != term,
        };
        by_another && self.outstanding.get(&seq).is_some_and(moved)
    }

    /// This node itself leads now: it evaluates what waits, in order. Each stays until it is answered, under its
    /// seq, because an earlier leader may have logged it: true beside those that were handed to one.
    #[must_use]
    pub fn own(&mut self, now: Micros) -> Vec<(u64, Task, bool)> {
        self.leave();
        let commands = self.outstanding.iter_mut();
        commands
            .map(|(seq, command)| (*seq, command.task(now), std::mem::replace(&mut command.handed, true)))
            .collect()
    }

    /// Nobody waits for a command any more. Says whether a leader may have seen it.
    pub fn give_up(&mut self, ticket: Ticket) -> Option<bool> {
        let seq = self.tickets.remove(&ticket)?;
        let command = self.outstanding.get_mut(&seq)?;
        let handed = command.handed;
        if handed && command.task.command.waits_in_line() && command.task.once.is_none() {
            // If a leader has logged it, the wait has to be ended: so it is asked about until that is known.
            (command.ticket, command.own) = (None, true);
        } else if command.position.is_some() {
            // It keeps its place until it is answered: a leader that never saw it would wait for it for ever, and
            // execute nothing that comes after it.
            command.ticket = None;
        } else {
            self.remove(seq);
        }
        Some(handed)
    }

    /// This node begins another boot, under which a leader knows none of these commands. Removes what was handed to
    /// any; its outcome is unknown.
    pub fn restart(&mut self) -> Vec<Ticket> {
        self.leave();
        let handed = self.outstanding.iter().filter(|(_, command)| command.handed).map(|(seq, _)| *seq);
        let seqs: Vec<u64> = handed.collect();
        seqs.into_iter().filter_map(|seq| self.answered(seq)?.0).collect()
    }

    /// Removes what was handed to nobody and came before `before`.
    pub fn give_up_unsent(&mut self, before: Micros) -> Vec<Ticket> {
        let stale = |command: &Outstanding| !command.handed && !command.own && command.since < before;
        let seqs: Vec<u64> =
            self.outstanding.iter().filter(|(_, command)| stale(command)).map(|(seq, _)| *seq).collect();
        seqs.into_iter().filter_map(|seq| self.answered(seq)?.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorCode, Failure};
    use crate::reply::Value;
    use crate::time::Millis;
    use crate::types::Index;

    fn ticket(number: u64) -> Ticket {
        Ticket { conn: ConnId(1), number }
    }

    fn forwarder(commands: u64) -> Forwarder {
        let mut forwarder = Forwarder::new(Micros(100));
        for number in 1..=commands {
            forwarder.push(ticket(number), task(Command::WhoAmI), Micros(0));
        }
        forwarder
    }

    fn task(command: Command) -> Task {
        Task { principal: Principal::Anybody, command, once: None, within: Micros(1_000) }
    }

    /// (position, seq, floor, seen before) of what goes out.
    fn sent(forwarder: &mut Forwarder, now: u64, leader: u16, term: u64) -> Vec<(u64, u64, u64, bool)> {
        let sent = forwarder.send(Micros(now), NodeId(leader), Term(term));
        sent.into_iter()
            .map(|message| match message {
                ForwardMessage::Command { position, seq, floor, again, .. } => (position, seq, floor, again),
                ForwardMessage::Reply { .. } => unreachable!("the origin sends commands"),
            })
            .collect()
    }

    #[test]
    fn commands_go_out_once_in_order_and_again_when_no_answer_comes() {
        let mut forwarder = forwarder(2);
        assert_eq!(sent(&mut forwarder, 0, 1, 1), [(0, 1, 0, false), (1, 2, 0, false)]);
        assert_eq!(sent(&mut forwarder, 50, 1, 1), []);
        assert_eq!(sent(&mut forwarder, 100, 1, 1), [(0, 1, 0, true), (1, 2, 0, true)]);
    }

    #[test]
    fn a_new_leader_gets_what_is_unanswered_under_the_same_numbers() {
        let mut forwarder = forwarder(3);
        sent(&mut forwarder, 0, 1, 1);
        assert_eq!(forwarder.answered(1), Some((Some(ticket(1)), false)));
        assert_eq!(sent(&mut forwarder, 1, 2, 2), [(0, 2, 1, true), (1, 3, 1, true)]);
        assert_eq!(forwarder.answered(1), None, "an answer counts once");
    }

    #[test]
    fn giving_up_tells_whether_a_leader_may_have_seen_it() {
        let mut forwarder = forwarder(1);
        sent(&mut forwarder, 0, 1, 1);
        forwarder.push(ticket(9), task(Command::WhoAmI), Micros(5));
        assert_eq!(forwarder.give_up_unsent(Micros(5)), []);
        assert_eq!(forwarder.give_up(ticket(1)), Some(true));
        assert_eq!(forwarder.give_up_unsent(Micros(6)), [ticket(9)]);
        assert_eq!(forwarder.answered(1), Some((None, false)), "nobody waits for it");
        assert!(forwarder.is_empty());
        assert_eq!(forwarder.bytes(), 0);
    }

    #[test]
    fn what_is_the_nodes_own_is_handed_on_until_it_is_answered() {
        let mut forwarder = forwarder(0);
        forwarder.push_for_nobody(task(Command::WhoAmI), Micros(0));
        assert_eq!(forwarder.give_up_unsent(Micros(9)), []);
        assert_eq!(sent(&mut forwarder, 0, 1, 1), [(0, 1, 0, false)]);
        assert_eq!(sent(&mut forwarder, 1, 2, 2), [(0, 1, 0, true)]);
        assert_eq!(forwarder.answered(1), Some((None, false)));
        assert!(forwarder.is_empty());
    }

    #[test]
    fn what_nobody_waits_for_keeps_its_place_until_the_leader_changes() {
        let mut forwarder = forwarder(2);
        sent(&mut forwarder, 0, 1, 1);
        let both = forwarder.bytes();
        forwarder.give_up(ticket(1));
        assert_eq!(forwarder.bytes(), both, "it still takes room");
        assert_eq!(sent(&mut forwarder, 100, 1, 1), [(0, 1, 0, true), (1, 2, 0, true)]);
        assert_eq!(sent(&mut forwarder, 101, 2, 2), [(0, 2, 1, true)]);
        assert_eq!(forwarder.bytes() * 2, both);
    }

    #[test]
    fn the_time_that_a_command_waited_is_taken_from_the_time_that_it_has() {
        let mut forwarder = forwarder(1);
        let within = |messages: Vec<ForwardMessage>| match &messages[..] {
            [ForwardMessage::Command { task, .. }] => task.within,
            other => panic!("one command goes out, not {other:?}"),
        };
        assert_eq!(within(forwarder.send(Micros(300), NodeId(1), Term(1))), Micros(700));
        assert_eq!(within(forwarder.send(Micros(5_000), NodeId(1), Term(1))), Micros(0));
        assert_eq!(forwarder.own(Micros(400))[0].1.within, Micros(600));
    }

    #[test]
    fn a_refusal_of_a_leader_that_was_replaced_is_no_answer() {
        let (mut forwarder, refusal) =
            (Forwarder::new(Micros(100)), Failure::new(ErrorCode::Overloaded, "full"));
        let refusal = Reply::refused(refusal);
        for number in 1..=2 {
            forwarder.push(ticket(number), task(Command::Del { keys: Vec::new() }), Micros(0));
        }
        sent(&mut forwarder, 0, 1, 1);
        assert!(!forwarder.is_late(1, &refusal));
        forwarder.answered(1);
        sent(&mut forwarder, 1, 2, 2);
        assert!(forwarder.is_late(2, &refusal), "the new leader may execute it");
        let answer = |ahead: Option<u64>| {
            let receipt = Receipt { ahead: ahead.map(Term), ..Receipt::durable(Index(7), Millis(7)) };
            Reply { outcome: Ok(Value::ok()), receipt: Some(receipt) }
        };
        assert!(forwarder.is_late(2, &answer(Some(1))), "so it may what was lost with the one before");
        assert!(!forwarder.is_late(2, &answer(Some(2))) && !forwarder.is_late(2, &answer(None)));
        assert_eq!(forwarder.len(), 1);
    }

    #[test]
    fn no_more_are_on_their_way_than_a_link_holds_and_the_rest_follow_in_order() {
        let mut forwarder = forwarder(FLYING as u64 + 3);
        assert_eq!(sent(&mut forwarder, 0, 1, 1).len(), FLYING);
        assert_eq!(sent(&mut forwarder, 1, 1, 1), []);
        forwarder.answered(7);
        forwarder.answered(1);
        let (first, place) = (FLYING as u64 + 1, FLYING as u64);
        assert_eq!(
            sent(&mut forwarder, 2, 1, 1),
            [(place, first, 1, false), (place + 1, first + 1, 1, false)]
        );
        assert_eq!(sent(&mut forwarder, 3, 2, 2).len(), FLYING, "another leader gets the lowest first");
        assert_eq!(forwarder.answered(2), Some((Some(ticket(2)), false)));
        assert_eq!(sent(&mut forwarder, 4, 2, 2), [(FLYING as u64, first + 2, 2, false)]);
    }
}
