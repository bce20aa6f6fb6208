//! A sidecar's answers: another proxy asks whether a call is paid for, and passes it on itself. What the upstream answers is not
//! seen here, so the price is due with the check; a proxy that sees the answer may report it and have the price given back.

use std::rc::Rc;

use alloy_primitives::hex;
use bytes::Bytes;
use gate::{Closed, Host as _, Opened, Outcome, Permit, Unpaid};
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use ledger::{HoldId, Rail, Step};
use percent_encoding::percent_decode_str;
use protocol::MoneyState;
use protocol::x402::Receipt;
use proxy::{CleanPath, Incoming};
use serde_json::Value;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::account::X_PAYMENT_PASS;
use super::answer::{Body, full};
use super::arrived::Arrived;
use super::arriving::Seen;
use super::story::{Story, Told};
use super::trust::Word;
use super::{Arriving, Front};
use crate::host::{WorkerHost, now_ms};
use crate::problem::{self, Problem};
use crate::telemetry::MoneyOutcome;

/// Where the outcome of a checked call is reported.
pub(super) const OUTCOME: &str = "/__pay/outcome";
const CHECK: &str = "/__pay/check";
/// The names by which proxies say what was asked for, the first that is there counts.
const URIS: [HeaderName; 2] = [HeaderName::from_static("x-original-uri"), HeaderName::from_static("x-forwarded-uri")];
const METHODS: [HeaderName; 2] =
    [HeaderName::from_static("x-original-method"), HeaderName::from_static("x-forwarded-method")];
/// The payment's name, with a tag that makes it ours: whoever has it may report the outcome.
pub(super) const HOLD: HeaderName = HeaderName::from_static("x-pay-hold");
const REPORT_MAX_BYTES: usize = 4 * 1024;

/// What follows the path of a check, as it came: nothing, or the path and query that are asked about.
pub(super) fn beneath(uri: &Uri) -> Option<&str> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(CHECK)?;
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
}

/// Whether a target is in its normal form, but for escapes. A proxy passes on what came and not our form of it: an upstream that
/// leaves dots and slashes as they are would run another path than the one that was priced.
pub(super) fn is_normal(uri: &Uri, path: &CleanPath) -> bool {
    percent_decode_str(uri.path()).eq(percent_decode_str(path.path()))
}

/// The answer to a target that is not.
pub(super) fn not_normal() -> Problem {
    let message = "The path has dot segments or empty segments, which not every server reads alike.";
    Problem::new(StatusCode::BAD_REQUEST, "path_not_normal", message, MoneyState::Untouched)
}

impl Front {
    /// Says whether a call is paid for, and charges for it if it is.
    pub(super) async fn check(&self, arrived: &Arrived, request: Request<Incoming>, beneath: String) -> Told<Body> {
        let bad = |problem: Problem| Story::of(MoneyOutcome::BadRequest).with(full(problem.into_response()));
        // Envoy asks with the method that it was asked with, so each is as good as another.
        let (parts, _) = request.into_parts();
        let first = |names: &[HeaderName]| {
            let value = names.iter().find_map(|name| parts.headers.get(name).filter(|value| !value.is_empty()));
            value.map(|value| value.to_str().map(str::to_owned))
        };
        let (Ok(target), Ok(method)) = (first(&URIS).transpose(), first(&METHODS).transpose()) else {
            return bad(bad_request("The original URI or method is not plain text."));
        };
        let target = target.unwrap_or_else(|| if beneath.starts_with('/') { beneath } else { "/".to_owned() });
        let method = method.unwrap_or_else(|| "GET".to_owned());
        let Ok(uri) = target.parse::<Uri>() else { return bad(bad_request("The original URI is not one.")) };
        let forwarded = uri.path_and_query().map_or("/", |target| target.as_str());
        let path = match CleanPath::parse(&uri) {
            // What follows a `#` is no part of the URI, but of what is passed on.
            Ok(path) if is_normal(&uri, &path) && target.ends_with(forwarded) => path,
            Ok(_) => return bad(not_normal()),
            Err(refusal) => return bad(Problem::bad_path(refusal)),
        };
        let position = arrived.plan.snapshot.position(&method, path.path());
        let seen = Seen::of(&arrived.plan, &parts, &path);
        let arriving = Arriving { method: &method, ..Arriving::of(arrived, position, &path, seen) };
        let asked = method.parse().unwrap_or(Method::GET);
        if let Some(told) = self.before_the_flow(&arriving, &asked, &parts.headers) {
            return told.full();
        }
        if let Err(refused) = arriving.query_fits() {
            return refused.full();
        }
        let unasked = self.unasked(&arriving);
        if unasked.is_none()
            && let Some(told) = Box::pin(self.check_prepaid(&arriving, &parts.headers, forwarded)).await
        {
            return told.full();
        }
        let opened = match unasked {
            Some(opened) => opened,
            None => self.open(&arriving).await,
        };
        let mut told = match opened {
            Opened::Permit(permit) => self.charge_unseen(&arriving, forwarded, permit).await,
            Opened::Free(pass) => {
                let word = match pass.why() {
                    Unpaid::Free => Some(Word::free()),
                    why => Word::unpaid(why),
                };
                let story = Story { taken: arriving.taken.get(), ..Story::unpaid(pass.why()) };
                story.with(self.allow(&arriving, forwarded, word.as_ref()))
            }
            // A proxy has no answer to give out again.
            Opened::Replay(gate::Replay::Stored { receipt, .. }) => {
                let problem = Problem::replay(gate::Replay::AlreadyServed(receipt));
                Story::of(MoneyOutcome::Replayed).with(problem.into_response())
            }
            other => self.refused(&arriving, other).await,
        };
        told.response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        told.full()
    }

