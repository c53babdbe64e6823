//! Where the other nodes are reached. The configuration says it of those that this node was started with, the replicated state of those
//! of which an operator has said it, and other nodes tell the rest to whoever greets them. All of it is handed to the driver, which
//! tries one address after the other. Nothing here is a promise: a wrong address costs a connection, as every frame names its receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::peers::{Kind, PeerBook};
use super::replica::Replica;
use super::startup::send_founding;
use crate::config::Member;
use crate::founding::FoundingMessage;
use crate::io::{Lane, Outbox, Output, PeerAddress};
use crate::membership::{MAX_MEMBERS, MAX_VOTERS, is_address};
use crate::protocol::peer;
use crate::time::Micros;
use crate::types::NodeId;

/// Most nodes whose addresses are told or remembered: all that can belong to a cluster, and those that they took the place of.
const MOST: usize = MAX_MEMBERS + MAX_VOTERS;

/// Most addresses of one node that are kept of what others told.
const MOST_OF_ONE: usize = 3;

/// How often a node looks whether there is a member that it can't find, and then asks the others.
const ASK_EVERY: Micros = Micros::from_millis(1000);

/// What a node tells whoever greets it: where it believes the members to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Whereabouts(Vec<(NodeId, String)>);

/// Where other nodes are, as far as this one knows.
#[derive(Clone, Debug)]
pub(super) struct AddressBook {
    own: NodeId,
    configured: BTreeMap<NodeId, String>,
    /// What other nodes told, and what the state said once: a node that was removed can still be told so. Tellers may differ, as each
    /// sees its own part of the network: a few are kept of each node, the newest first.
    heard: BTreeMap<NodeId, Vec<String>>,
    /// What the driver knows.
    told: Vec<PeerAddress>,
    /// When others are asked again.
    ask_at: Micros,
}

impl AddressBook {
    /// What a configuration says.
    pub fn new(own: NodeId, members: &[Member]) -> Self {
        let configured = members.iter().filter(|member| member.id != own && !member.address.is_empty());
        let configured = configured.map(|member| (member.id, member.address.clone())).collect();
        Self { own, configured, heard: BTreeMap::new(), told: Vec::new(), ask_at: Micros(0) }
    }

    /// Takes in what another node told; anything may be in it.
    pub fn hear(&mut self, told: Whereabouts, members: &BTreeSet<NodeId>) {
        for (node, address) in told.0.into_iter().take(MOST) {
            if is_address(&address) && !is_unspecified(&address) {
                self.remember(node, address);
            }
        }
        self.forget(members);
    }

    fn remember(&mut self, node: NodeId, address: String) {
        let known = self.heard.entry(node).or_default();
        if !known.contains(&address) {
            known.insert(0, address);
            known.truncate(MOST_OF_ONE);
        }
    }

    /// Takes in what the log says that is not applied yet, in its order.
    pub fn seek(&mut self, located: impl Iterator<Item = (NodeId, String)>) {
        located.for_each(|(node, address)| self.remember(node, address));
    }

    /// Tells the driver, if it does not know yet.
    pub fn tell(&mut self, logged: &BTreeMap<NodeId, String>, members: &BTreeSet<NodeId>, out: &mut Outbox) {
        let known = self.configured.keys().chain(logged.keys()).chain(self.heard.keys());
        let known: BTreeSet<NodeId> = known.copied().filter(|node| *node != self.own).collect();
        let peers: Vec<PeerAddress> =
            known.into_iter().map(|node| PeerAddress { node, addresses: self.of(node, logged) }).collect();
        logged.iter().for_each(|(node, address)| self.remember(*node, address.clone()));
        self.forget(members);
        if self.told != peers {
            self.told.clone_from(&peers);
            out.push(Output::Peers(peers));
        }
    }

    /// Where a node may be, the likeliest first. What was configured at this node may be meant for its part of the network alone.
    pub fn of(&self, node: NodeId, logged: &BTreeMap<NodeId, String>) -> Vec<String> {
        let mut addresses: Vec<String> = Vec::new();
        for known in self.all(node, logged) {
            if !addresses.contains(known) {
                addresses.push(known.clone());
            }
        }
        addresses
    }

