//! Rate limiters, as the judges understand them: read from a request, planned from the documented promises, compared with
//! what the log remembers. Written from the documentation; shares no code with the core's limiters.

use std::collections::BTreeMap;

use steadfast_core::coordination::limiter::{Limiter, time_of};
use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Right, Unread, bad, unsigned, word};
use super::grants::Need;
use super::model::{At, Plan};

/// A command on limiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnLimit {
    /// `LIMIT FIXED | SLIDING | BUCKET name …`
    Ask(Blob, Kind, u64, bool),
    /// `LIMIT CONCURRENCY name places holder ms [PEEK]`
    Enter(Blob, u64, Blob, u64, bool),
    /// `LIMIT RELEASE name holder`
    Leave(Blob, Blob),
    /// `LIMIT RESET name`
    Reset(Blob),
}

/// A kind of limiter, with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Most in each window of so many milliseconds.
    Fixed(u64, u64),
    /// Most in any span of so many milliseconds.
    Sliding(u64, u64),
    /// Most at once, how many come back, and in how many milliseconds.
    Bucket(u64, u64, u64),
}

/// What a limiter remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Window, its number, what was used in it.
    Fixed(u64, u64, u64),
    /// Window; what was used in each of its thirty-seconds.
    Sliding(u64, BTreeMap<u64, u64>),
    /// Period, refill, debt, when.
    Bucket(u64, u64, u64, u64),
    /// Holders, and until when.
    Places(BTreeMap<Blob, u64>),
}

impl Memory {
    /// As the log has it.
    #[must_use]
    pub fn from_log(limiter: &Limiter) -> Self {
        match limiter {
            Limiter::Fixed { window, number, used } => Self::Fixed(*window, *number, *used),
            Limiter::Sliding { window, slots } => Self::Sliding(*window, slots.iter().copied().collect()),
            Limiter::Bucket { period, refill, debt, at } => Self::Bucket(*period, *refill, *debt, at.0),
            Limiter::Places(members) => Self::Places(
                members.iter().map(|(holder, until)| (Blob::from(holder), time_of(until).0)).collect(),
            ),
        }
    }

    /// The moment from which on it makes no difference.
    #[must_use]
    pub fn ends(&self) -> u64 {
        match self {
            Self::Fixed(window, number, _) => (number + 1) * window,
            Self::Sliding(window, slots) => slots.keys().last().map_or(0, |slot| leaves(*slot, *window)),
            Self::Bucket(_, refill, debt, at) => at + debt.div_ceil(*refill),
            Self::Places(places) => places.values().copied().max().unwrap_or(0),
        }
    }
}

/// When what was used in a slot counts no longer: a window after the slot's last millisecond.
fn leaves(slot: u64, window: u64) -> u64 {
    (slot + 1) * window.div_ceil(32) - 1 + window
}

impl OnLimit {
    pub(super) fn read(rest: &[Blob]) -> Result<Self, Unread> {
        let form = || bad("LIMIT with a wrong number of arguments");
        let [kind, name, rest @ ..] = rest else { return Err(form()) };
        let name = name.clone();
        match (word(Some(kind)).as_str(), rest) {
            ("RESET", []) => Ok(Self::Reset(name)),
            ("RELEASE", [holder]) => Ok(Self::Leave(name, holder.clone())),
            ("CONCURRENCY", [places, holder, ms, peek @ ..]) => {
                Ok(Self::Enter(name, unsigned(places)?, holder.clone(), unsigned(ms)?, read_peek(peek)?))
            }
            ("FIXED", [limit, ms, options @ ..]) => {
                let (cost, peek) = read_options(options)?;
                Ok(Self::Ask(name, Kind::Fixed(unsigned(limit)?, unsigned(ms)?), cost, peek))
            }
            ("SLIDING", [limit, ms, options @ ..]) => {
                let (cost, peek) = read_options(options)?;
                Ok(Self::Ask(name, Kind::Sliding(unsigned(limit)?, unsigned(ms)?), cost, peek))
            }
            ("BUCKET", [limit, refill, ms, options @ ..]) => {
                let (cost, peek) = read_options(options)?;
                let kind = Kind::Bucket(unsigned(limit)?, unsigned(refill)?, unsigned(ms)?);
                Ok(Self::Ask(name, kind, cost, peek))
            }
            _ => Err(form()),
        }
    }

