//! What a client asked for, read from its arguments by the judges' own, naive reader.
//!
//! Written from the documented syntax. It shares nothing with the parser of the core, so that a mistake
//! there is not repeated here. It never looks at any state.

use steadfast_core::types::{Blob, Index, SessionId};

use super::changes::OnChanges;
use super::claims::OnClaim;
use super::drops::read_drop;
use super::durability::OnDurability;
use super::leases::OnLease;
use super::limits::OnLimit;
use super::members::OnMembers;
use super::once::OnOnce;
use super::reach::Reach;
use super::roles::{OnRole, Rule};
use super::transactions::Txn;
use super::values::{OnValue, Until, read_matching, read_set_options};

/// A command, as the judges understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `PING [message]`
    Ping(Option<Blob>),
    /// `GET key`
    Get(Blob),
    /// `GETV key`
    GetV(Blob),
    /// `SET key value [EX s | PX ms] [NX | XX | IFVERSION n] [GET]`
    Set {
        /// The key.
        key: Blob,
        /// The new value.
        value: Blob,
        /// Milliseconds until it goes, if ever.
        ttl: Option<u64>,
        /// When it happens.
        only: Only,
        /// Whether the old value is the answer.
        old: bool,
    },
    /// `DEL key…`
    Del(Vec<Blob>),
    /// `EXISTS key…`
    Exists(Vec<Blob>),
    /// `INCRBY key delta`
    IncrBy(Blob, i64),
    /// `EXPIRE key s` and `PEXPIRE key ms`, in milliseconds.
    Expire(Blob, i64),
    /// `PTTL key`
    PTtl(Blob),
    /// `PERSIST key`
    Persist(Blob),
    /// `MGET key…`
    MGet(Vec<Blob>),
    /// `MSET key value…`
    MSet(Vec<(Blob, Blob)>),
    /// `SCAN prefix [AFTER key] [COUNT n]`
    Scan {
        /// Only keys that begin with this.
        prefix: Blob,
        /// Only keys strictly after this.
        after: Option<Blob>,
        /// At most this many, if said.
        count: Option<usize>,
    },
    /// `INFO`
    Info,
    /// `USER ADD name password`
    UserAdd(Blob),
    /// `USER REMOVE name`
    UserRemove(Blob),
    /// `USER PASSWORD name password`
    UserPassword(Blob),
    /// `USER LIST`
    UserList,
    /// `USER SHOW name`
    UserShow(Blob),
    /// `GRANT right ON pattern TO user`
    Grant(Right, Reach, Blob),
    /// `REVOKE right ON pattern FROM user`
    Revoke(Right, Reach, Blob),
    /// `WHOAMI`
    WhoAmI,
    /// `SESSION OPEN`
    SessionOpen,
    /// `SESSION END id`
    SessionEnd(SessionId),
    /// A command on values that only the first judge follows.
    Value(OnValue),
    /// A command on rate limiters.
    Limit(OnLimit),
    /// A transaction.
    Txn(Txn),
    /// A command under an idempotency id.
    Once(OnOnce),
    /// On leases.
    Lease(OnLease),
    /// On locks and the like.
    Claim(OnClaim),
    /// On roles and denials.
    Role(OnRole),
    /// For what has changed.
    Changes(OnChanges),
    /// `DROP PREPARE prefix`, or `DROP CONFIRM prefix token [COUNT n]`
    Drop(Blob, Option<(Blob, usize)>),
    /// On how far answers may run ahead of their durability.
    Durability(OnDurability),
    /// On who belongs to the cluster.
    Members(OnMembers),
}

/// When a SET happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// In any case.
    Always,
    /// Only if the key is missing.
    Missing,
    /// Only if the key exists.
    Existing,
    /// Only if the key has this revision; zero: only if it is missing.
    Revision(Index),
}

/// What a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Seeing values, existence and remaining time.
    Read,
    /// Creating, changing and deleting.
    Write,
    /// Managing users and seeing the state of the cluster; includes no key.
    Admin,
    /// Asking rate limiters.
    Limit,
    /// Holding locks and the like.
    Lock,
    /// Being told of changes.
    Watch,
    /// Deleting, which is part of writing.
    Delete,
    /// Deleting whole prefixes.
    Drop,
}

/// Why arguments could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The database must answer an error too.
    Malformed(String),
    /// The judges do not know this command; they can't say anything about it.
    Unfamiliar(String),
}

impl Asked {
    /// Whether its answer has no place in the log's order: it says something about a node, or about who leads.
    pub fn has_no_place(&self) -> bool {
        matches!(self, Self::Ping(_) | Self::Info | Self::Members(OnMembers::Transfer(_)))
    }

