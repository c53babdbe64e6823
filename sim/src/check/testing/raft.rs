//! Raft's invariants, on nodes that tests move by hand.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_core::inspect::{Inspection, RoleName};
use steadfast_core::state::effect::{Cause, Entry};
use steadfast_core::time::Millis;
use steadfast_core::types::{BootNumber, Incarnation, Index, NodeId, Term};

use crate::check::Verdict;
use crate::check::raft::{Observation, RaftJudge};

/// What a node shows.
#[derive(Clone)]
struct Node {
    id: u16,
    boot: u64,
    directory: u64,
    role: RoleName,
    term: u64,
    vote: Option<u16>,
    doubtful: bool,
    commit: u64,
    durable: u64,
    digest: u64,
    log: Vec<(u64, &'static str)>,
}

/// Three nodes under a judge.
struct Cluster {
    judge: RaftJudge,
    nodes: BTreeMap<u16, Node>,
}

impl Cluster {
    /// Node 1 leads in term 1 with one committed entry that 1 and 2 hold.
    fn new() -> Self {
        Self::of("a", None)
    }

    /// The same with this entry, and perhaps a witness.
    fn of(entry: &'static str, witness: Option<u16>) -> Self {
        let node = |id: u16| Node {
            id,
            boot: 1,
            directory: 1,
            role: RoleName::Follower,
            term: 1,
            vote: Some(1),
            doubtful: false,
            commit: 0,
            durable: 0,
            digest: 0,
            log: Vec::new(),
        };
        let mut cluster = Self {
            judge: RaftJudge::new([1, 2, 3].map(NodeId)).beside(witness.map(NodeId)),
            nodes: [1, 2, 3].map(|id| (id, node(id))).into(),
        };
        for id in [2, 3] {
            cluster.passes(id, |_| {});
        }
        cluster.passes(1, |n| n.role = RoleName::Leader);
        for id in [2, 1] {
            cluster.passes(id, |n| (n.log, n.durable) = (vec![(1, entry)], 1));
        }
        cluster.passes(1, |n| n.commit = 1);
        cluster
    }

    fn step(&mut self, id: u16, change: impl FnOnce(&mut Node)) -> Verdict {
        let node = self.nodes.get_mut(&id).expect("one of the three");
        change(node);
        let inspection = Inspection {
            role: node.role,
            incarnation: Incarnation(node.directory),
            term: Term(node.term),
            vote: node.vote.map(NodeId),
            doubtful: node.doubtful,
            leader: None,
            commit: Index(node.commit),
            start: Index(0),
            snapshot: None,
            last: Index(node.log.len() as u64),
            durable: Index(node.durable),
            state_digest: node.digest,
            waiting: 0,
            pending_bytes: 0,
            waiting_bytes: 0,
            connections: 0,
        };
        let log: Vec<(Term, Bytes)> =
            node.log.iter().map(|(term, text)| (Term(*term), Bytes::from_static(text.as_bytes()))).collect();
        let entry = |index: Index| log.get(index.0 as usize - 1).map(|(term, payload)| (*term, payload));
        self.judge.observe(&Observation {
            node: NodeId(node.id),
            boot: BootNumber(node.boot),
            inspection: &inspection,
            durable: Index(node.durable),
            entry: &entry,
        })
    }

    fn passes(&mut self, id: u16, change: impl FnOnce(&mut Node)) {
        assert_eq!(self.step(id, change), Verdict::Passed);
    }

