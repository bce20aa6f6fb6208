//! Balances: what there is, what is given and taken, and charges that are refunded.

use gate::Accounts as _;
use http::StatusCode;
use ledger::{ChargeRecord, ChargeState, ChargeStep, Grant, GrantId, GrantSource, HoldId, KeyId};
use serde::{Deserialize, Serialize};
use store::{GrantRefusal, Subject};
use utoipa::ToSchema;

use super::api::Api;
use super::ask::{Ask, future, read_id, reply, words};
use super::endpoint::Outcome;
use super::refused::Refused;
use crate::host::now_ms;

const AMOUNT_MAX: u64 = 1_000_000_000_000_000;
const LABEL_MAX_CHARS: usize = 100;
/// Grants of the operator are used after those that end or were given first.
const PRIORITY: u8 = 100;

/// A key's balance, in its unit: millionths of a dollar for `usd`, whole numbers for the others.
#[derive(Serialize, ToSchema)]
pub(super) struct Balance {
    key: String,
    unit: &'static str,
    /// What may be spent now.
    balance: u64,
    /// What calls that are running hold.
    held: u64,
    /// What was spent in all, less what was refunded.
    spent: u64,
    /// Calls that were charged for.
    calls: u64,
    /// Whether it may not pay.
    closed: bool,
    #[schema(required = true)]
    closes_at_ms: Option<u64>,
    /// When it last paid.
    #[schema(required = true)]
    used_at_ms: Option<u64>,
}

/// A part of a balance.
#[derive(Serialize, ToSchema)]
pub(super) struct GrantView {
    id: String,
    /// `operator`, `automatic`, `payment` or `transfer`.
    source: &'static str,
    /// The payment that bought it, or the key that gave it.
    #[schema(required = true)]
    source_id: Option<String>,
    label: String,
    /// Lower ones are used first.
    priority: u8,
    granted: u64,
    /// What is neither used nor held.
    left: u64,
    granted_at_ms: u64,
    #[schema(required = true)]
    expires_at_ms: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Grants {
    /// Oldest first, at most 1,000.
    grants: Vec<GrantView>,
}

/// What is given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantBody {
    #[schema(minimum = 1, maximum = 1_000_000_000_000_000_i64)]
    amount: u64,
    #[serde(default)]
    #[schema(max_length = 100)]
    label: String,
    /// Lower ones are used first; 100 where it is not said.
    #[serde(default = "priority")]
    priority: u8,
    /// From when on it may not be used.
    #[schema(minimum = 1)]
    expires_at_ms: Option<u64>,
}

const fn priority() -> u8 {
    PRIORITY
}

