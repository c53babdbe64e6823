//! The search of the second judge: can one key's steps be put in an order that explains every answer?
//!
//! After Wing and Gong (1993) with Lowe's just-in-time linearization and memory (2017): moments are walked in
//! order, and only when a step has ended must it have been put in place, together with whatever open steps
//! explain it. A configuration is what the key holds and which open steps are in place already. It never
//! looks at receipts.
//!
//! Three reductions keep it small, and none loses an explanation: a step that leaves every state as it is goes
//! in place as soon as it fits; like steps of unknown outcome are a class, of which the earliest go first; and
//! of two configurations that differ only in the unknown steps used up, the one that used fewer is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use steadfast_core::types::Blob;

use super::linear_key::{Cell, Deed, Step};
use crate::history::Moment;

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is an order.
    Order,
    /// There is none: this step's answer can't be explained (its place in the list), and the key can have
    /// held only this before it.
    Nothing(usize, Vec<Cell>),
    /// More configurations than the bound.
    TooMany,
}

/// Searches for an order of one key's steps. `bound` is on the configurations seen.
///
/// Writes of unknown outcome whose values nobody ever saw are left out at first: they need not have happened.
/// Only if there is no order without them are they put in.
#[must_use]
pub fn search(steps: &[Step], bound: usize) -> Found {
    let seen = seen_values(steps);
    let needed = |step: &Step| {
        let unseen = matches!(&step.deed, Deed::Put { value, .. } if !seen.contains(value));
        step.completed.is_some() || !unseen
    };
    let all = Search::new(steps, &|_| true);
    let few = Search::new(steps, &needed);
    if few.moments.len() == all.moments.len() {
        return all.run(bound);
    }
    match few.run(bound) {
        Found::Order => Found::Order,
        Found::Nothing(..) | Found::TooMany => all.run(bound),
    }
}

/// Every value that some answer showed.
fn seen_values(steps: &[Step]) -> BTreeSet<Blob> {
    let shown = steps.iter().filter_map(|step| match &step.deed {
        Deed::Saw(value) | Deed::Put { old: Some(value), .. } => value.clone(),
        Deed::Add(by, Some(Some(sum))) => sum.checked_sub(*by).map(|before| Blob::from(before.to_string())),
        _ => None,
    });
    shown.collect()
}

/// A state of the search.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Config {
    /// What the key holds.
    cell: Cell,
    /// The open steps in place whose end is known, sorted.
    known: Vec<usize>,
    /// The unknown steps in place.
    unknown: Uses,
}

/// How many steps of each class of unknown ones are in place: sorted by class, none with zero.
type Uses = Vec<(usize, usize)>;

/// Configurations seen, without those that another one makes superfluous: by what the key holds and the
/// known steps in place, the smallest uses of unknown steps.
#[derive(Default)]
struct Memory(BTreeMap<(Cell, Vec<usize>), Vec<Uses>>);

impl Memory {
    /// Remembers a configuration; false if one that used no more was there before.
    fn learn(&mut self, config: &Config) -> bool {
        let used = self.0.entry((config.cell.clone(), config.known.clone())).or_default();
        if used.iter().any(|less| is_within(less, &config.unknown)) {
            return false;
        }
        used.retain(|more| !is_within(&config.unknown, more));
        used.push(config.unknown.clone());
        true
    }
}

/// Whether one use of unknown steps is within another.
fn is_within(less: &[(usize, usize)], more: &[(usize, usize)]) -> bool {
    let mut more = more.iter();
    less.iter().all(|(class, count)| more.by_ref().any(|(other, most)| other == class && most >= count))
}

/// One search.
struct Search<'a> {
    steps: &'a [Step],
    /// What happens when: a moment, whether a step ends then, and which.
    moments: Vec<(Moment, bool, usize)>,
    /// The class of each unknown step, named by its first member.
    class: BTreeMap<usize, usize>,
    /// Known steps that are invoked and not ended.
    open: BTreeSet<usize>,
    /// How many of each class are invoked.
    asked: BTreeMap<usize, usize>,
    /// Configurations that may still be seen.
    left: usize,
}

