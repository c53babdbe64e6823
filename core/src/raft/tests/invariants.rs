//! What must hold after every command of every script, whatever the script itself expects.
//!
//! The checker reads plain views of the nodes and remembers what it saw; it trusts no node's own word about what is
//! committed further than to compare it with everybody's logs and disks.

use std::collections::BTreeMap;

use super::host::Packet;
use super::members;
use crate::membership::{Membership, Voter};
use crate::raft::{LogEntry, Message};
use crate::types::{Incarnation, Index, NodeId, Term};

/// One node as the checker sees it.
#[derive(Clone, Debug)]
pub struct View {
    pub id: NodeId,
    pub leads: bool,
    pub term: Term,
    pub commit: Index,
    /// The log in memory; on disk, if the node is down.
    pub log: Vec<LogEntry>,
    /// The log that a crash would leave.
    pub disk: Vec<LogEntry>,
    /// Its data directory.
    pub incarnation: Incarnation,
    /// Whether that never went back in time.
    pub intact: bool,
    /// What was on its disk when that was wiped or put back: what it said of that may still be on its way.
    pub lost: Vec<LogEntry>,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    founders: Option<Membership>,
    leaders: BTreeMap<Term, NodeId>,
    /// By data directory: one that was wiped has forgotten nothing, for it is another.
    votes: BTreeMap<(Voter, Term), NodeId>,
    committed: Vec<LogEntry>,
    /// In which term, at the latest, each of these was committed.
    committed_in: Vec<Term>,
    commits: BTreeMap<NodeId, Index>,
    /// The highest term in which each node has spoken.
    spoken: BTreeMap<NodeId, Term>,
}

impl Checker {
    /// Of a cluster that these founded.
    pub fn of(founders: Membership) -> Self {
        Self { founders: Some(founders), ..Self::default() }
    }

    /// How far the cluster as a whole has committed.
    pub fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// A node's memory is gone or older: what it said before binds it no more.
    pub fn forgot(&mut self, node: NodeId) {
        self.spoken.remove(&node);
    }

    /// A node has crashed: it will not know what is committed when it comes back.
    pub fn restarted(&mut self, node: NodeId) {
        self.commits.remove(&node);
    }

    /// A message has left a node.
    pub fn sent(&mut self, packet: &Packet) -> Result<(), String> {
        let term = match packet.message {
            // A pre-vote speaks of a term that its sender has not entered.
            Message::PreVote { .. } | Message::PreVoteReply { .. } => return Ok(()),
            Message::Vote { term, .. }
            | Message::VoteReply { term, .. }
            | Message::AppendReply { term, .. }
            | Message::TimeoutNow { term }
            | Message::Gone { term, .. }
            | Message::Ahead { term, .. } => term,
            Message::Append(ref append) => append.term,
        };
        let spoken = self.spoken.entry(packet.from).or_default();
        if term < *spoken {
            return Err(format!("node {} speaks in term {term} after it spoke in {spoken}", packet.from));
        }
        *spoken = term;
        match packet.message {
            Message::VoteReply { term, granted: true } => self.voted(packet, term, packet.to),
            Message::Vote { term, .. } => self.voted(packet, term, packet.from),
            _ => Ok(()),
        }
    }

    fn voted(&mut self, packet: &Packet, term: Term, candidate: NodeId) -> Result<(), String> {
        let voter = packet.from;
        match self.votes.insert(((voter, packet.incarnation), term), candidate) {
            Some(other) if other != candidate => {
                Err(format!("node {voter} votes for {other} and for {candidate} in term {term}"))
            }
            _ => Ok(()),
        }
    }

    /// A read was answered from what was committed at `at`, although `must_see` had been committed before it came.
    pub fn answered(&self, at: Index, must_see: Index) -> Result<(), String> {
        if at < must_see {
            return Err(format!("a read is answered at {at}, but {must_see} was committed before it came"));
        }
        Ok(())
    }

