//! Nodes whose wall clocks are apart: whose cluster time follows, and how an operator learns of it.

use super::{AccessMode, Cluster};
use crate::io::Input;
use crate::node::clocks::ClockMessage;
use crate::node::peers::Kind;
use crate::protocol::peer;
use crate::reply::Value;
use crate::time::{Micros, Millis};
use crate::types::{ConnId, NodeId};

const HOUR: i64 = 3_600_000;

fn cluster(members: u16) -> Cluster {
    Cluster::new(members, AccessMode::InsecureNoAuth)
}

impl Cluster {
    /// By how many milliseconds cluster time is ahead of true time.
    fn ahead(&mut self) -> i64 {
        let (leader, now) = (self.leader(), self.now);
        let now = crate::time::Stamp { wall: self.stamp(leader).wall, ..now };
        let time = self.replica(leader).clock.as_mut().expect("it leads").read(now);
        time.0 as i64 - self.now.wall.0 as i64
    }

    /// What INFO says of clocks: whether they agree, who is off, how far apart they are and how far time is off.
    fn clocks(&mut self, conn: ConnId) -> [Value; 4] {
        let Value::Map(pairs) = self.value(conn, "INFO") else { panic!("INFO is a map") };
        let find = |wanted| pairs.iter().find(|(name, _)| name == wanted).expect("it is there").1.clone();
        ["clocks", "clocks_off", "clocks_apart_ms", "time_off_ms"].map(find)
    }

    fn others(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|id| *id != self.leader()).collect()
    }

    /// How often each node told its operator something about clocks.
    fn said(&self, words: &str) -> usize {
        self.notices.iter().filter(|(_, text)| text.contains(words)).count()
    }
}

fn text(words: &str) -> Value {
    Value::Bytes(words.into())
}

#[test]
fn a_leader_whose_wall_clock_is_wrong_does_not_take_time_along_and_says_so() {
    let mut cluster = cluster(3);
    let leader = cluster.leader();
    let conn = cluster.connect(leader, None);
    for off in [HOUR, -HOUR] {
        cluster.walls.insert(leader, off);
        cluster.run(20_000);
        assert_eq!(cluster.leader(), leader);
        let ahead = cluster.ahead();
        assert!(ahead.abs() <= 3, "time went {ahead} ms its leader's way, which could have taken it 20");
        let [clocks, off, apart, time_off] = cluster.clocks(conn);
        assert_eq!((clocks, off), (text("agree"), text(&leader.to_string())));
        assert!(matches!(apart, Value::Int(ms) if ms.abs_diff(HOUR) < 50), "{apart:?}");
        assert!(matches!(time_off, Value::Int(-10..=10)), "{time_off:?}");
        assert_eq!((cluster.said("outside of what a majority"), cluster.said("agree again")), (1, 0), "once");
    }
    let follower = cluster.connect(cluster.follower(), None);
    assert_eq!(
        cluster.clocks(follower),
        [Value::Nil, Value::Nil, Value::Nil, Value::Nil],
        "it does not know"
    );
    cluster.walls.clear();
    cluster.run(2_000);
    assert_eq!(cluster.said("agree again"), 1);
    assert_eq!(cluster.clocks(conn)[..2], [text("agree"), text("")]);
}

#[test]
fn time_follows_a_majority_in_both_directions() {
    let mut cluster = cluster(3);
    for off in [HOUR, -HOUR] {
        let before = cluster.ahead();
        cluster.walls = cluster.others().into_iter().map(|node| (node, off)).collect();
        // What was heard before counts for five seconds more; the rest of the time the slew is a thousandth.
        cluster.run(25_000);
        let moved = cluster.ahead() - before;
        assert!((20..=25).contains(&(moved * off.signum())), "{moved} ms in 25 s towards {off}");
    }
}

