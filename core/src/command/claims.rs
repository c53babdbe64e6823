//! Commands on locks, semaphores and elections: one kind of record, a *claim*, in three forms.
//!
//! A claim is granted at once, or waits behind the others in the order in which they came. Its number is the token of the grant:
//! as they are granted in order, it only ever grows. Every claim hangs on a lease, and goes with it; if the client names none,
//! it gets one of its own, which begins when the claim is granted. So a lock can't be held by somebody who is gone.
//!
//! Nobody waits in here. A claim that waits is a row of the state; whatever ends the wait (a release, the end of a lease, a
//! deadline) logs the outcome, and the node that has the client's connection answers when it has applied that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::catalogue::shown;
use super::evaluate::Evaluation;
use super::info::{count, number as figure};
use super::needs::{LOCK, Needs, READ};
use super::observe::Observe;
use super::parse::Words;
use super::turns::{drop_claim, end_lease, granted, settle};
use super::words::{Word, number, option};
use super::{Command, TTL_MS_MAX};
use crate::access::user::Permission;
use crate::config::AccessMode;
use crate::coordination::claim::{Claim, ClaimKey, ClaimKind, ClaimState, Wait};
use crate::coordination::lease::Lease;
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::state::View;
use crate::state::effect::{DeleteCause, Effect};
use crate::time::Millis;
use crate::types::{Blob, Index, LeaseId, SessionId};

/// Most permits of a semaphore. Whoever looks for room reads all that are held.
const CAPACITY_MAX: u64 = 1_000;

/// Longest wait, in milliseconds: ten minutes. Within it no session expires under the one that waits in it.
pub(super) const WAIT_MS_MAX: u64 = 600_000;

/// A command on claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimCommand {
    /// What is claimed.
    pub kind: ClaimKind,
    /// Its name.
    pub name: Blob,
    /// What is to be done.
    pub deed: Deed,
}

/// What is to be done with a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Asks for it.
    Acquire {
        /// Which of the user's workers.
        owner: Blob,
        /// How many permits there may be, and how many of them are asked for.
        permits: (u64, u64),
        /// What it is to hang on.
        backing: Backing,
        /// How long to wait, in milliseconds.
        wait_ms: u64,
        /// What a leader says.
        value: Blob,
    },
    /// Renews the lease that it hangs on.
    Renew(Index),
    /// Gives it back.
    Release(Index),
    /// Says something else, as the leader.
    Proclaim(Index, Blob),
    /// Tells who has it.
    Show,
    /// Tells who leads.
    Observe(Observe),
}

/// What a claim hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    /// A lease of its own, with so many milliseconds.
    Own(u64),
    /// One of the client's.
    Lease(LeaseId),
}

