//! What must hold after every step of the bounded search. It reads logs, disks and messages, and believes no node's own
//! word about what is committed further than to compare it with everybody's.
//!
//! [`local`] judges what can be seen at one node in one step, [`global`] what needs all nodes and the past. They are those of the
//! Raft scripts (`core/src/raft/tests/invariants.rs`), and what a search can ask in addition because it sees inside.

use steadfast_core::membership::{Membership, Voter};
use steadfast_core::raft::{LogEntry, Message, Verdict};
use steadfast_core::types::{Incarnation, Index, NodeId, Term};

use super::host::{Done, Host, Input, Packet, decode, newest};

/// What the judges remember of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Past {
    /// Who was seen to lead a term, in order.
    pub leaders: Vec<(Term, NodeId)>,
    /// All that anybody took for committed.
    pub committed: Vec<LogEntry>,
    /// In which term each of these was committed: that of whoever took it for committed first.
    pub within: Vec<Term>,
    /// What was committed anywhere when each read came.
    pub must_see: Vec<Index>,
}

/// What the judges look at in a node, read from it once.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which node.
    pub voter: Voter,
    /// Its term.
    pub term: Term,
    /// Whether it leads that.
    pub leads: bool,
    /// What it takes for committed.
    pub commit: Index,
    /// Its log in memory.
    pub log: Vec<LogEntry>,
    /// The log that a crash would leave.
    pub disk: Vec<LogEntry>,
    /// What was on a disk that was replaced: what the node said of it may still be on its way.
    pub lost: Vec<LogEntry>,
    /// Of whom a majority each decides, by the newest membership in its log.
    pub sets: Vec<Vec<Voter>>,
}

impl Facts {
    /// Looks at a node.
    #[must_use]
    pub fn of(host: &Host, founders: &Membership) -> Self {
        let log = host.log();
        Self {
            voter: (host.id(), host.incarnation),
            term: host.raft.term(),
            leads: host.raft.is_leader(),
            commit: host.raft.commit(),
            disk: host.disk.log().to_vec(),
            lost: host.lost.clone(),
            sets: sets(&log, founders),
            log,
        }
    }

    fn holds(&self, prefix: &[LogEntry]) -> bool {
        self.disk.starts_with(prefix)
    }
}

fn sets(log: &[LogEntry], founders: &Membership) -> Vec<Vec<Voter>> {
    let newest = newest(log, founders);
    let sets = [newest.voters().to_vec(), newest.before().to_vec()];
    sets.into_iter().filter(|set| !set.is_empty()).collect()
}

/// Judges a step of one node by what is seen there, and notes in it what it has said.
///
/// # Errors
/// What is broken.
pub fn local(
    before: &Host,
    after: &mut Host,
    input: &Input,
    done: &Done,
    founders: &Membership,
) -> Result<(), String> {
    let id = after.id();
    for packet in &done.sent {
        spoken(after, packet)?;
        vouched(after, packet)?;
    }
    if matches!(input, Input::Crash | Input::Wipe) {
        return Ok(());
    }
    let (was, is) = (before.raft.commit(), after.raft.commit());
    if is < was {
        return Err(format!("node {id} goes back from commit index {was} to {is}"));
    }
    // Paper, section 5.4.2 and figure 8.
    let last = (is.0 as usize).checked_sub(1).and_then(|last| after.log().get(last).map(|entry| entry.term));
    if is > was && after.raft.is_leader() && last != Some(after.raft.term()) {
        return Err(format!("node {id} commits {is}, which is not of the term that it leads, by counting"));
    }
    cast(before, after, input)?;
    let (newest, in_force) = (newest(&after.log(), founders), after.raft.membership());
    if newest != *in_force {
        return Err(format!("node {id} goes by {in_force}, and the newest in its log is {newest}"));
    }
    Ok(())
}

