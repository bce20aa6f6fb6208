//! API keys: who has which.
#![allow(dead_code, reason = "a stand-in")]
use http::{HeaderMap, HeaderValue, StatusCode};
use ledger::{KeyId, Unit};
use std::net::IpAddr;
use std::rc::Rc;
pub(crate) struct Directory;
pub(crate) struct Principal {
    pub(crate) key: KeyId,
    pub(crate) unit: Unit,
}
pub(crate) struct Denied;
impl Denied {
    pub(crate) fn missing() -> Self {
        Self
    }
    pub(crate) fn suspended(_: KeyId) -> Self {
        Self
    }
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::UNAUTHORIZED
    }
    pub(crate) fn code(&self) -> &'static str {
        "invalid_api_key"
    }
    pub(crate) fn message(&self) -> &'static str {
        ""
    }
    pub(crate) fn key(&self) -> Option<KeyId> {
        None
    }
}
impl Directory {
    pub(crate) fn resolve(
        &self,
        _: &HeaderMap,
        _: Option<&str>,
        _: &str,
        _: &str,
        _: IpAddr,
        _: u64,
    ) -> Result<Option<Rc<Principal>>, Denied> {
        Ok(None)
    }
}
pub(crate) fn names_account(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(b"pg_")
}
pub(crate) fn is_key(name: &http::HeaderName, value: &HeaderValue) -> bool {
    matches!(name.as_str(), "x-api-key" | "authorization") && names_account(value)
}
pub(crate) fn strip_keys(_: &mut HeaderMap) {}

/// At start: what a crash left of charges.
pub(crate) async fn recover(store: &store::Store) -> anyhow::Result<()> {
    let ended = store.handle()?.recover_charges().await?;
    if ended > 0 {
        tracing::warn!(ended, "charges of calls that a crash cut off were given back");
    }
    Ok(())
}
/// Ends what has expired. Does not end.
pub(crate) async fn keep(journal: &store::Handle) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(5));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(fault) = journal.lapse(crate::host::now_ms()).await {
            tracing::error!(%fault, "expired grants were not ended; they will be");
        }
    }
}
