//! Connections alone: their order and their bounds, without a replica behind them.

use super::super::connections::Connections;
use super::super::forward::Ticket;
use super::super::streams::Streams;
use super::{AccessMode, config};
use crate::access::password::JobResult;
use crate::error::{ErrorCode, Failure};
use crate::io::{Outbox, Output, Token};
use crate::protocol::frame::Message;
use crate::protocol::native::{ClientFrame, Hello, Request, ServerDecoder, ServerFrame};
use crate::reply::{Reply, Value};
use crate::time::Micros;
use crate::types::{Blob, ConnId, Index};
use uuid::Uuid;

const NOW: Micros = Micros(1);

pub fn connections(access: AccessMode) -> (Connections, Outbox) {
    (Connections::new(config(1, 1, access), Streams::new([1; 32]).passwords), Outbox::default())
}

pub fn greet(connections: &mut Connections, conn: ConnId, auth: Option<(&str, &str)>, out: &mut Outbox) {
    connections.connected(NOW, conn, true, out);
    let hello = Hello {
        versions: (1, 1),
        max_frame: 8 << 20,
        client: "test".into(),
        client_version: "0".into(),
        cluster: None,
        auth: auth.map(|(user, password)| (Blob::from(user), password.to_owned())),
    };
    let bytes = ClientFrame::Hello(hello).encode(8 << 20).unwrap();
    connections.bytes(NOW, conn, Micros(0), &bytes, out);
}

pub fn ask(connections: &mut Connections, conn: ConnId, id: u128, words: &str, out: &mut Outbox) {
    let args = words.split(' ').map(Blob::from).collect();
    let request =
        Request { id: Uuid::from_u128(id), once: None, deadline_ms: 0, trace: None, unknowns: 0, args };
    let bytes = ClientFrame::Request(request).encode(8 << 20).unwrap();
    connections.bytes(NOW, conn, Micros(0), &bytes, out);
}

/// What the outputs say: frames sent, and tokens of computations.
fn said(out: &mut Outbox) -> (Vec<ServerFrame>, Vec<Token>) {
    let (mut decoder, mut tokens) = (ServerDecoder::new(8 << 20), Vec::new());
    let mut frames = Vec::new();
    for output in out.drain() {
        match output {
            Output::Send { data, .. } => decoder.push(&data),
            Output::Compute { token, .. } => tokens.push(token),
            _ => {}
        }
        while let Some(frame) = decoder.next().unwrap() {
            frames.push(frame);
        }
    }
    (frames, tokens)
}

#[test]
fn a_command_whose_password_was_hashed_meanwhile_is_refused_after_an_unknown_outcome() {
    let (mut connections, mut out) = connections(AccessMode::InsecureNoAuth);
    let conn = ConnId(1);
    greet(&mut connections, conn, None, &mut out);
    ask(&mut connections, conn, 1, "SET k v", &mut out);
    ask(&mut connections, conn, 2, "USER ADD ann secret", &mut out);
    let (ticket, _) = connections.tasks.pop_front().expect("the first command");
    let (_, tokens) = said(&mut out);
    let unknown = Reply::refused(Failure::new(ErrorCode::LeaderLost, "lost"));
    connections.answered(NOW, ticket, unknown, &mut out);
    connections.computed(NOW, tokens[0], JobResult::Hashed("hash".into()), &mut out);
    assert!(connections.tasks.is_empty(), "it came after a command that may or may not take effect");
    let (frames, _) = said(&mut out);
    let Some(ServerFrame::Response(response)) = frames.last() else { panic!("no answer: {frames:?}") };
    assert_eq!(response.reply.outcome.as_ref().unwrap_err().code, ErrorCode::AfterIndeterminate);
}

#[test]
fn a_client_that_goes_away_does_not_make_room_for_another_password_job() {
    let (mut connections, mut out) = connections(AccessMode::Enforced);
    let most = connections.config.limits.password_jobs;
    let mut jobs = Vec::new();
    for number in 1..=2 * most as u64 {
        let conn = ConnId(number);
        greet(&mut connections, conn, Some(("root", "guess")), &mut out);
        let Some((ticket, _)) = connections.tasks.pop_front() else {
            assert!(number > most as u64, "there is room for this one");
            connections.disconnected(conn, &mut out);
            continue;
        };
        assert_eq!(ticket, Ticket { conn, number: 1 });
        let record = Value::List(vec![Value::Bytes(Blob::from("hash")), Value::Int(Index(1).0 as i64)]);
        connections.answered(NOW, ticket, Reply { outcome: Ok(record), receipt: None }, &mut out);
        jobs.extend(said(&mut out).1);
        connections.disconnected(conn, &mut out);
        let forgotten =
            |output: &Output| matches!(output, Output::Forget { token } if Some(token) == jobs.last());
        assert!(out.drain().any(|output| forgotten(&output)), "it need not be begun");
    }
    assert_eq!(jobs.len(), most, "what is under way goes on, whoever asked for it");
    connections.computed(NOW, jobs[0], JobResult::Verified(false), &mut out);
    assert_eq!(connections.jobs.len(), most - 1);
}

#[test]
fn a_node_that_is_stopping_takes_no_new_connection() {
    let (mut connections, mut out) = connections(AccessMode::Enforced);
    connections.stopping = true;
    greet(&mut connections, ConnId(1), Some(("root", "secret")), &mut out);
    assert!(connections.is_idle(), "a stream of logins must not keep it from stopping");
    let (frames, _) = said(&mut out);
    assert!(
        matches!(&frames[..], [ServerFrame::Goodbye(failure)] if failure.code == ErrorCode::ShuttingDown)
    );
}
