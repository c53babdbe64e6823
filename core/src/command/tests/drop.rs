//! Deleting: what it needs, and whole prefixes with a confirmation.

use super::*;

fn token(world: &mut World, user: &str, prefix: &str) -> String {
    let said = world.by(user, &format!("DROP PREPARE {prefix}"));
    let (_, rest) = said.split_once("token: \"").unwrap_or_else(|| panic!("{said}"));
    rest.split_once('"').expect("it ends").0.to_owned()
}

#[test]
fn who_may_write_may_delete_unless_that_is_denied_and_who_may_delete_need_not_write() {
    let mut world = World::with_user("bob", &["READ ON *", "WRITE ON a*", "DELETE ON b*"]);
    world.root("MSET a1 x a2 x b1 x b2 x c x");
    assert_eq!(world.by("bob", "DEL a1"), "1");
    assert_eq!(
        (world.by("bob", "GETDEL b1"), world.by("bob", "SET b2 y")),
        (r#""x""#.into(), "DENIED".into())
    );
    assert_eq!((world.by("bob", "DEL b2"), world.by("bob", "UNLINK c")), ("1".into(), "DENIED".into()));
    assert_eq!(world.root("DENY DELETE ON a* TO bob"), "1");
    assert_eq!((world.by("bob", "DEL a2"), world.by("bob", "SET a2 y")), ("DENIED".into(), "OK".into()));
    assert_eq!(world.by("bob", "TXN THEN 2 DEL a2"), "DENIED", "in a transaction, too");
    assert_eq!(
        world.by("bob", "CHECK bob DELETE a2"),
        r#"{allowed: 0, rule: "DENY DELETE ON a*", role: nil}"#
    );
    assert_eq!(world.root("UNDENY DELETE ON a* FROM bob"), "1");
    assert_eq!(world.root("DENY WRITE ON a* TO bob"), "1");
    assert_eq!(world.by("bob", "DEL a2"), "DENIED", "what he may not write he may not delete for that");
    assert_eq!(world.root("GRANT DELETE ON a2 TO bob"), "1");
    assert_eq!(world.by("bob", "DEL a2"), "1", "but if he may delete it");
}

#[test]
fn a_prefix_is_dropped_with_the_token_of_whoever_counted_it() {
    let mut world = World::with_user("bob", &["READ ON *", "WRITE ON *", "DROP ON a*"]);
    world.root("MSET a1 x a2 x a3 x b x");
    let token_of_a = token(&mut world, "bob", "a");
    assert_eq!(world.by("bob", &format!("DROP CONFIRM a {token_of_a}1")), "NOT_CONFIRMED");
    assert_eq!(world.by("bob", &format!("DROP CONFIRM a1 {token_of_a}")), "NOT_CONFIRMED", "another prefix");
    assert_eq!(world.by("bob", &format!("DROP CONFIRM a {token_of_a} COUNT 2")), "{dropped: 2, more: 1}");
    assert_eq!(world.by("bob", &format!("DROP CONFIRM a {token_of_a}")), "{dropped: 1, more: 0}");
    assert_eq!(world.by("bob", &format!("DROP CONFIRM a {token_of_a}")), "{dropped: 0, more: 0}");
    assert_eq!(world.by("bob", "EXISTS a1 a2 a3 b"), "1");
    world.now.0 += 60_001;
    assert_eq!(
        world.by("bob", &format!("DROP CONFIRM a {token_of_a}")),
        "NOT_CONFIRMED",
        "a minute has passed"
    );
}

#[test]
fn nobody_drops_who_was_not_granted_it_or_may_not_see_or_delete_all_of_the_prefix() {
    let mut world = World::with_user("bob", &["READ ON *", "WRITE ON *"]);
    world.root("MSET a1 x a2 x");
    assert_eq!(
        (world.root("DROP PREPARE a"), world.by("bob", "DROP PREPARE a")),
        ("DENIED".into(), "DENIED".into())
    );
    assert_eq!(world.root("GRANT DROP ON a TO bob"), "1");
    assert_eq!(world.by("bob", "DROP PREPARE a"), "DENIED", "that was one key");
    assert_eq!(world.root("GRANT DROP ON a* TO bob"), "1");
    let good = token(&mut world, "bob", "a");
    for hole in ["READ ON a1", "DELETE ON a1*", "DROP ON a?x", "WRITE ON a2"] {
        assert_eq!(world.root(&format!("DENY {hole} TO bob")), "1");
        assert_eq!(world.by("bob", &format!("DROP CONFIRM a {good}")), "DENIED", "{hole}");
        assert_eq!(world.root(&format!("UNDENY {hole} FROM bob")), "1");
    }
    assert_eq!(world.root("GRANT DROP ON * TO root"), "1");
    assert_eq!(world.root(&format!("DROP CONFIRM a {good}")), "NOT_CONFIRMED", "it is bob's");
    assert_eq!(world.by("bob", &format!("DROP CONFIRM a {good}")), "{dropped: 2, more: 0}");
}

#[test]
fn what_makes_room_is_let_through_on_a_full_disk() {
    let grows = |line: &str| command(line, &Limits::default()).grows();
    for line in ["DROP PREPARE a", "DROP CONFIRM a 1-0", "DEL a", "GETDEL a", "HDEL a f", "TXN THEN 2 DEL a"]
    {
        assert!(!grows(line), "{line}");
    }
    for line in
        ["SET a x", "APPEND a x", "HSET a f x", "TXN THEN 2 DEL a 3 SET b x", "USER ADD ann a-password"]
    {
        assert!(grows(line), "{line}");
    }
}
