//! A key as the naive model holds it: its value, its revision, and when it goes.

use std::collections::BTreeMap;

use steadfast_core::types::{Blob, Index};

/// A key's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it holds.
    pub held: Held,
    /// Where it was last changed.
    pub revision: Index,
    /// When it goes, if ever.
    pub ends: Option<Ends>,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Bytes.
    Text(Blob),
    /// Fields with values, at least one.
    Fields(BTreeMap<Blob, Blob>),
}

impl Held {
    /// The bytes, if it is bytes.
    #[must_use]
    pub fn text(&self) -> Option<&Blob> {
        match self {
            Self::Text(value) => Some(value),
            Self::Fields(_) => None,
        }
    }
}

/// When a key goes: promised until `at`, gone from `at + slack` on, in milliseconds of cluster time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// What the client was promised.
    pub at: u64,
    /// How much longer the key stays, so that no clock can make it go early.
    pub slack: u64,
}

impl Ends {
    /// The end of a span that begins now.
    #[must_use]
    pub fn after(now: u64, span: u64) -> Self {
        Self { at: now.saturating_add(span), slack: (span / 500 + 1).min(u64::from(u32::MAX)) }
    }
}

impl Row {
    /// Whether the key counts as gone.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.ends.is_some_and(|ends| ends.at.saturating_add(ends.slack) <= now)
    }
}
