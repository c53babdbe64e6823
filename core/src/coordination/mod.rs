//! What coordination rests on beside keys: rate limiters and idempotency ids. Plain records and pure arithmetic over them; commands, effects and
//! permissions are elsewhere.

pub mod limiter;
pub mod once;
