//! One number for the committed state, by a walk in the order of keys: never in hash order, and independent
//! of the hash seed, of pending, and of how the state came about.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::base::Base;
use super::data::Data;
use super::effect::Deadline;
use super::table::Walk;

/// The digest of a committed state and its index.
pub(super) fn digest(base: &Base) -> u64 {
    let mut walk = Fields { hasher: SipHasher13::new(), record: Vec::new() };
    walk.number(base.committed.0);
    walk.number(base.time.0);
    walk.number(base.weight);
    walk.number(u64::from(base.level));
    walk.record(&base.founding);

    walk.number(base.keys.len() as u64);
    for row in base.keys.range(std::ops::Bound::Unbounded) {
        walk.bytes(row.name());
        walk.data(&row.record().data);
        walk.number(row.revision().0);
        walk.deadline(row.deadline());
    }
    base.tables.walk(&mut walk);
    walk.hasher.finish()
}

/// Feeds a hash with fields that can't run into each other.
struct Fields {
    hasher: SipHasher13,
    /// Room for one record's bytes.
    record: Vec<u8>,
}

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hasher.write(bytes);
    }

    fn data(&mut self, data: &Data) {
        self.number(data.kind() as u64);
        match data {
            Data::String(value) => self.bytes(value),
            Data::Hash(members) => {
                self.number(members.len() as u64);
                for (name, value) in members.iter() {
                    self.bytes(name);
                    self.bytes(value);
                }
            }
        }
    }

    fn deadline(&mut self, deadline: Option<Deadline>) {
        match deadline {
            None => self.number(0),
            Some(Deadline { at, slack }) => {
                self.number(1);
                self.number(at.0);
                self.number(u64::from(slack));
            }
        }
    }
}

impl Walk for Fields {
    fn number(&mut self, number: u64) {
        self.hasher.write(&number.to_le_bytes());
    }

    /// In the bytes that a snapshot has for it.
    fn record(&mut self, record: &impl serde::Serialize) {
        let mut bytes = std::mem::take(&mut self.record);
        bytes.clear();
        self.record = postcard::to_extend(record, bytes).expect("memory takes whatever is written");
        self.number(self.record.len() as u64);
        self.hasher.write(&self.record);
    }
}
