//! Slow, pure work that leaves the node: what to compute, and what came of it. Plain data; nothing here decides.

use serde::{Deserialize, Serialize};

use crate::access::password;
use crate::snapshot::{EncodeJob, Encoded};

/// Something to compute. The same job always has the same result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// A password's hash, or its verification: some ten milliseconds.
    Password(password::Job),
    /// A slice of a snapshot: well under a millisecond.
    Snapshot(EncodeJob),
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobResult {
    /// Of a [`Job::Password`].
    Password(password::JobResult),
    /// Of a [`Job::Snapshot`].
    Snapshot(Encoded),
}

impl Job {
    /// Does the work.
    #[must_use]
    pub fn run(&self) -> JobResult {
        match self {
            Self::Password(job) => JobResult::Password(job.run()),
            Self::Snapshot(job) => JobResult::Snapshot(job.run()),
        }
    }
}
