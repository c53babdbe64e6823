//! Locks, semaphores and elections. The clock stands at 1000000.

use super::*;
use crate::types::SessionId;

/// The token in an answer.
fn token(answer: &str) -> u64 {
    let digits = answer.strip_prefix("{token: ").and_then(|rest| rest.split(',').next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{answer} grants nothing"))
}

/// What the log tells those who waited, since an entry.
fn told(world: &World, since: Index) -> Vec<(u64, String)> {
    let late = world.uncommitted.iter().filter(|(index, _)| *index > since);
    late.flat_map(|(_, entry)| &entry.effects)
        .filter_map(|effect| match effect {
            Effect::WaitEnded { id, outcome, .. } => Some((id.0, text(outcome))),
            _ => None,
        })
        .collect()
}

#[test]
fn a_lock_has_one_holder_and_a_token_that_grows() {
    let mut world = World::new();
    let first = token(&world.root("LOCK ACQUIRE l one PX 1000"));
    assert_eq!(world.root("LOCK ACQUIRE l two PX 1000"), "nil");
    assert_eq!(token(&world.root("LOCK ACQUIRE l one PX 1000")), first, "it has it already");
    assert_eq!(
        world.root("LOCK SHOW l"),
        format!(
            "{{holders: [{{owner: \"one\", user: \"root\", token: {first}, lease: {first}, remaining_ms: 1000}}], waiting: 0}}"
        )
    );
    assert_eq!(world.root(&format!("LOCK RENEW l {first}")), "1000");
    assert_eq!(world.root(&format!("LOCK RELEASE l {first}")), "1");
    assert_eq!(world.root(&format!("LOCK RELEASE l {first}")), "0");
    assert_eq!(world.root(&format!("LOCK RENEW l {first}")), "FENCED");
    assert_eq!((world.root("LOCK SHOW l"), world.root("LEASE LIST")), ("nil".into(), "[]".into()));
    let second = token(&world.root("LOCK ACQUIRE l two PX 1000"));
    assert!(second > first);
    assert_eq!(world.root("SET a 1 FENCE l 5"), "FENCED");
    assert_eq!(world.root(&format!("SET a 1 FENCE l {first}")), "FENCED");
    assert_eq!(world.root(&format!("SET a 1 FENCE l {second}")), "OK");
    assert_eq!(world.root(&format!("TXN IF LOCK l = {first} THEN 3 SET a 2")), "[0, []]");
    assert_eq!(world.root(&format!("TXN IF LOCK l = {second} THEN 3 SET a 3")), "[1, [OK]]");
}

#[test]
fn who_waits_gets_it_in_order_and_is_told_by_the_log() {
    let mut world = World::new();
    let first = token(&world.root("LOCK ACQUIRE l one PX 1000"));
    let tail = world.state.tail();
    assert_eq!(world.root("LOCK ACQUIRE l two PX 1000 WAIT 5000"), "waiting");
    assert_eq!(world.root("LOCK ACQUIRE l three PX 1000 WAIT 200"), "waiting");
    let (two, three) = (tail.0 + 1, tail.0 + 2);
    assert_eq!(world.root("LOCK ACQUIRE l four PX 1000"), "nil", "nobody overtakes those who wait");
    assert!(!world.wake_at(1_000_199));
    assert!(world.wake_at(1_000_200));
    assert_eq!(told(&world, tail), [(three, "nil".into())]);
    let tail = world.state.tail();
    world.root(&format!("LOCK RELEASE l {first}"));
    assert_eq!(told(&world, tail), [(two, format!("{{token: {two}, lease: {two}}}"))]);
    assert!(world.root("LOCK SHOW l").contains("remaining_ms: 1000"), "its time begins with the grant");
}

#[test]
fn a_lock_goes_with_its_lease_and_to_the_next() {
    let mut world = World::new();
    let lease = world.root("LEASE GRANT 500");
    let held = token(&world.root(&format!("LOCK ACQUIRE l one LEASE {lease}")));
    assert_eq!(
        world.root(&format!("LOCK ACQUIRE m one LEASE {lease}")),
        format!("{{token: {}, lease: {lease}}}", held + 1)
    );
    world.root("LOCK ACQUIRE l two PX 9000 WAIT 9000");
    let tail = world.state.tail();
    assert!(world.wake_at(1_000_502));
    assert_eq!(told(&world, tail), [(tail.0, format!("{{token: {0}, lease: {0}}}", tail.0))]);
    assert_eq!(world.root(&format!("LOCK RENEW l {held}")), "FENCED");
    assert_eq!(world.root("LOCK SHOW m"), "nil");
    assert_eq!(world.root(&format!("LOCK ACQUIRE m one LEASE {lease}")), "LEASE_UNKNOWN");
}

#[test]
fn a_semaphore_gives_permits_in_order_and_large_requests_are_not_overtaken() {
    let mut world = World::new();
    let one = token(&world.root("SEMAPHORE ACQUIRE s 3 one PX 1000 PERMITS 2"));
    let tail = world.state.tail();
    assert_eq!(world.root("SEMAPHORE ACQUIRE s 3 two PX 1000 PERMITS 3 WAIT 500"), "waiting");
    assert_eq!(
        world.root("SEMAPHORE ACQUIRE s 3 three PX 1000 WAIT 9000"),
        "waiting",
        "one is free, for two"
    );
    assert_eq!(world.root("SEMAPHORE ACQUIRE s 3 one PX 1000"), "ARGUMENT", "it has two");
    assert!(world.wake_at(1_000_500));
    let three = tail.0 + 2;
    assert_eq!(
        told(&world, tail),
        [(tail.0 + 1, "nil".into()), (three, format!("{{token: {three}, lease: {three}}}"))]
    );
    assert_eq!(world.root("SEMAPHORE ACQUIRE s 4 four PX 1000 PERMITS 2"), "nil");
    assert_eq!(world.root(&format!("SEMAPHORE RELEASE s {one}")), "1");
    token(&world.root("SEMAPHORE ACQUIRE s 3 four PX 1000 PERMITS 2"));
}

#[test]
fn an_election_has_a_leader_who_says_something() {
    let mut world = World::new();
    assert_eq!(world.root("ELECTION OBSERVE e"), "nil");
    let ann = token(&world.root("ELECTION CAMPAIGN e ann here PX 1000"));
    world.root("ELECTION CAMPAIGN e bea there PX 1000 WAIT 5000");
    assert_eq!(
        world.root("ELECTION OBSERVE e"),
        format!("{{leader: \"ann\", value: \"here\", token: {ann}}}")
    );
    assert_eq!(world.root(&format!("ELECTION PROCLAIM e {ann} elsewhere")), "OK");
    assert!(world.root("ELECTION SHOW e").contains("value: \"elsewhere\"}], waiting: 1"));
    assert_eq!(world.root(&format!("ELECTION RESIGN e {ann}")), "1");
    assert_eq!(world.root(&format!("ELECTION PROCLAIM e {ann} late")), "FENCED");
    assert!(world.root("ELECTION OBSERVE e").starts_with("{leader: \"bea\", value: \"there\""));
}

#[test]
fn who_observes_says_what_is_known() {
    let mut world = World::new();
    // Whether there is news is for the node that has the connection: here it is a read like any other.
    assert_eq!(world.root("ELECTION OBSERVE e UNLIKE 7 here WAIT 1000"), "nil");
    let ann = token(&world.root("ELECTION CAMPAIGN e ann here PX 1000"));
    let leads = format!("{{leader: \"ann\", value: \"here\", token: {ann}}}");
    assert_eq!(world.root(&format!("ELECTION OBSERVE e UNLIKE {ann} here WAIT 1000")), leads);
}

#[test]
fn an_owner_waits_once() {
    let mut world = World::new();
    world.root("LOCK ACQUIRE l one PX 1000");
    world.root("LOCK ACQUIRE l two PX 1000 WAIT 5000");
    let tail = world.state.tail();
    assert_eq!(world.root("LOCK ACQUIRE l two PX 1000 WAIT 5000"), "waiting");
    assert_eq!(told(&world, tail), [(tail.0, "WAIT_ENDED".into())]);
    assert!(world.root("LOCK SHOW l").contains("waiting: 1"));
    assert_eq!(world.root("LOCK ACQUIRE l two PX 1000"), "nil");
    assert!(world.root("LOCK SHOW l").contains("waiting: 0"), "the last word counts");
}

#[test]
fn a_retry_gets_what_came_of_the_wait() {
    let mut world = World::new();
    let session: SessionId = world.session("root");
    let first = token(&world.root("LOCK ACQUIRE l one PX 1000"));
    let wait =
        world.ask("root", "LOCK ACQUIRE l two PX 1000 WAIT 5000").once(session, 1, 0).forwarded(1, 7, 0);
    let id = world.run(&wait).logged.expect("it was logged");
    let retry = world.ask("root", "LOCK ACQUIRE l two PX 1000 WAIT 5000").once(session, 1, 0);
    assert_eq!((world.run(&retry).text(), world.run(&retry).stored_at()), ("waiting".into(), Some(id)));
    world.root(&format!("LOCK RELEASE l {first}"));
    let granted = world.state.tail();
    let done = world.run(&retry);
    assert_eq!((token(&done.text()), done.stored_at()), (id.0, Some(granted)));
    world.commit();
    assert_eq!(token(&world.run(&wait).text()), id.0, "the forwarding node gets it, too");
}

#[test]
fn who_holds_it_already_says_anew_how_long() {
    let mut world = World::new();
    let held = token(&world.root("LOCK ACQUIRE l one PX 1000"));
    assert_eq!(token(&world.root("LOCK ACQUIRE l one PX 9000")), held);
    assert!(world.root("LOCK SHOW l").contains("remaining_ms: 9000"));
    assert_eq!(world.root(&format!("LOCK RENEW l {held}")), "9000");
    let lease = world.root("LEASE GRANT 500");
    assert_eq!(world.root(&format!("LOCK ACQUIRE l one LEASE {lease}")), "ARGUMENT", "it hangs on its own");
    token(&world.root(&format!("LOCK ACQUIRE m one LEASE {lease}")));
    token(&world.root(&format!("LOCK ACQUIRE m one LEASE {lease}")));
    assert_eq!(world.root("LOCK ACQUIRE m one PX 500"), "ARGUMENT");
}

#[test]
fn waits_of_a_session_end_with_it() {
    let mut world = World::new();
    let session: SessionId = world.session("root");
    world.root("LOCK ACQUIRE l one PX 900000");
    let wait = world.ask("root", "LOCK ACQUIRE l two PX 1000 WAIT 500000").once(session, 1, 0);
    world.run(&wait);
    assert_eq!(super::super::turns::orphans(world.state.view(world.now), 9), []);
    let tail = world.state.tail();
    world.root(&format!("SESSION END {session}"));
    assert_eq!(told(&world, tail), [(tail.0, "WAIT_ENDED".into())]);
    let session: SessionId = world.session("root");
    let wait = world.ask("root", "LOCK ACQUIRE l two PX 1000 WAIT 500000").once(session, 1, 0);
    let id = world.run(&wait).logged.expect("it was logged");
    world.append(
        Cause::Expiry,
        vec![Effect::SessionEnded { id: session, cause: crate::state::effect::DeleteCause::Expired }],
    );
    let orphans = super::super::turns::orphans(world.state.view(world.now), 9);
    assert_eq!(orphans.iter().map(|(_, _, id)| *id).collect::<Vec<_>>(), [id]);
    let effects = super::super::turns::over(world.state.view(world.now), &[], &orphans, 1 << 20);
    world.append(Cause::Expiry, effects);
    assert_eq!(told(&world, id), [(id.0, "WAIT_ENDED".into())]);
}

#[test]
fn a_wait_ends_when_its_user_may_not_lock_any_more() {
    for deed in ["REVOKE LOCK ON l* FROM bob", "USER PASSWORD bob other", "USER REMOVE bob"] {
        let mut world = World::with_user("bob", &["LOCK ON l*", "LOCK ON m*"]);
        world.root("LOCK ACQUIRE l1 one PX 1000");
        world.by("bob", "LOCK ACQUIRE l1 two PX 1000 WAIT 5000");
        let tail = world.state.tail();
        world.root(deed);
        assert_eq!(told(&world, tail), [(tail.0, "WAIT_ENDED".into())], "{deed}");
        assert!(world.root("LOCK SHOW l1").contains("waiting: 0"));
    }
    let mut world = World::with_user("bob", &["LOCK ON l*", "LOCK ON m*"]);
    world.root("SEMAPHORE ACQUIRE l1 3 one PX 1000");
    world.by("bob", "SEMAPHORE ACQUIRE l1 3 two PX 1000 PERMITS 3 WAIT 5000");
    world.by("bob", "SEMAPHORE ACQUIRE l1 3 three PX 1000 WAIT 5000");
    world.root("USER REMOVE bob");
    assert!(world.root("SEMAPHORE SHOW l1").ends_with("waiting: 0}"));
    assert_eq!(world.state.lease_count(), 1, "none of the user's own was the next");
    let mut world = World::with_user("bob", &["LOCK ON l*", "LOCK ON m*"]);
    world.root("LOCK ACQUIRE m1 one PX 1000");
    world.by("bob", "LOCK ACQUIRE m1 two PX 1000 WAIT 5000");
    world.root("REVOKE LOCK ON l* FROM bob");
    assert!(world.root("LOCK SHOW m1").contains("waiting: 1"), "that one is not about this name");
}

#[test]
fn a_token_is_its_users_and_a_guard_needs_the_lock() {
    let mut world = World::with_user("bob", &["LOCK ON l*", "WRITE ON a"]);
    let held = token(&world.root("LOCK ACQUIRE l one PX 1000"));
    assert_eq!(world.by("bob", &format!("LOCK RELEASE l {held}")), "0");
    assert_eq!(world.by("bob", &format!("LOCK RENEW l {held}")), "FENCED");
    assert_eq!(world.by("bob", "LOCK ACQUIRE l one PX 1000"), "nil", "another user's owner of the same name");
    assert_eq!(world.by("bob", &format!("SET a 1 FENCE l {held}")), "OK");
    assert_eq!(world.by("bob", &format!("SET a 1 FENCE m {held}")), "DENIED");
    assert_eq!(world.by("bob", &format!("TXN IF LOCK m = {held} THEN")), "DENIED");
    assert_eq!(world.by("bob", "LOCK SHOW l"), "DENIED");
}

#[test]
fn waits_are_bounded_and_can_be_forgotten() {
    let mut world = World::new();
    world.limits.waits_of_a_name = 1;
    world.root("LOCK ACQUIRE l one PX 1000");
    world.root("LOCK ACQUIRE l two PX 1000 WAIT 5000");
    let id = world.state.tail();
    assert_eq!(world.root("LOCK ACQUIRE l three PX 1000 WAIT 5000"), "LIMIT_REACHED");
    let forget = Ask {
        principal: Principal::Anybody,
        command: Command::ForgetWait { id },
        once: None,
        forwarded: None,
    };
    assert_eq!(world.run(&forget).text(), "1");
    assert_eq!(world.run(&forget).text(), "0");
    assert_eq!(world.root("LOCK ACQUIRE l three PX 1000 WAIT 5000"), "waiting");
    world.limits.waits = 1;
    world.root("LOCK ACQUIRE m one PX 1000");
    assert_eq!(world.root("LOCK ACQUIRE m two PX 1000 WAIT 5000"), "LIMIT_REACHED");
}

#[test]
fn what_waits_is_not_for_transactions_and_ids() {
    let refused =
        |line: &str| parse_words(&words(line), &Limits::default()).expect_err("refused").to_string();
    assert!(refused("TXN THEN 6 LOCK ACQUIRE l one PX 1000").contains("can't be in a transaction"));
    assert!(refused("ONCE RUN id BORN 1 LOCK ACQUIRE l one PX 1000 WAIT 5").contains("those that wait"));
    assert!(refused("LOCK ACQUIRE l one WAIT 5").contains("neither PX nor LEASE"));
    assert!(refused("LOCK ACQUIRE l one PX 5 PX 5").contains("given twice"));
    assert!(refused("SEMAPHORE ACQUIRE s 2 one PX 5 PERMITS 3").contains("not 1 to 2"));
    assert!(refused("FORGET WAIT 5").contains("unknown command"));
}

#[test]
fn a_write_is_guarded_by_permits_and_offices_as_by_locks() {
    let mut world = World::new();
    let token = |world: &mut World, line: &str| {
        let said = world.root(line);
        let (_, rest) = said.split_once("token: ").unwrap_or_else(|| panic!("{said}"));
        rest.split_once(',').expect("a lease follows").0.to_owned()
    };
    let office = token(&mut world, "ELECTION CAMPAIGN e ann here PX 1000");
    let permits = token(&mut world, "SEMAPHORE ACQUIRE s 3 ann PX 1000 PERMITS 2");
    assert_eq!(world.root(&format!("SET a 1 FENCE e {office}")), "OK");
    assert_eq!(world.root(&format!("SET a 1 FENCE s {permits}")), "OK");
    assert_eq!(world.root(&format!("SET a 1 FENCE s {office}")), "FENCED", "that is another's");
    assert_eq!(world.root(&format!("TXN IF LOCK e = {office} THEN 3 SET a 2")), "[1, [OK]]");
    assert_eq!(world.root(&format!("ELECTION RESIGN e {office}")), "1");
    let next = token(&mut world, "ELECTION CAMPAIGN e bob here PX 1000");
    assert_eq!(world.root(&format!("SET a 1 FENCE e {office}")), "FENCED", "bob leads");
    assert_eq!(world.root(&format!("SET a 1 FENCE e {next}")), "OK");
}
