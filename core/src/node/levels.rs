//! Feature levels: nodes of a cluster run different releases while they are upgraded one by one, and until the last one is, the
//! leader logs nothing that one of them does not know. Each node that could do more than the cluster's level says so to its leader
//! about once a second; the leader raises the level once every member has, learners included. Then there is no way back to a release
//! that does not know it: such a node stops, and says which one to start.
//!
//! What belongs to a level is not decided here: effects and commands say it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::peers::{Boot, Kind};
use super::replica::{Replica, notice, probe};
use crate::io::{HaltReason, Lane, Outbox, Output};
use crate::protocol::peer::{self, PeerHeader};
use crate::state::effect::{Cause, Effect, Entry, WITNESS_LEVEL};
use crate::time::Micros;
use crate::trace::Probe;
use crate::types::{Incarnation, Index, NodeId};

/// How often a node says what it supports, as long as that is more than the cluster's level.
const SAY_EVERY: Micros = Micros::from_millis(1000);

/// What was said longer ago counts no more: the node may run another release by now.
const COUNTS_FOR: Micros = Micros::from_millis(3000);

/// What a node says to its leader: the highest level that it supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Supports(u32);

/// What one node has said.
#[derive(Clone, Copy, Debug)]
struct Said {
    incarnation: Incarnation,
    boot: Boot,
    level: u32,
    at: Micros,
}

/// What this node knows of what the others support.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels {
    said: BTreeMap<NodeId, Said>,
    /// When this node says it again.
    say_at: Micros,
    /// What all founders support, if the cluster was founded in this boot.
    founders: Option<u32>,
}

impl Replica {
    /// Tells the leader that this node could do more than the cluster does.
    pub fn say_level(&mut self, out: &mut Outbox) {
        let own = self.config.features.supported();
        if self.now.mono < self.levels.say_at || self.state.level() >= own || self.raft.is_leader() {
            return;
        }
        let Some(leader) = self.raft.leader() else { return };
        self.levels.say_at = self.now.mono.after(SAY_EVERY);
        let body = postcard::to_stdvec(&Supports(own)).expect("a number always encodes");
        let frame = peer::encode(&self.peers.header(leader, Kind::Level), &body);
        out.push(Output::SendPeer { to: leader, lane: Lane::Control, frame });
    }

    /// The founding told what all founders support, or not.
    pub fn founders_support(&mut self, level: Option<u32>) {
        self.levels.founders = level;
    }

    /// The level at which a leader founds the cluster. Where it does not know what the others support, that is the lowest; it is raised
    /// as soon as they have said so.
    pub fn founding_level(&self) -> u32 {
        let has_witness = self.raft.membership().witness().is_some();
        // Nobody promised to found it with a witness before all supported that.
        self.levels.founders.unwrap_or(1).max(if has_witness { WITNESS_LEVEL } else { 1 })
    }

    /// Another node has said what it supports. Only members are remembered.
    pub fn hear_level(&mut self, header: &PeerHeader, Supports(level): Supports) {
        let members = self.raft.membership().nodes();
        if members.contains(&header.from) {
            let boot = Boot { number: header.boot, nonce: header.nonce };
            let said = Said { incarnation: header.incarnation, boot, level, at: self.now.mono };
            self.levels.said.insert(header.from, said);
        }
        self.levels.said.retain(|node, _| members.contains(node));
    }

    /// A leader raises the cluster's level as far as every member supports it. Not before something of its term is committed: until
    /// then the membership may be cut again.
    pub fn raise_level(&mut self, out: &mut Outbox) {
        let own = self.config.features.supported();
        let settled = self.raft.may_change().is_ok() && !self.is_transferring();
        if !settled || self.state.level_at_tail() >= own || self.overload(true, false).is_some() {
            return;
        }
        let lowest = self.raft.membership().nodes().into_iter().map(|node| self.supported_by(node)).min();
        let level = lowest.unwrap_or(0);
        if level > self.state.level_at_tail() {
            probe(out, Probe::LevelRaised);
            notice(
                out,
                format!(
                    "every member supports feature level {level}: the cluster goes on to it, and no older release can join"
                ),
            );
            self.append(Cause::System, vec![Effect::Level(level)]);
        }
    }

    /// The members that have not said that they support more than the cluster's level, as far as this leader could raise it.
    pub fn behind_in_level(&self) -> Vec<NodeId> {
        let level = self.state.level_at_tail();
        if !self.raft.is_leader() || self.config.features.supported() <= level {
            return Vec::new();
        }
        self.raft.membership().nodes().into_iter().filter(|node| self.supported_by(*node) <= level).collect()
    }

    /// The highest level that a member is known to support now; zero if it has not said so since its newest start. From which data
    /// directory does not matter: a member that lost its own runs a release all the same, and has to be promoted at some level.
    fn supported_by(&self, node: NodeId) -> u32 {
        if node == self.config.id {
            return self.config.features.supported();
        }
        let Some(said) = self.levels.said.get(&node) else { return 0 };
        let is_recent = self.now.mono < said.at.after(COUNTS_FOR);
        let is_newest = self.peers.boot_of((node, said.incarnation)) == Some(said.boot);
        if is_recent && is_newest { said.level } else { 0 }
    }

    /// An entry that this leader is about to append holds nothing before its level.
    ///
    /// # Panics
    /// If it does: an older release would stop, and what comes of it nobody could say.
    pub fn assert_level_reached(&self, entry: &Entry) {
        let set = entry.effects.iter().find_map(|effect| match effect {
            Effect::Level(level) => Some(*level),
            _ => None,
        });
        let reached = set.unwrap_or_else(|| self.state.level_at_tail());
        let needed = entry.effects.iter().map(Effect::level).max().unwrap_or(0);
        assert!(needed <= reached, "no effect is logged before its level: {needed} at {reached}");
    }

    /// Whether this build knows all that an entry holds and announces.
    ///
    /// # Errors
    /// As [`Replica::check_level_known`].
    pub fn check_entry_known(&self, entry: &Entry, index: Index) -> Result<(), HaltReason> {
        let needs = |effect: &Effect| if let Effect::Level(level) = effect { *level } else { effect.level() };
        self.check_level_known(entry.effects.iter().map(needs).max().unwrap_or(0), index)
    }

    /// Whether this build knows everything that may be logged at a level.
    ///
    /// # Errors
    /// [`HaltReason::NewerLevel`] if not: an effect that a node does not know is never skipped.
    pub fn check_level_known(&self, level: u32, index: Index) -> Result<(), HaltReason> {
        let known = self.config.features.known;
        if level <= known { Ok(()) } else { Err(HaltReason::NewerLevel { level, known, index: index.0 }) }
    }
}
