//! `POST /__pay/topup`: a payment that raises the balance of whoever shows his key. One settlement, one grant.

use std::rc::Rc;

use alloy_primitives::hex;
use bytes::Bytes;
use gate::{Answer, Call, Closed, Journal as _, Opened, Outcome, Permit, Replay, Standing};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use ledger::{HoldId, Purchase};
use protocol::x402::{Challenge, Receipt, Resource};
use protocol::{MoneyState, Payer, Settled, parse_decimal, print_decimal};
use proxy::{CleanPath, Incoming};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::super::arrived::Arrived;
use super::super::own::{PICKUP, TOP_UP};
use super::super::request::{Shown, resource_url};
use super::super::story::{Story, Told};
use super::super::{BODY_WAIT, Front};
use super::{Left, denied};
use crate::accounts::{Knock, Principal, Unresolved};
use crate::host::{WorkerHost, now_ms};
use crate::limits::Key;
use crate::plan::TopUp;
use crate::problem::{self, Problem};
use crate::source;
use crate::telemetry::MoneyOutcome;

/// No request says more.
const BODY_MAX_BYTES: usize = 4_096;
const MICRO_DECIMALS: u8 = 6;

/// What is asked for: by whom, and how much.
struct Asked {
    principal: Rc<Principal>,
    micros: u64,
    shown: Shown,
    url: String,
}

impl Front {
    /// Says what would raise a balance by an amount, or takes the payment that does.
    pub(in crate::front) async fn top_up(
        &self,
        arrived: &Arrived,
        request: Request<Incoming>,
        path: &CleanPath,
    ) -> Told<Bytes> {
        if *request.method() != Method::POST {
            return Story::of(MoneyOutcome::Own).with(Problem::method_not_allowed("POST"));
        }
        let Some(top_up) = &arrived.plan.top_up else {
            return Story::of(MoneyOutcome::Own).with(Problem::not_found().into_response());
        };
        let from = source::source(arrived.from);
        if let Some(taken) = self.0.shared.limits.take(Key::Verification(from), now_ms()).filter(|taken| !taken.allowed)
        {
            let story = Story { taken: Some(taken), ..Story::of(MoneyOutcome::RateLimited) };
            return story.with(Problem::too_many(taken.retry_after_s).into_response());
        }
        match self.wanted(arrived, request, path, top_up).await {
            Ok(asked) => Box::pin(self.topped_up(arrived, top_up, asked)).await,
            Err(told) => *told,
        }
    }

    /// Reads who asks for how much.
    async fn wanted(
        &self,
        arrived: &Arrived,
        request: Request<Incoming>,
        path: &CleanPath,
        top_up: &TopUp,
    ) -> Result<Asked, Box<Told<Bytes>>> {
        let (parts, body) = request.into_parts();
        let refused = |problem: Problem| Box::new(Story::of(MoneyOutcome::BadRequest).with(problem.into_response()));
        let principal = match self.holder_of(arrived, &parts.headers, path) {
            Ok(Some(principal)) => principal,
            Ok(None) => {
                let missing = denied(gate::Denial::MissingApiKey).into_response();
                return Err(Box::new(Story::of(MoneyOutcome::Denied).with(missing)));
            }
            Err(Unresolved::Denied(denial, _)) => {
                let story = Story::of(MoneyOutcome::Denied).because(denial.code());
                return Err(Box::new(story.with(denied(denial).into_response())));
            }
            Err(Unresolved::Fault(fault)) => {
                let story = Story::of(MoneyOutcome::Fault).because(fault.code());
                return Err(Box::new(story.with(Problem::fault(fault).into_response())));
            }
        };
        if principal.sandbox {
            let message = "A key of the sandbox moves no money: its balance takes no payments. Nothing was charged.";
            let problem = Problem::new(StatusCode::FORBIDDEN, "sandbox_key", message, MoneyState::Untouched);
            return Err(refused(problem));
        }
        let text = match of_query(path.query().unwrap_or_default()) {
            Some(text) => text,
            None => of_body(body).await.map_err(refused)?,
        };
        let bad = |what: String| {
            let (least, most) = (dollars(top_up.least_micros), dollars(top_up.most_micros));
            let message =
                format!("amount {what}: write dollars from {least} to {most}, such as 5usd. Nothing was charged.");
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_amount", message, MoneyState::Untouched);
            refused(problem.with("field", "amount").with("min", least).with("max", most))
        };
        let Some(micros) = parse_amount(&text) else { return Err(bad("is not an amount of dollars".to_owned())) };
        if !(top_up.least_micros..=top_up.most_micros).contains(&micros) {
            return Err(bad("is out of bounds".to_owned()));
        }
        if top_up.units(micros, principal.unit) == 0 {
            return Err(bad("buys nothing of this balance's unit".to_owned()));
        }
        let url = resource_url(&arrived.plan, &parts, path);
        // One form for each amount: the same payment is for the same request, however it was written.
        let origin = url.split_at(url.find(path.path()).unwrap_or_default()).0;
        let url = format!("{origin}{TOP_UP}?amount={}usd", dollars(micros));
        Ok(Asked { principal, micros, shown: Shown::of(&parts.headers), url })
    }

