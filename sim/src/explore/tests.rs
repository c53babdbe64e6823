//! The explorer on a tiny workload.
