//! One client's connection: bytes in, bytes out. It understands no byte of what it carries.
//!
//! A client that closes its sending side is gone: it still gets what was answered before the node heard of
//! it. When the node closes, everything sent before goes out first, within a bound.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use steadfast_core::types::ConnId;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use super::node_loop::{Event, NodeHandle};
use crate::net::read_some;
use crate::net::writer::write_all;

/// Sent bytes are reported to the node with the next bytes received, and at the latest when they are this many.
const REPORT: u64 = 16 << 10;
/// How long a closing connection may take to read what it was sent.
const FLUSH: Duration = Duration::from_secs(5);
/// How long a closed connection's incoming bytes are discarded. A socket that is closed with unread bytes
/// resets the connection, and the reset may overtake the last reply (RFC 1122, section 4.2.2.13).
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection whose first bytes were read already, until it ends.
pub async fn serve(stream: TcpStream, first: Bytes, loopback: bool, node: NodeHandle) {
    let conn = node.next_conn();
    let (sender, mut outgoing) = unbounded_channel();
    if !node.send(Event::Connected { conn, loopback, sender }) {
        return;
    }
    let (mut read, mut write) = stream.into_split();
    let drained = AtomicU64::new(0);
    let ended = {
        let mut reading = std::pin::pin!(read_all(&mut read, first, conn, &node, &drained));
        let mut writing = std::pin::pin!(write_all(&mut write, &mut outgoing, FLUSH, |count| {
            report(conn, count, &node, &drained);
        }));
        tokio::select! {
            ended = &mut writing => ended,
            _ = &mut reading => {
                node.send(Event::Disconnected { conn });
                writing.await
            }
        }
    };
    match ended {
        Ok(()) => linger(&mut read, write).await,
        Err(error) => {
            tracing::debug!(%conn, "connection lost: {error}");
            node.send(Event::Disconnected { conn });
        }
    }
}

/// Hands the node what comes, and waits when the node is behind.
async fn read_all(
    read: &mut OwnedReadHalf,
    first: Bytes,
    conn: ConnId,
    node: &NodeHandle,
    drained: &AtomicU64,
) -> io::Result<()> {
    let mut data = first;
    loop {
        // Before it waits for its turn: the time of its requests runs.
        let read_at = Instant::now();
        let Some(permit) = node.client_permit().await else { return Ok(()) };
        let drained = drained.swap(0, Ordering::Relaxed);
        if !node.send(Event::Bytes { conn, drained, read: read_at, data, permit }) {
            return Ok(());
        }
        data = read_some(read).await?;
        if data.is_empty() {
            return Ok(());
        }
    }
}

/// Counts sent bytes, and tells the node once they are many.
fn report(conn: ConnId, count: u64, node: &NodeHandle, drained: &AtomicU64) {
    if drained.fetch_add(count, Ordering::Relaxed) + count >= REPORT {
        node.send(Event::Drained { conn, bytes: drained.swap(0, Ordering::Relaxed) });
    }
}

/// Ends our side and waits a moment for the client to end its own.
async fn linger(read: &mut OwnedReadHalf, mut write: OwnedWriteHalf) {
    if write.shutdown().await.is_err() {
        return;
    }
    let _ = tokio::time::timeout(LINGER, async {
        while read_some(read).await.is_ok_and(|data| !data.is_empty()) {}
    })
    .await;
}
