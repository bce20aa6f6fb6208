//! What calls would cost, without running them.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Limited};
use protocol::print_decimal;
use proxy::{CleanPath, Incoming};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::arrived::Arrived;
use super::super::arriving::{Arriving, Seen};
use super::super::story::{Story, Told};
use super::super::{Front, OWN};
use super::holder::answer;
use super::price::{Purse, Unpriced};
use super::{Left, too_many};
use crate::accounts::{Knock, Principal, Unresolved};
use crate::host::now_ms;
use crate::limits::Key;
use crate::problem::Problem;
use crate::source;
use crate::telemetry::MoneyOutcome;

const BODY_MAX_BYTES: usize = 64 * 1024;
const BODY_WAIT: Duration = Duration::from_secs(10);
const CALLS_MAX: usize = 100;
const HEADERS_MAX: usize = 20;
/// Of an amount in millionths.
const MICRO_DECIMALS: u8 = 6;

/// One call, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Asked {
    Several(Several),
    One(AskedCall),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Several {
    calls: Vec<AskedCall>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedCall {
    #[serde(default = "get")]
    method: String,
    /// The path and query, or a URL that ends with them.
    url: String,
    /// Bytes of the body.
    #[serde(default)]
    size: u64,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// Whether a path of ours asks for quotes.
pub(in crate::front) fn is_quote(path: &CleanPath) -> bool {
    path.path().strip_prefix(OWN) == Some("/quote")
}

impl Front {
    /// Says what calls would cost. Nothing is held for them, and prices may be others when they come.
    pub(in crate::front) async fn quoted(&self, arrived: &Arrived, request: Request<Incoming>) -> Told<Bytes> {
        let story = Story::of(MoneyOutcome::Own);
        if request.method() != Method::POST {
            return story.with(Problem::method_not_allowed("POST"));
        }
        let (parts, body) = request.into_parts();
        let body = tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_MAX_BYTES).collect()).await;
        let Ok(Ok(body)) = body else { return story.with(bad("The body did not come, or has more than 64 KiB.")) };
        let Ok(asked) = serde_json::from_slice::<Asked>(&body.to_bytes()) else {
            return story
                .with(bad("Send { method, url, size, headers }, or { calls: [...] } with at most 100 of them."));
        };
        let (calls, is_one) = match asked {
            Asked::One(call) => (vec![call], true),
            Asked::Several(several) => (several.calls, false),
        };
        if calls.is_empty() || calls.len() > CALLS_MAX {
            return story.with(bad("One request asks for 1 to 100 calls."));
        }
        let principal = match self.asker(arrived, &parts.headers) {
            Ok(principal) => principal,
            Err(why) => return self.turned_away(arrived, story, why),
        };
        let mut quotes = Vec::with_capacity(calls.len());
        for call in &calls {
            // Each is a question as good as a call's own: a batch is no way around the limit.
            let taken = self.0.shared.limits.take(Key::Address(source::source(arrived.from)), now_ms());
            if let Some(taken) = taken.filter(|taken| !taken.allowed) {
                return too_many(taken);
            }
            quotes.push(self.quote_of(arrived, principal.as_deref(), call).await);
        }
        let mut response = match quotes.as_slice() {
            [one] if is_one => answer(one),
            quotes => answer(&json!({ "quotes": quotes })),
        };
        if let Some(left) = principal.as_deref().and_then(|principal| self.left_of(principal)) {
            left.put(response.headers_mut());
        }
        story.with(response)
    }

    /// Whoever asks, if he shows a key.
    fn asker(&self, arrived: &Arrived, headers: &HeaderMap) -> Result<Option<Rc<Principal>>, Unresolved> {
        let Some(directory) = &self.0.directory else { return Ok(None) };
        let target = format!("{OWN}/quote");
        let (from, now_ms) = (arrived.from, now_ms());
        directory.resolve(&Knock { headers, method: "POST", path: None, target: &target, from, now_ms })
    }

    fn left_of(&self, principal: &Principal) -> Option<Left> {
        let (row, available, _) = self.0.flow.journal.balance(principal.key, now_ms()).ok()??;
        Some(Left { unit: row.unit, available })
    }

    async fn quote_of(&self, arrived: &Arrived, principal: Option<&Principal>, call: &AskedCall) -> Value {
        let Some((uri, path)) = target(&call.url) else { return refused(call, "bad_url") };
        let Some(headers) = headers(call) else { return refused(call, "bad_headers") };
        let Ok(method) = call.method.to_ascii_uppercase().parse::<Method>() else { return refused(call, "bad_method") };
        let mut request = http::Request::new(());
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method.clone(), uri, headers);
        let (parts, ()) = request.into_parts();
        let position = arrived.plan.snapshot.position(method.as_str(), path.path());
        let seen = Seen::of(&arrived.plan, &parts, &path);
        let arriving = Arriving { method: method.as_str(), ..Arriving::of(arrived, position, &path, seen) };
        self.quote(&arriving).await;
        self.told(&arriving, principal, &parts.headers, call)
    }

    fn told(
        &self,
        arriving: &Arriving<'_>,
        principal: Option<&Principal>,
        headers: &HeaderMap,
        call: &AskedCall,
    ) -> Value {
        let snapshot = &arriving.plan.snapshot;
        match snapshot.quote(&arriving.call(None)) {
            gate::Quote::Free => return json!({ "method": call.method, "url": call.url, "outcome": "free" }),
            gate::Quote::Blocked => return refused(call, "blocked"),
            gate::Quote::Listed => return refused(call, "sign_in_required"),
            gate::Quote::Unknown => return refused(call, "unknown"),
            gate::Quote::Due(..) => {}
        }
        if principal.is_some_and(|principal| !principal.policy.may_call(arriving.method, arriving.path.path())) {
            return refused(call, "acl_denied");
        }
        let challenge = self.0.flow.challenge(snapshot, &arriving.call(None), None).unwrap_or_default();
        let mut quote = json!({
            "method": call.method,
            "url": call.url,
            "outcome": "priced",
            "route": arriving.route.map(|route| &route.id),
            "offers": challenge.to_v2()["accepts"],
        });
        if self.0.shared.accounts.is_none() {
            return quote;
        }
        let size = Some(call.size);
        let (listed, own) = (
            self.held(arriving, Purse::of_nobody(), headers, size),
            principal.map(|principal| (principal, self.held(arriving, Purse::of(principal, arriving), headers, size))),
        );
        let Ok((micros, meter, _)) = listed else { return refused(call, "unknown") };
        quote["price_usd"] = print_decimal(micros.into(), MICRO_DECIMALS).into();
        // What is known only after the run is at most this.
        quote["metered"] = meter.is_some().into();
        match own {
            None => quote,
            Some((_, Err(Unpriced::NotSold | Unpriced::LengthRequired | Unpriced::Fault(_)))) => {
                refused(call, "unknown")
            }
            Some((principal, Ok((amount, meter, _)))) => {
                let available = self.left_of(principal).map(|left| left.available);
                quote["metered"] = meter.is_some().into();
                quote["unit"] = principal.unit.code().into();
                quote["amount"] = amount.into();
                quote["available"] = available.into();
                // How many such calls the balance pays for; without end where they cost nothing.
                quote["affords"] = available.and_then(|available| available.checked_div(amount)).into();
                quote
            }
        }
    }
}

/// The path and query of what was asked about, whether they stand alone or in a URL.
fn target(url: &str) -> Option<(Uri, CleanPath)> {
    let uri: Uri = url.parse().ok()?;
    let path = CleanPath::parse(&uri).ok()?;
    Some((uri, path))
}

/// The headers that a price may read.
fn headers(call: &AskedCall) -> Option<HeaderMap> {
    if call.headers.len() > HEADERS_MAX {
        return None;
    }
    let one = |(name, value): (&String, &String)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    call.headers.iter().map(one).collect()
}

fn refused(call: &AskedCall, outcome: &str) -> Value {
    json!({ "method": call.method, "url": call.url, "outcome": outcome })
}

fn bad(message: &str) -> Response<Bytes> {
    use http::StatusCode;
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", message, protocol::MoneyState::Untouched).into_response()
}
