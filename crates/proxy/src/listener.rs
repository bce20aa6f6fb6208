//! Accepting callers and serving their calls, one listener per core on one address.

mod downstream;
mod framing;

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::headers::HYPER_HEADERS_MAX;
use downstream::Downstream;

const BACKLOG: i32 = 1024;
/// hyper panics below this.
const BUFFER_MIN_BYTES: usize = 8 * 1024;
/// Pauses after an accept that failed for want of descriptors or memory.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Limits towards callers, per listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// From the end of one call (or the connection's start) to the end of the next head. It also ends idle connections.
    pub head_timeout_ms: u64,
    /// Request line and fields together; beyond it the answer is 431.
    pub head_max_bytes: usize,
    /// Number of fields; beyond it the answer is 431.
    pub headers_max: usize,
    /// Connections at a time; one more is closed at once.
    pub connections_max: usize,
    /// How long a caller may leave bytes of an answer unread before its connection is closed.
    pub write_idle_timeout_ms: u64,
    /// How long calls in flight may go on after the stop.
    pub drain_ms: u64,
}

impl Default for ListenerLimits {
    fn default() -> ListenerLimits {
        ListenerLimits {
            head_timeout_ms: 30_000,
            head_max_bytes: 64 * 1024,
            headers_max: 100,
            connections_max: 10_000,
            write_idle_timeout_ms: 60_000,
            drain_ms: 30_000,
        }
    }
}

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the connection; behind another proxy that is the proxy.
    pub address: SocketAddr,
}

/// Refuses an address on which somebody listens already. [`bind`] alone would share it with another process of the same user.
pub fn ensure_free(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections that linger from an earlier process are no reason to refuse; a listener is.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1)
}

/// Binds an address that other cores of this process can bind too. With port 0 the first bind chooses; bind the others to
/// its `local_addr`.
pub fn bind(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves until `stop` resolves, then stops accepting, lets calls in flight end for at most `drain_ms`, and returns.
///
/// Must run inside a `LocalSet`. When a caller hangs up (or closes its sending half), the service's future is dropped, and
/// so is an answer's body; work that must end anyway belongs into a task of its own. hyper sees a hang-up only while nothing
/// unread is before it: a caller that has pipelined another request is noticed when the answer is written. An answer's body
/// that fails aborts the connection. Ambiguous framing, malformed and oversized heads are answered (400, 431) without the
/// service. `CONNECT` and `Upgrade` reach the service as they are; it must not answer them with success.
pub async fn serve<S, F, B>(
    listener: std::net::TcpListener,
    limits: ListenerLimits,
    service: S,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: Fn(Request<Incoming>, Peer) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::from_std(listener)?;
    let http = engine(&limits);
    let (drain, draining) = watch::channel(false);
    let mut conversations = JoinSet::new();
    let mut stop = pin!(stop);
    let mut back_off = BACK_OFF_FIRST;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = conversations.join_next() => {
                note_panic(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, _)) if conversations.len() >= limits.connections_max => {
                tracing::debug!(connections = conversations.len(), "connection refused: full");
                drop(tcp);
            }
            Ok((tcp, address)) => {
                back_off = BACK_OFF_FIRST;
                let caller = Caller {
                    tcp,
                    peer: Peer { address },
                    write_idle_time: Duration::from_millis(limits.write_idle_timeout_ms),
                };
                let talk = converse(caller, http.clone(), service.clone(), draining.clone());
                conversations.spawn_local(talk);
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accept failed, backing off");
                tokio::select! {
                    () = &mut stop => break,
                    () = tokio::time::sleep(back_off) => {}
                }
                back_off = back_off.saturating_mul(2).min(BACK_OFF_MAX);
            }
        }
    }
    drop(listener);
    drain.send_replace(true);
    let limit = Duration::from_millis(limits.drain_ms);
    finish(conversations, limit).await;
    Ok(())
}

struct Caller {
    tcp: TcpStream,
    peer: Peer,
    write_idle_time: Duration,
}

fn engine(limits: &ListenerLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_timeout_ms))
        .max_buf_size(limits.head_max_bytes.max(BUFFER_MIN_BYTES))
        .max_header_size(limits.head_max_bytes)
        .half_close(false)
        .keep_alive(true);
    if limits.headers_max != HYPER_HEADERS_MAX {
        http.max_headers(limits.headers_max);
    }
    http
}

/// A call that is being answered; it cannot fail.
struct Answering<F>(Pin<Box<F>>);

impl<F: Future> Future for Answering<F> {
    type Output = Result<F::Output, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

/// Serves one connection to its end.
async fn converse<S, F, B>(caller: Caller, http: http1::Builder, service: S, mut draining: watch::Receiver<bool>)
where
    S: Fn(Request<Incoming>, Peer) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if let Err(error) = caller.tcp.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    let peer = caller.peer;
    // An HTTP/1.0 caller takes the end of the connection for the end of the message.
    let is_old = Rc::new(Cell::new(false));
    let seen_old = Rc::clone(&is_old);
    let answer = service_fn(move |request: Request<Incoming>| {
        seen_old.set(request.version() == Version::HTTP_10);
        // On the heap: a connection that waits for its next call holds none of it, and it is not moved about.
        Answering(Box::pin(service(request, peer)))
    });
    let io = TokioIo::new(Downstream::new(caller.tcp, caller.write_idle_time));
    let mut connection = http.serve_connection(io, answer);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => Some(ended),
        // The sender lives as long as `serve`; when it is gone, so is everything.
        _ = draining.wait_for(|draining| *draining) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let downstream = |connection: http1::Connection<TokioIo<Downstream>, _>| connection.into_parts().io.into_inner();
    match ended {
        Ok(()) => downstream(connection).linger().await,
        Err(error) if error.is_parse() => {
            tracing::debug!(%error, peer = %peer.address, "malformed request");
            downstream(connection).linger().await;
        }
        Err(error) => {
            tracing::debug!(%error, peer = %peer.address, "connection aborted");
            if is_old.get() && error.is_user() {
                downstream(connection).reset();
            }
        }
    }
}

/// Waits for the conversations to end, then drops those that have not.
async fn finish(mut conversations: JoinSet<()>, limit: Duration) {
    let all = async {
        while let Some(ended) = conversations.join_next().await {
            note_panic(ended);
        }
    };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!(connections = conversations.len(), "calls still in flight after the drain time, dropped");
        conversations.shutdown().await;
    }
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task panicked");
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