    fn holder_of(
        &self,
        arrived: &Arrived,
        headers: &HeaderMap,
        path: &CleanPath,
    ) -> Result<Option<Rc<Principal>>, Unresolved> {
        let Some(directory) = &self.0.directory else { return Ok(None) };
        directory.resolve(&Knock {
            headers,
            method: "POST",
            path: None,
            target: &path.path_and_query(),
            from: arrived.from,
            now_ms: now_ms(),
        })
    }

    /// The same flow as for any call, with a run that cannot fail.
    async fn topped_up(&self, arrived: &Arrived, top_up: &TopUp, asked: Asked) -> Told<Bytes> {
        let Asked { principal, micros, shown, url } = asked;
        let story = Story::of(MoneyOutcome::Own);
        let Some(offered) = top_up.asked(micros, principal.key, principal.unit) else {
            let message = "No token of this gate can say this amount exactly. Nothing was charged.";
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_amount", message, MoneyState::Untouched);
            return story.with(problem.with("field", "amount").into_response());
        };
        let snapshot = offered.snapshot;
        let call = Call {
            method: "POST",
            path: TOP_UP,
            url: &url,
            presented: shown.presented(),
            // The payment itself says which top-up it is.
            idempotency: None,
            source: source::source(arrived.from),
            route: snapshot.routes.first(),
            quoted: &[],
            signed_in: None,
        };
        let paces = |payer: Payer, standing: Standing| {
            let trusted = standing.settled && !standing.risky;
            let key = if trusted { Key::Trusted(payer) } else { Key::Payer(payer) };
            self.0.shared.limits.take(key, now_ms()).is_none_or(|taken| taken.allowed)
        };
        match self.0.flow.open(&snapshot, &call, paces).await {
            Opened::Permit(permit) => self.settle_top_up(permit, &principal, &url).await,
            Opened::Replay(Replay::Bought { hold, purchase, settled }) => {
                self.raised(&principal, hold, &purchase, settled, &url).await
            }
            Opened::Replay(Replay::Stored { hold, receipt: Receipt::Settled(settled) }) => {
                match self.0.flow.journal.payment(hold).await.map(|record| record.and_then(|record| record.hold.buys)) {
                    Ok(Some(purchase)) => self.raised(&principal, hold, &purchase, settled, &url).await,
                    Ok(None) => story.with(Problem::replay(Replay::Conflict(MoneyState::Moved)).into_response()),
                    Err(fault) => story.because(fault.code()).with(Problem::fault(fault).into_response()),
                }
            }
            Opened::Challenge { refusal } => {
                let challenge = self.0.flow.challenge(&snapshot, &call, refusal).unwrap_or_default();
                let description = Some(format!("Raises the balance of key {} by ${}.", principal.key, dollars(micros)));
                let resource = Resource { url: url.clone(), description, mime_type: None };
                let outcome = if refusal.is_some() { MoneyOutcome::Refused } else { MoneyOutcome::Offered };
                let challenge = Challenge { resource, ..challenge };
                let mut response = Problem::challenge(challenge, refusal).into_response();
                self.put_left(principal.key, response.headers_mut());
                Story { reason: refusal.map(protocol::Refusal::code), ..Story::of(outcome) }.with(response)
            }
            Opened::TooMany => Story::of(MoneyOutcome::RateLimited).with(Problem::too_many(1).into_response()),
            Opened::Replay(Replay::Pending(receipt)) => {
                Story::of(MoneyOutcome::Pending).with(Problem::pending(receipt, None).into_response())
            }
            Opened::Replay(replay) => Story::of(MoneyOutcome::Replayed).with(Problem::replay(replay).into_response()),
            Opened::Fault(fault) => {
                warn!(%fault, "a top-up could not be taken");
                Story::of(MoneyOutcome::Fault).because(fault.code()).with(Problem::fault(fault).into_response())
            }
            // It has a price and covers its path.
            Opened::Free(_) | Opened::Blocked | Opened::SignIn => story.with(Problem::not_found().into_response()),
        }
    }