    /// The upstream's answer will not be seen: the price is due now.
    async fn charge_unseen(&self, arriving: &Arriving<'_>, target: &str, permit: Permit<WorkerHost>) -> Told<Bytes> {
        let fault = |problem: Problem| Story::of(MoneyOutcome::Fault).with(problem.into_response());
        let Some(hold) = permit.hold().cloned() else { return fault(Problem::replay(gate::Replay::Burnt)) };
        let authorization = &hold.authorization;
        // What has moved is owed back until the answer is made: a proxy that left meanwhile passes nothing on.
        let (receipt, prepaid) = match hold.rail {
            Rail::Direct => match self.prepay(permit).await {
                Ok(prepaid) => (Receipt::Settled(*prepaid.settled()), Some(prepaid)),
                Err(closed) => return self.not_prepaid(arriving, closed).await,
            },
            Rail::Tab => match self.put_on_tab(permit, hold.id).await {
                Closed::Held(receipt) => (receipt, None),
                other => return self.not_prepaid(arriving, other).await,
            },
        };
        info!(hold = %hold.id, route = hold.route, payer = %authorization.key.payer,
            amount_atomic = authorization.amount_atomic, "checked and charged");
        let word = Word::paid(authorization.key.payer, authorization.amount_atomic, hold.rail, hold.id);
        let mut response = self.allow(arriving, target, Some(&word));
        let extensions = self.0.shared.sign_receipt(&receipt, &arriving.url).await;
        problem::receipts(response.headers_mut(), &receipt, extensions);
        response.headers_mut().insert(HOLD, self.named(hold.id));
        if let Some(pass) = self.pass_of(arriving.plan, &hold) {
            response.headers_mut().insert(X_PAYMENT_PASS, pass);
        }
        if let Some(mut prepaid) = prepaid {
            prepaid.served();
        }
        let outcome = if hold.rail == Rail::Tab { MoneyOutcome::ServedTab } else { MoneyOutcome::ServedSettled };
        Story { taken: arriving.taken.get(), ..Story::of(outcome) }.about(&hold).with(response)
    }

    /// Puts a call on the tab in a task that no connection owns. A proxy that leaves meanwhile passes nothing on: its price is
    /// given back.
    async fn put_on_tab(&self, mut permit: Permit<WorkerHost>, hold: HoldId) -> Closed {
        let flow = Rc::clone(&self.0.flow);
        let (tell, told) = oneshot::channel();
        self.0.tasks.spawn(async move {
            let closed = match flow.answer(&mut permit).await {
                Ok(_) => flow.close(permit, Outcome::Unseen).await,
                // Whether it was written is not known: burnt either way, for nothing is passed on.
                Err(fault) => {
                    flow.close(permit, Outcome::Broken { reading: None }).await;
                    Closed::Fault(fault)
                }
            };
            if tell.send(closed).is_err() {
                flow.host.later(hold, Step::TakeBack);
            }
        });
        let lost = gate::Fault { kind: gate::FaultKind::Journal, money: MoneyState::Unknown };
        told.await.unwrap_or(Closed::Fault(lost))
    }

