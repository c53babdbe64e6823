//! Who decides, and which steps lead from one membership to the next.

use super::*;

fn voter(id: u16) -> Voter {
    (NodeId(id), Incarnation(u64::from(id)))
}

fn of(ids: &[u16]) -> Membership {
    Membership::of(ids.iter().map(|id| voter(*id)).collect())
}

fn ids(set: &[Voter]) -> Vec<u16> {
    set.iter().map(|(node, _)| node.0).collect()
}

#[test]
fn during_a_change_a_majority_of_each_set_has_to_agree() {
    let joint = of(&[1, 2, 3]).with_learners([NodeId(4)]).change(Change::Promote(voter(4))).expect("a step");
    assert_eq!((ids(joint.voters()), ids(joint.before())), (vec![1, 2, 3, 4], vec![1, 2, 3]));
    let agrees = |yes: &[u16]| joint.agrees(|(node, _)| yes.contains(&node.0));
    assert!(agrees(&[1, 2, 4]) && agrees(&[1, 2, 3]));
    assert!(!agrees(&[1, 2]), "two of four");
    assert!(!agrees(&[3, 4]), "one of three before");
    let refuses = |no: &[u16]| joint.refuses(|(node, _)| no.contains(&node.0));
    assert!(refuses(&[1, 2]) && refuses(&[3, 4]), "two of three before, two of four");
    assert!(!refuses(&[4]) && !refuses(&[1]));
    let held = [(1, 9), (2, 7), (3, 5), (4, 8)];
    let by = |(node, _): Voter| Index(held.iter().find(|(id, _)| *id == node.0).map_or(0, |(_, at)| *at));
    assert_eq!(joint.held(by), Index(7));
    assert_eq!(joint.settled().held(by), Index(7), "three of four");
    assert_eq!(of(&[1, 2, 3, 4]).held(by), Index(7));
}

fn with_witness() -> Membership {
    Membership::of(vec![voter(1), voter(2), (NodeId(3), Incarnation::of_witness(3))])
}

#[test]
fn beside_a_witness_both_others_have_to_hold_an_entry_unless_it_is_degraded() {
    let whole = with_witness();
    let held = [(1, 9), (2, 5), (3, 7)];
    let by = |(node, _): Voter| Index(held.iter().find(|(id, _)| *id == node.0).map_or(0, |(_, at)| *at));
    assert_eq!((whole.held(by), whole.with_degraded(true).held(by)), (Index(5), Index(7)));
    assert!(whole.agrees(|(node, _)| node.0 != 1), "it votes as everybody");
    assert_eq!((whole.witness(), whole.beside_witness().count()), (Some(NodeId(3)), 2));
    let removed = whole.with_degraded(true).change(Change::Remove(NodeId(3))).expect("a step");
    assert!(removed.is_degraded() && !removed.settled().is_degraded(), "without a witness nothing is");
    assert_eq!(removed.held(by), Index(5), "those who stay have to agree");
}

#[test]
fn a_witness_votes_beside_two_nodes_with_data_and_no_others() {
    let members = with_witness().with_learners([NodeId(4)]);
    let refused = |change| members.change(change).expect_err("refused");
    assert_eq!(refused(Change::Promote(voter(4))), ChangeError::WitnessBeside(NodeId(3), 3));
    assert_eq!(refused(Change::Remove(NodeId(1))), ChangeError::WitnessBeside(NodeId(3), 1));
    let second = (NodeId(4), Incarnation::of_witness(4));
    assert!(matches!(
        refused(Change::Replace { old: NodeId(2), new: second }),
        ChangeError::WitnessBeside(..)
    ));
    for fine in [
        Change::Replace { old: NodeId(2), new: voter(4) },
        Change::Replace { old: NodeId(3), new: second },
        Change::Replace { old: NodeId(3), new: voter(4) },
    ] {
        assert!(members.change(fine).expect("a step").settled().is_sound(), "{fine:?}");
    }
    let three = of(&[1, 2, 5]).with_learners([NodeId(4)]);
    let taken = three.change(Change::Replace { old: NodeId(5), new: second }).expect("a step");
    assert_eq!(taken.settled().witness(), Some(NodeId(4)));
    let alone = Membership::of(vec![(NodeId(3), Incarnation::of_witness(3))]);
    assert!(!alone.is_sound() && members.is_sound());
    assert!(!Membership { degraded: true, ..of(&[1, 2, 3]) }.is_sound(), "nothing is degraded without one");
}

#[test]
fn only_what_is_degraded_has_another_byte() {
    let bytes = |members: &Membership| postcard::to_stdvec(members).expect("plain numbers");
    let (whole, degraded) = (with_witness(), with_witness().with_degraded(true));
    assert_eq!(bytes(&degraded).len(), bytes(&whole).len() + 1);
    for members in [&whole, &degraded, &of(&[1, 2])] {
        assert_eq!(postcard::from_bytes::<Membership>(&bytes(members)).as_ref(), Ok(members));
    }
    for flag in [0, 2] {
        let mut wrong = bytes(&whole);
        wrong.push(flag);
        assert!(postcard::from_bytes::<Membership>(&wrong).is_err(), "{flag}");
    }
}

