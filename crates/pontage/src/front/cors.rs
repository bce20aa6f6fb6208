//! What web pages of other origins are told (CORS): who may read an answer, which of its headers, and what they may send.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Response, StatusCode};

/// What a page has to read to pay, and to know how often it may ask.
const EXPOSED: [&str; 9] = [
    "PAYMENT-REQUIRED",
    "PAYMENT-RESPONSE",
    "X-PAYMENT-RESPONSE",
    "X-402-RECEIPT",
    "X-PAYMENT-PASS",
    "RETRY-AFTER",
    "X-RATELIMIT-LIMIT",
    "X-RATELIMIT-REMAINING",
    "X-RATELIMIT-RESET",
];
/// What a page sends to pay. The third of them is an answer's header that x402 clients send by mistake.
const ALLOWED: &str = "PAYMENT-SIGNATURE, X-PAYMENT, X-PAYMENT-PASS, Access-Control-Expose-Headers, SIGN-IN-WITH-X, IDEMPOTENCY-KEY, \
                       CONTENT-TYPE, AUTHORIZATION";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// How long a browser may remember a preflight. Chromium takes no more.
const MAX_AGE_S: u32 = 7_200;
/// The most that is repeated of what a preflight asks for.
const ASKED_MAX_BYTES: usize = 1_024;

/// Whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Ours: a challenge, a problem, one of our endpoints.
    Ours,
    /// The upstream's, paid for. Its own CORS words stay; what we add is exposed besides.
    Paid,
    /// The upstream's, of a free call. Not ours to speak for.
    Passed,
}

/// Whether a browser asks before it sends a call.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The gate's answer to a preflight of a paid route. Whoever is not among `origins` gets the same 204 without a permission.
pub(crate) fn preflight_answer(origins: &[String], request: &HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let asked = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    headers.insert(VARY, HeaderValue::from_static(asked));
    if let Some(origin) = allowed_origin(origins, request.get(ORIGIN)) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods(request));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(request));
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S.into());
    }
    response
}

/// What [`decorate`] will need of a request, which is on its way by then.
pub(crate) fn asks(origins: &[String], request: &HeaderMap) -> Option<HeaderValue> {
    if origins.is_empty() { None } else { request.get(ORIGIN).cloned() }
}

/// Adds what an answer needs for the page that asked. It never allows credentials: a payment is no cookie.
pub(crate) fn decorate(origins: &[String], asked: Option<&HeaderValue>, whose: Whose, answer: &mut HeaderMap) {
    if origins.is_empty() || whose == Whose::Passed {
        return;
    }
    // A cache must not give one origin's permission to another, also where this request had no origin.
    if !origins.iter().any(|origin| origin == "*") {
        vary_on_origin(answer);
    }
    let Some(origin) = allowed_origin(origins, asked) else { return };
    if !answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        if origin == "*" {
            // The two together are refused by every browser.
            answer.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        }
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    expose(answer);
}

/// What `Access-Control-Allow-Origin` is to say. `None` for an origin that is not configured, and for who names none.
fn allowed_origin(origins: &[String], asked: Option<&HeaderValue>) -> Option<HeaderValue> {
    let asked = asked?;
    if origins.iter().any(|origin| origin == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let known = |origin: &String| origin.trim_end_matches('/').as_bytes().eq_ignore_ascii_case(asked.as_bytes());
    origins.iter().any(known).then(|| asked.clone())
}

fn vary_on_origin(answer: &mut HeaderMap) {
    let named = |value: &HeaderValue| {
        value.to_str().is_ok_and(|value| {
            value.split(',').any(|name| name.trim() == "*" || name.trim().eq_ignore_ascii_case("origin"))
        })
    };
    if !answer.get_all(VARY).iter().any(named) {
        answer.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// Exposes our headers besides those that the upstream exposes.
fn expose(answer: &mut HeaderMap) {
    let theirs = answer.get_all(ACCESS_CONTROL_EXPOSE_HEADERS).iter().filter_map(|value| value.to_str().ok());
    let mut names: Vec<String> = theirs.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned()).collect();
    names.retain(|name| !name.is_empty());
    for ours in EXPOSED {
        if !names.iter().any(|name| name.eq_ignore_ascii_case(ours)) {
            names.push(ours.to_owned());
        }
    }
    if let Ok(value) = HeaderValue::try_from(names.join(", ")) {
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, value);
    }
}

/// The usual methods, and the one that is asked for where it is another.
fn methods(request: &HeaderMap) -> HeaderValue {
    let asked = request.get(ACCESS_CONTROL_REQUEST_METHOD).and_then(|method| method.to_str().ok()).unwrap_or_default();
    let unusual = is_token(asked) && asked.len() <= 32 && !METHODS.split(", ").any(|method| method == asked);
    let list = if unusual { format!("{METHODS}, {asked}") } else { METHODS.to_owned() };
    HeaderValue::try_from(list).unwrap_or_else(|_| HeaderValue::from_static(METHODS))
}

/// Ours, and what is asked for. Names alone are repeated, and no more than [`ASKED_MAX_BYTES`] of them.
fn allowed_headers(request: &HeaderMap) -> HeaderValue {
    let mut list = ALLOWED.to_owned();
    let asked = request.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|value| value.to_str().ok());
    for name in asked.flat_map(|value| value.split(',')).map(str::trim).filter(|name| is_token(name)) {
        let known = list.split(", ").any(|known| known.eq_ignore_ascii_case(name));
        if !known && list.len() + name.len() <= ALLOWED.len() + ASKED_MAX_BYTES {
            list = format!("{list}, {name}");
        }
    }
    HeaderValue::try_from(list).unwrap_or_else(|_| HeaderValue::from_static(ALLOWED))
}

