//! Access control: users, roles, grants, denials and passwords. Deciding is part of evaluating a command; this module
//! holds the records and the rules, never a connection.

pub mod password;
pub mod pattern;
pub mod rights;
pub mod user;
