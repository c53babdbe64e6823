//! The states of a search, what may happen in each, and what becomes of it then.
//!
//! Three things that are possible are left out, because they lead nowhere that is not reached without them. A message
//! that is lost: it is one that is never delivered. A node that is down: it is one to which nothing happens. And what
//! changes nothing and sends nothing, such as most deliveries of what is out of date: the state that it leads to differs from the one
//! before by a message less, or by an event less that may still come.

use steadfast_core::raft::Message;
use steadfast_core::types::NodeId;

use super::host::Host;
use super::judge::{self, Past};
use super::plan::{Bounds, KINDS, Kind, MOST_NODES, Plan, Start};
use super::tables::{Local, Tables};

/// No node.
const NONE: u32 = u32::MAX;

/// Everything that what happens next depends on, and what the judges remember.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    hosts: [u32; MOST_NODES],
    /// Messages on their way, in the order of their numbers.
    net: Vec<u32>,
    past: u32,
    used: Bounds,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message comes; if `again`, it will come once more.
    Deliver {
        /// The message.
        packet: u32,
        /// Whether it stays on its way as well.
        again: bool,
    },
    /// Something happens at a node, counted from 0.
    At(usize, Local),
    /// A node's time-out is over, and everybody who would grant it a pre-vote has done so at once.
    Stand(usize),
}

/// What becomes of a state.
pub enum Next {
    /// Nothing that is not reached without this.
    Nothing,
    /// Another state.
    State(State),
    /// A judge has found something.
    Broken(String),
}

impl State {
    /// How often each kind of event happened on the way here.
    #[must_use]
    pub fn used(&self) -> &Bounds {
        &self.used
    }

    /// The nodes.
    pub fn hosts(&self) -> impl Iterator<Item = u32> {
        self.hosts.into_iter().filter(|host| *host != NONE)
    }

    /// The messages on their way.
    #[must_use]
    pub fn packets(&self) -> &[u32] {
        &self.net
    }

    /// What the judges remember.
    #[must_use]
    pub fn past(&self) -> u32 {
        self.past
    }

    fn may(&self, plan: &Plan, kind: Kind) -> bool {
        self.used[kind as usize] < plan.most(kind)
    }

    fn sends(&mut self, packet: u32) {
        let place = self.net.partition_point(|other| *other < packet);
        self.net.insert(place, packet);
    }
}

/// All that may happen in a state, in an order that depends on the state alone.
#[must_use]
pub fn events(tables: &Tables, state: &State) -> Vec<Event> {
    let plan = tables.plan;
    let mut events = Vec::new();
    let mut packets = state.net.clone();
    packets.dedup();
    for packet in packets {
        events.push(Event::Deliver { packet, again: false });
        if state.may(plan, Kind::Duplicate) {
            events.push(Event::Deliver { packet, again: true });
        }
    }
    for (node, host) in state.hosts().enumerate() {
        let host = &tables.known(host).host;
        let (leads, (terms, writes)) = (host.raft.is_leader(), host.disk.pending());
        let mut push = |when: bool, kind: Kind, local: Local| {
            if when && state.may(plan, kind) {
                events.push(Event::At(node, local));
            }
        };
        push(leads, Kind::Write, Local::Write(state.used[Kind::Write as usize]));
        push(leads, Kind::Heartbeat, Local::Heartbeat);
        push(leads, Kind::Read, Local::Read(state.used[Kind::Read as usize]));
        for nth in 0..plan.changes.len() {
            push(leads, Kind::Change, Local::Change(nth as u8));
        }
        push(true, Kind::Crash, Local::Crash);
        push(true, Kind::Wipe, Local::Wipe);
        push(!host.stalled, Kind::Stall, Local::Stall);
        let covered = host.disk.snapshot().1.index;
        push(host.raft.commit() > covered, Kind::Snapshot, Local::Compact);
        push(leads || !plan.quick, Kind::TimeOut, Local::TimeOut);
        if !leads && plan.quick && state.may(plan, Kind::TimeOut) {
            events.push(Event::Stand(node));
        }
        let mut senders = state.hosts().filter(|_| plan.most(Kind::Snapshot) > 0);
        if let Some(leader) = senders.find(|leader| tables.known(*leader).host.snapshot_for(host).is_some()) {
            events.push(Event::At(node, Local::Coming(leader)));
        }
        if !host.coming.is_empty() {
            events.push(Event::At(node, Local::Install));
        }
        if host.stalled && terms > 0 {
            events.push(Event::At(node, Local::SyncTerm));
        }
        if host.stalled && writes > 1 {
            events.push(Event::At(node, Local::SyncOne));
        }
        if host.stalled && writes > 0 {
            events.push(Event::At(node, Local::SyncLog));
        }
    }
    events
}

/// Which bound an event counts for.
fn kind(event: Event) -> Option<Kind> {
    match event {
        Event::Deliver { again: true, .. } => Some(Kind::Duplicate),
        Event::Stand(_) | Event::At(_, Local::TimeOut) => Some(Kind::TimeOut),
        Event::Deliver { again: false, .. }
        | Event::At(
            _,
            Local::Deliver(_)
            | Local::SyncTerm
            | Local::SyncOne
            | Local::SyncLog
            | Local::Coming(_)
            | Local::Install,
        ) => None,
        Event::At(_, Local::Compact) => Some(Kind::Snapshot),
        Event::At(_, Local::Heartbeat) => Some(Kind::Heartbeat),
        Event::At(_, Local::Crash) => Some(Kind::Crash),
        Event::At(_, Local::Wipe) => Some(Kind::Wipe),
        Event::At(_, Local::Write(_)) => Some(Kind::Write),
        Event::At(_, Local::Read(_)) => Some(Kind::Read),
        Event::At(_, Local::Change(_)) => Some(Kind::Change),
        Event::At(_, Local::Stall) => Some(Kind::Stall),
    }
}

