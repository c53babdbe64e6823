//! `steadfast cluster`: who belongs to a cluster, and the steps that change it. Each step is a command that is idempotent, so that a step
//! whose fate is unknown is simply asked for again; one that can't be done yet is tried again for a while. It decides nothing.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use steadfast_core::reply::Value;
use tokio::time::sleep;

use super::connect::{ConnectArgs, parse_time};
use super::{EXIT_FAILED, EXIT_INDETERMINATE, EXIT_OK, PAUSE, complain, render, say};
use crate::client::{Client, Error, ErrorCode};

/// Options of `steadfast cluster`.
#[derive(Clone, Debug, Args)]
// Before the step or behind it.
#[command(mut_args(|arg| arg.global(true)))]
#[command(after_help = "A node from elsewhere takes the place of node 2:\n  \
    steadfast serve --join --id 4 --listen 10.0.0.4:7878 --peer 1=10.0.0.1:7878   # on the new machine\n  \
    steadfast cluster add 4 10.0.0.4:7878\n  \
    steadfast cluster replace 2 4\n\n\
    EXIT CODES\n  0  done, or was done already\n  1  not done\n  2  usage\n  3  it may be done or not: ask again\n  \
    4  the cluster can't be reached or entered")]
pub struct ClusterArgs {
    #[command(subcommand)]
    step: Step,
    #[command(flatten)]
    connect: ConnectArgs,
    /// How long a step that can't be done yet is tried again, such as 0s, 30s or 10m: while a new node copies the data, or another
    /// step is under way
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_wait)]
    wait: Duration,
}

#[derive(Clone, Debug, Subcommand)]
enum Step {
    /// Shows who belongs to the cluster, and how far each is
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Takes in a node, which copies the data (a witness only positions) and does not vote; or says where a member is by now
    Add {
        /// Its number
        node: u16,
        /// Where the others reach it
        address: Option<String>,
    },
    /// Lets a node that was added vote, once it has nearly all data; or one whose disk was lost
    Promote {
        /// Its number
        node: u16,
    },
    /// Lets a node vote no more; it goes on copying
    Demote {
        /// Its number
        node: u16,
    },
    /// Lets a node belong to the cluster no more
    Remove {
        /// Its number
        node: u16,
    },
    /// Lets a node that was added vote in another one's place, which goes
    Replace {
        /// The number of the one that goes
        old: u16,
        /// The number of the one that comes
        new: u16,
    },
    /// Lets another node lead
    Transfer {
        /// Its number
        node: u16,
    },
    /// Lets a node lead rather than those with a lower priority, whenever it can
    Prefer {
        /// Its number
        node: u16,
        /// Zero is everybody's at first
        priority: u32,
    },
}

impl Step {
    fn words(&self) -> Vec<String> {
        let words = |name: &str, rest: &[&dyn ToString]| {
            let rest = rest.iter().map(|word| word.to_string());
            ["CLUSTER".to_owned(), name.to_owned()].into_iter().chain(rest).collect()
        };
        match self {
            Self::Status { .. } => words("MEMBERS", &[]),
            Self::Add { node, address: None } => words("ADD", &[node]),
            Self::Add { node, address: Some(address) } => words("ADD", &[node, address]),
            Self::Promote { node } => words("PROMOTE", &[node]),
            Self::Demote { node } => words("DEMOTE", &[node]),
            Self::Remove { node } => words("REMOVE", &[node]),
            Self::Replace { old, new } => words("REPLACE", &[old, new]),
            Self::Transfer { node } => words("TRANSFER", &[node]),
            Self::Prefer { node, priority } => words("PREFER", &[node, priority]),
        }
    }
}

/// Runs it; gives the exit code.
#[must_use]
pub fn main(args: &ClusterArgs) -> u8 {
    let until = Instant::now() + args.wait;
    super::with_client(&args.connect, Some(args.wait), async |client| {
        let answer = ask(&client, &args.step.words(), until).await;
        client.close().await;
        match (answer, &args.step) {
            (Ok(value), Step::Status { json: true }) => {
                let _ = say(render::json(&value).as_bytes());
                EXIT_OK
            }
            (Ok(value), Step::Status { json: false }) => {
                let _ = say(table(&value).as_bytes());
                EXIT_OK
            }
            (Ok(value), _) => {
                let _ = say(render::plain(&value).as_bytes());
                EXIT_OK
            }
            (Err(error), _) => {
                complain(&render::error_plain(&error));
                if error.is_definite() { EXIT_FAILED } else { EXIT_INDETERMINATE }
            }
        }
    })
}

