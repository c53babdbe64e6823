//! How the stores talk to the disk: tokens that are never reused, operations under way, and failures in
//! words. It decides on no operation and no order.

use crate::io::{
    DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output, Owner, Token,
};
use crate::time::Micros;

/// How long what the disk had no space for waits for another try.
pub(crate) const SPACE_PAUSE: Micros = Micros::from_millis(500);

/// Hands out one owner's tokens.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    owner: Owner,
    next: u64,
}

impl Tokens {
    /// Counts from zero.
    pub(crate) fn new(owner: Owner) -> Self {
        Self { owner, next: 0 }
    }

    /// A token for something else than a disk operation.
    pub(crate) fn token(&mut self) -> Token {
        let token = Token { owner: self.owner, seq: self.next };
        self.next += 1;
        token
    }

    /// Issues an operation. `doing` says in words what it is for, in a form that a file name can follow.
    pub(crate) fn issue(&mut self, doing: &'static str, op: DiskOp, out: &mut Outbox) -> Pending {
        let token = self.token();
        let file = file_of(&op);
        out.push(Output::Disk { token, op });
        Pending { token, doing, file }
    }
}

/// An operation under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// Its token.
    pub(crate) token: Token,
    doing: &'static str,
    file: Option<FileName>,
}

impl Pending {
    /// What the driver reported. Every failure stops the node: a failed sync above all must never be tried
    /// again, since the pages count as clean afterwards (PostgreSQL's fsync incident, 2018).
    pub(crate) fn settle(&self, result: Result<DiskReply, DiskError>) -> Result<DiskReply, HaltReason> {
        result.map_err(|error| HaltReason::Disk { doing: self.doing.to_owned(), file: self.file, error })
    }
}

/// Whether an operation found no space.
pub(crate) fn has_no_space(result: &Result<DiskReply, DiskError>) -> bool {
    matches!(result, Err(error) if error.kind == DiskErrorKind::NoSpace)
}

/// The file that an operation is about.
pub(crate) fn file_of(op: &DiskOp) -> Option<FileName> {
    match op {
        DiskOp::Create { file }
        | DiskOp::WriteAt { file, .. }
        | DiskOp::Sync { file }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Remove { file }
        | DiskOp::Read { file, .. } => Some(*file),
        DiskOp::Rename { to, .. } => Some(*to),
        DiskOp::SyncDir | DiskOp::List => None,
    }
}
