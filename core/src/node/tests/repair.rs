//! A member whose log was damaged.

use super::super::repair::Repair;
use super::{AccessMode, Cluster};

#[test]
fn with_nothing_left_to_ask_for_nobody_is_woken() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let (follower, now) = (cluster.follower(), cluster.now.mono);
    let replica = cluster.replica(follower);
    replica.repair = Some(Repair::new(now));
    assert_eq!(replica.raft.log().lost(), 0);
    assert_eq!(replica.repair_wake_at(), None, "a sync that takes long would find it awake all the time");
}
