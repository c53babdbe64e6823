//! Dropping all keys with a prefix, as the judges understand it: what is asked, and what must come of it. Written from the
//! documentation; shares no code with the core.

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Asked, Unread, bad, unsigned, word};
use super::model::{At, Plan};

pub(super) fn read_drop(rest: &[Blob]) -> Result<Asked, Unread> {
    let wrong = || bad("DROP with a wrong number of arguments");
    let (prefix, confirmed) = match (word(rest.first()).as_str(), rest) {
        ("PREPARE", [_, prefix]) => (prefix, None),
        ("CONFIRM", [_, prefix, token]) => (prefix, Some((token.clone(), 1000))),
        ("CONFIRM", [_, prefix, token, count, n]) if word(Some(count)) == "COUNT" => {
            let n = usize::try_from(unsigned(n)?).map_err(|_| wrong())?;
            (prefix, Some((token.clone(), n)))
        }
        _ => return Err(wrong()),
    };
    Ok(Asked::Drop(prefix.clone(), confirmed))
}

impl At<'_> {
    /// Counts what begins so, and deletes some of it if the token is one of this user's for this prefix.
    pub(super) fn drop_keys(
        &self,
        user: Option<&Blob>,
        prefix: &Blob,
        confirmed: Option<&(Blob, usize)>,
    ) -> Plan {
        let begins = self.model.rows.keys().filter(|key| key.starts_with(prefix) && self.row(key).is_some());
        let keys: Vec<&Blob> = begins.collect();
        let most = confirmed.map_or(1000, |(_, count)| *count);
        let (more, first) = (keys.len() > most, &keys[..keys.len().min(most)]);
        let token = |at: u64| {
            let user = user.map(Blob::as_slice).unwrap_or_default();
            let bytes = [prefix.as_slice(), &(prefix.len() as u64).to_le_bytes(), user].concat();
            format!("{at}-{:08x}", crc32fast::hash(&bytes))
        };
        let map = |pairs: [(&str, Value); 2]| pairs.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let counted = |name| map([(name, Value::Int(first.len() as i64)), ("more", Value::Int(more.into()))]);
        let Some((given, _)) = confirmed else {
            let mut said = counted("keys");
            said.extend(map([
                ("token", Value::Bytes(token(self.now).into())),
                ("good_ms", Value::Int(60_000)),
            ]));
            return Plan::says(Value::Map(said));
        };
        let given = String::from_utf8_lossy(given);
        let at = given.split('-').next().and_then(|at| at.parse::<u64>().ok());
        let good = at.is_some_and(|at| at <= self.now && at + 60_000 >= self.now && token(at) == given);
        if !good {
            return Plan::fails(ErrorCode::NotConfirmed);
        }
        let mut plan = Plan::says(Value::Map(counted("dropped")));
        plan.rows = first.iter().map(|key| ((*key).clone(), None)).collect();
        plan
    }
}
