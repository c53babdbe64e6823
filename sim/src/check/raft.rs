//! Raft's own invariants, after every step of every node (Raft paper, figure 3).
//!
//! The world calls [`RaftJudge::observe`] after each step of a node with what that node shows, and
//! [`RaftJudge::crashed`], [`RaftJudge::wiped`], [`RaftJudge::rolled_back`] and [`RaftJudge::promised`] when these happen. The work per
//! step is constant unless the log or the commit index changed, and then linear in the change.
//!
//! What it believes of a node: what its log holds (it sees the bytes) and what the world says lies durably on
//! its disk. It never asks a node whether it kept a rule.

mod witness;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_core::inspect::{Inspection, RoleName};
use steadfast_core::state::effect::Entry;
use steadfast_core::types::{BootNumber, Incarnation, Index, NodeId, Term};

use super::log::LogEntry;
use super::{Stop, Verdict, fail};

/// This judge's name.
pub const JUDGE: &str = "raft";

/// What one node shows after a step.
pub struct Observation<'a> {
    /// Which.
    pub node: NodeId,
    /// Its boot.
    pub boot: BootNumber,
    /// Its figures.
    pub inspection: &'a Inspection,
    /// The highest index that its disk holds durably: from the disk itself where the world can tell, else
    /// from the figures.
    pub durable: Index,
    /// Its log.
    pub entry: &'a dyn Fn(Index) -> Option<(Term, &'a Bytes)>,
}

/// A node with its data directory: what votes, and what holds a copy.
type Voter = (NodeId, Incarnation);

/// Watches all nodes of one cluster.
#[derive(Clone, Debug, Default)]
pub struct RaftJudge {
    founders: BTreeMap<NodeId, Option<Incarnation>>,
    /// The memberships that entries brought.
    memberships: BTreeMap<(Index, Term), Decides>,
    /// This node holds no data.
    witness: Option<NodeId>,
    /// Beside a witness: the bodies of all entries that a node with data has held.
    bodies: BTreeMap<(Index, Term), Bytes>,
    nodes: BTreeMap<NodeId, Watched>,
    /// Every vote that was seen: term, who gave it, to whom.
    votes: BTreeSet<(Term, Voter, NodeId)>,
    /// Data directories that were emptied, each with what it had held.
    emptied: BTreeMap<Voter, Vec<(Term, u64)>>,
    /// What each had held whenever it went back in time.
    rolled_back: Vec<(Voter, Vec<(Term, u64)>)>,
    /// Who led in each term.
    leaders: BTreeMap<Term, NodeId>,
    /// What was ever written under an index and term: a digest of its bytes and the term before it. Two logs
    /// that agree here at one place agree everywhere before it.
    written: BTreeMap<(Index, Term), (u64, Term)>,
    /// What was ever committed, in order from index 1.
    committed: Vec<Committed>,
    /// A digest of the state at each commit index at which a node was seen.
    states: BTreeMap<Index, (u64, NodeId)>,
}

/// Who decides by a membership.
#[derive(Clone, Debug)]
struct Decides {
    /// A majority of those who vote, and of those who did before.
    sets: [Vec<Voter>; 2],
    /// Beside a witness: one of the two nodes with data is enough for a commit.
    degraded: bool,
}

/// Voters of whom so many have to hold an entry before it is committed.
#[derive(Clone, Debug)]
struct Quorum {
    voters: Vec<Voter>,
    needs: usize,
}

#[derive(Clone, Debug)]
struct Committed {
    term: Term,
    payload: Bytes,
    digest: u64,
    /// The term in which the node was that first showed it as committed.
    in_term: Term,
}

