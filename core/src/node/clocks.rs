//! Wall clocks of several nodes: a leader asks the voters for theirs, and tells its own clock what a majority agrees on.
//!
//! What an answer is worth is decided in `clock/samples.rs`, and what becomes of cluster time in `clock.rs`. This file asks, answers, and
//! says it where clocks disagree. It never makes anything wait: without answers, time goes by the leader's monotonic clock alone.

use serde::{Deserialize, Serialize};

use super::peers::Kind;
use super::replica::{Replica, notice, probe};
use crate::clock::samples::{Accord, Samples, Survey};
use crate::config::Timing;
use crate::io::{Lane, Outbox, Output};
use crate::protocol::peer::{self, PeerHeader};
use crate::time::{Micros, Millis};
use crate::trace::{Event, Probe};
use crate::types::{BootNumber, NodeId, listed};

/// Voters are asked once in so many heartbeats, of 50 ms if nothing else is configured: about once a second.
const ROUND: u64 = 20;

/// An answer is dropped after so many heartbeats: when four in a row were lost.
const KEPT: u64 = 100;

/// And what is known of all of them is looked at once in a heartbeat. A leader that did not for so many was asleep.
const BELIEVED: u64 = 8;

/// What nodes say about their wall clocks. Numbers of variants and fields: `docs/formats.md`, clock messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ClockMessage {
    /// A leader asks what the receiver's wall clock shows.
    Ask {
        /// The leader's boot, without which `sent` means nothing.
        boot: BootNumber,
        /// Its monotonic clock.
        sent: Micros,
    },
    /// It shows this. The rest is as it was in the question.
    Shows {
        /// The leader's boot.
        boot: BootNumber,
        /// The leader's monotonic clock when it asked.
        sent: Micros,
        /// The wall clock of who answers.
        wall: Millis,
    },
}

/// What a leader knows of the voters' wall clocks.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    samples: Samples,
    heartbeat: Micros,
    ask_at: Micros,
    look_at: Micros,
    seen: Survey,
    /// How the operator was told that clocks disagree, and was not told yet that they do no more.
    said: Option<(&'static str, Vec<NodeId>)>,
    /// Before then nothing more is said: clocks that stand just at the bound would have the operator told with every heartbeat.
    say_at: Micros,
}

impl Clocks {
    /// Those of a leader whose term begins, which has heard of none.
    pub fn new(timing: &Timing) -> Self {
        let kept = Micros(timing.heartbeat.0.saturating_mul(KEPT));
        Self {
            samples: Samples::new(timing.clock_disagreement, kept),
            heartbeat: timing.heartbeat,
            ask_at: Micros(0),
            look_at: Micros(0),
            seen: Survey::default(),
            said: None,
            say_at: Micros(0),
        }
    }

    /// What was known when they were looked at last.
    pub fn seen(&self) -> &Survey {
        &self.seen
    }

    fn after(&self, now: Micros, heartbeats: u64) -> Micros {
        now.after(Micros(self.heartbeat.0.saturating_mul(heartbeats)))
    }
}

impl Replica {
    /// A leader looks once in a heartbeat what is known of the voters' wall clocks, and asks for more once in a while.
    pub fn look_at_clocks(&mut self, out: &mut Outbox) {
        let now = self.now.mono;
        if self.clock.is_none() || now < self.clocks.look_at {
            return;
        }
        self.clocks.look_at = self.clocks.after(now, 1);
        self.survey_clocks(out);
        if now < self.clocks.ask_at {
            return;
        }
        self.clocks.ask_at = self.clocks.after(now, ROUND);
        let voters = self.raft.membership().voters().iter().map(|(node, _)| *node);
        let others: Vec<NodeId> = voters.filter(|node| *node != self.config.id).collect();
        let message = ClockMessage::Ask { boot: self.peers.boot().number, sent: now };
        others.into_iter().for_each(|to| self.send_clock(to, &message, out));
    }

