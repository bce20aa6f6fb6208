//! A request against the route's `info`. Whether what is there makes sense is for the upstream to say.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;

use super::template::decode;
use super::{Body, BodyType, Info, Input};

/// What a request lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {what}")]
pub struct RequestMistake {
    /// The place: `query.<name>`, `content-type`, `body` or `body.<name>`. The name is the operator's.
    pub field: String,
    /// What is wrong.
    pub what: &'static str,
}

impl Info {
    /// Whether a request must be read to be checked. Where it need not, its body may stream.
    #[must_use]
    pub fn needs_body(&self, method: &str) -> bool {
        self.body_of(method).is_some_and(|body| !body.fields.is_empty())
    }

    /// Checks a request: required query parameters are there, `Content-Type` fits `bodyType`, and required fields of a JSON
    /// body are there. A body that was not read is an empty one; the caller bounds its size. With `mcp` nothing is checked,
    /// and nothing where `info` is about another method; HEAD counts as GET.
    ///
    /// # Errors
    /// The first [`RequestMistake`].
    pub fn check_request(
        &self,
        method: &str,
        query: &str,
        content_type: Option<&str>,
        body: Option<&[u8]>,
    ) -> Result<(), RequestMistake> {
        let mistake = |field: String, what| Err(RequestMistake { field, what });
        if let Input::Http { query: required, .. } = &self.input
            && self.is_about(method)
            && !required.is_empty()
        {
            let there = query_names(query);
            if let Some(name) = required.iter().find(|name| !there.contains(*name)) {
                return mistake(format!("query.{name}"), "is required");
            }
        }
        let Some(wanted) = self.body_of(method) else { return Ok(()) };
        if !wanted.kind.fits(content_type.unwrap_or_default()) {
            return mistake("content-type".to_owned(), wanted.kind.advice());
        }
        if wanted.fields.is_empty() {
            return Ok(());
        }
        let Ok(there) = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body.unwrap_or_default()) else {
            return mistake("body".to_owned(), "must be a JSON object");
        };
        match wanted.fields.iter().find(|name| !there.contains_key(*name)) {
            Some(name) => mistake(format!("body.{name}"), "is required"),
            None => Ok(()),
        }
    }

    fn is_about(&self, method: &str) -> bool {
        let as_get = |method: &str| if method == "HEAD" { "GET".to_owned() } else { method.to_owned() };
        match &self.input {
            Input::Mcp => false,
            Input::Http { method: None, body, .. } => body.is_none() || super::BODY_METHODS.contains(&method),
            Input::Http { method: Some(known), .. } => as_get(known) == as_get(method),
        }
    }

    fn body_of(&self, method: &str) -> Option<&Body> {
        match &self.input {
            Input::Http { body, .. } if self.is_about(method) => body.as_ref(),
            Input::Http { .. } | Input::Mcp => None,
        }
    }
}

impl BodyType {
    fn fits(self, content_type: &str) -> bool {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match self {
            Self::Json => kind == "application/json",
            Self::FormData => kind == "multipart/form-data",
            Self::Text => kind.starts_with("text/"),
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Json => "must be application/json",
            Self::FormData => "must be multipart/form-data",
            Self::Text => "must be text/plain or another text/ type",
        }
    }
}

/// The names in a query, decoded. One that cannot be decoded is none that an operator wrote.
fn query_names(query: &str) -> BTreeSet<String> {
    let names = query.split('&').filter_map(|pair| pair.split('=').next());
    names.filter_map(|name| decode(name.replace('+', " ").as_bytes())).collect()
}
