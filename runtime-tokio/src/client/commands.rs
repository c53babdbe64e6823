//! Typed helpers for the commands of everyday. Each is one command, and its errors are that command's; whoever
//! wants the receipt uses [`Client::command`].

use std::time::Duration;

use steadfast_core::error::{Certainty, ErrorCode, Failure};
use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index};

use super::{Answer, Client, Error};

/// How a key is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// How long the key lives, in whole milliseconds; for ever if `None`.
    pub ttl: Option<Duration>,
    /// When it is set at all.
    pub condition: Condition,
}

/// When a key is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// In any case.
    #[default]
    Always,
    /// Only if it is missing.
    Missing,
    /// Only if it exists.
    Exists,
    /// Only if it has this revision; zero means that it is missing.
    Revision(Index),
}

/// A page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub keys: Vec<Blob>,
    /// Where the next page begins; `None` after the last.
    pub cursor: Option<Blob>,
}

impl Client {
    /// The value of a key.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn get(&self, key: impl Into<Blob>) -> Result<Option<Blob>, Error> {
        let answer = self.command([Blob::from("GET"), key.into()]).await?;
        match answer.value {
            Value::Nil => Ok(None),
            Value::Bytes(value) => Ok(Some(value)),
            _ => Err(unexpected("GET", answer)),
        }
    }

    /// The value of a key and its revision, for [`Condition::Revision`].
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn get_with_revision(&self, key: impl Into<Blob>) -> Result<Option<(Blob, Index)>, Error> {
        let answer = self.command([Blob::from("GETV"), key.into()]).await?;
        match &answer.value {
            Value::Nil => Ok(None),
            Value::List(items) => match items.as_slice() {
                [Value::Bytes(value), Value::Int(revision)] if *revision >= 0 => {
                    Ok(Some((value.clone(), Index(revision.unsigned_abs()))))
                }
                _ => Err(unexpected("GETV", answer)),
            },
            _ => Err(unexpected("GETV", answer)),
        }
    }

    /// Sets a key, for ever and in any case.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn set(&self, key: impl Into<Blob>, value: impl Into<Blob>) -> Result<(), Error> {
        self.set_with(key, value, SetOptions::default()).await.map(drop)
    }

    /// Sets a key; false if the condition was not met.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn set_with(
        &self,
        key: impl Into<Blob>,
        value: impl Into<Blob>,
        options: SetOptions,
    ) -> Result<bool, Error> {
        let mut args = vec![Blob::from("SET"), key.into(), value.into()];
        if let Some(ttl) = options.ttl {
            args.extend([Blob::from("PX"), Blob::from(ttl.as_millis().to_string())]);
        }
        match options.condition {
            Condition::Always => {}
            Condition::Missing => args.push(Blob::from("NX")),
            Condition::Exists => args.push(Blob::from("XX")),
            Condition::Revision(revision) => {
                args.extend([Blob::from("IFVERSION"), Blob::from(revision.to_string())]);
            }
        }
        let answer = self.command(args).await?;
        match answer.value {
            Value::Status(_) => Ok(true),
            Value::Nil => Ok(false),
            _ => Err(unexpected("SET", answer)),
        }
    }

    /// Deletes keys; answers how many there were.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn del(&self, keys: impl IntoIterator<Item = impl Into<Blob>>) -> Result<i64, Error> {
        self.number("DEL", keys).await
    }

    /// How many of the keys exist.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn exists(&self, keys: impl IntoIterator<Item = impl Into<Blob>>) -> Result<i64, Error> {
        self.number("EXISTS", keys).await
    }

    /// Adds to a whole number, where a missing key counts as zero; answers the sum.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn incr_by(&self, key: impl Into<Blob>, number: i64) -> Result<i64, Error> {
        self.number("INCRBY", [key.into(), Blob::from(number.to_string())]).await
    }

    /// Gives a key a deadline, in whole milliseconds from now; false if there is no such key.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn expire(&self, key: impl Into<Blob>, ttl: Duration) -> Result<bool, Error> {
        let ttl = Blob::from(ttl.as_millis().to_string());
        self.number("PEXPIRE", [key.into(), ttl]).await.map(|changed| changed == 1)
    }

    /// How long a key lives at least: milliseconds, -1 without a deadline, -2 without a key.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn pttl(&self, key: impl Into<Blob>) -> Result<i64, Error> {
        self.number("PTTL", [key.into()]).await
    }

    /// Takes a key's deadline away; false if there is none.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn persist(&self, key: impl Into<Blob>) -> Result<bool, Error> {
        self.number("PERSIST", [key.into()]).await.map(|changed| changed == 1)
    }

    /// The values of keys, all at one position.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn mget(
        &self,
        keys: impl IntoIterator<Item = impl Into<Blob>>,
    ) -> Result<Vec<Option<Blob>>, Error> {
        let answer = self.command(named("MGET", keys)).await?;
        let Value::List(items) = &answer.value else { return Err(unexpected("MGET", answer)) };
        let values: Option<Vec<_>> = items
            .iter()
            .map(|item| match item {
                Value::Nil => Some(None),
                Value::Bytes(value) => Some(Some(value.clone())),
                _ => None,
            })
            .collect();
        values.ok_or_else(|| unexpected("MGET", answer))
    }

    /// Sets keys, all at one position.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn mset(
        &self,
        pairs: impl IntoIterator<Item = (impl Into<Blob>, impl Into<Blob>)>,
    ) -> Result<(), Error> {
        let flat = pairs.into_iter().flat_map(|(key, value)| [key.into(), value.into()]);
        self.command(named("MSET", flat)).await.map(drop)
    }

    /// A page of at most `count` keys with a prefix, after the cursor of the page before.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn scan(
        &self,
        prefix: impl Into<Blob>,
        cursor: Option<Blob>,
        count: usize,
    ) -> Result<Page, Error> {
        let mut args = vec![Blob::from("SCAN"), prefix.into()];
        if let Some(cursor) = cursor {
            args.extend([Blob::from("AFTER"), cursor]);
        }
        args.extend([Blob::from("COUNT"), Blob::from(count.to_string())]);
        let answer = self.command(args).await?;
        page(&answer.value).ok_or_else(|| unexpected("SCAN", answer))
    }

    /// What the cluster says about itself, as names with values.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn info(&self) -> Result<Vec<(String, Value)>, Error> {
        let answer = self.command(["INFO"]).await?;
        match answer.value {
            Value::Map(pairs) => Ok(pairs),
            _ => Err(unexpected("INFO", answer)),
        }
    }

    pub(super) async fn number(
        &self,
        name: &'static str,
        args: impl IntoIterator<Item = impl Into<Blob>>,
    ) -> Result<i64, Error> {
        let answer = self.command(named(name, args)).await?;
        match answer.value {
            Value::Int(number) => Ok(number),
            _ => Err(unexpected(name, answer)),
        }
    }
}