/// What is known of one node.
#[derive(Clone, Debug, Default)]
struct Watched {
    incarnation: Incarnation,
    /// What it showed last, if that was since its start.
    shown: Option<Shown>,
    durable: Index,
    /// Term and digest of each entry of its log, from index 1; those that a snapshot replaced are as they were
    /// committed.
    log: Vec<(Term, u64)>,
    /// Where its log in memory began.
    start: Index,
    /// The highest term that others heard from it, and its vote there.
    promised: (Term, Option<NodeId>),
    /// The same, from before its disk went back in time or it began to doubt what it reads there. It can't know that it was in this term, and yet must not
    /// vote for another in it.
    forgotten: (Term, Option<NodeId>),
}

/// What a node showed after a step.
#[derive(Clone, Copy, Debug)]
struct Shown {
    boot: BootNumber,
    term: Term,
    vote: Option<NodeId>,
    commit: Index,
    leads: bool,
}

impl Watched {
    /// It may no longer know what it promised, and says so.
    fn forget(&mut self) {
        let promised = std::mem::take(&mut self.promised);
        if promised.0 > self.forgotten.0 {
            self.forgotten = promised;
        }
    }
}

impl RaftJudge {
    /// A judge of the cluster that these nodes found.
    #[must_use]
    pub fn new(founders: impl IntoIterator<Item = NodeId>) -> Self {
        Self { founders: founders.into_iter().map(|node| (node, None)).collect(), ..Self::default() }
    }

    /// The same, where one of them is a witness.
    #[must_use]
    pub fn beside(self, witness: Option<NodeId>) -> Self {
        Self { witness, ..self }
    }

    /// Looks at a node after a step.
    pub fn observe(&mut self, seen: &Observation<'_>) -> Verdict {
        Stop::verdict(self.look(seen), JUDGE)
    }

    /// A node stopped without warning. What its disk did not hold may be gone.
    pub fn crashed(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default().shown = None;
    }

    /// A node's disk was emptied. From now on that data directory's votes count for nothing, because nobody can know what it promised;
    /// what it held was held, for entries that were acknowledged before.
    pub fn wiped(&mut self, node: NodeId) {
        let before = self.nodes.remove(&node).unwrap_or_default();
        let mut held = before.log;
        held.truncate(before.durable.0 as usize);
        self.founders.entry(node).or_default().get_or_insert(before.incarnation);
        self.emptied.insert((node, before.incarnation), held);
    }

    /// A voter's disk went back in time. What it had held was held, for entries that were acknowledged before. If the
    /// others notice it, the node must doubt itself, and may forget a term but not vote in it again.
    pub fn rolled_back(&mut self, node: NodeId, noticed: bool) {
        let watched = self.nodes.entry(node).or_default();
        watched.shown = None;
        let mut held = watched.log.clone();
        held.truncate(watched.durable.0 as usize);
        match noticed {
            true => watched.forget(),
            false => watched.promised = Default::default(),
        }
        let voter = (node, watched.incarnation);
        self.rolled_back.push((voter, held));
    }

    /// Others have heard this term from the node, and this vote in it. From then on it may not take either
    /// back, across restarts too.
    pub fn promised(&mut self, node: NodeId, term: Term, vote: Option<NodeId>) -> Verdict {
        let watched = self.nodes.entry(node).or_default();
        if let (at, Some(first)) = watched.forgotten
            && at == term
            && vote.is_some_and(|second| second != first)
        {
            let what = format!(
                "node {node} gave its vote in term {term} to {first}, forgot it, and gave it to {vote:?}"
            );
            return Verdict::Failed { judge: JUDGE, what };
        }
        let promised = &mut watched.promised;
        match (promised.1, vote) {
            (Some(first), Some(second)) if promised.0 == term && first != second => {
                let what = format!("node {node} gave its vote in term {term} to {first} and to {second}");
                return Verdict::Failed { judge: JUDGE, what };
            }
            _ if term > promised.0 => *promised = (term, vote),
            _ if term == promised.0 => promised.1 = promised.1.or(vote),
            _ => {}
        }
        Verdict::Passed
    }

