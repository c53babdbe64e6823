//! The catalogue's entries for the commands of coordination, in the order of their names. Nothing else.

use super::catalogue::{Group, Keys, Needed, Spec};
use super::table::PLAIN;

const LIMIT: Spec =
    Spec { group: Group::Limits, needs: Needed::Limit, keys: Keys::BEHIND_TWO, write: true, ..PLAIN };

const ONCE: Spec =
    Spec { group: Group::Once, needs: Needed::ReadWrite, keys: Keys::BEHIND_TWO, write: true, ..PLAIN };

/// The commands of coordination.
pub(super) const COORDINATION: &[Spec] = &[
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
        name: "TXN",
        arity: -2,
        needs: Needed::AsParts,
        group: Group::Keys,
        write: true,
        summary: "Executes commands at one position, all or none of them: those behind THEN if all conditions hold, else those behind ELSE; before each command stands the number of its words",
        syntax: "TXN [IF (EXISTS key|MISSING key|VALUE key =|!= value|NUMBER key op number|REVISION key op revision) …] THEN [words command …] [ELSE words command …]",
        answer: "a list of 1 (THEN) or 0 (ELSE), and the list of the commands' answers; or the error of the first command that fails, and then nothing was changed",
        ..PLAIN
    },
];
