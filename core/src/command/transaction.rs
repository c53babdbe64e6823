//! Transactions: conditions on keys, and a list of commands for either case, all at one position of the log.
//!
//! The commands are kept as words and read again by whoever evaluates them: so a transaction in a transaction can't be built,
//! not even from a peer's bytes. Permissions are asked for all commands of both lists before anything else, so that a refusal
//! tells nothing about which list it would have been. If a command fails, nothing of the transaction stays.

use serde::{Deserialize, Serialize};

use super::catalogue::shown;
use super::evaluate::{Evaluation, check_level};
use super::leases::LeaseCommand;
use super::needs::{LOCK, READ, check, check_key};
use super::parse::{Parsed, Words, integer, parse};
use super::values::string;
use super::words::{Word, number};
use super::{Command, values::keyspace::KeyCommand};
use crate::access::user::Permission;
use crate::error::{ErrorCode, Failure};
use crate::limits::Limits;
use crate::protocol::value::MAX_VALUES;
use crate::reply::{Outcome, Value};
use crate::types::{Blob, Index, LeaseId};

/// Most commands in both lists together, and most conditions.
const MOST: usize = 256;

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// All of these decide which list is executed.
    conditions: Vec<Condition>,
    /// The words of each command if they hold.
    then: Vec<Vec<Blob>>,
    /// The words of each command if one does not.
    otherwise: Vec<Vec<Blob>>,
    /// Whether one of the commands can change something.
    write: bool,
    /// Whether one of them may make the database larger.
    grows: bool,
}

/// A condition on one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Condition {
    /// It exists, or does not.
    Exists { key: Blob, exists: bool },
    /// It holds these bytes, or does not. A missing key holds none.
    Value { key: Blob, equal: bool, value: Blob },
    /// It is a whole number that compares so. A missing key is none.
    Number { key: Blob, compared: Compared, number: i64 },
    /// Its revision compares so. That of a missing key is zero.
    Revision { key: Blob, compared: Compared, revision: Index },
    /// It hangs on this lease, or does not.
    Lease { key: Blob, equal: bool, lease: LeaseId },
    /// The lock of this name is held under this token, or is not.
    Lock { key: Blob, equal: bool, token: Index },
}

/// How a number or revision compares with the one that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compared {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

impl Compared {
    const WORDS: [(&str, Compared); 6] = [
        ("=", Self::Equal),
        ("!=", Self::Unequal),
        ("<", Self::Less),
        ("<=", Self::AtMost),
        (">", Self::More),
        (">=", Self::AtLeast),
    ];

    fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::More => left > right,
            Self::AtLeast => left >= right,
        }
    }

    /// The word in a condition.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, known)| *known == self).map_or("", |(word, _)| word)
    }
}

impl Condition {
    const fn key(&self) -> &Blob {
        match self {
            Self::Exists { key, .. }
            | Self::Value { key, .. }
            | Self::Number { key, .. }
            | Self::Revision { key, .. }
            | Self::Lease { key, .. }
            | Self::Lock { key, .. } => key,
        }
    }

    const fn needs(&self) -> &'static [Permission] {
        if matches!(self, Self::Lock { .. }) { LOCK } else { READ }
    }

    fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        let (name, compared, wanted) = match self {
            Self::Exists { exists: true, .. } => ("EXISTS", None, Blob::default()),
            Self::Exists { exists: false, .. } => ("MISSING", None, Blob::default()),
            Self::Value { equal, value, .. } => ("VALUE", Some(equality(*equal)), value.clone()),
            Self::Number { compared, number: wanted, .. } => {
                ("NUMBER", Some(compared.word()), number(wanted))
            }
            Self::Revision { compared, revision, .. } => {
                ("REVISION", Some(compared.word()), number(revision))
            }
            Self::Lease { equal, lease, .. } => ("LEASE", Some(equality(*equal)), number(lease)),
            Self::Lock { equal, token, .. } => ("LOCK", Some(equality(*equal)), number(token)),
        };
        each(Word::Plain(name.as_bytes()));
        each(Word::Plain(self.key()));
        if let Some(compared) = compared {
            each(Word::Plain(compared.as_bytes()));
            each(Word::Plain(&wanted));
        }
    }
}

impl Transaction {
    pub(super) const fn is_write(&self) -> bool {
        self.write
    }

    pub(super) const fn grows(&self) -> bool {
        self.grows
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        if !self.conditions.is_empty() {
            each(Word::Plain(b"IF"));
            self.conditions.iter().for_each(|condition| condition.words(each));
        }
        for (keyword, list) in [("THEN", &self.then), ("ELSE", &self.otherwise)] {
            if keyword == "ELSE" && list.is_empty() {
                continue;
            }
            each(Word::Plain(keyword.as_bytes()));
            for command in list {
                each(Word::Plain(&number(command.len())));
                command.iter().for_each(|word| each(Word::Plain(word)));
            }
        }
    }
}

