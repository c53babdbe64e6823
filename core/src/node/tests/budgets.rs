//! What all connections hold together: whoever holds the most pays, or who comes last is refused.

use super::super::connections::Connections;
use super::connections::{ask, connections, greet};
use super::{AccessMode, bytes};
use crate::error::ErrorCode;
use crate::io::{Outbox, Output};
use crate::protocol::frame::Message;
use crate::protocol::native::{ClientFrame, Request, ServerDecoder, ServerFrame};
use crate::reply::Reply;
use crate::time::Micros;
use crate::types::{Blob, ConnId};
use uuid::Uuid;

const NOW: Micros = Micros(1);
const CONNS: [ConnId; 3] = [ConnId(1), ConnId(2), ConnId(3)];

fn three() -> (Connections, Outbox) {
    let (mut connections, mut out) = connections(AccessMode::InsecureNoAuth);
    for conn in CONNS {
        greet(&mut connections, conn, None, &mut out);
        connections.drained(conn, 1 << 20);
    }
    drop(out.drain());
    (connections, out)
}

/// The codes that each connection was told, and whether it was closed.
fn told(out: &mut Outbox, conn: ConnId) -> (Vec<ErrorCode>, bool) {
    let (mut decoder, mut codes, mut closed) = (ServerDecoder::new(8 << 20), Vec::new(), false);
    for output in out.drain() {
        match output {
            Output::Send { conn: to, data } if to == conn => decoder.push(&data),
            Output::Close { conn: whom, .. } => closed |= whom == conn,
            _ => {}
        }
    }
    while let Some(frame) = decoder.next().expect("frames") {
        let failure = match frame {
            ServerFrame::Goodbye(failure) => failure,
            ServerFrame::Response(response) => match response.reply.outcome {
                Err(failure) => failure,
                Ok(_) => continue,
            },
            ServerFrame::Welcome(_) => continue,
        };
        assert!(failure.code != ErrorCode::Overloaded || failure.retry_after_ms >= 10, "{failure}");
        codes.push(failure.code);
    }
    (codes, closed)
}

#[test]
fn who_holds_the_largest_part_of_a_frame_is_closed_when_there_are_too_many() {
    let (mut connections, mut out) = three();
    connections.config.limits.partial_bytes = 10_000;
    let args = vec![Blob::from("SET"), Blob::from("k"), Blob::from(vec![7; 20_000])];
    let request =
        Request { id: Uuid::from_u128(1), once: None, deadline_ms: 0, trace: None, unknowns: 0, args };
    let frame = ClientFrame::Request(request).encode(8 << 20).expect("small");
    let mut send = |conn, part: std::ops::Range<usize>, out: &mut Outbox| {
        connections.bytes(NOW, conn, Micros(0), &frame[part], out);
        connections.budget.sum.partial
    };
    assert_eq!(send(CONNS[0], 0..6_000, &mut out), 6_000);
    assert_eq!(send(CONNS[1], 0..3_000, &mut out), 9_000);
    assert_eq!(send(CONNS[2], 0..2_000, &mut out), 5_000, "the largest is gone");
    assert_eq!(told(&mut out, CONNS[0]), (vec![ErrorCode::Overloaded], true));
    assert_eq!(send(CONNS[1], 3_000..8_000, &mut out), 10_000);
    assert_eq!(send(CONNS[2], 2_000..7_000, &mut out), 7_000);
    assert_eq!(told(&mut out, CONNS[1]), (vec![ErrorCode::Overloaded], true));
    assert_eq!(send(CONNS[2], 7_000..frame.len(), &mut out), 0, "it is whole");
}