#[test]
fn where_no_majority_agrees_time_goes_by_the_monotonic_clock_and_nothing_ends_early() {
    let mut cluster = cluster(3);
    let leader = cluster.leader();
    let conn = cluster.connect(leader, None);
    cluster.run(3_000);
    let before = cluster.ahead();
    for (node, off) in cluster.others().into_iter().zip([2 * HOUR, 3 * HOUR]) {
        cluster.walls.insert(node, off);
    }
    cluster.walls.insert(leader, HOUR);
    assert_eq!(cluster.value(conn, "SET k v PX 20000"), Value::ok());
    cluster.run(19_500);
    assert_eq!(cluster.value(conn, "GET k").clone(), text("v"), "its time is not up");
    assert_eq!(
        cluster.ahead(),
        before,
        "forward is where all clocks want it to go, and nobody knows how far"
    );
    let [clocks, off, _, time_off] = cluster.clocks(conn);
    assert_eq!((clocks, off, time_off), (text("apart"), text(""), Value::Nil));
    assert_eq!(cluster.said("no majority agrees"), 1);
    cluster.run(1_000);
    assert_eq!(cluster.value(conn, "GET k"), Value::Nil);
}

#[test]
fn where_all_say_that_it_is_earlier_time_waits_though_they_are_apart() {
    let mut cluster = cluster(3);
    let (leader, before) = (cluster.leader(), cluster.ahead());
    for (node, off) in cluster.others().into_iter().zip([-2 * HOUR, -3 * HOUR]) {
        cluster.walls.insert(node, off);
    }
    cluster.walls.insert(leader, HOUR);
    cluster.run(20_000);
    let moved = cluster.ahead() - before;
    assert!((-20..=-15).contains(&moved), "{moved} ms in 20 s");
}

#[test]
fn a_leader_that_does_not_hear_the_others_clocks_follows_nobodys() {
    let mut cluster = cluster(3);
    let leader = cluster.leader();
    let conn = cluster.connect(leader, None);
    let before = cluster.ahead();
    cluster.walls.insert(leader, HOUR);
    assert!(cluster.withhold(leader, Kind::Clock, 20_000).len() >= 2 * 19, "both answer about once a second");
    let moved = cluster.ahead() - before;
    assert!(moved.abs() <= 3, "{moved} ms in 20 s");
    assert_eq!(cluster.clocks(conn)[0], text("unknown"));
    assert_eq!(cluster.said("agree again"), 0, "that nothing is known is not that all is well");
}

#[test]
fn a_node_alone_follows_its_own_wall_clock() {
    let mut cluster = cluster(1);
    let conn = cluster.connect(NodeId(1), None);
    cluster.walls.insert(NodeId(1), HOUR);
    let before = cluster.ahead();
    cluster.run(20_000);
    let moved = cluster.ahead() - before;
    assert!((19..=20).contains(&moved), "{moved} ms in 20 s");
    assert_eq!(cluster.clocks(conn)[0], text("agree"));
}

#[test]
fn answers_to_another_boot_and_frames_of_anything_are_not_taken() {
    let mut cluster = cluster(3);
    let leader = cluster.leader();
    let held = cluster.withhold(leader, Kind::Clock, 6_000);
    cluster.replica(leader).clocks = super::super::clocks::Clocks::new(&Default::default());
    let now = cluster.now.mono;
    for frame in held {
        let (header, body) = peer::decode(&frame).expect("it was sent by a node");
        let ClockMessage::Shows { boot, .. } = postcard::from_bytes(&body).expect("it is about clocks")
        else {
            panic!("a leader is not asked for its clock")
        };
        let other = crate::types::BootNumber(boot.0 + 1);
        let shows = |sent, wall| ClockMessage::Shows { boot: other, sent, wall };
        let lies = [shows(now, Millis(1)), shows(Micros(u64::MAX), Millis(u64::MAX))];
        for body in lies.map(|lie| postcard::to_stdvec(&lie).unwrap()).into_iter().chain([vec![9], vec![]]) {
            cluster.step(leader, Input::Peer { frame: peer::encode(&header, &body) });
        }
    }
    assert_eq!(cluster.replica(leader).clocks.seen().accord.name(), "unknown", "nobody was heard");
    assert!(cluster.said("sent no message about clocks") > 0);
    cluster.run(2_000);
    assert_eq!(cluster.replica(leader).clocks.seen().accord.name(), "agree");
}
