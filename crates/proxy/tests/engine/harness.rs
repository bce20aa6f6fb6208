//! Raw peers for both sides, and bodies fed by the test.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use proxy::{ListenerLimits, Target, Upstream, UpstreamBody, UpstreamLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};

/// Runs a test as production runs: one thread, a `LocalSet`. The time limit is a watchdog, not a synchronisation.
pub(crate) fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(20), test).await };
    LocalSet::new().block_on(&runtime, limited).expect("the test hangs")
}

/// A socket that says and expects bytes.
pub(crate) struct Raw {
    pub(crate) tcp: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(tcp: TcpStream) -> Raw {
        Raw { tcp, read: Vec::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Raw {
        Raw::new(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.tcp.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads up to and including `mark`; panics at the end of the stream.
    pub(crate) async fn hear_until(&mut self, mark: &str) -> String {
        while !mark.is_empty() {
            let found = self.read.windows(mark.len()).position(|bytes| bytes == mark.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + mark.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            let read = self.tcp.read_buf(&mut self.read).await.unwrap();
            assert_ne!(read, 0, "end of stream, heard {:?}", String::from_utf8_lossy(&self.read));
        }
        String::new()
    }

    /// What was read and not yet heard.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }

    /// Everything up to the end of the stream, and whether it was an orderly end.
    pub(crate) async fn hear_all(&mut self) -> (String, bool) {
        let orderly = self.tcp.read_to_end(&mut self.read).await.is_ok();
        let heard = std::mem::take(&mut self.read);
        (String::from_utf8(heard).unwrap(), orderly)
    }

    pub(crate) async fn head(&mut self) -> String {
        self.hear_until("\r\n\r\n").await
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        self.tcp.set_zero_linger().unwrap();
    }
}

/// An upstream played by the test.
pub(crate) struct RawUpstream {
    listener: TcpListener,
}

impl RawUpstream {
    pub(crate) async fn start() -> RawUpstream {
        RawUpstream { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn pool(&self, limits: UpstreamLimits) -> Upstream {
        let address = self.listener.local_addr().unwrap();
        Upstream::new(Target::parse(&format!("http://{address}")).unwrap(), limits).unwrap()
    }

    pub(crate) async fn accept(&self) -> Raw {
        Raw::new(self.listener.accept().await.unwrap().0)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

pub(crate) async fn text(body: UpstreamBody) -> String {
    let bytes = body.collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken on purpose")
    }
}

impl std::error::Error for Broken {}

/// A body that yields what the test sends, of unknown length.
pub(crate) struct Fed(mpsc::Receiver<Result<Bytes, Broken>>);

pub(crate) fn fed() -> (mpsc::Sender<Result<Bytes, Broken>>, Fed) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Fed(receiver))
}

impl Body for Fed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_recv(cx).map(|item| item.map(|item| item.map(Frame::data)))
    }
}

/// A listener under test.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<std::io::Result<()>>,
}

/// Serves `service` on a port of its own.
pub(crate) fn start<S, F, B>(limits: ListenerLimits, service: S) -> Served
where
    S: Fn(Request<proxy::Incoming>, proxy::Peer) -> F + Clone + 'static,
    F: Future<Output = http::Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = proxy::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async move {
        stopped.await.ok();
    };
    let ended = tokio::task::spawn_local(proxy::serve(listener, limits, service, stopped));
    Served { address, stop, ended }
}

/// Tells the test when it is dropped.
pub(crate) struct Dropped(Option<oneshot::Sender<()>>);

pub(crate) fn drop_guard() -> (Dropped, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    (Dropped(Some(sender)), receiver)
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.send(()).ok();
        }
    }
}
