//! The client's boundary: what its driver tells it and what it tells its driver. Decides nothing.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::reply::{Receipt, Value};
use crate::time::Micros;
use crate::types::{Blob, ConnId, NodeId, SessionId};

/// The driver's name for a command that it submitted. Not used twice among commands that are not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId(pub u64);

/// What a driver tells the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientInput {
    /// Time has passed: when the last `WakeAt` is due. Extra ticks do no harm.
    Tick,
    /// Somebody wants a command executed. Exactly one `Done` follows.
    Submit {
        /// For the `Done`.
        op: OpId,
        /// The command's name and arguments.
        args: Vec<Blob>,
        /// Milliseconds after which the caller wants an answer, whatever it is; 0 is the configured default.
        deadline_ms: u32,
        /// The session and number under which the very same command was asked before, perhaps by a client that
        /// has died since: the server answers what it answered then, or executes it now, once. Only where the
        /// session still keeps that answer; else the outcome stays unknown.
        again: Option<(SessionId, u64)>,
    },
    /// A connection that `Connect` asked for is there.
    Connected {
        /// Which.
        conn: ConnId,
    },
    /// A connection that `Connect` asked for could not be made.
    ConnectFailed {
        /// Which.
        conn: ConnId,
    },
    /// The server sent bytes, split anywhere.
    Bytes {
        /// On which connection.
        conn: ConnId,
        /// At least one byte.
        data: Bytes,
    },
    /// The connection is gone. Not needed after the client's own `Close`, and harmless.
    Disconnected {
        /// Which.
        conn: ConnId,
    },
    /// The application wants no more: everything under way is done at once, as far as known.
    Shutdown,
}

/// What the client tells its driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// Make a connection and report `Connected` or `ConnectFailed`.
    Connect {
        /// A number that was not used before.
        conn: ConnId,
        /// The place of the address in [`super::ClientConfig::addresses`].
        address: usize,
    },
    /// Send bytes, after all earlier bytes on this connection.
    Send {
        /// On which connection.
        conn: ConnId,
        /// At least one byte.
        data: Bytes,
    },
    /// Close a connection once everything sent before has gone out, or give up making it.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// A command is done.
    Done {
        /// Which.
        op: OpId,
        /// What came of it.
        outcome: OpOutcome,
        /// Where it took effect or read, if it was evaluated.
        receipt: Option<Receipt>,
        /// The node that gave the answer.
        node: Option<NodeId>,
        /// How often it was sent.
        attempts: u32,
        /// The session and the number under which it was sent last, for the history.
        once: Option<(SessionId, u64)>,
    },
    /// Send a `Tick` at this time of the clock that `step` is given. Replaces every earlier wish.
    WakeAt(Micros),
    /// After `Shutdown`: nothing more will come.
    Stopped,
}

/// What came of a command, over all its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpOutcome {
    /// It was executed, once.
    Ok(Value),
    /// It did not take effect and never will. Other than [`OpOutcome::Unknown`] this is a promise.
    Failed(Failure),
    /// It may have taken effect, or may yet.
    Unknown(Failure),
}