/// Reads a time as the other options do, or none.
fn parse_wait(text: &str) -> Result<Duration, String> {
    if text == "0s" { Ok(Duration::ZERO) } else { parse_time(text) }
}

/// Asks for a step, and again while it can't be done yet. What is done already is no error, so that an unknown fate is cleared up by
/// asking again, too.
async fn ask(client: &Client, words: &[String], until: Instant) -> Result<Value, Error> {
    let mut said = None;
    loop {
        let error = match client.command(words.iter().map(String::as_str)).await {
            Ok(answer) => return Ok(answer.value),
            Err(error) => error,
        };
        if !error.is_passing() || Instant::now() + PAUSE >= until {
            return Err(error);
        }
        // Whoever waits wants to know for what.
        if error.code() == ErrorCode::MembersBusy && said.as_ref() != Some(&error.failure.message) {
            complain(&format!("waiting: {}", render::clean(&error.failure.message)));
            said = Some(error.failure.message);
        }
        sleep(PAUSE).await;
    }
}

/// The columns of the table, by the names in the answer.
const COLUMNS: [&str; 7] = ["node", "part", "leads", "counted", "heard", "behind", "address"];

/// A line for each member.
fn table(members: &Value) -> String {
    let Value::List(members) = members else { return render::plain(members) };
    let get = |member: &Value, name: &str| match member {
        Value::Map(pairs) => pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        _ => None,
    };
    let figure = |member: &Value, name: &str| match get(member, name) {
        Some(Value::Int(number)) => number,
        _ => 0,
    };
    let end = members.iter().map(|member| figure(member, "match")).max().unwrap_or(0);
    let cell = |member: &Value, column: &str| match (column, get(member, column)) {
        ("behind", _) => (end - figure(member, "match")).to_string(),
        ("leads" | "counted" | "heard", Some(Value::Int(flag))) => {
            if flag == 1 { "yes" } else { "no" }.into()
        }
        (_, Some(Value::Bytes(text))) => render::clean(&String::from_utf8_lossy(&text)),
        (_, Some(Value::Int(number))) => number.to_string(),
        _ => "-".to_owned(),
    };
    let head: Vec<String> = COLUMNS.map(str::to_owned).into();
    let rows = members.iter().map(|member| COLUMNS.iter().map(|column| cell(member, column)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    if members.iter().any(|member| figure(member, "degraded") == 1) {
        lines.push(
            "degraded: one node with data is away, and answers rest on the other one's disk alone".into(),
        );
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::types::Blob;

    #[test]
    fn the_table_shows_who_is_behind() {
        let member = |node: i64, part: &str, leads: i64, matched: i64, address: Value| {
            let pairs = [
                ("node", Value::Int(node)),
                ("part", Value::Bytes(Blob::from(part))),
                ("leads", Value::Int(leads)),
                ("counted", Value::Int(leads)),
                ("heard", Value::Int(1)),
                ("match", Value::Int(matched)),
                ("address", address),
            ];
            Value::Map(pairs.map(|(name, value)| (name.to_owned(), value)).into())
        };
        let degraded = Value::Map(vec![("node".into(), Value::Int(3)), ("degraded".into(), Value::Int(1))]);
        assert!(table(&Value::List(vec![degraded])).contains("\ndegraded: one node with data is away"));
        let there = Value::Bytes(Blob::from("host:1"));
        let members =
            Value::List(vec![member(1, "voter", 1, 20, Value::Nil), member(4, "learner", 0, 7, there)]);
        assert_eq!(
            table(&members),
            "node  part     leads  counted  heard  behind  address\n\
             1     voter    yes    yes      yes    0       -\n\
             4     learner  no     no       yes    13      host:1"
        );
    }
}
