//! The API of the sandbox: four small services, each with a stand-in that needs no internet. It knows nothing of money.

use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use proxy::{Incoming, ListenerLimits};
use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::model::Model;

/// The largest request that a service reads.
const BODY_MAX_BYTES: usize = 10 * 1024 * 1024;
/// Numbers in a vector of `/api/embed`.
const DIMENSIONS: usize = 32;

/// What a service answers.
type Answer = (StatusCode, &'static str, Vec<u8>);

/// Starts the API on a free port of loopback, on a thread that goes with the process.
pub(super) fn start(model: Option<Model>) -> anyhow::Result<SocketAddr> {
    let listener = proxy::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        let model = Rc::new(model);
        let service = move |request, _| serve(Rc::clone(&model), request);
        let served = proxy::serve(listener, ListenerLimits::default(), service, std::future::pending());
        LocalSet::new().block_on(&runtime, served)
    };
    thread::Builder::new().name("demo".to_owned()).spawn(run)?;
    Ok(address)
}

async fn serve(model: Rc<Option<Model>>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, kind, body) = answer(model.as_ref().as_ref(), request).await;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn answer(model: Option<&Model>, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    if !matches!(parts.method, Method::GET | Method::HEAD | Method::POST) {
        return wrong(StatusCode::METHOD_NOT_ALLOWED, "use GET or POST");
    }
    let body = match Limited::new(body, BODY_MAX_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return wrong(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 10 MB");
        }
        Err(_) => return wrong(StatusCode::BAD_REQUEST, "the body broke off"),
    };
    let input = Input { query: parts.uri.query().unwrap_or_default(), body: &body };
    match parts.uri.path() {
        "/health" => good(&json!({ "status": "ok" })),
        "/api/ask" => ask(model, &input).await,
        "/api/og" => (StatusCode::OK, "image/svg+xml", card(&input.text("title")).into_bytes()),
        "/api/fetch-summarize" => summarize(&input),
        "/api/embed" => embed(&input),
        _ => wrong(StatusCode::NOT_FOUND, "there is no such service"),
    }
}

/// What a caller sent: in the query, as a JSON object, or as plain text.
struct Input<'a> {
    query: &'a str,
    body: &'a [u8],
}

impl Input<'_> {
    /// The value called `name`, or the whole body where that is plain text.
    fn text(&self, name: &str) -> String {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        if let Some((_, value)) = pairs.find(|(key, _)| *key == name) {
            return unescape(value);
        }
        match serde_json::from_slice::<Value>(self.body) {
            Ok(Value::Object(members)) => members.get(name).and_then(Value::as_str).unwrap_or_default().to_owned(),
            Ok(_) | Err(_) => String::from_utf8_lossy(self.body).trim().to_owned(),
        }
    }
}

/// `%41` and `+` of a query.
fn unescape(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let hex = std::str::from_utf8(&digits).unwrap_or_default();
                u8::from_str_radix(hex, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A short answer of a language model, or of the stand-in.
async fn ask(model: Option<&Model>, input: &Input<'_>) -> Answer {
    let question = input.text("question");
    if question.is_empty() {
        return wrong(StatusCode::BAD_REQUEST, "send a question: ?question=… or {\"question\": \"…\"}");
    }
    let Some(model) = model else {
        let text = "This stand-in knows one thing: a pontage was the toll a traveller paid to cross a bridge, which paid for it.";
        return good(&json!({ "answer": text, "model": "offline stand-in" }));
    };
    match model.ask(&question).await {
        Ok(text) => good(&json!({ "answer": text, "model": model.name() })),
        // An answer of 400 or above costs nothing; what the model's host said is in the log.
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "the model did not answer");
            wrong(StatusCode::BAD_GATEWAY, "the model did not answer")
        }
    }
}

/// An OpenGraph card of 1200 by 630, as SVG.
fn card(title: &str) -> String {
    let title: String = title.chars().filter(|c| !c.is_control()).take(60).collect();
    let title = if title.is_empty() { "pontage".to_owned() } else { title };
    let safe = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"630\" viewBox=\"0 0 1200 630\">\
         <rect width=\"1200\" height=\"630\" fill=\"#14213d\"/><path d=\"M0 520h1200M150 520a450 320 0 0 1 900 0\" \
         fill=\"none\" stroke=\"#fca311\" stroke-width=\"18\"/><text x=\"600\" y=\"300\" fill=\"#fff\" font-size=\"64\" \
         font-family=\"sans-serif\" text-anchor=\"middle\">{safe}</text></svg>\n"
    )
}

/// The first three sentences of a text. It fetches nothing: the sandbox has no internet.
fn summarize(input: &Input<'_>) -> Answer {
    let text = match input.text("text") {
        text if text.is_empty() => STORY.to_owned(),
        text => text,
    };
    let mut sentences = text.split_inclusive(['.', '!', '?']).map(str::trim).filter(|sentence| !sentence.is_empty());
    let summary: Vec<_> = sentences.by_ref().take(3).collect();
    good(&json!({ "summary": summary.join(" "), "sentences_left_out": sentences.count() }))
}

const STORY: &str = "In 1306 a bridge needed repair. The town was granted pontage: a toll on whatever crossed it. \
    A cart of corn paid a penny, a pedlar on foot paid nothing. The toll was farmed out, and its keeper wrote down each cart. \
    After three years the bridge stood, and the toll ended.";

/// A vector of whole numbers: how often the words of a text fall into each of its places.
fn embed(input: &Input<'_>) -> Answer {
    use sha2::{Digest as _, Sha256};
    let text = input.text("text").to_lowercase();
    let mut vector = [0u32; DIMENSIONS];
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let place = Sha256::digest(word.as_bytes()).first().map_or(0, |byte| usize::from(*byte) % DIMENSIONS);
        if let Some(count) = vector.get_mut(place) {
            *count += 1;
        }
    }
    good(&json!({ "dimensions": DIMENSIONS, "vector": vector.as_slice() }))
}

fn good(body: &Value) -> Answer {
    (StatusCode::OK, "application/json", format!("{body}\n").into_bytes())
}

fn wrong(status: StatusCode, why: &str) -> Answer {
    (status, "application/json", format!("{}\n", json!({ "error": why })).into_bytes())
}
