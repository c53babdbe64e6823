//! The network between nodes: which frames arrive, when and how often. Frames are datagrams here, whatever
//! the real transport does: each may be lost, doubled, delayed or overtaken.
//!
//! Links are directed. Partitions are counted per link, so that overlapping cuts heal one by one; a link with
//! no cut on it carries frames.

use crate::fault::Cut;
use crate::rng::Stream;
use crate::schedule::NetworkSpec;

/// How much later than a frame its double comes at most, besides the usual delay, in microseconds.
const MOST_LATE_US: u64 = 2_000_000;

/// A burst of bad network, on top of its habits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Frames lost, in a million.
    pub loss_ppm: u32,
    /// Frames that arrive twice, in a million.
    pub duplicate_ppm: u32,
    /// Frames that may overtake, in a million.
    pub reorder_ppm: u32,
    /// Added to every delay, up to so many microseconds.
    pub slow_us: u64,
}

/// The links between all nodes.
#[derive(Clone, Debug)]
pub struct Network {
    nodes: usize,
    spec: NetworkSpec,
    links: Vec<Link>,
    /// Bursts under way, by the fault that brought them.
    noise: Vec<(usize, Noise)>,
    /// How many cuts keep clients from each node.
    clients_cut: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Link {
    stream: Stream,
    /// Cuts that lose what is sent.
    cuts: u32,
    /// Cuts that hold it back.
    stalls: u32,
    /// The latest arrival of a frame that keeps its order.
    last_us: u64,
}

/// The arrivals of one frame: none, one or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Of the frame.
    pub first: Option<u64>,
    /// Of its double.
    pub second: Option<u64>,
}

impl Network {
    /// Links between so many nodes, each with a stream of its own.
    #[must_use]
    pub fn new(nodes: u16, spec: NetworkSpec, seed: u64) -> Self {
        let nodes = usize::from(nodes);
        let link = |n| Link { stream: Stream::numbered(seed, "link", n), cuts: 0, stalls: 0, last_us: 0 };
        let links = (0..(nodes * nodes) as u64).map(link).collect();
        Self { nodes, spec, links, noise: Vec::new(), clients_cut: vec![0; nodes] }
    }

    /// When a frame sent now arrives. Nodes are counted from zero.
    pub fn send(&mut self, now: u64, from: usize, to: usize) -> Arrivals {
        let mut spec = (self.spec.loss_ppm, self.spec.duplicate_ppm, self.spec.reorder_ppm, 0);
        for (_, noise) in &self.noise {
            spec.0 = spec.0.max(noise.loss_ppm);
            spec.1 = spec.1.max(noise.duplicate_ppm);
            spec.2 = spec.2.max(noise.reorder_ppm);
            spec.3 = spec.3.max(noise.slow_us);
        }
        let (loss, duplicate, reorder, slow_us) = spec;
        let delay = self.spec.peer;
        let link = &mut self.links[from * self.nodes + to];
        let (lost, doubled) = (link.stream.chance(loss), link.stream.chance(duplicate));
        let overtakes = link.stream.chance(reorder);
        let slow_us = link.stream.below(slow_us + 1);
        let mut first = now + delay.draw(&mut link.stream) + slow_us;
        // A double can turn up when everything has changed.
        let late_us =
            if link.stream.chance(300_000) { link.stream.magnitude(1_000, MOST_LATE_US) } else { 0 };
        let second = now + delay.draw(&mut link.stream) + slow_us + late_us;
        if link.cuts > 0 || lost {
            return Arrivals::default();
        }
        if !overtakes {
            first = first.max(link.last_us);
            link.last_us = first;
        }
        Arrivals { first: Some(first), second: doubled.then_some(second) }
    }

    /// Whether frames from one node to another are being lost to a cut.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.links[from * self.nodes + to].cuts > 0
    }

    /// Whether frames from one node to another are being held back by a cut.
    #[must_use]
    pub fn is_stalled(&self, from: usize, to: usize) -> bool {
        self.links[from * self.nodes + to].stalls > 0
    }

    /// Whether clients can't reach a node.
    #[must_use]
    pub fn is_cut_from_clients(&self, node: usize) -> bool {
        self.clients_cut[node] > 0
    }

    /// Cuts links. What is sent across is held back or lost.
    pub fn cut(&mut self, links: &[(usize, usize)], held: bool, clients: &[usize]) {
        links.iter().for_each(|link| *self.count(link, held) += 1);
        clients.iter().for_each(|node| self.clients_cut[*node] += 1);
    }

    /// Undoes one such cut.
    pub fn heal(&mut self, links: &[(usize, usize)], held: bool, clients: &[usize]) {
        for link in links {
            let cuts = self.count(link, held);
            *cuts = cuts.checked_sub(1).expect("what heals was cut");
        }
        for node in clients {
            self.clients_cut[*node] = self.clients_cut[*node].checked_sub(1).expect("what heals was cut");
        }
    }

    fn count(&mut self, (from, to): &(usize, usize), held: bool) -> &mut u32 {
        let link = &mut self.links[from * self.nodes + to];
        if held { &mut link.stalls } else { &mut link.cuts }
    }

    /// A burst of bad network begins.
    pub fn add_noise(&mut self, fault: usize, noise: Noise) {
        self.noise.push((fault, noise));
    }

    /// It ends.
    pub fn remove_noise(&mut self, fault: usize) {
        self.noise.retain(|(which, _)| *which != fault);
    }

    /// All faults stop: no cuts, no noise, no loss; only delays stay.
    pub fn calm(&mut self) {
        self.links.iter_mut().for_each(|link| (link.cuts, link.stalls) = (0, 0));
        self.clients_cut.fill(0);
        self.noise.clear();
        self.spec.loss_ppm = 0;
        self.spec.duplicate_ppm = 0;
        self.spec.reorder_ppm = 0;
        self.spec.split_ppm = 0;
        self.spec.peer.tail_ppm = 0;
        self.spec.client.tail_ppm = 0;
    }

    /// The habits, as they are now.
    #[must_use]
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }
}

