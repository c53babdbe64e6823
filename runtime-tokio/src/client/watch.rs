//! Watches as a stream: what to watch, its updates, and the task that asks for them batch by batch. It goes on through lost
//! connections, nodes and leaders, from the position up to which it was told of everything; it decides nothing about what a
//! change is. Each watcher has a connection of its own, so that watchers and locks never wait for each other.

use std::time::Duration;

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index};
pub use steadfast_core::watch::Type;

use super::commands::unexpected;
use super::feed::{Feed, Teller};
use super::{Answer, Client, Error};

/// How long one request waits for something to be told. Behind it comes the next, also to show that the other side is there.
pub(super) const WAIT: Duration = Duration::from_secs(20);

/// Pause before a request that no node could answer is sent again.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// So many updates are kept for a slow reader.
const AHEAD: usize = 64;

/// What to watch: keys and prefixes, at most 64 in all.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    words: Vec<Blob>,
}

impl Watch {
    /// Nothing yet: name at least one key or prefix.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, words: impl IntoIterator<Item = Blob>) -> Self {
        self.words.extend(words);
        self
    }

    /// This key, too.
    #[must_use]
    pub fn key(self, key: impl Into<Blob>) -> Self {
        self.with(["KEY".into(), key.into()])
    }

    /// Also all keys that begin so.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Blob>) -> Self {
        self.with(["PREFIX".into(), prefix.into()])
    }

    /// Changes of this type, and of others that are named so; of all types, if none is.
    #[must_use]
    pub fn only(self, kind: Type) -> Self {
        self.with(["ONLY".into(), kind.name().into()])
    }

    /// With what the keys were before.
    #[must_use]
    pub fn with_previous(self) -> Self {
        self.with(["PREVIOUS".into()])
    }
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// A key was changed.
    Change(Change),
    /// Everything up to this position has been told: from here another watcher can go on. Comes behind the changes of each batch,
    /// and now and then if there are none.
    Progress(Index),
    /// The cluster does not remember what was changed before this position: read the keys anew, now. The watcher goes on from
    /// here, so nothing that changes while you read is missed; some of it you may see twice.
    Gone(Index),
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: Type,
    /// The key.
    pub key: Blob,
    /// The position of the change. Changes of one position were made by one command or transaction.
    pub revision: Index,
    /// The cluster's time then, in milliseconds since 1970.
    pub time_ms: u64,
    /// What the key is; `None` if it is gone, or if values were left out.
    pub content: Option<Content>,
    /// From which time of the cluster on the key may go, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// What the key was, if that was asked for.
    pub previous: Option<Content>,
    /// The position of the change before.
    pub previous_revision: Option<Index>,
    /// Values are missing: the changes of this position are together too large for an answer. Read the key.
    pub left_out: bool,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A string's bytes.
    String(Blob),
    /// A hash's fields, in their order.
    Hash {
        /// Each with its value; `None` if it is gone.
        fields: Vec<(Blob, Option<Blob>)>,
        /// Whether these are only the fields that were changed.
        partial: bool,
    },
}

/// A stream of updates. The cluster remembers for a slow reader what comes next.
pub type Watcher = Feed<Update>;

impl Client {
    /// Watches from a position on: the one in the receipt of whatever was read or written last, or that of an
    /// [`Update::Progress`]. Must be called within a tokio runtime. A watcher logs in on a connection of its own, and goes on
    /// when this client is closed.
    ///
    /// # Errors
    /// If the system has no randomness for the connection on which watches wait.
    pub fn watch(&self, watch: Watch, from: Index) -> Result<Watcher, Error> {
        let client = Self::start(self.shared.config.clone())?;
        Ok(Feed::of(AHEAD, |teller| Asker { client, watch, from, teller }.run()))
    }
}

/// Asks, again and again.
struct Asker {
    client: Client,
    watch: Watch,
    from: Index,
    teller: Teller<Update>,
}

/// Nobody takes updates any more.
struct Unwanted;

impl Asker {
    async fn run(mut self) {
        // Whoever drops the watcher ends this.
        while let Ok(Ok(())) = self.ask().await {}
    }

    /// One request. The inner error is one that ended the watch, and was told.
    async fn ask(&mut self) -> Result<Result<(), Unwanted>, Unwanted> {
        let head = ["CHANGES".into(), self.from.to_string().into()];
        let tail = ["WAIT".into(), WAIT.as_millis().to_string().into()];
        let words: Vec<Blob> = head.into_iter().chain(self.watch.words.iter().cloned()).chain(tail).collect();
        match self.client.changes(words).await {
            Ok(answer) => match read(&answer) {
                Some((changes, through)) => {
                    for change in changes {
                        self.tell(Ok(Update::Change(change))).await?;
                    }
                    self.from = through;
                    self.tell(Ok(Update::Progress(through))).await?;
                }
                None => return self.end(unexpected("CHANGES", answer)).await,
            },
            Err(error) => match (error.code(), error.receipt) {
                (ErrorCode::HistoryGone, Some(receipt)) => {
                    self.from = receipt.position;
                    self.tell(Ok(Update::Gone(receipt.position))).await?;
                }
                (code, _) if passes(code) => tokio::time::sleep(PAUSE).await,
                _ => return self.end(error).await,
            },
        }
        Ok(Ok(()))
    }

