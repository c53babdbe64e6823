//! How a leader gives its leadership to another voter: in order, once that one has the whole log (thesis, section 3.10), or at once,
//! where it can't go on itself. It never decides whether to, nor what becomes of clients' commands meanwhile: the node does.

use std::fmt;

use super::progress::Progress;
use super::{Message, Needs, Raft, RaftEvent, Role};
use crate::io::Lane;
use crate::membership::ChangeError;
use crate::time::Micros;
use crate::types::{Index, NodeId, Term};

/// A transfer under way.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Transfer {
    to: NodeId,
    /// When it is given up.
    until: Micros,
    /// Whether the other one was asked to take over, which it can do at any moment from then on.
    asked: bool,
}

/// Why a leader does not begin a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTransfer {
    /// This node does not lead.
    NotLeader,
    /// The other one does not vote, or will not.
    NoVoter(NodeId),
    /// It is not heard, not from the data directory that votes, or in doubt of its memory.
    NotHeard(NodeId),
    /// A transfer to this node is under way.
    UnderWay(NodeId),
    /// It is a witness, and never leads.
    Witness(NodeId),
}

impl fmt::Display for NoTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader => write!(f, "this node does not lead any more: try again"),
            Self::NoVoter(node) => write!(f, "node {node} does not vote: promote it first"),
            Self::NotHeard(node) => {
                write!(f, "the leader does not hear node {node} as a voter now: bring it up, and try again")
            }
            Self::UnderWay(node) => {
                write!(f, "the leadership is being transferred to node {node}: try again when that has ended")
            }
            Self::Witness(node) => write!(f, "{}", ChangeError::Witness(*node)),
        }
    }
}

impl Raft {
    /// Begins to transfer the leadership to another voter. Until it has ended, in [`RaftEvent::LostLeadership`] or
    /// [`RaftEvent::TransferGivenUp`], the node had better append nothing: the other one has to have all of the log. After two of the
    /// shortest election time-outs it is given up.
    ///
    /// # Errors
    /// [`NoTransfer`] says why it was not begun; nothing has changed then. To ask for what is under way is no error.
    pub fn transfer(&mut self, now: Micros, to: NodeId) -> Result<(), NoTransfer> {
        let Role::Leader(leader) = &self.role else { return Err(NoTransfer::NotLeader) };
        match leader.transfer {
            Some(transfer) if transfer.to == to => return Ok(()),
            Some(transfer) => return Err(NoTransfer::UnderWay(transfer.to)),
            None => {}
        }
        if to == self.id {
            return Ok(());
        }
        let voter = self.membership().voters().iter().find(|(node, _)| *node == to);
        let voter = *voter.ok_or(NoTransfer::NoVoter(to))?;
        if voter.1.is_witness() {
            return Err(NoTransfer::Witness(to));
        }
        let fit = |peer: &&Progress| peer.counts_as(voter) && now < peer.heard_at.after(self.timing.election);
        leader.progress.get(&to).filter(fit).ok_or(NoTransfer::NotHeard(to))?;
        let until = now.after(Micros(self.timing.election.0.saturating_mul(2)));
        let Role::Leader(leader) = &mut self.role else { unreachable!("it was one above") };
        leader.transfer = Some(Transfer { to, until, asked: false });
        self.go_on_with_transfer(now);
        Ok(())
    }

    /// To whom this leader transfers its leadership, if it does.
    #[must_use]
    pub fn transfers_to(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        leader.transfer.map(|transfer| transfer.to)
    }

    /// Asks the other one to take over as soon as it holds the whole log, and gives up when it does not in time. It may still take
    /// over then, if it was asked: that is an election like every other.
    pub(super) fn go_on_with_transfer(&mut self, now: Micros) {
        let last = self.log.last();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let (to, has_all) = (transfer.to, leader.progress.get(&transfer.to).map(|peer| peer.matched == last));
        if now >= transfer.until || has_all.is_none() {
            leader.transfer = None;
            self.events.push(RaftEvent::TransferGivenUp);
        } else if has_all == Some(true) && !transfer.asked {
            transfer.asked = true;
            leader.lease.give_up();
            self.send(to, Message::TimeoutNow { term: self.term }, Needs::Term);
        }
    }

    /// The request may have been lost: a heartbeat repeats it.
    pub(super) fn ask_again(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(transfer) = &mut leader.transfer {
            transfer.asked = false;
        }
    }

    /// The leader asks this node to take over: it stands for election without asking first whether it could win, since
    /// the others still hear their leader.
    pub(super) fn receive_timeout_now(&mut self, now: Micros, from: NodeId, term: Term) {
        if term == self.term && self.leader() == Some(from) && self.may_lead(now) {
            self.ask(now, true, true);
        }
    }

    /// This leader can't make anything durable: it hands over to the follower that has most, and does not stand for
    /// election itself for a while. It goes on leading where nobody who could win is there: beside a witness one node with data may lack
    /// what the witness knows of.
    pub fn hand_over(&mut self, now: Micros) {
        let Role::Leader(leader) = &self.role else { return };
        let heard = |peer: &&Progress| now < peer.heard_at.after(self.timing.election);
        let voters = self.membership().voters().iter().filter(|(_, incarnation)| !incarnation.is_witness());
        let held = voters.filter_map(|voter| {
            let peer = leader.progress.get(&voter.0).filter(|peer| peer.counts_as(*voter)).filter(heard)?;
            Some((peer.matched, voter.0))
        });
        let witness = self.membership().witness().and_then(|witness| leader.progress.get(&witness));
        let known = witness.map_or(Index(0), |witness| witness.matched.max(self.commit));
        let Some((_, to)) = held.filter(|(matched, _)| *matched >= known).max_by_key(|(matched, _)| *matched)
        else {
            return;
        };
        // Behind the entries that are on their way to it: with these it may win.
        self.send_by(Lane::Bulk, to, Message::TimeoutNow { term: self.term }, Needs::Term);
        self.passes_until = now.after(Micros(self.timing.election.0.saturating_mul(8)));
        self.become_follower(now, self.term, None);
    }
}
