//! The catalogue's entries for the commands of coordination, in the order of their names. Nothing else.

use super::catalogue::{Group, Keys, Needed, Spec};
use super::table::PLAIN;

const LIMIT: Spec =
    Spec { group: Group::Limits, needs: Needed::Limit, keys: Keys::BEHIND_TWO, write: true, ..PLAIN };

const ONCE: Spec =
    Spec { group: Group::Once, needs: Needed::ReadWrite, keys: Keys::BEHIND_TWO, write: true, ..PLAIN };

const LEASE: Spec = Spec { group: Group::Leases, needs: Needed::Login, write: true, ..PLAIN };

const LOCK: Spec =
    Spec { group: Group::Locks, needs: Needed::Lock, keys: Keys::BEHIND_TWO, write: true, ..PLAIN };

const ELECTION: Spec = Spec { group: Group::Elections, ..LOCK };

/// The commands of coordination.
pub(super) const COORDINATION: &[Spec] = &[
    Spec {
        name: "CHANGES",
        arity: -4,
        needs: Needed::Watch,
        group: Group::Watches,
        summary: "Tells what has changed after a position, in order and nothing left out; waits for the first change if WAIT says how long",
        syntax: "CHANGES position KEY key|PREFIX prefix … [ONLY created|modified|deleted|expired …] [PREVIOUS] [COUNT number] [WAIT milliseconds]",
        answer: "a map of events and position: everything up to that position has been told, so ask for what comes after it; HISTORY_GONE if changes so long ago are not known any more",
        ..PLAIN
    },
    Spec {
        name: "CLUSTER ADD",
        arity: -3,
        group: Group::Cluster,
        needs: Needed::Cluster,
        write: true,
        dangerous: true,
        summary: "Makes a node a learner: it gets the log, and is not counted. With an address, that is where the others reach it from now on; of a member only that changes",
        syntax: "CLUSTER ADD node [host:port]",
        answer: "OK; MEMBERS_BUSY if it can't be done now, MEMBERS_REFUSED if not at all",
        ..PLAIN
    },
    Spec {
        name: "CLUSTER DEMOTE",
        arity: 3,
        group: Group::Cluster,
        needs: Needed::Cluster,
        write: true,
        dangerous: true,
        summary: "Makes a voter a learner",
        syntax: "CLUSTER DEMOTE node",
        answer: "OK; MEMBERS_BUSY if it can't be done now, MEMBERS_REFUSED if not at all",
        ..PLAIN
    },
    Spec {
        name: "CLUSTER MEMBERS",
        arity: 2,
        group: Group::Cluster,
        needs: Needed::Cluster,
        summary: "Lists who belongs to the cluster, and how far each is",
        syntax: "CLUSTER MEMBERS",
        answer: "a list of maps of node, part (voter, witness, learner or leaving), leads (1 if it does), counted (1 if its copies count), heard (1 if the leader hears it), match (what it is known to hold), address (if it was given one), priority, and degraded (1 of a witness without which nothing could be committed now)",
        ..PLAIN
    },
    Spec {
        name: "CLUSTER PREFER",
        arity: 4,
        group: Group::Cluster,
        needs: Needed::Cluster,
        write: true,
        dangerous: true,
        summary: "Lets a voter lead rather than those with a lower priority: whoever leads hands over once that one has the whole log. Zero is everybody's at first",
        syntax: "CLUSTER PREFER node priority",
        answer: "OK; MEMBERS_REFUSED if it is no member",
        ..PLAIN
    },
    Spec {
        name: "CLUSTER PROMOTE",
        arity: 3,
        group: Group::Cluster,
        needs: Needed::Cluster,
        write: true,
        dangerous: true,
        summary: "Makes a learner a voter once it has nearly the whole log, or the new data directory of a voter whose disk was wiped",
        syntax: "CLUSTER PROMOTE node",
        answer: "OK; MEMBERS_BUSY if it can't be done now, MEMBERS_REFUSED if not at all",
        ..PLAIN
    },
    Spec {
        name: "CLUSTER REMOVE",
        arity: 3,
        group: Group::Cluster,
        needs: Needed::Cluster,
        write: true,
        dangerous: true,
        summary: "Lets a node belong to the cluster no more",
        syntax: "CLUSTER REMOVE node",
        answer: "OK; MEMBERS_BUSY if it can't be done now, MEMBERS_REFUSED if not at all",
        ..PLAIN
    },
    Spec {
        name: "CLUSTER REPLACE",
        arity: 4,
        group: Group::Cluster,
        needs: Needed::Cluster,
        write: true,
        dangerous: true,
        summary: "Makes a learner a voter and removes a voter, in one step",
        syntax: "CLUSTER REPLACE old new",
        answer: "OK; MEMBERS_BUSY if it can't be done now, MEMBERS_REFUSED if not at all",
        ..PLAIN
    },
    Spec {
        name: "CLUSTER TRANSFER",
        arity: 3,
        group: Group::Cluster,
        needs: Needed::Cluster,
        dangerous: true,
        summary: "Lets a voter take over the leadership; commands that come meanwhile wait for it",
        syntax: "CLUSTER TRANSFER node",
        answer: "OK once it leads; MEMBERS_BUSY if it did not take over, MEMBERS_REFUSED if it does not vote",
        ..PLAIN
    },
    Spec {
        name: "DROP CONFIRM",
        arity: -4,
        needs: Needed::Drop,
        group: Group::Keys,
        keys: Keys::BEHIND_TWO,
        write: true,
        dangerous: true,
        summary: "Deletes keys with a prefix, up to 1,000 at a time, with a token of DROP PREPARE that is not older than a minute; repeat it until there are no more",
        syntax: "DROP CONFIRM prefix token [COUNT number]",
        answer: "a map of dropped (how many) and more (1 if there are others); NOT_CONFIRMED if the token is another prefix's or user's, or too old",
        ..PLAIN
    },
    Spec {
        name: "DROP PREPARE",
        arity: 3,
        needs: Needed::Drop,
        group: Group::Keys,
        keys: Keys::BEHIND_TWO,
        summary: "Counts the keys with a prefix, up to 1,000, and gives the token with which DROP CONFIRM deletes them; \"\" is the prefix of all",
        syntax: "DROP PREPARE prefix",
        answer: "a map of keys, more (1 if there are others), token and good_ms",
        ..PLAIN
    },
    Spec {
        name: "DURABILITY ASYNC",
        arity: -3,
        group: Group::Durability,
        needs: Needed::Configuration,
        write: true,
        dangerous: true,
        summary: "Lets writes of the keys and limiters that match be answered before they are durable: those of the last milliseconds and bytes may be lost with a leader; never what has to do with locks, leases, sessions, users or ONCE",
        syntax: "DURABILITY ASYNC pattern MS milliseconds BYTES bytes",
        answer: "1, or 0 if this is configured already; milliseconds are at most 10,000, bytes 67,108,864",
        ..PLAIN
    },
    Spec {
        name: "DURABILITY LIST",
        arity: 2,
        group: Group::Durability,
        needs: Needed::Configuration,
        summary: "Lists the patterns whose writes may be answered before they are durable",
        syntax: "DURABILITY LIST",
        answer: "a list of maps of pattern, ms and bytes",
        ..PLAIN
    },
    Spec {
        name: "DURABILITY SYNC",
        arity: 3,
        group: Group::Durability,
        needs: Needed::Configuration,
        write: true,
        dangerous: true,
        summary: "Takes a pattern from the asynchronous ones: from here on what only it matches is durable before it is answered",
        syntax: "DURABILITY SYNC pattern",
        answer: "1, or 0 if it was none of them",
        ..PLAIN
    },
    Spec {
        name: "ELECTION CAMPAIGN",
        arity: -6,
        summary: "Asks to lead, saying something; waits for its turn if WAIT says how long; who leads already gets the token that it has",
        syntax: "ELECTION CAMPAIGN name candidate value PX milliseconds|LEASE id [WAIT milliseconds]",
        answer: "a map of token and lease; nil if somebody else leads, or still does after the wait",
        ..ELECTION
    },
    Spec {
        name: "ELECTION OBSERVE",
        arity: -3,
        needs: Needed::Read,
        write: false,
        summary: "Tells who leads; waits, if WAIT says how long, until that is another than the leader with this token, or says something else than this value: the token 0 is nobody's, and is meant without UNLIKE",
        syntax: "ELECTION OBSERVE name [UNLIKE token value] [WAIT milliseconds]",
        answer: "a map of leader, value and token; nil if nobody leads; after the wait the same again if nothing has changed",
        ..ELECTION
    },
    Spec {
        name: "ELECTION PROCLAIM",
        arity: 5,
        summary: "Says something else, as the leader",
        syntax: "ELECTION PROCLAIM name token value",
        answer: "OK, or FENCED if the token is not the leader's",
        ..ELECTION
    },
    Spec {
        name: "ELECTION RENEW",
        arity: 4,
        summary: "Renews the lease that the office hangs on",
        syntax: "ELECTION RENEW name token",
        answer: "how many milliseconds the lease lives, or FENCED",
        ..ELECTION
    },
    Spec {
        name: "ELECTION RESIGN",
        arity: 4,
        summary: "Gives the office up, so that the next can have it",
        syntax: "ELECTION RESIGN name token",
        answer: "1, or 0 if the token is not the leader's",
        ..ELECTION
    },
    Spec {
        name: "ELECTION SHOW",
        arity: 3,
        needs: Needed::Read,
        write: false,
        summary: "Tells who leads, since when and until when, and how many wait",
        syntax: "ELECTION SHOW name",
        answer: "a map of holders (owner, user, token, lease, remaining_ms, value) and waiting; nil if there is neither",
        ..ELECTION
    },
    Spec {
        name: "LEASE ATTACH",
        arity: -4,
        needs: Needed::ReadWrite,
        keys: Keys { first: 3, last: -1, step: 1 },
        summary: "Hangs keys on a lease: they go when it ends",
        syntax: "LEASE ATTACH id key …",
        answer: "how many of the keys there were",
        ..LEASE
    },
    Spec {
        name: "LEASE DETACH",
        arity: -3,
        needs: Needed::ReadWrite,
        keys: Keys { first: 2, last: -1, step: 1 },
        summary: "Takes keys off the lease that they hang on",
        syntax: "LEASE DETACH key …",
        answer: "how many hung on one",
        ..LEASE
    },
    Spec {
        name: "LEASE GRANT",
        arity: 3,
        summary: "Grants a lease, which lives so long after each renewal, and never shorter",
        syntax: "LEASE GRANT milliseconds",
        answer: "the lease's number",
        ..LEASE
    },
    Spec {
        name: "LEASE KEEPALIVE",
        arity: 3,
        summary: "Renews a lease",
        syntax: "LEASE KEEPALIVE id",
        answer: "how many milliseconds it lives, or LEASE_UNKNOWN",
        ..LEASE
    },
    Spec {
        name: "LEASE LIST",
        arity: 2,
        write: false,
        summary: "Lists one's leases; an administrator sees all",
        syntax: "LEASE LIST",
        answer: "a list of numbers",
        ..LEASE
    },
    Spec {
        name: "LEASE REVOKE",
        arity: 3,
        summary: "Ends a lease, with the keys, locks and the like that hang on it",
        syntax: "LEASE REVOKE id",
        answer: "1, or 0 if there is no such lease of one's own",
        ..LEASE
    },
    Spec {
        name: "LEASE SHOW",
        arity: 3,
        write: false,
        summary: "Tells about a lease",
        syntax: "LEASE SHOW id",
        answer: "a map of lease, user, ttl_ms, remaining_ms and those of its keys that one may read; nil if there is none of one's own",
        ..LEASE
    },
    Spec {
        name: "LIMIT BUCKET",
        arity: -6,
        summary: "Asks a token bucket (GCRA) that holds so many, of which so many come back in a period; PEEK changes nothing",
        syntax: "LIMIT BUCKET name capacity refill milliseconds [COST number] [PEEK]",
        answer: "a map of allowed (1 or 0), remaining, reset_ms (until it is full) and retry_after_ms (0 if allowed, nil if never)",
        ..LIMIT
    },
    Spec {
        name: "LIMIT CONCURRENCY",
        arity: -6,
        summary: "Takes one of so many places for so long, or keeps it; PEEK changes nothing",
        syntax: "LIMIT CONCURRENCY name places holder milliseconds [PEEK]",
        answer: "a map of allowed (1 or 0), remaining, reset_ms (until all are free) and retry_after_ms (0 if allowed)",
        ..LIMIT
    },
    Spec {
        name: "LIMIT FIXED",
        arity: -5,
        summary: "Asks a limiter that lets so many through in each window, which begins at a multiple of its length; PEEK changes nothing",
        syntax: "LIMIT FIXED name limit milliseconds [COST number] [PEEK]",
        answer: "a map of allowed (1 or 0), remaining, reset_ms (until the next window) and retry_after_ms (0 if allowed, nil if never)",
        ..LIMIT
    },
    Spec {
        name: "LIMIT RELEASE",
        arity: 4,
        summary: "Gives a place back that LIMIT CONCURRENCY took",
        syntax: "LIMIT RELEASE name holder",
        answer: "1, or 0 if the holder had none",
        ..LIMIT
    },
    Spec {
        name: "LIMIT RESET",
        arity: 3,
        needs: Needed::LimitWrite,
        summary: "Lets a limiter forget all that was used",
        syntax: "LIMIT RESET name",
        answer: "1, or 0 if it remembered nothing",
        ..LIMIT
    },
    Spec {
        name: "LIMIT SLIDING",
        arity: -5,
        summary: "Asks a limiter that never lets more than so many through in any span of so long; capacity comes back up to a thirty-second of it late; PEEK changes nothing",
        syntax: "LIMIT SLIDING name limit milliseconds [COST number] [PEEK]",
        answer: "a map of allowed (1 or 0), remaining, reset_ms (until all is back) and retry_after_ms (0 if allowed, nil if never)",
        ..LIMIT
    },
    Spec {
        name: "LOCK ACQUIRE",
        arity: -6,
        summary: "Takes a lock for an owner; waits for its turn if WAIT says how long; an owner that has it renews it and gets the token that it has",
        syntax: "LOCK ACQUIRE name owner PX milliseconds|LEASE id [WAIT milliseconds]",
        answer: "a map of token, which only ever grows, and lease; nil if somebody else has it, or still has it after the wait",
        ..LOCK
    },
    Spec {
        name: "LOCK RELEASE",
        arity: 4,
        summary: "Gives a lock back",
        syntax: "LOCK RELEASE name token",
        answer: "1, or 0 if it is not held under this token",
        ..LOCK
    },
    Spec {
        name: "LOCK RENEW",
        arity: 4,
        summary: "Renews the lease that a lock hangs on",
        syntax: "LOCK RENEW name token",
        answer: "how many milliseconds the lease lives, or FENCED",
        ..LOCK
    },
    Spec {
        name: "LOCK SHOW",
        arity: 3,
        needs: Needed::Read,
        write: false,
        summary: "Tells who has a lock, and how many wait",
        syntax: "LOCK SHOW name",
        answer: "a map of holders (owner, user, token, lease, remaining_ms) and waiting; nil if there is neither",
        ..LOCK
    },
    Spec {
        name: "ONCE BEGIN",
        arity: 5,
        summary: "Begins work outside of the database under an id, for so long; under the same id and fingerprint it is begun again only when that time is over",
        syntax: "ONCE BEGIN id fingerprint milliseconds",
        answer: "a map: state first with a token, running with retry_after_ms, or done with the answer; or ONCE_CONFLICT",
        ..ONCE
    },
    Spec {
        name: "ONCE FAIL",
        arity: 4,
        summary: "Gives work up, so that it can be begun again at once",
        syntax: "ONCE FAIL id token",
        answer: "OK, or FENCED",
        ..ONCE
    },
    Spec {
        name: "ONCE FINISH",
        arity: 5,
        summary: "Says that work is done, and what came of it",
        syntax: "ONCE FINISH id token answer",
        answer: "OK, or FENCED if somebody else has begun it since",
        ..ONCE
    },
    Spec {
        name: "ONCE RUN",
        arity: -4,
        needs: Needed::AsParts,
        keys: Keys::NONE,
        summary: "Executes a command unless it was executed under this id of the user; the id's birth (milliseconds since 1970) is said, or the id is a UUID of version 7",
        syntax: "ONCE RUN id [BORN milliseconds] command …",
        answer: "the command's answer, of whichever attempt; ONCE_CONFLICT if it was another command, ONCE_EXPIRED if the id is older than a day",
        ..ONCE
    },
    Spec {
        name: "ONCE SHOW",
        arity: 3,
        needs: Needed::Read,
        write: false,
        summary: "Tells what became of work under an id",
        syntax: "ONCE SHOW id",
        answer: "a map: state running with retry_after_ms or done with the answer; nil if nothing is known",
        ..ONCE
    },
    Spec {
        name: "SEMAPHORE ACQUIRE",
        arity: -7,
        summary: "Takes permits of so many; waits for its turn if WAIT says how long; an owner that has them renews them",
        syntax: "SEMAPHORE ACQUIRE name capacity owner PX milliseconds|LEASE id [PERMITS number] [WAIT milliseconds]",
        answer: "a map of token and lease; nil if too few are free, or still are after the wait",
        ..LOCK
    },
    Spec {
        name: "SEMAPHORE RELEASE",
        arity: 4,
        summary: "Gives permits back",
        syntax: "SEMAPHORE RELEASE name token",
        answer: "1, or 0 if none is held under this token",
        ..LOCK
    },
    Spec {
        name: "SEMAPHORE RENEW",
        arity: 4,
        summary: "Renews the lease that permits hang on",
        syntax: "SEMAPHORE RENEW name token",
        answer: "how many milliseconds the lease lives, or FENCED",
        ..LOCK
    },
    Spec {
        name: "SEMAPHORE SHOW",
        arity: 3,
        needs: Needed::Read,
        write: false,
        summary: "Tells who has permits, and how many wait",
        syntax: "SEMAPHORE SHOW name",
        answer: "a map of holders (owner, user, token, lease, remaining_ms, permits) and waiting; nil if there is neither",
        ..LOCK
    },
    Spec {
        name: "TXN",
        arity: -2,
        needs: Needed::AsParts,
        group: Group::Keys,
        write: true,
        summary: "Executes commands at one position, all or none of them: those behind THEN if all conditions hold, else those behind ELSE; before each command stands the number of its words",
        syntax: "TXN [IF (EXISTS key|MISSING key|VALUE key =|!= value|NUMBER key op number|REVISION key op revision|LEASE key =|!= id|LOCK name =|!= token) …] THEN [words command …] [ELSE words command …]",
        answer: "a list of 1 (THEN) or 0 (ELSE), and the list of the commands' answers; or the error of the first command that fails, and then nothing was changed",
        ..PLAIN
    },
];
