//! The operator's listener, on a thread of its own: `/metrics`, `/livez`, `/readyz`, and the admin API with its documents.

mod admins;
mod api;
mod ask;
mod audit;
mod backups;
mod balances;
mod closing;
mod endpoint;
mod health;
mod keys;
mod openapi;
mod paygate;
mod refused;
mod table;
mod usage;
mod who;

use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;

use alloy_primitives::hex;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use proxy::{Incoming, ListenerLimits, Peer};
use store::Store;
use tokio::task::LocalSet;
use tracing::{error, info};

use crate::config::{Config, OperationConfig};
use crate::front::public::refuse_method;
use crate::host;
use crate::operation::Operation;

use api::{Api, Entrance};
use refused::Refused;
use who::{Door, VARIABLE};

/// Nobody but the operator's own tools comes here.
const CONNECTIONS_MAX: usize = 64;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_PONTAGE_VERSION: HeaderName = HeaderName::from_static("x-pontage-version");
/// What a browser may do with an answer: nothing, but for the styles of the one page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Starts that of a facilitator, where it is configured: it has no accounts, and so no admin API.
pub(crate) fn start_without_api(config: &OperationConfig, operation: &Operation) -> anyhow::Result<()> {
    let Some(listen) = config.admin_listen else { return Ok(()) };
    let address = listen_on(listen, operation.clone(), None)?;
    info!(%address, "the admin listener: /metrics, /livez, /readyz");
    Ok(())
}

/// Starts a gate's, where it is configured. A maintenance that was begun before goes on either way.
pub(crate) fn start(config: &Config, store: &Store, operation: &Operation) -> anyhow::Result<()> {
    operation.maintenance.set(store.handle()?.maintenance()?.as_ref());
    let Some(listen) = config.operation.admin_listen else { return Ok(()) };
    let door = Door::new(config.operation.admin_token.as_ref())?;
    if !listen.ip().is_loopback() && !door.has_bootstrap() {
        bail!(
            "admin.listen: {listen} can be reached from elsewhere, and there is no admin's token. Listen on 127.0.0.1, or put a \
             token into the environment variable {VARIABLE}, or where admin.token says"
        );
    }
    let address = listen_on(listen, operation.clone(), Some((store.clone(), (door, config.accounts))))?;
    info!(%address, "the admin listener: /metrics, /livez, /readyz, /admin/v1, /docs");
    Ok(())
}

/// It ends with the process, so that a stop can be watched.
fn listen_on(listen: SocketAddr, operation: Operation, api: Option<(Store, Entrance)>) -> anyhow::Result<SocketAddr> {
    let taken = || format!("admin.listen: {listen} cannot be bound");
    proxy::ensure_free(listen).with_context(taken)?;
    let listener = proxy::bind(listen).with_context(taken)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        let api = api.map(|(store, entrance)| Api::new(store, operation.clone(), entrance)).transpose();
        let api = match api {
            Ok(api) => api.map(Rc::new),
            Err(error) => {
                error!(error = format!("{error:#}"), "the admin listener could not start");
                return;
            }
        };
        let limits = ListenerLimits { connections_max: CONNECTIONS_MAX, ..ListenerLimits::default() };
        let service = move |request, peer| {
            let (api, operation) = (api.clone(), operation.clone());
            async move { answer(&operation, api.as_ref(), request, peer).await.map(Full::new) }
        };
        if let Err(error) =
            LocalSet::new().block_on(&runtime, proxy::serve(listener, limits, service, std::future::pending()))
        {
            error!(%error, "the admin listener ended");
        }
    };
    thread::Builder::new().name("admin".to_owned()).spawn(serve)?;
    Ok(address)
}

async fn answer(
    operation: &Operation,
    api: Option<&Rc<Api>>,
    request: Request<Incoming>,
    peer: Peer,
) -> Response<Bytes> {
    let id = request_id(request.headers());
    let path = request.uri().path();
    let mut response = match (public(operation, request.method(), path, api.is_some()), api) {
        (Some(response), _) => response,
        (None, Some(api)) if path.starts_with("/admin/v1/") || paygate::has(path) => api.answer(request, peer).await,
        _ => Refused::unknown("endpoint").into_response(),
    };
    dress(response.headers_mut(), id);
    response
}

