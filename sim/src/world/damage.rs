//! What damages disks: strikes within the budget, old images that come back, syncs that lie, disks without room, and
//! operations that stall.
//!
//! All of it waits for the founding: before that nothing was acknowledged, and a founding that a lost disk stops for
//! good is stopped rightly.

use super::faults::Active;
use super::{Event, Phase, Place, World};
use crate::disk::{Armed, Stage, Strike};
use crate::fault::FaultKind;
use crate::probes::WorldProbe;

/// Until an operation goes on that a fault has held up, in microseconds.
const LET_GO_US: u64 = 50;

impl World<'_> {
    /// A fault of a disk strikes or begins to wait.
    pub(super) fn disk_fault(&mut self, fault: usize, what: &FaultKind) {
        match *what {
            FaultKind::Rot { who, files, sectors, bits } => {
                self.resolve(who).into_iter().for_each(|node| {
                    self.damage(node, |world| {
                        world.nodes[node].disk.strike(files, sectors, Strike::Rot(bits))
                    });
                });
            }
            FaultKind::ReadError { who, files, sectors } => {
                self.resolve(who).into_iter().for_each(|node| {
                    self.damage(node, |world| {
                        world.nodes[node].disk.strike(files, sectors, Strike::Unreadable)
                    });
                });
            }
            FaultKind::RollBack { who, files, sectors } => {
                self.resolve(who).into_iter().for_each(|node| {
                    self.damage(node, |world| {
                        world.nodes[node].disk.strike(files, sectors, Strike::RollBack)
                    });
                });
            }
            FaultKind::LoseWrite { who, files, nth } | FaultKind::MisdirectWrite { who, files, nth } => {
                let misdirected = matches!(what, FaultKind::MisdirectWrite { .. });
                let armed = Armed { class: files, left: nth, misdirected };
                self.resolve(who).into_iter().for_each(|node| {
                    self.damage(node, |world| {
                        world.nodes[node].disk.arm(armed);
                        1
                    });
                });
            }
            FaultKind::OldImage { who, age_us, down_us } => {
                if let Some(node) = self.resolve(who).first().copied() {
                    self.save_image(fault, node, age_us, down_us);
                }
            }
            FaultKind::LyingSync { who, for_us } => {
                let nodes = self.resolve(who);
                nodes.iter().for_each(|node| self.nodes[*node].disk.lying = true);
                self.lasts(fault, Active::Lie { nodes }, for_us);
            }
            FaultKind::DiskFull { who, left, overwrites, for_us } => {
                let nodes = self.resolve(who);
                nodes.iter().for_each(|node| self.nodes[*node].disk.bound(Some(left), overwrites));
                self.lasts(fault, Active::Full { nodes }, for_us);
            }
            FaultKind::StallOp { who, nth, for_us } => {
                self.resolve(who).into_iter().for_each(|node| self.nodes[node].disk.stall(nth, for_us));
            }
            _ => unreachable!("the other faults strike no disk"),
        }
    }

    /// Damages a node's disk, if the cluster is founded and the budget allows it.
    fn damage(&mut self, node: usize, strike: impl FnOnce(&mut Self) -> usize) {
        let founded = self.is_founded();
        if !founded || !self.budget.damage(node) {
            return self.note(Place::Node(node), "not damaged", || format!("founded: {founded}"));
        }
        let struck = strike(self);
        self.note(Place::Node(node), "DAMAGED", || format!("{struck} places"));
    }

    /// Whether every disk belongs to the founded cluster.
    pub(super) fn is_founded(&self) -> bool {
        self.nodes.iter().all(|process| process.ever_committed > 0)
    }

    /// Keeps what is durable on a node's disk, to put it back later.
    fn save_image(&mut self, fault: usize, node: usize, age_us: u64, down_us: u64) {
        let process = &self.nodes[node];
        let boot = process.boot;
        // A boot that nobody was told of may not be durable.
        if !self.is_founded() || process.announced.is_none_or(|(announced, _)| announced != boot) {
            return self.note(Place::Node(node), "no image", String::new);
        }
        let image = Box::new(process.disk.image());
        self.lasts(fault, Active::Image { node, image, boot, down_us }, age_us);
    }

    /// A node loses its power, and is to come back with an old image.
    pub(super) fn image_returns(&mut self, active: Active) {
        let Active::Image { node, image, boot, down_us } = active else { return };
        let announced = self.nodes[node].announced;
        // An image of the present boot is a lost disk that nobody can notice: the next start has a number that is free.
        let newer = announced.is_some_and(|(announced, _)| announced > boot);
        let node_ok = !self.nodes[node].wiped && self.phase == Phase::Safety;
        let within = |nodes: usize| format!("old image: node {} of {nodes} was not started since", node + 1);
        let excess = within(self.nodes.len());
        if !node_ok || !self.budget.allows(newer, || excess) {
            return self.note(Place::Node(node), "no image", || "it was not started since".into());
        }
        self.crash(node, true, down_us);
        self.nodes[node].returning = Some(image);
    }

    /// A node that starts comes back with its old image, if all others can tell it so.
    pub(super) fn put_image_back(&mut self, node: usize) {
        let Some(image) = self.nodes[node].returning.take() else { return };
        let told = self.all_others_know(node);
        let safety = self.phase == Phase::Safety && !self.nodes[node].wiped;
        let excess = format!("old image: nobody could tell node {} of {}", node + 1, self.nodes.len());
        if !safety || !self.budget.allows(told, || excess) || !self.budget.damage(node) {
            return self.note(Place::Node(node), "no image", || format!("all others can tell: {told}"));
        }
        self.nodes[node].disk.restore(&image);
        self.nodes[node].damaged.clear();
        self.nodes[node].came_back = true;
        self.invariants.rolled_back(node, told);
        self.note(Place::Node(node), "OLD IMAGE", String::new);
    }

    /// Whether every other node runs, can be reached and reach, and durably remembers this one's newest boot.
    fn all_others_know(&self, node: usize) -> bool {
        let Some((_, nonce)) = self.nodes[node].announced else { return false };
        let cut = |from, to| self.network.is_cut(from, to) || self.network.is_stalled(from, to);
        let mut others = self.nodes.iter().enumerate().filter(|(other, _)| *other != node);
        self.nodes.len() > 1
            && others.all(|(other, process)| {
                let works = process.is_up() && process.paused.is_none() && !process.recovering;
                works && !cut(node, other) && !cut(other, node) && process.disk.remembers(nonce)
            })
    }

    /// Whether a machine may lose its power now: one whose syncs have lied, only within the budget.
    pub(super) fn may_lose_power(&mut self, node: usize) -> bool {
        if !self.nodes[node].disk.owes() {
            return true;
        }
        let founded = self.is_founded();
        if !self.budget.betray(node, founded) {
            self.note(Place::Node(node), "keeps power", || "its syncs have lied".into());
            return false;
        }
        self.probes.world(WorldProbe::LiarLostPower, 1);
        self.invariants.rolled_back(node, false);
        true
    }

    /// Operations that a fault holds up on a node's disk go on.
    pub(super) fn let_go(&mut self, node: usize) {
        let boot = self.nodes[node].boot;
        for (op, stage) in self.nodes[node].disk.let_go() {
            self.push(self.now + LET_GO_US, Event::Disk { node, boot, op, stage });
        }
    }

    /// Whether an event of a sync's beginning comes late: it was let go meanwhile.
    pub(super) fn is_late(&self, node: usize, op: crate::disk::OpId, stage: Stage) -> bool {
        stage == Stage::SyncBegin && self.nodes[node].disk.has_begun(op)
    }

    /// No disk damages, lies or lacks room any more.
    pub(super) fn mend_all_disks(&mut self) {
        for node in 0..self.nodes.len() {
            let disk = &mut self.nodes[node].disk;
            disk.heal();
            disk.lying = false;
            disk.bound(None, false);
            self.nodes[node].returning = None;
            self.let_go(node);
        }
    }
}
