//! What a view shows of coordination and access: rules, limiters, ids, leases and claims.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::View;
use crate::access::rights::{Holder, Rights, Rules};
use crate::access::user::{Pattern, User};
use crate::coordination::claim::{Claim, ClaimKey, ClaimKind};
use crate::coordination::lease::Lease;
use crate::coordination::limiter::Limiter;
use crate::coordination::once::{Kept, Work};
use crate::durability::Leeway;
use crate::membership::Membership;
use crate::state::effect::Effect;
use crate::state::hanging::Hanging;
use crate::state::table::{
    Addresses, Answers, Claims, KeyLeases, Leases, Leeways, Limiters, Memberships, Priorities, RulesOf,
    Spared, Works,
};
use crate::types::{Blob, Index, LeaseId, NodeId};

impl View<'_> {
    /// The rules of a user or role.
    pub fn rules(&mut self, holder: Holder, name: &Blob) -> Option<Arc<Rules>> {
        self.catch_up();
        self.read::<RulesOf>(&(holder, name.clone()))
    }

    /// All roles, in the order of their names.
    pub fn roles(&mut self) -> Vec<(Blob, Arc<Rules>)> {
        self.rules_of(Holder::Role)
    }

    /// The rules of all users who have any.
    pub fn rules_of_users(&mut self) -> Vec<(Blob, Arc<Rules>)> {
        self.rules_of(Holder::User)
    }

    fn rules_of(&mut self, holder: Holder) -> Vec<(Blob, Arc<Rules>)> {
        let first = (holder, Blob::default());
        let all = self.rows_from::<RulesOf>(first).into_iter();
        all.take_while(|((of, _), _)| *of == holder).map(|((_, name), rules)| (name, rules)).collect()
    }

    /// How far answers to writes of which keys may run ahead of their durability.
    pub fn leeways(&mut self) -> Vec<(Pattern, Leeway)> {
        // Nothing that reads them changes them before.
        self.below.range::<Leeways>((Bound::Unbounded, Bound::Unbounded)).into_iter().collect()
    }

    /// The members at the tail of the log; none before the cluster is founded.
    pub fn membership(&mut self) -> Option<Membership> {
        let logged = self.read::<Memberships>(&());
        let members = logged.or_else(|| Some(Membership::of(self.below.founding()?.members.clone())));
        members.filter(Membership::is_sound)
    }

    /// Where nodes are reached, as far as an operator has said so.
    pub fn addresses(&mut self) -> BTreeMap<NodeId, String> {
        self.rows_from::<Addresses>(NodeId(0))
    }

    /// Which nodes had rather lead than others, and how much.
    pub fn priorities(&mut self) -> BTreeMap<NodeId, u32> {
        self.rows_from::<Priorities>(NodeId(0))
    }

    /// The effects by which what was known of nodes is forgotten, because they belong to the cluster no more.
    pub fn forget_nodes(&mut self, gone: &[NodeId]) -> Vec<Effect> {
        let (addresses, priorities) = (self.addresses(), self.priorities());
        let located = gone.iter().filter(|node| addresses.contains_key(node));
        let located = located.map(|node| Effect::Located { node: *node, address: None });
        let preferred = gone.iter().filter(|node| priorities.contains_key(node));
        located.chain(preferred.map(|node| Effect::Preferred { node: *node, priority: 0 })).collect()
    }

    /// What a user may do.
    pub fn rights(&mut self, name: &Blob, user: Arc<User>) -> Rights {
        let own = self.rules(Holder::User, name);
        let names = own.as_ref().map(|own| own.roles.clone()).unwrap_or_default();
        let role = |name: Blob| Some((name.clone(), self.rules(Holder::Role, &name)?));
        Rights::new(user, own, names.into_iter().filter_map(role).collect())
    }

    /// A limiter. One that can be forgotten is absent: it would say the same.
    pub fn limiter(&mut self, name: &Blob) -> Option<Limiter> {
        self.catch_up();
        let limiter = self.read::<Limiters>(name)?;
        if limiter.until() <= self.now {
            self.consult_time();
            return None;
        }
        Some(limiter)
    }

    /// The answer to a command that was executed under a user's id, as long as it is kept.
    pub fn kept(&mut self, user: Blob, id: Blob) -> Option<Kept> {
        self.catch_up();
        self.read::<Answers>(&(user, id))
    }

    /// Work under an id. What can be forgotten is absent.
    pub fn work(&mut self, id: &Blob) -> Option<Work> {
        self.catch_up();
        let work = self.read::<Works>(id)?;
        if work.until <= self.now {
            self.consult_time();
            return None;
        }
        Some(work)
    }

    /// A lease, with what a new leader has spared it. One that is due is there until its end is logged.
    pub fn lease(&mut self, id: LeaseId) -> Option<Lease> {
        self.catch_up();
        let lease = self.read::<Leases>(&id)?;
        Some(lease.spared(self.read::<Spared>(&()).unwrap_or_default()))
    }

    /// All leases.
    pub fn leases(&mut self) -> Vec<(LeaseId, Lease)> {
        let spared = self.read::<Spared>(&()).unwrap_or_default();
        let leases = self.rows::<Leases>(LeaseId(0)..=LeaseId(u64::MAX)).into_iter();
        leases.map(|(id, lease)| (id, lease.spared(spared))).collect()
    }

    /// The leases of a user, without what the draft changes.
    pub fn leases_of(&mut self, user: &Blob) -> BTreeSet<LeaseId> {
        self.below.leases_of(user)
    }

    /// How many leases a user has, without what the draft changes.
    pub fn lease_count_of(&mut self, user: &Blob) -> usize {
        self.below.lease_count_of(user)
    }

    /// How many leases there are, without what the draft changes.
    pub fn lease_count(&mut self) -> usize {
        self.below.lease_count()
    }

    /// The lease that a key hangs on.
    pub fn lease_of(&mut self, key: &Blob) -> Option<LeaseId> {
        self.key(key)?;
        self.read::<KeyLeases>(key)
    }

    /// The keys and claims that hang on a lease.
    pub fn hanging(&mut self, id: LeaseId) -> (BTreeSet<Blob>, BTreeSet<ClaimKey>) {
        self.catch_up();
        let Hanging { mut keys, mut claims, .. } = self.below.hanging(id);
        let Some(drafted) = self.draft.rows() else { return (keys, claims) };
        for (key, row) in drafted.rows::<KeyLeases>().iter() {
            _ = if row.value == Some(id) { keys.insert(key.clone()) } else { keys.remove(key) };
        }
        for (key, row) in drafted.rows::<Claims>().iter() {
            let hangs = row.value.as_ref().is_some_and(|claim| claim.lease == id);
            _ = if hangs { claims.insert(key.clone()) } else { claims.remove(key) };
        }
        (keys, claims)
    }

    /// How much hangs on a lease, and the bytes of its names.
    pub fn load(&mut self, id: LeaseId) -> (usize, usize) {
        if self.drafted_bytes() == 0 {
            return self.below.load(id);
        }
        let (keys, claims) = self.hanging(id);
        let names = keys.iter().map(|key| key.len()).chain(claims.iter().map(|key| key.1.len()));
        (keys.len() + claims.len(), names.sum())
    }

    /// A claim.
    pub fn claim(&mut self, key: &ClaimKey) -> Option<Claim> {
        self.catch_up();
        self.read::<Claims>(key)
    }

    /// The claims on a name, in their order: those that are held come first.
    pub fn claims(&mut self, kind: ClaimKind, name: &Blob) -> Vec<(ClaimKey, Claim)> {
        let (first, last) = ((kind, name.clone(), Index(0)), (kind, name.clone(), Index(u64::MAX)));
        self.rows::<Claims>(first..=last).into_iter().collect()
    }

    /// The claims that wait, without what the draft changes.
    pub fn waits(&mut self) -> Vec<ClaimKey> {
        self.below.waits()
    }

    /// How many claims wait, without what the draft changes.
    pub fn wait_count(&mut self) -> usize {
        self.below.wait_count()
    }

    /// The claim with this number, if it waits, without what the draft changes.
    pub fn wait_numbered(&mut self, id: Index) -> Option<ClaimKey> {
        self.below.wait_numbered(id)
    }
}
