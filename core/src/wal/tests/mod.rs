//! Tests of the log, on a disk that loses what was not synced.

mod behaviour;
mod crash;
mod damage;
mod golden;
mod rig;
