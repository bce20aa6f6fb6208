//! HTTP on a thread of its own, and the timer of interval mining.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::chain::Chain;
use crate::{Mining, Options, rpc};

/// A body above this is refused unread.
const BODY_MAX_BYTES: usize = 10 * 1024 * 1024;

/// After an accept that failed: out of file descriptors, which a loop would only make worse.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Both are there until the drop.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    chain: Mutex<Chain>,
    /// The timer follows it.
    mining: watch::Sender<Mining>,
}

impl Shared {
    /// One at a time. No lock is held across an await.
    fn with<T>(&self, run: impl FnOnce(&mut Chain, u64) -> T) -> T {
        // A panic is a bug of one call; the next ones are still answered.
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let result = run(&mut chain, now_s());
        let mining = chain.mining();
        self.mining.send_if_modified(|known| std::mem::replace(known, mining) != mining);
        result
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Server {
    pub(crate) fn start(options: Options) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let chain = Chain::new(&options, now_s());
        let shared = Arc::new(Shared { mining: watch::Sender::new(chain.mining()), chain: Mutex::new(chain) });
        let (stop, stopped) = oneshot::channel();
        let listener = {
            // A tokio listener belongs to a runtime from the start.
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("devnet".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    // Sent, or its sender is gone: either way nobody wants the chain any more.
                    _ = stopped => {}
                    () = accept(listener, &served) => {}
                    () = tick(&served) => {}
                }
            });
        })?;
        Ok(Self { shared, address, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut Chain, u64) -> T) -> T {
        self.shared.with(run)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It fails when the thread panicked, which has been said by then.
            drop(thread.join());
        }
    }
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Answers are small and awaited: waiting to fill a packet would only add delay. It fails on a connection that is gone.
        drop(stream.set_nodelay(true));
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(Arc::clone(&shared), request));
            let mut server = hyper::server::conn::http1::Builder::new();
            let connection = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // A caller that breaks off is not worth a word.
            drop(connection.await);
        });
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::POST {
        return Ok(respond(StatusCode::METHOD_NOT_ALLOWED, b"JSON-RPC is sent by POST\n".to_vec()));
    }
    let Ok(body) = Limited::new(request.into_body(), BODY_MAX_BYTES).collect().await else {
        return Ok(respond(StatusCode::PAYLOAD_TOO_LARGE, b"the body is too large, or broke off\n".to_vec()));
    };
    let body = body.to_bytes();
    let answer = shared.with(|chain, now_s| rpc::answer(chain, now_s, &body));
    let mut response = respond(StatusCode::OK, answer);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

/// Mines in the intervals that are asked for, for as long as they are.
async fn tick(shared: &Shared) {
    let mut mining = shared.mining.subscribe();
    loop {
        let now = *mining.borrow_and_update();
        let changed = match now {
            Mining::EverySeconds(seconds) if seconds > 0 => {
                let period = Duration::from_secs(seconds);
                tokio::select! {
                    changed = mining.changed() => changed,
                    () = every(period, shared) => Ok(()),
                }
            }
            Mining::EverySeconds(_) | Mining::AtOnce | Mining::ByHand => mining.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn every(period: Duration, shared: &Shared) {
    // A period that no clock can count to is as good as none.
    let Some(first) = tokio::time::Instant::now().checked_add(period) else { return std::future::pending().await };
    let mut ticks = tokio::time::interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.with(|chain, now_s| chain.mine(now_s));
    }
}