    /// Moves the money in a task that no connection owns. What it bought is there when it has moved, whoever is left to be told.
    async fn settle_top_up(&self, permit: Permit<WorkerHost>, principal: &Principal, url: &str) -> Told<Bytes> {
        let bought = permit.hold().and_then(|hold| Some((hold.clone(), hold.buys.clone()?)));
        let Some((hold, purchase)) = bought else {
            return Story::of(MoneyOutcome::Fault).with(Problem::replay(Replay::Burnt).into_response());
        };
        let story = Story::of(MoneyOutcome::NotCharged).about(&hold);
        let (front, kept) = (self.clone(), kept(hold.id, &purchase));
        let named = hold.idempotency.is_some();
        let closed = self.0.tasks.spawn(async move {
            let closed = front.0.flow.close(permit, Outcome::Served { reading: None }).await;
            // Whoever has a pick-up code, or named the payment, may ask for its answer.
            if matches!(closed, Closed::Pending { .. }) || (named && matches!(closed, Closed::Settled(_))) {
                match front.0.flow.journal.keep_answer(hold.id, kept).await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => front.0.flow.answer_broke(hold.id).await,
                }
            }
            closed
        });
        let lost = gate::Fault { kind: gate::FaultKind::Settlement, money: MoneyState::Unknown };
        let problem = |outcome, problem: Problem| Story { outcome, ..story }.with(problem.into_response());
        match closed.await.unwrap_or(Closed::Fault(lost)) {
            Closed::Settled(settled) => {
                let (key, payment) = (principal.key, story.hold.unwrap_or(HoldId([0; 16])));
                info!(hold = %payment, %key, payer = %settled.payer, amount_atomic = settled.amount.atomic,
                    chain_tx = %settled.chain_tx, "a balance was raised");
                let Told { response, .. } = self.raised(principal, payment, &purchase, settled, url).await;
                Story { outcome: MoneyOutcome::Settled, ..story }.with(response)
            }
            Closed::Pending { pickup, receipt, .. } => {
                let url = format!("{PICKUP}{}", hex::encode(pickup));
                problem(MoneyOutcome::Pending, Problem::pending(receipt, Some(url)))
            }
            Closed::Refused { refusal, receipt } => {
                problem(MoneyOutcome::Refused, Problem::settlement_refused(None, refusal, receipt))
            }
            Closed::Fault(fault) => problem(MoneyOutcome::Fault, Problem::fault(fault)),
            Closed::Held(_) | Closed::NothingDue => problem(MoneyOutcome::NotCharged, Problem::replay(Replay::Burnt)),
        }
    }

    /// The answer to a payment that has raised a balance: now, or before, which is the same. Whoever shows another key learns nothing.
    async fn raised(
        &self,
        principal: &Principal,
        payment: HoldId,
        purchase: &Purchase,
        settled: Settled,
        url: &str,
    ) -> Told<Bytes> {
        let story = Story { hold: Some(payment), payer: Some(settled.payer), ..Story::of(MoneyOutcome::Replayed) };
        if purchase.key != principal.key {
            return story.with(Problem::replay(Replay::Conflict(MoneyState::Moved)).into_response());
        }
        let left = match self.0.flow.journal.balance(principal.key, now_ms()) {
            Ok(Some((_, available, _))) => Some(Left { unit: purchase.unit, available }),
            // The money has moved and the grant is written; the balance can be asked for later.
            Ok(None) | Err(_) => None,
        };
        let mut body = said(payment, purchase);
        body["available"] = left.map_or(Value::Null, |left| left.available.into());
        body["transaction"] = settled.chain_tx.to_string().into();
        let mut response = super::holder::answer(&body);
        left.iter().for_each(|left| left.put(response.headers_mut()));
        let receipt = Receipt::Settled(settled);
        let extensions = self.0.shared.sign_receipt(&receipt, url).await;
        problem::receipts(response.headers_mut(), &receipt, extensions);
        story.with(response)
    }
}

