//! Gives entries without a named owner owners, each its own: a bipartite matching by augmenting paths.

use std::collections::BTreeMap;

use steadfast_core::types::Index;

/// Which operation owns which orphaned entry.
#[derive(Default)]
pub(super) struct Matching {
    entry_of: BTreeMap<usize, usize>,
    op_of: BTreeMap<usize, usize>,
}

impl Matching {
    /// Finds an operation for one more entry, giving earlier entries other operations where needed.
    pub(super) fn augment(&mut self, orphans: &[(Index, Vec<usize>)], first: usize) -> bool {
        // `reached_from` tells through which entry an operation was reached.
        let mut reached_from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut entries = vec![first];
        while let Some(entry) = entries.pop() {
            for &op in &orphans[entry].1 {
                if reached_from.contains_key(&op) {
                    continue;
                }
                reached_from.insert(op, entry);
                match self.entry_of.get(&op) {
                    Some(&holder) => entries.push(holder),
                    None => {
                        self.flip(&reached_from, op);
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Gives every entry on the path to a free operation the operation through which it was left.
    fn flip(&mut self, reached_from: &BTreeMap<usize, usize>, free: usize) {
        let mut next = Some(free);
        while let Some(op) = next {
            let entry = reached_from[&op];
            self.entry_of.insert(op, entry);
            next = self.op_of.insert(entry, op);
        }
    }
}