/// The word for a comparison of what has no order.
fn equality(equal: bool) -> &'static str {
    if equal { Compared::Equal } else { Compared::Unequal }.word()
}

/// What a transaction may hold: commands on values and on limiters that do not walk over keys.
fn is_allowed(command: &Command) -> bool {
    match command {
        Command::Get { .. }
        | Command::GetV { .. }
        | Command::Set { .. }
        | Command::Del { .. }
        | Command::Exists { .. }
        | Command::IncrBy { .. }
        | Command::Expire { .. }
        | Command::PTtl { .. }
        | Command::Persist { .. }
        | Command::MGet { .. }
        | Command::MSet { .. }
        | Command::Strings(_)
        | Command::Hashes(_)
        | Command::Limits(_) => true,
        Command::Leases(LeaseCommand::Attach { .. } | LeaseCommand::Detach { .. }) => true,
        Command::Keyspace(command) => {
            !matches!(command, KeyCommand::Find { .. } | KeyCommand::Keys { .. } | KeyCommand::DbSize)
        }
        _ => false,
    }
}

/// Reads a command of a transaction.
fn read(words: &[Blob], limits: &Limits) -> Result<Command, Failure> {
    // Those that hold others are not even read: a chain of them would go deep.
    let holds_others = words
        .first()
        .is_some_and(|word| [&b"TXN"[..], b"ONCE"].iter().any(|name| word.eq_ignore_ascii_case(name)));
    let parsed = if holds_others { None } else { Some(parse(words, limits)?) };
    match parsed {
        Some(Parsed::Command(command)) if is_allowed(&command) => Ok(command),
        _ => {
            let name = words.first().map(|word| shown(word)).unwrap_or_default();
            let message = format!(
                "'{name}' can't be in a transaction: commands on keys, hashes and limiters can, but SCAN, KEYS and DBSIZE"
            );
            Err(Failure::new(ErrorCode::Argument, message))
        }
    }
}

impl Words<'_> {
    pub(super) fn transaction(&mut self) -> Result<Command, Failure> {
        let conditions = if self.keyword("IF") { self.conditions()? } else { Vec::new() };
        if !self.keyword("THEN") {
            return Err(self.syntax(&format!("'{}' is neither a condition nor THEN", shown(&self.peek()))));
        }
        let (mut write, mut grows) = (false, false);
        let mut note = |command: &Command| {
            write |= command.is_write();
            grows |= command.grows();
        };
        let then = self.commands(&mut note)?;
        let otherwise = if self.keyword("ELSE") { self.commands(&mut note)? } else { Vec::new() };
        self.end()?;
        if conditions.len() > MOST || then.len() + otherwise.len() > MOST {
            let message = format!("a transaction has at most {MOST} conditions and {MOST} commands");
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        Ok(Command::Transaction(Transaction { conditions, then, otherwise, write, grows }))
    }

    fn conditions(&mut self) -> Result<Vec<Condition>, Failure> {
        let mut conditions = Vec::new();
        loop {
            let condition = if self.keyword("EXISTS") {
                Condition::Exists { key: self.key()?, exists: true }
            } else if self.keyword("MISSING") {
                Condition::Exists { key: self.key()?, exists: false }
            } else if self.keyword("VALUE") {
                let (key, equal) = (self.key()?, self.equality()?);
                Condition::Value { key, equal, value: self.value()? }
            } else if self.keyword("NUMBER") {
                let (key, compared) = (self.key()?, self.compared()?);
                Condition::Number { key, compared, number: self.whole("the number to compare with")? }
            } else if self.keyword("REVISION") {
                let (key, compared) = (self.key()?, self.compared()?);
                Condition::Revision { key, compared, revision: Index(self.unsigned("the revision")?) }
            } else if self.keyword("LEASE") {
                let (key, equal) = (self.key()?, self.equality()?);
                Condition::Lease { key, equal, lease: self.lease()? }
            } else if self.keyword("LOCK") {
                let (key, equal) = (self.key()?, self.equality()?);
                Condition::Lock { key, equal, token: self.token()? }
            } else if conditions.is_empty() {
                return Err(self.syntax("no condition follows IF"));
            } else {
                return Ok(conditions);
            };
            conditions.push(condition);
        }
    }

    fn equality(&mut self) -> Result<bool, Failure> {
        match self.compared()? {
            Compared::Equal => Ok(true),
            Compared::Unequal => Ok(false),
            _ => {
                Err(self
                    .syntax("values, leases and tokens are equal (=) or not (!=): NUMBER compares in order"))
            }
        }
    }

    fn compared(&mut self) -> Result<Compared, Failure> {
        let found = Compared::WORDS.into_iter().find(|(word, _)| self.keyword(word));
        found.map(|(_, compared)| compared).ok_or_else(|| {
            self.syntax(&format!("'{}' compares nothing: =, !=, <, <=, > or >=", shown(&self.peek())))
        })
    }

    /// Commands, each after the number of its words.
    fn commands(&mut self, note: &mut dyn FnMut(&Command)) -> Result<Vec<Vec<Blob>>, Failure> {
        let mut commands = Vec::new();
        while integer(&self.peek()).is_some() {
            let count = self.unsigned("the number of a command's words")?;
            let words = (0..count).map(|_| self.next()).collect::<Result<Vec<Blob>, _>>()?;
            note(&read(&words, self.limits())?);
            commands.push(words);
        }
        Ok(commands)
    }
}

