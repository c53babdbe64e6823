//! What the application decides about its client. Plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::Blob;

/// A client's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientConfig {
    /// The cluster's nodes, at least one, written as the nodes themselves write them: only then is the leader
    /// that a node names found in this list. The first is tried first. The driver resolves them.
    pub addresses: Vec<String>,
    /// The cluster that is meant; a server of another one is refused. `None` means any.
    pub cluster: Option<String>,
    /// Who the client is; `None` where access is not checked.
    pub credentials: Option<Credentials>,
    /// The application's name, for the operator.
    pub name: String,
    /// The deadline of a command that names none, in milliseconds.
    pub deadline_ms: u32,
    /// How long connecting may take, in milliseconds.
    pub connect_ms: u32,
    /// How long the greeting may take, in milliseconds; checking a password takes the server some.
    pub greeting_ms: u32,
    /// How long one attempt may take, in milliseconds. After a quarter more without an answer the connection is
    /// given up.
    pub attempt_ms: u32,
    /// How long a connection that will be left is still listened to, in milliseconds.
    pub drain_ms: u32,
    /// The first pause after a failure, in milliseconds. It doubles with every failure in a row, and a random
    /// half of it is left out.
    pub backoff_min_ms: u32,
    /// The longest pause, in milliseconds.
    pub backoff_max_ms: u32,
    /// Most requests under way. The server may allow fewer.
    pub in_flight: usize,
    /// Most commands not done; more are refused as OVERLOADED.
    pub waiting: usize,
    /// Most bytes of arguments of commands not done.
    pub waiting_bytes: usize,
    /// Whether writes go under a session, so that they can be retried and still execute once.
    pub use_session: bool,
    /// The longest frame that the client accepts, in bytes.
    pub max_frame: u32,
}

impl ClientConfig {
    /// The defaults, for a cluster at these addresses.
    #[must_use]
    pub fn new(addresses: Vec<String>) -> Self {
        Self {
            addresses,
            cluster: None,
            credentials: None,
            name: "steadfast-client".into(),
            deadline_ms: 30_000,
            connect_ms: 2000,
            greeting_ms: 5000,
            attempt_ms: 5000,
            drain_ms: 500,
            backoff_min_ms: 10,
            backoff_max_ms: 1000,
            in_flight: 128,
            waiting: 10_000,
            waiting_bytes: 64 << 20,
            use_session: true,
            max_frame: 8 << 20,
        }
    }
}

/// A user name and a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The user.
    pub user: Blob,
    /// The password. Never printed.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
