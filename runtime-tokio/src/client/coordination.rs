//! Typed helpers for hashes, rate limits, transactions and idempotency ids. Each is one command, as in `commands.rs`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use steadfast_core::command::transaction::Compared;
use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index};

use super::commands::unexpected;
use super::{Answer, Client, Error};

/// A rate limit, as each request states it. Times are in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Most in each window that begins at a multiple of its length.
    Fixed {
        /// How many.
        limit: u64,
        /// How long a window is.
        window: Duration,
    },
    /// Most in any span.
    Sliding {
        /// How many.
        limit: u64,
        /// How long a span is.
        window: Duration,
    },
    /// A token bucket.
    Bucket {
        /// Most at once.
        capacity: u64,
        /// How many come back in a period.
        refill: u64,
        /// How long a period is.
        period: Duration,
    },
}

/// What a limiter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may go on.
    pub allowed: bool,
    /// How much could be let through now.
    pub remaining: u64,
    /// After how long the limiter is as new; of a fixed window, until the next one.
    pub reset: Duration,
    /// After how long this request could go on if nothing else came; `None` if never.
    pub retry_after: Option<Duration>,
}

/// A transaction in the making: conditions, and what is executed in either case.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    conditions: Vec<Blob>,
    then: Vec<Blob>,
    otherwise: Vec<Blob>,
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transacted {
    /// Whether all conditions held.
    pub held: bool,
    /// The answers of the commands that were executed.
    pub answers: Vec<Value>,
}

/// What became of work under an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// It is the caller's now: do it, then finish it with this token.
    First {
        /// For [`Client::finish_work`] and [`Client::fail_work`].
        token: Index,
    },
    /// Somebody else has it.
    Running {
        /// After how long it can be begun again, if it is not done by then.
        retry_after: Duration,
    },
    /// It is done.
    Done {
        /// What was handed in.
        answer: Blob,
    },
}

impl Transaction {
    /// Without conditions, and with nothing to do.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn condition<const N: usize>(mut self, words: [Blob; N]) -> Self {
        self.conditions.extend(words);
        self
    }

    /// If the key exists.
    #[must_use]
    pub fn if_exists(self, key: impl Into<Blob>) -> Self {
        self.condition(["EXISTS".into(), key.into()])
    }

    /// If the key does not exist.
    #[must_use]
    pub fn if_missing(self, key: impl Into<Blob>) -> Self {
        self.condition(["MISSING".into(), key.into()])
    }

    /// If the key holds this value.
    #[must_use]
    pub fn if_value(self, key: impl Into<Blob>, value: impl Into<Blob>) -> Self {
        self.condition(["VALUE".into(), key.into(), "=".into(), value.into()])
    }

    /// If the key is a whole number that compares so.
    #[must_use]
    pub fn if_number(self, key: impl Into<Blob>, compare: Compared, number: i64) -> Self {
        self.condition(["NUMBER".into(), key.into(), compare.word().into(), number.to_string().into()])
    }

    /// If the key's revision compares so. That of a missing key is zero.
    #[must_use]
    pub fn if_revision(self, key: impl Into<Blob>, compare: Compared, revision: Index) -> Self {
        self.condition(["REVISION".into(), key.into(), compare.word().into(), revision.to_string().into()])
    }

    /// Then this command.
    #[must_use]
    pub fn then(mut self, command: impl IntoIterator<Item = impl Into<Blob>>) -> Self {
        add(&mut self.then, command);
        self
    }

    /// Else this command.
    #[must_use]
    pub fn otherwise(mut self, command: impl IntoIterator<Item = impl Into<Blob>>) -> Self {
        add(&mut self.otherwise, command);
        self
    }

    /// The words of the command.
    #[must_use]
    pub fn words(self) -> Vec<Blob> {
        let mut words = vec![Blob::from("TXN")];
        for (keyword, part) in [("IF", self.conditions), ("THEN", self.then), ("ELSE", self.otherwise)] {
            if keyword == "THEN" || !part.is_empty() {
                words.push(keyword.into());
                words.extend(part);
            }
        }
        words
    }
}

fn add(list: &mut Vec<Blob>, command: impl IntoIterator<Item = impl Into<Blob>>) {
    let words: Vec<Blob> = command.into_iter().map(Into::into).collect();
    list.push(words.len().to_string().into());
    list.extend(words);
}

