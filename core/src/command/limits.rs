//! Commands on rate limiters. What a limiter remembers and decides is in `coordination/limiter.rs`; here is how it is asked,
//! and what is logged: of a request that may go on, what the limiter remembers now; of one that may not, nothing.
//!
//! Limiters have names of their own: a key and a limiter of one name know nothing of each other.

use serde::{Deserialize, Serialize};

use super::Command;
use super::evaluate::Evaluation;
use super::info::number as figure;
use super::needs::Needs;
use super::parse::Words;
use super::words::{Word, number, option};
use crate::access::user::Permission;
use crate::coordination::limiter::{Limiter, Rule, Verdict, time_bytes, time_of};
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::state::data::Members;
use crate::state::effect::Effect;
use crate::time::Millis;
use crate::types::Blob;

/// Largest limit, refill and cost.
const COUNT_MAX: u64 = 1_000_000_000;

/// Longest window, in milliseconds: 366 days.
const WINDOW_MS_MAX: u64 = 366 * 86_400_000;

/// Longest period of a token bucket, in milliseconds: eleven days. Its debt then fits 64 bits.
const PERIOD_MS_MAX: u64 = 1_000_000_000;

/// Most holders of a concurrency limit.
const PLACES_MAX: u64 = 1_000;

const LIMIT: &[Permission] = &[Permission::Limit];
const LIMIT_WRITE: &[Permission] = &[Permission::Limit, Permission::Write];

/// A command on limiters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitCommand {
    /// Asks for a request to go on, or with `peek` whether it could.
    Check {
        /// Which limiter.
        name: Blob,
        /// The limit.
        rule: Rule,
        /// How much the request counts.
        cost: u64,
        /// Changes nothing.
        peek: bool,
    },
    /// Asks for a place, or keeps the one that the holder has.
    Enter {
        /// Which limiter.
        name: Blob,
        /// Most holders at a time.
        limit: u64,
        /// Who asks.
        holder: Blob,
        /// After how many milliseconds the place is free again by itself.
        ttl_ms: u64,
        /// Changes nothing.
        peek: bool,
    },
    /// Gives a place back.
    Leave {
        /// Which limiter.
        name: Blob,
        /// Who had it.
        holder: Blob,
    },
    /// Forgets all that a limiter remembers.
    Reset {
        /// Which.
        name: Blob,
    },
}

impl LimitCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Check { rule: Rule::Fixed { .. }, .. } => "LIMIT FIXED",
            Self::Check { rule: Rule::Sliding { .. }, .. } => "LIMIT SLIDING",
            Self::Check { rule: Rule::Bucket { .. }, .. } => "LIMIT BUCKET",
            Self::Enter { .. } => "LIMIT CONCURRENCY",
            Self::Leave { .. } => "LIMIT RELEASE",
            Self::Reset { .. } => "LIMIT RESET",
        }
    }

    const fn limiter(&self) -> &Blob {
        match self {
            Self::Check { name, .. }
            | Self::Enter { name, .. }
            | Self::Leave { name, .. }
            | Self::Reset { name } => name,
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::Check { peek: true, .. } | Self::Enter { peek: true, .. })
    }

    pub(super) const fn grows(&self) -> bool {
        matches!(self, Self::Check { peek: false, .. } | Self::Enter { peek: false, .. })
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        // To forget what was used is to lift the limit.
        let permissions = if matches!(self, Self::Reset { .. }) { LIMIT_WRITE } else { LIMIT };
        Needs::Keys(permissions, std::slice::from_ref(self.limiter()))
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        each(Word::Plain(self.limiter()));
        let mut figures = |figures: &[u64]| figures.iter().for_each(|it| each(Word::Plain(&number(it))));
        match self {
            Self::Check { rule, cost, peek, .. } => {
                match rule {
                    Rule::Fixed { limit, window } | Rule::Sliding { limit, window } => {
                        figures(&[*limit, *window])
                    }
                    Rule::Bucket { limit, refill, period } => figures(&[*limit, *refill, *period]),
                }
                option("COST", Some(&number(cost)), each);
                if *peek {
                    each(Word::Plain(b"PEEK"));
                }
            }
            Self::Enter { limit, holder, ttl_ms, peek, .. } => {
                figures(&[*limit]);
                each(Word::Plain(holder));
                each(Word::Plain(&number(ttl_ms)));
                if *peek {
                    each(Word::Plain(b"PEEK"));
                }
            }
            Self::Leave { holder, .. } => each(Word::Plain(holder)),
            Self::Reset { .. } => {}
        }
    }
}

