//! The admin API, asked by its first owner or by others.

use serde_json::Value;

use super::payer::{Answer, request};
use super::{Gate, until};

/// The token of the first owner.
pub(crate) const ADMIN_TOKEN: &str = "the-token-of-the-first-owner";
/// A line of the configuration.
pub(crate) const ADMIN: &str = "admin: { listen: \"127.0.0.1:0\" }";

/// Somebody who asks.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Admin {
    /// The first owner, where the configuration has [`ADMIN`].
    pub(crate) fn of(gate: &Gate) -> Self {
        let mut address = None;
        until("the admin listener is named", || {
            let log = gate.log();
            let lines = log.lines().filter(|line| line.contains("the admin listener"));
            let named = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).next_back();
            address = named.and_then(|line| line["address"].as_str().map(str::to_owned));
            address.is_some()
        });
        Self { url: format!("http://{}", address.unwrap()), token: ADMIN_TOKEN.to_owned() }
    }

    /// Somebody else.
    pub(crate) fn with(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], body.to_string().as_bytes())
    }

    /// The same, named by an `Idempotency-Key`.
    pub(crate) fn post_once(&self, path: &str, body: &Value, key: &str) -> Answer {
        self.ask("POST", path, &[("idempotency-key", key)], body.to_string().as_bytes())
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        request(method, &format!("{}{path}", self.url), &all, body)
    }

    /// Makes a key, and says its name and its secret.
    pub(crate) fn key(&self, body: &Value) -> (String, String) {
        let made = self.post("/admin/v1/keys", body);
        assert_eq!(made.status, 201, "{}", made.text());
        let made = made.json();
        let text = |value: &Value| value.as_str().expect("it is text").to_owned();
        (text(&made["key"]["id"]), text(&made["secret"]))
    }
}
