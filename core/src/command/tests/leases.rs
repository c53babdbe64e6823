//! Leases, and the keys that hang on them. The clock stands at 1000000.

use super::*;
use crate::types::LeaseId;

fn lease(world: &mut World, user: &str, ttl: u64) -> LeaseId {
    LeaseId(world.by(user, &format!("LEASE GRANT {ttl}")).parse().expect("a lease is a number"))
}

#[test]
fn a_lease_lives_until_its_end_is_logged_and_takes_its_keys_with_it() {
    let mut world = World::new();
    let id = lease(&mut world, "root", 1000);
    assert_eq!(world.root(&format!("SET a 1 LEASE {id}")), "OK");
    world.root("MSET b 2 c 3");
    assert_eq!(world.root(&format!("LEASE ATTACH {id} b none")), "1");
    assert_eq!(
        world.root(&format!("LEASE SHOW {id}")),
        format!("{{lease: {id}, user: \"root\", ttl_ms: 1000, remaining_ms: 1000, keys: [\"a\", \"b\"]}}")
    );
    world.commit();
    assert!(!world.wake_at(1_001_002), "a five-hundredth and a millisecond later than promised");
    assert_eq!(world.root("EXISTS a b c"), "3");
    assert!(world.wake_at(1_001_003));
    assert_eq!(world.root("EXISTS a b c"), "1");
    assert_eq!(world.root(&format!("LEASE KEEPALIVE {id}")), "LEASE_UNKNOWN");
    assert_eq!(world.root(&format!("SET a 1 LEASE {id}")), "LEASE_UNKNOWN");
    assert_eq!(world.root(&format!("LEASE SHOW {id}")), "nil");
    assert_eq!(world.root("LEASE LIST"), "[]");
}

#[test]
fn a_renewal_counts_from_its_own_entry_and_a_new_leader_renews_all() {
    let mut world = World::new();
    let (one, two) = (lease(&mut world, "root", 1000), lease(&mut world, "root", 1000));
    world.now = Millis(1_000_900);
    assert_eq!(world.root(&format!("LEASE KEEPALIVE {one}")), "1000");
    assert!(world.wake_at(1_001_900), "two is over");
    assert_eq!(world.root("LEASE LIST"), format!("[{one}]"));
    let _ = two;
    world.append(Cause::TermStart, vec![Effect::LeasesSpared]);
    world.commit();
    assert!(!world.wake_at(1_002_800), "its own renewal is over by now, and the leader's is not");
    assert!(world.root(&format!("LEASE SHOW {one}")).contains("remaining_ms: 100,"));
    assert_eq!(world.state.next_due(), Some(Millis(1_002_903)), "it was put where it belongs");
    assert!(world.wake_at(1_002_903));
    assert_eq!(world.root("LEASE LIST"), "[]");
}

#[test]
fn a_key_leaves_its_lease_when_it_is_set_anew_and_not_when_it_is_changed() {
    let mut world = World::new();
    let id = lease(&mut world, "root", 1000);
    let keys = |world: &mut World| {
        let shown = world.root(&format!("LEASE SHOW {id}"));
        shown
            .split_once("keys: ")
            .map(|(_, keys)| keys.trim_end_matches('}').to_owned())
            .expect("it is shown")
    };
    for change in
        ["INCRBY k 1", "APPEND k 0", "INCRBYFLOAT k 1", "SET k 2 KEEPTTL", "PEXPIRE k 900", "PERSIST k"]
    {
        world.root(&format!("SET k 1 LEASE {id}"));
        world.root(change);
        assert_eq!(keys(&mut world), "[\"k\"]", "{change}");
    }
    world.root("RENAME k other");
    assert_eq!(keys(&mut world), "[\"other\"]");
    for change in [
        "SET other 1",
        "DEL other",
        "GETDEL other",
        "LEASE DETACH other",
        "TXN THEN 2 DEL other 3 SET other 1",
    ] {
        world.root(&format!("SET other 1 LEASE {id}"));
        world.root(change);
        assert_eq!(keys(&mut world), "[]", "{change}");
    }
    world.root(&format!("SET other 1 LEASE {id}"));
    world.root("SET k 1");
    world.root("RENAME k other");
    assert_eq!(keys(&mut world), "[]", "what took its place hangs on nothing");
    world.root(&format!("TXN THEN 4 HSET h f 1 4 LEASE ATTACH {id} h 3 HDEL h f 4 HSET h g 1"));
    assert_eq!((keys(&mut world), world.root("HKEYS h")), ("[]".into(), "[\"g\"]".into()));
}

