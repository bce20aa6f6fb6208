//! Accepting callers and serving their calls, one listener per core on one address.

mod answer;
mod drain;
mod incoming;
mod wire;

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};

use drain::{Drain, Seat};
use wire::{Lost, Next, Wire};

pub use incoming::{Incoming, IncomingFault};

const BACKLOG: i32 = 1024;
/// Pauses after an accept that failed for want of descriptors or memory.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Limits towards callers, per listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// From the end of one call (or the connection's start) to the end of the next head. It also ends idle connections.
    pub head_timeout_ms: u64,
    /// Request line and fields together; beyond it, and beyond 100 fields, the answer is 431.
    pub head_max_bytes: usize,
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
/// Must run inside a `LocalSet`. A call's future lies within its connection's: a large one belongs on the heap. When a caller hangs up (or closes its sending half), the service's future is dropped, and
/// so is an answer's body; work that must end anyway belongs into a task of its own. A hang-up is seen only while nothing
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
    let (limits, drain) = (Rc::new(limits), Rc::new(Drain::default()));
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
                let (limits, peer) = (Rc::clone(&limits), Peer { address });
                conversations.spawn_local(converse(tcp, peer, limits, service.clone(), drain.seat()));
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
    drain.begin();
    let limit = Duration::from_millis(limits.drain_ms);
    finish(conversations, limit).await;
    Ok(())
}

/// Serves one connection to its end.
async fn converse<S, F, B>(tcp: TcpStream, peer: Peer, limits: Rc<ListenerLimits>, service: S, seat: Seat)
where
    S: Fn(Request<Incoming>, Peer) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    let conversation = Conversation(Rc::new(Wire::new(tcp)));
    let wire = &conversation.0;
    loop {
        let (request, asked) = match wire.next(&limits, &seat).await {
            Next::Call(request, asked) => (request, asked),
            Next::End => return,
            Next::Refused(fault) => {
                wire.refuse(fault).await;
                return wire.close(true).await;
            }
        };
        let Some(response) = until_gone(wire, service(request, peer)).await else { return };
        match wire.answer(response, asked, &limits, &seat).await {
            Ok(true) => {}
            Ok(false) => return wire.close(wire.is_mid_message()).await,
            Err(lost) => {
                tracing::debug!(error = %lost, peer = %peer.address, "connection aborted");
                // An HTTP/1.0 caller takes the end of the connection for the end of the message.
                if asked.is_old && matches!(lost, Lost::Body(_)) {
                    wire.reset();
                }
                return;
            }
        }
    }
}

/// The connection of a conversation, which ends with it even when somebody still holds the body of a call.
struct Conversation(Rc<Wire>);

impl Drop for Conversation {
    fn drop(&mut self) {
        drop(self.0.end());
    }
}

/// The answer to a call, unless its caller leaves before, or sends what cannot be read.
async fn until_gone<F: Future>(wire: &Wire, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready((!wire.is_malformed()).then_some(answer)),
        Poll::Pending => wire.poll_gone(cx).map(|_gone| None),
    })
    .await
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