    /// Reads arguments, the command's name first.
    ///
    /// # Errors
    /// [`Unread::Malformed`] where the documented syntax is broken, [`Unread::Unfamiliar`] for a command
    /// that the judges were not taught.
    pub fn read(args: &[Blob]) -> Result<Self, Unread> {
        let name = word(args.first());
        let rest = args.get(1..).unwrap_or_default();
        match name.as_str() {
            "PING" if rest.len() <= 1 => Ok(Self::Ping(rest.first().cloned())),
            "GET" => Ok(Self::Get(one(&name, rest)?)),
            "GETV" => Ok(Self::GetV(one(&name, rest)?)),
            "SET" => read_set(rest),
            "DEL" => Ok(Self::Del(many(&name, rest)?)),
            "EXISTS" => Ok(Self::Exists(many(&name, rest)?)),
            "INCRBY" => two(&name, rest).and_then(|(key, by)| Ok(Self::IncrBy(key, number(&by)?))),
            "EXPIRE" => two(&name, rest)
                .and_then(|(key, ttl)| Ok(Self::Expire(key, number(&ttl)?.saturating_mul(1000)))),
            "PEXPIRE" if rest.len() == 2 => {
                two(&name, rest).and_then(|(key, ttl)| Ok(Self::Expire(key, number(&ttl)?)))
            }
            "PTTL" => Ok(Self::PTtl(one(&name, rest)?)),
            "PERSIST" => Ok(Self::Persist(one(&name, rest)?)),
            "MGET" => Ok(Self::MGet(many(&name, rest)?)),
            "MSET" => read_pairs(rest),
            "SCAN" => read_scan(rest),
            "INFO" if rest.is_empty() => Ok(Self::Info),
            "WHOAMI" if rest.is_empty() => Ok(Self::WhoAmI),
            "USER" => read_user(rest),
            "ONCE" => OnOnce::read(rest).map(Self::Once),
            "TXN" => Txn::read(rest).map(Self::Txn),
            "LIMIT" => OnLimit::read(rest).map(Self::Limit),
            "LEASE" => OnLease::read(rest).map(Self::Lease),
            "DROP" => read_drop(rest),
            "DURABILITY" => OnDurability::read(rest).map(Self::Durability),
            "CLUSTER" => OnMembers::read(rest).map(Self::Members),
            "CHANGES" => OnChanges::read(rest).map(Self::Changes),
            "LOCK" | "SEMAPHORE" | "ELECTION" => OnClaim::read(&name, rest).map(Self::Claim),
            "ROLE" | "CHECK" | "GRANT" | "REVOKE" | "DENY" | "UNDENY" => match OnRole::read(&name, rest)? {
                OnRole::Rule(Rule { rule: (right, reach), denies: false, of_role: false, adds, name }) => {
                    Ok(if adds { Self::Grant(right, reach, name) } else { Self::Revoke(right, reach, name) })
                }
                asked => Ok(Self::Role(asked)),
            },
            "SESSION" => read_session(rest),
            "PING" | "WHOAMI" | "INFO" => Err(bad(format!("{name} with {} arguments", rest.len()))),
            "DECRBY" => two(&name, rest).and_then(|(key, by)| {
                let by = number(&by)?.checked_neg().ok_or_else(|| bad("no negative in 64 bits"))?;
                Ok(Self::IncrBy(key, by))
            }),
            "INCR" => Ok(Self::IncrBy(one(&name, rest)?, 1)),
            "DECR" => Ok(Self::IncrBy(one(&name, rest)?, -1)),
            "GETSET" => two(&name, rest).map(|(key, value)| Self::Set {
                key,
                value,
                ttl: None,
                only: Only::Always,
                old: true,
            }),
            _ => OnValue::read(&name, rest).map(Self::Value),
        }
    }

