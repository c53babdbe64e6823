//! Who observes an election: told when there is news, wherever it asked and whoever leads the cluster meanwhile, and only then.

use super::{AccessMode, Cluster};
use crate::error::ErrorCode;
use crate::io::Input;
use crate::reply::Value;
use crate::types::ConnId;

fn cluster() -> (Cluster, ConnId) {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let leader = cluster.leader();
    let candidate = cluster.connect(leader, None);
    (cluster, candidate)
}

fn field(value: &Value, wanted: &str) -> String {
    let Value::Map(pairs) = value else { return "nobody".to_owned() };
    match pairs.iter().find(|(name, _)| name == wanted) {
        Some((_, Value::Bytes(bytes))) => bytes.to_string(),
        Some((_, Value::Int(number))) => number.to_string(),
        other => panic!("{wanted}: {other:?}"),
    }
}

/// Who leads, and what that one says.
fn leads(value: &Value) -> String {
    let leader = field(value, "leader");
    if leader == "nobody" { leader } else { format!("{leader}: {}", field(value, "value")) }
}

#[test]
fn an_observer_is_told_by_its_own_node_who_leads_next_also_under_another_leader() {
    let (mut cluster, candidate) = cluster();
    let (old, follower) = (cluster.leader(), cluster.follower());
    let observer = cluster.connect(follower, None);
    let id = cluster.ask(observer, "ELECTION OBSERVE e WAIT 30000");
    cluster.run(300);
    cluster.value(candidate, "ELECTION CAMPAIGN other ann here PX 600000");
    cluster.run(100);
    assert_eq!(cluster.answer(observer, id), None, "that was another election");
    assert_eq!(cluster.replica(follower).watches.len(), 1);
    let ann = field(&cluster.value(candidate, "ELECTION CAMPAIGN e ann here PX 600000"), "token");
    let told = cluster.answer(observer, id).expect("somebody leads").outcome.expect("a leader");
    assert_eq!((leads(&told), field(&told, "token")), ("ann: here".into(), ann.clone()));

    let at_once = cluster.value(observer, &format!("ELECTION OBSERVE e UNLIKE {ann} gone WAIT 30000"));
    assert_eq!(leads(&at_once), "ann: here", "it says something else by now");
    let id = cluster.ask(observer, &format!("ELECTION OBSERVE e UNLIKE {ann} here WAIT 30000"));
    cluster.run(300);
    assert_eq!(cluster.answer(observer, id), None, "that is known");
    cluster.cut = Some(old);
    cluster.run(3000);
    let new = cluster.leader();
    let candidate = cluster.connect(new, None);
    let other = cluster.connect(new, None);
    cluster.ask(other, "ELECTION CAMPAIGN e bea elsewhere PX 600000 WAIT 60000");
    cluster.run(300);
    assert_eq!(
        cluster.answer(observer, id),
        None,
        "the same leads, whoever leads the cluster and whoever waits"
    );
    cluster.value(candidate, &format!("ELECTION PROCLAIM e {ann} there"));
    let told = cluster.answer(observer, id).expect("it says something else").outcome.expect("a leader");
    assert_eq!(leads(&told), "ann: there");

    let id = cluster.ask(observer, &format!("ELECTION OBSERVE e UNLIKE {ann} there WAIT 30000"));
    cluster.run(300);
    cluster.value(candidate, &format!("ELECTION RESIGN e {ann}"));
    let told = cluster.answer(observer, id).expect("another leads").outcome.expect("a leader");
    assert_eq!(leads(&told), "bea: elsewhere");
    assert_eq!(cluster.replica(follower).watches.len(), 0);
}

#[test]
fn an_observer_is_told_when_a_lease_ends_and_nobody_says_so() {
    let (mut cluster, candidate) = cluster();
    let ann = field(&cluster.value(candidate, "ELECTION CAMPAIGN e ann here PX 800"), "token");
    let follower = cluster.follower();
    let observer = cluster.connect(follower, None);
    let id = cluster.ask(observer, &format!("ELECTION OBSERVE e UNLIKE {ann} here WAIT 30000"));
    cluster.run(300);
    assert_eq!(cluster.answer(observer, id), None);
    cluster.run(3000);
    let told = cluster.answer(observer, id).expect("its time is up").outcome.expect("no leader");
    assert_eq!(leads(&told), "nobody");
}

#[test]
fn a_wait_for_a_leader_ends_with_its_time_or_its_connection() {
    let (mut cluster, candidate) = cluster();
    let follower = cluster.follower();
    let observer = cluster.connect(follower, None);
    let id = cluster.ask(observer, "ELECTION OBSERVE e WAIT 500");
    cluster.run(600);
    assert_eq!(cluster.answer(observer, id).expect("its time is up").outcome, Ok(Value::Nil));
    cluster.ask(observer, "ELECTION OBSERVE e WAIT 30000");
    cluster.run(300);
    assert_eq!(cluster.replica(follower).watches.len(), 1);
    cluster.step(follower, Input::Disconnected { conn: observer });
    assert_eq!(cluster.replica(follower).watches.len(), 0);
    cluster.value(candidate, "ELECTION CAMPAIGN e ann here PX 600000");
}

#[test]
fn an_observer_that_loses_the_right_is_told_that_and_no_leader() {
    let mut cluster = Cluster::new(3, AccessMode::Enforced);
    let follower = cluster.follower();
    let root = cluster.connect(follower, Some(("root", "secret")));
    cluster.value(root, "USER ADD ann first");
    cluster.value(root, "GRANT READ ON e TO ann");
    let observer = cluster.connect(follower, Some(("ann", "first")));
    assert_eq!(cluster.code(observer, "ELECTION OBSERVE f WAIT 30000"), ErrorCode::Denied);
    let id = cluster.ask(observer, "ELECTION OBSERVE e WAIT 30000");
    cluster.run(300);
    cluster.value(root, "GRANT READ ON g TO ann");
    cluster.run(100);
    assert_eq!(cluster.answer(observer, id), None, "she may still see it");
    cluster.value(root, "REVOKE READ ON e FROM ann");
    cluster.run(100);
    let reply = cluster.answer(observer, id).expect("within a bound");
    assert_eq!(reply.outcome.expect_err("she may not see it").code, ErrorCode::Denied);
}

#[test]
fn an_observer_whose_node_hears_of_no_leader_is_told_before_its_time_what_is_known_here() {
    let (mut cluster, candidate) = cluster();
    let ann = field(&cluster.value(candidate, "ELECTION CAMPAIGN e ann here PX 600000"), "token");
    let follower = cluster.follower();
    let observer = cluster.connect(follower, None);
    let id = cluster.ask(observer, &format!("ELECTION OBSERVE e UNLIKE {ann} here WAIT 600000"));
    cluster.run(300);
    assert_eq!(cluster.answer(observer, id), None, "that is known");
    cluster.cut = Some(follower);
    cluster.run(60_000);
    let told = cluster.answer(observer, id).expect("it could wait for ever").outcome.expect("a leader");
    assert_eq!(leads(&told), "ann: here", "as far as this node knows");
    assert_eq!(cluster.replica(follower).watches.len(), 0);
}
