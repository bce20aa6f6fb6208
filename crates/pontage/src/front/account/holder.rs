//! What the holder of a key may see of his account.

use bytes::Bytes;
use gate::Denial;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Response};
use ledger::{ChargeRecord, ChargeState, Grant, KeyId};
use proxy::CleanPath;
use serde_json::{Value, json};

use super::super::arrived::Arrived;
use super::super::story::{Story, Told};
use super::super::{Front, OWN};
use super::{Left, denied};
use crate::accounts::{self, Knock};
use crate::host::now_ms;
use crate::problem::Problem;
use crate::telemetry::MoneyOutcome;

/// Charges of one page.
const PAGE_MAX: u64 = 100;

/// What is asked about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) enum Question {
    Balance,
    History,
}

impl Question {
    /// By a path of ours, or by its short form where no route has that and the caller shows a key.
    pub(in crate::front) fn of(parts: &Parts, path: &CleanPath, is_routed: bool) -> Option<Self> {
        let shown = || parts.headers.iter().any(|(name, value)| accounts::is_key(name, value));
        let beneath = match path.path().strip_prefix(OWN) {
            Some(beneath) => beneath,
            None if !is_routed && shown() => path.path(),
            None => return None,
        };
        match beneath {
            "/balance" => Some(Self::Balance),
            "/balance/history" => Some(Self::History),
            _ => None,
        }
    }
}

impl Front {
    /// Answers the holder of a key.
    pub(in crate::front) fn ask(
        &self,
        arrived: &Arrived,
        parts: &Parts,
        path: &CleanPath,
        question: Question,
    ) -> Told<Bytes> {
        let story = Story::of(MoneyOutcome::Own);
        let Some(directory) = &self.0.directory else { return story.with(Problem::not_found().into_response()) };
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return story.with(Problem::method_not_allowed("GET, HEAD"));
        }
        let resolved = directory.resolve(&Knock {
            headers: &parts.headers,
            method: parts.method.as_str(),
            path: None,
            target: &path.path_and_query(),
            from: arrived.from,
            now_ms: now_ms(),
        });
        let principal = match resolved {
            Ok(Some(principal)) => principal,
            Ok(None) => return story.with(denied(Denial::MissingApiKey).into_response()),
            Err(why) => return self.turned_away(arrived, story, why),
        };
        let asked = match question {
            Question::Balance => self.balance(principal.key),
            Question::History => self.history(principal.key, path.query().unwrap_or_default()),
        };
        story.with(asked.unwrap_or_else(|problem| problem.into_response()))
    }

    fn balance(&self, key: KeyId) -> Result<Response<Bytes>, Problem> {
        let journal = &self.0.flow.journal;
        let Some((row, available, held)) = journal.balance(key, now_ms()).map_err(Problem::fault)? else {
            return Err(Problem::not_found());
        };
        let grants = journal.grants(key).map_err(Problem::fault)?;
        let grants: Vec<Value> = grants.iter().filter(|grant| grant.left > 0).map(grant_json).collect();
        let mut response = answer(&json!({
            "key": key.to_string(),
            "unit": row.unit.code(),
            "available": available,
            "held": held,
            "spent": row.spent,
            "calls": row.calls,
            "grants": grants,
        }));
        Left { unit: row.unit, available }.put(response.headers_mut());
        Ok(response)
    }

    /// A page of charges, newest first; `before` of the query is where the one before it ended.
    fn history(&self, key: KeyId, query: &str) -> Result<Response<Bytes>, Problem> {
        let wanted = |name: &str| {
            let pair = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
            let value = pair.map(|(_, value)| value.parse::<u64>());
            value.transpose().map_err(|_| Problem::bad_query(name, "is no whole number"))
        };
        let most = wanted("limit")?.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let charges = self.0.flow.journal.charges(key, wanted("before")?, most).map_err(Problem::fault)?;
        let is_full = u64::try_from(charges.len()).is_ok_and(|len| len == most);
        let next = charges.last().filter(|_| is_full).map(|(turn, _)| *turn);
        let charges: Vec<Value> = charges.iter().map(|(_, record)| charge_json(record)).collect();
        Ok(answer(&json!({ "charges": charges, "before": next })))
    }
}

/// A part of a balance, as its holder sees it.
fn grant_json(grant: &Grant) -> Value {
    json!({
        "grant": grant.id.to_string(),
        "label": grant.label,
        "granted": grant.granted,
        "left": grant.left,
        "priority": grant.priority,
        "granted_at_ms": grant.granted_at_ms,
        "expires_at_ms": grant.expires_at_ms,
    })
}

/// A charge, as its holder sees it.
pub(in crate::front) fn charge_json(record: &ChargeRecord) -> Value {
    let (state, taken) = match record.state {
        ChargeState::Open => ("open", 0),
        ChargeState::Captured(taken) => ("captured", taken),
        ChargeState::Released(_) => ("released", 0),
        ChargeState::Burnt(_) => ("not_charged", 0),
    };
    json!({
        "charge": record.charge.id.to_string(),
        "route": record.charge.route,
        "state": state,
        "held": record.charge.amount,
        "taken": taken,
        "given_back": record.refunded,
        "unit": record.charge.unit.code(),
        "at_ms": record.charge.opened_at_ms,
        "tags": record.charge.tags,
    })
}

pub(in crate::front) fn answer(body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
