//! The words of a script: each line is one command (`docs/raft-scripts.md` lists them).
//!
//! A line that is no command is a panic with the line in it: scripts are part of the tests, not input from outside.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::cluster::{Cluster, Link};
use super::disk::{Hard, Image};
use super::{members, show};
use crate::config::Timing;
use crate::limits::Limits;
use crate::membership::Change;
use crate::raft::{LogEntry, Raft, Role};
use crate::time::Micros;
use crate::types::{Index, NodeId, Term};

/// A script under way.
#[derive(Debug, Default)]
pub struct Story {
    cluster: Cluster,
    /// A node has panicked as expected; what it was in the middle of is unknown, so nothing may follow.
    over: bool,
    reads: usize,
}

impl Story {
    /// Executes one line and returns what it prints.
    pub fn execute(&mut self, line: &str) -> Vec<String> {
        assert!(!self.over, "nothing follows an expected panic");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["expect-panic", ..] => self.expect_panic(line),
            _ => self.command(&words),
        }
        self.cluster.take_lines()
    }

    /// The links on which something is under way.
    pub fn busy_links(&mut self) -> Vec<String> {
        let mut links: Vec<Link> =
            self.cluster.queue().iter().map(|packet| (packet.from, packet.to)).collect();
        links.sort_unstable();
        links.dedup();
        links.iter().map(|(from, to)| format!("{from}->{to}")).collect()
    }

    /// Whether a node is up.
    pub fn is_running(&mut self, id: NodeId) -> bool {
        self.cluster.host(id).raft.is_some()
    }

    /// The links on which a leader would send a snapshot.
    pub fn wanting_snapshots(&mut self) -> Vec<String> {
        let ids = self.cluster.ids();
        let mut links: Vec<Link> =
            self.leaders().into_iter().flat_map(|from| ids.iter().map(move |to| (from, *to))).collect();
        links.retain(|link| self.cluster.wants_snapshot(*link));
        links.iter().map(|(from, to)| format!("{from}->{to}")).collect()
    }

    /// To whom snapshots are on their way.
    pub fn sent_snapshots(&self) -> Vec<NodeId> {
        self.cluster.sent_snapshots()
    }

    /// How far a node that runs has committed.
    pub fn commit(&mut self, id: NodeId) -> Index {
        self.cluster.host(id).raft().commit()
    }

    /// Who leads, each as far as it knows.
    pub fn leaders(&mut self) -> Vec<NodeId> {
        let ids = self.cluster.ids();
        let leads = |id: &NodeId| self.cluster.host(*id).raft.as_ref().is_some_and(Raft::is_leader);
        ids.into_iter().filter(leads).collect()
    }

    /// Whether all members follow one leader, have committed all that it has, with no change under way, and trust themselves unless it
    /// was elected with what they may have forgotten.
    pub fn agrees(&mut self) -> bool {
        let [leader] = self.leaders()[..] else { return false };
        let raft = self.cluster.host(leader).raft().clone();
        let (ids, settled) = (raft.membership().nodes(), !raft.membership().is_joint());
        let agrees = |id: NodeId| {
            let other = self.cluster.host(id).raft();
            let settled = !other.is_doubtful() || raft.elected_by(id);
            other.leader() == Some(leader) && other.commit() == raft.log().last() && settled
        };
        settled && ids.into_iter().all(agrees)
    }

    /// Where all nodes stand.
    pub fn status_text(&mut self) -> String {
        self.cluster.take_lines();
        self.execute("status").join("\n")
    }

    fn command(&mut self, words: &[&str]) {
        let (command, args) = words.split_first().expect("a line is not empty");
        let known = self.happening(command, args)
            || self.disk(command, args)
            || self.network(command, args)
            || self.view(command, args);
        assert!(known, "no such command, or not with these arguments: {}", words.join(" "));
    }

    /// What happens at a node.
    fn happening(&mut self, command: &str, args: &[&str]) -> bool {
        match (command, args) {
            ("cluster", [size, options @ ..]) => self.found(size, options),
            ("tick", [nodes, millis]) => {
                let span = Micros::from_millis(number(millis));
                for id in self.nodes(&[nodes]) {
                    let host = self.cluster.host(id);
                    host.now = host.now.after(span);
                    self.cluster.step(id, |raft, now| raft.tick(now));
                }
            }
            ("timeout", [id]) => {
                let host = self.cluster.host(node(id));
                host.now = host.now.max(host.election_at());
                self.cluster.step(node(id), |raft, now| raft.tick(now));
            }
            ("heartbeat", [id]) => {
                let host = self.cluster.host(node(id));
                host.now = host.now.max(host.heartbeat_at());
                self.cluster.step(node(id), |raft, now| raft.tick(now));
            }
            ("elect", [id]) => self.elect(node(id)),
            ("propose", [id, names @ ..]) => {
                let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
                self.cluster.step(node(id), |raft, now| {
                    for name in names {
                        raft.propose(now, name.into());
                    }
                });
            }
            ("read", [id]) => {
                self.reads += 1;
                self.cluster.read(node(id), &format!("r{}", self.reads));
            }
            ("add", [id, new]) => self.change(id, Change::Add(node(new))),
            ("promote", [id, voter]) => self.change(id, Change::Promote(members::parse(voter))),
            ("demote", [id, old]) => self.change(id, Change::Demote(node(old))),
            ("remove", [id, old]) => self.change(id, Change::Remove(node(old))),
            ("replace", [id, old, voter]) => {
                self.change(id, Change::Replace { old: node(old), new: members::parse(voter) });
            }
            ("transfer", [id, "to", other]) => self.cluster.transfer(node(id), node(other)),
            ("join", [id]) => self.cluster.join(node(id)),
            ("crash", [id]) => self.cluster.crash(node(id)),
            ("restart", [id]) => {
                self.cluster.crash(node(id));
                self.cluster.start(node(id));
            }
            ("wipe", [id]) => self.cluster.wipe(node(id), false),
            ("wipe", [id, "data"]) => self.cluster.wipe(node(id), true),
            ("image", [id]) => self.cluster.image(node(id)),
            ("restore", [id]) => self.cluster.restore(node(id)),
            ("doubt", [id]) => self.cluster.doubt(node(id)),
            _ => return false,
        }
        true
    }

    /// What happens to a disk.
    fn disk(&mut self, command: &str, args: &[&str]) -> bool {
        match (command, args) {
            ("given", [id, "term", term, "vote", vote, "log", entries @ ..]) => {
                let vote = (*vote != "-").then(|| node(vote));
                let hard = Hard { term: Term(number(term)), vote, doubtful: false };
                let log = entries.iter().map(|text| entry(text)).collect();
                self.cluster.given(node(id), Image { hard, log, covered: 0 });
            }
            ("autosync", [switch @ ("on" | "off"), nodes @ ..]) => {
                for id in self.nodes(nodes) {
                    self.cluster.host(id).autosync = *switch == "on";
                    if self.cluster.host(id).raft.is_some() {
                        self.cluster.step(id, |_, _| {});
                    }
                }
            }
            ("sync", [id]) => self.sync_log(node(id), usize::MAX),
            ("sync", [id, count]) => self.sync_log(node(id), number(count) as usize),
            ("compact", [id, to]) => self.cluster.compact(node(id), Index(number(to))),
            ("snapshot", [on]) => self.cluster.send_snapshot(link(on)),
            ("install", [id]) => self.cluster.install(node(id)),
            ("sync-term", [id]) => {
                self.cluster.host(node(id)).disk.sync_hard();
                self.cluster.step(node(id), |_, _| {});
            }
            _ => return false,
        }
        true
    }

    /// What happens between nodes.
    fn network(&mut self, command: &str, args: &[&str]) -> bool {
        match (command, args) {
            ("deliver", []) => {
                self.cluster.deliver_all();
            }
            ("deliver", ["counted"]) => self.deliver_counted(),
            ("deliver", [on]) => {
                for _ in self.cluster.on_link(link(on)) {
                    self.cluster.deliver_one(Some(link(on)));
                }
            }
            ("deliver", [on, count]) => {
                for _ in 0..number(count) {
                    let delivered = self.cluster.deliver_one(Some(link(on)));
                    assert!(delivered.is_some(), "nothing more is under way on {on}");
                }
            }
            ("drop", [on]) => self.drop(link(on), usize::MAX),
            ("drop", [on, count]) => self.drop(link(on), number(count) as usize),
            ("duplicate", [on]) => {
                let at = self.cluster.on_link(link(on));
                let packet = self.cluster.queue()[at[0]].clone();
                self.cluster.queue().push(packet);
            }
            ("reorder", [on]) => {
                let at = self.cluster.on_link(link(on));
                for (left, right) in at.iter().zip(at.iter().rev()).take(at.len() / 2) {
                    self.cluster.queue().swap(*left, *right);
                }
            }
            ("hold", [on]) => self.cluster.hold(link(on)),
            ("release", [on]) => self.cluster.release(link(on)),
            ("cut", [on]) => self.cluster.cut(link(on)),
            ("partition", sides) => self.partition(sides),
            ("heal", []) => self.cluster.heal(),
            _ => return false,
        }
        true
    }

    /// What can be looked at.
    fn view(&mut self, command: &str, args: &[&str]) -> bool {
        match (command, args) {
            ("queue", []) => self.cluster.list_queue(),
            ("timeouts", []) => {
                for id in self.cluster.ids() {
                    let host = self.cluster.host(id);
                    let left = host.election_at().since(host.now).0 / 1000;
                    self.cluster.print(show::line(id, &format!("asks in {left} ms")));
                }
            }
            ("status", nodes) => {
                for id in self.nodes(nodes) {
                    let text = self.status(id);
                    self.cluster.print(show::line(id, &text));
                }
            }
            ("log", nodes) => {
                for id in self.nodes(nodes) {
                    let entries = self.cluster.host(id).log();
                    let shown: Vec<String> =
                        (1..).zip(&entries).map(|(at, entry)| show::entry(Index(at), entry)).collect();
                    self.cluster.print(show::line(id, &shown.join(" ")));
                }
            }
            _ => return false,
        }
        true
    }

    fn found(&mut self, size: &str, options: &[&str]) {
        let (mut limits, mut timing, mut seed, mut witness) = (Limits::default(), Timing::default(), 1, None);
        for option in options {
            match option.split_once('=') {
                Some(("seed", value)) => seed = number(value),
                Some(("window", value)) => limits.inflight_appends = number(value) as usize,
                Some(("window-bytes", value)) => limits.inflight_append_bytes = number(value) as usize,
                Some(("batch", value)) => limits.append_entries = number(value) as usize,
                Some(("witness", value)) => witness = Some(node(value)),
                Some(("clocks", value)) => timing.clock_bound_ppm = Some(number(value) as u32),
                _ => panic!("a cluster has no option {option}"),
            }
        }
        let size = number(size) as u16;
        assert!((1..=7).contains(&size), "a cluster has one to seven members");
        self.cluster = Cluster::found_with(size, witness, &(limits, timing), seed);
    }

    /// The short way to a leader, where the election is not what the script is about.
    fn elect(&mut self, id: NodeId) {
        for other in self.cluster.ids() {
            let host = self.cluster.host(other);
            host.now = host.now.after(Micros::from_millis(300));
        }
        let host = self.cluster.host(id);
        host.now = host.now.max(host.election_at());
        self.cluster.step(id, |raft, now| raft.tick(now));
        self.cluster.deliver_all();
        assert!(self.cluster.host(id).raft().is_leader(), "node {id} is not elected");
        self.cluster.take_lines();
        let text = self.status(id);
        self.cluster.print(show::line(id, &text));
    }

    /// A step that an operator asks for, at a leader: it is appended, or refused.
    fn change(&mut self, id: &str, change: Change) {
        let id = node(id);
        let raft = self.cluster.host(id).raft();
        let next = raft.membership().change(change);
        let refused = match (raft.may_change(), next) {
            (_, Ok(next)) if next == *raft.membership() => "has nothing to change".into(),
            (Err(why), _) => format!("refuses: {why:?}"),
            (_, Err(why)) => format!("refuses: {why}"),
            (Ok(()), Ok(next)) => {
                return self.cluster.step(id, |raft, now| {
                    raft.propose(now, members::write(&next));
                });
            }
        };
        self.cluster.print(show::line(id, &refused));
    }

    fn sync_log(&mut self, id: NodeId, count: usize) {
        self.cluster.host(id).disk.sync_log(count);
        self.cluster.step(id, |_, _| {});
    }

    fn deliver_counted(&mut self) {
        let counts = self.cluster.deliver_all();
        let lines = self.cluster.take_lines();
        for line in lines.into_iter().filter(|line| !line.contains("->")) {
            self.cluster.print(line);
        }
        let kinds: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        self.cluster.print(format!("      {}", kinds.join(", ")));
    }

    fn drop(&mut self, on: Link, count: usize) {
        let mut at = self.cluster.on_link(on);
        at.truncate(count);
        assert!(!at.is_empty(), "nothing is under way from {} to {}", on.0, on.1);
        for index in at.into_iter().rev() {
            self.cluster.queue().remove(index);
        }
    }

    /// `partition 1 2 | 3`: nothing passes between the sides.
    fn partition(&mut self, words: &[&str]) {
        let sides: Vec<Vec<NodeId>> =
            words.split(|word| *word == "|").map(|side| side.iter().map(|id| node(id)).collect()).collect();
        for (at, side) in sides.iter().enumerate() {
            for (_, other) in sides.iter().enumerate().filter(|(other, _)| *other != at) {
                for (from, to) in side.iter().flat_map(|from| other.iter().map(move |to| (*from, *to))) {
                    self.cluster.cut((from, to));
                }
            }
        }
    }

    fn status(&mut self, id: NodeId) -> String {
        let host = self.cluster.host(id);
        let Some(raft) = &host.raft else {
            let Image { hard, log, .. } = host.disk.durable();
            return format!("{:<14} term {}  last {}", "down", hard.term, log.len());
        };
        let (last, last_term) = (raft.log().last(), raft.log().last_term());
        let standing = show::standing(raft);
        let doubt = if raft.is_doubtful() { "  in doubt" } else { "" };
        format!(
            "{standing}  last {last}@{last_term}  durable {}  commit {}{doubt}",
            raft.durable(),
            raft.commit()
        )
    }

    fn expect_panic(&mut self, line: &str) {
        let rest: Vec<&str> = line.split_whitespace().skip(1).collect();
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.command(&rest))) else {
            panic!("no panic: {line}");
        };
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        self.over = true;
        let text = text.unwrap_or_default();
        self.cluster.take_lines();
        self.cluster.print(format!("panic: {}", text.lines().next().unwrap_or_default()));
    }

    /// The nodes named, or all.
    fn nodes(&self, names: &[&str]) -> Vec<NodeId> {
        match names {
            [] | ["all"] => self.cluster.ids(),
            names => names.iter().map(|id| node(id)).collect(),
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn node(text: &str) -> NodeId {
    NodeId(number(text) as u16)
}

/// `1->2`.
fn link(text: &str) -> Link {
    let (from, to) = text.split_once("->").unwrap_or_else(|| panic!("not a link like 1->2: {text}"));
    (node(from), node(to))
}

/// `term:name`.
fn entry(text: &str) -> LogEntry {
    let (term, name) = text.split_once(':').unwrap_or_else(|| panic!("not an entry like 2:a: {text}"));
    LogEntry { term: Term(number(term)), payload: name.as_bytes().to_vec().into() }
}

impl Raft {
    /// Whether this leader was elected with that member's vote.
    fn elected_by(&self, member: NodeId) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.voters.iter().any(|(voter, _)| *voter == member))
    }
}