    async fn end(&mut self, error: Error) -> Result<Result<(), Unwanted>, Unwanted> {
        self.tell(Err(error)).await?;
        Ok(Err(Unwanted))
    }

    async fn tell(&mut self, update: Result<Update, Error>) -> Result<(), Unwanted> {
        self.teller.send(update).await.map_err(|_| Unwanted)
    }
}

/// Whether an error is one of the cluster's state and not of the request: then it is asked again, for as long as anybody watches.
pub(super) fn passes(code: ErrorCode) -> bool {
    use ErrorCode::{
        AfterIndeterminate, Changed, DeadlineExceeded, LeaderChanged, LeaderLost, NoLeader, Overloaded,
        TimedOut, TooManyConnections, TooManyRequests,
    };
    matches!(
        code,
        AfterIndeterminate
            | Changed
            | DeadlineExceeded
            | LeaderChanged
            | LeaderLost
            | NoLeader
            | Overloaded
            | TimedOut
            | TooManyConnections
            | TooManyRequests
    )
}

/// The changes and the position of an answer.
fn read(answer: &Answer) -> Option<(Vec<Change>, Index)> {
    let Value::Map(pairs) = &answer.value else { return None };
    let [(_, Value::List(events)), (_, Value::Int(through))] = &pairs[..] else { return None };
    let changes = events.iter().map(change).collect::<Option<Vec<_>>>()?;
    Some((changes, Index(u64::try_from(*through).ok()?)))
}

fn change(event: &Value) -> Option<Change> {
    let Value::Map(pairs) = event else { return None };
    let field = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let number = |wanted: &str| match field(wanted) {
        Some(Value::Int(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    let kind = match field("type") {
        Some(Value::Bytes(word)) => Type::ALL.into_iter().find(|kind| *kind.name().as_bytes() == **word)?,
        _ => return None,
    };
    let Some(Value::Bytes(key)) = field("key") else { return None };
    let partial = field("partial").is_some();
    let content = |text: &str, fields: &str| match (field(text), field(fields)) {
        (Some(Value::Bytes(bytes)), _) => Some(Content::String(bytes.clone())),
        (_, Some(Value::Pairs(pairs))) => {
            let field = |(name, value): &(Value, Value)| match (name, value) {
                (Value::Bytes(name), Value::Bytes(value)) => Some((name.clone(), Some(value.clone()))),
                (Value::Bytes(name), Value::Nil) => Some((name.clone(), None)),
                _ => None,
            };
            Some(Content::Hash { fields: pairs.iter().filter_map(field).collect(), partial })
        }
        _ => None,
    };
    Some(Change {
        kind,
        key: key.clone(),
        revision: Index(number("revision")?),
        time_ms: number("time")?,
        content: content("value", "fields"),
        expires_at_ms: number("expires_at"),
        previous: content("previous", "previous_fields"),
        previous_revision: number("previous_revision").map(Index),
        left_out: field("left_out").is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(events: Vec<Value>) -> Answer {
        let pairs = vec![("events".into(), Value::List(events)), ("position".into(), Value::Int(9))];
        Answer { value: Value::Map(pairs), receipt: None, node: None, attempts: 1 }
    }

    fn event(more: Vec<(&str, Value)>) -> Value {
        let mut pairs: Vec<(String, Value)> = vec![
            ("type".into(), Value::Bytes("modified".into())),
            ("key".into(), Value::Bytes("k".into())),
            ("revision".into(), Value::Int(7)),
            ("time".into(), Value::Int(1000)),
        ];
        pairs.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Value::Map(pairs)
    }

    #[test]
    fn a_change_is_read_with_all_that_is_told_of_it() {
        let text = |text: &str| Value::Bytes(text.into());
        let string = event(vec![
            ("value", text("new")),
            ("expires_at", Value::Int(2000)),
            ("previous", text("old")),
            ("previous_revision", Value::Int(5)),
        ]);
        let fields = Value::Pairs(vec![(text("a"), text("1")), (text("b"), Value::Nil)]);
        let hash = event(vec![("fields", fields), ("partial", Value::Int(1))]);
        let (changes, through) = read(&answer(vec![string, hash])).expect("well formed");
        let change = Change {
            kind: Type::Modified,
            key: "k".into(),
            revision: Index(7),
            time_ms: 1000,
            content: Some(Content::String("new".into())),
            expires_at_ms: Some(2000),
            previous: Some(Content::String("old".into())),
            previous_revision: Some(Index(5)),
            left_out: false,
        };
        assert_eq!((through, &changes[0]), (Index(9), &change));
        let fields = vec![("a".into(), Some("1".into())), ("b".into(), None)];
        assert_eq!(changes[1].content, Some(Content::Hash { fields, partial: true }));
    }

    #[test]
    fn an_answer_of_another_kind_is_not_taken_for_one_without_changes() {
        let nothing = Answer { value: Value::Nil, ..answer(Vec::new()) };
        assert!(read(&nothing).is_none() && read(&answer(vec![Value::Nil])).is_none());
        let strange = event(vec![("type", Value::Int(1))]);
        assert!(read(&answer(vec![strange])).is_some(), "the first of a name counts");
    }
}
