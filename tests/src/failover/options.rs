//! What the command line of `failover` asks for.

use super::Database;
use super::script::Script;
use crate::figures::daemon::is_installed;
use crate::figures::redis::PROGRAM;

/// How to use it.
pub const USAGE: &str = "usage: failover [--orders N] [--lanes N] [--only steadfast|redis] [--json]
  --orders N  how many orders each database and script gets: 1000
  --lanes N   how many orders are worked on at once, each with servers of its own: 4
  --only NAME this database alone
  --json      print one JSON document instead of a table
Build it with --release. Redis is left out if redis-server is not installed.";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Orders for each database and script.
    pub orders: u64,
    /// How many at once.
    pub lanes: u64,
    /// JSON in place of a table.
    pub json: bool,
    only: Option<Database>,
}

impl Options {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let mut options = Self { orders: 1000, lanes: 4, json: false, only: None };
        while let Some(arg) = args.next() {
            let place = match arg.as_str() {
                "--json" => {
                    options.json = true;
                    continue;
                }
                "--only" => {
                    options.only = Some(match args.next().as_deref() {
                        Some("steadfast") => Database::Steadfast,
                        Some("redis") => Database::Redis,
                        _ => return Err("--only wants steadfast or redis".to_owned()),
                    });
                    continue;
                }
                "--orders" => &mut options.orders,
                "--lanes" => &mut options.lanes,
                other => return Err(format!("{other} is no option\n{USAGE}")),
            };
            let number = args.next().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
            *place = number.ok_or_else(|| format!("{arg} wants a whole number from 1 on"))?;
        }
        Ok(options)
    }

    /// What is to be run, in this order.
    #[must_use]
    pub fn subjects(&self) -> Vec<(Database, Script)> {
        let all = [
            (Database::Redis, Script::Plain),
            (Database::Redis, Script::Guarded),
            (Database::Redis, Script::Awaited),
            (Database::Steadfast, Script::Plain),
            (Database::Steadfast, Script::Guarded),
        ];
        let is_there = |database| database == Database::Steadfast || is_installed(PROGRAM);
        let wanted = |database| self.only.is_none_or(|only| only == database);
        all.into_iter().filter(|(database, _)| wanted(*database) && is_there(*database)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_have_defaults() {
        let options = parse("--only steadfast --lanes 2").expect("it is right");
        assert_eq!((options.orders, options.lanes, options.json), (1000, 2, false));
        assert_eq!(options.subjects().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(parse("--orders none").expect_err("no number").contains("--orders wants"));
        assert!(parse("--only etcd").expect_err("no such database").contains("--only wants"));
        assert!(parse("--fast").expect_err("no option").contains("--fast is no option"));
    }
}