impl Words<'_> {
    pub(super) fn limit_command(&mut self) -> Result<Command, Failure> {
        let name = self.next()?;
        Ok(Command::Limits(match self.name() {
            "LIMIT CONCURRENCY" => {
                let limit = self.between("the limit", 1, PLACES_MAX)?;
                let holder = self.holder()?;
                let ttl_ms = self.between("the time in milliseconds", 1, WINDOW_MS_MAX)?;
                let peek = self.keyword("PEEK");
                self.end()?;
                LimitCommand::Enter { name, limit, holder, ttl_ms, peek }
            }
            "LIMIT RELEASE" => {
                let holder = self.holder()?;
                LimitCommand::Leave { name, holder }
            }
            "LIMIT RESET" => LimitCommand::Reset { name },
            kind => {
                let limit = self.between("the limit", 1, COUNT_MAX)?;
                let rule = match kind {
                    "LIMIT FIXED" => Rule::Fixed { limit, window: self.window()? },
                    "LIMIT SLIDING" => Rule::Sliding { limit, window: self.window()? },
                    "LIMIT BUCKET" => Rule::Bucket {
                        limit,
                        refill: self.between("the refill", 1, COUNT_MAX)?,
                        period: self.between("the period in milliseconds", 1, PERIOD_MS_MAX)?,
                    },
                    // The catalogue has no other.
                    _ => return Err(self.syntax("no limiter is of this kind")),
                };
                let cost = if self.keyword("COST") { self.between("COST", 1, COUNT_MAX)? } else { 1 };
                let peek = self.keyword("PEEK");
                self.end()?;
                LimitCommand::Check { name, rule, cost, peek }
            }
        }))
    }

    /// All holders of a limit lie in one row.
    fn holder(&mut self) -> Result<Blob, Failure> {
        let holder = self.next()?;
        self.check_name("bytes in a holder's name", &holder)?;
        Ok(holder)
    }

    fn window(&mut self) -> Result<u64, Failure> {
        self.between("the window in milliseconds", 1, WINDOW_MS_MAX)
    }
}

