//! Who belongs to the cluster, where they are reached and who had rather lead, as far as that is committed. What the newest entry of the
//! log says of members, Raft knows.

use std::collections::BTreeMap;

use super::State;
use super::table::{Addresses, Memberships, Priorities};
use crate::membership::Membership;
use crate::types::NodeId;

impl State {
    /// The members, as far as that is committed. None before the founding is, and if what a snapshot says of them can't be.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        let logged = self.base.rows::<Memberships>().get(&()).cloned();
        let members = logged.or_else(|| Some(Membership::of(self.founding()?.members.clone())));
        members.filter(Membership::is_sound)
    }

    /// Where nodes are reached, as far as an operator has said so and that is committed.
    #[must_use]
    pub fn addresses(&self) -> &BTreeMap<NodeId, String> {
        self.base.rows::<Addresses>()
    }

    /// Which nodes had rather lead than others, and how much, as far as that is committed.
    #[must_use]
    pub fn priorities(&self) -> &BTreeMap<NodeId, u32> {
        self.base.rows::<Priorities>()
    }
}
