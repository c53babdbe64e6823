//! Transactions, as the judges understand them: conditions, and for either case a list of what could be asked alone.
//! Planned by executing the list on a copy of the model, command by command.

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Asked, Right, Unread, bad, number, unsigned, whole, word};
use super::grants::{Need, needs};
use super::model::{At, Plan};

/// `TXN [IF …] THEN … [ELSE …]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    conditions: Vec<Condition>,
    then: Vec<Asked>,
    otherwise: Vec<Asked>,
}

/// A condition: what is asked of which key, how it compares, with what.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    There(Blob, bool),
    Text(Blob, bool, Blob),
    Number(Blob, String, i64),
    Revision(Blob, String, u64),
    Lease(Blob, bool, u64),
    Lock(Blob, bool, u64),
}

fn compares<T: Ord>(left: &T, how: &str, right: &T) -> bool {
    match how {
        "=" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    }
}

/// What is left to read.
struct Rest<'a>(&'a [Blob]);

impl Rest<'_> {
    fn next(&mut self) -> Result<Blob, Unread> {
        let (first, rest) = self.0.split_first().ok_or_else(|| bad("TXN ends too early"))?;
        self.0 = rest;
        Ok(first.clone())
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = word(self.0.first()) == keyword;
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn compared(&mut self) -> Result<String, Unread> {
        let how = word(Some(&self.next()?));
        let known = ["=", "!=", "<", "<=", ">", ">="].contains(&how.as_str());
        if known { Ok(how) } else { Err(bad(format!("{how} compares nothing"))) }
    }

    fn conditions(&mut self) -> Result<Vec<Condition>, Unread> {
        let mut conditions = Vec::new();
        while word(self.0.first()) != "THEN" {
            let name = word(Some(&self.next()?));
            let key = self.next()?;
            conditions.push(match name.as_str() {
                "EXISTS" => Condition::There(key, true),
                "MISSING" => Condition::There(key, false),
                "VALUE" => match self.compared()?.as_str() {
                    "=" => Condition::Text(key, true, self.next()?),
                    "!=" => Condition::Text(key, false, self.next()?),
                    other => return Err(bad(format!("a VALUE compared by {other}"))),
                },
                "NUMBER" => Condition::Number(key, self.compared()?, number(&self.next()?)?),
                "REVISION" => Condition::Revision(key, self.compared()?, unsigned(&self.next()?)?),
                "LEASE" | "LOCK" => {
                    let equal = match self.compared()?.as_str() {
                        "=" => true,
                        "!=" => false,
                        other => return Err(bad(format!("a {name} compared by {other}"))),
                    };
                    let number = unsigned(&self.next()?)?;
                    if name == "LEASE" {
                        Condition::Lease(key, equal, number)
                    } else {
                        Condition::Lock(key, equal, number)
                    }
                }
                other => return Err(bad(format!("{other} is no condition"))),
            });
        }
        Ok(conditions)
    }

    fn commands(&mut self) -> Result<Vec<Asked>, Unread> {
        let mut commands = Vec::new();
        while self.0.first().is_some_and(|word| whole(word).is_some()) {
            let count = unsigned(&self.next()?)?;
            let words = (0..count).map(|_| self.next()).collect::<Result<Vec<_>, _>>()?;
            commands.push(Asked::read(&words)?);
        }
        Ok(commands)
    }
}

impl Txn {
    pub(super) fn read(rest: &[Blob]) -> Result<Self, Unread> {
        let mut rest = Rest(rest);
        let conditions = if rest.keyword("IF") { rest.conditions()? } else { Vec::new() };
        if !rest.keyword("THEN") {
            return Err(bad("TXN without THEN"));
        }
        let then = rest.commands()?;
        let otherwise = if rest.keyword("ELSE") { rest.commands()? } else { Vec::new() };
        if rest.0.is_empty() {
            Ok(Self { conditions, then, otherwise })
        } else {
            Err(bad("words behind a TXN"))
        }
    }

