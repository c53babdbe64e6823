//! Requests for changes: whoever leads meanwhile, wherever they are asked, and whatever people may do by then.

use super::super::peers::Kind;
use super::{AccessMode, Cluster};
use crate::access::user::{Grant, Pattern, Permission, Principal, User};
use crate::error::ErrorCode;
use crate::io::Input;
use crate::reply::{Outcome, Value};
use crate::state::State;
use crate::state::effect::{Cause, DeleteCause, Effect, Entry};
use crate::time::Millis;
use crate::types::{Blob, ConnId, Index, NodeId};
use crate::watch::history::{History, Seer, Told, rights_now};
use crate::watch::{Selector, Types, Watch};

fn cluster() -> (Cluster, ConnId) {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let leader = cluster.leader();
    let writer = cluster.connect(leader, None);
    (cluster, writer)
}

/// What was told, a word for each change, and up to where.
fn told(outcome: Outcome) -> (String, u64) {
    let Value::Map(pairs) = outcome.expect("changes") else { panic!("a map") };
    let [(_, Value::List(events)), (_, Value::Int(position))] = &pairs[..] else { panic!("{pairs:?}") };
    (words(events), *position as u64)
}

fn words(events: &[Value]) -> String {
    let word = |event: &Value| {
        let Value::Map(pairs) = event else { panic!("{event:?} is no map") };
        let text = |wanted: &str| match pairs.iter().find(|(name, _)| name == wanted) {
            Some((_, Value::Bytes(bytes))) => bytes.to_string(),
            _ => String::new(),
        };
        let before = text("previous");
        let before = if before.is_empty() { before } else { format!("({before})") };
        format!("{} {}={}{before}", text("type"), text("key"), text("value"))
    };
    events.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn position(cluster: &mut Cluster, conn: ConnId, words: &str) -> u64 {
    cluster.command(conn, words).receipt.expect("it was evaluated").position.0
}

#[test]
fn every_node_tells_what_has_changed_after_a_position_once_and_in_order() {
    let (mut cluster, writer) = cluster();
    let start = position(&mut cluster, writer, "GET a");
    cluster.value(writer, "SET a 1");
    cluster.value(writer, "MSET b:1 x a 2 b:0 y");
    cluster.value(writer, "DEL a c");
    cluster.value(writer, "SET other 1");
    for id in (1..=3).map(NodeId) {
        let conn = cluster.connect(id, None);
        let all = cluster.command(conn, &format!("CHANGES {start} KEY a PREFIX b: PREVIOUS"));
        let receipt = all.receipt.expect("it was evaluated");
        let (events, through) = told(all.outcome);
        assert_eq!(events, "created a=1, modified a=2(1), created b:0=y, created b:1=x, deleted a=(2)");
        assert_eq!(through, receipt.position.0, "there is nothing behind it");
        let (first, then) =
            told(cluster.command(conn, &format!("CHANGES {start} KEY a PREFIX b: COUNT 2")).outcome);
        assert_eq!(
            first, "created a=1, modified a=2, created b:0=y, created b:1=x",
            "a position's come together"
        );
        let (rest, through) = told(cluster.command(conn, &format!("CHANGES {then} KEY a PREFIX b:")).outcome);
        assert_eq!(rest, "deleted a=");
        let (nothing, _) = told(cluster.command(conn, &format!("CHANGES {through} KEY a PREFIX b:")).outcome);
        assert_eq!(nothing, "");
        let only = format!("CHANGES {start} PREFIX {} ONLY deleted ONLY modified", "a");
        assert_eq!(told(cluster.command(conn, &only).outcome).0, "modified a=2, deleted a=");
    }
}

#[test]
fn who_waits_is_told_by_its_own_node_also_under_another_leader() {
    let (mut cluster, writer) = cluster();
    let start = position(&mut cluster, writer, "SET a 1");
    let (old, follower) = (cluster.leader(), cluster.follower());
    let watcher = cluster.connect(follower, None);
    let id = cluster.ask(watcher, &format!("CHANGES {start} KEY a WAIT 30000"));
    cluster.run(300);
    assert_eq!(cluster.answer(watcher, id), None, "nothing has changed");
    assert_eq!(cluster.replica(follower).watches.len(), 1);
    cluster.cut = Some(old);
    cluster.run(3000);
    let new = cluster.leader();
    let writer = cluster.connect(new, None);
    cluster.value(writer, "SET b 1");
    assert_eq!(cluster.answer(watcher, id), None, "that was another key");
    cluster.value(writer, "SET a 2");
    let (events, _) = told(cluster.answer(watcher, id).expect("it has changed").outcome);
    assert_eq!(events, "modified a=2");
    assert_eq!(cluster.replica(follower).watches.len(), 0);
}

#[test]
fn a_wait_ends_with_its_time_or_its_connection_and_says_how_far_it_got() {
    let (mut cluster, writer) = cluster();
    let start = position(&mut cluster, writer, "SET a 1");
    let follower = cluster.follower();
    let watcher = cluster.connect(follower, None);
    let id = cluster.ask(watcher, &format!("CHANGES {start} KEY a WAIT 500"));
    let later = position(&mut cluster, writer, "SET b 1");
    cluster.run(600);
    let (events, through) = told(cluster.answer(watcher, id).expect("its time is up").outcome);
    assert_eq!((events.as_str(), through), ("", later));
    cluster.ask(watcher, &format!("CHANGES {start} PREFIX a PREFIX a KEY a WAIT 30000"));
    cluster.run(300);
    assert_eq!(cluster.replica(follower).watches.len(), 1);
    cluster.step(follower, Input::Disconnected { conn: watcher });
    assert_eq!(cluster.replica(follower).watches.len(), 0);
    cluster.value(writer, "SET a 2");
}

#[test]
fn a_node_that_lags_tells_nothing_before_it_is_where_the_leader_was() {
    let (mut cluster, writer) = cluster();
    let start = position(&mut cluster, writer, "SET a 1");
    let follower = cluster.follower();
    let watcher = cluster.connect(follower, None);
    // The leader's log does not come here, its answers do.
    let set = cluster.ask(writer, "SET a 2");
    let mut late = cluster.withhold(follower, Kind::Raft, 30);
    let now = cluster.ask(watcher, &format!("CHANGES {start} KEY a"));
    let soon = cluster.ask(watcher, &format!("CHANGES {start} KEY a WAIT 20"));
    late.extend(cluster.withhold(follower, Kind::Raft, 100));
    let position =
        cluster.answer(writer, set).and_then(|reply| reply.receipt).expect("it is written").position;
    assert_eq!(cluster.replica(follower).watches.len(), 2, "the leader has spoken");
    assert!(cluster.replica(follower).state.committed() < position, "and the log has not come");
    assert_eq!([now, soon].map(|id| cluster.answer(watcher, id)), [None, None]);
    late.iter().for_each(|frame| cluster.deliver(follower, frame));
    cluster.run(300);
    for id in [now, soon] {
        let reply = cluster.answer(watcher, id).expect("the log has come");
        assert_eq!(told(reply.outcome).0, "modified a=2");
    }
}

#[test]
fn a_node_that_stops_amid_its_lag_sends_those_who_wait_elsewhere() {
    let (mut cluster, writer) = cluster();
    let start = position(&mut cluster, writer, "SET a 1");
    let follower = cluster.follower();
    let watcher = cluster.connect(follower, None);
    cluster.ask(writer, "SET a 2");
    cluster.withhold(follower, Kind::Raft, 30);
    let id = cluster.ask(watcher, &format!("CHANGES {start} KEY a WAIT 30000"));
    cluster.withhold(follower, Kind::Raft, 100);
    cluster.step(follower, Input::Shutdown);
    let refused = cluster.answer(watcher, id).expect("it is refused").outcome.expect_err("nothing is known");
    assert_eq!(refused.code, ErrorCode::NoLeader);
}

#[test]
fn what_lies_before_a_snapshot_or_ahead_of_the_newest_position_is_refused_with_the_way_out() {
    let (mut cluster, writer) = cluster();
    let now = position(&mut cluster, writer, "SET a 1");
    let ahead = format!("CHANGES {} KEY a", now + 5);
    assert_eq!(cluster.code(writer, &ahead), ErrorCode::PositionAhead);
    let leader = cluster.leader();
    let state = cluster.replica(leader).state.committed();
    cluster.replica(leader).history.reset(state);
    assert_eq!(cluster.code(writer, "CHANGES 0 KEY a"), ErrorCode::HistoryGone);
    assert_eq!(told(cluster.command(writer, &format!("CHANGES {state} KEY a")).outcome).0, "");
}

#[test]
fn a_wait_ends_with_its_own_time_and_not_with_the_requests() {
    let (mut cluster, writer) = cluster();
    let start = position(&mut cluster, writer, "SET a 1");
    let follower = cluster.follower();
    let watcher = cluster.connect(follower, None);
    let id = cluster.ask_within(watcher, &format!("CHANGES {start} KEY a WAIT 3000"), 500);
    cluster.run(2900);
    assert_eq!(cluster.answer(watcher, id), None, "its time is not up");
    cluster.run(200);
    let (events, through) = told(cluster.answer(watcher, id).expect("its time is up").outcome);
    assert_eq!((events.as_str(), through), ("", start));
    let given_up = cluster.ask(watcher, &format!("CHANGES {start} KEY a WAIT 3000"));
    cluster.run(50);
    cluster.queue.push_back((follower, Input::Disconnected { conn: watcher }));
    cluster.run(50);
    assert_eq!(cluster.answer(watcher, given_up), None);
    let replica = cluster.replica(follower);
    assert_eq!((replica.watches.len(), replica.gone.len()), (0, 0), "nothing is kept for who is gone");
}

#[test]
fn whoever_waits_through_more_than_the_history_has_missed_nothing() {
    let (mut cluster, writer) = cluster();
    let start = position(&mut cluster, writer, "SET a:1 1");
    let follower = cluster.follower();
    let state = cluster.replica(follower).state.committed();
    cluster.replica(follower).history = History::new(state, 4, 1 << 20);
    let watcher = cluster.connect(follower, None);
    let prefix = cluster.ask(watcher, &format!("CHANGES {start} PREFIX a: WAIT 30000"));
    let quiet = cluster.ask(watcher, &format!("CHANGES {start} KEY b WAIT 2000"));
    cluster.run(100);
    for value in 0..10 {
        cluster.value(writer, &format!("SET other {value}"));
    }
    assert_eq!(cluster.answer(watcher, prefix), None, "nothing has happened to it");
    cluster.value(writer, "SET a:1 2");
    let (events, _) = told(cluster.answer(watcher, prefix).expect("it has changed").outcome);
    assert_eq!(events, "modified a:1=2");
    cluster.run(2000);
    let end = cluster.answer(watcher, quiet).expect("its time is up");
    let receipt = end.receipt.expect("it was told how far");
    assert_eq!(told(end.outcome), (String::new(), receipt.position.0), "up to here there was nothing");
    assert_eq!(cluster.code(watcher, &format!("CHANGES {start} KEY a")), ErrorCode::HistoryGone);
    // Another state, and nobody knows what led to it.
    let waits = cluster.ask(watcher, &format!("CHANGES {} KEY a WAIT 30000", receipt.position.0));
    cluster.value(writer, "SET other again");
    assert_eq!(cluster.answer(watcher, waits), None);
    let state = cluster.replica(follower).state.committed();
    cluster.replica(follower).history.reset(state);
    cluster.replica(follower).watches.reconsider_all();
    cluster.run(50);
    let gone = cluster.answer(watcher, waits).expect("it cannot be told whether it has missed anything");
    assert_eq!(gone.outcome.expect_err("it is told so").code, ErrorCode::HistoryGone);
}

#[test]
fn a_node_that_stops_tells_those_who_wait_how_far_they_got() {
    let (mut cluster, writer) = cluster();
    let start = position(&mut cluster, writer, "SET a 1");
    let follower = cluster.follower();
    let watcher = cluster.connect(follower, None);
    let id = cluster.ask(watcher, &format!("CHANGES {start} KEY a WAIT 30000"));
    cluster.run(300);
    cluster.step(follower, Input::Shutdown);
    let (events, through) = told(cluster.answer(watcher, id).expect("it is told").outcome);
    assert_eq!((events.as_str(), through), ("", start));
}

/// A state with its history, by hand.
struct World {
    state: State,
    history: History,
}

impl World {
    fn new(positions: u64, bytes: usize) -> Self {
        Self { state: State::default(), history: History::new(Index(0), positions, bytes) }
    }

    fn commit(&mut self, effects: Vec<Effect>) -> Index {
        let index = self.state.committed().next();
        let entry = Entry { time: Millis(index.0), cause: Cause::Command, effects };
        let changes = self.state.commit(index, &entry);
        self.history.push(index, entry.time, changes);
        index
    }

    fn put(&mut self, key: &str, value: &str) -> Index {
        self.commit(vec![Effect::Put { key: key.into(), value: value.into(), deadline: None }])
    }

    fn user(&mut self, patterns: &[&str]) -> Index {
        let pattern = |text: &&str| Pattern::parse(text.as_bytes()).expect("a pattern");
        let both = [Permission::Read, Permission::Watch];
        let grants = patterns
            .iter()
            .flat_map(|text| both.map(|permission| Grant { pattern: pattern(text), permission }));
        let user = User { generation: Index(1), password: String::new(), grants: grants.collect() };
        self.commit(vec![Effect::UserPut { name: "ann".into(), user }])
    }

    fn tell(&self, from: u64, room: usize) -> Told {
        let ann = Principal::User { name: "ann".into(), generation: Index(1) };
        let selectors = vec![Selector::Prefix(Blob::default())];
        let watch = Watch { from: Index(from), selectors, types: Types::ALL, previous: true, count: 100 };
        let rights = rights_now(&self.state, &"ann".into());
        let seer = Seer::new(&self.history, &self.state, &ann, rights.as_ref());
        self.history.tell(seer, &watch, Index(from), room)
    }

    fn words(&self, from: u64) -> String {
        match self.tell(from, 1 << 20) {
            Told::Events { events, .. } => words(&events),
            other => format!("{other:?}"),
        }
    }
}

#[test]
fn a_change_is_shown_to_whoever_could_see_it_then_and_can_now() {
    let mut world = World::new(1000, 1 << 20);
    world.put("a", "1");
    world.user(&["a", "c"]);
    world.put("a", "2");
    world.put("b", "1");
    world.put("c", "1");
    let before = world.user(&["a", "b"]).0;
    world.put("a", "3");
    world.put("b", "2");
    world.put("c", "2");
    assert_eq!(
        world.words(0),
        "modified a=2(1), modified a=3(2), modified b=2(1)",
        "not what was before, and no c"
    );
    assert_eq!(world.words(before), "modified a=3(2), modified b=2(1)");
    world.commit(vec![Effect::UserRemoved { name: "ann".into() }]);
    assert_eq!(world.words(0), "", "nobody is nobody");
    world.put("a", "4");
    world.user(&["*"]);
    world.put("a", "5");
    assert_eq!(world.words(0), "modified a=5(4)", "who is created again is somebody else");
}

#[test]
fn a_history_is_bounded_in_positions_and_in_bytes_and_says_where_it_begins() {
    let mut world = World::new(4, 1 << 20);
    world.user(&["*"]);
    for value in ["1", "2", "3", "4", "5"] {
        world.put("a", value);
    }
    assert_eq!(world.tell(1, 1 << 20), Told::Gone(Index(2)));
    assert_eq!(world.words(2), "modified a=2(1), modified a=3(2), modified a=4(3), modified a=5(4)");
    world.user(&["*"]);
    world.user(&["*"]);
    assert_eq!(world.words(4), "modified a=4(3), modified a=5(4)", "positions count, whatever they changed");
    let mut world = World::new(1000, 10_000);
    world.user(&["*"]);
    world.put("a", &"x".repeat(4_000));
    world.put("b", &"x".repeat(4_000));
    assert_ne!(world.words(0), format!("{:?}", Told::Gone(Index(0))));
    world.put("c", &"x".repeat(4_000));
    assert_eq!(world.tell(1, 1 << 20), Told::Gone(Index(2)));
    world.put("d", &"x".repeat(20_000));
    assert_eq!(world.tell(3, 1 << 20), Told::Gone(Index(4)));
    assert!(matches!(world.tell(4, 1 << 20), Told::Events { .. }), "the newest is always known");
}

#[test]
fn what_does_not_fit_is_told_later_or_without_values_or_refused() {
    let mut world = World::new(1000, 1 << 20);
    let start = world.user(&["*"]).0;
    world.put("a", &"x".repeat(600));
    world.put("b", &"x".repeat(600));
    let Told::Events { events, through } = world.tell(start, 1000) else { panic!("events") };
    assert_eq!((events.len(), through), (1, Index(start + 1)), "the second has no room");
    let Told::Events { events, through } = world.tell(start, 500) else { panic!("events") };
    assert_eq!(
        (words(&events).as_str(), through),
        ("created a=", Index(start + 1)),
        "it is told that it changed"
    );
    assert_eq!(world.tell(start, 50), Told::TooLarge(Index(start + 1)));
}

#[test]
fn what_expires_is_told_apart_from_what_is_deleted() {
    let mut world = World::new(1000, 1 << 20);
    let start = world.user(&["*"]).0;
    world.put("a", "1");
    let delete = |cause| Effect::Delete { key: "a".into(), cause };
    let put = Effect::Put { key: "a".into(), value: "2".into(), deadline: None };
    world.commit(vec![delete(DeleteCause::Expired), put]);
    world.commit(vec![delete(DeleteCause::Deleted)]);
    assert_eq!(world.words(start), "created a=1, expired a=(1), created a=2, deleted a=(2)");
}