    fn fails(&mut self, id: u16, change: impl FnOnce(&mut Node), with: &str) {
        match self.step(id, change) {
            Verdict::Failed { what, .. } => assert!(what.contains(with), "{what}"),
            other => panic!("should have been found: {other}"),
        }
    }
}

#[test]
fn an_honest_change_of_leader_passes() {
    let mut c = Cluster::new();
    // Node 1 appends what is never committed; 2 leads with the vote of 3, and 1 gives way.
    c.passes(1, |n| n.log.push((1, "lost")));
    c.passes(3, |n| (n.term, n.vote) = (2, Some(2)));
    c.passes(2, |n| (n.term, n.vote, n.role) = (2, Some(2), RoleName::Leader));
    c.passes(2, |n| (n.log, n.durable) = (vec![(1, "a"), (2, "b")], 2));
    c.passes(3, |n| (n.log, n.durable) = (vec![(1, "a"), (2, "b")], 2));
    c.passes(2, |n| n.commit = 2);
    c.passes(1, |n| (n.role, n.term, n.vote) = (RoleName::Follower, 2, None));
    c.passes(1, |n| (n.log, n.durable, n.commit) = (vec![(1, "a"), (2, "b")], 1, 2));
}

/// An entry without effects, encoded.
const EMPTY: &str = "\u{1}\u{5}\u{4}\u{0}";

/// The same of another time.
const LATER: &str = "\u{1}\u{6}\u{4}\u{0}";

#[test]
fn what_a_witness_may_not_know_yet_or_at_all_is_found() {
    let mut c = Cluster::of(EMPTY, Some(3));
    c.passes(3, |n| (n.log, n.durable, n.commit) = (vec![(1, EMPTY)], 1, 1));
    c.passes(1, |n| n.log.push((1, LATER)));
    c.fails(3, |n| n.log.push((1, LATER)), "lies durably on no disk with data");
    let mut c = Cluster::of(EMPTY, Some(3));
    c.fails(3, |n| n.log = vec![(1, EMPTY), (1, LATER)], "which no node with data ever had");
    let mut c = Cluster::of(EMPTY, Some(3));
    c.fails(3, |n| n.log = vec![(1, LATER)], "copy of entry 1 of term 1 is wrong");
}

#[test]
fn a_commit_with_a_witness_while_both_others_are_needed_is_found() {
    let mut c = Cluster::of(EMPTY, Some(3));
    for id in [1, 3] {
        c.passes(id, |n| (n.log, n.durable) = (vec![(1, EMPTY), (1, LATER)], 2));
    }
    c.fails(1, |n| n.commit = 2, "1 of 2 disks");
}

#[test]
fn an_answer_that_rests_on_one_disk_and_does_not_say_so_is_found() {
    let mut c = Cluster::of(EMPTY, Some(3));
    assert_eq!(c.judge.acknowledged(Index(1), false), Verdict::Passed);
    c.passes(2, |n| n.durable = 0);
    assert_eq!(c.judge.acknowledged(Index(1), true), Verdict::Passed);
    assert!(matches!(c.judge.acknowledged(Index(1), false), Verdict::Failed { .. }));
    // Elsewhere this is not the judge's business.
    assert_eq!(Cluster::new().judge.acknowledged(Index(1), false), Verdict::Passed);
}

#[test]
fn two_leaders_in_a_term_are_found() {
    let mut c = Cluster::new();
    c.fails(2, |n| n.role = RoleName::Leader, "both led");
}

#[test]
fn a_leader_without_a_majority_of_votes_is_found() {
    let mut c = Cluster::new();
    c.fails(2, |n| (n.term, n.vote, n.role) = (2, Some(2), RoleName::Leader), "1 of 3 votes");
}

#[test]
fn a_leader_without_a_committed_entry_is_found() {
    let mut c = Cluster::new();
    c.passes(2, |n| (n.term, n.vote) = (2, Some(3)));
    c.fails(3, |n| (n.term, n.vote, n.role) = (2, Some(3), RoleName::Leader), "without entry 1");
}

#[test]
fn a_late_leader_of_an_earlier_term_owes_nothing_of_later_ones() {
    let mut c = Cluster::new();
    // All votes of term 2 are given, but before 3 hears of it, 2 is elected in term 3 and commits.
    c.passes(2, |n| (n.term, n.vote) = (2, Some(3)));
    c.passes(3, |n| (n.term, n.vote, n.log, n.durable) = (2, Some(3), vec![(1, "a")], 1));
    c.passes(1, |n| (n.term, n.vote, n.role) = (3, Some(2), RoleName::Follower));
    c.passes(2, |n| (n.term, n.vote, n.role) = (3, Some(2), RoleName::Leader));
    for id in [1, 2] {
        c.passes(id, |n| (n.log, n.durable) = (vec![(1, "a"), (3, "c")], 2));
    }
    c.passes(2, |n| n.commit = 2);
    c.passes(3, |n| n.role = RoleName::Leader);
}

#[test]
fn a_place_written_twice_in_a_term_is_found() {
    let mut c = Cluster::new();
    c.fails(3, |n| n.log = vec![(1, "other")], "written twice");
    let mut c = Cluster::new();
    c.passes(1, |n| n.log.push((1, "b")));
    c.fails(3, |n| n.log = vec![(1, "a"), (1, "c")], "written twice");
    // The same entry after another one.
    let mut c = Cluster::new();
    c.passes(3, |n| (n.term, n.vote, n.log) = (2, None, vec![(1, "a"), (1, "b"), (2, "c")]));
    c.passes(2, |n| (n.term, n.vote) = (2, None));
    c.fails(2, |n| n.log = vec![(1, "a"), (2, "x"), (2, "c")], "written twice");
}

#[test]
fn a_term_that_falls_along_the_log_is_found() {
    let mut c = Cluster::new();
    c.fails(3, |n| (n.term, n.vote, n.log) = (2, None, vec![(2, "a"), (1, "b")]), "after term");
}

#[test]
fn a_commit_that_no_majority_holds_durably_is_found() {
    let mut c = Cluster::new();
    c.passes(1, |n| (n.log, n.durable) = (vec![(1, "a"), (1, "b")], 2));
    // In memory of another node it is not safe yet.
    c.passes(2, |n| n.log = vec![(1, "a"), (1, "b")]);
    c.fails(1, |n| n.commit = 2, "1 of 3 disks");
}

#[test]
fn an_entry_of_an_earlier_term_that_is_committed_by_counting_is_found() {
    // Node 2 leads in term 2. Node 3 has what is left of term 1, and not yet what is of term 2.
    let log = vec![(1, "a"), (1, "old"), (2, "own")];
    let begin = || {
        let mut c = Cluster::new();
        c.passes(3, |n| (n.term, n.vote) = (2, Some(2)));
        c.passes(2, |n| (n.term, n.vote, n.role) = (2, Some(2), RoleName::Leader));
        c.passes(2, |n| (n.log, n.durable) = (log.clone(), 3));
        c.passes(3, |n| (n.log, n.durable) = (log[..2].to_vec(), 2));
        c
    };
    begin().fails(2, |n| n.commit = 2, "by counting");
    let mut c = begin();
    c.passes(3, |n| (n.log, n.durable) = (log.clone(), 3));
    c.passes(2, |n| n.commit = 2);
}

#[test]
fn nodes_that_commit_different_entries_are_found() {
    let mut c = Cluster::new();
    c.passes(3, |n| (n.term, n.vote, n.log, n.durable) = (2, None, vec![(2, "z")], 1));
    c.fails(3, |n| n.commit = 1, "another entry");
}

#[test]
fn a_committed_entry_that_goes_is_found() {
    let mut c = Cluster::new();
    c.fails(1, |n| n.log.clear(), "had committed");
    let mut c = Cluster::new();
    c.passes(2, |n| n.commit = 1);
    c.fails(2, |n| (n.term, n.vote, n.log) = (2, None, vec![(2, "z")]), "had committed");
}

#[test]
fn a_commit_index_that_goes_back_is_found_within_a_boot() {
    let mut c = Cluster::new();
    c.fails(1, |n| n.commit = 0, "went back from commit");
    let mut c = Cluster::new();
    c.judge.crashed(NodeId(1));
    c.passes(1, |n| (n.boot, n.commit, n.role) = (2, 0, RoleName::Follower));
}

#[test]
fn a_term_that_goes_back_is_found_across_boots_if_others_heard_it() {
    let mut c = Cluster::new();
    c.fails(2, |n| n.term = 0, "went back from term");
    // What only memory held may go with it.
    let mut c = Cluster::new();
    c.passes(2, |n| (n.term, n.vote) = (5, None));
    c.judge.crashed(NodeId(2));
    c.passes(2, |n| (n.boot, n.term, n.vote) = (2, 1, Some(1)));
    assert!(c.judge.promised(NodeId(2), Term(6), None).passed());
    c.judge.crashed(NodeId(2));
    c.fails(2, |n| (n.boot, n.term) = (3, 5), "went back from term");
    // A leader counted its own vote: that is durable.
    c.judge.crashed(NodeId(1));
    c.fails(1, |n| (n.boot, n.role, n.commit, n.term) = (2, RoleName::Follower, 0, 0), "went back from term");
}

#[test]
fn a_vote_that_changes_is_found_across_boots_if_others_heard_it() {
    let mut c = Cluster::new();
    c.fails(2, |n| n.vote = Some(3), "changed its vote");
    let mut c = Cluster::new();
    assert!(c.judge.promised(NodeId(2), Term(1), Some(NodeId(1))).passed());
    c.judge.crashed(NodeId(2));
    c.fails(2, |n| (n.boot, n.vote) = (2, None), "changed its vote");
    assert!(c.judge.promised(NodeId(2), Term(1), Some(NodeId(3))).failed());
}

#[test]
fn a_node_that_doubts_itself_may_forget_a_vote_and_may_not_give_another() {
    let mut c = Cluster::new();
    assert!(c.judge.promised(NodeId(2), Term(1), Some(NodeId(1))).passed());
    c.judge.crashed(NodeId(2));
    c.passes(2, |n| (n.boot, n.vote, n.doubtful) = (2, None, true));
    assert!(c.judge.promised(NodeId(2), Term(1), Some(NodeId(3))).failed());
}

#[test]
fn a_wiped_node_counts_neither_in_elections_nor_in_commits() {
    let wipe = |c: &mut Cluster, id: u16| {
        c.judge.wiped(NodeId(id));
        c.passes(id, |n| (n.boot, n.directory, n.role, n.term, n.vote) = (2, 2, RoleName::Learner, 1, None));
    };
    let mut c = Cluster::new();
    wipe(&mut c, 3);
    c.passes(3, |n| (n.term, n.vote) = (2, Some(2)));
    c.fails(2, |n| (n.term, n.vote, n.role) = (2, Some(2), RoleName::Leader), "1 of 3 votes");
    // What it copies afterwards is no voter's; what it had acknowledged before was.
    let two = || vec![(1, "a"), (1, "b")];
    let mut c = Cluster::new();
    wipe(&mut c, 3);
    for id in [1, 3] {
        c.passes(id, |n| (n.log, n.durable) = (two(), 2));
    }
    c.fails(1, |n| n.commit = 2, "1 of 3 disks");
    let mut c = Cluster::new();
    for id in [1, 3] {
        c.passes(id, |n| (n.log, n.durable) = (two(), 2));
    }
    c.nodes.get_mut(&3).expect("node 3").log.clear();
    wipe(&mut c, 3);
    c.passes(1, |n| n.commit = 2);
}

#[test]
fn states_that_differ_at_an_index_are_found() {
    let mut c = Cluster::new();
    c.fails(2, |n| (n.commit, n.digest) = (1, 77), "differ in their state");
}

#[test]
fn the_committed_log_can_be_read_by_the_other_judges() {
    let entry = Entry { time: Millis(5), cause: Cause::TermStart, effects: Vec::new() };
    let text: &'static [u8] = Box::leak(entry.encode().to_vec().into_boxed_slice());
    let text = std::str::from_utf8(text).expect("a short entry is ASCII");
    let mut c = Cluster::new();
    for id in [2, 1] {
        c.passes(id, |n| (n.log, n.durable) = (vec![(1, "a"), (1, text)], 2));
    }
    c.passes(1, |n| n.commit = 2);
    assert!(c.judge.committed_log().expect_err("\"a\" is no entry").contains("entry 1"));
    assert_eq!(c.judge.states().map(|(index, _)| index.0).collect::<Vec<_>>(), [0, 1, 2]);
}
