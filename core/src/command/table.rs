//! The catalogue's table, one entry for each command, in the order of their names. Nothing else.

use super::catalogue::{Group, Keys, Needed, Spec};
use super::table_coordination::COORDINATION;
use super::table_values::VALUES;

const SINCE: &str = "0.1.0";

/// Most commands are like this one in most things.
pub(super) const PLAIN: Spec = Spec {
    name: "",
    arity: 1,
    keys: Keys::NONE,
    needs: Needed::Login,
    group: Group::Server,
    write: false,
    dangerous: false,
    summary: "",
    syntax: "",
    answer: "",
    since: SINCE,
};

pub(super) const KEYS_READ: Spec =
    Spec { needs: Needed::Read, group: Group::Keys, keys: Keys::ONE, arity: 2, ..PLAIN };
pub(super) const KEYS_WRITE: Spec = Spec { needs: Needed::ReadWrite, write: true, ..KEYS_READ };
pub(super) const EXPIRY_WRITE: Spec = Spec { group: Group::Expiry, ..KEYS_WRITE };
const ACCESS_READ: Spec = Spec { needs: Needed::Admin, group: Group::Access, ..PLAIN };
const ACCESS_WRITE: Spec = Spec { write: true, ..ACCESS_READ };

/// All tables. The first is asked first.
pub(super) const TABLES: [&[Spec]; 3] = [BASIC, VALUES, COORDINATION];