/// A vote is the node's own, or for whoever has just asked for it: a new term begins without one (paper, section 5.2).
fn cast(before: &Host, after: &Host, input: &Input) -> Result<(), String> {
    let (id, term, vote) = (after.id(), after.raft.term(), after.raft.vote());
    let asked_by = match input {
        Input::Deliver(Packet { from, message: Message::Vote { term: asked, .. }, .. }) if *asked == term => {
            Some(*from)
        }
        _ => None,
    };
    let same = (before.raft.term(), before.raft.vote()) == (term, vote);
    match vote {
        Some(other) if !same && other != id && asked_by != Some(other) => {
            Err(format!("node {id} has a vote for {other} in term {term}, who did not ask for it"))
        }
        _ => Ok(()),
    }
}

/// Terms never go back, and a data directory votes once in a term (paper, section 5.2).
fn spoken(host: &mut Host, packet: &Packet) -> Result<(), String> {
    let id = host.id();
    let (term, vote) = match &packet.message {
        // A pre-vote speaks of a term that its sender has not entered.
        Message::PreVote { .. } | Message::PreVoteReply { .. } => return Ok(()),
        Message::Vote { term, .. } => (*term, Some(id)),
        Message::VoteReply { term, granted } => (*term, granted.then_some(packet.to)),
        Message::AppendReply { term, .. }
        | Message::TimeoutNow { term }
        | Message::Gone { term, .. }
        | Message::Ahead { term, .. } => (*term, None),
        Message::Append(append) => (append.term, None),
    };
    if term < host.spoken {
        return Err(format!("node {id} speaks in term {term} after it spoke in {}", host.spoken));
    }
    host.spoken = term;
    let Some(vote) = vote else { return Ok(()) };
    match host.votes.insert(term, vote) {
        Some(other) if other != vote => {
            Err(format!("node {id} votes for {other} and for {vote} in term {term}"))
        }
        _ => Ok(()),
    }
}

