//! All that can happen in few steps: an exhaustive search of the real Raft, with few nodes and a small alphabet.
//!
//! Seeds reach deep and meet what is likely; scripts show what somebody thought of. This meets every order of a few
//! events: messages delivered, lost, doubled and overtaken, time-outs, power failures, slow disks, writes, reads, steps of
//! the membership. It has no clock: a time-out is over whenever the search says so.
//!
//! ```text
//! plan.rs ──► search.rs: breadth first ──► space.rs: states, events ──► tables.rs ──► host.rs: Raft, disk.rs
//!                  │                            │  judge.rs: all nodes    each step    judge.rs: one node
//!                  ▼                            ▼                         once
//!             words.rs, report.rs
//! ```
//!
//! It knows nothing of the node around Raft: neither its files nor its clients, and no node that doubts its memory. A snapshot comes whole.

pub mod disk;
pub mod host;
pub mod judge;
pub mod plan;
pub mod report;
pub mod search;
pub mod space;
pub mod tables;
#[cfg(test)]
mod tests;
mod words;

pub use plan::{Plan, plans};
pub use search::{Found, Reach, exit_code, run};
