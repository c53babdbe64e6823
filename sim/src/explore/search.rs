//! The search: every moment of a recording, every variant of it, on all cores; then the same inside a number of the
//! recoveries that these images lead to.
//!
//! The result does not depend on how many threads there are, but for the time it takes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::cluster::Cluster;
use super::image::Image;
use super::judge::{Found, judge, restart};
use super::machine::Machine;
use super::recording::{Point, Recording};
use super::script::{self, Named};
use super::variants::{Bounds, Variants};
use crate::rng::Stream;

/// What is to be explored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes.
    pub nodes: u16,
    /// The order of what happens in the recording, and the random variants.
    pub seed: u64,
    /// Whether it may take minutes.
    pub thorough: bool,
    /// How far the variants of the recording's moments go.
    pub bounds: Bounds,
    /// Those of the recoveries.
    pub nested: Bounds,
    /// Threads.
    pub jobs: usize,
    /// What the cluster goes through.
    pub script: Vec<Named>,
    /// What that must bring about, and how often at least.
    pub required: Vec<(&'static str, u64)>,
    /// How many recoveries are explored in turn.
    pub recoveries: usize,
}

impl Plan {
    /// The usual exploration of so many nodes.
    #[must_use]
    pub fn new(nodes: u16, seed: u64, thorough: bool, jobs: usize) -> Self {
        let script = if nodes == 1 { script::alone() } else { script::three() };
        let recoveries = if thorough { 20_000 } else { 3000 };
        let bounds = if thorough { Bounds::THOROUGH } else { Bounds::USUAL };
        let (nested, required) = (Bounds::NESTED, script::required(nodes));
        Self { nodes, seed, thorough, bounds, nested, jobs, script, required, recoveries }
    }
}

/// The name of an image: a boundary and a variant of it; and, if it is one of a recovery, both there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The boundary and the variant in the recording.
    pub outer: (usize, usize),
    /// The boundary and the variant in the recovery from that image.
    pub inner: Option<(usize, usize)>,
}

/// An image that a node did not recover from as it must.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub name: Name,
    /// What had just happened.
    pub point: Point,
    /// The node, counted from one.
    pub node: usize,
    /// The step of the script.
    pub step: &'static str,
    /// What the crash was like.
    pub kind: &'static str,
    /// What the judge saw.
    pub what: String,
}

/// What boundaries of one kind add up to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// How many there are.
    pub boundaries: u64,
    /// Of which so many were explored.
    pub covered: u64,
    /// Images that they led to; those that share a moment share its images.
    pub images: u64,
}

/// What an exploration adds up to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// How many nodes.
    pub nodes: u16,
    /// The seed.
    pub seed: u64,
    /// Whether it was thorough.
    pub thorough: bool,
    /// What the script brought about.
    pub happened: Vec<(&'static str, u64)>,
    /// What it should have brought about and did not, or what a node did in it that it may never do.
    pub unrecorded: Vec<String>,
    /// The boundaries of the recording, by kind.
    pub points: BTreeMap<Point, Count>,
    /// The images of the recording, by what the crash was like.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Moments of a disk.
    pub moments: u64,
    /// Images made.
    pub images: u64,
    /// Of which differ; each of them was run.
    pub distinct: u64,
    /// Images held against a ledger.
    pub judged: u64,
    /// Recoveries that were explored in turn.
    pub recoveries: u64,
    /// Their boundaries.
    pub inner_boundaries: u64,
    /// How many images failed.
    pub failed: u64,
    /// The first of those that failed in like ways, and how many did.
    pub failures: Vec<(u64, Failure)>,
    /// How long it took.
    pub seconds: f64,
}

/// Most ways to fail that are told apart.
const WAYS: usize = 20;

impl Totals {
    /// All boundaries, and those that were explored.
    #[must_use]
    pub fn boundaries(&self) -> (u64, u64) {
        let sum = |count: fn(&Count) -> u64| self.points.values().map(count).sum();
        (sum(|it| it.boundaries), sum(|it| it.covered))
    }