    /// The term and encoded body of everything that was ever committed, in order from index 1.
    pub fn committed(&self) -> impl Iterator<Item = (Term, Bytes)> {
        self.committed.iter().map(|it| (it.term, it.payload.clone()))
    }

    /// Everything that was ever committed, as the judges of histories read it.
    ///
    /// # Errors
    /// Names the first entry that can't be decoded.
    pub fn committed_log(&self) -> Result<Vec<LogEntry>, String> {
        let decode = |(at, committed): (usize, &Committed)| {
            let index = Index(at as u64 + 1);
            let entry =
                Entry::decode(&committed.payload).map_err(|error| format!("entry {index}: {error}"))?;
            Ok(LogEntry { index, term: committed.term, entry })
        };
        self.committed.iter().enumerate().map(decode).collect()
    }

    /// The digest of the state at each commit index at which some node was seen.
    pub fn states(&self) -> impl Iterator<Item = (Index, u64)> {
        self.states.iter().map(|(index, (digest, _))| (*index, *digest))
    }

    fn look(&mut self, seen: &Observation<'_>) -> Result<(), Stop> {
        if matches!(seen.inspection.role, RoleName::Recovering | RoleName::Founding) {
            return Ok(());
        }
        let (node, figures) = (seen.node, seen.inspection);
        let before = self.nodes.get(&node).and_then(|watched| watched.shown);
        // A start forgets what only memory held.
        let before = before.filter(|shown| shown.boot == seen.boot);
        if figures.doubtful && before.is_none() {
            // It has found that something is missing.
            self.nodes.entry(node).or_default().forget();
        }
        self.nodes.entry(node).or_default().incarnation = figures.incarnation;
        if let Some(founder) = self.founders.get_mut(&node) {
            founder.get_or_insert(figures.incarnation);
        }
        if let Some(vote) = figures.vote {
            self.votes.insert((figures.term, (node, figures.incarnation), vote));
        }
        self.terms(seen, before)?;
        if figures.role == RoleName::Repairing {
            // What it lost is to be fetched; it is looked at as after a start once its log is whole.
            self.nodes.entry(node).or_default().shown = None;
            return Ok(());
        }
        self.log(seen, before)?;
        self.commits(seen, before)?;
        self.leadership(seen, before)?;
        let shown = Shown {
            boot: seen.boot,
            term: figures.term,
            vote: figures.vote,
            commit: if self.witness == Some(node) {
                figures.commit.min(Index(self.committed.len() as u64))
            } else {
                figures.commit
            },
            leads: figures.role == RoleName::Leader,
        };
        self.nodes.entry(node).or_default().shown = Some(shown);
        Ok(())
    }

    /// The term never falls and the vote in a term never changes: within a boot as it was seen, across boots
    /// as others heard it.
    fn terms(&self, seen: &Observation<'_>, before: Option<Shown>) -> Result<(), Stop> {
        let (node, figures) = (seen.node, seen.inspection);
        let promised = self.nodes.get(&node).map(|watched| watched.promised);
        let floors = before.map(|shown| (shown.term, shown.vote)).into_iter().chain(promised);
        for (term, vote) in floors {
            if figures.term < term {
                fail!("node {node} went back from term {term} to {}", figures.term);
            }
            if figures.term == term && vote.is_some() && figures.vote != vote {
                fail!("node {node} changed its vote in term {term} from {vote:?} to {:?}", figures.vote);
            }
        }
        Ok(())
    }