    /// The likeliest place of a node.
    fn likeliest<'a>(&'a self, node: NodeId, logged: &'a BTreeMap<NodeId, String>) -> Option<&'a String> {
        self.all(node, logged).next()
    }

    fn all<'a>(
        &'a self,
        node: NodeId,
        logged: &'a BTreeMap<NodeId, String>,
    ) -> impl Iterator<Item = &'a String> {
        let heard = self.heard.get(&node).into_iter().flatten();
        self.configured.get(&node).into_iter().chain(logged.get(&node)).chain(heard)
    }

    /// What is kept of nodes that are no members is bounded.
    fn forget(&mut self, members: &BTreeSet<NodeId>) {
        while self.heard.len() > MOST {
            let stranger = self.heard.keys().copied().find(|node| !members.contains(node));
            let Some(stranger) = stranger else { return };
            self.heard.remove(&stranger);
        }
    }
}

impl Replica {
    /// The members or their addresses may have changed: the driver is told.
    pub fn tell_addresses(&mut self, out: &mut Outbox) {
        let members = self.raft.membership().nodes();
        self.addresses.tell(self.state.addresses(), &members, out);
    }

    /// Where clients find the leader, if it is another node.
    pub fn leader_address(&self) -> Option<String> {
        let leader = self.raft.leader().filter(|leader| *leader != self.config.id)?;
        self.addresses.likeliest(leader, self.state.addresses()).cloned()
    }

    /// Where another node is reached, as far as this one knows.
    pub fn likely_address(&self, node: NodeId) -> Option<&String> {
        self.addresses.likeliest(node, self.state.addresses())
    }

    /// A node that greets this one is told where the others are.
    pub fn tell_whereabouts(&mut self, to: NodeId, out: &mut Outbox) {
        let own = self.config.members.iter().find(|member| member.id == self.config.id);
        let own = own.filter(|member| !is_unspecified(&member.address));
        let own = own.map(|member| (member.id, member.address.clone()));
        let logged = self.state.addresses();
        let others = self.raft.membership().nodes().into_iter().filter(|node| *node != self.config.id);
        let others = others.filter_map(|node| Some((node, self.addresses.likeliest(node, logged)?.clone())));
        let told = Whereabouts(own.into_iter().chain(others).collect());
        let body = postcard::to_stdvec(&told).expect("addresses are plain data");
        let frame = peer::encode(&self.peers.header(to, Kind::Whereabouts), &body);
        out.push(Output::SendPeer { to, lane: Lane::Control, frame });
    }

    /// Another node has told where the members are.
    pub fn hear_whereabouts(&mut self, told: Whereabouts, out: &mut Outbox) {
        self.addresses.hear(told, &self.raft.membership().nodes());
        self.tell_addresses(out);
    }

    /// Greets the nodes that this one can reach as long as there is a member that it can't, or a leader: they tell where that one is. A
    /// newcomer's log may not say yet who the members are, and the leader would never hear of it. A leader greets the members that it has
    /// never heard: a newcomer may know nobody but one that is gone, and takes nothing from a cluster that it does not know.
    pub fn look_for_members(&mut self, out: &mut Outbox) {
        if self.now.mono < self.addresses.ask_at {
            return;
        }
        self.addresses.ask_at = self.now.mono.after(ASK_EVERY);
        for seen in self.raft.members_seen(self.now.mono).seen {
            if seen.incarnation.is_none() {
                self.tell_whereabouts(seen.node, out);
                let message = FoundingMessage::Founded(self.founding().clone());
                send_founding(&self.peers, seen.node, &message, out);
            }
        }
        let known: BTreeSet<NodeId> = self.addresses.told.iter().map(|peer| peer.node).collect();
        let mut others = self.raft.membership().nodes();
        others.extend(self.raft.leader());
        others.remove(&self.config.id);
        if !others.is_subset(&known) {
            greet(&self.peers, known, &FoundingMessage::Founded(self.founding().clone()), out);
        }
    }
}