    /// Whether the command can change something that is replicated.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Self::Set { .. }
            | Self::Del(_)
            | Self::IncrBy(..)
            | Self::Expire(..)
            | Self::Persist(_)
            | Self::MSet(_)
            | Self::UserAdd(_)
            | Self::UserRemove(_)
            | Self::UserPassword(_)
            | Self::Grant(..)
            | Self::Revoke(..)
            | Self::SessionOpen
            | Self::SessionEnd(_) => true,
            Self::Ping(_)
            | Self::Get(_)
            | Self::Exists(_)
            | Self::PTtl(_)
            | Self::MGet(_)
            | Self::Scan { .. }
            | Self::GetV(_)
            | Self::Info
            | Self::UserList
            | Self::UserShow(_)
            | Self::Changes(_)
            | Self::WhoAmI => false,
            Self::Drop(_, confirmed) => confirmed.is_some(),
            Self::Value(asked) => asked.is_write(),
            Self::Limit(asked) => asked.is_write(),
            Self::Txn(txn) => txn.is_write(),
            Self::Once(once) => once.is_write(),
            Self::Lease(asked) => asked.is_write(),
            Self::Claim(asked) => asked.is_write(),
            Self::Role(asked) => asked.is_write(),
            Self::Durability(asked) => asked.is_write(),
            Self::Members(asked) => asked.is_write(),
        }
    }

    /// The keys that the command names, in order, doubles included.
    #[must_use]
    pub fn keys(&self) -> Vec<&Blob> {
        match self {
            Self::Get(key)
            | Self::GetV(key)
            | Self::Set { key, .. }
            | Self::IncrBy(key, _)
            | Self::Expire(key, _)
            | Self::PTtl(key)
            | Self::Persist(key) => vec![key],
            Self::Del(keys) | Self::Exists(keys) | Self::MGet(keys) => keys.iter().collect(),
            Self::MSet(pairs) => pairs.iter().map(|(key, _)| key).collect(),
            Self::Value(asked) => asked.keys(),
            Self::Txn(txn) => txn.keys(),
            Self::Once(once) => once.keys(),
            Self::Lease(asked) => asked.keys(),
            _ => Vec::new(),
        }
    }
}

pub(super) fn bad(what: impl Into<String>) -> Unread {
    Unread::Malformed(what.into())
}

/// An argument in capitals, as keywords are compared; empty if it is missing.
pub(super) fn word(arg: Option<&Blob>) -> String {
    arg.map(|arg| String::from_utf8_lossy(arg).to_ascii_uppercase()).unwrap_or_default()
}

pub(super) fn one(name: &str, rest: &[Blob]) -> Result<Blob, Unread> {
    match rest {
        [key] => Ok(key.clone()),
        _ => Err(bad(format!("{name} with {} arguments", rest.len()))),
    }
}

pub(super) fn two(name: &str, rest: &[Blob]) -> Result<(Blob, Blob), Unread> {
    match rest {
        [first, second] => Ok((first.clone(), second.clone())),
        _ => Err(bad(format!("{name} with {} arguments", rest.len()))),
    }
}

pub(super) fn many(name: &str, rest: &[Blob]) -> Result<Vec<Blob>, Unread> {
    if rest.is_empty() { Err(bad(format!("{name} without a key"))) } else { Ok(rest.to_vec()) }
}