impl<'a> Search<'a> {
    fn new(steps: &'a [Step], wanted: &dyn Fn(&Step) -> bool) -> Self {
        let mut search = Self {
            steps,
            moments: Vec::new(),
            class: BTreeMap::new(),
            open: BTreeSet::new(),
            asked: BTreeMap::new(),
            left: 0,
        };
        let mut classes: Vec<usize> = Vec::new();
        for (at, step) in steps.iter().enumerate().filter(|(_, step)| wanted(step)) {
            search.moments.push((step.invoked, false, at));
            if let Some(completed) = step.completed {
                search.moments.push((completed, true, at));
                continue;
            }
            let class = classes.iter().copied().find(|class| steps[*class].is_like(step));
            search.class.insert(at, class.unwrap_or(at));
            if class.is_none() {
                classes.push(at);
            }
        }
        search.moments.sort_unstable();
        search
    }

    fn run(mut self, bound: usize) -> Found {
        self.left = bound;
        let mut configs = vec![Config { cell: Cell::default(), known: Vec::new(), unknown: Vec::new() }];
        for (moment, ends, at) in std::mem::take(&mut self.moments) {
            if !ends {
                match self.class.get(&at) {
                    Some(class) => *self.asked.entry(*class).or_default() += 1,
                    None => drop(self.open.insert(at)),
                }
                continue;
            }
            let Some(after) = self.end(&configs, at, moment.ns) else { return Found::TooMany };
            if after.is_empty() {
                let cells: BTreeSet<Cell> = configs.into_iter().map(|config| config.cell).collect();
                return Found::Nothing(at, cells.into_iter().collect());
            }
            self.open.remove(&at);
            configs = after;
        }
        Found::Order
    }

    /// All configurations in which this step is in place when it ends; `None` if they are too many.
    fn end(&mut self, configs: &[Config], ended: usize, now: u64) -> Option<Vec<Config>> {
        let mut memory = Memory::default();
        let mut done = Memory::default();
        let mut queue: VecDeque<Config> = VecDeque::new();
        for config in configs {
            self.meet(config.clone(), &mut memory, &mut queue)?;
        }
        while let Some(mut config) = queue.pop_front() {
            if let Ok(place) = config.known.binary_search(&ended) {
                config.known.remove(place);
                done.learn(&config);
                continue;
            }
            let mut next = Vec::new();
            if config.cell.ends.is_some_and(|ends| ends <= now) {
                next.push(Config { cell: Cell::default(), ..config.clone() });
            }
            self.place_known(&config, &mut next);
            self.place_unknown(&config, &mut next);
            for config in next {
                self.meet(config, &mut memory, &mut queue)?;
            }
        }
        let configs = done.0.into_iter().flat_map(|((cell, known), uses)| {
            uses.into_iter().map(move |unknown| Config { cell: cell.clone(), known: known.clone(), unknown })
        });
        Some(configs.collect())
    }

    /// Puts one more known step in place, each in turn.
    fn place_known(&self, config: &Config, next: &mut Vec<Config>) {
        for &at in &self.open {
            let Err(place) = config.known.binary_search(&at) else { continue };
            for cell in self.steps[at].after(&config.cell) {
                let mut after = Config { cell, ..config.clone() };
                after.known.insert(place, at);
                next.push(after);
            }
        }
    }

    /// Puts one more unknown step in place, of each class in turn, if that changes anything.
    fn place_unknown(&self, config: &Config, next: &mut Vec<Config>) {
        for (&class, &asked) in &self.asked {
            let place = config.unknown.binary_search_by_key(&class, |(class, _)| *class);
            if place.is_ok_and(|place| config.unknown[place].1 == asked) {
                continue;
            }
            for cell in self.steps[class].after(&config.cell) {
                if cell == config.cell {
                    continue;
                }
                let mut after = Config { cell, ..config.clone() };
                match place {
                    Ok(place) => after.unknown[place].1 += 1,
                    Err(place) => after.unknown.insert(place, (class, 1)),
                }
                next.push(after);
            }
        }
    }

    /// Puts every open step in place that fits and changes nothing, and queues what is new.
    fn meet(&mut self, mut config: Config, memory: &mut Memory, queue: &mut VecDeque<Config>) -> Option<()> {
        for &at in &self.open {
            let Err(place) = config.known.binary_search(&at) else { continue };
            let step = &self.steps[at];
            if step.is_pure() && !step.after(&config.cell).is_empty() {
                config.known.insert(place, at);
            }
        }
        if memory.learn(&config) {
            self.left = self.left.checked_sub(1)?;
            queue.push_back(config);
        }
        Some(())
    }
}
