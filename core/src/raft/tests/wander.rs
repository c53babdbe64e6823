//! Scripts drawn at random: the same commands, in an order that nobody thought of, under the same invariants.
//!
//! What fails is printed as a script, so that it can be shortened by hand and kept in the corpus. The simulator does
//! this to whole nodes; here it takes microseconds a step, and reaches states of Raft alone that are rare there.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::commands::Story;
use crate::types::NodeId;

/// Commands between the founding and the healing.
const STEPS: usize = 500;

/// Rounds of 50 ms in which a healed cluster must have agreed.
const PATIENCE: usize = 80;

/// What the random scripts together must have brought about, or they are too tame: parts of printed lines.
const SIGHTS: [&str; 16] = [
    "leader         term",
    "cuts its log",
    "hears no quorum",
    "abstains",
    "trusts itself again",
    " answered at",
    "gets no answer",
    "conflict at",
    "leader         term 9 ",
    "<",
    " learner        term",
    "refuses: UnderWay",
    "refuses: NewLeader",
    "3w!}",
    "has {1,2,3w}",
    "would not elect",
];

/// One random script under way.
pub struct Wanderer {
    rng: ChaCha8Rng,
    story: Story,
    size: u16,
    /// Whether members come and go. Then no disk is destroyed: how many may be would change with them.
    changes: bool,
    /// This node holds no data.
    witness: Option<NodeId>,
    /// Nodes whose disks were wiped or put back: never more than a minority.
    destroyed: Vec<NodeId>,
    imaged: Vec<NodeId>,
    names: usize,
    /// What was done, as a script.
    pub script: Vec<String>,
    /// How often each of the sights was seen.
    sights: [usize; SIGHTS.len()],
}

