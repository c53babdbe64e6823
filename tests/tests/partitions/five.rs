//! Five nodes, cut into parts.

use std::time::{Duration, Instant};

use steadfast_tests::namespaces::{Network, between, inside};

use crate::trial::{SOON, Trial};
use crate::witness::nothing_was_answered;

/// The places from this one on, around.
fn from(place: usize) -> [usize; 5] {
    [0, 1, 2, 3, 4].map(|step| (place + step) % 5)
}

/// The leader and one more are cut off from three; later the only way between two pairs is the fifth node.
#[test]
fn the_greater_part_of_five_goes_on_and_so_do_pairs_that_one_node_joins() {
    inside("five::the_greater_part_of_five_goes_on_and_so_do_pairs_that_one_node_joins", || {
        let network = Network::new(5);
        let mut trial = Trial::on(&network, "five");
        let (old, before) = (trial.leader(), trial.term());
        let [_, second, a, b, c] = from(old);
        let witnesses = [trial.witness(old), trial.witness(second)];
        network.cut(between(&[old, second], &[a, b, c]));
        let cut = Instant::now();
        trial.leader_above(before, &[a, b, c]);
        let elected = cut.elapsed();
        let served = trial.load.progress_of_all(SOON);
        let grown = trial.work_for(Duration::from_millis(1500));
        assert!(!trial.standing(old).leads() && !trial.standing(second).leads(), "two of five elect nobody");
        assert!(grown <= 1, "the term grew by {grown} in the greater part");
        let mending = Instant::now();
        let rejoined = trial.mend(&network);
        assert!(rejoined <= 1, "the term grew by {rejoined} when two came back");
        for witness in witnesses {
            nothing_was_answered(&witness.end(), cut, mending);
        }
        eprintln!("a leader after {elected:?}, all served after {served:?} more");

        let leader = trial.leader();
        let [_, beside, _, far, further] = from(leader);
        network.cut(between(&[leader, beside], &[far, further]));
        let served = trial.load.progress_of_all(SOON);
        let grown = trial.work_for(Duration::from_secs(2));
        assert!(grown <= 1, "the term grew by {grown} although one node hears both sides");
        eprintln!("joined by one node: all served after {served:?}");
        let rejoined = trial.mend(&network);
        assert!(rejoined <= 1, "the term grew by {rejoined} when all links were whole again");
        trial.end();
    });
}