/// What was given, and what there is now.
#[derive(Serialize, ToSchema)]
pub(super) struct Granted {
    /// The grant's name.
    grant: String,
    key: String,
    unit: &'static str,
    balance: u64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WithdrawBody {
    #[schema(minimum = 1, maximum = 1_000_000_000_000_000_i64)]
    amount: u64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferBody {
    /// The key that gets it.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    to: String,
    #[schema(minimum = 1, maximum = 1_000_000_000_000_000_i64)]
    amount: u64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundBody {
    /// How much of what was taken is given back in all; everything where it is not said.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_000_i64)]
    amount: Option<u64>,
}

/// A call that was paid from a balance.
#[derive(Serialize, ToSchema)]
pub(super) struct ChargeView {
    id: String,
    key: String,
    unit: &'static str,
    route: String,
    /// What was held for it.
    amount: u64,
    /// `open`, `captured`, `released` or `burnt`.
    state: &'static str,
    /// What was taken.
    captured: u64,
    /// What of that was given back.
    refunded: u64,
    opened_at_ms: u64,
    /// What its caller books it under.
    #[schema(required = true)]
    tags: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Charges {
    /// Newest first.
    charges: Vec<ChargeView>,
    /// The cursor of the next page.
    #[schema(required = true)]
    next: Option<String>,
}

pub(super) async fn balance(api: &Api, ask: &Ask) -> Outcome {
    reply(&now(api, ask.key(api)?)?)
}

fn now(api: &Api, key: KeyId) -> Result<Balance, Refused> {
    let (row, balance, held) = api.journal.balance(key, now_ms())?.ok_or_else(|| Refused::unknown("key"))?;
    Ok(Balance {
        key: key.to_string(),
        unit: row.unit.code(),
        balance,
        held,
        spent: row.spent,
        calls: row.calls,
        closed: row.is_closed,
        closes_at_ms: row.closes_at_ms,
        used_at_ms: row.used_at_ms,
    })
}

pub(super) async fn grants(api: &Api, ask: &Ask) -> Outcome {
    let key = ask.key(api)?;
    now(api, key)?;
    reply(&Grants { grants: api.journal.grants(key)?.into_iter().map(view).collect() })
}

fn view(grant: Grant) -> GrantView {
    let (source, source_id) = match grant.source {
        GrantSource::Operator => ("operator", None),
        GrantSource::Automatic => ("automatic", None),
        GrantSource::Payment(id) => ("payment", Some(id.to_string())),
        GrantSource::Transfer(id) => ("transfer", Some(id.to_string())),
    };
    GrantView {
        id: grant.id.to_string(),
        source,
        source_id,
        label: grant.label,
        priority: grant.priority,
        granted: grant.granted,
        left: grant.left,
        granted_at_ms: grant.granted_at_ms,
        expires_at_ms: grant.expires_at_ms,
    }
}

pub(super) async fn grant(api: &Api, ask: &Ask) -> Outcome {
    let (key, body) = (ask.key(api)?, ask.body::<GrantBody>()?);
    amount(body.amount)?;
    words("label", &body.label, LABEL_MAX_CHARS)?;
    let now_ms = now_ms();
    future("expires_at_ms", body.expires_at_ms, now_ms)?;
    let id = GrantId(ask.name());
    let unit = account_unit(api, key)?;
    let grant = Grant {
        id,
        key,
        unit,
        source: GrantSource::Operator,
        label: body.label,
        priority: body.priority,
        granted: body.amount,
        left: body.amount,
        granted_at_ms: now_ms,
        expires_at_ms: body.expires_at_ms,
    };
    let balance = ask.noted(&api.journal, Subject::Key(key)).grant(grant).await?.map_err(refusal)?;
    reply(&Granted { grant: id.to_string(), key: key.to_string(), unit: unit.code(), balance })
}

pub(super) async fn withdraw(api: &Api, ask: &Ask) -> Outcome {
    let (key, body) = (ask.key(api)?, ask.body::<WithdrawBody>()?);
    amount(body.amount)?;
    ask.noted(&api.journal, Subject::Key(key)).withdraw(key, body.amount).await?.map_err(refusal)?;
    reply(&now(api, key)?)
}

pub(super) async fn transfer(api: &Api, ask: &Ask) -> Outcome {
    let (key, body) = (ask.key(api)?, ask.body::<TransferBody>()?);
    amount(body.amount)?;
    let wrong = || Refused::field("to", "This is a key's name of 32 hex digits in lower case, and not the giver's.");
    let to = read_id(&body.to).map(KeyId).filter(|to| *to != key).ok_or_else(wrong)?;
    let noted = ask.noted(&api.journal, Subject::Key(key));
    noted.transfer(key, to, body.amount, ask.name()).await?.map_err(refusal)?;
    reply(&now(api, key)?)
}

pub(super) async fn charges(api: &Api, ask: &Ask) -> Outcome {
    let key = ask.key(api)?;
    now(api, key)?;
    let rows = api.journal.charges(key, ask.number("cursor"), ask.limit())?;
    reply(&page(rows, ask.limit()))
}

/// A page of charges, and where the next one begins.
pub(super) fn page(rows: Vec<(u64, ChargeRecord)>, limit: u64) -> Charges {
    let is_full = u64::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().filter(|_| is_full).map(|(turn, _)| turn.to_string());
    Charges { charges: rows.into_iter().map(|(_, record)| charge_view(&record)).collect(), next }
}

pub(super) async fn charge(api: &Api, ask: &Ask) -> Outcome {
    let record = api.journal.charged(HoldId(ask.id()?)).await?.ok_or_else(|| Refused::unknown("charge"))?;
    reply(&charge_view(&record))
}

pub(super) async fn refund(api: &Api, ask: &Ask) -> Outcome {
    let (id, body) = (HoldId(ask.id()?), ask.body::<RefundBody>()?);
    let record = api.journal.charged(id).await?.ok_or_else(|| Refused::unknown("charge"))?;
    let ChargeState::Captured(taken) = record.state else {
        let message = "Nothing was taken for this call, so nothing can be given back.";
        return Err(Refused::conflict("not_captured", message));
    };
    let amount = body.amount.unwrap_or(taken);
    if amount == 0 || amount > taken {
        return Err(Refused::field("amount", format!("This is at most what was taken: {taken}.")));
    }
    if amount < record.refunded {
        return Err(Refused::conflict("already_refunded", format!("{} was given back already.", record.refunded)));
    }
    let noted = ask.noted(&api.journal, Subject::Key(record.charge.key));
    let after = noted.advance_charge(id, ChargeStep::Refund(amount)).await?;
    let (record, _) = after.ok_or_else(|| Refused::unknown("charge"))?;
    reply(&charge_view(&record))
}

pub(super) fn charge_view(record: &ChargeRecord) -> ChargeView {
    let (state, captured) = match record.state {
        ChargeState::Open => ("open", 0),
        ChargeState::Captured(taken) => ("captured", taken),
        ChargeState::Released(_) => ("released", 0),
        ChargeState::Burnt(_) => ("burnt", 0),
    };
    let charge = &record.charge;
    ChargeView {
        id: charge.id.to_string(),
        key: charge.key.to_string(),
        unit: charge.unit.code(),
        route: charge.route.clone(),
        amount: charge.amount,
        state,
        captured,
        refunded: record.refunded,
        opened_at_ms: charge.opened_at_ms,
        tags: charge.tags.clone(),
    }
}

impl ChargeView {
    /// The columns of a CSV file, and a row of it.
    pub(super) const COLUMNS: &str = "id,key,unit,route,amount,state,captured,refunded,opened_at_ms,tags";

    pub(super) fn cells(self) -> [String; 10] {
        [
            self.id,
            self.key,
            self.unit.to_owned(),
            self.route,
            self.amount.to_string(),
            self.state.to_owned(),
            self.captured.to_string(),
            self.refunded.to_string(),
            self.opened_at_ms.to_string(),
            self.tags.unwrap_or_default(),
        ]
    }
}

fn account_unit(api: &Api, key: KeyId) -> Result<ledger::Unit, Refused> {
    let found = api.journal.balance(key, now_ms())?;
    found.map(|(row, _, _)| row.unit).ok_or_else(|| Refused::unknown("key"))
}

fn amount(amount: u64) -> Result<(), Refused> {
    if !(1..=AMOUNT_MAX).contains(&amount) {
        return Err(Refused::field("amount", format!("This is a whole number from 1 to {AMOUNT_MAX}.")));
    }
    Ok(())
}

pub(super) fn refusal(refusal: GrantRefusal) -> Refused {
    match refusal {
        GrantRefusal::NoAccount => Refused::unknown("key"),
        GrantRefusal::Short => Refused::conflict("insufficient_balance", "The balance has less. Nothing was moved."),
        GrantRefusal::OtherUnit => {
            Refused::conflict("other_unit", "The keys count in different units. Nothing was moved.")
        }
        GrantRefusal::TooMuch => {
            let message = "The balance would be larger than 1,000,000,000,000,000. Nothing was given.";
            Refused::new(StatusCode::CONFLICT, "balance_too_large", message)
        }
    }
}
