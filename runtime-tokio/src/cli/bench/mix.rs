//! What a load asks for: operations with weights, and the words of each request.

use std::str::FromStr;

use steadfast_core::types::Blob;

/// An operation of a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// `SET`
    Set,
    /// `GET`
    Get,
    /// `INCRBY`
    Incr,
    /// `DEL`
    Del,
    /// `HSET`
    Hset,
    /// `TXN` with a condition and two writes.
    Txn,
    /// `LIMIT BUCKET`
    Limit,
    /// `LOCK ACQUIRE`
    Lock,
    /// `LOCK RELEASE` of what was acquired before.
    Release,
}

impl Op {
    /// All that a mix can name.
    const NAMED: [Op; 8] =
        [Self::Set, Self::Get, Self::Incr, Self::Del, Self::Hset, Self::Txn, Self::Limit, Self::Lock];

    /// The word in a mix and in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Get => "get",
            Self::Incr => "incr",
            Self::Del => "del",
            Self::Hset => "hset",
            Self::Txn => "txn",
            Self::Limit => "limit",
            Self::Lock => "lock",
            Self::Release => "release",
        }
    }
}

/// Operations with their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    ops: Vec<(Op, u64)>,
    total: u64,
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut ops: Vec<(Op, u64)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let op = Op::NAMED.into_iter().find(|op| op.name() == name).ok_or_else(|| {
                let all = Op::NAMED.map(Op::name).join(", ");
                format!("\"{name}\" is no operation: {all}")
            })?;
            let weight: u64 = weight
                .parse()
                .ok()
                .filter(|weight| (1..=1_000_000).contains(weight))
                .ok_or_else(|| format!("\"{weight}\" is no weight: write set=3,get=7"))?;
            if ops.iter().any(|(known, _)| *known == op) {
                return Err(format!("{name} is named twice"));
            }
            ops.push((op, weight));
        }
        let total = ops.iter().map(|(_, weight)| weight).sum();
        Ok(Self { ops, total })
    }
}

impl Mix {
    /// The operation for a drawn number.
    pub fn pick(&self, drawn: u64) -> Op {
        let mut left = drawn % self.total;
        for (op, weight) in &self.ops {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *op,
            }
        }
        unreachable!("a number below the total falls on one of them")
    }
}

/// The words of a request for the key of this number.
pub fn words(op: Op, key: u64, value: &[u8], token: i64) -> Vec<Blob> {
    let name = |kind: &str| Blob::from(format!("bench:{kind}:{key:012}"));
    let word = |text: &'static str| Blob::from(text);
    match op {
        Op::Set => vec![word("SET"), name("key"), value.into()],
        Op::Get => vec![word("GET"), name("key")],
        Op::Del => vec![word("DEL"), name("key")],
        Op::Incr => vec![word("INCRBY"), name("count"), word("1")],
        Op::Hset => vec![word("HSET"), name("hash"), word("field"), value.into()],
        Op::Txn => {
            let (first, second) = (name("key"), name("done"));
            let set = |key: Blob| [word("3"), word("SET"), key, value.into()];
            let condition = [word("TXN"), word("IF"), word("MISSING"), name("never"), word("THEN")];
            [&condition[..], &set(first), &set(second)].concat()
        }
        Op::Limit => {
            vec![word("LIMIT"), word("BUCKET"), name("limit"), word("1000"), word("1000"), word("1000")]
        }
        Op::Lock => {
            vec![word("LOCK"), word("ACQUIRE"), name("lock"), word("bench"), word("PX"), word("30000")]
        }
        Op::Release => {
            vec![word("LOCK"), word("RELEASE"), name("lock"), Blob::from(token.to_string())]
        }
    }
}

#[cfg(test)]
mod tests {
    use steadfast_core::command::parse::{Parsed, parse};
    use steadfast_core::limits::Limits;

    use super::*;

    #[test]
    fn a_mix_is_names_with_weights() {
        let mix: Mix = "set=1,get=9".parse().expect("a mix");
        let picked = (0..20).filter(|drawn| mix.pick(*drawn) == Op::Set).count();
        assert_eq!(picked, 2);
        assert_eq!("lock".parse::<Mix>().expect("a mix").pick(7), Op::Lock);
        for wrong in ["", "fly", "set=0", "set=x", "set,set", "set,,get", "release"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_operation_is_a_command_of_this_release() {
        for op in Op::NAMED.into_iter().chain([Op::Release]) {
            let parsed = parse(&words(op, 7, b"value", 3), &Limits::default());
            assert!(matches!(parsed, Ok(Parsed::Command(_))), "{op:?}: {parsed:?}");
        }
    }
}