    /// Another node asks for this one's wall clock, or says what its own shows.
    pub fn clock_message(&mut self, header: &PeerHeader, message: ClockMessage, out: &mut Outbox) {
        match message {
            ClockMessage::Ask { boot, sent } => {
                let shows = ClockMessage::Shows { boot, sent, wall: self.now.wall };
                self.send_clock(header.from, &shows, out);
            }
            ClockMessage::Shows { boot, sent, wall } => {
                // Monotonic time begins anew with every boot.
                if self.clock.is_some() && boot == self.peers.boot().number {
                    let voter = (header.from, header.incarnation);
                    self.clocks.samples.hear(voter, sent, self.now.mono, wall);
                    // Together with what else comes meanwhile, at the end of the step.
                    self.clocks.look_at = self.now.mono;
                }
            }
        }
    }

    fn send_clock(&self, to: NodeId, message: &ClockMessage, out: &mut Outbox) {
        let body = postcard::to_stdvec(message).expect("a message about clocks is plain numbers");
        let frame = peer::encode(&self.peers.header(to, Kind::Clock), &body);
        out.push(Output::SendPeer { to, lane: Lane::Control, frame });
    }

    /// Tells the cluster's clock what is known by now, and everybody else if that is news.
    fn survey_clocks(&mut self, out: &mut Outbox) {
        let own = (self.config.id, self.peers.incarnation());
        let believed = self.clocks.after(self.now.mono, BELIEVED);
        let seen = self.clocks.samples.survey(own, self.raft.membership().voters(), self.now);
        let clock = self.clock.as_mut().expect("a leader has a clock");
        clock.learn(seen.accord, self.now, believed);
        let is_news =
            |before: &Survey| (before.accord.name(), &before.off) != (seen.accord.name(), &seen.off);
        if is_news(&self.clocks.seen) {
            let (accord, apart_ms) = (seen.accord.name().to_owned(), seen.apart.0 / 1000);
            out.push(Output::Trace(Event::Clocks { accord, off: seen.off.clone(), apart_ms }));
            if seen.off.contains(&own.0) {
                probe(out, Probe::SlewHeldByQuorum);
            }
            if matches!(seen.accord, Accord::Apart(_)) {
                probe(out, Probe::ClocksApart);
            }
        }
        self.clocks.seen = seen;
        self.say_whether_clocks_disagree(out);
    }

    /// When it begins, when it becomes another one, and when it ends. Where too little is known, nothing.
    fn say_whether_clocks_disagree(&mut self, out: &mut Outbox) {
        let Clocks { seen, said, say_at, .. } = &mut self.clocks;
        let Some(disagrees) = seen.disagrees() else { return };
        let present = disagrees.then(|| (seen.accord.name(), seen.off.clone()));
        if *said == present || self.now.mono < *say_at {
            return;
        }
        *said = present;
        *say_at = self.now.mono.after(Micros(self.config.timing.heartbeat.0.saturating_mul(ROUND)));
        let (apart, off) = (seen.apart.0 / 1000, listed(&seen.off));
        let bound = self.config.timing.clock_disagreement.0 / 1000;
        let text = match seen.accord {
            _ if !disagrees => format!("the voters' wall clocks agree again within {bound} ms"),
            Accord::Apart(_) => format!(
                "the voters' wall clocks are up to {apart} ms apart, and no majority agrees within {bound} ms: cluster time goes by this \
                 node's monotonic clock, and what has a date may be late; set the clocks right"
            ),
            _ => format!(
                "the wall clocks of these nodes are outside of what a majority agrees on within {bound} ms, and are not followed: {off}. \
                 The furthest are {apart} ms apart; set them right"
            ),
        };
        notice(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_the_messages_stay_what_they_are() {
        let (boot, sent) = (BootNumber(7), Micros(300));
        let shows = ClockMessage::Shows { boot, sent, wall: Millis(1) };
        for (message, bytes) in
            [(ClockMessage::Ask { boot, sent }, &[0, 7, 0xac, 2][..]), (shows, &[1, 7, 0xac, 2, 1])]
        {
            assert_eq!(postcard::to_stdvec(&message).unwrap(), bytes, "docs/formats.md, clock messages");
            assert_eq!(postcard::from_bytes::<ClockMessage>(bytes), Ok(message));
        }
    }
}