/// Whether an address is one to listen on and not one to be reached at. Who hears it has a better one, or none.
fn is_unspecified(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|it| it.ip().is_unspecified())
}

/// Says the same about the founding to several nodes.
pub(super) fn greet(
    peers: &PeerBook,
    nodes: impl IntoIterator<Item = NodeId>,
    message: &FoundingMessage,
    out: &mut Outbox,
) {
    for node in nodes {
        send_founding(peers, node, message, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(of: &[(u16, &str)]) -> Vec<Member> {
        of.iter().map(|(id, address)| Member { id: NodeId(*id), address: (*address).into() }).collect()
    }

    fn map(of: &[(u16, &str)]) -> BTreeMap<NodeId, String> {
        of.iter().map(|(id, address)| (NodeId(*id), (*address).into())).collect()
    }

    /// What the driver is told, if anything.
    fn told(book: &mut AddressBook, logged: &[(u16, &str)]) -> Option<Vec<String>> {
        let mut out = Outbox::default();
        book.tell(&map(logged), &BTreeSet::new(), &mut out);
        out.drain().find_map(|output| match output {
            Output::Peers(peers) => {
                Some(peers.iter().map(|it| format!("{} {}", it.node, it.addresses.join(" "))).collect())
            }
            _ => None,
        })
    }

    #[test]
    fn the_driver_is_told_once_what_is_configured_first_and_what_was_logged_then() {
        let mut book = AddressBook::new(NodeId(1), &members(&[(1, "a:1"), (2, "b:1"), (3, "")]));
        assert_eq!(told(&mut book, &[]), Some(vec!["2 b:1".into()]));
        assert_eq!(told(&mut book, &[]), None);
        let logged = [(1, "a:2"), (2, "b:2"), (4, "d:1")];
        assert_eq!(told(&mut book, &logged), Some(vec!["2 b:1 b:2".into(), "4 d:1".into()]));
    }

    #[test]
    fn a_node_that_was_removed_is_still_reached_until_there_are_too_many() {
        let mut book = AddressBook::new(NodeId(1), &[]);
        told(&mut book, &[(4, "d:1")]);
        assert_eq!(told(&mut book, &[]), None, "it can be told so");
        let many = (10..10 + MOST as u16).map(|id| (NodeId(id), "x:1".into())).collect();
        book.hear(Whereabouts(many), &(10..200).map(NodeId).collect());
        assert_eq!(book.of(NodeId(4), &BTreeMap::new()), Vec::<String>::new());
        assert_eq!(book.heard.len(), MOST);
    }

    #[test]
    fn of_what_several_tell_of_one_node_a_few_are_kept_in_a_stable_order() {
        let mut book = AddressBook::new(NodeId(1), &[]);
        let mut hear =
            |address: &str| book.hear(Whereabouts(vec![(NodeId(2), address.into())]), &BTreeSet::new());
        ["good:1", "127.0.0.1:1", "good:1", "127.0.0.1:1"].into_iter().for_each(&mut hear);
        ["0.0.0.0:1", "[::]:1"].into_iter().for_each(&mut hear);
        assert_eq!(told(&mut book, &[]), Some(vec!["2 127.0.0.1:1 good:1".into()]));
        let mut hear =
            |address: &str| book.hear(Whereabouts(vec![(NodeId(2), address.into())]), &BTreeSet::new());
        ["b:1", "c:1"].into_iter().for_each(&mut hear);
        assert_eq!(told(&mut book, &[]), Some(vec!["2 c:1 b:1 127.0.0.1:1".into()]));
    }

    #[test]
    fn what_can_be_no_address_is_not_taken_in() {
        let mut book = AddressBook::new(NodeId(1), &[]);
        book.hear(
            Whereabouts(vec![(NodeId(2), "nowhere".into()), (NodeId(3), "c:1".into())]),
            &BTreeSet::new(),
        );
        assert_eq!(told(&mut book, &[]), Some(vec!["3 c:1".into()]));
    }
}
