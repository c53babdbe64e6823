//! Client connections: byte streams in both directions that keep their order, split at random places,
//! delayed, reset, or half-open, which swallows bytes without a word.
//!
//! Nothing here schedules: the world asks when the head of a direction arrives, and takes it out then.

use std::collections::VecDeque;

use bytes::Bytes;
use steadfast_core::types::ConnId;

use crate::check::pipeline::Pipeline;
use crate::rng::{Delay, Stream};

/// What arrives at one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Bytes.
    Data(Bytes),
    /// The other end closed in good order.
    End,
    /// The connection was reset.
    Reset,
}

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub struct Pipe {
    items: VecDeque<(u64, Item)>,
    last_us: u64,
    /// Whether what is put in vanishes.
    pub dead: bool,
    /// Whether nothing may follow.
    ended: bool,
    /// When the world looks at this direction next, if it has been told to.
    looked_at: Option<u64>,
}

impl Pipe {
    /// Puts bytes in, in pieces.
    pub fn send(&mut self, now: u64, data: Bytes, delay: Delay, split_ppm: u32, stream: &mut Stream) {
        if self.ended || self.dead {
            return;
        }
        let mut rest = data;
        // At most a few dozen pieces: every boundary is met over many sends, not by each.
        for _ in 0..32 {
            if rest.len() < 2 || !stream.chance(split_ppm) {
                break;
            }
            let longest = (rest.len() as u64 - 1).min(if stream.chance(500_000) { 8 } else { u64::MAX });
            let piece = rest.split_to(stream.between(1, longest) as usize);
            self.push(now, Item::Data(piece), delay.draw(stream));
        }
        self.push(now, Item::Data(rest), delay.draw(stream));
    }

    /// Ends the direction after all that was put in before.
    pub fn end(&mut self, now: u64, item: Item, delay_us: u64) {
        if !self.ended && !self.dead {
            self.push(now, item, delay_us);
            self.ended = true;
        }
    }

    /// Forgets what has not arrived yet, and ends in a reset.
    pub fn reset(&mut self, now: u64, delay_us: u64) {
        if !self.dead {
            self.items.clear();
            self.ended = true;
            self.items.push_back((now + delay_us, Item::Reset));
        }
    }

    /// When the next item arrives.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        self.items.front().map(|(at, _)| *at)
    }

    /// When the world must be told to look at this direction, unless it looks in time by itself.
    pub fn look_at(&mut self) -> Option<u64> {
        let next = self.next_at()?;
        if self.looked_at.is_some_and(|at| at <= next) {
            return None;
        }
        self.looked_at = Some(next);
        Some(next)
    }

    /// Takes out the next item, if it has arrived. The world then looks no more unless told to.
    pub fn take(&mut self, now: u64) -> Option<Item> {
        if self.looked_at.is_some_and(|at| at <= now) {
            self.looked_at = None;
        }
        if self.next_at()? > now {
            return None;
        }
        self.items.pop_front().map(|(_, item)| item)
    }

    /// Nothing arrives before this time: the network is cut and will send again.
    pub fn hold_until(&mut self, at: u64) {
        if let Some(head) = self.items.front_mut() {
            head.0 = head.0.max(at);
        }
    }

    fn push(&mut self, now: u64, item: Item, delay_us: u64) {
        let at = (now + delay_us).max(self.last_us);
        self.last_us = at;
        self.items.push_back((at, item));
    }
}

/// A client's connection to a node.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client's place among the clients.
    pub client: usize,
    /// The client's incarnation.
    pub incarnation: u64,
    /// The client's own name for the connection.
    pub client_conn: ConnId,
    /// The node, counted from zero.
    pub node: usize,
    /// The node's start that accepted it; `None` until it did.
    pub boot: Option<u64>,
    /// From the client to the node.
    pub to_node: Pipe,
    /// From the node to the client.
    pub to_client: Pipe,
    /// Whether the client still listens.
    pub client_open: bool,
    /// Whether the node still listens.
    pub node_open: bool,
    /// Bytes that the client got and of which the node was not told.
    pub undrained: u64,
    /// What the judge saw of it.
    pub order: Pipeline,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Delay = Delay { base_us: 10, jitter_us: 90, tail_ppm: 100_000, tail_us: 5_000 };

    fn drain(pipe: &mut Pipe) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(at) = pipe.next_at() {
            items.push(pipe.take(at).expect("its time has come"));
        }
        items
    }

    #[test]
    fn bytes_arrive_complete_and_in_order_however_they_are_split() {
        let mut stream = Stream::new(1, "pipe");
        for _ in 0..200 {
            let mut pipe = Pipe::default();
            let sent: Vec<u8> = (0..=255).collect();
            pipe.send(0, Bytes::from(sent[..100].to_vec()), DELAY, 700_000, &mut stream);
            pipe.send(5, Bytes::from(sent[100..].to_vec()), DELAY, 700_000, &mut stream);
            pipe.end(6, Item::End, 1);
            let items = drain(&mut pipe);
            let (last, data) = items.split_last().unwrap();
            assert_eq!(*last, Item::End);
            let bytes = data.iter().flat_map(|item| match item {
                Item::Data(data) => data.to_vec(),
                other => panic!("{other:?} before the end"),
            });
            assert_eq!(bytes.collect::<Vec<u8>>(), sent);
        }
    }

    #[test]
    fn a_reset_forgets_what_was_on_its_way_and_a_dead_pipe_swallows_everything() {
        let mut stream = Stream::new(1, "pipe");
        let mut pipe = Pipe::default();
        pipe.send(0, Bytes::from_static(b"lost"), DELAY, 0, &mut stream);
        pipe.reset(1, 10);
        pipe.send(2, Bytes::from_static(b"late"), DELAY, 0, &mut stream);
        assert_eq!(drain(&mut pipe), [Item::Reset]);
        let mut pipe = Pipe { dead: true, ..Pipe::default() };
        pipe.send(0, Bytes::from_static(b"lost"), DELAY, 0, &mut stream);
        pipe.end(0, Item::End, 1);
        assert_eq!(pipe.next_at(), None);
    }
}
