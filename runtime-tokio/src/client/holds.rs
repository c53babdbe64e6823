//! Leases, and guards of locks, permits and offices: each knows until when it is surely held, and is renewed while it lives.
//!
//! What a guard says about time is on the safe side: it counts from the moment at which the newest renewal was *sent*, by this
//! machine's clock. Where a process may be paused for longer than that, only the token helps: hand it on with every write
//! ([`Hold::set`]), and the database refuses those that come too late.
//!
//! Each guard is an owner of its own to the database, whatever owner the caller names: so no guard can be taken for another
//! one that is just being given back. What may have to wait goes over a connection of its own, so that renewals do not stand behind
//! it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index, LeaseId};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::commands::unexpected;
use super::coordination::figure;
use super::{Answer, Client, Error, ErrorCode};

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Lock,
    Semaphore,
    Election,
}

impl Kind {
    const fn family(self) -> &'static str {
        match self {
            Self::Lock => "LOCK",
            Self::Semaphore => "SEMAPHORE",
            Self::Election => "ELECTION",
        }
    }
}

/// A lock, permits of a semaphore, or an office, as long as this is not dropped. It is renewed in the background, three
/// times in its time to live; dropped, it is given back in the background. [`Hold::release`] tells whether that was done.
#[derive(Debug)]
pub struct Hold {
    inner: Arc<Inner>,
    renewal: JoinHandle<()>,
    released: bool,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    kind: Kind,
    name: Blob,
    token: Index,
    lease: LeaseId,
    ttl: Duration,
    until: Mutex<Until>,
    lost: Notify,
}

/// Until when it is surely held.
#[derive(Clone, Copy, Debug)]
enum Until {
    Then(Instant),
    /// The database has said that it is not held any more.
    Lost,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The candidate that was elected: if it is one of this library's, the name that it was given, a slash, and what tells it
    /// from others of that name.
    pub leader: Blob,
    /// What it says.
    pub value: Blob,
    /// The token of its office.
    pub token: Index,
}

