//! The raw facts of each command for whoever records histories: the sessions' tests do, and checkers judge
//! them. Observing changes nothing.

use std::sync::Arc;
use std::time::Instant;

use steadfast_core::client::OpOutcome;
use steadfast_core::reply::Receipt;
use steadfast_core::types::{Blob, NodeId, SessionId};

/// Is called on the submitting task before a command can be sent, and on the client's task before its caller
/// hears of the outcome. Must be quick.
pub type Observer = Arc<dyn Fn(&Observation<'_>) + Send + Sync>;

/// Something that happened to a command.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// The command's number in this client, from 1.
    pub op: u64,
    /// When.
    pub at: Instant,
    /// What.
    pub event: Observed<'a>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Observed<'a> {
    /// The command is about to be submitted.
    Invoke {
        /// Its name and arguments.
        args: &'a [Blob],
    },
    /// Nothing more will come.
    Done {
        /// What came of it.
        outcome: &'a OpOutcome,
        /// Where it took effect or read.
        receipt: Option<Receipt>,
        /// The node that answered.
        node: Option<NodeId>,
        /// How often it was sent.
        attempts: u32,
        /// The session and sequence under which it was sent last.
        once: Option<(SessionId, u64)>,
    },
}
