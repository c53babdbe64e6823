//! What the search must find, and what it must not; and that each judge fails what it is for.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_core::membership::Membership;
use steadfast_core::raft::LogEntry;
use steadfast_core::types::{Incarnation, Index, NodeId, Term};

use super::host::Broken;
use super::judge::{self, Facts, Past};
use super::search::{Ended, Found, Reach};
use super::space::{self, Next};
use super::tables::{Tables, hash};
use super::{Plan, exit_code, plans, run};

fn plan(name: &str) -> Plan {
    plans().into_iter().find(|plan| plan.name == name).expect("a plan of that name")
}

fn search(plan: Plan, depth: usize) -> Found {
    let reach = Reach { depth, states: 1_000_000, budget: None, jobs: 1 };
    run(&[plan], &reach).remove(0)
}

/// The depth at which something is found, what, and the path.
fn failure(found: Found) -> (usize, String, Vec<String>) {
    match found.ended {
        Ended::Failed { what, path } => (found.depth, what, path),
        other => panic!("{} found nothing: {other:?}", found.plan.name),
    }
}

#[test]
fn the_real_core_passes_everything_that_few_steps_can_do() {
    let reach = Reach { depth: 6, states: 1_000_000, budget: None, jobs: 2 };
    let found = run(&plans(), &reach);
    for found in &found {
        assert_eq!((&found.ended, found.depth), (&Ended::Passed, 6), "{}", found.plan.name);
    }
    assert_eq!(exit_code(&found), 0);
}

#[test]
fn a_vote_that_a_restart_forgets_is_found_by_a_shortest_path() {
    let broken = Plan { broken: Broken::ForgetsVote, ..plan("elections") };
    assert_eq!(search(broken.clone(), 3).ended, Ended::Passed, "three steps are too few");
    let found = search(broken, 9);
    assert_eq!(exit_code(std::slice::from_ref(&found)), 1);
    let (depth, what, path) = failure(found);
    assert_eq!((depth, what.as_str()), (4, "node 1 votes for 1 and for 2 in term 1"));
    let steps: Vec<&str> = path.iter().filter(|line| line.contains(". ")).map(String::as_str).collect();
    assert_eq!(steps.len(), 4, "{path:#?}");
    assert!(steps.iter().any(|step| step.contains("node 1: loses power and starts again")), "{steps:?}");
}

#[test]
fn what_is_said_before_it_is_durable_is_found() {
    let broken = |name| Plan { broken: Broken::SaysBeforeSync, ..plan(name) };
    let (depth, what, _) = failure(search(broken("elections"), 6));
    assert_eq!((depth, what.as_str()), (2, "node 1 asks for votes in term 1 before its own is durable"));
    let (depth, what, _) = failure(search(broken("writes"), 6));
    assert_eq!((depth, what.as_str()), (2, "node 2 asks for votes in term 2 before its own is durable"));
}

#[test]
fn what_is_counted_before_it_is_durable_is_found() {
    let broken = Plan { broken: Broken::CountsUnsynced, ..plan("writes") };
    let (depth, what, _) = failure(search(broken, 6));
    assert_eq!((depth, what.as_str()), (4, "node 1 commits 2, which is durable on 1 of 3 voters only"));
}

#[test]
fn a_search_without_room_or_time_says_so() {
    let reach = Reach { depth: 8, states: 100, budget: None, jobs: 1 };
    let found = run(&[plan("writes")], &reach);
    assert_eq!(found[0].ended, Ended::Inconclusive("so many states were asked for and no more"));
    assert_eq!((found[0].states, exit_code(&found)), (100, 3));
    let reach = Reach { budget: Some(std::time::Duration::ZERO), ..reach };
    let found = run(&[plan("writes")], &reach);
    assert_eq!((&found[0].ended, found[0].depth), (&Ended::Inconclusive("the time is over"), 0));
}

#[test]
fn a_search_that_can_go_no_deeper_says_so() {
    let still = Plan { bounds: [0; 10], ..plan("writes") };
    let found = search(still, 5);
    assert_eq!(
        (&found.ended, found.states),
        (&Ended::Exhausted, 1),
        "nothing is on its way and nothing may happen"
    );
}

/// A state as what it is and not as the numbers that a search has for that, and how many events there are in it: where a path
/// leads, each step of which is executed anew. A path is the places of its events.
fn walk(plan: &Plan, path: &[usize]) -> Option<(String, usize)> {
    let mut tables = Tables::new(plan);
    let mut state = space::begin(&mut tables).expect("a start");
    for place in path {
        let event = space::events(&tables, &state)[*place];
        match space::next(&mut tables, &state, event) {
            Next::State(after) => state = after,
            Next::Nothing => return None,
            Next::Broken(what) => panic!("{what}"),
        }
    }
    let mut net: Vec<String> =
        state.packets().iter().map(|packet| format!("{:?}", tables.sent(*packet))).collect();
    net.sort();
    let hosts: Vec<u128> = state.hosts().map(|host| hash(&tables.known(host).host)).collect();
    let text = format!("{hosts:?} {net:?} {:?} {:?}", tables.was(state.past()), state.used());
    Some((text, space::events(&tables, &state).len()))
}

fn walk_on(plan: &Plan, path: &mut Vec<usize>, steps: usize, met: &mut BTreeSet<String>) {
    let Some((state, events)) = walk(plan, path) else { return };
    met.insert(state);
    for place in 0..if steps == 0 { 0 } else { events } {
        path.push(place);
        walk_on(plan, path, steps - 1, met);
        path.pop();
    }
}

