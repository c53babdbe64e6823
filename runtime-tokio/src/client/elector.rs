//! A candidate that campaigns until it is elected, however long that takes and whatever happens to the cluster meanwhile.

use std::time::Duration;

use steadfast_core::types::Blob;
use tokio::time::sleep;

use super::{Client, Error, ErrorCode, Hold, Leader};

/// The longest wait of one campaign; the next goes on behind it.
const CAMPAIGN: Duration = Duration::from_secs(600);

/// Pause before a campaign that failed in passing is begun again.
const PAUSE: Duration = Duration::from_millis(200);

/// A candidate for an office.
#[derive(Clone, Debug)]
pub struct Elector {
    client: Client,
    name: Blob,
    candidate: Blob,
    ttl: Duration,
}

impl Client {
    /// A candidate of this name for an office, which it keeps for so long after each renewal.
    #[must_use]
    pub fn elector(&self, name: impl Into<Blob>, candidate: impl Into<Blob>, ttl: Duration) -> Elector {
        Elector { client: self.clone(), name: name.into(), candidate: candidate.into(), ttl }
    }
}

/// Whether it was elected, and its office was over before it heard of that; or its session was.
fn is_over(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::Fenced | ErrorCode::LeaseUnknown | ErrorCode::SessionUnknown)
}

impl Elector {
    /// Waits until it is elected, saying something; goes on when nodes are lost. It leads as long as what it gets says so
    /// ([`Hold::is_held`], [`Hold::lost`]), and campaigns anew by calling this again.
    ///
    /// If the future is dropped, an office that was granted meanwhile is given back. A campaign whose outcome is not known may hold
    /// the office, or a place in line, until its time to live is over.
    ///
    /// # Errors
    /// What another attempt would not mend: a right that is missing, a client that was closed.
    pub async fn elected(&self, value: impl Into<Blob>) -> Result<Hold, Error> {
        let value = value.into();
        loop {
            let (name, candidate) = (self.name.clone(), self.candidate.clone());
            match self.client.campaign(name, candidate, value.clone(), self.ttl, CAMPAIGN).await {
                Ok(Some(office)) => return Ok(office),
                Ok(None) => {}
                Err(error) if error.is_passing() || is_over(&error) => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Who leads now, if anybody does. [`Client::leaders`] tells it whenever that changes.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        self.client.leader(self.name.clone()).await
    }
}
