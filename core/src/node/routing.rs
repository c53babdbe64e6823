//! Where a command goes: the leader evaluates it, any other node hands it to the leader and relays the answer. This file knows
//! who asked; what is kept until an answer comes lies in `forward.rs`, what a leader remembers of other nodes in `inbound.rs`.

use super::forward::{ForwardMessage, Task, Ticket};
use super::inbound::Arrival;
use super::leader::Relay;
use super::peers::Kind;
use super::replica::{Replica, Stepped, probe};
use super::waiting::Asker;
use crate::command::Command;
use crate::error::Failure;
use crate::io::{Lane, Outbox, Output};
use crate::protocol::peer::{self, PeerHeader};
use crate::reply::Reply;
use crate::trace::Probe;
use crate::types::NodeId;

impl Replica {
    /// A command of this node's own connection.
    pub fn submit(&mut self, ticket: Ticket, task: Task, out: &mut Outbox) -> Stepped {
        self.watches.asked(ticket, &task);
        if self.raft.is_leader() && !self.is_transferring() {
            let in_session = task.once.is_some();
            let asker = if in_session { Asker::HereInSession(ticket) } else { Asker::Here(ticket) };
            return self.execute(asker, &task, None, out);
        }
        if matches!(task.command, Command::Info) {
            // What a node says about itself needs no leader.
            let reply = self.evaluate_here(&task);
            self.answers.push((ticket, reply));
        } else if self.forwarder.len() >= self.config.limits.waiting_requests
            || self.forwarder.bytes() >= self.config.limits.waiting_bytes
        {
            let text = format!(
                "{} commands of this node with {} bytes already wait for the leader: try again later",
                self.forwarder.len(),
                self.forwarder.bytes()
            );
            let waited = self.forwarder.oldest_waits(self.now.mono);
            self.answers.push((ticket, Reply::refused(Failure::overloaded(text, waited))));
        } else {
            self.forwarder.push(ticket, task, self.now.mono);
        }
        Ok(())
    }

    /// A forwarded command or its answer.
    pub fn forwarded(&mut self, header: &PeerHeader, message: ForwardMessage, out: &mut Outbox) -> Stepped {
        if self.had_better_come_again(&message) {
            return Ok(());
        }
        match message {
            ForwardMessage::Reply { boot, seq, mut reply, retry_after_ms } => {
                if let Err(failure) = &mut reply.outcome {
                    failure.retry_after_ms = retry_after_ms;
                }
                // An answer to an earlier boot may be on its way for long.
                if boot == self.peers.boot().number && !self.forwarder.is_late(seq, &reply) {
                    self.relayed(seq, reply);
                }
                Ok(())
            }
            ForwardMessage::Command { term, position, seq, floor, again, task } => {
                if !self.raft.is_leader() || self.raft.term() != term {
                    return Ok(());
                }
                let (origin, boot) = (header.incarnation, header.boot);
                let asker = Asker::There { node: header.from, origin, boot, seq };
                let first = seq == floor.saturating_add(1);
                let Some(floor) = self.inbound.heard(origin, boot, seq, floor) else { return Ok(()) };
                let overload = self.overload(task.command.is_write(), task.command.grows());
                if let Some(why) = self.inbound.refusal(origin, seq) {
                    let reply = Reply::refused(why.clone());
                    self.send_forward(header.from, &ForwardMessage::reply(boot, seq, reply), out);
                    return Ok(());
                }
                if overload.is_some() && (again || !self.inbound.may_refuse(origin)) {
                    // An earlier leader may have logged it, so that it can't be refused. As if it were lost: it comes
                    // again, and all that follow it.
                    return Ok(());
                }
                match self.inbound.arrive(origin, position, first) {
                    Arrival::Early => return Ok(()),
                    Arrival::Repeated if overload.is_some() || self.waiting.has(&asker) => return Ok(()),
                    Arrival::Next => {
                        overload.into_iter().for_each(|why| self.inbound.refuse(origin, seq, why))
                    }
                    Arrival::Repeated => {}
                }
                self.execute(asker, &task, Some(Relay { floor, again }), out)
            }
        }
    }

    /// Hands waiting commands to the leader, if one is known.
    pub fn forward_commands(&mut self, out: &mut Outbox) {
        let Some(leader) = self.raft.leader().filter(|_| !self.raft.is_leader()) else { return };
        for message in self.forwarder.send(self.now.mono, leader, self.raft.term()) {
            if matches!(message, ForwardMessage::Command { again: true, .. }) {
                probe(out, Probe::ForwardedAgain);
            }
            self.send_forward(leader, &message, out);
        }
    }

    pub fn send_forward(&mut self, to: NodeId, message: &ForwardMessage, out: &mut Outbox) {
        let body = postcard::to_stdvec(message).expect("a task is plain data");
        let frame = peer::encode(&self.peers.header(to, Kind::Forward), &body);
        out.push(Output::SendPeer { to, lane: Lane::Forward, frame });
    }

    /// The number in this node's own session under which it evaluates a waiting command itself.
    pub fn own_asker(&self, seq: u64) -> Asker {
        let (node, origin) = (self.config.id, self.hard.get().incarnation);
        Asker::There { node, origin, boot: self.peers.boot().number, seq }
    }
}
