//! The commands on strings, hashes and keys of any kind, as the judges understand them: how they are read, what they need and
//! what they must answer and change. Written from the documented semantics; shares no code with the core.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Only, Unread, bad, number, one, read_set_options, two, unsigned, whole, word};
use super::grants::Need;
use super::model::{At, Ends, Held, Past, Plan, Row, value};

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

/// A decimal number as digits: its sign, those before the point and those behind it.
fn decimal(text: &[u8]) -> Option<(i128, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let sane = digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(fraction);
    let units = format!("{whole}{fraction}");
    (sane && units.len() < 30).then(|| Some((units.parse().ok()?, fraction.len() as u32)))?
}

fn add_decimals(a: &[u8], b: &[u8]) -> Option<String> {
    let ((a, a_places), (b, b_places)) = (decimal(a)?, decimal(b)?);
    let places = a_places.max(b_places);
    let sum = a * 10_i128.pow(places - a_places) + b * 10_i128.pow(places - b_places);
    let digits = format!("{:0>width$}", sum.unsigned_abs(), width = places as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places as usize);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{}{whole}{point}{fraction}", if sum < 0 { "-" } else { "" }))
}

impl At<'_> {
    /// What the command must do.
    pub(super) fn on_value(&self, user: Option<&Blob>, asked: &OnValue) -> Plan {
        self.try_on_value(user, asked).unwrap_or_else(Plan::fails)
    }

    fn try_on_value(&self, user: Option<&Blob>, asked: &OnValue) -> Result<Plan, ErrorCode> {
        Ok(match asked {
            OnValue::Set(key, new, until, only, old) => self.set(key, new, *until, *only, *old),
            OnValue::SetMissing(pairs) => {
                let free = pairs.iter().all(|(key, _)| self.row(key).is_none());
                let mut plan = Plan::says(Value::Int(free.into()));
                if free {
                    plan.rows = pairs
                        .iter()
                        .map(|(key, value)| (key.clone(), self.put(value.clone(), None)))
                        .collect();
                }
                plan
            }
            OnValue::GetDel(key) => match self.text(key)? {
                Some(text) => self.makes(key, None, value(Some(text))),
                None => Plan::says(Value::Nil),
            },
            OnValue::GetEx(key, until) => self.get_ex(key, *until)?,
            OnValue::AddDecimal(key, by) => {
                let sum = add_decimals(self.text(key)?.map_or(&b"0"[..], |text| text), by);
                let sum = Blob::from(sum.ok_or(ErrorCode::NotANumber)?);
                let ends = self.row(key).and_then(|row| row.ends);
                self.makes(key, self.put(sum.clone(), ends), Value::Bytes(sum))
            }
            OnValue::Append(key, more) => {
                let all = [self.text(key)?.map_or(&b""[..], |text| text), more].concat();
                let ends = self.row(key).and_then(|row| row.ends);
                self.makes(key, self.put(all.as_slice().into(), ends), Value::Int(all.len() as i64))
            }
            OnValue::Length(key) => {
                Plan::says(Value::Int(self.text(key)?.map_or(0, |text| text.len()) as i64))
            }
            OnValue::Range(key, first, last) => {
                let text = self.text(key)?.map_or(&b""[..], |text| text);
                let count = text.len() as i64;
                let place = |at: i64| if at < 0 { (count + at).max(0) } else { at };
                let (first, last) = (place(*first), place(*last));
                let part = text.iter().enumerate().filter(|(at, _)| (first..=last).contains(&(*at as i64)));
                Plan::says(Value::Bytes(part.map(|(_, byte)| *byte).collect::<Vec<u8>>().into()))
            }
            OnValue::Type(key) => {
                let name = match self.row(key).map(|row| &row.held) {
                    None => "none",
                    Some(Held::Text(_)) => "string",
                    Some(Held::Fields(_)) => "hash",
                };
                Plan::says(Value::Status(name.into()))
            }
            OnValue::Expire(key, time, relative, compared) => {
                self.expire_if(key, *time, *relative, *compared)
            }
            OnValue::Time(key, timing) => {
                Plan::says(Value::Int(match (self.row(key).map(|row| row.ends), timing) {
                    (None, _) => -2,
                    (Some(None), _) => -1,
                    (Some(Some(ends)), Timing::Left) => {
                        ((ends.at.saturating_sub(self.now) + 500) / 1000) as i64
                    }
                    (Some(Some(ends)), Timing::EndSecond) => (ends.at / 1000) as i64,
                    (Some(Some(ends)), Timing::EndMilli) => ends.at as i64,
                }))
            }
            OnValue::Rename(from, to, if_free) => self.rename(from, to, *if_free)?,
            OnValue::Matching { prefix, also, after, count } => {
                let wanted = |key: &Blob, _: &Held| key.starts_with(also);
                let page = self.page(user, prefix, after.as_ref(), count.unwrap_or(usize::MAX), &wanted);
                Plan::says(match (page, count) {
                    (Value::List(mut parts), None) => parts.swap_remove(1),
                    (page, _) => page,
                })
            }
            OnValue::Count => Plan::says(Value::Int(self.model.rows.len() as i64)),
            OnValue::HSet(key, pairs, plain) => {
                let fields = self.fields(key)?;
                let new: BTreeSet<&Blob> = pairs
                    .iter()
                    .map(|(field, _)| field)
                    .filter(|field| !fields.contains_key(*field))
                    .collect();
                let answer = if *plain { Value::ok() } else { Value::Int(new.len() as i64) };
                self.with_fields(key, pairs, answer)?
            }
            OnValue::HSetMissing(key, field, value) => {
                if self.fields(key)?.contains_key(field) {
                    return Ok(Plan::says(Value::Int(0)));
                }
                self.with_fields(key, &[(field.clone(), value.clone())], Value::Int(1))?
            }
            OnValue::HGet(key, field) => Plan::says(value(self.fields(key)?.get(field))),
            OnValue::HMGet(key, names) => {
                let fields = self.fields(key)?;
                Plan::says(Value::List(names.iter().map(|name| value(fields.get(name))).collect()))
            }
            OnValue::HDel(key, names) => self.without_fields(key, names)?,
            OnValue::HExists(key, field) => {
                Plan::says(Value::Int(self.fields(key)?.contains_key(field).into()))
            }
            OnValue::HAdd(key, field, by) => {
                let before = self.fields(key)?.get(field).map_or(Some(0), |value| whole(value));
                let sum = before.and_then(|before| before.checked_add(*by)).ok_or(ErrorCode::NotAnInteger)?;
                self.with_fields(key, &[(field.clone(), sum.to_string().into())], Value::Int(sum))?
            }
            OnValue::HLen(key) => Plan::says(Value::Int(self.fields(key)?.len() as i64)),
            OnValue::HAll(key, names, values) => {
                let fields = self.fields(key)?.into_iter();
                let bytes = Value::Bytes;
                Plan::says(match (names, values) {
                    (true, true) => {
                        Value::Pairs(fields.map(|(name, value)| (bytes(name), bytes(value))).collect())
                    }
                    (true, false) => Value::List(fields.map(|(name, _)| bytes(name)).collect()),
                    _ => Value::List(fields.map(|(_, value)| bytes(value)).collect()),
                })
            }
        })
    }

    fn get_ex(&self, key: &Blob, until: Until) -> Result<Plan, ErrorCode> {
        let text = self.text(key)?;
        let Some(row) = self.row(key) else { return Ok(Plan::says(Value::Nil)) };
        let answer = value(text);
        Ok(match until.end(self.now, Some(row)) {
            Err(Past) => self.makes(key, None, answer),
            // Nothing is logged where nothing can change.
            Ok(_) if until == Until::Same || (until == Until::Ever && row.ends.is_none()) => {
                Plan::says(answer)
            }
            Ok(ends) => self.makes(key, self.hold(row.held.clone(), ends), answer),
        })
    }

    fn expire_if(&self, key: &Blob, time: i64, relative: bool, compared: Compared) -> Plan {
        let Some(row) = self.row(key) else { return Plan::says(Value::Int(0)) };
        let at = if relative { self.now as i64 + time } else { time };
        let before = row.ends.map(|ends| ends.at as i64);
        let holds = match compared {
            Compared::Always => true,
            Compared::None => before.is_none(),
            Compared::Some => before.is_some(),
            Compared::Later => before.is_some_and(|before| at > before),
            Compared::Earlier => before.is_none_or(|before| at < before),
        };
        if !holds {
            return Plan::says(Value::Int(0));
        }
        let left = u64::try_from(at - self.now as i64).ok().filter(|left| *left > 0);
        let after = left.and_then(|left| self.hold(row.held.clone(), Some(Ends::after(self.now, left))));
        self.makes(key, after, Value::Int(1))
    }

    fn rename(&self, from: &Blob, to: &Blob, if_free: bool) -> Result<Plan, ErrorCode> {
        let row = self.row(from).ok_or(ErrorCode::NoSuchKey)?;
        let free = !if_free || self.row(to).is_none();
        let mut plan = Plan::says(if if_free { Value::Int(free.into()) } else { Value::ok() });
        if free && from != to {
            plan.rows.insert(from.clone(), None);
            plan.rows.insert(to.clone(), self.hold(row.held.clone(), row.ends));
        }
        Ok(plan)
    }

    /// A key's fields; the key must hold some if it is there.
    fn fields(&self, key: &Blob) -> Result<BTreeMap<Blob, Blob>, ErrorCode> {
        match self.row(key).map(|row| &row.held) {
            None => Ok(BTreeMap::new()),
            Some(Held::Fields(fields)) => Ok(fields.clone()),
            Some(Held::Text(_)) => Err(ErrorCode::WrongType),
        }
    }

    fn with_fields(&self, key: &Blob, pairs: &[(Blob, Blob)], answer: Value) -> Result<Plan, ErrorCode> {
        let mut fields = self.fields(key)?;
        fields.extend(pairs.iter().cloned());
        let ends = self.row(key).and_then(|row| row.ends);
        Ok(self.makes(key, self.hold(Held::Fields(fields), ends), answer))
    }

    fn without_fields(&self, key: &Blob, names: &[Blob]) -> Result<Plan, ErrorCode> {
        let mut fields = self.fields(key)?;
        let before = fields.len();
        names.iter().for_each(|name| drop(fields.remove(name)));
        let gone = before - fields.len();
        if gone == 0 {
            return Ok(Plan::says(Value::Int(0)));
        }
        let ends = self.row(key).and_then(|row| row.ends);
        let after = if fields.is_empty() { None } else { self.hold(Held::Fields(fields), ends) };
        Ok(self.makes(key, after, Value::Int(gone as i64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::asked::Asked;

    fn read(line: &str) -> Result<Asked, Unread> {
        Asked::read(&line.split(' ').map(Blob::from).collect::<Vec<_>>())
    }

    #[test]
    fn sums_of_decimals_are_those_of_paper() {
        assert_eq!(add_decimals(b"0.1", b"0.25").as_deref(), Some("0.35"));
        assert_eq!(add_decimals(b"-1.50", b"1.5").as_deref(), Some("0"));
        assert_eq!(add_decimals(b"-0.05", b"0").as_deref(), Some("-0.05"));
        assert_eq!(add_decimals(b"x", b"0"), None);
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
