//! What goes wrong: strikes of faults, and the ends of those that last.

use steadfast_core::inspect::RoleName;

use super::{Event, Phase, Place, World};
use crate::disk::Image;
use crate::fault::{Cut, FaultKind, Who};
use crate::network::{Noise, links};
use crate::probes::WorldProbe;
use crate::process::{Blow, FailingSync, Trigger};
use crate::trace::clip;

/// A fault that lasts.
pub(super) enum Active {
    /// Links are cut, or, while a flapping partition is healed for the moment, are not.
    Cut { links: Vec<(usize, usize)>, held: bool, clients: Vec<usize>, on: bool },
    /// The network is noisy.
    Noise,
    /// Disks are slow, by so many microseconds.
    SlowDisk { nodes: Vec<usize>, by_us: u64 },
    /// Disks have a bound.
    Full { nodes: Vec<usize> },
    /// Clients ask as many times as fast, and nodes are busy for so many microseconds.
    Surge { times: u64, cost_us: u64 },
    /// Syncs lie.
    Lie { nodes: Vec<usize> },
    /// An image of a disk grows old, since the boot with this number.
    Image { node: usize, image: Box<Image>, boot: u64, down_us: u64 },
}

impl World<'_> {
    /// A fault strikes or begins to wait.
    pub(super) fn fault(&mut self, fault: usize) {
        if self.phase != Phase::Safety {
            return;
        }
        let what = self.schedule.faults[fault].what.clone();
        self.note(Place::World, "FAULT", || format!("{fault}: {}", clip(&format!("{what:?}"))));
        // Those count when they strike.
        self.faults_struck += u64::from(!what.waits());
        match what {
            FaultKind::Crash { who: Who::All, power, down_us } => self.blackout(power, down_us),
            FaultKind::Crash { who, power, down_us } => {
                self.resolve(who).into_iter().for_each(|node| self.crash(node, power, down_us));
            }
            FaultKind::CrashAt { who, point, nth, power, all, down_us } => {
                let blow = Blow::Stop { power, all, down_us };
                self.arm(who, Trigger { fault, point, left: nth, blow });
            }
            FaultKind::CutAt { who, point, nth, for_us } => {
                self.arm(who, Trigger { fault, point, left: nth, blow: Blow::Cut { for_us } });
            }
            FaultKind::PauseAt { who, point, nth, for_us, suspended } => {
                self.arm(who, Trigger { fault, point, left: nth, blow: Blow::Pause { for_us, suspended } });
            }
            FaultKind::Wipe { who, down_us } => {
                self.resolve(who).into_iter().for_each(|node| self.wipe(node, down_us));
            }
            FaultKind::Release { who, known, down_us } => {
                self.resolve(who).into_iter().for_each(|node| self.install(node, known, down_us));
            }
            FaultKind::Pause { who, for_us, suspended } => {
                self.resolve(who).into_iter().for_each(|node| self.pause(node, for_us, suspended));
            }
            FaultKind::Partition { .. } => self.partition(fault, &what),
            FaultKind::Noise { loss_ppm, duplicate_ppm, reorder_ppm, slow_us, for_us } => {
                self.network.add_noise(fault, Noise { loss_ppm, duplicate_ppm, reorder_ppm, slow_us });
                self.lasts(fault, Active::Noise, for_us);
            }
            FaultKind::FailSync { who, nth, reboot } => {
                let failing = FailingSync { left: nth, reboot };
                self.resolve(who).into_iter().for_each(|node| self.nodes[node].failing.push(failing));
            }
            FaultKind::SlowDisk { who, by_us, for_us } => {
                let nodes = self.resolve(who);
                nodes.iter().for_each(|node| self.nodes[*node].disk.stall_us += by_us);
                self.lasts(fault, Active::SlowDisk { nodes, by_us }, for_us);
            }
            FaultKind::StallOp { .. }
            | FaultKind::DiskFull { .. }
            | FaultKind::Rot { .. }
            | FaultKind::ReadError { .. }
            | FaultKind::RollBack { .. }
            | FaultKind::LoseWrite { .. }
            | FaultKind::MisdirectWrite { .. }
            | FaultKind::OldImage { .. }
            | FaultKind::LyingSync { .. } => self.disk_fault(fault, &what),
            FaultKind::WallJump { who, by_ms } => {
                self.resolve(who).into_iter().for_each(|node| self.nodes[node].clock.jump_wall(by_ms));
            }
            FaultKind::Drift { who, ppm } => {
                let now = self.now;
                self.resolve(who).into_iter().for_each(|node| self.nodes[node].clock.set_drift(now, ppm));
            }
            FaultKind::Reset { who } => {
                self.resolve(who).into_iter().for_each(|node| self.reset_connections(node));
            }
            FaultKind::HalfOpen { who } => {
                let conns: usize = self.resolve(who).into_iter().map(|node| self.half_open(node)).sum();
                self.probes.world(WorldProbe::HalfOpen, conns as u64);
            }
            FaultKind::Surge { times, cost_us, for_us } => {
                self.surge(times, cost_us);
                self.lasts(fault, Active::Surge { times, cost_us }, for_us);
            }
            FaultKind::ClientCrash { client, down_us } => {
                if usize::from(client) + 1 < self.workers.len() {
                    self.client_crash(usize::from(client), down_us);
                }
            }
        }
    }

    /// A fault that lasts ends.
    pub(super) fn fault_end(&mut self, fault: usize) {
        let Some(active) = self.active.remove(&fault) else { return };
        self.note(Place::World, "FAULT ENDS", || fault.to_string());
        match active {
            Active::Cut { links, held, clients, on: true } => {
                self.network.heal(&links, held, &clients);
                self.release();
            }
            Active::Cut { .. } => {}
            Active::Noise => self.network.remove_noise(fault),
            Active::SlowDisk { nodes, by_us } => {
                for node in nodes {
                    self.nodes[node].disk.stall_us -= by_us;
                    self.let_go(node);
                }
            }
            Active::Full { nodes } => {
                nodes.iter().for_each(|node| self.nodes[*node].disk.bound(None, false));
            }
            Active::Surge { times, cost_us } => self.surge_ends(times, cost_us),
            Active::Lie { nodes } => nodes.iter().for_each(|node| self.nodes[*node].disk.lying = false),
            image @ Active::Image { .. } => self.image_returns(image),
        }
    }

    /// A flapping partition turns.
    pub(super) fn flap(&mut self, fault: usize) {
        let FaultKind::Partition { flap_us, .. } = self.schedule.faults[fault].what else { return };
        let Some(Active::Cut { links, held, clients, on }) = self.active.get_mut(&fault) else { return };
        if *on {
            self.network.heal(links, *held, clients)
        } else {
            self.network.cut(links, *held, clients)
        }
        *on = !*on;
        self.release();
        self.push(self.now + flap_us, Event::Flap { fault });
    }

    /// What was held back arrives where nothing holds it any more, each link's frames in their order.
    fn release(&mut self) {
        let healed: Vec<(usize, usize)> =
            self.held.keys().copied().filter(|(from, to)| !self.network.is_stalled(*from, *to)).collect();
        for (from, to) in healed {
            for frame in self.held.remove(&(from, to)).unwrap_or_default() {
                self.probes.world(WorldProbe::HeldFrameReleased, 1);
                self.push(self.now, Event::Frame { from, to, frame });
            }
        }
    }

    /// Everything that still goes on ends, and what waited for an occasion never gets it.
    pub(super) fn end_all_faults(&mut self) {
        let lasting: Vec<usize> = self.active.keys().copied().collect();
        lasting.into_iter().for_each(|fault| self.fault_end(fault));
        self.network.calm();
        self.mend_all_disks();
        for node in 0..self.nodes.len() {
            let process = &mut self.nodes[node];
            process.triggers.clear();
            process.failing.clear();
            let (boot, pause) = (process.boot, process.pauses);
            self.resume(node, pause);
            self.push(self.now, Event::Start { node, boot });
        }
    }

    /// What crashes did to the disks, for the probes.
    pub(super) fn count_crashes(&mut self) {
        for process in &self.nodes {
            let crashes = process.disk.crashes;
            self.probes.world(WorldProbe::WriteTorn, crashes.torn_writes);
            self.probes.world(WorldProbe::SectorGarbled, crashes.sectors_garbage);
            self.probes.world(WorldProbe::EntryLost, crashes.entries_lost);
            self.probes.world(WorldProbe::SizeWithoutData, crashes.size_without_data);
            self.probes.world(WorldProbe::StaleBytesShown, crashes.stale_sectors);
            let counts = process.disk.counts;
            self.probes.world(WorldProbe::ReadErrorHit, counts.read_errors);
            self.probes.world(WorldProbe::WriteLost, counts.lost_writes);
            self.probes.world(WorldProbe::WriteMisdirected, counts.misdirected_writes);
            self.probes.world(WorldProbe::UnmarkedStrikeSkipped, counts.spared);
            self.probes.world(WorldProbe::ShortWrite, counts.short_writes);
            if counts.not_spared > 0 {
                self.budget
                    .exceed("damage that can't be told from a crash: it struck the unmarked window".into());
            }
        }
    }

    fn arm(&mut self, who: Who, trigger: Trigger) {
        self.resolve(who).into_iter().for_each(|node| self.nodes[node].triggers.push(trigger));
    }

    /// A node has come to the point at which a trigger waited. True if that stopped it.
    pub(super) fn strike(&mut self, node: usize, trigger: Trigger) -> bool {
        self.faults_struck += 1;
        // Set for all nodes, it was meant for the first that comes there.
        for process in &mut self.nodes {
            process.triggers.retain(|waiting| waiting.fault != trigger.fault);
        }
        let point = trigger.point;
        self.note(Place::Node(node), "STRUCK", || format!("fault {} at {point:?}", trigger.fault));
        match trigger.blow {
            Blow::Stop { power, all: true, down_us } => self.blackout(power, down_us),
            Blow::Stop { power, all: false, down_us } => self.crash(node, power, down_us),
            Blow::Cut { for_us } => {
                let links = links(&Cut::Isolate(Who::Leader), node, self.nodes.len());
                self.network.cut(&links, false, &[]);
                self.lasts(
                    trigger.fault,
                    Active::Cut { links, held: false, clients: vec![], on: true },
                    for_us,
                );
                return false;
            }
            Blow::Pause { for_us, suspended } => {
                // It stands still once it has said what it was about to say.
                self.pause(node, for_us, suspended);
                return false;
            }
        }
        true
    }

    pub(super) fn lasts(&mut self, fault: usize, active: Active, for_us: u64) {
        self.active.insert(fault, active);
        self.push(self.now + for_us, Event::FaultEnd { fault });
    }

    fn partition(&mut self, fault: usize, what: &FaultKind) {
        let FaultKind::Partition { cut, for_us, flap_us, clients, held } = what else { return };
        let (for_us, flap_us, clients, held) = (*for_us, *flap_us, *clients, *held);
        let who = match cut {
            Cut::Isolate(who) | Cut::Mute(who) | Cut::Deafen(who) | Cut::Bridge(who) => *who,
            Cut::Split(_) | Cut::Links(_) => Who::Node(1),
        };
        let node = self.resolve(who).first().copied().unwrap_or(0);
        let links = links(cut, node, self.nodes.len());
        let alone = matches!(cut, Cut::Isolate(_) | Cut::Mute(_) | Cut::Deafen(_));
        let clients = if clients && alone { vec![node] } else { vec![] };
        let leads = self.nodes[node].seen.as_ref().is_some_and(|seen| seen.role == RoleName::Leader);
        self.probes.world(WorldProbe::LeaderIsolated, u64::from(leads && alone && self.nodes.len() > 1));
        self.network.cut(&links, held, &clients);
        self.lasts(fault, Active::Cut { links, held, clients, on: true }, for_us);
        if flap_us > 0 {
            self.push(self.now + flap_us, Event::Flap { fault });
        }
    }

    /// A node loses its disk, if the cluster is founded on all other disks and the budget allows it.
    fn wipe(&mut self, node: usize, down_us: u64) {
        let founded = self.is_founded();
        if self.nodes[node].wiped
            || !founded
            || !self.others_hold_what_it_holds(node)
            || !self.budget.wipe(node)
        {
            let wiped = self.budget.wiped.len();
            return self
                .note(Place::Node(node), "not wiped", || format!("{wiped} wiped, founded: {founded}"));
        }
        self.crash(node, true, down_us);
        self.lose_disk(node);
    }

    /// Whether a disk may be lost as far as a witness is concerned. While all take the cluster for whole and the other node with data has
    /// what the witness knows of, that one can lead without this disk; else this may be the only one that holds what was answered.
    fn others_hold_what_it_holds(&self, node: usize) -> bool {
        let Some(witness) = self.schedule.cluster.witness.map(|id| usize::from(id) - 1) else { return true };
        if node == witness {
            return true;
        }
        let other = (0..3).find(|other| *other != node && *other != witness).expect("there are three");
        let seen = |node: usize| self.nodes[node].seen.as_ref();
        let (Some(own), Some(other), Some(witness)) = (seen(node), seen(other), seen(witness)) else {
            return false;
        };
        let whole = self.nodes.iter().all(|process| {
            let members = process.node.as_ref().and_then(steadfast_core::Node::membership);
            members.is_some_and(|members| !members.is_degraded() && !members.is_joint())
        });
        let (known, term) = (own.commit.max(witness.last), own.term);
        whole && other.durable >= known && other.term == term && witness.term == term
    }

    /// The disk of a node that is down is replaced by an empty one.
    pub(super) fn lose_disk(&mut self, node: usize) {
        let process = &mut self.nodes[node];
        process.disk.wipe();
        process.damaged.clear();
        process.wiped = true;
        process.returning = None;
        process.came_back = false;
        self.invariants.wiped(node);
        self.probes.world(WorldProbe::DiskWiped, 1);
        self.note(Place::Node(node), "WIPED", String::new);
    }

    /// The nodes that a fault means now, counted from zero.
    pub(super) fn resolve(&self, who: Who) -> Vec<usize> {
        let leaders = self.nodes.iter().enumerate().filter_map(|(n, process)| {
            let seen = process.seen.as_ref().filter(|seen| seen.role == RoleName::Leader)?;
            Some((seen.term, n))
        });
        let leader = leaders.max().map(|(_, node)| node);
        let mut up = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_up());
        match who {
            Who::Node(node) => vec![usize::from(node) - 1],
            Who::Leader => vec![leader.or(up.next()).unwrap_or(0)],
            Who::Follower => vec![up.find(|node| Some(*node) != leader).unwrap_or(0)],
            Who::All => (0..self.nodes.len()).collect(),
        }
    }
}
