//! The fault budget: which nodes' disks may still be struck, so that at every moment enough intact copies remain for
//! the promise to be keepable. It is declared in the schedule, spent as faults strike, and never given back.
//!
//! - *Damaged* nodes (rot, read errors, lost and misdirected writes, sectors rolled back, old images) are at most
//!   `damaged_at_most`, *wiped* ones at most `wiped_at_most`.
//! - Damaged, wiped and lying nodes together are a minority: (n - 1) / 2. A majority stays honest for the whole run.
//!   A node that is alone may be damaged and never wiped: it must refuse to start until its disk is mended.
//! - A *liar* loses its power only where any two quorums share two nodes, one of them then honest: in clusters of even
//!   size, one liar and nobody else. In a cluster of two it would be no minority: if it then finds itself damaged, there is
//!   nobody who could go on without it.
//! - What strikes once the cluster is founded says `world/damage.rs`; where in a file, `disk/window.rs`.
//!
//! A hand-edited schedule can go beyond, by `beyond_budget` or by declaring more than a minority. It is executed, and each
//! step beyond is written down: a failure of such a run proves nothing.

use std::collections::BTreeSet;

use crate::schedule::Cluster;

/// What was spent of the budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    nodes: usize,
    damaged_at_most: usize,
    wiped_at_most: usize,
    goes_beyond: bool,
    /// Nodes whose disk was damaged.
    pub damaged: BTreeSet<usize>,
    /// Nodes whose disk was lost.
    pub wiped: BTreeSet<usize>,
    /// Nodes that lost their power after a sync had lied.
    pub liars: BTreeSet<usize>,
    /// In what the run went beyond the budget.
    pub exceeded: Vec<String>,
}

impl Budget {
    /// What a schedule declares.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            nodes: cluster.nodes.into(),
            damaged_at_most: cluster.damaged_at_most.into(),
            wiped_at_most: cluster.wiped_at_most.into(),
            goes_beyond: cluster.beyond_budget,
            ..Self::default()
        }
    }

    /// Nodes that are not honest for the whole run.
    #[must_use]
    pub fn spent(&self) -> BTreeSet<usize> {
        self.damaged.iter().chain(&self.wiped).chain(&self.liars).copied().collect()
    }

    /// Most nodes that need not be honest.
    #[must_use]
    pub fn minority(&self) -> usize {
        (self.nodes - 1) / 2
    }

    /// Damages a node, if that is allowed. True if so.
    pub fn damage(&mut self, node: usize) -> bool {
        let known = self.damaged.contains(&node);
        let declared = known || self.damaged.len() < self.damaged_at_most;
        let alone = self.nodes == 1;
        // More than a minority may be declared; then the declaration itself is what goes beyond.
        let fits = alone || self.fits(node) || self.damaged_at_most > self.minority();
        if !self
            .allows(declared && fits, || format!("cluster.damaged_at_most: node {} too is damaged", node + 1))
        {
            return false;
        }
        self.damaged.insert(node);
        if !alone {
            self.note_majority();
        }
        true
    }

    /// Wipes a node, if that is allowed. True if so. One that was wiped before has no vote to forget any more.
    pub fn wipe(&mut self, node: usize) -> bool {
        let declared = self.wiped.contains(&node) || self.wiped.len() < self.wiped_at_most;
        if !declared || !(self.fits(node) || self.damaged_at_most > self.minority()) {
            return false;
        }
        self.wiped.insert(node);
        self.note_majority();
        true
    }

    /// Lets a node lose its power whose syncs have lied, if that is allowed. True if so.
    pub fn betray(&mut self, node: usize, founded: bool) -> bool {
        let shares_two = self.nodes.is_multiple_of(2) && self.minority() > 0;
        let alone = self.spent().iter().all(|spent| *spent == node);
        let why = || format!("lying sync: node {} of {} lost its power after it", node + 1, self.nodes);
        let excess = why();
        if !self.allows(founded && shares_two && alone, || excess) {
            return false;
        }
        self.liars.insert(node);
        true
    }

    /// A strike outside of the rules: true if the schedule wants it nevertheless, which is then written down.
    pub fn allows(&mut self, within: bool, excess: impl FnOnce() -> String) -> bool {
        if !within && self.goes_beyond {
            self.exceed(excess());
        }
        within || self.goes_beyond
    }

    /// The run has gone beyond the budget.
    pub fn exceed(&mut self, what: String) {
        if !self.exceeded.contains(&what) {
            self.exceeded.push(what);
        }
    }

    fn fits(&self, node: usize) -> bool {
        let mut spent = self.spent();
        spent.insert(node);
        spent.len() <= self.minority()
    }

    fn note_majority(&mut self) {
        let spent = self.spent().len();
        if spent > self.minority() {
            let declared = self.damaged_at_most;
            self.exceed(format!(
                "cluster.damaged_at_most is {declared}: the disks of {spent} of {} nodes were damaged or lost, no minority",
                self.nodes
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(nodes: u16, damaged_at_most: u16, wiped_at_most: u16) -> Budget {
        let cluster = crate::draw::schedule(1).cluster;
        Budget::new(&Cluster { nodes, damaged_at_most, wiped_at_most, ..cluster })
    }

    #[test]
    fn damaged_and_wiped_nodes_together_are_a_minority() {
        let mut budget = budget(5, 2, 2);
        assert!(budget.damage(0) && budget.damage(0) && budget.wipe(3));
        assert!(!budget.damage(1) && !budget.wipe(1), "three of five are no minority");
        assert!(budget.wipe(0), "it counts once");
        assert_eq!((budget.spent().len(), budget.exceeded.len()), (2, 0));
    }

    #[test]
    fn a_node_alone_is_damaged_and_never_wiped_and_one_of_two_neither() {
        let mut alone = budget(1, 1, 0);
        assert!(alone.damage(0) && !alone.wipe(0));
        assert!(alone.exceeded.is_empty());
        assert!(!budget(2, 0, 0).damage(1));
    }

    #[test]
    fn a_liar_loses_its_power_in_clusters_of_even_size_alone() {
        for (nodes, allowed) in [(1, false), (2, false), (3, false), (4, true), (5, false), (6, true)] {
            assert_eq!(budget(nodes, 0, 0).betray(0, true), allowed, "{nodes} nodes");
        }
        assert!(!budget(4, 1, 1).betray(0, false), "before the founding it would be a wiped disk");
        let mut spent = budget(6, 2, 2);
        assert!(spent.damage(1) && !spent.betray(0, true) && spent.betray(1, true));
    }

    #[test]
    fn what_goes_beyond_is_written_down() {
        let mut declared = budget(3, 2, 1);
        assert!(declared.damage(0) && declared.exceeded.is_empty());
        assert!(declared.damage(1));
        assert!(declared.exceeded[0].contains("2 of 3 nodes"), "{:?}", declared.exceeded);
        let mut beyond = Budget { goes_beyond: true, ..budget(3, 0, 1) };
        assert!(beyond.betray(2, true));
        assert!(beyond.exceeded[0].contains("node 3 of 3 lost its power"), "{:?}", beyond.exceeded);
    }
}