#[test]
fn an_address_is_a_host_and_a_port() {
    for good in ["10.0.0.4:7878", "db4.example:1", "[::1]:65535"] {
        assert!(is_address(good), "{good}");
    }
    let long = format!("{}:1", "h".repeat(MAX_ADDRESS - 1));
    for bad in ["", "host", ":1", "host:0", "host:65536", "host:x", "a host:1", "h\u{e4}:1", &long] {
        assert!(!is_address(bad), "{bad}");
    }
}

#[test]
fn half_is_no_majority_and_half_refuses() {
    let even = of(&[1, 2]);
    assert!(!even.agrees(|(node, _)| node.0 == 1) && even.refuses(|(node, _)| node.0 == 1));
    assert_eq!(even.held(|(node, _)| Index(u64::from(node.0))), Index(1));
}

#[test]
fn a_wiped_directory_is_no_voter_until_it_is_promoted() {
    let members = of(&[1, 2, 3]);
    let wiped = (NodeId(3), Incarnation(77));
    assert!(!members.is_voter(wiped) && members.is_voter(voter(3)));
    let joint = members.change(Change::Promote(wiped)).expect("a step");
    assert!(joint.is_voter(wiped) && joint.is_voter(voter(3)), "until the change has ended");
    let after = joint.settled();
    assert!(after.is_voter(wiped) && !after.is_voter(voter(3)));
}

#[test]
fn steps_that_were_taken_are_not_taken_again() {
    let members = of(&[1, 2, 3]).with_learners([NodeId(4)]);
    for change in [
        Change::Add(NodeId(4)),
        Change::Add(NodeId(2)),
        Change::Promote(voter(2)),
        Change::Remove(NodeId(9)),
        Change::Replace { old: NodeId(9), new: voter(2) },
    ] {
        assert_eq!(members.change(change).as_ref(), Ok(&members), "{change:?}");
    }
    let joint = members.change(Change::Promote(voter(4))).expect("a step");
    assert_eq!(joint.change(Change::Promote(voter(4))), Ok(joint.clone()), "while it is under way, too");
}

#[test]
fn a_replacement_is_one_step() {
    let members = of(&[1, 2, 3]).with_learners([NodeId(4)]);
    let joint = members.change(Change::Replace { old: NodeId(3), new: voter(4) }).expect("a step");
    assert_eq!((ids(joint.voters()), ids(joint.before())), (vec![1, 2, 4], vec![1, 2, 3]));
    assert_eq!(joint.settled(), of(&[1, 2, 4]));
}

#[test]
fn a_voter_can_go_on_as_a_learner() {
    let joint = of(&[1, 2, 3]).change(Change::Demote(NodeId(2))).expect("a step");
    assert_eq!(joint.settled(), of(&[1, 3]).with_learners([NodeId(2)]));
    let again = joint.settled().change(Change::Demote(NodeId(2)));
    assert_eq!(again, Ok(joint.settled()));
}

#[test]
fn what_cant_be_done_is_refused() {
    let members = of(&[1, 2, 3]).with_learners([NodeId(4)]);
    let refused = |members: &Membership, change| members.change(change).expect_err("refused");
    assert_eq!(refused(&members, Change::Promote(voter(5))), ChangeError::NoMember(NodeId(5)));
    assert_eq!(refused(&of(&[1]), Change::Remove(NodeId(1))), ChangeError::LastVoter(NodeId(1)));
    let replace = |old, new| Change::Replace { old: NodeId(old), new: voter(new) };
    assert_eq!(refused(&members, replace(4, 9)), ChangeError::NoVoter(NodeId(4)));
    assert_eq!(refused(&members, replace(1, 2)), ChangeError::IsVoter(NodeId(2)));
    assert_eq!(refused(&members, replace(1, 9)), ChangeError::NoMember(NodeId(9)));
    assert_eq!(refused(&members, Change::Add(NodeId(0))), ChangeError::NoSuchNode);
    let joint = members.change(Change::Promote(voter(4))).expect("a step");
    assert_eq!(refused(&joint, Change::Remove(NodeId(3))), ChangeError::UnderWay);
    assert_eq!(refused(&joint, Change::Add(NodeId(5))), ChangeError::UnderWay);
    let leaving = members.change(Change::Remove(NodeId(3))).expect("a step");
    assert_eq!(refused(&leaving, Change::Add(NodeId(3))), ChangeError::UnderWay);
    assert_eq!(refused(&of(&[1]), Change::Demote(NodeId(1))), ChangeError::LastVoter(NodeId(1)));
    assert_eq!(refused(&members, Change::Demote(NodeId(9))), ChangeError::NoMember(NodeId(9)));
    let seven = of(&[1, 2, 3, 4, 5, 6, 7]).with_learners([NodeId(8)]);
    assert_eq!(refused(&seven, Change::Promote(voter(8))), ChangeError::TooManyVoters);
    let full = of(&[1]).with_learners((2..=16).map(NodeId));
    assert_eq!(refused(&full, Change::Add(NodeId(17))), ChangeError::TooManyMembers);
}
