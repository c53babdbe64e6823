//! The one port: accepts connections, tells clients from peers by their first bytes, and bounds how many of
//! each there are. What they say is not understood here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use steadfast_core::limits::Limits;
use steadfast_core::protocol::Caller;
use steadfast_core::protocol::peer::{PeerSplitter, addressee};
use steadfast_core::types::NodeId;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection;
use super::node_loop::{Event, NodeHandle};
use crate::net::{read_some, socket};

/// Most incoming links of peers; a few per member, as lost ones are noticed late.
const PEER_LINKS: usize = 256;
/// Connections beyond the limit that the node still gets to see, so that it can tell them why they are refused.
const REFUSED: usize = 64;
/// How long to wait after the system had no file descriptor for a connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// What every connection needs.
#[derive(Debug)]
pub struct Door {
    id: NodeId,
    node: NodeHandle,
    greeting: Duration,
    most: usize,
    peer_frame: usize,
    /// Most bytes of peers' frames that are not whole, over all links.
    peer_partial: usize,
    /// How many there are.
    partial: AtomicUsize,
    open: AtomicUsize,
    peers: AtomicUsize,
    hints: Throttle,
    node_ended: watch::Receiver<bool>,
}

impl Door {
    /// With the node of this number behind it; `node_ended` turns true when that has halted.
    #[must_use]
    pub fn new(id: NodeId, node: NodeHandle, limits: &Limits, node_ended: watch::Receiver<bool>) -> Self {
        Self {
            id,
            node,
            node_ended,
            greeting: Duration::from_millis(limits.greeting_ms),
            most: limits.connections + PEER_LINKS + REFUSED,
            peer_frame: limits.peer_frame_bytes,
            peer_partial: limits.peer_partial_bytes,
            partial: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            peers: AtomicUsize::new(0),
            hints: Throttle::default(),
        }
    }

    /// Waits until the node has halted.
    async fn ended(&self) {
        told(self.node_ended.clone()).await;
    }

    /// Says something about a connection, but not for every one of a flood.
    fn hint(&self, text: std::fmt::Arguments<'_>) {
        if self.hints.allows() {
            tracing::warn!("{text}");
        }
    }
}

/// Accepts connections until `stop` says so, and gives back those that are open then.
pub async fn run(listener: TcpListener, door: Arc<Door>, stop: watch::Receiver<bool>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut stopped = std::pin::pin!(told(stop));
    loop {
        tokio::select! {
            () = &mut stopped => return tasks,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(open) = Counted::within(door.clone(), |door| &door.open, door.most) {
                        tasks.spawn(greet(stream, door.clone(), open));
                    } else {
                        door.hint(format_args!("{} connections are open, closing the next", door.most));
                    }
                }
                Err(error) => {
                    door.hint(format_args!("can't accept a connection: {error}"));
                    tokio::time::sleep(EXHAUSTED).await;
                }
            },
        }
    }
}

/// Waits until a flag is raised, or nobody is left to raise it.
async fn told(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}

/// Finds out who calls and serves them.
async fn greet(mut stream: TcpStream, door: Arc<Door>, _open: Counted) {
    let Ok(address) = stream.peer_addr() else { return };
    let called = tokio::select! {
        called = tokio::time::timeout(door.greeting, read_caller(&mut stream)) => called,
        () = door.ended() => return,
    };
    let (caller, first) = match called {
        Ok(Ok(known)) => known,
        Ok(Err(error)) => return tracing::debug!(%address, "connection lost before its first bytes: {error}"),
        Err(_) => return tracing::debug!(%address, "connection closed: it said nothing"),
    };
    match caller {
        Caller::Client => {
            if socket::prepare_client(&stream).is_ok() {
                connection::serve(stream, first, address.ip().is_loopback(), door.node.clone()).await;
            }
        }
        Caller::Peer => {
            let Some(_counted) = Counted::within(door.clone(), |door| &door.peers, PEER_LINKS) else {
                return door
                    .hint(format_args!("{PEER_LINKS} peers' links are open, closing one from {address}"));
            };
            let served = tokio::select! {
                served = serve_peer(stream, first, &door) => served,
                () = door.ended() => return,
            };
            if let Err(error) = served {
                door.hint(format_args!("closed the link of a peer at {address}: {error}"));
            }
        }
        Caller::Undecided => tracing::debug!(%address, "connection closed before its first bytes"),
        Caller::Stranger => door.hint(format_args!(
            "closed a connection from {address} that began with \"{}\": {}",
            first.escape_ascii(),
            guess(&first)
        )),
    }
}

