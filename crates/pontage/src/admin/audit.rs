//! What was done, by whom.

use serde::Serialize;
use serde_json::Value;
use store::{AuditQuery, AuditRow};
use utoipa::ToSchema;

use super::api::Api;
use super::ask::{Ask, reply};
use super::endpoint::Outcome;

/// An act that changed something. It was noted in the step that did it.
#[derive(Serialize, ToSchema)]
pub(super) struct Act {
    id: u64,
    at_ms: u64,
    /// The admin's name.
    who: String,
    role: String,
    action: String,
    /// Its kind, a colon, and its name.
    subject: String,
    /// What was asked for, without secrets.
    asked: Value,
    /// What the subject was before.
    before: Value,
    /// What it was after.
    after: Value,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Acts {
    /// Newest first.
    acts: Vec<Act>,
    /// The cursor of the next page.
    #[schema(required = true)]
    next: Option<String>,
}

pub(super) async fn list(api: &Api, ask: &Ask) -> Outcome {
    let text = |name: &str| ask.text(name).map(str::to_owned);
    let query = AuditQuery {
        before: ask.number("cursor"),
        who: text("who"),
        action: text("action"),
        subject: text("subject"),
        from_ms: ask.number("from_ms"),
        to_ms: ask.number("to_ms"),
        most: ask.limit(),
    };
    let rows = api.journal.audit(&query)?;
    let is_full = u64::try_from(rows.len()).is_ok_and(|count| count == query.most);
    let next = rows.last().filter(|_| is_full).map(|row| row.id.to_string());
    reply(&Acts { acts: rows.into_iter().map(view).collect(), next })
}

fn view(row: AuditRow) -> Act {
    let read = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Act {
        id: row.id,
        at_ms: row.at_ms,
        who: row.who,
        role: row.role,
        action: row.action,
        subject: row.subject,
        asked: read(Some(row.asked)),
        before: read(row.before),
        after: read(row.after),
    }
}
