//! Connections as the node sees them: the test stands in for the node and reads its events.

use std::net::SocketAddr;

use bytes::Bytes;
use steadfast_core::protocol::peer::{self, PeerHeader};
use steadfast_core::types::{BootNumber, ClusterId, ConnId, Incarnation, NodeId};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::TryRecvError;

use super::*;
use crate::net::writer::Outgoing;
use crate::server::node_loop::Inbox;

struct Bench {
    address: SocketAddr,
    events: Inbox,
    stop: watch::Sender<bool>,
    node_ended: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<JoinSet<()>>,
}

impl Bench {
    async fn new(limits: Limits) -> Self {
        let (node, events) = NodeHandle::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = watch::channel(false);
        let (node_ended, ended) = watch::channel(false);
        let door = Arc::new(Door::new(NodeId(1), node, &limits, ended));
        let accepting = tokio::spawn(run(listener, door, stopped));
        Self { address, events, stop, node_ended, accepting }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("somebody listens")
    }

    /// The next event for the node.
    async fn event(&mut self) -> Event {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.events.try_recv() {
                Ok(event) => return event,
                Err(TryRecvError::Empty) => tokio::task::yield_now().await,
                Err(TryRecvError::Disconnected) => panic!("nobody can send events any more"),
            }
            assert!(Instant::now() < deadline, "the node hears of it in time");
        }
    }

    /// A client that has said its first four bytes, as the node sees it.
    async fn client(&mut self) -> (TcpStream, ConnId, UnboundedSender<Outgoing>) {
        let mut stream = self.connect().await;
        stream.write_all(b"SFC1").await.expect("it is sent");
        let Event::Connected { conn, loopback: true, sender } = self.event().await else {
            panic!("a client's first bytes make a connection from loopback")
        };
        assert_eq!(&*self.bytes(conn).await, b"SFC1", "no byte is lost to looking at them");
        (stream, conn, sender)
    }

    async fn bytes(&mut self, wanted: ConnId) -> Bytes {
        match self.event().await {
            Event::Bytes { conn, data, .. } if conn == wanted => data,
            other => panic!("bytes of {wanted} were expected, not {other:?}"),
        }
    }
}

fn outgoing(text: &'static str, close: bool) -> Outgoing {
    Outgoing { chunks: vec![Bytes::from(text)], close, at_once: false }
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the connection ends in order");
    rest
}

fn frame(body: &[u8]) -> Bytes {
    frame_to(NodeId(1), body)
}

fn frame_to(to: NodeId, body: &[u8]) -> Bytes {
    let header = PeerHeader {
        kind: 1,
        group: 0,
        cluster: ClusterId(1),
        from: NodeId(2),
        to,
        incarnation: Incarnation(3),
        boot: BootNumber(4),
        nonce: 5,
    };
    peer::encode(&header, body)
}

#[tokio::test]
async fn a_close_sends_what_came_before_it_first() {
    let mut bench = Bench::new(Limits::default()).await;
    let (mut stream, _, sender) = bench.client().await;
    sender.send(outgoing("reply ", false)).expect("the connection is there");
    sender.send(outgoing("goodbye", true)).expect("the connection is there");
    assert_eq!(rest(&mut stream).await, b"reply goodbye");
}

#[tokio::test]
async fn unread_requests_do_not_cost_the_client_its_last_reply() {
    let mut bench = Bench::new(Limits::default()).await;
    let (mut stream, _, sender) = bench.client().await;
    // Closing a socket with unread bytes resets the connection, and the reset overtakes what was sent.
    stream.write_all(&[7; 200_000]).await.expect("it is sent");
    sender.send(outgoing("goodbye", true)).expect("the connection is there");
    assert_eq!(rest(&mut stream).await, b"goodbye");
}

#[tokio::test]
async fn a_client_that_closes_its_side_is_gone_and_gets_what_was_answered() {
    let mut bench = Bench::new(Limits::default()).await;
    let (mut stream, conn, sender) = bench.client().await;
    stream.shutdown().await.expect("its side is open");
    let Event::Disconnected { conn: gone } = bench.event().await else { panic!("the node hears of it") };
    assert_eq!(gone, conn);
    sender.send(outgoing("late", true)).expect("the connection still sends");
    assert_eq!(rest(&mut stream).await, b"late");
}

#[tokio::test]
async fn what_was_sent_is_reported_with_the_next_bytes() {
    let mut bench = Bench::new(Limits::default()).await;
    let (mut stream, _, sender) = bench.client().await;
    sender.send(outgoing("12345", false)).expect("the connection is there");
    let mut got = [0; 5];
    stream.read_exact(&mut got).await.expect("it arrives");
    stream.write_all(b"next").await.expect("it is sent");
    let Event::Bytes { drained, .. } = bench.event().await else { panic!("bytes follow") };
    assert_eq!(drained, 5);
}

#[tokio::test]
async fn much_sent_is_reported_without_waiting_for_bytes() {
    let mut bench = Bench::new(Limits::default()).await;
    let (mut stream, _, sender) = bench.client().await;
    let chunk = Outgoing { chunks: vec![Bytes::from(vec![1; 1 << 20])], close: true, at_once: false };
    sender.send(chunk).expect("the connection is there");
    assert_eq!(rest(&mut stream).await.len(), 1 << 20);
    let mut drained = 0;
    while drained < (1 << 20) - 65_536 {
        if let Event::Drained { bytes, .. } = bench.event().await {
            drained += bytes;
        }
    }
}