fn is_token(text: &str) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    fn origins(list: &[&str]) -> Vec<String> {
        list.iter().map(|origin| (*origin).to_owned()).collect()
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn preflight_table() {
        let asks = ("access-control-request-method", "GET");
        let origin = ("origin", "https://a.example");
        for (method, headers, want) in [
            (Method::OPTIONS, map(&[origin, asks]), true),
            (Method::OPTIONS, map(&[origin]), false),
            (Method::OPTIONS, map(&[asks]), false),
            (Method::GET, map(&[origin, asks]), false),
        ] {
            assert_eq!(is_preflight(&method, &headers), want, "{method} {headers:?}");
        }
    }

    #[test]
    fn origin_table() {
        for (configured, asked, allowed, varies) in [
            (&["*"][..], Some("https://a.example"), Some("*"), false),
            (&["*"], None, None, false),
            (&["*"], Some("null"), Some("*"), false),
            (&["https://a.example"], Some("https://a.example"), Some("https://a.example"), true),
            (&["https://a.example/"], Some("https://a.example"), Some("https://a.example"), true),
            (&["https://A.example"], Some("https://a.example"), Some("https://a.example"), true),
            (&["https://a.example"], Some("https://a.example.evil"), None, true),
            (&["https://a.example"], Some("http://a.example"), None, true),
            (&["https://a.example"], Some("null"), None, true),
            (&["https://a.example"], None, None, true),
            (&[], Some("https://a.example"), None, false),
        ] {
            let request = asked.map(|origin| map(&[("origin", origin)])).unwrap_or_default();
            for whose in [Whose::Ours, Whose::Paid, Whose::Passed] {
                let mut answer = HeaderMap::new();
                decorate(&origins(configured), request.get(ORIGIN), whose, &mut answer);
                let (allowed, varies) = if whose == Whose::Passed { (None, false) } else { (allowed, varies) };
                let case = format!("{configured:?} {asked:?} {whose:?}");
                assert_eq!(text(&answer, "access-control-allow-origin"), allowed, "{case}");
                assert_eq!(text(&answer, "vary"), varies.then_some("Origin"), "{case}");
                let exposed = text(&answer, "access-control-expose-headers");
                assert_eq!(exposed.is_some_and(|list| list.contains("PAYMENT-REQUIRED")), allowed.is_some(), "{case}");
                assert_eq!(text(&answer, "access-control-allow-credentials"), None, "{case}");
            }
        }
    }

    #[test]
    fn an_upstreams_own_words_stay() {
        let request = map(&[("origin", "https://a.example")]);
        let mut answer = map(&[
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "X-Total, payment-response"),
            ("vary", "Accept-Encoding, origin"),
        ]);
        decorate(&origins(&["https://a.example"]), request.get(ORIGIN), Whose::Paid, &mut answer);
        assert_eq!(text(&answer, "access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(text(&answer, "access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.get_all(VARY).iter().count(), 1);
        let exposed = text(&answer, "access-control-expose-headers").unwrap();
        assert!(exposed.starts_with("X-Total, payment-response, PAYMENT-REQUIRED"), "{exposed}");
        assert_eq!(exposed.to_lowercase().matches("payment-response").count(), 2, "{exposed}");
        let mut answer = map(&[("access-control-allow-credentials", "true")]);
        decorate(&origins(&["*"]), request.get(ORIGIN), Whose::Paid, &mut answer);
        assert_eq!(text(&answer, "access-control-allow-origin"), Some("*"));
        assert_eq!(text(&answer, "access-control-allow-credentials"), None);
    }

    #[test]
    fn a_preflight_allows_what_is_asked_for_within_bounds() {
        let request = map(&[
            ("origin", "https://a.example"),
            ("access-control-request-method", "PURGE"),
            ("access-control-request-headers", "x-payment, x-own,bad name,, authorization"),
        ]);
        let answer = preflight_answer(&origins(&["https://a.example"]), &request);
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        let headers = answer.headers();
        assert_eq!(text(headers, "access-control-allow-origin"), Some("https://a.example"));
        assert!(text(headers, "access-control-allow-methods").unwrap().ends_with("OPTIONS, PURGE"));
        let allowed = text(headers, "access-control-allow-headers").unwrap();
        assert!(allowed.starts_with("PAYMENT-SIGNATURE, X-PAYMENT, ") && allowed.ends_with("AUTHORIZATION, x-own"));
        assert!(text(headers, "vary").unwrap().starts_with("Origin"));
        let many = (0..1_000).map(|at| format!("x-{at}")).collect::<Vec<_>>().join(",");
        let request = map(&[("origin", "https://a.example"), ("access-control-request-headers", &many)]);
        let answer = preflight_answer(&origins(&["*"]), &request);
        let allowed = text(answer.headers(), "access-control-allow-headers").unwrap();
        assert!(allowed.len() <= ALLOWED.len() + ASKED_MAX_BYTES && allowed.contains("x-0, x-1"));
    }

    #[test]
    fn a_stranger_gets_a_preflight_without_permission() {
        let request = map(&[("origin", "https://b.example"), ("access-control-request-method", "GET")]);
        let answer = preflight_answer(&origins(&["https://a.example"]), &request);
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["vary"]);
    }
}