    /// The exit status: 0 all passed, 1 a failure, 3 something that was not explored.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let (boundaries, covered) = self.boundaries();
        if self.failed > 0 || !self.unrecorded.is_empty() {
            1
        } else if covered < boundaries {
            3
        } else {
            0
        }
    }
}

/// Records the script and explores it; `progress` hears of every moment that is done.
#[must_use]
pub fn run(plan: &Plan, progress: &(dyn Fn(usize, usize) + Sync)) -> Totals {
    let begun = Instant::now();
    let (nodes, seed, thorough) = (plan.nodes, plan.seed, plan.thorough);
    let mut totals = Totals { nodes, seed, thorough, ..Totals::default() };
    let (recording, ended) = script::record(plan.nodes, plan.seed, &plan.script);
    totals.happened = recording.covered.iter().map(|(what, count)| (*what, *count)).collect();
    totals.unrecorded = match ended {
        Some(what) => vec![what],
        None => script::missing(&plan.required, &recording),
    };
    // What was recorded before a node went wrong may tell why it did.
    Search { plan, recording: &recording, known: Mutex::default() }.all(&mut totals, progress);
    totals.seconds = begun.elapsed().as_secs_f64();
    totals
}

/// What a moment's variants came to.
#[derive(Clone, Debug, Default)]
struct Seen {
    images: u64,
    kinds: BTreeMap<&'static str, u64>,
    judged: u64,
    boundaries: u64,
    recoveries: u64,
    /// By the way in which they failed: how many, and the first of them.
    failures: BTreeMap<String, (u64, Failure)>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.images += other.images;
        self.judged += other.judged;
        self.boundaries += other.boundaries;
        self.recoveries += other.recoveries;
        for (count, failure) in other.failures.into_values() {
            self.fail(count, failure);
        }
    }

    /// So many images fail like this one.
    fn fail(&mut self, count: u64, failure: Failure) {
        // What differs only in numbers fails in the same way.
        let named = |word: &&str| !word.contains(|letter: char| letter.is_numeric());
        let way: String = failure.what.split_whitespace().filter(named).take(24).collect();
        let known = self.failures.entry(way).or_insert_with(|| (0, failure.clone()));
        known.0 += count;
        if failure.name < known.1.name {
            known.1 = failure;
        }
    }
}

/// An exploration under way.
struct Search<'a> {
    plan: &'a Plan,
    recording: &'a Recording,
    /// What a restart on each image found, by the image's hash.
    known: Mutex<HashMap<u64, Arc<Found>>>,
}

