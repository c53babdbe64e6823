//! Who leads an election, as a stream: the leader of now, and then each next one, or what it says. It goes on through lost connections,
//! nodes and leaders of the cluster; those that led only while nobody asked are passed over.

use std::time::Duration;

use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index};

use super::commands::unexpected;
use super::feed::{Feed, Teller};
use super::holds::Leader;
use super::watch::{PAUSE, WAIT, passes};
use super::{Answer, Client, Error};

/// A stream of leaders; `None` is told while nobody leads.
pub type Leaders = Feed<Option<Leader>>;

impl Client {
    /// Who leads, if anybody does.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn leader(&self, name: impl Into<Blob>) -> Result<Option<Leader>, Error> {
        read(self.command(words(&name.into(), None)).await?)
    }

    /// Tells who leads, now and whenever that changes. Must be called within a tokio runtime. It has a connection of its own, and
    /// goes on when this client is closed.
    ///
    /// # Errors
    /// If the system has no randomness for the connection on which it waits.
    pub fn leaders(&self, name: impl Into<Blob>) -> Result<Leaders, Error> {
        let (client, name) = (Self::start(self.shared.config.clone())?, name.into());
        // Who reads slowly wants to know the newest, and not all that were.
        Ok(Feed::of(1, |teller| observe(client, name, teller)))
    }
}

/// Asks, again and again, until nobody listens or there is an error that ends it.
async fn observe(client: Client, name: Blob, teller: Teller<Option<Leader>>) {
    let mut known = None;
    loop {
        let words = words(&name, known.as_ref().map(|leader| (leader, WAIT)));
        let leader = match client.changes(words).await.and_then(read) {
            Ok(leader) => leader,
            Err(error) if passes(error.code()) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => {
                // Whoever dropped the stream does not want to know.
                let _ = teller.send(Err(error)).await;
                return;
            }
        };
        if known.as_ref() != Some(&leader) {
            known = Some(leader.clone());
            if teller.send(Ok(leader)).await.is_err() {
                return;
            }
        }
    }
}

/// Asks who leads; or waits for another than is known.
fn words(name: &Blob, known: Option<(&Option<Leader>, Duration)>) -> Vec<Blob> {
    let mut words = vec!["ELECTION".into(), "OBSERVE".into(), name.clone()];
    if let Some((known, wait)) = known {
        let nobody = (Index(0), Blob::default());
        let (token, value) = known.as_ref().map_or(nobody, |leader| (leader.token, leader.value.clone()));
        words.extend(["UNLIKE".into(), token.to_string().into(), value]);
        words.extend(["WAIT".into(), wait.as_millis().to_string().into()]);
    }
    words
}

fn read(answer: Answer) -> Result<Option<Leader>, Error> {
    match &answer.value {
        Value::Nil => Ok(None),
        Value::Map(pairs) => match pairs.as_slice() {
            [(_, Value::Bytes(leader)), (_, Value::Bytes(value)), (_, Value::Int(token))] => {
                let (leader, value) = (leader.clone(), value.clone());
                Ok(Some(Leader { leader, value, token: Index(token.unsigned_abs()) }))
            }
            _ => Err(unexpected("ELECTION OBSERVE", answer)),
        },
        _ => Err(unexpected("ELECTION OBSERVE", answer)),
    }
}
