//! Three nodes whose links are cut.

use std::time::{Duration, Instant};

use steadfast_tests::namespaces::{Network, between, both, inside};

use crate::trial::{SOON, Trial};
use crate::witness::nothing_was_answered;

/// The two others of three.
pub fn others(place: usize) -> [usize; 2] {
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
        let grown = trial.work_for(Duration::from_millis(1500));
        assert!(!trial.standing(old).leads(), "a leader without a majority steps down");
        assert!(grown <= 1, "the term grew by {grown} while node {} led", new + 1);
        let mending = Instant::now();
        let rejoined = trial.mend(&network);
        let asked = nothing_was_answered(&witness.end(), cut, mending);
        eprintln!(
            "a leader after {elected:?}, all served after {served:?} more; alone it was asked {asked} times"
        );
        assert!(rejoined <= 1, "the term grew by {rejoined} when the old leader came back");
        trial.end();
    });
}

/// What the leader says arrives nowhere, or it hears nobody. Both must cost it its office once: whoever hears no leader asks for
/// votes, whoever leads and is not answered steps down (thesis, sections 6.2 and 9.6), and then there is peace.
#[test]
fn a_leader_whose_links_go_one_way_is_replaced_once() {
    inside("three::a_leader_whose_links_go_one_way_is_replaced_once", || {
        let network = Network::new(3);
        let mut trial = Trial::on(&network, "one-way");
        for shape in ["silent", "deaf"] {
            let (old, before) = (trial.leader(), trial.term());
            network.cut(others(old).map(|other| if shape == "silent" { (old, other) } else { (other, old) }));
            let cut = Instant::now();
            trial.leader_above(before, &others(old));
            let elected = cut.elapsed();
            let served = trial.load.progress_of_all(SOON);
            let grown = trial.work_for(Duration::from_millis(1500));
            assert!(!trial.standing(old).leads(), "a {shape} leader steps down");
            assert!(grown <= 1, "the term grew by {grown} beside a {shape} node");
            let rejoined = trial.mend(&network);
            assert!(rejoined <= 1, "the term grew by {rejoined} when a {shape} node came back");
            let grown = trial.term() - before;
            eprintln!(
                "{shape}: a leader after {elected:?}, all served after {served:?} more, {grown} terms in all"
            );
        }
        trial.end();
    });
}

/// The link between two nodes is cut, and both reach the third. If that one leads, nothing changes; if one of the two leads, the
/// other hears no leader, and must not depose it all the same: the third one still hears it (thesis, section 9.6).
#[test]
fn a_leader_that_one_node_does_not_reach_stays() {
    inside("three::a_leader_that_one_node_does_not_reach_stays", || {
        let network = Network::new(3);
        let mut trial = Trial::on(&network, "partial");
        for shape in ["in the middle", "at an end"] {
            // A machine that is busy may make a leader silent for long enough, but not each time.
            let stays = (0..3).any(|_| {
                let leader = trial.leader();
                let [one, other] = others(leader);
                let lonely = if shape == "at an end" { (leader, one) } else { (one, other) };
                trial.rest();
                let before = trial.term();
                network.cut(both(lonely.0, lonely.1));
                std::thread::sleep(Duration::from_millis(1200));
                let grown = trial.term() - before;
                trial.load.pause(false);
                if grown > 0 {
                    trial.mend(&network);
                }
                grown == 0
            });
            assert!(stays, "a leader {shape} is deposed each time");
            let served = trial.load.progress_of_all(SOON);
            let grown = trial.work_for(Duration::from_secs(1));
            eprintln!("a leader {shape} stays, and all are served after {served:?}");
            assert!(grown <= 1, "with the leader {shape} the term grew by {grown} under load");
            let rejoined = trial.mend(&network);
            assert!(rejoined <= 1, "the term grew by {rejoined} when the link was whole again");
        }
        trial.end();
    });
}
