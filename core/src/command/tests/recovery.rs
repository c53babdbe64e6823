//! What a recovery from a lost majority leaves of the state, as clients see it afterwards.

use super::*;
use crate::membership::Membership;
use crate::state::effect::Founding;
use crate::types::{ClusterId, NodeId};

const AT: Index = Index(1 << 40);

/// Founds the cluster anew on what is there; entries behind `known` may never have been committed.
fn refound(world: &mut World, known: Index) {
    world.commit();
    let members = vec![(NodeId(1), Incarnation(99))];
    world.state.refound(AT, known, Founding { cluster: ClusterId(7), name: "c".into(), members });
}

/// The token in an answer.
fn token(answer: &str) -> u64 {
    let digits = answer.strip_prefix("{token: ").and_then(|rest| rest.split(',').next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{answer} grants nothing"))
}

#[test]
fn whoever_holds_a_lock_holds_it_under_a_token_that_nobody_ever_had() {
    let mut world = World::new();
    let lease = world.root("LEASE GRANT 900");
    let first = token(&world.root("LOCK ACQUIRE l one PX 1000"));
    let second = token(&world.root(&format!("LOCK ACQUIRE m two LEASE {lease}")));
    let third = token(&world.root("ELECTION CAMPAIGN e three here PX 1000"));
    refound(&mut world, Index(0));
    assert_eq!(world.state.held_count(), 3);
    assert_eq!(world.root("LOCK ACQUIRE l other PX 1000"), "nil", "it is not free");
    for (line, old) in [("LOCK RENEW l", first), ("LOCK RENEW m", second), ("ELECTION RENEW e", third)] {
        assert_eq!(world.root(&format!("{line} {old}")), "FENCED");
    }
    assert_eq!(world.root(&format!("SET k v FENCE l {first}")), "FENCED");
    let tokens = [
        token(&world.root("LOCK ACQUIRE l one PX 1000")),
        token(&world.root(&format!("LOCK ACQUIRE m two LEASE {lease}"))),
        token(&world.root("ELECTION CAMPAIGN e three here PX 1000")),
    ];
    assert_eq!(tokens, [AT.0 - 2, AT.0 - 1, AT.0], "in the order in which they were granted");
    assert_eq!(world.root(&format!("SET k v FENCE l {}", tokens[0])), "OK");
    world.root(&format!("LOCK RELEASE l {}", tokens[0]));
    assert!(token(&world.root("LOCK ACQUIRE l other PX 1000")) > AT.0);
}

#[test]
fn a_lock_whose_holder_does_not_ask_again_is_free_when_its_time_is_over() {
    let mut world = World::new();
    world.root("LOCK ACQUIRE l one PX 1000");
    refound(&mut world, Index(0));
    assert!(!world.wake_at(1_001_000));
    assert!(world.wake_at(1_001_003));
    assert!(token(&world.root("LOCK ACQUIRE l two PX 1000")) > AT.0);
}

#[test]
fn nobody_waits_any_more_and_none_of_them_gets_an_old_token() {
    let mut world = World::new();
    let session = world.session("root");
    let first = world.root("LOCK ACQUIRE l one PX 1000");
    let ask = world.ask("root", "LOCK ACQUIRE l two PX 1000 WAIT 60000").once(session, 1, 0);
    assert_eq!(world.run(&ask).text(), "waiting");
    assert_eq!(world.root("LOCK ACQUIRE l three PX 1000 WAIT 60000"), "waiting");
    refound(&mut world, Index(session.0));
    assert_eq!(world.state.waiting_count(), 0);
    assert_eq!(world.run(&ask).text(), "WAIT_ENDED", "asked for again, it says so");
    let tail = world.state.tail();
    let now = token(&world.root("LOCK ACQUIRE l one PX 1000"));
    assert_eq!(world.root(&format!("LOCK RELEASE l {now}")), "1");
    assert!(now > token(&first) && tail >= AT);
    assert_eq!(world.root("LOCK SHOW l"), "nil", "it is nobody's");
}

#[test]
fn what_was_executed_here_is_not_executed_again_and_what_was_lost_is() {
    let mut world = World::new();
    let session = world.session("root");
    let kept = world.ask("root", "INCRBY n 1").once(session, 1, 0);
    assert_eq!(world.run(&kept).text(), "1");
    assert_eq!(world.root("ONCE RUN id BORN 1000000 INCRBY n 10"), "11");
    refound(&mut world, Index(session.0));
    assert_eq!(world.run(&kept).text(), "1", "the old answer");
    assert_eq!(world.root("ONCE RUN id BORN 1000000 INCRBY n 10"), "11");
    // Its first attempt was logged by nodes that are lost; nothing of it is left here.
    let lost = world.ask("root", "INCRBY n 100").once(session, 3, 2);
    assert_eq!(world.run(&lost).text(), "111");
    let unknown = world.ask("root", "INCRBY n 1").once(SessionId(session.0 + 50), 1, 0);
    assert_eq!(world.run(&unknown).text(), "SESSION_UNKNOWN", "a session that was opened on lost nodes");
    assert!(world.session("root").0 > AT.0);
}

#[test]
fn a_revision_never_stands_for_two_values() {
    let mut world = World::new();
    world.root("SET old v");
    world.root("HSET hash field v");
    let known = world.state.tail();
    world.root("SET new v PX 5000");
    let revision = world.state.tail();
    refound(&mut world, known);
    assert_eq!(world.root(&format!("TXN IF REVISION old = {} THEN 2 GET old", known.0 - 1)), "[1, [\"v\"]]");
    let condition = |revision: Index| format!("TXN IF REVISION new = {revision} THEN 2 GET new");
    assert_eq!(world.root(&condition(revision)), "[0, []]", "another entry may have had that place");
    assert_eq!(world.root(&condition(AT)), "[1, [\"v\"]]");
    assert_eq!(world.root("PTTL new"), "5000", "its time to live is as it was");
}

#[test]
fn of_the_members_that_are_gone_nothing_is_left() {
    let mut world = World::new();
    let voters = [1, 2, 3].map(|node| (NodeId(node), Incarnation(u64::from(node))));
    let mut members = vec![Effect::Membership(Membership::of(voters.into()))];
    for node in [1, 2, 3] {
        let address = Some(format!("10.0.0.{node}:7878"));
        members.push(Effect::Located { node: NodeId(node), address });
        members.push(Effect::Preferred { node: NodeId(node), priority: u32::from(node) });
    }
    world.append(Cause::Members, members);
    let forwarded = world.ask("root", "INCRBY n 1").forwarded(1, 1, 0);
    assert_eq!(world.run(&forwarded).text(), "1");
    refound(&mut world, Index(0));
    assert_eq!(world.state.membership(), Some(Membership::of(vec![(NodeId(1), Incarnation(99))])));
    assert_eq!(world.state.addresses().len(), 1);
    assert_eq!(world.state.priorities().iter().collect::<Vec<_>>(), [(&NodeId(1), &1)]);
    assert_eq!(world.run(&forwarded).text(), "2", "a stranger's numbers mean nothing");
}

#[test]
fn a_session_whose_number_somebody_else_may_have_got_is_nobodys() {
    let mut world = World::new();
    let certain = world.session("root");
    let doubtful = world.session("root");
    let kept = world.ask("root", "INCRBY n 1").once(doubtful, 1, 0);
    assert_eq!(world.run(&kept).text(), "1");
    world.commit();
    assert_eq!(world.state.sessions_behind(Index(certain.0)), 1);
    refound(&mut world, Index(certain.0));
    // Its answer may be that of another client's command.
    assert_eq!(world.run(&kept).text(), "SESSION_UNKNOWN");
    let ask = world.ask("root", "INCRBY n 1").once(certain, 1, 0);
    assert_eq!(world.run(&ask).text(), "2");
}

#[test]
fn work_that_lost_nodes_may_have_given_to_another_is_finished_by_nobody_who_had_it() {
    let mut world = World::new();
    let begun = world.root("ONCE BEGIN order:1 print 500");
    let old = world.state.tail().0;
    assert!(begun.contains(&old.to_string()), "{begun}");
    refound(&mut world, Index(0));
    assert_eq!(world.root(&format!("ONCE FINISH order:1 {old} done")), "FENCED");
}