/// The directed links that a cut takes, with nodes counted from zero. `node` is whom the cut's `Who` meant.
#[must_use]
pub fn links(cut: &Cut, node: usize, nodes: usize) -> Vec<(usize, usize)> {
    let every = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    let every = every.filter(|(from, to)| from != to);
    match cut {
        Cut::Isolate(_) => every.filter(|(from, to)| *from == node || *to == node).collect(),
        Cut::Mute(_) => every.filter(|(from, _)| *from == node).collect(),
        Cut::Deafen(_) => every.filter(|(_, to)| *to == node).collect(),
        Cut::Bridge(_) => every.filter(|(from, to)| *from != node && *to != node).collect(),
        Cut::Split(side) => {
            let here = |n: usize| side.contains(&(n as u16 + 1));
            every.filter(|(from, to)| here(*from) != here(*to)).collect()
        }
        Cut::Links(links) => links
            .iter()
            .map(|(from, to)| (usize::from(*from) - 1, usize::from(*to) - 1))
            .filter(|(from, to)| from != to)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Who;
    use crate::rng::Delay;

    fn network(loss_ppm: u32, duplicate_ppm: u32, reorder_ppm: u32) -> Network {
        let peer = Delay { base_us: 100, jitter_us: 400, tail_ppm: 50_000, tail_us: 10_000 };
        let spec = NetworkSpec { peer, client: peer, loss_ppm, duplicate_ppm, reorder_ppm, split_ppm: 0 };
        Network::new(3, spec, 1)
    }

    #[test]
    fn a_quiet_link_delivers_every_frame_once_and_in_order() {
        let mut network = network(0, 0, 0);
        let mut last = 0;
        for now in 0..2_000 {
            let arrivals = network.send(now, 0, 1);
            assert!(arrivals.second.is_none());
            let at = arrivals.first.expect("nothing is lost");
            assert!(at >= last && at >= now + 100);
            last = at;
        }
    }

    #[test]
    fn a_bad_link_loses_doubles_and_reorders() {
        let mut network = network(200_000, 200_000, 200_000);
        let sent: Vec<Arrivals> = (0..2_000).map(|now| network.send(now, 0, 1)).collect();
        assert!(sent.iter().any(|frame| frame.first.is_none()));
        assert!(sent.iter().any(|frame| frame.second.is_some()));
        let firsts: Vec<u64> = sent.iter().filter_map(|frame| frame.first).collect();
        assert!(firsts.windows(2).any(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn each_kind_of_partition_cuts_its_links_and_overlapping_cuts_heal_one_by_one() {
        assert_eq!(links(&Cut::Isolate(Who::All), 0, 3), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!(links(&Cut::Mute(Who::All), 1, 3), [(1, 0), (1, 2)]);
        assert_eq!(links(&Cut::Deafen(Who::All), 1, 3), [(0, 1), (2, 1)]);
        assert_eq!(links(&Cut::Bridge(Who::All), 2, 3), [(0, 1), (1, 0)]);
        assert_eq!(links(&Cut::Split(vec![3]), 0, 3), [(0, 2), (1, 2), (2, 0), (2, 1)]);
        let mut network = network(0, 0, 0);
        network.cut(&[(0, 1)], false, &[1]);
        network.cut(&[(0, 1), (1, 0)], false, &[]);
        network.heal(&[(0, 1)], false, &[1]);
        assert!(network.is_cut(0, 1) && network.is_cut(1, 0) && !network.is_cut_from_clients(1));
        assert_eq!(network.send(0, 0, 1), Arrivals::default());
        network.heal(&[(0, 1), (1, 0)], false, &[]);
        assert!(network.send(0, 0, 1).first.is_some());
    }

    #[test]
    fn what_is_sent_across_a_stall_is_on_its_way_and_a_cut_besides_loses_it() {
        let mut network = network(0, 0, 0);
        network.cut(&[(0, 1)], true, &[]);
        assert!(network.is_stalled(0, 1) && !network.is_cut(0, 1));
        assert!(network.send(0, 0, 1).first.is_some());
        network.cut(&[(0, 1)], false, &[]);
        assert_eq!(network.send(0, 0, 1), Arrivals::default());
        network.heal(&[(0, 1)], false, &[]);
        network.heal(&[(0, 1)], true, &[]);
        assert!(!network.is_stalled(0, 1) && !network.is_cut(0, 1));
    }

    #[test]
    fn noise_ends_with_its_fault() {
        let mut network = network(0, 0, 0);
        network.add_noise(4, Noise { loss_ppm: 1_000_000, duplicate_ppm: 0, reorder_ppm: 0, slow_us: 0 });
        assert_eq!(network.send(0, 0, 1), Arrivals::default());
        network.remove_noise(4);
        assert!(network.send(0, 0, 1).first.is_some());
    }
}
