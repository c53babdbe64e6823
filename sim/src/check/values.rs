//! The commands on strings, hashes and keys of any kind, as the judges understand them: how they are read, what they need and
//! what they must answer and change. Written from the documented semantics; shares no code with the core.

mod plan;

use steadfast_core::types::{Blob, Index};

use super::asked::{Only, Unread, bad, number, one, two, unsigned, word};
use super::grants::Need;
use super::model::Past;
use super::rows::{Ends, Row};

/// When a key ends that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Ever,
    /// So many milliseconds from now.
    After(u64),
    /// At this millisecond.
    At(u64),
    /// When it did before.
    Same,
}

impl Until {
    /// The end of a key that was this row before.
    pub(super) fn end(self, now: u64, row: Option<&Row>) -> Result<Option<Ends>, Past> {
        match self {
            Self::Ever => Ok(None),
            Self::After(ttl) => Ok(Some(Ends::after(now, ttl))),
            Self::At(at) if at > now => Ok(Some(Ends::after(now, at - now))),
            Self::At(_) => Err(Past),
            Self::Same => Ok(row.and_then(|row| row.ends)),
        }
    }
}

/// A command on values that only the first judge follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnValue {
    /// `SET` with an option that the second judge does not know.
    Set(Blob, Blob, Until, Only, bool),
    /// `SETNX key value` and `MSETNX key value…`
    SetMissing(Vec<(Blob, Blob)>),
    /// `GETDEL key`
    GetDel(Blob),
    /// `GETEX key [option]`
    GetEx(Blob, Until),
    /// `INCRBYFLOAT key number`
    AddDecimal(Blob, Blob),
    /// `APPEND key value`
    Append(Blob, Blob),
    /// `STRLEN key`
    Length(Blob),
    /// `GETRANGE key first last`
    Range(Blob, i64, i64),
    /// `TYPE key`
    Type(Blob),
    /// `PEXPIRE key ms` and `PEXPIREAT key ms` with a condition; the time is from now if `true`.
    Expire(Blob, i64, bool, Compared),
    /// `TTL`, `EXPIRETIME`, `PEXPIRETIME`
    Time(Blob, Timing),
    /// `RENAME` and, if `true`, `RENAMENX`
    Rename(Blob, Blob, bool),
    /// `SCAN prefix … MATCH pattern` and `KEYS pattern`, for patterns of one star at the end.
    Matching {
        /// What the keys begin with.
        prefix: Blob,
        /// What they begin with, too.
        also: Blob,
        /// Only keys strictly after this.
        after: Option<Blob>,
        /// At most this many; all, in a plain list, if not said.
        count: Option<usize>,
    },
    /// `DBSIZE`
    Count,
    /// `HSET`, and `HMSET` if `true`
    HSet(Blob, Vec<(Blob, Blob)>, bool),
    /// `HSETNX`
    HSetMissing(Blob, Blob, Blob),
    /// `HGET`
    HGet(Blob, Blob),
    /// `HMGET`
    HMGet(Blob, Vec<Blob>),
    /// `HDEL`
    HDel(Blob, Vec<Blob>),
    /// `HEXISTS`
    HExists(Blob, Blob),
    /// `HINCRBY`
    HAdd(Blob, Blob, i64),
    /// `HLEN`
    HLen(Blob),
    /// `HKEYS`, `HVALS`, `HGETALL`: whether names, whether values.
    HAll(Blob, bool, bool),
}

/// How a deadline compares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// In any way.
    Always,
    /// There was none.
    None,
    /// There was one.
    Some,
    /// It is later.
    Later,
    /// It is earlier.
    Earlier,
}

/// What is asked of a key's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Seconds that are left.
    Left,
    /// The second of its end.
    EndSecond,
    /// The millisecond of its end.
    EndMilli,
}