impl ClaimCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match (self.kind, &self.deed) {
            (ClaimKind::Lock, Deed::Acquire { .. }) => "LOCK ACQUIRE",
            (ClaimKind::Lock, Deed::Renew(_)) => "LOCK RENEW",
            (ClaimKind::Lock, Deed::Release(_)) => "LOCK RELEASE",
            (ClaimKind::Lock, _) => "LOCK SHOW",
            (ClaimKind::Semaphore, Deed::Acquire { .. }) => "SEMAPHORE ACQUIRE",
            (ClaimKind::Semaphore, Deed::Renew(_)) => "SEMAPHORE RENEW",
            (ClaimKind::Semaphore, Deed::Release(_)) => "SEMAPHORE RELEASE",
            (ClaimKind::Semaphore, _) => "SEMAPHORE SHOW",
            (ClaimKind::Election, Deed::Acquire { .. }) => "ELECTION CAMPAIGN",
            (ClaimKind::Election, Deed::Renew(_)) => "ELECTION RENEW",
            (ClaimKind::Election, Deed::Release(_)) => "ELECTION RESIGN",
            (ClaimKind::Election, Deed::Proclaim(..)) => "ELECTION PROCLAIM",
            (ClaimKind::Election, Deed::Show) => "ELECTION SHOW",
            (ClaimKind::Election, Deed::Observe(_)) => "ELECTION OBSERVE",
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self.deed, Deed::Show | Deed::Observe(_))
    }

    pub(super) const fn grows(&self) -> bool {
        matches!(self.deed, Deed::Acquire { .. })
    }

    /// How long the answer may have to wait for others, in milliseconds.
    pub(super) const fn wait_ms(&self) -> u64 {
        match &self.deed {
            Deed::Acquire { wait_ms, .. } | Deed::Observe(Observe { wait_ms, .. }) => *wait_ms,
            _ => 0,
        }
    }

    /// The election of which the next leader is waited for, if so.
    #[must_use]
    pub const fn awaited(&self) -> Option<&Blob> {
        match &self.deed {
            Deed::Observe(Observe { wait_ms: 1.., .. }) => Some(&self.name),
            _ => None,
        }
    }

    /// Whether this is another leader than the one who is known, or says something else.
    #[must_use]
    pub fn is_news(&self, leader: &Value) -> bool {
        if let Deed::Observe(observe) = &self.deed { observe.is_news(leader) } else { true }
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        Needs::Keys(if self.is_write() { LOCK } else { READ }, std::slice::from_ref(&self.name))
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        each(Word::Plain(&self.name));
        match &self.deed {
            Deed::Acquire { owner, permits: (capacity, permits), backing, wait_ms, value } => {
                if self.kind == ClaimKind::Semaphore {
                    each(Word::Plain(&number(capacity)));
                }
                each(Word::Plain(owner));
                if self.kind == ClaimKind::Election {
                    each(Word::Plain(value));
                }
                match backing {
                    Backing::Own(ttl) => option("PX", Some(&number(ttl)), each),
                    Backing::Lease(id) => option("LEASE", Some(&number(id)), each),
                }
                if *permits > 1 {
                    option("PERMITS", Some(&number(permits)), each);
                }
                if *wait_ms > 0 {
                    option("WAIT", Some(&number(wait_ms)), each);
                }
            }
            Deed::Renew(token) | Deed::Release(token) => each(Word::Plain(&number(token))),
            Deed::Proclaim(token, value) => {
                each(Word::Plain(&number(token)));
                each(Word::Plain(value));
            }
            Deed::Observe(observe) => observe.words(each),
            Deed::Show => {}
        }
    }
}

impl Words<'_> {
    pub(super) fn claim_command(&mut self) -> Result<Command, Failure> {
        let name = self.next()?;
        self.check_name("bytes in a name", &name)?;
        let (family, verb) = self.name().split_once(' ').unwrap_or_default();
        let kind = match family {
            "LOCK" => ClaimKind::Lock,
            "SEMAPHORE" => ClaimKind::Semaphore,
            _ => ClaimKind::Election,
        };
        let deed = match verb {
            "ACQUIRE" | "CAMPAIGN" => self.acquire(kind)?,
            "RENEW" => Deed::Renew(self.token()?),
            "RELEASE" | "RESIGN" => Deed::Release(self.token()?),
            "PROCLAIM" => Deed::Proclaim(self.token()?, self.saying()?),
            "OBSERVE" => Deed::Observe(self.observe()?),
            _ => Deed::Show,
        };
        self.end()?;
        Ok(Command::Claims(ClaimCommand { kind, name, deed }))
    }

    fn acquire(&mut self, kind: ClaimKind) -> Result<Deed, Failure> {
        let capacity =
            if kind == ClaimKind::Semaphore { self.between("the capacity", 1, CAPACITY_MAX)? } else { 1 };
        let owner = self.next()?;
        self.check_name("bytes in an owner's name", &owner)?;
        let value = if kind == ClaimKind::Election { self.saying()? } else { Blob::default() };
        let (mut backing, mut permits, mut wait_ms) = (None, None, None);
        loop {
            let fresh = if self.keyword("PX") {
                backing.replace(Backing::Own(self.lease_ttl()?)).is_none()
            } else if self.keyword("LEASE") {
                backing.replace(Backing::Lease(self.lease()?)).is_none()
            } else if kind == ClaimKind::Semaphore && self.keyword("PERMITS") {
                permits.replace(self.between("the permits", 1, capacity)?).is_none()
            } else if self.keyword("WAIT") {
                wait_ms.replace(self.between("the time to wait", 1, WAIT_MS_MAX)?).is_none()
            } else {
                break;
            };
            if !fresh {
                return Err(self.syntax("an option is given twice"));
            }
        }
        let backing =
            backing.ok_or_else(|| self.syntax("neither PX nor LEASE says how long it can be held"))?;
        let permits = (capacity, permits.unwrap_or(1));
        Ok(Deed::Acquire { owner, permits, backing, wait_ms: wait_ms.unwrap_or(0), value })
    }

    /// What a leader says. All of it lies in one row, and is handed to everybody who asks.
    pub(super) fn saying(&mut self) -> Result<Blob, Failure> {
        let value = self.next()?;
        let most = self.limits().saying_bytes;
        if value.len() > most {
            let message = format!("{} bytes in what a leader says: the limit is {most}", value.len());
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        Ok(value)
    }
}

