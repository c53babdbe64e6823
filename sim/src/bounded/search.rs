//! The search: breadth first, so that what breaks is reached by a shortest path, and equal states are met once.
//!
//! A state is known by a hash of 128 bits; that two different ones share one is the only way in which a state within the bounds can
//! be missed.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::space::{self, Event, Next, State};
use super::tables::{Tables, hash};
use super::words;
use crate::glue;

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Most steps of a path.
    pub depth: usize,
    /// Most states, in each plan.
    pub states: usize,
    /// Longest time for all plans together.
    pub budget: Option<Duration>,
    /// How many plans are searched at a time.
    pub jobs: usize,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every state within the bounds was judged, up to the depth.
    Passed,
    /// The same, and no path that the bounds allow is longer.
    Exhausted,
    /// A judge has found something.
    Failed {
        /// What.
        what: String,
        /// The path there, a line or more for each step.
        path: Vec<String>,
    },
    /// There was no time, or no room, for what is left.
    Inconclusive(&'static str),
}

/// What a search has come to.
#[derive(Clone, Debug)]
pub struct Found {
    /// What was searched.
    pub plan: Plan,
    /// How it ended.
    pub ended: Ended,
    /// Different states, the first included.
    pub states: usize,
    /// Steps that were judged, those to known states included.
    pub steps: usize,
    /// Up to so many steps everything was judged; if something was found, the steps that lead there.
    pub depth: usize,
    /// Different states of single nodes.
    pub hosts: usize,
    /// Different steps of single nodes: each was executed once.
    pub executed: usize,
    /// Seconds by the clock.
    pub seconds: f64,
}

impl Found {
    /// States per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.states as f64 / self.seconds.max(0.001)
    }
}

/// The exit status of several searches: 0 all passed, 1 a failure, 3 inconclusive.
#[must_use]
pub fn exit_code(found: &[Found]) -> u8 {
    let code = |found: &Found| match found.ended {
        Ended::Passed | Ended::Exhausted => 0,
        Ended::Failed { .. } => 1,
        Ended::Inconclusive(_) => 3,
    };
    let codes: Vec<u8> = found.iter().map(code).collect();
    if codes.contains(&1) { 1 } else { codes.into_iter().max().unwrap_or(0) }
}

/// Searches all plans, several at a time.
#[must_use]
pub fn run(plans: &[Plan], reach: &Reach) -> Vec<Found> {
    let until = reach.budget.map(|budget| Instant::now() + budget);
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..reach.jobs.clamp(1, plans.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(plan) = plans.get(at) else { return };
                    let found = search(plan, reach, until);
                    all.lock().expect("no thread panicked").push((at, found));
                }
            });
        }
    });
    let mut all = all.into_inner().expect("no thread panicked");
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, found)| found).collect()
}

/// How a state was reached first: from which state, and by which of the events there.
#[derive(Clone, Copy)]
struct From {
    state: u32,
    event: u16,
}

/// A search that is under way.
struct Search<'a> {
    tables: Tables<'a>,
    reach: &'a Reach,
    until: Option<Instant>,
    seen: HashSet<u128, BuildHasherDefault<Hashed>>,
    froms: Vec<From>,
    steps: usize,
}

/// Searches one plan.
fn search(plan: &Plan, reach: &Reach, until: Option<Instant>) -> Found {
    glue::catch_panics();
    let begun = Instant::now();
    let tables = Tables::new(plan);
    let mut search = Search { tables, reach, until, seen: HashSet::default(), froms: Vec::new(), steps: 0 };
    let (depth, ended) = search.run();
    let (hosts, executed) = search.tables.size();
    Found {
        plan: plan.clone(),
        ended,
        states: search.froms.len(),
        steps: search.steps,
        depth,
        hosts,
        executed,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

impl Search<'_> {
    /// The depth that was reached, and how it ended.
    fn run(&mut self) -> (usize, Ended) {
        let first = match space::begin(&mut self.tables) {
            Ok(first) => first,
            Err(what) => {
                let what = format!("{what}, on the way to where the search begins");
                return (0, Ended::Failed { what, path: Vec::new() });
            }
        };
        self.note(&first, From { state: 0, event: 0 });
        let mut level = vec![(0, first.clone())];
        for depth in 0..self.reach.depth {
            let mut next = Vec::new();
            for (number, state) in level {
                if let Some(ended) = self.expand(number, &state, depth + 1 < self.reach.depth, &mut next) {
                    return match ended {
                        Err(why) => (depth, Ended::Inconclusive(why)),
                        Ok((last, what)) => (depth + 1, self.failed(&first, number, last, what)),
                    };
                }
            }
            if next.is_empty() && depth + 1 < self.reach.depth {
                return (depth, Ended::Exhausted);
            }
            level = next;
        }
        (self.reach.depth, Ended::Passed)
    }

    /// Judges all that may follow on a state. What it returns ends the search: the event that breaks something and what it
    /// breaks, or why there is no more room or time.
    fn expand(
        &mut self,
        number: u32,
        state: &State,
        further: bool,
        into: &mut Vec<(u32, State)>,
    ) -> Option<Result<(u16, String), &'static str>> {
        if number.is_multiple_of(256) && self.until.is_some_and(|until| Instant::now() >= until) {
            return Some(Err("the time is over"));
        }
        for (nth, event) in space::events(&self.tables, state).into_iter().enumerate() {
            let event_number = nth as u16;
            match space::next(&mut self.tables, state, event) {
                Next::Nothing => {}
                Next::Broken(what) => return Some(Ok((event_number, what))),
                Next::State(after) => {
                    self.steps += 1;
                    if let Some(place) = self.note(&after, From { state: number, event: event_number })
                        && further
                    {
                        into.push((place, after));
                    }
                }
            }
            if self.froms.len() >= self.reach.states {
                return Some(Err("so many states were asked for and no more"));
            }
        }
        None
    }

    /// Notes a state; its number, if it is new.
    fn note(&mut self, state: &State, from: From) -> Option<u32> {
        if !self.seen.insert(hash(state)) {
            return None;
        }
        self.froms.push(from);
        u32::try_from(self.froms.len() - 1).ok()
    }

    /// The path to what was found, told by going it again.
    fn failed(&mut self, first: &State, mut number: u32, last: u16, what: String) -> Ended {
        let mut events = vec![last];
        while number != 0 {
            let from = self.froms[number as usize];
            events.push(from.event);
            number = from.state;
        }
        let (mut state, mut path) = (first.clone(), words::standing(&self.tables, first));
        for (nth, event) in events.into_iter().rev().enumerate() {
            let event: Event = space::events(&self.tables, &state)[usize::from(event)];
            path.push(format!("{:>3}. {}", nth + 1, words::event(&self.tables, event)));
            if let Next::State(after) = space::next(&mut self.tables, &state, event) {
                path.extend(words::changed(&self.tables, &state, &after));
                state = after;
            }
        }
        Ended::Failed { what, path }
    }
}

/// What is hashed already needs no other hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