impl Client {
    /// Grants a lease, which lives so long after each renewal.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let lease = self.number("LEASE", [Blob::from("GRANT"), millis(ttl)]).await?;
        Ok(LeaseId(lease.unsigned_abs()))
    }

    /// Renews a lease, on whichever node the client is connected to.
    ///
    /// # Errors
    /// See [`Client::command`]; `LEASE_UNKNOWN` if it has ended.
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.number("LEASE", [Blob::from("KEEPALIVE"), lease.to_string().into()]).await.map(drop)
    }

    /// Ends a lease, with all that hangs on it; false if there was none.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn revoke_lease(&self, lease: LeaseId) -> Result<bool, Error> {
        self.number("LEASE", [Blob::from("REVOKE"), lease.to_string().into()]).await.map(|there| there == 1)
    }

    /// Sets a key that goes when the lease ends.
    ///
    /// # Errors
    /// See [`Client::command`]; `LEASE_UNKNOWN` if it has ended.
    pub async fn set_on_lease(
        &self,
        key: impl Into<Blob>,
        value: impl Into<Blob>,
        lease: LeaseId,
    ) -> Result<(), Error> {
        let lease = lease.to_string().into();
        self.command([Blob::from("SET"), key.into(), value.into(), "LEASE".into(), lease]).await.map(drop)
    }

    /// Takes a lock for an owner, waiting for it at most so long (ten minutes and no longer); `None` if somebody else has it
    /// then. The owner is for people who look at the lock. If the future is dropped, the lock is given back once it is granted.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn lock(
        &self,
        name: impl Into<Blob>,
        owner: impl Into<Blob>,
        ttl: Duration,
        wait: Duration,
    ) -> Result<Option<Hold>, Error> {
        self.hold(Kind::Lock, "ACQUIRE", name.into(), vec![owner.into()], ttl, wait, None).await
    }

    /// Takes so many permits of a semaphore that has so many in all; else as [`Client::lock`].
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn permits(
        &self,
        name: impl Into<Blob>,
        (permits, capacity): (u64, u64),
        owner: impl Into<Blob>,
        ttl: Duration,
        wait: Duration,
    ) -> Result<Option<Hold>, Error> {
        let words = vec![capacity.to_string().into(), owner.into()];
        self.hold(Kind::Semaphore, "ACQUIRE", name.into(), words, ttl, wait, Some(permits)).await
    }

    /// Asks to lead, saying something; else as [`Client::lock`].
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn campaign(
        &self,
        name: impl Into<Blob>,
        candidate: impl Into<Blob>,
        value: impl Into<Blob>,
        ttl: Duration,
        wait: Duration,
    ) -> Result<Option<Hold>, Error> {
        let words = vec![candidate.into(), value.into()];
        self.hold(Kind::Election, "CAMPAIGN", name.into(), words, ttl, wait, None).await
    }

    #[allow(clippy::too_many_arguments)]
    async fn hold(
        &self,
        kind: Kind,
        verb: &str,
        name: Blob,
        mut words: Vec<Blob>,
        ttl: Duration,
        wait: Duration,
        permits: Option<u64>,
    ) -> Result<Option<Hold>, Error> {
        // The owner is behind the capacity of a semaphore, and first everywhere else.
        let owner = &mut words[usize::from(kind == Kind::Semaphore)];
        *owner = [owner.as_slice(), b"/", unique()?.as_bytes()].concat().into();
        let mut all = vec![Blob::from(kind.family()), verb.into(), name.clone()];
        all.extend(words);
        all.extend(["PX".into(), millis(ttl)]);
        if let Some(permits) = permits {
            all.extend(["PERMITS".into(), permits.to_string().into()]);
        }
        let mut asks = self.clone();
        if !wait.is_zero() {
            all.extend(["WAIT".into(), millis(wait)]);
            asks = self.waiting()?;
        }
        let client = self.clone();
        // In a task of its own: whoever drops the future does not leave a lock behind that nobody gives back.
        let acquired = tokio::spawn(async move {
            let sent = Instant::now();
            let answer = asks.command(all).await?;
            if answer.value == Value::Nil {
                return Ok(None);
            }
            let (token, lease) = (figure(&answer.value, "token"), figure(&answer.value, "lease"));
            let (Some(token), Some(lease)) = (token, lease) else {
                return Err(unexpected(kind.family(), answer));
            };
            let hold = Hold::new(client, kind, name, (Index(token), LeaseId(lease)), ttl, sent);
            // It may have been granted at any moment since it was asked for: what is left of its time is known after a
            // renewal.
            if sent.elapsed() > ttl / 4 {
                hold.renew().await?;
            }
            Ok(Some(hold))
        });
        acquired
            .await
            .unwrap_or_else(|_| Err(Error::definite(ErrorCode::ShuttingDown, "the runtime was shut down")))
    }
}

