//! Where a node stands, by its own word: what INFO says. A connection that was logged in before is told so also while nobody leads.

use steadfast::client::Value;
use uuid::Uuid;

use crate::raw::RawClient;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its role.
    pub role: String,
    /// Its term.
    pub term: i64,
    /// The number of the node that it believes to lead.
    pub leader: Option<i64>,
    /// The last index that it knows to be committed.
    pub commit: i64,
}

impl Standing {
    /// Asks a node; `None` if it does not answer.
    pub fn ask(client: &mut RawClient) -> Option<Self> {
        client.request(Uuid::from_u128(1), ["INFO"]).ok()?;
        let Ok(Value::Map(pairs)) = client.response().reply.outcome else { return None };
        let find = |wanted| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let number = |wanted| match find(wanted)? {
            Value::Int(number) => Some(*number),
            _ => None,
        };
        let Some(Value::Bytes(role)) = find("role") else { return None };
        Some(Self {
            role: role.to_string(),
            term: number("term")?,
            leader: number("leader"),
            commit: number("commit")?,
        })
    }

    /// Whether it says that it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.role == "leader"
    }
}
