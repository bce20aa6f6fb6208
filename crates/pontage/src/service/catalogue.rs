//! `/discovery`: what was settled here, and what servers say of themselves (reference x402 §3). Kept in memory, written through to the
//! journal.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use facilitator::service::{Listing, ListingKey, ListingRefusal};
use gate::Fault;
use protocol::Payee;
use protocol::x402::{Asked, Listed};
use serde_json::{Value, json};
use store::Handle;
use tracing::error;

use crate::host::now_ms;

/// When there are more, one makes room that nobody has paid for here, or else the oldest.
const LISTINGS_MAX: usize = 10_000;
/// Entries that one payee has signed and nobody has paid for here.
const UNPAID_MAX: usize = 20;
const LIMIT_MAX: usize = 100;
const LIMIT_DEFAULT: usize = 20;
/// What a search looks for, at most.
const WORDS_MAX: usize = 16;

/// The catalogue, shared by all workers.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue(Arc<RwLock<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    by_key: BTreeMap<ListingKey, Arc<Entry>>,
    revision: u64,
}

#[derive(Debug)]
struct Entry {
    listing: Listing,
    /// What a search looks into, in lower case.
    text: String,
}

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

/// Why something is not listed.
#[derive(Debug)]
pub(super) enum NotListed {
    /// It is not what it must be.
    Refused(ListingRefusal),
    /// The payee has so many entries already that nobody has paid for here.
    TooMany,
    /// Something of ours does not work now.
    Fault(Fault),
}

impl Catalogue {
    /// Reads what the journal has.
    pub(super) fn read(journal: &Handle) -> Result<Self, Fault> {
        let now_s = now_ms() / 1_000;
        let mut entries = Entries::default();
        for listing in journal.listings()?.into_iter().filter(|listing| !listing.is_forgotten(now_s)) {
            entries.revision = entries.revision.max(listing.revision);
            entries.by_key.insert(listing.key.clone(), Arc::new(Entry::new(listing)));
        }
        Ok(Self(Arc::new(RwLock::new(entries))))
    }

    /// Notes what a payment that was settled has paid for.
    pub(super) async fn settled(&self, asked: &Asked, body: &[u8], journal: &Handle) {
        let listed = Listed::read(body, asked.credential.accepted.version);
        let said = listed.and_then(|listed| Listing::of_payment(asked, &listed, now_ms() / 1_000));
        let Some(said) = said else { return };
        let (listing, room) = {
            let mut entries = self.write();
            let known = entries.by_key.get(&said.key).map(|entry| &entry.listing);
            let settled = known.map_or(0, |known| known.settled).saturating_add(1);
            let listing = match known {
                // The payee's own words stand, also that it is listed no more; a payer's do not take their place.
                Some(known) if known.signed_at_s > 0 => Listing { updated_s: said.updated_s, settled, ..known.clone() },
                Some(_) | None => Listing { settled, ..said },
            };
            entries.put(listing)
        };
        if let Err(fault) = journal.keep_listing(listing, room).await {
            error!(%fault, "an entry of the catalogue was not written");
        }
    }

    /// Takes up what a server says of itself, and says what is listed now; null where it has taken itself out.
    pub(super) async fn register(&self, said: Listing, journal: &Handle) -> Result<Value, NotListed> {
        let (listing, room) = {
            let mut entries = self.write();
            let known = entries.by_key.get(&said.key).map(|entry| &entry.listing);
            if known.is_some_and(|known| known.signed_at_s >= said.signed_at_s) {
                return Err(NotListed::Refused(ListingRefusal::Older));
            }
            if known.is_none() && said.is_removed() {
                return Ok(Value::Null);
            }
            if known.is_none() && entries.unpaid(said.key.payee) >= UNPAID_MAX {
                return Err(NotListed::TooMany);
            }
            let settled = known.map_or(0, |known| known.settled);
            entries.put(Listing { settled, ..said })
        };
        let told = if listing.is_removed() { Value::Null } else { listing.to_json() };
        journal.keep_listing(listing, room).await.map_err(NotListed::Fault)?;
        Ok(told)
    }

