//! What coordination rests on beside keys: leases, claims on locks and the like, rate limiters and idempotency ids. Plain
//! records and pure arithmetic over them; commands, effects and permissions are elsewhere.

pub mod claim;
pub mod lease;
pub mod limiter;
pub mod once;
