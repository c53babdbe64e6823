//! The figures of the storage: how fast a node is back, what a snapshot costs the writes beside it, how many bytes a
//! write is on the disk; beside those of other programs, measured in the same run on the same machine.
//!
//! | file | job |
//! |---|---|
//! | `options.rs` | what the command line asks for |
//! | `system.rs` | what is asked of every program that is measured, and loading it |
//! | `steadfast.rs`, `redis.rs`, `etcd.rs` | the programs: how each is started, spoken to and stopped |
//! | `daemon.rs` | a process in a directory of its own |
//! | `machine.rs` | what the kernel counts of a process, and how busy the machine is |
//! | `report.rs` | medians, percentiles, tables, JSON |
//! | `nodes.rs` | three nodes that are killed and come back |
//! | `loads.rs` | what those of throughput have in common |
//! | `restart.rs`, `latency.rs`, `bytes.rs`, `throughput.rs`, `cluster.rs`, `scale.rs`, `core.rs`, `leader_loss.rs`, `replacement.rs` | one figure each |
//!
//! Nothing here judges a figure: it prints what was measured, beside the target.

pub mod bytes;
pub mod cluster;
pub mod core;
pub mod daemon;
pub mod etcd;
pub mod latency;
pub mod leader_loss;
pub mod loads;
pub mod machine;
mod nodes;
pub mod options;
pub mod redis;
pub mod replacement;
pub mod report;
pub mod restart;
pub mod scale;
pub mod steadfast;
pub mod system;
pub mod throughput;
