//! A script's cluster: its nodes, and the network between them as one queue that only moves when told to.
//!
//! After every step of any node the checker looks at all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{Disk, Image};
use super::host::{Done, Host, Packet, Read, Setting};
use super::invariants::{Checker, View};
use super::{members, show};
use crate::membership::Membership;
use crate::raft::{LogEntry, Message, Raft, Round};
use crate::time::Micros;
use crate::types::{Incarnation, Index, NodeId};

/// More deliveries than any script needs: a storm.
const STORM: usize = 1000;

/// A direction between two nodes.
pub type Link = (NodeId, NodeId);

/// The nodes and what is between them.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    hosts: BTreeMap<NodeId, Host>,
    queue: Vec<Packet>,
    cut: BTreeSet<Link>,
    on_hold: BTreeSet<Link>,
    checker: Checker,
    /// The newest boot that each node has seen of each data directory.
    seen: BTreeMap<(NodeId, NodeId, Incarnation), u64>,
    images: BTreeMap<NodeId, Image>,
    /// The snapshot on its way to a node, of which nothing is known there before it is whole.
    snapshots: BTreeMap<NodeId, Vec<LogEntry>>,
    wipes: u64,
    /// What a new node begins with.
    spawn: Option<(Membership, Setting, u64)>,
    lines: Vec<String>,
}

impl Cluster {
    /// Founders 1 to `size`, started on empty disks.
    pub fn found(size: u16, setting: &Setting, seed: u64) -> Self {
        Self::found_with(size, None, setting, seed)
    }

    /// The same, and one of them is a witness.
    pub fn found_with(size: u16, witness: Option<NodeId>, setting: &Setting, seed: u64) -> Self {
        let directory = |id: u16| {
            let number = u64::from(id);
            if witness == Some(NodeId(id)) { Incarnation::of_witness(number) } else { Incarnation(number) }
        };
        let founders = Membership::of((1..=size).map(|id| (NodeId(id), directory(id))).collect());
        let mut cluster = Self { checker: Checker::of(founders.clone()), ..Self::default() };
        cluster.spawn = Some((founders.clone(), setting.clone(), seed));
        founders.nodes().into_iter().for_each(|id| cluster.place(id));
        founders.nodes().into_iter().for_each(|id| cluster.start(id));
        cluster.lines.clear();
        cluster
    }

    /// A node with an empty disk is started.
    pub fn join(&mut self, id: NodeId) {
        self.place(id);
        self.start(id);
    }

    /// A node with an empty disk, not started.
    fn place(&mut self, id: NodeId) {
        let (founders, setting, seed) = self.spawn.clone().expect("a cluster was founded");
        let before = self.hosts.insert(id, Host::new(id, founders, setting, seed));
        assert!(before.is_none(), "there is a node {id} already");
    }

    /// The lines printed since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// Prints a line.
    pub fn print(&mut self, line: String) {
        self.lines.push(line);
    }

    /// All nodes' numbers.
    pub fn ids(&self) -> Vec<NodeId> {
        self.hosts.keys().copied().collect()
    }

    /// One node.
    pub fn host(&mut self, id: NodeId) -> &mut Host {
        self.hosts.get_mut(&id).unwrap_or_else(|| panic!("there is no node {id}"))
    }

    /// Something happens at a node.
    pub fn step(&mut self, id: NodeId, action: impl FnOnce(&mut Raft, Micros)) {
        let done = self.host(id).step(action);
        self.done(done);
    }

    fn done(&mut self, done: Done) {
        self.lines.extend(done.lines);
        for packet in done.sent {
            // The envelope and the codec are not in the way of a script, but the bytes are those of the wire.
            let decoded = Message::decode(&packet.message.encode());
            assert_eq!(decoded.as_ref(), Ok(&packet.message), "what is sent is what is read");
            self.holds(|checker| checker.sent(&packet));
            if !self.cut.contains(&(packet.from, packet.to)) {
                self.queue.push(packet);
            }
        }
        for (read, at) in done.answered {
            self.holds(|checker| checker.answered(at, read.must_see));
        }
        let views: Vec<View> = self.hosts.values().map(view).collect();
        self.holds(|checker| checker.check(&views));
    }

    fn holds(&mut self, check: impl FnOnce(&mut Checker) -> Result<(), String>) {
        if let Err(broken) = check(&mut self.checker) {
            panic!("an invariant is broken: {broken}\n{}", self.lines.join("\n"));
        }
    }

