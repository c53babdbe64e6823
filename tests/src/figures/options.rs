//! What the command line of `figures` asks for.

/// How to use it.
pub const USAGE: &str = "usage: figures restart          [--keys N] [--rounds N] [--tail PERCENT] [--json]
       figures snapshot-latency [--keys N] [--rate N] [--seconds N] [--json]
       figures bytes-per-write  [--keys N] [--seconds N] [--json]
       figures throughput       [--keys N] [--rounds N] [--seconds N] [--json]
       figures cluster          [--keys N] [--rounds N] [--seconds N] [--json]
       figures scale            [--keys N] [--rounds N] [--seconds N] [--json]
       figures core             [--keys N] [--rounds N] [--json]
       figures leader-loss      [--rounds N] [--json]
       figures replacement      [--keys N] [--rate N] [--seconds N] [--json]
       figures failover         [--orders N] [--lanes N] [--only NAME] [--json]
  --keys N        how many keys there are: 1000000; for bytes-per-write, throughput and core 100000; for cluster 10000; for scale the most, 10000000
  --rounds N      how often every program is restarted or loaded: 3; for leader-loss how often the leader is killed: 100
  --tail PERCENT  how many writes, in percent of the keys, the log holds behind the snapshot at least: 10
  --rate N        writes per second of the paced load: 2000
  --seconds N     how long one load lasts: 60; for throughput and scale 3, for cluster 5, for bytes-per-write 10, for each calm part of replacement 15, and longer where snapshots are waited for
  --orders N      how many orders each database and script gets: 1000
  --lanes N       how many orders are worked on at once, each with servers of its own: 4
  --only NAME     measure this program alone: steadfast, redis or etcd; for failover one of the first two
  --json          print one JSON document instead of tables
Build it with --release. Data lies in the temporary directory: TMPDIR names another, on the disk that is meant.";

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which figure.
    pub figure: String,
    keys: Option<u64>,
    rounds: Option<u64>,
    tail: Option<u64>,
    rate: Option<u64>,
    seconds: Option<u64>,
    orders: Option<u64>,
    lanes: Option<u64>,
    only: Option<String>,
    /// JSON in place of tables.
    pub json: bool,
}

impl Options {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let figure = args.next().ok_or_else(|| format!("a figure is to be named\n{USAGE}"))?;
        let mut options = Self { figure, ..Self::default() };
        while let Some(arg) = args.next() {
            let place = match arg.as_str() {
                "--json" => {
                    options.json = true;
                    continue;
                }
                "--only" => {
                    options.only = Some(args.next().ok_or("--only wants a program's name")?);
                    continue;
                }
                "--keys" => &mut options.keys,
                "--rounds" => &mut options.rounds,
                "--tail" => &mut options.tail,
                "--rate" => &mut options.rate,
                "--seconds" => &mut options.seconds,
                "--orders" => &mut options.orders,
                "--lanes" => &mut options.lanes,
                other => return Err(format!("{other} is no option\n{USAGE}")),
            };
            let number = args.next().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
            *place = Some(number.ok_or_else(|| format!("{arg} wants a whole number from 1 on"))?);
        }
        Ok(options)
    }

    /// How many keys.
    #[must_use]
    pub fn keys(&self, default: u64) -> u64 {
        self.keys.unwrap_or(default)
    }

    /// How often it is done.
    #[must_use]
    pub fn rounds(&self, default: u64) -> u64 {
        self.rounds.unwrap_or(default)
    }

    /// How many writes the log holds behind the snapshot at least.
    #[must_use]
    pub fn tail(&self, keys: u64) -> u64 {
        keys * self.tail.unwrap_or(10) / 100
    }

    /// Writes per second of the paced load.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.rate.unwrap_or(2000)
    }

    /// How long one load lasts.
    #[must_use]
    pub fn seconds(&self, default: u64) -> u64 {
        self.seconds.unwrap_or(default)
    }

    /// Orders for each database and script.
    #[must_use]
    pub fn orders(&self) -> u64 {
        self.orders.unwrap_or(1000)
    }

    /// How many of them at once.
    #[must_use]
    pub fn lanes(&self) -> u64 {
        self.lanes.unwrap_or(4)
    }

    /// Whether this program is to be measured.
    #[must_use]
    pub fn wants(&self, program: &str) -> bool {
        self.only.as_deref().is_none_or(|only| program.starts_with(only))
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
        let options = parse("restart --keys 2000 --json").expect("it is right");
        assert_eq!((options.keys(1), options.rounds(3), options.json), (2000, 3, true));
        assert_eq!(options.tail(2000), 200);
        let options = parse("failover --lanes 2").expect("it is right");
        assert_eq!((options.orders(), options.lanes()), (1000, 2));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(parse("").expect_err("nothing is asked for").contains("usage"));
        assert!(parse("restart --keys none").expect_err("no number").contains("--keys wants"));
        assert!(parse("restart --fast").expect_err("no option").contains("--fast is no option"));
    }
}
