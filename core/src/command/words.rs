//! A command's words: the one spelling that every way of writing it comes down to. The digest is taken
//! over it, and traces print it; parsing reads it back. Never evaluates.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::{Command, SetCondition, SetExpiry};
use crate::types::Blob;

/// One word of a command.
pub(super) enum Word<'a> {
    /// May be printed.
    Plain(&'a [u8]),
    /// A password's hash.
    Secret(&'a [u8]),
}

impl<'a> Word<'a> {
    /// The word itself.
    pub(super) fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Plain(bytes) | Self::Secret(bytes) => bytes,
        }
    }
}

impl Command {
    /// A digest of everything that the command says, the same on every node and in every release: a retry
    /// is told from another command under the same number by it. Not meant to resist a client that wants to
    /// collide with itself.
    #[must_use]
    pub fn digest(&self) -> u64 {
        // The keys only separate this digest from others; they are part of the log's format.
        let mut hasher = SipHasher13::new_with_keys(0x5354_4541_4446_4153, 0x5443_4f4d_4d41_4e44);
        self.words(&mut |word| {
            let bytes = word.bytes();
            // The length first, or `MSET a bc` and `MSET ab c` would be one.
            hasher.write(&(bytes.len() as u64).to_le_bytes());
            hasher.write(bytes);
        });
        hasher.finish()
    }

    /// Calls back with each word in turn.
    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        for word in self.name().split(' ') {
            each(Word::Plain(word.as_bytes()));
        }
        match self {
            Self::Info | Self::WhoAmI | Self::SessionOpen | Self::UserList => {}
            Self::Ping { message } => {
                if let Some(message) = message {
                    each(Word::Plain(message));
                }
            }
            Self::Get { key } | Self::GetV { key } | Self::PTtl { key } | Self::Persist { key } => {
                each(Word::Plain(key));
            }
            Self::Set { .. } => self.set_words(each),
            Self::Del { keys } | Self::Exists { keys } | Self::MGet { keys } => {
                keys.iter().for_each(|key| each(Word::Plain(key)));
            }
            Self::IncrBy { key, delta: number } | Self::Expire { key, ttl_ms: number } => {
                each(Word::Plain(key));
                each(Word::Plain(number.to_string().as_bytes()));
            }
            Self::MSet { pairs } => {
                for (key, value) in pairs {
                    each(Word::Plain(key));
                    each(Word::Plain(value));
                }
            }
            Self::Scan { prefix, after, count } => {
                each(Word::Plain(prefix));
                option("AFTER", after.as_ref(), each);
                option("COUNT", Some(&Blob::from(count.to_string())), each);
            }
            Self::UserAdd { name, password_hash } | Self::UserPassword { name, password_hash } => {
                each(Word::Plain(name));
                each(Word::Secret(password_hash.as_bytes()));
            }
            Self::UserRemove { name } | Self::UserShow { name } | Self::UserLookup { name } => {
                each(Word::Plain(name));
            }
            Self::Grant { permission, pattern, user } | Self::Revoke { permission, pattern, user } => {
                let grants = matches!(self, Self::Grant { .. });
                let preposition = if grants { "TO" } else { "FROM" };
                each(Word::Plain(permission.name().as_bytes()));
                option("ON", Some(&pattern.text()), each);
                option(preposition, Some(user), each);
            }
            Self::SessionEnd { id } => each(Word::Plain(id.to_string().as_bytes())),
            Self::Strings(command) => command.words(each),
            Self::Keyspace(command) => command.words(each),
            Self::Hashes(command) => command.words(each),
            Self::Limits(command) => command.words(each),
            Self::Transaction(transaction) => transaction.words(each),
            Self::Once(command) => command.words(each),
            Self::Leases(command) => command.words(each),
            Self::Claims(command) => command.words(each),
            Self::Roles(command) => command.words(each),
            Self::Changes(command) => command.words(each),
            Self::Drop(command) => command.words(each),
            Self::Durability(command) => command.words(each),
            Self::Cluster(command) => command.words(each),
            Self::ForgetWait { id } => each(Word::Plain(&number(id))),
        }
    }

    fn set_words(&self, each: &mut dyn FnMut(Word<'_>)) {
        let Self::Set { key, value, expiry, condition, return_old, ties } = self else { return };
        each(Word::Plain(key));
        each(Word::Plain(value));
        match expiry {
            SetExpiry::Clear => {}
            SetExpiry::After(ttl) => option("PX", Some(&number(ttl)), each),
            SetExpiry::At(at) => option("PXAT", Some(&number(at)), each),
            SetExpiry::Keep => each(Word::Plain(b"KEEPTTL")),
        }
        match condition {
            SetCondition::Always => {}
            SetCondition::Missing => each(Word::Plain(b"NX")),
            SetCondition::Exists => each(Word::Plain(b"XX")),
            SetCondition::Version(revision) => {
                option("IFVERSION", Some(&Blob::from(revision.to_string())), each);
            }
        }
        if *return_old {
            each(Word::Plain(b"GET"));
        }
        option("LEASE", ties.lease.map(number).as_ref(), each);
        if let Some((lock, token)) = &ties.fence {
            option("FENCE", Some(lock), each);
            each(Word::Plain(&number(token)));
        }
    }
}