impl Evaluation<'_> {
    pub(super) fn limit(&mut self, command: &LimitCommand) -> Outcome {
        match command {
            LimitCommand::Check { name, rule, cost, peek } => self.check_limit(name, rule, *cost, *peek),
            LimitCommand::Enter { name, limit, holder, ttl_ms, peek } => {
                self.enter(name, *limit, holder, *ttl_ms, *peek)
            }
            LimitCommand::Leave { name, holder } => {
                let held = self.places(name)?.get(holder).is_some();
                if held {
                    self.place(name, holder, None);
                }
                Ok(Value::Int(held.into()))
            }
            LimitCommand::Reset { name } => {
                let there = self.view.limiter(name).is_some();
                if there {
                    self.view.effect(Effect::Limited { name: name.clone(), limiter: None });
                }
                Ok(Value::Int(there.into()))
            }
        }
    }

    fn check_limit(&mut self, name: &Blob, rule: &Rule, cost: u64, peek: bool) -> Outcome {
        if !is_sane(rule) || !(1..=COUNT_MAX).contains(&cost) {
            return Err(insane());
        }
        let before = self.view.limiter(name);
        // What is said holds at this time and no other.
        let now = self.view.consult_time();
        let Some((verdict, after)) = rule.decide(before.as_ref(), cost, now) else {
            return Err(other_kind(before.as_ref()));
        };
        if verdict.allowed && !peek {
            self.view.effect(Effect::Limited { name: name.clone(), limiter: Some(after) });
        }
        Ok(told(verdict))
    }

    fn enter(&mut self, name: &Blob, limit: u64, holder: &Blob, ttl_ms: u64, peek: bool) -> Outcome {
        if !(1..=PLACES_MAX).contains(&limit) || !(1..=WINDOW_MS_MAX).contains(&ttl_ms) {
            return Err(insane());
        }
        let places = self.places(name)?;
        let now = self.view.consult_time();
        let ends: Vec<u64> = places.iter().map(|(_, until)| time_of(until).0 - now.0).collect();
        let (used, holds) = (ends.len() as u64, places.get(holder).is_some());
        let allowed = holds || used < limit;
        if allowed && !peek {
            self.place(name, holder, Some(Millis(now.0.saturating_add(ttl_ms))));
        }
        // So many have to go first: one that has the limit's place now, and those above a limit that was lowered.
        let wait = || {
            let mut ends = ends.clone();
            ends.sort_unstable();
            ends[(used - limit) as usize]
        };
        let stays = if allowed { ttl_ms } else { 0 };
        let used = used + u64::from(allowed && !holds);
        Ok(told(Verdict {
            allowed,
            remaining: limit.saturating_sub(used),
            reset_ms: ends.iter().copied().max().unwrap_or(0).max(stays),
            retry_after_ms: Some(if allowed { 0 } else { wait() }),
        }))
    }

    /// The places of a concurrency limit that are taken. Those whose time has passed are given back first.
    fn places(&mut self, name: &Blob) -> Result<Members, Failure> {
        let mut places = match self.view.limiter(name) {
            None => return Ok(Members::default()),
            Some(Limiter::Places(places)) => places,
            other => return Err(other_kind(other.as_ref())),
        };
        let now = self.view.now();
        let over: Vec<Blob> = places
            .iter()
            .filter(|(_, until)| time_of(until) <= now)
            .map(|(holder, _)| holder.into())
            .collect();
        if !over.is_empty() {
            self.view.consult_time();
        }
        over.iter().for_each(|holder| places.set(holder, None));
        Ok(places)
    }

    fn place(&mut self, name: &Blob, holder: &Blob, until: Option<Millis>) {
        let until = until.map(time_bytes);
        self.view.effect(Effect::Placed { name: name.clone(), holder: holder.clone(), until });
    }
}

/// What parsing makes sure of; a forwarding node's word is not believed.
fn is_sane(rule: &Rule) -> bool {
    let count = 1..=COUNT_MAX;
    match rule {
        Rule::Fixed { limit, window } | Rule::Sliding { limit, window } => {
            count.contains(limit) && (1..=WINDOW_MS_MAX).contains(window)
        }
        Rule::Bucket { limit, refill, period } => {
            count.contains(limit) && count.contains(refill) && (1..=PERIOD_MS_MAX).contains(period)
        }
    }
}

fn insane() -> Failure {
    Failure::new(
        ErrorCode::Argument,
        "a number of the limit is out of range: HELP LIMIT FIXED and its kin tell them",
    )
}

fn other_kind(found: Option<&Limiter>) -> Failure {
    let found = found.map_or("limiter", Limiter::name);
    let message = format!("this name is that of a {found}: use another name, or LIMIT RESET it");
    Failure::new(ErrorCode::WrongType, message)
}

fn told(verdict: Verdict) -> Value {
    Value::Map(vec![
        ("allowed".into(), Value::Int(verdict.allowed.into())),
        ("remaining".into(), figure(verdict.remaining)),
        ("reset_ms".into(), figure(verdict.reset_ms)),
        ("retry_after_ms".into(), verdict.retry_after_ms.map_or(Value::Nil, figure)),
    ])
}