/// What needs no token: nothing in it is secret.
fn public(operation: &Operation, method: &Method, path: &str, has_api: bool) -> Option<Response<Bytes>> {
    let text = |kind: &'static str, body: String| {
        if let Some(refused) = refuse_method(method) {
            return Some(refused);
        }
        let mut response = Response::new(Bytes::from(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Some(response)
    };
    match path {
        "/livez" | "/readyz" => operation.answer(path, method, &HeaderMap::new()),
        "/status" => operation.answer("/__pay/status", method, &HeaderMap::new()),
        "/metrics" => text("text/plain; version=0.0.4; charset=utf-8", operation.metrics()),
        "/admin/v1/openapi.json" if has_api => text("application/json", format!("{:#}\n", openapi::document())),
        "/docs" if has_api => text("text/html; charset=utf-8", openapi::page()),
        "/" => {
            let here = "/metrics, /livez, /readyz and /status are here; of a gate /docs and /admin/v1, too.\n";
            text("text/plain; charset=utf-8", here.to_owned()).map(|mut response| {
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            })
        }
        _ => None,
    }
}

/// The name that the caller gave his request, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let given = headers.get(X_REQUEST_ID);
    let fits = |id: &&HeaderValue| (1..=128).contains(&id.len()) && id.as_bytes().iter().all(plain);
    given.filter(fits).cloned().unwrap_or_else(|| {
        let drawn = format!("req_{}", hex::encode(host::entropy::<8>()));
        HeaderValue::try_from(drawn).unwrap_or(HeaderValue::from_static("req_"))
    })
}

/// What every answer has.
fn dress(headers: &mut HeaderMap, id: HeaderValue) {
    let words = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (X_XSS_PROTECTION, "0"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_PONTAGE_VERSION, env!("CARGO_PKG_VERSION")),
    ];
    for (name, value) in words {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(X_REQUEST_ID, id);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::watch;

    use super::*;
    use crate::config;
    use crate::host::now_ms;
    use crate::log::Log;
    use crate::plan::Plan;

    fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(format!("http://{address}{path}")).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    #[test]
    fn the_operators_listener_answers_also_while_the_gate_stops() {
        let folder = tempfile::tempdir().unwrap();
        let text = "version: 1\nprovider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"\n\
                    proxy: { target: \"http://127.0.0.1:3000\" }\nroutes: [{ path: /free, free: true }]\n";
        let config = config::parse(text, "pontage.yaml", folder.path(), &|_| None).unwrap();
        let limits = store::Limits { answers_max_bytes: 1 << 20, answers_keep_s: 1 };
        let store = store::Store::open(Path::new(&config.store_path), limits, now_ms).unwrap();
        let (stop, stopping) = watch::channel(false);
        let plan = Plan::compile(&config);
        let operation = Operation::new(&config, &plan.snapshot, &Log::nowhere(), &[], stopping).unwrap();
        let door = Door::new(None).unwrap();
        let address =
            listen_on("127.0.0.1:0".parse().unwrap(), operation.clone(), Some((store, (door, None)))).unwrap();
        assert_eq!(get(address, "/livez").0, 200);
        assert_eq!(get(address, "/readyz").0, 200);
        let (status, page) = get(address, "/metrics");
        assert!(status == 200 && page.contains("\npontage_payments_unsettled 0\n"), "{page}");
        assert_eq!(get(address, "/other").0, 404);
        assert_eq!(get(address, "/admin/v1/me").0, 401);
        assert!(get(address, "/docs").1.contains("/admin/v1/usage"));
        let told = |path: &str, method: &Method| {
            operation.answer(path, method, &HeaderMap::new()).map(|answer| answer.status().as_u16())
        };
        for path in ["/__pay/health", "/__pay/manifest", "/.well-known/x402", "/openapi.json", "/livez", "/readyz"] {
            assert_eq!(told(path, &Method::HEAD), Some(200), "{path}");
            assert_eq!(told(path, &Method::POST), Some(405), "{path}");
        }
        assert_eq!((told("/__pay/payments/x", &Method::GET), told("/free", &Method::GET)), (None, None));
        operation.journal_failed();
        let (status, body) = get(address, "/readyz");
        assert!(status == 503 && body.contains("\"journal\":\"unavailable\""), "{body}");
        stop.send(true).unwrap();
        let (status, body) = get(address, "/readyz");
        assert!(status == 503 && body.contains("\"process\":\"stopping\""), "{body}");
        assert_eq!(get(address, "/livez").0, 200);
    }
}
