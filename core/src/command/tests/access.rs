//! Who may do what: default deny, one answer whether or not a key exists, users and grants at their
//! positions in the log.

use super::*;
use crate::access::user::Permission;
use crate::command::needs::{Needs, needs};
use crate::error::Failure;

/// A line for every command of the catalogue that needs a permission.
const NEEDY: &[(&str, &str)] = &[
    ("APPEND", "APPEND a 1"),
    ("CHANGES", "CHANGES 0 KEY a"),
    ("CHECK", "CHECK root READ a"),
    ("DBSIZE", "DBSIZE"),
    ("DECR", "DECR a"),
    ("DECRBY", "DECRBY a 1"),
    ("DEL", "DEL a b"),
    ("DENY", "DENY READ ON * TO bob"),
    ("DROP CONFIRM", "DROP CONFIRM a 1-0"),
    ("DROP PREPARE", "DROP PREPARE a"),
    ("CLUSTER ADD", "CLUSTER ADD 4"),
    ("CLUSTER DEMOTE", "CLUSTER DEMOTE 1"),
    ("CLUSTER MEMBERS", "CLUSTER MEMBERS"),
    ("CLUSTER PREFER", "CLUSTER PREFER 1 5"),
    ("CLUSTER PROMOTE", "CLUSTER PROMOTE 4"),
    ("CLUSTER REMOVE", "CLUSTER REMOVE 1"),
    ("CLUSTER REPLACE", "CLUSTER REPLACE 1 4"),
    ("CLUSTER TRANSFER", "CLUSTER TRANSFER 1"),
    ("DURABILITY ASYNC", "DURABILITY ASYNC a* MS 1 BYTES 1"),
    ("DURABILITY LIST", "DURABILITY LIST"),
    ("DURABILITY SYNC", "DURABILITY SYNC a*"),
    ("ELECTION CAMPAIGN", "ELECTION CAMPAIGN a me x PX 1"),
    ("ELECTION OBSERVE", "ELECTION OBSERVE a"),
    ("ELECTION PROCLAIM", "ELECTION PROCLAIM a 1 x"),
    ("ELECTION RENEW", "ELECTION RENEW a 1"),
    ("ELECTION RESIGN", "ELECTION RESIGN a 1"),
    ("ELECTION SHOW", "ELECTION SHOW a"),
    ("EXISTS", "EXISTS a"),
    ("EXPIRE", "EXPIRE a 1"),
    ("EXPIREAT", "EXPIREAT a 1"),
    ("EXPIRETIME", "EXPIRETIME a"),
    ("GET", "GET a"),
    ("GETDEL", "GETDEL a"),
    ("GETEX", "GETEX a"),
    ("GETRANGE", "GETRANGE a 0 1"),
    ("GETSET", "GETSET a 1"),
    ("GETV", "GETV a"),
    ("GRANT", "GRANT READ ON * TO bob"),
    ("HDEL", "HDEL a f"),
    ("HEXISTS", "HEXISTS a f"),
    ("HGET", "HGET a f"),
    ("HGETALL", "HGETALL a"),
    ("HINCRBY", "HINCRBY a f 1"),
    ("HKEYS", "HKEYS a"),
    ("HLEN", "HLEN a"),
    ("HMGET", "HMGET a f"),
    ("HMSET", "HMSET a f 1"),
    ("HSET", "HSET a f 1"),
    ("HSETNX", "HSETNX a f 1"),
    ("HVALS", "HVALS a"),
    ("INCR", "INCR a"),
    ("INCRBY", "INCRBY a 1"),
    ("INCRBYFLOAT", "INCRBYFLOAT a 1"),
    ("KEYS", "KEYS a*"),
    ("LEASE ATTACH", "LEASE ATTACH 1 a"),
    ("LEASE DETACH", "LEASE DETACH a"),
    ("LIMIT BUCKET", "LIMIT BUCKET a 1 1 1"),
    ("LIMIT CONCURRENCY", "LIMIT CONCURRENCY a 1 me 1"),
    ("LIMIT FIXED", "LIMIT FIXED a 1 1"),
    ("LIMIT RELEASE", "LIMIT RELEASE a me"),
    ("LIMIT RESET", "LIMIT RESET a"),
    ("LIMIT SLIDING", "LIMIT SLIDING a 1 1"),
    ("LOCK ACQUIRE", "LOCK ACQUIRE a me PX 1 WAIT 1"),
    ("LOCK RELEASE", "LOCK RELEASE a 1"),
    ("LOCK RENEW", "LOCK RENEW a 1"),
    ("LOCK SHOW", "LOCK SHOW a"),
    ("MGET", "MGET a b"),
    ("MSET", "MSET a 1 b 1"),
    ("MSETNX", "MSETNX a 1 b 1"),
    ("ONCE BEGIN", "ONCE BEGIN a f 1"),
    ("ONCE FAIL", "ONCE FAIL a 1"),
    ("ONCE FINISH", "ONCE FINISH a 1 x"),
    ("ONCE SHOW", "ONCE SHOW a"),
    ("PERSIST", "PERSIST a"),
    ("PEXPIRE", "PEXPIRE a 1"),
    ("PEXPIREAT", "PEXPIREAT a 1"),
    ("PEXPIRETIME", "PEXPIRETIME a"),
    ("PSETEX", "PSETEX a 1 1"),
    ("PTTL", "PTTL a"),
    ("RENAME", "RENAME a b"),
    ("RENAMENX", "RENAMENX a b"),
    ("REVOKE", "REVOKE READ ON * FROM root"),
    ("ROLE ADD", "ROLE ADD ops"),
    ("ROLE GIVE", "ROLE GIVE ops TO bob"),
    ("ROLE LIST", "ROLE LIST"),
    ("ROLE REMOVE", "ROLE REMOVE ops"),
    ("ROLE SHOW", "ROLE SHOW ops"),
    ("ROLE TAKE", "ROLE TAKE ops FROM bob"),
    ("SCAN", "SCAN a"),
    ("SEMAPHORE ACQUIRE", "SEMAPHORE ACQUIRE a 2 me PX 1"),
    ("SEMAPHORE RELEASE", "SEMAPHORE RELEASE a 1"),
    ("SEMAPHORE RENEW", "SEMAPHORE RENEW a 1"),
    ("SEMAPHORE SHOW", "SEMAPHORE SHOW a"),
    ("SET", "SET a 1"),
    ("SETEX", "SETEX a 1 1"),
    ("SETNX", "SETNX a 1"),
    ("STRLEN", "STRLEN a"),
    ("TOUCH", "TOUCH a"),
    ("TTL", "TTL a"),
    ("TYPE", "TYPE a"),
    ("UNDENY", "UNDENY READ ON * FROM bob"),
    ("UNLINK", "UNLINK a b"),
    ("USER ADD", "USER ADD eve secret"),
    ("USER LIST", "USER LIST"),
    ("USER PASSWORD", "USER PASSWORD root secret"),
    ("USER REMOVE", "USER REMOVE root"),
    ("USER SHOW", "USER SHOW root"),
];

