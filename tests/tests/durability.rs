//! SIGKILL keeps the page cache, so a kill proves nothing about the disk. System calls do: every reply to a write
//! must be preceded by completed syncs that cover the write on a majority of the nodes.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;

use steadfast_tests::cluster::Cluster;
use steadfast_tests::durability::{self, Checked, NodeCalls};
use steadfast_tests::interpose::{Fault, library};
use steadfast_tests::process::{Options, Process};
use steadfast_tests::raw::RawClient;
use steadfast_tests::scratch::{Scratch, wait_for};
use steadfast_tests::strace;
use uuid::Uuid;

/// Clients at a time.
const CLIENTS: u64 = 6;
/// Rounds of each client.
const ROUNDS: u64 = 15;
/// Writes of one round, sent together.
const TOGETHER: u64 = 4;

#[test]
fn a_single_node_replies_after_the_sync() {
    if !strace::available() {
        return;
    }
    let checked = single(None, CLIENTS).0.expect("every reply comes after its sync");
    assert_eq!(checked.replies as u64, CLIENTS * ROUNDS * TOGETHER);
    assert!(checked.shown > 0, "reads show values too");
}

/// Where nobody else is kept waiting, the thread that serves clients syncs, the process's first.
#[test]
fn a_single_node_replies_to_a_single_client_after_the_sync() {
    if !strace::available() {
        return;
    }
    let (checked, calls, process) = single(None, 1);
    let checked = checked.expect("every reply comes after its sync");
    assert_eq!(checked.replies as u64, ROUNDS * TOGETHER);
    let syncs: Vec<_> = calls.iter().filter(|call| call.name == "fdatasync").collect();
    let slow = syncs.iter().filter(|call| call.ended - call.begun >= 500).count();
    let own = syncs.iter().filter(|call| call.thread == process).count();
    // After a slow one, the next is the other thread's.
    assert!(2 * own + 2 * slow >= syncs.len(), "{own} of {} syncs, of which {slow} were slow", syncs.len());
}

#[test]
fn a_server_that_skips_the_sync_is_found_out() {
    if !strace::available() {
        return;
    }
    let found = single(Some(Fault::SyncSkipped), CLIENTS).0.expect_err("no reply was preceded by a sync");
    assert!(found.contains("durable on 0 of 1 nodes: [None]"), "{found}");
}

#[test]
fn a_server_that_syncs_too_late_is_found_out() {
    if !strace::available() {
        return;
    }
    let found = single(Some(Fault::SyncLate), 1).0.expect_err("every reply came before its sync");
    assert!(found.contains("durable on 0 of 1 nodes: [Some("), "{found}");
}

#[test]
fn three_nodes_reply_after_a_majority_has_synced() {
    if !strace::available() {
        return;
    }
    let (acknowledged, nodes) = three(&[]);
    let checked =
        durability::check(&nodes, &acknowledged).expect("every reply comes after the syncs of a majority");
    assert!(checked.replies as u64 >= CLIENTS * ROUNDS, "most writes were acknowledged: {checked:?}");
    assert!(checked.shown > 0, "reads show values too");
}

#[test]
fn a_majority_that_skips_the_sync_is_found_out() {
    if !strace::available() {
        return;
    }
    let (acknowledged, nodes) = three(&[0, 1]);
    let found = durability::check(&nodes, &acknowledged).expect_err("at most one node synced");
    assert!(found.contains("of 3 nodes"), "{found}");
}

/// A single node under strace, perhaps with a lying sync; every write must be acknowledged. Its calls, too, and its process.
fn single(lie: Option<Fault>, clients: u64) -> (Result<Checked, String>, Vec<strace::Call>, u32) {
    let scratch = Scratch::new("durability");
    let preload = lie.map(|lie| library(lie, scratch.path()));
    let trace = scratch.join("trace");
    let tracer = strace::tracer(&trace, preload.as_deref());
    let server = Options::single(&scratch.join("data")).under(tracer).start();
    let acknowledged = write_and_read(clients, |_| server.raw());
    assert_eq!(acknowledged.len() as u64, clients * ROUNDS * TOGETHER, "every write is acknowledged");
    let (address, process) = (server.address.clone(), server.id());
    assert_eq!(server.stop(), Some(0));
    let node = NodeCalls { address, calls: calls(&trace, process) };
    (durability::check(std::slice::from_ref(&node), &acknowledged), node.calls, process)
}

/// Three nodes under strace, some of which skip the sync.
fn three(liars: &[usize]) -> (BTreeSet<u64>, Vec<NodeCalls>) {
    let scratch = Scratch::new("durability");
    let preload = library(Fault::SyncSkipped, scratch.path());
    let trace = |place: usize| -> PathBuf { scratch.join(format!("trace{place}")) };
    let mut cluster = Cluster::start_with("durability", |place, options| {
        let preload = liars.contains(&place).then_some(preload.as_path());
        options.under(strace::tracer(&trace(place), preload))
    });
    let acknowledged = write_and_read(CLIENTS, |client| cluster.raw(client as usize % 3));
    let processes: Vec<u32> = cluster.nodes.iter().flatten().map(Process::id).collect();
    assert_eq!(cluster.stop(), [Some(0); 3]);
    let nodes = processes.iter().enumerate().map(|(place, process)| NodeCalls {
        address: cluster.addresses[place].clone(),
        calls: calls(&trace(place), *process),
    });
    (acknowledged, nodes.collect())
}

/// Clients that write, several writes at a time so that batches arise, and read what others write; gives the writes
/// that were acknowledged.
fn write_and_read(clients: u64, connect: impl Fn(u64) -> RawClient) -> BTreeSet<u64> {
    let clients: Vec<_> = (0..clients).map(|client| (client, connect(client))).collect();
    let threads: Vec<_> = clients
        .into_iter()
        .map(|(client, connection)| thread::spawn(move || work(client, connection)))
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().expect("no client panicked")).collect()
}

fn work(client: u64, mut connection: RawClient) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let numbers: Vec<u64> = (0..TOGETHER).map(|n| (client << 32) + round * TOGETHER + n).collect();
        for number in &numbers {
            let key = format!("key{}", number % TOGETHER);
            let args = ["SET".to_owned(), key, durability::value(*number)];
            connection.request(durability::id(*number), args).expect("the server reads");
        }
        let read = Uuid::from_u128(u128::from(round));
        connection.request(read, ["GET", &format!("key{}", client % TOGETHER)]).expect("the server reads");
        for _ in 0..=TOGETHER {
            let response = connection.response();
            let number = numbers.iter().find(|number| durability::id(**number) == response.id);
            if response.reply.outcome.is_ok() {
                acknowledged.extend(number);
            }
        }
    }
    acknowledged
}

/// A node's calls, once strace has written all of them.
fn calls(trace: &Path, process: u32) -> Vec<strace::Call> {
    wait_for("strace to end", || strace::read(trace, process))
}
