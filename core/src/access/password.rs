//! Passwords: the slow, pure computations that leave the node as jobs, and the salts that go into them.
//!
//! Relies on argon2id (RFC 9106). Never stores, prints or compares a password: a job carries it to the
//! computation and is dropped, and nothing here shows one in its `Debug` form.

use std::fmt;
use std::hash::Hasher;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::types::{ClusterId, SessionId};

/// Most memory that a hash may ask for, in KiB: a damaged or foreign hash must not make a node allocate by
/// its word.
const MEMORY_KIB_MAX: u32 = 1 << 20;

/// Most passes that a hash may ask for.
const PASSES_MAX: u32 = 64;

/// Longest hash in PHC form that is looked at, in bytes.
const HASH_BYTES_MAX: usize = 512;

/// How expensive a hash is (argon2id, RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
}

impl Default for Cost {
    /// The second recommended choice of RFC 9106, section 4, with less memory and one lane: 19 MiB, 2 passes (OWASP).
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2 }
    }
}

impl Cost {
    /// The cost within what argon2 accepts (8 KiB, one pass) and what this build computes.
    fn params(self) -> Params {
        let memory = self.memory_kib.clamp(Params::MIN_M_COST, MEMORY_KIB_MAX);
        Params::new(memory, self.passes.clamp(1, PASSES_MAX), 1, None).unwrap_or(Params::DEFAULT)
    }
}

/// Slow, pure work.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// Hash a new password.
    Hash {
        /// The password.
        password: String,
        /// Drawn by the node, or derived by [`salt_for`].
        salt: [u8; 16],
        /// How expensive.
        cost: Cost,
    },
    /// Check a password against a hash.
    Verify {
        /// The password.
        password: String,
        /// The hash in PHC form. One that can't be read verifies nothing.
        hash: String,
    },
}

impl Job {
    /// Does the work: some ten milliseconds of processor time and the memory that the cost names. The same
    /// job always has the same result.
    #[must_use]
    pub fn run(&self) -> JobResult {
        match self {
            Self::Hash { password, salt, cost } => match hash(password, salt, *cost) {
                Some(phc) => JobResult::Hashed(phc),
                None => JobResult::Failed,
            },
            Self::Verify { password, hash } => JobResult::Verified(verify(password, hash)),
        }
    }
}

/// Neither the password nor the hash: jobs are outputs, and outputs are traced.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash { cost, .. } => f.debug_struct("Hash").field("cost", cost).finish_non_exhaustive(),
            Self::Verify { .. } => f.debug_struct("Verify").finish_non_exhaustive(),
        }
    }
}

/// What came of a job.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobResult {
    /// The hash in PHC form.
    Hashed(String),
    /// Whether the password is right.
    Verified(bool),
    /// The hash could not be computed, for want of memory; nothing was changed.
    Failed,
}

/// The hash stays out: what is printed ends in traces and logs, where a hash can be attacked at leisure.
impl fmt::Debug for JobResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashed(_) => f.debug_struct("Hashed").finish_non_exhaustive(),
            Self::Verified(right) => f.debug_tuple("Verified").field(right).finish(),
            Self::Failed => f.write_str("Failed"),
        }
    }
}

/// A hash that no password is known for, of this cost: what a login is checked against when the user does
/// not exist, so that its time does not tell whether there is such a user.
#[must_use]
pub fn dummy_hash(cost: Cost) -> String {
    let params = cost.params();
    let (memory, passes) = (params.m_cost(), params.t_cost());
    // Sixteen zero bytes of salt, and an output that was not computed from anything.
    let (salt, output) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${output}")
}

/// The salt of a new password.
///
/// A command under a session is hashed with a salt derived from its identity: a retry has then the same hash
/// exactly if it has the same password, and so the same digest, wherever it arrives. A salt must be unique
/// and need not be secret (RFC 9106, section 3.1); cluster, session and sequence never come twice. Without a
/// session it is what the node drew.
#[must_use]
pub fn salt_for(cluster: ClusterId, command: Option<(SessionId, u64)>, drawn: [u8; 16]) -> [u8; 16] {
    let Some((session, seq)) = command else { return drawn };
    let mut hasher = SipHasher24::new_with_keys((cluster.0 >> 64) as u64, cluster.0 as u64);
    hasher.write_u64(session.0.to_le());
    hasher.write_u64(seq.to_le());
    hasher.finish128().as_bytes()
}

