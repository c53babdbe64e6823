//! Raft's behaviours, as scripts in plain words: `corpus/scripts/*.txt`, described in `docs/raft-scripts.md`.
//!
//! Each script is a test of its own here. The runner holds the nodes' queues, clocks and disks in its hand and
//! checks Raft's invariants after every step, whatever the script expects.

pub(super) mod cluster;
mod commands;
mod disk;
mod host;
mod invariants;
mod members;
mod script;
mod show;
mod wander;

use super::message::Append;
use super::{Message, Verdict};
use crate::config::Timing;
use crate::types::{Incarnation, Index, NodeId, Term};

/// One test per script, and one that no script was forgotten.
macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test] fn $name() { script::run(stringify!($name)); })*

        #[test]
        fn every_script_in_the_corpus_is_a_test() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus/scripts");
            let files = std::fs::read_dir(folder).expect("the folder of scripts");
            let mut found: Vec<String> = files
                .map(|file| file.expect("a file").file_name().into_string().expect("a plain name"))
                .collect();
            found.sort();
            let mut known = vec![$(concat!(stringify!($name), ".txt")),*];
            known.sort_unstable();
            assert_eq!(found, known);
        }
    };
}

scripts! {
    answer_of_an_old_term_is_ignored
    append_is_answered_once
    append_window_is_bounded_in_bytes
    appends_are_pipelined
    change_is_ended_by_the_next_leader
    change_is_undone_when_its_entry_is_cut
    change_needs_both_majorities
    change_waits_for_the_first_commit_of_the_term
    change_with_the_new_alone_is_not_agreed
    check_quorum_needs_answers
    check_quorum_steps_down
    commit_is_clamped_to_the_match
    conflict_long_divergence
    conflict_short_divergence
    doubt_ends_when_durable
    doubt_is_not_settled_by_an_old_leader
    doubt_old_image_is_fed_again
    doubt_waits_for_every_member
    doubt_waits_for_the_whole_commit
    doubtful_node_abstains
    duplicated_and_reordered_appends
    election_of_one
    election_of_three
    election_split_vote
    figure_8
    first_entry_is_sent_once
    follower_confirms_after_its_sync
    full_window_is_presumed_lost
    higher_term_steps_down
    joint_election_needs_both_majorities
    leader_begins_with_an_entry
    leader_counts_itself_after_its_sync
    leader_that_removes_itself_may_be_needed_once_more
    learner_copies_and_is_not_counted
    lease_answers_without_a_round_until_it_ends
    lease_is_given_up_with_a_transfer
    lease_of_a_slow_clock_hides_a_write
    lease_promise_outlives_a_restart
    lost_append_is_found_by_a_heartbeat
    minority_commits_nothing
    node_with_nothing_but_a_snapshot_leads
    one_becomes_three
    overtaken_answer_takes_nothing_back
    overtaken_append_does_not_cut
    prevote_of_a_stale_log_is_refused
    prevote_spares_a_living_leader
    probe_is_repeated_without_entries
    read_at_a_new_leader
    read_at_a_replaced_leader
    read_during_a_change_needs_both_majorities
    read_needs_a_quorum
    read_round_is_confirmed_by_those_who_are_left
    read_round_is_repeated
    read_waits_for_a_later_round
    removed_leader_counts_itself_nowhere_and_leaves
    removed_node_comes_back_when_it_is_added
    removed_node_disturbs_nobody
    replacement_is_one_step
    second_change_is_refused_while_one_is_under_way
    single_node_recovers_alone
    slow_disk_keeps_heartbeats
    snapshot_brings_the_membership
    snapshot_is_overtaken_by_appends
    snapshot_is_taken_while_a_probe_is_on_its_way
    snapshot_keeps_what_follows_it
    snapshot_reaches_a_follower_behind_the_log
    snapshot_replaces_a_log_that_diverges
    term_in_the_log_is_ahead_of_the_record
    three_become_one
    transfer_amid_a_change
    transfer_is_given_up
    transfer_request_is_repeated
    transfer_to_a_follower_that_has_all
    transfer_waits_for_the_copy
    truncation_on_conflict
    truncation_under_a_sync
    undetected_old_image_loses_what_was_committed
    vote_goes_to_the_longer_log
    vote_of_one_waits_for_its_sync
    vote_once_per_term
    vote_prefers_term_over_length
    vote_waits_for_its_sync
    voter_is_demoted
    voter_votes_before_it_knows_that_it_is_one
    wiped_node_is_fed_but_never_counted
    wiped_node_is_promoted_as_another
    witness_changes
    witness_degraded_again_before_it_was_whole
    witness_degraded_and_back
    witness_does_not_elect_a_stale_node
    witness_hears_what_is_durable
    witness_never_leads
    witness_place_taken_by_a_node_with_data
    witness_votes_for_either_while_whole
    witness_whole_when_the_other_has_caught_up
}

#[test]
fn a_script_that_expects_something_else_is_refused() {
    let text = "cluster 1\ntimeout 1\n---\n   1  follower\n";
    let actual = script::play("control", text);
    assert_ne!(actual, text);
    assert!(actual.contains("leader         term 1"), "{actual}");
}