impl Search<'_> {
    fn all(&self, totals: &mut Totals, progress: &(dyn Fn(usize, usize) + Sync)) {
        for boundary in &self.recording.boundaries {
            totals.points.entry(boundary.point).or_default().boundaries += 1;
        }
        let candidates = self.candidates();
        let moments = self.recording.moments.len();
        let parts = moments + candidates.len();
        let seen = self.spread(parts, progress, |part| {
            if part < moments {
                self.moment(self.recording, part, &self.plan.bounds, None)
            } else {
                self.recovery(candidates[part - moments])
            }
        });
        totals.moments = moments as u64;
        let mut sum = Seen::default();
        for (part, seen) in seen.into_iter().enumerate() {
            if let Some(taken) = self.recording.moments.get(part) {
                let mut images = seen.images;
                seen.kinds.iter().for_each(|(kind, count)| *totals.kinds.entry(kind).or_default() += count);
                for boundary in &taken.boundaries {
                    let count = totals.points.entry(self.recording.boundaries[*boundary].point).or_default();
                    count.covered += 1;
                    count.images += std::mem::take(&mut images);
                }
            }
            sum.add(seen);
        }
        totals.images = sum.images;
        totals.judged = sum.judged;
        totals.recoveries = sum.recoveries;
        totals.inner_boundaries = sum.boundaries;
        totals.failed = sum.failures.values().map(|(count, _)| count).sum();
        totals.failures = sum.failures.into_values().collect();
        totals.failures.sort_by_key(|(_, failure)| failure.name);
        totals.failures.truncate(WAYS);
        totals.distinct = self.known.lock().expect("no thread panicked").len() as u64;
    }

    /// Does so many parts on all threads, and returns what came of each, in order.
    fn spread(
        &self,
        parts: usize,
        progress: &(dyn Fn(usize, usize) + Sync),
        work: impl Fn(usize) -> Seen + Sync,
    ) -> Vec<Seen> {
        let next = AtomicUsize::new(0);
        let done: Mutex<BTreeMap<usize, Seen>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.plan.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let part = next.fetch_add(1, Ordering::Relaxed);
                        if part >= parts {
                            return;
                        }
                        let seen = work(part);
                        let mut done = done.lock().expect("no thread panicked");
                        done.insert(part, seen);
                        progress(done.len(), parts);
                    }
                });
            }
        });
        done.into_inner().expect("no thread panicked").into_values().collect()
    }

    /// All variants of a moment, each held against the promises of all boundaries that share it. `outer` is the image
    /// whose recovery was recorded, if it was not the script.
    fn moment(
        &self,
        recording: &Recording,
        number: usize,
        bounds: &Bounds,
        outer: Option<(usize, usize)>,
    ) -> Seen {
        let taken = &recording.moments[number];
        let variants = Variants::of(&taken.moment, bounds, self.plan.seed, number as u64);
        let mut ledgers: Vec<usize> = taken.boundaries.clone();
        ledgers.dedup_by_key(|boundary| {
            let at = &recording.boundaries[*boundary];
            (Arc::as_ptr(&at.ledger), at.committed)
        });
        let mut seen = Seen { images: variants.len() as u64, ..Seen::default() };
        for variant in 0..variants.len() {
            *seen.kinds.entry(variants.kind(variant)).or_default() += 1;
            let found = self.found(recording, taken.node, variants.image(variant));
            for boundary in &ledgers {
                let at = &recording.boundaries[*boundary];
                seen.judged += 1;
                if let Err(what) = judge(&found, &at.ledger, at.committed, recording) {
                    let here = (*boundary, variant);
                    let (outer, inner) = outer.map_or((here, None), |outer| (outer, Some(here)));
                    let (step, kind) = (recording.steps[at.step], variants.kind(variant));
                    let (name, point, node) = (Name { outer, inner }, at.point, taken.node + 1);
                    seen.fail(1, Failure { name, point, node, step, kind, what });
                    break;
                }
            }
        }
        seen
    }

    /// What a restart on an image finds; it is run once.
    fn found(&self, recording: &Recording, node: usize, image: Image) -> Arc<Found> {
        let hash = image.hash();
        if let Some(found) = self.known.lock().expect("no thread panicked").get(&hash) {
            return found.clone();
        }
        let found = Arc::new(restart(recording, self.plan.nodes, node, image));
        self.known.lock().expect("no thread panicked").insert(hash, found.clone());
        found
    }

    /// The boundaries at which recoveries are explored, spread over the recording, each with a number that draws the
    /// variant.
    fn candidates(&self) -> Vec<(usize, u64)> {
        let (moments, wanted) = (self.recording.moments.len(), self.plan.recoveries);
        let mut stream = Stream::new(self.plan.seed, "explore recoveries");
        let moment = |at: usize| if wanted <= moments { at * moments / wanted } else { at % moments };
        let taken = (0..wanted).filter_map(|at| self.recording.moments.get(moment(at)));
        taken.filter_map(|taken| Some((*taken.boundaries.last()?, stream.bits()))).collect()
    }

    /// Records the recovery from one image, and explores it.
    fn recovery(&self, (boundary, draw): (usize, u64)) -> Seen {
        let at = &self.recording.boundaries[boundary];
        let taken = &self.recording.moments[at.moment];
        let variants = Variants::of(&taken.moment, &self.plan.bounds, self.plan.seed, at.moment as u64);
        let outer = (boundary, (draw % variants.len() as u64) as usize);
        let mut seen = Seen { recoveries: 1, ..Seen::default() };
        let inner = match record_recovery(self.plan, self.recording, &variants, outer) {
            Ok(inner) => inner,
            Err(what) => {
                let name = Name { outer, inner: None };
                let (point, node, step) = (at.point, at.node + 1, self.recording.steps[at.step]);
                seen.fail(1, Failure { name, point, node, step, kind: "recovery", what });
                return seen;
            }
        };
        seen.boundaries = inner.boundaries.len() as u64;
        for number in 0..inner.moments.len() {
            seen.add(self.moment(&inner, number, &self.plan.nested, Some(outer)));
        }
        seen
    }
}