fn named(name: &str, args: impl IntoIterator<Item = impl Into<Blob>>) -> Vec<Blob> {
    std::iter::once(Blob::from(name)).chain(args.into_iter().map(Into::into)).collect()
}

fn page(value: &Value) -> Option<Page> {
    let Value::List(items) = value else { return None };
    let [cursor, Value::List(keys)] = items.as_slice() else { return None };
    let cursor = match cursor {
        Value::Nil => None,
        Value::Bytes(cursor) => Some(cursor.clone()),
        _ => return None,
    };
    let keys = keys.iter().map(|key| match key {
        Value::Bytes(key) => Some(key.clone()),
        _ => None,
    });
    Some(Page { keys: keys.collect::<Option<_>>()?, cursor })
}

/// The command was executed, and its answer is none that this release knows: what it did is not known here.
pub(super) fn unexpected(name: &str, answer: Answer) -> Error {
    let Answer { value, receipt, node, attempts } = answer;
    let message =
        format!("{name} was executed, but its answer is of a kind that this client does not know: {value:?}");
    let failure = Failure::new(ErrorCode::Protocol, message);
    Error { failure, certainty: Certainty::Indeterminate, receipt, node, attempts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_keys_and_perhaps_a_cursor() {
        let keys = Value::List(vec![Value::Bytes(Blob::from("a")), Value::Bytes(Blob::from("b"))]);
        let last = Value::List(vec![Value::Nil, keys.clone()]);
        let middle = Value::List(vec![Value::Bytes(Blob::from("b")), keys.clone()]);
        assert_eq!(page(&last).expect("a page").cursor, None);
        assert_eq!(page(&middle).expect("a page").cursor, Some(Blob::from("b")));
        assert_eq!(page(&middle).expect("a page").keys.len(), 2);
        assert_eq!(page(&keys), None);
        assert_eq!(page(&Value::Nil), None);
    }
}