impl Client {
    /// Sets fields of a hash; answers how many are new.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn hset(
        &self,
        key: impl Into<Blob>,
        fields: impl IntoIterator<Item = (impl Into<Blob>, impl Into<Blob>)>,
    ) -> Result<i64, Error> {
        let fields = fields.into_iter().flat_map(|(field, value)| [field.into(), value.into()]);
        self.number("HSET", std::iter::once(key.into()).chain(fields)).await
    }

    /// The value of a field.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn hget(&self, key: impl Into<Blob>, field: impl Into<Blob>) -> Result<Option<Blob>, Error> {
        let answer = self.command([Blob::from("HGET"), key.into(), field.into()]).await?;
        match answer.value {
            Value::Nil => Ok(None),
            Value::Bytes(value) => Ok(Some(value)),
            _ => Err(unexpected("HGET", answer)),
        }
    }

    /// All fields of a hash with their values, in the order of the fields.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn hgetall(&self, key: impl Into<Blob>) -> Result<Vec<(Blob, Blob)>, Error> {
        let answer = self.command([Blob::from("HGETALL"), key.into()]).await?;
        let Value::Pairs(pairs) = &answer.value else { return Err(unexpected("HGETALL", answer)) };
        let fields: Option<Vec<_>> = pairs
            .iter()
            .map(|pair| match pair {
                (Value::Bytes(field), Value::Bytes(value)) => Some((field.clone(), value.clone())),
                _ => None,
            })
            .collect();
        fields.ok_or_else(|| unexpected("HGETALL", answer))
    }

    /// Deletes fields of a hash; answers how many there were.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn hdel(
        &self,
        key: impl Into<Blob>,
        fields: impl IntoIterator<Item = impl Into<Blob>>,
    ) -> Result<i64, Error> {
        self.number("HDEL", std::iter::once(key.into()).chain(fields.into_iter().map(Into::into))).await
    }

    /// Adds to a whole number in a field; answers the sum.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn hincr_by(
        &self,
        key: impl Into<Blob>,
        field: impl Into<Blob>,
        number: i64,
    ) -> Result<i64, Error> {
        self.number("HINCRBY", [key.into(), field.into(), Blob::from(number.to_string())]).await
    }

    /// Asks a limiter for a request that counts so much to go on.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn limit(&self, name: impl Into<Blob>, limit: Limit, cost: u64) -> Result<Verdict, Error> {
        self.ask(name.into(), limit, cost, false).await
    }

    /// The same, and changes nothing.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn peek_limit(&self, name: impl Into<Blob>, limit: Limit, cost: u64) -> Result<Verdict, Error> {
        self.ask(name.into(), limit, cost, true).await
    }

    async fn ask(&self, name: Blob, limit: Limit, cost: u64, peek: bool) -> Result<Verdict, Error> {
        let (kind, figures) = match limit {
            Limit::Fixed { limit, window } => ("FIXED", vec![u128::from(limit), window.as_millis()]),
            Limit::Sliding { limit, window } => ("SLIDING", vec![u128::from(limit), window.as_millis()]),
            Limit::Bucket { capacity, refill, period } => {
                ("BUCKET", vec![u128::from(capacity), u128::from(refill), period.as_millis()])
            }
        };
        let mut words = vec![Blob::from("LIMIT"), kind.into(), name];
        words.extend(figures.iter().map(|figure| Blob::from(figure.to_string())));
        words.extend(["COST".into(), Blob::from(cost.to_string())]);
        words.extend(peek.then(|| Blob::from("PEEK")));
        let answer = self.command(words).await?;
        verdict(&answer.value).ok_or_else(|| unexpected("LIMIT", answer))
    }

    /// Takes one of so many places for so long, or keeps it.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn enter(
        &self,
        name: impl Into<Blob>,
        places: u64,
        holder: impl Into<Blob>,
        ttl: Duration,
    ) -> Result<Verdict, Error> {
        let (places, ttl) = (places.to_string().into(), ttl.as_millis().to_string().into());
        let words = ["LIMIT".into(), "CONCURRENCY".into(), name.into(), places, holder.into(), ttl];
        let answer = self.command(words).await?;
        verdict(&answer.value).ok_or_else(|| unexpected("LIMIT CONCURRENCY", answer))
    }

    /// Gives a place back; false if the holder had none.
    ///
    /// # Errors
    /// See [`Client::command`].
    pub async fn leave(&self, name: impl Into<Blob>, holder: impl Into<Blob>) -> Result<bool, Error> {
        self.number("LIMIT", ["RELEASE".into(), name.into(), holder.into()]).await.map(|left| left == 1)
    }

    /// Executes a transaction: all of one list of its commands, or nothing.
    ///
    /// # Errors
    /// See [`Client::command`]. The error of a command in it is that of the whole.
    pub async fn transaction(&self, transaction: Transaction) -> Result<Transacted, Error> {
        let answer = self.command(transaction.words()).await?;
        match &answer.value {
            Value::List(parts) => match parts.as_slice() {
                [Value::Int(held @ 0..=1), Value::List(answers)] => {
                    Ok(Transacted { held: *held == 1, answers: answers.clone() })
                }
                _ => Err(unexpected("TXN", answer)),
            },
            _ => Err(unexpected("TXN", answer)),
        }
    }

    /// Executes a command unless it was executed under this id, which was made at that time; the answer is that of
    /// whichever attempt. For retries that outlive this client: within it, every command is executed once anyway.
    ///
    /// # Errors
    /// See [`Client::command`]; also `ONCE_CONFLICT` and `ONCE_EXPIRED`.
    pub async fn once(
        &self,
        id: impl Into<Blob>,
        born: SystemTime,
        command: impl IntoIterator<Item = impl Into<Blob>>,
    ) -> Result<Answer, Error> {
        // A time before 1970 is too old in any case.
        let born = born.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let words = ["ONCE".into(), "RUN".into(), id.into(), "BORN".into(), Blob::from(born.to_string())];
        self.command(words.into_iter().chain(command.into_iter().map(Into::into)).collect::<Vec<Blob>>())
            .await
    }

    /// Begins work under an id, or tells what became of it. The fingerprint says what the work is.
    ///
    /// # Errors
    /// See [`Client::command`]; also `ONCE_CONFLICT`.
    pub async fn begin_work(
        &self,
        id: impl Into<Blob>,
        fingerprint: impl Into<Blob>,
        hold: Duration,
    ) -> Result<Work, Error> {
        let hold = hold.as_millis().to_string().into();
        let answer =
            self.command(["ONCE".into(), "BEGIN".into(), id.into(), fingerprint.into(), hold]).await?;
        work(&answer.value).ok_or_else(|| unexpected("ONCE BEGIN", answer))
    }

    /// Says that work is done, and what came of it.
    ///
    /// # Errors
    /// See [`Client::command`]; `FENCED` if somebody else has begun it since.
    pub async fn finish_work(
        &self,
        id: impl Into<Blob>,
        token: Index,
        answer: impl Into<Blob>,
    ) -> Result<(), Error> {
        let token = token.to_string().into();
        self.command(["ONCE".into(), "FINISH".into(), id.into(), token, answer.into()]).await.map(drop)
    }

    /// Gives work up, so that it can be begun again at once.
    ///
    /// # Errors
    /// See [`Client::command`]; `FENCED` if somebody else has begun it since.
    pub async fn fail_work(&self, id: impl Into<Blob>, token: Index) -> Result<(), Error> {
        let token = token.to_string().into();
        self.command(["ONCE".into(), "FAIL".into(), id.into(), token]).await.map(drop)
    }
}

