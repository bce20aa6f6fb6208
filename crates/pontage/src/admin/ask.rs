//! A request as handlers read it: checked as far as its endpoint says, with who asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ledger::KeyId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::{AdminRole, Handle, Note, Seen, Subject};

use super::api::Api;
use super::endpoint::{Endpoint, Outcome, Reply};
use super::refused::Refused;
use crate::host;

/// What the audit log repeats of a request.
const ASKED_MAX_BYTES: usize = 4 * 1024;
/// Members that hold secrets, wherever they are.
const SECRETS: [&str; 3] = ["secret", "token", "key"];
/// What secrets begin with: of keys, of tokens, of signatures and of admins.
const SHOWN: [&str; 4] = ["pg_", "pgt_", "pgs_", "pga_"];

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// His id; of who has the token of the configuration it is zero.
    pub(super) id: [u8; 16],
    pub(super) name: String,
    pub(super) role: AdminRole,
}

/// The digests of an `Idempotency-Key`, and of what it names.
pub(super) type Once = ([u8; 32], [u8; 32]);

/// One request.
pub(super) struct Ask {
    pub(super) endpoint: &'static Endpoint,
    /// What stands for `{id}` and `{name}` in the path.
    pub(super) values: Vec<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Bytes,
    pub(super) who: Who,
    pub(super) dry_run: bool,
    /// Digests of the `Idempotency-Key` and of what is asked for.
    pub(super) once: Option<Once>,
    /// What came of it.
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl Ask {
    /// What stands for the first `{…}` in the path.
    pub(super) fn value(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    /// The key, admin or charge that the path names.
    pub(super) fn id(&self) -> Result<[u8; 16], Refused> {
        let bytes = read_id(self.value());
        bytes.ok_or_else(|| Refused::field("id", "This is a name of 32 hex digits in lower case."))
    }

    /// The key that the path names, by its id or its alias.
    pub(super) fn key(&self, api: &Api) -> Result<KeyId, Refused> {
        match read_id(self.value()) {
            Some(id) => Ok(KeyId(id)),
            None => api.journal.key_by_alias(self.value())?.ok_or_else(|| Refused::unknown("key")),
        }
    }

    /// The number of a note or a scheduled change that the path names.
    pub(super) fn item(&self) -> u32 {
        self.values.last().and_then(|number| number.parse().ok()).unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// At most so many rows.
    pub(super) fn limit(&self) -> u64 {
        self.number("limit").unwrap_or(50)
    }

    /// Reads the body.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        // A list would be taken for an object's members, in their order.
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Refused::field("body", "This is a JSON object."));
        }
        let mut json = serde_json::Deserializer::from_slice(&self.body);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            // Of what is wrong with a value only what was expected is said, not the value.
            let words = error.inner().to_string();
            let at = words.rfind(" at line ").unwrap_or(words.len());
            let words = words.get(..at).unwrap_or_default();
            let told = match words.find("expected ") {
                Some(at) => words.get(at..).unwrap_or_default(),
                None => words,
            };
            Refused::field(if path == "." { "body".to_owned() } else { path }, format!("This is not taken: {told}."))
        })?;
        json.end().map_err(|_| Refused::field("body", "There is something behind the JSON."))?;
        Ok(read)
    }

    /// A way to the journal that notes what is done.
    pub(super) fn noted(&self, journal: &Handle, subject: Subject) -> Handle {
        journal.noted(Note {
            who: self.who.name.clone(),
            role: self.who.role.code(),
            action: self.endpoint.name,
            subject,
            asked: self.asked(),
            once: self.once,
            dry_run: self.dry_run,
            seen: Arc::clone(&self.seen),
        })
    }

    /// A name for what is made: that of the request, so that asking twice makes it once.
    pub(super) fn name(&self) -> [u8; 16] {
        match self.once {
            Some((once, _)) => {
                let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = once;
                [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
            }
            None => host::entropy(),
        }
    }

    /// What is asked for, for the audit log.
    fn asked(&self) -> String {
        let body = match self.body.len() {
            0 => Value::Null,
            1..=ASKED_MAX_BYTES => serde_json::from_slice(&self.body).unwrap_or_default(),
            bytes => json!({ "bytes": bytes, "sha256": alloy_primitives::hex::encode(Sha256::digest(&self.body)) }),
        };
        let mut asked = json!({ "path": self.values, "query": self.query, "body": body });
        mask(&mut asked);
        asked.to_string()
    }
}

/// Puts stars in the place of secrets.
pub(super) fn mask(value: &mut Value) {
    let is_shown = |text: &str| SHOWN.iter().any(|prefix| text.contains(prefix));
    match value {
        Value::Object(members) => {
            let names: Vec<String> = members.keys().filter(|name| is_shown(name)).cloned().collect();
            for name in names {
                members.remove(&name);
                members.insert("***".to_owned(), Value::Null);
            }
            for (name, member) in members {
                match member {
                    Value::String(text) if SECRETS.contains(&name.as_str()) => *text = "***".to_owned(),
                    member => mask(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        // Also where it is called otherwise, and within a table.
        Value::String(text) if is_shown(text) => *text = "***".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An answer in JSON.
pub(super) fn reply(value: &impl Serialize) -> Outcome {
    match serde_json::to_value(value) {
        Ok(value) => Ok(Reply::Json(value)),
        Err(error) => {
            tracing::error!(%error, "an answer of the admin API cannot be printed");
            Err(Refused::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "The log says why."))
        }
    }
}

/// Text that people write: not too long, and no control characters.
pub(super) fn words(field: &str, text: &str, most: usize) -> Result<(), Refused> {
    if text.chars().count() > most || text.chars().any(char::is_control) {
        return Err(Refused::field(
            field,
            format!("This is a text of at most {most} characters, without control characters."),
        ));
    }
    Ok(())
}

/// A moment that is still to come.
pub(super) fn future(field: &str, at_ms: Option<u64>, now_ms: u64) -> Result<(), Refused> {
    const LATEST_MS: u64 = 253_402_300_799_999;
    match at_ms {
        Some(at_ms) if at_ms <= now_ms || at_ms > LATEST_MS => {
            Err(Refused::field(field, "This is a time to come, in milliseconds since 1970."))
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads a name of 32 hex digits in lower case.
pub(super) fn read_id(text: &str) -> Option<[u8; 16]> {
    super::endpoint::is_id(text).then(|| text.parse::<KeyId>().ok()).flatten().map(|id| id.0)
}