    /// Compares all nodes with each other and with the past.
    pub fn check(&mut self, views: &[View]) -> Result<(), String> {
        self.check_logs(views)?;
        check_witnesses(views)?;
        for view in views {
            self.check_commit(view, views)?;
            self.check_leader(view)?;
        }
        self.check_durable(views)
    }

    /// Election safety (paper, section 5.2) and leader completeness (section 5.4): a leader has what was committed in earlier terms. Of an
    /// older term than that it may be elected late, by votes that were long on their way, and lacks it then.
    fn check_leader(&mut self, view: &View) -> Result<(), String> {
        if !view.leads {
            return Ok(());
        }
        let (id, term) = (view.id, view.term);
        let earlier = self.committed_in.partition_point(|committed| *committed < term);
        match self.leaders.insert(term, id) {
            Some(other) if other != id => Err(format!("nodes {other} and {id} both lead term {term}")),
            Some(_) => Ok(()),
            None if !view.log.starts_with(&self.committed[..earlier]) => {
                Err(format!("node {id} leads term {term} without all that is committed"))
            }
            None => Ok(()),
        }
    }

    /// Log matching (paper, section 5.3): logs that have an entry in common have everything before it in common.
    fn check_logs(&self, views: &[View]) -> Result<(), String> {
        let logs: Vec<(&View, &[LogEntry])> =
            views.iter().flat_map(|view| [(view, &view.log[..]), (view, &view.disk[..])]).collect();
        for (at, (a, left)) in logs.iter().enumerate() {
            for (b, right) in &logs[at + 1..] {
                let common = left.iter().zip(*right).rposition(|(x, y)| x.term == y.term);
                let prefix = common.map_or(0, |last| last + 1);
                let witness = a.incarnation.is_witness() || b.incarnation.is_witness();
                let (a, b) = (a.id, b.id);
                if !same(&left[..prefix], &right[..prefix], witness) {
                    return Err(format!("nodes {a} and {b} differ before {prefix}, where their terms agree"));
                }
            }
        }
        Ok(())
    }

    /// State machine safety (paper, section 5.4.3): what is committed is the same everywhere and for ever. And
    /// it was durable on a majority of the voters at the moment at which somebody first took it for committed: of those of the
    /// newest membership in that node's log, and of those before them if that is joint (paper, section 6).
    fn check_commit(&mut self, view: &View, views: &[View]) -> Result<(), String> {
        let (id, commit) = (view.id, view.commit);
        let Some(prefix) = view.log.get(..commit.0 as usize) else {
            return Err(format!("node {id} commits {commit}, which is not in its log"));
        };
        let before = self.commits.insert(id, commit).unwrap_or_default();
        if commit < before {
            return Err(format!("node {id} goes back from commit {before} to {commit}"));
        }
        let known = self.committed.len().min(prefix.len());
        if !same(&prefix[..known], &self.committed[..known], view.incarnation.is_witness()) {
            return Err(format!(
                "node {id} commits up to {commit}, and differs from what was committed before"
            ));
        }
        if prefix.len() > known {
            for set in self.sets(&view.log) {
                let once = |voter: &&Voter| {
                    let of_node = |other: &&View| other.id == voter.0;
                    let begins = |log: &[LogEntry]| begins(log, prefix, voter.1.is_witness());
                    holds(views, **voter, prefix)
                        || views.iter().find(of_node).is_some_and(|other| begins(&other.lost))
                };
                let holders = set.iter().filter(once).count();
                let of = set.len();
                let with_data = || set.iter().filter(|voter| !voter.1.is_witness());
                if !self.newest(&view.log).is_degraded() && with_data().count() < of {
                    let holders = with_data().filter(once).count();
                    if holders < 2 {
                        return Err(format!(
                            "node {id} commits {commit}, whole, which is durable on {holders} of two disks with data only"
                        ));
                    }
                }
                if holders <= of / 2 {
                    return Err(format!(
                        "node {id} commits {commit}, which is durable on {holders} of {of} voters only"
                    ));
                }
            }
            self.committed = prefix.to_vec();
            // Terms that entries were committed in never fall along the log.
            let term = self.committed_in.last().copied().unwrap_or_default().max(view.term);
            self.committed_in.resize(prefix.len(), term);
        }
        Ok(())
    }