    /// The name by which a proxy may report on a call.
    pub(super) fn named(&self, hold: HoldId) -> HeaderValue {
        let name = hold.to_string();
        let named = format!("{name}.{}", self.0.shared.names.tag(name.as_bytes()));
        HeaderValue::try_from(named).expect("hex is plain text")
    }

    /// `target` is what the proxy passes on, byte for byte.
    pub(super) fn allow(&self, arriving: &Arriving<'_>, target: &str, word: Option<&Word>) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        if let Some(word) = word {
            let key = self.0.shared.trust.as_ref();
            word.put(response.headers_mut(), key, now_ms() / 1_000, arriving.method, target);
        }
        response
    }

    /// Takes a proxy's report of how a checked call ended.
    pub(super) async fn outcome(&self, request: Request<Incoming>) -> Response<Body> {
        if *request.method() != Method::POST {
            return full(Problem::method_not_allowed("POST"));
        }
        let Ok(body) = Limited::new(request.into_body(), REPORT_MAX_BYTES).collect().await else {
            return full(bad_request("The report is longer than 4 KiB, or broke off.").into_response());
        };
        let Some((hold, status)) = self.report(&body.to_bytes()) else {
            let message =
                "A report is {\"hold\": the value of X-Pay-Hold, \"status\": what the origin answered, or 0}.";
            return full(bad_request(message).into_response());
        };
        let journal = &self.0.flow.journal;
        let ended = if (1..400).contains(&status) {
            gate::Journal::payment(journal, hold).await
        } else {
            warn!(%hold, status, "a checked call was not served: its price is given back");
            self.0.flow.take_back(hold).await
        };
        match ended {
            Ok(Some(record)) => full(self.status(&record)),
            Ok(None) => full(self.charge_outcome(hold, status).await),
            Err(fault) => full(Problem::fault(gate::Fault { money: MoneyState::Unknown, ..fault }).into_response()),
        }
    }

    /// Which hold a report is about, if its name is one that we gave out, and the status.
    fn report(&self, body: &[u8]) -> Option<(HoldId, u64)> {
        let report: Value = serde_json::from_slice(body).ok()?;
        let (name, tag) = report.get("hold")?.as_str()?.split_once('.')?;
        if !self.0.shared.names.is_tag(name.as_bytes(), tag) {
            return None;
        }
        let status = report.get("status")?.as_u64().filter(|status| *status <= 999)?;
        Some((HoldId(hex::decode_to_array(name).ok()?), status))
    }
}

fn bad_request(message: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", message, MoneyState::Untouched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_server_reads_alike_is_normal() {
        for (target, normal) in [
            ("/", true),
            ("/a/b?x=/../y", true),
            ("/a/b/", true),
            ("/%7Ea/%c3%a9", true),
            ("http://host/a", true),
            ("/a/../b", false),
            ("/a/%2e%2E/b", false),
            ("/a/.", false),
            ("/./a", false),
            ("//a", false),
            ("/a//b", false),
        ] {
            let uri: Uri = target.parse().unwrap();
            let path = CleanPath::parse(&uri).unwrap();
            assert_eq!(is_normal(&uri, &path), normal, "{target}");
        }
    }

    #[test]
    fn what_follows_a_check_is_left_as_it_came() {
        for (target, rest) in [
            ("/__pay/check", Some("")),
            ("/__pay/check?x=1", Some("?x=1")),
            ("/__pay/check/%7Ea?x=%20", Some("/%7Ea?x=%20")),
            ("/__pay/checked", None),
            ("/__pay/outcome", None),
        ] {
            assert_eq!(beneath(&target.parse().unwrap()), rest, "{target}");
        }
    }
}
