//! Transfers of the leadership, as the node sees them: who asked for one, what becomes of commands meanwhile, and which voter had
//! rather lead than this one. How the leadership goes from one to the other is for `raft/transfer.rs`.
//!
//! While a transfer is under way the leader evaluates nothing: what comes waits, as it would at a follower, and goes to whoever leads
//! then. So no client sees more of a transfer than a pause.

use super::forward::{ForwardMessage, Ticket};
use super::leader::Relay;
use super::replica::{Replica, Stepped, notice, probe};
use super::waiting::Asker;
use crate::error::{ErrorCode, Failure};
use crate::io::{Outbox, Output};
use crate::raft::{MemberSeen, NoTransfer};
use crate::reply::{Reply, Value};
use crate::time::Micros;
use crate::trace::{Event, Probe};
use crate::types::NodeId;

/// Most that wait for the end of one transfer.
const MOST_ASKERS: usize = 64;

/// A leader looks for a voter that had rather lead so many election time-outs after it was elected, or after a transfer failed.
const LOOK_AFTER: u64 = 8;

/// And so often twice as long, where it was in vain.
const MOST_DOUBLED: u32 = 6;

/// What a node remembers of transfers.
#[derive(Clone, Debug, Default)]
pub(super) struct Transfers {
    /// Who waits for one, to whom it is, and until when.
    asked: Vec<(Asker, NodeId, Micros)>,
    /// When this leader looks for a voter that had rather lead.
    look_at: Micros,
    /// When it last gave such a one the leadership, and how often in a row that was in vain.
    preferred_at: Option<Micros>,
    in_vain: u32,
}

impl Replica {
    /// Whether commands wait for the end of a transfer.
    pub fn is_transferring(&self) -> bool {
        self.raft.transfers_to().is_some()
    }

    /// A command asks this leader for a transfer that it may have. It is answered when that has ended.
    pub fn begin_transfer(&mut self, asker: Asker, to: NodeId, out: &mut Outbox) -> Stepped {
        let begun = self.start_transfer(to, out);
        let failure = match begun {
            Ok(()) if self.raft.is_leader() && !self.is_transferring() => {
                return self.answer(asker, led_by(), out);
            }
            Ok(()) if self.transfers.asked.len() < MOST_ASKERS => None,
            Ok(()) => Some(Failure::overloaded(
                "too many wait for this transfer: try again later",
                Micros::from_millis(1000),
            )),
            Err(why) => Some(Failure::new(ErrorCode::MembersBusy, why.to_string())),
        };
        if let Some(failure) = failure {
            return self.answer(asker, Reply::refused(failure), out);
        }
        // Longer than Raft tries: an election follows.
        let until = self.now.mono.after(Micros(self.config.timing.election.0.saturating_mul(8)));
        self.transfers.asked.push((asker, to, until));
        Ok(())
    }

    fn start_transfer(&mut self, to: NodeId, out: &mut Outbox) -> Result<(), NoTransfer> {
        let before = self.raft.transfers_to();
        self.raft.transfer(self.now.mono, to)?;
        if before.is_none() && self.is_transferring() {
            out.push(Output::Trace(Event::TransferBegun { to }));
        }
        Ok(())
    }

    /// The leadership is lost. What another node's client asked for, that node asks the next leader.
    pub fn transfer_ends_with_term(&mut self) {
        self.transfers.asked.retain(|(asker, ..)| matches!(asker, Asker::Here(_) | Asker::HereInSession(_)));
    }

    /// Nobody has taken over: this leader goes on with what has waited.
    pub fn transfer_given_up(&mut self, out: &mut Outbox) -> Stepped {
        notice(out, "nobody has taken over the leadership in time: this node goes on".into());
        probe(out, Probe::TransferGivenUp);
        self.was_in_vain();
        for (asker, to, _) in std::mem::take(&mut self.transfers.asked) {
            let text = format!("node {to} did not take over in time, and this leader goes on: try again");
            self.answer(asker, Reply::refused(Failure::new(ErrorCode::MembersBusy, text)), out)?;
        }
        self.execute_kept(out)
    }

    /// Evaluates what waits at this node for a leader, now that it is one.
    pub fn execute_kept(&mut self, out: &mut Outbox) -> Stepped {
        for (seq, task, again) in self.forwarder.own(self.now.mono) {
            // The term may have been lost in the same step, and one of these may ask for a transfer: the rest waits on.
            if !self.raft.is_leader() || self.is_transferring() {
                break;
            }
            let floor = self.forwarder.floor();
            self.execute(self.own_asker(seq), &task, Some(Relay { floor, again }), out)?;
        }
        Ok(())
    }