/// A line for every other command that is evaluated.
const FREE: &[(&str, &str)] = &[
    ("ECHO", "ECHO a"),
    ("INFO", "INFO"),
    ("LEASE GRANT", "LEASE GRANT 1"),
    ("LEASE KEEPALIVE", "LEASE KEEPALIVE 1"),
    ("LEASE LIST", "LEASE LIST"),
    ("LEASE REVOKE", "LEASE REVOKE 1"),
    ("LEASE SHOW", "LEASE SHOW 1"),
    ("ONCE RUN", "ONCE RUN id BORN 1 SET a 1"),
    ("PING", "PING"),
    ("SESSION END", "SESSION END 1"),
    ("SESSION OPEN", "SESSION OPEN"),
    ("TIME", "TIME"),
    ("TXN", "TXN THEN 3 SET a 1"),
    ("WHOAMI", "WHOAMI"),
];

#[test]
fn the_catalogue_says_what_each_command_needs_and_whether_it_writes() {
    for (name, line) in NEEDY.iter().chain(FREE) {
        let spec = catalogue::find(name.as_bytes()).expect("the lists hold commands of the catalogue");
        let command = command(line, &Limits::default());
        assert_eq!(spec.write, command.is_write(), "{name}");
        let derived: &[Permission] = match needs(&command) {
            Needs::Keys(permissions, _) => permissions,
            Needs::Pairs(permissions, _) => permissions,
            Needs::Dropped(_) => super::super::needs::DROP,
            Needs::Watched(_) => &[Permission::Read, Permission::Watch],
            Needs::Guarded(permissions, ..) => permissions,
            Needs::Range(_) | Needs::Matching(_) | Needs::Everything => &[Permission::Read],
            Needs::Admin(_) | Needs::AdminOrSelf(_) => &[Permission::Admin],
            Needs::Login | Needs::Internal => &[],
        };
        assert_eq!(spec.needs.permissions(), derived, "{name}");
    }
}