/// Reads until the first bytes tell who calls.
async fn read_caller(stream: &mut TcpStream) -> io::Result<(Caller, Bytes)> {
    let mut first = BytesMut::with_capacity(8);
    loop {
        let ended = stream.read_buf(&mut first).await? == 0;
        let caller = Caller::of(&first);
        if ended || caller != Caller::Undecided {
            return Ok((caller, first.freeze()));
        }
    }
}

/// Hands a peer's frames to the node, and waits when the node is behind.
async fn serve_peer(stream: TcpStream, first: Bytes, door: &Door) -> Result<(), String> {
    let lost = |error: io::Error| error.to_string();
    socket::prepare_peer(&stream).map_err(lost)?;
    // Nothing is ever sent to a peer on its own link, so this half stays open and unused.
    let (mut read, _write) = stream.into_split();
    let mut splitter = PeerSplitter::new(door.peer_frame);
    let mut partial = Partial { door, bytes: 0 };
    let mut data = first;
    while !data.is_empty() {
        for frame in splitter.push(&data).map_err(|error| error.to_string())? {
            // Whoever looks for another node here is to look at its next address.
            if let Some(wanted) = addressee(&frame).filter(|wanted| *wanted != door.id) {
                return Err(format!("it looks for node {wanted}, and this is node {}", door.id));
            }
            let Some(permit) = door.node.peer_permit(&frame).await else { return Ok(()) };
            if !door.node.send(Event::Peer { frame, permit }) {
                return Ok(());
            }
        }
        if !partial.holds(splitter.buffered()) {
            return Err(format!(
                "all links together hold {} bytes of frames that are not whole",
                door.peer_partial
            ));
        }
        // A reset is how a killed peer's link ends; that it is gone is reported by our own link to it.
        match read_some(&mut read).await {
            Ok(next) => data = next,
            Err(error) => {
                tracing::debug!("a peer's link was lost: {error}");
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The bytes of a frame that is not whole, among all of those.
struct Partial<'a> {
    door: &'a Door,
    bytes: usize,
}

impl Partial<'_> {
    /// So many now. False if that is more than all may hold together.
    fn holds(&mut self, bytes: usize) -> bool {
        let sum = &self.door.partial;
        sum.fetch_add(bytes, Ordering::Relaxed);
        let before = sum.fetch_sub(self.bytes, Ordering::Relaxed);
        let less = bytes <= self.bytes;
        let now = before - self.bytes;
        self.bytes = bytes;
        less || now <= self.door.peer_partial
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        self.door.partial.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a stranger may have meant.
fn guess(first: &[u8]) -> &'static str {
    match first.first() {
        Some(b'*' | b'+' | b'$') => {
            "that looks like a Redis client; this port speaks the native protocol only"
        }
        Some(b'G' | b'P' | b'H' | b'O' | b'D') => {
            "that looks like HTTP; this port speaks the native protocol only"
        }
        Some(0x16) => "that looks like TLS; this port speaks it not",
        _ => "neither a client nor a node of this version",
    }
}

/// One of a bounded number; counts down when dropped.
struct Counted {
    door: Arc<Door>,
    counter: fn(&Door) -> &AtomicUsize,
}

impl Counted {
    fn within(door: Arc<Door>, counter: fn(&Door) -> &AtomicUsize, most: usize) -> Option<Self> {
        if counter(&door).fetch_add(1, Ordering::Relaxed) >= most {
            counter(&door).fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self { door, counter })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.counter)(&self.door).fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets one line a second through.
#[derive(Debug)]
struct Throttle {
    origin: Instant,
    next_ms: AtomicU64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { origin: Instant::now(), next_ms: AtomicU64::new(0) }
    }
}

impl Throttle {
    fn allows(&self) -> bool {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.next_ms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| (now >= next).then_some(now + 1000))
            .is_ok()
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