/// Tells owners of one name apart.
fn unique() -> Result<String, Error> {
    let seed = crate::net::draw_seed()
        .map_err(|error| Error::definite(ErrorCode::Argument, format!("can't read /dev/urandom: {error}")))?;
    Ok(seed[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Renews until it is lost or nobody holds it any more.
async fn keep(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(inner.ttl / 3).await;
        match inner.renew().await {
            Err(error) if matches!(error.code(), ErrorCode::Fenced | ErrorCode::LeaseUnknown) => return,
            // Another attempt may get through before its time is over.
            _ => {}
        }
    }
}

impl Inner {
    fn words<const N: usize>(&self, verb: &str, words: [Blob; N]) -> Vec<Blob> {
        let first = [Blob::from(self.kind.family()), verb.into(), self.name.clone()];
        let token = Blob::from(self.token.to_string());
        first.into_iter().chain([token]).chain(words).collect()
    }

    async fn say<const N: usize>(&self, verb: &str, words: [Blob; N]) -> Result<Answer, Error> {
        self.client.command(self.words(verb, words)).await
    }

    fn release(&self) -> Vec<Blob> {
        self.words(if self.kind == Kind::Election { "RESIGN" } else { "RELEASE" }, [])
    }

    fn set_until(&self, until: Until) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    async fn renew(&self) -> Result<(), Error> {
        let sent = Instant::now();
        let renewed = self.say("RENEW", []).await;
        let until = match &renewed {
            // As long as the database says, which counts from when it was asked at the earliest.
            Ok(answer) => match answer.value {
                Value::Int(ttl) => Until::Then(sent + Duration::from_millis(ttl.unsigned_abs())),
                _ => return Err(unexpected("RENEW", answer.clone())),
            },
            Err(error) if matches!(error.code(), ErrorCode::Fenced | ErrorCode::LeaseUnknown) => Until::Lost,
            Err(_) => return renewed.map(drop),
        };
        self.set_until(until);
        if matches!(until, Until::Lost) {
            self.lost.notify_waiters();
        }
        renewed.map(drop)
    }

    fn until(&self) -> Until {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    fn new(
        client: Client,
        kind: Kind,
        name: Blob,
        (token, lease): (Index, LeaseId),
        ttl: Duration,
        sent: Instant,
    ) -> Self {
        let (until, lost) = (Mutex::new(Until::Then(sent + ttl)), Notify::new());
        let inner = Arc::new(Inner { client, kind, name, token, lease, ttl, until, lost });
        let renewal = tokio::spawn(keep(inner.clone()));
        Self { inner, renewal, released: false }
    }

    /// The fencing token: greater than that of every earlier holder.
    #[must_use]
    pub fn token(&self) -> Index {
        self.inner.token
    }

    /// The lease that it hangs on. Keys can hang on it, too.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.inner.lease
    }

    /// Until when it is surely held, if nothing renews it; `None` once it is known to be lost.
    #[must_use]
    pub fn deadline(&self) -> Option<std::time::Instant> {
        match self.inner.until() {
            Until::Then(until) => Some(until.into_std()),
            Until::Lost => None,
        }
    }

    /// Whether it is surely held now. What is done a moment later may be too late: see [`Hold::set`].
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.inner.until(), Until::Then(until) if Instant::now() < until)
    }

    /// Comes back when it is not surely held any more.
    pub async fn lost(&self) {
        loop {
            let told = self.inner.lost.notified();
            let Until::Then(until) = self.inner.until() else { return };
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = told => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Renews it now.
    ///
    /// # Errors
    /// See [`Client::command`]; `FENCED` if it is lost.
    pub async fn renew(&self) -> Result<(), Error> {
        self.inner.renew().await
    }

    /// Sets a key, if this is still held when that takes effect.
    ///
    /// # Errors
    /// See [`Client::command`]; `FENCED` if it is lost.
    pub async fn set(&self, key: impl Into<Blob>, value: impl Into<Blob>) -> Result<(), Error> {
        let (fence, token) = (Blob::from("FENCE"), Blob::from(self.inner.token.to_string()));
        let words = ["SET".into(), key.into(), value.into(), fence, self.inner.name.clone(), token];
        self.inner.client.command(words).await.map(drop)
    }

    /// Says something else, as the leader. Only for offices.
    ///
    /// # Errors
    /// See [`Client::command`]; `FENCED` if it is lost.
    pub async fn proclaim(&self, value: impl Into<Blob>) -> Result<(), Error> {
        self.inner.say("PROCLAIM", [value.into()]).await.map(drop)
    }

    /// Gives it back; false if it was lost before. It is given back also if the future is dropped.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn release(mut self) -> Result<bool, Error> {
        self.released = true;
        self.renewal.abort();
        let done = self.inner.client.submit(self.inner.release());
        self.inner.set_until(Until::Lost);
        done.await.map(|answer| answer.value == Value::Int(1))
    }
}

/// In a runtime that is still there, it is given back in the background.
impl Drop for Hold {
    fn drop(&mut self) {
        self.renewal.abort();
        if !self.released
            && matches!(self.inner.until(), Until::Then(_))
            && tokio::runtime::Handle::try_current().is_ok()
        {
            // It is on its way before this returns; nobody waits for the answer.
            drop(self.inner.client.submit(self.inner.release()));
        }
    }
}

fn millis(span: Duration) -> Blob {
    span.as_millis().max(1).to_string().into()
}