    /// Takes over what changed in a node's log: from its end back to where it is as it was, or from its very
    /// beginning after a start. Whatever the node had committed must not be in the changed part.
    fn log(&mut self, seen: &Observation<'_>, before: Option<Shown>) -> Result<(), Stop> {
        let (node, last, start) = (seen.node, seen.inspection.last, seen.inspection.start);
        self.replaced(node, start, before)?;
        let mut changed = Vec::new();
        let mut at = last;
        self.nodes.entry(node).or_default().durable = seen.durable;
        while at > start {
            let watched = self.nodes.entry(node).or_default();
            let Some((term, payload)) = (seen.entry)(at) else {
                fail!("node {node} has no entry {at} in a log up to {last}");
            };
            let known = watched.log.get(at.0 as usize - 1).copied().filter(|_| before.is_some());
            let is_tail = at == last && watched.log.len() as u64 == last.0;
            if is_tail && known.is_some_and(|(known, _)| known == term) {
                break;
            }
            let digest = if self.witness == Some(node) {
                self.heard(at, term, payload)?
            } else {
                if self.witness.is_some() {
                    self.bodies.insert((at, term), payload.clone());
                }
                digest_of(payload)
            };
            if known == Some((term, digest)) {
                break;
            }
            changed.push((term, digest));
            at = at.prev();
        }
        if let Some(shown) = before.filter(|shown| at < shown.commit) {
            fail!(
                "node {node} changed its log from {} on, and had committed up to {}",
                at.next(),
                shown.commit
            );
        }
        let watched = self.nodes.entry(node).or_default();
        watched.log.truncate(at.0 as usize);
        let mut previous = watched.log.last().map_or(Term(0), |(term, _)| *term);
        for (term, digest) in changed.into_iter().rev() {
            at = at.next();
            watched.log.push((term, digest));
            if let Some(membership) = (seen.entry)(at).and_then(|(_, payload)| Entry::membership(payload)) {
                let sets = [membership.voters().to_vec(), membership.before().to_vec()];
                let decides = Decides { sets, degraded: membership.is_degraded() };
                self.memberships.insert((at, term), decides);
            }
            let first = *self.written.entry((at, term)).or_insert((digest, previous));
            if first != (digest, previous) {
                fail!(
                    "index {at} was written twice in term {term}: on node {node} it, or what precedes it, differs"
                );
            }
            if term < previous {
                fail!("node {node} has term {term} at {at} after term {previous}");
            }
            previous = term;
        }
        Ok(())
    }

    /// A snapshot took the place of a node's log up to here: it covers what was committed, and nothing else.
    fn replaced(&mut self, node: NodeId, start: Index, before: Option<Shown>) -> Result<(), Stop> {
        let watched = self.nodes.entry(node).or_default();
        if before.is_some() && watched.start == start {
            return Ok(());
        }
        if before.is_some() && start < watched.start {
            fail!("node {node} had a snapshot of {}, and has one of {start}", watched.start);
        }
        let covered = start.0 as usize;
        if covered > self.committed.len() {
            fail!(
                "node {node} has a snapshot of {start}, and nothing beyond {} was committed",
                self.committed.len()
            );
        }
        let rest = watched.log.split_off(covered.min(watched.log.len()));
        watched.log = self.committed[..covered].iter().map(|it| (it.term, it.digest)).collect();
        watched.log.extend(rest);
        watched.start = start;
        Ok(())
    }

    /// What one node committed is the same on every other, for ever, and lay on a majority of disks when it
    /// was first called committed.
    fn commits(&mut self, seen: &Observation<'_>, before: Option<Shown>) -> Result<(), Stop> {
        let (node, figures) = (seen.node, seen.inspection);
        let from = before.map_or(Index(0), |shown| shown.commit);
        if figures.commit < from {
            fail!("node {node} went back from commit index {from} to {}", figures.commit);
        }
        if figures.commit > figures.last {
            fail!("node {node} committed up to {}, and its log ends at {}", figures.commit, figures.last);
        }
        let known = self.committed.len() as u64;
        // A witness calls nothing committed that a leader did not before, and what it shows of that is no whole entry.
        let until = if self.witness == Some(node) { figures.commit.0.min(known) } else { figures.commit.0 };
        for at in from.0 + 1..=until {
            self.commit(seen, Index(at))?;
        }
        if figures.commit.0 > known {
            self.commits_of_its_term(seen)?;
        }
        if before.is_some_and(|shown| shown.commit == figures.commit) || self.witness == Some(node) {
            return Ok(());
        }
        let (digest, first) = *self.states.entry(figures.commit).or_insert((figures.state_digest, node));
        if digest != figures.state_digest {
            fail!("nodes {first} and {node} differ in their state at index {}", figures.commit);
        }
        Ok(())
    }

