//! Facilitators of others.

use std::fmt;
use std::path::Path;

use super::reader::{Fields, Node, Reader};
use super::url::check_url;
use super::{SecretSource, optional, secret};
use crate::plan::SETTLE_BUDGET_MS;

const MAX_URLS: usize = 8;
const MAX_VERIFY_MS: u64 = 30_000;
const URLS_FIX: &str =
    "write a list of addresses in order of preference, such as urls: [\"https://x402.org/facilitator\"].";

/// Who settles when we do not, and how long each may take.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RemoteConfig {
    /// In order of preference; at least one. May hold an access key, so `Debug` leaves them out.
    pub(crate) urls: Vec<String>,
    /// Where the token is kept that is shown to each of them.
    pub(crate) bearer: Option<SecretSource>,
    /// For a `/verify`, all that are asked for it together.
    pub(crate) verify_timeout_ms: u64,
    /// For a `/settle`, likewise.
    pub(crate) settle_timeout_ms: u64,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self { urls: Vec::new(), bearer: None, verify_timeout_ms: 5_000, settle_timeout_ms: SETTLE_BUDGET_MS }
    }
}

impl fmt::Debug for RemoteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteConfig")
            .field("urls", &format_args!("{} x ***", self.urls.len()))
            .field("bearer", &self.bearer)
            .field("verify_timeout_ms", &self.verify_timeout_ms)
            .field("settle_timeout_ms", &self.settle_timeout_ms)
            .finish()
    }
}

/// Reads the keys of `facilitator` that are about facilitators of others.
pub(super) fn remote<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, folder: &Path) -> Option<Option<RemoteConfig>> {
    let default = RemoteConfig::default();
    let urls = optional(reader, fields, "urls", Vec::new(), urls);
    let bearer =
        optional(reader, fields, "bearer", None, |reader, node| secret::source(reader, node, folder).map(Some));
    let mut ms = |name, default, most| {
        optional(reader, fields, name, default, |reader, node| reader.whole(node, 100..=most, "milliseconds"))
    };
    let verify_timeout_ms = ms("verify_timeout_ms", default.verify_timeout_ms, MAX_VERIFY_MS);
    // An authorization is admitted when it lasts for as long as this.
    let settle_timeout_ms = ms("settle_timeout_ms", default.settle_timeout_ms, SETTLE_BUDGET_MS);
    let config = RemoteConfig {
        urls: urls?,
        bearer: bearer?,
        verify_timeout_ms: verify_timeout_ms?,
        settle_timeout_ms: settle_timeout_ms?,
    };
    if !config.urls.is_empty() {
        return Some(Some(config));
    }
    let mut lonely =
        ["bearer", "verify_timeout_ms", "settle_timeout_ms"].into_iter().filter_map(|name| fields.get(name));
    match lonely.next() {
        Some(node) if !fields.was_meant("urls") => {
            reader.mistake(&node.at, "there are no urls that it is for.", "write urls beside it, or leave it out.")
        }
        Some(_) | None => Some(None),
    }
}

fn urls<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Vec<String>> {
    let items = reader.items(node, URLS_FIX)?;
    if items.is_empty() {
        return reader.mistake(&node.at, "there is no address of a facilitator.", URLS_FIX);
    }
    if items.len() > MAX_URLS {
        let what = format!("{} facilitators are more than {MAX_URLS}.", items.len());
        return reader.mistake(&node.at, what, "keep those that you would rather be settled by.");
    }
    let read: Vec<_> = items.iter().map(|item| url(reader, item)).collect();
    read.into_iter().collect()
}

/// The address is not repeated in messages: it may hold an access key.
fn url<'d>(reader: &mut Reader<'d>, item: &Node<'d>) -> Option<String> {
    let text = reader.text(item, URLS_FIX)?;
    match check_url(&text.value) {
        Ok(()) if text.value.contains(['?', '#']) => {
            let what = "the address of the facilitator has a query or a fragment.";
            reader.mistake(&item.at, what, "write it without; a token belongs into facilitator.bearer.")
        }
        Ok(()) => Some(text.value),
        Err(why) => reader.mistake(&item.at, format!("the address of the facilitator {why}."), URLS_FIX),
    }
}