#[test]
#[should_panic(expected = "no such command")]
fn a_word_that_is_no_command_is_refused() {
    script::play("control", "cluster 1\nvote 1\n---\n");
}

#[test]
fn an_answer_that_no_member_can_mean_changes_nothing() {
    let mut cluster = cluster::Cluster::found(3, &<_>::default(), 1);
    let (leader, peer, far) = (NodeId(1), NodeId(2), Index(u64::MAX));
    cluster.host(leader).now = cluster.host(leader).election_at();
    cluster.step(leader, |raft, now| raft.tick(now));
    cluster.deliver_all();
    let (term, commit) = (cluster.host(leader).raft().term(), cluster.host(leader).raft().commit());
    let conflict = Verdict::Conflict { rejected: far, hint_index: far, hint_term: Term(u64::MAX) };
    for verdict in [conflict, Verdict::Match(far), conflict] {
        let answer = Message::AppendReply { term, round: u64::MAX, abstains: false, promises: true, verdict };
        cluster.step(leader, |raft, now| raft.receive(now, peer, Incarnation(2), answer));
        cluster.deliver_all();
    }
    assert_eq!(cluster.host(leader).raft().commit(), commit);
    assert!(cluster.host(leader).raft().is_leader());
}

#[test]
fn a_heartbeat_does_not_wait_behind_many_bytes_and_asks_nothing_that_depends_on_them() {
    let mut cluster = cluster::Cluster::found(3, &<_>::default(), 1);
    let (leader, peer) = (NodeId(1), NodeId(2));
    cluster.host(leader).now = cluster.host(leader).election_at();
    cluster.step(leader, |raft, now| raft.tick(now));
    cluster.deliver_all();
    cluster.hold((leader, peer));
    let long = bytes::Bytes::from(vec![0; 100 << 10]);
    cluster.step(leader, |raft, now| {
        raft.propose(now, long);
    });
    cluster.host(leader).now = cluster.host(leader).heartbeat_at();
    cluster.step(leader, |raft, now| raft.tick(now));
    let places = |cluster: &cluster::Cluster| cluster.on_link((leader, peer));
    let at = |cluster: &mut cluster::Cluster, place: usize| match &cluster.queue()[place].message {
        Message::Append(append) => (append.prev_index, append.entries.len()),
        other => panic!("{other:?}"),
    };
    let sent: Vec<_> = places(&cluster).into_iter().map(|place| at(&mut cluster, place)).collect();
    assert_eq!(
        sent,
        [(Index(1), 1), (Index(0), 0), (Index(2), 0)],
        "entries, a question, and whether they came"
    );
    // The question overtakes, and is answered; nothing is sent again for that.
    let question = places(&cluster)[1];
    let packet = cluster.queue().remove(question);
    cluster.queue().insert(0, packet);
    cluster.release((leader, peer));
    let delivered = cluster.deliver_all();
    assert_eq!(delivered.get("Append").copied(), Some(6), "three to each, and nothing again: {delivered:?}");
    assert_eq!(cluster.host(leader).raft().commit(), Index(2));
}

#[test]
fn terms_without_a_leader_widen_the_time_out_and_a_leader_narrows_it() {
    let (node, peer) = (NodeId(1), NodeId(2));
    let wait = |cluster: &mut cluster::Cluster| {
        let host = cluster.host(node);
        host.election_at().since(host.now).0
    };
    let usual = Timing::default().election.0;
    let mut longest = 0;
    for seed in 0..20 {
        let mut cluster = cluster::Cluster::found(3, &<_>::default(), seed);
        for term in 1..8 {
            let vote =
                Message::Vote { term: Term(term), last_index: Index(9), last_term: Term(term), forced: true };
            cluster.step(node, |raft, now| raft.receive(now, peer, Incarnation(2), vote));
            let drawn = wait(&mut cluster);
            assert!(term > 1 || drawn <= 2 * usual, "an election that succeeds takes no longer");
            assert!(drawn <= 9 * usual, "{drawn}");
            longest = longest.max(drawn);
        }
        let (prev_index, prev_term, commit) = (Index(0), Term(0), Index(0));
        let (term, round, relies, entries) = (Term(7), 1, false, Vec::new());
        let (held_by_both, withheld) = (Index(0), false);
        let append =
            Append { term, prev_index, prev_term, commit, round, relies, held_by_both, withheld, entries };
        let append = Message::Append(append);
        cluster.step(node, |raft, now| raft.receive(now, peer, Incarnation(2), append));
        assert!(wait(&mut cluster) <= 2 * usual, "a leader was heard");
    }
    assert!(longest > 5 * usual, "{longest}");
}

#[test]
fn random_scripts_keep_the_invariants_and_end_in_agreement() {
    // A longer search is a matter of patience, not of another test.
    #[allow(clippy::disallowed_methods)]
    let seeds = std::env::var("RAFT_SEEDS").ok().and_then(|text| text.parse().ok());
    wander::wander(0..seeds.unwrap_or(1000));
}
