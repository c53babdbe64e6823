//! Every error that a client can see: its stable number and name, and whether it is *definite* (the
//! command did not take effect and never will) or *indeterminate* (it may have).
//!
//! `docs/errors.md` lists the same table; a test compares them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Micros;

/// Whether the client may conclude that nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Certainty {
    /// This attempt did not take effect and never will.
    Definite,
    /// This attempt may have taken effect, or may yet. Ask again under the same session and sequence.
    Indeterminate,
}

/// Declares the table of codes once, for the wire, for the text and for the documentation.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $certainty:ident;)*) => {
        /// A stable error code. Numbers and names are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// All codes, in the order of their numbers.
            pub const ALL: &'static [ErrorCode] = &[$(Self::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $code,)* }
            }

            /// The code with this number.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($code => Some(Self::$name),)* _ => None }
            }

            /// The name that programs match on and people search for.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether nothing happened.
            #[must_use]
            pub const fn certainty(self) -> Certainty {
                match self { $(Self::$name => Certainty::$certainty,)* }
            }
        }
    };
}

codes! {
    /// A frame or request breaks the protocol; the connection is closed.
    Protocol = 1, "PROTOCOL", Definite;
    /// No common protocol version.
    Version = 2, "VERSION", Definite;
    /// A frame, command or reply is larger than its limit.
    TooLarge = 3, "TOO_LARGE", Definite;
    /// The client expects another cluster.
    WrongCluster = 4, "WRONG_CLUSTER", Definite;
    /// Nobody is logged in on this connection, or the login was ended by a change of the user.
    Unauthenticated = 5, "UNAUTHENTICATED", Definite;
    /// The user name or the password is wrong; which one is not said.
    WrongPassword = 6, "WRONG_PASSWORD", Definite;
    /// The user has no grant for what the command needs. Says nothing about whether a key exists.
    Denied = 7, "DENIED", Definite;
    /// No such command.
    UnknownCommand = 8, "UNKNOWN_COMMAND", Definite;
    /// A wrong number of arguments.
    Arity = 9, "ARITY", Definite;
    /// An argument can't be understood or is out of range.
    Argument = 10, "ARGUMENT", Definite;
    /// The value is not a whole number in 64 bits, or would leave that range.
    NotAnInteger = 11, "NOT_AN_INTEGER", Definite;
    /// The node has too much to do; try again later.
    Overloaded = 12, "OVERLOADED", Definite;
    /// Too many requests under way on this connection.
    TooManyRequests = 13, "TOO_MANY_REQUESTS", Definite;
    /// Too many connections to this node.
    TooManyConnections = 14, "TOO_MANY_CONNECTIONS", Definite;
    /// No leader is known, and the command was handed to nobody.
    NoLeader = 15, "NO_LEADER", Definite;
    /// The deadline passed before the command was evaluated.
    DeadlineExceeded = 16, "DEADLINE_EXCEEDED", Definite;
    /// The command was logged or handed on, and its outcome was not known in time.
    TimedOut = 17, "TIMED_OUT", Indeterminate;
    /// The leader lost its term while the command's entry was not yet committed.
    LeaderLost = 18, "LEADER_LOST", Indeterminate;
    /// An earlier command of this connection has an unknown outcome, so this one was not executed.
    AfterIndeterminate = 19, "AFTER_INDETERMINATE", Definite;
    /// The session has expired, was ended, or belongs to somebody else. This attempt was not executed;
    /// whether an earlier one was can no longer be told.
    SessionUnknown = 20, "SESSION_UNKNOWN", Definite;
    /// The sequence lies at or below what the client has acknowledged.
    SessionStale = 21, "SESSION_STALE", Definite;
    /// The same session and sequence came with another command before.
    SessionConflict = 22, "SESSION_CONFLICT", Definite;
    /// The sequence runs too far ahead of what was acknowledged.
    SessionWindow = 23, "SESSION_WINDOW", Definite;
    /// A number of things of this kind (users, grants, sessions, log bytes) has reached its limit.
    LimitReached = 24, "LIMIT_REACHED", Definite;
    /// The user exists already.
    UserExists = 25, "USER_EXISTS", Definite;
    /// No such user.
    UserUnknown = 26, "USER_UNKNOWN", Definite;
    /// The change would leave nobody who can administer users.
    LastAdministrator = 27, "LAST_ADMINISTRATOR", Definite;
    /// What the command read changed while it was computing; try again.
    Changed = 28, "CHANGED", Definite;
    /// The node is stopping.
    ShuttingDown = 29, "SHUTTING_DOWN", Definite;
    /// A read was handed to a leader that was replaced before it could answer; nothing happened.
    LeaderChanged = 30, "LEADER_CHANGED", Definite;
    /// The cluster's feature level does not allow this yet.
    FeatureLevel = 31, "FEATURE_LEVEL", Definite;
    /// The command was evaluated, and its answer is larger than the frames that the client takes.
    ReplyTooLarge = 32, "REPLY_TOO_LARGE", Indeterminate;
    /// The key holds another kind of value than the command is for.
    WrongType = 33, "WRONG_TYPE", Definite;
    /// The value or the number to add is no decimal number, or the sum has too many digits.
    NotANumber = 34, "NOT_A_NUMBER", Definite;
    /// A key that has to be there is not.
    NoSuchKey = 35, "NO_SUCH_KEY", Definite;
    /// Something else was executed or begun under the same idempotency id.
    OnceConflict = 36, "ONCE_CONFLICT", Definite;
    /// The idempotency id is older than answers are kept. This attempt was not executed; whether an earlier one was can no
    /// longer be told.
    OnceExpired = 37, "ONCE_EXPIRED", Definite;
    /// The token is not the newest: somebody else has what it was for.
    Fenced = 38, "FENCED", Definite;
    /// There is no such lease of this user: it was never granted, was revoked, or has ended.
    LeaseUnknown = 39, "LEASE_UNKNOWN", Definite;
    /// The wait was ended before its time: by another request of the same owner, or with its connection.
    WaitEnded = 40, "WAIT_ENDED", Definite;
    /// Changes so long ago are no longer known here: read the keys anew, and go on from the answer's position.
    HistoryGone = 41, "HISTORY_GONE", Definite;
    /// No such position has been reached yet.
    PositionAhead = 42, "POSITION_AHEAD", Definite;
    /// The command wants a confirmation, and this is none.
    NotConfirmed = 43, "NOT_CONFIRMED", Definite;
    /// So much was answered ahead of its durability that no more may be; try again later.
    DurabilityLag = 44, "DURABILITY_LAG", Definite;
    /// The members can't be changed so now: another change is under way, or a node is not there or not far enough; try again later.
    MembersBusy = 45, "MEMBERS_BUSY", Definite;
    /// The members can't be changed so at all.
    MembersRefused = 46, "MEMBERS_REFUSED", Definite;
}

/// An error for a client: the code, and a sentence with the offending value and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which.
    pub code: ErrorCode,
    /// For people. Never says whether a key exists that the user may not read.
    pub message: String,
    /// After so many milliseconds another attempt is likelier to be taken in, 10 to 2000; 0 where nobody knows. No part of what
    /// is logged.
    #[serde(skip)]
    pub retry_after_ms: u32,
}

/// Bounds on what a refusal says about when to come again, in milliseconds.
pub(crate) const RETRY_AFTER_MS: std::ops::RangeInclusive<u64> = 10..=2000;

impl Failure {
    /// An error with its sentence.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: 0 }
    }

    /// A refusal because of what was there before, and has waited so long. What comes last has to wait as long as what is done
    /// next has waited (Little's law), and so whoever comes again after that time finds the queue gone.
    #[must_use]
    pub fn overloaded(message: impl Into<String>, waited: Micros) -> Self {
        let millis = (waited.0 / 1000).clamp(*RETRY_AFTER_MS.start(), *RETRY_AFTER_MS.end());
        Self { retry_after_ms: millis as u32, ..Self::new(ErrorCode::Overloaded, message) }
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.code.certainty() == Certainty::Definite
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.name(), self.message)
    }
}

impl std::error::Error for Failure {}
