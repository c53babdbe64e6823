//! A node's process and machine: whether it runs, what waits for it while it is paused, and the kills that
//! wait for their occasion. Nothing here knows the other nodes.

use std::collections::{BTreeSet, VecDeque};

use steadfast_core::Node;
use steadfast_core::inspect::Inspection;
use steadfast_core::io::Input;
use steadfast_core::limits::Limits;
use steadfast_core::state::effect::FEATURE_LEVEL;

use crate::clock::Clock;
use crate::disk::{Disk, Image};
use crate::fault::Point;
use crate::rng::Stream;
use crate::schedule::Schedule;
use crate::world::Backlog;

/// A machine with one node's process on it.
#[derive(Debug)]
pub struct Process {
    /// The running node; `None` while it is down.
    pub node: Option<Node>,
    /// Counts the starts of the process, in the world's own way. What belongs to an earlier start is stale.
    pub boot: u64,
    /// The feature level that its release knows, and the highest one that any release knew that it ever ran.
    pub known: (u32, u32),
    /// The disk.
    pub disk: Disk,
    /// The clocks.
    pub clock: Clock,
    /// While the process is paused: what will be delivered when it goes on.
    pub paused: Option<VecDeque<Input>>,
    /// What waits while it is busy.
    pub backlog: Backlog,
    /// Counts pauses, so that the end of one does not end another.
    pub pauses: u64,
    /// Kills, cuts and pauses that wait for their occasion.
    pub triggers: Vec<Trigger>,
    /// Syncs that are to fail.
    pub failing: Vec<FailingSync>,
    /// Whether a sync failed in this boot, so that a halt is right; and whether the machine is rebooted then.
    pub sync_failed: Option<bool>,
    /// Whether the disk was lost after the founding.
    pub wiped: bool,
    /// The world's number and the nonce of the newest boot that the node told others of.
    pub announced: Option<(u64, u64)>,
    /// The old image with which the node comes back at its next start.
    pub returning: Option<Box<Image>>,
    /// Whether it came back with an old image and was not yet told so.
    pub came_back: bool,
    /// What the operator decides.
    pub operator: Stream,
    /// How late ticks come.
    pub timer: Stream,
    /// The monotonic time at which the node wants a tick.
    pub wake: Option<u64>,
    /// The true time for which a wake-up is in the queue.
    pub wake_queued: Option<u64>,
    /// The nodes that its driver can reach: frames to others go nowhere.
    pub links: BTreeSet<usize>,
    /// Syncs that are complete and of which the node has not heard.
    pub unheard_syncs: u32,
    /// Whether the process has operations of its recovery under way.
    pub recovering: bool,
    /// What the node showed after its last step.
    pub seen: Option<Inspection>,
    /// The segments of its log when it said that this was damaged, until it is whole again.
    pub damaged: BTreeSet<u32>,
    /// Whether it has said so in this start, and is not done with that.
    pub said_damaged: bool,
    /// The highest commit index that it ever showed.
    pub ever_committed: u64,
    /// The time of the last step, and how many ticks in a row came at it.
    pub ticked: (u64, u32),
    /// The node's bounds.
    pub limits: Limits,
}

/// Something that waits for its occasion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The fault that set it.
    pub fault: usize,
    /// Where.
    pub point: Point,
    /// Occurrences until it strikes.
    pub left: u32,
    /// What happens then.
    pub blow: Blow,
}

/// What a trigger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The process stops.
    Stop {
        /// Whether the machine loses its power.
        power: bool,
        /// Whether all other nodes stop too.
        all: bool,
        /// How long it then stays down, in microseconds.
        down_us: u64,
    },
    /// It is cut off from the other nodes.
    Cut {
        /// For so many microseconds.
        for_us: u64,
    },
    /// The process stands still.
    Pause {
        /// For so many microseconds.
        for_us: u64,
        /// Whether its monotonic clock stands too.
        suspended: bool,
    },
}

/// A sync that is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailingSync {
    /// Syncs until then.
    pub left: u32,
    /// Whether the machine is rebooted after the halt.
    pub reboot: bool,
}

