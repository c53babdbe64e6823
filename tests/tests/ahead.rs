//! Answers ahead of their durability, of real servers: what is lost with a leader is bounded, was said to be at risk, and nothing
//! else is lost.

use std::time::{Duration, Instant};

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::{Reply, Value};
use steadfast_tests::cluster::Cluster;
use steadfast_tests::raw::RawClient;
use uuid::Uuid;

/// Shorter than any time after which a leader that hears nobody gives up.
const MS: u64 = 150;

/// Asks, and waits for the answer.
fn ask(client: &mut RawClient, words: &str) -> Reply {
    client.request(Uuid::from_u128(1), words.split(' ')).expect("it is sent");
    client.response().reply
}

fn is_ahead(reply: &Reply) -> bool {
    reply.receipt.is_some_and(|receipt| receipt.ahead.is_some())
}

#[test]
fn no_more_is_lost_with_a_leader_than_was_allowed_and_nothing_that_was_durable() {
    let mut cluster = Cluster::start("ahead");
    let leader = cluster.leader();
    let mut client = cluster.raw(leader);
    let configure = format!("DURABILITY ASYNC fast:* MS {MS} BYTES 1000000");
    assert_eq!(ask(&mut client, &configure).outcome, Ok(Value::Int(1)));
    let durable = ask(&mut client, "SET slow:1 1");
    assert!(durable.outcome.is_ok() && !is_ahead(&durable));
    let kept = ask(&mut client, "SET fast:kept 1");
    assert!(kept.outcome.is_ok() && is_ahead(&kept));
    // This is durable, and so is all that was logged before it.
    assert!(ask(&mut client, "GET fast:kept").outcome.is_ok());
    let others: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    let process = |cluster: &Cluster, place: usize, signal: &str| {
        cluster.nodes[place].as_ref().expect("it runs").signal(signal);
    };
    others.iter().for_each(|place| process(&cluster, *place, "STOP"));
    let (begun, mut answered) = (Instant::now(), Vec::new());
    let refused = loop {
        let key = format!("fast:{}", answered.len());
        let reply = ask(&mut client, &format!("SET {key} 1"));
        match &reply.outcome {
            Ok(_) => {
                assert!(is_ahead(&reply), "there is no majority");
                answered.push(key);
            }
            Err(failure) => break failure.clone(),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let took = begun.elapsed();
    assert_eq!(refused.code, ErrorCode::DurabilityLag, "{refused}");
    assert!(took >= Duration::from_millis(MS) && answered.len() > 3, "{took:?}: {answered:?}");
    // What the others have received and not read goes with them.
    (0..3).for_each(|place| cluster.kill(place));
    others.iter().for_each(|place| cluster.restart(*place));
    let next = cluster.leader();
    let mut client = cluster.raw(next);
    assert_eq!(ask(&mut client, "GET slow:1").outcome, Ok(Value::Bytes("1".into())));
    assert_eq!(ask(&mut client, "GET fast:kept").outcome, Ok(Value::Bytes("1".into())));
    for key in &answered {
        assert_eq!(
            ask(&mut client, &format!("GET {key}")).outcome,
            Ok(Value::Nil),
            "{key} is lost with its leader"
        );
    }
    cluster.restart(leader);
    let again = ask(&mut client, "SET fast:0 2");
    assert!(again.outcome.is_ok() && is_ahead(&again));
    assert_eq!(ask(&mut client, "GET fast:0").outcome, Ok(Value::Bytes("2".into())));
}