    /// `GET /discovery/resources`: newest first. `None` for what is no query.
    pub(super) fn resources(&self, query: &str) -> Option<Value> {
        let query = Query::read(query)?;
        let mut found = self.find(&query);
        found.sort_by_key(|entry| Reverse(entry.listing.updated_s));
        let items: Vec<Value> = query.page(&found).map(|entry| entry.listing.to_json()).collect();
        let pagination = json!({ "limit": query.limit, "offset": query.offset, "total": found.len() });
        Some(json!({ "x402Version": 2, "items": items, "pagination": pagination }))
    }

    /// `GET /discovery/search`: those first in which most of the words are, and of these those that are paid for most.
    pub(super) fn search(&self, query: &str) -> Option<Value> {
        let query = Query::read(query)?;
        let hits = |entry: &Entry| query.words.iter().filter(|word| entry.text.contains(word.as_str())).count();
        let mut found: Vec<(usize, Arc<Entry>)> =
            self.find(&query).into_iter().map(|entry| (hits(&entry), entry)).collect();
        found.retain(|(hits, _)| *hits > 0 || query.words.is_empty());
        found.sort_by_key(|(hits, entry)| Reverse((*hits, entry.listing.settled, entry.listing.updated_s)));
        let resources: Vec<Value> = query.page(&found).map(|(_, entry)| entry.listing.to_json()).collect();
        let next = query.offset.saturating_add(resources.len());
        let cursor = if next < found.len() { Value::String(next.to_string()) } else { Value::Null };
        let pagination = json!({ "limit": query.limit, "cursor": cursor });
        Some(json!({ "x402Version": 2, "resources": resources, "partialResults": false, "pagination": pagination }))
    }

    fn find(&self, query: &Query) -> Vec<Arc<Entry>> {
        self.entries().by_key.values().filter(|entry| query.takes(&entry.listing)).cloned().collect()
    }

    fn entries(&self) -> RwLockReadGuard<'_, Entries> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Puts an entry in, and says what is to be written: the entry, and the key of the one that made room.
    fn put(&mut self, listing: Listing) -> (Listing, Option<ListingKey>) {
        let room = if self.by_key.len() >= LISTINGS_MAX && !self.by_key.contains_key(&listing.key) {
            let least = |entry: &&Arc<Entry>| (entry.listing.settled > 0, entry.listing.updated_s);
            self.by_key.values().min_by_key(least).map(|entry| entry.listing.key.clone())
        } else {
            None
        };
        if let Some(room) = &room {
            self.by_key.remove(room);
        }
        self.revision = self.revision.saturating_add(1);
        let listing = Listing { revision: self.revision, ..listing };
        self.by_key.insert(listing.key.clone(), Arc::new(Entry::new(listing.clone())));
        (listing, room)
    }

    fn unpaid(&self, payee: Payee) -> usize {
        let theirs = |entry: &&Arc<Entry>| entry.listing.key.payee == payee && entry.listing.settled == 0;
        self.by_key.values().filter(theirs).count()
    }
}

impl Entry {
    fn new(listing: Listing) -> Self {
        let text = listing.item.to_string().to_lowercase();
        Self { listing, text }
    }
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
                "extensions" => query.extensions = value.split(',').take(WORDS_MAX).map(str::to_owned).collect(),
                "limit" => query.limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit))?,
                "offset" | "cursor" => query.offset = value.parse().ok()?,
                _ => {}
            }
        }
        Some(query)
    }

    fn page<'f, T>(&self, found: &'f [T]) -> impl Iterator<Item = &'f T> {
        found.iter().skip(self.offset).take(self.limit)
    }

    fn takes(&self, listing: &Listing) -> bool {
        let item = &listing.item;
        let accepts = item["accepts"].as_array().map_or(&[][..], Vec::as_slice);
        let pays = |name: &str, want: &Option<String>| {
            let same =
                |offer: &Value, want: &str| offer[name].as_str().is_some_and(|value| value.eq_ignore_ascii_case(want));
            want.as_ref().is_none_or(|want| accepts.iter().any(|offer| same(offer, want)))
        };
        !listing.is_removed()
            && self.kind.as_ref().is_none_or(|kind| item["type"] == kind.as_str())
            && pays("payTo", &self.pay_to)
            && pays("scheme", &self.scheme)
            && pays("network", &self.network)
            && self.extensions.iter().all(|name| item["extensions"].get(name).is_some())
    }
}
