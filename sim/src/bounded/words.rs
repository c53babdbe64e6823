//! A path of the bounded search in words: what happened, and where it left the nodes.

use steadfast_core::inspect::RoleName;
use steadfast_core::membership::Change;
use steadfast_core::raft::{LogEntry, Message, Verdict};

use super::host::{Host, decode};
use super::plan::Plan;
use super::space::{Event, State};
use super::tables::{Local, Tables};

/// Every node of a state, a line each.
#[must_use]
pub fn standing(tables: &Tables, state: &State) -> Vec<String> {
    state.hosts().map(|host| line(&tables.known(host).host)).collect()
}

/// The nodes that are not as they were, and what is newly committed anywhere.
#[must_use]
pub fn changed(tables: &Tables, before: &State, after: &State) -> Vec<String> {
    let pairs = before.hosts().zip(after.hosts()).filter(|(before, after)| before != after);
    let mut lines: Vec<String> = pairs.map(|(_, after)| line(&tables.known(after).host)).collect();
    let committed = |state: &State| tables.was(state.past()).committed.len();
    if committed(after) > committed(before) {
        lines.push(format!("       committed up to {}", committed(after)));
    }
    lines
}

fn line(host: &Host) -> String {
    let raft = &host.raft;
    let role = match raft.role() {
        RoleName::Leader => "leads",
        RoleName::Candidate => "asks for votes in",
        RoleName::PreCandidate => "asks for pre-votes in",
        RoleName::Learner => "learns in",
        _ => "follows in",
    };
    let vote = raft.vote().map_or(String::new(), |vote| format!(", vote for {vote}"));
    let disk = match host.disk.log() {
        disk if disk == host.log() => String::new(),
        disk => format!(", on disk [{}]", entries(disk)),
    };
    let log = entries(&host.log());
    let commit = raft.commit();
    format!("       node {} {role} term {}{vote}, log [{log}]{disk}, commit {commit}", host.id(), raft.term())
}

/// `1/- 1/w0 2/-`: term and what it is.
fn entries(log: &[LogEntry]) -> String {
    let entry = |entry: &LogEntry| match (decode(&entry.payload), &entry.payload[..]) {
        (Some(members), _) => format!("{}/{{{members}}}", entry.term),
        (None, [b'w', nth]) if *nth >= u8::MAX - 1 => format!("{}/x{}", entry.term, u8::MAX - nth),
        (None, [b'w', number]) => format!("{}/w{number}", entry.term),
        _ => format!("{}/-", entry.term),
    };
    log.iter().map(entry).collect::<Vec<_>>().join(" ")
}

/// What happens.
#[must_use]
pub fn event(tables: &Tables, event: Event) -> String {
    match event {
        Event::Deliver { packet, again } => {
            let packet = tables.sent(packet);
            let again = if again { ", and will come again" } else { "" };
            format!("{} -> {}: {}{again}", packet.from, packet.to, message(&packet.message))
        }
        Event::At(node, what) => format!("node {}: {}", node + 1, local(tables.plan, what)),
        Event::Stand(node) => {
            format!("node {}: its time-out is over, and everybody who would grants a pre-vote", node + 1)
        }
    }
}

fn local(plan: &Plan, local: Local) -> String {
    match local {
        Local::Deliver(_) => "a message comes".into(),
        Local::TimeOut => "its time-out is over".into(),
        Local::Heartbeat => "its heartbeats are due".into(),
        Local::Crash => "loses power and starts again".into(),
        Local::Wipe => "starts again with an empty disk".into(),
        Local::Write(nth) => format!("a client writes w{nth}"),
        Local::Read(nth) => format!("a client asks for read {nth}"),
        Local::Change(nth) => format!("an operator {}", change(plan.changes[usize::from(nth)])),
        Local::Stall => "its disk syncs nothing by itself from now on".into(),
        Local::SyncTerm => "a sync of its term record ends".into(),
        Local::SyncOne => "a sync of its oldest log write ends".into(),
        Local::SyncLog => "a sync of its log ends".into(),
        Local::Compact => "a snapshot takes the place of what it has committed".into(),
        Local::Coming(_) => "its leader begins to send it a snapshot".into(),
        Local::Install => "the snapshot that was sent is whole".into(),
    }
}

fn change(change: Change) -> String {
    match change {
        Change::Add(node) => format!("adds node {node}"),
        Change::Promote((node, _)) => format!("promotes node {node}"),
        Change::Demote(node) => format!("demotes node {node}"),
        Change::Remove(node) => format!("removes node {node}"),
        Change::Replace { old, new } => format!("puts node {} in the place of node {old}", new.0),
    }
}

fn message(message: &Message) -> String {
    match message {
        Message::PreVote { term, last_index, last_term } => {
            format!("could I win term {term} with a log up to {last_index}/{last_term}?")
        }
        Message::PreVoteReply { term, granted: true } => format!("you could, term {term}"),
        Message::PreVoteReply { term, granted: false } => format!("you could not; here is term {term}"),
        Message::Vote { term, last_index, last_term, .. } => {
            format!("vote for me in term {term}, my log goes up to {last_index}/{last_term}")
        }
        Message::VoteReply { term, granted: true } => format!("my vote in term {term}"),
        Message::VoteReply { term, granted: false } => format!("no vote in term {term}"),
        Message::Append(append) => format!(
            "append of term {} behind {}/{}: [{}], commit {}, round {}",
            append.term,
            append.prev_index,
            append.prev_term,
            entries(&append.entries),
            append.commit,
            append.round
        ),
        Message::AppendReply { term, round, verdict, .. } => {
            let verdict = match verdict {
                Verdict::Heard => "heard".into(),
                Verdict::Match(index) => format!("I hold {index}"),
                Verdict::Conflict { rejected, hint_index, hint_term } => {
                    format!("nothing at {rejected} fits, try {hint_index}/{hint_term}")
                }
            };
            format!("{verdict}, term {term}, round {round}")
        }
        Message::TimeoutNow { term } => format!("take over from me in term {term}"),
        Message::Ahead { end, .. } => format!("my log ends at {end}"),
        Message::Gone { at, .. } => format!("you belong to the cluster no more since {at}"),
    }
}
