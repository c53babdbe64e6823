//! The write-ahead log: what a node has promised to remember.
//!
//! *Segments.* The log is a sequence of files, zero-filled before use. A segment's header names the place in
//! an older segment at which it continues the log ([`Link`]), so a segment can also replace the end of
//! an older one.
//!
//! *Batches.* One batch is one write, begins at a sector boundary, and is followed by one sync. Its first
//! record is a [`Mark`]: everything before this place was synced when the batch was written. Bad bytes before
//! the newest mark are therefore damage to what was durable, and are never cut away; after it they are a
//! torn write, and the log is cut at the first of them, whatever follows.
//!
//! *Recovery never overwrites.* What lies between the newest mark and the end may be readable and yet not
//! durable (after a failed sync), so it must be written again; and it may be acknowledged, so it must not be
//! written over: a crash may leave any sector of a write that was not synced as garbage. Every start therefore
//! copies that tail into a new segment, and makes the copy part of the log by writing the new segment's header
//! last. A segment belongs to one boot, and no stale byte can ever stand behind a batch.
//!
//! *Where it begins.* A snapshot takes the place of the log up to its index. Segments that hold nothing beyond are
//! blanked and used again, or removed, in any order: a start follows the links back only as far as the snapshot
//! does not reach. A log that a snapshot from another node supersedes begins anew in a fresh segment.
//!
//! *Repair.* The log of a node that is not alone is not refused when it is damaged: what is left of it is salvaged
//! batch by batch (`salvage.rs`), the node fetches the rest from others, and when the log is whole, it is written beside
//! the damaged segments, which then go ([`Wal::mend`]).
//!
//! *Examining.* `steadfast verify` asks the same code that decides at a start, and has it stop before anything is
//! written (`Recovery::examine`); `scan.rs` says what each segment holds by itself.
//!
//! *Vouching.* A segment that was cut to nothing looks like one whose preparation had not ended. The hard state
//! therefore says up to which segment preparation *had* ended, and no batch is written into a segment before
//! that is durable ([`crate::hard::HardStore::vouch`]).

mod format;
mod prepare;
mod rebuild;
mod recovery;
mod replay;
mod salvage;
mod scan;
mod scrub;
mod survey;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

pub use format::{Identity, Link, MAX_PAYLOAD, Mark, Position, SECTOR};
pub use recovery::{Damage, Recovered, Recovery, RecoveryStep};
pub use salvage::Salvaged;
pub use scrub::{Checked, SegmentCheck};
pub use writer::{Setup, Wal};

pub(crate) use format::{HEADER_BYTES, HeaderFlaw, SegmentHeader};
pub(crate) use rebuild::Rebuild;
pub(crate) use scan::{Scan, scan};
pub(crate) use survey::Refusal;
