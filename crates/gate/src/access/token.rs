//! Scoped tokens: what a key may do, for less and for a short time. Checked without the journal, but for the list of void ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::KeyId;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::policy::{few, good};
use super::words::{key_id, name};
use super::{KeyRefusal, RouteRule, TOKEN_PREFIX, ToolRule};

/// No token holds for longer.
const LIFE_MAX_MS: u64 = 86_400_000;
/// Longer ones are not read: they stand in a header.
const TOKEN_MAX_BYTES: usize = 4_096;
const RULES_MAX: usize = 50;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its name, by which it can be made void.
    #[serde(rename = "jti", with = "name")]
    pub id: [u8; 16],
    /// Whose balance it spends.
    #[serde(rename = "key", with = "key_id")]
    pub key: KeyId,
    /// When it was made.
    #[serde(rename = "iat_ms")]
    pub issued_at_ms: u64,
    /// From when on it is void.
    #[serde(rename = "exp_ms")]
    pub expires_at_ms: u64,
    /// Which of its key's calls it is for; all where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<RouteRule>>,
    /// Which of its key's tools it is for; all where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<ToolRule>>,
}

impl Token {
    /// The token as its holder shows it.
    ///
    /// # Errors
    /// [`KeyRefusal`] where it says more, or holds longer, than a token may.
    pub fn sign(&self, secret: &[u8; 32]) -> Result<String, KeyRefusal> {
        let life_ms = self.expires_at_ms.saturating_sub(self.issued_at_ms);
        good("ttl_s", (1..=LIFE_MAX_MS).contains(&life_ms))?;
        few("routes", self.routes.as_ref().map_or(0, Vec::len), RULES_MAX)?;
        few("tools", self.tools.as_ref().map_or(0, Vec::len), RULES_MAX)?;
        let payload = serde_json::to_vec(self).map_err(|_| KeyRefusal::BadValue("token"))?;
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let tag = URL_SAFE_NO_PAD.encode(mac(secret, &payload).finalize().into_bytes());
        let token = format!("{TOKEN_PREFIX}{payload}.{tag}");
        few("routes", token.len(), TOKEN_MAX_BYTES)?;
        Ok(token)
    }

    /// Reads a token that one of these secrets has signed. Whether its time is over, and whether it was made void, is not looked at.
    #[must_use]
    pub fn verify<'a>(text: &str, secrets: impl IntoIterator<Item = &'a [u8; 32]>) -> Option<Self> {
        let (payload, tag) = text.strip_prefix(TOKEN_PREFIX)?.split_once('.')?;
        if text.len() > TOKEN_MAX_BYTES {
            return None;
        }
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let signed = secrets.into_iter().any(|secret| mac(secret, payload).verify_slice(&tag).is_ok());
        // What is not ours is not even read.
        signed.then(|| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()).flatten()
    }

    /// Whether it is for a call on a normalised path.
    #[must_use]
    pub fn covers(&self, method: &str, path: &str) -> bool {
        self.routes.as_ref().is_none_or(|rules| rules.iter().any(|rule| rule.covers(method, path)))
    }

    /// Whether it is for a tool.
    #[must_use]
    pub fn covers_tool(&self, tool: &str) -> bool {
        self.tools.as_ref().is_none_or(|rules| rules.iter().any(|rule| rule.covers(tool)))
    }
}

fn mac(secret: &[u8; 32], payload: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(secret)
        .expect("HMAC takes keys of every length")
        .chain_update(TOKEN_PREFIX)
        .chain_update(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn token() -> Token {
        Token {
            id: [1; 16],
            key: KeyId([2; 16]),
            issued_at_ms: 1_000,
            expires_at_ms: 61_000,
            routes: Some(vec!["GET /paid/*".to_owned().try_into().unwrap()]),
            tools: Some(vec!["search_*".to_owned().try_into().unwrap()]),
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_signed_and_by_its_secret_alone() {
        let text = token().sign(&SECRET).unwrap();
        assert_eq!(Token::verify(&text, [&[1; 32], &SECRET]), Some(token()));
        assert_eq!(Token::verify(&text, [&[1; 32]]), None);
        assert_eq!(Token::verify(&text, []), None);
        let token = token();
        assert!(token.covers("GET", "/paid/a") && !token.covers("POST", "/paid/a") && !token.covers("GET", "/other"));
        assert!(token.covers_tool("search_web") && !token.covers_tool("delete"));
    }

    #[test]
    fn every_changed_character_voids_it() {
        let text = token().sign(&SECRET).unwrap();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last digit of a tag has bits that say nothing: they must be zero, or it is another text.
            assert_eq!(Token::verify(&changed, [&SECRET]), None, "{at}");
        }
        for text in [
            "",
            "pgt_",
            "pgt_.",
            "pgt_a.b",
            "pgt_e30.",
            &text[4..],
            &format!("{text}."),
            &format!("pgt_{}.x", "a".repeat(5_000)),
        ] {
            assert_eq!(Token::verify(text, [&SECRET]), None, "{text:.40}");
        }
    }

    #[test]
    fn a_token_is_short_lived_and_small() {
        let lives = |expires_at_ms| Token { expires_at_ms, ..token() }.sign(&SECRET);
        assert!(lives(1_000 + 86_400_000).is_ok());
        for ends in [1_000 + 86_400_001, 1_000, 0] {
            assert_eq!(lives(ends), Err(KeyRefusal::BadValue("ttl_s")), "{ends}");
        }
        let rules = |count: usize, length: usize| {
            let rule = format!("/{}", "a".repeat(length));
            Token { routes: Some(vec![rule.try_into().unwrap(); count]), ..token() }.sign(&SECRET)
        };
        assert!(rules(50, 10).is_ok());
        for (count, length) in [(51, 1), (50, 400)] {
            assert_eq!(rules(count, length).unwrap_err().field(), Some("routes"));
        }
    }

    /// The same token from another implementation (Python's hmac and json).
    #[test]
    fn the_form_is_the_documented_one() {
        let token = Token { routes: None, tools: None, ..token() };
        let text = token.sign(&SECRET).unwrap();
        let payload = r#"{"jti":"01010101010101010101010101010101","key":"02020202020202020202020202020202","iat_ms":1000,"exp_ms":61000}"#;
        assert!(text.starts_with(&format!("pgt_{}.", URL_SAFE_NO_PAD.encode(payload))));
        assert_eq!(text.rsplit_once('.').unwrap().1, VECTOR);
    }

    const VECTOR: &str = "L4LZv9h0nYahvG4HQ9MVIsD_lRtvY_jezToa2oCnj3Y";
}
