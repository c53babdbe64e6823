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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmed_drop_is_followed_by_the_first_judge_alone_and_only_its_prefix() {
        let mut others = Others::default();
        let asked = |line: &str| {
            let words: Vec<Blob> = line.split(' ').map(Blob::from).collect();
            Asked::read(&words).expect("it is known")
        };
        others.add(&asked("DROP PREPARE b"));
        others.add(&asked("DROP CONFIRM a: 7-0"));
        assert!(others.has(&"a:".into()) && others.has(&"a:1".into()));
        assert!(
            ["a", "b", "b1", "ba:"].iter().all(|key| !others.has(&(*key).into())),
            "nothing was dropped there"
        );
        others.add(&asked("GET b"));
        assert!(!others.has(&"b".into()));
    }
}
