//! Three nodes whose links are cut.

use std::time::{Duration, Instant};

use steadfast_tests::namespaces::{Network, between, inside};

use crate::trial::{SOON, Trial};

/// The two others of three.
fn others(place: usize) -> [usize; 2] {
    [(place + 1) % 3, (place + 2) % 3]
}

#[test]
fn a_leader_that_is_cut_off_says_nothing_and_the_others_go_on() {
    inside("three::a_leader_that_is_cut_off_says_nothing_and_the_others_go_on", || {
        let network = Network::new(3);
        let mut trial = Trial::on(&network, "cut-off");
        let (old, before) = (trial.leader(), trial.term());
        let witness = trial.witness(old);
        network.cut(between(&[old], &others(old)));
        let cut = Instant::now();
        let new = trial.leader_above(before, &others(old));
        let elected = cut.elapsed();
        let served = trial.load.progress_of_all(SOON);
        let grown = trial.work_for(Duration::from_secs(3));
        assert!(!trial.standing(old).leads(), "a leader without a majority steps down");
        assert!(grown <= 1, "the term grew by {grown} while node {} led", new + 1);
        let mending = Instant::now();
        network.heal();
        let told = witness_of(witness.end(), cut, mending);
        eprintln!(
            "a new leader after {elected:?}, all served after {served:?} more; alone it was asked {told} times"
        );
        trial.end();
    });
}

/// Of what was asked after the cut and answered before its end, nothing was.
fn witness_of(told: Vec<crate::witness::Told>, cut: Instant, mending: Instant) -> usize {
    let alone: Vec<_> = told.iter().filter(|it| it.asked_at > cut && it.told_at < mending).collect();
    let answered: Vec<_> = alone.iter().filter(|it| it.answer.is_ok()).collect();
    assert!(answered.is_empty(), "a node that is alone answered: {answered:?}");
    assert!(alone.len() >= 5, "it was asked {} times", alone.len());
    alone.len()
}
