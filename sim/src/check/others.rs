//! The keys that are written in ways which only the first judge follows: the other judges leave them alone.

use std::collections::BTreeSet;

use steadfast_core::types::Blob;

use super::asked::Asked;

/// Such keys, and prefixes of some.
#[derive(Debug, Default)]
pub struct Others {
    keys: BTreeSet<Blob>,
    prefixes: BTreeSet<Blob>,
}

impl Others {
    /// Adds what a command may write so.
    pub fn add(&mut self, asked: &Asked) {
        match asked {
            Asked::Drop(prefix, Some(_)) => drop(self.prefixes.insert(prefix.clone())),
            Asked::Value(_) | Asked::Txn(_) | Asked::Once(_) | Asked::Lease(_) if asked.is_write() => {
                self.keys.extend(asked.keys().into_iter().cloned());
            }
            _ => {}
        }
    }

    /// Whether the key is one of them.
    #[must_use]
    pub fn has(&self, key: &Blob) -> bool {
        self.keys.contains(key) || self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }
}
