//! The outgoing link to one peer: a bounded queue, and a TCP connection that comes back after a failure.
//!
//! Raft tolerates lost frames and can't tolerate waiting ones: a full queue drops what comes, and what
//! waited for a peer that can't be reached is dropped with it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use steadfast_core::types::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::net::chunks::Chunks;
use crate::net::socket;

/// Most frames that wait for one peer.
const QUEUE_FRAMES: usize = 4096;
/// Most bytes that wait for one peer; several of the largest frames.
const QUEUE_BYTES: usize = 64 << 20;
/// Longest time that a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Waiting time after the first failure; doubled with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
/// Longest waiting time between attempts. A peer that comes back is heard within it.
const BACKOFF_MOST: Duration = Duration::from_millis(500);
/// A link that held this long was a good one; the next failure starts from the shortest waiting time.
const HELD: Duration = Duration::from_secs(5);

/// Frames on their way to one peer.
#[derive(Debug)]
pub struct LinkQueue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    most_frames: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl Default for LinkQueue {
    fn default() -> Self {
        Self::new(QUEUE_FRAMES, QUEUE_BYTES)
    }
}

impl LinkQueue {
    /// An empty queue with bounds in count and bytes.
    #[must_use]
    pub fn new(most_frames: usize, most_bytes: usize) -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new(), most_frames, most_bytes }
    }

    /// Adds frames; those that find the queue full are dropped and counted.
    pub fn push(&self, frames: impl Iterator<Item = Bytes>) {
        let mut waiting = self.lock();
        for frame in frames {
            if waiting.frames.len() >= self.most_frames || waiting.bytes + frame.len() > self.most_bytes {
                waiting.dropped += 1;
            } else {
                waiting.bytes += frame.len();
                waiting.frames.push_back(frame);
            }
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for frames and takes them all; `None` once the queue is closed and empty.
    pub async fn take(&self) -> Option<Vec<Bytes>> {
        loop {
            {
                let mut waiting = self.lock();
                if !waiting.frames.is_empty() {
                    waiting.bytes = 0;
                    return Some(waiting.frames.drain(..).collect());
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
        let dropped = waiting.dropped + waiting.frames.len() as u64;
        waiting.frames.clear();
        (waiting.bytes, waiting.dropped) = (0, 0);
        dropped
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the link to one peer up until the queue is closed. Of its addresses one is tried after the other.
pub async fn run(peer: NodeId, mut addresses: watch::Receiver<Vec<String>>, queue: Arc<LinkQueue>) {
    let (mut backoff, mut place) = (BACKOFF_FIRST, 0);
    let mut reported = false;
    while !queue.is_closed() {
        let begun = Instant::now();
        let known = addresses.borrow_and_update().clone();
        // The node names none without an address.
        let Some(address) = known.get(place % known.len().max(1)).cloned() else { return };
        let error = match connect(&address).await {
            Ok(stream) => {
                tracing::info!(%peer, %address, "link to peer is up");
                reported = false;
                let moved = moved_from(&mut addresses, &address);
                tokio::select! {
                    pumped = pump(stream, &queue) => match pumped {
                        Ok(()) => return,
                        Err(error) => error,
                    },
                    () = moved => {
                        place = 0;
                        continue;
                    }
                }
            }
            Err(error) => error,
        };
        place = (place + 1) % known.len();
        let dropped = queue.clear();
        // One line per outage, not one per attempt.
        if !reported {
            tracing::warn!(%peer, %address, dropped, "link to peer is down, trying again: {error}");
            reported = true;
        }
        if begun.elapsed() >= HELD {
            backoff = BACKOFF_FIRST;
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MOST);
    }
}

/// Waits until the peer is not said to be at this address any more.
async fn moved_from(addresses: &mut watch::Receiver<Vec<String>>, address: &str) {
    let moved = addresses.wait_for(|known| !known.iter().any(|it| it == address)).await.is_ok();
    if !moved {
        // Nobody will say anything any more; the queue is closed, which ends the link.
        std::future::pending::<()>().await;
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await??;
    socket::prepare_link(&stream)?;
    Ok(stream)
}

/// Sends what comes until the queue is closed (`Ok`) or the connection breaks. The peer never sends
/// anything here; reading is how its end of the connection is noticed before a frame is lost to it.
async fn pump(stream: TcpStream, queue: &LinkQueue) -> io::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let mut chunks = Chunks::default();
    let mut unexpected = [0; 16];
    loop {
        tokio::select! {
            frames = queue.take() => match frames {
                Some(frames) => chunks.extend(frames),
                None => return write.shutdown().await,
            },
            read = read.read(&mut unexpected) => {
                return Err(match read? {
                    0 => io::Error::new(io::ErrorKind::ConnectionReset, "the peer closed the connection"),
                    _ => io::Error::other("the peer answered on a link that goes one way"),
                });
            }
        }
        write.write_all_buf(&mut chunks).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn frames(count: usize, len: usize) -> impl Iterator<Item = Bytes> {
        (0..count).map(move |number| Bytes::from(vec![number as u8; len]))
    }

    #[tokio::test]
    async fn a_full_queue_drops_what_comes_by_count() {
        let queue = LinkQueue::new(3, 1000);
        queue.push(frames(5, 1));
        let kept = queue.take().await.expect("frames wait");
        assert_eq!(kept, frames(3, 1).collect::<Vec<_>>(), "the oldest are kept, in order");
        assert_eq!(queue.clear(), 2);
    }

    #[tokio::test]
    async fn a_full_queue_drops_what_comes_by_bytes() {
        let queue = LinkQueue::new(1000, 25);
        queue.push(frames(5, 10));
        assert_eq!(queue.take().await.expect("frames wait").len(), 2);
        queue.push(frames(1, 25));
        assert_eq!(queue.take().await.expect("the bytes were given back").len(), 1);
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_first() {
        let queue = LinkQueue::new(10, 1000);
        queue.push(frames(1, 1));
        queue.close();
        assert!(queue.take().await.is_some());
        assert!(queue.take().await.is_none());
    }

    #[tokio::test]
    async fn a_link_comes_back_after_its_peer_closed_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound").to_string();
        let queue = Arc::new(LinkQueue::default());
        let (_addresses, told) = watch::channel(vec![address]);
        let link = tokio::spawn(run(NodeId(2), told, queue.clone()));
        drop(listener.accept().await.expect("the link connects at once"));
        let (mut second, _) = listener.accept().await.expect("the link connects again");
        queue.push([Bytes::from("frame")].into_iter());
        queue.close();
        let mut got = String::new();
        second.read_to_string(&mut got).await.expect("the link ends in order");
        // Frames queued before the first connection was seen to be lost may be dropped; this one was not.
        assert_eq!(got, "frame");
        link.await.expect("the link's task ends with its queue");
    }
}
