//! What an answer means for the command and for the connection. Pure: looks at the answer alone.
//!
//! The distinction that matters is between an answer that *evaluation* gave, which the session's record keeps
//! and which is therefore the answer to every attempt, and a refusal before evaluation, which speaks for one
//! attempt alone. An evaluated answer carries a receipt; a refusal has none.

use crate::error::ErrorCode;
use crate::reply::Reply;

/// What to do about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The command was evaluated, and this is what came of it.
    Answer,
    /// The command was evaluated and its answer can't be had, now or later.
    Unseen,
    /// This attempt was not executed and another would fare no better.
    Refused,
    /// This attempt was not executed. Another may be, on this connection, after a pause.
    Again,
    /// This attempt was not executed, because it was sent before another one's outcome was told. Another may be, on this connection, at once.
    Onward,
    /// This attempt was not executed. Another may be, on another node if there is one.
    Elsewhere,
    /// This attempt was not executed, and this connection will execute no other.
    Leave,
    /// This attempt may have been executed, and this connection will execute no other.
    Doubt,
    /// The session is gone, and with it the answers to attempts whose own answers were lost.
    SessionGone,
}

/// Judges an answer.
pub(super) fn judge(reply: &Reply) -> Verdict {
    let Err(failure) = &reply.outcome else { return Verdict::Answer };
    match failure.code {
        ErrorCode::TimedOut | ErrorCode::LeaderLost => Verdict::Doubt,
        ErrorCode::ReplyTooLarge => Verdict::Unseen,
        ErrorCode::SessionUnknown => Verdict::SessionGone,
        ErrorCode::AfterIndeterminate | ErrorCode::Unauthenticated => Verdict::Leave,
        ErrorCode::NoLeader | ErrorCode::ShuttingDown => Verdict::Elsewhere,
        ErrorCode::DeadlineExceeded
        | ErrorCode::Overloaded
        | ErrorCode::DurabilityLag
        | ErrorCode::TooManyRequests
        | ErrorCode::TooManyConnections
        | ErrorCode::SessionWindow
        | ErrorCode::Changed
        | ErrorCode::LeaderChanged => Verdict::Again,
        // Evaluation answers these without storing them, so they speak for one attempt alone.
        ErrorCode::SessionStale | ErrorCode::SessionConflict | ErrorCode::FeatureLevel => Verdict::Refused,
        _ if reply.receipt.is_some() => Verdict::Answer,
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Certainty, Failure};
    use crate::reply::Receipt;
    use crate::time::Millis;
    use crate::types::Index;

    #[test]
    fn exactly_the_indeterminate_errors_leave_a_doubt() {
        for &code in ErrorCode::ALL {
            let refused = Reply::refused(Failure::new(code, ""));
            let receipt = Some(Receipt::durable(Index(1), Millis(1)));
            for reply in [Reply { receipt, ..refused.clone() }, refused] {
                let doubtful = matches!(judge(&reply), Verdict::Doubt | Verdict::Unseen);
                assert_eq!(doubtful, code.certainty() == Certainty::Indeterminate, "{}", code.name());
            }
        }
    }

    #[test]
    fn an_error_with_a_receipt_is_an_answer_and_the_same_without_is_a_refusal() {
        let refused = Reply::refused(Failure::new(ErrorCode::Denied, ""));
        assert_eq!(judge(&refused), Verdict::Refused);
        let receipt = Some(Receipt::durable(Index(1), Millis(1)));
        assert_eq!(judge(&Reply { receipt, ..refused }), Verdict::Answer);
    }
}
