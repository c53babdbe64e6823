//! Access control: users, grants and passwords. Deciding is part of evaluating a command; this module
//! holds the records and the rules, never a connection.

pub mod grants;
pub mod password;
pub mod pattern;
pub mod user;