#[test]
fn a_search_that_remembers_nothing_meets_the_same_states() {
    for plan in plans() {
        let mut met = BTreeSet::new();
        walk_on(&plan, &mut Vec::new(), 2, &mut met);
        assert_eq!(search(plan.clone(), 2).states, met.len(), "{}", plan.name);
    }
}

fn founders() -> Membership {
    Membership::of((1..=3).map(|id| (NodeId(id), Incarnation(id.into()))).collect())
}

fn entry(term: u64, name: &'static str) -> LogEntry {
    LogEntry { term: Term(term), payload: Bytes::from_static(name.as_bytes()) }
}

/// Three nodes that hold entries of these terms, of which the first leads term 3.
fn healthy(terms: &[u64], commit: u64) -> Vec<Facts> {
    let log: Vec<LogEntry> = terms.iter().map(|term| entry(*term, "x")).collect();
    let facts = |id: u16| Facts {
        voter: (NodeId(id), Incarnation(id.into())),
        term: Term(3),
        leads: id == 1,
        commit: Index(commit),
        log: log.clone(),
        disk: log.clone(),
        lost: Vec::new(),
        sets: vec![founders().voters().to_vec()],
    };
    (1..=3).map(facts).collect()
}

/// Accepts the first cluster, and says what is wrong with the second, in which this node has taken a step.
fn refusal(first: &[Facts], second: &[Facts], changed: usize) -> String {
    let mut past = Past::default();
    for node in 0..first.len() {
        past = judged(first, node, &past).expect("the first is healthy").unwrap_or(past);
    }
    judged(second, changed, &past).expect_err("the second is not")
}

fn judged(nodes: &[Facts], changed: usize, past: &Past) -> Result<Option<Past>, String> {
    let nodes: Vec<&Facts> = nodes.iter().collect();
    let before = Facts { disk: vec![entry(9, "of before")], ..nodes[changed].clone() };
    judge::global(&nodes, changed, &before, past, &founders())
}

#[test]
fn two_leaders_of_a_term_are_seen() {
    let mut nodes = healthy(&[1, 3], 2);
    nodes[1].leads = true;
    assert_eq!(refusal(&healthy(&[1, 3], 2), &nodes, 1), "nodes 1 and 2 both lead term 3");
}

#[test]
fn a_leader_without_what_was_committed_before_is_seen_and_one_of_an_earlier_term_is_spared() {
    let mut nodes = healthy(&[1, 3], 2);
    nodes[1].log.truncate(1);
    (nodes[1].leads, nodes[1].term, nodes[1].commit) = (true, Term(4), Index(1));
    let first = healthy(&[1, 3], 2);
    assert_eq!(refusal(&first, &nodes, 1), "node 2 leads term 4 without all that was committed before");
    // Its last vote may come when the term is long over (both entries were committed in term 3).
    nodes[1].term = Term(2);
    let past = judged(&first, 0, &Past::default()).expect("healthy").expect("something was committed");
    assert!(judged(&nodes, 1, &past).is_ok());
}

#[test]
fn logs_that_differ_before_a_common_entry_are_seen() {
    let mut nodes = healthy(&[1, 3], 0);
    nodes[2].log[0] = entry(2, "x");
    let refused = refusal(&healthy(&[1, 3], 0), &nodes, 2);
    assert_eq!(refused, "nodes 3 and 1 differ before 2, where their terms agree");
}

#[test]
fn another_entry_in_the_place_of_a_committed_one_is_seen() {
    let mut nodes = healthy(&[1, 2], 2);
    for node in &mut nodes {
        node.log[1] = entry(3, "y");
        node.disk[1] = entry(3, "y");
    }
    let refused = refusal(&healthy(&[1, 2], 2), &nodes, 0);
    assert_eq!(refused, "node 1 commits up to 2, and differs from what was committed before");
}

#[test]
fn what_is_committed_must_be_durable_on_a_majority_of_each_set_and_stay_there() {
    let mut nodes = healthy(&[1, 3], 2);
    nodes[1].disk.clear();
    nodes[2].disk.pop();
    let refused = refusal(&healthy(&[1, 3], 1), &nodes, 0);
    assert_eq!(refused, "node 1 commits 2, which is durable on 1 of 3 voters only");
    let refused = refusal(&healthy(&[1, 3], 2), &nodes, 1);
    assert_eq!(refused, "only 1 of 3 voters still hold what is committed up to 2");
    let mut nodes = healthy(&[1, 3], 2);
    nodes[2].disk.clear();
    let pair = vec![nodes[0].voter, nodes[2].voter];
    nodes[0].sets.push(pair);
    let refused = refusal(&healthy(&[1, 3], 1), &nodes, 0);
    assert_eq!(refused, "node 1 commits 2, which is durable on 1 of 2 voters only");
    let mut nodes = healthy(&[1, 3], 2);
    nodes[0].log.pop();
    let refused = refusal(&healthy(&[1, 3], 1), &nodes, 0);
    assert_eq!(refused, "node 1 commits 2, which is not in its log");
}

#[test]
fn a_read_that_misses_what_was_committed_is_seen() {
    let past = Past { must_see: vec![Index(0), Index(2)], ..Past::default() };
    assert_eq!(judge::answer(1, Index(2), &past), Ok(()));
    let stale = judge::answer(1, Index(1), &past);
    assert_eq!(stale, Err("a read is answered at 1, but 2 was committed before it came".into()));
}