/// What a payment has bought.
fn said(payment: HoldId, purchase: &Purchase) -> Value {
    json!({
        "key": purchase.key.to_string(),
        "grant": payment.to_string(),
        "payment": payment.to_string(),
        "granted": purchase.amount,
        "unit": purchase.unit.code(),
    })
}

/// The same as an answer to be fetched.
fn kept(payment: HoldId, purchase: &Purchase) -> Answer {
    let headers = vec![(CONTENT_TYPE.as_str().to_owned(), b"application/json".to_vec())];
    Answer { status: 200, headers, body: said(payment, purchase).to_string().into_bytes(), request_digest: None }
}

fn dollars(micros: u64) -> String {
    print_decimal(u128::from(micros), MICRO_DECIMALS)
}

/// `5usd`, `$5`, `5` and `5.00 USD` are five dollars, in millionths. What is finer than a millionth is none.
fn parse_amount(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_prefix('$').unwrap_or(text);
    let ends_usd = text.len().checked_sub(3).and_then(|at| text.split_at_checked(at));
    let number =
        ends_usd.filter(|(_, end)| end.eq_ignore_ascii_case("usd")).map_or(text, |(number, _)| number.trim_end());
    u64::try_from(parse_decimal(number, MICRO_DECIMALS).ok()?).ok()
}

/// The amount as the query says it.
fn of_query(query: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(name, _)| *name == "amount")?;
    Some(percent_encoding::percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
}

/// The amount as a body of JSON says it: `{"amount": "5usd"}`.
async fn of_body(body: Incoming) -> Result<String, Problem> {
    let bad = |status, code, message: &str| {
        Problem::new(status, code, message, MoneyState::Untouched).with("field", "amount")
    };
    let read = tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_MAX_BYTES).collect()).await;
    let Ok(Ok(read)) = read else {
        return Err(bad(StatusCode::BAD_REQUEST, "bad_body", "The body is longer than 4 KiB, or broke off."));
    };
    let body: Option<Value> = serde_json::from_slice(&read.to_bytes()).ok();
    let amount = body.as_ref().and_then(|body| body.get("amount")?.as_str());
    let message = "Say how much, in the query (?amount=5usd) or as JSON ({\"amount\": \"5usd\"}). Nothing was charged.";
    amount.map(str::to_owned).ok_or_else(|| bad(StatusCode::BAD_REQUEST, "bad_amount", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, want) in [
            ("5usd", Some(5_000_000)),
            ("5", Some(5_000_000)),
            ("$5", Some(5_000_000)),
            (" 5.25 USD ", Some(5_250_000)),
            ("0.000001", Some(1)),
            ("0.0000001", None),
            ("", None),
            ("usd", None),
            ("-5", None),
            ("5eur", None),
            ("1e3", None),
            ("99999999999999999999", None),
            ("\u{665}usd", None),
        ] {
            assert_eq!(parse_amount(text), want, "{text}");
        }
        assert_eq!(of_query("a=b&amount=%245.00").as_deref(), Some("$5.00"));
        assert_eq!(of_query("amounts=5"), None);
    }
}
