//! Crash points, all of them: a short script is recorded once on a cluster of real nodes; then at every boundary
//! between two things that a node or its disk did, everything that a crash may leave is made, a node is restarted on
//! it, and held against all that it had promised by then.
//!
//! The idea is that of ALICE (Pillai et al., OSDI 2014) and CrashMonkey (OSDI 2018). Seeds reach deep and see each
//! instant once in many thousand runs; this sees every instant of one short run in all its variants.
//!
//! ```text
//! script.rs ──► cluster.rs: real nodes, one thing at a time ──► recording.rs: boundaries, disks, ledgers
//!                                                                   │
//!                  judge.rs ◄── image.rs ◄── variants.rs, atoms.rs ◄┘  search.rs: all of them, on all cores
//! ```

pub mod atoms;
pub mod callers;
pub mod cluster;
pub mod disk;
pub mod image;
pub mod judge;
pub mod ledger;
pub mod machine;
mod observe;
pub mod play;
mod play_snapshots;
pub mod recording;
pub mod report;
pub mod script;
pub mod search;
#[cfg(test)]
mod tests;
pub mod variants;

pub use search::{Plan, Totals, run};
