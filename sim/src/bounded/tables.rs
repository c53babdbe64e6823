//! Every node, message and past that a search has met, once each, under a number. And every step of a single node: the same thing
//! that happens to an equal node is executed once, for a node does nothing but what its state and its input say.
//!
//! A node's identity is a hash of 128 bits of it; messages and pasts are compared themselves.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::host::{Host, Input, Packet, Setting};
use super::judge::{self, Facts, Past};
use super::plan::Plan;
use crate::glue;

/// What happens to one node, with numbers in place of what the tables know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// The message with this number comes.
    Deliver(u32),
    /// Its time-out is over.
    TimeOut,
    /// A leader's heartbeats are due.
    Heartbeat,
    /// The power fails, and it starts again.
    Crash,
    /// Its disk is replaced by an empty one.
    Wipe,
    /// A client writes here, as the nth on this path.
    Write(u8),
    /// A client reads here, as the nth on this path.
    Read(u8),
    /// An operator asks for the nth of the plan's steps here.
    Change(u8),
    /// From now on its disk syncs nothing by itself.
    Stall,
    /// A sync of the term record ends.
    SyncTerm,
    /// A sync of the oldest log write ends.
    SyncOne,
    /// A sync of all log writes ends.
    SyncLog,
    /// A snapshot of what it has committed takes the place of its log.
    Compact,
    /// The leader with this number begins to send it its snapshot.
    Coming(u32),
    /// That is whole.
    Install,
}

/// What came of a step of one node.
#[derive(Clone, Debug)]
pub struct After {
    /// The node.
    pub host: u32,
    /// The messages that it sent.
    pub sent: Vec<u32>,
    /// The reads that it answered, and at which commit index.
    pub answered: Vec<(u8, steadfast_core::types::Index)>,
}

/// A node, and what judges look at in it.
#[derive(Debug)]
pub struct Known {
    /// The node.
    pub host: Host,
    /// What judges look at.
    pub facts: Facts,
}

/// All of them.
pub struct Tables<'a> {
    /// What is searched.
    pub plan: &'a Plan,
    /// What all nodes have in common.
    pub setting: Setting,
    hosts: Vec<Known>,
    host_numbers: HashMap<u128, u32>,
    packets: Vec<Packet>,
    packet_numbers: HashMap<Packet, u32>,
    pasts: Vec<Past>,
    past_numbers: HashMap<Past, u32>,
    steps: HashMap<(u32, Local), Result<After, String>>,
}

/// A hash that is as good as the thing itself.
#[must_use]
pub fn hash(of: &impl Hash) -> u128 {
    let mut hasher = SipHasher13::new();
    of.hash(&mut hasher);
    hasher.finish128().as_u128()
}

impl<'a> Tables<'a> {
    /// Empty ones.
    #[must_use]
    pub fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            setting: plan.setting(),
            hosts: Vec::new(),
            host_numbers: HashMap::new(),
            packets: Vec::new(),
            packet_numbers: HashMap::new(),
            pasts: Vec::new(),
            past_numbers: HashMap::new(),
            steps: HashMap::new(),
        }
    }

    /// The number of a node.
    pub fn host(&mut self, host: Host) -> u32 {
        let hash = hash(&host);
        if let Some(number) = self.host_numbers.get(&hash) {
            return *number;
        }
        let number = number(self.hosts.len());
        let facts = Facts::of(&host, &self.setting.founders);
        self.hosts.push(Known { host, facts });
        self.host_numbers.insert(hash, number);
        number
    }

    /// The number of a past.
    pub fn past(&mut self, past: Past) -> u32 {
        if let Some(number) = self.past_numbers.get(&past) {
            return *number;
        }
        let number = number(self.pasts.len());
        self.pasts.push(past.clone());
        self.past_numbers.insert(past, number);
        number
    }

    fn packet(&mut self, packet: Packet) -> u32 {
        if let Some(number) = self.packet_numbers.get(&packet) {
            return *number;
        }
        let number = number(self.packets.len());
        self.packets.push(packet.clone());
        self.packet_numbers.insert(packet, number);
        number
    }

    /// The node with a number.
    #[must_use]
    pub fn known(&self, host: u32) -> &Known {
        &self.hosts[host as usize]
    }

    /// The message with a number.
    #[must_use]
    pub fn sent(&self, packet: u32) -> &Packet {
        &self.packets[packet as usize]
    }

    /// The past with a number.
    #[must_use]
    pub fn was(&self, past: u32) -> &Past {
        &self.pasts[past as usize]
    }

    /// How many different nodes there are, and how many steps of theirs were executed.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.hosts.len(), self.steps.len())
    }

    /// Something happens to a node.
    ///
    /// # Errors
    /// What a judge of single nodes says, or with which words the core panicked.
    pub fn step(&mut self, host: u32, local: Local) -> Result<&After, String> {
        if !self.steps.contains_key(&(host, local)) {
            let after = self.execute(host, local);
            self.steps.insert((host, local), after);
        }
        self.steps[&(host, local)].as_ref().map_err(String::clone)
    }

    fn execute(&mut self, host: u32, local: Local) -> Result<After, String> {
        let before = &self.known(host).host;
        let input = self.input(local);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let mut after = before.clone();
            let done = after.step(input.clone(), &self.setting);
            judge::local(before, &mut after, &input, &done, &self.setting.founders).map(|()| (after, done))
        }));
        let (after, done) = match ran {
            Ok(judged) => judged?,
            Err(_) => return Err(format!("node {} panics: {}", before.id(), glue::panic_message())),
        };
        let sent = done.sent.into_iter().map(|packet| self.packet(packet)).collect();
        Ok(After { host: self.host(after), sent, answered: done.answered })
    }

    fn input(&self, local: Local) -> Input {
        match local {
            Local::Deliver(packet) => Input::Deliver(self.sent(packet).clone()),
            Local::TimeOut => Input::TimeOut,
            Local::Heartbeat => Input::Heartbeat,
            Local::Crash => Input::Crash,
            Local::Wipe => Input::Wipe,
            Local::Write(nth) => Input::Write(nth),
            Local::Read(nth) => Input::Read(nth),
            Local::Change(nth) => Input::Change(self.plan.changes[usize::from(nth)]),
            Local::Stall => Input::Stall,
            Local::SyncTerm => Input::SyncTerm,
            Local::SyncOne => Input::SyncLog(1),
            Local::SyncLog => Input::SyncLog(usize::MAX),
            Local::Compact => Input::Compact,
            Local::Coming(leader) => Input::Coming(self.known(leader).host.disk.snapshot().0.to_vec()),
            Local::Install => Input::Install,
        }
    }
}

fn number(len: usize) -> u32 {
    u32::try_from(len).expect("a search ends long before it has met so many")
}