fn field<'a>(value: &'a Value, wanted: &str) -> Option<&'a Value> {
    let Value::Map(pairs) = value else { return None };
    pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
}

pub(super) fn figure(value: &Value, wanted: &str) -> Option<u64> {
    match field(value, wanted)? {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn verdict(value: &Value) -> Option<Verdict> {
    let retry_after = match field(value, "retry_after_ms")? {
        Value::Nil => None,
        _ => Some(Duration::from_millis(figure(value, "retry_after_ms")?)),
    };
    Some(Verdict {
        allowed: figure(value, "allowed")? == 1,
        remaining: figure(value, "remaining")?,
        reset: Duration::from_millis(figure(value, "reset_ms")?),
        retry_after,
    })
}

fn work(value: &Value) -> Option<Work> {
    let Value::Status(state) = field(value, "state")? else { return None };
    match (state.as_str(), field(value, "answer")) {
        ("first", _) => Some(Work::First { token: Index(figure(value, "token")?) }),
        ("running", _) => {
            Some(Work::Running { retry_after: Duration::from_millis(figure(value, "retry_after_ms")?) })
        }
        ("done", Some(Value::Bytes(answer))) => Some(Work::Done { answer: answer.clone() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_written_as_the_command_wants_it() {
        let words = |transaction: Transaction| {
            transaction.words().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(Transaction::new()), "TXN THEN");
        let transfer = Transaction::new()
            .if_number("a", Compared::AtLeast, 5)
            .if_missing("frozen")
            .then(["INCRBY", "a", "-5"])
            .then(["INCRBY", "b", "5"])
            .otherwise(["GET", "a"]);
        assert_eq!(
            words(transfer),
            "TXN IF NUMBER a >= 5 MISSING frozen THEN 3 INCRBY a -5 3 INCRBY b 5 ELSE 2 GET a"
        );
    }

    #[test]
    fn what_is_no_verdict_and_no_work_is_none() {
        assert_eq!(verdict(&Value::Nil), None);
        assert_eq!(work(&Value::Map(vec![("state".into(), Value::Status("lost".into()))])), None);
    }
}
