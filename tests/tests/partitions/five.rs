//! Five nodes, cut into parts.

use std::time::{Duration, Instant};

use steadfast_tests::namespaces::{Network, Way, between, inside, towards};

use crate::three::others;
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

/// What one of five says arrives nowhere, or it hears nobody; then two at once, in both ways. As with three nodes that costs it its office
/// once at most: the others have a majority, and whoever hears no leader deposes none that a majority still hears.
#[test]
fn nodes_of_five_whose_links_go_one_way_disturb_once_at_most() {
    inside("five::nodes_of_five_whose_links_go_one_way_disturb_once_at_most", || {
        let network = Network::new(5);
        let mut trial = Trial::on(&network, "five-one-way");
        for shape in ["a silent leader", "a deaf leader", "a silent one and a deaf one"] {
            let (leader, before) = (trial.leader(), trial.term());
            let [_, silent, deaf, rest, last] = from(leader);
            let (struck, ways): (Vec<usize>, Vec<Way>) = match shape {
                "a silent leader" => (vec![leader], towards(&[leader], &from(leader)[1..])),
                "a deaf leader" => (vec![leader], towards(&from(leader)[1..], &[leader])),
                _ => {
                    let others = [leader, rest, last];
                    let mut ways = towards(&[silent], &others);
                    ways.extend(towards(&others, &[deaf]));
                    (vec![silent, deaf], ways)
                }
            };
            network.cut(ways);
            let whole: Vec<usize> = trial.cluster.places().filter(|place| !struck.contains(place)).collect();
            if struck.contains(&leader) {
                trial.leader_above(before, &whole);
            }
            let served = trial.load.progress_of_all(SOON);
            let grown = trial.work_for(Duration::from_millis(1500));
            assert!(grown <= 1, "the term grew by {grown} beside {shape}");
            assert!(struck.iter().all(|place| !trial.standing(*place).leads()), "{shape}: the others elect");
            let rejoined = trial.mend(&network);
            assert!(rejoined <= 1, "the term grew by {rejoined} after {shape}");
            eprintln!("{shape}: all served after {served:?}, {} terms in all", trial.term() - before);
        }
        trial.end();
    });
}

/// A cluster of three becomes one of five while its links break: the fourth joins through a node that reaches only one other, the
/// fifth while the leader is cut off; then the five outlive the loss of two.
#[test]
fn nodes_join_a_cluster_whose_links_break_and_carry_its_next_losses() {
    inside("five::nodes_join_a_cluster_whose_links_break_and_carry_its_next_losses", || {
        let network = Network::new(5);
        let mut trial = Trial::founded_on(&network, "five-join", 3);
        let leader = trial.leader();
        // It hears of the cluster from a node that does not reach the third, and is not heard by that one itself.
        let [near, far] = others(leader);
        network.cut([(near, far), (3, far)]);
        trial.join(&network, near);
        trial.load.progress_of_all(SOON);
        trial.mend(&network);

        let (old, before) = (trial.leader(), trial.term());
        let rest: Vec<usize> = (0..4).filter(|place| *place != old).collect();
        network.cut(between(&[old], &[rest.clone(), vec![4]].concat()));
        trial.leader_above(before, &rest);
        trial.join(&network, rest[0]);
        trial.load.progress_of_all(SOON);
        trial.mend(&network);

        let (leader, before) = (trial.leader(), trial.term());
        let [_, second, a, b, c] = from(leader);
        network.cut(between(&[leader, second], &[a, b, c]));
        trial.leader_above(before, &[a, b, c]);
        trial.load.progress_of_all(SOON);
        trial.mend(&network);
        trial.end();
    });
}