    /// A read arrives at a leader.
    pub fn read(&mut self, id: NodeId, name: &str) {
        let (name, must_see) = (name.to_owned(), self.checker.committed());
        let host = self.host(id);
        let raft = host.raft.as_mut().unwrap_or_else(|| panic!("node {id} is down"));
        let (leased, depends) = (raft.holds_lease(host.now), raft.log().last());
        let round = if leased { Round(0) } else { raft.join_round() };
        host.reads.push(Read { name: name.clone(), round, depends, must_see });
        let text = if leased {
            format!("read {name} rests on the lease, and waits for entry {depends}")
        } else {
            format!("read {name} waits for round {} and entry {depends}", round.0)
        };
        self.print(show::line(id, &text));
        self.step(id, |_, _| {});
    }

    /// Asks a leader to give its leadership to another node.
    pub fn transfer(&mut self, id: NodeId, to: NodeId) {
        let host = self.host(id);
        let now = host.now;
        if let Err(why) = host.running().transfer(now, to) {
            self.print(show::line(id, &format!("does not transfer: {why}")));
        }
        self.step(id, |_, _| {});
    }

    /// Puts entries, term and vote on a disk before anything has happened, and starts the node from it.
    pub fn given(&mut self, id: NodeId, image: Image) {
        assert!(self.checker.committed().0 == 0, "a disk is given before anything is committed");
        self.crash(id);
        self.host(id).disk = Disk::holding(image);
        self.start(id);
    }

    /// A node lets a snapshot take the place of what is committed up to here.
    pub fn compact(&mut self, id: NodeId, to: Index) {
        let done = self.host(id).compact(to);
        self.done(done);
    }

    /// Whether a leader would send a member a snapshot.
    pub fn wants_snapshot(&mut self, (from, to): Link) -> bool {
        let host = self.host(from);
        let now = host.now;
        host.raft.as_ref().is_some_and(|raft| raft.wanting_snapshot(now).contains(&to))
    }

    /// A leader begins to send a member its snapshot, if that wants one and knows it as its leader.
    pub fn send_snapshot(&mut self, link: Link) {
        let (from, to) = link;
        if !self.wants_snapshot(link) {
            return self.print(show::line(from, &format!("sends node {to} no snapshot")));
        }
        let (covered, at) = self.host(from).disk.durable().start();
        let mut covered = covered.to_vec();
        if self.host(from).raft().is_witness_at(to) {
            covered.iter_mut().for_each(|entry| entry.payload = members::withhold(&entry.payload));
        }
        let term = self.host(from).raft().term();
        let follows = |raft: &Raft| raft.leader() == Some(from) && raft.term() == term;
        let takes = |raft: &Raft| follows(raft) && raft.commit() < at.index;
        let is_taken = self.host(to).raft.as_ref().is_some_and(takes) && !self.cut.contains(&link);
        let note = if is_taken { "" } else { "  (not taken)" };
        self.print(format!("{from}->{to}  Snapshot      term {term}  up to {}@{}{note}", at.index, at.term));
        if is_taken {
            self.snapshots.insert(to, covered);
        }
    }

    /// The snapshot on its way to a node is whole there.
    pub fn install(&mut self, id: NodeId) {
        let entries = self.snapshots.remove(&id).unwrap_or_else(|| panic!("none is on its way to node {id}"));
        let done = self.host(id).install(&entries);
        self.done(done);
    }

    /// To whom snapshots are on their way.
    pub fn sent_snapshots(&self) -> Vec<NodeId> {
        self.snapshots.keys().copied().collect()
    }

    /// Power fails at a node.
    pub fn crash(&mut self, id: NodeId) {
        self.snapshots.remove(&id);
        self.checker.restarted(id);
        self.host(id).crash();
    }

    /// A node recovers what its disk holds.
    pub fn start(&mut self, id: NodeId) {
        let done = self.host(id).start();
        self.done(done);
    }

    /// A node's disk is replaced by an empty one.
    /// A witness stays one, unless it is to hold data.
    pub fn wipe(&mut self, id: NodeId, data: bool) {
        self.wipes += 1;
        self.checker.forgot(id);
        let number = 100 + self.wipes;
        self.crash(id);
        let host = self.host(id);
        let incarnation = if host.incarnation.is_witness() && !data {
            Incarnation::of_witness(number)
        } else {
            Incarnation(number)
        };
        host.lose_disk(Image::default());
        // It is another disk now, of which nothing is missing.
        (host.incarnation, host.intact) = (incarnation, true);
        self.start(id);
    }

