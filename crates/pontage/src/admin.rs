//! The operator's listener: `/metrics`, `/livez` and `/readyz`, on a thread of its own.

use std::net::SocketAddr;
use std::thread;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::Full;
use proxy::ListenerLimits;
use tokio::task::LocalSet;
use tracing::{error, info};

use crate::front::public::refuse_method;
use crate::operation::Operation;

/// Nobody but the operator's own tools comes here.
const CONNECTIONS_MAX: usize = 64;

/// Starts it, where it is configured.
pub(crate) fn start(listen: Option<SocketAddr>, operation: &Operation) -> anyhow::Result<()> {
    if let Some(listen) = listen {
        let address = listen_on(listen, operation.clone())?;
        info!(%address, "the admin listener: /metrics, /livez, /readyz");
    }
    Ok(())
}

/// It ends with the process, so that a stop can be watched.
fn listen_on(listen: SocketAddr, operation: Operation) -> anyhow::Result<SocketAddr> {
    let taken = || format!("admin.listen: {listen} cannot be bound");
    proxy::ensure_free(listen).with_context(taken)?;
    let listener = proxy::bind(listen).with_context(taken)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        let limits = ListenerLimits { connections_max: CONNECTIONS_MAX, ..ListenerLimits::default() };
        let service = move |request: http::Request<proxy::Incoming>, _| {
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
    let health = matches!(path, "/livez" | "/readyz").then(|| operation.answer(path, method, &HeaderMap::new()));
    if let Some(answer) = health.flatten() {
        return answer;
    }
    match path {
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
        let _store = store::Store::open(Path::new(&config.store_path), limits, now_ms).unwrap();
        let (stop, stopping) = watch::channel(false);
        let plan = Plan::compile(&config);
        let operation = Operation::new(&config, &plan.snapshot, &Log::nowhere(), &[], stopping).unwrap();
        let address = listen_on("127.0.0.1:0".parse().unwrap(), operation.clone()).unwrap();
        assert_eq!(get(address, "/livez").0, 200);
        assert_eq!(get(address, "/readyz").0, 200);
        let (status, page) = get(address, "/metrics");
        assert!(status == 200 && page.contains("\npontage_payments_unsettled 0\n"), "{page}");
        assert_eq!(get(address, "/other").0, 404);
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