    fn commands(&self) -> impl Iterator<Item = &Asked> {
        self.then.iter().chain(&self.otherwise)
    }

    /// Whether it rests on a lock or lease.
    pub(super) fn is_guarded(&self) -> bool {
        self.conditions.iter().any(|it| matches!(it, Condition::Lock(..) | Condition::Lease(..)))
    }

    pub(super) fn is_write(&self) -> bool {
        self.commands().any(Asked::is_write)
    }

    /// The keys of all commands.
    pub(super) fn keys(&self) -> Vec<&Blob> {
        self.commands().flat_map(Asked::keys).collect()
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        let conditions = self.conditions.iter().map(|condition| match condition {
            Condition::There(key, _)
            | Condition::Text(key, ..)
            | Condition::Number(key, ..)
            | Condition::Revision(key, ..)
            | Condition::Lease(key, ..) => Need::read(key),
            Condition::Lock(name, ..) => Need::Key(Right::Lock, name.clone()),
        });
        conditions.chain(self.commands().flat_map(needs)).collect()
    }
}

impl At<'_> {
    /// What the transaction must do.
    pub(super) fn transaction(&self, user: Option<&Blob>, txn: &Txn) -> Plan {
        self.try_transaction(user, txn).unwrap_or_else(Plan::fails)
    }

    fn try_transaction(&self, user: Option<&Blob>, txn: &Txn) -> Result<Plan, ErrorCode> {
        let mut holds = true;
        for condition in &txn.conditions {
            holds &= self.holds(condition)?;
        }
        let mut model = self.model.clone();
        let (mut whole, mut answers) = (Plan::default(), Vec::new());
        for asked in if holds { &txn.then } else { &txn.otherwise } {
            let plan = model.plan(user, asked, self.position, self.now);
            answers.push(plan.says.clone().unwrap_or(Ok(Value::Nil))?);
            whole.rows.extend(plan.rows.clone());
            whole.limits.extend(plan.limits.clone());
            whole.hangs.extend(plan.hangs.clone());
            model.adopt(plan);
        }
        whole.hangs.retain(|key, lease| self.model.hangs.get(key) != lease.as_ref());
        whole.says = Some(Ok(Value::List(vec![Value::Int(holds.into()), Value::List(answers)])));
        Ok(whole)
    }

    fn holds(&self, condition: &Condition) -> Result<bool, ErrorCode> {
        Ok(match condition {
            Condition::There(key, there) => self.row(key).is_some() == *there,
            Condition::Text(key, equal, wanted) => (self.text(key)? == Some(wanted)) == *equal,
            Condition::Number(key, how, wanted) => match self.text(key)? {
                None => false,
                Some(text) => compares(&whole(text).ok_or(ErrorCode::NotAnInteger)?, how, wanted),
            },
            Condition::Revision(key, how, wanted) => {
                compares(&self.row(key).map_or(0, |row| row.revision.0), how, wanted)
            }
            Condition::Lease(key, equal, lease) => {
                let hangs = self.row(key).is_some() && self.model.hangs.get(key) == Some(lease);
                hangs == *equal
            }
            Condition::Lock(name, equal, token) => self.is_held(name, *token) == *equal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked, Unread> {
        Asked::read(&line.split(' ').map(Blob::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_part_is_read() {
        let Ok(Asked::Txn(txn)) =
            read("txn if exists a value b != x number c >= 3 then 3 set a 1 2 get b else 2 del c")
        else {
            panic!("well formed")
        };
        assert_eq!((txn.conditions.len(), txn.then.len(), txn.otherwise.len()), (3, 2, 1));
        assert!(txn.is_write() && txn.needs().len() == 3 + 1 + 1 + 2);
        assert!(matches!(read("TXN THEN 2 GET"), Err(Unread::Malformed(_))));
        assert!(matches!(read("TXN IF VALUE a < 1 THEN"), Err(Unread::Malformed(_))));
    }
}
