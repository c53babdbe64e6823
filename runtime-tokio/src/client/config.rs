//! What the application decides about its client.

use std::fmt;
use std::time::Duration;

use steadfast_core::client::{ClientConfig, Credentials};
use steadfast_core::types::Blob;

use super::observe::{Observation, Observer};

/// A client's configuration.
#[derive(Clone)]
pub struct Config {
    pub(super) core: ClientConfig,
    pub(super) observer: Option<Observer>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("core", &self.core).finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults, for a cluster with nodes at these addresses, each `HOST:PORT`. Any of them will do; naming
    /// all lets the client go on when one is down.
    #[must_use]
    pub fn new(addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let addresses = addresses.into_iter().map(Into::into).collect();
        Self { core: ClientConfig::new(addresses), observer: None }
    }

    /// Logs in as this user.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<Blob>, password: impl Into<String>) -> Self {
        self.core.credentials = Some(Credentials { user: user.into(), password: password.into() });
        self
    }

    /// Refuses to talk to a cluster of another name.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.core.cluster = Some(name.into());
        self
    }

    /// What the server's operator sees of the application.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.core.name = name.into();
        self
    }

    /// How long a command may take over all attempts; 30 seconds unless changed.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.core.deadline_ms = millis(deadline);
        self
    }

    /// How long one attempt may take before the command is tried again, on another node if there is one; 5
    /// seconds unless changed.
    #[must_use]
    pub fn attempt(mut self, attempt: Duration) -> Self {
        self.core.attempt_ms = millis(attempt);
        self
    }

    /// Sends writes without a session. Saves a write per client, and costs that a write whose answer is lost can't
    /// be tried again: its outcome is indeterminate.
    #[must_use]
    pub fn without_session(mut self) -> Self {
        self.core.use_session = false;
        self
    }

    /// Lets somebody see the raw facts of every command.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Observation<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(std::sync::Arc::new(observer));
        self
    }

    /// Every setting that the core's client has.
    pub fn core(&mut self) -> &mut ClientConfig {
        &mut self.core
    }
}

/// Whole milliseconds, at least one: zero would mean the default.
pub(super) fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX).max(1)
}
