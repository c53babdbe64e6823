//! Where a node stands, by its own word: what INFO says. A connection that was logged in before is told so also while nobody leads;
//! a leader that hears no majority answers nothing before it has stepped down.

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

    /// Asks a leader whether it hears all members: their answers to it come within an election time-out.
    pub fn hears_all(client: &mut RawClient) -> bool {
        let sent = client.request(Uuid::from_u128(2), ["CLUSTER", "MEMBERS"]);
        let Ok(Value::List(members)) = sent.map_or(Ok(Value::Nil), |()| client.response().reply.outcome)
        else {
            return false;
        };
        let is_heard = |member: &Value| matches!(member, Value::Map(pairs) if pairs.contains(&("heard".to_owned(), Value::Int(1))));
        !members.is_empty() && members.iter().all(is_heard)
    }

    /// Whether it says that it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.role == "leader"
    }
}
