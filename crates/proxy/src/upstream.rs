//! A small pool of HTTP/1.1 connections to one origin, per core.

mod body;
mod fault;
mod link;
mod pool;
mod request;
mod stream;

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, crypto, pki_types::ServerName, version};

pub use body::UpstreamBody;
pub use fault::{UpstreamFault, UpstreamFaultKind};

use crate::headers::Reason;
use crate::target::Target;
use link::Link;
use pool::Pool;
use request::Upload;
use stream::Stream;

/// Time and size limits towards an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Name look-up, TCP and TLS together.
    pub connect_timeout_ms: u64,
    /// From the first byte that may leave to the answer's head, the request's body included: a caller who drips his body
    /// must not stretch a call beyond what its authorization covers.
    pub head_timeout_ms: u64,
    /// Between two frames of the answer's body, while somebody waits for the next.
    pub body_idle_timeout_ms: u64,
    /// Connections kept without a request, per core.
    pub idle_connections_max: usize,
    /// How long one is kept without a request. Set it below the upstream's own limit, or requests race its close.
    pub idle_timeout_ms: u64,
    /// The size of an answer's head, which has 100 fields at most.
    pub head_max_bytes: usize,
}

impl Default for UpstreamLimits {
    fn default() -> UpstreamLimits {
        UpstreamLimits {
            connect_timeout_ms: 5_000,
            head_timeout_ms: 30_000,
            body_idle_timeout_ms: 60_000,
            idle_connections_max: 64,
            idle_timeout_ms: 30_000,
            head_max_bytes: 64 * 1024,
        }
    }
}

/// A pool of connections to one target. Clones share it; it belongs to one core and is not `Send`.
///
/// It limits idle connections, not those in use: whoever admits calls limits these.
#[derive(Clone)]
pub struct Upstream {
    inner: Rc<Inner>,
}

struct Inner {
    target: Target,
    limits: UpstreamLimits,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    pool: Rc<Pool>,
}

/// How an https upstream is trusted. Shared by every core.
pub type TlsConfig = Arc<ClientConfig>;

/// TLS as this machine trusts it, HTTP/1.1 only. Reading the trust store takes milliseconds: build it once, share it.
pub fn platform_tls() -> Result<TlsConfig, UpstreamFault> {
    // The provider is named because a process that links two of them has no default.
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let fault = |error| UpstreamFault::caused(false, UpstreamFaultKind::Tls, error);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(fault)?
        .with_platform_verifier()
        .map_err(fault)?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl Upstream {
    /// A pool for `target`. It connects nowhere yet; for https it reads the machine's trust store.
    pub fn new(target: Target, limits: UpstreamLimits) -> Result<Upstream, UpstreamFault> {
        match target.is_https() {
            true => Upstream::with_tls(target, limits, platform_tls()?),
            false => Ok(Upstream::build(target, limits, None)),
        }
    }

    /// The same with a TLS configuration of the caller's, for a shared one or a private root. Unused for http.
    pub fn with_tls(target: Target, limits: UpstreamLimits, tls: Arc<ClientConfig>) -> Result<Upstream, UpstreamFault> {
        if !target.is_https() {
            return Ok(Upstream::build(target, limits, None));
        }
        let name = ServerName::try_from(target.host().to_owned())
            .map_err(|error| UpstreamFault::caused(false, UpstreamFaultKind::Tls, error))?;
        Ok(Upstream::build(target, limits, Some((TlsConnector::from(tls), name))))
    }

    fn build(target: Target, limits: UpstreamLimits, tls: Option<(TlsConnector, ServerName<'static>)>) -> Upstream {
        let pool = Pool::new(limits.idle_connections_max, Duration::from_millis(limits.idle_timeout_ms));
        Upstream { inner: Rc::new(Inner { target, limits, tls, pool: Rc::new(pool) }) }
    }

    /// The origin that this pool talks to.
    pub fn target(&self) -> &Target {
        &self.inner.target
    }

    /// Sends one request and returns its answer as soon as the head is there.
    ///
    /// `on_sent` is called once, just before the first byte may leave; when it was not called, nothing has left and the
    /// fault says `sent: false`. A request of which a byte may have left is never sent again. The request's URI is its path
    /// and query (an authority in it is ignored), its version and extensions are not used. `Host`, hop-by-hop fields,
    /// `Expect` and the framing are set here; `X-Forwarded-*` and the like are the caller's to set. Trailers are not
    /// forwarded upstream. 1xx answers are dropped. Dropping the future closes the connection.
    pub async fn send<B>(
        &self,
        request: Request<B>,
        on_sent: impl FnOnce(),
    ) -> Result<Response<UpstreamBody>, UpstreamFault>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (method, upload) = Upload::new(&self.inner.target, request)?;
        let mut link = match self.inner.pool.take() {
            Some(link) => link,
            // Rare, and with TLS large: on the heap, so that calls on a pooled connection do not carry its state.
            None => Box::new(Box::pin(self.connect()).await?),
        };
        on_sent();
        let head = link.exchange(upload, &method, &self.inner.limits).await?;
        let idle_time = Duration::from_millis(self.inner.limits.body_idle_timeout_ms);
        let ends = (head.length, head.keeps_alive);
        let mut answer = Response::new(UpstreamBody::new(ends, link, Rc::clone(&self.inner.pool), idle_time));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        if let Some(reason) = head.reason {
            answer.extensions_mut().insert(Reason(reason));
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<Link, UpstreamFault> {
        let inner = &self.inner;
        let limit = Duration::from_millis(inner.limits.connect_timeout_ms);
        let stream = timeout(limit, self.open_stream())
            .await
            .map_err(|_elapsed| UpstreamFault::new(false, UpstreamFaultKind::ConnectTimeout))??;
        Ok(Link::new(stream))
    }

    async fn open_stream(&self) -> Result<Stream, UpstreamFault> {
        let connect = |error| UpstreamFault::caused(false, UpstreamFaultKind::Connect, error);
        let target = &self.inner.target;
        let tcp = TcpStream::connect((target.host(), target.port())).await.map_err(connect)?;
        tcp.set_nodelay(true).map_err(connect)?;
        match &self.inner.tls {
            None => Ok(Stream::Plain(tcp)),
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await;
                tls.map(|tls| Stream::Tls(Box::new(tls)))
                    .map_err(|error| UpstreamFault::caused(false, UpstreamFaultKind::Tls, error))
            }
        }
    }
}
