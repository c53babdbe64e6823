//! Roles, denials and globs, and what explains them.

use super::*;

/// Bob, who has the role `ops`, which grants reading `job:*`.
fn world() -> World {
    let mut world = World::with_user("bob", &["READ ON a*"]);
    assert_eq!(world.root("ROLE ADD ops"), "OK");
    assert_eq!(world.root("GRANT READ ON job:* TO ROLE ops"), "1");
    assert_eq!(world.root("ROLE GIVE ops TO bob"), "1");
    world
}

#[test]
fn a_role_grants_what_it_grants_to_all_who_have_it_and_no_longer() {
    let mut world = world();
    world.root("MSET job:1 x a1 y b z");
    assert_eq!(world.by("bob", "MGET job:1 a1"), r#"["x", "y"]"#);
    assert_eq!(world.by("bob", "SCAN ''"), r#"[nil, ["a1", "job:1"]]"#);
    assert_eq!(
        world.by("bob", "WHOAMI"),
        r#"{user: "bob", grants: ["READ ON a*", "READ ON job:*"], roles: ["ops"], denials: []}"#
    );
    assert_eq!(world.root("GRANT READ ON b TO ROLE ops"), "1");
    assert_eq!(world.by("bob", "GET b"), r#""z""#);
    assert_eq!(world.root("REVOKE READ ON b FROM ROLE ops"), "1");
    assert_eq!(world.by("bob", "GET b"), "DENIED");
    assert_eq!(
        (world.root("ROLE TAKE ops FROM bob"), world.root("ROLE TAKE ops FROM bob")),
        ("1".into(), "0".into())
    );
    assert_eq!(world.by("bob", "GET job:1"), "DENIED");
}

#[test]
fn a_denial_wins_over_grants_of_the_user_and_of_roles() {
    let mut world = world();
    world.root("MSET job:1 x job:secret y a1 z");
    assert_eq!(world.root("DENY READ ON job:s* TO bob"), "1");
    assert_eq!(world.root("DENY READ ON job:s* TO bob"), "0");
    assert_eq!(
        (world.by("bob", "GET job:secret"), world.by("bob", "GET job:1")),
        ("DENIED".into(), r#""x""#.into())
    );
    assert_eq!(world.by("bob", "SCAN job:"), r#"[nil, ["job:1"]]"#);
    assert_eq!(world.root("DENY READ ON a* TO ROLE ops"), "1");
    assert_eq!(world.by("bob", "GET a1"), "DENIED", "his own grant does not help him");
    assert_eq!(world.root("UNDENY READ ON a* FROM ROLE ops"), "1");
    assert_eq!(world.root("UNDENY READ ON job:s* FROM bob"), "1");
    assert_eq!(world.by("bob", "SCAN ''"), r#"[nil, ["a1", "job:1", "job:secret"]]"#);
    assert_eq!(world.by("bob", "TXN THEN 2 GET job:1 ELSE 2 GET b"), "DENIED", "both lists are asked for");
}

#[test]
fn a_glob_grants_each_key_that_matches_and_shows_none_in_a_scan() {
    let mut world = World::with_user("bob", &["READ ON user:*:cart", "READ ON log-[0-9]"]);
    world.root("MSET user:7:cart x user:7:name y log-4 z");
    assert_eq!(world.by("bob", "MGET user:7:cart log-4"), r#"["x", "z"]"#);
    assert_eq!(world.by("bob", "GET user:7:name"), "DENIED");
    assert_eq!(world.by("bob", "SCAN ''"), "DENIED");
    world.root("GRANT READ ON * TO bob");
    assert_eq!(world.root("DENY READ ON user:*:name TO bob"), "1");
    assert_eq!(
        world.by("bob", "SCAN ''"),
        r#"[nil, ["log-4"]]"#,
        "all that begins as the denial does is hidden"
    );
    assert_eq!(world.by("bob", "GET user:7:cart"), r#""x""#);
    assert_eq!(world.by("bob", "DBSIZE"), "DENIED");
}

#[test]
fn check_explains_what_decides() {
    let mut world = world();
    world.root("DENY READ ON job:s* TO ROLE ops");
    let check = |world: &mut World, line: &str| world.by("bob", &format!("CHECK bob {line}"));
    assert_eq!(check(&mut world, "READ a1"), r#"{allowed: 1, rule: "GRANT READ ON a*", role: nil}"#);
    assert_eq!(check(&mut world, "READ job:1"), r#"{allowed: 1, rule: "GRANT READ ON job:*", role: "ops"}"#);
    assert_eq!(check(&mut world, "READ job:s"), r#"{allowed: 0, rule: "DENY READ ON job:s*", role: "ops"}"#);
    assert_eq!(check(&mut world, "WRITE a1"), "{allowed: 0, rule: nil, role: nil}");
    assert_eq!(world.by("bob", "CHECK root READ a"), "DENIED", "others are for administrators");
    assert_eq!(world.root("CHECK eve READ a"), "USER_UNKNOWN");
}

#[test]
fn the_last_administrator_stays_whatever_way_it_would_go() {
    let mut world = World::with_user("bob", &[]);
    for line in ["USER REMOVE root", "REVOKE ADMIN ON * FROM root", "DENY ADMIN ON * TO root"] {
        assert_eq!(world.root(line), "LAST_ADMINISTRATOR", "{line}");
    }
    world.root("ROLE ADD admins");
    world.root("GRANT ADMIN ON * TO ROLE admins");
    world.root("ROLE GIVE admins TO bob");
    assert_eq!(world.root("REVOKE ADMIN ON * FROM root"), "1", "bob administers by his role");
    for line in [
        "ROLE REMOVE admins",
        "ROLE TAKE admins FROM bob",
        "REVOKE ADMIN ON * FROM ROLE admins",
        "DENY ADMIN ON * TO ROLE admins",
        "USER REMOVE bob",
    ] {
        assert_eq!(world.by("bob", line), "LAST_ADMINISTRATOR", "{line}");
    }
    assert_eq!(world.by("bob", "USER LIST"), r#"["bob", "root"]"#);
}

#[test]
fn what_is_created_again_inherits_nothing() {
    let mut world = world();
    world.root("DENY READ ON a* TO bob");
    world.root("USER REMOVE bob");
    world.root("USER ADD bob secret");
    assert!(world.root("USER SHOW bob").ends_with("grants: [], roles: [], denials: []}"));
    world.root("ROLE GIVE ops TO bob");
    world.root("ROLE REMOVE ops");
    world.root("ROLE ADD ops");
    world.root("GRANT READ ON * TO ROLE ops");
    assert_eq!(world.by("bob", "GET a"), "DENIED", "another role of the same name");
    assert_eq!(world.root("ROLE SHOW ops"), r#"{role: "ops", grants: ["READ ON *"], denials: []}"#);
    assert_eq!(world.root("ROLE LIST"), r#"["ops"]"#);
}

#[test]
fn a_wait_ends_when_a_role_or_a_denial_takes_the_right() {
    for deed in [
        "ROLE TAKE ops FROM bob",
        "ROLE REMOVE ops",
        "REVOKE LOCK ON l* FROM ROLE ops",
        "DENY LOCK ON l? TO ROLE ops",
        "DENY LOCK ON l1 TO bob",
    ] {
        let mut world = world();
        world.root("GRANT LOCK ON l* TO ROLE ops");
        world.root("LOCK ACQUIRE l1 one PX 1000");
        world.by("bob", "LOCK ACQUIRE l1 two PX 1000 WAIT 5000");
        assert_eq!(world.state.waiting_claims().len(), 1);
        world.root(deed);
        assert_eq!(world.state.waiting_claims().len(), 0, "{deed}");
    }
}

#[test]
fn a_pending_denial_stops_a_command_and_is_what_the_answer_waits_for() {
    let mut world = world();
    world.root("SET a1 1");
    world.commit();
    let ask = world.ask("bob", "GET a1");
    assert_eq!(world.run(&ask).depends_on(), Index(0));
    for deny in ["DENY READ ON a* TO bob", "DENY READ ON a* TO ROLE ops"] {
        let deny = world.ask("root", deny);
        let denied = world.run(&deny).logged;
        let refused = world.run(&ask);
        assert_eq!((refused.text(), Some(refused.depends_on())), ("DENIED".into(), denied));
    }
}

#[test]
fn roles_and_their_rules_are_bounded() {
    let mut world = world();
    (world.limits.users, world.limits.grants) = (1, 1);
    assert_eq!(world.root("ROLE ADD ops"), "USER_EXISTS");
    assert_eq!(world.root("ROLE ADD other"), "LIMIT_REACHED");
    assert_eq!(world.root("GRANT READ ON x TO ROLE ops"), "LIMIT_REACHED");
    assert_eq!(world.root("DENY READ ON x TO bob"), "1");
    assert_eq!(world.root("DENY READ ON y TO bob"), "LIMIT_REACHED");
    assert_eq!(world.root("GRANT READ ON x TO ROLE none"), "USER_UNKNOWN");
    assert_eq!(world.root("ROLE GIVE none TO bob"), "USER_UNKNOWN");
}

#[test]
fn what_is_administered_is_granted_and_denied_one_by_one() {
    let mut world = World::with_user("bob", &["ADMIN ON cluster"]);
    let lease = world.root("LEASE GRANT 60000");
    assert_eq!(world.by("bob", "USER LIST"), "DENIED");
    assert_eq!(world.by("bob", "LEASE LIST"), format!("[{lease}]"), "everybody's");
    assert!(world.by("bob", "INFO").contains("keys: 0"));
    world.root("GRANT ADMIN ON users TO bob");
    world.root("REVOKE ADMIN ON cluster FROM bob");
    assert_eq!(world.by("bob", "LEASE LIST"), "[]", "his own");
    assert!(!world.by("bob", "INFO").contains("keys: 0"));
    assert_ne!(world.by("bob", "USER LIST"), "DENIED");
    assert_eq!(world.by("bob", "DENY ADMIN ON users TO root"), "1", "bob is left");
    assert_eq!(world.root("USER LIST"), "DENIED");
    assert!(world.root("INFO").contains("keys: 0"), "the others are still root's");
    assert_eq!(world.by("bob", "DENY ADMIN ON * TO bob"), "LAST_ADMINISTRATOR");
    let why = world.by("bob", "CHECK root ADMIN users");
    assert_eq!(why, r#"{allowed: 0, rule: "DENY ADMIN ON users", role: nil}"#);
}
