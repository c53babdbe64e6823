//! What coordination rests on beside keys: rate limiters. Plain records and pure arithmetic over them; commands, effects and
//! permissions are elsewhere.

pub mod limiter;