fn failure(world: &mut World, user: &str, line: &str) -> Failure {
    let ask = world.ask(user, line);
    world.run(&ask).evaluated.outcome.expect_err("refused")
}

#[test]
fn without_a_grant_every_command_of_the_catalogue_that_needs_one_is_denied() {
    for spec in catalogue::all() {
        let needy = NEEDY.iter().find(|(name, _)| *name == spec.name);
        assert_eq!(
            needy.is_some(),
            !spec.needs.permissions().is_empty(),
            "{} belongs into the list",
            spec.name
        );
        let Some((_, line)) = needy else { continue };
        let mut world = World::with_user("bob", &[]);
        world.root("MSET a 1 b 2");
        let (tail, ask) = (world.state.tail(), world.ask("bob", line));
        assert_eq!(world.run(&ask).text(), "DENIED", "{line}");
        assert_eq!(world.state.tail(), tail, "{line} changed nothing");
    }
}

#[test]
fn nobody_is_served_without_a_login() {
    for (_, line) in NEEDY.iter().chain(FREE) {
        let mut world = World::new();
        let mut ask = world.ask("root", line);
        for principal in [Principal::Anybody, Principal::User { name: "nobody".into(), generation: Index(1) }]
        {
            ask.principal = principal;
            assert_eq!(world.run(&ask).text(), "UNAUTHENTICATED", "{line}");
        }
    }
}

#[test]
fn denied_says_the_same_whether_the_key_exists_or_not() {
    for (_, line) in NEEDY {
        let said = |prepare: &str| {
            let mut world = World::with_user("bob", &["READ ON other"]);
            world.root(prepare);
            failure(&mut world, "bob", line)
        };
        let missing = said("SET z 1");
        assert_eq!(missing, said("MSET a 1 b 2"), "{line}");
        assert_eq!(missing, said("SET a text PX 5000"), "{line}");
    }
}

#[test]
fn a_write_that_tells_what_was_there_needs_read_as_well() {
    for (line, tells) in [
        ("SET a 1", false),
        ("SET a 1 EX 5", false),
        ("MSET a 1 a 2", false),
        ("SET a 1 NX", true),
        ("SET a 1 XX", true),
        ("SET a 1 IFVERSION 0", true),
        ("SET a 1 GET", true),
        ("DEL a", true),
        ("INCRBY a 1", true),
        ("EXPIRE a 5", true),
        ("PERSIST a", true),
    ] {
        let mut world = World::with_user("bob", &["WRITE ON a"]);
        assert_eq!(world.by("bob", line) == "DENIED", tells, "{line}");
        world.root("GRANT READ ON a TO bob");
        assert_ne!(world.by("bob", line), "DENIED", "{line}");
    }
}