    /// What was committed stays durable on a majority, less the disks that the script itself has destroyed.
    fn check_durable(&self, views: &[View]) -> Result<(), String> {
        for (set, until) in self.keepers() {
            let committed = &self.committed[..until];
            let destroyed = |voter: &&Voter| {
                let is = |view: &View| (view.id, view.incarnation) == **voter && view.intact;
                views.iter().any(|view| view.id == voter.0) && !views.iter().any(is)
            };
            let holders = set.iter().filter(|voter| holds(views, **voter, committed)).count();
            if holders + set.iter().filter(destroyed).count() <= set.len() / 2 {
                return Err(format!(
                    "only {holders} of {} voters still hold what is committed up to {until}",
                    set.len()
                ));
            }
        }
        Ok(())
    }

    /// Of whom a majority each keeps what is committed, and up to where. Those before a change keep it up to the joint membership:
    /// what comes then may be committed by the new ones alone, once their leader has appended the last step. If that is lost, whoever
    /// leads next needs a majority of the new ones as well, and so has it.
    fn keepers(&self) -> Vec<(Vec<Voter>, usize)> {
        let all = self.committed.len();
        let joint = self.committed.iter().rposition(|entry| members::read(&entry.payload).is_some());
        let until = [all, joint.map_or(all, |place| place + 1)];
        self.sets(&self.committed).into_iter().zip(until).collect()
    }

    /// Of whom a majority each decides, by the newest membership in a log. Read from the log anew each time, and not as Raft keeps it.
    fn sets(&self, log: &[LogEntry]) -> Vec<Vec<Voter>> {
        let newest = self.newest(log);
        let sets = [newest.voters().to_vec(), newest.before().to_vec()];
        sets.into_iter().filter(|set| !set.is_empty()).collect()
    }
}

impl Checker {
    fn newest(&self, log: &[LogEntry]) -> Membership {
        members::newest(log).or_else(|| self.founders.clone()).expect("a cluster was founded")
    }
}

/// Whether a voter holds this durably.
fn holds(views: &[View], voter: Voter, prefix: &[LogEntry]) -> bool {
    let is = |view: &View| (view.id, view.incarnation) == voter;
    views.iter().any(|view| is(view) && begins(&view.disk, prefix, voter.1.is_witness()))
}

fn begins(log: &[LogEntry], prefix: &[LogEntry], witness: bool) -> bool {
    log.get(..prefix.len()).is_some_and(|held| same(held, prefix, witness))
}

/// Whether these are the same entries, as far as a witness could tell if one of them is a witness's.
fn same(left: &[LogEntry], right: &[LogEntry], witness: bool) -> bool {
    let known = |entry: &LogEntry| LogEntry { payload: members::withhold(&entry.payload), term: entry.term };
    if witness { left.iter().map(known).eq(right.iter().map(known)) } else { left == right }
}

