//! Tells a directory hourly that the service is there. Off unless an address for it is written; whatever becomes of it, calls are served.

use std::time::Duration;

use gate::DefaultAction;
use http::Uri;
use serde_json::{Value, json};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::config::{Config, PriceConfig, RouteConfig};
use crate::front::public::{dollars, method, rail};

/// How it is done: hourly, three attempts, 2 s and 4 s between them.
#[derive(Clone, Copy, Debug)]
struct Pace {
    every: Duration,
    back_off: [Duration; 2],
    timeout: Duration,
}

const PACE: Pace = Pace {
    every: Duration::from_secs(3_600),
    back_off: [Duration::from_secs(2), Duration::from_secs(4)],
    timeout: Duration::from_secs(10),
};

/// One heartbeat, to be sent again and again.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    url: String,
    payload: Value,
}

impl Heartbeat {
    /// `None` where the service is not to be listed, or nobody is to be told.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let discovery = &config.discovery;
        let url = discovery.heartbeat_url.clone().filter(|_| discovery.discoverable)?;
        let base_url = discovery.base_url.as_ref().or(config.public_url.as_ref())?;
        let domain = base_url.parse::<Uri>().ok()?.host()?.to_owned();
        let payload = json!({
            "domain": domain,
            "base_url": base_url,
            "provider_address": config.payee.to_string(),
            "name": discovery.name.as_ref().unwrap_or(&domain),
            "description": discovery.description.as_deref().unwrap_or_default(),
            "keywords": discovery.keywords,
            "category": discovery.category.as_deref().unwrap_or_default(),
            "website": discovery.website,
            "docs_url": discovery.docs_url,
            "routes": config.routes.iter().filter_map(route).collect::<Vec<_>>(),
            "settlement_mode": settlement_mode(config),
            "default_action": match config.default_action {
                DefaultAction::Block => "block",
                DefaultAction::Passthrough => "passthrough",
            },
            "gate_version": env!("CARGO_PKG_VERSION"),
        });
        Some(Self { url, payload })
    }

    /// Sends it now and every hour. Does not end.
    pub(crate) async fn run(self) {
        self.run_at(PACE).await;
    }

    async fn run_at(self, pace: Pace) {
        let client = match reqwest::Client::builder()
            .timeout(pace.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
        {
            Ok(client) => client,
            Err(error) => {
                warn!(%error, "no heartbeat can be sent");
                return std::future::pending().await;
            }
        };
        loop {
            if self.send(&client, pace).await {
                info!(url = %host_of(&self.url), "the directory was told that the service is there");
            }
            sleep(pace.every).await;
        }
    }

    /// Whether one of the attempts was taken.
    async fn send(&self, client: &reqwest::Client, pace: Pace) -> bool {
        for attempt in 0..=pace.back_off.len() {
            match client
                .post(&self.url)
                .header("content-type", "application/json")
                .body(self.payload.to_string())
                .send()
                .await
            {
                Ok(answer) if answer.status().is_success() => return true,
                Ok(answer) => {
                    warn!(attempt = attempt + 1, status = answer.status().as_u16(), "the heartbeat was not taken")
                }
                // The address may hold a key: it is left out of the message.
                Err(error) => warn!(attempt = attempt + 1, error = %error.without_url(), "the heartbeat was not sent"),
            }
            if let Some(pause) = pace.back_off.get(attempt) {
                sleep(*pause).await;
            }
        }
        false
    }
}

fn host_of(url: &str) -> String {
    url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
}

fn route(route: &RouteConfig) -> Option<Value> {
    let PriceConfig::Due(due) = &route.price else { return None };
    let mut entry = json!({
        "path": route.template.as_deref().unwrap_or(route.path.as_str()),
        "method": method(route),
        "price": dollars(due).filter(|_| due.endpoint.is_none()),
        "settlement": rail(due),
    });
    if let Some(description) = &route.description {
        entry["description"] = description.as_str().into();
    }
    Some(entry)
}

/// What the paid routes have in common, or `mixed`.
fn settlement_mode(config: &Config) -> &'static str {
    let mut rails = config.routes.iter().filter_map(|route| match &route.price {
        PriceConfig::Due(due) => Some(rail(due).unwrap_or("mixed")),
        PriceConfig::Free => None,
    });
    match rails.next() {
        Some(first) if rails.all(|other| other == first) => first,
        Some(_) => "mixed",
        None => "none",
    }
}

#[cfg(test)]
mod tests;