/// The variants of a boundary's moment.
fn variants_at(
    plan: &Plan,
    recording: &Recording,
    boundary: usize,
    bounds: &Bounds,
) -> Result<Variants, String> {
    let at = recording.boundaries.get(boundary);
    let at = at.ok_or_else(|| format!("there are {} boundaries", recording.boundaries.len()))?;
    let taken = &recording.moments[at.moment];
    Ok(Variants::of(&taken.moment, bounds, plan.seed, at.moment as u64))
}

/// Lets a node recover from an image of the recording, alone, and records it.
fn record_recovery(
    plan: &Plan,
    base: &Recording,
    variants: &Variants,
    outer: (usize, usize),
) -> Result<Recording, String> {
    let at = &base.boundaries[outer.0];
    let seed = plan.seed ^ (outer.0 as u64) << 32 ^ outer.1 as u64;
    let mut cluster = Cluster::new(plan.nodes, seed, "explore recovery", base.ended_us);
    cluster.machines[at.node] = Machine::new(variants.disk(outer.1), at.ledger.clone());
    cluster.recording = base.branch(outer.0);
    cluster.start(at.node)?;
    cluster.quiet()?;
    if plan.nodes == 1 {
        cluster.until("a leader that has committed all", |it| {
            it.leader().is_some() && it.machines[0].seen.as_ref().is_some_and(|seen| seen.commit == seen.last)
        })?;
        cluster.quiet()?;
    }
    Ok(cluster.finish())
}

/// One image again: what was on the disk, what was found, and the verdict.
///
/// # Errors
/// A name that the recording does not have.
pub fn only(plan: &Plan, name: Name) -> Result<(String, bool), String> {
    let (base, _) = script::record(plan.nodes, plan.seed, &plan.script);
    let (inner, boundary, variant, bounds);
    let recording = match name.inner {
        None => {
            (boundary, variant, bounds) = (name.outer.0, name.outer.1, &plan.bounds);
            &base
        }
        Some(at) => {
            (boundary, variant, bounds) = (at.0, at.1, &plan.nested);
            let outer = variants_at(plan, &base, name.outer.0, &plan.bounds)?;
            if name.outer.1 >= outer.len() {
                return Err(format!("that boundary has {} variants", outer.len()));
            }
            inner = record_recovery(plan, &base, &outer, name.outer)?;
            &inner
        }
    };
    let variants = variants_at(plan, recording, boundary, bounds)?;
    if variant >= variants.len() {
        return Err(format!("that boundary has {} variants", variants.len()));
    }
    let at = &recording.boundaries[boundary];
    let image = variants.image(variant);
    let found = restart(recording, plan.nodes, at.node, image.clone());
    let verdict = judge(&found, &at.ledger, at.committed, recording);
    let text = super::report::only(recording, boundary, &variants, variant, &image, &found, &verdict);
    Ok((text, verdict.is_ok()))
}