#[test]
fn somebody_elses_lease_is_none_and_an_administrator_sees_it_without_its_secrets() {
    let mut world = World::with_user("bob", &["READ ON b*", "WRITE ON b*"]);
    world.root("USER ADD eve secret");
    let id = lease(&mut world, "bob", 1000);
    assert_eq!(world.by("bob", &format!("SET b1 x LEASE {id}")), "OK");
    for line in ["KEEPALIVE", "SHOW", "REVOKE"].map(|verb| format!("LEASE {verb} {id}")) {
        let answer = world.by("eve", &line);
        assert!(["LEASE_UNKNOWN", "nil", "0"].contains(&answer.as_str()), "{line}: {answer}");
    }
    assert_eq!(world.by("eve", "LEASE LIST"), "[]");
    world.root("GRANT ADMIN ON * TO eve");
    assert!(world.by("eve", &format!("LEASE SHOW {id}")).ends_with("keys: []}"));
    assert_eq!(world.by("bob", &format!("LEASE ATTACH {id} a")), "DENIED");
    assert_eq!(world.by("eve", &format!("LEASE REVOKE {id}")), "1", "an administrator can end it");
    assert_eq!(world.by("bob", "EXISTS b1"), "0");
}

#[test]
fn whoever_may_not_write_a_key_any_more_can_not_delete_it_by_a_lease() {
    let mut world = World::with_user("bob", &["READ ON b*", "WRITE ON b*"]);
    let id = lease(&mut world, "bob", 1000);
    world.by("bob", &format!("SET b1 x LEASE {id}"));
    world.by("bob", &format!("SET b2 x LEASE {id}"));
    world.root("DENY WRITE ON b1 TO bob");
    assert_eq!(world.by("bob", &format!("LEASE REVOKE {id}")), "1");
    assert_eq!(world.root("EXISTS b1"), "1");
    assert_eq!(world.root("EXISTS b2"), "0");
}

#[test]
fn the_leases_of_a_user_who_goes_end_and_nobody_inherits_them() {
    let mut world = World::with_user("bob", &["READ ON b*", "WRITE ON b*"]);
    let id = lease(&mut world, "bob", 100_000);
    world.by("bob", &format!("SET b1 x LEASE {id}"));
    assert_eq!(world.root("USER REMOVE bob"), "OK");
    assert_eq!(world.root("USER ADD bob secret"), "OK");
    assert_eq!(world.by("bob", &format!("LEASE KEEPALIVE {id}")), "LEASE_UNKNOWN");
    assert!(world.wake_at(1_000_001));
    assert_eq!((world.root("EXISTS b1"), world.root("LEASE LIST")), ("0".into(), "[]".into()));
}

#[test]
fn leases_and_what_hangs_on_one_are_bounded() {
    let mut world = World::new();
    (world.limits.leases, world.limits.lease_keys, world.limits.lease_bytes) = (1, 2, 10);
    let id = lease(&mut world, "root", 1000);
    assert_eq!(world.root("LEASE GRANT 1000"), "LIMIT_REACHED");
    world.root("MSET a 1 b 1 c 1 a-long-name 1");
    assert_eq!(world.root(&format!("LEASE ATTACH {id} a-long-name")), "LIMIT_REACHED");
    assert_eq!(world.root(&format!("LEASE ATTACH {id} a b a")), "3", "as often as it was named");
    assert_eq!(world.root(&format!("LEASE ATTACH {id} a")), "1", "it hangs there already");
    assert_eq!(world.root("RENAME a a-long-name"), "LIMIT_REACHED");
    assert_eq!(world.root(&format!("LOCK ACQUIRE l me LEASE {id}")), "LIMIT_REACHED");
    assert_eq!(world.root(&format!("SET c 1 LEASE {id}")), "LIMIT_REACHED");
    assert_eq!(world.root("GET c"), "\"1\"", "nothing of it was done");
    (world.limits.leases, world.limits.leases_of_user) = (9, 1);
    assert_eq!(world.root("LEASE GRANT 1000"), "LIMIT_REACHED", "of one user");
    assert_eq!(world.root(&format!("TXN THEN 4 LEASE ATTACH {id} c 3 LEASE DETACH c")), "LIMIT_REACHED");
}

#[test]
fn conditions_on_leases() {
    let mut world = World::new();
    let id = lease(&mut world, "root", 1000);
    world.root(&format!("SET a 1 LEASE {id}"));
    assert_eq!(world.root(&format!("TXN IF LEASE a = {id} THEN 2 GET a")), "[1, [\"1\"]]");
    assert_eq!(world.root(&format!("TXN IF LEASE a != {id} THEN")), "[0, []]");
    assert_eq!(world.root(&format!("TXN IF LEASE none != {id} THEN")), "[1, []]");
    assert!(parse_words(&words("TXN IF LEASE a < 5 THEN"), &world.limits).is_err());
}
