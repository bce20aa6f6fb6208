//! What a call costs the holder of a key: before it is run, and by its reading after.

use std::sync::Arc;

use bytes::Bytes;
use gate::price::{Asked, Cost, KeyTerms, Meter, Tariff, Volume, units};
use gate::{AccountCall, Fault, FaultKind, Opened, Quote};
use http::header::{ACCEPT_ENCODING, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Body as _;
use ledger::{Guards, KeyId, Unit};
use protocol::MoneyState;
use tracing::error;

use super::super::request::Forward;
use super::super::story::Told;
use super::super::upload::Upload;
use super::super::{Arriving, Front};
use crate::accounts::Principal;
use crate::host::now_ms;
use crate::problem::Problem;

/// What the size of the answer, and what the upstream reported, have added to the price, where that is known with the head.
pub(super) const SURCHARGE: HeaderName = HeaderName::from_static("x-output-surcharge");

/// What is held for a call, in its holder's unit.
#[derive(Debug)]
pub(super) struct Due {
    /// By whom, and how much.
    pub(super) account: AccountCall,
    /// Counts what of it is due, where only the answer can tell.
    pub(super) meter: Option<Meter>,
}

/// Why a call has no price.
#[derive(Debug)]
pub(super) enum Unpriced {
    /// Nothing is sold here.
    NotSold,
    /// The price rests on the size of the body, and nobody says it.
    LengthRequired,
    /// The formula has none, or the journal cannot be read.
    Fault(Fault),
}

/// Whose balance a price is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purse {
    /// `None` for nobody's: what the list says.
    key: Option<KeyId>,
    unit: Unit,
    terms: KeyTerms,
}

impl Purse {
    /// What the list says, in dollars.
    pub(super) fn of_nobody() -> Self {
        Self { key: None, unit: Unit::Usd, terms: KeyTerms::default() }
    }

    /// A holder's, for one call: with what the plan of his key makes of its price.
    pub(super) fn of(principal: &Principal, arriving: &Arriving<'_>) -> Self {
        let policy = &principal.policy;
        let own = policy.price(arriving.method, arriving.path.path());
        let listed = KeyTerms::default().multiplier_millionths;
        let terms = KeyTerms {
            multiplier_millionths: policy.price_multiplier.map_or(listed, |multiplier| multiplier.millionths()),
            fixed: own.map(|rule| rule.amount.unwrap_or_default()),
        };
        Self { key: Some(principal.key), unit: principal.unit, terms }
    }
}

impl Front {
    /// What a call costs its holder.
    pub(super) fn due(
        &self,
        arriving: &Arriving<'_>,
        principal: &Principal,
        headers: &HeaderMap,
        size: Option<u64>,
    ) -> Result<Due, Unpriced> {
        let (amount, meter, listed_micros) = self.held(arriving, Purse::of(principal, arriving), headers, size)?;
        let credit_micros = self.0.shared.accounts.map_or(0, |accounts| accounts.credit_micros);
        let account = account_call(principal, amount, credit_micros, listed_micros);
        Ok(Due { account, meter })
    }

    /// How much is held of a balance for a call, by what it is counted, and what the list says of it, in millionths of a dollar.
    pub(super) fn held(
        &self,
        arriving: &Arriving<'_>,
        purse: Purse,
        headers: &HeaderMap,
        size: Option<u64>,
    ) -> Result<(u64, Option<Meter>, u64), Unpriced> {
        let call = arriving.call(None);
        let Quote::Due(_, terms) = arriving.plan.snapshot.quote(&call) else { return Err(Unpriced::NotSold) };
        let accounts = self.0.shared.accounts.as_ref().ok_or(Unpriced::NotSold)?;
        let route = arriving.route_plan;
        let Some(tariff) = route.and_then(|route| route.tariff.as_ref()) else {
            let cost = Cost { micros: terms.exposure_micros, credits: route.and_then(|route| route.credits) };
            return Ok((units(cost, purse.unit, accounts.credit_micros, purse.terms), None, cost.micros));
        };
        let asked = self.facts(arriving, purse.key, tariff, headers, size)?;
        let meter = Meter::new(Arc::clone(tariff), asked, purse.unit, accounts.credit_micros, purse.terms);
        let held = meter.held().and_then(|held| Ok((held, meter.listed()?.micros)));
        let (held, listed_micros) = held.map_err(|why| {
            error!(route = arriving.route.map_or("", |route| &route.id), %why, "a call has no price");
            Unpriced::Fault(Fault::untouched(FaultKind::Price))
        })?;
        Ok((held, Some(meter).filter(Meter::is_metered), listed_micros))
    }

    /// What a tariff asks about a call before it is run.
    fn facts(
        &self,
        arriving: &Arriving<'_>,
        key: Option<KeyId>,
        tariff: &Tariff,
        headers: &HeaderMap,
        size: Option<u64>,
    ) -> Result<Asked, Unpriced> {
        if tariff.needs_size() && size.is_none() {
            return Err(Unpriced::LengthRequired);
        }
        let at_ms = now_ms();
        let volume = match key.filter(|_| tariff.needs_volume()) {
            Some(key) => self.0.flow.journal.month_of(key, at_ms).map_err(Unpriced::Fault)?,
            None => Volume::default(),
        };
        let value = |name: &String| {
            headers.get(name.as_str()).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Ok(Asked {
            method: arriving.method.to_owned(),
            path: arriving.path.path().to_owned(),
            query: arriving.path.query().unwrap_or_default().to_owned(),
            headers: tariff.headers.iter().map(value).collect(),
            size: size.unwrap_or_default(),
            at_ms,
            volume,
        })
    }

    /// What a caller reads whose call has no price. The upstream was not run.
    pub(super) async fn unpriced(&self, arriving: &Arriving<'_>, why: Unpriced) -> Told<Bytes> {
        let opened = match why {
            Unpriced::LengthRequired => return arriving.invalid(length_required()),
            Unpriced::Fault(fault) => Opened::Fault(fault),
            Unpriced::NotSold => match arriving.plan.snapshot.quote(&arriving.call(None)) {
                Quote::Unknown => Opened::Fault(Fault::untouched(FaultKind::Price)),
                Quote::Listed => Opened::SignIn,
                Quote::Free | Quote::Blocked | Quote::Due(..) => Opened::Blocked,
            },
        };
        self.refused(arriving, opened).await
    }
}

/// What is asked of a balance. In dollars it is what the balance gives; a call of a pass is worth `listed_micros`.
fn account_call(principal: &Principal, amount: u64, credit_micros: u64, listed_micros: u64) -> AccountCall {
    let (key, unit) = (principal.key, principal.unit);
    let micros = match unit {
        Unit::Usd => amount,
        Unit::Credit => amount.saturating_mul(credit_micros),
        Unit::Call => listed_micros,
    };
    AccountCall { key, unit, amount, micros, tags: None, guards: Guards::default() }
}

fn length_required() -> Problem {
    let message = "The price of this call rests on the size of its body: send Content-Length. Nothing was charged.";
    Problem::new(StatusCode::LENGTH_REQUIRED, "length_required", message, MoneyState::Untouched)
}

/// How many bytes the body of a request has, where that is known before it comes.
pub(super) fn size_of(upload: &Upload) -> Option<u64> {
    upload.size_hint().exact()
}

/// The upstream's words are read on their way: they come whole, and in no coding.
pub(super) fn read_plainly(forward: &mut Forward) {
    forward.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    forward.headers.remove(RANGE);
    forward.headers.remove(IF_RANGE);
}
