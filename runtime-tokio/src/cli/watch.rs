//! `steadfast watch`: prints what happens to keys, a line for each change, until it is stopped.

use clap::Args;
use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index};

use super::connect::ConnectArgs;
use super::{EXIT_FAILED, EXIT_OK, complain, render, say};
use crate::client::{Change, Client, Content, Error, Type, Update, Watch};

/// Options of `steadfast watch`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A change is printed as its position, what happened, the key and its value. It goes on by itself when nodes are lost, and leaves \
    nothing out: if the cluster does not remember far enough back, it says so on standard error and goes on from there.\n\n\
    EXIT CODES\n  0  whoever read the lines is gone, or as many came as were wanted\n  1  it was refused\n  2  usage\n  4  can't connect or log in"
)]
pub struct WatchArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// All keys that begin so; "" for every key
    #[arg(value_name = "PREFIX", required_unless_present = "key")]
    prefix: Vec<String>,
    /// This key; give it again for each further key
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// What happened after this position of the log [default: what happens from now on]
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    /// Only these: created, modified, deleted, expired
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = parse_type)]
    only: Vec<Type>,
    /// With what the key was before
    #[arg(long)]
    previous: bool,
    /// Stop behind so many changes
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// One JSON object per line; those with nothing but a position say that everything up to it was told
    #[arg(long)]
    json: bool,
}

fn parse_type(word: &str) -> Result<Type, String> {
    let all = || Type::ALL.map(Type::name).join(", ");
    Type::ALL.into_iter().find(|kind| kind.name() == word).ok_or_else(|| format!("none of {}", all()))
}

/// Runs it; gives the exit code.
#[must_use]
pub fn main(args: &WatchArgs) -> u8 {
    super::with_client(&args.connect, None, async |client| match watch(args, &client).await {
        Ok(()) => EXIT_OK,
        Err(error) => {
            complain(&render::error_plain(&error));
            EXIT_FAILED
        }
    })
}

/// Prints until nobody reads any more.
async fn watch(args: &WatchArgs, client: &Client) -> Result<(), Error> {
    let mut watch = args.prefix.iter().fold(Watch::new(), |watch, prefix| watch.prefix(prefix.as_str()));
    watch = args.key.iter().fold(watch, |watch, key| watch.key(key.as_str()));
    watch = args.only.iter().fold(watch, |watch, kind| watch.only(*kind));
    if args.previous {
        watch = watch.with_previous();
    }
    let from = match args.from {
        Some(from) => Index(from),
        None => now(client).await?,
    };
    let mut watcher = client.watch(watch, from)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0
        && let Some(update) = watcher.next().await
    {
        let update = update?;
        left -= u64::from(matches!(update, Update::Change(_)));
        if let Update::Gone(position) = &update {
            complain(&format!(
                "what happened before position {position} is not known any more; read the keys anew"
            ));
        }
        let line = if args.json { Some(json(&update)) } else { plain(&update) };
        if line.is_some_and(|line| say(line.as_bytes()).is_err()) {
            return Ok(());
        }
    }
    Ok(())
}

/// The newest position.
async fn now(client: &Client) -> Result<Index, Error> {
    let answer = client.command(["WHOAMI"]).await?;
    Ok(answer.receipt.map_or(Index(0), |receipt| receipt.position))
}

fn plain(update: &Update) -> Option<String> {
    let Update::Change(change) = update else { return None };
    let mut line = format!("{} {} {}", change.revision, change.kind.name(), render::quoted(&change.key));
    for (word, content) in [("", &change.content), ("was ", &change.previous)] {
        if let Some(content) = content {
            line += &format!(" {word}{}", render::json(&value(content)));
        }
    }
    if change.left_out {
        line += " (values left out: read the key)";
    }
    Some(line)
}

fn value(content: &Content) -> Value {
    let bytes = |blob: &Blob| Value::Bytes(blob.clone());
    match content {
        Content::String(text) => bytes(text),
        Content::Hash { fields, .. } => Value::Pairs(
            fields.iter().map(|(name, it)| (bytes(name), it.as_ref().map_or(Value::Nil, bytes))).collect(),
        ),
    }
}

fn json(update: &Update) -> String {
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let pairs = match update {
        Update::Progress(position) => vec![("position", number(position.0))],
        Update::Gone(position) => vec![("gone", number(position.0))],
        Update::Change(change) => {
            let Change { kind, key, revision, time_ms, content, expires_at_ms, previous, .. } = change;
            let partial = matches!(content, Some(Content::Hash { partial: true, .. }));
            let pairs = [
                ("type", Some(Value::Bytes(kind.name().into()))),
                ("key", Some(Value::Bytes(key.clone()))),
                ("revision", Some(number(revision.0))),
                ("time_ms", Some(number(*time_ms))),
                ("value", content.as_ref().map(value)),
                ("partial", partial.then_some(Value::Int(1))),
                ("expires_at_ms", expires_at_ms.map(number)),
                ("previous", previous.as_ref().map(value)),
                ("previous_revision", change.previous_revision.map(|at| number(at.0))),
                ("left_out", change.left_out.then_some(Value::Int(1))),
            ];
            pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
        }
    };
    render::json(&Value::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line() {
        let change = Change {
            kind: Type::Modified,
            key: "a b".into(),
            revision: Index(7),
            time_ms: 1000,
            content: Some(Content::String("new\n".into())),
            expires_at_ms: None,
            previous: Some(Content::Hash { fields: vec![("f".into(), None)], partial: false }),
            previous_revision: Some(Index(5)),
            left_out: false,
        };
        let update = Update::Change(change);
        assert_eq!(plain(&update).as_deref(), Some(r#"7 modified "a b" "new\n" was {"f":null}"#));
        let told = r#"{"type":"modified","key":"a b","revision":7,"time_ms":1000,"value":"new\n","previous":{"f":null},"previous_revision":5}"#;
        assert_eq!(json(&update), told);
        assert_eq!(
            (plain(&Update::Progress(Index(9))), json(&Update::Progress(Index(9)))),
            (None, r#"{"position":9}"#.into())
        );
    }
}
