//! How far a leader's answers run ahead of what is durable: the writes that were answered and are not committed yet.
//!
//! What may be lost with a leader are these writes and no others. None is taken in while the oldest of its pattern is older than
//! the pattern allows, or with it there would be more bytes than that: so all that can be lost at once of a pattern was
//! answered within its leeway. Never answers anybody.

use std::collections::{BTreeMap, VecDeque};

use super::{Leeway, Loose};
use crate::access::user::Pattern;
use crate::error::{ErrorCode, Failure};
use crate::time::Micros;
use crate::types::Index;

/// Writes that were answered and are not committed, the oldest first.
#[derive(Clone, Debug, Default)]
struct Ahead {
    /// Each with its time and bytes.
    writes: VecDeque<(Index, Micros, u64)>,
    bytes: u64,
}

impl Ahead {
    fn push(&mut self, index: Index, now: Micros, bytes: u64) {
        self.writes.push_back((index, now, bytes));
        self.bytes += bytes;
    }

    fn settle(&mut self, commit: Index) {
        while let Some((_, _, bytes)) = self.writes.pop_front_if(|(index, ..)| *index <= commit) {
            self.bytes -= bytes;
        }
    }

    /// The age of the oldest.
    fn age(&self, now: Micros) -> Micros {
        self.writes.front().map_or(Micros(0), |(_, since, _)| now.since(*since))
    }
}

/// All that was answered by a leader in its term and is not committed.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    all: Ahead,
    patterns: BTreeMap<Pattern, Ahead>,
}

/// How large a lag is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurabilityLag {
    /// The age of the oldest write that was answered and is not committed, in milliseconds.
    pub ms: u64,
    /// How many there are.
    pub entries: usize,
    /// Bytes of their keys, values and answers.
    pub bytes: u64,
}

impl Lag {
    /// How large it is now.
    #[must_use]
    pub fn size(&self, now: Micros) -> DurabilityLag {
        let Ahead { writes, bytes } = &self.all;
        DurabilityLag { ms: self.all.age(now).0 / 1000, entries: writes.len(), bytes: *bytes }
    }

    /// Why this write can't be answered ahead now, if so.
    #[must_use]
    pub fn refusal(&self, loose: &Loose, now: Micros) -> Option<Failure> {
        loose.patterns.iter().find_map(|(pattern, leeway)| {
            let ahead = self.patterns.get(pattern)?;
            let Leeway { ms, bytes } = *leeway;
            let late = ahead.age(now) >= Micros::from_millis(ms);
            if !late && ahead.bytes.saturating_add(loose.bytes) <= bytes {
                return None;
            }
            let text = format!(
                "{} writes with {} bytes were answered before they are durable, the oldest {} ms ago, and {pattern} allows \
                 {bytes} bytes and {ms} ms: try again in {} ms",
                ahead.writes.len(),
                ahead.bytes,
                ahead.age(now).0 / 1000,
                ms.clamp(10, 100)
            );
            Some(Failure::new(ErrorCode::DurabilityLag, text))
        })
    }

    /// This write is answered ahead.
    pub fn push(&mut self, index: Index, loose: Loose, now: Micros) {
        for (pattern, _) in loose.patterns {
            self.patterns.entry(pattern).or_default().push(index, now, loose.bytes);
        }
        self.all.push(index, now, loose.bytes);
    }

    /// Everything up to here is committed.
    pub fn settle(&mut self, commit: Index) {
        if self.all.writes.is_empty() {
            return;
        }
        self.all.settle(commit);
        self.patterns.retain(|_, ahead| {
            ahead.settle(commit);
            !ahead.writes.is_empty()
        });
    }

    /// The term is lost: what becomes of these writes is for others to say.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loose(pattern: &str, ms: u64, most: u64, bytes: u64) -> Loose {
        let pattern = Pattern::parse(pattern.as_bytes()).expect("a pattern");
        Loose { patterns: vec![(pattern, Leeway { ms, bytes: most })], bytes }
    }

    fn at(ms: u64) -> Micros {
        Micros::from_millis(ms)
    }

    #[test]
    fn nothing_is_taken_in_once_the_oldest_is_as_old_as_its_pattern_allows() {
        let mut lag = Lag::default();
        let a = || loose("a*", 10, 100, 1);
        assert_eq!(lag.refusal(&a(), at(5)), None);
        lag.push(Index(7), a(), at(5));
        assert_eq!(lag.refusal(&a(), at(14)), None);
        assert!(lag.refusal(&a(), at(15)).is_some_and(|failure| failure.is_definite()));
        assert_eq!(lag.refusal(&loose("b*", 10, 100, 1), at(15)), None, "that is another pattern");
        lag.settle(Index(6));
        assert!(lag.refusal(&a(), at(15)).is_some());
        lag.settle(Index(7));
        assert_eq!((lag.refusal(&a(), at(15)), lag.size(at(15))), (None, DurabilityLag::default()));
    }

    #[test]
    fn nor_once_there_would_be_too_many_bytes() {
        let mut lag = Lag::default();
        lag.push(Index(7), loose("a*", 100, 30, 10), at(0));
        lag.push(Index(9), loose("a*", 100, 30, 15), at(20));
        assert_eq!(lag.size(at(30)), DurabilityLag { ms: 30, entries: 2, bytes: 25 });
        assert_eq!(lag.refusal(&loose("a*", 100, 30, 5), at(30)), None);
        assert!(lag.refusal(&loose("a*", 100, 30, 6), at(30)).is_some());
        lag.settle(Index(8));
        assert_eq!(lag.size(at(30)), DurabilityLag { ms: 10, entries: 1, bytes: 15 });
        lag.clear();
        assert_eq!(lag.size(at(30)), DurabilityLag::default());
    }
}
