//! Helpers for whole-system tests: real server processes, real clients, and what can be seen of them from outside.
//!
//! | file | job |
//! |---|---|
//! | `binary.rs` | the server's binary that was built with the test |
//! | `scratch.rs` | directories and ports of one test; waiting with a deadline |
//! | `filesystem.rs` | a real file system of its own that loses its power or is full |
//! | `process.rs` | one server process: started, killed, stopped, its log printed if the test fails |
//! | `cluster.rs` | three of them, or more |
//! | `standing.rs` | where a node stands, by its own word |
//! | `namespaces.rs` | a network of their own, whose links can be cut |
//! | `recording.rs` | what clients do and see becomes a history |
//! | `ledger.rs` | one client that writes keys, and looks whether they are there |
//! | `pressure.rs` | writes at a rate that no answer slows down, and what became of them |
//! | `load.rs` | clients that write counters, registers and unique keys |
//! | `final_log.rs` | the log that a data directory holds, read without touching it |
//! | `raw.rs` | a client that says byte by byte what it likes |
//! | `skipped.rs` | tests whose needs the machine does not meet |
//! | `strace.rs` | system calls of a server, as strace saw them |
//! | `damage.rs` | bytes of a stopped node are changed, and put back |
//! | `durability.rs` | was each reply preceded by the syncs that it needs? |
//! | `interpose.rs` | a server whose disk lies or fails |
//! | `failover/` | two workers, one order, and a leader that dies: how often it is charged twice, for `docs/why.md` |
//! | `figures/` | what is measured, for `docs/benchmarks.md` |
//!
//! Nothing here judges histories: that is the simulator's.

pub mod binary;
pub mod cluster;
pub mod damage;
pub mod durability;
pub mod failover;
pub mod figures;
pub mod filesystem;
pub mod final_log;
pub mod interpose;
pub mod ledger;
pub mod load;
pub mod namespaces;
pub mod pressure;
pub mod process;
pub mod raw;
pub mod recording;
pub mod scratch;
pub mod skipped;
pub mod standing;
pub mod strace;