    /// A leader is the first to call entries committed, and those of earlier terms never by counting, but because one of its own
    /// term lies behind them on a majority of disks (paper, section 5.4.2 and figure 8). Which of them it shows as committed may
    /// be fewer, while they wait for a snapshot. A node that is the only one has nobody to count.
    fn commits_of_its_term(&self, seen: &Observation<'_>) -> Result<(), Stop> {
        let (node, term) = (seen.node, seen.inspection.term);
        let (leads, quorums) = (seen.inspection.role == RoleName::Leader, self.quorums(node, usize::MAX));
        let counts = leads && quorums.iter().any(|quorum| quorum.voters.len() > 1);
        let Some(newest) = self.committed.last().filter(|newest| counts && newest.term != term) else {
            return Ok(());
        };
        let log = self.nodes.get(&node).map_or(&[][..], |watched| &watched.log);
        let own = log.iter().position(|(of, _)| *of == term);
        let lacks = |place: usize| self.lacks(&self.quorums(node, place), place, log[place]).is_some();
        if own.is_none_or(lacks) {
            let (at, of) = (seen.inspection.commit, newest.term);
            fail!("node {node}, leader of term {term}, committed {at}, an entry of term {of}, by counting");
        }
        Ok(())
    }

    /// Of whom a majority each decides, by the newest membership in a node's log up to a place: of those who vote, and while a change is
    /// under way of those who did before (paper, section 6).
    fn decides(&self, node: NodeId, until: usize) -> Decides {
        let log = self.nodes.get(&node).map_or(&[][..], |watched| &watched.log);
        let there = |((index, term), _): &(&(Index, Term), &Decides)| {
            index.0 as usize - 1 <= until && log.get(index.0 as usize - 1).is_some_and(|(of, _)| of == term)
        };
        let newest = self.memberships.iter().rev().find(there).map(|(_, decides)| decides.clone());
        newest.unwrap_or_else(|| {
            let founder = |(node, first): (&NodeId, &Option<Incarnation>)| (*node, first.unwrap_or_default());
            let founders = self.founders.iter().map(founder).collect();
            Decides { sets: [founders, Vec::new()], degraded: false }
        })
    }

    fn sets(&self, node: NodeId) -> Vec<Vec<Voter>> {
        self.decides(node, usize::MAX).sets.into_iter().filter(|set| !set.is_empty()).collect()
    }

    /// How many have to hold the entry at a place, as a node counts: beside a witness both nodes with data, unless one is enough by its
    /// newest membership, or was when that entry came: it may have been counted before the newest did, and be shown only now.
    fn quorums(&self, node: NodeId, place: usize) -> Vec<Quorum> {
        let degraded = self.decides(node, usize::MAX).degraded || self.decides(node, place).degraded;
        let quorum = |set: Vec<Voter>| {
            let with_data = |voter: &Voter| Some(voter.0) != self.witness;
            let has_witness = !set.iter().all(with_data);
            match has_witness && !degraded {
                true => Quorum { voters: set.into_iter().filter(with_data).collect(), needs: 2 },
                false => Quorum { needs: set.len() / 2 + 1, voters: set },
            }
        };
        self.sets(node).into_iter().map(quorum).collect()
    }

