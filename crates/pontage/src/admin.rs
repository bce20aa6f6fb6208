//! The operator's listener: `/metrics`, `/livez` and `/readyz`, on a thread of its own.

use std::net::SocketAddr;
use std::thread;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use proxy::ListenerLimits;
use tokio::task::LocalSet;
use tracing::error;

use crate::front::public::{livez, refuse_method};
use crate::operation::Operation;

/// Nobody but the operator's own tools comes here.
const CONNECTIONS_MAX: usize = 64;

/// Starts it. It ends with the process, so that a stop can be watched.
pub(crate) fn start(listen: SocketAddr, operation: Operation) -> anyhow::Result<SocketAddr> {
    let taken = || format!("admin.listen: {listen} cannot be bound");
    proxy::ensure_free(listen).with_context(taken)?;
    let listener = proxy::bind(listen).with_context(taken)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        let limits = ListenerLimits { connections_max: CONNECTIONS_MAX, ..ListenerLimits::default() };
        let service = move |request: http::Request<hyper::body::Incoming>, _| {
            let answer = answer(&operation, request.method(), request.uri().path());
            async move { answer.map(Full::new) }
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

fn answer(operation: &Operation, method: &Method, path: &str) -> Response<Bytes> {
    if let Some(refused) = refuse_method(method) {
        return refused;
    }
    match path {
        "/livez" => livez(),
        "/readyz" => operation.readiness().answer(),
        "/metrics" => {
            let mut response = Response::new(Bytes::from(operation.metrics()));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        _ => {
            let mut response = Response::new(Bytes::from_static(b"/metrics, /livez and /readyz are here.\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            response
        }
    }
}
