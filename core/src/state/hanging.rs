//! What is known about leases and waits, base and pending taken together: when a lease may be due, what hangs on it, and
//! which claims wait until when.

use std::collections::{BTreeMap, BTreeSet};

use super::tail::{Due, Tail};
use crate::coordination::claim::{Claim, ClaimKey};
use crate::coordination::lease::Lease;
use crate::time::Millis;
use crate::types::{Blob, Index, LeaseId};

/// Facts about leases and claims at the end of the log.
#[derive(Clone, Default)]
pub(super) struct Leases {
    /// When to look at each lease. Never later than it is due; a new leader spares all leases at once, and they are put in
    /// their new places as one comes to them.
    looks: BTreeSet<(Millis, LeaseId)>,
    /// Where each is in there.
    places: BTreeMap<LeaseId, Millis>,
    /// Of every lease, and of claims whose lease is still to come.
    hanging: BTreeMap<LeaseId, Hanging>,
    by_user: BTreeSet<(Blob, LeaseId)>,
    /// How many leases each user has who has any.
    counts: BTreeMap<Blob, usize>,
    /// Claims that wait.
    pub(super) waits: Due<ClaimKey>,
    /// The same, by their numbers.
    pub(super) numbered: BTreeMap<Index, ClaimKey>,
    /// The newest entry that changed which leases or claims there are.
    pub(super) changed_at: Index,
}

/// What hangs on a lease.
#[derive(Clone, Debug, Default)]
pub struct Hanging {
    /// Keys.
    pub keys: BTreeSet<Blob>,
    /// The bytes of the names of keys and claims.
    pub bytes: usize,
    /// Claims, those among them that wait.
    pub claims: BTreeSet<ClaimKey>,
    /// The newest entry that changed any of this.
    pub changed_at: Index,
}

impl Leases {
    /// How many leases there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The earliest moment at which a lease or a wait may be due.
    pub(super) fn first(&self) -> Option<Millis> {
        let lease = self.looks.first().map(|(look, _)| *look);
        lease.into_iter().chain(self.waits.first()).min()
    }

    /// The first leases to look at by now.
    pub(super) fn to_look_at(&self, now: Millis, max: usize) -> Vec<LeaseId> {
        self.looks.iter().take_while(|(look, _)| *look <= now).map(|(_, id)| *id).take(max).collect()
    }

    /// A lease is to be looked at again then; without a time, never.
    pub(super) fn look_again(&mut self, id: LeaseId, at: Option<Millis>) {
        if let Some(before) = self.places.remove(&id) {
            let known = self.looks.remove(&(before, id));
            assert!(known, "every lease has its place in the order of times");
        }
        if let Some(at) = at {
            self.looks.insert((at, id));
            self.places.insert(id, at);
        }
    }

    /// What hangs on a lease.
    pub(super) fn hanging(&self, id: LeaseId) -> Hanging {
        self.hanging.get(&id).cloned().unwrap_or_default()
    }

    /// How much hangs on a lease, the bytes of its names, and the newest entry that changed that.
    pub(super) fn load(&self, id: LeaseId) -> (usize, usize, Index) {
        let load = |hanging: &Hanging| {
            (hanging.keys.len() + hanging.claims.len(), hanging.bytes, hanging.changed_at)
        };
        self.hanging.get(&id).map(load).unwrap_or_default()
    }

    /// How many leases a user has.
    pub(super) fn count_of(&self, user: &Blob) -> usize {
        self.counts.get(user).copied().unwrap_or(0)
    }

    /// The leases of a user.
    pub(super) fn of_user(&self, user: &Blob) -> impl Iterator<Item = LeaseId> {
        let range = (user.clone(), LeaseId(0))..=(user.clone(), LeaseId(u64::MAX));
        self.by_user.range(range).map(|(_, id)| *id)
    }

    fn change(&mut self, id: LeaseId, at: Index, change: impl FnOnce(&mut Hanging)) {
        let hanging = self.hanging.entry(id).or_default();
        change(hanging);
        hanging.changed_at = at;
        if hanging.keys.is_empty() && hanging.claims.is_empty() && !self.places.contains_key(&id) {
            self.hanging.remove(&id);
        }
    }
}

/// A lease is another one; none stands for no lease.
pub(super) fn lease_changed(
    tail: &mut Tail,
    id: &LeaseId,
    old: Option<&Lease>,
    new: Option<&Lease>,
    at: Index,
) {
    let leases = &mut tail.leases;
    leases.look_again(*id, new.map(Lease::due));
    if old.map(|old| &old.user) == new.map(|new| &new.user) {
        return;
    }
    leases.changed_at = at;
    if let Some(old) = old
        && leases.by_user.remove(&(old.user.clone(), *id))
    {
        let count = leases.counts.get_mut(&old.user).expect("whoever has a lease is counted");
        *count -= 1;
        if *count == 0 {
            leases.counts.remove(&old.user);
        }
    }
    if let Some(new) = new
        && leases.by_user.insert((new.user.clone(), *id))
    {
        *leases.counts.entry(new.user.clone()).or_default() += 1;
    }
    leases.change(*id, at, |_| ());
}

/// A key hangs on another lease; none stands for none.
pub(super) fn key_lease_changed(
    tail: &mut Tail,
    key: &Blob,
    old: Option<&LeaseId>,
    new: Option<&LeaseId>,
    at: Index,
) {
    if let Some(old) = old {
        tail.leases.change(*old, at, |hanging| {
            hanging.bytes -= if hanging.keys.remove(key) { key.len() } else { 0 };
        });
    }
    if let Some(new) = new {
        tail.leases.change(*new, at, |hanging| {
            hanging.bytes += if hanging.keys.insert(key.clone()) { key.len() } else { 0 };
        });
    }
}

/// A claim is another one; none stands for no claim.
pub(super) fn claim_changed(
    tail: &mut Tail,
    key: &ClaimKey,
    old: Option<&Claim>,
    new: Option<&Claim>,
    at: Index,
) {
    tail.leases.changed_at = at;
    let until = |claim: Option<&Claim>| claim.and_then(Claim::wait).map(|wait| wait.until);
    tail.leases.waits.changed(key, until(old), until(new));
    match until(new) {
        Some(_) => drop(tail.leases.numbered.insert(key.2, key.clone())),
        None => drop(tail.leases.numbered.remove(&key.2)),
    }
    if let Some(old) = old {
        tail.leases.change(old.lease, at, |hanging| {
            hanging.bytes -= if hanging.claims.remove(key) { key.1.len() } else { 0 };
        });
    }
    if let Some(new) = new {
        tail.leases.change(new.lease, at, |hanging| {
            hanging.bytes += if hanging.claims.insert(key.clone()) { key.1.len() } else { 0 };
        });
    }
}