/// A witness's log holds no data, and ends where the disk of a node with data has been, as far as all of these are intact.
fn check_witnesses(views: &[View]) -> Result<(), String> {
    for view in views.iter().filter(|view| view.incarnation.is_witness()) {
        let log = view.log.iter().chain(&view.disk);
        if let Some(data) = log.clone().find(|entry| members::withhold(&entry.payload) != entry.payload) {
            return Err(format!(
                "witness {} holds data: {}",
                view.id,
                String::from_utf8_lossy(&data.payload)
            ));
        }
        let last = view.log.len().checked_sub(1);
        let Some((last, term)) = last.map(|last| (last, view.log[last].term)) else { continue };
        let has = |log: &[LogEntry]| log.get(last).is_some_and(|entry| entry.term == term);
        let data = || views.iter().filter(|view| !view.incarnation.is_witness());
        let vouched = data().any(|other| has(&other.disk) || has(&other.lost) || !other.intact);
        if !vouched {
            return Err(format!(
                "witness {} heard of {}@{term}, which no disk with data holds",
                view.id,
                last + 1
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checker() -> Checker {
        Checker::of(Membership::of((1..=3).map(|id| (NodeId(id), Incarnation(id.into()))).collect()))
    }

    /// A cluster of three that holds `terms` everywhere, of which `commit` is committed.
    fn healthy(terms: &[u64], commit: u64) -> Vec<View> {
        let log: Vec<LogEntry> = terms.iter().map(|term| entry(*term, "x")).collect();
        let view = |id| View {
            id: NodeId(id),
            leads: id == 1,
            term: Term(3),
            commit: Index(commit),
            log: log.clone(),
            disk: log.clone(),
            incarnation: Incarnation(id.into()),
            intact: true,
            lost: Vec::new(),
        };
        (1..=3).map(view).collect()
    }

    fn entry(term: u64, name: &'static str) -> LogEntry {
        LogEntry { term: Term(term), payload: name.into() }
    }

    fn packet(from: u16, to: u16, message: Message) -> Packet {
        Packet { from: NodeId(from), to: NodeId(to), incarnation: Incarnation(1), boot: 1, message }
    }

    /// Accepts the first cluster and says what is wrong with the second.
    fn refusal(first: &[View], second: &[View]) -> String {
        let mut checker = checker();
        checker.check(first).expect("the first is healthy");
        checker.check(second).expect_err("the second is not")
    }

    #[test]
    fn two_leaders_of_one_term_are_seen() {
        let mut views = healthy(&[1, 3], 2);
        views[1].leads = true;
        assert_eq!(refusal(&healthy(&[1, 3], 2), &views), "nodes 1 and 2 both lead term 3");
    }

    #[test]
    fn a_leader_without_a_committed_entry_is_seen() {
        let mut views = healthy(&[1, 3], 2);
        views[1] = View { leads: true, term: Term(4), commit: Index(1), ..views[1].clone() };
        views[1].log.truncate(1);
        views[1].commit = Index(1);
        let first: Vec<View> =
            healthy(&[1, 3], 2).into_iter().map(|view| View { commit: Index(0), ..view }).collect();
        let mut checker = checker();
        checker.check(&first).expect("nothing is committed yet");
        assert_eq!(checker.check(&views), Err("node 2 leads term 4 without all that is committed".into()));
    }

    #[test]
    fn a_leader_of_an_older_term_may_lack_what_a_later_one_committed() {
        let mut checker = checker();
        let mut views = healthy(&[1, 3], 2);
        views[1] = View { leads: true, term: Term(2), commit: Index(1), ..views[1].clone() };
        views[1].log.truncate(1);
        views[1].disk.truncate(1);
        checker.check(&views).expect("it was elected before, and hears of it late");
        views[1] = View { leads: true, term: Term(4), ..views[1].clone() };
        checker.check(&views).expect_err("of a later term it may not");
    }

    #[test]
    fn logs_that_differ_before_a_common_entry_are_seen() {
        let mut views = healthy(&[1, 3], 0);
        views[2].log[0] = entry(2, "x");
        let refused = refusal(&healthy(&[1, 3], 0), &views);
        assert_eq!(refused, "nodes 1 and 3 differ before 2, where their terms agree");
    }

    #[test]
    fn another_entry_at_a_committed_index_is_seen() {
        let mut views = healthy(&[1, 2], 2);
        for view in &mut views {
            view.log[1] = entry(3, "y");
        }
        let refused = refusal(&healthy(&[1, 2], 2), &views);
        assert_eq!(refused, "node 1 commits up to 2, and differs from what was committed before");
    }

    #[test]
    fn a_commit_that_is_not_durable_on_a_majority_is_seen() {
        let mut views = healthy(&[1, 3], 2);
        views[1].disk.clear();
        views[2].disk.pop();
        let refused = refusal(&healthy(&[1, 3], 1), &views);
        assert_eq!(refused, "node 1 commits 2, which is durable on 1 of 3 voters only");
    }

    #[test]
    fn a_learners_copy_does_not_count() {
        let mut views = healthy(&[1, 3], 2);
        views[1].disk.clear();
        views[2] = View { incarnation: Incarnation(77), ..views[2].clone() };
        let refused = refusal(&healthy(&[1, 3], 1), &views);
        assert_eq!(refused, "node 1 commits 2, which is durable on 1 of 3 voters only");
    }

    #[test]
    fn a_committed_entry_that_vanishes_from_the_disks_is_seen() {
        let mut views = healthy(&[1, 3], 2);
        views[1].disk.clear();
        views[2].disk.clear();
        let refused = refusal(&healthy(&[1, 3], 2), &views);
        assert_eq!(refused, "only 1 of 3 voters still hold what is committed up to 2");
    }

    #[test]
    fn a_commit_index_that_goes_back_or_beyond_the_log_is_seen() {
        let refused = refusal(&healthy(&[1, 3], 2), &healthy(&[1, 3], 1));
        assert_eq!(refused, "node 1 goes back from commit 2 to 1");
        let refused = refusal(&healthy(&[1, 3], 2), &healthy(&[1, 3], 3));
        assert_eq!(refused, "node 1 commits 3, which is not in its log");
    }

    #[test]
    fn a_second_vote_in_a_term_is_seen() {
        let mut checker = checker();
        let vote = Message::VoteReply { term: Term(2), granted: true };
        checker.sent(&packet(3, 1, vote.clone())).expect("the first vote");
        checker.sent(&packet(3, 1, vote.clone())).expect("the same vote again");
        let refused = checker.sent(&packet(3, 2, vote));
        assert_eq!(refused, Err("node 3 votes for 1 and for 2 in term 2".into()));
    }

    #[test]
    fn a_term_that_goes_back_is_seen() {
        let mut checker = checker();
        let heard = |term| packet(3, 1, Message::VoteReply { term: Term(term), granted: false });
        checker.sent(&heard(4)).expect("the first message");
        assert_eq!(checker.sent(&heard(3)), Err("node 3 speaks in term 3 after it spoke in 4".into()));
    }

    /// Node 3 of these is a witness.
    fn witnessed(terms: &[u64], commit: u64) -> Vec<View> {
        let mut views = healthy(terms, commit);
        let directory = Incarnation::of_witness(3);
        let withheld: Vec<LogEntry> = terms.iter().map(|term| entry(*term, "-")).collect();
        views[2] = View { incarnation: directory, log: withheld.clone(), disk: withheld, ..views[2].clone() };
        views
    }

    fn with_witness() -> Checker {
        let directory = |id| if id == 3 { Incarnation::of_witness(3) } else { Incarnation(id) };
        Checker::of(Membership::of((1..=3).map(|id| (NodeId(id as u16), directory(id))).collect()))
    }

    #[test]
    fn a_commit_with_the_witness_while_whole_is_seen() {
        with_witness().check(&witnessed(&[1, 3], 2)).expect("healthy");
        let mut views = witnessed(&[1, 3], 2);
        views[1].disk.pop();
        let refused = with_witness().check(&views);
        let text = "node 1 commits 2, whole, which is durable on 1 of two disks with data only";
        assert_eq!(refused, Err(text.into()));
    }

    #[test]
    fn data_at_a_witness_and_a_position_that_nobody_holds_are_seen() {
        let mut views = witnessed(&[1, 3], 0);
        views[2].log[1] = entry(3, "x");
        assert_eq!(with_witness().check(&views), Err("witness 3 holds data: x".into()));
        let mut views = witnessed(&[1, 3], 0);
        for view in &mut views[..2] {
            view.disk.pop();
        }
        let refused = with_witness().check(&views);
        assert_eq!(refused, Err("witness 3 heard of 2@3, which no disk with data holds".into()));
    }

    #[test]
    fn a_stale_read_is_seen() {
        let refused = Checker::default().answered(Index(3), Index(4));
        assert_eq!(refused, Err("a read is answered at 3, but 4 was committed before it came".into()));
    }
}