    pub(super) const fn name(&self) -> &Blob {
        match self {
            Self::Ask(name, ..) | Self::Enter(name, ..) | Self::Leave(name, _) | Self::Reset(name) => name,
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::Ask(.., true) | Self::Enter(.., true))
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        let limit = Need::Key(Right::Limit, self.name().clone());
        match self {
            Self::Reset(name) => vec![limit, Need::write(name)],
            _ => vec![limit],
        }
    }
}

fn read_peek(options: &[Blob]) -> Result<bool, Unread> {
    match options {
        [] => Ok(false),
        [option] if word(Some(option)) == "PEEK" => Ok(true),
        _ => Err(bad("LIMIT takes PEEK, once")),
    }
}

fn read_options(options: &[Blob]) -> Result<(u64, bool), Unread> {
    match options {
        [option, cost, rest @ ..] if word(Some(option)) == "COST" => Ok((unsigned(cost)?, read_peek(rest)?)),
        _ => Ok((1, read_peek(options)?)),
    }
}

fn told(allowed: bool, remaining: u64, reset: u64, retry: Option<u64>) -> Value {
    let int = |number: u64| Value::Int(number as i64);
    Value::Map(vec![
        ("allowed".into(), Value::Int(allowed.into())),
        ("remaining".into(), int(remaining)),
        ("reset_ms".into(), int(reset)),
        ("retry_after_ms".into(), retry.map_or(Value::Nil, int)),
    ])
}