/// A whole number as Redis writes it: an optional minus sign and digits, nothing else.
pub fn whole(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let canonical = match digits {
        [] => false,
        [b'0'] => bytes.len() == 1,
        [b'0', ..] => false,
        _ => digits.iter().all(u8::is_ascii_digit),
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

pub(super) fn number(arg: &Blob) -> Result<i64, Unread> {
    whole(arg).ok_or_else(|| bad(format!("{arg} is not a whole number")))
}

pub(super) fn unsigned(arg: &Blob) -> Result<u64, Unread> {
    let digits = std::str::from_utf8(arg).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad(format!("{arg} is not a number from zero on")))
}

fn read_set(rest: &[Blob]) -> Result<Asked, Unread> {
    let [key, value, options @ ..] = rest else { return Err(bad("SET without key and value")) };
    if options.iter().any(|option| ["LEASE", "FENCE"].contains(&word(Some(option)).as_str())) {
        return OnLease::read_set(key, value, options).map(Asked::Lease);
    }
    let (until, only, old) = read_set_options(options)?;
    let (key, value) = (key.clone(), value.clone());
    Ok(match until {
        Until::Ever => Asked::Set { key, value, ttl: None, only, old },
        Until::After(ttl) => Asked::Set { key, value, ttl: Some(ttl), only, old },
        Until::At(_) | Until::Same => Asked::Value(OnValue::Set(key, value, until, only, old)),
    })
}

fn read_pairs(rest: &[Blob]) -> Result<Asked, Unread> {
    if rest.is_empty() || !rest.len().is_multiple_of(2) {
        return Err(bad("MSET needs pairs of key and value"));
    }
    Ok(Asked::MSet(rest.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()))
}

fn read_scan(rest: &[Blob]) -> Result<Asked, Unread> {
    let [prefix, options @ ..] = rest else { return Err(bad("SCAN without a prefix")) };
    if options.chunks(2).any(|pair| word(pair.first()) == "MATCH") {
        return read_matching(prefix, options).map(Asked::Value);
    }
    let (mut after, mut count) = (None, None);
    for pair in options.chunks(2) {
        let fresh = match (word(pair.first()).as_str(), pair.get(1)) {
            ("AFTER", Some(key)) => after.replace(key.clone()).is_none(),
            ("COUNT", Some(n)) => {
                let n = usize::try_from(unsigned(n)?).ok().filter(|n| *n > 0);
                count.replace(n.ok_or_else(|| bad("COUNT is out of range"))?).is_none()
            }
            _ => false,
        };
        if !fresh {
            return Err(bad("SCAN takes AFTER key and COUNT n, each once"));
        }
    }
    Ok(Asked::Scan { prefix: prefix.clone(), after, count })
}

fn read_user(rest: &[Blob]) -> Result<Asked, Unread> {
    match (word(rest.first()).as_str(), rest) {
        ("ADD", [_, name, _]) => Ok(Asked::UserAdd(name.clone())),
        ("REMOVE", [_, name]) => Ok(Asked::UserRemove(name.clone())),
        ("PASSWORD", [_, name, _]) => Ok(Asked::UserPassword(name.clone())),
        ("LIST", [_]) => Ok(Asked::UserList),
        ("SHOW", [_, name]) => Ok(Asked::UserShow(name.clone())),
        ("ADD" | "REMOVE" | "PASSWORD" | "LIST" | "SHOW" | "", _) => {
            Err(bad("USER with a wrong number of arguments"))
        }
        (other, _) => Err(Unread::Unfamiliar(format!("USER {other}"))),
    }
}

pub(super) fn read_right(word_of_it: &Blob) -> Result<Right, Unread> {
    match word(Some(word_of_it)).as_str() {
        "READ" => Ok(Right::Read),
        "WRITE" => Ok(Right::Write),
        "ADMIN" => Ok(Right::Admin),
        "LIMIT" => Ok(Right::Limit),
        "LOCK" => Ok(Right::Lock),
        "WATCH" => Ok(Right::Watch),
        "DELETE" => Ok(Right::Delete),
        "DROP" => Ok(Right::Drop),
        other => Err(bad(format!("no right is called {other}"))),
    }
}

pub(super) fn read_grant(rest: &[Blob], preposition: &str) -> Result<(Right, Reach, Blob), Unread> {
    let form = || bad(format!("not of the form: right ON pattern {preposition} user"));
    let [right, on, pattern, to, user] = rest else { return Err(form()) };
    if word(Some(on)) != "ON" || word(Some(to)) != preposition {
        return Err(form());
    }
    let right = read_right(right)?;
    let reach = Reach::read(pattern)?;
    let areas = [&b"users"[..], b"cluster", b"configuration"];
    let all = reach.open && reach.literal.is_empty();
    let one = !reach.open && !reach.glob && areas.contains(&reach.literal.as_slice());
    if right == Right::Admin && !all && !one {
        return Err(bad("ADMIN on something"));
    }
    Ok((right, reach, user.clone()))
}

fn read_session(rest: &[Blob]) -> Result<Asked, Unread> {
    match (word(rest.first()).as_str(), rest) {
        ("OPEN", [_]) => Ok(Asked::SessionOpen),
        ("END", [_, id]) => Ok(Asked::SessionEnd(SessionId(unsigned(id)?))),
        ("OPEN" | "END" | "", _) => Err(bad("SESSION with a wrong number of arguments")),
        (other, _) => Err(Unread::Unfamiliar(format!("SESSION {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked, Unread> {
        Asked::read(&line.split(' ').map(Blob::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_set_with_every_option_is_read() {
        let asked = read("set k v px 50 xx get").expect("well formed");
        let Asked::Set { ttl, only, old, .. } = asked else { panic!("not a SET") };
        assert_eq!((ttl, only, old), (Some(50), Only::Existing, true));
    }

    #[test]
    fn contradictions_and_missing_parts_are_malformed() {
        for line in [
            "SET k",
            "SET k v NX XX",
            "SET k v EX 0",
            "SET k v PX",
            "MSET a",
            "DEL",
            "INCRBY c 1.5",
            "SET k v IFVERSION 1 GET",
            "GRANT READ ON a",
            "USER ADD a",
            "SESSION END x",
            "PING a b",
        ] {
            assert!(matches!(read(line), Err(Unread::Malformed(_))), "{line}");
        }
    }

    #[test]
    fn an_unfamiliar_command_is_not_called_malformed() {
        assert_eq!(read("ZADD z 1 m"), Err(Unread::Unfamiliar("ZADD".into())));
    }

    #[test]
    fn only_canonical_numbers_are_whole() {
        assert_eq!(whole(b"-9223372036854775808"), Some(i64::MIN));
        for text in ["", "-", "+1", "01", "-0", "1 ", "9223372036854775808", "x"] {
            assert_eq!(whole(text.as_bytes()), None, "{text}");
        }
    }
}