/// A number as a word.
pub(super) fn number(number: impl std::fmt::Display) -> Blob {
    Blob::from(number.to_string())
}

/// A keyword and its argument, if there is one.
pub(super) fn option(keyword: &str, argument: Option<&Blob>, each: &mut dyn FnMut(Word<'_>)) {
    if let Some(argument) = argument {
        each(Word::Plain(keyword.as_bytes()));
        each(Word::Plain(argument));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::parse::{Parsed, parse};
    use crate::limits::Limits;

    fn command(line: &str) -> Command {
        let args: Vec<Blob> = line.split(' ').map(Blob::from).collect();
        match parse(&args, &Limits::default()) {
            Ok(Parsed::Command(command)) => command,
            other => panic!("{line} is not a command: {other:?}"),
        }
    }

    #[test]
    fn words_parse_back_to_the_command() {
        for line in [
            "PING",
            "PING hello",
            "GET a",
            "GETV a",
            "SET a b PX 5 NX GET",
            "SET a b XX",
            "DEL a b",
            "EXISTS a a",
            "SET a b IFVERSION 7",
            "SET a b PXAT 7 GET",
            "SET a b KEEPTTL XX",
            "SETNX a b",
            "MSETNX a b c d",
            "GETDEL a",
            "GETEX a",
            "GETEX a PERSIST",
            "GETEX a PX 7",
            "GETEX a PXAT 7",
            "INCRBYFLOAT a 1.5",
            "APPEND a b",
            "STRLEN a",
            "GETRANGE a -3 -1",
            "TYPE a",
            "PEXPIRE a 5 NX",
            "PEXPIREAT a 5",
            "PEXPIREAT a 5 GT",
            "TTL a",
            "EXPIRETIME a",
            "PEXPIRETIME a",
            "RENAME a b",
            "RENAMENX a b",
            "SCAN a AFTER ab COUNT 7 MATCH a*b TYPE hash",
            "KEYS a*",
            "DBSIZE",
            "TIME",
            "HSET a f 1 g 2",
            "HMSET a f 1",
            "HSETNX a f 1",
            "HGET a f",
            "HMGET a f g",
            "HDEL a f g",
            "HEXISTS a f",
            "HINCRBY a f -2",
            "HLEN a",
            "HKEYS a",
            "HVALS a",
            "HGETALL a",
            "LIMIT FIXED a 5 1000 COST 2",
            "LIMIT SLIDING a 5 1000 COST 1 PEEK",
            "LIMIT BUCKET a 5 2 1000 COST 1",
            "LIMIT CONCURRENCY a 5 me 1000",
            "LIMIT CONCURRENCY a 5 me 1000 PEEK",
            "LIMIT RELEASE a me",
            "LIMIT RESET a",
            "TXN IF EXISTS a MISSING b VALUE c != x NUMBER d >= -5 REVISION e = 7 THEN 3 SET a 1 2 GET b ELSE 2 DEL c",
            "TXN THEN 2 GET a",
            "ONCE RUN id BORN 7 INCRBY a 1",
            "ONCE BEGIN id print 1000",
            "ONCE FINISH id 7 answer",
            "ONCE FAIL id 7",
            "ONCE SHOW id",
            "TXN THEN",
            "INCRBY a -5",
            "PEXPIRE a -1",
            "PTTL a",
            "PERSIST a",
            "MGET a b",
            "MSET a 1 b 2",
            "SCAN a AFTER ab COUNT 7",
            "INFO",
            "USER REMOVE bob",
            "USER LIST",
            "USER SHOW bob",
            "WHOAMI",
            "GRANT READ ON a\\** TO bob",
            "REVOKE ADMIN ON * FROM bob",
            "SESSION OPEN",
            "SESSION END 9",
        ] {
            assert_eq!(format!("{:?}", command(line)), line.replace('\\', "\\\\"));
        }
    }

    #[test]
    fn the_digest_tells_commands_apart_and_spellings_not() {
        let digest = |line| command(line).digest();
        assert_eq!(digest("set a b ex 1"), digest("SET a b PX 1000"));
        assert_eq!(digest("EXPIRE a 2"), digest("PEXPIRE a 2000"));
        assert_eq!(digest("INCR a"), digest("INCRBY a 1"));
        assert_eq!(digest("EXPIREAT a 2 xx"), digest("PEXPIREAT a 2000 XX"));
        assert_ne!(digest("MSET a bc d e"), digest("MSET ab c d e"));
        assert_ne!(digest("GET a"), digest("GETV a"));
        assert_ne!(digest("INCRBY a 1"), digest("INCRBY a 2"));
    }

    /// The digest is stored in the log, so a release that changed it would refuse honest retries.
    #[test]
    fn the_digest_is_the_same_in_every_release() {
        let digests =
            ["SET a b", "INCRBY a 1", "SESSION OPEN"].map(|line| format!("{:016x}", command(line).digest()));
        assert_eq!(digests, ["160cf75eaf73ec6e", "fd4f745726908b88", "cb0b56c321a5db20"]);
    }

    #[test]
    fn a_printed_command_shows_no_password_hash() {
        let command = Command::UserAdd { name: "bob".into(), password_hash: "$argon2id$x".into() };
        assert_eq!(format!("{command:?}"), "USER ADD bob ***");
    }
}
