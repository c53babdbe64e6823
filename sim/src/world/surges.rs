//! Surges of load: for a while clients ask many times as fast, and each input keeps a node busy, so that queues build up in front
//! of it. As with the real driver, what the disk has done comes first, then peers' frames, then what clients sent; and of the
//! latter the node is told how long it has waited.

use std::collections::VecDeque;

use steadfast_core::io::Input;
use steadfast_core::time::Micros;

use super::{Event, World};
use crate::probes::WorldProbe;

/// Peers' frames in a row before something of a client has its turn, as in the real driver.
const PEERS_IN_A_ROW: u32 = 64;

/// From so long on a client's bytes have waited for long, in microseconds.
const LONG_US: u64 = 20_000;

/// What waits in front of a node that is busy, each with its time.
#[derive(Debug, Default)]
pub struct Backlog {
    own: VecDeque<Input>,
    peers: VecDeque<Input>,
    clients: VecDeque<(u64, Input)>,
    in_a_row: u32,
    /// Whether the end of what it is busy with is queued.
    pub(super) busy: bool,
}

impl Backlog {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.peers.is_empty() && self.clients.is_empty()
    }

    fn push(&mut self, now: u64, input: Input) {
        match input {
            Input::Peer { .. } => self.peers.push_back(input),
            Input::Bytes { .. }
            | Input::Connected { .. }
            | Input::Drained { .. }
            | Input::Disconnected { .. } => self.clients.push_back((now, input)),
            Input::Tick | Input::DiskDone { .. } | Input::Computed { .. } | Input::Shutdown => {
                self.own.push_back(input);
            }
        }
    }

    fn pop(&mut self, now: u64) -> Option<Input> {
        if let Some(input) = self.own.pop_front() {
            return Some(input);
        }
        if self.in_a_row < PEERS_IN_A_ROW
            && let Some(frame) = self.peers.pop_front()
        {
            self.in_a_row += 1;
            return Some(frame);
        }
        self.in_a_row = 0;
        let Some((since, input)) = self.clients.pop_front() else { return self.peers.pop_front() };
        Some(match input {
            Input::Bytes { conn, data, .. } => Input::Bytes { conn, waited: Micros(now - since), data },
            input => input,
        })
    }

    /// Everything, in the order in which the node would get it.
    pub fn drain(&mut self, now: u64) -> VecDeque<Input> {
        std::iter::from_fn(|| self.pop(now)).collect()
    }
}

impl World<'_> {
    /// The sum of the surges that are on: how many times as fast clients ask, and how long an input keeps a node busy, in
    /// microseconds.
    pub(super) fn surge(&mut self, times: u64, cost_us: u64) {
        self.probes.world(WorldProbe::LoadSurge, 1);
        (self.pace, self.cost_us) = (self.pace.saturating_mul(times), self.cost_us + cost_us);
    }

    /// One of them ends. What waits is worked through as fast as usual.
    pub(super) fn surge_ends(&mut self, times: u64, cost_us: u64) {
        (self.pace, self.cost_us) = (self.pace / times, self.cost_us - cost_us);
    }

    /// Gives an input to a node that runs, or to the queue in front of it.
    pub(super) fn hand_in(&mut self, node: usize, input: Input) {
        let now = self.now;
        let backlog = &mut self.nodes[node].backlog;
        if self.cost_us == 0 && !backlog.busy {
            return self.step(node, input);
        }
        backlog.push(now, input);
        if !backlog.busy {
            self.work(node, self.nodes[node].boot);
        }
    }

    /// A node is done with what it was busy with, and takes the next.
    pub(super) fn work(&mut self, node: usize, boot: u64) {
        let (now, cost_us) = (self.now, self.cost_us);
        let process = &mut self.nodes[node];
        if process.boot != boot || !process.is_up() || process.paused.is_some() {
            return;
        }
        process.backlog.busy = false;
        let Some(input) = process.backlog.pop(now) else { return };
        process.backlog.busy = true;
        let long = matches!(&input, Input::Bytes { waited, .. } if waited.0 >= LONG_US);
        self.probes.world(WorldProbe::RequestWaitedLong, u64::from(long));
        self.push(now + cost_us, Event::Work { node, boot });
        self.step(node, input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use steadfast_core::types::ConnId;

    #[test]
    fn peers_go_first_clients_have_their_turn_and_are_told_how_long_they_waited() {
        let mut backlog = Backlog::default();
        let bytes =
            |conn| Input::Bytes { conn: ConnId(conn), waited: Micros(0), data: Bytes::from_static(b"x") };
        backlog.push(10, bytes(1));
        backlog.push(11, bytes(2));
        for _ in 0..100 {
            backlog.push(12, Input::Peer { frame: Bytes::from_static(b"y") });
        }
        backlog.push(13, Input::Tick);
        let order: Vec<Input> = backlog.drain(30).into();
        assert_eq!(order[0], Input::Tick);
        let clients: Vec<(usize, &Input)> =
            order.iter().enumerate().filter(|(_, input)| matches!(input, Input::Bytes { .. })).collect();
        let waited = |at: usize| match clients[at].1 {
            Input::Bytes { waited, .. } => waited.0,
            _ => unreachable!("they were chosen so"),
        };
        assert_eq!((clients[0].0, waited(0)), (1 + PEERS_IN_A_ROW as usize, 20));
        assert_eq!((order.len(), waited(1)), (103, 19));
    }
}