impl Wanderer {
    /// A cluster whose size, and whose whole fate, follow from the seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let size = [1, 2, 3, 3, 3, 4, 5, 5][(rng.next_u32() % 8) as usize];
        let (story, names) = (Story::default(), 0);
        let (destroyed, imaged, script) = (Vec::new(), Vec::new(), Vec::new());
        let changes = rng.next_u32().is_multiple_of(2);
        let sights = [0; SIGHTS.len()];
        let witness = (size == 3 && seed.is_multiple_of(3)).then_some(NodeId(3));
        let mut wanderer =
            Self { rng, story, size, changes, witness, destroyed, imaged, names, script, sights };
        let (window, batch) = (1 + wanderer.below(4), 1 + wanderer.below(3));
        let witness = witness.map_or_else(String::new, |node| format!(" witness={node}"));
        wanderer.run(format!("cluster {size} seed={seed} window={window} batch={batch}{witness}"));
        wanderer
    }

    /// Does whatever comes to mind, then heals everything and asks for agreement.
    pub fn wander(&mut self) {
        for _ in 0..STEPS {
            self.any_command();
        }
        self.heal();
        for _ in 0..PATIENCE {
            for id in 1..=self.size {
                self.run(format!("tick {id} 50"));
                self.run("deliver".into());
            }
            if self.story.agrees() {
                return;
            }
        }
        self.run("status".into());
        panic!("no agreement after everything was healed:\n{}", self.story.status_text());
    }

    fn any_command(&mut self) {
        match self.below(100) {
            0..50 => self.deliver_some(),
            50..60 => self.with_leader("propose"),
            60..64 => self.with_leader("read"),
            64..78 => self.pass_time(),
            78..84 => self.disturb_network(),
            84..95 => self.disturb_disk(),
            95..97 => self.crash_or_restart(),
            97 => self.transfer(),
            98.. if self.changes => self.change(),
            _ => self.destroy(),
        }
    }

    fn deliver_some(&mut self) {
        match (self.below(10), self.story.busy_links()) {
            (_, links) if links.is_empty() => {}
            (0..2, _) => self.run("deliver".into()),
            (_, links) => {
                let link = links[self.below(links.len() as u64) as usize].clone();
                self.run(format!("deliver {link} 1"));
            }
        }
    }

    fn with_leader(&mut self, command: &str) {
        let leaders = self.story.leaders();
        if leaders.is_empty() {
            return;
        }
        let leader = leaders[self.below(leaders.len() as u64) as usize];
        self.names += 1;
        let name = if command == "propose" { format!(" v{}", self.names) } else { String::new() };
        self.run(format!("{command} {leader}{name}"));
    }

    fn pass_time(&mut self) {
        let Some(id) = self.any_running() else { return };
        match self.below(8) {
            0..3 => self.run(format!("tick {id} 50")),
            3..5 => self.run(format!("tick {id} 300")),
            5 => {
                for id in (1..=self.size).map(NodeId) {
                    if self.story.is_running(id) {
                        self.run(format!("tick {id} 100"));
                    }
                }
            }
            _ if !self.story.leaders().contains(&id) => self.run(format!("timeout {id}")),
            _ => {}
        }
    }

    fn disturb_network(&mut self) {
        let links = self.story.busy_links();
        let (a, b) = (self.any(), self.any());
        match self.below(10) {
            0 if a != b => self.run(format!("cut {a}->{b}")),
            1 | 2 if a != b => {
                self.run("heal".into());
                let (left, right): (Vec<_>, Vec<_>) = (1..=self.size).partition(|_| self.below(2) == 0);
                let side = |side: Vec<u16>| side.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
                self.run(format!("partition {} | {}", side(left), side(right)));
            }
            3..5 => self.run("heal".into()),
            5..10 if !links.is_empty() => {
                let link = links[self.below(links.len() as u64) as usize].clone();
                let command = ["drop", "duplicate", "reorder"][self.below(3) as usize];
                self.run(format!("{command} {link}"));
            }
            _ => {}
        }
    }

    fn disturb_disk(&mut self) {
        let Some(id) = self.any_running() else { return };
        match self.below(8) {
            0 => self.run(format!("autosync off {id}")),
            1 | 2 => self.run(format!("autosync on {id}")),
            3 => self.run(format!("sync {id} 1")),
            4 | 5 => self.run(format!("sync {id}")),
            _ => self.run(format!("sync-term {id}")),
        }
    }

    fn crash_or_restart(&mut self) {
        let id = self.any();
        let command = if self.below(3) == 0 { "crash" } else { "restart" };
        self.run(format!("{command} {id}"));
    }

    /// Wipes a disk, or puts an old image back; the node is told so, as its peers would.
    fn destroy(&mut self) {
        let id = self.any();
        let budget = usize::from((self.size - 1) / 2);
        // Degraded, the disk of one node with data holds what no other does.
        if self.destroyed.contains(&id) || self.witness.is_some_and(|witness| witness != id) {
            return;
        }
        match self.below(3) {
            0 => {
                self.run(format!("image {id}"));
                self.imaged.push(id);
            }
            1 if self.destroyed.len() < budget && self.imaged.contains(&id) => {
                self.destroyed.push(id);
                self.run(format!("autosync on {id}"));
                self.run(format!("restore {id}"));
                self.run(format!("doubt {id}"));
            }
            2 if self.destroyed.len() < budget => {
                self.destroyed.push(id);
                self.run(format!("wipe {id}"));
            }
            _ => {}
        }
    }

    /// A leader is asked for a step of the membership. Nodes that founded nothing come along.
    fn change(&mut self) {
        let leaders = self.story.leaders();
        if leaders.is_empty() {
            return;
        }
        let leader = leaders[self.below(leaders.len() as u64) as usize];
        let (one, other) = (self.any(), self.any());
        match self.below(8) {
            0 if self.size < 7 => {
                let new = self.size + 1;
                self.size = new;
                self.run(format!("join {new}"));
                self.run(format!("add {leader} {new}"));
            }
            0 | 1 => self.run(format!("add {leader} {one}")),
            2 | 3 => self.run(format!("promote {leader} {}", self.directory(one))),
            4 => self.run(format!("demote {leader} {one}")),
            5 | 6 => self.run(format!("replace {leader} {one} {}", self.directory(other))),
            _ => self.run(format!("remove {leader} {one}")),
        }
    }

    fn directory(&self, node: NodeId) -> String {
        if self.witness == Some(node) { format!("{node}w") } else { node.to_string() }
    }

    /// A leader is asked to give its leadership to any node.
    fn transfer(&mut self) {
        let leaders = self.story.leaders();
        if let Some(leader) = leaders.first() {
            let to = self.any();
            self.run(format!("transfer {leader} to {to}"));
        }
    }

    fn heal(&mut self) {
        self.run("heal".into());
        self.run("autosync on".into());
        for id in 1..=self.size {
            if !self.story.is_running(NodeId(id)) {
                self.run(format!("restart {id}"));
            }
        }
    }

    fn run(&mut self, line: String) {
        self.script.push(line.clone());
        for line in self.story.execute(&line) {
            for (sight, count) in SIGHTS.iter().zip(&mut self.sights) {
                *count += usize::from(line.contains(sight));
            }
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn any(&mut self) -> NodeId {
        NodeId(1 + self.below(u64::from(self.size)) as u16)
    }

    fn any_running(&mut self) -> Option<NodeId> {
        let id = self.any();
        self.story.is_running(id).then_some(id)
    }
}

/// Runs the seeds; a failure names its seed and prints its script.
pub fn wander(seeds: std::ops::Range<u64>) {
    let mut sights = [0; SIGHTS.len()];
    for seed in seeds {
        let mut wanderer = Wanderer::new(seed);
        let run = std::panic::AssertUnwindSafe(|| wanderer.wander());
        if let Err(payload) = std::panic::catch_unwind(run) {
            let text = payload.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("seed {seed}: {text}\n\n{}\n---\n", wanderer.script.join("\n"));
        }
        for (total, count) in sights.iter_mut().zip(wanderer.sights) {
            *total += count;
        }
    }
    for (sight, count) in SIGHTS.iter().zip(sights) {
        assert!(count > 0, "no random script has shown `{sight}`: {sights:?}");
    }
}
