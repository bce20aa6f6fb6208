//! API keys: what an operator does with them.

use http::StatusCode;
use store::Subject;
use utoipa::ToSchema;

use super::api::Api;
use super::ask::{Ask, reply};
use super::endpoint::Outcome;
use super::refused::Refused;
use crate::accounts::desk::{Desk, DeskError, NewKey};

/// A key, as it is told.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the desk has the value; this is its shape")]
pub(super) struct Key {
    /// Its name in this API.
    id: String,
    name: String,
    /// How it stands now: `active`, `grace`, `suspended`, `expired` or `revoked`.
    status: String,
    unit: String,
    /// What of its balance may be spent now.
    balance: u64,
    /// Calls that were paid from it.
    calls: u64,
    /// What they cost.
    spent: u64,
    /// When the last one was.
    #[schema(required = true)]
    used_at_ms: Option<u64>,
}

/// A key and its secret.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the desk has the value; this is its shape")]
pub(super) struct MadeKey {
    key: Key,
    /// It is shown once.
    secret: Option<String>,
}

/// A key that is asked for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the desk has the value; this is its shape")]
pub(super) struct NewKeyBody {
    #[schema(max_length = 200)]
    name: Option<String>,
    /// What its balance begins with, in its unit.
    #[schema(maximum = 1_000_000_000_000_000_i64)]
    credits: Option<u64>,
}

/// A desk whose acts are noted.
fn desk(api: &Api, ask: &Ask, subject: Subject) -> Result<Desk, Refused> {
    let Some(accounts) = api.accounts else {
        let message = "This gate has no keys: write `accounts: {}` into its configuration.";
        return Err(Refused::conflict("accounts_off", message));
    };
    Ok(Desk::new(ask.noted(&api.journal, subject), accounts.default_unit))
}

pub(super) async fn create(api: &Api, ask: &Ask) -> Outcome {
    let new: NewKey = ask.body()?;
    let desk = desk(api, ask, Subject::Other("key", new.name.clone().unwrap_or_default()))?;
    reply(&desk.create(&new, false).await.map_err(refusal)?)
}

fn refusal(error: DeskError) -> Refused {
    match error {
        DeskError::Fault(fault) => fault.into(),
        DeskError::Refused(refusal) => {
            Refused::new(StatusCode::BAD_REQUEST, refusal.code(), format!("This was not done: {refusal}."))
        }
    }
}
