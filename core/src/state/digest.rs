//! One number for the committed state, by a walk in the order of keys: never in hash order, and independent
//! of the hash seed, of pending, and of how the state came about.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::base::{Base, Stored};
use super::effect::Deadline;
use crate::types::Index;

/// The digest of a committed state and its index.
pub(super) fn digest(base: &Base) -> u64 {
    let mut walk = Walk(SipHasher13::new());
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
    walk.number(base.sessions().len() as u64);
    for (id, record) in base.sessions() {
        walk.number(id.0);
        walk.bytes(&record.user);
        for figure in [record.ttl, record.floor, record.last, record.active.0] {
            walk.number(figure);
        }
    }
    walk.number(base.replies().len() as u64);
    for ((id, seq), stored) in base.replies() {
        walk.number(id.0);
        walk.number(*seq);
        walk.stored(stored);
    }
    walk.number(base.forwards().len() as u64);
    for (origin, head) in base.forwards() {
        walk.number(origin.0);
        walk.number(head.boot.0);
        walk.number(head.floor);
        walk.number(head.last);
    }
    walk.number(base.forwarded().len() as u64);
    for ((origin, boot, seq), stored) in base.forwarded() {
        walk.number(origin.0);
        walk.number(boot.0);
        walk.number(*seq);
        walk.stored(stored);
    }
    walk.number(base.users().len() as u64);
    for (name, user) in base.users() {
        walk.bytes(name);
        walk.record(user.as_ref());
    }
    walk.0.finish()
}

/// Feeds a hash with fields that can't run into each other.
struct Walk(SipHasher13);

impl Walk {
    fn number(&mut self, number: u64) {
        self.0.write(&number.to_le_bytes());
    }

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

    fn stored(&mut self, (Index(index), reply): &Stored) {
        self.number(*index);
        self.record(reply.as_ref());
    }

    /// A record with many fields, in the bytes that the log has for it.
    fn record(&mut self, record: &impl serde::Serialize) {
        let bytes = Counted { walk: self, bytes: 0 };
        let written = postcard::serialize_with_flavor(record, bytes);
        let bytes = written.expect("a hash takes whatever is written");
        self.number(bytes);
    }
}

/// Where postcard writes to: the hash. The number of bytes follows them.
struct Counted<'a> {
    walk: &'a mut Walk,
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
