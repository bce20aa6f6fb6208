//! `/discovery`: what was settled here, and what servers say of themselves (reference x402 §3). Kept in memory, written through to the
//! journal.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use facilitator::service::{Listing, ListingKey, Registration};
use gate::Fault;
use http::{Response, StatusCode};
use protocol::x402::Asked;
use serde_json::{Value, json};
use store::Handle;
use tracing::error;

use super::answer;
use crate::host::now_ms;

/// When there are more, the oldest that nobody has signed makes room.
const LISTINGS_MAX: usize = 10_000;
const LIMIT_MAX: usize = 100;
const LIMIT_DEFAULT: usize = 20;
/// What a search looks for, at most.
const WORDS_MAX: usize = 16;

type Listings = BTreeMap<ListingKey, Listing>;

/// The catalogue, shared by all workers.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue(Arc<RwLock<Listings>>);

/// What is asked for.
#[derive(Debug, Default)]
struct Query {
    words: Vec<String>,
    kind: Option<String>,
    pay_to: Option<String>,
    scheme: Option<String>,
    network: Option<String>,
    extensions: Vec<String>,
    limit: usize,
    offset: usize,
}

impl Catalogue {
    /// Reads what the journal has.
    pub(super) fn read(journal: &Handle) -> Result<Self, Fault> {
        let listings = journal.listings()?.into_iter().map(|listing| (listing.key.clone(), listing));
        Ok(Self(Arc::new(RwLock::new(listings.collect()))))
    }

    /// Notes what a payment that was settled has paid for.
    pub(super) async fn settled(&self, asked: &Asked, journal: &Handle) {
        let Some(said) = Listing::of_payment(asked, now_ms() / 1_000) else { return };
        let listing = {
            let mut listings = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let settled = listings.get(&said.key).map_or(0, |known| known.settled).saturating_add(1);
            let listing = match listings.get(&said.key) {
                // The payee's own words stand; a payer's do not take their place.
                Some(known) if known.proven => Listing { updated_s: said.updated_s, settled, ..known.clone() },
                Some(_) | None => Listing { settled, ..said },
            };
            if !room(&mut listings, &listing.key) {
                return;
            }
            listings.insert(listing.key.clone(), listing.clone());
            listing
        };
        if let Err(fault) = journal.keep_listing(listing).await {
            error!(%fault, "an entry of the catalogue was not written");
        }
    }

    /// Takes up what a server says of itself.
    pub(super) async fn register(
        &self,
        registration: Registration,
        journal: &Handle,
    ) -> Result<Response<Bytes>, Fault> {
        match registration {
            Registration::Remove(key) => {
                journal.drop_listing(key.clone()).await?;
                self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
                Ok(answer::say(StatusCode::OK, &json!({ "removed": key.resource })))
            }
            Registration::List(listing) => {
                let listing = {
                    let mut listings = self.0.write().unwrap_or_else(PoisonError::into_inner);
                    let settled = listings.get(&listing.key).map_or(0, |known| known.settled);
                    if !room(&mut listings, &listing.key) {
                        return Ok(answer::catalogue_full());
                    }
                    let listing = Listing { settled, ..*listing };
                    listings.insert(listing.key.clone(), listing.clone());
                    listing
                };
                journal.keep_listing(listing.clone()).await?;
                Ok(answer::say(StatusCode::OK, &listing.to_json()))
            }
        }
    }

    /// `GET /discovery/resources`: newest first.
    pub(super) fn resources(&self, query: &str) -> Option<Response<Bytes>> {
        let query = Query::read(query)?;
        let found = self.find(&query);
        let items: Vec<Value> = found.iter().skip(query.offset).take(query.limit).map(Listing::to_json).collect();
        let pagination = json!({ "limit": query.limit, "offset": query.offset, "total": found.len() });
        Some(answer::say(StatusCode::OK, &json!({ "x402Version": 2, "items": items, "pagination": pagination })))
    }

    /// `GET /discovery/search`: those first in which most of the words are; then what payees have signed, then what is paid for most.
    pub(super) fn search(&self, query: &str) -> Option<Response<Bytes>> {
        let query = Query::read(query)?;
        let hits = |listing: &Listing| {
            let text = listing.item.to_string().to_lowercase();
            query.words.iter().filter(|word| text.contains(word.as_str())).count()
        };
        let mut found: Vec<(usize, Listing)> = self.find(&query).into_iter().map(|it| (hits(&it), it)).collect();
        found.retain(|(hits, _)| *hits > 0 || query.words.is_empty());
        found.sort_by_key(|(hits, it)| std::cmp::Reverse((*hits, it.proven, it.settled, it.updated_s)));
        let page = found.iter().skip(query.offset).take(query.limit);
        let resources: Vec<Value> = page.map(|(_, listing)| listing.to_json()).collect();
        let next = query.offset.saturating_add(resources.len());
        let cursor = if next < found.len() { Value::String(next.to_string()) } else { Value::Null };
        let pagination = json!({ "limit": query.limit, "cursor": cursor });
        let body =
            json!({ "x402Version": 2, "resources": resources, "partialResults": false, "pagination": pagination });
        Some(answer::say(StatusCode::OK, &body))
    }

    fn find(&self, query: &Query) -> Vec<Listing> {
        let listings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Listing> = listings.values().filter(|listing| query.takes(listing)).cloned().collect();
        found.sort_by_key(|listing| std::cmp::Reverse(listing.updated_s));
        found
    }
}

/// Whether there is room for an entry; makes it where that is possible.
fn room(listings: &mut Listings, key: &ListingKey) -> bool {
    if listings.len() < LISTINGS_MAX || listings.contains_key(key) {
        return true;
    }
    let oldest = listings.values().filter(|listing| !listing.proven).min_by_key(|listing| listing.updated_s);
    let Some(oldest) = oldest.map(|listing| listing.key.clone()) else { return false };
    listings.remove(&oldest);
    true
}

impl Query {
    /// `None` for what is no query of these: a number that is none, or out of range.
    fn read(text: &str) -> Option<Self> {
        let mut query = Self { limit: LIMIT_DEFAULT, ..Self::default() };
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let value = value.into_owned();
            match name.as_ref() {
                "query" => {
                    let words = value.to_lowercase();
                    query.words = words.split_whitespace().take(WORDS_MAX).map(str::to_owned).collect();
                }
                "type" => query.kind = Some(value),
                "payTo" => query.pay_to = Some(value),
                "scheme" => query.scheme = Some(value),
                "network" => query.network = Some(value),
                "extensions" => query.extensions = value.split(',').map(str::to_owned).collect(),
                "limit" => query.limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit))?,
                "offset" | "cursor" => query.offset = value.parse().ok()?,
                _ => {}
            }
        }
        Some(query)
    }

    fn takes(&self, listing: &Listing) -> bool {
        let item = &listing.item;
        let accepts = item["accepts"].as_array().map_or(&[][..], Vec::as_slice);
        let pays = |name: &str, want: &Option<String>| {
            let same =
                |offer: &Value, want: &str| offer[name].as_str().is_some_and(|value| value.eq_ignore_ascii_case(want));
            want.as_ref().is_none_or(|want| accepts.iter().any(|offer| same(offer, want)))
        };
        self.kind.as_ref().is_none_or(|kind| item["type"] == kind.as_str())
            && pays("payTo", &self.pay_to)
            && pays("scheme", &self.scheme)
            && pays("network", &self.network)
            && self.extensions.iter().all(|name| item["extensions"].get(name).is_some())
    }
}
