//! Locks, semaphores and elections, as the judges understand them. Written from the documentation; shares no code with the
//! core's.

use steadfast_core::coordination::claim::{Claim as LoggedClaim, ClaimKey as LoggedKey, ClaimKind};
use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Right, Unread, bad, unsigned, word};
use super::grants::Need;
use super::leases::{Draft, Lease};
use super::model::{At, Plan};

/// What is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// By one.
    Lock,
    /// By as many as there are permits.
    Semaphore,
    /// By one, who says something.
    Election,
}

/// Kind, name and number.
pub type ClaimKey = (Kind, Blob, u64);

/// A claim, held or waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub user: Blob,
    /// Which of the user's workers.
    pub owner: Blob,
    /// How many permits it takes.
    pub permits: u64,
    /// How many it believes there are.
    pub capacity: u64,
    /// What it hangs on.
    pub lease: u64,
    /// How long its own lease lives; zero if it is another's.
    pub ttl: u64,
    /// What a leader says.
    pub value: Blob,
    /// Until when it waits; none if it is held.
    pub until: Option<u64>,
    /// The session in which it was made to wait.
    pub session: Option<u64>,
}

/// A claim's key, as the log has it.
#[must_use]
pub fn key_from_log((kind, name, id): &LoggedKey) -> ClaimKey {
    let kind = match kind {
        ClaimKind::Lock => Kind::Lock,
        ClaimKind::Semaphore => Kind::Semaphore,
        ClaimKind::Election => Kind::Election,
    };
    (kind, name.clone(), id.0)
}

impl Claim {
    /// As the log has it.
    #[must_use]
    pub fn from_log(claim: &LoggedClaim) -> Self {
        Self {
            user: claim.user.clone(),
            owner: claim.owner.clone(),
            permits: claim.permits,
            capacity: claim.capacity,
            lease: claim.lease.0,
            ttl: claim.ttl,
            value: claim.value.clone(),
            until: claim.wait().map(|wait| wait.until.0),
            session: claim.wait().and_then(|wait| wait.session).map(|(session, _)| session.0),
        }
    }

    /// The answer of a grant.
    #[must_use]
    pub fn granted(token: u64, lease: u64) -> Value {
        Value::Map(vec![
            ("token".into(), Value::Int(token as i64)),
            ("lease".into(), Value::Int(lease as i64)),
        ])
    }
}

/// A command on claims: on what, by what name, what is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnClaim(Kind, Blob, Deed);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    Acquire(Wanted),
    Renew(u64),
    Release(u64),
    Proclaim(u64, Blob),
    Show,
    Observe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    owner: Blob,
    capacity: u64,
    permits: u64,
    value: Blob,
    /// The time to live of its own lease, or the client's lease.
    backing: Result<u64, u64>,
    wait: u64,
}

impl OnClaim {
    pub(super) fn read(family: &str, rest: &[Blob]) -> Result<Self, Unread> {
        let form = || bad(format!("{family} with a wrong number of arguments"));
        let kind = match family {
            "LOCK" => Kind::Lock,
            "SEMAPHORE" => Kind::Semaphore,
            _ => Kind::Election,
        };
        let [verb, name, rest @ ..] = rest else { return Err(form()) };
        let deed = match (word(Some(verb)).as_str(), rest) {
            ("ACQUIRE" | "CAMPAIGN", rest) => Deed::Acquire(Wanted::read(kind, rest)?),
            ("RENEW", [token]) => Deed::Renew(unsigned(token)?),
            ("RELEASE" | "RESIGN", [token]) => Deed::Release(unsigned(token)?),
            ("PROCLAIM", [token, value]) => Deed::Proclaim(unsigned(token)?, value.clone()),
            ("SHOW", []) => Deed::Show,
            // What the asker knows and how long it waits decides when it is answered, not what.
            ("OBSERVE", _) => Deed::Observe,
            _ => return Err(form()),
        };
        Ok(Self(kind, name.clone(), deed))
    }

    /// What it is about.
    #[must_use]
    pub const fn name(&self) -> &Blob {
        &self.1
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self.2, Deed::Show | Deed::Observe)
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        let right = if self.is_write() { Right::Lock } else { Right::Read };
        vec![Need::Key(right, self.1.clone())]
    }
}