/// Lets something happen.
pub fn next(tables: &mut Tables, state: &State, event: Event) -> Next {
    let done = match event {
        Event::Deliver { packet, again } => {
            let node = tables.sent(packet).to.0 as usize - 1;
            let mut left = state.clone();
            if !again && let Ok(place) = left.net.binary_search(&packet) {
                left.net.remove(place);
            }
            at(tables, left, node, Local::Deliver(packet))
        }
        Event::At(node, local) => at(tables, state.clone(), node, local),
        Event::Stand(node) => stand(tables, state, node),
    };
    match done {
        Ok(None) => Next::Nothing,
        Ok(Some(mut after)) => {
            if let Some(kind) = kind(event) {
                after.used[kind as usize] += 1;
            }
            Next::State(after)
        }
        Err(broken) => Next::Broken(broken),
    }
}

/// Something happens at a node.
fn at(tables: &mut Tables, mut state: State, node: usize, local: Local) -> Result<Option<State>, String> {
    if let Local::Read(_) = local {
        let mut past = tables.was(state.past).clone();
        past.must_see.push(steadfast_core::types::Index(past.committed.len() as u64));
        state.past = tables.past(past);
    }
    let before = state.hosts[node];
    let after = tables.step(before, local)?;
    if after.host == before && after.sent.is_empty() && after.answered.is_empty() {
        return Ok(None);
    }
    state.hosts[node] = after.host;
    let answered = after.answered.clone();
    after.sent.iter().for_each(|packet| state.sends(*packet));
    judge(tables, &mut state, node, before)?;
    for (number, at) in answered {
        judge::answer(number, at, tables.was(state.past))?;
    }
    Ok(Some(state))
}

/// The time-out of a node, its pre-votes and their answers. Nobody but the node itself is changed by these, and those
/// that refuse are as good as silent. Nothing, unless it comes to stand for election.
fn stand(tables: &mut Tables, state: &State, node: usize) -> Result<Option<State>, String> {
    let mut state = state.clone();
    let before = state.hosts[node];
    let after = tables.step(before, Local::TimeOut)?.clone();
    state.hosts[node] = after.host;
    for asked in after.sent {
        let Message::PreVote { .. } = tables.sent(asked).message else {
            state.sends(asked);
            continue;
        };
        let other = tables.sent(asked).to.0 as usize - 1;
        if other >= tables.plan.nodes || stands(tables, state.hosts[node]) {
            continue;
        }
        let answer = tables.step(state.hosts[other], Local::Deliver(asked))?.clone();
        state.hosts[other] = answer.host;
        for reply in answer.sent {
            if let Message::PreVoteReply { granted: true, .. } = tables.sent(reply).message {
                let heard = tables.step(state.hosts[node], Local::Deliver(reply))?.clone();
                state.hosts[node] = heard.host;
                heard.sent.into_iter().for_each(|packet| state.sends(packet));
            }
        }
    }
    if !stands(tables, state.hosts[node]) {
        return Ok(None);
    }
    judge(tables, &mut state, node, before)?;
    Ok(Some(state))
}

fn stands(tables: &Tables, host: u32) -> bool {
    use steadfast_core::inspect::RoleName;
    matches!(tables.known(host).host.raft.role(), RoleName::Candidate | RoleName::Leader)
}

/// Judges a step of a node with all nodes in view.
fn judge(tables: &mut Tables, state: &mut State, node: usize, before: u32) -> Result<(), String> {
    let new = {
        let facts: Vec<_> = state.hosts().map(|host| &tables.known(host).facts).collect();
        let before = &tables.known(before).facts;
        judge::global(&facts, node, before, tables.was(state.past), &tables.setting.founders)?
    };
    if let Some(past) = new {
        state.past = tables.past(past);
    }
    Ok(())
}

/// The state in which a plan begins.
///
/// # Errors
/// What a judge has found on the way there.
pub fn begin(tables: &mut Tables) -> Result<State, String> {
    let plan = tables.plan;
    let mut hosts = [NONE; MOST_NODES];
    for (node, place) in hosts.iter_mut().enumerate().take(plan.nodes) {
        let host = Host::found(NodeId(node as u16 + 1), &tables.setting);
        *place = tables.host(host);
    }
    let past = tables.past(Past::default());
    let mut state = State { hosts, net: Vec::new(), past, used: [0; KINDS.len()] };
    if plan.start != Start::Founding {
        state = must(stand(tables, &state, 0)?);
        state = deliver(tables, state, |_| true)?;
        state = must(at(tables, state, 0, Local::Heartbeat)?);
        state = deliver(tables, state, |_| true)?;
    }
    if plan.start == Start::Forked {
        for unsent in [u8::MAX - 1, u8::MAX] {
            state = must(at(tables, state, 0, Local::Write(unsent))?);
        }
        state.net.clear();
        state = must(stand(tables, &state, 2)?);
        let election =
            |message: &Message| matches!(message, Message::Vote { .. } | Message::VoteReply { .. });
        state = deliver(tables, state, election)?;
    }
    Ok(state)
}

fn must(state: Option<State>) -> State {
    state.expect("every step towards a start changes something")
}

/// Delivers such messages until none is left.
fn deliver(tables: &mut Tables, mut state: State, which: fn(&Message) -> bool) -> Result<State, String> {
    while let Some(place) = state.net.iter().position(|packet| which(&tables.sent(*packet).message)) {
        let packet = state.net.remove(place);
        let node = tables.sent(packet).to.0 as usize - 1;
        state = at(tables, state.clone(), node, Local::Deliver(packet))?.unwrap_or(state);
    }
    Ok(state)
}