impl OnValue {
    /// Reads a command that is none of the basic ones.
    pub(super) fn read(name: &str, rest: &[Blob]) -> Result<Self, Unread> {
        let three = || match rest {
            [a, b, c] => Ok((a.clone(), b.clone(), c.clone())),
            _ => Err(bad(format!("{name} with {} arguments", rest.len()))),
        };
        let behind = || match rest {
            [key, others @ ..] if !others.is_empty() => Ok((key.clone(), others)),
            _ => Err(bad(format!("{name} with {} arguments", rest.len()))),
        };
        Ok(match name {
            "SETNX" => Self::SetMissing(vec![two(name, rest)?]),
            "MSETNX" => Self::SetMissing(read_pairs(name, rest)?),
            "GETDEL" => Self::GetDel(one(name, rest)?),
            "GETEX" => read_getex(rest)?,
            "INCRBYFLOAT" => two(name, rest).map(|(key, by)| Self::AddDecimal(key, by))?,
            "APPEND" => two(name, rest).map(|(key, value)| Self::Append(key, value))?,
            "STRLEN" => Self::Length(one(name, rest)?),
            "GETRANGE" => three().and_then(|(key, a, b)| Ok(Self::Range(key, number(&a)?, number(&b)?)))?,
            "TYPE" => Self::Type(one(name, rest)?),
            "PEXPIRE" | "PEXPIREAT" => read_expire(name, rest)?,
            "TTL" => Self::Time(one(name, rest)?, Timing::Left),
            "EXPIRETIME" => Self::Time(one(name, rest)?, Timing::EndSecond),
            "PEXPIRETIME" => Self::Time(one(name, rest)?, Timing::EndMilli),
            "RENAME" | "RENAMENX" => {
                two(name, rest).map(|(from, to)| Self::Rename(from, to, name == "RENAMENX"))?
            }
            "KEYS" => {
                let prefix = star(&one(name, rest)?)?;
                Self::Matching { also: prefix.clone(), prefix, after: None, count: None }
            }
            "DBSIZE" if rest.is_empty() => Self::Count,
            "HSET" | "HMSET" => {
                let (key, others) = behind()?;
                Self::HSet(key, read_pairs(name, others)?, name == "HMSET")
            }
            "HSETNX" => three().map(|(key, field, value)| Self::HSetMissing(key, field, value))?,
            "HGET" => two(name, rest).map(|(key, field)| Self::HGet(key, field))?,
            "HMGET" => behind().map(|(key, fields)| Self::HMGet(key, fields.to_vec()))?,
            "HDEL" => behind().map(|(key, fields)| Self::HDel(key, fields.to_vec()))?,
            "HEXISTS" => two(name, rest).map(|(key, field)| Self::HExists(key, field))?,
            "HINCRBY" => three().and_then(|(key, field, by)| Ok(Self::HAdd(key, field, number(&by)?)))?,
            "HLEN" => Self::HLen(one(name, rest)?),
            "HKEYS" => Self::HAll(one(name, rest)?, true, false),
            "HVALS" => Self::HAll(one(name, rest)?, false, true),
            "HGETALL" => Self::HAll(one(name, rest)?, true, true),
            _ => return Err(Unread::Unfamiliar(name.into())),
        })
    }

    /// Whether the command can change something.
    pub(super) fn is_write(&self) -> bool {
        !matches!(
            self,
            Self::Length(_)
                | Self::Range(..)
                | Self::Type(_)
                | Self::Time(..)
                | Self::Matching { .. }
                | Self::Count
                | Self::HGet(..)
                | Self::HMGet(..)
                | Self::HExists(..)
                | Self::HLen(_)
                | Self::HAll(..)
        )
    }

    /// The keys that the command names, in order, doubles included.
    pub(super) fn keys(&self) -> Vec<&Blob> {
        match self {
            Self::Matching { .. } | Self::Count => Vec::new(),
            Self::SetMissing(pairs) => pairs.iter().map(|(key, _)| key).collect(),
            Self::Rename(from, to, _) => vec![from, to],
            Self::Set(key, ..)
            | Self::GetDel(key)
            | Self::GetEx(key, _)
            | Self::AddDecimal(key, _)
            | Self::Append(key, _)
            | Self::Length(key)
            | Self::Range(key, ..)
            | Self::Type(key)
            | Self::Expire(key, ..)
            | Self::Time(key, _)
            | Self::HSet(key, ..)
            | Self::HSetMissing(key, ..)
            | Self::HGet(key, _)
            | Self::HMGet(key, _)
            | Self::HDel(key, _)
            | Self::HExists(key, _)
            | Self::HAdd(key, ..)
            | Self::HLen(key)
            | Self::HAll(key, ..) => vec![key],
        }
    }

    /// What the command needs.
    pub(super) fn needs(&self) -> Vec<Need> {
        match self {
            Self::Matching { prefix, .. } => vec![Need::Some(prefix.clone())],
            Self::Count => vec![Need::Everything],
            Self::Set(key, _, until, Only::Always, false) if *until != Until::Same => vec![Need::write(key)],
            Self::GetDel(key) => Need::delete(key).into(),
            other if other.is_write() => {
                other.keys().into_iter().flat_map(|key| [Need::write(key), Need::read(key)]).collect()
            }
            other => other.keys().into_iter().map(Need::read).collect(),
        }
    }
}