impl Wanted {
    fn read(kind: Kind, rest: &[Blob]) -> Result<Self, Unread> {
        let mut rest = rest.iter();
        let mut next = || rest.next().cloned().ok_or_else(|| bad("a claim ends too early"));
        let capacity = if kind == Kind::Semaphore { unsigned(&next()?)? } else { 1 };
        let owner = next()?;
        let value = if kind == Kind::Election { next()? } else { Blob::default() };
        let (mut backing, mut permits, mut wait) = (None, 1, 0);
        while let Some(option) = rest.next() {
            let number = unsigned(rest.next().ok_or_else(|| bad("an option without a number"))?)?;
            match word(Some(option)).as_str() {
                "PX" => backing = Some(Ok(number)),
                "LEASE" => backing = Some(Err(number)),
                "PERMITS" => permits = number,
                "WAIT" => wait = number,
                other => return Err(bad(format!("a claim does not know {other}"))),
            }
        }
        let backing = backing.ok_or_else(|| bad("a claim without PX or LEASE"))?;
        Ok(Self { owner, capacity, permits, value, backing, wait })
    }
}

impl At<'_> {
    /// What the command must do.
    pub(super) fn on_claim(&self, user: Option<&Blob>, asked: &OnClaim) -> Plan {
        self.try_on_claim(&user.cloned().unwrap_or_default(), asked).unwrap_or_else(Plan::fails)
    }

    fn try_on_claim(&self, own: &Blob, OnClaim(kind, name, deed): &OnClaim) -> Result<Plan, ErrorCode> {
        let mut draft = Draft::new(self.model, self.now);
        let held = |token: u64| {
            let key = (*kind, name.clone(), token);
            let claim = self.model.claims.get(&key).filter(|it| it.until.is_none() && it.user == *own);
            claim.map(|claim| (key, claim)).ok_or(ErrorCode::Fenced)
        };
        let says = match deed {
            Deed::Acquire(wanted) => return self.acquire(draft, own, (*kind, name), wanted),
            Deed::Renew(token) => Value::Int(draft.renew(own, held(*token)?.1.lease)? as i64),
            Deed::Release(token) => match held(*token) {
                Err(_) => Value::Int(0),
                Ok((key, claim)) => {
                    if claim.ttl > 0 {
                        draft.end_lease(claim.lease);
                    } else {
                        draft.drop_claim(&key, Ok(Value::Nil));
                        draft.settle(*kind, name);
                    }
                    Value::Int(1)
                }
            },
            Deed::Proclaim(token, value) => {
                let (key, claim) = held(*token)?;
                draft.after.claims.insert(key, Claim { value: value.clone(), ..claim.clone() });
                Value::ok()
            }
            Deed::Show => self.show_claims(*kind, name),
            Deed::Observe => match self.claims(*kind, name).next().filter(|(_, claim)| claim.until.is_none())
            {
                None => Value::Nil,
                Some((token, claim)) => Value::Map(vec![
                    ("leader".into(), Value::Bytes(claim.owner.clone())),
                    ("value".into(), Value::Bytes(claim.value.clone())),
                    ("token".into(), Value::Int(token as i64)),
                ]),
            },
        };
        Ok(draft.plan(self.model, Plan::says(says)))
    }

    fn acquire(
        &self,
        mut draft: Draft,
        own: &Blob,
        (kind, name): (Kind, &Blob),
        wanted: &Wanted,
    ) -> Result<Plan, ErrorCode> {
        if let Err(lease) = wanted.backing {
            self.own_lease(own, lease)?;
        }
        let same = |claim: &Claim| claim.user == *own && claim.owner == wanted.owner;
        if let Some((id, claim)) = self.claims(kind, name).find(|(_, claim)| same(claim)) {
            if claim.until.is_none() {
                if claim.permits != wanted.permits {
                    return Err(ErrorCode::Argument);
                }
                let lease = claim.lease;
                match wanted.backing {
                    Ok(ttl) if claim.ttl > 0 => {
                        draft.renew(own, lease)?;
                        draft.after.leases.entry(lease).and_modify(|lease| lease.ttl = ttl);
                        let same = draft.after.claims.get_mut(&(kind, name.clone(), id));
                        same.into_iter().for_each(|claim| claim.ttl = ttl);
                    }
                    Err(id) if id == lease => _ = draft.renew(own, lease)?,
                    _ => return Err(ErrorCode::Argument),
                }
                return Ok(draft.plan(self.model, Plan::says(Claim::granted(id, lease))));
            }
            draft.drop_claim(&(kind, name.clone(), id), Err(ErrorCode::WaitEnded));
            draft.settle(kind, name);
        }
        let id = self.position.0;
        let (lease, ttl) = match wanted.backing {
            Ok(ttl) => (id, ttl),
            Err(lease) => (lease, 0),
        };
        let mut claim = Claim {
            user: own.clone(),
            owner: wanted.owner.clone(),
            permits: wanted.permits,
            capacity: wanted.capacity,
            lease,
            ttl,
            value: wanted.value.clone(),
            until: Some(self.now + wanted.wait),
            session: self.session,
        };
        let others = draft.after.claims.iter().filter(|((of, on, _), _)| (*of, on) == (kind, name));
        let (used, wait) = others.fold((0, false), |(used, wait), (_, other)| {
            (used + other.permits, wait || other.until.is_some())
        });
        let is_free = !wait && used + wanted.permits <= wanted.capacity;
        if is_free {
            (claim.until, claim.session) = (None, None);
            if ttl > 0 {
                draft.after.leases.insert(id, Lease { user: own.clone(), ttl, renewed: self.now });
            }
        }
        if is_free || wanted.wait > 0 {
            draft.after.claims.insert((kind, name.clone(), id), claim);
        }
        let says = match (is_free, wanted.wait) {
            (true, _) => Some(Ok(Claim::granted(id, lease))),
            (false, 0) => Some(Ok(Value::Nil)),
            // The log tells, in time.
            (false, _) => None,
        };
        Ok(draft.plan(self.model, Plan { waits: says.is_none(), says, ..Plan::default() }))
    }

    fn claims<'m>(&'m self, kind: Kind, name: &'m Blob) -> impl Iterator<Item = (u64, &'m Claim)> {
        let all = self.model.claims.iter().filter(move |((of, on, _), _)| (*of, on) == (kind, name));
        all.map(|((_, _, id), claim)| (*id, claim))
    }

    /// Whether a lock, permits or an office of this name are held under this token, by whomever.
    pub(super) fn is_held(&self, name: &Blob, token: u64) -> bool {
        let mut all = self.model.claims.iter();
        all.any(|((_, on, id), claim)| (on, *id) == (name, token) && claim.until.is_none())
    }

    pub(super) fn fence(&self, name: &Blob, token: u64) -> Result<(), ErrorCode> {
        if self.is_held(name, token) { Ok(()) } else { Err(ErrorCode::Fenced) }
    }

    fn show_claims(&self, kind: Kind, name: &Blob) -> Value {
        let claims: Vec<(u64, &Claim)> = self.claims(kind, name).collect();
        if claims.is_empty() {
            return Value::Nil;
        }
        let held = claims.iter().filter(|(_, claim)| claim.until.is_none());
        let holders = held.map(|(token, claim)| {
            let lease = self.model.leases.get(&claim.lease);
            let remaining = lease.map_or(0, |lease| self.remaining_of(lease));
            let mut pairs = vec![
                ("owner".into(), Value::Bytes(claim.owner.clone())),
                ("user".into(), Value::Bytes(claim.user.clone())),
                ("token".into(), Value::Int(*token as i64)),
                ("lease".into(), Value::Int(claim.lease as i64)),
                ("remaining_ms".into(), Value::Int(remaining)),
            ];
            match kind {
                Kind::Lock => {}
                Kind::Semaphore => pairs.push(("permits".into(), Value::Int(claim.permits as i64))),
                Kind::Election => pairs.push(("value".into(), Value::Bytes(claim.value.clone()))),
            }
            Value::Map(pairs)
        });
        let waiting = claims.iter().filter(|(_, claim)| claim.until.is_some()).count();
        Value::Map(vec![
            ("holders".into(), Value::List(holders.collect())),
            ("waiting".into(), Value::Int(waiting as i64)),
        ])
    }
}
