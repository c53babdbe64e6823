//! One number for the committed state, by a walk in the order of keys: never in hash order, and independent
//! of the hash seed, of pending, and of how the state came about.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::base::Base;
use super::effect::Deadline;
use super::table::Walk;

/// The digest of a committed state and its index.
pub(super) fn digest(base: &Base) -> u64 {
    let mut walk = Fields(SipHasher13::new());
    walk.number(base.committed.0);
    walk.number(base.time.0);
    walk.number(base.weight);
    walk.number(u64::from(base.level));
    walk.record(&base.founding);

    walk.number(base.keys.len() as u64);
    for row in base.keys.range(std::ops::Bound::Unbounded) {
        walk.bytes(row.name());
        walk.bytes(row.value());
        walk.number(row.revision().0);
        walk.deadline(row.deadline());
    }
    base.tables.walk(&mut walk);
    walk.0.finish()
}

/// Feeds a hash with fields that can't run into each other.
struct Fields(SipHasher13);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.write(bytes);
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
        self.0.write(&number.to_le_bytes());
    }

    /// In the bytes that a snapshot has for it.
    fn record(&mut self, record: &impl serde::Serialize) {
        let bytes = Counted { walk: self, bytes: 0 };
        let written = postcard::serialize_with_flavor(record, bytes);
        let bytes = written.expect("a hash takes whatever is written");
        self.number(bytes);
    }
}

/// Where postcard writes to: the hash. The number of bytes follows them.
struct Counted<'a> {
    walk: &'a mut Fields,
    bytes: u64,
}

impl postcard::ser_flavors::Flavor for Counted<'_> {
    type Output = u64;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.walk.0.write(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<u64> {
        Ok(self.bytes)
    }
}