fn read_pairs(name: &str, rest: &[Blob]) -> Result<Vec<(Blob, Blob)>, Unread> {
    if rest.is_empty() || !rest.len().is_multiple_of(2) {
        return Err(bad(format!("{name} needs pairs")));
    }
    Ok(rest.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}

/// The options of a SET: when the key ends, on what condition, whether the value before is the answer.
pub(super) fn read_set_options(options: &[Blob]) -> Result<(Until, Only, bool), Unread> {
    let (mut until, mut only, mut old) = (None, None, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let option = word(Some(option));
        let fresh = match option.as_str() {
            "EX" | "PX" | "EXAT" | "PXAT" => {
                let span = options.next().ok_or_else(|| bad(format!("{option} without a number")))?;
                let unit = if option.starts_with("EX") { 1000 } else { 1 };
                let ms = number(span)?.checked_mul(unit).filter(|ms| *ms > 0);
                let ms = ms.ok_or_else(|| bad(format!("{option} {span} is out of range")))? as u64;
                until.replace(if option.ends_with("AT") { Until::At(ms) } else { Until::After(ms) }).is_none()
            }
            "KEEPTTL" => until.replace(Until::Same).is_none(),
            "NX" => only.replace(Only::Missing).is_none(),
            "XX" => only.replace(Only::Existing).is_none(),
            "IFVERSION" => {
                let revision = options.next().ok_or_else(|| bad("IFVERSION without a number"))?;
                only.replace(Only::Revision(Index(unsigned(revision)?))).is_none()
            }
            "GET" => !std::mem::replace(&mut old, true),
            _ => return Err(bad(format!("SET does not know {option}"))),
        };
        if !fresh {
            return Err(bad(format!("{option} contradicts or repeats an earlier option")));
        }
    }
    let only = only.unwrap_or(Only::Always);
    if old && matches!(only, Only::Revision(_)) {
        return Err(bad("GET with IFVERSION"));
    }
    Ok((until.unwrap_or(Until::Ever), only, old))
}

fn read_getex(rest: &[Blob]) -> Result<OnValue, Unread> {
    let [key, options @ ..] = rest else { return Err(bad("GETEX without a key")) };
    let until = match options {
        [] => Until::Same,
        [option] if word(Some(option)) == "PERSIST" => Until::Ever,
        _ => match read_set_options(options)? {
            (until @ (Until::After(_) | Until::At(_)), Only::Always, false) => until,
            _ => return Err(bad("GETEX with options of SET")),
        },
    };
    Ok(OnValue::GetEx(key.clone(), until))
}

fn read_expire(name: &str, rest: &[Blob]) -> Result<OnValue, Unread> {
    let (key, time, compared) = match rest {
        [key, time] => (key, time, Compared::Always),
        [key, time, option] => {
            let compared = match word(Some(option)).as_str() {
                "NX" => Compared::None,
                "XX" => Compared::Some,
                "GT" => Compared::Later,
                "LT" => Compared::Earlier,
                other => return Err(bad(format!("{name} does not know {other}"))),
            };
            (key, time, compared)
        }
        _ => return Err(bad(format!("{name} with {} arguments", rest.len()))),
    };
    Ok(OnValue::Expire(key.clone(), number(time)?, name == "PEXPIRE", compared))
}

/// What stands before the star of a pattern that has one, at its end, and nothing else with a meaning.
fn star(pattern: &Blob) -> Result<Blob, Unread> {
    match pattern.split_last() {
        Some((b'*', prefix)) if !prefix.iter().any(|byte| b"*?[\\".contains(byte)) => Ok(prefix.into()),
        _ => Err(Unread::Unfamiliar(format!("the pattern {pattern}"))),
    }
}

/// `SCAN prefix` with options of which one is `MATCH`.
pub(super) fn read_matching(prefix: &Blob, options: &[Blob]) -> Result<OnValue, Unread> {
    let (mut also, mut after, mut count) = (None, None, None);
    for pair in options.chunks(2) {
        let fresh = match (word(pair.first()).as_str(), pair.get(1)) {
            ("AFTER", Some(key)) => after.replace(key.clone()).is_none(),
            ("COUNT", Some(n)) => count.replace(unsigned(n)? as usize).is_none(),
            ("MATCH", Some(pattern)) => also.replace(star(pattern)?).is_none(),
            _ => false,
        };
        if !fresh {
            return Err(bad("SCAN takes AFTER key, COUNT n and MATCH pattern, each once"));
        }
    }
    let also = also.ok_or_else(|| bad("no MATCH"))?;
    Ok(OnValue::Matching { prefix: prefix.clone(), also, after, count: Some(count.unwrap_or(100)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::asked::Asked;

    fn read(line: &str) -> Result<Asked, Unread> {
        Asked::read(&line.split(' ').map(Blob::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_decide_which_judges_follow() {
        assert!(matches!(read("SET k v PX 5 XX"), Ok(Asked::Set { .. })));
        assert!(matches!(read("SET k v KEEPTTL"), Ok(Asked::Value(OnValue::Set(..)))));
        assert!(matches!(read("PEXPIRE k 5"), Ok(Asked::Expire(..))));
        assert!(matches!(read("PEXPIRE k 5 GT"), Ok(Asked::Value(OnValue::Expire(..)))));
        assert!(matches!(read("SCAN a MATCH ab*"), Ok(Asked::Value(OnValue::Matching { .. }))));
        assert!(matches!(read("SCAN a MATCH a?b*"), Err(Unread::Unfamiliar(_))));
        assert!(matches!(read("HSET k f"), Err(Unread::Malformed(_))));
    }
}