/// The first commands, and those on users, sessions and the server.
const BASIC: &[Spec] = &[
    Spec {
        name: "AUTH",
        arity: 3,
        needs: Needed::Nothing,
        group: Group::Access,
        summary: "Logs the connection in as a user",
        syntax: "AUTH user password",
        answer: "OK, or WRONG_PASSWORD, which does not say whether the user exists",
        ..PLAIN
    },
    Spec {
        name: "CHECK",
        arity: 4,
        needs: Needed::AdminOrSelf,
        group: Group::Access,
        summary: "Explains whether a user may do something with a key",
        syntax: "CHECK user permission key",
        answer: "a map of allowed (1 or 0), rule (the grant or denial that decides, nil if nothing grants it) and role (whose rule it is, nil if it is the user's own)",
        ..PLAIN
    },
    Spec {
        name: "COMMAND",
        summary: "Lists the commands for programs",
        syntax: "COMMAND",
        answer: "a list of name, arity, flags, first key, last key and step for each command",
        ..PLAIN
    },
    Spec {
        name: "COMMAND DOCS",
        arity: -2,
        summary: "Documents the commands for programs",
        syntax: "COMMAND DOCS [command …]",
        answer: "a map from names to maps; unknown names are left out",
        ..PLAIN
    },
    Spec {
        name: "DEL",
        arity: -2,
        keys: Keys::ALL,
        summary: "Deletes keys",
        syntax: "DEL key [key …]",
        answer: "how many of them there were",
        needs: Needed::ReadDelete,
        ..KEYS_WRITE
    },
    Spec {
        name: "DENY",
        arity: -6,
        summary: "Forbids a user, or all who have a role, something, whatever is granted to them; a glob hides from SCAN all keys \
                  that begin as it does",
        syntax: "DENY READ|WRITE|DELETE|WATCH|LIMIT|LOCK|ADMIN|DROP ON pattern TO [ROLE] name",
        answer: "1, or 0 if this is denied already",
        dangerous: true,
        ..ACCESS_WRITE
    },
    Spec {
        name: "EXISTS",
        arity: -2,
        keys: Keys::ALL,
        summary: "Counts the keys that exist; one that is named twice counts twice",
        syntax: "EXISTS key [key …]",
        answer: "the count",
        ..KEYS_READ
    },
    Spec {
        name: "EXPIRE",
        arity: -3,
        summary: "Gives a key a deadline in seconds from now; zero or less deletes it; NX only if it has no deadline yet, XX only if it has one, GT only if that is earlier, LT only if it is later or none",
        syntax: "EXPIRE key seconds [NX|XX|GT|LT]",
        answer: "1, or 0 if there is no such key or the condition is not met",
        ..EXPIRY_WRITE
    },
    Spec { name: "GET", summary: "Reads a key", syntax: "GET key", answer: "the value, or nil", ..KEYS_READ },
    Spec {
        name: "GETV",
        summary: "Reads a key with its revision, for SET … IFVERSION",
        syntax: "GETV key",
        answer: "a list of the value and its revision, or nil",
        ..KEYS_READ
    },
    Spec {
        name: "GRANT",
        arity: -6,
        summary: "Allows a user, or all who have a role, something on a key, on all keys with a prefix (`session:*`), or on those \
                  that match a glob (`user:*:cart`, `log-[0-9]`), none of which SCAN shows; a star, question mark or bracket that \
                  is part of a key has a backslash before it, and ADMIN is granted on `users`, `cluster` or `configuration`, or on `*` for all three",
        syntax: "GRANT READ|WRITE|DELETE|WATCH|LIMIT|LOCK|ADMIN|DROP ON pattern TO [ROLE] name",
        answer: "1, or 0 if the user or role has this grant already",
        dangerous: true,
        ..ACCESS_WRITE
    },
    Spec {
        name: "HELP",
        arity: -1,
        summary: "Lists the commands, or explains one, for people",
        syntax: "HELP [command]",
        answer: "a map",
        ..PLAIN
    },
    Spec {
        name: "INCRBY",
        arity: 3,
        summary: "Adds to a whole number in 64 bits and keeps its deadline; a missing key counts as 0",
        syntax: "INCRBY key number",
        answer: "the sum, or NOT_AN_INTEGER",
        ..KEYS_WRITE
    },
    Spec {
        name: "INFO",
        summary: "Says where the node and the cluster stand; with ADMIN ON cluster, also how much there is of what",
        syntax: "INFO",
        answer: "a map",
        ..PLAIN
    },
    Spec {
        name: "MGET",
        arity: -2,
        keys: Keys::ALL,
        summary: "Reads keys, all at one position",
        syntax: "MGET key [key …]",
        answer: "a list of values, with nil where there is no key",
        ..KEYS_READ
    },
    Spec {
        name: "MSET",
        arity: -3,
        keys: Keys::PAIRS,
        needs: Needed::Write,
        summary: "Sets keys, all at one position, and takes their deadlines away",
        syntax: "MSET key value [key value …]",
        answer: "OK",
        ..KEYS_WRITE
    },
    Spec {
        name: "PERSIST",
        summary: "Takes a key's deadline away",
        syntax: "PERSIST key",
        answer: "1, or 0 if there is no such key or it has no deadline",
        ..EXPIRY_WRITE
    },
    Spec {
        name: "PEXPIRE",
        arity: -3,
        summary: "Gives a key a deadline in milliseconds from now; zero or less deletes it; NX only if it has no deadline yet, XX only if it has one, GT only if that is earlier, LT only if it is later or none",
        syntax: "PEXPIRE key milliseconds [NX|XX|GT|LT]",
        answer: "1, or 0 if there is no such key or the condition is not met",
        ..EXPIRY_WRITE
    },
    Spec {
        name: "PING",
        arity: -1,
        summary: "Asks the cluster for a sign of life: the answer is that of a leader with a quorum",
        syntax: "PING [message]",
        answer: "PONG, or the message",
        ..PLAIN
    },
    Spec {
        name: "PTTL",
        group: Group::Expiry,
        summary: "Says how long a key lives at least",
        syntax: "PTTL key",
        answer: "milliseconds, -1 without a deadline, or -2 if there is no such key",
        ..KEYS_READ
    },
    Spec {
        name: "REVOKE",
        arity: -6,
        summary: "Takes a grant away, written as it was granted; other grants that cover the same keys stay",
        syntax: "REVOKE READ|WRITE|DELETE|WATCH|LIMIT|LOCK|ADMIN|DROP ON pattern FROM [ROLE] name",
        answer: "1, or 0 if the user or role has no such grant",
        dangerous: true,
        ..ACCESS_WRITE
    },
    Spec {
        name: "ROLE ADD",
        arity: 3,
        summary: "Makes a role that grants nothing yet",
        syntax: "ROLE ADD role",
        answer: "OK, or USER_EXISTS",
        ..ACCESS_WRITE
    },
    Spec {
        name: "ROLE GIVE",
        arity: 5,
        summary: "Gives a user a role",
        syntax: "ROLE GIVE role TO user",
        answer: "1, or 0 if the user has it already",
        dangerous: true,
        ..ACCESS_WRITE
    },
    Spec {
        name: "ROLE LIST",
        arity: 2,
        summary: "Lists the roles",
        syntax: "ROLE LIST",
        answer: "a list of names",
        ..ACCESS_READ
    },
    Spec {
        name: "ROLE REMOVE",
        arity: 3,
        summary: "Removes a role, from all who have it",
        syntax: "ROLE REMOVE role",
        answer: "OK, or USER_UNKNOWN if there is no such role",
        dangerous: true,
        ..ACCESS_WRITE
    },
    Spec {
        name: "ROLE SHOW",
        arity: 3,
        summary: "Tells what a role grants and denies",
        syntax: "ROLE SHOW role",
        answer: "a map of role, grants and denials; or USER_UNKNOWN",
        ..ACCESS_READ
    },
    Spec {
        name: "ROLE TAKE",
        arity: 5,
        summary: "Takes a role from a user",
        syntax: "ROLE TAKE role FROM user",
        answer: "1, or 0 if the user does not have it",
        dangerous: true,
        ..ACCESS_WRITE
    },
    Spec {
        name: "SCAN",
        arity: -2,
        keys: Keys::NONE,
        needs: Needed::ReadSome,
        summary: "Lists the keys that begin with a prefix and may be read, in order, a page at a time; of these, with MATCH and TYPE, those that match a glob pattern and hold this type of value, so that a page may be empty and not the last",
        syntax: "SCAN prefix [AFTER cursor] [COUNT number] [MATCH pattern] [TYPE type]",
        answer: "a list of the cursor for the next page, nil after the last, and the list of keys",
        ..KEYS_READ
    },
    Spec {
        name: "SESSION END",
        arity: 3,
        group: Group::Sessions,
        write: true,
        summary: "Ends a session of one's own",
        syntax: "SESSION END session",
        answer: "1, or 0 if the user has no such session",
        ..PLAIN
    },
    Spec {
        name: "SESSION OPEN",
        arity: 2,
        group: Group::Sessions,
        write: true,
        summary: "Opens a session, in which a write that is sent again with the same number executes once",
        syntax: "SESSION OPEN",
        answer: "the session's id",
        ..PLAIN
    },
    Spec {
        name: "SET",
        arity: -3,
        needs: Needed::Write,
        summary: "Sets a key and its deadline (EX in seconds, PX in milliseconds, EXAT and PXAT at a time since 1970, \
                  KEEPTTL the one that there is, else none); NX only if it is missing, \
                  XX only if it exists, IFVERSION only if it has this revision, 0 for a missing one; GET answers what \
                  was there before; LEASE hangs it on a lease; FENCE only while the lock, permits or office of that name are held under the token",
        syntax: "SET key value [EX seconds|PX milliseconds|EXAT seconds|PXAT milliseconds|KEEPTTL] [NX|XX|IFVERSION revision] [GET] [LEASE id] [FENCE name token]",
        answer: "OK, or nil if the condition was not met, or FENCED; with GET, the value before or nil, set or not",
        ..KEYS_WRITE
    },
    Spec {
        name: "UNDENY",
        arity: -6,
        summary: "Takes a denial away, written as it was made",
        syntax: "UNDENY READ|WRITE|DELETE|WATCH|LIMIT|LOCK|ADMIN|DROP ON pattern FROM [ROLE] name",
        answer: "1, or 0 if there is no such denial",
        dangerous: true,
        ..ACCESS_WRITE
    },
    Spec {
        name: "USER ADD",
        arity: 4,
        summary: "Creates a user, who may do nothing yet",
        syntax: "USER ADD name password",
        answer: "OK, or USER_EXISTS",
        ..ACCESS_WRITE
    },
    Spec {
        name: "USER LIST",
        arity: 2,
        summary: "Lists the users",
        syntax: "USER LIST",
        answer: "a list of names",
        ..ACCESS_READ
    },
    Spec {
        name: "USER PASSWORD",
        arity: 4,
        needs: Needed::AdminOrSelf,
        summary: "Changes a password and ends the user's logins and sessions, this one's too if it is one's own",
        syntax: "USER PASSWORD name password",
        answer: "OK, or USER_UNKNOWN",
        dangerous: true,
        ..ACCESS_WRITE
    },
    Spec {
        name: "USER REMOVE",
        arity: 3,
        summary: "Removes a user and ends the user's logins and sessions",
        syntax: "USER REMOVE name",
        answer: "OK, USER_UNKNOWN, or LAST_ADMINISTRATOR",
        dangerous: true,
        ..ACCESS_WRITE
    },
    Spec {
        name: "USER SHOW",
        arity: 3,
        summary: "Shows what a user may do",
        syntax: "USER SHOW name",
        answer: "a map of the name, the position of the last password change, and the grants",
        ..ACCESS_READ
    },
    Spec {
        name: "WHOAMI",
        group: Group::Access,
        summary: "Says who is logged in on this connection, and with which grants",
        syntax: "WHOAMI",
        answer: "a map of the name and the grants",
        ..PLAIN
    },
];
