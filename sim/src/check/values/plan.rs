//! What the commands on values must answer and change, as the first judge foresees it.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::{Compared, OnValue, Timing, Until};
use crate::check::asked::whole;
use crate::check::model::{At, Past, Plan, value};
use crate::check::rows::{Ends, Held};

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
    pub(in crate::check) fn on_value(&self, user: Option<&Blob>, asked: &OnValue) -> Plan {
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

    #[test]
    fn sums_of_decimals_are_those_of_paper() {
        assert_eq!(add_decimals(b"0.1", b"0.25").as_deref(), Some("0.35"));
        assert_eq!(add_decimals(b"-1.50", b"1.5").as_deref(), Some("0"));
        assert_eq!(add_decimals(b"-0.05", b"0").as_deref(), Some("-0.05"));
        assert_eq!(add_decimals(b"x", b"0"), None);
    }
}
