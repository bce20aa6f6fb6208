//! How the gate is doing, for people, balancers and orchestrators.

use bytes::Bytes;
use http::{Response, StatusCode};
use protocol::Network;
use serde_json::{Value, json};

use super::answer;
use crate::maintenance::Closed;

/// What `/__pay/health` is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// Whether payments can be verified and settled now; where everything is free, that is nobody's question.
    pub(crate) facilitator_reachable: bool,
    /// The first configured network, if any.
    pub(crate) network: Option<Network>,
    pub(crate) uptime_s: u64,
}

/// What `/readyz` is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) stopping: bool,
    /// Whether the journal can be written.
    pub(crate) journal: bool,
    /// Whether at least one way to settle works, or nothing is to be settled.
    pub(crate) settlement: bool,
}

impl Health {
    /// 200 also when degraded: free calls are served, and paid ones say themselves what is wrong.
    pub(crate) fn answer(self) -> Response<Bytes> {
        let (status, facilitator) =
            if self.facilitator_reachable { ("ok", "reachable") } else { ("degraded", "unreachable") };
        let kind = self.network.map(|network| if is_test(network) { "testnet" } else { "mainnet" });
        let body = json!({
            "status": status,
            "facilitator": facilitator,
            "network": kind,
            "chain_id": self.network.map(|network| network.chain_id),
            "uptime": self.uptime_s,
            "version": env!("CARGO_PKG_VERSION"),
        });
        answer(StatusCode::OK, &body)
    }
}

impl Readiness {
    pub(crate) fn is_ready(self) -> bool {
        !self.stopping && self.journal && self.settlement
    }

    /// 503 where calls had better go to another instance.
    pub(crate) fn answer(self) -> Response<Bytes> {
        let word = |fine: bool, bad: &str| Value::from(if fine { "ok" } else { bad });
        let body = json!({
            "status": word(self.is_ready(), "not_ready"),
            "process": word(!self.stopping, "stopping"),
            "journal": word(self.journal, "unavailable"),
            "settlement": word(self.settlement, "unavailable"),
        });
        answer(if self.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
    }
}

/// `/livez`: whoever answers is alive.
pub(crate) fn livez() -> Response<Bytes> {
    answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// `/status`: whether calls are taken. Nothing in it is secret.
pub(crate) fn status(closed: Option<&Closed>) -> Response<Bytes> {
    let body = match closed {
        None => json!({ "status": "operating" }),
        Some(closed) => {
            json!({ "status": "maintenance", "message": closed.message, "until_ms": closed.until_ms })
        }
    };
    answer(StatusCode::OK, &body)
}

/// Chains whose money is worth nothing. Every chain that is not known to be one counts as real.
fn is_test(network: Network) -> bool {
    const TEST: [u64; 18] = [
        5,
        97,
        1328,
        2201,
        11_124,
        31_337,
        1_337,
        43_113,
        80_002,
        84_532,
        300,
        421_614,
        534_351,
        11_142_220,
        11_155_111,
        11_155_420,
        17_000,
        324_705_682,
    ];
    TEST.contains(&network.chain_id)
}