/// What is said is on stable storage before (paper, figure 2): the vote, and the entries that are acknowledged.
fn vouched(host: &Host, packet: &Packet) -> Result<(), String> {
    let (id, hard) = (host.id(), host.disk.hard());
    match packet.message {
        Message::Vote { term, .. } if (hard.term, hard.vote) != (term, Some(id)) => {
            Err(format!("node {id} asks for votes in term {term} before its own is durable"))
        }
        Message::VoteReply { term, granted: true } if (hard.term, hard.vote) != (term, Some(packet.to)) => {
            Err(format!("node {id} votes for {} in term {term} before that is durable", packet.to))
        }
        Message::AppendReply { term, verdict: Verdict::Match(index), .. } => {
            let (log, disk) = (host.log(), host.disk.log());
            let upto = index.0 as usize;
            if hard.term < term {
                return Err(format!("node {id} answers in term {term} before that is durable"));
            }
            if disk.len() < upto || log.len() < upto || disk[..upto] != log[..upto] {
                return Err(format!("node {id} says that it holds {index} durably, and it does not"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Judges a step of node number `changed`, which was as `before`, with all nodes and the past in view. What is new for
/// the past is returned.
///
/// # Errors
/// What is broken.
pub fn global(
    nodes: &[&Facts],
    changed: usize,
    before: &Facts,
    past: &Past,
    founders: &Membership,
) -> Result<Option<Past>, String> {
    let node = nodes[changed];
    let same_disk = before.disk == node.disk && before.voter == node.voter;
    if !same_disk || before.log != node.log {
        logs(nodes, changed)?;
    }
    let mut new = None;
    commit(node, nodes, past, &mut new)?;
    leader(node, past, &mut new)?;
    if !same_disk || new.is_some() {
        kept(nodes, new.as_ref().unwrap_or(past), founders)?;
    }
    Ok(new)
}

/// Log matching (paper, section 5.3): logs that have an entry in common have everything before it in common.
fn logs(nodes: &[&Facts], changed: usize) -> Result<(), String> {
    let node = nodes[changed];
    for other in nodes {
        for (left, right) in [
            (&node.log, &other.log),
            (&node.log, &other.disk),
            (&node.disk, &other.log),
            (&node.disk, &other.disk),
        ] {
            let common = left.iter().zip(right).rposition(|(a, b)| a.term == b.term);
            let upto = common.map_or(0, |last| last + 1);
            if left[..upto] != right[..upto] {
                let (a, b) = (node.voter.0, other.voter.0);
                return Err(format!("nodes {a} and {b} differ before {upto}, where their terms agree"));
            }
        }
    }
    Ok(())
}

/// State machine safety (paper, section 5.4.3): what is committed is the same everywhere. And it was durable on a
/// majority when somebody first took it for committed: of the voters of the newest membership in that node's log, and
/// of those before them if that is joint (paper, section 6).
fn commit(node: &Facts, nodes: &[&Facts], past: &Past, new: &mut Option<Past>) -> Result<(), String> {
    let (id, upto) = (node.voter.0, node.commit);
    let Some(prefix) = node.log.get(..upto.0 as usize) else {
        return Err(format!("node {id} commits {upto}, which is not in its log"));
    };
    let known = past.committed.len().min(prefix.len());
    if prefix[..known] != past.committed[..known] {
        return Err(format!("node {id} commits up to {upto}, and differs from what was committed before"));
    }
    if prefix.len() == known {
        return Ok(());
    }
    for set in &node.sets {
        let holds = |voter: &&Voter| {
            nodes.iter().any(|other| {
                other.voter == **voter && other.holds(prefix)
                    || other.voter.0 == voter.0 && other.lost.starts_with(prefix)
            })
        };
        let (holders, of) = (set.iter().filter(holds).count(), set.len());
        if holders <= of / 2 {
            return Err(format!(
                "node {id} commits {upto}, which is durable on {holders} of {of} voters only"
            ));
        }
    }
    let new = new.get_or_insert_with(|| past.clone());
    new.committed = prefix.to_vec();
    new.within.resize(prefix.len(), node.term);
    Ok(())
}

/// Election safety (paper, section 5.2) and leader completeness (section 5.4): whoever leads a term has all that was
/// committed in the terms before. Of what is committed in a later one it may know nothing, for its last vote can arrive after that.
fn leader(node: &Facts, past: &Past, new: &mut Option<Past>) -> Result<(), String> {
    if !node.leads {
        return Ok(());
    }
    let (id, term) = (node.voter.0, node.term);
    let before = past.within.partition_point(|within| *within < term);
    match past.leaders.iter().find(|(led, _)| *led == term) {
        Some((_, other)) if *other != id => Err(format!("nodes {other} and {id} both lead term {term}")),
        Some(_) => Ok(()),
        None if !node.log.starts_with(&past.committed[..before]) => {
            Err(format!("node {id} leads term {term} without all that was committed before"))
        }
        None => {
            let new = new.get_or_insert_with(|| past.clone());
            new.leaders.push((term, id));
            new.leaders.sort_unstable();
            Ok(())
        }
    }
}

/// What was committed stays durable on a majority, less the disks that were replaced. Those before a change keep it up to
/// the joint membership: what comes then may be committed by the new ones alone.
fn kept(nodes: &[&Facts], past: &Past, founders: &Membership) -> Result<(), String> {
    let all = past.committed.len();
    if all == 0 {
        return Ok(());
    }
    let joint = past.committed.iter().rposition(|entry| decode(&entry.payload).is_some());
    let until = [all, joint.map_or(all, |place| place + 1)];
    for (set, until) in sets(&past.committed, founders).iter().zip(until) {
        let committed = &past.committed[..until];
        let keeps = |voter: &&Voter| {
            nodes.iter().any(|node| {
                let replaced = node.voter.0 == voter.0 && node.voter.1 != voter.1 && wiped(node.voter.1);
                replaced || node.voter == **voter && node.holds(committed)
            })
        };
        let (keepers, of) = (set.iter().filter(keeps).count(), set.len());
        if keepers <= of / 2 {
            return Err(format!("only {keepers} of {of} voters still hold what is committed up to {until}"));
        }
    }
    Ok(())
}

/// Whether a data directory took another one's place.
fn wiped(incarnation: Incarnation) -> bool {
    incarnation.0 > 100
}

/// A read's answer shows what was committed anywhere when the read came (linearizability; thesis, section 6.4).
///
/// # Errors
/// What it does not show.
pub fn answer(number: u8, at: Index, past: &Past) -> Result<(), String> {
    let must_see = past.must_see[usize::from(number)];
    if at < must_see {
        return Err(format!("a read is answered at {at}, but {must_see} was committed before it came"));
    }
    Ok(())
}
