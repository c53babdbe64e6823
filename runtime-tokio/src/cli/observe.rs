//! `steadfast observe`: prints who leads an election, a line for now and one whenever that changes, until it is stopped.

use clap::Args;
use steadfast_core::reply::Value;

use super::connect::ConnectArgs;
use super::{EXIT_FAILED, EXIT_OK, complain, render, say};
use crate::client::{Client, Error, Leader};

/// Options of `steadfast observe`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A leader is printed as its token, its name and what it says; \"nobody\" while there is none. It goes on by itself when nodes are \
    lost; who led only meanwhile may be passed over.\n\n\
    EXIT CODES\n  0  whoever read the lines is gone, or as many came as were wanted\n  1  it was refused\n  2  usage\n  4  can't connect or log in"
)]
pub struct ObserveArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The election
    #[arg(value_name = "NAME")]
    name: String,
    /// Stop behind so many lines
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// One JSON object per line; an empty one while nobody leads
    #[arg(long)]
    json: bool,
}

/// Runs it; gives the exit code.
#[must_use]
pub fn main(args: &ObserveArgs) -> u8 {
    super::with_client(&args.connect, None, async |client| match observe(args, &client).await {
        Ok(()) => EXIT_OK,
        Err(error) => {
            complain(&render::error_plain(&error));
            EXIT_FAILED
        }
    })
}

/// Prints until nobody reads any more.
async fn observe(args: &ObserveArgs, client: &Client) -> Result<(), Error> {
    let mut leaders = client.leaders(args.name.as_str())?;
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let Some(leader) = leaders.next().await else { break };
        let line = if args.json { json(leader?.as_ref()) } else { plain(leader?.as_ref()) };
        if say(line.as_bytes()).is_err() {
            break;
        }
    }
    Ok(())
}

fn plain(leader: Option<&Leader>) -> String {
    let Some(Leader { leader, value, token }) = leader else { return "nobody".to_owned() };
    format!("{token} {} {}", render::quoted(leader), render::quoted(value))
}

fn json(leader: Option<&Leader>) -> String {
    let pairs = leader.map_or(Vec::new(), |Leader { leader, value, token }| {
        let token = Value::Int(i64::try_from(token.0).unwrap_or(i64::MAX));
        let bytes = |blob| Value::Bytes(blob);
        vec![("leader", bytes(leader.clone())), ("value", bytes(value.clone())), ("token", token)]
    });
    render::json(&Value::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::types::Index;

    #[test]
    fn a_leader_is_one_line() {
        let leader = Leader { leader: "a b".into(), value: "new\n".into(), token: Index(7) };
        assert_eq!(plain(Some(&leader)), r#"7 "a b" "new\n""#);
        assert_eq!(json(Some(&leader)), r#"{"leader":"a b","value":"new\n","token":7}"#);
        assert_eq!((plain(None), json(None)), ("nobody".into(), "{}".into()));
    }
}
