//! The Steadfast database, without I/O.
//!
//! All that decides lives here: wire protocols, sessions, Raft, the write-ahead log, evaluation of commands,
//! access control and the client's retry logic. It opens no file or socket, reads no clock, starts no thread
//! and draws no randomness but from the seed it was given. Two drivers run the very same [`Node`]:
//! `steadfast-sim` with fake disks, networks and clocks, and `steadfast` with the real ones.
//!
//! Read `io.rs` for the boundary, then `node.rs`, which routes every input to the part that handles it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

pub mod access;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod coordination;
mod disk;
pub mod durability;
pub mod error;
pub mod founding;
pub mod glob;
pub mod hard;
pub mod inspect;
pub mod io;
pub mod job;
pub mod limits;
pub mod membership;
pub mod node;
pub mod protocol;
pub mod raft;
pub mod reply;
pub mod snapshot;
pub mod state;
#[cfg(test)]
mod testdisk;
pub mod time;
pub mod trace;
pub mod types;
pub mod verify;
pub mod wal;
pub mod watch;

pub use node::Node;
