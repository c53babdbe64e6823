//! Clusters of real processes that are cut apart, stopped, wiped, restarted one by one, and whose clocks are apart, while ten
//! clients write.
//!
//! | file | job |
//! |---|---|
//! | `trial.rs` | a cluster under load, and what must be true of it in the end |
//! | `witness.rs` | a client that talks to one node alone |
//! | `three.rs` | three nodes whose links are cut |

mod three;
mod trial;
mod witness;
