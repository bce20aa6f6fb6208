//! What a rule about routes or tools covers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::KeyRefusal;
use crate::Pattern;

/// Longer rules are nobody's.
const RULE_MAX_BYTES: usize = 500;

/// Calls by their path: a [`Pattern`], with a method before it where it is for one method alone. A route's id (`GET /paid/*`) is one, and
/// covers the paths that the route does. GET covers HEAD; `*` is every method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RouteRule {
    method: Option<String>,
    pattern: Pattern,
}

impl RouteRule {
    /// Whether it covers a call on a normalised path.
    #[must_use]
    pub fn covers(&self, method: &str, path: &str) -> bool {
        let of_method = |rule: &str| rule == method || (rule == "GET" && method == "HEAD");
        self.method.as_deref().is_none_or(of_method) && self.pattern.matches(path)
    }
}

impl TryFrom<String> for RouteRule {
    type Error = KeyRefusal;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bad = KeyRefusal::BadValue("routes");
        if text.len() > RULE_MAX_BYTES {
            return Err(bad);
        }
        // Every path, as other gates write it.
        if text == "*" {
            return Ok(Self { method: None, pattern: Pattern::parse("/**").map_err(|_| bad)? });
        }
        let (method, pattern) = match text.split_once(' ') {
            None => (None, text.as_str()),
            Some(("*", pattern)) => (None, pattern),
            Some((method, pattern)) => (Some(method), pattern),
        };
        let is_method = |method: &str| !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        if !method.is_none_or(is_method) {
            return Err(bad);
        }
        Ok(Self { method: method.map(str::to_owned), pattern: Pattern::parse(pattern).map_err(|_| bad)? })
    }
}

impl From<RouteRule> for String {
    fn from(rule: RouteRule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for RouteRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.method {
            Some(method) => write!(f, "{method} {}", self.pattern),
            None => self.pattern.fmt(f),
        }
    }
}

/// Tools by their name; a `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolRule(String);

impl ToolRule {
    /// Whether it covers a tool.
    #[must_use]
    pub fn covers(&self, tool: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == tool };
        let Some(mut left) = tool.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*').filter(|part| !part.is_empty()) {
            let Some((_, after)) = left.split_once(part) else { return false };
            left = after;
        }
        left.ends_with(last)
    }
}

impl TryFrom<String> for ToolRule {
    type Error = KeyRefusal;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_name = |byte: u8| byte.is_ascii_graphic();
        if text.is_empty() || text.len() > RULE_MAX_BYTES || !text.bytes().all(is_name) {
            return Err(KeyRefusal::BadValue("tools"));
        }
        Ok(Self(text))
    }
}

impl From<ToolRule> for String {
    fn from(rule: ToolRule) -> Self {
        rule.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_by_method_and_path() {
        for (rule, method, path, want) in [
            ("/paid/*", "GET", "/paid/a", true),
            ("/paid/*", "POST", "/PAID/a", true),
            ("GET /paid/*", "HEAD", "/paid", true),
            ("GET /paid/*", "POST", "/paid", false),
            ("* /paid", "DELETE", "/paid", true),
            ("*", "GET", "/anything/at/all", true),
            ("*", "GET", "/", true),
            ("/paid", "GET", "/paid%2e", false),
            ("POST /v1/**/run", "POST", "/v1/a/b/run", true),
        ] {
            let parsed = RouteRule::try_from(rule.to_owned()).unwrap();
            assert_eq!(parsed.covers(method, path), want, "{rule} {method} {path}");
            assert_eq!(RouteRule::try_from(parsed.to_string()), Ok(parsed));
        }
        for text in
            ["", "paid", "get /paid", "GET  /paid", "GET paid", " /paid", "/a/../b", &format!("/{}", "a".repeat(500))]
        {
            assert!(RouteRule::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn tools_by_name() {
        for (rule, tool, want) in [
            ("search", "search", true),
            ("search", "Search", false),
            ("search_*", "search_web", true),
            ("search_*", "search", false),
            ("*", "anything", true),
            ("*_web", "search_web", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
            ("a*a", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(ToolRule::try_from(rule.to_owned()).unwrap().covers(tool), want, "{rule} {tool}");
        }
        for text in ["", "a b", "a\n", "caf\u{e9}"] {
            assert!(ToolRule::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
