//! What a price endpoint says, how long that is honoured, and what stands in while it says nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gate::Terms;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::plan::Quoted;

/// More than any answer with a price in it.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// Quotes that are remembered; beyond it the one that lapses first is forgotten.
const QUOTES_MAX: usize = 20_000;
/// Prices that are remembered of one call.
const PRICES_MAX: usize = 4;
/// Questions that a worker asks at once.
const QUESTIONS_MAX: usize = 64;

/// The quotes that were given, shared by all workers. They are in memory: after a restart a caller who has not paid yet is quoted
/// anew, and nothing of his moves meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quotes(Arc<Mutex<HashMap<Asked, Vec<Quote>>>>);

/// Which call a price was asked for, as a digest: targets may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked([u8; 32]);

impl Asked {
    fn of(route: &str, method: &str, target: &str) -> Self {
        Self(Sha256::digest([route, method, target].join("\n")).into())
    }
}

#[derive(Clone, Debug)]
struct Quote {
    terms: Terms,
    /// Until when further callers are told the same, without asking.
    fresh_until_ms: u64,
    /// Until when it is honoured.
    until_ms: u64,
}

/// The price endpoints, as one worker asks them.
#[derive(Debug)]
pub(crate) struct Prices {
    client: reqwest::Client,
    quotes: Quotes,
    questions: Semaphore,
}

impl Prices {
    pub(crate) fn new(quotes: Quotes) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, quotes, questions: Semaphore::new(QUESTIONS_MAX) })
    }

    /// What a call costs, and before it what it cost and is still honoured, newest first. Nobody is asked for a call that pays
    /// as long as a quote for it is honoured. Empty when nobody can say.
    pub(crate) async fn of(
        &self,
        quoted: &Quoted,
        route: &str,
        call: (&str, &str),
        pays: bool,
        now_ms: u64,
    ) -> Vec<Terms> {
        let (method, target) = call;
        let asked = Asked::of(route, method, target);
        let honoured = self.quotes.honoured(&asked, now_ms);
        let fresh = honoured.first().is_some_and(|newest| now_ms < newest.fresh_until_ms);
        if fresh || (pays && !honoured.is_empty()) {
            return honoured.into_iter().map(|quote| quote.terms).collect();
        }
        let terms = match self.ask(quoted, method, target).await {
            Ok(terms) => terms,
            Err(why) => {
                warn!(route, why, "the price endpoint did not say a price");
                let Some(terms) = quoted.fallback() else { return Vec::new() };
                terms
            }
        };
        let ms = |s: u64| now_ms.saturating_add(s.saturating_mul(1_000));
        let endpoint = &quoted.endpoint;
        let quote = Quote { terms, fresh_until_ms: ms(endpoint.cache_s), until_ms: ms(endpoint.quote_s) };
        self.quotes.remember(asked, quote, now_ms).into_iter().map(|quote| quote.terms).collect()
    }

    /// Asks. What the endpoint says beside the price goes nowhere.
    async fn ask(&self, quoted: &Quoted, method: &str, target: &str) -> Result<Terms, &'static str> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = json!({ "method": method, "path": path, "query": query }).to_string();
        let endpoint = &quoted.endpoint;
        let request = self.client.post(&endpoint.url).header("content-type", "application/json").body(body);
        let answer = async {
            // A crowd waits its turn; it does not make the fallback the price.
            let _turn = self.questions.acquire().await.map_err(|_| "nobody asks any more")?;
            let mut response = request.send().await.map_err(|_| "it cannot be reached")?;
            if !response.status().is_success() {
                return Err("it answered with an error");
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|_| "its answer broke off")? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > ANSWER_MAX_BYTES {
                    return Err("its answer is too long");
                }
            }
            Ok(bytes)
        };
        let time = Duration::from_millis(endpoint.timeout_ms);
        let bytes = tokio::time::timeout(time, answer).await.map_err(|_| "it took too long")??;
        let said: Value = serde_json::from_slice(&bytes).map_err(|_| "its answer is not JSON")?;
        let price = said.get("price").ok_or("its answer has no price")?;
        // A number is its digits; a float never comes near money.
        let text = match price {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Err("its price is no number"),
        };
        quoted.terms(&text).ok_or("its price is none: zero, negative, or finer than a token")
    }
}

impl Quotes {
    fn honoured(&self, asked: &Asked, now_ms: u64) -> Vec<Quote> {
        let quotes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_call = quotes.get(asked).into_iter().flatten();
        of_call.filter(|quote| now_ms < quote.until_ms).cloned().collect()
    }

    /// Adds a quote and returns all that are honoured, this one first.
    fn remember(&self, asked: Asked, quote: Quote, now_ms: u64) -> Vec<Quote> {
        let mut quotes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if quotes.len() >= QUOTES_MAX && !quotes.contains_key(&asked) {
            quotes.retain(|_, list| list.iter().any(|quote| now_ms < quote.until_ms));
            let last = |list: &Vec<Quote>| list.iter().map(|quote| quote.until_ms).max().unwrap_or_default();
            let soonest = quotes.iter().min_by_key(|(_, list)| last(list)).map(|(asked, _)| *asked);
            if let Some(soonest) = soonest.filter(|_| quotes.len() >= QUOTES_MAX) {
                quotes.remove(&soonest);
            }
        }
        let list = quotes.entry(asked).or_default();
        list.retain(|earlier| now_ms < earlier.until_ms && earlier.terms != quote.terms);
        list.insert(0, quote);
        list.truncate(PRICES_MAX);
        list.clone()
    }
}
