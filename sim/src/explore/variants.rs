//! Which images a crash may leave at one instant: every one where there are few, and else those that are known to
//! break systems (ALICE, OSDI 2014: prefixes, torn writes and reordered ones), with random ones beside them.
//!
//! The order of the variants is fixed by the seed and the bounds, so that a number names an image. Nothing here runs
//! or judges one.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_core::io::DiskOp;

use super::atoms::{Atom, Fate, Part, atoms, image};
use super::disk::Disk;
use super::image::Image;
use crate::rng::Stream;

/// How far the variants of one instant go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// All subsets of so many parts are made, or else of so many changes.
    pub subsets: usize,
    /// Random subsets, where not all are made.
    pub random: usize,
    /// Random choices with noise among them.
    pub noisy: usize,
    /// Bytes of a sector after which a write is cut.
    pub cuts: &'static [u16],
    /// Of how many removed or cut files the old bytes are tried.
    pub older: u8,
}

impl Bounds {
    /// What a run takes that nobody asked to be thorough.
    pub const USUAL: Self = Self {
        subsets: 9,
        random: 150,
        noisy: 80,
        cuts: &[1, 8, 16, 17, 33, 53, 100, 256, 400, 511],
        older: 3,
    };
    /// As far as minutes go.
    pub const THOROUGH: Self = Self {
        subsets: 11,
        random: 1200,
        noisy: 600,
        cuts: &[1, 4, 8, 12, 16, 17, 32, 53, 64, 100, 128, 192, 256, 320, 384, 448, 500, 511],
        older: 6,
    };
    /// For crashes of a recovery from a crash: there are many of those.
    pub const NESTED: Self = Self { subsets: 5, random: 8, noisy: 4, cuts: &[16, 256], older: 1 };
    /// For the power losses of a script itself, which is to go on after them.
    pub const SCRIPT: Self = Self { older: 0, ..Self::NESTED };
}

/// One disk at one instant.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The disk.
    pub disk: Disk,
    /// Operations that were issued and have not been executed: a crash may find them done, in part, or not at all.
    pub under_way: Vec<DiskOp>,
}

/// All that can be found after a crash at a moment.
#[derive(Clone, Debug)]
pub struct Variants {
    /// The disk with everything under way executed.
    disk: Disk,
    atoms: Vec<Atom>,
    power: Vec<(&'static str, Vec<Fate>)>,
    kills: Vec<Vec<DiskOp>>,
    live: Disk,
}

impl Variants {
    /// Lists them. `number` names the moment in the stream of random choices.
    #[must_use]
    pub fn of(moment: &Moment, bounds: &Bounds, seed: u64, number: u64) -> Self {
        let mut disk = moment.disk.clone();
        for op in &moment.under_way {
            if changes(op) {
                // What fails now fails in the recording too.
                let _ = disk.execute(op, 0);
            }
        }
        let atoms = atoms(&disk);
        let stream = Stream::numbered(seed, "explore variants", number);
        let older = if disk.old.is_empty() { 0 } else { bounds.older };
        let power =
            Chooser { atoms: &atoms, older, bounds, stream, seen: BTreeSet::new(), made: Vec::new() }.all();
        let kills = kills(&moment.under_way);
        Self { disk, atoms, power, kills, live: moment.disk.clone() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.power.len() + self.kills.len()
    }

    /// Whether there is none, which never happens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The disk that a crash leaves: after a power loss only the image, all of it durable; after a kill also what is
    /// still pending.
    #[must_use]
    pub fn disk(&self, number: usize) -> Disk {
        match self.power.get(number) {
            Some((_, fates)) => self.disk.holding_instead(&image(&self.disk, &self.atoms, fates)),
            None => {
                let mut disk = self.live.clone();
                for op in &self.kills[number - self.power.len()] {
                    let _ = disk.execute(op, 0);
                }
                disk
            }
        }
    }

    /// What a restart finds.
    #[must_use]
    pub fn image(&self, number: usize) -> Image {
        match self.power.get(number) {
            Some((_, fates)) => image(&self.disk, &self.atoms, fates),
            None => {
                let mut image = self.live.live_image();
                for op in &self.kills[number - self.power.len()] {
                    let _ = image.execute(op);
                }
                image
            }
        }
    }

    /// A variant in a word.
    #[must_use]
    pub fn kind(&self, number: usize) -> &'static str {
        self.power.get(number).map_or("kill", |(kind, _)| kind)
    }