    /// Keeps a copy of what is on a disk.
    pub fn image(&mut self, id: NodeId) {
        let image = self.host(id).disk.durable().clone();
        self.images.insert(id, image);
    }

    /// A node comes back with the copy of its disk, under its old identity.
    pub fn restore(&mut self, id: NodeId) {
        let image = self.images.get(&id).unwrap_or_else(|| panic!("no image of node {id}")).clone();
        self.crash(id);
        self.checker.forgot(id);
        self.host(id).lose_disk(image);
        self.host(id).intact = false;
        self.start(id);
    }

    /// A node is told that its memory is old; it goes on in a boot above the one that was known.
    pub fn doubt(&mut self, id: NodeId) {
        let host = self.host(id);
        host.boot += 1;
        self.step(id, |raft, now| raft.doubt(now));
    }

    /// From now on nothing passes in this direction; what is under way arrives.
    pub fn cut(&mut self, link: Link) {
        self.cut.insert(link);
    }

    /// Everything passes again.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Messages in this direction wait until they are delivered by name, or the link is released.
    pub fn hold(&mut self, link: Link) {
        self.on_hold.insert(link);
    }

    /// Undoes `hold`.
    pub fn release(&mut self, link: Link) {
        self.on_hold.remove(&link);
    }

    /// What is under way, then what waits at the nodes for a sync.
    pub fn list_queue(&mut self) {
        let mut lines: Vec<String> = self.queue.iter().map(|packet| show::packet(packet, "")).collect();
        for held in self.hosts.values().flat_map(|host| &host.held) {
            let note = format!("  (not sent: needs {:?})", held.needs);
            lines.push(show::packet(&held.packet, &note));
        }
        self.lines.append(&mut lines);
    }

    /// The messages under way in one direction, oldest first.
    pub fn on_link(&self, link: Link) -> Vec<usize> {
        let on = |at: &usize| (self.queue[*at].from, self.queue[*at].to) == link;
        (0..self.queue.len()).filter(on).collect()
    }

    /// The network's queue, for commands that change it.
    pub fn queue(&mut self) -> &mut Vec<Packet> {
        &mut self.queue
    }

    /// Delivers the oldest message of a link, or of any that is not on hold. False if there is none.
    pub fn deliver_one(&mut self, link: Option<Link>) -> Option<&'static str> {
        let at = match link {
            Some(link) => *self.on_link(link).first()?,
            None => self.queue.iter().position(|packet| !self.on_hold.contains(&(packet.from, packet.to)))?,
        };
        let packet = self.queue.remove(at);
        let kind = show::kind(&packet.message);
        let Packet { from, to, incarnation, boot, message } = packet.clone();
        let seen = self.seen.entry((to, from, incarnation)).or_default();
        let note = if !self.hosts.contains_key(&to) {
            "  (lost: no such node)"
        } else if self.hosts[&to].raft.is_none() {
            "  (lost: node is down)"
        } else if boot < *seen {
            "  (dropped: an earlier boot)"
        } else {
            *seen = boot;
            ""
        };
        self.print(show::packet(&packet, note));
        if note.is_empty() {
            self.step(to, |raft, now| raft.receive(now, from, incarnation, message));
        }
        Some(kind)
    }

    /// Delivers until nothing is under way, and counts by kind.
    pub fn deliver_all(&mut self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        while let Some(kind) = self.deliver_one(None) {
            *counts.entry(kind).or_default() += 1;
            assert!(counts.values().sum::<usize>() < STORM, "a storm of messages: {counts:?}");
        }
        counts
    }
}

fn view(host: &Host) -> View {
    let running = host.raft.as_ref();
    View {
        id: host.id,
        leads: running.is_some_and(Raft::is_leader),
        term: running.map_or_else(|| host.disk.durable().hard.term, Raft::term),
        commit: running.map_or_else(Default::default, Raft::commit),
        log: host.log(),
        disk: host.disk.durable().log.clone(),
        incarnation: host.incarnation,
        intact: host.intact,
        lost: host.lost.clone(),
    }
}