#[tokio::test]
async fn a_node_that_is_behind_stops_clients_from_being_read() {
    let mut bench = Bench::new(Limits::default()).await;
    let (mut stream, _, _sender) = bench.client().await;
    // Nobody takes events, so their permits stay out; the client can then send only what the kernel buffers.
    let flood = vec![7; 1 << 20];
    let sent = tokio::time::timeout(Duration::from_secs(2), async {
        for _ in 0..1024 {
            stream.write_all(&flood).await.expect("it is sent");
        }
    });
    assert!(sent.await.is_err(), "a gigabyte must not go anywhere while the node takes nothing");
}

#[tokio::test]
async fn peers_frames_arrive_whole_however_they_were_split() {
    let mut bench = Bench::new(Limits::default()).await;
    let (first, second) = (frame(b"one"), frame(b"two"));
    let mut stream = bench.connect().await;
    for byte in first.iter().chain(&second) {
        stream.write_all(&[*byte]).await.expect("it is sent");
    }
    for wanted in [first, second] {
        let Event::Peer { frame, .. } = bench.event().await else { panic!("a frame follows") };
        assert_eq!(frame, wanted);
    }
}

#[tokio::test]
async fn a_link_that_looks_for_another_node_is_closed() {
    let mut bench = Bench::new(Limits::default()).await;
    let mut stream = bench.connect().await;
    stream.write_all(&frame_to(NodeId(7), b"for node 7")).await.expect("it is sent");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(matches!(bench.events.try_recv(), Err(TryRecvError::Empty)), "the node never sees it");
}

#[tokio::test]
async fn a_peers_bad_frame_closes_its_link() {
    let limits = Limits { peer_frame_bytes: 1000, ..Limits::default() };
    let mut bench = Bench::new(limits).await;
    let mut stream = bench.connect().await;
    stream.write_all(&frame(&[0; 2000])).await.expect("it is sent");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert!(matches!(bench.events.try_recv(), Err(TryRecvError::Empty)), "the node never sees it");
}

#[tokio::test]
async fn all_links_together_hold_a_bounded_part_of_frames() {
    let limits = Limits { peer_frame_bytes: 1 << 20, peer_partial_bytes: 3_000, ..Limits::default() };
    let mut bench = Bench::new(limits).await;
    let long = frame(&[0; 2_500]);
    let (mut first, mut second) = (bench.connect().await, bench.connect().await);
    first.write_all(&long[..2_000]).await.expect("it is sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    second.write_all(&long[..2_000]).await.expect("it is sent");
    assert_eq!(rest(&mut second).await, b"", "it would be too much");
    first.write_all(&long[2_000..]).await.expect("it is sent");
    assert!(matches!(bench.event().await, Event::Peer { .. }), "the other one goes on");
    let mut third = bench.connect().await;
    third.write_all(&long).await.expect("it is sent");
    assert!(matches!(bench.event().await, Event::Peer { .. }), "there is room again");
}

#[tokio::test]
async fn strangers_are_closed_at_their_first_byte() {
    let bench = Bench::new(Limits::default()).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"*").await.expect("it is sent");
    assert_eq!(rest(&mut stream).await, b"");
}

#[tokio::test]
async fn a_caller_that_says_nothing_is_closed_in_time() {
    let bench = Bench::new(Limits { greeting_ms: 10, ..Limits::default() }).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"SF").await.expect("it is sent");
    assert_eq!(rest(&mut stream).await, b"");
}

#[tokio::test]
async fn connections_beyond_all_bounds_are_closed_unseen() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let mut bench = Bench::new(limits).await;
    let most = 1 + PEER_LINKS + REFUSED;
    let mut open = Vec::new();
    for _ in 0..most {
        open.push(bench.client().await);
    }
    let mut last = bench.connect().await;
    assert_eq!(rest(&mut last).await, b"");
    let (stream, _, _sender) = open.pop().expect("there are many");
    drop(stream);
    assert!(matches!(bench.event().await, Event::Disconnected { .. }));
}

#[tokio::test]
async fn the_end_waits_for_clients_bytes_and_for_nobody_else() {
    let mut bench = Bench::new(Limits::default()).await;
    let (mut client, _, sender) = bench.client().await;
    let _silent = bench.connect().await;
    let mut peer = bench.connect().await;
    peer.write_all(&frame(b"hello")).await.expect("it is sent");
    assert!(matches!(bench.event().await, Event::Peer { .. }));
    sender.send(outgoing("the last reply", false)).expect("the connection is there");
    drop(sender);
    bench.stop.send_replace(true);
    bench.node_ended.send_replace(true);
    let mut tasks = bench.accepting.await.expect("it ends when it is told");
    assert_eq!(rest(&mut client).await, b"the last reply");
    drop(client);
    while tasks.join_next().await.is_some() {}
    assert!(TcpStream::connect(bench.address).await.is_err(), "nobody is let in any more");
}