impl Evaluation<'_> {
    pub(super) fn transaction(&mut self, transaction: &Transaction) -> Outcome {
        let read_all = |list: &[Vec<Blob>], limits: &Limits| {
            list.iter().map(|words| read(words, limits)).collect::<Result<Vec<Command>, Failure>>()
        };
        let then = read_all(&transaction.then, self.limits)?;
        let otherwise = read_all(&transaction.otherwise, self.limits)?;
        let writes = then.iter().chain(&otherwise).any(Command::is_write);
        if writes != transaction.write {
            // Only a forwarding node of another mind can say so.
            return Err(Failure::new(
                ErrorCode::Argument,
                "the transaction is not what it says: try another node",
            ));
        }
        self.permit(transaction, then.iter().chain(&otherwise))?;
        let mut holds = true;
        for condition in &transaction.conditions {
            // All are looked at: which one was not met takes no time of its own.
            holds &= self.holds(condition)?;
        }
        let (keyword, branch) = if holds { ("THEN", then) } else { ("ELSE", otherwise) };
        let mut answers = Vec::with_capacity(branch.len());
        let (mut size, mut values, room) = (0, 4, self.reply_room());
        let entry = self.entry_room();
        for (at, command) in branch.iter().enumerate() {
            let answer = self.execute(command).map_err(|failure| {
                let message = format!("command {} of {keyword}: {}", at + 1, failure.message);
                Failure::new(failure.code, message)
            })?;
            (size, values) = (size + answer.size(), values + answer.count());
            if size > room || values >= MAX_VALUES || self.view.drafted_bytes() > entry {
                let message = format!(
                    "the first {} commands of {keyword} come to more than fits: do less at a time",
                    at + 1
                );
                return Err(Failure::new(ErrorCode::TooLarge, message));
            }
            answers.push(answer);
        }
        Ok(Value::List(vec![Value::Int(holds.into()), Value::List(answers)]))
    }

    /// Whether the user may do all that the transaction could do.
    fn permit<'c>(
        &mut self,
        transaction: &Transaction,
        mut commands: impl Iterator<Item = &'c Command>,
    ) -> Result<(), Failure> {
        let level = self.view.level();
        let Some((name, held)) = self.actor().cloned().zip(self.rights().cloned()) else {
            return commands.try_for_each(|command| check_level(command, level));
        };
        transaction.conditions.iter().try_for_each(|it| check_key(&name, &held, it.needs(), it.key()))?;
        commands.try_for_each(|command| {
            check(&name, &held, command)?;
            check_level(command, level)
        })
    }

    /// The same, for a transaction whose commands are not read yet.
    pub(super) fn permit_all(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        let all = transaction.then.iter().chain(&transaction.otherwise);
        let commands =
            all.map(|words| read(words, self.limits)).collect::<Result<Vec<Command>, Failure>>()?;
        self.permit(transaction, commands.iter())
    }

    fn holds(&mut self, condition: &Condition) -> Result<bool, Failure> {
        Ok(match condition {
            Condition::Exists { key, exists } => self.view.key(key).is_some() == *exists,
            Condition::Revision { key, compared, revision } => {
                compared.holds(&self.view.key(key).map_or(Index(0), |record| record.revision), revision)
            }
            Condition::Value { key, equal, value } => match self.view.key(key) {
                Some(record) => (string(record.data)? == *value) == *equal,
                None => !equal,
            },
            Condition::Number { key, compared, number } => match self.view.key(key) {
                Some(record) => {
                    let found = integer(&string(record.data)?).ok_or_else(|| {
                        let key = shown(key);
                        let message = format!("'{key}' is not a whole number in 64 bits: compare its VALUE");
                        Failure::new(ErrorCode::NotAnInteger, message)
                    })?;
                    compared.holds(&found, number)
                }
                None => false,
            },
            Condition::Lease { key, equal, lease } => {
                self.guarded = true;
                (self.view.lease_of(key) == Some(*lease)) == *equal
            }
            Condition::Lock { key, equal, token } => self.is_held(key, *token) == *equal,
        })
    }
}
