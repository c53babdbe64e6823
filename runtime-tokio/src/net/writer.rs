//! Sends what a channel brings until it ends and everything has gone out. Many small messages leave in one
//! system call.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::chunks::Chunks;

/// Bytes to send in order, and whether to close after them.
///
/// The channels of these have no bound of their own: the core on our side bounds what waits for one connection.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// In order.
    pub chunks: Vec<Bytes>,
    /// Nothing follows.
    pub close: bool,
    /// And what came before is let go of.
    pub at_once: bool,
}

/// Sends until the channel ends or says so, then takes at most `flush` for the rest. `sent` hears of every count
/// of bytes that the operating system took.
///
/// # Errors
/// If the connection is lost or the other side does not read the rest in time.
pub async fn write_all(
    write: &mut OwnedWriteHalf,
    outgoing: &mut UnboundedReceiver<Outgoing>,
    flush: Duration,
    mut sent: impl FnMut(u64),
) -> io::Result<()> {
    let mut chunks = Chunks::default();
    let mut give_up = None;
    while give_up.is_none() || chunks.has_remaining() {
        tokio::select! {
            biased;
            written = write.write_buf(&mut chunks), if chunks.has_remaining() => match written? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => sent(count as u64),
            },
            next = outgoing.recv(), if give_up.is_none() => {
                let (mut close, mut at_once) = take(next, &mut chunks);
                while let Ok(next) = outgoing.try_recv() {
                    let (closes, now) = take(Some(next), &mut chunks);
                    (close, at_once) = (close || closes, at_once || now);
                }
                if at_once {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the other side reads more slowly than it asks"));
                }
                if close {
                    give_up = Some(Instant::now() + flush);
                }
            }
            () = reached(give_up), if chunks.has_remaining() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the other side did not read what was sent last"));
            }
        }
    }
    Ok(())
}

/// Takes a message's bytes; whether nothing follows, as it is at the end of the channel, and whether nothing more is to be sent.
fn take(next: Option<Outgoing>, chunks: &mut Chunks) -> (bool, bool) {
    let Some(next) = next else { return (true, false) };
    chunks.extend(next.chunks);
    (next.close, next.at_once)
}

/// Waits for a moment, for ever if there is none.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
