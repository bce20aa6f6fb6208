//! The holder of a key puts another secret in the place of his own.

use bytes::Bytes;
use gate::{Denial, KeyRefusal};
use http::request::Parts;
use http::{Method, StatusCode};
use protocol::MoneyState;
use proxy::CleanPath;
use serde_json::json;

use super::super::Front;
use super::super::arrived::Arrived;
use super::super::story::{Story, Told};
use super::{denied, holder};
use crate::accounts::desk::{Desk, DeskError};
use crate::accounts::{self, Knock};
use crate::host::now_ms;
use crate::problem::Problem;
use crate::telemetry::MoneyOutcome;

/// For so long the old secret holds where nothing is said: calls that are on their way come through.
const OVERLAP_S: u64 = 300;
/// How soon a holder may rotate again.
const AGAIN_S: u32 = 300;

/// Where it is asked for.
const ROTATE: &str = "/__pay/account/rotate";
/// The same at PayGate.
const ALIAS: &str = "/portal/rotate";

/// Whether it is asked for by PayGate's path, where no route has that and the caller shows a key.
pub(in crate::front) fn is_alias(parts: &Parts, path: &CleanPath, is_routed: bool) -> bool {
    let shown = || parts.headers.iter().any(|(name, value)| accounts::is_key(name, value));
    path.path() == ALIAS && !is_routed && shown()
}

/// Whether it is asked for, by one of these paths.
pub(in crate::front) fn is_asked(path: &CleanPath) -> bool {
    matches!(path.path(), ROTATE | ALIAS)
}

impl Front {
    /// Answers the holder of a key who wants another secret.
    pub(in crate::front) async fn rotate(&self, arrived: &Arrived, parts: &Parts, path: &CleanPath) -> Told<Bytes> {
        let story = Story::of(MoneyOutcome::Own);
        let Some((directory, accounts)) = self.0.directory.as_ref().zip(self.0.shared.accounts.as_ref()) else {
            return story.with(Problem::not_found().into_response());
        };
        if parts.method != Method::POST {
            return story.with(Problem::method_not_allowed("POST"));
        }
        let overlap_s = match overlap(path.query().unwrap_or_default()) {
            Ok(overlap_s) => overlap_s,
            Err(problem) => return story.with(problem.into_response()),
        };
        let holder = directory.resolve(&Knock {
            headers: &parts.headers,
            method: parts.method.as_str(),
            path: None,
            target: &path.path_and_query(),
            from: arrived.from,
            now_ms: now_ms(),
        });
        let holder = match holder {
            Ok(Some(holder)) => holder,
            Ok(None) => return story.with(denied(Denial::MissingApiKey).into_response()),
            Err(why) => return self.turned_away(arrived, story, why),
        };
        let desk = Desk::new(self.0.flow.journal.clone(), accounts.default_unit);
        match desk.rotate_own(&holder, overlap_s).await {
            Ok(made) => story.with(holder::answer(&json!({
                "key": made.key.record.id.to_string(),
                "secret": made.secret,
                "old_valid_until_ms": made.key.record.rotated_at_ms.unwrap_or_default().saturating_add(overlap_s.saturating_mul(1_000)),
            }))),
            Err(DeskError::Refused(refusal)) => {
                story.because(refusal.code()).with(refused(refusal).into_response())
            }
            Err(DeskError::Fault(fault)) => story.with(Problem::fault(fault).into_response()),
        }
    }
}

fn overlap(query: &str) -> Result<u64, Problem> {
    if query.is_empty() {
        return Ok(OVERLAP_S);
    }
    let value = query.strip_prefix("overlap_s=").filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    value.and_then(|value| value.parse().ok()).ok_or_else(|| Problem::bad_query("overlap_s", "is no whole number"))
}

/// The secret stays as it is.
fn refused(refusal: KeyRefusal) -> Problem {
    let problem = |status| {
        Problem::new(status, refusal.code(), format!("The secret was not changed: {refusal}."), MoneyState::Untouched)
    };
    match refusal {
        KeyRefusal::RotatedLately => problem(StatusCode::TOO_MANY_REQUESTS).retry_after(AGAIN_S),
        KeyRefusal::NotItsSecret => problem(StatusCode::FORBIDDEN),
        _ => problem(StatusCode::BAD_REQUEST),
    }
}
