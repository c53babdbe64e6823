//! The catalogue's entries for the commands on values, in the order of their names. Nothing else.

use super::catalogue::{Group, Keys, Needed, Spec};
use super::table::{EXPIRY_WRITE, KEYS_READ, KEYS_WRITE, PLAIN};

const EXPIRY_READ: Spec = Spec { group: Group::Expiry, ..KEYS_READ };
const HASH_READ: Spec = Spec { group: Group::Hashes, ..KEYS_READ };
const HASH_WRITE: Spec = Spec { group: Group::Hashes, ..KEYS_WRITE };

/// The commands on values.
pub(super) const VALUES: &[Spec] = &[
    Spec {
        name: "APPEND",
        arity: 3,
        summary: "Adds bytes at the end of a value",
        syntax: "APPEND key value",
        answer: "the length in bytes afterwards",
        ..KEYS_WRITE
    },
    Spec {
        name: "DBSIZE",
        arity: 1,
        needs: Needed::ReadAll,
        group: Group::Keys,
        summary: "Counts the keys",
        syntax: "DBSIZE",
        answer: "the number of keys, with those that are due and not yet deleted",
        ..PLAIN
    },
    Spec {
        name: "DECR",
        arity: 2,
        summary: "Subtracts one from a whole number",
        syntax: "DECR key",
        answer: "the number afterwards, or NOT_AN_INTEGER",
        ..KEYS_WRITE
    },
    Spec {
        name: "DECRBY",
        arity: 3,
        summary: "Subtracts from a whole number",
        syntax: "DECRBY key number",
        answer: "the number afterwards, or NOT_AN_INTEGER",
        ..KEYS_WRITE
    },
    Spec {
        name: "ECHO",
        arity: 2,
        summary: "Answers the message",
        syntax: "ECHO message",
        answer: "the message",
        ..PLAIN
    },
    Spec {
        name: "EXPIREAT",
        arity: -3,
        summary: "Gives a key a deadline",
        syntax: "EXPIREAT key seconds [NX|XX|GT|LT]",
        answer: "1, or 0 without such a key or if the condition is not met; a time that has passed deletes the key",
        ..EXPIRY_WRITE
    },
    Spec {
        name: "EXPIRETIME",
        arity: 2,
        summary: "Tells when a key goes, in seconds",
        syntax: "EXPIRETIME key",
        answer: "the second of the cluster's time, counted from 1970; -1 without a deadline, -2 without a key",
        ..EXPIRY_READ
    },
    Spec {
        name: "GETDEL",
        arity: 2,
        summary: "Deletes a key and tells its value",
        needs: Needed::ReadDelete,
        syntax: "GETDEL key",
        answer: "the value, or nil",
        ..KEYS_WRITE
    },
    Spec {
        name: "GETEX",
        arity: -2,
        summary: "Tells a value and changes its deadline",
        syntax: "GETEX key [EX seconds|PX milliseconds|EXAT seconds|PXAT milliseconds|PERSIST]",
        answer: "the value, or nil",
        ..KEYS_WRITE
    },
    Spec {
        name: "GETRANGE",
        arity: 4,
        summary: "Tells a part of a value",
        syntax: "GETRANGE key first last",
        answer: "the bytes from the first to the last, both counted from 0, or from the end if negative",
        ..KEYS_READ
    },
    Spec {
        name: "GETSET",
        arity: 3,
        summary: "Sets a key and tells the value before",
        syntax: "GETSET key value",
        answer: "the value before, or nil",
        ..KEYS_WRITE
    },
    Spec {
        name: "HDEL",
        arity: -3,
        summary: "Deletes fields",
        syntax: "HDEL key field [field …]",
        answer: "how many there were; with the last one the key goes",
        ..HASH_WRITE
    },
    Spec {
        name: "HEXISTS",
        arity: 3,
        summary: "Tells whether a field exists",
        syntax: "HEXISTS key field",
        answer: "1 or 0",
        ..HASH_READ
    },
    Spec {
        name: "HGET",
        arity: 3,
        summary: "Tells the value of a field",
        syntax: "HGET key field",
        answer: "the value, or nil",
        ..HASH_READ
    },
    Spec {
        name: "HGETALL",
        arity: 2,
        summary: "Tells all fields with their values",
        syntax: "HGETALL key",
        answer: "pairs of field and value, in the order of the fields",
        ..HASH_READ
    },
    Spec {
        name: "HINCRBY",
        arity: 4,
        summary: "Adds to a whole number in a field",
        syntax: "HINCRBY key field number",
        answer: "the number afterwards, or NOT_AN_INTEGER",
        ..HASH_WRITE
    },
    Spec {
        name: "HKEYS",
        arity: 2,
        summary: "Lists the fields",
        syntax: "HKEYS key",
        answer: "the fields, in order",
        ..HASH_READ
    },
    Spec {
        name: "HLEN",
        arity: 2,
        summary: "Counts the fields",
        syntax: "HLEN key",
        answer: "the number of fields",
        ..HASH_READ
    },
    Spec {
        name: "HMGET",
        arity: -3,
        summary: "Tells the values of fields",
        syntax: "HMGET key field [field …]",
        answer: "a list: for each field the value, or nil",
        ..HASH_READ
    },
    Spec {
        name: "HMSET",
        arity: -4,
        summary: "Sets fields, as HSET does",
        syntax: "HMSET key field value [field value …]",
        answer: "OK",
        ..HASH_WRITE
    },
    Spec {
        name: "HSET",
        arity: -4,
        summary: "Sets fields",
        syntax: "HSET key field value [field value …]",
        answer: "how many of the fields are new",
        ..HASH_WRITE
    },
    Spec {
        name: "HSETNX",
        arity: 4,
        summary: "Sets a missing field",
        syntax: "HSETNX key field value",
        answer: "1, or 0 if the field was there",
        ..HASH_WRITE
    },
    Spec {
        name: "HVALS",
        arity: 2,
        summary: "Lists the values",
        syntax: "HVALS key",
        answer: "the values, in the order of their fields",
        ..HASH_READ
    },
    Spec {
        name: "INCR",
        arity: 2,
        summary: "Adds one to a whole number",
        syntax: "INCR key",
        answer: "the number afterwards, or NOT_AN_INTEGER",
        ..KEYS_WRITE
    },
    Spec {
        name: "INCRBYFLOAT",
        arity: 3,
        summary: "Adds to a decimal number, exactly, with 17 places",
        syntax: "INCRBYFLOAT key number",
        answer: "the number afterwards, or NOT_A_NUMBER",
        ..KEYS_WRITE
    },
    Spec {
        name: "KEYS",
        arity: 2,
        needs: Needed::ReadSome,
        group: Group::Keys,
        summary: "Lists the keys that match a pattern; SCAN does so page by page",
        syntax: "KEYS pattern",
        answer: "the keys that the user may read, in order, or TOO_LARGE",
        ..PLAIN
    },
    Spec {
        name: "MSETNX",
        arity: -3,
        keys: Keys::PAIRS,
        summary: "Sets keys, all at one position, if none of them exists",
        syntax: "MSETNX key value [key value …]",
        answer: "1, or 0 if one of them exists",
        ..KEYS_WRITE
    },
    Spec {
        name: "PEXPIREAT",
        arity: -3,
        summary: "Gives a key a deadline",
        syntax: "PEXPIREAT key milliseconds [NX|XX|GT|LT]",
        answer: "1, or 0 without such a key or if the condition is not met; a time that has passed deletes the key",
        ..EXPIRY_WRITE
    },
    Spec {
        name: "PEXPIRETIME",
        arity: 2,
        summary: "Tells when a key goes, in milliseconds",
        syntax: "PEXPIRETIME key",
        answer: "the millisecond of the cluster's time, counted from 1970; -1 without a deadline, -2 without a key",
        ..EXPIRY_READ
    },
    Spec {
        name: "PSETEX",
        arity: 4,
        group: Group::Expiry,
        needs: Needed::Write,
        summary: "Sets a key for some time",
        syntax: "PSETEX key milliseconds value",
        answer: "OK",
        ..KEYS_WRITE
    },
    Spec {
        name: "RENAME",
        arity: 3,
        keys: Keys::TWO,
        summary: "Gives a key another name, in the place of what has it",
        syntax: "RENAME key name",
        answer: "OK, or NO_SUCH_KEY",
        ..KEYS_WRITE
    },
    Spec {
        name: "RENAMENX",
        arity: 3,
        keys: Keys::TWO,
        summary: "Gives a key another name that nothing has",
        syntax: "RENAMENX key name",
        answer: "1, or 0 if something has that name; NO_SUCH_KEY without the key",
        ..KEYS_WRITE
    },
    Spec {
        name: "SETEX",
        arity: 4,
        group: Group::Expiry,
        needs: Needed::Write,
        summary: "Sets a key for some time",
        syntax: "SETEX key seconds value",
        answer: "OK",
        ..KEYS_WRITE
    },
    Spec {
        name: "SETNX",
        arity: 3,
        summary: "Sets a missing key",
        syntax: "SETNX key value",
        answer: "1, or 0 if the key was there",
        ..KEYS_WRITE
    },
    Spec {
        name: "STRLEN",
        arity: 2,
        summary: "Tells the length of a value",
        syntax: "STRLEN key",
        answer: "the length in bytes; 0 without a key",
        ..KEYS_READ
    },
    Spec {
        name: "TIME",
        arity: 1,
        summary: "Tells the cluster's time",
        syntax: "TIME",
        answer: "a list: seconds since 1970, and microseconds",
        ..PLAIN
    },
    Spec {
        name: "TOUCH",
        arity: -2,
        keys: Keys::ALL,
        summary: "Counts the keys that exist, as EXISTS does",
        syntax: "TOUCH key [key …]",
        answer: "how many of the keys exist, each mention counted",
        ..KEYS_READ
    },
    Spec {
        name: "TTL",
        arity: 2,
        summary: "Tells what is left of a key's time, in seconds",
        syntax: "TTL key",
        answer: "seconds, rounded; -1 without a deadline, -2 without a key",
        ..EXPIRY_READ
    },
    Spec {
        name: "TYPE",
        arity: 2,
        summary: "Tells what a key holds",
        syntax: "TYPE key",
        answer: "string, hash, or none without a key",
        ..KEYS_READ
    },
    Spec {
        name: "UNLINK",
        arity: -2,
        keys: Keys::ALL,
        summary: "Deletes keys, as DEL does",
        needs: Needed::ReadDelete,
        syntax: "UNLINK key [key …]",
        answer: "how many of the keys there were",
        ..KEYS_WRITE
    },
];
