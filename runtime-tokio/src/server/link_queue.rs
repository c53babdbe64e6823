//! Frames on their way to one peer: bounded in count and bytes, in lanes of which the small and urgent one goes first. It sends
//! nothing.
//!
//! Raft tolerates lost frames and can't tolerate waiting ones: a full lane drops what comes, and counts it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use steadfast_core::io::Lane;
use tokio::sync::Notify;

/// At most about so many bytes are taken at once: for so long an urgent frame waits for those before it.
const TAKEN: usize = 1 << 20;

/// What one lane holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// In frames.
    pub frames: usize,
    /// In bytes. A frame that comes to an empty lane is taken whatever its size.
    pub bytes: usize,
}

/// What each lane holds at most: control, forwarded commands, bulk.
pub type Bounds = [Bound; LANES];

const LANES: usize = 3;

/// Frames of control are some hundred bytes. Of forwarded commands `core` sends no more than 1,024 that are unanswered, of entries
/// no more than `inflight_append_bytes`, and of snapshots a window of blocks.
const BOUNDS: Bounds = [
    Bound { frames: 8192, bytes: 4 << 20 },
    Bound { frames: 8192, bytes: 32 << 20 },
    Bound { frames: 4096, bytes: 32 << 20 },
];

/// Frames on their way to one peer.
#[derive(Debug)]
pub struct LinkQueue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    bounds: Bounds,
}

#[derive(Debug, Default)]
struct Waiting {
    lanes: [Queued; LANES],
    /// Since this was asked before.
    dropped: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queued {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Queued {
    /// Moves frames out, in order, until they have this many bytes. The last one may reach beyond.
    fn take(&mut self, bytes: usize, out: &mut Vec<Bytes>) -> usize {
        let mut taken = 0;
        while taken < bytes
            && let Some(frame) = self.frames.pop_front()
        {
            taken += frame.len();
            out.push(frame);
        }
        self.bytes -= taken;
        taken
    }
}

impl Waiting {
    /// All that is urgent, and as much as there is room for of the others, who share it.
    fn take(&mut self) -> Vec<Bytes> {
        let mut out = Vec::new();
        let [control, forward, bulk] = &mut self.lanes;
        let room = TAKEN.saturating_sub(control.take(TAKEN, &mut out));
        // Neither keeps the other waiting: entries wait for commands, and answers for entries.
        let share = if forward.bytes == 0 || bulk.bytes == 0 { room } else { room / 2 };
        forward.take(share, &mut out);
        bulk.take(share, &mut out);
        out
    }
}

impl Default for LinkQueue {
    fn default() -> Self {
        Self::new(BOUNDS)
    }
}

impl LinkQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new(), bounds }
    }

    /// Adds frames; those that find their lane full are dropped and counted.
    pub fn push(&self, frames: impl Iterator<Item = (Lane, Bytes)>) {
        let mut waiting = self.lock();
        for (lane, frame) in frames {
            let (queued, bound) = (&mut waiting.lanes[lane as usize], self.bounds[lane as usize]);
            let full = queued.frames.len() >= bound.frames || queued.bytes + frame.len() > bound.bytes;
            if full && !queued.frames.is_empty() {
                waiting.dropped += 1;
            } else {
                queued.bytes += frame.len();
                queued.frames.push_back(frame);
            }
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for frames and takes those that are sent next, about 1 MiB of them; `None` once the queue is closed and empty.
    pub async fn take(&self) -> Option<Vec<Bytes>> {
        loop {
            {
                let mut waiting = self.lock();
                let taken = waiting.take();
                if !taken.is_empty() {
                    return Some(taken);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Lets `take` end once the queue is empty.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Drops what waits and answers how many frames were dropped since this was asked before.
    pub fn clear(&self) -> u64 {
        let mut waiting = self.lock();
        let waited: usize = waiting.lanes.iter().map(|queued| queued.frames.len()).sum();
        waiting.lanes = Default::default();
        std::mem::take(&mut waiting.dropped) + waited as u64
    }

    /// How many frames were dropped since this was asked before, because their lane was full.
    pub fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(frames: usize, bytes: usize) -> LinkQueue {
        LinkQueue::new([Bound { frames, bytes }; LANES])
    }

    fn frames(lane: Lane, count: usize, len: usize) -> impl Iterator<Item = (Lane, Bytes)> {
        (0..count).map(move |number| (lane, Bytes::from(vec![number as u8; len])))
    }

    #[tokio::test]
    async fn a_full_lane_drops_what_comes_by_count_and_no_other_does() {
        let queue = bound(3, 1000);
        queue.push(frames(Lane::Bulk, 5, 1));
        queue.push(frames(Lane::Control, 3, 2));
        let kept = queue.take().await.expect("frames wait");
        let first = frames(Lane::Control, 3, 2).chain(frames(Lane::Bulk, 3, 1));
        assert_eq!(kept, first.map(|(_, frame)| frame).collect::<Vec<_>>(), "the oldest are kept, in order");
        assert_eq!(queue.take_dropped(), 2);
        assert_eq!(queue.clear(), 0);
    }

    #[tokio::test]
    async fn a_full_lane_drops_what_comes_by_bytes() {
        let queue = bound(1000, 25);
        queue.push(frames(Lane::Forward, 5, 10));
        assert_eq!(queue.take().await.expect("frames wait").len(), 2);
        queue.push(frames(Lane::Forward, 1, 25));
        assert_eq!(queue.take().await.expect("the bytes were given back").len(), 1);
        queue.push(frames(Lane::Forward, 2, 26));
        assert_eq!(queue.take().await.expect("one is not too long for an empty lane").len(), 1);
        assert_eq!(queue.clear(), 3 + 1);
    }

    #[tokio::test]
    async fn what_is_urgent_waits_for_no_more_than_what_is_written_at_once() {
        let queue = LinkQueue::default();
        queue.push(frames(Lane::Bulk, 64, 100 << 10));
        queue.push(frames(Lane::Forward, 64, 100 << 10));
        let bytes = |taken: &[Bytes]| taken.iter().map(Bytes::len).sum::<usize>();
        let before = queue.take().await.expect("frames wait");
        assert!(bytes(&before) < TAKEN + 2 * (100 << 10), "{}", bytes(&before));
        queue.push(frames(Lane::Control, 1, 7));
        let next = queue.take().await.expect("most still waits");
        assert_eq!(next[0].len(), 7, "it is the next");
        assert!(next.len() > 1, "and does not go alone");
    }

    #[tokio::test]
    async fn neither_entries_nor_commands_keep_the_other_waiting() {
        let queue = bound(usize::MAX, usize::MAX);
        queue.push(frames(Lane::Forward, 40, 100 << 10));
        queue.push(frames(Lane::Bulk, 40, (100 << 10) + 1));
        for _ in 0..4 {
            let taken = queue.take().await.expect("frames wait");
            let commands = taken.iter().filter(|frame| frame.len() == 100 << 10).count();
            assert!(commands > 0 && commands < taken.len(), "{commands} of {}", taken.len());
        }
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_first() {
        let queue = bound(10, 1000);
        queue.push(frames(Lane::Control, 1, 1));
        queue.close();
        assert!(queue.take().await.is_some());
        assert!(queue.take().await.is_none());
    }
}