#[test]
fn requests_of_all_connections_together_are_bounded_and_make_room_as_they_are_answered() {
    let (mut connections, mut out) = three();
    connections.config.limits.requests_bytes = 10_000;
    let words = format!("SET k {}", "x".repeat(6_000));
    ask(&mut connections, CONNS[0], 1, &words, &mut out);
    ask(&mut connections, CONNS[1], 2, &words, &mut out);
    assert_eq!(told(&mut out, CONNS[1]), (vec![ErrorCode::Overloaded], false));
    let (ticket, _) = connections.tasks.pop_front().expect("the first one");
    assert!(connections.tasks.is_empty());
    connections.answered(NOW, ticket, Reply { outcome: Ok(bytes("")), receipt: None }, &mut out);
    ask(&mut connections, CONNS[1], 3, &words, &mut out);
    assert_eq!(told(&mut out, CONNS[1]), (vec![], false));
    assert_eq!(connections.tasks.len(), 1);
    connections.disconnected(CONNS[1], &mut out);
    assert_eq!(connections.budget.sum.requests, 0, "it took them along");
}

#[test]
fn who_reads_least_is_closed_when_too_much_waits_to_be_read() {
    let (mut connections, mut out) = three();
    connections.config.limits.all_unsent_bytes = 5_000;
    let mut answer = |conn, size: usize, out: &mut Outbox| {
        ask(&mut connections, conn, 1, "GET k", out);
        let (ticket, _) = connections.tasks.pop_front().expect("it is to be evaluated");
        connections.answered(
            NOW,
            ticket,
            Reply { outcome: Ok(bytes(&"x".repeat(size))), receipt: None },
            out,
        );
    };
    answer(CONNS[0], 2_000, &mut out);
    answer(CONNS[1], 2_500, &mut out);
    assert_eq!(told(&mut out, CONNS[1]), (vec![], false));
    answer(CONNS[2], 1_000, &mut out);
    assert!(told(&mut out, CONNS[1]).1, "it holds the most");
    assert_eq!(connections.table.len(), 2);
    connections.drained(CONNS[0], 1 << 20);
    connections.drained(CONNS[2], 1 << 20);
    assert_eq!(connections.budget.sum, Default::default());
}

#[test]
fn who_has_less_than_a_share_is_served_whatever_the_others_hold() {
    let (mut connections, mut out) = three();
    connections.config.limits.requests_bytes = 10_000;
    ask(&mut connections, CONNS[0], 1, &format!("SET k {}", "x".repeat(9_900)), &mut out);
    ask(&mut connections, CONNS[1], 2, &format!("SET k {}", "x".repeat(3_000)), &mut out);
    assert_eq!(told(&mut out, CONNS[1]), (vec![], false));
    ask(&mut connections, CONNS[1], 3, &format!("SET k {}", "x".repeat(1_000)), &mut out);
    assert_eq!(told(&mut out, CONNS[1]), (vec![ErrorCode::Overloaded], false), "that would be more");
}

#[test]
fn who_has_not_logged_in_holds_no_more_than_a_few_greetings() {
    let (mut connections, mut out) = connections(AccessMode::Enforced);
    greet(&mut connections, CONNS[0], None, &mut out);
    drop(out.drain());
    ask(&mut connections, CONNS[0], 1, "AUTH root wrong", &mut out);
    let words = format!("SET k {}", "x".repeat(3_800));
    (2..9).for_each(|id| ask(&mut connections, CONNS[0], id, &words, &mut out));
    let (codes, closed) = told(&mut out, CONNS[0]);
    assert_eq!((codes, closed), (vec![ErrorCode::TooManyRequests; 3], false), "four are held");
    assert!(connections.budget.sum.requests < 4 * 4096);
}

#[test]
fn what_nobody_has_looked_at_is_not_given_up_when_its_connection_goes() {
    let (mut connections, mut out) = three();
    ask(&mut connections, CONNS[0], 1, "SET k v", &mut out);
    ask(&mut connections, CONNS[0], 2, "SET k w", &mut out);
    let (seen, _) = connections.tasks.pop_front().expect("it is to be evaluated");
    connections.disconnected(CONNS[0], &mut out);
    let given_up: Vec<_> = connections.abandoned.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(given_up, [seen], "no answer to the other one would ever come");
    assert!(connections.tasks.is_empty());
}
