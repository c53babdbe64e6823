//! The outgoing link to one peer: what its queue holds (`link_queue.rs`) goes over a TCP connection that comes back after a failure.
//! What waited for a peer that can't be reached is dropped with it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use steadfast_core::types::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::link_queue::LinkQueue;
use crate::net::chunks::Chunks;
use crate::net::socket;

/// Longest time that a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Waiting time after the first failure; doubled with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
/// Longest waiting time between attempts. A peer that comes back is heard within it.
const BACKOFF_MOST: Duration = Duration::from_millis(500);
/// What a full lane has dropped is said no more often than this.
const SAID: Duration = Duration::from_secs(10);
/// A link that held this long was a good one; the next failure starts from the shortest waiting time.
const HELD: Duration = Duration::from_secs(5);

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
                    pumped = pump(peer, stream, &queue) => match pumped {
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
async fn pump(peer: NodeId, stream: TcpStream, queue: &LinkQueue) -> io::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let mut chunks = Chunks::default();
    let mut unexpected = [0; 16];
    let (mut dropped, mut said) = (0, Instant::now());
    loop {
        dropped += queue.take_dropped();
        if dropped > 0 && said.elapsed() >= SAID {
            tracing::warn!(%peer, dropped, "the peer reads slowly: what was to be sent to it is dropped, and sent again later");
            (dropped, said) = (0, Instant::now());
        }
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
    use bytes::Bytes;
    use steadfast_core::io::Lane;
    use tokio::net::TcpListener;

    /// A peer that reads nothing for a while, then all: how many bytes came before an urgent frame that was queued meanwhile?
    #[tokio::test]
    async fn an_urgent_frame_does_not_wait_behind_megabytes_in_the_kernel_either() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound").to_string();
        let queue = Arc::new(LinkQueue::default());
        let (_addresses, told) = watch::channel(vec![address]);
        let link = tokio::spawn(run(NodeId(2), told, queue.clone()));
        let (mut peer, _) = listener.accept().await.expect("the link connects at once");
        socket2::SockRef::from(&peer).set_recv_buffer_size(64 << 10).expect("a size that is allowed");
        let bulk = 24 << 20;
        queue.push((0..24).map(|_| (Lane::Bulk, Bytes::from(vec![0; 1 << 20]))));
        tokio::time::sleep(Duration::from_millis(200)).await;
        queue.push([(Lane::Control, Bytes::from("!"))].into_iter());
        queue.close();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.expect("the link ends in order");
        assert_eq!(got.len(), bulk + 1);
        let before = got.iter().position(|byte| *byte == b'!').expect("it came");
        assert!(before < 8 << 20, "{before} bytes went before it");
        link.await.expect("the link's task ends with its queue");
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
        queue.push([(Lane::Control, Bytes::from("frame"))].into_iter());
        queue.close();
        let mut got = String::new();
        second.read_to_string(&mut got).await.expect("the link ends in order");
        // Frames queued before the first connection was seen to be lost may be dropped; this one was not.
        assert_eq!(got, "frame");
        link.await.expect("the link's task ends with its queue");
    }
}
