//! Socket options, each with the reason for it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long bytes to a peer may stay unacknowledged before its connection is given up. Without it, a
/// connection that met a partition waits for the kernel's own retransmission, whose back-off reaches two
/// minutes, long after the partition has healed.
const PEER_UNACKNOWLEDGED: Duration = Duration::from_secs(3);
/// So many bytes, and not its whole send buffer, the kernel takes of a link ahead of what it may send: what is in there can't be overtaken any more.
#[cfg(target_os = "linux")]
const LINK_UNSENT: u32 = 256 << 10;
/// How long a client's connection may be silent before the kernel asks whether anybody is there.
const CLIENT_SILENCE: Duration = Duration::from_secs(60);

/// Sets up an outgoing link to a peer.
///
/// # Errors
/// If the connection is gone already.
pub fn prepare_link(stream: &TcpStream) -> io::Result<()> {
    // Heartbeats and appends are small; Nagle's algorithm would hold them back.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(PEER_UNACKNOWLEDGED).with_interval(Duration::from_secs(1)),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(LINK_UNSENT)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(PEER_UNACKNOWLEDGED))?;
    Ok(())
}

/// Sets up a connection that a client opened to us.
///
/// # Errors
/// If the connection is gone already.
pub fn prepare_client(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // A client that lost its power closes nothing; the kernel finds out (RFC 9293, section 3.8.4).
    SockRef::from(stream).set_tcp_keepalive(
        &TcpKeepalive::new().with_time(CLIENT_SILENCE).with_interval(Duration::from_secs(15)),
    )
}

/// Sets up a link that a peer opened to us. A flapping partition leaves many of them half open; they must be
/// gone before the peer's new ones reach the bound on their number.
///
/// # Errors
/// If the connection is gone already.
pub fn prepare_peer(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(PEER_UNACKNOWLEDGED)
            .with_interval(Duration::from_secs(1))
            .with_retries(3),
    )
}
