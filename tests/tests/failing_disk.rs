//! Disks that fail: the server stops, says what happened and what it means, and has lost nothing that it
//! acknowledged. In a cluster the others go on.

#![cfg(target_os = "linux")]

use std::fs;

use steadfast_core::protocol::native::ServerFrame;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::interpose::{Fault, library, trigger};
use steadfast_tests::process::{Options, Process};
use steadfast_tests::scratch::{Scratch, wait_for};
use uuid::Uuid;

/// Lets the disk of a single node fail while it is written to; what the server said at its end.
fn fails_under_writes(fault: Fault) -> String {
    let scratch = Scratch::new("failing-disk");
    let data = scratch.join("data");
    let mut server = Options::single(&data).preload(library(fault, scratch.path())).start();
    let mut client = server.raw();
    let mut acknowledged = 0;
    for number in 0_u128.. {
        if number == 20 {
            fs::write(trigger(scratch.path()), b"").expect("it can be written");
        }
        if client.request(Uuid::from_u128(number), ["INCRBY", "counter", "1"]).is_err() {
            break;
        }
        match client.receive() {
            Ok(Some(ServerFrame::Response(response))) if response.reply.outcome.is_ok() => acknowledged += 1,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    assert!(acknowledged >= 20, "{acknowledged} writes were acknowledged");
    assert_eq!(server.wait(), Some(5), "a disk's failure has an exit code of its own");
    let said = server.log();
    assert!(!said.contains("panicked"), "{said}");
    let repaired = Process::single(&data);
    let counter: i64 =
        repaired.answer(&["GET", "counter"]).trim_matches('"').parse().expect("it is a number");
    assert!((acknowledged..=acknowledged + 1).contains(&counter), "{counter} of {acknowledged} acknowledged");
    said
}

#[test]
fn a_failed_sync_stops_the_server_and_is_not_tried_again() {
    let said = fails_under_writes(Fault::SyncFails);
    assert!(said.contains("the disk failed") && said.contains("dmesg"), "{said}");
}

#[test]
fn a_cluster_goes_on_without_the_leader_whose_disk_failed() {
    let scratch = Scratch::new("failing-disk");
    let failing = library(Fault::SyncFails, scratch.path());
    let mut cluster = Cluster::start_with("failing-disk", |place, options| match place {
        0 => options.preload(failing.clone()),
        _ => options,
    });
    cluster.make_leader(0);
    let mut survivor = cluster.raw(1);
    survivor.request(Uuid::from_u128(1), ["SET", "before", "the fault"]).expect("it is sent");
    survivor.response().reply.outcome.expect("it is acknowledged");
    fs::write(trigger(scratch.path()), b"").expect("it can be written");
    let mut failed = cluster.nodes[0].take().expect("it runs");
    // It leads on until it writes.
    let mut number = 2;
    wait_for("a write that the others acknowledge", || {
        number += 1;
        survivor.request(Uuid::from_u128(number), ["SET", "after", "the fault"]).expect("it is sent");
        survivor.response().reply.outcome.is_ok().then_some(())
    });
    assert_eq!(failed.wait(), Some(5));
    survivor.request(Uuid::from_u128(1), ["MGET", "before", "after"]).expect("it is sent");
    let values = survivor.response().reply.outcome.expect("it is answered");
    assert_eq!(format!("{values:?}").matches("the fault").count(), 2, "{values:?}");
}