/// The PHC string, or nothing if there is no memory for it.
fn hash(password: &str, salt: &[u8], cost: Cost) -> Option<String> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params());
    let hashed: PasswordHash = argon2.hash_password_with_salt(password.as_bytes(), salt).ok()?;
    Some(hashed.to_string())
}

/// Whether the hash can be read, has a sane cost, and is this password's.
fn verify(password: &str, hash: &str) -> bool {
    if hash.len() > HASH_BYTES_MAX {
        return false;
    }
    let Ok(parsed) = PasswordHash::new(hash) else { return false };
    let Ok(params) = Params::try_from(&parsed) else { return false };
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > 1 {
        return false;
    }
    Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };

    fn hashed(password: &str, salt: [u8; 16]) -> String {
        match (Job::Hash { password: password.into(), salt, cost: CHEAP }).run() {
            JobResult::Hashed(phc) => phc,
            other => panic!("a hash was asked for, not {other:?}"),
        }
    }

    fn verified(password: &str, hash: &str) -> bool {
        Job::Verify { password: password.into(), hash: hash.into() }.run() == JobResult::Verified(true)
    }

    #[test]
    fn the_right_password_verifies_and_another_does_not() {
        let hash = hashed("correct horse", [7; 16]);
        assert!(verified("correct horse", &hash));
        assert!(!verified("correct hors", &hash));
        assert!(!verified("", &hash));
    }

    #[test]
    fn a_hash_says_its_algorithm_and_cost() {
        assert!(hashed("p", [0; 16]).starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
    }

    #[test]
    fn the_same_password_with_another_salt_has_another_hash() {
        assert_eq!(hashed("p", [1; 16]), hashed("p", [1; 16]));
        assert_ne!(hashed("p", [1; 16]), hashed("p", [2; 16]));
    }

    #[test]
    fn a_bad_hash_verifies_nothing_and_harms_nothing() {
        let good = hashed("p", [3; 16]);
        let mut bad: Vec<String> = (0..good.len()).map(|len| good[..len].to_owned()).collect();
        bad.push("plain".into());
        bad.push(format!("{good}$x"));
        bad.push(good.replace("m=8", "m=4294967295"));
        bad.push(good.replace("t=1", "t=4294967295"));
        bad.push(good.replace("p=1", "p=16777215"));
        bad.push("$".repeat(1 << 20));
        for hash in bad {
            assert!(!verified("p", &hash), "{}", &hash[..hash.len().min(80)]);
        }
    }

    #[test]
    fn a_cost_out_of_range_is_brought_into_it() {
        let cost = Cost { memory_kib: 0, passes: 0 };
        let JobResult::Hashed(hash) = (Job::Hash { password: "p".into(), salt: [0; 16], cost }).run() else {
            panic!("the smallest cost hashes");
        };
        assert!(verified("p", &hash));
    }

    #[test]
    fn the_dummy_hash_is_read_costs_the_same_and_verifies_nothing() {
        let dummy = dummy_hash(CHEAP);
        let parsed = PasswordHash::new(&dummy).expect("the dummy is well-formed, so that it is computed");
        let params = Params::try_from(&parsed).expect("and has a cost");
        assert_eq!((params.m_cost(), params.t_cost()), (CHEAP.memory_kib, CHEAP.passes));
        assert!(parsed.salt.is_some() && parsed.hash.is_some(), "or verification would end early");
        assert!(!verified("", &dummy) && !verified("password", &dummy));
    }

    #[test]
    fn nothing_printed_shows_a_password_or_a_hash() {
        let hash = Job::Hash { password: "hunter2".into(), salt: [0; 16], cost: CHEAP };
        let verify = Job::Verify { password: "hunter2".into(), hash: "$argon2id$hunter2".into() };
        let printed = format!("{hash:?} {verify:?} {:?}", JobResult::Hashed("hunter2".into()));
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn a_retry_gets_the_salt_of_its_first_attempt() {
        let (cluster, id) = (ClusterId(5), SessionId(9));
        let salt = |command, drawn| salt_for(cluster, command, drawn);
        assert_eq!(salt(Some((id, 1)), [1; 16]), salt(Some((id, 1)), [2; 16]));
        assert_ne!(salt(Some((id, 1)), [1; 16]), salt(Some((id, 2)), [1; 16]));
        assert_ne!(salt(Some((id, 1)), [1; 16]), salt_for(ClusterId(6), Some((id, 1)), [1; 16]));
        assert_eq!(salt(None, [1; 16]), [1; 16]);
    }
}