#[test]
fn one_forbidden_key_among_allowed_ones_forbids_the_whole() {
    let mut world = World::with_user("bob", &["READ ON a*", "WRITE ON a*"]);
    world.root("MSET a1 1 b 1");
    for line in ["MGET a1 b", "EXISTS b a1", "DEL a1 b", "MSET a1 2 b 2"] {
        assert_eq!(world.by("bob", line), "DENIED", "{line}");
    }
    assert_eq!(world.root("MGET a1 b"), r#"["1", "1"]"#);
}

#[test]
fn a_scan_shows_only_what_may_be_read_in_keys_and_cursor() {
    let mut world = World::with_user("bob", &["READ ON a:1*", "READ ON a:3", "WRITE ON *"]);
    let before = world.by("bob", "SCAN a: COUNT 2");
    assert_eq!(before, "[nil, []]");
    world.root("MSET a:0 x a:1 x a:11 x a:2 x a:3 x a:31 x");
    assert_eq!(world.by("bob", "SCAN a:"), r#"[nil, ["a:1", "a:11", "a:3"]]"#);
    assert_eq!(world.by("bob", "SCAN a: COUNT 2"), r#"["a:11", ["a:1", "a:11"]]"#);
    assert_eq!(world.by("bob", "SCAN a: AFTER a:11 COUNT 2"), r#"[nil, ["a:3"]]"#);
    assert_eq!(world.by("bob", "SCAN a: AFTER a:2"), r#"[nil, ["a:3"]]"#);
    assert_eq!(world.by("bob", "SCAN b"), "DENIED");
}

#[test]
fn a_scan_does_not_touch_a_due_key_that_may_not_be_read() {
    let mut world = World::with_user("bob", &["READ ON a:1*"]);
    world.root("SET a:0 x PX 10");
    world.now = Millis(world.now.0 + 1000);
    let ask = world.ask("bob", "SCAN a:");
    assert_eq!(world.run(&ask).logged, None);
}

#[test]
fn a_pending_revoke_stops_a_command_and_is_what_the_answer_waits_for() {
    let mut world = World::with_user("bob", &["READ ON a"]);
    world.root("SET a 1");
    world.commit();
    let ask = world.ask("bob", "GET a");
    assert_eq!(world.run(&ask).depends_on(), Index(0));
    let revoke = world.ask("root", "REVOKE READ ON a FROM bob");
    let revoked = world.run(&revoke);
    let denied = world.run(&ask);
    assert_eq!((denied.text(), Some(denied.depends_on())), ("DENIED".into(), revoked.logged));
    // The term is lost, and with it the revoke.
    world.state.drop_pending();
    world.uncommitted.clear();
    assert_eq!(world.run(&ask).text(), "\"1\"");
}

#[test]
fn a_pending_grant_is_what_the_answer_waits_for() {
    let mut world = World::with_user("bob", &[]);
    let grant = world.ask("root", "GRANT READ ON a TO bob");
    let granted = world.run(&grant);
    let ask = world.ask("bob", "GET a");
    let done = world.run(&ask);
    assert_eq!((done.text(), Some(done.depends_on())), ("nil".into(), granted.logged));
}

#[test]
fn a_user_who_is_created_again_inherits_neither_login_nor_sessions_nor_grants() {
    let mut world = World::with_user("bob", &["READ ON *", "WRITE ON *"]);
    let session = world.session("bob");
    let old = world.ask("bob", "SET a 1").once(session, 1, 0);
    world.root("USER REMOVE bob");
    assert_eq!(world.run(&old).text(), "UNAUTHENTICATED");
    world.root("USER ADD bob secret");
    assert_eq!(world.run(&old).text(), "UNAUTHENTICATED", "the new bob is somebody else");
    let new = world.ask("bob", "SET a 1").once(session, 1, 0);
    assert_eq!(world.run(&new).text(), "SESSION_UNKNOWN");
    assert_eq!(world.by("bob", "GET a"), "DENIED");
}

#[test]
fn a_new_password_ends_logins_and_sessions_and_keeps_the_grants() {
    let mut world = World::with_user("bob", &["READ ON a"]);
    let session = world.session("bob");
    let old = world.ask("bob", "GET a");
    assert_eq!(world.by("bob", "USER PASSWORD bob new"), "OK", "one's own password needs no grant");
    assert_eq!(world.run(&old).text(), "UNAUTHENTICATED");
    assert_eq!(world.by("bob", "GET a"), "nil");
    let write = world.ask("bob", "SESSION OPEN").once(session, 1, 0);
    assert_eq!(world.run(&write).text(), "SESSION_UNKNOWN");
    assert_eq!(world.by("bob", "USER PASSWORD root new"), "DENIED");
    assert_eq!(world.root("USER PASSWORD nobody new"), "USER_UNKNOWN");
}

#[test]
fn ending_a_users_sessions_leaves_those_of_others() {
    let mut world = World::with_user("bob", &[]);
    let (first, second, roots) = (world.session("bob"), world.session("bob"), world.session("root"));
    let ask = world.ask("root", "USER REMOVE bob");
    let effects = world.run(&ask).evaluated.effects;
    let ended =
        |id| effects.iter().any(|e| matches!(e, Effect::SessionEnded { id: ended, .. } if *ended == id));
    assert_eq!((ended(first), ended(second), ended(roots)), (true, true, false));
}

#[test]
fn the_last_administrator_stays() {
    let mut world = World::with_user("bob", &["READ ON *"]);
    assert_eq!(world.root("USER REMOVE root"), "LAST_ADMINISTRATOR");
    assert_eq!(world.root("REVOKE ADMIN ON * FROM root"), "LAST_ADMINISTRATOR");
    assert_eq!(world.root("REVOKE READ ON * FROM root"), "1", "other grants may go");
    world.root("GRANT ADMIN ON * TO bob");
    assert_eq!(world.root("REVOKE ADMIN ON * FROM root"), "1");
    assert_eq!(world.by("bob", "REVOKE ADMIN ON * FROM bob"), "LAST_ADMINISTRATOR");
    assert_eq!(world.by("bob", "USER REMOVE root"), "OK");
    assert_eq!(world.by("bob", "USER REMOVE bob"), "LAST_ADMINISTRATOR");
}

#[test]
fn users_and_grants_are_managed_and_shown() {
    let mut world = World::new();
    assert_eq!(world.root("USER ADD bob secret"), "OK");
    assert_eq!(world.root("USER ADD bob other"), "USER_EXISTS");
    assert_eq!(world.root("GRANT read ON b* TO bob"), "1");
    assert_eq!(world.root("GRANT READ ON b* TO bob"), "0");
    assert_eq!(world.root("GRANT WRITE ON a TO bob"), "1");
    assert_eq!(world.root("GRANT READ ON b* TO eve"), "USER_UNKNOWN");
    assert_eq!(world.root("REVOKE READ ON b FROM bob"), "0");
    assert_eq!(
        world.by("bob", "WHOAMI"),
        r#"{user: "bob", grants: ["WRITE ON a", "READ ON b*"], roles: [], denials: []}"#
    );
    assert_eq!(
        world.root("USER SHOW bob"),
        r#"{user: "bob", password_changed_at: 2, grants: ["WRITE ON a", "READ ON b*"], roles: [], denials: []}"#
    );
    assert_eq!(world.root("USER LIST"), r#"["bob", "root"]"#);
    assert_eq!(world.root("REVOKE READ ON b* FROM bob"), "1");
    assert_eq!(
        (world.root("USER REMOVE bob"), world.root("USER REMOVE bob")),
        ("OK".into(), "USER_UNKNOWN".into())
    );
    assert_eq!(world.root("USER SHOW bob"), "USER_UNKNOWN");
}

#[test]
fn users_grants_and_sessions_have_limits() {
    let mut world = World::with_user("bob", &["READ ON a"]);
    (world.limits.users, world.limits.grants, world.limits.sessions) = (2, 1, 1);
    assert_eq!(world.root("USER ADD eve secret"), "LIMIT_REACHED");
    assert_eq!(world.root("GRANT READ ON b TO bob"), "LIMIT_REACHED");
    assert_eq!(world.root("GRANT READ ON a TO bob"), "0", "nothing new is no growth");
    world.by("bob", "SESSION OPEN");
    assert_eq!(world.by("bob", "SESSION OPEN"), "LIMIT_REACHED");
}

#[test]
fn info_counts_for_administrators_alone() {
    let mut world = World::with_user("bob", &["READ ON *", "WRITE ON *"]);
    let before = world.by("bob", "INFO");
    world.root("MSET a 1 b 2");
    world.commit();
    assert_eq!(world.by("bob", "INFO"), before, "a count would tell about keys and people");
    assert!(world.root("INFO").contains("keys: 2") && !before.contains("keys"));
}

#[test]
fn a_login_is_looked_up_with_hash_and_generation() {
    let mut world = World::with_user("bob", &[]);
    let mut look_up = |name: &str| {
        let command = Command::UserLookup { name: name.into() };
        let done = world.run(&Ask { principal: Principal::Anybody, command, once: None, forwarded: None });
        (done.text(), done.logged)
    };
    assert_eq!(look_up("bob"), (r#"["secret", 2]"#.into(), None));
    assert_eq!(look_up("eve"), ("nil".into(), None));
}

#[test]
fn before_there_is_any_user_a_login_is_told_to_try_again_and_not_that_its_password_is_wrong() {
    let mut world = World { state: State::default(), ..World::new() };
    let command = Command::UserLookup { name: "root".into() };
    let ask = Ask { principal: Principal::Anybody, command, once: None, forwarded: None };
    let told = world.run(&ask).evaluated.outcome.expect_err("nobody can log in yet");
    assert_eq!(told.code, crate::error::ErrorCode::NoLeader);
}

#[test]
fn where_access_is_not_enforced_everybody_may_do_everything_but_outlive_a_login() {
    let mut world = World::with_user("bob", &[]);
    world.mode = AccessMode::InsecureNoAuth;
    let anybody = |world: &World, line| Ask { principal: Principal::Anybody, ..world.ask("bob", line) };
    for (line, answer) in
        [("SET a 1", "OK"), ("SCAN ''", r#"[nil, ["a"]]"#), ("USER LIST", r#"["bob", "root"]"#)]
    {
        let ask = anybody(&world, line);
        assert_eq!(world.run(&ask).text(), answer, "{line}");
    }
    let open = anybody(&world, "SESSION OPEN");
    let session = SessionId(world.run(&open).text().parse().expect("an id"));
    let write = anybody(&world, "SET a 2").once(session, 1, 0);
    assert_eq!(world.run(&write).text(), "OK");
    assert_eq!(world.by("bob", "GET a"), "DENIED", "who logs in is who they are");
}