    /// A variant in words, a line for each part of what was pending.
    #[must_use]
    pub fn describe(&self, number: usize) -> Vec<String> {
        match self.power.get(number) {
            Some((_, fates)) => {
                let line = |(atom, fate): (&Atom, &Fate)| format!("{fate}: {}", atom.describe(&self.disk));
                self.atoms.iter().zip(fates).map(line).collect()
            }
            None => {
                let ops = &self.kills[number - self.power.len()];
                ops.iter().map(|op| format!("still done: {}", crate::trace::disk_op(op))).collect()
            }
        }
    }
}

/// Whether an operation changes what a crash leaves.
fn changes(op: &DiskOp) -> bool {
    !matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir | DiskOp::List | DiskOp::Read { .. })
}

/// What a killed process may have got done of what was under way: any of it, a write also in part.
fn kills(under_way: &[DiskOp]) -> Vec<Vec<DiskOp>> {
    let ops: Vec<&DiskOp> = under_way.iter().filter(|op| changes(op)).collect();
    let some = ops.len().min(8);
    let mut kills = Vec::new();
    for mask in 0..1_u32 << some {
        let done = (0..some).filter(|at| mask >> at & 1 == 1).map(|at| ops[at].clone());
        kills.push(done.collect());
    }
    for op in ops {
        let DiskOp::WriteAt { file, offset, data } = op else { continue };
        let sectors = (1..data.len().div_ceil(512)).map(|sector| sector * 512);
        for len in [1, data.len() / 2, data.len() - 1].into_iter().chain(sectors.take(16)) {
            if len > 0 && len < data.len() {
                let data: Bytes = data.slice(..len);
                kills.push(vec![DiskOp::WriteAt { file: *file, offset: *offset, data }]);
            }
        }
    }
    kills
}

/// Makes the choices.
struct Chooser<'a> {
    atoms: &'a [Atom],
    /// Of how many files there are old bytes.
    older: u8,
    bounds: &'a Bounds,
    stream: Stream,
    seen: BTreeSet<Vec<Fate>>,
    made: Vec<(&'static str, Vec<Fate>)>,
}

