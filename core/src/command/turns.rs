//! Turns: what follows when somebody gives up a claim or a lease ends. Who waited has its turn, in order, as long as there is room;
//! and the outcome of a wait is logged for all who asked for it.
//!
//! All this happens in the draft of whatever command or entry of the leader's brings it about, and asks for no permission: whoever
//! waits was allowed to when it asked, and its wait has ended when that is taken away.

use std::collections::BTreeSet;

use super::info::number as figure;
use crate::coordination::claim::{Claim, ClaimKey, ClaimKind, ClaimState};
use crate::coordination::lease::Lease;
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::state::View;
use crate::state::effect::{DeleteCause, Effect};
use crate::types::{Blob, Index, LeaseId};

/// The answer of a grant.
pub(super) fn granted(token: Index, lease: LeaseId) -> Value {
    Value::Map(vec![("token".into(), figure(token.0)), ("lease".into(), figure(lease.0))])
}

/// Ends a lease, with the keys and claims that hang on it, and lets others have what was held.
pub(super) fn end_lease(view: &mut View<'_>, id: LeaseId, cause: DeleteCause) {
    let (keys, claims) = view.hanging(id);
    for key in keys {
        if view.key(&key).is_some() {
            view.effect(Effect::Delete { key, cause });
        }
    }
    view.effect(Effect::Leased { id, lease: None });
    let mut names = BTreeSet::new();
    for claim in claims {
        names.insert((claim.0, claim.1.clone()));
        let failure = Failure::new(ErrorCode::LeaseUnknown, "the lease that the claim hung on has ended");
        drop_claim(view, &claim, Err(failure));
    }
    names.iter().for_each(|(kind, name)| settle(view, *kind, name));
}

/// Removes a claim. If it waits, this is what came of it.
pub(super) fn drop_claim(view: &mut View<'_>, key: &ClaimKey, outcome: Outcome) {
    let Some(claim) = view.claim(key) else { return };
    view.effect(Effect::Claimed { claim: key.clone(), now: None });
    if let ClaimState::Waiting(wait) = claim.state {
        view.effect(Effect::WaitEnded { id: key.2, session: wait.session, forward: wait.forward, outcome });
    }
}

/// Grants what can be granted now: the first that wait, as long as there is room for the first of them.
pub(super) fn settle(view: &mut View<'_>, kind: ClaimKind, name: &Blob) {
    let mut used: u64 = 0;
    for (key, claim) in view.claims(kind, name) {
        used = used.saturating_add(claim.permits);
        let ClaimState::Waiting(wait) = &claim.state else { continue };
        if used > claim.capacity {
            break;
        }
        if claim.ttl > 0 {
            let lease = Lease { user: claim.user.clone(), ttl: claim.ttl, renewed: view.now() };
            view.effect(Effect::Leased { id: claim.lease, lease: Some(lease) });
        }
        let (session, forward) = (wait.session, wait.forward);
        let outcome = Ok(granted(key.2, claim.lease));
        view.effect(Effect::WaitEnded { id: key.2, session, forward, outcome });
        view.effect(Effect::Claimed { claim: key, now: Some(Claim { state: ClaimState::Held, ..claim }) });
    }
}

/// What is to be logged because time has passed: leases that are over, with all that hangs on them, and waits that are, or
/// whose session has ended.
#[must_use]
pub fn over(mut view: View<'_>, leases: &[LeaseId], waits: &[ClaimKey], room: usize) -> Vec<Effect> {
    for id in leases {
        // The first always fits, for what can hang on a lease is bounded, and so is what can be granted then.
        if view.drafted_bytes() > room {
            break;
        }
        end_lease(&mut view, *id, DeleteCause::Expired);
    }
    let mut names = BTreeSet::new();
    for key in waits {
        let Some(claim) = view.claim(key) else { continue };
        let Some(wait) = claim.wait() else { continue };
        let outcome = if wait.until <= view.now() {
            Ok(Value::Nil)
        } else {
            Err(Failure::new(ErrorCode::WaitEnded, "the session in which it was asked for has ended"))
        };
        drop_claim(&mut view, key, outcome);
        names.insert((key.0, key.1.clone()));
    }
    names.iter().for_each(|(kind, name)| settle(&mut view, *kind, name));
    view.finish().effects
}

/// The claims that wait in sessions that have ended.
#[must_use]
pub fn orphans(mut view: View<'_>, max: usize) -> Vec<ClaimKey> {
    let mut orphans = view.waits();
    orphans.retain(|key| {
        let session = view.claim(key).and_then(|claim| claim.wait()?.session);
        session.is_some_and(|(session, _)| view.session(session).is_none())
    });
    orphans.truncate(max);
    orphans
}