impl Evaluation<'_> {
    pub(super) fn claims(&mut self, command: &ClaimCommand) -> Outcome {
        let ClaimCommand { kind, name, deed } = command;
        match deed {
            Deed::Acquire { owner, permits, backing, wait_ms, value } => {
                let asked = Wanted { owner, permits: *permits, backing: *backing, wait_ms: *wait_ms, value };
                self.acquire(*kind, name, &asked)
            }
            Deed::Renew(token) => {
                let (_, claim) = self.held(*kind, name, *token)?;
                self.keep_alive(claim.lease).map(figure)
            }
            Deed::Release(token) => {
                let Ok((key, claim)) = self.held(*kind, name, *token) else { return Ok(Value::Int(0)) };
                if claim.ttl > 0 {
                    end_lease(&mut self.view, claim.lease, DeleteCause::Deleted);
                } else {
                    self.view.effect(Effect::Claimed { claim: key, now: None });
                    settle(&mut self.view, *kind, name);
                }
                Ok(Value::Int(1))
            }
            Deed::Proclaim(token, value) => {
                let (key, claim) = self.held(*kind, name, *token)?;
                let now = Some(Claim { value: value.clone(), ..claim });
                self.view.effect(Effect::Claimed { claim: key, now });
                Ok(Value::ok())
            }
            Deed::Show => Ok(self.show_claims(*kind, name)),
            Deed::Observe(_) => Ok(self.observe(name)),
        }
    }

    fn acquire(&mut self, kind: ClaimKind, name: &Blob, asked: &Wanted<'_>) -> Outcome {
        let (capacity, permits) = asked.permits;
        if !(1..=CAPACITY_MAX).contains(&capacity) || !(1..=capacity).contains(&permits) {
            // Only a forwarding node of another mind can say so.
            return Err(Failure::new(ErrorCode::Argument, "a number of the claim is out of range"));
        }
        if let Backing::Lease(id) = asked.backing {
            self.own_lease(id)?;
            self.check_load(id, 1, name.len())?;
        }
        let user = self.scope();
        let mut claims = self.view.claims(kind, name);
        let own = |(_, claim): &&(ClaimKey, Claim)| claim.user == user && claim.owner == *asked.owner;
        match claims.iter().find(own) {
            Some((key, claim)) if claim.is_held() => return self.held_already(key, claim, asked),
            Some((key, _)) => {
                let text = "another request of the same owner took its place: an owner waits once";
                drop_claim(&mut self.view, key, Err(Failure::new(ErrorCode::WaitEnded, text)));
                settle(&mut self.view, kind, name);
                claims = self.view.claims(kind, name);
            }
            None => {}
        }
        let id = self.state.tail().next();
        let now = self.view.now();
        let (ttl, lease) = match asked.backing {
            Backing::Own(ttl) => (ttl.clamp(1, TTL_MS_MAX), LeaseId(id.0)),
            Backing::Lease(id) => (0, id),
        };
        let wait_ms = asked.wait_ms.min(WAIT_MS_MAX);
        let (session, forward) = self.numbers();
        let wait = Wait { until: Millis(now.0.saturating_add(wait_ms)), session, forward };
        let owner = asked.owner.clone();
        let claim = Claim {
            user,
            owner,
            permits,
            capacity,
            lease,
            ttl,
            value: asked.value.clone(),
            state: ClaimState::Waiting(wait),
        };
        let waiting = claims.iter().filter(|(_, claim)| claim.wait().is_some()).count();
        let used: u64 = claims.iter().map(|(_, claim)| claim.permits).sum();
        if waiting == 0 && used.saturating_add(permits) <= capacity {
            if ttl > 0 {
                self.grant_lease(lease, ttl)?;
            }
            let now = Some(Claim { state: ClaimState::Held, ..claim });
            self.view.effect(Effect::Claimed { claim: (kind, name.clone(), id), now });
            return Ok(granted(id, lease));
        }
        if wait_ms == 0 {
            return Ok(Value::Nil);
        }
        self.check_waits(waiting)?;
        self.view.effect(Effect::Claimed { claim: (kind, name.clone(), id), now: Some(claim) });
        Ok(Value::Waiting(id))
    }

    /// The owner holds it: it is renewed, and the token is the one that it has.
    fn held_already(&mut self, key: &ClaimKey, claim: &Claim, asked: &Wanted<'_>) -> Outcome {
        if claim.permits != asked.permits.1 {
            let message = format!("this owner holds {} permits: release them first", claim.permits);
            return Err(Failure::new(ErrorCode::Argument, message));
        }
        match asked.backing {
            Backing::Own(ttl) if claim.ttl > 0 => {
                let (ttl, user, renewed) = (ttl.clamp(1, TTL_MS_MAX), self.scope(), self.view.now());
                self.own_lease(claim.lease)?;
                self.view
                    .effect(Effect::Leased { id: claim.lease, lease: Some(Lease { user, ttl, renewed }) });
                if ttl != claim.ttl {
                    let now = Some(Claim { ttl, ..claim.clone() });
                    self.view.effect(Effect::Claimed { claim: key.clone(), now });
                }
            }
            Backing::Lease(id) if id == claim.lease => _ = self.keep_alive(id)?,
            _ => {
                let message =
                    format!("this owner holds it on lease {}: say so, or release it first", claim.lease);
                return Err(Failure::new(ErrorCode::Argument, message));
            }
        }
        Ok(granted(key.2, claim.lease))
    }

    fn check_waits(&mut self, waiting: usize) -> Result<(), Failure> {
        let (most, all) = (self.limits.waits_of_a_name, self.limits.waits);
        if waiting >= most || self.view.wait_count() >= all {
            let message = format!(
                "{waiting} claims wait for this name, of at most {most}, and no more than {all} in all: try again later"
            );
            return Err(Failure::new(ErrorCode::LimitReached, message));
        }
        Ok(())
    }

    /// The claim of the user's that is held under this token.
    fn held(&mut self, kind: ClaimKind, name: &Blob, token: Index) -> Result<(ClaimKey, Claim), Failure> {
        let (key, user) = ((kind, name.clone(), token), self.scope());
        let claim = self.view.claim(&key).filter(|claim| claim.is_held() && claim.user == user);
        claim.map(|claim| (key, claim)).ok_or_else(|| fenced(name, token))
    }

    /// Whether a lock, permits or an office of this name are held under this token, by whomever. A token is given once, so that
    /// it says which of them it is.
    pub(super) fn is_held(&mut self, name: &Blob, token: Index) -> bool {
        self.guarded = true;
        ClaimKind::ALL
            .into_iter()
            .filter_map(|kind| self.view.claim(&(kind, name.clone(), token)))
            .any(|claim| claim.is_held())
    }

    /// Refuses what is guarded by a lock, permits or an office that are not held under this token.
    pub(super) fn check_fence(&mut self, name: &Blob, token: Index) -> Result<(), Failure> {
        if self.is_held(name, token) { Ok(()) } else { Err(fenced(name, token)) }
    }

    fn show_claims(&mut self, kind: ClaimKind, name: &Blob) -> Value {
        let claims = self.view.claims(kind, name);
        let held: Vec<&(ClaimKey, Claim)> = claims.iter().filter(|(_, claim)| claim.is_held()).collect();
        if claims.is_empty() {
            return Value::Nil;
        }
        let now = self.view.consult_time();
        let holders = held.iter().map(|((_, _, token), claim)| {
            let lease = self.view.lease(claim.lease);
            let remaining = lease.map_or(0, |lease| lease.until().0.saturating_sub(now.0));
            let mut pairs = vec![
                ("owner".into(), Value::Bytes(claim.owner.clone())),
                ("user".into(), Value::Bytes(claim.user.clone())),
                ("token".into(), figure(token.0)),
                ("lease".into(), figure(claim.lease.0)),
                ("remaining_ms".into(), figure(remaining)),
            ];
            match kind {
                ClaimKind::Lock => {}
                ClaimKind::Semaphore => pairs.push(("permits".into(), figure(claim.permits))),
                ClaimKind::Election => pairs.push(("value".into(), Value::Bytes(claim.value.clone()))),
            }
            Value::Map(pairs)
        });
        Value::Map(vec![
            ("holders".into(), Value::List(holders.collect())),
            ("waiting".into(), count(claims.len() - held.len())),
        ])
    }

    /// Ends a wait that nobody listens to any more.
    pub(super) fn forget_wait(&mut self, id: Index) -> Value {
        let Some(key) = self.view.wait_numbered(id) else { return Value::Int(0) };
        let text = "the connection that waited is gone, or its time was up";
        drop_claim(&mut self.view, &key, Err(Failure::new(ErrorCode::WaitEnded, text)));
        settle(&mut self.view, key.0, &key.1);
        Value::Int(1)
    }

    /// Ends the waits that were made in a session which ends: nobody can ask for them again.
    pub(super) fn end_waits_in(&mut self, session: SessionId) {
        self.end_waits_of(&mut |_, claim, _| {
            claim.wait().and_then(|wait| wait.session).is_some_and(|(made_in, _)| made_in == session)
        });
    }

    /// Ends the waits of a user whose logins have ended.
    pub(super) fn end_waits(&mut self, user: &Blob) {
        self.end_waits_of(&mut |_, claim, _| claim.user == *user);
    }

    /// Ends the waits that are not allowed any more: grants, denials or roles were changed.
    pub(super) fn end_forbidden_waits(&mut self) {
        // Where access is not enforced nobody is a user.
        let enforced = self.mode == AccessMode::Enforced;
        self.end_waits_of(&mut |view, claim, name| {
            let user = view.user(&claim.user);
            let rights = user.map(|user| view.rights(&claim.user, user));
            enforced && !rights.is_some_and(|rights| rights.allows(Permission::Lock, name))
        });
    }

    fn end_waits_of(&mut self, ends: &mut dyn FnMut(&mut View<'_>, &Claim, &Blob) -> bool) {
        let mut names = BTreeSet::new();
        for key in self.view.waits() {
            let Some(claim) = self.view.claim(&key).filter(|claim| claim.wait().is_some()) else { continue };
            if ends(&mut self.view, &claim, &key.1) {
                let text = "the user was changed while the command waited: log in again, or ask for LOCK on the name";
                drop_claim(&mut self.view, &key, Err(Failure::new(ErrorCode::WaitEnded, text)));
                names.insert((key.0, key.1));
            }
        }
        // Only then, or one that is to end would be the next.
        names.iter().for_each(|(kind, name)| settle(&mut self.view, *kind, name));
    }
}

/// What an acquire asks for.
struct Wanted<'a> {
    owner: &'a Blob,
    permits: (u64, u64),
    backing: Backing,
    wait_ms: u64,
    value: &'a Blob,
}

fn fenced(name: &Blob, token: Index) -> Failure {
    let message = format!("'{}' is not held under the token {token}: acquire it anew", shown(name));
    Failure::new(ErrorCode::Fenced, message)
}