impl Chooser<'_> {
    fn all(mut self) -> Vec<(&'static str, Vec<Fate>)> {
        let n = self.atoms.len();
        self.add("nothing", vec![Fate::Drop; n]);
        self.add("all", vec![Fate::Keep; n]);
        for at in 0..n {
            self.add("prefix", self.prefix(at));
        }
        self.torn();
        self.subsets();
        self.apart();
        self.noisy();
        self.made
    }

    fn add(&mut self, kind: &'static str, fates: Vec<Fate>) {
        if self.seen.insert(fates.clone()) {
            self.made.push((kind, fates));
        }
    }

    /// The first `at` parts and no more.
    fn prefix(&self, at: usize) -> Vec<Fate> {
        (0..self.atoms.len()).map(|it| if it < at { Fate::Keep } else { Fate::Drop }).collect()
    }

    fn is_sector(&self, at: usize) -> bool {
        matches!(self.atoms[at].part, Part::Sector { .. })
    }

    fn sectors(&self) -> Vec<usize> {
        (0..self.atoms.len()).filter(|at| self.is_sector(*at)).collect()
    }

    /// The last write that is kept is cut, or ends in noise, and its length is kept or not.
    fn torn(&mut self) {
        for at in self.sectors() {
            let cuts = self.bounds.cuts.iter().map(|cut| Fate::Cut(*cut));
            let cuts: Vec<Fate> = if self.atoms[at].quiet { Vec::new() } else { cuts.collect() };
            let old = (self.older > 0).then_some(Fate::Old(0));
            for fate in cuts.into_iter().chain([Fate::Noise]).chain(old) {
                let mut fates = self.prefix(at);
                fates[at] = fate;
                self.add("torn", fates.clone());
                for (other, kept) in fates.iter_mut().enumerate().skip(at + 1) {
                    let same = self.atoms[other].change == self.atoms[at].change;
                    if same && matches!(self.atoms[other].part, Part::Size { .. }) {
                        *kept = Fate::Keep;
                    }
                }
                self.add("torn", fates);
            }
        }
    }

    /// All subsets of the parts, or of the changes; all but one and only one of them; and some at random.
    fn subsets(&mut self) {
        let loud: Vec<usize> = (0..self.atoms.len()).filter(|at| !self.atoms[*at].quiet).collect();
        let changes: BTreeSet<usize> = self.atoms.iter().map(|atom| atom.change).collect();
        if loud.len() <= self.bounds.subsets {
            for mask in 0..1_u64 << loud.len() {
                let mut fates = vec![Fate::Keep; self.atoms.len()];
                for (bit, at) in loud.iter().enumerate() {
                    fates[*at] = if mask >> bit & 1 == 1 { Fate::Keep } else { Fate::Drop };
                }
                self.add("subset", fates);
            }
            return;
        }
        if changes.len() <= self.bounds.subsets {
            for mask in 0..1_u64 << changes.len() {
                let kept = |atom: &Atom| changes.iter().position(|it| *it == atom.change);
                let kept = |atom: &Atom| kept(atom).is_some_and(|bit| mask >> bit & 1 == 1);
                let fates = self.atoms.iter().map(|atom| if kept(atom) { Fate::Keep } else { Fate::Drop });
                self.add("subset", fates.collect());
            }
        }
        for at in &loud {
            let mut fates = vec![Fate::Keep; self.atoms.len()];
            fates[*at] = Fate::Drop;
            self.add("all but one", fates);
            let mut fates = vec![Fate::Drop; self.atoms.len()];
            fates[*at] = Fate::Keep;
            self.add("only one", fates);
        }
        for _ in 0..self.bounds.random {
            let rate = *self.stream.pick(&[200_000, 500_000, 800_000]);
            let fates = (0..self.atoms.len())
                .map(|_| if self.stream.chance(rate) { Fate::Keep } else { Fate::Drop })
                .collect();
            self.add("subset", fates);
        }
    }

    /// Names and lengths without data, and data without names and lengths.
    fn apart(&mut self) {
        for (data, rest) in [(Fate::Drop, Fate::Keep), (Fate::Noise, Fate::Keep), (Fate::Keep, Fate::Drop)] {
            let fates = (0..self.atoms.len()).map(|at| if self.is_sector(at) { data } else { rest });
            self.add("apart", fates.collect());
        }
        for which in 0..self.older {
            let old = Fate::Old(which);
            for (data, length) in [(Fate::Drop, old), (old, Fate::Keep), (old, old)] {
                let fates = (0..self.atoms.len()).map(|at| match &self.atoms[at].part {
                    Part::Sector { .. } => data,
                    Part::Size { .. } => length,
                    Part::Entry(_) => Fate::Keep,
                });
                self.add("old bytes", fates.collect());
            }
        }
    }

    /// One sector of noise or old bytes, with everything else kept; and these at random.
    fn noisy(&mut self) {
        for at in self.sectors() {
            let mut fates = vec![Fate::Keep; self.atoms.len()];
            fates[at] = Fate::Noise;
            self.add("noise", fates.clone());
            if self.older > 0 {
                fates[at] = Fate::Old(0);
                self.add("old bytes", fates);
            }
        }
        if self.atoms.is_empty() {
            return;
        }
        for round in 0..self.bounds.noisy {
            let old = self.older > 0 && round % 2 == 1;
            let older = u64::from(self.older);
            let garbage = if old { Fate::Old(self.stream.below(older) as u8) } else { Fate::Noise };
            let fates = (0..self.atoms.len())
                .map(|at| match self.stream.below(4) {
                    0 => Fate::Drop,
                    1 if self.is_sector(at) => garbage,
                    2 if old && matches!(self.atoms[at].part, Part::Size { .. }) => garbage,
                    _ => Fate::Keep,
                })
                .collect();
            self.add(if old { "old bytes" } else { "noise" }, fates);
        }
    }
}