    /// The first set of which no majority has an entry at this place on its disks, or had it before these were emptied or went back in
    /// time: how many have it, and of how many.
    fn lacks(&self, quorums: &[Quorum], place: usize, entry: (Term, u64)) -> Option<(usize, usize)> {
        let held = |voter: &Voter| {
            let before = self.rolled_back.iter().filter(|(of, _)| of == voter).map(|(_, held)| held);
            let mut before = before.chain(self.emptied.get(voter));
            before.any(|held| held.get(place) == Some(&entry))
        };
        let holds = |voter: &&Voter| {
            held(voter)
                || self.nodes.get(&voter.0).is_some_and(|watched| {
                    watched.incarnation == voter.1
                        && watched.durable.0 > place as u64
                        && watched.log.get(place) == Some(&entry)
                })
        };
        let counted = quorums
            .iter()
            .map(|Quorum { voters, needs }| (voters.iter().filter(holds).count(), voters.len(), needs));
        let mut lacking = counted.filter(|(have, _, needs)| have < needs);
        lacking.next().map(|(have, all, _)| (have, all))
    }

    fn commit(&mut self, seen: &Observation<'_>, at: Index) -> Result<(), Stop> {
        let node = seen.node;
        let place = at.0 as usize - 1;
        let Some(&(term, digest)) = self.nodes.get(&node).and_then(|watched| watched.log.get(place)) else {
            fail!("node {node} committed {at}, which its log does not have");
        };
        if let Some(committed) = self.committed.get(place) {
            if (committed.term, committed.digest) != (term, digest) {
                fail!(
                    "node {node} committed another entry at {at} (term {term}) than was committed in term {}",
                    committed.term
                );
            }
            return Ok(());
        }
        // Where a leader has it wait for a snapshot, another node may be the first to show what it has committed, by its membership.
        let leader = self.leaders.get(&seen.inspection.term).copied();
        let lacks = |by: NodeId| self.lacks(&self.quorums(by, place), place, (term, digest));
        if let Some((durable, all)) = lacks(node)
            && leader.is_none_or(|leader| lacks(leader).is_some())
        {
            fail!("node {node} committed {at}, which lies on {durable} of {all} disks");
        }
        let Some((_, payload)) = (seen.entry)(at) else {
            fail!("node {node} committed {at}, which its log does not have");
        };
        let in_term = seen.inspection.term;
        self.committed.push(Committed { term, payload: payload.clone(), digest, in_term });
        Ok(())
    }

    /// One leader per term, elected by a majority, who has everything that was committed in earlier terms.
    fn leadership(&mut self, seen: &Observation<'_>, before: Option<Shown>) -> Result<(), Stop> {
        let (node, term) = (seen.node, seen.inspection.term);
        let led = before.is_some_and(|shown| shown.leads && shown.term == term);
        if seen.inspection.role != RoleName::Leader || led {
            return Ok(());
        }
        let first = *self.leaders.entry(term).or_insert(node);
        if first != node {
            fail!("nodes {first} and {node} both led in term {term}");
        }
        for set in self.sets(node) {
            let votes = set.iter().filter(|voter| self.votes.contains(&(term, **voter, node))).count();
            if votes <= set.len() / 2 {
                fail!("node {node} leads in term {term} with {votes} of {} votes", set.len());
            }
        }
        let watched = self.nodes.entry(node).or_default();
        for (place, committed) in self.committed.iter().enumerate() {
            let has = watched.log.get(place) == Some(&(committed.term, committed.digest));
            if committed.in_term < term && !has {
                let (index, then) = (place + 1, committed.in_term);
                fail!("node {node} leads in term {term} without entry {index}, committed in term {then}");
            }
        }
        // It counted its own vote, so it had made it durable.
        match self.promised(node, term, Some(node)) {
            Verdict::Failed { what, .. } => Err(Stop::Failed(what)),
            Verdict::Passed | Verdict::Inconclusive { .. } => Ok(()),
        }
    }
}

/// FNV-1a over 64 bits: enough to tell honest entries apart, and its own few lines.
fn digest_of(payload: &[u8]) -> u64 {
    payload.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
