//! Several clients of one cluster, used in turn. One client pipelines its commands over one connection and in one session; a pool spreads
//! them, for programs that ask more than one connection carries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Client, Config, Error, ErrorCode};

/// Clients of one cluster. Cheap to clone; all clones share the connections.
///
/// Commands of different clients are under way together, in any order: a caller for whom the order counts waits for each answer,
/// or stays with one client of the pool.
#[derive(Clone, Debug)]
pub struct Pool {
    clients: Arc<[Client]>,
    next: Arc<AtomicUsize>,
}

impl Pool {
    /// Connects so many clients and logs them in. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`Client::connect`]; `ARGUMENT` for a pool of none.
    pub async fn connect(config: Config, connections: usize) -> Result<Self, Error> {
        if connections == 0 {
            return Err(Error::definite(ErrorCode::Argument, "a pool needs at least one connection"));
        }
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(Client::connect(config.clone()).await?);
        }
        Ok(Self { clients: clients.into(), next: Arc::default() })
    }

    /// The client whose turn it is.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }

    /// How many there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Closes all of them: see [`Client::close`].
    pub async fn close(self) {
        for client in self.clients.iter() {
            client.clone().close().await;
        }
    }
}
