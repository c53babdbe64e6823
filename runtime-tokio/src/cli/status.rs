//! `steadfast status`: what INFO says, as a table or as JSON.

use clap::Args;
use steadfast_core::reply::Value;

use super::connect::ConnectArgs;
use super::{EXIT_FAILED, EXIT_OK, complain, render, say};

/// Options of `steadfast status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it; gives the exit code.
#[must_use]
pub fn main(args: &StatusArgs) -> u8 {
    super::with_client(&args.connect, None, async |client| {
        let info = client.info().await;
        client.close().await;
        match info {
            Ok(pairs) => {
                let text = if args.json { render::json(&Value::Map(pairs)) } else { table(&pairs) };
                let _ = say(text.as_bytes());
                EXIT_OK
            }
            Err(error) => {
                complain(&render::error_plain(&error));
                EXIT_FAILED
            }
        }
    })
}

/// Names on the left, values on the right; maps become sections.
fn table(pairs: &[(String, Value)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (name, value) in pairs {
        let name = render::clean(name).replace('_', " ");
        if let Value::Map(inner) = value {
            lines.push(name);
            lines.extend(table(inner).lines().map(|line| format!("  {line}")));
        } else {
            lines.push(format!("{name:<width$}  {}", cell(value)));
        }
    }
    lines.join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Nil | Value::Waiting(_) => "-".into(),
        Value::Int(number) => number.to_string(),
        Value::Status(text) => render::clean(text),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => render::clean(text),
            Err(_) => render::quoted(bytes),
        },
        Value::List(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Map(_) | Value::Pairs(_) => render::plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::types::Blob;

    #[test]
    fn the_table_lines_up_and_nests() {
        let text = |text: &str| Value::Bytes(Blob::from(text));
        let log = Value::Map(vec![("commit".into(), Value::Int(7))]);
        let pairs = vec![
            ("role".into(), text("leader")),
            ("cluster_name".into(), text("x")),
            ("leader".into(), Value::Nil),
            ("log".into(), log),
        ];
        assert_eq!(table(&pairs), "role          leader\ncluster name  x\nleader        -\nlog\n  commit  7");
    }
}