impl Process {
    /// A machine that was never switched on. `number` counts nodes from zero.
    #[must_use]
    pub fn new(schedule: &Schedule, number: usize) -> Self {
        let clock = schedule.cluster.clocks[number];
        let known = schedule.cluster.founded_at_level.unwrap_or(FEATURE_LEVEL);
        let make = if schedule.cluster.wild_clocks { Clock::wild } else { Clock::new };
        Self {
            node: None,
            boot: 0,
            known: (known, known),
            disk: disk(schedule, number),
            clock: make(clock.drift_ppm, clock.wall_offset_ms),
            paused: None,
            backlog: Backlog::default(),
            pauses: 0,
            triggers: Vec::new(),
            failing: Vec::new(),
            sync_failed: None,
            wiped: false,
            announced: None,
            returning: None,
            came_back: false,
            operator: Stream::numbered(schedule.seed, "operator", number as u64),
            timer: Stream::numbered(schedule.seed, "timer", number as u64),
            wake: None,
            wake_queued: None,
            links: BTreeSet::new(),
            unheard_syncs: 0,
            recovering: false,
            seen: None,
            damaged: BTreeSet::new(),
            said_damaged: false,
            ever_committed: 0,
            ticked: (0, 0),
            limits: schedule.node_config(number as u16 + 1).limits,
        }
    }

    /// Whether the process runs, paused or not.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// The process starts: a fresh node on the disk as it is.
    pub fn start(&mut self, schedule: &Schedule, number: usize, now: u64) {
        assert!(self.node.is_none(), "a process that runs is not started");
        self.boot += 1;
        let which = (number as u64) << 32 | self.boot;
        let seed = Stream::numbered(schedule.seed, "node", which).seed();
        self.node = Some(Node::new(schedule.node_config_of(number as u16 + 1, self.known.0), seed));
        self.clock.boot(now);
        self.disk.boot();
        self.recovering = true;
    }

    /// The process is gone.
    pub fn stop(&mut self) {
        self.node = None;
        self.seen = None;
        self.paused = None;
        self.backlog = Backlog::default();
        self.wake = None;
        self.wake_queued = None;
        self.sync_failed = None;
        self.unheard_syncs = 0;
        self.recovering = false;
    }

    /// Counts an occurrence of a point; the trigger that strikes here, if one does.
    pub fn reach(&mut self, point: Point) -> Option<Trigger> {
        let mut struck = None;
        for trigger in self.triggers.iter_mut().filter(|trigger| trigger.point == point) {
            trigger.left = trigger.left.saturating_sub(1);
            if trigger.left == 0 && struck.is_none() {
                struck = Some(*trigger);
            }
        }
        if let Some(struck) = struck {
            self.triggers.retain(|trigger| trigger.fault != struck.fault);
        }
        struck
    }

    /// Whether the sync that ends now is to fail.
    pub fn fails_sync(&mut self) -> bool {
        let mut fails = None;
        for failing in &mut self.failing {
            failing.left = failing.left.saturating_sub(1);
            if failing.left == 0 {
                fails = Some(failing.reboot);
            }
        }
        self.failing.retain(|failing| failing.left > 0);
        if let Some(reboot) = fails {
            self.sync_failed = Some(reboot);
        }
        fails.is_some()
    }
}

fn disk(schedule: &Schedule, number: usize) -> Disk {
    let stream = |name| Stream::numbered(schedule.seed, name, number as u64);
    let mut disk = Disk::new(schedule.disk, stream("disk"), stream("damage"));
    disk.spares = !schedule.cluster.beyond_budget;
    disk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_strikes_at_its_occurrence_of_its_point_and_once() {
        let schedule = crate::draw::schedule(1);
        let mut process = Process::new(&schedule, 0);
        let blow = Blow::Stop { power: true, all: false, down_us: 9 };
        let trigger = Trigger { fault: 3, point: Point::SyncDone, left: 2, blow };
        process.triggers.push(trigger);
        assert_eq!(process.reach(Point::SyncDone), None);
        assert_eq!(process.reach(Point::WriteDone), None);
        assert_eq!(process.reach(Point::SyncDone), Some(Trigger { left: 0, ..trigger }));
        assert_eq!(process.reach(Point::SyncDone), None);
    }

    #[test]
    fn a_sync_fails_at_its_turn_and_once() {
        let mut process = Process::new(&crate::draw::schedule(1), 0);
        process.failing.push(FailingSync { left: 2, reboot: true });
        assert!(!process.fails_sync());
        assert!(process.fails_sync());
        assert_eq!(process.sync_failed, Some(true));
        assert!(!process.fails_sync());
    }
}
