//! API keys: what an operator does with them.

mod plans;
mod shapes;
mod tokens;

use gate::{KeyRefusal, KeyStep, ScheduledAct};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Subject;
use utoipa::ToSchema;

use super::api::Api;
use super::ask::{Ask, reply};
use super::endpoint::{Outcome, Reply};
use super::refused::Refused;
use crate::accounts::desk::{BulkItem, CloneAsk, Desk, DeskError, Format, ImportMode, ItemResult, KeyQuery, NewKey};

pub(super) use plans::{PlanBody, Removed};
pub(super) use plans::{delete_plan, delete_template, plans, put_plan, put_template, templates};
pub(super) use shapes::{
    Bulk, CloneKey, Export, Import, Key, KeyChange, Keys, MadeKey, MadeToken, NewKey as NewKeyShape, NewToken, Plans,
    Results, RevokeToken, Template, Templates, VoidToken, VoidTokens,
};
pub(super) use tokens::{
    RotateTokens, SigningBody, SigningSecret, TokensRotated, issue, revoke as revoke_token, rotate_tokens, signing,
    void_all, voided,
};

/// For how long the secret that is replaced holds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateBody {
    /// In seconds, 30 days at most; not at all where it is not said.
    #[serde(default)]
    #[schema(maximum = 2_592_000)]
    overlap_s: u64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoteBody {
    #[schema(min_length = 1, max_length = 1_000)]
    text: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleBody {
    at_ms: u64,
    /// `suspend`, `resume`, `revoke`, `expire`, or `{"top_up": 100}`.
    #[schema(value_type = Value)]
    act: ScheduledAct,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BulkBody {
    items: Vec<BulkItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportBody {
    keys: Option<Vec<Value>>,
    csv: Option<String>,
    #[serde(default)]
    mode: ImportMode,
}

#[derive(Serialize)]
struct Done {
    results: Vec<ItemResult>,
}

/// A desk whose acts are noted.
fn desk(api: &Api, ask: &Ask, subject: Subject) -> Result<Desk, Refused> {
    on(api, ask.noted(&api.journal, subject))
}

/// One that only reads.
fn reader(api: &Api) -> Result<Desk, Refused> {
    on(api, api.journal.clone())
}

fn on(api: &Api, journal: store::Handle) -> Result<Desk, Refused> {
    let Some(accounts) = api.accounts else {
        let message = "This gate has no keys: write `accounts: {}` into its configuration.";
        return Err(Refused::conflict("accounts_off", message));
    };
    Ok(Desk::new(journal, accounts.default_unit))
}

/// A desk for one key, and the key's name.
fn at_key(api: &Api, ask: &Ask) -> Result<(Desk, String), Refused> {
    let key = ask.key(api)?;
    Ok((desk(api, ask, Subject::Key(key))?, key.to_string()))
}

pub(super) async fn list(api: &Api, ask: &Ask) -> Outcome {
    reply(&reader(api)?.list(&query(ask)).map_err(refusal)?)
}

fn query(ask: &Ask) -> KeyQuery {
    let text = |name: &str| ask.text(name).map(str::to_owned);
    KeyQuery {
        status: text("status"),
        plan: text("plan"),
        name_prefix: text("name_prefix"),
        tag: text("tag"),
        sandbox: ask.text("sandbox").map(|word| word == "true"),
        balance_min: ask.number("balance_min"),
        balance_max: ask.number("balance_max"),
        expires_before_ms: ask.number("expires_before_ms"),
        search: text("search"),
        sort: text("sort"),
        descending: ask.text("order") == Some("desc"),
        limit: ask.number("limit"),
        cursor: text("cursor"),
    }
}

pub(super) async fn get(api: &Api, ask: &Ask) -> Outcome {
    reply(&reader(api)?.get(ask.value()).map_err(refusal)?)
}

pub(super) async fn create(api: &Api, ask: &Ask) -> Outcome {
    let new: NewKey = ask.body()?;
    let id = ledger::KeyId(ask.name());
    let desk = desk(api, ask, Subject::Key(id))?.naming(id);
    reply(&desk.create(&new, false).await.map_err(refusal)?)
}

pub(super) async fn update(api: &Api, ask: &Ask) -> Outcome {
    let (desk, key) = at_key(api, ask)?;
    reply(&desk.update(&key, ask.body()?, false).await.map_err(refusal)?)
}

async fn step(api: &Api, ask: &Ask, step: KeyStep) -> Outcome {
    let (desk, key) = at_key(api, ask)?;
    reply(&desk.step(&key, step, false).await.map_err(refusal)?)
}

pub(super) async fn suspend(api: &Api, ask: &Ask) -> Outcome {
    step(api, ask, KeyStep::Suspend).await
}

pub(super) async fn resume(api: &Api, ask: &Ask) -> Outcome {
    step(api, ask, KeyStep::Resume).await
}

pub(super) async fn revoke(api: &Api, ask: &Ask) -> Outcome {
    step(api, ask, KeyStep::Revoke).await
}

pub(super) async fn rotate(api: &Api, ask: &Ask) -> Outcome {
    let ((desk, key), body) = (at_key(api, ask)?, ask.body::<RotateBody>()?);
    reply(&desk.rotate(&key, body.overlap_s, false).await.map_err(refusal)?)
}

pub(super) async fn clone(api: &Api, ask: &Ask) -> Outcome {
    let (key, body, id) = (ask.key(api)?, ask.body::<CloneAsk>()?, ledger::KeyId(ask.name()));
    let desk = desk(api, ask, Subject::Key(id))?.naming(id);
    reply(&desk.clone_key(&key.to_string(), &body, false).await.map_err(refusal)?)
}

pub(super) async fn note(api: &Api, ask: &Ask) -> Outcome {
    let body: NoteBody = ask.body()?;
    step(api, ask, KeyStep::Note(body.text)).await
}

pub(super) async fn unnote(api: &Api, ask: &Ask) -> Outcome {
    step(api, ask, KeyStep::Unnote(ask.item())).await
}

pub(super) async fn schedule(api: &Api, ask: &Ask) -> Outcome {
    let body: ScheduleBody = ask.body()?;
    step(api, ask, KeyStep::Schedule(body.at_ms, body.act)).await
}

pub(super) async fn unschedule(api: &Api, ask: &Ask) -> Outcome {
    step(api, ask, KeyStep::Unschedule(ask.item())).await
}

pub(super) async fn bulk(api: &Api, ask: &Ask) -> Outcome {
    let body: BulkBody = ask.body()?;
    let desk = desk(api, ask, Subject::Other("keys", format!("{} items", body.items.len())))?;
    reply(&Done { results: desk.bulk(&body.items, false).await.map_err(refusal)? })
}

pub(super) async fn import(api: &Api, ask: &Ask) -> Outcome {
    let body: ImportBody = ask.body()?;
    let (text, format) = match (&body.keys, body.csv) {
        (Some(keys), None) => (Value::from(keys.clone()).to_string(), Format::Json),
        (None, Some(csv)) => (csv, Format::Csv),
        _ => return Err(Refused::field("keys", "There are either `keys` or `csv`.")),
    };
    let desk = desk(api, ask, Subject::Other("keys", "import".to_owned()))?;
    reply(&Done { results: desk.import(&text, format, body.mode, false).await.map_err(refusal)? })
}

pub(super) async fn export(api: &Api, ask: &Ask) -> Outcome {
    let format = if ask.text("format") == Some("csv") { Format::Csv } else { Format::Json };
    let exported = reader(api)?.export(&query(ask), format).map_err(refusal)?;
    match format {
        Format::Csv => Ok(Reply::Csv(exported.text, exported.next)),
        Format::Json => {
            let keys: Value = serde_json::from_str(&exported.text).unwrap_or_default();
            Ok(Reply::Json(json!({ "keys": keys, "next": exported.next })))
        }
    }
}

fn refusal(error: DeskError) -> Refused {
    let refusal = match error {
        DeskError::Fault(fault) => return fault.into(),
        DeskError::Refused(refusal) => refusal,
    };
    let (status, field) = match refusal {
        KeyRefusal::UnknownKey | KeyRefusal::UnknownItem(_) => (StatusCode::NOT_FOUND, None),
        KeyRefusal::UnknownPlan => (StatusCode::NOT_FOUND, Some("plan")),
        KeyRefusal::UnknownTemplate => (StatusCode::NOT_FOUND, Some("template")),
        KeyRefusal::TooLong { .. } | KeyRefusal::TooMany { .. } | KeyRefusal::BadValue(_) => {
            (StatusCode::BAD_REQUEST, refusal.field())
        }
        KeyRefusal::AliasTaken
        | KeyRefusal::Exists
        | KeyRefusal::PlanInUse
        | KeyRefusal::Revoked
        | KeyRefusal::RotatedLately
        | KeyRefusal::NotItsSecret
        | KeyRefusal::NotUsable
        | KeyRefusal::Balance
        | KeyRefusal::OtherUnit => (StatusCode::CONFLICT, None),
    };
    let refused = Refused::new(status, refusal.code(), format!("Nothing was done: {refusal}."));
    match field {
        Some(field) => refused.about(field),
        None => refused,
    }
}
