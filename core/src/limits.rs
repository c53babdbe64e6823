//! Every bound in the database, in one place: what it bounds, its unit and its default.
//!
//! Whatever comes from outside is measured against one of these before it is stored, queued or allocated
//! for. `docs/operations.md` lists what happens at each.

use serde::{Deserialize, Serialize};

/// Bounds on what one node accepts, queues and stores. The same on every node of a cluster, except in
/// tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest key, in bytes.
    pub key_bytes: usize,
    /// Longest value, in bytes.
    pub value_bytes: usize,
    /// Longest client frame, header included, in bytes. Also the longest reply.
    pub frame_bytes: usize,
    /// Longest frame before authentication, in bytes.
    pub greeting_bytes: usize,
    /// Most arguments of one command, its name included.
    pub arguments: usize,
    /// Most client connections of one node.
    pub connections: usize,
    /// Most requests of one connection that wait for an answer.
    pub inflight_requests: usize,
    /// Most bytes of requests of one connection that wait for an answer.
    pub inflight_bytes: usize,
    /// Most bytes that wait for one connection to read them; beyond, it is closed.
    pub unsent_bytes: u64,
    /// Most bytes of client frames that are not whole, over all connections; beyond, the largest are closed.
    pub partial_bytes: u64,
    /// Most bytes of requests that wait for an answer, over all connections of a node.
    pub requests_bytes: u64,
    /// Most bytes that wait for clients to read them, over all connections; beyond, the largest are closed.
    pub all_unsent_bytes: u64,
    /// Most bytes of peers' frames that are not whole, over all links; beyond, the link that goes there is closed.
    pub peer_partial_bytes: usize,
    /// Longest time that a connection may take to say hello and authenticate, in milliseconds.
    pub greeting_ms: u64,
    /// Most answers that wait at the leader, for all connections and peers; and most commands that wait at
    /// another node for the leader's answer.
    pub waiting_requests: usize,
    /// Most bytes of answers that wait at the leader: none is begun beyond.
    pub reply_bytes: usize,
    /// Most bytes of commands that wait at a node for the leader's answer.
    pub waiting_bytes: usize,
    /// Most bytes of entries that the leader has appended and not yet committed.
    pub pending_bytes: usize,
    /// Most bytes of the log since the newest snapshot, 64 counted for each entry beside its body. It is reached only if no snapshot can be written: then writes
    /// are refused.
    pub log_bytes: u64,
    /// Most bytes of old rows that are kept for a snapshot in the making. Beyond half of it the snapshot is hurried;
    /// at the limit nothing more is applied until it has caught up, so that writes slow down.
    pub kept_bytes: usize,
    /// Longest deadline that a request may ask for, in milliseconds; also the default.
    pub deadline_ms: u64,
    /// Most log bytes in one message to a peer.
    pub append_bytes: usize,
    /// Most entries in one message to a peer.
    pub append_entries: usize,
    /// Most messages with entries on their way to one peer.
    pub inflight_appends: usize,
    /// Most bytes of such messages: none is begun beyond, and the last one may reach beyond by its own size.
    pub inflight_append_bytes: usize,
    /// Longest peer frame, in bytes.
    pub peer_frame_bytes: usize,
    /// Most password hashes under way at a time; more are refused.
    pub password_jobs: usize,
    /// Most users.
    pub users: usize,
    /// Most grants of one user.
    pub grants: usize,
    /// Longest user name, password or pattern, in bytes.
    pub name_bytes: usize,
    /// Most sessions in the cluster.
    pub sessions: usize,
    /// Most commands of one session that are unanswered or unacknowledged: how far `seq` may run ahead
    /// of the acknowledged floor.
    pub session_window: u64,
    /// How long a session lives without a command, in cluster milliseconds.
    pub session_ttl_ms: u64,
    /// Most keys that one SCAN returns, and its default is a tenth of that.
    pub scan_keys: usize,
    /// Most keys that one SCAN or KEYS looks at.
    pub keys_walked: usize,
    /// Most fields of one hash.
    pub hash_fields: usize,
    /// Most leases in the cluster, those of locks and the like among them.
    pub leases: usize,
    /// Most leases of one user: they are ended together.
    pub leases_of_user: usize,
    /// Most keys and claims that hang on one lease: they go in one entry.
    pub lease_keys: usize,
    /// Most bytes of their names.
    pub lease_bytes: usize,
    /// Longest word that a leader of an election can say, in bytes.
    pub saying_bytes: usize,
    /// Most claims that wait for one name. Whoever asks for it reads them.
    pub waits_of_a_name: usize,
    /// Most claims that wait in the cluster: all may be granted in one entry.
    pub waits: usize,
    /// How long answers under idempotency ids are kept, in cluster milliseconds, counted from the id's birth.
    pub once_ms: u64,
    /// Most keys that one entry of expiry deletes.
    pub expiry_batch: usize,
    /// Most requests that wait for changes at a node.
    pub watches: usize,
    /// For so many of the newest positions a node remembers what they changed.
    pub history_positions: u64,
    /// In so many bytes, about: what lies further back is forgotten earlier.
    pub history_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes: 4096,
            value_bytes: 1 << 20,
            frame_bytes: 8 << 20,
            greeting_bytes: 4096,
            arguments: 4096,
            connections: 10_000,
            inflight_requests: 1024,
            inflight_bytes: 16 << 20,
            unsent_bytes: 32 << 20,
            partial_bytes: 256 << 20,
            requests_bytes: 256 << 20,
            all_unsent_bytes: 512 << 20,
            peer_partial_bytes: 128 << 20,
            greeting_ms: 10_000,
            waiting_requests: 100_000,
            reply_bytes: 256 << 20,
            waiting_bytes: 64 << 20,
            pending_bytes: 64 << 20,
            log_bytes: 2 << 30,
            kept_bytes: 32 << 20,
            deadline_ms: 60_000,
            append_bytes: 1 << 20,
            append_entries: 4096,
            inflight_appends: 64,
            inflight_append_bytes: 8 << 20,
            peer_frame_bytes: 16 << 20,
            password_jobs: 64,
            users: 10_000,
            grants: 128,
            name_bytes: 256,
            sessions: 100_000,
            session_window: 256,
            session_ttl_ms: 600_000,
            scan_keys: 1000,
            keys_walked: 100_000,
            hash_fields: 1 << 24,
            leases: 100_000,
            leases_of_user: 4_096,
            lease_keys: 10_000,
            lease_bytes: 1 << 20,
            saying_bytes: 512,
            waits_of_a_name: 1_000,
            waits: 4_096,
            once_ms: 24 * 3_600_000,
            expiry_batch: 256,
            watches: 10_000,
            history_positions: 100_000,
            history_bytes: 16 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::value::MAX_VALUES;

    #[test]
    fn what_one_limit_lets_in_no_other_is_too_small_for() {
        let limits = Limits::default();
        assert!(
            limits.key_bytes + limits.value_bytes < limits.frame_bytes,
            "every value can be written and read"
        );
        assert!(
            limits.frame_bytes <= limits.inflight_bytes,
            "a connection can have its largest request under way"
        );
        assert!(limits.frame_bytes as u64 <= limits.unsent_bytes, "it can be sent its largest answer");
        // What one connection may do fits into what all may do together.
        assert!(
            limits.frame_bytes as u64 <= limits.partial_bytes
                && limits.inflight_bytes as u64 <= limits.requests_bytes
                && limits.unsent_bytes <= limits.all_unsent_bytes
                && limits.peer_frame_bytes <= limits.peer_partial_bytes
        );
        // A request is forwarded whole, and becomes one entry, beside which an old value may be kept as its answer; a
        // message takes a first entry whatever its size, and others up to its own limit.
        let entry = limits.frame_bytes + limits.value_bytes;
        assert!(entry + limits.append_bytes < limits.peer_frame_bytes, "peers can be sent every entry");
        assert!(limits.frame_bytes <= limits.waiting_bytes && entry <= limits.pending_bytes);
        // A lease ends in one entry with all that hangs on it, and whoever waits for that is granted in the same.
        let granted = limits.waits * (4 * limits.name_bytes + limits.saying_bytes + 128);
        assert!(limits.lease_bytes + 32 * limits.lease_keys + granted < entry);
        assert!(
            limits.leases_of_user * (limits.name_bytes + 32) + granted < entry,
            "every user can be removed"
        );
        assert!((limits.pending_bytes as u64) < limits.log_bytes);
        // A damaged log that is whole again is written in one batch, and a mark counts its bytes in 32 bits.
        assert!(limits.log_bytes + limits.pending_bytes as u64 <= u64::from(u32::MAX));
        assert!(2 * limits.name_bytes < limits.greeting_bytes, "every user can log in");
        assert!(limits.greeting_ms <= limits.deadline_ms && limits.scan_keys <= limits.arguments);
        assert!(
            limits.scan_keys <= limits.keys_walked && limits.keys_walked < MAX_VALUES - 8,
            "KEYS can be answered"
        );
    }
}