impl At<'_> {
    /// What the command must do.
    pub(super) fn on_limit(&self, asked: &OnLimit) -> Plan {
        let memory = self.model.limits.get(asked.name()).filter(|memory| memory.ends() > self.now);
        let remembers = |answer: Value, memory: Option<Memory>| Plan {
            limits: BTreeMap::from([(asked.name().clone(), memory)]),
            ..Plan::says(answer)
        };
        match asked {
            OnLimit::Reset(_) if memory.is_none() => Plan::says(Value::Int(0)),
            OnLimit::Reset(_) => remembers(Value::Int(1), None),
            OnLimit::Ask(_, kind, cost, peek) => {
                let Some((answer, after)) = self.ask(memory, *kind, *cost) else {
                    return Plan::fails(ErrorCode::WrongType);
                };
                match after.filter(|_| !peek) {
                    Some(after) => remembers(answer, Some(after)),
                    None => Plan::says(answer),
                }
            }
            OnLimit::Enter(..) | OnLimit::Leave(..) => {
                let mut places = match memory {
                    None => BTreeMap::new(),
                    Some(Memory::Places(places)) => places.clone(),
                    Some(_) => return Plan::fails(ErrorCode::WrongType),
                };
                places.retain(|_, until| *until > self.now);
                self.places(asked, places, &remembers)
            }
        }
    }

    fn places(
        &self,
        asked: &OnLimit,
        mut places: BTreeMap<Blob, u64>,
        remembers: &dyn Fn(Value, Option<Memory>) -> Plan,
    ) -> Plan {
        let (limit, holder, ms, peek) = match asked {
            OnLimit::Enter(_, limit, holder, ms, peek) => (*limit as usize, holder, *ms, *peek),
            OnLimit::Leave(_, holder) => {
                return match places.remove(holder) {
                    None => Plan::says(Value::Int(0)),
                    Some(_) if places.is_empty() => remembers(Value::Int(1), None),
                    Some(_) => remembers(Value::Int(1), Some(Memory::Places(places))),
                };
            }
            _ => return Plan::default(),
        };
        let before = places.clone();
        let allowed = places.contains_key(holder) || places.len() < limit;
        if !allowed {
            let mut ends: Vec<u64> = places.values().map(|until| until - self.now).collect();
            ends.sort_unstable();
            let last = ends.last().copied().unwrap_or(0);
            return Plan::says(told(false, 0, last, Some(ends[ends.len() - limit])));
        }
        places.insert(holder.clone(), self.now + ms);
        let reset = before.values().map(|until| until - self.now).max().unwrap_or(0).max(ms);
        let answer = told(true, limit.saturating_sub(places.len()) as u64, reset, Some(0));
        if peek { Plan::says(answer) } else { remembers(answer, Some(Memory::Places(places))) }
    }

    /// The answer, and what is remembered if the request may go on; `None` for another kind of limiter. Where the new window
    /// would forget sooner than the old one, the old one goes on.
    fn ask(&self, memory: Option<&Memory>, kind: Kind, cost: u64) -> Option<(Value, Option<Memory>)> {
        let (mut answer, mut allowed, mut after) = self.ask_by(memory, kind, cost)?;
        if let Some(memory) = memory.filter(|memory| memory.ends() > after.ends()) {
            let kind = match (kind, memory) {
                (Kind::Fixed(limit, _), Memory::Fixed(window, ..)) => Kind::Fixed(limit, *window),
                (Kind::Sliding(limit, _), Memory::Sliding(window, _)) => Kind::Sliding(limit, *window),
                (Kind::Bucket(limit, ..), Memory::Bucket(period, refill, ..)) => {
                    Kind::Bucket(limit, *refill, *period)
                }
                _ => kind,
            };
            (answer, allowed, after) = self.ask_by(Some(memory), kind, cost)?;
        }
        Some((answer, allowed.then_some(after)))
    }

    fn ask_by(&self, memory: Option<&Memory>, kind: Kind, cost: u64) -> Option<(Value, bool, Memory)> {
        let now = self.now;
        Some(match (kind, memory) {
            (Kind::Fixed(limit, window), None | Some(Memory::Fixed(..))) => {
                let number = now / window;
                let used = match memory {
                    Some(Memory::Fixed(same, then, used)) if *same != window || *then == number => *used,
                    _ => 0,
                };
                let (allowed, next) = (used + cost <= limit, (number + 1) * window - now);
                let after = if allowed { used + cost } else { used };
                let retry = if allowed { Some(0) } else { (cost <= limit).then_some(next) };
                let answer = told(allowed, limit.saturating_sub(after), next, retry);
                (answer, allowed, Memory::Fixed(window, number, after))
            }
            (Kind::Sliding(limit, window), None | Some(Memory::Sliding(..))) => {
                let current = now / window.div_ceil(32);
                let mut slots = match memory {
                    Some(Memory::Sliding(other, slots)) => {
                        let live = slots.iter().filter(|(slot, _)| leaves(**slot, *other) > now);
                        let live: BTreeMap<u64, u64> = live.map(|(slot, used)| (*slot, *used)).collect();
                        if *other == window || live.is_empty() {
                            live
                        } else {
                            BTreeMap::from([(current, live.values().sum())])
                        }
                    }
                    _ => BTreeMap::new(),
                };
                let used: u64 = slots.values().sum();
                let allowed = used + cost <= limit;
                // The first moment at which enough has left.
                let retry = slots.keys().map(|slot| leaves(*slot, window)).find(|at| {
                    let left = slots.iter().filter(|(slot, _)| leaves(**slot, window) > *at);
                    left.map(|(_, used)| used).sum::<u64>() + cost <= limit
                });
                let retry =
                    if allowed { Some(0) } else { retry.map(|at| at - now).filter(|_| cost <= limit) };
                if allowed {
                    *slots.entry(current).or_default() += cost;
                }
                let after: u64 = slots.values().sum();
                let reset = slots.keys().last().map_or(0, |slot| leaves(*slot, window) - now);
                let answer = told(allowed, limit.saturating_sub(after), reset, retry);
                (answer, allowed, Memory::Sliding(window, slots))
            }
            (Kind::Bucket(limit, refill, period), None | Some(Memory::Bucket(..))) => {
                let debt = match memory {
                    Some(Memory::Bucket(other, speed, debt, at)) => {
                        let left = (i128::from(*debt) - i128::from((now - at) * speed)).max(0);
                        // Upwards, in the units of the new period.
                        (left * i128::from(period) + i128::from(*other) - 1) / i128::from(*other)
                    }
                    _ => 0,
                };
                let most = i128::from(limit * period);
                let wanted = debt + i128::from(cost * period);
                let allowed = wanted <= most;
                let after = if allowed { wanted } else { debt };
                let wait = (wanted - most + i128::from(refill) - 1) / i128::from(refill);
                let retry = if allowed { Some(0) } else { (cost <= limit).then_some(wait as u64) };
                let remaining = ((most - after).max(0) / i128::from(period)) as u64;
                let reset = (after + i128::from(refill) - 1) / i128::from(refill);
                let answer = told(allowed, remaining, reset as u64, retry);
                (answer, allowed, Memory::Bucket(period, refill, after as u64, now))
            }
            _ => return None,
        })
    }
}