    /// Time has passed: whoever waits for a transfer to another node is told once somebody leads, and a voter that had rather lead is
    /// given the leadership.
    pub fn transfer_tick(&mut self, out: &mut Outbox) -> Stepped {
        if !self.transfers.asked.is_empty() && !self.is_transferring() {
            let (now, leader) = (self.now.mono, self.raft.leader());
            let over = |(_, _, until): &(Asker, NodeId, Micros)| leader.is_some() || now >= *until;
            let (over, waiting) = std::mem::take(&mut self.transfers.asked).into_iter().partition(over);
            self.transfers.asked = waiting;
            let over: Vec<(Asker, NodeId, Micros)> = over;
            for (asker, to, _) in over {
                let reply = match leader {
                    Some(leader) if leader == to => {
                        probe(out, Probe::Transferred);
                        led_by()
                    }
                    Some(other) => refused(format!("node {other} leads now, and not node {to}: try again")),
                    None => refused(format!("nobody leads yet that node {to} was asked to: look again")),
                };
                self.answer(asker, reply, out)?;
            }
        }
        self.prefer_another(out);
        Ok(())
    }

    /// When this leader next looks whether another voter had rather lead.
    pub fn look_later(&mut self) {
        let times = LOOK_AFTER << self.transfers.in_vain.min(MOST_DOUBLED);
        let span = Micros(self.config.timing.election.0.saturating_mul(times));
        self.transfers.look_at = self.now.mono.after(span);
    }

    /// This node leads again, or still: if it had given the leadership to a voter that had rather lead, that one could not keep it, and is
    /// asked less and less often.
    pub fn was_in_vain(&mut self) {
        let patience = Micros(self.config.timing.election.0.saturating_mul(LOOK_AFTER << (MOST_DOUBLED + 1)));
        let recent = self.transfers.preferred_at.is_some_and(|at| self.now.mono < at.after(patience));
        self.transfers.in_vain = if recent { self.transfers.in_vain.saturating_add(1) } else { 0 };
        self.look_later();
    }

    /// Whether somebody is still to be told what came of a transfer.
    pub fn owes_news_of_a_transfer(&self) -> bool {
        !self.transfers.asked.is_empty()
    }

    fn prefer_another(&mut self, out: &mut Outbox) {
        if !self.raft.is_leader()
            || self.state.priorities().is_empty()
            || self.now.mono < self.transfers.look_at
        {
            return;
        }
        self.look_later();
        let priorities = self.state.priorities();
        let priority = |node: NodeId| priorities.get(&node).copied().unwrap_or(0);
        let (own, seen) = (self.config.id, self.raft.members_seen(self.now.mono).seen);
        let settled = self.raft.may_change().is_ok();
        let near = |seen: &&MemberSeen| seen.heard && !seen.doubts && seen.matched >= self.raft.commit();
        let better = seen.iter().filter(near).filter(|seen| priority(seen.node) > priority(own));
        let mut better: Vec<(u32, NodeId)> = better.map(|seen| (priority(seen.node), seen.node)).collect();
        better.sort_unstable_by(|a, b| b.cmp(a));
        // Who only learns, or votes from another directory, can't; the next one may.
        let mut better = better.into_iter().map(|(_, node)| node).filter(|_| settled);
        let Some(best) = better.find(|node| self.start_transfer(*node, out).is_ok()) else { return };
        self.transfers.preferred_at = Some(self.now.mono);
        notice(out, format!("node {best} had rather lead than this node: it is handed the leadership"));
    }

    /// Whether a forwarded command is better asked for again, because nobody knows yet who will lead.
    pub fn had_better_come_again(&self, message: &ForwardMessage) -> bool {
        matches!(message, ForwardMessage::Command { .. }) && self.is_transferring()
    }

    /// Nobody waits for an answer any more.
    pub fn forget_transfer(&mut self, ticket: Ticket) {
        let own =
            |asker: &Asker| matches!(asker, Asker::Here(it) | Asker::HereInSession(it) if *it == ticket);
        self.transfers.asked.retain(|(asker, ..)| !own(asker));
    }
}

fn led_by() -> Reply {
    Reply { outcome: Ok(Value::Status("OK".into())), receipt: None }
}

fn refused(text: String) -> Reply {
    Reply::refused(Failure::new(ErrorCode::MembersBusy, text))
}
