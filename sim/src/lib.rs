//! The simulator: the real core in a world of fake disks, networks, clocks and processes.
//!
//! A seed is drawn into a [`schedule::Schedule`] (`draw.rs`, `workload.rs`), the schedule is executed by a
//! [`world::World`], and the judges in `check/` say whether every promise was kept.

#![forbid(unsafe_code)]

pub mod bounded;
pub mod campaign;
pub mod check;
pub mod clock;
pub mod disk;
pub mod draw;
pub mod explore;
pub mod fault;
pub mod glue;
pub mod history;
pub mod json;
pub mod judge;
pub mod network;
pub mod pipe;
pub mod probes;
pub mod process;
mod rare;
pub mod report;
pub mod rng;
pub mod run;
pub mod schedule;
pub mod shrink;
pub mod trace;
pub mod workload;
pub mod world;
