//! Maintenance: when calls are not taken.

use serde::{Deserialize, Serialize};
use store::{MaintenanceRow, Subject};
use utoipa::ToSchema;

use super::api::Api;
use super::ask::{Ask, future, reply, words};
use super::endpoint::Outcome;
use super::refused::Refused;
use crate::host::now_ms;

const MESSAGE_MAX_CHARS: usize = 500;

/// Whether calls are taken.
#[derive(Serialize, ToSchema)]
pub(super) struct MaintenanceView {
    /// `operating` or `maintenance`.
    status: &'static str,
    /// From when on calls are not taken.
    #[schema(required = true)]
    from_ms: Option<u64>,
    /// Until when; nothing where it has to be ended.
    #[schema(required = true)]
    until_ms: Option<u64>,
    #[schema(required = true)]
    message: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MaintenanceBody {
    /// Now, where it is not said.
    #[schema(minimum = 1)]
    from_ms: Option<u64>,
    /// Until it is ended, where it is not said.
    #[schema(minimum = 1)]
    until_ms: Option<u64>,
    /// What callers are told.
    #[serde(default)]
    #[schema(max_length = 500)]
    message: String,
}

pub(super) async fn show(api: &Api, _: &Ask) -> Outcome {
    let row = api.journal.maintenance()?;
    view(row.as_ref())
}

pub(super) async fn begin(api: &Api, ask: &Ask) -> Outcome {
    let (body, now_ms) = (ask.body::<MaintenanceBody>()?, now_ms());
    words("message", &body.message, MESSAGE_MAX_CHARS)?;
    future("from_ms", body.from_ms, now_ms)?;
    future("until_ms", body.until_ms, now_ms)?;
    let from_ms = body.from_ms.unwrap_or(now_ms);
    if body.until_ms.is_some_and(|until_ms| until_ms <= from_ms) {
        return Err(Refused::field("until_ms", "It ends after it begins."));
    }
    let row = MaintenanceRow { from_ms, until_ms: body.until_ms, message: body.message };
    set(api, ask, Some(row)).await
}

pub(super) async fn end(api: &Api, ask: &Ask) -> Outcome {
    set(api, ask, None).await
}

async fn set(api: &Api, ask: &Ask, row: Option<MaintenanceRow>) -> Outcome {
    ask.noted(&api.journal, Subject::Gate).set_maintenance(row.clone()).await?;
    if !ask.dry_run {
        api.operation.maintenance.set(row.as_ref());
    }
    view(row.as_ref())
}

fn view(row: Option<&MaintenanceRow>) -> Outcome {
    let now_ms = now_ms();
    // What is over is none any more.
    let row = row.filter(|row| row.until_ms.is_none_or(|until_ms| now_ms < until_ms));
    let closed = row.is_some_and(|row| row.from_ms <= now_ms);
    reply(&MaintenanceView {
        status: if closed { "maintenance" } else { "operating" },
        from_ms: row.map(|row| row.from_ms),
        until_ms: row.and_then(|row| row.until_ms),
        message: row.map(|row| row.message.clone()),
    })
}
