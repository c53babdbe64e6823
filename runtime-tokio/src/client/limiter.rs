//! A rate limiter by name, for callers that would rather wait than be refused.

use std::time::Duration;

use steadfast_core::types::Blob;
use tokio::time::{Instant, sleep};

use super::{Client, Error, Limit, Verdict};

/// A limiter: its name and what it allows, which every caller states alike.
#[derive(Clone, Debug)]
pub struct Limiter {
    client: Client,
    name: Blob,
    limit: Limit,
}

impl Client {
    /// A limiter of this name.
    #[must_use]
    pub fn limiter(&self, name: impl Into<Blob>, limit: Limit) -> Limiter {
        Limiter { client: self.clone(), name: name.into(), limit }
    }
}

impl Limiter {
    /// Asks for a request that counts so much to go on.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn ask(&self, cost: u64) -> Result<Verdict, Error> {
        self.client.limit(self.name.clone(), self.limit, cost).await
    }

    /// What it would say, without a change.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn peek(&self, cost: u64) -> Result<Verdict, Error> {
        self.client.peek_limit(self.name.clone(), self.limit, cost).await
    }

    /// Waits until the request may go on, at most so long; false if it can't within that time, which is said at once.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn pass(&self, cost: u64, patience: Duration) -> Result<bool, Error> {
        // Beyond what a clock can hold there is no end.
        let end = Instant::now().checked_add(patience);
        loop {
            let verdict = self.ask(cost).await?;
            if verdict.allowed {
                return Ok(true);
            }
            match verdict.retry_after {
                // Others may be faster then, so that one may have to wait again.
                Some(wait) if end.is_none_or(|end| Instant::now() + wait <= end) => {
                    sleep(wait.max(Duration::from_millis(1))).await
                }
                _ => return Ok(false),
            }
        }
    }
}
