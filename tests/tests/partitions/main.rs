//! Clusters of real processes that are cut apart, stopped, wiped, restarted one by one, and whose clocks are apart, while ten
//! clients write.
//!
//! | file | job |
//! |---|---|
//! | `trial.rs` | a cluster under load, and what must be true of it in the end |
//! | `witness.rs` | a client that talks to one node alone |
//! | `links.rs` | whether a cut does what it says |
//! | `three.rs`, `five.rs` | nodes whose links are cut |
//! | `sleeper.rs` | a leader that sleeps while others go on |
//! | `restarts.rs` | a node wiped and replaced; one restarted after the other |
//! | `clocks.rs` | nodes whose clocks are apart |

mod clocks;
mod five;
mod links;
mod restarts;
mod sleeper;
mod three;
mod trial;
mod witness;
